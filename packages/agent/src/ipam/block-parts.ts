/** Blocks, parts of them that were given away, and blocks inside those: who decides about which address. */
import type { AddressBlock, SubnetFamily } from "@beyondfabric/kube/kinds";
import {
  cidrContains,
  cidrContainsCidr,
  cidrOf,
  cidrSize,
  cidrsOverlap,
  familyBits,
  formatCidr,
} from "@beyondfabric/packet";
import { ipFromBigInt, ipToBigInt } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";

/**
 * The block whose owner decides about an address: the widest around it, or, where that has lent the part, the widest
 * inside the part, and so on. Undefined when nobody does. Blocks that do not contain the address do not matter.
 */
export function blockAround<Block extends { readonly cidr: Cidr; readonly lent: readonly Cidr[] }>(
  blocks: Iterable<Block>,
  address: Ip,
): Block | undefined {
  const around = [...blocks].filter(({ cidr }) => cidrContains(cidr, address));
  let bound = -1;
  for (const block of around.toSorted((a, b) => a.cidr.length - b.cidr.length)) {
    if (block.cidr.length < bound) continue;
    const part = block.lent.find((each) => cidrContains(each, address));
    if (part === undefined) return block;
    bound = part.length;
  }
  return undefined;
}

/** How often a block can be halved until a part of it is lent: it bounds the search for a part, and for whom it belongs to. */
const MAX_HALVINGS = 6;

/** Length of the smallest parts of a subnet's blocks that are lent: no less than four addresses. */
export function longestPart({ family, blockLength }: Pick<SubnetFamily, "family" | "blockLength">): number {
  return Math.max(blockLength, Math.min(blockLength + MAX_HALVINGS, familyBits(family) - 2));
}

/** Every prefix that a block around the address can have, widest first: to read them by name is cheaper than to list. */
export function possibleBlocks(family: Pick<SubnetFamily, "family" | "blockLength">, address: Ip): Cidr[] {
  const count = longestPart(family) - family.blockLength + 1;
  return Array.from({ length: count }, (_, index) => cidrOf(address, family.blockLength + index));
}

/**
 * Every prefix that a block around or inside another one can have, itself left out: some dozens, however many blocks there
 * are in the cluster.
 */
export function possibleNeighbours(family: Pick<SubnetFamily, "family" | "blockLength">, block: Cidr): Cidr[] {
  const around = possibleBlocks(family, block.address).filter(({ length }) => length < block.length);
  const inside: Cidr[] = [];
  let parts: readonly Cidr[] = [block];
  for (let length = block.length; length < longestPart(family); length++) {
    parts = parts.flatMap(halves);
    inside.push(...parts);
  }
  return [...around, ...inside];
}

/** The widest prefixes that cover a block without what is lent of it, in ascending order. */
export function remainder(block: Cidr, lent: readonly Cidr[]): Cidr[] {
  const inside = lent.filter((part) => cidrsOverlap(part, block));
  if (inside.length === 0) return [block];
  if (inside.some((part) => cidrContainsCidr(part, block))) return [];
  return halves(block).flatMap((half) => remainder(half, inside));
}

/** Both halves of a prefix, the lower one first. */
export function halves({ family, address, length }: Cidr): [Cidr, Cidr] {
  const lower = cidrOf(address, length + 1);
  const upper = ipFromBigInt(ipToBigInt(address) + cidrSize(lower), family);
  return [lower, { family, address: upper, length: length + 1 }];
}

/** Whether a block has given away all of a prefix. */
export function isLent(block: Pick<AddressBlock, "lent">, cidr: Cidr): boolean {
  return block.lent.some((part) => cidrContainsCidr(part, cidr));
}

/** The widest blocks that lie within a prefix and are narrower: for whoever makes a block of it they are lent. */
export function partsOfOthers(blocks: readonly Pick<AddressBlock, "cidr">[], cidr: Cidr): Cidr[] {
  const inside = blocks.map((each) => each.cidr).filter((each) => each.length > cidr.length);
  const parts = inside.filter((each) => cidrContainsCidr(cidr, each));
  return parts.filter((part) => !parts.some((other) => other.length < part.length && cidrContainsCidr(other, part)));
}

/** Parts that were given away and that nobody has made a block of: whoever wants one may claim it. */
export function unclaimedParts(
  blocks: readonly AddressBlock[],
  wish: { readonly subnet: string; readonly family: IpFamily },
): Cidr[] {
  const ofWish = blocks.filter(({ subnet, cidr }) => subnet === wish.subnet && cidr.family === wish.family);
  const parts = new Map<string, Cidr>();
  for (const { lent } of ofWish) for (const part of lent) parts.set(formatCidr(part), part);
  for (const { cidr } of ofWish) parts.delete(formatCidr(cidr));
  return [...parts.values()];
}
