/** First packets while the node is full: live datapath flows, entries, ports. Compared with the same contender when empty. */
import type { Running } from "../contenders/contender.ts";
import { figuresOf, type Metric } from "../figures.ts";
import { alternate, contenderNamed, type Bench, type Contestant, type Scenario } from "../harness.ts";
import { measureTraffic, startBackground } from "../traffic/measure.ts";
import { liveFlows, returningFlows } from "../traffic/plan.ts";
import { until } from "../environment/site.ts";
import { describeNewFlows, measureNewFlows, PAIR, SOURCES, type NewFlowResult } from "./new-flows.ts";

const RATE = 500;
/** Packets per second that keep the background's flows alive: each is seen every 8 s, the switch forgets after 10 s. */
const KEEP_ALIVE = 2500;

/** Flows per second at which the background is built up. */
const OPENING = 4000;

/** Background traffic runs to a third pod, so that the receiver sees only what is measured. */
const TRIO = { ...PAIR, pods: [...PAIR.pods, { name: "background", address: "10.1.0.3", length: 16 }] };

function latency(what: string, share: 0.5 | 0.99): Metric<NewFlowResult> {
  const key = share === 0.5 ? "p50" : "p99";
  return {
    title: `first-packet ${key} ${what}`,
    unit: "ms",
    form: "subject/reference",
    of: ({ traffic }) => traffic.receiver.first[key],
  };
}

/** Crowds a contender with live datapath flows for the time of one measurement. */
async function withLiveFlows(bench: Bench, running: Running, flows: number, seconds: number): Promise<NewFlowResult> {
  await running.forget();
  const [from, , target] = running.pods;
  const route = { from: from!, to: target!, destinationMac: running.macTowards(from!, target!) };
  // The upper half of the sources belongs to the background.
  const variation = { ...SOURCES, first: 2 ** (SOURCES.bits - 1) };
  await measureTraffic(bench.site, route, returningFlows(flows, OPENING, variation));
  const background = await startBackground(bench.site, route, liveFlows(flows, KEEP_ALIVE, 600, variation));
  try {
    const alive = () => running.switch.datapathFlows() >= flows * 0.95;
    await until(`${flows} live datapath flows`, 20_000, alive, 500);
    return await measureNewFlows(bench, { ...running, forget: async () => {} }, RATE, seconds);
  } finally {
    await background.stop();
    await running.forget();
  }
}

export const crowdedScenario: Scenario = {
  name: "crowded",
  describes:
    "first packets with 20,000 live datapath flows, with 100,000 entries, with 250 ports, against the same without",
  async run(bench, publish) {
    const seconds = bench.quick ? 0.3 : 2;
    const flows = bench.quick ? 1000 : 20_000;
    const entries = bench.quick ? 2000 : 100_000;
    const ports = bench.quick ? 10 : 250;
    const plain = await bench.subject.start(bench.site, { ...TRIO, liveFlows: flows });
    const empty: Contestant<NewFlowResult> = {
      name: `${plain.contender}, empty node`,
      measure: () => measureNewFlows(bench, plain, RATE, seconds),
    };
    const compare = async (what: string, crowded: Contestant<NewFlowResult>) => {
      const runs = await alternate(bench, what, [crowded, empty], describeNewFlows);
      const goal = { bound: "at most", value: 1.2 } as const;
      publish(
        figuresOf(
          "crowded",
          [
            { ...latency(what, 0.5), goal },
            latency(what, 0.99),
            { title: `switch CPU per new flow ${what}`, unit: "µs", form: "subject/reference", of: (r) => r.switchCpu },
          ],
          runs[0]!,
          runs[1],
        ),
      );
    };

    await compare(`with ${flows.toLocaleString("en")} live datapath flows`, {
      name: `${plain.contender}, crowded`,
      measure: () => withLiveFlows(bench, plain, flows, seconds),
    });

    const full = await bench.subject.start(bench.site, { ...TRIO, entries });
    await full.addEntries(entries);
    await compare(`with ${entries.toLocaleString("en")} entries`, {
      name: `${full.contender}, crowded`,
      measure: () => measureNewFlows(bench, full, RATE, seconds),
    });
    await full.stop();

    const wideSetting = { ...TRIO, idlePorts: ports };
    const wide = await bench.subject.start(bench.site, wideSetting);
    await compare(`with ${ports} ports`, {
      name: `${wide.contender}, crowded`,
      measure: () => measureNewFlows(bench, wide, RATE, seconds),
    });
    // What the ports alone cost: the userspace datapath asks every port for packets in every turn.
    const bare = await contenderNamed(bench, "NORMAL").start(bench.site, wideSetting);
    const what = `with ${ports} ports, against NORMAL with as many`;
    const runs = await alternate(
      bench,
      what,
      [wide, bare].map((running) => ({
        name: running.contender,
        measure: () => measureNewFlows(bench, running, RATE, seconds),
      })),
      describeNewFlows,
    );
    publish(figuresOf("crowded", [latency(what, 0.5)], runs[0]!, runs[1]));
    for (const running of [wide, bare, plain]) await running.stop();
  },
};
