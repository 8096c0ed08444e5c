/**
 * How connections of isolated pods are followed: in one conntrack zone per node, each labelled with the verdict that let
 * it pass. A label that no entry knows any more is worth nothing, so that revoking a verdict revokes its connections.
 *
 * ```
 * ct_label  127     72 71  66 65      64 63    56 55       32 31        0
 *           | unused | group | originator | 0     | agent     | verdict   |
 * ```
 * `agent` is drawn anew with each start of the agent: numbers of verdicts begin again, labels of a former life do not.
 * `group` tells which rules let the connection pass, for counting; nothing else depends on it.
 */

/** The zone of policies; services get their own. */
export const policyZone = 0xbf1;

/** Who opened a connection, as against what conntrack takes for it. In reg7[0..1], and in the label from bit 64 on. */
export const originator = {
  /** Whoever sent the first packet that conntrack saw. */
  tracked: 1,
  /** The other end: conntrack met the connection in the middle, with an answer. */
  other: 2,
} as const;
export type Originator = keyof typeof originator;

/** @param label of a connection */
export function originatorOf(label: bigint): Originator | undefined {
  const number = Number((label >> 64n) & 3n);
  return (Object.keys(originator) as Originator[]).find((name) => originator[name] === number);
}

/** The group of connections of which it is not known by which rules they pass, or that pass by none. */
export const noGroup = 63;

/** What a label says beside verdict and life: from bit 64 on, and in the lowest 8 bits of reg7. */
export function labelTail(opened: Originator, group: number): number {
  return (group << 2) | originator[opened];
}

/**
 * reg8[0..1]: what conntrack knows of the packet. Zero for what needs no conntrack at all.
 */
export const standing = {
  untracked: 0,
  /** Of a connection whose label is valid. */
  permitted: 1,
  /** The first of a connection. */
  fresh: 2,
  /** Of a connection that conntrack met in the middle, or whose label is not valid any more: only the agent can tell. */
  doubtful: 3,
} as const;
export type Standing = keyof typeof standing;

export function standingOf(number: number): Standing {
  return (Object.keys(standing) as Standing[]).find((name) => standing[name] === (number & 3))!;
}

/** The part of a label that names the verdict and the agent's life. */
export const labelMask = 0xffff_ffff_ffff_ffffn;
export const labelGroupShift = 66n;
export const labelGroupMask = 63n << labelGroupShift;

/** Lives of agents are numbers below this: reg7 has room for 24 bits beside the originator. */
export const maxLife = 2 ** 24;

/** @param life drawn at the agent's start, below {@link maxLife} */
export function labelOf(life: number, verdict: number): bigint {
  return (BigInt(life % maxLife) << 32n) | BigInt(verdict >>> 0);
}
