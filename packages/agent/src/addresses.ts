/**
 * Addresses for this node's pods: claims blocks from the API by creating them, hands addresses out of them without asking
 * anybody, and remembers in OVSDB what it needs to go on when the API server is away.
 */
import type { AddressBlock, Subnet } from "@beyondfabric/kube/kinds";
import { cidrContains, formatCidr, ipFamily, type Cidr, type Ip } from "@beyondfabric/packet";
import { AgentError } from "./errors.ts";
import type { PodAddresses, PodAddressing } from "./attachment/service.ts";
import type { PodPort } from "./attachment/ports.ts";
import { Allocator, NODE_OWNER } from "./ipam/allocator.ts";
import { claimBlock, isOwnBlock, type BlockStore, type NodeIdentity } from "./ipam/blocks.ts";
import { IpamError } from "./ipam/errors.ts";
import type { Logger } from "./log.ts";

export interface AddressServiceOptions {
  readonly store: BlockStore;
  readonly logger: Logger;
  readonly now: () => number;
  /** A block was claimed or given up: whoever keeps facts or local state should look again. */
  readonly onChange: () => void;
  /** MTU of pods in bytes, for a subnet. */
  readonly mtuOf: (subnet: Subnet) => number;
}

/** A released address rests so long (ms) before anybody else gets it: longer than caches of other nodes lag. */
const quarantineMilliseconds = 10_000;
/** With fewer free addresses than this the next block is claimed. */
const prefetchBelow = 8;

export class AddressService implements PodAddresses {
  readonly #options: AddressServiceOptions;
  readonly #allocator: Allocator;
  readonly #ownBlocks = new Map<string, { subnet: string; cidr: Cidr }>();
  #subnets: readonly Subnet[] = [];
  #allBlocks: () => Iterable<AddressBlock> = () => [];
  #identity: NodeIdentity | undefined;
  #claiming: Promise<void> | undefined;
  #lastFailure: string | undefined;

  constructor(options: AddressServiceOptions) {
    this.#options = options;
    this.#allocator = new Allocator({ quarantineMilliseconds, prefetchBelow, now: options.now });
  }

  /** Who this node is; before that no block can be claimed. */
  setIdentity(identity: NodeIdentity, blocks: () => Iterable<AddressBlock>): void {
    this.#identity = identity;
    this.#allBlocks = blocks;
  }

