import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeMessage, encodeMessage, isPacketIn2, packetInView, resumeFrame } from "../src/index.ts";
import type { Match, Message } from "../src/index.ts";

const ALL = 0xffff_ffff_ffff_ffffn;
const xreg2 = Buffer.from("80010510000000ee000000eeffffffffffffffff", "hex");
type PacketIn2 = Extract<Message, { type: "packet_in2" }>;

function packetIn(metadata: Match, others: Partial<PacketIn2> = {}): Buffer {
  return encodeMessage(
    {
      type: "packet_in2",
      packet: Uint8Array.of(1),
      table: 5,
      reason: "action",
      metadata,
      continuation: Uint8Array.of(9),
      ...others,
    },
    77,
  );
}

describe("registers", () => {
  const frame = packetIn([
    { field: "in_port", value: 4n },
    { field: "tunnel_id", value: 9n },
    { field: "xreg0", value: 0x1111_2222_0000_0000n, mask: 0xffff_ffff_0000_0000n },
    { field: "xreg2", value: 0xaaaa_bbbb_cccc_ddddn },
    { field: "reg12", value: 5n },
  ]);

  test("are read from pairs, with and without mask, and from single fields", () => {
    const view = packetInView(frame);
    assert.equal(view.readRegister(0), 0x1111_2222);
    assert.equal(view.readRegister(1), 0);
    assert.equal(view.readRegister(4), 0xaaaa_bbbb);
    assert.equal(view.readRegister(5), 0xcccc_dddd);
    assert.equal(view.readRegister(12), 5);
    assert.equal(view.readXreg(2), 0xaaaa_bbbb_cccc_ddddn);
    assert.equal(view.readXreg(1), 0n);
    assert.equal(view.inPort(), 4);
    assert.equal(view.tunnelId(), 9n);
  });

  test("are written whole, the mask too", () => {
    const resumed = decodeMessage(
      resumeFrame(frame, [
        { xreg: 0, value: 1n },
        { xreg: 2, value: ALL },
      ]),
    );
    assert.ok(resumed.type === "resume");
    assert.deepStrictEqual(resumed.metadata?.slice(2, 4), [
      { field: "xreg0", value: 1n, mask: ALL },
      { field: "xreg2", value: ALL },
    ]);
  });

  test("that are missing cannot be written", () => {
    assert.throws(() => resumeFrame(frame, [{ xreg: 7, value: 1n }]), /xreg7 is not in the packet-in's metadata/);
  });
});

test("only the metadata is written, whatever else looks like it", () => {
  const frame = packetIn([{ field: "xreg2", value: 0xee_0000_00een, mask: ALL }], {
    packet: new Uint8Array(xreg2),
    userdata: new Uint8Array(xreg2),
    continuation: new Uint8Array(xreg2),
  });
  const resumed = decodeMessage(resumeFrame(frame, [{ xreg: 2, value: 3n }]));
  const original = decodeMessage(frame);
  assert.deepStrictEqual(resumed, {
    ...original,
    type: "resume",
    metadata: [{ field: "xreg2", value: 3n, mask: ALL }],
  });
});

test("the packet-in itself is not changed, and its xid is kept", () => {
  const frame = packetIn([{ field: "xreg2", value: 1n }]);
  const before = Buffer.from(frame);
  const resumed = resumeFrame(frame, [{ xreg: 2, value: 2n }]);
  assert.deepStrictEqual(frame, before);
  assert.equal(resumed.readUInt32BE(4), 77);
  assert.equal(resumed.length, frame.length);
});

test("tunnel sources of both families are told as text", () => {
  assert.equal(packetInView(packetIn([{ field: "tun_src", value: 0x0a0a_000bn }])).tunnelSource(), "10.10.0.11");
  const v6 = packetIn([{ field: "tun_ipv6_src", value: (0xfd00n << 112n) | 1n }]);
  assert.equal(packetInView(v6).tunnelSource(), "fd00::1");
  assert.equal(packetInView(packetIn([])).tunnelSource(), undefined);
});

test("what the switch left out has a default", () => {
  const view = packetInView(encodeMessage({ type: "packet_in2", packet: Uint8Array.of(1, 2, 3) }, 1));
  assert.equal(view.cookie, ALL);
  assert.equal(view.fullLength, 3);
  assert.equal(view.userdata.length, 0);
  assert.equal(view.hasContinuation, false);
  assert.equal(view.inPort(), 0);
  assert.equal(packetInView(packetIn([], { fullLength: 1500, cookie: 7n })).fullLength, 1500);
});

describe("frames that are none", () => {
  const frame = packetIn([{ field: "in_port", value: 4n }]);
  test("are told apart", () => {
    assert.ok(isPacketIn2(frame));
    for (const other of [encodeMessage({ type: "barrier_reply" }, 1), frame.subarray(0, 15), Buffer.alloc(0)]) {
      assert.equal(isPacketIn2(other), false);
      assert.throws(() => packetInView(other), { code: "OPENFLOW_BAD_FRAME" });
    }
    assert.equal(isPacketIn2(encodeMessage({ type: "resume", packet: Uint8Array.of(1) }, 1)), false);
  });

  test("are refused when a property leaves the frame or has no length", () => {
    for (const size of [0, 3, 0x7fff]) {
      const broken = Buffer.from(frame);
      broken.writeUInt16BE(size, 18);
      assert.throws(() => packetInView(broken), { code: "OPENFLOW_BAD_FRAME", message: /property 0 at byte 16/ });
    }
  });

  test("hide no register behind a field that leaves the metadata", () => {
    const broken = packetIn([
      { field: "in_port", value: 4n },
      { field: "xreg2", value: 1n },
    ]);
    const at = broken.indexOf(Buffer.from("80000004", "hex"));
    broken[at + 3] = 200;
    assert.equal(packetInView(broken).readRegister(5), 0);
  });
});
