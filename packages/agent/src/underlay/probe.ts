/**
 * Whether an address is used twice on a wire, and telling the wire where it is. Pure: what is sent, when, and what an
 * answer means (RFC 5227 for IPv4, RFC 4862 section 5.4 for IPv6).
 */
import { linkLocal } from "@beyondfabric/datapath";
import {
  arpOperation,
  buildArp,
  buildEcho,
  buildEthernet,
  buildGratuitousArp,
  buildIp,
  buildIpv6,
  buildNeighborSolicitation,
  buildRouterSolicitation,
  buildUnsolicitedAdvertisement,
  etherType,
  icmpv6Type,
  ipFamily,
  ipProtocol,
  ipToBytes,
  type Ip,
  type Mac,
  type Packet,
} from "@beyondfabric/packet";

/**
 * When probes are sent, and when silence means that nobody has the address (ms from the first). RFC 5227 section 2.1.1
 * waits 3 to 7 s because its hosts do not know whether their port forwards yet; a switch that has been up knows, and a
 * neighbour on a LAN answers within milliseconds, so that three chances within half a second are what a pod's start pays.
 */
export const probeTimes: readonly number[] = [0, 150, 300];
export const probePatience = 450;

/** When an address is announced (ms from the first time): lost broadcasts are repeated, and late listeners hear too. */
export const announcementTimes: readonly number[] = [0, 1000, 3000];

const broadcast: Mac = "ff:ff:ff:ff:ff:ff";

/** Who wants an address, or has it. */
export interface Claimant {
  readonly mac: Mac;
  readonly addresses: readonly Ip[];
}

/** Questions whether anybody has the addresses: an ARP probe, a solicitation from the unspecified address. */
export function probeFrames({ mac, addresses }: Claimant): Buffer[] {
  return addresses.map((address) => {
    if (ipFamily(address) === 4) {
      const arp = buildArp({ operation: "request", senderMac: mac, senderIp: "0.0.0.0", targetIp: address });
      return buildEthernet({ src: mac, dst: broadcast, etherType: etherType.arp }, arp);
    }
    return solicitation(mac, address, { src: "::" });
  });
}

function solicitation(mac: Mac, target: Ip, from: { readonly src: Ip; readonly sourceMac?: Mac }): Buffer {
  const low = ipToBytes(target).subarray(13);
  const [a, b, c] = [low[0]!, low[1]!, low[2]!];
  const dst = `ff02::1:ff${hex(a)}:${hex(b)}${hex(c)}`;
  const message = buildNeighborSolicitation({ ...from, dst, target });
  const packet = buildIpv6({ src: from.src, dst, protocol: ipProtocol.icmpv6, ttl: 255 }, message);
  return buildEthernet({ src: mac, dst: `33:33:ff:${hex(a)}:${hex(b)}:${hex(c)}`, etherType: etherType.ipv6 }, packet);
}

/**
 * A question for the MAC of an address, asked by one who has no address but its link-local one: the answer comes to the
 * asking MAC, and no neighbour table learns an address from it that is somebody's.
 */
export function questionFrame(mac: Mac, address: Ip): Buffer {
  if (ipFamily(address) === 4) return probeFrames({ mac, addresses: [address] })[0]!;
  return solicitation(mac, address, { src: linkLocal(mac), sourceMac: mac });
}

/** The MAC that a frame says an address has, when it answers the question of this MAC. */
export function answerIn(packet: Packet, mac: Mac, address: Ip): Mac | undefined {
  if (packet.malformed || packet.ethDst !== mac) return undefined;
  if (packet.etherType === etherType.arp) {
    return packet.arpOp === arpOperation.reply && packet.arpSpa === address ? packet.arpSha : undefined;
  }
  if (packet.icmpType !== icmpv6Type.neighborAdvertisement || packet.ndTarget !== address) return undefined;
  return packet.ndTll === "" ? packet.ethSrc : packet.ndTll;
}

/** Asks the routers of a link to announce themselves. */
export function routerQuestion(mac: Mac): Buffer {
  const addressed = { src: linkLocal(mac), dst: "ff02::2" };
  const message = buildRouterSolicitation({ ...addressed, sourceMac: mac });
  const packet = buildIpv6({ ...addressed, protocol: ipProtocol.icmpv6, ttl: 255 }, message);
  return buildEthernet({ src: mac, dst: "33:33:00:00:00:02", etherType: etherType.ipv6 }, packet);
}

/** Both ends of an echo on a link. */
export interface EchoEnds {
  readonly from: { readonly mac: Mac; readonly address: Ip };
  readonly to: { readonly mac: Mac; readonly address: Ip };
}

/** An echo request in the name of a pod: the MAC to which the answer goes is the one that the other end takes for the pod's. */
export function echoFrame({ from, to }: EchoEnds, id: number): Buffer {
  const isIpv4 = ipFamily(from.address) === 4;
  const ends = { src: from.address, dst: to.address };
  const protocol = isIpv4 ? ipProtocol.icmp : ipProtocol.icmpv6;
  const packet = buildIp({ ...ends, protocol }, buildEcho({ ...ends, id, sequence: 1 }));
  return buildEthernet({ src: from.mac, dst: to.mac, etherType: isIpv4 ? etherType.ipv4 : etherType.ipv6 }, packet);
}

/** Gratuitous ARP and unsolicited advertisements: whoever knew the addresses elsewhere knows better now. */
export function announcementFrames({ mac, addresses }: Claimant): Buffer[] {
  return addresses.map((address) =>
    ipFamily(address) === 4 ? buildGratuitousArp(mac, address) : buildUnsolicitedAdvertisement(mac, address),
  );
}

/** An address that somebody else uses. */
export interface Conflict {
  readonly address: Ip;
  /** Who does. */
  readonly mac: Mac;
}

/**
 * What a frame of the wire says against a claimant. Frames with the claimant's own MAC say nothing: a switch reflected
 * them, or the pod's former node still answers for it.
 */
export function conflictIn(packet: Packet, { mac, addresses }: Claimant): Conflict | undefined {
  if (packet.malformed) return undefined;
  if (packet.etherType === etherType.arp && packet.arpOp >= arpOperation.request) {
    const isProbe = packet.arpSpa === "0.0.0.0" && packet.arpOp === arpOperation.request;
    const address = isProbe ? packet.arpTpa : packet.arpSpa;
    return addresses.includes(address) && packet.arpSha !== mac ? { address, mac: packet.arpSha } : undefined;
  }
  if (packet.ipVersion !== 6 || packet.ipProto !== ipProtocol.icmpv6 || !addresses.includes(packet.ndTarget)) {
    return undefined;
  }
  const isProbe = packet.icmpType === icmpv6Type.neighborSolicitation && packet.ipSrc === "::";
  if (!isProbe && packet.icmpType !== icmpv6Type.neighborAdvertisement) return undefined;
  const sender = packet.ndTll === "" ? packet.ethSrc : packet.ndTll;
  return sender === mac ? undefined : { address: packet.ndTarget, mac: sender };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
