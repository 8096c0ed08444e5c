/**
 * The hot path of a miss: NXT_PACKET_IN2 looked at where it lies, and given back as NXT_RESUME with registers written in
 * place. Nothing is decoded that is not asked for.
 *
 * With OpenFlow 1.5 the switch reports registers in pairs, each as one 64-bit packet register with a mask: reg4 and reg5
 * are `xreg2`, header 0x80010510. Pairs that are all zero are left out.
 */
import { ipFromBytes } from "@beyondfabric/packet";
import type { Ip } from "@beyondfabric/packet";
import { OpenFlowDecodeError, OpenFlowEncodeError } from "./errors.ts";
import type { PacketInReason } from "./model.ts";
import { NICIRA, packetInReasons } from "./tables/numbers.ts";
import { EXPERIMENTER_MESSAGE } from "./tables/messages.ts";

const HEADER = 16;
const PACKET_IN2 = 30;
const RESUME = 28;

const PROP_PACKET = 0;
const PROP_FULL_LENGTH = 1;
const PROP_TABLE = 3;
const PROP_COOKIE = 4;
const PROP_REASON = 5;
const PROP_METADATA = 6;
const PROP_USERDATA = 7;
const PROP_CONTINUATION = 8;

/** Headers of the metadata that is looked for, without mask bit and length. */
const PACKET_REGS = 0x8001_0000 >>> 9;
const NXM_REG0 = 0x0001_0000 >>> 9;
const IN_PORT = 0x8000_0000 >>> 9;
const TUN_ID = (0x8000_0000 | (38 << 9)) >>> 9;
const NXM_TUN_ID = (0x0001_0000 | (16 << 9)) >>> 9;
const TUN_SRC = (0x0001_0000 | (31 << 9)) >>> 9;
const TUN_IPV6_SRC = (0x0001_0000 | (109 << 9)) >>> 9;
const CT_STATE = (0x0001_0000 | (105 << 9)) >>> 9;
const CT_LABEL = (0x0001_0000 | (108 << 9)) >>> 9;
const CT_NW_PROTO = (0x0001_0000 | (119 << 9)) >>> 9;
const CT_NW_SRC = (0x0001_0000 | (120 << 9)) >>> 9;
const CT_NW_DST = (0x0001_0000 | (121 << 9)) >>> 9;
const CT_IPV6_SRC = (0x0001_0000 | (122 << 9)) >>> 9;
const CT_IPV6_DST = (0x0001_0000 | (123 << 9)) >>> 9;
const CT_TP_SRC = (0x0001_0000 | (124 << 9)) >>> 9;
const CT_TP_DST = (0x0001_0000 | (125 << 9)) >>> 9;

/** What conntrack says of a packet: its state bits (ovs-fields(7), `ct_state`), its label, its connection. */
export interface ConntrackView {
  readonly state: number;
  readonly label: bigint;
  /** The connection in its original direction; absent where the switch does not tell. */
  readonly connection?: {
    readonly source: Ip;
    readonly destination: Ip;
    readonly protocol: number;
    /** Of ICMP: type and code in place of ports. */
    readonly sourcePort: number;
    readonly destinationPort: number;
  };
}

/**
 * A packet-in as it lies in its frame: every buffer here is part of the frame and lives as long as it does. What is asked
 * for is looked up then; a view alone is a handful of numbers.
 */
export class PacketInView {
  readonly frame: Buffer;
  fullLength = 0;
  tableId = 0;
  reason: PacketInReason = "no_match";
  /** Whether the packet waits and must be resumed. */
  hasContinuation = false;
  /** Where the packet lies in the frame, from its Ethernet header on. */
  packetStart = 0;
  packetEnd = 0;
  /** Where the controller action's own bytes lie in the frame. */
  userdataStart = 0;
  userdataEnd = 0;
  /** Where the metadata fields lie in the frame. */
  metadataStart = 0;
  metadataEnd = 0;
  /** Where the cookie lies in the frame; 0 when the switch names none. */
  cookieStart = 0;

  constructor(frame: Buffer) {
    this.frame = frame;
  }

  /** The packet; shorter than `fullLength` when the switch cut it. */
  get packet(): Buffer {
    return this.frame.subarray(this.packetStart, this.packetEnd);
  }

