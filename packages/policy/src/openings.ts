/**
 * What may pass between two parties, for all ports at once: ranges of destination ports per protocol, each with the rules
 * that opened it. One miss is enough to know them, however many ports are then tried.
 */
import { ipProtocol } from "@beyondfabric/packet";
import { protocols, type Protocol, type RuleReference } from "./model.ts";

/** Destination ports from `first` to `last`, both included. */
export interface Opening {
  readonly first: number;
  readonly last: number;
  /** One rule per direction that was judged, in the order in which the packet met them. */
  readonly rules: readonly RuleReference[];
}

export type Openings =
  /** Every packet, ICMP and other protocols included. Without rules when nothing isolates the pod. */
  | { readonly kind: "everything"; readonly rules: readonly RuleReference[] }
  /** Only these ports, disjoint and in order; ICMP and protocols without ports are closed. */
  | ({ readonly kind: "ports" } & Readonly<Record<Protocol, readonly Opening[]>>);

/** A packet as policies see it: the number of its protocol, and its destination port where it has one. */
export interface PacketFacts {
  readonly protocol: number;
  readonly destinationPort?: number;
}

export const maxPort = 0xffff;

const protocolOfNumber = new Map<number, Protocol>([
  [ipProtocol.tcp, "TCP"],
  [ipProtocol.udp, "UDP"],
  [ipProtocol.sctp, "SCTP"],
]);

/** The protocol of a packet, if it is one whose ports policies can name. */
export function protocolOf({ protocol }: PacketFacts): Protocol | undefined {
  return protocolOfNumber.get(protocol);
}

/** The rules that let a packet pass; undefined when it is closed. */
export function passingRules(openings: Openings, packet: PacketFacts): readonly RuleReference[] | undefined {
  if (openings.kind === "everything") return openings.rules;
  const protocol = protocolOf(packet);
  const port = packet.destinationPort;
  if (protocol === undefined || port === undefined) return undefined;
  return openings[protocol].find(({ first, last }) => first <= port && port <= last)?.rules;
}

/** Whether nothing at all passes. */
export function isClosed(openings: Openings): boolean {
  return openings.kind === "ports" && protocols.every((protocol) => openings[protocol].length === 0);
}

/** Whether the same packets pass, by whichever rules. */
export function sameOpenings(a: Openings, b: Openings): boolean {
  if (a.kind === "everything" || b.kind === "everything") return a.kind === b.kind;
  return protocols.every((protocol) => rangesText(a[protocol]) === rangesText(b[protocol]));
}

/** Whether whatever passes by `inner` passes by `outer` too, by whichever rules. */
export function includesOpenings(outer: Openings, inner: Openings): boolean {
  if (outer.kind === "everything") return true;
  if (inner.kind === "everything") return false;
  return protocols.every((protocol) => inner[protocol].every((opening) => isCovered(opening, outer[protocol])));
}

/** @param openings disjoint and in order */
function isCovered({ first, last }: Opening, openings: readonly Opening[]): boolean {
  let next = first;
  for (const each of openings) {
    if (next > last || each.first > next) break;
    next = Math.max(next, each.last + 1);
  }
  return next > last;
}

/** Ranges that touch are one, whoever opened them. */
function rangesText(openings: readonly Opening[]): string {
  let text = "";
  for (const [place, { first, last }] of openings.entries()) {
    if (place === 0 || openings[place - 1]!.last + 1 !== first) text += `${place === 0 ? "" : ","}${first}-`;
    if (place + 1 === openings.length || openings[place + 1]!.first !== last + 1) text += last;
  }
  return text;
}

/** What both let pass; the rules of both. */
export function intersectOpenings(before: Openings, after: Openings): Openings {
  if (before.kind === "everything") {
    if (after.kind === "everything") return { kind: "everything", rules: [...before.rules, ...after.rules] };
    return mapOpenings(after, (opening) => ({ ...opening, rules: [...before.rules, ...opening.rules] }));
  }
  if (after.kind === "everything") {
    return mapOpenings(before, (opening) => ({ ...opening, rules: [...opening.rules, ...after.rules] }));
  }
  const common = (protocol: Protocol): Opening[] =>
    before[protocol].flatMap((one) =>
      after[protocol]
        .filter((other) => other.first <= one.last && other.last >= one.first)
        .map((other) => ({
          first: Math.max(one.first, other.first),
          last: Math.min(one.last, other.last),
          rules: [...one.rules, ...other.rules],
        })),
    );
  return { kind: "ports", TCP: common("TCP"), UDP: common("UDP"), SCTP: common("SCTP") };
}

function mapOpenings(
  openings: Extract<Openings, { kind: "ports" }>,
  change: (opening: Opening) => Opening,
): Extract<Openings, { kind: "ports" }> {
  return {
    kind: "ports",
    TCP: openings.TCP.map(change),
    UDP: openings.UDP.map(change),
    SCTP: openings.SCTP.map(change),
  };
}

/**
 * The union of ranges that rules open: disjoint, in order, and as few as can be. Where several rules open a port, it is
 * the one whose range reaches furthest that has it.
 */
export function uniteOpenings(openings: readonly Opening[]): Opening[] {
  const sorted = openings.toSorted((a, b) => a.first - b.first || b.last - a.last);
  const united: Opening[] = [];
  let furthest: Opening | undefined;
  let next = 0;
  for (let at = 0; ;) {
    for (; at < sorted.length && sorted[at]!.first <= next; at++) {
      if (furthest === undefined || sorted[at]!.last > furthest.last) furthest = sorted[at];
    }
    if (furthest !== undefined && furthest.last >= next) {
      append(united, { ...furthest, first: Math.max(next, furthest.first) });
      next = furthest.last + 1;
    } else if (at < sorted.length) {
      next = sorted[at]!.first;
    } else {
      return united;
    }
  }
}

function append(openings: Opening[], opening: Opening): void {
  const before = openings.at(-1);
  if (before !== undefined && before.rules === opening.rules && before.last + 1 === opening.first) {
    openings[openings.length - 1] = { ...before, last: opening.last };
  } else {
    openings.push(opening);
  }
}

/** `80/TCP, 8000-8100/TCP`, `everything`, or `nothing`. */
export function openingsText(openings: Openings): string {
  if (openings.kind === "everything") return "everything";
  const texts = protocols.flatMap((protocol) =>
    openings[protocol].map(({ first, last }) => portRangeText(protocol, first, last)),
  );
  return texts.length === 0 ? "nothing" : texts.join(", ");
}

/** `80/TCP`, `80-90/TCP`, or `all TCP`. */
export function portRangeText(protocol: Protocol, first: number, last: number): string {
  if (first === 0 && last === maxPort) return `all ${protocol}`;
  return first === last ? `${first}/${protocol}` : `${first}-${last}/${protocol}`;
}
