/**
 * Keeps this node in blocks: claims them before addresses run out, gives back those that nobody needs, lends parts to nodes
 * that find none, and grants what claims ask for inside them. What is to be done is decided in `ipam/`; here it is asked for,
 * now and then and when something changed.
 */
import type { AddressBlock, IpAddressRecord, Subnet } from "@beyondfabric/kube/kinds";
import { assignableIntervals, cidrInterval, clip, intervalsSize, subnetFamily } from "@beyondfabric/kube/kinds";
import { formatCidr, type Cidr, type IpFamily } from "@beyondfabric/packet";
import type { Allocator } from "../ipam/allocator.ts";
import { longestPart, remainder } from "../ipam/block-parts.ts";
import type { BlockStore, NodeIdentity } from "../ipam/blocks.ts";
import type { AddressStore } from "../ipam/claims.ts";
import { IpamError } from "../ipam/errors.ts";
import { Grants } from "../ipam/grants.ts";
import { IdleBlocks, Lender, partToLend, type BlockWish } from "../ipam/lending.ts";
import { OwnBlocks, type AddressMemory, type OwnBlock } from "../ipam/own-blocks.ts";
import type { Logger } from "../log.ts";

export interface BlockKeeperOptions {
  readonly node: NodeIdentity;
  readonly allocator: Allocator;
  readonly blocks: BlockStore;
  readonly addresses: AddressStore;
  /** The subnet of that name as it is now. */
  readonly subnet: (name: string) => Subnet | undefined;
  /** Subnets that still take pods. */
  readonly open: () => readonly Subnet[];
  /** Names of the subnets of which pods of this node, or the node itself, need addresses. */
  readonly needed: () => ReadonlySet<string>;
  /** Makes sure that the subnet does not vanish under what is about to be claimed. */
  readonly protect: (subnet: Subnet) => Promise<void>;
  readonly remember: (memory: AddressMemory) => Promise<void>;
  /** What the watches show. */
  readonly known: {
    readonly blocks: () => Iterable<AddressBlock>;
    readonly claims: () => Iterable<IpAddressRecord>;
    readonly wishes: () => readonly (BlockWish & { readonly nodeUid: string })[];
  };
  /** Whether one of this node's pods has an address inside. */
  readonly isAttached: (cidr: Cidr) => boolean;
  readonly logger: Logger;
  /** Milliseconds on a clock that does not go back. */
  readonly now: () => number;
  /** A block came, changed or went. */
  readonly onChange: () => void;
}

const lending = { stepMilliseconds: 3000 };
const idle = { idleMilliseconds: 60_000 };
/** Twice what asks for another block, so that one is not given back to be claimed again. */
const spareAddresses = 16n;

export class BlockKeeper {
  readonly own: OwnBlocks;
  readonly grants: Grants;
  readonly #options: BlockKeeperOptions;
  readonly #lender: Lender;
  readonly #idle = new IdleBlocks(idle);
  /** Why the last attempt for a subnet failed. */
  readonly #failures = new Map<string, string>();
  readonly #wishes = new Map<string, BlockWish>();
  readonly #acquiring = new Map<string, Promise<void>>();
  #ensuring: Promise<void> | undefined;
  #tending = false;
  #settling: Promise<void> | undefined;

  constructor(options: BlockKeeperOptions) {
    this.#options = options;
    const { node, allocator, blocks, addresses, subnet, remember } = options;
    this.own = new OwnBlocks({ node, allocator, blocks, addresses, subnet, remember });
    this.grants = new Grants({ node, allocator, blocks: this.own, store: addresses });
    this.#lender = new Lender(node, lending);
  }

  get node(): NodeIdentity {
    return this.#options.node;
  }