  setSubnets(subnets: readonly Subnet[]): void {
    this.#subnets = subnets;
    for (const subnet of subnets) this.#allocator.updateSubnet(subnet);
    for (const { subnet, cidr } of this.#ownBlocks.values()) this.#useBlock(subnet, cidr);
  }

  /** A block of this node, found in the API or remembered from before. */
  addOwnBlock(subnet: string, cidr: Cidr): void {
    if (this.#ownBlocks.has(formatCidr(cidr))) return;
    this.#ownBlocks.set(formatCidr(cidr), { subnet, cidr });
    this.#useBlock(subnet, cidr);
    this.#options.onChange();
  }

  /** A block that the API says is no longer this node's. What is held of it stays held until its pod goes. */
  removeOwnBlock(cidr: Cidr): void {
    const block = this.#ownBlocks.get(formatCidr(cidr));
    if (block === undefined) return;
    this.#ownBlocks.delete(formatCidr(cidr));
    const held = this.#allocator.withdrawBlock(cidr);
    if (held.length > 0) {
      this.#options.logger.error({ block: formatCidr(cidr), held }, "a block with addresses in use was taken away");
    }
    this.#options.onChange();
  }

  get ownBlocks(): { subnet: string; cidr: Cidr }[] {
    return [...this.#ownBlocks.values()];
  }

  /** Takes over what pods of this node hold already, and the node's own addresses. */
  restore(ports: Iterable<PodPort>, nodeAddresses: readonly Ip[]): void {
    const facts = [...ports].map((port) => ({
      owner: port.container,
      subnet: port.subnet,
      addresses: port.addresses,
      created: port.created,
    }));
    const subnet = this.#subnets.find((each) => each.isDefault)?.name ?? "";
    if (nodeAddresses.length > 0) facts.push({ owner: NODE_OWNER, subnet, addresses: [...nodeAddresses], created: 0 });
    for (const { address, holder, refused } of this.#allocator.restore(facts)) {
      this.#options.logger.error({ address, holder, refused }, "two pods of this node claim one address");
    }
  }

  /** The node's own addresses in the default subnet: the first of its first blocks. Empty until it owns blocks. */
  nodeAddresses(): readonly Ip[] {
    const held = this.#allocator.allocation(NODE_OWNER);
    if (held !== undefined) return held.addresses;
    const subnet = this.#defaultSubnet();
    if (subnet === undefined) return [];
    try {
      return this.#allocator.allocate(NODE_OWNER, subnet).addresses;
    } catch (error) {
      if (error instanceof IpamError) return [];
      throw error;
    }
  }

  gatewaysOf(subnet: string): readonly Ip[] {
    return this.#subnets.find((each) => each.name === subnet)?.families.map(({ gateway }) => gateway) ?? [];
  }

  async allocate(owner: { container: string }): Promise<PodAddressing> {
    const subnet = this.#defaultSubnet();
    if (subnet === undefined) {
      throw new AgentError(
        "AGENT_NO_SUBNET",
        "no Subnet is marked `default: true` and usable; create one, or see its Events when there is one",
      );
    }
    let allocation;
    try {
      allocation = this.#allocator.allocate(owner.container, subnet);
    } catch (error) {
      if (!(error instanceof IpamError) || !claimHelps.has(error.code)) throw error;
      await this.ensureBlocks();
      allocation = this.#allocator.allocate(owner.container, subnet);
    }
    if (this.#allocator.wanted().length > 0) void this.ensureBlocks().catch(() => {});
    return {
      addresses: allocation.addresses,
      subnet: subnet.name,
      gateways: allocation.addresses.map(
        (address) => subnet.families.find(({ family }) => family === ipFamily(address))!.gateway,
      ),
      mtu: this.#options.mtuOf(subnet),
    };
  }

  release(container: string): void {
    this.#allocator.release(container);
    this.#options.onChange();
  }

  /** Whether a pod of this node has an address inside. */
  holdsInside(cidr: Cidr): boolean {
    const allocations = [...this.#allocator.allocations()];
    return allocations.some(({ addresses }) => addresses.some((address) => cidrContains(cidr, address)));
  }

  /** Why pods cannot get addresses; undefined when they can. */
  get problem(): string | undefined {
    if (this.#defaultSubnet() === undefined) return "no usable default Subnet is known";
    if (this.#ownBlocks.size === 0) return this.#lastFailure ?? "this node owns no block of addresses yet";
    if (this.nodeAddresses().length === 0) return this.#lastFailure ?? "this node has no address of its own yet";
    return undefined;
  }

  /** Claims a block for every family of the default subnet that has none or runs low. One claim at a time. */
  ensureBlocks(): Promise<void> {
    this.#claiming ??= this.#claim().finally(() => {
      this.#claiming = undefined;
    });
    return this.#claiming;
  }

  usage(): { subnet: string; block: string; used: number; capacity: number }[] {
    const used = new Map<string, number>();
    for (const { addresses } of this.#allocator.allocations()) {
      for (const address of addresses) {
        const block = this.#blockOf(address);
        if (block !== undefined) used.set(block, (used.get(block) ?? 0) + 1);
      }
    }
    return [...this.#ownBlocks].map(([block, { subnet, cidr }]) => ({
      subnet,
      block,
      used: used.get(block) ?? 0,
      capacity: Number(1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length)),
    }));
  }

  #blockOf(address: Ip): string | undefined {
    for (const [name, { cidr }] of this.#ownBlocks) {
      if (cidr.family === ipFamily(address) && cidrContains(cidr, address)) return name;
    }
    return undefined;
  }

  #defaultSubnet(): Subnet | undefined {
    return this.#subnets.find((subnet) => subnet.isDefault);
  }

  #useBlock(subnetName: string, cidr: Cidr): void {
    const subnet = this.#subnets.find((each) => each.name === subnetName);
    if (subnet !== undefined) this.#allocator.addBlock(subnet, cidr);
  }

  async #claim(): Promise<void> {
    const subnet = this.#defaultSubnet();
    const node = this.#identity;
    if (subnet === undefined || node === undefined) return;
    for (const { family } of subnet.families) {
      const owned = this.ownBlocks.some((block) => block.subnet === subnet.name && block.cidr.family === family);
      const low = this.#allocator.wanted().some((want) => want.subnet === subnet.name && want.family === family);
      if (owned && !low) continue;
      try {
        const block = await claimBlock({ subnet, family, node, blocks: this.#allBlocks() }, this.#options.store);
        if (!isOwnBlock(block, node)) continue;
        this.#options.logger.info({ block: formatCidr(block.cidr), subnet: subnet.name }, "claimed a block");
        this.#lastFailure = undefined;
        this.addOwnBlock(subnet.name, block.cidr);
      } catch (error) {
        this.#lastFailure = error instanceof Error ? error.message : String(error);
        throw error;
      }
    }
  }
}

/** Refusals that another block mends. */
const claimHelps: ReadonlySet<string> = new Set(["IPAM_NO_BLOCK", "IPAM_NO_FREE_ADDRESS"]);
