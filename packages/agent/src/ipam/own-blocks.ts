/**
 * The blocks of this node, from the claim to the return (docs/design/0008). A request may take effect long after the agent
 * that sent it has died, so what must not be undone by such a request is written down on this node first: a block that
 * it does not remember is never used again, and a part that it remembers as lent is lent.
 */
import { addressBlockName, subnetFamily } from "@beyondfabric/kube/kinds";
import type { AddressBlock, Subnet } from "@beyondfabric/kube/kinds";
import { cidrContains, cidrContainsCidr, formatCidr } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import type { Allocator } from "./allocator.ts";
import { blockAround, isLent, partsOfOthers, possibleNeighbours } from "./block-parts.ts";
import { claimBlock, isOwnBlock } from "./blocks.ts";
import type { BlockStore, NodeIdentity } from "./blocks.ts";
import type { AddressStore } from "./claims.ts";
import { IpamError } from "./errors.ts";

/** A block in use. */
export interface OwnBlock {
  readonly subnet: string;
  readonly cidr: Cidr;
  readonly lent: readonly Cidr[];
}

/** What must survive the agent, beside who holds which ordinary address. */
export interface AddressMemory {
  readonly blocks: readonly OwnBlock[];
  /** Addresses of own blocks that claims have. */
  readonly reserved: readonly Ip[];
}

export interface OwnBlocksOptions {
  readonly node: NodeIdentity;
  readonly allocator: Allocator;
  readonly blocks: BlockStore;
  readonly addresses: Pick<AddressStore, "listInside">;
  /** The subnet of that name as it is now; undefined when there is none. */
  readonly subnet: (name: string) => Subnet | undefined;
  /** Writes what the next agent of this node shall know; resolves when it is durable. Called one at a time. */
  readonly remember: (memory: AddressMemory) => Promise<void>;
}

/** All changes of blocks happen one after the other; what the store throws ends one and leaves it to {@link sync}. */
export class OwnBlocks {
  readonly #options: OwnBlocksOptions;
  /** Remembered, and handed out from. */
  readonly #used = new Map<string, OwnBlock>();
  #queue: Promise<unknown> = Promise.resolve();
  #write: { done: Promise<void>; next: Promise<void> | undefined } | undefined;

  constructor(options: OwnBlocksOptions) {
    this.#options = options;
  }

  /** Takes up what a former agent of this node remembered, before anything is allocated. */
  restore({ blocks, reserved }: AddressMemory): void {
    for (const address of reserved) this.#options.allocator.reserve(address);
    for (const block of blocks) {
      this.#used.set(addressBlockName(block.cidr), block);
      this.#use(block);
    }
  }

  /** Takes up blocks whose Subnet was not known before. */
  subnetsChanged(): void {
    for (const block of this.#used.values()) this.#use(block);
  }

  #use({ subnet, cidr, lent }: OwnBlock): void {
    const known = this.#options.subnet(subnet);
    if (known !== undefined) this.#options.allocator.addBlock(known, cidr, lent);
  }

