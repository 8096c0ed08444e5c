/**
 * Addresses inside this node's own blocks, in memory: no API call stands between a pod and its address. What is in use is
 * restored from OVSDB when the agent starts, so this holds nothing that could be lost.
 */
import { cidrContains, cidrContainsCidr, familyBits, formatCidr } from "@beyondfabric/packet";
import { ipFromBigInt, ipToBigInt, PrefixMap } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import { assignableIntervals, cidrInterval, clip, intervalsContain, intervalsSize } from "@beyondfabric/kube/kinds";
import { ordinalOf, subnetFamily, valueAt } from "@beyondfabric/kube/kinds";
import type { Interval, Subnet } from "@beyondfabric/kube/kinds";
import type { Allocation, AllocationFact, AllocatorOptions, RestoreConflict, Usage } from "./allocation.ts";
import { remainder } from "./block-parts.ts";
import { familyMissing } from "./blocks.ts";
import { IpamError } from "./errors.ts";

/** Owner of the node's own gateway addresses (those of fabric0), which are the first that are allocated. */
export const NODE_OWNER = "node";
/** Stands for the holder of a reserved address where a conflict is told. */
const CLAIM_OWNER = "a claim (IPAddress)";

interface Block {
  readonly cidr: Cidr;
  /** Parts that were given away. */
  lent: readonly Cidr[];
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
 * Every assignable address of the own blocks is in exactly one state: in use, reserved for a claim, resting, or untouched.
 * Untouched ones go first, in order; resting ones follow, the longest rested first. State changes are synchronous, so
 * that two requests can never see the same address free.
 */
export class Allocator {
  readonly #options: AllocatorOptions;
  readonly #pools = new Map<string, Pool>();
  readonly #byPrefix = new PrefixMap<{ pool: Pool; block: Block }>();
  readonly #holders = new Map<Ip, string>();
  readonly #allocations = new Map<string, Allocation>();
  /** Addresses with a claim, blocks known or not: nobody gets them as ordinary ones. Which reservation it is counts up. */
  readonly #reserved = new Map<Ip, number>();
  #reservations = 0;
  /** Released before the block around them was known, as happens when the agent starts without the API server. */
  readonly #restingStrays = new Map<Ip, number>();

  constructor(options: AllocatorOptions) {
    this.#options = options;
  }

