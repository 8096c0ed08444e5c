import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OverlapIndex } from "@beyondfabric/kube/kinds";
import { cidrOf, cidrsOverlap, formatCidr } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import * as fc from "fast-check";

// Few addresses and lengths, so that random prefixes often nest.
const prefix: fc.Arbitrary<Cidr> = fc
  .tuple(fc.boolean(), fc.integer({ min: 0, max: 31 }), fc.integer({ min: 0, max: 5 }))
  .map(([isIpv6, low, cut]) =>
    isIpv6 ? cidrOf(`fd00::${low.toString(16)}`, 128 - cut) : cidrOf(`10.0.0.${low}`, 32 - cut),
  );

void describe("OverlapIndex", () => {
  void it("finds an overlap exactly when comparing with each would", () => {
    const step = fc.tuple(fc.constantFrom("add", "find", "find", "delete"), prefix);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const index = new OverlapIndex<string>();
        const model = new Map<string, Cidr>();
        for (const [action, cidr] of steps) {
          const key = formatCidr(cidr);
          if (action === "add") {
            index.add(cidr, key);
            model.set(key, cidr);
          } else if (action === "delete") {
            index.delete(cidr);
            model.delete(key);
          } else {
            const found = index.find(cidr);
            const expected = [...model].filter(([, each]) => cidrsOverlap(each, cidr)).map(([name]) => name);
            assert.deepEqual([...index.overlapping(cidr)].toSorted(), expected.toSorted());
            assert.equal(found !== undefined, expected.length > 0);
            const lengths = expected.map((name) => model.get(name)!.length);
            const widest = Math.min(...lengths);
            if (widest <= cidr.length) assert.equal(model.get(found!)!.length, widest);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
