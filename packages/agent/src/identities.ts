/**
 * Who is who, as policies and tenancy see it: pods with their labels and named ports, namespaces with theirs, and the
 * policies. Tells which pods a change concerns; which addresses those have is the view's business.
 */
import { PolicyIndex, type Isolations, type NamespaceIdentity, type NetworkPolicy } from "@beyondfabric/policy";
import type { NamedPort, PodIdentity } from "@beyondfabric/policy";
import type { LabelSet } from "@beyondfabric/kube";
import type { PodKey } from "@beyondfabric/datapath";

/** A pod of the API that has a network of its own, from the moment at which it is bound to a node. */
export interface IdentityRecord {
  readonly uid: string;
  /** The UID by which the runtime knows a static pod, whose object in the API is only a mirror. */
  readonly staticUid?: string;
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly labels: LabelSet;
  readonly ports: readonly NamedPort[];
}

export interface NamespaceFact {
  readonly name: string;
  readonly labels: LabelSet;
  readonly tenant?: string;
}

export class Identities {
  readonly policies = new PolicyIndex();
  readonly #pods = new Map<string, IdentityRecord>();
  readonly #byStaticUid = new Map<string, string>();
  /** `namespace/name` to UID: for runtimes that do not tell the UID. */
  readonly #byName = new Map<string, string>();
  readonly #namespaces = new Map<string, NamespaceIdentity>();
  readonly #identities = new Map<string, PodIdentity>();
  #tenants = 0;

  get hasTenants(): boolean {
    return this.#tenants > 0;
  }

  /** Undefined while the pod or its namespace is not known. */
  identityOf(key: PodKey): PodIdentity | undefined {
    const uid = key.uid === "" ? (this.#byName.get(key.name) ?? "") : key.uid;
    const known = this.#identities.get(uid);
    if (known !== undefined) return known;
    const pod = this.#recordOf(uid);
    const namespace = pod === undefined ? undefined : this.#namespaces.get(pod.namespace);
    if (pod === undefined || namespace === undefined) return undefined;
    const { name, node, labels, ports } = pod;
    // The UID asked for is that of the endpoint: a static pod is the same pod by either.
    const identity = { name, uid: pod.uid, node, namespace, labels, ports };
    this.#identities.set(uid, identity);
    return identity;
  }

  #recordOf(uid: string): IdentityRecord | undefined {
    return this.#pods.get(uid) ?? this.#pods.get(this.#byStaticUid.get(uid) ?? "");
  }

  /** Every pod that is known with its namespace. */
  all(): PodIdentity[] {
    return [...this.#pods.values()]
      .map(({ namespace, name, uid }) => this.identityOf({ name: `${namespace}/${name}`, uid }))
      .filter((pod) => pod !== undefined);
  }

  namespaceNamed(name: string): NamespaceIdentity | undefined {
    return this.#namespaces.get(name);
  }

  /**
   * What isolates a pod. Of one that is not known, nothing does as long as its namespace has no policies; undefined when it
   * has any: which of them select the pod is then not known.
   */
  isolationsOf(pod: PodKey): Isolations | undefined {
    const identity = this.identityOf(pod);
    if (identity !== undefined) return this.policies.isolations(identity);
    return this.policies.hasAny(namespaceNameOf(pod)) ? undefined : {};
  }

  /** False when nothing that policies look at is different. */
  setPod(pod: IdentityRecord): boolean {
    const before = this.#pods.get(pod.uid);
    this.#pods.set(pod.uid, pod);
    if (before !== undefined && samePod(before, pod)) return false;
    this.#forget(pod);
    if (pod.staticUid !== undefined) this.#byStaticUid.set(pod.staticUid, pod.uid);
    this.#byName.set(`${pod.namespace}/${pod.name}`, pod.uid);
    return true;
  }

  removePod(uid: string): boolean {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return false;
    this.#pods.delete(uid);
    this.#forget(pod);
    const name = `${pod.namespace}/${pod.name}`;
    if (this.#byName.get(name) === uid) this.#byName.delete(name);
    if (pod.staticUid !== undefined && this.#byStaticUid.get(pod.staticUid) === uid) {
      this.#byStaticUid.delete(pod.staticUid);
    }
    return true;
  }

  setNamespace(namespace: NamespaceFact): boolean {
    const before = this.#namespaces.get(namespace.name);
    if (before !== undefined && before.labels === namespace.labels && before.tenant === namespace.tenant) return false;
    this.#count(before, namespace);
    this.#namespaces.set(namespace.name, namespace);
    this.#forgetNamespace(namespace.name);
    return true;
  }

  removeNamespace(name: string): boolean {
    const before = this.#namespaces.get(name);
    if (before === undefined) return false;
    this.#count(before, undefined);
    this.#namespaces.delete(name);
    this.#forgetNamespace(name);
    return true;
  }

  /** Takes a policy in or over; gives back what says whom that concerns: the pods that either version selects. */
  setPolicy(policy: NetworkPolicy): readonly NetworkPolicy[] {
    const before = this.policies.set(policy);
    return before === undefined ? [policy] : [before, policy];
  }

  removePolicy(namespace: string, name: string): readonly NetworkPolicy[] {
    const before = this.policies.remove(namespace, name);
    return before === undefined ? [] : [before];
  }

  #count(before: NamespaceIdentity | undefined, after: NamespaceFact | undefined): void {
    if (before?.tenant !== undefined) this.#tenants--;
    if (after?.tenant !== undefined) this.#tenants++;
  }

  #forget({ uid, staticUid }: IdentityRecord): void {
    this.#identities.delete(uid);
    if (staticUid !== undefined) this.#identities.delete(staticUid);
  }

  #forgetNamespace(name: string): void {
    for (const [uid, { namespace }] of this.#identities) if (namespace.name === name) this.#identities.delete(uid);
  }
}

export function namespaceNameOf({ name }: Pick<PodKey, "name">): string {
  return name.slice(0, Math.max(0, name.indexOf("/")));
}

function samePod(a: IdentityRecord, b: IdentityRecord): boolean {
  const isSame = a.namespace === b.namespace && a.name === b.name && a.node === b.node && a.staticUid === b.staticUid;
  return isSame && a.labels === b.labels && samePorts(a.ports, b.ports);
}

function samePorts(a: readonly NamedPort[], b: readonly NamedPort[]): boolean {
  const text = (ports: readonly NamedPort[]): string =>
    ports.map(({ name, protocol, port }) => `${name} ${protocol} ${port}`).join();
  return a === b || text(a) === text(b);
}
