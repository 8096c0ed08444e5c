import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  FRAME_LENGTH,
  formatAddress,
  headerChecksum,
  parseAddress,
  readStamp,
  writeSendTime,
  writeStamp,
  writeTemplate,
  type FrameTemplate,
} from "../../traffic/frame.ts";

const template: FrameTemplate = {
  destinationMac: "02:bf:00:00:00:02",
  sourceMac: "02:bf:00:00:00:01",
  sourceAddress: parseAddress("10.1.0.1"),
  destinationAddress: parseAddress("10.1.0.2"),
  sourcePort: 40000,
  destinationPort: 9,
  run: 0xfedcba98,
};

function frame(): DataView {
  const view = new DataView(new ArrayBuffer(FRAME_LENGTH));
  writeTemplate(view, template);
  return view;
}

void describe("frames", () => {
  void it("a templated frame is Ethernet, IPv4 and UDP as the standards lay them out", () => {
    const bytes = Buffer.from(frame().buffer);
    assert.equal(bytes.subarray(0, 14).toString("hex"), "02bf0000000202bf000000010800");
    // Version 4, header of five words, 56 bytes, don't fragment, TTL 64, UDP; the checksum was computed by hand.
    assert.equal(bytes.subarray(14, 34).toString("hex"), "4500003800004000401126b10a0100010a010002");
    assert.equal(bytes.subarray(34, 42).toString("hex"), "9c40000900240000");
  });

  void it("whatever address is written, the header's checksum verifies", () => {
    const view = frame();
    fc.assert(
      fc.property(
        fc.nat(0xffffffff),
        fc.constantFrom("source" as const, "destination" as const),
        fc.nat(0xffffffff),
        (address, field, sequence) => {
          writeTemplate(view, template);
          writeStamp(view, { sequence, flow: 1, index: 0, sentAt: 5 }, field, address);
          assert.equal(headerChecksum(view, 14, 20), 0);
          assert.equal(view.getUint32(field === "source" ? 26 : 30), address);
          assert.equal(
            view.getUint32(field === "source" ? 30 : 26),
            parseAddress(field === "source" ? "10.1.0.2" : "10.1.0.1"),
          );
        },
      ),
    );
  });

  void it("a stamp survives the wire, times of years of uptime included", () => {
    const view = frame();
    const read = { sequence: 0, flow: 0, index: 0, sentAt: 0 };
    fc.assert(
      fc.property(
        fc.nat(0xffffffff),
        fc.nat(0xffffffff),
        fc.nat(0xffffffff),
        fc.maxSafeInteger().map(Math.abs),
        (sequence, flow, index, sentAt) => {
          writeStamp(view, { sequence, flow, index, sentAt: 0 }, "source", 1);
          writeSendTime(view, sentAt);
          assert.ok(readStamp(view, 0, FRAME_LENGTH, template.run, read));
          assert.deepEqual(read, { sequence, flow, index, sentAt });
        },
      ),
    );
  });

  void it("frames of another run, short frames and other protocols are not taken for ours", () => {
    const view = frame();
    const read = { sequence: 0, flow: 0, index: 0, sentAt: 0 };
    assert.equal(readStamp(view, 0, FRAME_LENGTH, template.run - 1, read), false);
    assert.equal(readStamp(view, 0, FRAME_LENGTH - 1, template.run, read), false);
    view.setUint16(12, 0x0806);
    assert.equal(readStamp(view, 0, FRAME_LENGTH, template.run, read), false);
  });

  void it("addresses are parsed strictly", () => {
    assert.equal(formatAddress(parseAddress("203.0.113.255")), "203.0.113.255");
    for (const text of ["1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.", "a.b.c.d"]) {
      assert.throws(() => parseAddress(text), RangeError, text);
    }
  });
});
