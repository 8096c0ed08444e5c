/**
 * The cluster's facts from list and watch: nodes, pods, namespaces, and our own kinds. Above this nobody knows where facts
 * come from.
 */
import {
  Backoff,
  ListWatch,
  namespaceResource,
  networkPolicyResource,
  nodeResource,
  podResource,
} from "@beyondfabric/kube";
import type { KubeClient, Resource } from "@beyondfabric/kube";
import {
  addressBlockKind,
  formatViolation,
  ipAddressKind,
  ipPoolKind,
  networkKind,
  parseAddressBlock,
  parseIpAddress,
  parseIpPool,
  parseNetwork,
  parseSubnet,
  subnetKind,
  type AddressBlock,
  type IpAddressRecord,
  type IpPool,
  type Network,
  type Parsed,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { parseNetworkPolicy, type NetworkPolicy } from "@beyondfabric/policy";
import type { IdentityRecord } from "../identities.ts";
import type { Logger } from "../log.ts";
import type { ClusterNode, PodFact, View } from "../view.ts";
import { identityRecord, namespaceFact } from "./identity-records.ts";
import { claimFact, namespaceRecord, nodeRecord, ownPodRecord, podRecord } from "./records.ts";
import type { NamespaceRecord, OwnPodRecord } from "./records.ts";
import { storedObject, type Stored } from "./stored.ts";

/** A pod as the rest of the cluster sees it, and, of this node, what decides about its addresses. */
interface PodRecord {
  readonly fact: PodFact | undefined;
  readonly own: OwnPodRecord | undefined;
  /** As policies see it: from the moment at which it is bound. */
  readonly identity: IdentityRecord | undefined;
}

/** Small pages: the memory that a list needs is that of one page, and the kernel gets none of it back. */
const pageSize = 100;

export interface DirectoryOptions {
  readonly client: KubeClient;
  readonly view: View;
  readonly logger: Logger;
  /** This node's own Node object. */
  readonly onSelf: (node: ClusterNode) => void;
  readonly onBlock: (block: AddressBlock, gone: boolean) => void;
  /** A pod of this node is new, different or gone. */
  readonly onOwnPod: (pod: OwnPodRecord, gone: boolean) => void;
  /** A namespace is new, different or gone. */
  readonly onNamespace: (namespace: NamespaceRecord) => void;
  /** A claim is new, different or gone; its history is left out. */
  readonly onClaim: (claim: IpAddressRecord, gone: boolean) => void;
  /** Networks, subnets or pools changed. */
  readonly onTopology: () => void;
  /** An object that breaks rules. */
  readonly onViolation: (kind: string, name: string, message: string) => void;
  /** A policy of which something cannot be honoured, and is closed instead. */
  readonly onPolicyViolation: (policy: NetworkPolicy, message: string) => void;
  /** Everything was listed once. */
  readonly onSynced: () => void;
}

export class Directory {
  readonly #options: DirectoryOptions;
  readonly #nodes: ListWatch<ClusterNode>;
  readonly #pods: ListWatch<PodRecord>;
  readonly #namespaces: ListWatch<NamespaceRecord>;
  readonly #policies: ListWatch<NetworkPolicy>;
  readonly #claims: ListWatch<IpAddressRecord>;
  readonly #pools: ListWatch<Stored<IpPool>>;
  readonly #blocks: ListWatch<AddressBlock>;
  readonly #subnets: ListWatch<Stored<Subnet>>;
  readonly #networks: ListWatch<Stored<Network>>;
  readonly #podUids = new Set<string>();
  #synced = false;

  constructor(options: DirectoryOptions) {
    this.#options = options;
    const { view } = options;
    this.#nodes = this.#watch(nodeResource, (raw) => nodeRecord(raw, view.node), {
      changed: (node) => {
        if (node.name === view.node) options.onSelf(node);
        else view.setNode(node);
      },
      deleted: (node) => {
        if (node.name !== view.node) view.removeNode(node.name);
      },
    });
    const pod = (raw: unknown): PodRecord | undefined => {
      const [fact, own, identity] = [podRecord(raw), ownPodRecord(raw, view.node), identityRecord(raw)];
      return (fact ?? own ?? identity) === undefined ? undefined : { fact, own, identity };
    };
    this.#pods = this.#watch(podResource, pod, {
      changed: ({ fact, own, identity }, old) => {
        const uid = fact?.uid ?? own?.uid;
        if (uid !== undefined && own?.ended !== true) this.#podUids.add(uid);
        else if (uid !== undefined) this.#podUids.delete(uid);
        // Who it is before where it is: what waits for the address must find both.
        if (identity !== undefined) view.setIdentity(identity);
        else if (old?.identity !== undefined) view.removeIdentity(old.identity);
        if (fact !== undefined) view.setPod(fact);
        else if (old?.fact !== undefined) view.removePod(old.fact.uid);
        if (own !== undefined) options.onOwnPod(own, false);
      },
      deleted: ({ fact, own, identity }) => {
        this.#podUids.delete(fact?.uid ?? own?.uid ?? "");
        if (fact !== undefined) view.removePod(fact.uid);
        if (identity !== undefined) view.removeIdentity(identity);
        if (own !== undefined) options.onOwnPod(own, true);
      },
    });
    this.#namespaces = this.#watch(namespaceResource, namespaceRecord, {
      changed: (namespace) => {
        view.setNamespace(namespaceFact(namespace));
        options.onNamespace(namespace);
      },
      deleted: (namespace) => {
        view.removeNamespace(namespace.name);
        options.onNamespace(namespace);
      },
    });
    this.#policies = this.#watch(networkPolicyResource, (raw) => this.#policy(raw), {
      changed: (policy) => view.setPolicy(policy),
      deleted: ({ namespace, name }) => view.removePolicy(namespace, name),
    });
    // Who had an address before is read when it is needed: every node keeps every claim.
    const claim = (raw: unknown): IpAddressRecord | undefined => {
      const record = this.#sound("IPAddress", raw, parseIpAddress(raw));
      return record === undefined ? undefined : { ...record, history: [] };
    };
    this.#claims = this.#watch(ipAddressKind, claim, {
      changed: (record) => {
        const fact = claimFact(record);
        if (fact === undefined) view.removeClaim(record.address);
        else view.setClaim(fact);
        options.onClaim(record, false);
      },
      deleted: (record) => {
        view.removeClaim(record.address);
        options.onClaim(record, true);
      },
    });
    this.#blocks = this.#watch(addressBlockKind, (raw) => this.#sound("AddressBlock", raw, parseAddressBlock(raw)), {
      changed: (block) => {
        view.setBlock({ cidr: block.cidr, node: block.node });
        options.onBlock(block, false);
      },
      deleted: (block) => {
        view.removeBlock(block.cidr);
        options.onBlock(block, true);
      },
    });
    const stored =
      <T>(kind: string, parse: (raw: unknown) => Parsed<T>) =>
      (raw: unknown): Stored<T> => {
        const parsed = parse(raw);
        this.#sound(kind, raw, parsed);
        return storedObject(kind, raw, parsed);
      };
    const topology = { changed: () => options.onTopology(), deleted: () => options.onTopology() };
    this.#subnets = this.#watch(subnetKind, stored("Subnet", parseSubnet), topology);
    this.#networks = this.#watch(networkKind, stored("Network", parseNetwork), topology);
    this.#pools = this.#watch(ipPoolKind, stored("IPPool", parseIpPool), topology);
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** Every watch is open. */
  get connected(): boolean {
    return this.#all.every((watch) => watch.connected);
  }

  get blocks(): Iterable<AddressBlock> {
    return this.#blocks.records();
  }

  get nodes(): Iterable<ClusterNode> {
    return this.#nodes.records();
  }

  /** Subnets, those that break rules included. */
  get subnets(): Stored<Subnet>[] {
    return [...this.#subnets.records()];
  }

  get networks(): Stored<Network>[] {
    return [...this.#networks.records()];
  }

  get pools(): Stored<IpPool>[] {
    return [...this.#pools.records()];
  }

  subnetNamed(name: string): Stored<Subnet> | undefined {
    return this.#subnets.store.get(name);
  }

  /** Whether a pod of that UID is shown that has addresses or is bound to this node, and has not ended. */
  hasPod(uid: string): boolean {
    return this.#podUids.has(uid);
  }

  /** Every claim of the cluster, without history. */
  get claims(): Iterable<IpAddressRecord> {
    return this.#claims.records();
  }

  /** The claim of an address by the name of its object. */
  claimNamed(name: string): IpAddressRecord | undefined {
    return this.#claims.store.get(name);
  }

  namespaceNamed(name: string): NamespaceRecord | undefined {
    return this.#namespaces.store.get(name);
  }

  /** A pod of this node by name; undefined for one that is not bound here as far as is known. */
  ownPod(namespace: string, name: string): OwnPodRecord | undefined {
    return this.#pods.store.get(name, namespace)?.own;
  }

  *ownPods(): IterableIterator<OwnPodRecord> {
    for (const { own } of this.#pods.records()) if (own !== undefined) yield own;
  }

  /** Networks, subnets and pools have been listed: those that are missing do not exist. */
  get topologyKnown(): boolean {
    return this.#subnets.synced && this.#networks.synced && this.#pools.synced;
  }

  start(): void {
    for (const watch of this.#all) watch.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((watch) => watch.stop()));
  }

  get #all(): { synced: boolean; connected: boolean; start(): void; stop(): Promise<void> }[] {
    const topology = [this.#networks, this.#subnets, this.#pools];
    return [this.#nodes, ...topology, this.#blocks, this.#claims, this.#namespaces, this.#policies, this.#pods];
  }

  #watch<R>(
    resource: Resource,
    select: (raw: unknown) => R | undefined,
    handlers: { changed: (record: R, old: R | undefined) => void; deleted: (record: R) => void },
  ): ListWatch<R> {
    return new ListWatch<R>({
      client: this.#options.client,
      resource,
      select,
      pageSize,
      backoff: new Backoff({ maximum: 10_000 }),
      handlers: {
        ...handlers,
        synced: () => this.#look(),
        failed: (error) => this.#options.logger.debug({ err: error, kind: resource.kind }, "watch interrupted"),
      },
    });
  }

  #look(): void {
    this.#options.onTopology();
    if (this.#synced || !this.#all.every((watch) => watch.synced)) return;
    this.#synced = true;
    this.#options.onSynced();
  }

  #policy(raw: unknown): NetworkPolicy | undefined {
    const { policy, violations } = parseNetworkPolicy(raw);
    if (policy !== undefined && violations.length > 0) {
      this.#options.onPolicyViolation(policy, violations.map(formatViolation).join("; "));
    }
    return policy;
  }

  #sound<T>(kind: string, raw: unknown, parsed: Parsed<T>): T | undefined {
    if (parsed.ok) return parsed.value;
    const name = (raw as { metadata?: { name?: string } }).metadata?.name ?? "";
    this.#options.onViolation(kind, name, parsed.violations.map(formatViolation).join("; "));
    return undefined;
  }
}
