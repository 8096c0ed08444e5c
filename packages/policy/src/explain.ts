/**
 * Why a packet passes or not, rule by rule. The verdict is the one that enforces, from the same functions; what is added
 * here is which part of which rule matched, and why the others did not.
 */
import { Selector } from "@beyondfabric/kube/selectors";
import { cidrContains, formatCidr, ipProtocol } from "@beyondfabric/packet";
import type { PolicyIndex } from "./compile.ts";
import {
  destinationPorts,
  evaluateDirection,
  podPeerMatches,
  portRanges,
  type DirectionQuestion,
  type DirectionVerdict,
} from "./evaluate.ts";
import {
  policyName,
  ruleName,
  type Direction,
  type NetworkPolicy,
  type Peer,
  type PolicyPort,
  type PolicyRule,
  type RuleReference,
} from "./model.ts";
import { isClosed, openingsText, passingRules, portRangeText, protocolOf, type PacketFacts } from "./openings.ts";
import { partyName, type LabelPairs, type NamedPort, type Party, type PodParty } from "./party.ts";
import { judgeTenancy, type TenancyVerdict } from "./tenancy.ts";

/** A part of a rule, what it says, and what became of it. */
export interface Finding {
  /** The part as a person would write it: `pods app=web in namespaces team=a`, `80/TCP`. */
  readonly part: string;
  readonly matched: boolean;
  readonly why: string;
}

export interface RuleExplanation {
  /** As {@link ruleName} names it. */
  readonly rule: string;
  readonly peers: readonly Finding[];
  readonly ports: readonly Finding[];
  /** Whether a peer and a port matched; without a packet, whether it opens any port. */
  readonly matched: boolean;
}

export interface PolicyExplanation {
  /** `namespace/name` */
  readonly policy: string;
  readonly podSelector: string;
  readonly rules: readonly RuleExplanation[];
}

export interface DirectionExplanation {
  readonly direction: Direction;
  /** `namespace/name` of the pod whose isolation was judged. */
  readonly pod: string;
  readonly verdict: DirectionVerdict;
  readonly allowed: boolean;
  /** One clause: which rule lets it pass, which exemption, or the implicit deny and what isolates the pod. */
  readonly because: string;
  /** The policies that isolate the pod in this direction; empty when nothing does. */
  readonly policies: readonly PolicyExplanation[];
}

export interface Explanation {
  readonly allowed: boolean;
  /** The whole answer for a person in a hurry: the verdict, where, and by which rule. */
  readonly sentence: string;
  readonly tenancy: TenancyVerdict;
  /** Egress at the source, then ingress at the destination; only where there is a pod that can be isolated. */
  readonly directions: readonly DirectionExplanation[];
}

export interface ExplanationQuestion {
  readonly source: Party;
  readonly destination: Party;
  /** Absent: all ports at once. */
  readonly packet?: PacketFacts;
  /** See {@link judgeTenancy}. */
  readonly sharedNamespaces: ReadonlySet<string>;
}

/** Explains what tenancy and policies make of a packet, or of all packets from one party to another. */
export function explainVerdict(index: PolicyIndex, question: ExplanationQuestion): Explanation {
  const { source, destination, packet } = question;
  const tenancy = judgeTenancy(source, destination, question.sharedNamespaces);
  const directions: DirectionExplanation[] = [];
  if (source.kind === "pod") {
    directions.push(explainDirection(index, { direction: "egress", subject: source, peer: destination }, packet));
  }
  if (destination.kind === "pod") {
    directions.push(explainDirection(index, { direction: "ingress", subject: destination, peer: source }, packet));
  }
  const refusing = tenancy.allowed ? directions.find((each) => !each.allowed) : undefined;
  const allowed = tenancy.allowed && refusing === undefined;
  const what = packet === undefined ? "" : ` on ${packetText(packet)}`;
  const ends = `${partyName(source)} to ${partyName(destination)}${what}`;
  if (allowed) {
    const reasons = directions.map(({ direction, because }) => `${direction}: ${because}`);
    const tail = reasons.length === 0 ? `tenancy: ${tenancy.because}` : reasons.join("; ");
    return { allowed, sentence: `ALLOWED ${ends}: ${tail}`, tenancy, directions };
  }
  const place = refusing === undefined ? "by tenancy" : `at the ${refusing.direction} of pod ${refusing.pod}`;
  const because = refusing === undefined ? tenancy.because : refusing.because;
  return { allowed, sentence: `DENIED ${place}, ${ends}: ${because}`, tenancy, directions };
}

function explainDirection(
  index: PolicyIndex,
  question: DirectionQuestion,
  packet: PacketFacts | undefined,
): DirectionExplanation {
  const { direction, subject } = question;
  const pod = `${subject.pod.namespace.name}/${subject.pod.name}`;
  const verdict = evaluateDirection(index, question);
  const policies = (verdict.isolation?.policies ?? []).map((policy) => explainPolicy(policy, question, packet));
  const rules = packet === undefined ? undefined : passingRules(verdict.openings, packet);
  const allowed = packet === undefined ? !isClosed(verdict.openings) : rules !== undefined;
  return { direction, pod, verdict, allowed, because: reasonOf(verdict, direction, pod, rules, allowed), policies };
}

function reasonOf(
  { basis, isolation, openings }: DirectionVerdict,
  direction: Direction,
  pod: string,
  rules: readonly RuleReference[] | undefined,
  allowed: boolean,
): string {
  switch (basis) {
    case "not-isolated":
      return `no policy isolates pod ${pod} for ${direction}`;
    case "itself":
      return "a pod always reaches itself";
    case "own-node":
      return "a pod's own node always reaches it";
    case "rules": {
      if (!allowed) {
        const names = isolation!.policies.map(policyName).join(", ");
        return `the implicit deny of ${direction}: ${names} isolate${isolation!.policies.length === 1 ? "s" : ""} the pod and no rule matches`;
      }
      if (rules !== undefined) return rules.map(ruleName).join(", ");
      return openings.kind === "everything"
        ? openings.rules.map(ruleName).join(", ")
        : `only ${openingsText(openings)}`;
    }
  }
}

