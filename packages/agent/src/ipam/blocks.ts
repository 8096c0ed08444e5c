/**
 * How a node comes to own blocks of an overlay subnet: creating the AddressBlock named after the block is the claim, and
 * the API server lets only one node succeed. Nothing here talks to the API itself; a {@link BlockStore} does.
 */
import { addressBlockManifest, addressBlockName, MAX_LENT, OverlapIndex, subnetFamily } from "@beyondfabric/kube/kinds";
import { assignableIntervals, blockIndices, cidrInterval, clip, intervalsSize } from "@beyondfabric/kube/kinds";
import { ordinalOf, valueAt } from "@beyondfabric/kube/kinds";
import type { AddressBlock, AddressBlockManifest, Subnet, SubnetFamily } from "@beyondfabric/kube/kinds";
import { cidrContainsCidr, cidrOf, familyBits, formatCidr, ipFromBigInt, ipToBigInt } from "@beyondfabric/packet";
import type { Cidr, IpFamily } from "@beyondfabric/packet";
import { blockAround, isLent, partsOfOthers, remainder, unclaimedParts } from "./block-parts.ts";
import { IpamError } from "./errors.ts";
import { digest, hash64 } from "./hash.ts";

/** A Node object: one that is created anew under the same name has another UID, and owns nothing of the former's. */
export interface NodeIdentity {
  readonly name: string;
  readonly uid: string;
}

/** What claiming and releasing ask of the API. Failures other than those named are thrown. */
export interface BlockStore {
  /** Creates the object; undefined when one of that name exists (409 AlreadyExists). */
  create(manifest: AddressBlockManifest): Promise<AddressBlock | undefined>;
  /** Reads it from the API server, not from a cache; undefined when there is none. */
  get(name: string): Promise<AddressBlock | undefined>;
  /** Those of these that exist, each read like that, one after the other perhaps. */
  existing(names: readonly string[]): Promise<readonly AddressBlock[]>;
  /** Writes what is lent if UID and resourceVersion are still those of `block`; undefined when they are not, or it is gone. */
  lend(block: AddressBlock, lent: readonly Cidr[]): Promise<AddressBlock | undefined>;
  /** Deletes it if UID and resourceVersion are still those of `block`; false when they are not, or it is gone. */
  delete(block: AddressBlock): Promise<boolean>;
}

export function isOwnBlock(block: AddressBlock, node: NodeIdentity): boolean {
  return block.nodeUid === node.uid;
}

/** Addresses that a family of a subnet can hand out in all. */
export function subnetCapacity(subnet: Subnet, family: SubnetFamily): bigint {
  return intervalsSize(assignableIntervals(subnet, family));
}

/**
 * Free blocks in the order in which this node tries them: from a start that its UID chooses, so that nodes that begin at
 * the same moment rarely meet, upwards and around the end, each block once. Blocks without a single assignable address
 * are left out.
 */
export function* candidateBlocks(
  subnet: Subnet,
  family: SubnetFamily,
  taken: Pick<OverlapIndex<Cidr>, "find">,
  node: NodeIdentity,
): Generator<Cidr> {
  const indices = blockIndices(assignableIntervals(subnet, family), family);
  const count = intervalsSize(indices);
  if (count === 0n) return;
  const base = ipToBigInt(family.cidr.address);
  const size = 1n << BigInt(familyBits(family.family) - family.blockLength);
  const start = hash64(`${node.uid}/${subnet.name}/${family.family}`) % count;
  for (let step = 0n; step < count; step++) {
    const ordinal = (start + step) % count;
    const index = valueAt(indices, ordinal);
    const address = ipFromBigInt(base + index * size, family.family);
    const block: Cidr = { family: family.family, address, length: family.blockLength };
    const other = taken.find(block);
    if (other === undefined) {
      yield block;
    } else if (other.length < block.length) {
      // A claim that is wider than our blocks is walked over in one step.
      const lastCovered = (cidrInterval(other).last - base) / size;
      step += ordinalOf(indices, lastCovered + 1n) - ordinal - 1n;
    }
  }
}

/** A block to try, and what of it belongs to others already. */
export interface BlockCandidate {
  readonly cidr: Cidr;
  readonly lent: readonly Cidr[];
}

/**
 * What is left when no whole block is free, in an order that the node's UID chooses: parts that were given away and that
 * nobody has taken, and blocks of which others own parts from the time of an earlier owner.
 */
