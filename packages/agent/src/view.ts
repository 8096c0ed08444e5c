/**
 * What this node knows of the cluster, in memory: the {@link Facts} that decisions look at. Fed by the directory (pods,
 * nodes, blocks, subnets) and by the node's own ports, which are the authority on the addresses that live here. Every
 * change reports the keys of the facts that it touched.
 */
import type {
  BlockFact,
  ClaimFact,
  Endpoint,
  FactKey,
  Facts,
  LocalPort,
  NodeFact,
  PodKey,
  SubnetFact,
} from "@beyondfabric/datapath";
import type { Isolations, NamespaceIdentity, NetworkPolicy, PodIdentity, PolicyIndex } from "@beyondfabric/policy";
import { LabelSet } from "@beyondfabric/kube";
import type { RememberedIsolation } from "./attachment/ports.ts";
import { Identities, namespaceNameOf, type NamespaceFact, type IdentityRecord } from "./identities.ts";
import { cidrContains, formatCidr, ipFamily, PrefixMap, type Cidr, type Ip } from "@beyondfabric/packet";

/** A pod of the cluster as the directory keeps it. */
export interface PodFact {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly Ip[];
  /** Creation time (ms); between two pods that claim one address, the later one holds it. */
  readonly created: number;
}

export interface ClusterNode extends NodeFact {
  readonly uid: string;
  /** Blocks that it finds none of, as its Node object says. */
  readonly wishes?: string;
  /** The node's own addresses inside cluster subnets (its `fabric0`). */
  readonly gatewayAddresses: readonly Ip[];
  /** Of this node only. */
  readonly labels?: LabelSet;
}

export type ChangeListener = (keys: ReadonlySet<FactKey>) => void;
/** A port of this node whose pod begins or ceases to be isolated: its entries must follow before its verdicts do. */
export type TrackingListener = (port: LocalPort) => void;

export class View implements Facts {
  readonly node: string;
  #complete = false;
  #subnets = new PrefixMap<SubnetFact>();
  #subnetList: readonly SubnetFact[] = [];
  readonly #blocks = new PrefixMap<BlockFact>();
  readonly #nodes = new Map<string, ClusterNode>();
  readonly #nodeAddresses = new Map<Ip, Endpoint>();
  readonly #pods = new Map<string, PodFact>();
  readonly #podsByAddress = new Map<Ip, PodFact[]>();
  readonly #claims = new Map<Ip, ClaimFact>();
  readonly #localByAddress = new Map<Ip, Endpoint>();
  /** Addresses of this node's pods that lie in no subnet, and where the pod is at home. */
  #abroad = new PrefixMap<Ip>();
  /** Prefixes that pods of this node forward for. */
  readonly #routed = new PrefixMap<Endpoint>();
  /** Addresses of the node's own interfaces. */
  #own = new PrefixMap<true>();
  #ownKey = "";
  /**
   * Addresses that somebody holds or claims although nobody owns a block around them; kept once the facts are complete.
   */
  #strays = new PrefixMap<true>();
  readonly #localPorts = new Map<number, LocalPort>();
  readonly #identities = new Identities();
  /** Per pod of this node, by UID or, of one that has none, by name. */
  readonly #recalled = new Map<string, RememberedIsolation>();
  /** Namespaces of the pods of this node, from the same memory. */
  readonly #recalledNamespaces = new Map<string, NamespaceIdentity & { readonly hasPolicies: boolean }>();
  readonly #listeners: ChangeListener[] = [];
  readonly #trackingListeners: TrackingListener[] = [];
  readonly sharedNamespaces: ReadonlySet<string>;

  constructor(node: string, sharedNamespaces: ReadonlySet<string> = new Set()) {
    this.node = node;
    this.sharedNamespaces = sharedNamespaces;
  }

  onTracking(listener: TrackingListener): void {
    this.#trackingListeners.push(listener);
  }

  onChange(listener: ChangeListener): void {
    this.#listeners.push(listener);
  }

