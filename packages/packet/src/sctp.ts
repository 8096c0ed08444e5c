/** As much of SCTP (RFC 9260) as it takes to tell the packet that opens an association, and to build packets of one chunk. */
import type { Packet } from "./parse.ts";
import { ipProtocol } from "./protocol.ts";

/** Types of chunks (RFC 9260, section 3.2). */
export const sctpChunk = { data: 0, init: 1, initAck: 2 } as const;

const commonHeaderSize = 12;
/** Type, flags, length, initiate tag, window, numbers of streams, initial TSN. */
const initSize = 20;

/**
 * Whether a packet opens an association: an INIT travels alone and without a tag (RFC 9260, sections 3.1 and 8.5.1), and
 * between ports that are not zero. Anything else that claims to be one is discarded by its receiver.
 * @param bytes the frame that `packet` was read from
 */
export function opensAssociation(bytes: Uint8Array, packet: Packet): boolean {
  const { ipProto, l3Offset, l4Offset, fragment, srcPort, dstPort } = packet;
  if (ipProto !== ipProtocol.sctp || l4Offset < 0 || fragment !== "no" || srcPort <= 0 || dstPort <= 0) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = l3Offset + (packet.ipVersion === 4 ? view.getUint16(l3Offset + 2) : 40 + view.getUint16(l3Offset + 4));
  const chunk = l4Offset + commonHeaderSize;
  if (end > bytes.length || end < chunk + initSize) return false;
  const length = view.getUint16(chunk + 2);
  const isAlone = chunk + length === end || chunk + padded(length) === end;
  return bytes[chunk] === sctpChunk.init && length >= initSize && isAlone && view.getUint32(l4Offset + 4) === 0;
}

/** Chunks begin at multiples of four bytes; the length of one does not count what fills it up. */
function padded(length: number): number {
  return (length + 3) & ~3;
}

export interface SctpOptions {
  readonly srcPort: number;
  readonly dstPort: number;
  /** Type of its only chunk, see {@link sctpChunk}. */
  readonly chunk: number;
  /** Of the receiver; that of an INIT is 0. */
  readonly tag?: number;
}

/** An SCTP packet of one chunk with a body of 16 bytes, which are those of an INIT or INIT ACK. */
export function buildSctp({ srcPort, dstPort, chunk, tag = chunk === sctpChunk.init ? 0 : 1 }: SctpOptions): Buffer {
  const bytes = Buffer.alloc(commonHeaderSize + initSize);
  bytes.writeUInt16BE(srcPort, 0);
  bytes.writeUInt16BE(dstPort, 2);
  bytes.writeUInt32BE(tag, 4);
  bytes.writeUInt8(chunk, 12);
  bytes.writeUInt8(chunk === sctpChunk.data ? wholeMessage : 0, 13);
  bytes.writeUInt16BE(initSize, 14);
  bytes.writeUInt32BE(1, 16);
  bytes.writeUInt32BE(0xffff, 20);
  bytes.writeUInt16BE(1, 24);
  bytes.writeUInt16BE(1, 26);
  bytes.writeUInt32BE(1, 28);
  bytes.writeUInt32LE(crc32c(bytes), 8);
  return bytes;
}

/** Flags of DATA: the first and the last piece of its message. */
const wholeMessage = 3;

const crcTable = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f6_3b78 : value >>> 1;
  return value >>> 0;
});

/** CRC-32C, least significant bit first (RFC 9260, appendix A). */
function crc32c(data: Uint8Array): number {
  let value = 0xffff_ffff;
  for (const byte of data) value = crcTable[(value ^ byte) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffff_ffff) >>> 0;
}
