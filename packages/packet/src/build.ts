/** Frames with correct lengths and checksums, from the inside out: a transport in IP in Ethernet. */
import { AddressError } from "./errors.ts";
import { ipFamily, ipToBytes } from "./ip.ts";
import type { Ip } from "./ip.ts";
import { macToBytes } from "./mac.ts";
import type { Mac } from "./mac.ts";
import { arpOperation, etherType, icmpType, icmpv6Type, ipProtocol } from "./protocol.ts";

/** The header of a frame. */
export interface EthernetOptions {
  readonly src: Mac;
  readonly dst: Mac;
  readonly etherType: number;
  /** Tag controls of 802.1Q tags, the outer first. */
  readonly vlans?: readonly number[];
}

/** IEEE 802.3 with a type; shorter frames are not padded. */
export function buildEthernet(options: EthernetOptions, payload: Uint8Array): Buffer {
  const vlans = options.vlans ?? [];
  const frame = Buffer.alloc(14 + vlans.length * 4 + payload.length);
  frame.set(macToBytes(options.dst), 0);
  frame.set(macToBytes(options.src), 6);
  let at = 12;
  for (const vlan of vlans) {
    frame.writeUInt16BE(etherType.vlan, at);
    frame.writeUInt16BE(vlan, at + 2);
    at += 4;
  }
  frame.writeUInt16BE(options.etherType, at);
  frame.set(payload, at + 2);
  return frame;
}

/** The fields of an ARP message; without `targetMac` it is zero. */
export interface ArpOptions {
  readonly operation: "request" | "reply";
  readonly senderMac: Mac;
  readonly senderIp: Ip;
  readonly targetMac?: Mac;
  readonly targetIp: Ip;
}

/** RFC 826 for IPv4 on Ethernet: the 28 bytes without Ethernet header. */
export function buildArp(options: ArpOptions): Buffer {
  const arp = Buffer.alloc(28);
  arp.writeUInt16BE(1, 0);
  arp.writeUInt16BE(etherType.ipv4, 2);
  arp[4] = 6;
  arp[5] = 4;
  arp.writeUInt16BE(arpOperation[options.operation], 6);
  arp.set(macToBytes(options.senderMac), 8);
  arp.set(v4(options.senderIp), 14);
  arp.set(macToBytes(options.targetMac ?? "00:00:00:00:00:00"), 18);
  arp.set(v4(options.targetIp), 24);
  return arp;
}

/** A whole frame that tells everybody on the link where an IPv4 address is (RFC 5227 section 3: an announcement). */
export function buildGratuitousArp(mac: Mac, ip: Ip): Buffer {
  const arp = buildArp({ operation: "request", senderMac: mac, senderIp: ip, targetIp: ip });
  return buildEthernet({ src: mac, dst: "ff:ff:ff:ff:ff:ff", etherType: etherType.arp }, arp);
}

/** The fields of an IP header; `protocol` is the number of what it carries. */
export interface IpOptions {
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: number;
  /** TTL or hop limit; 64 by default. */
  readonly ttl?: number;
  /** Traffic class or type of service. */
  readonly tos?: number;
  /** IPv4 only. */
  readonly identification?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset?: number;
  readonly flowLabel?: number;
}

/** An IPv4 or IPv6 packet, by the family of its addresses. */
export function buildIp(options: IpOptions, payload: Uint8Array): Buffer {
  if (ipFamily(options.src) !== ipFamily(options.dst)) {
    throw new AddressError(`${options.src} and ${options.dst} are of different families`);
  }
  return ipFamily(options.src) === 4 ? buildIpv4(options, payload) : buildIpv6(options, payload);
}

/** RFC 791, without options. */
export function buildIpv4(options: IpOptions, payload: Uint8Array): Buffer {
  const packet = Buffer.alloc(20 + payload.length);
  packet[0] = 0x45;
  packet[1] = options.tos ?? 0;
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt16BE(options.identification ?? 0, 4);
  const flags = (options.dontFragment === true ? 0x4000 : 0) | (options.moreFragments === true ? 0x2000 : 0);
  packet.writeUInt16BE(flags | ((options.fragmentOffset ?? 0) >> 3), 6);
  packet[8] = options.ttl ?? 64;
  packet[9] = options.protocol;
  packet.set(v4(options.src), 12);
  packet.set(v4(options.dst), 16);
  packet.writeUInt16BE(internetChecksum(packet.subarray(0, 20)), 10);
  packet.set(payload, 20);
  return packet;
}

