/** What a node costs while the cluster around it grows: entries of its switch, memory of its agent. */
import { figuresOf, type Goal } from "../figures.ts";
import type { Scenario } from "../harness.ts";

const LOCAL_PODS = 30;
/** Pods at which the agent's memory has a goal. */
const MEMORY_AT = 5000;
const MEGABYTE = 1_000_000;

/** The agent is looked at after its garbage has had time to be collected. */
const SETTLE = 3000;

interface Reading {
  readonly entries: number;
  readonly megabytes: number;
}

export const scaleScenario: Scenario = {
  name: "scale",
  describes: "entries of a node with 30 pods, and its agent's memory, while the cluster grows to 10,000 pods",
  async run(bench, publish) {
    const { subject } = bench;
    if (subject.startScaled === undefined) throw new Error(`${subject.name} does not know a cluster`);
    const steps = bench.quick ? [10, 100] : [100, 1000, MEMORY_AT, 10_000];
    const scaled = await subject.startScaled(bench.site, LOCAL_PODS);
    const readings = new Map<number, Reading>();
    for (const pods of steps) {
      await scaled.grow(pods);
      await new Promise((resolve) => setTimeout(resolve, bench.quick ? 200 : SETTLE));
      const reading = { entries: scaled.entries(), megabytes: scaled.memory() / MEGABYTE };
      readings.set(pods, reading);
      bench.progress(`${pods} pods: ${reading.entries} entries, agent ${reading.megabytes.toFixed(0)} MB`);
    }
    await scaled.stop();

    const [first] = steps;
    const last = steps.at(-1)!;
    const at = (pods: number) => ({
      name: `${subject.name} at ${pods.toLocaleString("en")} pods`,
      results: [readings.get(pods)!],
    });
    const title = `entries per node at ${last.toLocaleString("en")} pods in the cluster`;
    const flat: Goal = { bound: "at most", value: 1 };
    publish(
      figuresOf(
        "scale",
        [{ title, unit: "entries", form: "subject/reference", goal: flat, of: (r: Reading) => r.entries }],
        at(last),
        at(first!),
        1,
      ),
    );
    for (const pods of steps) {
      const title = `agent memory with ${pods.toLocaleString("en")} pods in the cluster`;
      const goal: { goal?: Goal } = pods === MEMORY_AT ? { goal: { bound: "at most", value: 120 } } : {};
      const metric = { title, unit: "MB", form: "subject" as const, ...goal, of: (r: Reading) => r.megabytes };
      publish(figuresOf("scale", [metric], at(pods), undefined, 1));
    }
  },
};
