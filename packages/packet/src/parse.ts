/**
 * What a frame says in its headers, as one flat object. Made for the path of every first packet: all properties always
 * exist (one hidden class), numbers that are absent are -1, texts that are absent are empty.
 */
import { ipFromBytes } from "./ip.ts";
import type { Ip } from "./ip.ts";
import { macFromBytes } from "./mac.ts";
import type { Mac } from "./mac.ts";
import { etherType, icmpv6Type, ipProtocol } from "./protocol.ts";

/** The headers of one frame, flat. */
export interface Packet {
  ethDst: Mac;
  ethSrc: Mac;
  /** Ethernet type behind the VLAN tags; -1 when it is not there. */
  etherType: number;
  /** Tag control of the outer and the inner VLAN tag: priority, drop bit, identifier. */
  vlan: number;
  innerVlan: number;
  arpOp: number;
  arpSha: Mac;
  arpSpa: Ip;
  arpTha: Mac;
  arpTpa: Ip;
  /** 4, 6, or -1 when it is no IP. */
  ipVersion: number;
  ipSrc: Ip;
  ipDst: Ip;
  /** Of the upper layer: behind the extension headers of IPv6. */
  ipProto: number;
  ipTos: number;
  ipTtl: number;
  /** `later` fragments have no transport header: their ports are -1. */
  fragment: "no" | "first" | "later";
  /** TCP, UDP and SCTP. */
  srcPort: number;
  dstPort: number;
  tcpFlags: number;
  icmpType: number;
  icmpCode: number;
  /** Identifier of an ICMP or ICMPv6 echo. */
  icmpId: number;
  ndTarget: Ip;
  ndSll: Mac;
  ndTll: Mac;
  /** Where the network and transport headers begin; -1 when there is none. */
  l3Offset: number;
  l4Offset: number;
  /** A header that a type announced is cut short or contradicts itself: what follows it was not read. */
  malformed: boolean;
}

const MAX_VLAN_TAGS = 2;
const MAX_EXTENSION_HEADERS = 8;
const MAX_ND_OPTIONS = 16;

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;

/** Reads the headers of an Ethernet frame. Never throws, never reads past the bytes, takes bounded time. */
export function parsePacket(bytes: Uint8Array): Packet {
  const packet: Packet = {
    ethDst: "",
    ethSrc: "",
    etherType: -1,
    vlan: -1,
    innerVlan: -1,
    arpOp: -1,
    arpSha: "",
    arpSpa: "",
    arpTha: "",
    arpTpa: "",
    ipVersion: -1,
    ipSrc: "",
    ipDst: "",
    ipProto: -1,
    ipTos: -1,
    ipTtl: -1,
    fragment: "no",
    srcPort: -1,
    dstPort: -1,
    tcpFlags: -1,
    icmpType: -1,
    icmpCode: -1,
    icmpId: -1,
    ndTarget: "",
    ndSll: "",
    ndTll: "",
    l3Offset: -1,
    l4Offset: -1,
    malformed: false,
  };
  if (bytes.length < 14) {
    packet.malformed = true;
    return packet;
  }
  packet.ethDst = macFromBytes(bytes, 0);
  packet.ethSrc = macFromBytes(bytes, 6);
  let at = 12;
  let type = u16(bytes, at);
  for (let tag = 0; tag < MAX_VLAN_TAGS && (type === etherType.vlan || type === etherType.qinq); tag++) {
    if (at + 6 > bytes.length) {
      packet.malformed = true;
      return packet;
    }
    if (tag === 0) packet.vlan = u16(bytes, at + 2);
    else packet.innerVlan = u16(bytes, at + 2);
    at += 4;
    type = u16(bytes, at);
  }
  packet.etherType = type;
  at += 2;
  if (type === etherType.ipv4) parseIpv4(bytes, at, packet);
  else if (type === etherType.ipv6) parseIpv6(bytes, at, packet);
  else if (type === etherType.arp) parseArp(bytes, at, packet);
  return packet;
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** RFC 826, Ethernet and IPv4 only. */
function parseArp(bytes: Uint8Array, at: number, packet: Packet): void {
  if (at + 28 > bytes.length || u16(bytes, at) !== 1 || u16(bytes, at + 2) !== etherType.ipv4) {
    packet.malformed = true;
    return;
  }
  if (bytes[at + 4] !== 6 || bytes[at + 5] !== 4) {
    packet.malformed = true;
    return;
  }
  packet.l3Offset = at;
  packet.arpOp = u16(bytes, at + 6);
  packet.arpSha = macFromBytes(bytes, at + 8);
  packet.arpSpa = ipFromBytes(bytes, at + 14, 4);
  packet.arpTha = macFromBytes(bytes, at + 18);
  packet.arpTpa = ipFromBytes(bytes, at + 24, 4);
}

/** RFC 791. What lies behind the total length is padding and not looked at. */
function parseIpv4(bytes: Uint8Array, at: number, packet: Packet): void {
  if (at + 20 > bytes.length || bytes[at]! >> 4 !== 4) {
    packet.malformed = true;
    return;
  }
  packet.l3Offset = at;
  packet.ipVersion = 4;
  packet.ipTos = bytes[at + 1]!;
  packet.ipTtl = bytes[at + 8]!;
  packet.ipProto = bytes[at + 9]!;
  packet.ipSrc = ipFromBytes(bytes, at + 12, 4);
  packet.ipDst = ipFromBytes(bytes, at + 16, 4);
  const headerSize = (bytes[at]! & 0xf) * 4;
  const totalSize = u16(bytes, at + 2);
  if (headerSize < 20 || totalSize < headerSize || at + headerSize > bytes.length) {
    packet.malformed = true;
    return;
  }
  const fragment = u16(bytes, at + 6);
  if ((fragment & 0x1fff) !== 0) {
    packet.fragment = "later";
    return;
  }
  if ((fragment & 0x2000) !== 0) packet.fragment = "first";
  parseTransport(bytes, at + headerSize, Math.min(bytes.length, at + totalSize), packet);
}

/** RFC 8200; extension headers are walked up to a bound, beyond which the packet counts as malformed. */
function parseIpv6(bytes: Uint8Array, at: number, packet: Packet): void {
  if (at + 40 > bytes.length || bytes[at]! >> 4 !== 6) {
    packet.malformed = true;
    return;
  }
  packet.l3Offset = at;
  packet.ipVersion = 6;
  packet.ipTos = ((bytes[at]! & 0xf) << 4) | (bytes[at + 1]! >> 4);
  packet.ipTtl = bytes[at + 7]!;
  packet.ipSrc = ipFromBytes(bytes, at + 8, 6);
  packet.ipDst = ipFromBytes(bytes, at + 24, 6);
  const end = Math.min(bytes.length, at + 40 + u16(bytes, at + 4));
  let next = bytes[at + 6]!;
  let header = at + 40;
  for (let count = 0; isExtension(next); count++) {
    if (count === MAX_EXTENSION_HEADERS || header + 8 > end) {
      packet.ipProto = next;
      packet.malformed = true;
      return;
    }
    const following = bytes[header]!;
    if (next === FRAGMENT) {
      const offset = u16(bytes, header + 2);
      if ((offset & 0xfff8) !== 0) {
        packet.fragment = "later";
        packet.ipProto = following;
        return;
      }
      if ((offset & 1) !== 0) packet.fragment = "first";
      header += 8;
    } else {
      header += next === AUTHENTICATION ? (bytes[header + 1]! + 2) * 4 : (bytes[header + 1]! + 1) * 8;
    }
    next = following;
  }
  packet.ipProto = next;
  if (header > end) {
    packet.malformed = true;
    return;
  }
  parseTransport(bytes, header, end, packet);
}

function isExtension(next: number): boolean {
  switch (next) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case AUTHENTICATION:
    case DESTINATION_OPTIONS:
    case MOBILITY:
      return true;
    default:
      return false;
  }
}

