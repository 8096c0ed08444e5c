/**
 * The cluster's facts from list and watch: nodes, pods, blocks, subnets, networks. Above this nobody knows where facts
 * come from.
 */
import { Backoff, ListWatch, nodeResource, podResource, type KubeClient, type Resource } from "@beyondfabric/kube";
import {
  addressBlockKind,
  formatViolation,
  networkKind,
  parseAddressBlock,
  parseNetwork,
  parseSubnet,
  subnetKind,
  type AddressBlock,
  type Network,
  type Parsed,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import type { Logger } from "../log.ts";
import type { ClusterNode, PodFact, View } from "../view.ts";
import { nodeRecord, podRecord } from "./records.ts";

/** A parsed object with what is needed to store it again. */
export interface Stored<T> {
  readonly value: T;
  readonly raw: unknown;
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
  /** Networks or subnets changed. */
  readonly onTopology: () => void;
  /** An object that breaks rules. */
  readonly onViolation: (kind: string, name: string, message: string) => void;
  /** Everything was listed once. */
  readonly onSynced: () => void;
}

export class Directory {
  readonly #options: DirectoryOptions;
  readonly #nodes: ListWatch<ClusterNode>;
  readonly #pods: ListWatch<PodFact>;
  readonly #blocks: ListWatch<AddressBlock>;
  readonly #subnets: ListWatch<Stored<Subnet>>;
  readonly #networks: ListWatch<Stored<Network>>;
  #synced = false;

  constructor(options: DirectoryOptions) {
    this.#options = options;
    const { view } = options;
    this.#nodes = this.#watch(nodeResource, nodeRecord, {
      changed: (node) => {
        if (node.name === view.node) options.onSelf(node);
        else view.setNode(node);
      },
      deleted: (node) => {
        if (node.name !== view.node) view.removeNode(node.name);
      },
    });
    this.#pods = this.#watch(podResource, podRecord, {
      changed: (pod) => view.setPod(pod),
      deleted: (pod) => view.removePod(pod.uid),
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
      (raw: unknown): Stored<T> | undefined => {
        const value = this.#sound(kind, raw, parse(raw));
        return value === undefined ? undefined : { value, raw: withoutBallast(raw) };
      };
    const topology = { changed: () => options.onTopology(), deleted: () => options.onTopology() };
    this.#subnets = this.#watch(subnetKind, stored("Subnet", parseSubnet), topology);
    this.#networks = this.#watch(networkKind, stored("Network", parseNetwork), topology);
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

  get subnets(): Stored<Subnet>[] {
    return [...this.#subnets.records()];
  }

  get networks(): Stored<Network>[] {
    return [...this.#networks.records()];
  }

  /** Networks and subnets have been listed: those that are missing do not exist. */
  get topologyKnown(): boolean {
    return this.#subnets.synced && this.#networks.synced;
  }

  start(): void {
    for (const watch of this.#all) watch.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((watch) => watch.stop()));
  }

  get #all(): { synced: boolean; connected: boolean; start(): void; stop(): Promise<void> }[] {
    return [this.#nodes, this.#networks, this.#subnets, this.#blocks, this.#pods];
  }

  #watch<R>(
    resource: Resource,
    select: (raw: unknown) => R | undefined,
    handlers: { changed: (record: R) => void; deleted: (record: R) => void },
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

  #sound<T>(kind: string, raw: unknown, parsed: Parsed<T>): T | undefined {
    if (parsed.ok) return parsed.value;
    const name = (raw as { metadata?: { name?: string } }).metadata?.name ?? "";
    this.#options.onViolation(kind, name, parsed.violations.map(formatViolation).join("; "));
    return undefined;
  }
}

function withoutBallast(raw: unknown): unknown {
  const { metadata, spec } = raw as {
    metadata?: { name?: string; uid?: string; creationTimestamp?: string; generation?: number };
    spec?: unknown;
  };
  const { name, uid, creationTimestamp, generation } = metadata ?? {};
  return { metadata: { name, uid, creationTimestamp, generation }, spec };
}
