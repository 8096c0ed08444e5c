/**
 * Which policies isolate a pod, without looking at the others: by namespace, and inside it by one pair of label and value
 * that the policy's selector demands. What a set of labels is isolated by is remembered until a policy of the namespace
 * changes.
 */
import { AddressSet, type AddressBlocks } from "./address-set.ts";
import { type Direction, type NetworkPolicy, type Peer, type PolicyRule, type RuleReference } from "./model.ts";
import type { LabelPairs, PodIdentity } from "./party.ts";

export type PodPeer = Extract<Peer, { kind: "pods" }>;

/** A rule, sorted by how its peers are found out. */
export interface CompiledRule {
  readonly reference: RuleReference;
  readonly everybody: boolean;
  readonly pods: readonly PodPeer[];
  /** Absent when no peer is a block. */
  readonly blocks?: AddressSet;
  readonly ports: PolicyRule["ports"];
  /** Itself as the list that openings carry: equal lists of one rule are one object. */
  readonly references: readonly RuleReference[];
}

/** What isolates a pod in one direction. */
export interface Isolation {
  /** Ordered by name; all of them are of the pod's own namespace. */
  readonly policies: readonly NetworkPolicy[];
  readonly rules: readonly CompiledRule[];
}

/** Per direction; absent when no policy isolates the pod in it. */
export type Isolations = Readonly<Partial<Record<Direction, Isolation>>>;

/** Whether there is a rule in this place. */
export function hasRule(index: PolicyIndex, { policy, direction, index: place }: RuleReference): boolean {
  const [namespace = "", name = ""] = policy.split("/");
  return index.get(namespace, name)?.[direction]?.[place] !== undefined;
}

interface CompiledPolicy {
  readonly policy: NetworkPolicy;
  readonly rules: Readonly<Record<Direction, readonly CompiledRule[]>>;
}

interface NamespacePolicies {
  readonly byName: Map<string, CompiledPolicy>;
  /** `label=value` that the selector demands, to the policies that demand it. */
  readonly byPair: Map<string, Set<CompiledPolicy>>;
  /** Those that demand no single pair. */
  readonly others: Set<CompiledPolicy>;
  isolations: WeakMap<LabelPairs, Isolations>;
}

const notIsolated: Isolations = {};

export class PolicyIndex {
  readonly #namespaces = new Map<string, NamespacePolicies>();
  #size = 0;

  /** Number of policies. */
  get size(): number {
    return this.#size;
  }

  get(namespace: string, name: string): NetworkPolicy | undefined {
    return this.#namespaces.get(namespace)?.byName.get(name)?.policy;
  }

  /** Whether a namespace has any policy. */
  hasAny(namespace: string): boolean {
    return this.#namespaces.has(namespace);
  }

  /** The policies of a namespace, in the order in which they came. */
  inNamespace(namespace: string): NetworkPolicy[] {
    return [...(this.#namespaces.get(namespace)?.byName.values() ?? [])].map(({ policy }) => policy);
  }

  /** Adds or replaces a policy; returns the one that it replaces. */
  set(policy: NetworkPolicy): NetworkPolicy | undefined {
    const before = this.remove(policy.namespace, policy.name);
    let policies = this.#namespaces.get(policy.namespace);
    if (policies === undefined) {
      policies = { byName: new Map(), byPair: new Map(), others: new Set(), isolations: new WeakMap() };
      this.#namespaces.set(policy.namespace, policies);
    }
    const compiled = {
      policy,
      rules: { ingress: (policy.ingress ?? []).map(compileRule), egress: (policy.egress ?? []).map(compileRule) },
    };
    const pair = demandedPair(policy);
    let place = policies.others;
    if (pair !== undefined) {
      place = policies.byPair.get(pair) ?? new Set();
      policies.byPair.set(pair, place);
    }
    place.add(compiled);
    policies.byName.set(policy.name, compiled);
    policies.isolations = new WeakMap();
    this.#size++;
    return before;
  }

  /** Removes a policy; returns it if it was there. */
  remove(namespace: string, name: string): NetworkPolicy | undefined {
    const policies = this.#namespaces.get(namespace);
    const compiled = policies?.byName.get(name);
    if (policies === undefined || compiled === undefined) return undefined;
    policies.byName.delete(name);
    policies.others.delete(compiled);
    const pair = demandedPair(compiled.policy);
    const place = pair === undefined ? undefined : policies.byPair.get(pair);
    place?.delete(compiled);
    if (pair !== undefined && place?.size === 0) policies.byPair.delete(pair);
    policies.isolations = new WeakMap();
    if (policies.byName.size === 0) this.#namespaces.delete(namespace);
    this.#size--;
    return compiled.policy;
  }

  /** What isolates a pod, in each direction. */
  isolations(pod: Pick<PodIdentity, "namespace" | "labels">): Isolations {
    const policies = this.#namespaces.get(pod.namespace.name);
    if (policies === undefined) return notIsolated;
    let isolations = policies.isolations.get(pod.labels);
    if (isolations === undefined) {
      isolations = isolationsOf(policies, pod.labels);
      policies.isolations.set(pod.labels, isolations);
    }
    return isolations;
  }
}

function isolationsOf(policies: NamespacePolicies, labels: LabelPairs): Isolations {
  const selecting = [...policies.others];
  for (const [key, value] of labels) selecting.push(...(policies.byPair.get(pairKey(key, value)) ?? []));
  const matching = selecting
    .filter(({ policy }) => policy.podSelector.matches(labels))
    .sort((a, b) => (a.policy.name < b.policy.name ? -1 : 1));
  const isolationIn = (direction: Direction): Isolation | undefined => {
    const isolating = matching.filter(({ policy }) => policy[direction] !== undefined);
    if (isolating.length === 0) return undefined;
    return {
      policies: isolating.map(({ policy }) => policy),
      rules: isolating.flatMap(({ rules }) => rules[direction]),
    };
  };
  const ingress = isolationIn("ingress");
  const egress = isolationIn("egress");
  if (ingress === undefined && egress === undefined) return notIsolated;
  return { ...(ingress === undefined ? {} : { ingress }), ...(egress === undefined ? {} : { egress }) };
}

function compileRule({ reference, peers, ports }: PolicyRule): CompiledRule {
  const common = { reference, ports, references: [reference] };
  if (peers === "everybody") return { ...common, everybody: true, pods: [] };
  const pods: PodPeer[] = [];
  const blocks: AddressBlocks[] = [];
  for (const peer of peers) {
    if (peer.kind === "pods") pods.push(peer);
    else if (peer.kind === "block") blocks.push(peer);
  }
  return {
    ...common,
    everybody: false,
    pods,
    ...(blocks.length === 0 ? {} : { blocks: new AddressSet(blocks) }),
  };
}

/** A pair of label and value without which the policy selects no pod. */
function demandedPair(policy: NetworkPolicy): string | undefined {
  const demand = policy.podSelector.requirements.find(
    ({ operator, values }) => operator === "In" && values.length === 1,
  );
  return demand === undefined ? undefined : pairKey(demand.key, demand.values[0]!);
}

function pairKey(key: string, value: string): string {
  return `${key}=${value}`;
}
