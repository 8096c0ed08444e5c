import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseAddressRange } from "@beyondfabric/kube/kinds";
import type { AddressRange } from "@beyondfabric/kube/kinds";
import { ipFamily, ipFromBigInt } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { candidateAddresses, candidatesOf, isCandidate, poolRoom } from "../../src/ipam/candidates.ts";

void describe("candidates", () => {
  void it("are every address once, the preferred first and the others in their order", () => {
    // Disjoint stretches of one family, in any order.
    const ranges = fc
      .uniqueArray(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 5 })
      .chain((slots) =>
        fc.tuple(
          fc.constantFrom(4 as const, 6 as const),
          fc.tuple(
            ...slots.map((slot) => fc.integer({ min: 0, max: 9 }).map((length) => [slot * 10, length] as const)),
          ),
        ),
      );
    fc.assert(
      fc.property(ranges, fc.bigInt({ min: 0n, max: 1000n }), ([family, stretches], ordinal) => {
        const at = (value: number): string => ipFromBigInt(BigInt(value) + 0x0a00_0000n, family);
        const list = stretches.map(([start, length]): AddressRange => ({
          family,
          first: at(start),
          last: at(start + length),
        }));
        const all = stretches.flatMap(([start, length]) => Array.from({ length: length + 1 }, (_, i) => at(start + i)));
        const [candidates, ...others] = candidatesOf(list, ordinal);
        assert.ok(candidates !== undefined && others.length === 0);
        assert.equal(candidates.count, BigInt(all.length));
        const preferred = all[Number(ordinal % BigInt(all.length))]!;
        assert.deepEqual([...candidateAddresses(candidates)], [preferred, ...all.filter((each) => each !== preferred)]);
        for (let value = -1; value < 220; value++)
          assert.equal(isCandidate(candidates, at(value)), all.includes(at(value)));
      }),
    );
  });

  void it("are told apart by family, IPv4 first", () => {
    const both = candidatesOf(["fd00::5", "10.0.0.5", "fd00::7-fd00::8"].map(parseAddressRange), 1n);
    assert.deepEqual(
      both.map((each) => [...candidateAddresses(each)]),
      [["10.0.0.5"], ["fd00::7", "fd00::5", "fd00::8"]],
    );
    assert.ok(
      both.every((each) => [...candidateAddresses(each)].every((address) => ipFamily(address) === each.family)),
    );
    assert.equal(isCandidate(both[0]!, "fd00::5"), false);
  });
});

void describe("a pool's room", () => {
  for (const [replicas, maxSurge, count, expected] of [
    [3, 1, 4n, undefined],
    [
      3,
      1,
      3n,
      "3 replicas and 1 more during a rolling update need 4 addresses, and there are 3; add 1, or lower replicas or maxSurge",
    ],
    [3, "25%", 4n, undefined],
    [3, "25%", 3n, /and 1 more .* need 4 .* add 1/],
    [4, "25%", 4n, /and 1 more .* need 5/],
    [5, "25%", 6n, /and 2 more .* need 7/],
    [10, "100%", 20n, undefined],
    [10, "0%", 10n, undefined],
    [10, undefined, 10n, undefined],
    [10, 0, 9n, /^10 replicas need 10 addresses, and there are 9; add 1/],
    [0, "25%", 0n, undefined],
    [1, "1%", 1n, /need 2/],
    [1, -5, 1n, undefined],
    [1, "many", 1n, undefined],
    [2, 1, 1n << 64n, undefined],
  ] as const) {
    void it(`${replicas} replicas, maxSurge ${maxSurge}, ${count} addresses`, () => {
      const said = poolRoom(replicas, maxSurge, count);
      if (expected === undefined || typeof expected === "string") assert.equal(said, expected);
      else assert.match(said ?? "", expected);
    });
  }
});
