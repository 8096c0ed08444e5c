import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { LinkError } from "../src/index.ts";
import { addressBytes, formatAddress, formatMac, macBytes, parsePrefix } from "../src/inet.ts";
import { MessageWriter, parseAcknowledgement, parseAttributes, parseMessages } from "../src/netlink.ts";
import { newVeth, readAddress, readLink, readNeighbour, readRoute } from "../src/rtnetlink.ts";

describe("framing", () => {
  it("attributes come back as they were written, nested ones too", () => {
    const attribute = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(
        fc.uniqueArray(attribute, { selector: ([type]) => type, maxLength: 20 }),
        fc.nat(0xffffffff),
        (attributes, sequence) => {
          const writer = new MessageWriter(24, 5, Buffer.alloc(12));
          writer.nest(0x3ffe, () => {
            for (const [type, value] of attributes) writer.bytes(type, value);
          });
          const [message, ...others] = parseMessages(writer.finish(sequence));
          assert.equal(others.length, 0);
          assert.deepEqual([message!.type, message!.flags, message!.sequence], [24, 5, sequence]);
          const inner = parseAttributes(parseAttributes(message!.payload, 12).get(0x3ffe)!);
          assert.equal(inner.size, attributes.length);
          for (const [type, value] of attributes) assert.deepEqual(new Uint8Array(inner.get(type)!), value);
        },
      ),
    );
  });

  it("what arrives can be anything: records or LINK_PROTOCOL, and no reading past the end", () => {
    const sound = newVeth({ host: "a", peer: "b", mtu: 1400, peerMac: "0a:58:00:00:00:01" }, 3, true).finish(7);
    const damaged = fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
      const copy = Buffer.from(sound);
      for (const [at, value] of changes) copy[at] = value;
      return copy;
    });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((all) => Buffer.from(all)),
      damaged,
    );
    fc.assert(
      fc.property(bytes, (datagram) => {
        try {
          for (const message of parseMessages(datagram)) {
            parseAcknowledgement({ ...message, flags: 0x200 });
            for (const type of [16, 20, 24, 28]) {
              for (const read of [readLink, readAddress, readRoute, readNeighbour]) read({ ...message, type });
            }
          }
        } catch (error) {
          assert.ok(error instanceof LinkError && error.code === "LINK_PROTOCOL", String(error));
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("addresses", () => {
  it("canonical text of RFC 5952, both ways", () => {
    for (const text of [
      "10.0.0.1",
      "::",
      "::1",
      "fd00::5",
      "2001:db8::1:0:0:1",
      "1:2:3:4:5:6:7:8",
      "fe80::",
      "1:0:2::",
      "::ffff:10.0.0.1",
      "0:1::",
      "1::2:0:3",
    ]) {
      assert.equal(formatAddress(addressBytes(text)), formatAddress(addressBytes(formatAddress(addressBytes(text)))));
    }
    assert.equal(formatAddress(addressBytes("FD00:0:0:0:0:0:0:5")), "fd00::5");
    assert.equal(formatAddress(addressBytes("2001:db8:0:0:1:0:0:1")), "2001:db8::1:0:0:1");
    assert.equal(formatAddress(addressBytes("64:ff9b::192.0.2.33")), "64:ff9b::c000:221");
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const bytes = addressBytes(text);
        assert.deepEqual(addressBytes(formatAddress(bytes)), bytes);
      }),
    );
    assert.equal(formatMac(macBytes("0A:58:0a:f4:01:05")), "0a:58:0a:f4:01:05");
  });

  it("refuses what is none", () => {
    for (const text of [
      "",
      "10.0.0",
      "10.0.0.256/24",
      "10.0.0.1/33",
      "::1/129",
      "fe80::1%eth0",
      "10.0.0.1/-1",
      "10.0.0.1/24/2",
      "x",
    ]) {
      assert.throws(
        () => parsePrefix(text),
        (error) => error instanceof LinkError && error.code === "LINK_BAD_ADDRESS",
        text,
      );
    }
    assert.throws(() => macBytes("0a:58:0a:f4:01"), LinkError);
  });
});