function parseTransport(bytes: Uint8Array, at: number, end: number, packet: Packet): void {
  const size = end - at;
  switch (packet.ipProto) {
    case ipProtocol.tcp:
      if (size < 20) break;
      packet.l4Offset = at;
      packet.srcPort = u16(bytes, at);
      packet.dstPort = u16(bytes, at + 2);
      packet.tcpFlags = u16(bytes, at + 12) & 0xfff;
      return;
    case ipProtocol.udp:
    case ipProtocol.sctp:
      if (size < 8) break;
      packet.l4Offset = at;
      packet.srcPort = u16(bytes, at);
      packet.dstPort = u16(bytes, at + 2);
      return;
    case ipProtocol.icmp:
      if (packet.ipVersion !== 4) return;
      if (size < 4) break;
      packet.l4Offset = at;
      packet.icmpType = bytes[at]!;
      packet.icmpCode = bytes[at + 1]!;
      if (size >= 8 && (packet.icmpType === 8 || packet.icmpType === 0)) packet.icmpId = u16(bytes, at + 4);
      return;
    case ipProtocol.icmpv6:
      if (packet.ipVersion !== 6) return;
      if (size < 4) break;
      packet.l4Offset = at;
      packet.icmpType = bytes[at]!;
      packet.icmpCode = bytes[at + 1]!;
      parseIcmpv6(bytes, at, end, packet);
      return;
    default:
      packet.l4Offset = at;
      return;
  }
  // A first fragment may be too short for its transport header: suspicious enough not to guess its ports.
  packet.malformed = true;
}

/** Echo identifiers (RFC 4443), and targets and link-layer addresses of neighbour discovery (RFC 4861). */
function parseIcmpv6(bytes: Uint8Array, at: number, end: number, packet: Packet): void {
  const type = packet.icmpType;
  if (type === icmpv6Type.echoRequest || type === icmpv6Type.echoReply) {
    if (end - at >= 8) packet.icmpId = u16(bytes, at + 4);
    return;
  }
  if (type !== icmpv6Type.neighborSolicitation && type !== icmpv6Type.neighborAdvertisement) return;
  if (end - at < 24) {
    packet.malformed = true;
    return;
  }
  packet.ndTarget = ipFromBytes(bytes, at + 8, 6);
  let option = at + 24;
  for (let count = 0; option + 2 <= end; count++) {
    const size = bytes[option + 1]! * 8;
    if (size === 0 || option + size > end || count === MAX_ND_OPTIONS) {
      packet.malformed = true;
      return;
    }
    if (bytes[option] === 1 && packet.ndSll === "") packet.ndSll = macFromBytes(bytes, option + 2);
    if (bytes[option] === 2 && packet.ndTll === "") packet.ndTll = macFromBytes(bytes, option + 2);
    option += size;
  }
}
