/**
 * What the registers of `br-int` hold. A verdict and its way travel in registers 2 to 5, which the switch reports to a
 * controller as the two 64-bit registers `xreg1` and `xreg2`; the agent patches exactly those in a continuation.
 */
import type { Action, FieldName, FieldSlice, MatchField } from "@beyondfabric/openflow";

/** reg0[0..3]: where the packet came from. */
export const sourceClass = { pod: 1, tunnel: 2, host: 3 } as const;
export type SourceClass = keyof typeof sourceClass;

/** reg5: what shall be done with the packet; `forward` obeys it and nothing else. */
export const verdictCode = { local: 1, tunnel: 2, host: 3, deny: 4 } as const;
export type VerdictCode = (typeof verdictCode)[keyof typeof verdictCode];

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

/** reg9[0] is set once the packet has been to the agent, so that a refused answer cannot make it go round for ever. */
export const missNotYetTaken: MatchField = { field: "reg9", value: 0n, mask: 1n };
export const markMissTaken: Action = load("reg9", 1, 0, 1);

/** Loads of the presets that a miss needs before it pauses. */
export const presetVerdict: readonly Action[] = [
  load("reg2", unset),
  load("reg3", unset),
  load("reg4", unset),
  load("reg5", unset),
];

/** The way of a packet, as the registers carry it. */
export interface Way {
  readonly code: VerdictCode;
  /** IPv4 address of the tunnel's far end as an unsigned integer; 0 unless `code` is `tunnel`. */
  readonly tunnelDestination: number;
  /** Virtual network identifier; 0 unless `code` is `tunnel`. */
  readonly vni: number;
}

/** The way as actions of an on-demand entry. */
export function wayActions(way: Way): Action[] {
  const actions: Action[] = [];
  if (way.code === verdictCode.tunnel) {
    actions.push(load("reg2", way.vni), load("reg3", way.tunnelDestination));
  }
  actions.push(load("reg5", way.code));
  return actions;
}

/** The way as patches of a continuation: `xreg1` is reg2 and reg3, `xreg2` is reg4 and reg5. */
export function wayPatches(way: Way): { xreg: number; value: bigint }[] {
  return [
    { xreg: 1, value: (BigInt(way.vni) << 32n) | BigInt(way.tunnelDestination >>> 0) },
    { xreg: 2, value: (BigInt(unset) << 32n) | BigInt(way.code) },
  ];
}
