import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { ChannelError, FrameSplitter } from "@beyondfabric/openflow/channel";

function frame(payload: Uint8Array): Buffer {
  const header = Buffer.from([6, 2, 0, 0, 0, 0, 0, 1]);
  header.writeUInt16BE(8 + payload.length, 2);
  return Buffer.concat([header, payload]);
}

/** Cuts at the given points, each chunk in memory of its own, as a socket delivers them. */
function cut(bytes: Buffer, points: readonly number[]): Buffer[] {
  const at = [...new Set(points.map((point) => point % (bytes.length + 1))), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return at.map((to) => {
    const chunk = Buffer.from(bytes.subarray(from, to));
    from = to;
    return chunk;
  });
}

void test("frames come out whole and in order, however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }),
      fc.array(fc.nat(2000), { maxLength: 30 }),
      (payloads, points) => {
        const frames = payloads.map((payload) => frame(payload));
        const out: string[] = [];
        const splitter = new FrameSplitter((each) => out.push(each.toString("hex")));
        for (const chunk of cut(Buffer.concat(frames), points)) splitter.push(chunk);
        assert.deepEqual(
          out,
          frames.map((each) => each.toString("hex")),
        );
      },
    ),
    { numRuns: 500 },
  );
  const bytes = Buffer.concat([frame(Buffer.from("abc")), frame(Buffer.alloc(65527, 1)), frame(Buffer.alloc(0))]);
  for (const size of [1, 7, 8, 9, 65536]) {
    const lengths: number[] = [];
    const splitter = new FrameSplitter((each) => lengths.push(each.length));
    for (let at = 0; at < bytes.length; at += size) splitter.push(Buffer.from(bytes.subarray(at, at + size)));
    assert.deepEqual(lengths, [11, 65535, 8], `chunks of ${size}`);
  }
});

void test("a frame that lies in one chunk is not copied", () => {
  const chunk = Buffer.concat([frame(Buffer.from("abc")), frame(Buffer.from("de"))]);
  new FrameSplitter((each) => assert.equal(each.buffer, chunk.buffer)).push(chunk);
});

void test("any bytes are frames or OPENFLOW_PROTOCOL, and never more memory than one frame", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
      let out = 0;
      const splitter = new FrameSplitter((each) => {
        assert.equal(each.length, each.readUInt16BE(2));
        out += each.length;
      });
      let pushed = 0;
      try {
        for (const chunk of chunks) {
          pushed += chunk.length;
          splitter.push(Buffer.from(chunk));
        }
        assert.ok(out <= pushed);
      } catch (error) {
        assert.ok(error instanceof ChannelError && error.code === "OPENFLOW_PROTOCOL", String(error));
      }
    }),
    { numRuns: 1000 },
  );
  for (const length of [0, 1, 7]) {
    const header = Buffer.from([6, 0, 0, length, 0, 0, 0, 0]);
    assert.throws(() => new FrameSplitter(() => {}).push(header), /claims [017] bytes/);
    const splitter = new FrameSplitter(() => {});
    splitter.push(header.subarray(0, 3));
    assert.throws(() => splitter.push(header.subarray(3)), /claims [017] bytes/);
  }
});
