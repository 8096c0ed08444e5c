/**
 * What becomes of one tracked packet that no entry could judge: the pair's guard says which connections pass, conntrack
 * says which connection this is, and who opened it decides which of the pair's two directions is asked. Pure.
 */
import { ipProtocol, type Ip } from "@beyondfabric/packet";
import { isClosed, passingRules, type Openings, type PacketFacts, type RuleReference } from "@beyondfabric/policy";
import type { Decision, Guard, JudgedDirection } from "./decision.ts";
import type { Originator, Standing } from "./tracking.ts";

/** A connection in the direction in which conntrack took it up. */
export interface Connection {
  readonly source: Ip;
  readonly destination: Ip;
  readonly protocol: number;
  /** Absent for protocols without ports. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export interface TrackedPacket {
  readonly standing: Exclude<Standing, "untracked">;
  /** The packet's own addresses: which way it goes. */
  readonly source: Ip;
  readonly connection: Connection;
  /** Whether conntrack remembers the connection. */
  readonly isRemembered: boolean;
  /** An ICMP error about the connection, not a packet of it. */
  readonly isRelated: boolean;
  /**
   * A fragment that does not show its ports. Its datagram is put together where it is remembered, and goes on from there
   * only with its first fragment, which is judged by them.
   */
  readonly isLaterFragment: boolean;
  /** From the connection's label; absent when it has none of ours. */
  readonly originator?: Originator;
}

/** Which direction of a pair: that of the packet, or the other. */
export type PairDirection = "there" | "back";

/** Which end of a connection waits for others to open it, as far as this node can tell. */
export type ListeningEnd = "source" | "destination" | undefined;

export type Judgement =
  | {
      readonly passes: true;
      /** The rules that let it pass; empty when an exemption did, or when its label did. */
      readonly rules: readonly RuleReference[];
      /** What to remember of its connection; absent when that is done, or cannot be said. */
      readonly remember?: { readonly direction: PairDirection; readonly originator: Originator };
    }
  | {
      readonly passes: false;
      /** The direction at whose end no rule matched; absent when the pair is refused as a whole. */
      readonly closed?: JudgedDirection;
    };

/**
 * Judges one packet.
 * @param there the decision about the packet's direction, which has a way
 * @param back the decision about the answer's direction
 * @param listening asked only when nothing else tells who opened a TCP connection: which end of the packet is a server
 */
export function judgePacket(
  packet: TrackedPacket,
  there: Decision,
  back: Decision | undefined,
  listening: () => ListeningEnd,
): Judgement {
  if (packet.standing === "permitted") return { passes: true, rules: [] };
  const known = directionOf(packet);
  if (known !== undefined) return judgeDirection(packet, known, known === "there" ? there : back);
  const directions = (["there", "back"] as const).map((direction) =>
    judgeDirection(packet, direction, direction === "there" ? there : back),
  );
  const [forward, backward] = directions as [Judgement, Judgement];
  if (!forward.passes && !backward.passes) return forward;
  switch (listening()) {
    case "destination":
      return forward;
    case "source":
      return backward;
    case undefined:
      // Nobody can say. Where both directions are open that does not matter for this packet; but what is not known now
      // must not be remembered as if it were.
      if (forward.passes && backward.passes) return { passes: true, rules: forward.rules };
      return forward.passes ? backward : forward;
  }
}

/** Which end opened the connection: the packet's sender (`there`), or the other; undefined when nothing recorded tells. */
function directionOf(packet: TrackedPacket): PairDirection | undefined {
  const { standing, source, connection, isRemembered, originator } = packet;
  if (standing === "fresh") return "there";
  if (isRemembered) {
    // A connection of ours says so in its label. Without one it was not judged yet, and conntrack may have it reversed.
    if (originator === undefined && connection.protocol === ipProtocol.tcp) return undefined;
    const opener = originator === "other" ? connection.destination : connection.source;
    return opener === source ? "there" : "back";
  }
  // UDP and the like have no beginning that could be seen: who is heard first is taken for the one who began.
  return connection.protocol === ipProtocol.tcp ? undefined : "there";
}

function opensPorts(openings: Openings): boolean {
  return openings.kind === "ports" && !isClosed(openings);
}

function judgeDirection(packet: TrackedPacket, direction: PairDirection, decision: Decision | undefined): Judgement {
  if (decision?.verdict !== "allow") return { passes: false };
  const { connection, source } = packet;
  const isTracked = (connection.source === source) === (direction === "there");
  const port = isTracked ? connection.destinationPort : connection.sourcePort;
  const facts = { protocol: connection.protocol, ...(port === undefined ? {} : { destinationPort: port }) };
  if (decision.guard === undefined) return { passes: true, rules: [] };
  const { openings } = decision.guard;
  const rules = packet.isLaterFragment && opensPorts(openings) ? [] : passingRules(openings, facts);
  if (rules !== undefined) {
    if (packet.isRelated) return { passes: true, rules };
    return { passes: true, rules, remember: { direction, originator: isTracked ? "tracked" : "other" } };
  }
  return refusal(decision.guard, facts);
}

/**
 * Judges an association of SCTP whose ports conntrack does not tell.
 * @param there the decision about the direction of the INIT that opened it
 * @param destinationPort where that went to
 */
export function judgeAssociation(there: Decision, destinationPort: number): Judgement {
  if (there.verdict !== "allow") return { passes: false };
  if (there.guard === undefined) return { passes: true, rules: [] };
  const facts = { protocol: ipProtocol.sctp, destinationPort };
  const rules = passingRules(there.guard.openings, facts);
  return rules === undefined ? refusal(there.guard, facts) : { passes: true, rules };
}

function refusal({ judged }: Guard, facts: PacketFacts): Extract<Judgement, { passes: false }> {
  const closed = judged.find(({ verdict }) => passingRules(verdict.openings, facts) === undefined);
  return { passes: false, ...(closed === undefined ? {} : { closed }) };
}
