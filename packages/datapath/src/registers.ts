/**
 * What the registers of `br-int` hold. A verdict and its way travel in registers 2 to 5, which the switch reports to a
 * controller as the two 64-bit registers `xreg1` and `xreg2`; the agent patches exactly those in a continuation.
 */
import type { Action, FieldName, FieldSlice, MatchField } from "@beyondfabric/openflow";
import { labelTail, standing, type Originator, type Standing } from "./tracking.ts";

/** reg0[0..3]: where the packet came from. */
export const sourceClass = { pod: 1, tunnel: 2, host: 3, uplink: 4 } as const;
export type SourceClass = keyof typeof sourceClass;

/** reg5: what shall be done with the packet; `forward` obeys it and nothing else. */
export const verdictCode = { local: 1, tunnel: 2, host: 3, deny: 4, uplink: 5, uplinkTo: 6 } as const;
export type VerdictCode = (typeof verdictCode)[keyof typeof verdictCode];

/**
 * One VLAN of one NIC, as reg1 and reg3 carry it: the OpenFlow port of the uplink in the upper half, the VLAN in the
 * lower; VLAN 0 is untagged.
 */
export type Segment = number;

export function segmentOf(port: number, vlan: number): Segment {
  return ((port << 16) | vlan) >>> 0;
}

export function segmentPort(segment: Segment): number {
  return segment >>> 16;
}

export function segmentVlan(segment: Segment): number {
  return segment & 0xfff;
}

/** reg4[31]: what is too large for the packet's way is answered, not sent. */
export const narrowBit = 0x8000_0000;

/**
 * The value that marks a verdict register as not yet written. It must differ from zero: a register that is zero is left
 * out of the continuation, and then there is nothing to patch.
 */
export const unset = 0xee;

export function load(field: FieldName, value: number | bigint, offset = 0, bits = 32): Action {
  return { type: "load", dst: slice(field, offset, bits), value: BigInt(value) };
}

export function slice(field: FieldName, offset: number, bits: number): FieldSlice {
  return { field, offset, bits };
}

/** What an entry about packets of one standing matches. */
export function hasStanding(name: Standing): MatchField {
  return { field: "reg8", value: BigInt(standing[name]), mask: 3n };
}

/** reg9[0] is set once the packet has been to the agent, so that a refused answer cannot make it go round for ever. */
export const missNotYetTaken: MatchField = { field: "reg9", value: 0n, mask: 1n };
export const markMissTaken: Action = load("reg9", 1, 0, 1);

/**
 * pkt_mark[24..31]: a bit is written with the nought that stands there, for what that does to the datapath's flow: it matches
 * on the bit from then on. When entries change, the switch deletes a flow that matches on less than it would have to
 * today, and changes any other in place. Before 2.17.8, 3.0.5 and 3.1.3 that change meets the wrong one of two flows of the
 * userspace datapath that overlap ("dpif-netdev: Fix dpif_netdev_flow_put"), and the one that was meant stays as it
 * was for as long as packets use it: refused, or allowed. So entries that do different things to a packet look at different
 * bits, and no flow of one can become one of the other.
 */
const markBit = { ask: 24, track: 25, refuse: 26, forge: 27, pass: 28, open: 30 } as const;

/** How many different verdicts about one pair may follow each other before the first bit comes again. */
export const editions = 2;

/** @param edition of `pass` and `open`, which have a bit for each: what follows one is the other */
export function lookAtMark(kind: keyof typeof markBit, edition = 0): Action {
  return { type: "set_field", field: "pkt_mark", value: 0n, mask: 1n << BigInt(markBit[kind] + (edition % editions)) };
}

/** The edition of a verdict's entry; undefined when its actions look at no bit of those that pass. */
export function editionOf(action: Action): number | undefined {
  if (action.type !== "set_field" || action.field !== "pkt_mark") return undefined;
  for (let edition = 0; edition < editions; edition++) {
    if (action.mask === 1n << BigInt(markBit.pass + edition)) return edition;
  }
  return undefined;
}

/** As {@link unset}; its lowest two bits name no originator. */
const nothingToCommit = 0xec;

/** Loads of the presets that a miss needs before it pauses. */
export const presetVerdict: readonly Action[] = [
  load("reg2", unset),
  load("reg3", unset),
  load("reg4", unset),
  load("reg5", unset),
  // reg6 and reg7, which are `xreg3`: the connection that `commit` shall remember. Not zero, and nobody who opened one.
  load("reg7", nothingToCommit),
];

/** The way of a packet, as registers 2 to 5 carry it. */
export interface WayRegisters {
  readonly code: VerdictCode;
  /** `tunnel`: the virtual network identifier. `uplinkTo`: the lower 32 bits of the MAC. */
  readonly reg2: number;
  /** `tunnel`: the IPv4 address of the tunnel's far end. `uplink`, `uplinkTo`: the segment. */
  readonly reg3: number;
  /** `uplinkTo`: the upper 16 bits of the MAC. {@link narrowBit}. {@link unset} where neither is needed. */
  readonly reg4: number;
}

/** The way as actions of an on-demand entry: what is needed of it. */
export function wayActions({ code, reg2, reg3, reg4 }: WayRegisters): Action[] {
  const actions: Action[] = [];
  if (code === verdictCode.tunnel || code === verdictCode.uplinkTo) actions.push(load("reg2", reg2));
  if (code === verdictCode.tunnel || code === verdictCode.uplink || code === verdictCode.uplinkTo) {
    actions.push(load("reg3", reg3));
  }
  if (reg4 !== unset) actions.push(load("reg4", reg4));
  actions.push(load("reg5", code));
  return actions;
}

/** The way as patches of a continuation: `xreg1` is reg2 and reg3, `xreg2` is reg4 and reg5. */
export function wayPatches({ code, reg2, reg3, reg4 }: WayRegisters): { xreg: number; value: bigint }[] {
  return [
    { xreg: 1, value: (BigInt(reg2 >>> 0) << 32n) | BigInt(reg3 >>> 0) },
    { xreg: 2, value: (BigInt(reg4 >>> 0) << 32n) | BigInt(code) },
  ];
}

/**
 * The verdict under whose label `commit` would remember the packet's connection, as actions: reg6 and the upper part of reg7.
 * What else it takes, {@link loadOpener} says.
 */
export function loadLabel(label: bigint): Action[] {
  return [load("reg6", label & 0xffff_ffffn), load("reg7", label >> 32n, 8, 24)];
}

/** Has `commit` remember the connection: who opened it, and by which rules it passes. */
export function loadOpener(opened: Originator, group: number): Action {
  return load("reg7", labelTail(opened, group), 0, 8);
}

/**
 * What `commit` shall remember of the packet's connection, as a patch: `xreg3` is reg6 (the verdict) and reg7 (the agent's
 * life from bit 8 on, by which rules it passes, and who opened the connection).
 */
export function commitPatch(label: bigint, opened: Originator, group: number): { xreg: number; value: bigint } {
  const [life, verdict] = [label >> 32n, label & 0xffff_ffffn];
  return { xreg: 3, value: (verdict << 32n) | (life << 8n) | BigInt(labelTail(opened, group)) };
}
