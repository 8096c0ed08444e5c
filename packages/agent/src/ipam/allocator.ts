/**
 * Addresses inside this node's own blocks, in memory: no API call stands between a pod and its address. What is in use is
 * restored from OVSDB when the agent starts, so this holds nothing that could be lost.
 */
import { familyBits, formatCidr, ipFamily, ipFromBigInt, ipToBigInt, PrefixMap } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import { assignableIntervals, cidrInterval, clip, intervalsContain, intervalsSize } from "@beyondfabric/kube/kinds";
import { ordinalOf, specificIntervals, subnetFamily, valueAt } from "@beyondfabric/kube/kinds";
import type { Interval, Subnet } from "@beyondfabric/kube/kinds";
import { familyMissing } from "./blocks.ts";
import { IpamError } from "./errors.ts";

/** Owner of the node's own gateway addresses (those of fabric0), which are the first that are allocated. */
export const NODE_OWNER = "node";

export interface AllocatorOptions {
  /** How long a released address rests before anybody else gets it, in milliseconds. */
  readonly quarantineMilliseconds: number;
  /**
   * With fewer free addresses than this in a subnet and family, or than a quarter of one of its blocks,
   * {@link Allocator.wanted} asks for another block.
   */
  readonly prefetchBelow: number;
  /** Milliseconds on a clock that does not go back. */
  readonly now: () => number;
}

/** What an owner holds: one address per family, in the order of the subnet's families. */
export interface Allocation {
  readonly owner: string;
  readonly subnet: string;
  readonly addresses: readonly Ip[];
}

/** An allocation as OVSDB remembers it. */
export interface AllocationFact extends Allocation {
  /** When it was made, in milliseconds since the epoch. */
  readonly created: number;
}

/** An address that two owners claim to hold; the older allocation keeps it. */
export interface RestoreConflict {
  readonly address: Ip;
  readonly holder: string;
  readonly refused: string;
}

/** Figures of one family of one subnet on this node. `free + used + quarantined` is `capacity` unless reserved ones are used. */
export interface Usage {
  readonly subnet: string;
  readonly family: IpFamily;
  readonly blocks: number;
  readonly capacity: bigint;
  readonly used: number;
  readonly free: bigint;
  readonly quarantined: number;
}

interface Block {
  readonly cidr: Cidr;
  /** What may be handed out of it; recomputed when the subnet changes. */
  assignable: readonly Interval[];
  size: bigint;
  /** Ordinal at which this life of the allocator began to hand out, and how many ordinals it has passed since. */
  start: bigint;
  passed: bigint;
}

interface Pool {
  subnet: Subnet;
  readonly family: IpFamily;
  readonly blocks: Block[];
  /** Released addresses with the time of their release, oldest first. */
  readonly resting: Map<Ip, number>;
}

/**
 * Every assignable address of the own blocks is in exactly one state: in use, resting, or untouched. Untouched ones go
 * first, in order; resting ones follow, the longest rested first. State changes are synchronous, so that two requests
 * can never see the same address free.
 */
export class Allocator {
  readonly #options: AllocatorOptions;
  readonly #pools = new Map<string, Pool>();
  readonly #byPrefix = new PrefixMap<{ pool: Pool; block: Block }>();
  readonly #holders = new Map<Ip, string>();
  readonly #allocations = new Map<string, Allocation>();
  /** Released before the block around them was known, as happens when the agent starts without the API server. */
  readonly #restingStrays = new Map<Ip, number>();

  constructor(options: AllocatorOptions) {
    this.#options = options;
  }

