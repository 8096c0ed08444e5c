/**
 * The code that decides about addresses, many nodes of it, against a simulated API server on which everything that can
 * go wrong does. A failure names its seed; `FABRIC_SIMULATION_SEEDS=5000` runs longer, `FABRIC_SIMULATION_FIRST=17` begins
 * elsewhere.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Cluster } from "./cluster.ts";
import { mutations } from "./mutations.ts";
import { regressions } from "./regressions.ts";
import { run } from "./run.ts";

const seeds = Number(process.env["FABRIC_SIMULATION_SEEDS"] ?? 40);
const first = Number(process.env["FABRIC_SIMULATION_FIRST"] ?? 1);

async function pass(seed: number): Promise<Cluster> {
  const cluster = new Cluster({ seed });
  await run(cluster).catch((error: unknown) => {
    throw new Error(`seed ${seed}, step ${cluster.steps}: ${String(error)}`, { cause: error });
  });
  return cluster;
}

void describe("addresses of a cluster in which everything goes wrong", () => {
  void it("have one holder each, stay with their owners and come back", async () => {
    let attachments = 0;
    for (let seed = first; seed < first + seeds; seed++) attachments += (await pass(seed)).invariants.attachments;
    assert.ok(attachments > seeds * 5, `only ${attachments} pods got addresses`);
  });

  for (const { seed, found } of regressions) {
    void it(`seed ${seed}, which once found that ${found}`, async () => {
      await pass(seed);
    });
  }
});

/** Seeds that are tried from the one that is known to notice, should a change have given them another meaning. */
const most = 150;

void describe("the simulation notices when", () => {
  for (const { name, spoil, seed: known } of mutations) {
    void it(name, async () => {
      for (let seed = known; seed < known + most; seed++) {
        const isNoticed = await run(new Cluster({ seed, spoil })).then(
          () => false,
          () => true,
        );
        if (isNoticed) return;
      }
      assert.fail(`${most} seeds noticed nothing; if the simulation has lost its teeth, give it some`);
    });
  }
});
