/** A cluster from its first step to the end. */
import assert from "node:assert/strict";
import type { Cluster } from "./cluster.ts";

const stepsPerSeed = 1500;
/** Rounds of 700 ms: longer than the history of a released address that was retained before. */
const quietRounds = 60;

/** Lives through a cluster to its end; throws what was broken. */
export async function run(cluster: Cluster): Promise<void> {
  while (cluster.steps < stepsPerSeed) {
    await cluster.step();
    cluster.invariants.check();
  }
  await cluster.calmDown(quietRounds);
  cluster.invariants.check();
  cluster.invariants.checkQuiet();
  cluster.removeEverything();
  await cluster.calmDown(quietRounds);
  cluster.invariants.check();
  cluster.invariants.checkQuiet();
  assert.deepEqual(cluster.api.list("addresses"), []);
}
