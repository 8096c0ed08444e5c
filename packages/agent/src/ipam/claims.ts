/**
 * How a pod comes to hold an address that has a name: fixed, drawn from a pool, or sticky (docs/design/0008). The claimant
 * writes first and reads after, so that of a claim and a block that are made at the same moment one sees the other. All of
 * it can be repeated at any point for the same pod, and goes on where it stopped.
 */
import { ownerDigest } from "@beyondfabric/kube/kinds";
import type { AddressBlock, AddressClaim, AddressHolder, IpAddressRecord, Subnet } from "@beyondfabric/kube/kinds";
import { formatCidr, ipFamily } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily, Mac } from "@beyondfabric/packet";
import * as claims from "./address-claim.ts";
import type { AddressGrant, ClaimTerms } from "./address-claim.ts";
import { blockAround } from "./block-parts.ts";
import { IpamError } from "./errors.ts";
import type { RecentTries } from "./recent-tries.ts";

/** IPAddress objects. Failures other than those named are thrown; then it is open whether the request took effect. */
export interface AddressStore {
  /** Creates the object; undefined when one of that name exists (409 AlreadyExists). */
  create(claim: AddressClaim): Promise<IpAddressRecord | undefined>;
  /** Reads it from the API server, not from a cache; undefined when there is none. */
  get(address: Ip): Promise<IpAddressRecord | undefined>;
  /** Writes it if UID and resourceVersion are still those of `record`; undefined when they are not, or it is gone. */
  update(record: IpAddressRecord): Promise<IpAddressRecord | undefined>;
  /** Deletes it if UID and resourceVersion are still those of `record`; false when they are not, or it is gone. */
  delete(record: IpAddressRecord): Promise<boolean>;
  /** The addresses of an owner and slot, read from the API server by their label. */
  listOwner(digest: string): Promise<readonly IpAddressRecord[]>;
  /** The addresses of a subnet inside a prefix, read from the API server. */
  listInside(cidr: Cidr, subnet: string): Promise<readonly IpAddressRecord[]>;
}

/** What else a claim must know from the API server, not from a cache. */
export interface ClaimReads {
  /** At least the blocks that contain the address. They may be read one after the other. */
  blocksAround(subnet: Subnet, address: Ip): Promise<readonly AddressBlock[]>;
  /** UID of the pod of that name; undefined when there is none, or it has ended (Succeeded, Failed). */
  podUid(namespace: string, name: string): Promise<string | undefined>;
}

/** What became of a wish to reserve an address of an own block. */
export type Reservation =
  | { readonly state: "reserved" }
  /** One of this node's pods has it as an ordinary address. */
  | { readonly state: "taken"; readonly owner: string }
  /** The block is not in use (yet, or any more). */
  | { readonly state: "unready" };

/** This node's own blocks, as a claim needs them; see `Grants`. */
export interface OwnAddresses {
  /**
   * Sets the next free address of the own blocks aside.
   * @throws IpamError `IPAM_NO_BLOCK`, `IPAM_NO_FREE_ADDRESS`, `IPAM_FAMILY_MISSING`
   */
  draw(subnet: Subnet, family: IpFamily): Ip;
  /** Reserves an address of an own block; resolves when that survives the agent. */
  reserve(block: Cidr, address: Ip): Promise<Reservation>;
  /** Once for each call of the other two, when their claim has ended, well or badly: from now on the object decides. */
  settled(address: Ip): void;
}

export interface ClaimEnvironment {
  readonly store: AddressStore;
  readonly reads: ClaimReads;
  readonly own: OwnAddresses;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** An address as the watch shows it, late perhaps: it only spares requests for what others hold. */
  readonly seen?: (address: Ip) => AddressClaim | undefined;
  /** What was asked for on this node a moment ago, for this pod or another: tried last. */
  readonly recent?: RecentTries;
  /** Whether a pod has an interface on this node: while it has, nobody here takes its address over. */
  readonly isAttached?: (podUid: string) => boolean;
}

/** Addresses to try, in this order. A range is not expanded. */
export interface Candidates extends Iterable<Ip> {
  has(address: Ip): boolean;
}

/** One address of a family. Without candidates (only `Sticky`) it is any of the node's own blocks. */
export interface ClaimWish {
  readonly family: IpFamily;
  readonly candidates?: Candidates;
}

