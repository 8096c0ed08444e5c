import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseAddressRange } from "@beyondfabric/kube/kinds";
import type { AddressRange } from "@beyondfabric/kube/kinds";
import { ipFamily, ipFromBigInt } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { candidateAddresses, candidatesOf, isCandidate, poolRoom } from "../../src/ipam/candidates.ts";
import { hash64 } from "../../src/ipam/hash.ts";

void describe("candidates", () => {
  void it("are every address once, the pod's own place first", () => {
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
    const place = fc.option(fc.bigInt({ min: 0n, max: 1000n }), { nil: undefined });
    const seed = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    fc.assert(
      fc.property(ranges, place, seed, ([family, stretches], ordinal, seed) => {
        const at = (value: number): string => ipFromBigInt(BigInt(value) + 0x0a00_0000n, family);
        const list = stretches.map(([start, length]): AddressRange => ({
          family,
          first: at(start),
          last: at(start + length),
        }));
        const all = stretches.flatMap(([start, length]) => Array.from({ length: length + 1 }, (_, i) => at(start + i)));
        const [candidates, ...others] = candidatesOf(list, { seed, ordinal });
        assert.ok(candidates !== undefined && others.length === 0);
        assert.equal(candidates.count, BigInt(all.length));
        const order = [...candidateAddresses(candidates)];
        assert.equal(order[0], all[Number((ordinal ?? seed) % BigInt(all.length))]);
        assert.deepEqual(order.toSorted(), all.toSorted());
        for (let value = -1; value < 220; value++)
          assert.equal(isCandidate(candidates, at(value)), all.includes(at(value)));
      }),
    );
  });

  void it("are told apart by family, IPv4 first", () => {
    const both = candidatesOf(["fd00::5", "10.0.0.5", "fd00::7-fd00::8"].map(parseAddressRange), {
      seed: 0n,
      ordinal: 1n,
    });
    assert.deepEqual(
      both.map((each) => [...candidateAddresses(each)]),
      [["10.0.0.5"], ["fd00::7", "fd00::8", "fd00::5"]],
    );
    assert.ok(
      both.every((each) => [...candidateAddresses(each)].every((address) => ipFamily(address) === each.family)),
    );
    assert.equal(isCandidate(both[0]!, "fd00::5"), false);
  });
});

void describe("the orders of many pods", () => {
  const seeds = Array.from({ length: 1000 }, (_, index) => hash64(`pod ${index}`));

  void it("begin in different places, and go on from one place to different ones", () => {
    const [range] = ["10.0.0.0-10.0.0.9"].map(parseAddressRange);
    const orders = seeds.map((seed) => [...candidateAddresses(candidatesOf([range!], { seed })[0]!)]);
    for (const address of orders[0]!) {
      const beginning = orders.filter(([first]) => first === address);
      assert.ok(beginning.length > 50 && beginning.length < 200, `${address} is the first of ${beginning.length}`);
      assert.ok(new Set(beginning.map((order) => order[1])).size >= 3);
    }
  });

  void it("take addresses of two families in pairs, where there are as many of each", () => {
    const ranges = ["10.0.0.1-10.0.0.9", "fd00::1-fd00::9"].map(parseAddressRange);
    for (const seed of seeds) {
      const [ipv4, ipv6] = candidatesOf(ranges, { seed }).map((each) => [...candidateAddresses(each)]);
      assert.deepEqual(
        ipv4!.map((address) => address.at(-1)),
        ipv6!.map((address) => address.at(-1)),
      );
    }
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
