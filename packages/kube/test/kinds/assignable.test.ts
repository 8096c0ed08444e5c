import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ipFromBigInt, ipToBigInt } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { assignableIntervals, intervalsSize, ordinalOf, specificIntervals, valueAt } from "@beyondfabric/kube/kinds";
import { subnet as named } from "./objects.ts";
import type { Subnet } from "@beyondfabric/kube/kinds";

function subnet(spec: Record<string, unknown>): Subnet {
  return named("s", spec);
}

function texts(spec: Record<string, unknown>, of = assignableIntervals): string[] {
  const s = subnet(spec);
  return s.families.flatMap((family) =>
    of(s, family).map(
      ({ first, last }) => `${ipFromBigInt(first, family.family)}-${ipFromBigInt(last, family.family)}`,
    ),
  );
}

void describe("assignable addresses", () => {
  void it("leave out the network, the gateway, the broadcast address, and the anycast address of IPv6", () => {
    assert.deepEqual(texts({ cidrs: ["10.0.0.0/24", "fd00::/120"] }), ["10.0.0.2-10.0.0.254", "fd00::2-fd00::ff"]);
    assert.deepEqual(texts({ cidrs: ["10.0.0.0/24"], gateways: ["10.0.0.254"] }), ["10.0.0.1-10.0.0.253"]);
  });

  void it("are the ranges without what is excluded or reserved", () => {
    const spec = {
      cidrs: ["10.0.0.0/24"],
      ranges: ["10.0.0.50-10.0.0.70", "10.0.0.60-10.0.0.80", "10.0.0.0/29"],
      excluded: ["10.0.0.55", "10.0.0.64/28"],
      reserved: ["10.0.0.50"],
    };
    assert.deepEqual(texts(spec), [
      "10.0.0.2-10.0.0.7",
      "10.0.0.51-10.0.0.54",
      "10.0.0.56-10.0.0.63",
      "10.0.0.80-10.0.0.80",
    ]);
    assert.deepEqual(texts(spec, specificIntervals)[1], "10.0.0.50-10.0.0.54");
  });

  void it("can be none", () => {
    assert.deepEqual(texts({ cidrs: ["10.0.0.0/24"], excluded: ["10.0.0.0/24"] }), []);
  });

  void it("agree with looking at every address", () => {
    const range = fc
      .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 0, max: 63 }))
      .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    const ranges = fc.array(range, { maxLength: 4 });
    fc.assert(
      fc.property(ranges, ranges, ranges, fc.integer({ min: 1, max: 62 }), (allowed, excluded, reserved, gateway) => {
        const text = (list: readonly (readonly [number, number])[]): string[] =>
          list.map(([a, b]) => `10.0.0.${a}-10.0.0.${b}`);
        const s = subnet({
          cidrs: ["10.0.0.0/26"],
          gateways: [`10.0.0.${gateway}`],
          ranges: text(allowed),
          excluded: text(excluded),
          reserved: text(reserved),
        });
        const isIn = (list: readonly (readonly [number, number])[], n: number): boolean =>
          list.some(([a, b]) => a <= n && n <= b);
        const expected: bigint[] = [];
        for (let n = 1; n < 63; n++) {
          const isAllowed = allowed.length === 0 || isIn(allowed, n);
          if (isAllowed && n !== gateway && !isIn(excluded, n) && !isIn(reserved, n))
            expected.push(ipToBigInt(`10.0.0.${n}`));
        }
        const intervals = assignableIntervals(s, s.families[0]!);
        assert.equal(intervalsSize(intervals), BigInt(expected.length));
        for (const [ordinal, value] of expected.entries()) {
          assert.equal(valueAt(intervals, BigInt(ordinal)), value);
          assert.equal(ordinalOf(intervals, value), BigInt(ordinal));
        }
      }),
    );
  });
});
