/**
 * How a node without a free block gets a part of somebody else's. It writes its wish where everybody sees it; the owner
 * of an idle part with most room answers first, the next in line a step later; only the owner gives a part away.
 * Only decisions are here; `own-blocks.ts` does what they say.
 */
import { cidrSize, formatCidr } from "@beyondfabric/packet";
import type { Cidr, IpFamily } from "@beyondfabric/packet";
import type { AddressBlock } from "@beyondfabric/kube/kinds";
import { halves, remainder, unclaimedParts } from "./block-parts.ts";
import type { NodeIdentity } from "./blocks.ts";
import { digest } from "./hash.ts";

/** Annotation of a Node whose agent wants a block and finds none: `subnet/4`, separated by commas. */
export const WANTS_BLOCK_ANNOTATION = "beyondfabric.io/wants-block";

/** A family of a subnet that a node wants a block of. */
export interface BlockWish {
  readonly subnet: string;
  readonly family: IpFamily;
}

/** More than this a node cannot wish for at once; what an annotation says beyond it is not read. */
const MAX_WISHES = 16;
/** Longest text that is read: so many of the longest names of objects. */
const MAX_WISH_TEXT = MAX_WISHES * 256;

/** The annotation's value; undefined when there is nothing to wish for. */
export function formatWishes(wishes: readonly BlockWish[]): string | undefined {
  if (wishes.length === 0) return undefined;
  const texts = wishes.map(({ subnet, family }) => `${subnet}/${family}`);
  return texts.sort().slice(0, MAX_WISHES).join(",");
}

/** Reads the annotation of any node; what is no wish is left out. */
export function parseWishes(text: string | undefined): BlockWish[] {
  if (text === undefined || text.length > MAX_WISH_TEXT) return [];
  const wishes: BlockWish[] = [];
  for (const each of text.split(",", MAX_WISHES)) {
    const match = /^([a-z0-9][-a-z0-9.]{0,252})\/([46])$/.exec(each);
    if (match !== null) wishes.push({ subnet: match[1]!, family: match[2] === "4" ? 4 : 6 });
  }
  return wishes;
}

/**
 * The largest idle part that a block can do without: never all that is left of it. Upper halves go first, because addresses
 * are handed out from below.
 * @param longest length of the smallest part, as {@link longestPart} says
 */
export function partToLend(
  block: { readonly cidr: Cidr; readonly lent: readonly Cidr[] },
  longest: number,
  isIdle: (part: Cidr) => boolean,
): Cidr | undefined {
  const left = remainder(block.cidr, block.lent);
  let row = left.length > 1 ? left : left.flatMap(halves);
  while (row.length > 0) {
    const shortest = Math.min(...row.map((part) => part.length));
    if (shortest > longest) return undefined;
    const widest = row.filter((part) => part.length === shortest);
    const idle = widest.toReversed().find(isIdle);
    if (idle !== undefined) return idle;
    row = [...row.filter((part) => part.length > shortest), ...widest.flatMap(halves)];
  }
  return undefined;
}

export interface LenderOptions {
  /** How much longer each next in line waits, in milliseconds; it covers for agents that do not run or cannot lend. */
  readonly stepMilliseconds: number;
}

/** Remembers since when each wish of another node stands, and says which of them this node shall answer now. */
export class Lender {
  readonly #self: NodeIdentity;
  readonly #options: LenderOptions;
  readonly #since = new Map<string, number>();

  constructor(self: NodeIdentity, options: LenderOptions) {
    this.#self = self;
    this.#options = options;
  }

  /**
   * Wishes to answer, each once per subnet and family. To be called with synced caches, now and then.
   * @param wishes of all nodes
   * @param blocks of all nodes
   * @param now milliseconds on any clock that does not go back
   */
  due(
    wishes: readonly (BlockWish & { readonly nodeUid: string })[],
    blocks: readonly AddressBlock[],
    now: number,
  ): BlockWish[] {
    const due = new Map<string, BlockWish>();
    const standing = new Set<string>();
    for (const { nodeUid, subnet, family } of wishes) {
      const wish = `${subnet}/${family}`;
      const key = `${nodeUid}/${wish}`;
      if (nodeUid === this.#self.uid || standing.has(key)) continue;
      standing.add(key);
      const since = this.#since.get(key);
      if (since === undefined) this.#since.set(key, now);
      if (due.has(wish) || unclaimedParts(blocks, { subnet, family }).length > 0) continue;
      const place = this.#place(blocks.filter((each) => each.subnet === subnet && each.cidr.family === family));
      if (place >= 0 && now - (since ?? now) >= place * this.#options.stepMilliseconds) {
        due.set(wish, { subnet, family });
      }
    }
    for (const key of this.#since.keys()) if (!standing.has(key)) this.#since.delete(key);
    return [...due.values()];
  }

  /** By the room that blocks published, most first; -1 without a block. */
  #place(blocks: readonly AddressBlock[]): number {
    const rooms = new Map<string, bigint>();
    for (const { nodeUid, cidr, lent, used } of blocks) {
      const size = remainder(cidr, lent).reduce((sum, part) => sum + cidrSize(part), 0n);
      rooms.set(nodeUid, (rooms.get(nodeUid) ?? 0n) + size - BigInt(used ?? 0));
    }
    const own = rooms.get(this.#self.uid);
    if (own === undefined) return -1;
    const ownDigest = digest(this.#self.uid);
    const isBefore = (uid: string, room: bigint): boolean => (room === own ? digest(uid) > ownDigest : room > own);
    return [...rooms].filter(([uid, room]) => uid !== this.#self.uid && isBefore(uid, room)).length;
  }
}

export interface IdleBlocksOptions {
  /** How long a block must have been idle before it goes back, in milliseconds. */
  readonly idleMilliseconds: number;
}

/** Remembers since when each own block has been idle, and says which go back. */
export class IdleBlocks {
  readonly #options: IdleBlocksOptions;
  readonly #since = new Map<string, number>();

  constructor(options: IdleBlocksOptions) {
    this.#options = options;
  }

  /**
   * Idle blocks to give back now, at most one per subnet and family: whether another one can be spared is seen when this
   * one is gone.
   * @param idle as the allocator says
   * @param spares whether the node has enough of the subnet and family without the block
   * @param now milliseconds on any clock that does not go back
   */
  due<Block extends { readonly subnet: string; readonly cidr: Cidr }>(
    idle: readonly Block[],
    spares: (block: Block) => boolean,
    now: number,
  ): Block[] {
    const names = new Set(idle.map(({ cidr }) => formatCidr(cidr)));
    for (const name of this.#since.keys()) if (!names.has(name)) this.#since.delete(name);
    const due = new Map<string, Block>();
    for (const block of idle) {
      const name = formatCidr(block.cidr);
      const since = this.#since.get(name);
      if (since === undefined) this.#since.set(name, now);
      else if (now - since >= this.#options.idleMilliseconds && spares(block)) {
        due.set(`${block.subnet}/${block.cidr.family}`, block);
      }
    }
    return [...due.values()];
  }
}
