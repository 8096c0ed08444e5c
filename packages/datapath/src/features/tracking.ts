/** What sends packets of isolated pods through conntrack, and what is made of its answer. */
import type { Action, Flow, Match, MatchField } from "@beyondfabric/openflow";
import { ipProtocol } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { LocalPort } from "../facts.ts";
import { destinationIn, ethType, etherType, ipType, sourceIn } from "../match.ts";
import { defineFlow, tables, type FlowDefinition } from "../pipeline.ts";
import { load, loadLabel, lookAtMark, slice, sourceClass } from "../registers.ts";
import { labelGroupMask, labelGroupShift, labelMask } from "../tracking.ts";
import { originator, policyZone, standing, type Standing } from "../tracking.ts";

/** Bits of `ct_state` (ovs-fields(7)). */
const ctState = { new: 0x01n, invalid: 0x10n, tracked: 0x20n };

/** What matching on a connection's protocol and ports presupposes (ovs-fields(7)). */
export const validConnection: MatchField = {
  field: "ct_state",
  value: ctState.tracked,
  mask: ctState.tracked | ctState.invalid,
};

/** The userspace datapath does not tell the ports of these. */
export const laterFragment: MatchField = { field: "ip_frag", value: 3n, mask: 3n };

/** The entries that are there whether pods are isolated or not. */
export function trackingFlows(): Flow[] {
  return [...knownFlows(), ...dispatchFlows(), ...commitFlows()];
}

function base(definition: Omit<FlowDefinition, "cookie">): Flow {
  return defineFlow({ ...definition, cookie: encodeCookie("base", 1) });
}

function stands(name: Standing): Action {
  return load("reg8", standing[name], 0, 2);
}

function knownFlows(): Flow[] {
  const fresh: Match = [
    { field: "ct_state", value: ctState.new | ctState.tracked, mask: ctState.new | ctState.tracked },
  ];
  const invalid = ctState.invalid | ctState.tracked;
  const known = (priority: number, match: Match, name: Standing): Flow =>
    base({ table: "known", priority, match, actions: [stands(name)], goto: name === "fresh" ? "label" : "dispatch" });
  const flows = [
    base({ table: "known", priority: 300, match: [{ field: "ct_state", value: invalid, mask: invalid }], actions: [] }),
    known(90, fresh, "fresh"),
    known(10, [], "doubtful"),
  ];
  for (const type of [etherType.ipv4, etherType.ipv6]) {
    const tcp: Match = [...fresh, ethType(type), { field: "ip_proto", value: BigInt(ipProtocol.tcp) }];
    // SYN without ACK: the sender opens it. Anything else began before it was tracked.
    const syn = { field: "tcp_flags", value: 0x02n, mask: 0x12n } as const;
    flows.push(known(100, [...tcp, syn], "fresh"), known(95, tcp, "doubtful"));
    // The userspace datapath tells no ports of SCTP: what it takes for one connection is all that a pair says to each
    // other, so that neither its state nor its label means anything. Entries of associations judge it, or the agent.
    const portless: Match = [
      validConnection,
      ethType(type),
      { field: "ct_nw_proto", value: BigInt(ipProtocol.sctp) },
      { field: "ct_tp_dst", value: 0n },
    ];
    flows.push(
      known(250, portless, "doubtful"),
      base({ table: "known", priority: 260, match: [...portless, laterFragment], actions: [] }),
    );
  }
  return flows;
}

function dispatchFlows(): Flow[] {
  const arrives = (from: "tunnel" | "uplink"): Flow =>
    base({
      table: "dispatch",
      priority: 100,
      match: [{ field: "reg0", value: BigInt(sourceClass[from]), mask: 0xfn }],
      actions: [],
      goto: "ingress",
    });
  return [
    base({ table: "track", priority: 0, match: [], actions: [], goto: "dispatch" }),
    base({ table: "label", priority: 0, match: [], actions: [], goto: "dispatch" }),
    arrives("tunnel"),
    arrives("uplink"),
    base({ table: "dispatch", priority: 0, match: [], actions: [], goto: "egress" }),
  ];
}

/** For first packets that an entry or the agent lets pass: reg6 and reg7 say what shall be remembered. */
function commitFlows(): Flow[] {
  const flows = [base({ table: "commit", priority: 0, match: [], actions: [], goto: "fit" })];
  const remember: Action = {
    type: "ct",
    commit: true,
    zone: policyZone,
    actions: [
      { type: "move", src: slice("reg6", 0, 32), dst: slice("ct_label", 0, 32) },
      { type: "move", src: slice("reg7", 8, 24), dst: slice("ct_label", 32, 24) },
      { type: "move", src: slice("reg7", 0, 8), dst: slice("ct_label", 64, 8) },
    ],
  };
  for (const opened of Object.values(originator)) {
    for (const type of [etherType.ipv4, etherType.ipv6]) {
      const match: Match = [ethType(type), { field: "reg7", value: BigInt(opened), mask: 3n }];
      flows.push(base({ table: "commit", priority: 100, match, actions: [remember], goto: "fit" }));
    }
  }
  return flows;
}

/** Everything that a pod says or hears is tracked: two entries for each of its addresses, and for what it forwards for. */
export function trackPod(port: LocalPort, cookie: bigint): Flow[] {
  const track: Action = { type: "ct", zone: policyZone, table: tables.known.id };
  return [...port.addresses, ...(port.routedPrefixes ?? [])].flatMap((prefix) =>
    [sourceIn(prefix), destinationIn(prefix)].map((addresses) => {
      const type = ipType(typeof prefix === "string" ? prefix : prefix.address);
      const actions = [lookAtMark("track"), track];
      return defineFlow({ table: "track", priority: 100, cookie, match: [type, ...addresses], actions });
    }),
  );
}

/**
 * The entry by which connections of a verdict pass: without it their label is worth nothing.
 * @param group only those of this group, so that they are counted on their own
 */
export function labelFlow(label: bigint, cookie: bigint, group?: number): Flow {
  const notNew = ctState.new | ctState.invalid | ctState.tracked;
  const labels =
    group === undefined
      ? { value: label, mask: labelMask }
      : { value: label | (BigInt(group) << labelGroupShift), mask: labelMask | labelGroupMask };
  return defineFlow({
    table: "known",
    priority: group === undefined ? 200 : 210,
    cookie,
    match: [
      { field: "ct_state", value: ctState.tracked, mask: notNew },
      { field: "ct_label", ...labels },
    ],
    actions: [stands("permitted")],
    goto: "dispatch",
  });
}

/**
 * What first packets of a pair are remembered under if one of its openings lets them pass. It stands apart from the openings, so
 * that a new label is one entry, however many they are.
 */
export function firstPacketLabel(
  { priority, match }: { readonly priority: number; readonly match: Match },
  label: bigint,
  edition: number,
  cookie: bigint,
): Flow {
  const actions = [lookAtMark("pass", edition), ...loadLabel(label)];
  return defineFlow({ table: "label", priority, cookie, match, actions, goto: "dispatch" });
}