  /** Families of subnets that this node found no block of: told to the others on its Node object. */
  get wishes(): readonly BlockWish[] {
    return [...this.#wishes.values()];
  }

  failureOf(subnet: string): string | undefined {
    return this.#failures.get(subnet);
  }

  /** Claims a block for every needed subnet and family that has none or runs low. One round at a time. */
  ensure(): Promise<void> {
    this.#ensuring ??= this.#ensure().finally(() => {
      this.#ensuring = undefined;
    });
    return this.#ensuring;
  }

  /**
   * Claims what a pod of this subnet needs to get an address now.
   * @throws IpamError, or what the API server says
   */
  async require(subnet: Subnet): Promise<void> {
    for (const { family } of subnet.families) await this.#ensureFamily(subnet, family);
  }

  /** Everything that is not urgent, once every few seconds, with watches that are synced and connected. */
  async tend(): Promise<void> {
    if (this.#tending) return;
    this.#tending = true;
    try {
      const { known, isAttached, logger } = this.#options;
      const stranded = await this.own.sync(known.blocks(), isAttached);
      if (stranded.length > 0) logger.error({ stranded }, "blocks with addresses in use were taken away");
      await this.settle();
      await this.#giveBackIdle();
      await this.#answerWishes();
    } finally {
      this.#tending = false;
    }
  }

  /** Grants, refuses and lets go what claims inside the own blocks ask for. */
  settle(): Promise<void> {
    this.#settling ??= this.#settle().finally(() => {
      this.#settling = undefined;
    });
    return this.#settling;
  }

  async #settle(): Promise<void> {
    const due = this.grants.unsettled(this.#options.known.claims());
    for (const address of due) {
      const settlement = await this.grants.settle(address);
      if (settlement !== "nothing") this.#options.logger.debug({ address, settlement }, "looked at a claim");
    }
  }

  async #ensure(): Promise<void> {
    const needed = this.#options.needed();
    let failure: unknown;
    for (const subnet of this.#options.open()) {
      if (!needed.has(subnet.name)) continue;
      try {
        await this.require(subnet);
        this.#failures.delete(subnet.name);
      } catch (error) {
        // A subnet that is full must not keep the others from getting their blocks.
        failure ??= error;
        this.#failures.set(subnet.name, error instanceof Error ? error.message : String(error));
      }
    }
    for (const [key, { subnet }] of this.#wishes) if (!needed.has(subnet)) this.#wishes.delete(key);
    if (failure !== undefined) throw failure;
  }

  /** Pods that start together need one block, not one each. */
  #ensureFamily(subnet: Subnet, family: IpFamily): Promise<void> {
    const key = `${subnet.name}/${family}`;
    let acquiring = this.#acquiring.get(key);
    if (acquiring === undefined) {
      acquiring = this.#acquire(subnet, family, key).finally(() => this.#acquiring.delete(key));
      this.#acquiring.set(key, acquiring);
    }
    return acquiring;
  }

  async #acquire(subnet: Subnet, family: IpFamily, key: string): Promise<void> {
    const { allocator, known, logger, onChange, protect } = this.#options;
    const isOwner = this.own.list().some((block) => block.subnet === subnet.name && block.cidr.family === family);
    const isLow = allocator.wanted().some((want) => want.subnet === subnet.name && want.family === family);
    if (isOwner && !isLow) {
      this.#wishes.delete(key);
      return;
    }
    try {
      await protect(subnet);
      const block = await this.own.acquire(subnet, family, known.blocks());
      this.#wishes.delete(key);
      logger.info({ block: formatCidr(block.cidr), subnet: subnet.name }, "claimed a block");
      onChange();
    } catch (error) {
      if (error instanceof IpamError && error.code === "IPAM_SUBNET_EXHAUSTED") {
        this.#wishes.set(key, { subnet: subnet.name, family });
        // What is left may still do: whoever needs an address now will see.
        if (isOwner) return;
      }
      throw error;
    }
  }

  async #giveBackIdle(): Promise<void> {
    const { allocator, now, logger, onChange } = this.#options;
    const names = new Set(allocator.idleBlocks().map(formatCidr));
    const blocks = this.own.list().filter(({ cidr }) => names.has(formatCidr(cidr)));
    const open = new Set(this.#options.open().map(({ name }) => name));
    // A subnet that is on its way out waits for nothing but its blocks.
    const closing = blocks.filter(({ subnet }) => !open.has(subnet));
    const due = this.#idle.due(blocks, (block) => this.#isSpare(block), now());
    for (const block of new Set([...closing, ...due])) {
      await this.own.giveBack(block.cidr);
      logger.info({ block: formatCidr(block.cidr), subnet: block.subnet }, "gave a block back");
      onChange();
    }
  }

  /** Whether the node has enough of the subnet and family without the block. */
  #isSpare(block: OwnBlock): boolean {
    if (!this.#options.needed().has(block.subnet)) return true;
    const usage = this.#options.allocator
      .usage()
      .find(({ subnet, family }) => subnet === block.subnet && family === block.cidr.family);
    if (usage === undefined || usage.blocks < 2) return false;
    return usage.free - this.roomOf(block) >= spareAddresses;
  }

  /** Addresses that a block can hand out in all. */
  roomOf({ subnet: name, cidr, lent }: OwnBlock): bigint {
    const subnet = this.#options.subnet(name);
    const family = subnet === undefined ? undefined : subnetFamily(subnet, cidr.family);
    if (subnet === undefined || family === undefined) return 0n;
    const assignable = assignableIntervals(subnet, family);
    return remainder(cidr, lent).reduce((sum, part) => sum + intervalsSize(clip(assignable, cidrInterval(part))), 0n);
  }

  async #answerWishes(): Promise<void> {
    const { known, allocator, now, logger, onChange } = this.#options;
    for (const wish of this.#lender.due(known.wishes(), [...known.blocks()], now())) {
      const subnet = this.#options.subnet(wish.subnet);
      const family = subnet === undefined ? undefined : subnetFamily(subnet, wish.family);
      if (family === undefined) continue;
      for (const block of this.own.list()) {
        if (block.subnet !== wish.subnet || block.cidr.family !== wish.family) continue;
        const part = partToLend(block, longestPart(family), (each) => allocator.isIdle(each));
        if (part === undefined) continue;
        await this.own.lend(block.cidr, part);
        logger.info({ part: formatCidr(part), subnet: wish.subnet }, "gave a part of a block away");
        onChange();
        break;
      }
    }
  }
}