/** RFC 8200, without extension headers: `protocol` may be that of one that the payload begins with. */
export function buildIpv6(options: IpOptions, payload: Uint8Array): Buffer {
  const packet = Buffer.alloc(40 + payload.length);
  packet.writeUInt32BE(((6 << 28) | ((options.tos ?? 0) << 20) | (options.flowLabel ?? 0)) >>> 0, 0);
  packet.writeUInt16BE(payload.length, 4);
  packet[6] = options.protocol;
  packet[7] = options.ttl ?? 64;
  packet.set(v6(options.src), 8);
  packet.set(v6(options.dst), 24);
  packet.set(payload, 40);
  return packet;
}

/** Addresses are those of the IP header: they are part of the checksum. */
export interface TransportOptions {
  readonly src: Ip;
  readonly dst: Ip;
  readonly srcPort: number;
  readonly dstPort: number;
}

/** RFC 768, with a checksum over the pseudo header of the addresses' family. */
export function buildUdp(options: TransportOptions, payload: Uint8Array = new Uint8Array()): Buffer {
  const udp = Buffer.alloc(8 + payload.length);
  udp.writeUInt16BE(options.srcPort, 0);
  udp.writeUInt16BE(options.dstPort, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, 8);
  const sum = transportChecksum(options, ipProtocol.udp, udp);
  // Zero means "no checksum"; its other representation says the same sum.
  udp.writeUInt16BE(sum === 0 ? 0xffff : sum, 6);
  return udp;
}

/** The fields of a TCP header. */
export interface TcpOptions extends TransportOptions {
  readonly seq?: number;
  readonly ack?: number;
  /** Flag bits as in the header: 2 is SYN, 16 is ACK. */
  readonly flags: number;
  readonly window?: number;
}

/** RFC 9293, without options. */
export function buildTcp(options: TcpOptions, payload: Uint8Array = new Uint8Array()): Buffer {
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(options.srcPort, 0);
  tcp.writeUInt16BE(options.dstPort, 2);
  tcp.writeUInt32BE(options.seq ?? 0, 4);
  tcp.writeUInt32BE(options.ack ?? 0, 8);
  tcp.writeUInt16BE(0x5000 | options.flags, 12);
  tcp.writeUInt16BE(options.window ?? 65_535, 14);
  tcp.set(payload, 20);
  tcp.writeUInt16BE(transportChecksum(options, ipProtocol.tcp, tcp), 16);
  return tcp;
}

/** A request, or with `reply` the answer to one. */
export interface EchoOptions {
  readonly src: Ip;
  readonly dst: Ip;
  readonly reply?: boolean;
  readonly id: number;
  readonly sequence: number;
}

/** ICMP echo (RFC 792) or ICMPv6 echo (RFC 4443), by the family of the addresses. */
export function buildEcho(options: EchoOptions, payload: Uint8Array = new Uint8Array()): Buffer {
  const echo = Buffer.alloc(8 + payload.length);
  const family = ipFamily(options.src);
  const types = family === 4 ? icmpType : icmpv6Type;
  echo[0] = options.reply === true ? types.echoReply : types.echoRequest;
  echo.writeUInt16BE(options.id, 4);
  echo.writeUInt16BE(options.sequence, 6);
  echo.set(payload, 8);
  const sum = family === 4 ? internetChecksum(echo) : transportChecksum(options, ipProtocol.icmpv6, echo);
  echo.writeUInt16BE(sum, 2);
  return echo;
}

/** Who asks whom for `target`. */
export interface NeighborSolicitationOptions {
  readonly src: Ip;
  readonly dst: Ip;
  readonly target: Ip;
  /** Left out for duplicate address detection, whose source is `::`. */
  readonly sourceMac?: Mac;
}

