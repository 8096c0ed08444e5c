/**
 * The entries of a verdict with a guard. Packets of a connection that its label permits take the pair's way; first packets
 * take it where the openings let them, and are remembered; under those lies the pair's refusal, so that trying many ports
 * costs one miss. What is doubtful meets none of them and goes to the agent.
 */
import type { Action, Flow, Match } from "@beyondfabric/openflow";
import { ipProtocol } from "@beyondfabric/packet";
import { isClosed, protocols, type Protocol, type RuleReference } from "@beyondfabric/policy";
import { encodeCookie } from "../cookie.ts";
import type { Decision, Guard } from "../decision.ts";
import { defineFlow, type TableName } from "../pipeline.ts";
import { hasStanding, load, loadOpener, lookAtMark, verdictCode } from "../registers.ts";
import { groupOf, tooManyRuleGroups, type RuleGroups } from "../rule-groups.ts";
import type { AssociationEnd } from "./association.ts";
import { firstPacketLabel, labelFlow, laterFragment, validConnection } from "./tracking.ts";

export type Guarded = Extract<Decision, { verdict: "allow" }> & { readonly guard: Guard };

/** Where the entries of a verdict stand, and what every packet of it has in common. */
export interface GuardedPlace {
  readonly table: Extract<TableName, "egress" | "ingress">;
  readonly priority: number;
  readonly match: Match;
  readonly way: readonly Action[];
  /** Where a packet goes on that passes and is remembered already. */
  readonly goto: Extract<TableName, "fit" | "forward">;
}

/** More entries than this for one pair are not worth it: its first packets all go to the agent. */
const maxRanges = 64;

const protocolNumber: Readonly<Record<Protocol, number>> = {
  TCP: ipProtocol.tcp,
  UDP: ipProtocol.udp,
  SCTP: ipProtocol.sctp,
};

/** What the counters of an entry tell of some rules: how many connections they let in, or those connections' traffic. */
export interface Counted {
  readonly rules: readonly RuleReference[];
  readonly what: "sessions" | "traffic";
}

export interface GuardedEntry {
  readonly flow: Flow;
  /** Absent where the counters tell nothing of any rule. */
  readonly counted?: Counted;
}

/** What tells the entries of one verdict from those of another about the same pair. */
export interface VerdictMarks {
  /** Which of the verdicts that followed each other about its packets this is, below {@link editions}. */
  readonly edition: number;
  /** What its connections get. */
  readonly label: bigint;
  /** Which rules the label can name. */
  readonly groups: RuleGroups;
  /** What of associations of SCTP takes its way. */
  readonly associations?: Iterable<AssociationEnd> | undefined;
}

export function guardedEntries(
  place: GuardedPlace,
  { openings }: Guard,
  id: number,
  { edition, label, groups }: VerdictMarks,
): GuardedEntry[] {
  const { table, priority, match, way, goto } = place;
  const passes = encodeCookie("verdict", id);
  const permitted: Match = [...match, hasStanding("permitted")];
  const entries: GuardedEntry[] = [
    {
      flow: defineFlow({
        table,
        priority,
        cookie: passes,
        match: permitted,
        actions: [lookAtMark("pass", edition), ...way],
        goto,
      }),
    },
  ];
  if (!isClosed(openings)) {
    entries.push(...labelEntries(label, groups, passes));
    entries.push({ flow: firstPacketLabel({ priority, match }, label, edition, passes) });
  }
  const first: Match = [...match, hasStanding("fresh")];
  const opening = (where: Match, above: number, rules: readonly RuleReference[]): GuardedEntry => {
    const group = groupOf(groups, rules);
    const actions = [lookAtMark("open", group), loadOpener("tracked", group), ...way];
    const flow = defineFlow({
      table,
      priority: priority + above,
      cookie: passes,
      match: where,
      actions,
      goto: "commit",
    });
    return rules.length === 0 ? { flow } : { flow, counted: { rules, what: "sessions" } };
  };
  if (openings.kind === "everything") return [...entries, opening(first, 0, openings.rules)];
  const ranges = protocols.flatMap((protocol) =>
    openings[protocol].flatMap(({ first: low, last, rules }) =>
      portPrefixes(low, last).map(({ value, mask }) => {
        // The connection's port, not the packet's: fragments do not show theirs.
        const port = { field: "ct_tp_dst", value: BigInt(value) } as const;
        const where: Match = [
          ...first,
          validConnection,
          { field: "ct_nw_proto", value: BigInt(protocolNumber[protocol]) },
          ...(mask === 0 ? [] : [mask === 0xffff ? port : { ...port, mask: BigInt(mask) }]),
        ];
        return { where, rules };
      }),
    ),
  );
  if (ranges.length > maxRanges) return entries;
  for (const { where, rules } of ranges) entries.push(opening(where, 10, rules));
  // Later fragments may join their datagram where it is remembered, which waits for all of it (`ct` puts it together once
  // more); and its first fragment comes there only if its port is open.
  if (ranges.length > 0) entries.push({ flow: opening([...first, laterFragment], 5, []).flow });
  entries.push({
    flow: defineFlow({
      table,
      priority,
      cookie: encodeCookie("refusal", id),
      match: first,
      actions: [lookAtMark("refuse"), load("reg5", verdictCode.deny)],
      goto: "forward",
    }),
  });
  return entries;
}

/** One for each group of rules whose connections pass; one for all where they are too many. */
function labelEntries(label: bigint, groups: RuleGroups, cookie: bigint): GuardedEntry[] {
  if (groups === tooManyRuleGroups) return [{ flow: labelFlow(label, cookie) }];
  return groups.flatMap(({ rules, holds }, group): GuardedEntry[] => {
    if (!holds) return [];
    const flow = labelFlow(label, cookie, group);
    return [rules.length === 0 ? { flow } : { flow, counted: { rules, what: "traffic" } }];
  });
}

/** A range of ports as values with masks: at most 30 of them. */
export function portPrefixes(first: number, last: number): { readonly value: number; readonly mask: number }[] {
  const prefixes: { value: number; mask: number }[] = [];
  for (let next = first; next <= last;) {
    let size = next === 0 ? 0x10000 : next & -next;
    while (next + size - 1 > last) size >>= 1;
    prefixes.push({ value: next, mask: 0x10000 - size });
    next += size;
  }
  return prefixes;
}