  /** Takes a block into use. Addresses in it that are in use already, because OVSDB said so, stay so. */
  addBlock(subnet: Subnet, cidr: Cidr): void {
    const pool = this.#poolFor(subnet, cidr.family);
    if (this.#byPrefix.get(cidr) !== undefined) return;
    const block: Block = { cidr, assignable: [], size: 0n, start: 0n, passed: 0n };
    pool.blocks.push(block);
    this.#byPrefix.set(cidr, { pool, block });
    this.#measure(pool, block);
    // The block's first address comes last: it is sound, but people take 10.244.1.0 for a network.
    block.start = block.size > 1n ? 1n : 0n;
    for (const [address, released] of this.#restingStrays) {
      if (this.#byPrefix.lookup(address)?.value.block !== block) continue;
      this.#restingStrays.delete(address);
      pool.resting.set(address, released);
    }
  }

  /**
   * Gives a block up.
   * @throws IpamError `IPAM_BLOCK_IN_USE` while an address of it is held or rests
   */
  removeBlock(cidr: Cidr): void {
    const found = this.#byPrefix.get(cidr);
    if (found === undefined) return;
    const busy = this.#busyAddress(found.pool, cidr);
    if (busy !== undefined) {
      throw new IpamError("IPAM_BLOCK_IN_USE", `block ${formatCidr(cidr)}: ${busy}; wait until nobody needs it`);
    }
    found.pool.blocks.splice(found.pool.blocks.indexOf(found.block), 1);
    this.#byPrefix.delete(cidr);
  }

  /**
   * Stops using a block that this node no longer owns, whatever is held of it: what is held stays held until it is
   * released, but nothing of the block is handed out from now on, because somebody else may.
   * @returns the addresses that are still held
   */
  withdrawBlock(cidr: Cidr): { readonly owner: string; readonly address: Ip }[] {
    const found = this.#byPrefix.get(cidr);
    if (found === undefined) return [];
    const isInside = (address: Ip): boolean => this.#byPrefix.lookup(address)?.value.block === found.block;
    const held = [...this.#holders]
      .filter(([address]) => isInside(address))
      .map(([address, owner]) => ({ owner, address }));
    for (const [address, released] of found.pool.resting) {
      if (!isInside(address)) continue;
      found.pool.resting.delete(address);
      this.#restingStrays.set(address, released);
    }
    found.pool.blocks.splice(found.pool.blocks.indexOf(found.block), 1);
    this.#byPrefix.delete(cidr);
    return held;
  }

  /** Blocks of which no address is in use or rests, so that they could be given back. */
  idleBlocks(): Cidr[] {
    const busy = new Set<Block>();
    const note = (address: Ip): void => {
      const found = this.#byPrefix.lookup(address);
      if (found !== undefined) busy.add(found.value.block);
    };
    for (const address of this.#holders.keys()) note(address);
    for (const pool of this.#pools.values()) {
      this.#forgetRested(pool);
      for (const address of pool.resting.keys()) note(address);
    }
    return [...this.#pools.values()].flatMap((pool) =>
      pool.blocks.filter((block) => !busy.has(block)).map((block) => block.cidr),
    );
  }

  /** Takes a changed Subnet to heart: what is excluded from now on is not handed out any more; who holds it keeps it. */
  updateSubnet(subnet: Subnet): void {
    for (const { family } of subnet.families) {
      const pool = this.#pools.get(poolKey(subnet.name, family));
      if (pool === undefined) continue;
      pool.subnet = subnet;
      for (const block of pool.blocks) this.#measure(pool, block);
    }
  }

  /**
   * Allocates one address of each family, or none at all. Asking again for an owner gives what it holds already.
   * @param families default: all of the subnet
   * @throws IpamError `IPAM_NO_BLOCK`, `IPAM_NO_FREE_ADDRESS`, `IPAM_FAMILY_MISSING`, `IPAM_OWNER_CONFLICT`
   */
  allocate(owner: string, subnet: Subnet, families?: readonly IpFamily[]): Allocation {
    const held = this.#allocations.get(owner);
    if (held !== undefined) return this.#again(held, subnet);
    const wanted = families ?? subnet.families.map((each) => each.family);
    // Choosing changes nothing, so that a family without a free address leaves the other untouched.
    const addresses = wanted.map((family) => this.#choose(subnet, family));
    return this.#hold(owner, subnet.name, addresses);
  }

  /**
   * Allocates these very addresses, at most one of each family, or none of them.
   * @throws IpamError `IPAM_ADDRESS_TAKEN`, `IPAM_ADDRESS_NOT_ASSIGNABLE`, `IPAM_NO_BLOCK`, `IPAM_OWNER_CONFLICT`
   */
  allocateSpecific(owner: string, subnet: Subnet, addresses: readonly Ip[], allow?: { reserved: boolean }): Allocation {
    const held = this.#allocations.get(owner);
    if (held !== undefined) {
      const isSame =
        held.addresses.length === addresses.length && addresses.every((each) => held.addresses.includes(each));
      if (isSame) return this.#again(held, subnet);
      throw ownerConflict(held);
    }
    for (const address of addresses) this.#checkSpecific(subnet, address, allow?.reserved ?? false);
    if (new Set(addresses.map(ipFamily)).size !== addresses.length) {
      throw new IpamError(
        "IPAM_ADDRESS_NOT_ASSIGNABLE",
        `${addresses.join(", ")}: two addresses of one family; ask for at most one of each`,
      );
    }
    return this.#hold(owner, subnet.name, addresses);
  }

  /** Gives an owner's addresses back to rest. Releasing what is not held changes nothing. */
  release(owner: string): readonly Ip[] {
    const held = this.#allocations.get(owner);
    if (held === undefined) return [];
    this.#allocations.delete(owner);
    for (const address of held.addresses) {
      this.#holders.delete(address);
      const resting = this.#byPrefix.lookup(address)?.value.pool.resting ?? this.#restingStrays;
      resting.set(address, this.#options.now());
    }
    return held.addresses;
  }

  /**
   * Takes over what was allocated before the agent started. Blocks may be added before or after. Where two owners claim
   * one address, the older allocation holds it, and the conflict is reported; nothing that anybody claims is handed out.
   */
  restore(facts: readonly AllocationFact[]): RestoreConflict[] {
    const conflicts: RestoreConflict[] = [];
    for (const { owner, subnet, addresses } of facts.toSorted((a, b) => a.created - b.created)) {
      const known = this.#allocations.get(owner);
      const own: Ip[] = [...(known?.addresses ?? [])];
      for (const address of addresses) {
        const holder = this.#holders.get(address);
        if (holder === owner) continue;
        if (holder === undefined) {
          this.#holders.set(address, owner);
          this.#forgetResting(address);
          own.push(address);
          this.#startBehind(address);
        } else {
          conflicts.push({ address, holder, refused: owner });
        }
      }
      this.#allocations.set(owner, { owner, subnet: known?.subnet ?? subnet, addresses: own });
    }
    return conflicts;
  }

  /** What an owner holds. */
  allocation(owner: string): Allocation | undefined {
    return this.#allocations.get(owner);
  }

  allocations(): Iterable<Allocation> {
    return this.#allocations.values();
  }

  /** Who holds an address. */
  holder(address: Ip): string | undefined {
    return this.#holders.get(address);
  }

  /** Held addresses that lie in no block of this node: left over from a block that was taken away. */
  strays(): { readonly owner: string; readonly address: Ip }[] {
    const strays: { owner: string; address: Ip }[] = [];
    for (const [address, owner] of this.#holders) {
      if (this.#byPrefix.lookup(address) === undefined) strays.push({ owner, address });
    }
    return strays;
  }

  usage(): Usage[] {
    const counts = this.#countUsed();
    return [...this.#pools.values()].map((pool) => {
      const { all, assignable } = counts.get(pool) ?? { all: 0, assignable: 0 };
      const capacity = pool.blocks.reduce((sum, block) => sum + block.size, 0n);
      const quarantined = this.#countResting(pool);
      const free = capacity - BigInt(assignable) - BigInt(quarantined);
      const { family, blocks, subnet } = pool;
      return { subnet: subnet.name, family, blocks: blocks.length, capacity, used: all, free, quarantined };
    });
  }

  /** Subnets and families that run low, so that a block can be claimed before a pod has to wait for one. */
  wanted(): { readonly subnet: string; readonly family: IpFamily }[] {
    return this.usage()
      .filter(({ subnet, family, free }) => free < this.#reserveOf(subnet, family))
      .map(({ subnet, family }) => ({ subnet, family }));
  }

  /** At most a quarter of a block: where blocks are tiny, a node must not claim one after the other for nothing. */
  #reserveOf(subnetName: string, family: IpFamily): bigint {
    const pool = this.#pools.get(poolKey(subnetName, family));
    const facts = pool === undefined ? undefined : subnetFamily(pool.subnet, family);
    const wanted = BigInt(this.#options.prefetchBelow);
    if (facts === undefined) return wanted;
    const quarter = (1n << BigInt(familyBits(family) - facts.blockLength)) / 4n;
    return quarter < wanted ? quarter : wanted;
  }

  #poolFor(subnet: Subnet, family: IpFamily): Pool {
    const key = poolKey(subnet.name, family);
    let pool = this.#pools.get(key);
    if (pool === undefined) this.#pools.set(key, (pool = { subnet, family, blocks: [], resting: new Map() }));
    return pool;
  }

  /** Recomputes what a block may hand out; what was passed is passed anew, which skips everything that is not free. */
  #measure(pool: Pool, block: Block): void {
    const family = subnetFamily(pool.subnet, pool.family);
    const assignable = family === undefined ? [] : assignableIntervals(pool.subnet, family);
    block.assignable = clip(assignable, cidrInterval(block.cidr));
    block.size = intervalsSize(block.assignable);
    block.start = block.size === 0n ? 0n : block.start % block.size;
    block.passed = 0n;
  }

  #hold(owner: string, subnet: string, addresses: readonly Ip[]): Allocation {
    for (const address of addresses) {
      this.#holders.set(address, owner);
      this.#forgetResting(address);
    }
    const allocation = { owner, subnet, addresses };
    this.#allocations.set(owner, allocation);
    return allocation;
  }

  #again(held: Allocation, subnet: Subnet): Allocation {
    if (held.subnet !== subnet.name) throw ownerConflict(held);
    return held;
  }

  #choose(subnet: Subnet, family: IpFamily): Ip {
    if (subnetFamily(subnet, family) === undefined) throw familyMissing(subnet, family);
    const pool = this.#pools.get(poolKey(subnet.name, family));
    if (pool === undefined || pool.blocks.length === 0) {
      throw new IpamError(
        "IPAM_NO_BLOCK",
        `Subnet ${subnet.name}: this node owns no IPv${family} block yet; it claims one as soon as the API server answers`,
      );
    }
    const address = this.#untouched(pool) ?? this.#rested(pool);
    if (address !== undefined) return address;
    const blocks = pool.blocks.map((block) => formatCidr(block.cidr)).join(", ");
    throw new IpamError(
      "IPAM_NO_FREE_ADDRESS",
      `Subnet ${subnet.name}: every address of this node's IPv${family} blocks (${blocks}) is in use or was released ` +
        `less than ${this.#options.quarantineMilliseconds} ms ago; the node claims another block, try again`,
    );
  }

  /** The next address that nobody has held since the agent started. Passes what is not free, but not the answer itself. */
  #untouched(pool: Pool): Ip | undefined {
    for (const block of pool.blocks) {
      for (; block.passed < block.size; block.passed++) {
        const value = valueAt(block.assignable, (block.start + block.passed) % block.size);
        const address = ipFromBigInt(value, pool.family);
        if (!this.#holders.has(address) && !pool.resting.has(address)) return address;
      }
    }
    return undefined;
  }

  /** The longest rested address that is rested enough. */
  #rested(pool: Pool): Ip | undefined {
    const latest = this.#options.now() - this.#options.quarantineMilliseconds;
    for (const [address, released] of pool.resting) {
      if (released > latest) return undefined;
      if (this.#isAssignable(address)) return address;
      pool.resting.delete(address);
    }
    return undefined;
  }

  #isAssignable(address: Ip): boolean {
    const found = this.#byPrefix.lookup(address);
    return found !== undefined && intervalsContain(found.value.block.assignable, ipToBigInt(address));
  }

  #checkSpecific(subnet: Subnet, address: Ip, isReservedAllowed: boolean): void {
    const holder = this.#holders.get(address);
    if (holder !== undefined) {
      throw new IpamError(
        "IPAM_ADDRESS_TAKEN",
        `address ${address} is held by ${holder}; choose another or delete the holder`,
      );
    }
    const found = this.#byPrefix.lookup(address)?.value;
    if (found === undefined || found.pool.subnet.name !== subnet.name) {
      throw new IpamError(
        "IPAM_NO_BLOCK",
        `address ${address} is in no block of Subnet ${subnet.name} that this node owns; run the pod on the node that owns it`,
      );
    }
    const family = subnetFamily(found.pool.subnet, found.pool.family);
    const intervals =
      !isReservedAllowed || family === undefined
        ? found.block.assignable
        : specificIntervals(found.pool.subnet, family);
    if (!intervalsContain(intervals, ipToBigInt(address))) {
      throw new IpamError(
        "IPAM_ADDRESS_NOT_ASSIGNABLE",
        `address ${address} of Subnet ${subnet.name} is its gateway or edge, excluded, reserved or outside of its ranges; choose another`,
      );
    }
    const released = found.pool.resting.get(address);
    if (released !== undefined && released > this.#options.now() - this.#options.quarantineMilliseconds) {
      throw new IpamError(
        "IPAM_ADDRESS_TAKEN",
        `address ${address} was released a moment ago and still rests; try again`,
      );
    }
  }

