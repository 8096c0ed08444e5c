import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { AddressError, isMac, macFromBigInt, macFromBytes, macToBigInt, macToBytes, parseMac } from "../src/index.ts";

test("a MAC address is canonical in lower case", () => {
  assert.equal(parseMac("0A:58:0a:F4:00:01"), "0a:58:0a:f4:00:01");
  assert.ok(isMac("FF:ff:FF:ff:FF:ff"));
});

test("what is no MAC address is refused with a remedy", () => {
  for (const text of ["", "0a:58", "0a-58-00-00-00-01", "0a:58:00:00:00:0g", "0a:58:00:00:00:01 ", "0a580000:00:01"]) {
    assert.equal(isMac(text), false, text);
    assert.throws(() => parseMac(text), { code: "PACKET_BAD_ADDRESS", message: /six hex pairs/ });
  }
});

test("text, bytes and number are one address", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), fc.nat({ max: 5 }), (bytes, offset) => {
      const buffer = new Uint8Array(12);
      buffer.set(bytes, offset);
      const mac = macFromBytes(buffer, offset);
      assert.equal(parseMac(mac), mac);
      assert.deepStrictEqual(macToBytes(mac), bytes);
      assert.equal(macFromBigInt(macToBigInt(mac)), mac);
      assert.equal(macToBigInt(mac), BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
    }),
  );
});

test("numbers and buffers that hold no MAC address are refused", () => {
  assert.throws(() => macFromBigInt(1n << 48n), AddressError);
  assert.throws(() => macFromBigInt(-1n), AddressError);
  assert.throws(() => macFromBytes(new Uint8Array(6), 1), AddressError);
  assert.throws(() => macFromBytes(new Uint8Array(6), -1), AddressError);
});