  get userdata(): Buffer {
    return this.frame.subarray(this.userdataStart, this.userdataEnd);
  }

  /** Cookie of the entry that sent the packet here; all ones when the switch names none. */
  get cookie(): bigint {
    return this.cookieStart === 0 ? 0xffff_ffff_ffff_ffffn : this.frame.readBigUInt64BE(this.cookieStart);
  }

  /** The 32 bits of `reg<index>`; 0 when the switch left it out, because it was zero. */
  readRegister(index: number): number {
    const pair = this.#find(PACKET_REGS | (index >> 1), 8);
    if (pair >= 0) return this.frame.readUInt32BE(pair + (index & 1) * 4);
    const single = this.#find(NXM_REG0 | index, 4);
    return single < 0 ? 0 : this.frame.readUInt32BE(single);
  }

  /** The 64 bits of `xreg<index>`, that is reg<2·index> and reg<2·index+1>. */
  readXreg(index: number): bigint {
    const at = this.#find(PACKET_REGS | index, 8);
    return at < 0 ? 0n : this.frame.readBigUInt64BE(at);
  }

  /** The port that the packet came in by. */
  inPort(): number {
    const at = this.#find(IN_PORT, 4);
    return at < 0 ? 0 : this.frame.readUInt32BE(at);
  }

  /** The tunnel's key, such as the VNI; 0 without one. */
  tunnelId(): bigint {
    const at = this.#find(TUN_ID, 8);
    if (at >= 0) return this.frame.readBigUInt64BE(at);
    const old = this.#find(NXM_TUN_ID, 8);
    return old < 0 ? 0n : this.frame.readBigUInt64BE(old);
  }

  /** The outer source address, the tunnel's far end; undefined for a packet that came through no tunnel. */
  tunnelSource(): Ip | undefined {
    const v4 = this.#find(TUN_SRC, 4);
    if (v4 >= 0) return ipFromBytes(this.frame, v4, 4);
    const v6 = this.#find(TUN_IPV6_SRC, 16);
    return v6 < 0 ? undefined : ipFromBytes(this.frame, v6, 6);
  }

  /** What conntrack made of the packet; undefined for one that did not pass through it. */
  conntrack(): ConntrackView | undefined {
    const state = this.#find(CT_STATE, 4);
    if (state < 0) return undefined;
    const label = this.#find(CT_LABEL, 16);
    const common = {
      state: this.frame.readUInt32BE(state),
      label: label < 0 ? 0n : (this.frame.readBigUInt64BE(label) << 64n) | this.frame.readBigUInt64BE(label + 8),
    };
    const source = this.#address(CT_NW_SRC, CT_IPV6_SRC);
    const destination = this.#address(CT_NW_DST, CT_IPV6_DST);
    const protocol = this.#find(CT_NW_PROTO, 1);
    if (source === undefined || destination === undefined || protocol < 0) return common;
    const [sourcePort, destinationPort] = [this.#port(CT_TP_SRC), this.#port(CT_TP_DST)];
    return {
      ...common,
      connection: { source, destination, protocol: this.frame[protocol]!, sourcePort, destinationPort },
    };
  }

  #address(ipv4: number, ipv6: number): Ip | undefined {
    const v4 = this.#find(ipv4, 4);
    if (v4 >= 0) return ipFromBytes(this.frame, v4, 4);
    const v6 = this.#find(ipv6, 16);
    return v6 < 0 ? undefined : ipFromBytes(this.frame, v6, 6);
  }

  #port(key: number): number {
    const at = this.#find(key, 2);
    return at < 0 ? 0 : this.frame.readUInt16BE(at);
  }

  /** Offset in the frame of a field's value of at least `size` bytes, or -1. */
  #find(key: number, size: number): number {
    return findField(this.frame, this.metadataStart, this.metadataEnd, key, size);
  }
}

function findField(frame: Buffer, start: number, end: number, key: number, size: number): number {
  let at = start;
  while (at + 4 <= end) {
    const length = frame[at + 3]!;
    const value = at + 4;
    if (value + length > end) return -1;
    // Compared without the mask bit: a value that carries a mask begins at the same place.
    if (frame.readUInt32BE(at) >>> 9 === key >>> 0) return length >= size ? value : -1;
    at = value + length;
  }
  return -1;
}