export function brokenBlocks(
  subnet: Subnet,
  family: SubnetFamily,
  blocks: readonly AddressBlock[],
  node: NodeIdentity,
): BlockCandidate[] {
  const ofFamily = blocks.filter((each) => each.subnet === subnet.name && each.cidr.family === family.family);
  const wanted = new Map<string, Cidr>();
  for (const part of unclaimedParts(ofFamily, { subnet: subnet.name, family: family.family })) {
    wanted.set(addressBlockName(part), part);
  }
  for (const { cidr } of ofFamily) {
    if (cidr.length <= family.blockLength) continue;
    const whole = cidrOf(cidr.address, family.blockLength);
    if (blockAround(ofFamily, whole.address) === undefined) wanted.set(addressBlockName(whole), whole);
  }
  const assignable = assignableIntervals(subnet, family);
  const candidates: BlockCandidate[] = [];
  for (const cidr of wanted.values()) {
    if (ofFamily.some((each) => cidrContainsCidr(each.cidr, cidr) && !isLent(each, cidr))) continue;
    const lent = partsOfOthers(ofFamily, cidr);
    const left = remainder(cidr, lent).flatMap((part) => clip(assignable, cidrInterval(part)));
    if (left.length > 0 && lent.length <= MAX_LENT) candidates.push({ cidr, lent });
  }
  const rank = new Map(candidates.map(({ cidr }) => [cidr, digest(`${addressBlockName(cidr)}/${node.uid}`)]));
  return candidates.sort((a, b) => (rank.get(a.cidr)! < rank.get(b.cidr)! ? -1 : 1));
}

export interface BlockRequest {
  readonly subnet: Subnet;
  readonly family: IpFamily;
  readonly node: NodeIdentity;
  /** All blocks that are known, of all nodes; the view may be late, but it has those that this node uses. */
  readonly blocks: Iterable<AddressBlock>;
  /** Claims lost to other nodes before giving up. Default 64: the view is then hopelessly late. */
  readonly maxAttempts?: number;
}

/**
 * Claims one more block. One that this node claimed before and does not know of, because the answer or the agent got
 * lost, is made anew rather than kept: a request to delete it may still be on its way, but names the former UID.
 * @throws IpamError `IPAM_FAMILY_MISSING`, `IPAM_SUBNET_EXHAUSTED`, `IPAM_CLAIM_CONTENDED`; whatever the store throws
 */
export async function claimBlock(
  request: BlockRequest,
  store: Pick<BlockStore, "create" | "get" | "delete">,
): Promise<AddressBlock> {
  const { subnet, node, maxAttempts = 64 } = request;
  const family = subnetFamily(subnet, request.family);
  if (family === undefined) throw familyMissing(subnet, request.family);
  const blocks = [...request.blocks];
  const taken = new OverlapIndex<Cidr>();
  for (const { cidr } of blocks) taken.add(cidr, cidr);
  let attempts = 0;
  for (const { cidr, lent } of allCandidates(subnet, family, taken, blocks, node)) {
    if (++attempts > maxAttempts) {
      throw new IpamError(
        "IPAM_CLAIM_CONTENDED",
        `Subnet ${subnet.name}: ${maxAttempts} blocks of ${formatCidr(family.cidr)} were all taken by other nodes first; try again in a moment`,
      );
    }
    const manifest = addressBlockManifest(subnet.name, cidr, node, lent);
    const created = await store.create(manifest);
    if (created !== undefined) return created;
    const existing = await store.get(addressBlockName(cidr));
    if (existing === undefined || !isOwnBlock(existing, node)) continue;
    const anew = (await store.delete(existing)) ? await store.create(manifest) : undefined;
    if (anew !== undefined) return anew;
  }
  throw exhausted(subnet, family);
}

function* allCandidates(
  subnet: Subnet,
  family: SubnetFamily,
  taken: Pick<OverlapIndex<Cidr>, "find">,
  blocks: readonly AddressBlock[],
  node: NodeIdentity,
): Generator<BlockCandidate> {
  for (const cidr of candidateBlocks(subnet, family, taken, node)) yield { cidr, lent: [] };
  yield* brokenBlocks(subnet, family, blocks, node);
}

export function familyMissing(subnet: Subnet, family: IpFamily): IpamError {
  const cidrs = subnet.families.map((each) => formatCidr(each.cidr)).join(" and ");
  return new IpamError(
    "IPAM_FAMILY_MISSING",
    `Subnet ${subnet.name} has no IPv${family} addresses, only ${cidrs}; choose a subnet that has`,
  );
}

function exhausted(subnet: Subnet, family: SubnetFamily): IpamError {
  const blocks = intervalsSize(blockIndices(assignableIntervals(subnet, family), family));
  return new IpamError(
    "IPAM_SUBNET_EXHAUSTED",
    `Subnet ${subnet.name}: all ${blocks} blocks (/${family.blockLength}) of ${formatCidr(family.cidr)}, ` +
      `${subnetCapacity(subnet, family)} addresses, are claimed; wait until a node lends a part of its own, add a Subnet, or delete the Nodes that are gone ` +
      `(kubectl get addressblocks shows who owns what)`,
  );
}
