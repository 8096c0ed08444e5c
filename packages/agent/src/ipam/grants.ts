/**
 * The side of a block's owner (docs/design/0008): which claims inside its blocks it grants, which it refuses, and which
 * addresses it sets aside for them. An address is set aside durably before the grant is written, and let go only when the
 * API server says that nobody has it any more.
 */
import type { AddressClaim, IpAddressRecord, Subnet } from "@beyondfabric/kube/kinds";
import { formatCidr } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import { grantClaim, refuseClaim } from "./address-claim.ts";
import type { Allocator } from "./allocator.ts";
import type { NodeIdentity } from "./blocks.ts";
import type { AddressStore, OwnAddresses, Reservation } from "./claims.ts";
import type { OwnBlock, OwnBlocks } from "./own-blocks.ts";

export interface GrantsOptions {
  readonly node: NodeIdentity;
  readonly allocator: Allocator;
  readonly blocks: OwnBlocks;
  readonly store: Pick<AddressStore, "get" | "update">;
}

/** What the owner of a block is to do about an address of it. */
export type GrantDecision = "grant" | "refuse" | "reserve" | "let-go" | "nothing";

/**
 * Decides about one address of an own block.
 * @param claim the IPAddress object; undefined when there is none
 * @param facts whether it is set aside already, and who of this node's pods has it as an ordinary address
 */
export function decideGrant(
  claim: AddressClaim | undefined,
  block: Pick<OwnBlock, "cidr">,
  node: NodeIdentity,
  facts: { readonly isReserved: boolean; readonly ordinaryHolder: string | undefined },
): GrantDecision {
  if (claim === undefined || claim.phase === "Released") return facts.isReserved ? "let-go" : "nothing";
  if (facts.ordinaryHolder !== undefined) return claim.refusal?.nodeUid === node.uid ? "nothing" : "refuse";
  const { grant } = claim;
  if (grant?.nodeUid !== node.uid || formatCidr(grant.block) !== formatCidr(block.cidr)) return "grant";
  return facts.isReserved ? "nothing" : "reserve";
}

/** What came of looking at an address: what was done, or why it has to be looked at again. */
export type Settlement = Exclude<GrantDecision, "reserve"> | "changed" | "claiming";

/** Grants and refuses claims inside the own blocks, and gives the node's own claims their addresses. */
export class Grants implements OwnAddresses {
  readonly #options: GrantsOptions;
  /** Addresses that claims of this node are about, with how many: they are not let go under their hands. */
  readonly #claiming = new Map<Ip, number>();
  /** Addresses that are being looked at. */
  readonly #settling = new Map<Ip, Promise<Settlement>>();

  constructor(options: GrantsOptions) {
    this.#options = options;
  }

  draw(subnet: Subnet, family: IpFamily): Ip {
    const address = this.#options.allocator.reserveNext(subnet, family);
    this.#pin(address);
    return address;
  }

  async reserve(block: Cidr, address: Ip): Promise<Reservation> {
    const { allocator, blocks } = this.#options;
    this.#pin(address);
    const own = blocks.around(address);
    if (own === undefined || formatCidr(own.cidr) !== formatCidr(block)) return { state: "unready" };
    const owner = allocator.reserve(address);
    if (owner !== undefined) return { state: "taken", owner };
    await blocks.flush();
    return { state: "reserved" };
  }

  settled(address: Ip): void {
    const others = (this.#claiming.get(address) ?? 0) - 1;
    if (others > 0) this.#claiming.set(address, others);
    else this.#claiming.delete(address);
  }

  #pin(address: Ip): void {
    this.#claiming.set(address, (this.#claiming.get(address) ?? 0) + 1);
  }

  /**
   * Addresses of the own blocks that {@link settle} has to look at. To be called when the watch shows a change, when an
   * ordinary address of an own block was released, and now and then.
   * @param claims those that the watch shows, at least those inside the own blocks
   */
  unsettled(claims: Iterable<AddressClaim>): Ip[] {
    const { allocator, blocks, node } = this.#options;
    const found = new Set<Ip>();
    const shown = new Set<Ip>();
    for (const claim of claims) {
      const block = blocks.around(claim.address);
      if (block === undefined) continue;
      shown.add(claim.address);
      const facts = this.#facts(claim.address);
      if (decideGrant(claim, block, node, facts) !== "nothing") found.add(claim.address);
    }
    for (const address of allocator.reservations()) if (!shown.has(address)) found.add(address);
    return [...found].filter((address) => !this.#claiming.has(address));
  }

  #facts(address: Ip): { isReserved: boolean; ordinaryHolder: string | undefined } {
    const { allocator } = this.#options;
    return { isReserved: allocator.reservation(address) !== undefined, ordinaryHolder: allocator.holder(address) };
  }

  /**
   * Reads the object of an address from the API server and does what is due. Lost swaps are left to the next call.
   * @throws what the store throws
   */
  settle(address: Ip): Promise<Settlement> {
    const running = this.#settling.get(address);
    if (running !== undefined) return running;
    if (this.#claiming.has(address)) return Promise.resolve("claiming");
    const settling = this.#settle(address).finally(() => this.#settling.delete(address));
    this.#settling.set(address, settling);
    return settling;
  }

  async #settle(address: Ip): Promise<Settlement> {
    const { allocator, blocks, node, store } = this.#options;
    const reservation = allocator.reservation(address);
    const record = await store.get(address);
    // A claim, or a block that is taken into use, may have reserved it since, for an object that is newer than this one.
    if (this.#claiming.has(address) || allocator.reservation(address) !== reservation) return "claiming";
    const block = blocks.around(address);
    if (block === undefined) {
      allocator.unreserve(address);
      return "nothing";
    }
    const decision = decideGrant(record, block, node, this.#facts(address));
    if (decision === "let-go") allocator.unreserve(address);
    if (record === undefined || decision === "let-go" || decision === "nothing") return decision as Settlement;
    if (decision === "refuse") return this.#swap(decision, this.#refusal(record));
    allocator.reserve(address);
    await blocks.flush();
    if (decision === "reserve") return "nothing";
    return this.#swap(decision, grantClaim(record, block.cidr, node.uid));
  }

  #refusal(record: IpAddressRecord): IpAddressRecord {
    const { allocator, node } = this.#options;
    const owner = allocator.holder(record.address) ?? "nobody";
    const message = `it is the ordinary address of ${owner}; delete that pod or choose another address`;
    return refuseClaim(record, node.uid, message);
  }

  async #swap(decision: "grant" | "refuse", next: IpAddressRecord): Promise<Settlement> {
    return (await this.#options.store.update(next)) === undefined ? "changed" : decision;
  }
}
