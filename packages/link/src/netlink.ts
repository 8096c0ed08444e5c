/**
 * Netlink framing: messages of 4-byte aligned type-length-value attributes in host byte order (RFC 3549 section 2.3, and
 * linux/netlink.h). Pure: no sockets. What is decoded comes from outside and is bounded by the buffer that holds it.
 */
import { endianness } from "node:os";
import { LinkError } from "./errors.ts";

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER = 16;

if (endianness() !== "LE")
  throw new Error("link: netlink is written in host byte order, and only little-endian is done");

/** One netlink message. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** Attributes by type. A type that occurs twice keeps its last value, as the kernel reads it. */
export type Attributes = ReadonlyMap<number, Buffer>;

/** What an acknowledgement says: `errno` 0 for success. */
export interface Acknowledgement {
  readonly errno: number;
  readonly text: string | undefined;
}

function malformed(what: string): LinkError {
  return new LinkError("LINK_PROTOCOL", `malformed netlink data: ${what}`, { object: "netlink" });
}

function align(length: number): number {
  return (length + 3) & ~3;
}

/** Writes one message: its own header, a fixed family header, attributes and nests. */
export class MessageWriter {
  readonly #type: number;
  readonly #flags: number;
  #bytes: Buffer = Buffer.alloc(256);
  #length = HEADER;

  constructor(type: number, flags: number, familyHeader: Uint8Array) {
    this.#type = type;
    this.#flags = flags;
    this.#append(familyHeader);
  }

  #append(bytes: Uint8Array): void {
    const end = align(this.#length + bytes.length);
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }

  /** Appends raw bytes, padded: the family header of a nested message. */
  raw(bytes: Uint8Array): this {
    this.#append(bytes);
    return this;
  }

  /** Appends an attribute. */
  bytes(type: number, value: Uint8Array): this {
    const header = Buffer.alloc(4);
    header.writeUInt16LE(4 + value.length, 0);
    header.writeUInt16LE(type, 2);
    this.#append(Buffer.concat([header, value]));
    return this;
  }

  u8(type: number, value: number): this {
    return this.bytes(type, Buffer.from([value]));
  }

  u32(type: number, value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value >>> 0);
    return this.bytes(type, bytes);
  }

  /** Appends text with its terminating zero. */
  text(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`, "utf8"));
  }

  /** Appends an attribute whose value is what `fill` appends. */
  nest(type: number, fill: (writer: this) => void): this {
    const start = this.#length;
    this.bytes(type | NLA_F_NESTED, Buffer.alloc(0));
    fill(this);
    this.#bytes.writeUInt16LE(this.#length - start, start);
    return this;
  }

  /** The message with its sequence number. */
  finish(sequence: number): Buffer {
    const bytes = this.#bytes.subarray(0, this.#length);
    bytes.writeUInt32LE(this.#length, 0);
    bytes.writeUInt16LE(this.#type, 4);
    bytes.writeUInt16LE(this.#flags, 6);
    bytes.writeUInt32LE(sequence, 8);
    bytes.writeUInt32LE(0, 12);
    return bytes;
  }
}

/** Splits a datagram into its messages. Throws LINK_PROTOCOL when a length does not fit. */
export function parseMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  let offset = 0;
  while (offset + HEADER <= datagram.length) {
    const length = datagram.readUInt32LE(offset);
    if (length < HEADER || offset + length > datagram.length) {
      throw malformed(`a message of ${length} bytes at ${offset} in a datagram of ${datagram.length}`);
    }
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      payload: datagram.subarray(offset + HEADER, offset + length),
    });
    offset += align(length);
  }
  if (offset < datagram.length) throw malformed(`${datagram.length - offset} bytes behind the last message`);
  return messages;
}

/** Reads the attributes that begin at `offset`. Throws LINK_PROTOCOL when a length does not fit. */
export function parseAttributes(bytes: Buffer, offset = 0): Attributes {
  const attributes = new Map<number, Buffer>();
  while (offset + 4 <= bytes.length) {
    const length = bytes.readUInt16LE(offset);
    if (length < 4 || offset + length > bytes.length) {
      throw malformed(`an attribute of ${length} bytes at ${offset} in ${bytes.length}`);
    }
    attributes.set(bytes.readUInt16LE(offset + 2) & NLA_TYPE_MASK, bytes.subarray(offset + 4, offset + length));
    offset += align(length);
  }
  return attributes;
}

/** An unsigned 32-bit attribute, if it is there and has that size. */
export function attributeU32(attributes: Attributes, type: number): number | undefined {
  const bytes = attributes.get(type);
  return bytes === undefined || bytes.length < 4 ? undefined : bytes.readUInt32LE(0);
}

/** A text attribute up to its terminating zero, if it is there. */
export function attributeText(attributes: Attributes, type: number): string | undefined {
  const bytes = attributes.get(type);
  if (bytes === undefined) return undefined;
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
}

/** Reads an NLMSG_ERROR message with its extended acknowledgement, or the status of an NLMSG_DONE. */
export function parseAcknowledgement(message: Message): Acknowledgement {
  const { payload, flags, type } = message;
  if (payload.length < 4) {
    if (type === NLMSG_DONE) return { errno: 0, text: undefined };
    throw malformed("an acknowledgement without an error number");
  }
  const errno = -payload.readInt32LE(0);
  let text: string | undefined;
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    // Behind the error number stands the request's header, with the whole request unless it was capped.
    let offset = 4;
    if (type === NLMSG_ERROR) {
      if (payload.length < 4 + HEADER) throw malformed("an acknowledgement without the request's header");
      const requestLength = payload.readUInt32LE(4);
      offset += (flags & NLM_F_CAPPED) !== 0 ? HEADER : align(Math.max(HEADER, requestLength));
    }
    if (offset < payload.length) text = attributeText(parseAttributes(payload, offset), NLMSGERR_ATTR_MSG);
  }
  return { errno: errno < 0 ? 0 : errno, text };
}
