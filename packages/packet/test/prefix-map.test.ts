import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  cidrContains,
  cidrOf,
  cidrsOverlap,
  compareIps,
  formatCidr,
  ipFromBytes,
  ipToBytes,
  parseCidr,
  PrefixMap,
} from "../src/index.ts";
import type { Cidr } from "../src/index.ts";

/** Few distinct bytes, so that prefixes nest and addresses hit them. */
const byte = fc.constantFrom(0, 1, 128, 255);
const ip = fc.oneof(
  fc.array(byte, { minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(Uint8Array.from(bytes), 0, 4)),
  fc.array(byte, { minLength: 16, maxLength: 16 }).map((bytes) => ipFromBytes(Uint8Array.from(bytes), 0, 6)),
);
const cidr = fc
  .tuple(ip, fc.nat({ max: 128 }))
  .map(([address, n]) => cidrOf(address, address.includes(":") ? n : n % 33));

const operation = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant("set" as const), cidr) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("delete" as const), cidr) },
);

/** What the map must say, by looking at everything. */
function longest(entries: ReadonlyMap<string, Cidr>, address: string): Cidr | undefined {
  let best: Cidr | undefined;
  for (const entry of entries.values()) {
    if (cidrContains(entry, address) && (best === undefined || entry.length > best.length)) best = entry;
  }
  return best;
}

test("it agrees with a search through all entries, after any sequence of changes", () => {
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 40 }),
      fc.array(ip, { minLength: 1, maxLength: 8 }),
      (operations, addresses) => {
        const map = new PrefixMap<string>();
        const entries = new Map<string, Cidr>();
        for (const [kind, prefix] of operations) {
          const key = formatCidr(prefix);
          if (kind === "set") {
            map.set(prefix, key);
            entries.set(key, prefix);
          } else {
            assert.equal(map.delete(prefix), entries.delete(key));
          }
          assert.equal(map.get(prefix), entries.has(key) ? key : undefined);
        }
        assert.equal(map.size, entries.size);
        const sorted = [...entries.values()].sort((a, b) => compareIps(a.address, b.address) || a.length - b.length);
        assert.deepStrictEqual(
          [...map.entries()].map((entry) => entry.cidr),
          sorted,
        );
        for (const address of addresses) {
          const best = longest(entries, address);
          assert.deepStrictEqual(map.lookup(address)?.cidr, best);
          const bytes = ipToBytes(address);
          assert.deepStrictEqual(map.lookupBytes(bytes, 0, bytes.length === 4 ? 4 : 6)?.cidr, best);

          const disjoint = map.widestDisjoint(address);
          assert.equal(disjoint === undefined, best !== undefined);
          if (disjoint === undefined) continue;
          const overlaps = (candidate: Cidr): boolean =>
            [...entries.values()].some((entry) => cidrsOverlap(entry, candidate));
          assert.ok(cidrContains(disjoint, address));
          assert.equal(overlaps(disjoint), false);
          if (disjoint.length > 0) assert.ok(overlaps(cidrOf(address, disjoint.length - 1)), "a wider one would do");
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("the whole internet and single addresses are prefixes too", () => {
  const map = new PrefixMap<number>();
  assert.deepStrictEqual(map.widestDisjoint("10.0.0.1"), parseCidr("0.0.0.0/0"));
  map.set(parseCidr("0.0.0.0/0"), 1);
  map.set(parseCidr("10.0.0.1/32"), 2);
  assert.equal(map.lookup("10.0.0.1")?.value, 2);
  assert.equal(map.lookup("10.0.0.2")?.value, 1);
  assert.equal(map.lookup("::a00:1"), undefined);
  map.delete(parseCidr("0.0.0.0/0"));
  assert.deepStrictEqual(map.widestDisjoint("10.0.0.0"), parseCidr("10.0.0.0/32"));
  map.set(parseCidr("10.0.0.1/32"), 3);
  assert.equal(map.size, 1);
  assert.equal(map.get(parseCidr("10.0.0.1/32")), 3);
});
