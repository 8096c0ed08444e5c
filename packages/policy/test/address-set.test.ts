import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { cidrContains, cidrOf, formatCidr, ipFromBigInt, parseCidr, type Cidr } from "@beyondfabric/packet";
import { AddressSet } from "../src/index.ts";

function set(...blocks: (readonly [cidr: string, ...except: string[]])[]): AddressSet {
  return new AddressSet(blocks.map(([cidr, ...except]) => ({ cidr: parseCidr(cidr), except: except.map(parseCidr) })));
}

function answer(addresses: AddressSet, address: string): string {
  const { contained, prefix } = addresses.lookup(address);
  return `${contained ? "in" : "out"} ${formatCidr(prefix)}`;
}

/** All blocks lie in one IPv4 /24 or IPv6 /120, so that every address can be tried. */
const nearby = (family: 4 | 6): fc.Arbitrary<Cidr> =>
  fc
    .tuple(fc.nat({ max: 255 }), fc.nat({ max: 8 }))
    .map(([host, bits]) => cidrOf(ipFromBigInt(BigInt(host), family), (family === 4 ? 24 : 120) + bits));

describe("a set of addresses", () => {
  it("answers with the widest prefix that is all inside, or all outside", () => {
    const addresses = set(["10.0.0.0/8", "10.1.0.0/16"], ["10.1.2.0/24"], ["fd00::/8"]);
    for (const [address, expected] of [
      ["10.0.0.1", "in 10.0.0.0/16"],
      ["10.1.0.1", "out 10.1.0.0/23"],
      ["10.1.2.3", "in 10.1.2.0/24"],
      ["10.200.0.1", "in 10.128.0.0/9"],
      ["11.0.0.0", "out 11.0.0.0/8"],
      ["192.0.2.1", "out 128.0.0.0/1"],
      ["::1", "out ::/1"],
      ["fdff::1", "in fd00::/8"],
      ["ff02::1", "out fe00::/7"],
    ] as const) {
      assert.equal(answer(addresses, address), expected, address);
    }
    assert.equal(answer(set(), "10.0.0.1"), "out 0.0.0.0/0");
    assert.equal(answer(set(["0.0.0.0/0"]), "10.0.0.1"), "in 0.0.0.0/0");
    assert.equal(answer(set(["0.0.0.0/1"], ["128.0.0.0/1"]), "10.0.0.1"), "in 0.0.0.0/0");
    assert.equal(answer(set(["10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25"]), "10.0.0.1"), "out 0.0.0.0/0");
  });

  it("is the union of its blocks, each without its own exceptions, at every address", () => {
    const family = fc.constantFrom(4 as const, 6 as const);
    const property = family.chain((version) => {
      const block = fc.record({ cidr: nearby(version), except: fc.array(nearby(version), { maxLength: 3 }) });
      return fc.tuple(fc.constant(version), fc.array(block, { maxLength: 5 }));
    });
    fc.assert(
      fc.property(property, ([version, blocks]) => {
        const addresses = new AddressSet(blocks);
        const all = Array.from({ length: 256 }, (_, host) => ipFromBigInt(BigInt(host), version));
        const isIn = all.map((address) =>
          blocks.some(
            ({ cidr, except }) => cidrContains(cidr, address) && !except.some((hole) => cidrContains(hole, address)),
          ),
        );
        for (const [host, address] of all.entries()) {
          const { contained, prefix } = addresses.lookup(address);
          assert.equal(contained, isIn[host], address);
          const alike = (around: Cidr): boolean =>
            all.every((other, place) => !cidrContains(around, other) || isIn[place] === contained);
          assert.ok(cidrContains(prefix, address) && alike(prefix), `${address} ${formatCidr(prefix)}`);
          if (prefix.length > (version === 4 ? 24 : 120)) {
            assert.ok(!alike(cidrOf(address, prefix.length - 1)), `${formatCidr(prefix)} could be wider`);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
