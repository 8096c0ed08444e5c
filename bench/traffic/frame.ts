/**
 * The frame that the generator sends: Ethernet, IPv4 and UDP, with a payload that tells the receiver which packet of
 * which flow it is and when it left. UDP goes without checksum (RFC 768 allows it over IPv4).
 */

/** Bytes before the payload: Ethernet 14, IPv4 20 without options, UDP 8. */
export const HEADER_LENGTH = 42;
/** Bytes of payload: magic 4, run 4, sequence 4, flow 4, index in flow 4, send time 8. */
export const PAYLOAD_LENGTH = 28;
export const FRAME_LENGTH = HEADER_LENGTH + PAYLOAD_LENGTH;

const MAGIC = 0x42464e43;
const SOURCE_OFFSET = 26;
const DESTINATION_OFFSET = 30;
const CHECKSUM_OFFSET = 24;

/** What all frames of one run have in common. Addresses are IPv4, as unsigned 32-bit numbers. */
export interface FrameTemplate {
  readonly destinationMac: string;
  readonly sourceMac: string;
  readonly sourceAddress: number;
  readonly destinationAddress: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Tells the packets of this run from late ones of another; unsigned, 32 bits. */
  readonly run: number;
}

/** What one frame says about itself. `sentAt` is CLOCK_MONOTONIC in nanoseconds. */
export interface Stamp {
  sequence: number;
  flow: number;
  index: number;
  sentAt: number;
}

/** An IPv4 address in dotted form as a number. Throws on anything else. */
export function parseAddress(text: string): number {
  const parts = text.split(".");
  const bytes = parts.map(Number);
  if (parts.length !== 4 || parts.some((part, at) => !/^\d{1,3}$/.test(part) || bytes[at]! > 255)) {
    throw new RangeError(`not an IPv4 address: ${text}; write four numbers of 0 to 255 with dots`);
  }
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}

/** The dotted form of an IPv4 address. */
export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/** Writes a colon-separated MAC at `offset`. */
function writeMac(bytes: Uint8Array, offset: number, mac: string): void {
  const parts = mac.split(":");
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-f]{2}$/i.test(part))) {
    throw new RangeError(`not a MAC address: ${mac}; write six pairs of hex digits with colons`);
  }
  for (const [at, part] of parts.entries()) bytes[offset + at] = Number.parseInt(part, 16);
}

/** RFC 1071 sum of 16-bit words, complemented; the checksum field itself must be zero beforehand. */
export function headerChecksum(view: DataView, offset: number, length: number): number {
  let sum = 0;
  for (let at = 0; at < length; at += 2) sum += view.getUint16(offset + at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Fills `view` (FRAME_LENGTH bytes) with everything that all frames of a run share. */
export function writeTemplate(view: DataView, template: FrameTemplate): void {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, FRAME_LENGTH);
  bytes.fill(0);
  writeMac(bytes, 0, template.destinationMac);
  writeMac(bytes, 6, template.sourceMac);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint16(16, FRAME_LENGTH - 14);
  view.setUint16(20, 0x4000);
  view.setUint8(22, 64);
  view.setUint8(23, 17);
  view.setUint32(SOURCE_OFFSET, template.sourceAddress);
  view.setUint32(DESTINATION_OFFSET, template.destinationAddress);
  view.setUint16(34, template.sourcePort);
  view.setUint16(36, template.destinationPort);
  view.setUint16(38, FRAME_LENGTH - 34);
  view.setUint32(HEADER_LENGTH, MAGIC);
  view.setUint32(HEADER_LENGTH + 4, template.run);
  view.setUint16(CHECKSUM_OFFSET, headerChecksum(view, 14, 20));
}

/** Makes a templated frame the packet described by `stamp`, with the varied address, and mends the checksum. */
export function writeStamp(
  view: DataView,
  stamp: Readonly<Stamp>,
  field: "source" | "destination",
  address: number,
): void {
  view.setUint32(field === "source" ? SOURCE_OFFSET : DESTINATION_OFFSET, address);
  view.setUint16(CHECKSUM_OFFSET, 0);
  view.setUint16(CHECKSUM_OFFSET, headerChecksum(view, 14, 20));
  view.setUint32(HEADER_LENGTH + 8, stamp.sequence);
  view.setUint32(HEADER_LENGTH + 12, stamp.flow);
  view.setUint32(HEADER_LENGTH + 16, stamp.index);
  writeSendTime(view, stamp.sentAt);
}

/** Writes only the send time, as late as possible before the system call. */
export function writeSendTime(view: DataView, sentAt: number): void {
  view.setUint32(HEADER_LENGTH + 20, Math.floor(sentAt / 0x1_0000_0000));
  view.setUint32(HEADER_LENGTH + 24, sentAt % 0x1_0000_0000);
}

/** Reads the stamp of a received frame of `length` bytes into `stamp`; false if it is not one of this run. */
export function readStamp(view: DataView, offset: number, length: number, run: number, stamp: Stamp): boolean {
  if (length < FRAME_LENGTH || view.getUint16(offset + 12) !== 0x0800) return false;
  const at = offset + HEADER_LENGTH;
  if (view.getUint32(at) !== MAGIC || view.getUint32(at + 4) !== run) return false;
  stamp.sequence = view.getUint32(at + 8);
  stamp.flow = view.getUint32(at + 12);
  stamp.index = view.getUint32(at + 16);
  stamp.sentAt = view.getUint32(at + 20) * 0x1_0000_0000 + view.getUint32(at + 24);
  return true;
}