  get complete(): boolean {
    return this.#complete;
  }

  get subnets(): readonly SubnetFact[] {
    return this.#subnetList;
  }

  get nodes(): ReadonlyMap<string, ClusterNode> {
    return this.#nodes;
  }

  get podCount(): number {
    return this.#pods.size;
  }

  get localPorts(): ReadonlyMap<number, LocalPort> {
    return this.#localPorts;
  }

  pods(): IterableIterator<PodFact> {
    return this.#pods.values();
  }

  subnetOf(address: Ip): SubnetFact | undefined {
    const subnet = this.#subnets.lookup(address)?.value;
    if (subnet !== undefined) return subnet;
    const home = this.#abroad.get(hostPrefix(address));
    return home === undefined ? undefined : this.#subnets.lookup(home)?.value;
  }

  outsidePrefix(address: Ip): Cidr {
    // All of these lie around the one address: the longest is inside the others.
    let free: Cidr | undefined;
    for (const taken of [this.#subnets, this.#own, this.#abroad]) {
      const prefix = taken.widestDisjoint(address) ?? hostPrefix(address);
      if (free === undefined || prefix.length > free.length) free = prefix;
    }
    return free!;
  }

  blockOf(address: Ip): BlockFact | undefined {
    return this.#blocks.lookup(address)?.value;
  }

  unownedPrefix(address: Ip, subnet: SubnetFact): Cidr {
    // All of these lie around the one address: the longest is inside the others.
    let free = subnet.cidr;
    for (const taken of [this.#blocks, this.#strays, this.#routed]) {
      const prefix = taken.widestDisjoint(address) ?? hostPrefix(address);
      if (prefix.length > free.length) free = prefix;
    }
    return free;
  }

  nodeNamed(name: string): NodeFact | undefined {
    return this.#nodes.get(name);
  }

  endpointAt(address: Ip): Endpoint | undefined {
    const local =
      this.#localByAddress.get(address) ?? this.#nodeAddresses.get(address) ?? this.#routed.lookup(address)?.value;
    const claim = this.#claims.get(address);
    if (local !== undefined && (claim === undefined || !this.#isSucceeded(local, claim))) return local;
    // Of this node only what has a port here is here: a pod that the API still lists is gone, or not there yet.
    if (claim !== undefined) return claim.bound && claim.holder?.node !== this.node ? claim.holder : undefined;
    const pod = this.#podsByAddress.get(address)?.findLast((candidate) => candidate.node !== this.node);
    return pod === undefined
      ? undefined
      : { kind: "pod", name: `${pod.namespace}/${pod.name}`, node: pod.node, uid: pod.uid };
  }

  /** Whether an address is somebody's own, or claimed, or a gateway; what pods of this node have is not looked at. */
  isSpokenFor(address: Ip): boolean {
    return (
      this.#claims.has(address) ||
      this.#nodeAddresses.has(address) ||
      this.#podsByAddress.has(address) ||
      this.isOwnAddress(address) ||
      this.#subnetList.some(({ gateway }) => gateway === address)
    );
  }

  /**
   * Whether the API names another pod as the holder of an address that a port of this node has: the pod of the port was
   * removed by force, or is about to be, and has no say any more. Runtimes may not tell the UID of a pod, and know a static
   * one by another than the API.
   */
  #isSucceeded({ kind, uid, name, node }: Endpoint, { bound, holder }: ClaimFact): boolean {
    if (kind !== "pod" || !bound || holder === undefined) return false;
    if (uid === "") return name !== holder.name || node !== holder.node;
    return uid !== holder.uid && this.#identities.identityOf({ name, uid })?.uid !== holder.uid;
  }

  claimAt(address: Ip): ClaimFact | undefined {
    return this.#claims.get(address);
  }

  isOwnAddress(address: Ip): boolean {
    return this.#own.get(hostPrefix(address)) === true;
  }

  get policies(): PolicyIndex {
    return this.#identities.policies;
  }

  get hasTenants(): boolean {
    if (this.#complete) return this.#identities.hasTenants;
    return this.#identities.hasTenants || this.#recalledNamespaces.values().some(({ tenant }) => tenant !== undefined);
  }

  identityOf(pod: PodKey): PodIdentity | undefined {
    return this.#identities.identityOf(pod);
  }

  namespaceOf(pod: PodKey): NamespaceIdentity | undefined {
    const name = namespaceNameOf(pod);
    const known = this.#identities.identityOf(pod)?.namespace ?? this.#identities.namespaceNamed(name);
    return known ?? (this.#complete ? undefined : this.#recalledNamespaces.get(name));
  }

  /**
   * Until everything is listed it is not known what isolates a pod, or that nothing does; but one that nothing isolated
   * when the agent last knew goes on as it was, and a new one of a namespace that had no policies then begins like it.
   */
  isolationsOf(pod: PodKey): Isolations | undefined {
    if (this.#complete) return this.#identities.isolationsOf(pod);
    const recalled = this.#recalled.get(recallKey(pod));
    if (recalled !== undefined) return recalled.isolated ? undefined : {};
    const name = namespaceNameOf(pod);
    const isOpen = this.#recalledNamespaces.get(name)?.hasPolicies === false && !this.policies.hasAny(name);
    return isOpen ? {} : undefined;
  }

  /** Takes over what OVSDB remembers of a pod, for as long as the API has not told everything. */
  recall(pod: PodKey, isolation: RememberedIsolation): void {
    this.#recalled.set(recallKey(pod), isolation);
    const { tenant, namespaceHasPolicies } = isolation;
    const name = namespaceNameOf(pod);
    const hasPolicies = namespaceHasPolicies || this.#recalledNamespaces.get(name)?.hasPolicies === true;
    const identity = { name, labels: LabelSet.empty, ...(tenant === undefined ? {} : { tenant }) };
    this.#recalledNamespaces.set(name, { ...identity, hasPolicies });
  }

  /** What a start without the API server must know of a pod of this node; undefined while it is not known here. */
  isolationToRemember(pod: PodKey): RememberedIsolation | undefined {
    if (!this.#complete) return undefined;
    const tenant = this.namespaceOf(pod)?.tenant;
    return {
      isolated: this.isTracked(pod),
      namespaceHasPolicies: this.policies.hasAny(namespaceNameOf(pod)),
      ...(tenant === undefined ? {} : { tenant }),
    };
  }

  /** Whether a pod's traffic must be tracked: it is isolated, or it is not known whether it is. */
  isTracked(pod: PodKey): boolean {
    const isolations = this.isolationsOf(pod);
    return isolations === undefined || isolations.ingress !== undefined || isolations.egress !== undefined;
  }

  /** Every pod of the cluster that is known with its namespace. */
  identities(): PodIdentity[] {
    return this.#identities.all();
  }

  /** The addresses of a pod, as far as they are known here. */
  addressesOf(uid: string): readonly Ip[] {
    const port = this.#localPorts.values().find((each) => each.uid === uid);
    return port?.addresses ?? this.#pods.get(uid)?.addresses ?? [];
  }

  setIdentity(pod: IdentityRecord): void {
    if (this.#identities.setPod(pod)) this.#identityChanged(pod);
  }

  removeIdentity(pod: IdentityRecord): void {
    if (this.#identities.removePod(pod.uid)) this.#identityChanged(pod);
  }

  setNamespace(namespace: NamespaceFact): void {
    const had = this.hasTenants;
    if (this.#identities.setNamespace(namespace)) this.#namespaceChanged(namespace.name, had);
  }

  removeNamespace(name: string): void {
    const had = this.hasTenants;
    if (this.#identities.removeNamespace(name)) this.#namespaceChanged(name, had);
  }

  setPolicy(policy: NetworkPolicy): void {
    this.#policiesChanged(this.#identities.setPolicy(policy));
  }

  removePolicy(namespace: string, name: string): void {
    this.#policiesChanged(this.#identities.removePolicy(namespace, name));
  }

  #identityChanged({ uid, staticUid, namespace, name }: IdentityRecord): void {
    const keys = new Set<FactKey>();
    for (const address of this.#pods.get(uid)?.addresses ?? []) keys.add(`address:${address}`);
    const fullName = `${namespace}/${name}`;
    const ports = [...this.#localPorts.values()].filter((port) =>
      port.uid === "" ? port.pod === fullName : port.uid === uid || port.uid === staticUid,
    );
    for (const port of ports) addKeysOf(port, keys);
    const freed = this.#trackAgain(ports);
    this.#changed(keys);
    this.#free(freed);
  }

  #namespaceChanged(name: string, hadTenants: boolean): void {
    const ports = [...this.#localPorts.values()].filter((port) => namespaceNameOf(podOf(port)) === name);
    const freed = this.#trackAgain(ports);
    const keys = new Set<FactKey>([`namespace:${name}`]);
    // Whether anything isolates a pod is known only when its namespace is.
    for (const port of ports) addKeysOf(port, keys);
    if (hadTenants !== this.hasTenants) keys.add("tenants");
    this.#changed(keys);
    this.#free(freed);
  }

  #policiesChanged(versions: readonly NetworkPolicy[]): void {
    const ports = [...this.#localPorts.values()].filter((port) => {
      const key = podOf(port);
      const labels = this.identityOf(key)?.labels;
      return versions.some(
        ({ namespace, podSelector }) =>
          // Any policy may be about a pod whose labels are not known.
          namespace === namespaceNameOf(key) && (labels === undefined || podSelector.matches(labels)),
      );
    });
    const freed = this.#trackAgain(ports);
    const keys = new Set<FactKey>();
    for (const port of ports) addKeysOf(port, keys);
    this.#changed(keys);
    this.#free(freed);
  }

  /**
   * Tells of the ports whose pods are isolated now, and gives back those whose pods are not any more: these are told of by
   * {@link #free} when the verdicts about them are on their way, so that packets find either the old entries or the new.
   */
  #trackAgain(ports: readonly LocalPort[]): readonly LocalPort[] {
    const freed: LocalPort[] = [];
    for (const port of ports) {
      const tracked = this.isTracked(podOf(port));
      if (tracked === port.tracked) continue;
      const changed = { ...port, tracked };
      this.#localPorts.set(port.ofport, changed);
      if (!tracked) freed.push(changed);
      else for (const listener of this.#trackingListeners) listener(changed);
    }
    return freed;
  }

  #free(ports: readonly LocalPort[]): void {
    for (const port of ports) for (const listener of this.#trackingListeners) listener(port);
  }

  /** From now on what is not listed does not exist. */
  setComplete(): void {
    if (this.#complete) return;
    this.#complete = true;
    this.#findStrays();
    this.#recalled.clear();
    this.#recalledNamespaces.clear();
    const freed = this.#trackAgain([...this.#localPorts.values()]);
    this.#changed(new Set(["complete"]));
    this.#free(freed);
  }

  setSubnets(subnets: readonly SubnetFact[]): void {
    const before = this.#subnetList.map(subnetKey).sort().join();
    if (before === subnets.map(subnetKey).sort().join()) return;
    const map = new PrefixMap<SubnetFact>();
    for (const subnet of subnets) map.set(subnet.cidr, subnet);
    this.#subnets = map;
    this.#subnetList = [...subnets];
    this.#changed(new Set(["subnets"]));
  }

  /** The addresses of the node's own interfaces, wherever they are. */
  setOwnAddresses(addresses: Iterable<Ip>): void {
    const sorted = [...new Set(addresses)].sort();
    if (sorted.join() === this.#ownKey) return;
    this.#ownKey = sorted.join();
    this.#own = new PrefixMap();
    for (const address of sorted) this.#own.set(hostPrefix(address), true);
    // They lie in the prefixes of verdicts about the outside: every one is looked at again.
    this.#changed(new Set(["subnets"]));
  }

  setBlock(block: BlockFact): void {
    if (this.#blocks.get(block.cidr)?.node === block.node) return;
    this.#blocks.set(block.cidr, block);
    this.#changed(new Set(["blocks"]));
  }

  removeBlock(cidr: Cidr): void {
    if (this.#blocks.get(cidr) === undefined) return;
    this.#blocks.delete(cidr);
    if (this.#complete) this.#findStrays();
    this.#changed(new Set(["blocks"]));
  }

  setClaim(claim: ClaimFact): void {
    const before = this.#claims.get(claim.address);
    if (before !== undefined && sameClaim(before, claim)) return;
    this.#claims.set(claim.address, claim);
    this.#changed(new Set<FactKey>([`address:${claim.address}`]));
  }

  removeClaim(address: Ip): void {
    if (this.#claims.delete(address)) this.#changed(new Set<FactKey>([`address:${address}`]));
  }

  setNode(node: ClusterNode): void {
    const before = this.#nodes.get(node.name);
    if (
      before !== undefined &&
      before.uid === node.uid &&
      before.tunnelAddress === node.tunnelAddress &&
      before.gatewayAddresses.join() === node.gatewayAddresses.join()
    ) {
      return;
    }
    const keys = new Set<FactKey>([`node:${node.name}`]);
    for (const address of before?.gatewayAddresses ?? []) {
      this.#nodeAddresses.delete(address);
      keys.add(`address:${address}`);
    }
    this.#nodes.set(node.name, node);
    for (const address of node.gatewayAddresses) {
      this.#nodeAddresses.set(address, { kind: "node", name: node.name, node: node.name, uid: node.uid });
      keys.add(`address:${address}`);
    }
    this.#changed(keys);
  }

  removeNode(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    this.#nodes.delete(name);
    const keys = new Set<FactKey>([`node:${name}`]);
    for (const address of node.gatewayAddresses) {
      this.#nodeAddresses.delete(address);
      keys.add(`address:${address}`);
    }
    this.#changed(keys);
  }

  setPod(pod: PodFact): void {
    const before = this.#pods.get(pod.uid);
    if (before !== undefined && before.node === pod.node && before.addresses.join() === pod.addresses.join()) return;
    const keys = new Set<FactKey>();
    if (before !== undefined) this.#unlistPod(before, keys);
    this.#pods.set(pod.uid, pod);
    for (const address of pod.addresses) {
      const holders = this.#podsByAddress.get(address) ?? [];
      holders.push(pod);
      holders.sort((a, b) => a.created - b.created);
      this.#podsByAddress.set(address, holders);
      keys.add(`address:${address}`);
    }
    this.#changed(keys);
  }

  removePod(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    const keys = new Set<FactKey>();
    this.#unlistPod(pod, keys);
    this.#changed(keys);
  }

  setLocalPort(port: LocalPort): void {
    const keys = new Set<FactKey>();
    const before = this.#localPorts.get(port.ofport);
    if (before !== undefined) this.#unlistPort(before, keys);
    this.#localPorts.set(port.ofport, port);
    const endpoint: Endpoint = { kind: "pod", name: port.pod, node: this.node, uid: port.uid };
    for (const address of port.addresses) {
      this.#localByAddress.set(address, endpoint);
      keys.add(`address:${address}`);
    }
    for (const address of this.#addressesAbroad(port)) {
      this.#abroad.set(hostPrefix(address), port.addresses[0]!);
      keys.add("subnets");
    }
    for (const prefix of port.routedPrefixes ?? []) {
      this.#routed.set(prefix, endpoint);
      keys.add("subnets");
    }
    const freed = this.#trackAgain([port]);
    this.#changed(keys);
    this.#free(freed);
  }

  removeLocalPort(ofport: number): void {
    const port = this.#localPorts.get(ofport);
    if (port === undefined) return;
    const keys = new Set<FactKey>();
    this.#unlistPort(port, keys);
    this.#changed(keys);
  }

  #unlistPort(port: LocalPort, keys: Set<FactKey>): void {
    this.#localPorts.delete(port.ofport);
    for (const address of port.addresses) {
      if (this.#localByAddress.get(address)?.uid === port.uid) this.#localByAddress.delete(address);
      keys.add(`address:${address}`);
    }
    for (const prefix of port.routedPrefixes ?? []) {
      this.#routed.delete(prefix);
      keys.add("subnets");
    }
    for (const address of port.addresses) {
      if (!this.#abroad.delete(hostPrefix(address))) continue;
      keys.add("subnets");
    }
  }

  #addressesAbroad({ addresses }: LocalPort): Ip[] {
    return addresses.filter((address, index) => index > 0 && this.#subnets.lookup(address) === undefined);
  }

  #unlistPod(pod: PodFact, keys: Set<FactKey>): void {
    this.#pods.delete(pod.uid);
    for (const address of pod.addresses) {
      const holders = (this.#podsByAddress.get(address) ?? []).filter((holder) => holder.uid !== pod.uid);
      if (holders.length === 0) this.#podsByAddress.delete(address);
      else this.#podsByAddress.set(address, holders);
      keys.add(`address:${address}`);
    }
  }

  #findStrays(): void {
    this.#strays = new PrefixMap();
    for (const holders of [this.#localByAddress, this.#nodeAddresses, this.#podsByAddress, this.#claims]) {
      for (const address of holders.keys()) this.#isStray(address);
    }
  }

  /** Takes note of whether an address is one; true when it has just become one. */
  #isStray(address: Ip): boolean {
    const prefix = hostPrefix(address);
    const before = this.#strays.get(prefix) === true;
    const isTaken = this.#claims.has(address) || this.endpointAt(address) !== undefined;
    const now = isTaken && this.blockOf(address) === undefined;
    if (now) this.#strays.set(prefix, true);
    else if (before) this.#strays.delete(prefix);
    return now && !before;
  }

  #changed(keys: Set<FactKey>): void {
    if (keys.size === 0) return;
    if (this.#complete) {
      // A refusal of a prefix that nobody owns depends on the blocks; it must not outlive the first holder in there.
      for (const key of keys) {
        if (key.startsWith("address:") && this.#isStray(key.slice("address:".length))) keys.add("blocks");
      }
    }
    for (const listener of this.#listeners) listener(keys);
  }
}

function podOf({ pod, uid }: LocalPort): PodKey {
  return { name: pod, uid };
}

function recallKey({ name, uid }: PodKey): string {
  return uid === "" ? name : uid;
}

/** The keys of everything that a port of this node may be the source of. */
function addKeysOf(port: LocalPort, keys: Set<FactKey>): void {
  for (const address of port.addresses) keys.add(`address:${address}`);
  if (port.routedPrefixes !== undefined) keys.add("subnets");
}

/** Whether an address of a pod lies in a subnet of the cluster; a host-network pod's does not. */
export function inSubnets(address: Ip, subnets: readonly SubnetFact[]): boolean {
  return subnets.some((subnet) => cidrContains(subnet.cidr, address));
}

function sameClaim(a: ClaimFact, b: ClaimFact): boolean {
  return (
    a.bound === b.bound &&
    a.keptFor === b.keptFor &&
    a.holder?.uid === b.holder?.uid &&
    a.holder?.node === b.holder?.node &&
    a.holder?.name === b.holder?.name
  );
}

function hostPrefix(address: Ip): Cidr {
  const family = ipFamily(address);
  return { family, address, length: family === 4 ? 32 : 128 };
}

function subnetKey(subnet: SubnetFact): string {
  const wire = subnet.wire === undefined ? "" : ` wire ${subnet.wire.segment ?? "none"} ${subnet.wire.direct}`;
  return `${subnet.name} ${formatCidr(subnet.cidr)} ${subnet.gateway} ${subnet.vni}${wire}`;
}