function explainPolicy(
  policy: NetworkPolicy,
  question: DirectionQuestion,
  packet: PacketFacts | undefined,
): PolicyExplanation {
  return {
    policy: policyName(policy),
    podSelector: selectorText(policy.podSelector),
    rules: (policy[question.direction] ?? []).map((rule) => explainRule(rule, question, packet)),
  };
}

function explainRule(
  { reference, peers, ports }: PolicyRule,
  question: DirectionQuestion,
  packet: PacketFacts | undefined,
): RuleExplanation {
  const names = destinationPorts(question);
  const peerFindings =
    peers === "everybody"
      ? [{ part: "everybody", matched: true, why: "the rule names no peer" }]
      : peers.map((peer) => explainPeer(peer, question.subject, question.peer));
  const portFindings =
    ports === "everything"
      ? [{ part: "everything", matched: true, why: "the rule names no port" }]
      : ports.map((port) => explainPort(port, names, packet));
  const matched = peerFindings.some((each) => each.matched) && portFindings.some((each) => each.matched);
  return { rule: ruleName(reference), peers: peerFindings, ports: portFindings, matched };
}

function explainPeer(peer: Peer, subject: PodParty, party: Party): Finding {
  switch (peer.kind) {
    case "unreadable":
      return { part: "(unreadable)", matched: false, why: "it cannot be honoured; see the policy's Events" };
    case "block": {
      const part = blockText(peer);
      if (!cidrContains(peer.cidr, party.address)) {
        return { part, matched: false, why: `${party.address} is not in ${formatCidr(peer.cidr)}` };
      }
      const hole = peer.except.find((except) => cidrContains(except, party.address));
      if (hole === undefined) return { part, matched: true, why: `${party.address} is in it` };
      return { part, matched: false, why: `${party.address} is in its exception ${formatCidr(hole)}` };
    }
    case "pods": {
      const where =
        peer.namespaceSelector === undefined
          ? `namespace ${subject.pod.namespace.name}`
          : `namespaces ${selectorText(peer.namespaceSelector)}`;
      const part = `pods ${selectorText(peer.podSelector)} in ${where}`;
      if (podPeerMatches(peer, subject, party)) return { part, matched: true, why: `${partyName(party)} is one` };
      return { part, matched: false, why: whyNoPodPeer(peer, subject, party) };
    }
  }
}

function whyNoPodPeer(peer: Extract<Peer, { kind: "pods" }>, subject: PodParty, party: Party): string {
  if (party.kind !== "pod") return `${partyName(party)} is no pod of the pod network`;
  const { namespace, labels } = party.pod;
  if (peer.namespaceSelector === undefined) {
    if (namespace.name !== subject.pod.namespace.name) return `the pod is in namespace ${namespace.name}`;
  } else if (!peer.namespaceSelector.matches(namespace.labels)) {
    return `namespace ${namespace.name} has ${failedText(peer.namespaceSelector, namespace.labels)}`;
  }
  return `the pod has ${failedText(peer.podSelector, labels)}`;
}

function explainPort(port: PolicyPort, names: readonly NamedPort[], packet: PacketFacts | undefined): Finding {
  if (port.kind === "unreadable") {
    return { part: "(unreadable)", matched: false, why: "it cannot be honoured; see the policy's Events" };
  }
  const ranges = portRanges(port, names);
  const part =
    port.kind === "named" ? `${port.name}/${port.protocol}` : portRangeText(port.protocol, port.first, port.last);
  if (ranges.length === 0)
    return { part, matched: false, why: "the destination has no port of that name and protocol" };
  const meaning = ranges.map(({ protocol, first, last }) => portRangeText(protocol, first, last)).join(", ");
  if (packet === undefined) return { part, matched: true, why: `it opens ${meaning}` };
  const protocol = protocolOf(packet);
  const target = packet.destinationPort;
  if (protocol !== port.protocol || target === undefined) {
    return { part, matched: false, why: `the packet is ${packetText(packet)}` };
  }
  const matched = ranges.some(({ first, last }) => first <= target && target <= last);
  if (matched) return { part, matched, why: `${packetText(packet)} is in it` };
  return { part, matched, why: `it means ${meaning}` };
}

/** `80/TCP`, `ICMP`, or the protocol's number. */
export function packetText(packet: PacketFacts): string {
  const protocol = protocolOf(packet);
  if (protocol !== undefined)
    return packet.destinationPort === undefined ? protocol : `${packet.destinationPort}/${protocol}`;
  if (packet.protocol === ipProtocol.icmp) return "ICMP";
  if (packet.protocol === ipProtocol.icmpv6) return "ICMPv6";
  return `IP protocol ${packet.protocol}`;
}

/** The first requirement that the labels do not meet, and what they have instead. */
function failedText(selector: Selector, labels: LabelPairs): string {
  const failed = selector.requirements.find((each) => !new Selector([each]).matches(labels));
  if (failed === undefined) return "what is asked";
  const value = labels.get(failed.key);
  return value === undefined ? `no label ${failed.key}` : `${failed.key}=${value}`;
}

function selectorText(selector: Selector): string {
  return selector.requirements.length === 0 ? "(all)" : selector.toString();
}

function blockText({ cidr, except }: Extract<Peer, { kind: "block" }>): string {
  const holes = except.length === 0 ? "" : ` except ${except.map(formatCidr).join(", ")}`;
  return `${formatCidr(cidr)}${holes}`;
}
