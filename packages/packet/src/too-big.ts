/** The answer to a packet that is too large for where it should go. */
import { buildEthernet, buildIp, internetChecksum, transportChecksum } from "./build.ts";
import { ipFamily, ipToBytes, type Ip } from "./ip.ts";
import type { Mac } from "./mac.ts";
import { parsePacket } from "./parse.ts";
import { etherType, icmpType, icmpv6Type, ipProtocol } from "./protocol.ts";

/** Who answers, and what would have fitted. */
export interface TooBigOptions {
  readonly mac: Mac;
  /** The router's addresses; the one of the packet's family speaks. */
  readonly addresses: readonly Ip[];
  /** Largest IP packet that fits (bytes). */
  readonly mtu: number;
}

/** Code of "fragmentation needed and DF set" (RFC 792, RFC 1191). */
const fragmentationNeeded = 4;
/** What an error may quote so that it never needs to be fragmented itself (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4). */
const largestError = { 4: 576, 6: 1280 } as const;

/**
 * The frame that tells a sender that its packet is too large: "fragmentation needed" or "packet too big". Undefined when
 * there must be no answer: to errors and other ICMP that is no echo, to later fragments, to and from multicast, to what
 * cannot be read, and when no address of the family speaks.
 * @param frame the packet with its Ethernet header, without VLAN tag
 */
export function buildTooBig(frame: Uint8Array, { mac, addresses, mtu }: TooBigOptions): Buffer | undefined {
  const packet = parsePacket(frame);
  const family = packet.ipVersion === 4 ? 4 : 6;
  if (packet.l3Offset !== 14 || packet.ipVersion < 0 || packet.malformed || packet.fragment === "later")
    return undefined;
  if (isMulticast(packet.ipDst) || isMulticast(packet.ipSrc) || isUnspecified(packet.ipSrc)) return undefined;
  if (packet.ipProto === (family === 4 ? ipProtocol.icmp : ipProtocol.icmpv6)) {
    const { echoRequest, echoReply } = family === 4 ? icmpType : icmpv6Type;
    if (packet.icmpType !== echoRequest && packet.icmpType !== echoReply) return undefined;
  }
  const src = addresses.find((address) => ipFamily(address) === family);
  if (src === undefined) return undefined;
  const ends = { src, dst: packet.ipSrc };
  const header = family === 4 ? 20 : 40;
  const quoted = frame.subarray(14, 14 + largestError[family] - header - 8);
  const message = Buffer.alloc(8 + quoted.length);
  message.set(quoted, 8);
  if (family === 4) {
    message[0] = icmpType.unreachable;
    message[1] = fragmentationNeeded;
    message.writeUInt16BE(mtu, 6);
    message.writeUInt16BE(internetChecksum(message), 2);
  } else {
    message[0] = icmpv6Type.packetTooBig;
    message.writeUInt32BE(mtu, 4);
    message.writeUInt16BE(transportChecksum(ends, ipProtocol.icmpv6, message), 2);
  }
  const protocol = family === 4 ? ipProtocol.icmp : ipProtocol.icmpv6;
  return buildEthernet(
    { src: mac, dst: packet.ethSrc, etherType: family === 4 ? etherType.ipv4 : etherType.ipv6 },
    buildIp({ ...ends, protocol }, message),
  );
}

/** Class D and beyond, broadcast with it; ff00::/8. */
function isMulticast(address: Ip): boolean {
  return ipFamily(address) === 4 ? ipToBytes(address)[0]! >= 224 : ipToBytes(address)[0] === 0xff;
}

function isUnspecified(address: Ip): boolean {
  return ipToBytes(address).every((byte) => byte === 0);
}
