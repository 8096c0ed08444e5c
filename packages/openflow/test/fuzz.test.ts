import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  decodeMessage,
  encodeMessage,
  isPacketIn2,
  OpenFlowDecodeError,
  OpenFlowEncodeError,
  OpenFlowTextError,
  packetInView,
  parseFlow,
  resumeFrame,
} from "../src/index.ts";
import { readGoldens } from "./golden.ts";

const goldens = readGoldens().map(({ frame }) => frame);

/** Bytes whose header names their true length: what a channel cuts from its stream. */
function framed(bytes: Uint8Array): Buffer {
  const frame = Buffer.from(bytes);
  if (frame.length >= 4) frame.writeUInt16BE(frame.length, 2);
  return frame;
}

/** Decodes or refuses, and what it decodes means the same after a trip through the encoder. */
function check(frame: Buffer): void {
  let message;
  try {
    message = decodeMessage(frame);
  } catch (error) {
    assert.ok(error instanceof OpenFlowDecodeError, `${String(error)} for ${frame.toString("hex")}`);
    return;
  }
  let again;
  try {
    again = encodeMessage(message, 1);
  } catch (error) {
    assert.ok(error instanceof OpenFlowEncodeError, `${String(error)} for ${frame.toString("hex")}`);
    return;
  }
  assert.deepStrictEqual(decodeMessage(again), message, frame.toString("hex"));
}

function checkView(frame: Buffer): void {
  try {
    const view = packetInView(frame);
    const start = view.packet.byteOffset - frame.byteOffset;
    assert.ok(view.packet.length === 0 || (start >= 0 && start + view.packet.length <= frame.length));
    view.readRegister(3);
    view.readXreg(7);
    view.inPort();
    view.tunnelId();
    view.tunnelSource();
    resumeFrame(frame, [{ xreg: 2, value: 1n }]);
  } catch (error) {
    assert.ok(error instanceof OpenFlowDecodeError || error instanceof OpenFlowEncodeError, String(error));
  }
}

/** A golden frame with some bytes changed, a piece left out or put in twice, or its end cut off. */
const mutated = fc
  .tuple(
    fc.constantFrom(...goldens),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 4, 7, 8, 16, 0x7f, 0x80, 0xfe, 0xff)), { maxLength: 6 }),
    fc.option(fc.tuple(fc.nat(), fc.nat({ max: 64 }))),
    fc.option(fc.nat()),
  )
  .map(([golden, changes, piece, cut]) => {
    let frame = Buffer.from(golden);
    for (const [at, value] of changes) frame[4 + (at % Math.max(1, frame.length - 4))] = value;
    if (piece !== null) {
      const at = 8 + (piece[0] % Math.max(1, frame.length - 8));
      frame = Buffer.concat([frame.subarray(0, at), frame.subarray(at, at + piece[1]), frame.subarray(at)]);
    }
    if (cut !== null) frame = frame.subarray(0, cut % (frame.length + 1));
    return framed(frame);
  });

const noise = fc
  .tuple(
    fc.constantFrom(0, 1, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 28, 29, 31, 33, 34),
    fc.uint8Array({ maxLength: 300 }),
  )
  .map(([type, bytes]) => framed(Buffer.concat([Buffer.from([6, type, 0, 0, 0, 0, 0, 1]), bytes])));

/** What decoding gives, or that it refuses. */
function outcome(frame: Buffer): unknown {
  try {
    return decodeMessage(frame);
  } catch (error) {
    return error instanceof OpenFlowDecodeError ? "refused" : error;
  }
}

/** The frame as a channel has it: a piece of a chunk, with bytes of others before and behind it. */
function amidst(frame: Buffer, filler: number): Buffer {
  const chunk = Buffer.alloc(frame.length + 128, filler);
  frame.copy(chunk, 64);
  return chunk.subarray(64, 64 + frame.length);
}

const runs = Number(process.env["FUZZ_RUNS"] ?? 20_000);

