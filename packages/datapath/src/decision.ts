/** What is asked about a packet, and what is answered: the vocabulary of `decide()`. */
import { formatCidr, ipFamily, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { sameOpenings, type Direction, type DirectionVerdict, type Openings } from "@beyondfabric/policy";
import { sameRules } from "./rule-groups.ts";
import type { FactKey } from "./facts.ts";
import type { Segment, SourceClass } from "./registers.ts";

export interface Question {
  /** Where the packet entered the bridge. */
  readonly from: SourceClass;
  readonly source: Ip;
  readonly destination: Ip;
  /** The outer source address of a tunnel packet. */
  readonly tunnelSource?: Ip;
  /** The segment of an uplink that a packet came from. */
  readonly segment?: Segment;
}

/**
 * The packets for which a decision holds: every packet whose source and destination lie in these prefixes (and which
 * came in the same way). As wide as what was looked at allows.
 */
export interface Cube {
  readonly source: Cidr;
  readonly destination: Cidr;
}

export type Reason =
  | "to-local-pod"
  | "to-remote-pod"
  | "to-node"
  | "to-outside"
  | "from-outside"
  | "source-not-local"
  | "source-forwarded"
  | "stranger-to-remote"
  | "no-way-back-out"
  | "destination-unowned"
  | "destination-absent"
  | "destination-unknown"
  | "destination-not-here"
  | "node-without-tunnel"
  | "tunnel-source-outside"
  | "tunnel-source-unknown"
  | "tunnel-source-forged"
  | "to-wire"
  | "from-wire"
  | "network-absent"
  | "wire-other-segment"
  | "wire-source-overlay"
  | "wire-source-local"
  | "facts-incomplete"
  | "tenant-differs"
  | "identity-unknown"
  | "policies-unknown";

/** Where a packet goes that may pass. */
export type Way =
  | { readonly kind: "local"; readonly narrow?: true }
  | { readonly kind: "host" }
  | {
      readonly kind: "tunnel";
      readonly destination: Ip;
      readonly vni: number;
      /** The sender's MTU may be larger than what fits: the size is looked at, and what is too large is answered. */
      readonly narrow?: true;
    }
  | {
      /** Out on the wire, as the pod wrote the frame; with `mac`, to that machine instead. */
      readonly kind: "uplink";
      readonly segment: Segment;
      readonly mac?: Mac;
    };

/** A direction that was judged here, kept for those who ask why. */
export interface JudgedDirection {
  readonly direction: Direction;
  /** `namespace/name` of the pod of this node. */
  readonly pod: string;
  readonly verdict: DirectionVerdict;
}

export interface Guard {
  /** What connections that the source opens may use: what both ends let pass, when both are here. */
  readonly openings: Openings;
  readonly judged: readonly JudgedDirection[];
}

interface Common {
  readonly reason: Reason;
  /** One sentence for a person, naming the objects. */
  readonly explanation: string;
  readonly dependsOn: readonly FactKey[];
}

export type Decision =
  | (Common & {
      readonly verdict: "allow";
      readonly cube: Cube;
      readonly way: Way;
      /** Present when an end is tracked: then this says which connections pass, and the way is that of their packets. */
      readonly guard?: Guard;
    })
  | (Common & { readonly verdict: "deny"; readonly cube: Cube })
  /** Not decidable yet: the packet waits for `waitingFor`. */
  | (Common & { readonly verdict: "hold"; readonly waitingFor: Ip });

/** Whether two decisions tell the switch the same. Explanations may differ. */
export function sameVerdict(a: Decision, b: Decision): boolean {
  if (a.verdict === "hold" || b.verdict === "hold") return false;
  if (formatCidr(a.cube.source) !== formatCidr(b.cube.source)) return false;
  if (formatCidr(a.cube.destination) !== formatCidr(b.cube.destination)) return false;
  if (a.verdict === "deny" || b.verdict === "deny") return a.verdict === b.verdict;
  return sameGuard(a.guard, b.guard) && sameCounting(a.guard, b.guard) && sameWay(a.way, b.way);
}

function sameWay(a: Way, b: Way): boolean {
  if (a.kind === "tunnel" && b.kind === "tunnel") {
    return a.destination === b.destination && a.vni === b.vni && a.narrow === b.narrow;
  }
  if (a.kind === "uplink" && b.kind === "uplink") return a.segment === b.segment && a.mac === b.mac;
  if (a.kind === "local" && b.kind === "local") return a.narrow === b.narrow;
  return a.kind === b.kind;
}

/** Whether two guards let the same connections pass. By which rules they do may differ. */
export function sameGuard(a: Guard | undefined, b: Guard | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return sameOpenings(a.openings, b.openings);
}

/** Whether connections are counted for the same rules. */
function sameCounting(a: Guard | undefined, b: Guard | undefined): boolean {
  return a === undefined || b === undefined || sameRules(a.openings, b.openings);
}

/** The prefix of one address. */
export function exact(address: Ip): Cidr {
  const family = ipFamily(address);
  return { family, address, length: family === 4 ? 32 : 128 };
}
