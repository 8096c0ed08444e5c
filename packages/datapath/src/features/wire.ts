/**
 * The entries of `br-int` about physical networks: what comes in from their VLANs and goes out on them, how pods and wire
 * find each other's MACs, and what is done about packets that are too large for an overlay.
 */
import type { Action, Flow, Match, MatchField } from "@beyondfabric/openflow";
import { ipFamily, macToBigInt, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { LocalPort } from "../facts.ts";
import { ethType, etherType, icmpv6, inPort, neighbourAdvertisement, neighbourSolicitation, within } from "../match.ts";
import { defineFlow, type FlowDefinition } from "../pipeline.ts";
import {
  load,
  narrowBit,
  segmentPort,
  segmentVlan,
  slice,
  sourceClass,
  verdictCode,
  type Segment,
} from "../registers.ts";
import { showAnnouncement } from "./announcement.ts";
import { linkLocal } from "./link-local.ts";
import { missFlow } from "./miss.ts";

/** A segment with what the node knows about it. */
export interface Wire {
  readonly segment: Segment;
  /** The physical gateways: what they announce is heard by all pods of the segment. */
  readonly gateways: readonly Ip[];
  /** Addresses of the node itself among those of the segment's subnets: its pods reach them here. */
  readonly nodeAddresses: readonly Ip[];
  /** What pods of the segment pass on among themselves. */
  readonly shared?: readonly Cidr[];
}

/** Meter of packets that are too large, and of what pods of all wires ask into them; pods' own meters begin at 100. */
export const tooLargeMeter = 90;
export const neighbourMeter = 91;

/** OFPVID_PRESENT (OpenFlow 1.5, section 7.2.3.10). */
const vlanPresent = 0x1000n;
const ethernetHeader = 14;

function base(definition: Omit<FlowDefinition, "cookie">): Flow {
  return defineFlow({ ...definition, cookie: encodeCookie("base", 1) });
}

export function onSegment(segment: Segment): MatchField {
  return { field: "reg1", value: BigInt(segment) };
}

function cameFrom(source: keyof typeof sourceClass): MatchField {
  return { field: "reg0", value: BigInt(sourceClass[source]), mask: 0xfn };
}

/** The VLAN of a frame; 0 is a frame without a tag. */
export function taggedWith(vlan: number): MatchField {
  return { field: "vlan_vid", value: vlan === 0 ? 0n : vlanPresent | BigInt(vlan) };
}

/** Out of the segment's NIC, with its tag. */
function ontoWire(segment: Segment): Action[] {
  const vlan = segmentVlan(segment);
  return [
    ...(vlan === 0
      ? []
      : ([
          { type: "push_vlan", ethertype: 0x8100 },
          { type: "set_field", field: "vlan_vid", value: vlanPresent | BigInt(vlan) },
        ] satisfies Action[])),
    { type: "output", port: segmentPort(segment) },
  ];
}

/** What is constant about the segments of this node. */
export function wireFlows(wires: readonly Wire[], metered: boolean): Flow[] {
  const flows: Flow[] = [];
  for (const port of new Set(wires.map(({ segment }) => segmentPort(segment)))) {
    flows.push(
      base({ table: "classify", priority: 80, match: [inPort(port)], actions: [] }),
      missFlow("ingress", port, metered, encodeCookie("base", 1)),
    );
  }
  for (const { segment } of wires) {
    const from: Match = [inPort(segmentPort(segment)), taggedWith(segmentVlan(segment))];
    const enter: Action[] = [
      ...(segmentVlan(segment) === 0 ? [] : [{ type: "pop_vlan" } satisfies Action]),
      load("reg0", sourceClass.uplink, 0, 4),
      load("reg1", segment),
    ];
    const meter: Action[] = metered ? [{ type: "meter", meter: neighbourMeter }] : [];
    flows.push(
      base({
        table: "classify",
        priority: 110,
        match: [...from, ethType(etherType.arp)],
        actions: enter,
        goto: "bridge",
      }),
      ...[neighbourSolicitation, neighbourAdvertisement].map((type) =>
        base({ table: "classify", priority: 110, match: [...from, ...icmpv6(type)], actions: enter, goto: "bridge" }),
      ),
      base({ table: "classify", priority: 90, match: from, actions: enter, goto: "track" }),
      base({ table: "arp-nd", priority: 10, match: [onSegment(segment)], actions: [], goto: "bridge" }),
      base({
        table: "bridge",
        priority: 10,
        match: [cameFrom("pod"), onSegment(segment)],
        actions: [...meter, ...ontoWire(segment)],
      }),
    );
  }
  return flows;
}

/**
 * What a gateway says to all reaches all: a gateway that failed over must not be looked for where it was. The same holds
 * of addresses that pods pass on, wherever the next one is.
 * @param members ports of the pods that live on the segment
 */
export function announcementFlows(
  { segment, gateways, shared = [] }: Wire,
  members: readonly number[],
  metered: boolean,
): Flow[] {
  if (members.length === 0) return [];
  const toAll = members.map((port): Action => ({ type: "output", port }));
  const heard = (priority: number, from: keyof typeof sourceClass, about: Cidr | Ip, actions: Action[]): Flow =>
    base({
      table: "bridge",
      priority,
      match: [cameFrom(from), onSegment(segment), ...announcementOf(about)],
      actions,
    });
  return [
    ...gateways.map((gateway) => heard(90, "uplink", gateway, toAll)),
    ...shared.flatMap((prefix) => [
      heard(120, "uplink", prefix, [...showAnnouncement(metered), ...toAll]),
      heard(120, "pod", prefix, [...toAll, ...ontoWire(segment)]),
    ]),
  ];
}

/** Gratuitous ARP (RFC 5227, section 3) or an unsolicited advertisement (RFC 4861, section 7.2.6) about an address. */
export function announcementOf(about: Cidr | Ip): MatchField[] {
  if (familyOf(about) === 4) return [ethType(etherType.arp), within("arp_spa", about), within("arp_tpa", about)];
  return [...icmpv6(neighbourAdvertisement), within("nd_target", about)];
}

/** A question for the MAC of an address. */
export function questionAbout(about: Cidr | Ip): MatchField[] {
  if (familyOf(about) === 4) {
    return [ethType(etherType.arp), { field: "arp_op", value: 1n }, within("arp_tpa", about)];
  }
  return [...icmpv6(neighbourSolicitation), within("nd_target", about)];
}

function familyOf(about: Cidr | Ip): 4 | 6 {
  return typeof about === "string" ? ipFamily(about) : about.family;
}

/** Addresses of a pod that neighbours ask for: its own, and with IPv6 the link-local one that its kernel made. */
export function askedAddresses({ addresses, mac }: Pick<LocalPort, "addresses" | "mac">): Ip[] {
  return addresses.some((address) => ipFamily(address) === 6) ? [...addresses, linkLocal(mac)] : [...addresses];
}

/** How one pod of a wire is found, and finds others. */
export function bridgeFlows(port: LocalPort, segment: Segment, cookie: bigint): Flow[] {
  const flows: Flow[] = [
    defineFlow({
      table: "bridge",
      priority: 100,
      cookie,
      match: [onSegment(segment), ethDestination(port.mac)],
      actions: [{ type: "output", port: port.ofport }],
    }),
  ];
  for (const address of askedAddresses(port)) {
    flows.push(
      // What a pod asks or says about its own address is for the others.
      defineFlow({
        table: "bridge",
        priority: 110,
        cookie,
        match: [inPort(port.ofport), onSegment(segment), ...questionAbout(address)],
        actions: ontoWire(segment),
      }),
      defineFlow({
        table: "bridge",
        priority: 100,
        cookie,
        match: [onSegment(segment), ...questionAbout(address)],
        actions: [{ type: "output", port: port.ofport }],
      }),
    );
  }
  return flows;
}

function ethDestination(mac: Mac): MatchField {
  return { field: "eth_dst", value: macToBigInt(mac) };
}

/** `userdata` of a packet that is too large: one byte kind (2), one byte format (1). */
const tooLargeUserdata = Uint8Array.of(2, 1);

/** Whether a packet-in brings a packet that is too large for its way. */
export function isTooLarge(userdata: Uint8Array): boolean {
  return userdata.length === 2 && userdata[0] === 2 && userdata[1] === 1;
}

/** @param mtu of overlay pods (bytes); undefined: nobody sends what might be larger */
export function fitFlows(mtu: number | undefined, metered: boolean): Flow[] {
  const through = base({ table: "fit", priority: 10, match: [], actions: [], goto: "forward" });
  if (mtu === undefined) return [through];
  const meter: Action[] = metered ? [{ type: "meter", meter: tooLargeMeter }] : [];
  return [
    through,
    base({
      table: "fit",
      priority: 100,
      match: [{ field: "reg4", value: BigInt(narrowBit), mask: BigInt(narrowBit) }],
      // The length that the switch measures has the Ethernet header in it.
      actions: [{ type: "check_pkt_larger", length: mtu + ethernetHeader, dst: slice("reg9", 1, 1) }],
      goto: "too-large",
    }),
    base({
      table: "too-large",
      priority: 100,
      match: [{ field: "reg9", value: 2n, mask: 2n }],
      actions: [...meter, { type: "controller", userdata: tooLargeUserdata }],
    }),
    base({ table: "too-large", priority: 10, match: [], actions: [], goto: "forward" }),
  ];
}

/** Verdicts that lead onto a wire: as the pod wrote the frame, or to another machine's MAC. */
export function uplinkForwardFlows(): Flow[] {
  const untagged: MatchField = { field: "reg3", value: 0n, mask: 0xfffn };
  const out: Action = { type: "output_reg", src: slice("reg3", 16, 16), maxLen: 0xffff };
  const tag: Action[] = [
    { type: "push_vlan", ethertype: 0x8100 },
    { type: "move", src: slice("reg3", 0, 12), dst: slice("vlan_vid", 0, 12) },
  ];
  const towards: Action[] = [
    { type: "move", src: slice("reg4", 0, 16), dst: slice("eth_dst", 32, 16) },
    { type: "move", src: slice("reg2", 0, 32), dst: slice("eth_dst", 0, 32) },
  ];
  return [
    { code: verdictCode.uplink, rewrite: [] },
    { code: verdictCode.uplinkTo, rewrite: towards },
  ].flatMap(({ code, rewrite }) => {
    const verdict: MatchField = { field: "reg5", value: BigInt(code) };
    return [
      base({ table: "forward", priority: 110, match: [verdict, untagged], actions: [...rewrite, out] }),
      base({ table: "forward", priority: 100, match: [verdict], actions: [...rewrite, ...tag, out] }),
    ];
  });
}
