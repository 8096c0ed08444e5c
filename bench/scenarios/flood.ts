/** First packets of well-behaved pods while another pod of the same node sends to random addresses as fast as 50,000/s. */
import type { Running, Setting } from "../contenders/contender.ts";
import { figuresOf } from "../figures.ts";
import { alternate, contenderNamed, type Bench, type Scenario } from "../harness.ts";
import { parseAddress } from "../traffic/frame.ts";
import { startBackground } from "../traffic/measure.ts";
import { newFlows, type Variation } from "../traffic/plan.ts";
import { describeNewFlows, lossPercent, measureNewFlows, PAIR, type NewFlowResult } from "./new-flows.ts";

const FLOOD_RATE = 50_000;
const RATE = 200;

/** Addresses of the cluster's subnet: some belong to pods elsewhere, some to nobody, some to no node at all. */
const ANYWHERE: Variation = {
  field: "destination",
  base: parseAddress("10.244.0.0"),
  bits: 16,
  first: 0,
  scatter: true,
};

const SETTING: Setting = {
  ...PAIR,
  meters: "default",
  clusterPods: 1000,
  pods: [
    ...PAIR.pods,
    { name: "flooder", address: "10.1.0.3", length: 16 },
    { name: "bystander", address: "10.1.0.4", length: 16 },
  ],
};

async function measureDuringFlood(bench: Bench, running: Running, seconds: number): Promise<NewFlowResult> {
  await running.forget();
  const [, , from, to] = running.pods;
  const plan = newFlows(FLOOD_RATE, seconds + 60, ANYWHERE);
  const route = { from: from!, to: to!, destinationMac: running.macTowards(from!, to!) };
  const flood = await startBackground(bench.site, route, plan);
  try {
    return await measureNewFlows(bench, { ...running, forget: async () => {} }, RATE, seconds);
  } finally {
    await flood.stop();
    await running.forget();
  }
}

export const floodScenario: Scenario = {
  name: "flood",
  describes: "first packets at 200 new flows/s while another pod sends 50,000 packets/s to random addresses",
  async run(bench, publish) {
    const sides: Running[] = [];
    for (const contender of [bench.subject, contenderNamed(bench, "ovs-testcontroller")]) {
      sides.push(await contender.start(bench.site, SETTING));
    }
    const seconds = bench.quick ? 0.5 : 3;
    const runs = await alternate(
      bench,
      "new flows during a flood",
      sides.map((running) => ({ name: running.contender, measure: () => measureDuringFlood(bench, running, seconds) })),
      describeNewFlows,
    );
    publish(
      figuresOf(
        "flood",
        [
          {
            title: "first-packet p99 of other pods during a flood",
            unit: "ms",
            form: "subject",
            goal: { bound: "at most", value: 50 },
            of: (r) => r.traffic.receiver.first.p99,
          },
          { title: "loss of other pods during a flood", unit: "%", form: "subject", of: lossPercent },
          {
            title: "first-packet p50 of other pods during a flood",
            unit: "ms",
            form: "reference/subject",
            of: (r) => r.traffic.receiver.first.p50,
          },
        ],
        runs[0]!,
        runs[1],
      ),
    );
    for (const running of sides) await running.stop();
  },
};
