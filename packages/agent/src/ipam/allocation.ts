/** What an allocator is told and what it tells: the words that it shares with those who ask it. */
import type { Ip, IpFamily } from "@beyondfabric/packet";

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

/** Figures of one family of one subnet on this node. `free + used + quarantined + reserved`
 * is `capacity` unless addresses are used that nobody gets without asking for them. */
export interface Usage {
  readonly subnet: string;
  readonly family: IpFamily;
  readonly blocks: number;
  readonly capacity: bigint;
  readonly used: number;
  readonly free: bigint;
  readonly quarantined: number;
  /** Kept for claims: addresses that only their claimants use. */
  readonly reserved: number;
}