export interface ClaimRequest extends Omit<ClaimTerms, "subnet"> {
  readonly subnet: Subnet;
  readonly holder: AddressHolder;
  /** MAC of a pod whose first address this is; absent: `holder.mac`, whatever the address. */
  readonly macOf?: (address: Ip) => Mac;
  /** At most one per family; all are claimed, or none is. */
  readonly wishes: readonly ClaimWish[];
  /** Candidates whose grant was waited for in vain: given up, and not tried again. */
  readonly avoid?: ReadonlySet<Ip>;
}

/** An address that waits until the owner of the block around it grants it. */
export interface AwaitedGrant {
  readonly address: Ip;
  readonly block: Cidr;
  /** The node that owns the block. */
  readonly node: string;
}

export type ClaimOutcome =
  /** The pod may use the addresses, in the order of the wishes. */
  | { readonly state: "granted"; readonly records: readonly IpAddressRecord[] }
  /** They are held; claim again when one of the objects or blocks has changed. */
  | { readonly state: "pending"; readonly awaited: readonly AwaitedGrant[] }
  /** The pod holds none of them; the message names who does, and the remedy. */
  | { readonly state: "refused"; readonly error: IpamError };

type Outcome =
  | { readonly state: "granted"; readonly record: IpAddressRecord }
  | { readonly state: "pending"; readonly record: IpAddressRecord; readonly awaited: AwaitedGrant }
  | { readonly state: "refused"; readonly error: IpamError };

/**
 * Claims one address per wish for a pod, or none.
 * @throws what the store throws; then the claim is to be repeated
 */
export async function claim(request: ClaimRequest, environment: ClaimEnvironment): Promise<ClaimOutcome> {
  const held: Exclude<Outcome, { state: "refused" }>[] = [];
  // Every list costs the API server all claims of the cluster: the families begin with one. Whether a slot has another address is
  // asked again before it is confirmed.
  const owned = await environment.store.listOwner(ownerDigest(request.owner));
  for (const wish of request.wishes) {
    const mac = held[0]?.record.holder?.mac;
    const rest = mac === undefined ? request : { ...request, holder: { ...request.holder, mac }, macOf: () => mac };
    const outcome = await new FamilyClaim(rest, wish, environment, owned).run();
    if (outcome.state === "refused") {
      for (const { record } of held) {
        await release(record.address, request.holder.podUid, "OtherFamilyRefused", environment);
      }
      return outcome;
    }
    held.push(outcome);
  }
  const awaited = held.flatMap((each) => (each.state === "pending" ? [each.awaited] : []));
  if (awaited.length > 0) return { state: "pending", awaited };
  return { state: "granted", records: held.map(({ record }) => record) };
}

/**
 * Gives an address up for a pod, if the object still names that pod.
 * @returns whether it did, and then what is left of the object, if anything
 * @throws what the store throws; then it is to be repeated
 */
export async function release(
  address: Ip,
  podUid: string,
  reason: string,
  { store, now }: Pick<ClaimEnvironment, "store" | "now">,
): Promise<{ readonly released: boolean; readonly left?: IpAddressRecord }> {
  for (;;) {
    const record = await store.get(address);
    if (record?.holder?.podUid !== podUid) return { released: false };
    const next = claims.releaseClaim(record, reason, now());
    if (next === undefined) {
      if (await store.delete(record)) return { released: true };
    } else {
      const left = await store.update(next);
      if (left !== undefined) return { released: true, left };
    }
  }
}

/** Swaps lost in a row before a claim gives up: somebody else is then in the way for good. */
const MAX_ROUNDS = 32;
/** Candidates that are asked for in one claim; a pool that is full costs no more requests than this. */
const MAX_CANDIDATES = 64;
/** Candidates that are looked at in one claim: the others are left to pods that begin elsewhere. */
const MAX_LOOKED_AT = 4096;

/** The claim of one address. */
class FamilyClaim {
  readonly #request: ClaimRequest;
  readonly #wish: ClaimWish;
  readonly #environment: ClaimEnvironment;
  readonly #digest: string;
  /** What the owner had when the claim began; the first round looks there. */
  #owned: readonly IpAddressRecord[] | undefined;
  /** Candidates that cannot be had now. */
  readonly #refused = new Set<Ip>();
  readonly #reserved: Ip[] = [];
  #refusal: IpamError | undefined;

