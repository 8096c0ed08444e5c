/**
 * What policies let pass between two parties, in one direction, for all ports at once. Pure: the switch's entries, the
 * explanation and the tests ask here, and nowhere else.
 */
import { cidrOf, familyBits, ipFamily, type Cidr } from "@beyondfabric/packet";
import type { CompiledRule, Isolation, PodPeer, PolicyIndex } from "./compile.ts";
import type { Direction, PolicyPort, Protocol } from "./model.ts";
import { uniteOpenings, type Opening, type Openings } from "./openings.ts";
import type { NamedPort, Party, PodParty } from "./party.ts";

export interface DirectionQuestion {
  readonly direction: Direction;
  /** The pod whose isolation is asked for: the destination of ingress, the source of egress. */
  readonly subject: PodParty;
  /** The other end. */
  readonly peer: Party;
}

export interface DirectionVerdict {
  /** Why it is what it is: nobody isolates the pod, an exemption of the specification, or the rules of its policies. */
  readonly basis: "not-isolated" | "itself" | "own-node" | "rules";
  readonly openings: Openings;
  /** What isolates the pod; absent when nothing does. */
  readonly isolation?: Isolation;
  /**
   * The widest prefix around the peer's address for which the verdict is the same. One address for a pod and a node: who
   * they are was looked at.
   */
  readonly peerPrefix: Cidr;
}

const everything: Openings = { kind: "everything", rules: [] };

/**
 * The verdict of the policies that select the subject. A pod reaches itself, and its own node reaches it, whatever the
 * policies say (NetworkPolicySpec.ingress).
 */
export function evaluateDirection(index: PolicyIndex, question: DirectionQuestion): DirectionVerdict {
  const { direction, subject, peer } = question;
  const isolation = index.isolations(subject.pod)[direction];
  if (isolation === undefined) {
    return { basis: "not-isolated", openings: everything, peerPrefix: unlookedPrefix(peer) };
  }
  const exempt = exemption(question);
  if (exempt !== undefined) {
    return { basis: exempt, openings: everything, isolation, peerPrefix: hostPrefix(peer) };
  }
  return { basis: "rules", isolation, ...evaluateRules(isolation, question) };
}

function exemption({ direction, subject, peer }: DirectionQuestion): "itself" | "own-node" | undefined {
  if (peer.kind === "pod" && peer.pod.uid === subject.pod.uid) return "itself";
  return direction === "ingress" && peer.kind === "node" && peer.node === subject.pod.node ? "own-node" : undefined;
}

function evaluateRules(
  isolation: Isolation,
  question: DirectionQuestion,
): Pick<DirectionVerdict, "openings" | "peerPrefix"> {
  const { subject, peer } = question;
  const ports = destinationPorts(question);
  const found: Record<Protocol, Opening[]> = { TCP: [], UDP: [], SCTP: [] };
  let peerPrefix = unlookedPrefix(peer);
  for (const rule of isolation.rules) {
    const { matches, prefix } = matchPeers(rule, subject, peer);
    if (matches && rule.ports === "everything") {
      // No other rule can change that, so no other needs to have been looked at.
      return { openings: { kind: "everything", rules: rule.references }, peerPrefix: prefix };
    }
    if (prefix.length > peerPrefix.length) peerPrefix = prefix;
    if (!matches || rule.ports === "everything") continue;
    for (const port of rule.ports) {
      for (const range of portRanges(port, ports)) {
        found[range.protocol].push({ first: range.first, last: range.last, rules: rule.references });
      }
    }
  }
  return {
    openings: {
      kind: "ports",
      TCP: uniteOpenings(found.TCP),
      UDP: uniteOpenings(found.UDP),
      SCTP: uniteOpenings(found.SCTP),
    },
    peerPrefix,
  };
}

/** Whether a rule's peers include the party, and the prefix around its address for which that holds. */
function matchPeers(rule: CompiledRule, subject: PodParty, peer: Party): { matches: boolean; prefix: Cidr } {
  const prefix = unlookedPrefix(peer);
  if (rule.everybody) return { matches: true, prefix };
  if (rule.pods.some((each) => podPeerMatches(each, subject, peer))) return { matches: true, prefix };
  if (rule.blocks === undefined) return { matches: false, prefix };
  const answer = rule.blocks.lookup(peer.address);
  return { matches: answer.contained, prefix: peer.kind === "outside" ? answer.prefix : prefix };
}

/** Selectors mean pods on the pod network: a node, or a pod that uses the node's network, is none of them. */
export function podPeerMatches(selectors: PodPeer, subject: PodParty, peer: Party): boolean {
  if (peer.kind !== "pod") return false;
  const { namespace, labels } = peer.pod;
  const sameNamespace = selectors.namespaceSelector === undefined;
  if (sameNamespace && namespace.name !== subject.pod.namespace.name) return false;
  if (!sameNamespace && !selectors.namespaceSelector.matches(namespace.labels)) return false;
  return selectors.podSelector.matches(labels);
}

/** The named ports of the destination: a name means what the pod that the packet goes to means by it. */
export function destinationPorts({ direction, subject, peer }: DirectionQuestion): readonly NamedPort[] {
  if (direction === "ingress") return subject.pod.ports;
  return peer.kind === "pod" ? peer.pod.ports : [];
}

export interface PortRange {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

/** The numbers that a port of a rule means; none when nobody has a port of that name. */
export function portRanges(port: PolicyPort, names: readonly NamedPort[]): PortRange[] {
  switch (port.kind) {
    case "range":
      return [port];
    case "named":
      return names
        .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
        .map(({ protocol, port: number }) => ({ protocol, first: number, last: number }));
    case "unreadable":
      return [];
  }
}

/** A stranger's address was not looked at yet; of a pod or node it is known who it is. */
function unlookedPrefix(peer: Party): Cidr {
  return peer.kind === "outside" ? cidrOf(peer.address, 0) : hostPrefix(peer);
}

function hostPrefix({ address }: Party): Cidr {
  const family = ipFamily(address);
  return { family, address, length: familyBits(family) };
}