/** RFC 4861 section 4.3. Its hop limit must be 255. */
export function buildNeighborSolicitation(options: NeighborSolicitationOptions): Buffer {
  return neighborMessage(icmpv6Type.neighborSolicitation, 0, options, 1, options.sourceMac);
}

/** RFC 4861 section 4.1: asks the routers of a link to announce themselves. Its hop limit must be 255. */
export function buildRouterSolicitation(addresses: {
  readonly src: Ip;
  readonly dst: Ip;
  readonly sourceMac: Mac;
}): Buffer {
  const message = Buffer.alloc(16);
  message[0] = icmpv6Type.routerSolicitation;
  message[8] = 1;
  message[9] = 1;
  message.set(macToBytes(addresses.sourceMac), 10);
  message.writeUInt16BE(transportChecksum(addresses, ipProtocol.icmpv6, message), 2);
  return message;
}

/** Who tells whom that `target` is at `targetMac`. */
export interface NeighborAdvertisementOptions {
  readonly src: Ip;
  readonly dst: Ip;
  readonly target: Ip;
  readonly targetMac: Mac;
  readonly router?: boolean;
  readonly solicited?: boolean;
  readonly override?: boolean;
}

/** RFC 4861 section 4.4. Its hop limit must be 255. */
export function buildNeighborAdvertisement(options: NeighborAdvertisementOptions): Buffer {
  const flags =
    (options.router === true ? 0x80 : 0) |
    (options.solicited === true ? 0x40 : 0) |
    (options.override === true ? 0x20 : 0);
  return neighborMessage(icmpv6Type.neighborAdvertisement, flags, options, 2, options.targetMac);
}

function neighborMessage(
  type: number,
  flags: number,
  addresses: { readonly src: Ip; readonly dst: Ip; readonly target: Ip },
  option: number,
  mac: Mac | undefined,
): Buffer {
  const message = Buffer.alloc(mac === undefined ? 24 : 32);
  message[0] = type;
  message[4] = flags;
  message.set(v6(addresses.target), 8);
  if (mac !== undefined) {
    message[24] = option;
    message[25] = 1;
    message.set(macToBytes(mac), 26);
  }
  message.writeUInt16BE(transportChecksum(addresses, ipProtocol.icmpv6, message), 2);
  return message;
}

/** A whole frame that tells everybody on the link where an IPv6 address is (RFC 4861 section 7.2.6). */
export function buildUnsolicitedAdvertisement(mac: Mac, ip: Ip): Buffer {
  const dst = "ff02::1";
  const message = buildNeighborAdvertisement({ src: ip, dst, target: ip, targetMac: mac, override: true });
  const packet = buildIpv6({ src: ip, dst, protocol: ipProtocol.icmpv6, ttl: 255 }, message);
  return buildEthernet({ src: mac, dst: "33:33:00:00:00:01", etherType: etherType.ipv6 }, packet);
}

/** The one's complement sum of 16-bit words (RFC 1071); over a whole correct header it is 0. */
export function internetChecksum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  const even = bytes.length & ~1;
  for (let i = 0; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even !== bytes.length) sum += bytes[even]! << 8;
  while (sum > 0xffff) sum = Math.floor(sum / 0x1_0000) + (sum & 0xffff);
  return ~sum & 0xffff;
}

/** The checksum of a transport message over its pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function transportChecksum(
  addresses: { readonly src: Ip; readonly dst: Ip },
  protocol: number,
  message: Uint8Array,
): number {
  let pseudo = protocol + message.length;
  for (const address of [addresses.src, addresses.dst]) {
    const bytes = ipToBytes(address);
    for (let i = 0; i < bytes.length; i += 2) pseudo += (bytes[i]! << 8) | bytes[i + 1]!;
  }
  return internetChecksum(message, pseudo);
}

function v4(ip: Ip): Uint8Array {
  const bytes = ipToBytes(ip);
  if (bytes.length !== 4) throw new AddressError(`${ip} is not an IPv4 address`);
  return bytes;
}

function v6(ip: Ip): Uint8Array {
  const bytes = ipToBytes(ip);
  if (bytes.length !== 16) throw new AddressError(`${ip} is not an IPv6 address`);
  return bytes;
}