  list(): readonly OwnBlock[] {
    return [...this.#used.values()];
  }

  /** The own block that decides about an address. */
  around(address: Ip): OwnBlock | undefined {
    return blockAround(this.#used.values(), address);
  }

  /** Makes what is reserved and used now survive the agent. Calls that come while one is written share the next write. */
  flush(): Promise<void> {
    if (this.#write === undefined) {
      const write = { done: this.#remember(), next: undefined as Promise<void> | undefined };
      this.#write = write;
      const end = (): void => {
        if (this.#write === write) this.#write = undefined;
      };
      write.done.then(end, end);
      return write.done;
    }
    const { done } = this.#write;
    this.#write.next ??= done.then(
      () => this.flush(),
      () => this.flush(),
    );
    return this.#write.next;
  }

  async #remember(): Promise<void> {
    const reserved = [...this.#options.allocator.reservations()];
    await this.#options.remember({ blocks: this.list(), reserved });
  }

  /**
   * Claims one more block and takes it into use.
   * @param known the blocks of all nodes; the view may be late
   * @throws IpamError as {@link claimBlock}; whatever the stores throw
   */
  acquire(subnet: Subnet, family: IpFamily, known: Iterable<AddressBlock>): Promise<OwnBlock> {
    return this.#inTurn(async () => {
      const { node, blocks: store } = this.#options;
      // An own block that is in the way is deleted: nobody may remember it then.
      await this.flush();
      const used = [...this.#used.values()].map((block) => this.#object(block));
      const others = [...known].filter(({ name }) => !this.#used.has(name));
      const block = await claimBlock({ subnet, family, node, blocks: [...others, ...used] }, store);
      // By their names: to list them would cost as much as the cluster is large.
      const neighbours = possibleNeighbours(subnetFamily(subnet, family)!, block.cidr).map(addressBlockName);
      const admitted = await this.#admit(block, neighbours);
      if (admitted !== undefined) return admitted;
      throw new IpamError(
        "IPAM_CLAIM_CONTENDED",
        `Subnet ${subnet.name}: block ${formatCidr(block.cidr)} lies in one that another node took at the same moment; try again`,
      );
    });
  }

  /**
   * Takes a block into use that this agent has just made: whatever lies in it already is counted as lent or reserved
   * before anything is handed out. Undefined: the block around it has not been lent, and it is deleted again.
   * @param neighbours names of all blocks that can be around it and inside
   */
  async #admit(made: AddressBlock, neighbours: readonly string[]): Promise<OwnBlock | undefined> {
    const { allocator, blocks: store, addresses } = this.#options;
    let block = made;
    for (;;) {
      const others = await store.existing(neighbours);
      const around = others.filter(({ cidr }) => cidrContainsCidr(cidr, block.cidr));
      if (around.some((each) => !isLent(each, block.cidr))) {
        await this.#delete(block);
        return undefined;
      }
      const missing = partsOfOthers(others, block.cidr).filter((part) => !isLent(block, part));
      if (missing.length === 0) break;
      const kept = block.lent.filter((part) => !missing.some((other) => cidrContainsCidr(other, part)));
      const lent = await store.lend(block, [...kept, ...missing]);
      if (lent !== undefined) block = lent;
      else {
        const now = await store.get(block.name);
        if (now?.uid !== block.uid) return undefined;
        block = now;
      }
    }
    for (const { address, phase } of await addresses.listInside(block.cidr, block.subnet)) {
      if (phase !== "Released" && !block.lent.some((part) => cidrContains(part, address))) allocator.reserve(address);
    }
    const own: OwnBlock = { subnet: block.subnet, cidr: block.cidr, lent: block.lent };
    this.#used.set(block.name, own);
    await this.flush();
    this.#use(own);
    return own;
  }

  /**
   * Gives an idle block back.
   * @throws IpamError `IPAM_BLOCK_IN_USE`; whatever the stores throw
   */
  giveBack(cidr: Cidr): Promise<void> {
    return this.#inTurn(async () => {
      const name = addressBlockName(cidr);
      if (!this.#used.has(name)) return;
      this.#options.allocator.removeBlock(cidr);
      this.#used.delete(name);
      await this.flush();
      const block = await this.#options.blocks.get(name);
      if (block !== undefined && isOwnBlock(block, this.#options.node)) await this.#delete(block);
    });
  }

  /**
   * Gives an idle part of a block away.
   * @throws IpamError `IPAM_BLOCK_IN_USE`; whatever the stores throw
   */
  lend(cidr: Cidr, part: Cidr): Promise<void> {
    return this.#inTurn(async () => {
      const name = addressBlockName(cidr);
      const block = this.#used.get(name);
      if (block === undefined || isLent(block, part)) return;
      this.#options.allocator.lendPart(cidr, part);
      const lent = { ...block, lent: [...block.lent, part] };
      this.#used.set(name, lent);
      await this.flush();
      await this.#publishLent(lent);
    });
  }

  /**
   * Mends what differs between the API and what this node remembers: parts that are not known as lent yet; own blocks
   * that it does not use, because an agent died at the wrong moment; blocks that it uses and no longer owns.
   * @param known the blocks of all nodes, synced; the view may be late, so that each finding is read again
   * @param isAttached whether one of this node's pods has an ordinary address inside
   * @returns the addresses that pods held in blocks that were lost
   */
  sync(
    known: Iterable<AddressBlock>,
    isAttached: (cidr: Cidr) => boolean,
  ): Promise<readonly { readonly owner: string; readonly address: Ip }[]> {
    return this.#inTurn(async () => {
      const { node } = this.#options;
      const seen = new Map<string, AddressBlock>();
      for (const block of known) if (isOwnBlock(block, node)) seen.set(block.name, block);
      const unknown = [...seen.values()].filter(({ name, cidr }) => !this.#used.has(name) && !isAttached(cidr));
      // What failed half-way may stand in memory only.
      if (unknown.length > 0) await this.flush();
      for (const { name } of unknown) await this.#deleteUnknown(name);
      const stranded: { owner: string; address: Ip }[] = [];
      for (const [name, block] of this.#used) {
        const shown = seen.get(name);
        if (shown === undefined) stranded.push(...(await this.#checkOwned(name, block)));
        else if (block.lent.some((part) => !isLent(shown, part))) {
          await this.flush();
          await this.#publishLent(block);
        }
      }
      return stranded;
    });
  }

  async #deleteUnknown(name: string): Promise<void> {
    const block = await this.#options.blocks.get(name);
    if (block !== undefined && isOwnBlock(block, this.#options.node)) await this.#delete(block);
  }

  async #checkOwned(name: string, used: OwnBlock): Promise<{ owner: string; address: Ip }[]> {
    const block = await this.#options.blocks.get(name);
    if (block !== undefined && isOwnBlock(block, this.#options.node)) return [];
    const held = this.#options.allocator.withdrawBlock(used.cidr);
    this.#used.delete(name);
    await this.flush();
    return held;
  }

  async #publishLent(own: OwnBlock): Promise<void> {
    const { blocks: store, node } = this.#options;
    for (;;) {
      const block = await store.get(addressBlockName(own.cidr));
      if (block === undefined || !isOwnBlock(block, node)) return;
      const missing = own.lent.filter((part) => !isLent(block, part));
      if (missing.length === 0 || (await store.lend(block, [...block.lent, ...missing])) !== undefined) return;
    }
  }

  /** Deletes an own block for certain, whoever writes its status meanwhile. */
  async #delete(block: AddressBlock): Promise<void> {
    let current: AddressBlock | undefined = block;
    while (current?.uid === block.uid && !(await this.#options.blocks.delete(current))) {
      current = await this.#options.blocks.get(block.name);
    }
  }

  /** A block in use as an object, for whoever looks for blocks that are free. */
  #object({ subnet, cidr, lent }: OwnBlock): AddressBlock {
    const { name: node, uid: nodeUid } = this.#options.node;
    const identity = { name: addressBlockName(cidr), uid: "", resourceVersion: "", created: 0, generation: 0 };
    return { ...identity, subnet, cidr, lent, node, nodeUid, used: undefined };
  }

  #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const turn = this.#queue.then(act);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}