  #forgetResting(address: Ip): void {
    this.#byPrefix.lookup(address)?.value.pool.resting.delete(address);
    this.#restingStrays.delete(address);
  }

  /** Rested addresses of a block that is otherwise idle need no memory: they may be forgotten with the block. */
  #forgetRested(pool: Pool): void {
    const latest = this.#options.now() - this.#options.quarantineMilliseconds;
    const idle = new Set(pool.blocks);
    for (const address of this.#holders.keys()) {
      const found = this.#byPrefix.lookup(address);
      if (found !== undefined) idle.delete(found.value.block);
    }
    for (const [address, released] of pool.resting) {
      if (released > latest) return;
      const block = this.#byPrefix.lookup(address)?.value.block;
      if (block !== undefined && !idle.has(block)) continue;
      pool.resting.delete(address);
      if (block !== undefined) block.passed = 0n;
    }
  }

  #busyAddress(pool: Pool, cidr: Cidr): string | undefined {
    this.#forgetRested(pool);
    const bound = cidrInterval(cidr);
    const isInside = (address: Ip): boolean =>
      ipFamily(address) === cidr.family && intervalsContain([bound], ipToBigInt(address));
    for (const [address, owner] of this.#holders) if (isInside(address)) return `${address} is held by ${owner}`;
    for (const address of pool.resting.keys()) if (isInside(address)) return `${address} was released a moment ago`;
    return undefined;
  }

  /** After a restart, begin behind the newest allocation: what was released just before is then the last to be reused. */
  #startBehind(address: Ip): void {
    const block = this.#byPrefix.lookup(address)?.value.block;
    if (block === undefined || block.size === 0n) return;
    block.start = (ordinalOf(block.assignable, ipToBigInt(address)) + 1n) % block.size;
    block.passed = 0n;
  }

  #countUsed(): Map<Pool, { all: number; assignable: number }> {
    const counts = new Map<Pool, { all: number; assignable: number }>();
    for (const address of this.#holders.keys()) {
      const found = this.#byPrefix.lookup(address)?.value;
      if (found === undefined) continue;
      let count = counts.get(found.pool);
      if (count === undefined) counts.set(found.pool, (count = { all: 0, assignable: 0 }));
      count.all++;
      if (intervalsContain(found.block.assignable, ipToBigInt(address))) count.assignable++;
    }
    return counts;
  }

  #countResting(pool: Pool): number {
    const latest = this.#options.now() - this.#options.quarantineMilliseconds;
    let count = 0;
    for (const [address, released] of pool.resting) if (released > latest && this.#isAssignable(address)) count++;
    return count;
  }
}

function poolKey(subnet: string, family: IpFamily): string {
  return `${subnet}/${family}`;
}

function ownerConflict(held: Allocation): IpamError {
  return new IpamError(
    "IPAM_OWNER_CONFLICT",
    `${held.owner} holds ${held.addresses.join(", ")} of Subnet ${held.subnet} already; release it first`,
  );
}
