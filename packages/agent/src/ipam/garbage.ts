/**
 * Blocks of nodes that are gone. There is no leader: rendezvous hashing over the live nodes says who looks after a block
 * first, who next if that one does not, and deleting with the UID and resourceVersion that were judged decides. Under
 * partition a leak is preferred to a duplicate: a block returns only when its Node object is gone, and its pods with it.
 * Where a Node was made anew under the same name its pods may run on: only that node, which sees them, judges then.
 */
import type { AddressBlock } from "@beyondfabric/kube/kinds";
import { cidrContains } from "@beyondfabric/packet";
import type { Cidr, Ip } from "@beyondfabric/packet";
import type { BlockStore, NodeIdentity } from "./blocks.ts";
import { digest } from "./hash.ts";

export interface BlockGarbageOptions {
  /** How long a block must have been without its node before the first in line looks, in milliseconds. */
  readonly graceMilliseconds: number;
  /** How much longer each next in line waits, in milliseconds; it covers for agents that do not run. */
  readonly stepMilliseconds: number;
}

/**
 * A node's place in line for a block among the live nodes: 0 looks first. The same on every node; -1 when the node is not
 * among them. Linear in the number of nodes.
 */
export function placeInLine(blockName: string, node: NodeIdentity, nodes: readonly NodeIdentity[]): number {
  const own = digest(`${blockName}/${node.uid}`);
  let place = 0;
  let isLive = false;
  for (const { uid } of nodes) {
    if (uid === node.uid) isLive = true;
    else if (digest(`${blockName}/${uid}`) > own) place++;
  }
  return isLive ? place : -1;
}

interface Orphan {
  readonly since: number;
  /** Worked out once: a line that changed meanwhile delays the release at worst, since deleting is conditional. */
  place: number | undefined;
}

/** Digests that places may cost per call, some 50 ms of the event loop. */
const MAX_DIGESTS_PER_CALL = 50_000;

/** Places in line to work out per call: with thousands of nodes each takes milliseconds, with few next to nothing. */
export function placesPerCall(nodes: number): number {
  return Math.max(1, Math.floor(MAX_DIGESTS_PER_CALL / Math.max(1, nodes)));
}

/** Remembers since when each block has been without its node. {@link releaseOrphan} makes sure. */
export class BlockGarbage {
  readonly #self: NodeIdentity;
  readonly #options: BlockGarbageOptions;
  readonly #orphans = new Map<string, Orphan>();

  constructor(self: NodeIdentity, options: BlockGarbageOptions) {
    this.#self = self;
    this.#options = options;
  }

  /**
   * Blocks that this node shall release now. To be called with synced caches, now and then; `now` is in milliseconds on
   * any clock that does not go back. A view of the nodes that lacks this node itself is not believed.
   */
  due(blocks: Iterable<AddressBlock>, nodes: readonly NodeIdentity[], now: number): AddressBlock[] {
    const live = new Set(nodes.map((node) => node.uid));
    if (!live.has(this.#self.uid)) return [];
    const others = new Set(nodes.filter(({ uid }) => uid !== this.#self.uid).map(({ name }) => name));
    const orphans = new Map<string, AddressBlock>();
    for (const block of blocks) {
      if (!live.has(block.nodeUid) && !others.has(block.node)) orphans.set(block.uid, block);
    }
    for (const uid of this.#orphans.keys()) if (!orphans.has(uid)) this.#orphans.delete(uid);
    const due: AddressBlock[] = [];
    let places = 0;
    for (const [uid, block] of orphans) {
      const orphan = this.#orphans.get(uid);
      if (orphan === undefined) {
        this.#orphans.set(uid, { since: now, place: undefined });
        continue;
      }
      const waited = now - orphan.since - this.#options.graceMilliseconds;
      if (waited < 0) continue;
      if (orphan.place === undefined) {
        if (places++ === placesPerCall(nodes.length)) break;
        orphan.place = block.node === this.#self.name ? 0 : placeInLine(block.name, this.#self, nodes);
      }
      if (waited >= orphan.place * this.#options.stepMilliseconds) due.push(block);
    }
    return due;
  }
}

/** What releasing asks of the API server, not of a cache; what it throws means "not now". */
export interface OrphanReads {
  /** UID of the Node of that name; undefined when there is none. */
  nodeUid(name: string): Promise<string | undefined>;
  /** Pods that are bound to the node of that name, use the pod network and have not ended; empty without an address yet. */
  podsOn(node: string): Promise<readonly { readonly addresses: readonly Ip[] }[]>;
}

/**
 * Releases one block, if its Node object is truly gone and no pod can have an address of it any more: caches may be late,
 * so the API server is asked once more.
 * @param isAttached whether one of this node's own pods has an ordinary address inside
 * @returns whether this call removed the block
 */
export async function releaseOrphan(
  block: AddressBlock,
  self: NodeIdentity,
  isAttached: (cidr: Cidr) => boolean,
  reads: OrphanReads,
  store: Pick<BlockStore, "delete">,
): Promise<boolean> {
  const uid = await reads.nodeUid(block.node);
  if (uid === block.nodeUid) return false;
  if (block.node === self.name) return !isAttached(block.cidr) && store.delete(block);
  if (uid !== undefined) return false;
  const isHeld = ({ addresses }: { readonly addresses: readonly Ip[] }): boolean =>
    addresses.length === 0 || addresses.some((address) => cidrContains(block.cidr, address));
  return !(await reads.podsOn(block.node)).some(isHeld) && store.delete(block);
}
