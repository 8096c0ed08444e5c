/** First packets: latency, loss, goodput and cost of new flows at several rates. */
import type { Running, Setting } from "../contenders/contender.ts";
import { figuresOf, type Metric } from "../figures.ts";
import { alternate, contenderNamed, type Bench, type Scenario } from "../harness.ts";
import { parseAddress } from "../traffic/frame.ts";
import { measureTraffic, type TrafficResult } from "../traffic/measure.ts";
import { newFlows, type Variation } from "../traffic/plan.ts";

/** Source addresses of new flows: four million, so that no run meets an address of another. */
export const SOURCES: Variation = {
  field: "source",
  base: parseAddress("10.64.0.0"),
  bits: 22,
  first: 0,
  scatter: false,
};

/** Two pods: the first sends, the second receives. */
export const PAIR: Setting = {
  pods: [
    { name: "sender", address: "10.1.0.1", length: 16 },
    { name: "receiver", address: "10.1.0.2", length: 16 },
  ],
  sources: SOURCES,
  idlePorts: 0,
};

/** The outcome of one run of new flows. */
export interface NewFlowResult {
  readonly traffic: TrafficResult;
  /** Microseconds of ovs-vswitchd per flow sent: all threads, its main thread. */
  readonly switchCpu: number;
  readonly mainThreadCpu: number;
  /** Microseconds of the controller per flow sent. */
  readonly controllerCpu: number;
}

let nextFlow = 0;

/** Sends new flows for `seconds` and accounts for them. Everything earlier is forgotten first. */
export async function measureNewFlows(
  bench: Bench,
  running: Running,
  rate: number,
  seconds: number,
): Promise<NewFlowResult> {
  await running.forget();
  const [from, to] = running.pods;
  const plan = newFlows(rate, seconds, { ...SOURCES, first: nextFlow });
  nextFlow += plan.flows;
  const route = { from: from!, to: to!, destinationMac: running.macTowards(from!, to!) };
  let cpu = running.switch.cpu();
  let controllerCpu = 0;
  let after = cpu;
  const traffic = await measureTraffic(bench.site, route, plan, {
    before() {
      cpu = running.switch.cpu();
      controllerCpu = running.controllerCpu();
    },
    after() {
      after = running.switch.cpu();
      controllerCpu = running.controllerCpu() - controllerCpu;
    },
  });
  if (traffic.receiver.received === 0) {
    throw new Error(`${running.contender} delivered none of ${traffic.sent} packets from ${from!.name} to ${to!.name}`);
  }
  return {
    traffic,
    switchCpu: (after.process - cpu.process) / traffic.sent,
    mainThreadCpu: (after.mainThread - cpu.mainThread) / traffic.sent,
    controllerCpu: controllerCpu / traffic.sent,
  };
}

/** One line about a run. */
export function describeNewFlows({ traffic, switchCpu, controllerCpu }: NewFlowResult): string {
  const { first, duplicates, socketDrops } = traffic.receiver;
  const odd = duplicates + socketDrops > 0 ? `, ${duplicates} duplicated, ${socketDrops} dropped by the receiver` : "";
  return (
    `p50 ${first.p50.toFixed(3)} ms, p99 ${first.p99.toFixed(2)} ms, lost ${traffic.lost} of ${traffic.sent}${odd}, ` +
    `switch ${switchCpu.toFixed(0)} µs/flow, controller ${controllerCpu.toFixed(0)} µs/flow`
  );
}

/** Share of packets that never arrived, in percent. */
export function lossPercent({ traffic }: NewFlowResult): number {
  return (100 * traffic.lost) / traffic.sent;
}

/** The published rates, and two beyond, where a switch of this kind begins to fail whoever controls it. */
const RATES = [500, 2000, 5000, 8000, 12_000, 16_000] as const;

function metricsAt(rate: number): Metric<NewFlowResult>[] {
  const parity = rate === 2000 ? { goal: { bound: "at least", value: 1 } as const } : {};
  const at = `at ${rate.toLocaleString("en")} new flows/s`;
  const metrics: Metric<NewFlowResult>[] = [
    {
      title: `first-packet p50 ${at}`,
      unit: "ms",
      form: "reference/subject",
      ...parity,
      of: (r) => r.traffic.receiver.first.p50,
    },
    {
      title: `first-packet p99 ${at}`,
      unit: "ms",
      form: "reference/subject",
      ...parity,
      of: (r) => r.traffic.receiver.first.p99,
    },
    {
      title: `goodput ${at}`,
      unit: "packets/s",
      form: "subject/reference",
      ...(rate === 8000 ? { goal: { bound: "at least", value: 1.2 } as const } : parity),
      of: (r) => r.traffic.goodput,
    },
    {
      title: `loss ${at}`,
      unit: "%",
      form: "subject",
      ...(rate === 8000 ? { goal: { bound: "at most", value: 1 } as const } : {}),
      of: lossPercent,
    },
    {
      title: `switch CPU per new flow ${at}`,
      unit: "µs",
      form: "reference/subject",
      ...parity,
      of: (r) => r.switchCpu,
    },
  ];
  return metrics;
}

export const newFlowScenario: Scenario = {
  name: "new-flows",
  describes: "first packets at 500 to 8,000 new flows/s against ovs-testcontroller",
  async run(bench, publish) {
    const reference = contenderNamed(bench, "ovs-testcontroller");
    const seconds = bench.quick ? 0.3 : 2;
    const own = await bench.subject.start(bench.site, PAIR);
    const other = await reference.start(bench.site, PAIR);
    for (const rate of RATES) {
      const runs = await alternate(
        bench,
        `new flows at ${rate}/s`,
        [own, other].map((running) => ({
          name: running.contender,
          measure: () => measureNewFlows(bench, running, rate, seconds),
        })),
        describeNewFlows,
      );
      publish(figuresOf("new-flows", metricsAt(rate), runs[0]!, runs[1]));
      publish(
        figuresOf(
          "new-flows",
          [
            {
              title: `loss of the reference at ${rate.toLocaleString("en")} new flows/s`,
              unit: "%",
              form: "subject",
              of: lossPercent,
            },
          ],
          runs[1]!,
        ),
      );
    }
    await own.stop();
    await other.stop();
  },
};
