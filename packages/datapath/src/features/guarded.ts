/**
 * The entries of a verdict with a guard. Packets of a connection that its label permits take the pair's way; first packets
 * take it where the openings let them, and are remembered; under those lies the pair's refusal, so that trying many ports
 * costs one miss. What is doubtful meets none of them and goes to the agent.
 */
import type { Action, Flow, Match, MatchField } from "@beyondfabric/openflow";
import { ipProtocol } from "@beyondfabric/packet";
import { isClosed, protocols, type Protocol } from "@beyondfabric/policy";
import { encodeCookie } from "../cookie.ts";
import type { Decision, Guard } from "../decision.ts";
import { defineFlow, type TableName } from "../pipeline.ts";
import { hasStanding, load, verdictCode } from "../registers.ts";
import { commitAction, labelFlow, validConnection } from "./tracking.ts";

export type Guarded = Extract<Decision, { verdict: "allow" }> & { readonly guard: Guard };

/** Where the entries of a verdict stand, and what every packet of it has in common. */
export interface GuardedPlace {
  readonly table: Extract<TableName, "egress" | "ingress">;
  readonly priority: number;
  readonly match: Match;
  readonly way: readonly Action[];
  /** Where a packet goes on that passes. */
  readonly goto: Extract<TableName, "fit" | "forward">;
}

/** More entries than this for one pair are not worth it: its first packets all go to the agent. */
const maxRanges = 64;

/**
 * The userspace datapath does not tell the ports of these. They may join their datagram where it is remembered, which
 * waits for all of it (`ct` puts it together once more); and its first fragment comes there only if its port is open.
 */
const laterFragment: MatchField = { field: "ip_frag", value: 3n, mask: 3n };

const protocolNumber: Readonly<Record<Protocol, number>> = {
  TCP: ipProtocol.tcp,
  UDP: ipProtocol.udp,
  SCTP: ipProtocol.sctp,
};

/** @param label the one that connections of this verdict get */
export function guardedFlows(place: GuardedPlace, { openings }: Guard, id: number, label: bigint): Flow[] {
  const { table, priority, match, way, goto } = place;
  const passes = encodeCookie("verdict", id);
  const flows = [
    defineFlow({
      table,
      priority,
      cookie: passes,
      match: [...match, hasStanding("permitted")],
      actions: way,
      goto,
    }),
  ];
  if (!isClosed(openings)) flows.push(labelFlow(label, passes));
  const first: Match = [...match, hasStanding("fresh")];
  const remembered = [commitAction(label), ...way];
  if (openings.kind === "everything") {
    flows.push(defineFlow({ table, priority, cookie: passes, match: first, actions: remembered, goto }));
    return flows;
  }
  const ranges = protocols.flatMap((protocol) =>
    openings[protocol].flatMap(({ first: low, last }) =>
      portPrefixes(low, last).map(({ value, mask }): Match => {
        // The connection's port, not the packet's: fragments do not show theirs.
        const port = { field: "ct_tp_dst", value: BigInt(value) } as const;
        return [
          ...first,
          validConnection,
          { field: "ct_nw_proto", value: BigInt(protocolNumber[protocol]) },
          ...(mask === 0 ? [] : [mask === 0xffff ? port : { ...port, mask: BigInt(mask) }]),
        ];
      }),
    ),
  );
  if (ranges.length > maxRanges) return flows;
  for (const range of ranges) {
    flows.push(
      defineFlow({
        table,
        priority: priority + 10,
        cookie: passes,
        match: range,
        actions: remembered,
        goto,
      }),
    );
  }
  if (ranges.length > 0) {
    flows.push(
      defineFlow({
        table,
        priority: priority + 5,
        cookie: passes,
        match: [...first, laterFragment],
        actions: remembered,
        goto,
      }),
    );
  }
  flows.push(
    defineFlow({
      table,
      priority,
      cookie: encodeCookie("refusal", id),
      match: first,
      actions: [load("reg5", verdictCode.deny)],
      goto: "forward",
    }),
  );
  return flows;
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
