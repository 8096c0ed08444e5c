/**
 * What pods say under false names: the entries that catch it, whether the addresses in it are the pod's own or not, and
 * what the agent makes of the frames that it is shown.
 */
import type { Action, Flow, Match } from "@beyondfabric/openflow";
import { ipProtocol, parsePacket, type Packet } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { LocalPort } from "../facts.ts";
import {
  ethType,
  etherType,
  inPort,
  neighbourAdvertisement,
  neighbourSolicitation,
  protocol,
  redirect,
  routerAdvertisement,
} from "../match.ts";
import { defineFlow } from "../pipeline.ts";
import { lookAtMark } from "../registers.ts";

/**
 * What was false about a frame. `vlan`: pods choose no VLANs; `dhcp`, `ra`: pods answer no DHCP clients, and announce
 * and redirect nothing as routers; `nd`: a solicitation or advertisement about another's address or MAC; `mac`,
 * `arp`, `ip`: the source; `protocol`: no protocol that pods speak.
 */
export const forgeryReasons = ["ip", "mac", "arp", "nd", "ra", "dhcp", "vlan", "protocol"] as const;
export type ForgeryReason = (typeof forgeryReasons)[number];

export interface Forgery {
  readonly reason: ForgeryReason;
  /** What the frame claims, in a few words. */
  readonly claim: string;
}

/** Meter of the frames that the agent is shown, of all pods together. */
export const forgeryMeter = 92;

/** What a DHCP client would believe: from a server's port to a client's (RFC 2131, section 4.1; RFC 8415, section 7.2). */
const dhcpAnswers = [
  { type: etherType.ipv4, server: 67, client: 68 },
  { type: etherType.ipv6, server: 547, client: 546 },
] as const;

/** OFPVID_PRESENT (OpenFlow 1.5, section 7.2.3.10). */
const vlanPresent = 0x1000n;

/** The entries about what no pod may say in anybody's name, and the one that takes what no pod's own entries let pass. */
export function forgeryFlows(): Flow[] {
  const caught = (priority: number, match: Match): Flow =>
    defineFlow({
      table: "spoof-guard",
      priority,
      cookie: encodeCookie("base", 1),
      match,
      actions: [],
      goto: "spoofed",
    });
  const message = (type: number): Match => [
    ethType(etherType.ipv6),
    { field: "ip_proto", value: BigInt(protocol.icmpv6) },
    { field: "icmpv6_type", value: BigInt(type) },
  ];
  return [
    // A tag of the pod's own would go with the frame, onto an untagged segment too.
    caught(200, [{ field: "vlan_vid", value: vlanPresent, mask: vlanPresent }]),
    ...dhcpAnswers.map(({ type, server, client }) =>
      caught(170, [
        ethType(type),
        { field: "ip_proto", value: BigInt(protocol.udp) },
        { field: "udp_src", value: BigInt(server) },
        { field: "udp_dst", value: BigInt(client) },
      ]),
    ),
    ...[routerAdvertisement, redirect].map((type) => caught(170, message(type))),
    // Below what pods may say in neighbour discovery, above what they may send from their addresses.
    ...[neighbourSolicitation, neighbourAdvertisement].map((type) => caught(155, message(type))),
    caught(0, []),
  ];
}

/** `userdata` of a frame under a false name: one byte kind (4), one byte format (1). */
const forgeryUserdata = Uint8Array.of(4, 1);

/** Whether a packet-in shows what a pod said under a false name. */
export function isForgery(userdata: Uint8Array): boolean {
  return userdata.length === 2 && userdata[0] === 4 && userdata[1] === 1;
}

/** The entry that counts what a pod said under a false name. */
export function forgeryCounter(port: number, metered: boolean, cookie: bigint): Flow {
  const meter: Action[] = metered ? [{ type: "meter", meter: forgeryMeter }] : [];
  return defineFlow({
    table: "spoofed",
    priority: 10,
    cookie,
    match: [inPort(port)],
    actions: [lookAtMark("forge"), ...meter, { type: "controller", userdata: forgeryUserdata }],
  });
}

/** What is false about a frame that a pod was not allowed to send. */
export function forgeryOf(frame: Uint8Array, { mac }: Pick<LocalPort, "mac">): Forgery {
  const packet = parsePacket(frame);
  const { ethSrc, ipVersion, arpOp } = packet;
  if (packet.vlan !== -1) return { reason: "vlan", claim: `VLAN ${packet.vlan & 0xfff}` };
  if (isDhcpAnswer(packet)) return { reason: "dhcp", claim: `a DHCP answer from ${packet.ipSrc}` };
  const message = ipVersion === 6 && packet.ipProto === ipProtocol.icmpv6 ? packet.icmpType : -1;
  if (message === routerAdvertisement || message === redirect) {
    const what = message === redirect ? "a redirect" : "a router advertisement";
    return { reason: "ra", claim: `${what} from ${packet.ipSrc}` };
  }
  if (ethSrc !== mac) return { reason: "mac", claim: `MAC ${ethSrc}` };
  if (message === neighbourSolicitation) {
    const from = packet.ndSll === "" ? packet.ipSrc : `${packet.ipSrc} at ${packet.ndSll}`;
    return { reason: "nd", claim: `a question for ${packet.ndTarget} from ${from}` };
  }
  if (message === neighbourAdvertisement) {
    return { reason: "nd", claim: `${packet.ndTarget} at ${packet.ndTll === "" ? ethSrc : packet.ndTll}` };
  }
  if (arpOp !== -1) return { reason: "arp", claim: `${packet.arpSpa} at ${packet.arpSha}` };
  if (ipVersion !== -1) return { reason: "ip", claim: `source ${packet.ipSrc}` };
  return {
    reason: "protocol",
    claim: `Ethernet type 0x${Math.max(0, packet.etherType).toString(16).padStart(4, "0")}`,
  };
}

function isDhcpAnswer({ ipVersion, ipProto, srcPort, dstPort }: Packet): boolean {
  const version = ipVersion === 4 ? etherType.ipv4 : etherType.ipv6;
  return (
    ipProto === ipProtocol.udp &&
    dhcpAnswers.some(({ type, server, client }) => type === version && srcPort === server && dstPort === client)
  );
}
