import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { canonicalFlow, type Flow } from "@beyondfabric/openflow";
import { flowKey, noRuleGroups, reconcile, verdictFlows } from "../src/index.ts";
import { anyAnswered } from "./verdict.arbitrary.ts";

/** Few keys, so that the two sides meet in every way: equal, other actions, other cookie, absent. */
const anyFlow: fc.Arbitrary<Flow> = fc
  .record({
    table: fc.constantFrom(50, 60),
    priority: fc.constantFrom(1, 2),
    cookie: fc.constantFrom(1n, 2n),
    port: fc.nat({ max: 2 }),
    value: fc.nat({ max: 2 }),
    turned: fc.boolean(),
  })
  .map(({ table, priority, cookie, port, value, turned }) => {
    const match = [
      { field: "in_port", value: BigInt(port) },
      { field: "eth_type", value: 0x0800n },
    ] as const;
    return {
      table,
      priority,
      cookie,
      match: turned ? match.toReversed() : match,
      instructions: [
        {
          type: "apply_actions",
          actions: [{ type: "load", dst: { field: "reg5", offset: 0, bits: 32 }, value: BigInt(value) }],
        },
        { type: "goto_table", table: 70 },
      ],
    };
  });
const anyFlows = fc.array(anyFlow, { maxLength: 16 });

/** What a switch holds after these were written in turn, as it would report it. */
function switchOf(flows: readonly Flow[]): Map<string, Flow> {
  return new Map(flows.map((flow) => [flowKey(flow), canonicalFlow(flow)]));
}

describe("reconciling", () => {
  it("leaves exactly what is desired, and then has nothing to do", () => {
    fc.assert(
      fc.property(anyFlows, anyFlows, (desired, before) => {
        const held = switchOf(before);
        const { remove, write } = reconcile(desired, held.values());
        for (const flow of remove) assert.ok(held.delete(flowKey(flow)));
        for (const flow of write) held.set(flowKey(flow), canonicalFlow(flow));
        assert.deepEqual(
          [...held].sort(([a], [b]) => (a < b ? -1 : 1)),
          [...switchOf(desired)].sort(([a], [b]) => (a < b ? -1 : 1)),
        );
        assert.deepEqual(reconcile(desired, held.values()), { remove: [], write: [] });
      }),
      { numRuns: 500 },
    );
  });

  it("touches nothing that is the same on both sides", () => {
    fc.assert(
      fc.property(anyFlows, anyFlows, (desired, before) => {
        const held = switchOf(before);
        const wanted = switchOf(desired);
        const { remove, write } = reconcile(desired, held.values());
        for (const flow of remove) assert.ok(!wanted.has(flowKey(flow)));
        for (const flow of write) {
          assert.notDeepEqual(held.get(flowKey(flow)), wanted.get(flowKey(flow)));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("sees no difference in the order of match fields or in the form that a switch reports", () => {
    fc.assert(
      fc.property(fc.array(anyAnswered, { maxLength: 8 }), (answers) => {
        const flows = answers.flatMap(({ question, decision }, index) =>
          verdictFlows(decision, question, index, { edition: 0, label: 0n, groups: noRuleGroups }),
        );
        const unique = [...new Map(flows.map((flow) => [flowKey(flow), flow])).values()];
        const reported = unique.map((flow) => {
          const canonical = canonicalFlow(flow);
          return { ...canonical, match: canonical.match.toReversed() };
        });
        assert.deepEqual(reconcile(unique, reported), { remove: [], write: [] });
      }),
    );
  });
});