describe("decoding survives", () => {
  test("noise behind every kind of header", () => {
    fc.assert(fc.property(noise, check), { numRuns: runs });
  });

  test("golden frames, mutated", () => {
    fc.assert(fc.property(mutated, check), { numRuns: runs });
  });

  test("and reads nothing beyond the frame, whatever lies there", () => {
    fc.assert(
      fc.property(fc.oneof(noise, mutated), (frame) => {
        const alone = outcome(Buffer.from(new Uint8Array(frame).buffer));
        for (const filler of [0x00, 0x08, 0xff]) assert.deepStrictEqual(outcome(amidst(frame, filler)), alone);
      }),
      { numRuns: runs },
    );
  });

  test("every truncation of every golden frame", () => {
    for (const golden of goldens) {
      for (let size = 0; size < Math.min(golden.length, 160); size++) {
        check(framed(golden.subarray(0, size)));
        assert.throws(() => decodeMessage(golden.subarray(0, size)), OpenFlowDecodeError);
      }
    }
  });

  test("packet-ins, looked at and resumed", () => {
    const packetIns = goldens.filter((frame) => isPacketIn2(frame));
    assert.ok(packetIns.length > 0);
    const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
    fc.assert(
      fc.property(fc.constantFrom(...packetIns), changes, fc.nat(), (golden, list, cut) => {
        const frame = Buffer.from(golden.subarray(0, cut % (golden.length + 1)));
        for (const [at, value] of list) if (frame.length > 16) frame[16 + (at % (frame.length - 16))] = value;
        checkView(frame);
      }),
      { numRuns: runs },
    );
  });

  test("what once broke it", () => {
    const directory = join(import.meta.dirname, "../testdata/fuzz-regression");
    assert.ok(existsSync(directory));
    const files = readdirSync(directory);
    assert.ok(files.length > 0);
    for (const file of files) {
      const frame = Buffer.from(readFileSync(join(directory, file), "utf8").trim(), "hex");
      check(frame);
      check(framed(frame));
      checkView(frame);
    }
  });

  test("a frame made to nest for ever, in bounded time", () => {
    const size = 65_528;
    const frame = Buffer.alloc(size);
    Buffer.from([6, 13, size >> 8, size & 0xff, 0, 0, 0, 1]).copy(frame);
    frame.writeUInt32BE(0xffff_ffff, 8);
    frame.writeUInt16BE(size - 24, 12);
    Buffer.from([0, 1, 0, 4, 0, 0, 0, 0]).copy(frame, 16);
    for (let at = 24; at + 16 <= size; at += 16) {
      frame.writeUInt16BE(0xffff, at);
      frame.writeUInt16BE(size - at, at + 2);
      frame.writeUInt32BE(0x2320, at + 4);
      frame.writeUInt16BE(42, at + 8);
    }
    assert.throws(() => decodeMessage(frame), { code: "OPENFLOW_BAD_FRAME", message: /nested deeper than 16/ });
  });

  test("frames of 64 kB full of the smallest elements, in bounded time", () => {
    const started = process.cpuUsage();
    for (const filler of [0x00, 0x01, 0x04, 0x08, 0xff]) {
      for (const code of [0, 13, 14, 15, 18, 19, 28, 29]) {
        const frame = Buffer.alloc(65_528, filler);
        Buffer.from([6, code, 0, 0, 0, 0, 0, 1]).copy(frame);
        check(framed(frame));
      }
    }
    const { user, system } = process.cpuUsage(started);
    assert.ok(user + system < 20_000_000, `${user + system} µs`);
  });
});

test("reading text refuses with an error of its own, whatever it is given", () => {
  const word = fc.constantFrom(
    ..."actions= table= priority= ip tcp reg0 = / ( ) [ ] , : -> 0x1 5 1.2.3.4 fd00::1 ct commit zone nat src exec".split(
      " ",
    ),
    ..."learn load move set_field resubmit controller userdata pause clone output NORMAL NXM_NX_REG0 note drop".split(
      " ",
    ),
  );
  const texts = fc.oneof(
    fc.string({ maxLength: 80 }),
    fc.array(word, { maxLength: 20 }).map((words) => words.join("")),
    fc.array(word, { maxLength: 20 }).map((words) => `actions=${words.join("")}`),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        parseFlow(text);
      } catch (error) {
        assert.ok(error instanceof OpenFlowTextError, `${String(error)} for ${JSON.stringify(text)}`);
      }
    }),
    { numRuns: runs },
  );
});
