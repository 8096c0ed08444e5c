/** Whole messages: the header of OpenFlow 1.5 section 7.1.1 around the bodies of the tables. */
import { OpenFlowDecodeError } from "./errors.ts";
import type { Codec } from "./schema.ts";
import { BUNDLE_ADD, bundleFlags, EXPERIMENTER_MESSAGE, messageRows } from "./tables/messages.ts";
import type { Message } from "./tables/messages.ts";
import { Reader, Writer } from "./wire.ts";

/** OpenFlow 1.5 as it stands in every header. */
export const VERSION = 6;
export const HEADER_SIZE = 8;

/** The eight bytes before every message. */
export interface Header {
  readonly version: number;
  readonly code: number;
  /** Bytes of the whole frame, these eight included. */
  readonly length: number;
  readonly xid: number;
}

interface AnyRow {
  readonly type: string;
  readonly code: number;
  readonly vendor?: number;
  readonly body: Codec<object>;
}
const rows = messageRows as unknown as readonly AnyRow[];
const byCode = new Map(rows.filter((row) => row.vendor === undefined).map((row) => [row.code, row]));
const bySubtype = new Map(
  rows.filter((row) => row.vendor !== undefined).map((row) => [`${row.vendor}/${row.code}`, row]),
);
const byType = new Map(rows.map((row) => [row.type, row]));

/** The header at `offset`, or undefined while fewer than eight bytes are there. Its length is not judged. */
export function readHeader(bytes: Uint8Array, offset = 0): Header | undefined {
  if (bytes.length - offset < HEADER_SIZE) return undefined;
  const at = (i: number): number => bytes[offset + i]!;
  return {
    version: at(0),
    code: at(1),
    length: (at(2) << 8) | at(3),
    xid: ((at(4) << 24) | (at(5) << 16) | (at(6) << 8) | at(7)) >>> 0,
  };
}

/** The frame of a message. @throws OpenFlowEncodeError when a value has no encoding. */
export function encodeMessage(message: Message, xid: number): Buffer {
  const writer = new Writer();
  writeMessage(writer, message, xid);
  return writer.finish();
}

/** As {@link encodeMessage}, at the end of what the writer already holds. */
export function writeMessage(w: Writer, message: Message, xid: number): void {
  const start = w.length;
  if (message.type === "unknown") {
    writeHeader(w, message.code, xid, message.version);
    w.raw(message.bytes);
  } else if (message.type === "bundle_add") {
    writeHeader(w, BUNDLE_ADD, xid);
    w.u32(message.bundle);
    w.zeros(2);
    bundleFlags.encode(w, message.flags);
    writeMessage(w, message.message, xid);
  } else {
    const row = byType.get(message.type)!;
    writeHeader(w, row.vendor === undefined ? row.code : EXPERIMENTER_MESSAGE, xid);
    if (row.vendor !== undefined) {
      w.u32(row.vendor);
      w.u32(row.code);
    }
    row.body.encode(w, message);
  }
  w.patchU16(start + 2, w.length - start);
}

/** A header whose length is still zero. */
export function writeHeader(w: Writer, code: number, xid: number, version = VERSION): void {
  w.u8(version);
  w.u8(code);
  w.u16(0);
  w.u32(xid);
}

/**
 * The message in one whole frame. Messages, actions, fields and properties without a row are kept as unknown bytes.
 * The result holds copies: it does not change when the frame's buffer is used again. The xid is in {@link readHeader}.
 * @throws OpenFlowDecodeError when the bytes contradict themselves. Never reads past the frame, takes time linear in
 *   its length.
 */
export function decodeMessage(frame: Uint8Array): Message {
  return decode(new Reader(frame));
}

function decode(r: Reader): Message {
  const header = readHeader(r.bytes.subarray(r.offset, r.end));
  if (header === undefined) throw new OpenFlowDecodeError(`a frame of ${r.remaining} bytes; the header alone has 8`);
  if (header.length !== r.remaining) {
    throw new OpenFlowDecodeError(`a frame of ${r.remaining} bytes that claims ${header.length}`);
  }
  const { version, code } = header;
  const body = new Reader(r.bytes, r.offset + HEADER_SIZE, r.end, version, r.depth);
  const unknown = (): Message => ({ type: "unknown", version, code, bytes: body.rest() });
  // Only hello and error mean the same in every version: they are how versions are negotiated.
  if (version !== VERSION && code > 1) return unknown();
  if (code === BUNDLE_ADD) {
    const bundle = body.u32();
    body.skip(2);
    const flags = bundleFlags.decode(body);
    const size = body.peekU16(2);
    return { type: "bundle_add", bundle, flags, message: decode(body.sub(size, true)) };
  }
  let row = byCode.get(code);
  if (code === EXPERIMENTER_MESSAGE) {
    const vendor = body.u32();
    row = bySubtype.get(`${vendor}/${body.u32()}`);
    if (row === undefined) body.offset -= 8;
  }
  if (row === undefined) return unknown();
  return { type: row.type, ...row.body.decode(body) } as unknown as Message;
}
