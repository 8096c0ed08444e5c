/** Pods of two nodes on one wire: against a switch that only bridges, and against no switch at all. */
import type { Across } from "../contenders/contender.ts";
import { macvlan } from "../contenders/macvlan.ts";
import { figuresOf, type Metric } from "../figures.ts";
import { alternate, contenderNamed, type Scenario } from "../harness.ts";
import { listenIn } from "../traffic/tcp.ts";
import { measurePair, type PairResult } from "./tcp.ts";

/** Only the switch is promised: what leaves it out does less. */
const promised = { bound: "at least", value: 0.95 } as const;

function metrics(reference: string): Metric<PairResult>[] {
  const goal = reference === "NORMAL" ? { goal: promised } : {};
  return [
    {
      title: "TCP throughput of underlay pods across nodes",
      unit: "Mbit/s",
      form: "subject/reference",
      ...goal,
      of: (result) => result.megabits,
    },
    {
      title: "TCP round trip of underlay pods across nodes",
      unit: "ms",
      form: "reference/subject",
      ...goal,
      of: (result) => result.roundTrip,
    },
  ];
}

export const underlayScenario: Scenario = {
  name: "underlay",
  describes: "TCP throughput and round trips of pods of two nodes on one wire, against NORMAL and against macvlan",
  async run(bench, publish) {
    const sides: Across[] = [];
    for (const contender of [bench.subject, contenderNamed(bench, "NORMAL"), macvlan]) {
      if (contender.startUnderlay === undefined) throw new Error(`${contender.name} puts no pods on a wire`);
      const side = await contender.startUnderlay(bench.site);
      await listenIn(bench.site, [side.to]);
      sides.push(side);
    }
    const [subject, ...references] = await alternate(
      bench,
      "underlay pair",
      sides.map(({ contender, from, to }) => ({ name: contender, measure: () => measurePair(bench, from, to) })),
      ({ megabits, roundTrip }) => `${megabits.toFixed(0)} Mbit/s, round trip ${roundTrip.toFixed(3)} ms`,
    );
    publish(references.flatMap((reference) => figuresOf("underlay", metrics(reference.name), subject!, reference)));
    for (const side of sides) await side.stop();
  },
};
