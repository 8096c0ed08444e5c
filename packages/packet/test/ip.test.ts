import assert from "node:assert/strict";
import { isIP } from "node:net";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import oracle from "ipaddr.js";
import {
  AddressError,
  compareIps,
  ipFamily,
  ipFromBigInt,
  ipFromBytes,
  ipFromObjectName,
  ipToBigInt,
  ipToBytes,
  ipToObjectName,
  isIp,
  parseIp,
} from "../src/index.ts";

const v4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Sixteen bytes of which many are zero, as addresses have them. */
const v6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat({ max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const addressBytes = fc.oneof(v4Bytes, v6Bytes);

function textOf(bytes: Uint8Array): string {
  return ipFromBytes(bytes, 0, bytes.length === 4 ? 4 : 6);
}

function isMapped(bytes: Uint8Array): boolean {
  return (
    bytes.length === 16 && bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255
  );
}

describe("text", () => {
  test("is what ipaddr.js calls canonical (RFC 5952)", () => {
    fc.assert(
      fc.property(addressBytes, (bytes) => {
        fc.pre(!isMapped(bytes));
        const expected = oracle.fromByteArray([...bytes]);
        const text = expected.kind() === "ipv6" ? (expected as oracle.IPv6).toRFC5952String() : expected.toString();
        assert.equal(textOf(bytes), text);
      }),
      { numRuns: 3000 },
    );
  });

  const canonical: readonly (readonly [string, string])[] = [
    ["::", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["fe80::", "fe80::"],
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["::ffff:102:304", "::ffff:1.2.3.4"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["255.255.255.255", "255.255.255.255"],
    ["0.0.0.0", "0.0.0.0"],
  ];
  for (const [given, expected] of canonical) {
    test(`${given} is ${expected}`, () => assert.equal(parseIp(given), expected));
  }

  const refused = [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.256",
    "1.2.3.-4",
    " 1.2.3.4",
    "1.2.3.4/24",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "::12345",
    "1:2:3:4:5:6:7:8::",
    "::1%eth0",
    "1:",
    ":1",
    "::ffff:1.2.3",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::g",
  ];
  for (const text of refused) {
    test(`${JSON.stringify(text)} is refused`, () => {
      assert.equal(isIp(text), false);
      assert.throws(() => parseIp(text), { code: "PACKET_BAD_ADDRESS" });
    });
  }

  test("is an address exactly when node:net says so", () => {
    const piece = fc.constantFrom("0", "1", "ff", "1234", "10", "255", "256", ":", "::", ".", "g", "00", "");
    const text = fc.array(piece, { maxLength: 18 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, (candidate) => assert.equal(isIp(candidate), isIP(candidate) !== 0, candidate)),
      { numRuns: 20_000 },
    );
  });
});

describe("conversions", () => {
  test("text, bytes and number are one address", () => {
    fc.assert(
      fc.property(addressBytes, (bytes) => {
        const ip = textOf(bytes);
        assert.equal(parseIp(ip), ip);
        assert.equal(ipFamily(ip), bytes.length === 4 ? 4 : 6);
        assert.deepStrictEqual(ipToBytes(ip), bytes);
        assert.equal(ipToBigInt(ip), BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
        assert.equal(ipFromBigInt(ipToBigInt(ip), ipFamily(ip)), ip);
        assert.equal(ipFromObjectName(ipToObjectName(ip)), ip);
        assert.match(ipToObjectName(ip), /^[0-9a-f]+(?:-[0-9a-f]+){3,7}$/);
      }),
    );
  });

  test("an address has one object name", () => {
    assert.equal(ipToObjectName("10.244.1.0"), "10-244-1-0");
    assert.equal(ipToObjectName("fd00:244::1"), "fd00-0244-0000-0000-0000-0000-0000-0001");
    for (const name of ["fd00-244-0-0-0-0-0-1", "10-0-0", "10-0-0-256", "010-0-0-1", "10.0.0.1", ""]) {
      assert.throws(() => ipFromObjectName(name), AddressError, name);
    }
  });

  test("order is by family, then by number", () => {
    fc.assert(
      fc.property(addressBytes, addressBytes, (a, b) => {
        const expected = a.length === b.length ? Buffer.compare(a, b) : a.length - b.length;
        assert.equal(Math.sign(compareIps(textOf(a), textOf(b))), Math.sign(expected));
      }),
    );
  });

  test("numbers and buffers that hold no address are refused", () => {
    assert.throws(() => ipFromBigInt(1n << 32n, 4), AddressError);
    assert.throws(() => ipFromBigInt(1n << 128n, 6), AddressError);
    assert.throws(() => ipFromBigInt(-1n, 6), AddressError);
    assert.throws(() => ipFromBytes(new Uint8Array(16), 1, 6), AddressError);
    assert.throws(() => ipToBytes("nonsense"), AddressError);
  });
});
