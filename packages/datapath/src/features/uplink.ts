/**
 * The entries of `br-<nic>`, the bridge of a NIC. It is a wire with a gate in it: what concerns the pods of this node comes
 * in, everything else stays out; what pods say goes out. Where the NIC carries addresses of the node itself, those have
 * the rest. The bridge never learns and never floods.
 */
import type { Action, Flow, Match } from "@beyondfabric/openflow";
import { reservedPorts } from "@beyondfabric/openflow";
import { ipFamily, ipToBigInt, macToBigInt, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import { ethType, etherType, icmpv6, inPort, neighbourAdvertisement } from "../match.ts";
import { examinationFlows, type UplinkExamination } from "./examination.ts";
import { announcementOf, askedAddresses, questionAbout, taggedWith } from "./wire.ts";

/** OpenFlow ports of the bridge: the NIC, and the way to `br-int`. */
export const nicPort = 1;
export const integrationPort = 2;

/** A pod of this node, or one that is about to be, as the bridge sees it. */
export interface UplinkMember {
  readonly mac: Mac;
  readonly addresses: readonly Ip[];
  /** 0: untagged */
  readonly vlan: number;
}

export interface UplinkFacts {
  /** The bridge carries addresses of the node itself. */
  readonly carriesNode: boolean;
  /** The bridge is connected to `br-int`. */
  readonly carriesPods: boolean;
  readonly members: readonly UplinkMember[];
  /** Gateways of the VLANs that members live on: what they say to all is let in. */
  readonly gateways: readonly { readonly vlan: number; readonly address: Ip }[];
  /** What pods of the VLANs that members live on pass on: questions about it, and who announces it, are let in. */
  readonly shared?: readonly { readonly vlan: number; readonly prefix: Cidr }[];
  /** VLANs that are being examined now. */
  readonly examinations: readonly UplinkExamination[];
  /** Whether what goes to the agent passes {@link conflictMeter}. */
  readonly metered: boolean;
}

/** Meter of `br-<nic>`: frames that may show that an address is used twice, and answers to examinations. */
export const conflictMeter = 1;

/** `userdata` of a frame of a wire that speaks of an address of this node: one byte kind (3), one byte format (1). */
const conflictUserdata = Uint8Array.of(3, 1);

/** Whether a packet-in of `br-<nic>` brings such a frame. */
export function isConflict(userdata: Uint8Array): boolean {
  return userdata.length === 2 && userdata[0] === 3 && userdata[1] === 1;
}

const local = reservedPorts.LOCAL;

function entry(priority: number, match: Match, actions: readonly Action[]): Flow {
  return {
    table: 0,
    priority,
    cookie: encodeCookie("base", 2),
    match,
    instructions: actions.length === 0 ? [] : [{ type: "apply_actions", actions }],
  };
}

function output(...ports: readonly number[]): Action[] {
  return ports.map((port) => ({ type: "output", port }));
}

export function uplinkFlows(facts: UplinkFacts): Flow[] {
  const flows: Flow[] = [];
  if (facts.carriesNode) {
    flows.push(entry(100, [inPort(nicPort)], output(local)), entry(100, [inPort(local)], output(nicPort)));
  }
  if (!facts.carriesPods) return flows;
  flows.push(entry(100, [inPort(integrationPort)], output(nicPort)));
  const meter: Action[] = facts.metered ? [{ type: "meter", meter: conflictMeter }] : [];
  const toAgent: Action[] = [...meter, { type: "controller", userdata: conflictUserdata }];
  for (const member of facts.members) {
    const from: Match = [inPort(nicPort), taggedWith(member.vlan)];
    flows.push(
      entry(200, [...from, { field: "eth_dst", value: macToBigInt(member.mac) }], output(integrationPort)),
      ...askedAddresses(member).map((address) =>
        entry(200, [...from, ...questionAbout(address)], output(integrationPort)),
      ),
      // Nobody on the wire speaks in the name of a pod of this node, unless its address is used twice.
      ...member.addresses.map((address) => entry(300, [...from, ...statementAbout(address)], toAgent)),
    );
  }
  // Where the node shares the VLAN it hears what is said to all, too.
  const hearers = (vlan: number): Action[] =>
    facts.carriesNode && vlan === 0 ? output(integrationPort, local) : output(integrationPort);
  for (const { vlan, address } of facts.gateways) {
    flows.push(entry(250, [inPort(nicPort), taggedWith(vlan), ...announcementOf(address)], hearers(vlan)));
  }
  for (const { vlan, prefix } of facts.shared ?? []) {
    const from: Match = [inPort(nicPort), taggedWith(vlan)];
    flows.push(
      entry(250, [...from, ...announcementOf(prefix)], hearers(vlan)),
      entry(190, [...from, ...questionAbout(prefix)], hearers(vlan)),
    );
  }
  const { carriesNode } = facts;
  for (const examination of facts.examinations) {
    flows.push(...examinationFlows(examination, { meter, nic: nicPort, pods: integrationPort, carriesNode }));
  }
  return flows;
}

/** Somebody says that an address is its own: as the sender of ARP, or in an advertisement. */
function statementAbout(address: Ip): Match {
  const value = ipToBigInt(address);
  return ipFamily(address) === 4
    ? [ethType(etherType.arp), { field: "arp_spa", value }]
    : [...icmpv6(neighbourAdvertisement), { field: "nd_target", value }];
}