/** Whether a frame is NXT_PACKET_IN2, and so for {@link packetInView}. */
export function isPacketIn2(frame: Buffer): boolean {
  return (
    frame.length >= HEADER &&
    frame[1] === EXPERIMENTER_MESSAGE &&
    frame.readUInt32BE(8) === NICIRA &&
    frame.readUInt32BE(12) === PACKET_IN2
  );
}

/**
 * Looks at an NXT_PACKET_IN2 frame without decoding its match.
 * @throws OpenFlowDecodeError when the frame is another message or its properties leave it.
 */
export function packetInView(frame: Buffer): PacketInView {
  if (!isPacketIn2(frame)) throw new OpenFlowDecodeError("not an NXT_PACKET_IN2 frame");
  const view = new PacketInView(frame);
  const end = frame.length;
  let at = HEADER;
  while (at + 4 <= end) {
    const type = frame.readUInt16BE(at);
    const size = frame.readUInt16BE(at + 2);
    if (size < 4 || at + size > end) {
      throw new OpenFlowDecodeError(
        `property ${type} at byte ${at} claims ${size} bytes, the frame has ${end - at} left`,
      );
    }
    switch (type) {
      case PROP_PACKET:
        view.packetStart = at + 4;
        view.packetEnd = at + size;
        break;
      case PROP_FULL_LENGTH:
        if (size >= 8) view.fullLength = frame.readUInt32BE(at + 4);
        break;
      case PROP_TABLE:
        if (size >= 5) view.tableId = frame[at + 4]!;
        break;
      case PROP_COOKIE:
        if (size >= 16) view.cookieStart = at + 8;
        break;
      case PROP_REASON:
        if (size >= 5) view.reason = packetInReasons[frame[at + 4]!] ?? { unknown: frame[at + 4]! };
        break;
      case PROP_METADATA:
        view.metadataStart = at + 4;
        view.metadataEnd = at + size;
        break;
      case PROP_USERDATA:
        view.userdataStart = at + 4;
        view.userdataEnd = at + size;
        break;
      case PROP_CONTINUATION:
        view.hasContinuation = true;
        break;
      default:
    }
    at += (size + 7) & ~7;
  }
  if (view.fullLength === 0) view.fullLength = view.packetEnd - view.packetStart;
  return view;
}

/** A 64-bit register pair to write: `xreg2` is reg4 (high half) and reg5 (low half). */
export interface RegisterPatch {
  readonly xreg: number;
  readonly value: bigint;
}

/**
 * The NXT_RESUME of a packet-in: its own bytes with another subtype and the registers written into its metadata. Only
 * the metadata property is touched. The xid of the packet-in is kept.
 * @throws OpenFlowEncodeError when the metadata lacks a register: the switch leaves out pairs that are zero, so the
 *   entry that pauses must load something into them first.
 */
export function resumeFrame(frame: Buffer, patches: readonly RegisterPatch[]): Buffer {
  return resumeView(packetInView(frame), patches);
}

/** As {@link resumeFrame}, for a packet-in that has been looked at already. */
export function resumeView(view: PacketInView, patches: readonly RegisterPatch[]): Buffer {
  if (!view.hasContinuation) {
    throw new OpenFlowEncodeError("this packet-in has no continuation: its controller action did not pause");
  }
  const out = Buffer.from(view.frame);
  out.writeUInt32BE(RESUME, 12);
  for (const { xreg, value } of patches) {
    const at = findField(out, view.metadataStart, view.metadataEnd, PACKET_REGS | xreg, 8);
    if (at < 0) {
      throw new OpenFlowEncodeError(
        `xreg${xreg} is not in the packet-in's metadata; load a non-zero value into reg${xreg * 2} or reg${xreg * 2 + 1} before pausing`,
      );
    }
    out.writeBigUInt64BE(value, at);
    // With a mask, bits outside of it would be forgotten: the patch is about the whole pair.
    if (out[at - 1]! >= 16) out.writeBigUInt64BE(0xffff_ffff_ffff_ffffn, at + 8);
  }
  return out;
}
