/** TCP between pods of one node: connecting to a fresh peer and to a warm one, throughput and round trips. */
import type { Across, Running, Setting } from "../contenders/contender.ts";
import type { Pod } from "../environment/switch.ts";
import { figuresOf, type Figure, type Goal, type Metric } from "../figures.ts";
import { alternate, contenderNamed, type Bench, type Scenario } from "../harness.ts";
import { median } from "../statistics.ts";
import { connectTimes, exchangeTimes, listenIn, throughput } from "../traffic/tcp.ts";
import { SOURCES } from "./new-flows.ts";

const WARM_ROUNDS = 3;

function setting(peers: number): Setting {
  const pods = Array.from({ length: peers + 1 }, (_, at) => ({
    name: `tcp${at}`,
    address: `10.1.0.${at + 1}`,
    length: 16,
  }));
  return { pods, sources: SOURCES, idlePorts: 0 };
}

/** Median milliseconds to connect to peers never talked to before, and to the same peers again. */
interface ConnectResult {
  readonly fresh: number;
  readonly warm: number;
}

async function measureConnects(bench: Bench, running: Running): Promise<ConnectResult> {
  await running.forget();
  const [from, ...peers] = running.pods;
  const [fresh, ...warm] = await connectTimes(bench.site, from!, peers, 1 + WARM_ROUNDS);
  return { fresh: median(fresh!), warm: median(warm.flat()) };
}

/** Megabits per second, and median milliseconds of a byte there and back. */
export interface PairResult {
  readonly megabits: number;
  readonly roundTrip: number;
}

export async function measurePair(bench: Bench, from: Pod, to: Pod): Promise<PairResult> {
  // The first connection makes the pair warm.
  await exchangeTimes(bench.site, from, to, 50);
  const roundTrip = median(await exchangeTimes(bench.site, from, to, bench.quick ? 200 : 2000));
  return { roundTrip, megabits: await throughput(bench.site, from, to, bench.quick ? 1 : 3) };
}

/** Two pods and what carries their traffic. */
export interface Pair {
  readonly contender: string;
  readonly from: Pod;
  readonly to: Pod;
}

/** Compares a warm pair of each; `goal` is what the first must be against the second. */
export async function comparePairs(
  bench: Bench,
  where: string,
  pairs: readonly Pair[],
  goal: Goal = { bound: "at least", value: 0.95 },
  scenario = "tcp",
): Promise<Figure[]> {
  const runs = await alternate(
    bench,
    `warm pair, ${where}`,
    pairs.map(({ contender, from, to }) => ({ name: contender, measure: () => measurePair(bench, from, to) })),
    ({ megabits, roundTrip }) => `${megabits.toFixed(0)} Mbit/s, round trip ${roundTrip.toFixed(3)} ms`,
  );
  const metrics: Metric<PairResult>[] = [
    {
      title: `TCP throughput of a warm pair, ${where}`,
      unit: "Mbit/s",
      form: "subject/reference",
      goal,
      of: (r) => r.megabits,
    },
    {
      title: `TCP round trip of a warm pair, ${where}`,
      unit: "ms",
      form: "reference/subject",
      goal,
      of: (r) => r.roundTrip,
    },
  ];
  return figuresOf(scenario, metrics, runs[0]!, runs[1]);
}

export const tcpScenario: Scenario = {
  name: "tcp",
  describes: "TCP connect to a fresh and a warm peer, throughput and round trips on one node, against NORMAL",
  async run(bench, publish) {
    const sides: Running[] = [];
    for (const contender of [bench.subject, contenderNamed(bench, "NORMAL")]) {
      const running = await contender.start(bench.site, setting(bench.quick ? 4 : 30));
      await listenIn(bench.site, running.pods.slice(1));
      sides.push(running);
    }
    const connects = await alternate(
      bench,
      "TCP connect",
      sides.map((running) => ({ name: running.contender, measure: () => measureConnects(bench, running) })),
      ({ fresh, warm }) => `fresh ${fresh.toFixed(3)} ms, warm ${warm.toFixed(3)} ms`,
    );
    publish(
      figuresOf(
        "tcp",
        [
          {
            title: "TCP connect to a fresh peer",
            unit: "ms",
            form: "subject/reference",
            goal: { bound: "at most", value: 3 },
            of: (r) => r.fresh,
          },
          {
            title: "TCP connect to a warm peer",
            unit: "ms",
            form: "subject/reference",
            goal: { bound: "at most", value: 1.05 },
            of: (r) => r.warm,
          },
        ],
        connects[0]!,
        connects[1],
      ),
    );
    const pairs = sides.map(({ contender, pods }) => ({ contender, from: pods[0]!, to: pods[1]! }));
    publish(await comparePairs(bench, "same node", pairs));
    for (const running of sides) await running.stop();
  },
};

export const acrossScenario: Scenario = {
  name: "across",
  describes: "TCP throughput and round trips between two nodes over VXLAN, against NORMAL",
  async run(bench, publish) {
    const pairs: Across[] = [];
    for (const contender of [bench.subject, contenderNamed(bench, "NORMAL")]) {
      if (contender.startAcross === undefined) throw new Error(`${contender.name} cannot run on two nodes`);
      const pair = await contender.startAcross(bench.site);
      await listenIn(bench.site, [pair.to]);
      pairs.push(pair);
    }
    publish(await comparePairs(bench, "across nodes", pairs));
    for (const pair of pairs) await pair.stop();
  },
};
