/**
 * Tenancy and policies, applied to a packet that has a way. Tenancy refuses the pair. Policies of the pods that live here
 * say which connections may use the way; each node judges its own pods, egress at the source, ingress at the
 * destination. A pair without an isolated pod of this node comes out as it went in.
 */
import type { Cidr, Ip } from "@beyondfabric/packet";
import {
  evaluateDirection,
  intersectOpenings,
  judgeTenancy,
  type Direction,
  type Openings,
  type Party,
  type PodParty,
  type TenancyParty,
} from "@beyondfabric/policy";
import type { Decision, JudgedDirection, Question, Reason } from "./decision.ts";
import type { Endpoint, FactKey, Facts } from "./facts.ts";

type Allowed = Extract<Decision, { verdict: "allow" }>;

interface LocalEnd {
  readonly direction: Direction;
  readonly address: Ip;
  readonly pod: Endpoint;
}

/** Judges a packet that would pass. @param routed what the addresses alone say */
export function guardVerdict(question: Question, routed: Allowed, facts: Facts): Decision {
  const ends = localEnds(question, routed, facts);
  const dependsOn: FactKey[] = [...routed.dependsOn];
  const hold = (reason: Reason, waitingFor: Ip, what: string): Decision => ({
    verdict: "hold",
    reason,
    explanation: `${what} is not known yet`,
    waitingFor,
    dependsOn,
  });
  let tracked = false;
  for (const { address, pod } of ends) {
    const isolations = facts.isolationsOf(pod);
    if (isolations === undefined) {
      return hold("policies-unknown", address, `which policies isolate the pod at ${address}`);
    }
    if (isolations.ingress !== undefined || isolations.egress !== undefined) tracked = true;
  }
  if (!tracked && !facts.hasTenants) return routed;

  const pairOf = <T>(find: (address: Ip) => T | undefined): readonly [T, T] | Decision => {
    const source = find(question.source);
    if (source === undefined) return hold("identity-unknown", question.source, `which pod holds ${question.source}`);
    const destination = find(question.destination);
    if (destination !== undefined) return [source, destination];
    return hold("identity-unknown", question.destination, `which pod holds ${question.destination}`);
  };
  const residents = pairOf((address) => residentAt(address, facts));
  if (!isPair(residents)) return residents;
  for (const party of residents) {
    if (party.kind === "pod") dependsOn.push(`namespace:${party.pod.namespace.name}`);
  }
  const tenancy = judgeTenancy(...residents, facts.sharedNamespaces);
  if (!tenancy.allowed) {
    const explanation = `tenants differ: ${tenancy.because}`;
    return { verdict: "deny", reason: "tenant-differs", explanation, cube: routed.cube, dependsOn };
  }
  if (!tracked) return { ...routed, dependsOn };
  const parties = pairOf((address) => partyAt(address, facts));
  if (!isPair(parties)) return parties;
  const [source, destination] = parties;
  return { ...guarded(routed, ends, source, destination, facts), dependsOn };
}

function guarded(routed: Allowed, ends: readonly LocalEnd[], source: Party, destination: Party, facts: Facts): Allowed {
  const judged: JudgedDirection[] = [];
  let openings: Openings = { kind: "everything", rules: [] };
  let cube = routed.cube;
  for (const { direction } of ends) {
    const [subject, peer] = direction === "egress" ? [source, destination] : [destination, source];
    if (subject.kind !== "pod") continue;
    const verdict = evaluateDirection(facts.policies, { direction, subject, peer });
    openings = intersectOpenings(openings, verdict.openings);
    judged.push({ direction, pod: podName(subject), verdict });
    // Only a stranger is judged with others around it, and only as far as the prefix that was asked about.
    if (peer.kind === "outside") {
      const side = direction === "egress" ? "destination" : "source";
      cube = { ...cube, [side]: narrower(cube[side], verdict.peerPrefix) };
    }
  }
  return { ...routed, cube, guard: { openings, judged } };
}

/** The ends of a pair that are pods of this node, in the order in which a packet meets them. */
function localEnds(question: Question, routed: Allowed, facts: Facts): LocalEnd[] {
  const ends: LocalEnd[] = [];
  if (question.from === "pod") {
    const source = facts.endpointAt(question.source);
    if (source !== undefined) ends.push({ direction: "egress", address: question.source, pod: source });
  }
  if (routed.way.kind === "local") {
    const destination = facts.endpointAt(question.destination);
    if (destination !== undefined) {
      ends.push({ direction: "ingress", address: question.destination, pod: destination });
    }
  }
  return ends;
}

function isPair<T>(found: readonly [T, T] | Decision): found is readonly [T, T] {
  return Array.isArray(found);
}

/** Undefined while it is not known what policies must know of the holder of an address. */
function partyAt(address: Ip, facts: Facts): Party | undefined {
  const holder = holderOf(address, facts);
  if (holder?.kind !== "pod") return holder;
  const pod = facts.identityOf(holder.endpoint);
  return pod === undefined ? undefined : { kind: "pod", address, pod };
}

/** As {@link partyAt}, as far as tenancy asks. */
function residentAt(address: Ip, facts: Facts): TenancyParty | undefined {
  const holder = holderOf(address, facts);
  if (holder?.kind !== "pod") return holder;
  const namespace = facts.namespaceOf(holder.endpoint);
  return namespace === undefined ? undefined : { kind: "pod", pod: { namespace } };
}

type Holder = Exclude<Party, { kind: "pod" }> | { readonly kind: "pod"; readonly endpoint: Endpoint };

/** Undefined while it is not known who holds an address of the cluster: such an address is never a stranger's. */
function holderOf(address: Ip, facts: Facts): Holder | undefined {
  // In the order in which addresses are located: a prefix outside of the subnets is judged as one.
  if (facts.isOwnAddress(address)) return { kind: "node", address, node: facts.node };
  const subnet = facts.subnetOf(address);
  if (subnet === undefined) return { kind: "outside", address };
  const endpoint = facts.endpointAt(address);
  if (endpoint === undefined) {
    // On a physical network whoever is no pod, and has no claim to become one, is a machine out there.
    const isMachine = subnet.wire !== undefined && facts.claimAt(address) === undefined;
    return isMachine ? { kind: "outside", address } : undefined;
  }
  if (endpoint.kind === "node") return { kind: "node", address, node: endpoint.node };
  return { kind: "pod", endpoint };
}

function podName({ pod }: PodParty): string {
  return `${pod.namespace.name}/${pod.name}`;
}

/** Both contain one address: the longer is inside the other. */
function narrower(a: Cidr, b: Cidr): Cidr {
  return a.length >= b.length ? a : b;
}