  /** Takes a block into use, without what is lent of it. What is in use or reserved in it already stays so. */
  addBlock(subnet: Subnet, cidr: Cidr, lent: readonly Cidr[] = []): void {
    const pool = this.#poolFor(subnet, cidr.family);
    if (this.#byPrefix.get(cidr) !== undefined) return;
    const block: Block = { cidr, lent, assignable: [], size: 0n, start: 0n, passed: 0n };
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
    this.#forgetRested(found.pool);
    const busy = this.#busyAddress(found.pool, cidr, -Infinity);
    if (busy !== undefined) {
      throw new IpamError("IPAM_BLOCK_IN_USE", `block ${formatCidr(cidr)}: ${busy}; wait until nobody needs it`);
    }
    found.pool.blocks.splice(found.pool.blocks.indexOf(found.block), 1);
    this.#byPrefix.delete(cidr);
  }

  /**
   * Gives a part of a block away: nothing of it is handed out from now on.
   * @throws IpamError `IPAM_BLOCK_IN_USE` while an address of it is held, reserved or rests
   */
  lendPart(cidr: Cidr, part: Cidr): void {
    const found = this.#byPrefix.get(cidr);
    if (found === undefined || found.block.lent.some((each) => cidrContainsCidr(each, part))) return;
    const busy = this.#busyAddress(found.pool, part, this.#latestRested());
    if (busy !== undefined) {
      throw new IpamError("IPAM_BLOCK_IN_USE", `part ${formatCidr(part)}: ${busy}; lend another one`);
    }
    for (const address of found.pool.resting.keys()) {
      if (cidrContains(part, address)) found.pool.resting.delete(address);
    }
    found.block.lent = [...found.block.lent, part];
    this.#measure(found.pool, found.block);
  }

  /** Whether no address of a part is held or reserved, or rests. */
  isIdle(part: Cidr): boolean {
    const pool = this.#byPrefix.lookup(part.address)?.value.pool;
    return pool !== undefined && this.#busyAddress(pool, part, this.#latestRested()) === undefined;
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
    for (const address of this.#reserved.keys()) note(address);
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
   * Lets an owner have addresses of another subnet instead of those that it holds, which go to rest; or nothing happens.
   * @throws IpamError `IPAM_NO_BLOCK`, `IPAM_NO_FREE_ADDRESS`
   */
  move(owner: string, subnet: Subnet): Allocation {
    const addresses = subnet.families.map(({ family }) => this.#choose(subnet, family));
    this.release(owner);
    return this.#hold(owner, subnet.name, addresses);
  }

  /** Gives an owner's addresses back to rest. Releasing what is not held changes nothing. */
  release(owner: string): readonly Ip[] {
    const held = this.#allocations.get(owner);
    if (held === undefined) return [];
    this.#allocations.delete(owner);
    for (const address of held.addresses) {
      this.#holders.delete(address);
      this.#rest(address);
    }
    return held.addresses;
  }

  /**
   * Keeps an address for a claim, whether its block is known or not, and whether it rests or not: who claims an address
   * by name takes it over as it is.
   * @returns who holds it as an ordinary address, and then it is not reserved
   */
  reserve(address: Ip): string | undefined {
    const holder = this.#holders.get(address);
    if (holder !== undefined) return holder;
    this.#reserved.set(address, ++this.#reservations);
    this.#forgetResting(address);
    return undefined;
  }

  /**
   * Reserves the address that would be handed out next.
   * @throws IpamError `IPAM_NO_BLOCK`, `IPAM_NO_FREE_ADDRESS`, `IPAM_FAMILY_MISSING`
   */
  reserveNext(subnet: Subnet, family: IpFamily): Ip {
    const address = this.#choose(subnet, family);
    this.reserve(address);
    return address;
  }

  /** Lets a reserved address go to rest; one that is not reserved stays as it is. */
  unreserve(address: Ip): void {
    if (this.#reserved.delete(address)) this.#rest(address);
  }

  /** Tells one reservation of an address from the next; undefined when it is not reserved. */
  reservation(address: Ip): number | undefined {
    return this.#reserved.get(address);
  }

  /** Addresses that are reserved. */
  reservations(): Iterable<Ip> {
    return this.#reserved.keys();
  }

  /**
   * Takes over what was allocated before the agent started. Blocks may be added before or after. Where two owners claim
   * one address, the older allocation holds it, and the conflict is reported; nothing that anybody claims is handed out.
   * What was reserved goes to {@link reserve} before; the facts are about ordinary addresses only.
   */
  restore(facts: readonly AllocationFact[]): RestoreConflict[] {
    const conflicts: RestoreConflict[] = [];
    for (const { owner, subnet, addresses } of facts.toSorted((a, b) => a.created - b.created)) {
      const known = this.#allocations.get(owner);
      const own: Ip[] = [...(known?.addresses ?? [])];
      for (const address of addresses) {
        const holder = this.#reserved.has(address) ? CLAIM_OWNER : this.#holders.get(address);
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
      const { all, assignable, reserved } = counts.get(pool) ?? { all: 0, assignable: 0, reserved: 0 };
      const capacity = pool.blocks.reduce((sum, block) => sum + block.size, 0n);
      const quarantined = this.#countResting(pool);
      const free = capacity - BigInt(assignable) - BigInt(quarantined) - BigInt(reserved);
      const { family, blocks, subnet } = pool;
      return { subnet: subnet.name, family, blocks: blocks.length, capacity, used: all, free, quarantined, reserved };
    });
  }

  /** Subnets and families that run low, so that a block can be claimed before a pod has to wait for one. */
  wanted(): { readonly subnet: string; readonly family: IpFamily }[] {
    return this.usage()
      .filter(({ subnet, family, free }) => free < this.#reserveOf(subnet, family))
      .map(({ subnet, family }) => ({ subnet, family }));
  }

  /** Whether enough is free without a block that is idle; the last block of a family is never spared. */
  canSpare(cidr: Cidr): boolean {
    const found = this.#byPrefix.get(cidr);
    if (found === undefined || found.pool.blocks.length < 2) return false;
    const { subnet, family } = found.pool;
    const usage = this.usage().find((each) => each.subnet === subnet.name && each.family === family);
    return usage !== undefined && usage.free - found.block.size >= this.#reserveOf(subnet.name, family);
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
    block.assignable = remainder(block.cidr, block.lent).flatMap((left) => clip(assignable, cidrInterval(left)));
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
        if (!this.#holders.has(address) && !this.#reserved.has(address) && !pool.resting.has(address)) return address;
      }
    }
    return undefined;
  }

  /** The longest rested address that is rested enough. */
  #rested(pool: Pool): Ip | undefined {
    const latest = this.#latestRested();
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

  #rest(address: Ip): void {
    const resting = this.#byPrefix.lookup(address)?.value.pool.resting ?? this.#restingStrays;
    resting.set(address, this.#options.now());
  }

  #forgetResting(address: Ip): void {
    this.#byPrefix.lookup(address)?.value.pool.resting.delete(address);
    this.#restingStrays.delete(address);
  }

  /** Rested addresses of a block that is otherwise idle need no memory: they may be forgotten with the block. */
  #forgetRested(pool: Pool): void {
    const latest = this.#latestRested();
    const idle = new Set(pool.blocks);
    for (const address of [...this.#holders.keys(), ...this.#reserved.keys()]) {
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

  /** Why a prefix is not idle: whoever was released after `latestRested` still rests. */
  #busyAddress(pool: Pool, cidr: Cidr, latestRested: number): string | undefined {
    for (const [address, owner] of this.#holders) {
      if (cidrContains(cidr, address)) return `${address} is held by ${owner}`;
    }
    for (const address of this.#reserved.keys())
      if (cidrContains(cidr, address)) return `${address} is kept for a claim`;
    for (const [address, released] of pool.resting) {
      if (released > latestRested && cidrContains(cidr, address)) return `${address} was released a moment ago`;
    }
    return undefined;
  }

  #latestRested(): number {
    return this.#options.now() - this.#options.quarantineMilliseconds;
  }

  /** After a restart, begin behind the newest allocation: what was released just before is then the last to be reused. */
  #startBehind(address: Ip): void {
    const block = this.#byPrefix.lookup(address)?.value.block;
    if (block === undefined || block.size === 0n) return;
    block.start = (ordinalOf(block.assignable, ipToBigInt(address)) + 1n) % block.size;
    block.passed = 0n;
  }

  #countUsed(): Map<Pool, { all: number; assignable: number; reserved: number }> {
    const counts = new Map<Pool, { all: number; assignable: number; reserved: number }>();
    const countIn = (address: Ip, isHeld: boolean): void => {
      const found = this.#byPrefix.lookup(address)?.value;
      if (found === undefined) return;
      let count = counts.get(found.pool);
      if (count === undefined) counts.set(found.pool, (count = { all: 0, assignable: 0, reserved: 0 }));
      const isAssignable = intervalsContain(found.block.assignable, ipToBigInt(address));
      if (isHeld) count.all++;
      if (isAssignable) count[isHeld ? "assignable" : "reserved"]++;
    };
    for (const address of this.#holders.keys()) countIn(address, true);
    for (const address of this.#reserved.keys()) countIn(address, false);
    return counts;
  }

  #countResting(pool: Pool): number {
    const latest = this.#latestRested();
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