  constructor(
    request: ClaimRequest,
    wish: ClaimWish,
    environment: ClaimEnvironment,
    owned: readonly IpAddressRecord[],
  ) {
    this.#request = request;
    this.#wish = wish;
    this.#environment = environment;
    this.#digest = ownerDigest(request.owner);
    this.#owned = owned;
  }

  async run(): Promise<Outcome> {
    try {
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const record = await this.#hold();
        if (record instanceof IpamError) return { state: "refused", error: record };
        if (record === undefined) continue;
        if (record.phase === "Pending" && this.#request.avoid?.has(record.address) === true) {
          await this.#abandon(record);
          continue;
        }
        const outcome = await this.#confirm(record);
        if (outcome !== undefined) return outcome;
      }
      return { state: "refused", error: this.#contended() };
    } catch (error) {
      // The own blocks have no room.
      if (error instanceof IpamError) return { state: "refused", error };
      throw error;
    } finally {
      for (const address of this.#reserved) this.#environment.own.settled(address);
    }
  }

  /** Makes the pod the holder of an address: the one that it has or that is kept for it, else another one. */
  async #hold(): Promise<IpAddressRecord | IpamError | undefined> {
    const own = await this.#ofOwner();
    const held = own.find((each) => each.holder?.podUid === this.#request.holder.podUid);
    if (held !== undefined) return this.#keep(held);
    if (this.#isExclusive) {
      // One address a slot: whatever is kept for it, or is with an earlier pod, comes before any other.
      const kept = own.toSorted(byStanding)[0];
      if (kept !== undefined) return this.#enter(kept);
    }
    // Nothing is kept for the owner.
    return this.#wish.candidates === undefined ? this.#draw() : this.#pick(this.#wish.candidates);
  }

  /** An owner whose pods follow one another, or a slot, has one address of a subnet and family; a pool's has many. */
  get #isExclusive(): boolean {
    return this.#request.retention !== "Pool";
  }

  async #ofOwner(): Promise<IpAddressRecord[]> {
    const all = this.#owned ?? (await this.#environment.store.listOwner(this.#digest));
    this.#owned = undefined;
    return all.filter((each) => each.subnet === this.#request.subnet.name && this.#isWished(each.address));
  }

