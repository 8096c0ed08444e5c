import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import oracle from "ipaddr.js";
import {
  addressAt,
  AddressError,
  cidrContains,
  cidrContainsCidr,
  cidrOf,
  cidrsOverlap,
  cidrSize,
  firstAddress,
  formatCidr,
  indexOf,
  ipFromBytes,
  lastAddress,
  parseCidr,
} from "../src/index.ts";
import type { Cidr } from "../src/index.ts";

const ip4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(bytes, 0, 4));
const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ipFromBytes(bytes, 0, 6));
const cidr4 = fc.tuple(ip4, fc.nat({ max: 32 })).map(([ip, length]) => cidrOf(ip, length));
const cidr6 = fc.tuple(ip6, fc.nat({ max: 128 })).map(([ip, length]) => cidrOf(ip, length));
const anyCidr = fc.oneof(cidr4, cidr6);
const anyIp = fc.oneof(ip4, ip6);

function oracleContains(cidr: Cidr, ip: string): boolean {
  const address = oracle.parse(ip);
  const range = oracle.parseCIDR(formatCidr(cidr));
  return address.kind() === range[0].kind() && address.match(range);
}

describe("against ipaddr.js", () => {
  test("containment of addresses, near and far", () => {
    fc.assert(
      fc.property(anyCidr, anyIp, fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (cidr, far, index) => {
        const near = addressAt(cidr, index % cidrSize(cidr));
        assert.ok(cidrContains(cidr, near));
        assert.ok(oracleContains(cidr, near));
        assert.equal(indexOf(cidr, near), index % cidrSize(cidr));
        assert.equal(cidrContains(cidr, far), oracleContains(cidr, far));
      }),
      { numRuns: 2000 },
    );
  });

  test("first and last address of IPv4", () => {
    fc.assert(
      fc.property(cidr4, (cidr) => {
        assert.equal(firstAddress(cidr), oracle.IPv4.networkAddressFromCIDR(formatCidr(cidr)).toString());
        assert.equal(lastAddress(cidr), oracle.IPv4.broadcastAddressFromCIDR(formatCidr(cidr)).toString());
      }),
    );
  });
});

test("prefixes overlap exactly when one contains the other", () => {
  const close = fc.tuple(anyCidr, fc.nat({ max: 128 })).map(([cidr, length]): [Cidr, Cidr] => {
    return [cidr, cidrOf(cidr.address, length % (cidr.family === 4 ? 33 : 129))];
  });
  fc.assert(
    fc.property(fc.oneof(close, fc.tuple(anyCidr, anyCidr)), ([a, b]) => {
      const overlap = a.family === b.family && (cidrContains(a, b.address) || cidrContains(b, a.address));
      assert.equal(cidrsOverlap(a, b), overlap);
      assert.equal(cidrContainsCidr(a, b), overlap && a.length <= b.length);
    }),
  );
});

test("text and value are one prefix", () => {
  fc.assert(fc.property(anyCidr, (cidr) => assert.deepStrictEqual(parseCidr(formatCidr(cidr)), cidr)));
});

test("host bits are refused with the prefix that was meant", () => {
  assert.throws(() => parseCidr("10.0.0.5/24"), {
    code: "PACKET_BAD_ADDRESS",
    message: /has host bits set; write 10\.0\.0\.0\/24/,
  });
  assert.throws(() => parseCidr("fd00::1/64"), { message: /write fd00::\/64/ });
});

test("what is no prefix is refused", () => {
  for (const text of [
    "",
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "x/8",
    "10.0.0.0/8/8",
    "10.0.0.0/1e1",
  ]) {
    assert.throws(() => parseCidr(text), AddressError, text);
  }
});

test("sizes and indexes have bounds", () => {
  assert.equal(cidrSize(parseCidr("10.0.0.0/26")), 64n);
  assert.equal(cidrSize(parseCidr("::/0")), 1n << 128n);
  assert.equal(addressAt(parseCidr("fd00::/122"), 63n), "fd00::3f");
  assert.throws(() => addressAt(parseCidr("10.0.0.0/26"), 64n), /outside of 10\.0\.0\.0\/26, which has 64/);
  assert.throws(() => addressAt(parseCidr("10.0.0.0/26"), -1n), AddressError);
  assert.throws(() => indexOf(parseCidr("10.0.0.0/26"), "10.0.0.64"), AddressError);
  assert.throws(() => cidrOf("10.0.0.0", 33), AddressError);
});
