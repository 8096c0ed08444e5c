/** Who has and had the addresses of a block, as its owner publishes it: what `AddressBlock.status` is made of. */
import type { AddressBlockStatus, BlockAllocation, EndedAllocation } from "@beyondfabric/kube/kinds";
import { MAX_ENDED_ALLOCATIONS } from "@beyondfabric/kube/kinds";

/** What is in a block now. */
export interface BlockContents {
  /** Addresses that nobody else can get: in use, by the node itself too, or promised to claims. */
  readonly used: number;
  /** Addresses that could be handed out besides. */
  readonly free: number;
  /** Ordinary addresses of pods; those of claims have objects of their own. */
  readonly allocations: readonly BlockAllocation[];
}

/** Remembers what a block's status says, and tells what it has to say. */
export class BlockLedger {
  #published: AddressBlockStatus | undefined;
  #history: readonly EndedAllocation[];

  /** @param published what the object says, perhaps by a former life of the agent; undefined: nothing */
  constructor(published: AddressBlockStatus | undefined) {
    this.#published = published;
    this.#history = published?.history ?? [];
  }

  /**
   * The status to write; undefined when the object says so already. An allocation that was published and is no more has
   * ended by `now` (ms since the epoch).
   */
  due(contents: BlockContents, now: number): AddressBlockStatus | undefined {
    const before = this.#published;
    const held = new Map(contents.allocations.map((each) => [keyOf(each), each]));
    const ended = (before?.allocations ?? [])
      .filter((each) => !held.has(keyOf(each)))
      .map(({ address, pod, uid, since }) => ({ address, pod, uid, from: since, until: Math.max(now, since) }));
    const known = new Set(before?.allocations.map(keyOf));
    const isSame =
      before !== undefined &&
      ended.length === 0 &&
      contents.allocations.every((each) => known.has(keyOf(each))) &&
      before.used === contents.used &&
      before.free === contents.free;
    if (isSame) return undefined;
    return { ...contents, history: [...this.#history, ...ended].slice(-MAX_ENDED_ALLOCATIONS) };
  }

  /** The object says so now. */
  wrote(status: AddressBlockStatus): void {
    this.#published = status;
    this.#history = status.history;
  }
}

function keyOf({
  address,
  uid,
  pod,
}: {
  readonly address: string;
  readonly uid: string;
  readonly pod: string;
}): string {
  return `${address} ${pod} ${uid}`;
}