  #isWished(address: Ip): boolean {
    const { family, candidates } = this.#wish;
    return ipFamily(address) === family && (candidates === undefined || candidates.has(address));
  }

  /** What the pod holds already. */
  async #keep(record: IpAddressRecord): Promise<IpAddressRecord | undefined> {
    if (record.holder?.nodeUid === this.#request.holder.nodeUid) return record;
    // The Node was made anew around its pods.
    return this.#environment.store.update({ ...record, holder: this.#holderOf(record.address) });
  }

  async #draw(): Promise<IpAddressRecord | undefined> {
    const address = this.#environment.own.draw(this.#request.subnet, this.#wish.family);
    this.#reserved.push(address);
    // Somebody claimed it by name: it stays reserved for that claim.
    return this.#create(address);
  }

  /**
   * Takes one of the candidates. One that somebody else was faster for costs one request: what became of it matters only
   * when no other is left.
   */
  async #pick(candidates: Candidates): Promise<IpAddressRecord | IpamError | undefined> {
    const { seen, recent } = this.#environment;
    const last: Ip[] = [];
    let asked = 0;
    let lookedAt = 0;
    for (const address of candidates) {
      if (++lookedAt > MAX_LOOKED_AT || asked === MAX_CANDIDATES) break;
      if (this.#refused.has(address) || this.#request.avoid?.has(address) === true) continue;
      if (this.#isSeenTaken(address)) continue;
      if (recent?.has(address) === true) {
        last.push(address);
        continue;
      }
      asked++;
      recent?.note(address);
      // An object that is known to be there cannot be created.
      const had = seen?.(address) === undefined ? await this.#create(address) : await this.#take(address);
      if (had instanceof IpamError) continue;
      if (had !== undefined) return had;
      last.push(address);
    }
    for (const address of last) {
      if (asked++ === MAX_CANDIDATES) break;
      if (this.#isSeenTaken(address)) continue;
      const had = await this.#take(address);
      if (!(had instanceof IpamError)) return had;
    }
    return this.#refusal ?? this.#noCandidate(candidates);
  }

  /** Asks for a candidate that has an object, most likely; undefined when somebody was faster. */
  async #take(address: Ip): Promise<IpAddressRecord | IpamError | undefined> {
    const existing = await this.#environment.store.get(address);
    if (existing === undefined) return this.#create(address);
    const entered = await this.#enter(existing);
    if (entered instanceof IpamError) this.#refuse(address, entered);
    return entered;
  }

  /** The watch may be late: what it shows as taken is tried again with the pod's next attempt. */
  #isSeenTaken(address: Ip): boolean {
    const seen = this.#environment.seen?.(address);
    if (seen === undefined || seen.phase === "Released") return false;
    const isOwn = claims.isSameOwner(seen.owner, this.#request.owner);
    const isHeld = seen.holder !== undefined && seen.holder.podUid !== this.#request.holder.podUid;
    if (isOwn && (this.#isExclusive || !isHeld)) return false;
    this.#refusal ??= takenBy(seen);
    return true;
  }

  #create(address: Ip): Promise<IpAddressRecord | undefined> {
    const { subnet } = this.#request;
    const holder = this.#holderOf(address);
    const now = this.#environment.now();
    return this.#environment.store.create(
      claims.newClaim(address, { ...this.#request, subnet: subnet.name }, holder, now),
    );
  }

  #holderOf(address: Ip): AddressHolder {
    const { holder, macOf } = this.#request;
    return macOf === undefined ? holder : { ...holder, mac: macOf(address) };
  }

  /** Becomes the holder of an address that has an object; undefined when somebody was faster. */
  async #enter(record: IpAddressRecord): Promise<IpAddressRecord | IpamError | undefined> {
    const { store, reads, now, isAttached } = this.#environment;
    const holder = this.#holderOf(record.address);
    const terms = { ...this.#request, subnet: this.#request.subnet.name };
    if (record.subnet !== terms.subnet) return takenBy(record);
    if (record.holder?.podUid === holder.podUid) return record;
    if (record.phase === "Released") return store.update(claims.claimReleased(record, terms, holder, now()));
    if (!claims.isSameOwner(record.owner, terms.owner)) return takenBy(record);
    if (record.holder === undefined) return store.update(claims.claimRetained(record, terms, holder, now()));
    // A pod of a pool can have another address: until its node releases this one, it may run on where it is cut off.
    if (!this.#isExclusive) return takenBy(record);
    const { namespace, pod, podUid } = record.holder;
    if (isAttached?.(podUid) === true) return takenBy(record);
    const standing = await reads.podUid(namespace, pod);
    if (standing === podUid) return takenBy(record);
    // Only a pod that the API has can follow: one that is gone itself says nothing about a node that may run the other.
    const isSlot = namespace === holder.namespace && pod === holder.pod;
    const own = isSlot ? standing : await reads.podUid(holder.namespace, holder.pod);
    if (own !== holder.podUid) return takenBy(record);
    return store.update(claims.succeed(record, terms, holder, now()));
  }

  /**
   * Looks, after the object named the pod as holder, whether anybody else can hand the address out.
   * Undefined: it was lost, or given up for another one.
   */
  async #confirm(record: IpAddressRecord): Promise<Outcome | undefined> {
    if (record.phase === "Bound") return { state: "granted", record };
    const { store, reads, now } = this.#environment;
    const { address } = record;
    const around = blockAround(await reads.blocksAround(this.#request.subnet, address), address);
    const answer = around === undefined ? undefined : await this.#askOwner(record, around);
    if (answer instanceof IpamError) {
      this.#refuse(address, answer);
      await this.#abandon(record);
      return undefined;
    }
    if (answer === "wait") {
      return { state: "pending", record, awaited: { address, block: around!.cidr, node: around!.node } };
    }
    if (this.#isExclusive && !(await this.#isOnly(record))) return undefined;
    const bound = await store.update(claims.confirm(record, answer, now()));
    return bound && { state: "granted", record: bound };
  }

  async #askOwner(record: IpAddressRecord, around: AddressBlock): Promise<AddressGrant | IpamError | "wait"> {
    const { cidr: block, nodeUid, node } = around;
    if (nodeUid === this.#request.holder.nodeUid) {
      this.#reserved.push(record.address);
      const reservation = await this.#environment.own.reserve(block, record.address);
      if (reservation.state === "unready") return "wait";
      return reservation.state === "reserved" ? { block, nodeUid } : takenByOrdinary(record.address, reservation.owner);
    }
    const { grant, refusal } = record;
    if (grant?.nodeUid === nodeUid && formatCidr(grant.block) === formatCidr(block)) return grant;
    if (refusal?.nodeUid !== nodeUid) return "wait";
    return new IpamError("IPAM_ADDRESS_TAKEN", `address ${record.address}: node ${node} says: ${refusal.message}`);
  }

  /**
   * Whether the slot has no other address. Two claims of one slot can meet when its first pod is removed by force while
   * it starts. A confirmed one wins; of two that are not, the one with the smaller name, which first removes the other.
   */
  async #isOnly(record: IpAddressRecord): Promise<boolean> {
    const rivals = (await this.#ofOwner()).filter((each) => each.address !== record.address);
    const isBeaten = rivals.some((rival) => rival.phase !== "Pending" || rival.name < record.name);
    if (isBeaten) {
      await this.#abandon(record);
      return false;
    }
    for (const rival of rivals) if (!(await this.#abandon(rival))) return false;
    return true;
  }

  /** Undoes a claim that was never confirmed; false when it changed in the meantime. */
  async #abandon(record: IpAddressRecord): Promise<boolean> {
    const { store, now } = this.#environment;
    const next = claims.releaseClaim(record, "NotConfirmed", now());
    return next === undefined ? store.delete(record) : (await store.update(next)) !== undefined;
  }

  #refuse(address: Ip, error: IpamError): void {
    this.#refused.add(address);
    this.#refusal ??= error;
  }

  #noCandidate(candidates: Candidates): IpamError {
    const { subnet, pool } = this.#request;
    const from = pool === undefined ? `the addresses asked for in Subnet ${subnet.name}` : `IPPool ${pool}`;
    const [first] = candidates;
    const what = first === undefined ? `hold none of IPv${this.#wish.family}` : "have been waited for in vain";
    return new IpamError("IPAM_POOL_EXHAUSTED", `${from} ${what}; add addresses that are free`);
  }

  #contended(): IpamError {
    const { namespace, pod } = this.#request.holder;
    return new IpamError(
      "IPAM_CLAIM_CONTENDED",
      `pod ${namespace}/${pod}: others were faster ${MAX_ROUNDS} times for an address of Subnet ${this.#request.subnet.name}; try again in a moment`,
    );
  }
}

/** What is confirmed comes first, then what comes first in the alphabet: all nodes agree. */
function byStanding(a: IpAddressRecord, b: IpAddressRecord): number {
  const isPending = (record: IpAddressRecord): number => (record.phase === "Pending" ? 1 : 0);
  return isPending(a) - isPending(b) || (a.name < b.name ? -1 : 1);
}

function takenBy(claim: AddressClaim): IpamError {
  const { address, holder, owner, phase, reclaimAt } = claim;
  const since = new Date(claim.since).toISOString();
  if (phase === "Released") {
    return new IpamError("IPAM_ADDRESS_TAKEN", `address ${address} belongs to Subnet ${claim.subnet}; choose another`);
  }
  if (holder !== undefined) {
    return new IpamError(
      "IPAM_ADDRESS_TAKEN",
      `address ${address} is held by pod ${holder.namespace}/${holder.pod} on node ${holder.node} since ${since}; ` +
        `delete that pod or choose another address`,
    );
  }
  const until = reclaimAt === undefined ? "while it exists" : `until ${new Date(reclaimAt).toISOString()}`;
  const whose = owner === undefined ? "nobody" : `${owner.kind} ${owner.namespace}/${owner.name} ${owner.slot}`.trim();
  return new IpamError(
    "IPAM_ADDRESS_TAKEN",
    `address ${address} is kept for ${whose} since ${since}, ${until}; choose another, or delete IPAddress ${claim.address}`,
  );
}

function takenByOrdinary(address: Ip, owner: string): IpamError {
  return new IpamError(
    "IPAM_ADDRESS_TAKEN",
    `address ${address} is the ordinary address of ${owner} on this node; delete that pod or choose another address`,
  );
}
