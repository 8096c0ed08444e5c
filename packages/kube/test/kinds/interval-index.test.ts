import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { IntervalIndex } from "@beyondfabric/kube/kinds";
import type { Interval } from "@beyondfabric/kube/kinds";
import * as fc from "fast-check";

const interval: fc.Arbitrary<Interval> = fc
  .tuple(fc.bigInt({ min: 0n, max: 60n }), fc.bigInt({ min: 0n, max: 6n }))
  .map(([first, length]) => ({ first, last: first + length }));

void describe("IntervalIndex", () => {
  void it("finds an overlap exactly when comparing with each would", () => {
    const step = fc.tuple(fc.constantFrom(4 as const, 6 as const), interval);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const index = new IntervalIndex<Interval>();
        const filed: { 4: Interval[]; 6: Interval[] } = { 4: [], 6: [] };
        for (const [family, asked] of steps) {
          const found = index.find(family, asked);
          const overlapping = filed[family].filter(({ first, last }) => first <= asked.last && asked.first <= last);
          if (overlapping.length > 0) {
            assert.ok(found !== undefined && overlapping.includes(found));
            continue;
          }
          assert.equal(found, undefined);
          index.add(family, asked, asked);
          filed[family].push(asked);
        }
      }),
    );
  });
});
