/**
 * Claims that their pods left behind (docs/design/0008). The node that has the holder's name looks after what its pods
 * hold; for everything else rendezvous hashing over the live nodes says who looks first, and who next. What is found is
 * read again before anything is written, and written only if it is still what was judged.
 */
import { ownerDigest } from "@beyondfabric/kube/kinds";
import type { AddressOwner, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { ipFamily } from "@beyondfabric/packet";
import { isSameOwner, reclaim, releaseClaim, scheduleReclaim } from "./address-claim.ts";
import type { NodeIdentity } from "./blocks.ts";
import type { AddressStore, ClaimReads } from "./claims.ts";
import { placeInLine, type OrphanReads, placesPerCall } from "./garbage.ts";

/** What the API says of an owner. */
export interface OwnerState {
  readonly exists: boolean;
  /** Empty when it does not exist. */
  readonly uid: string;
  /** How many pods it wants; absent for kinds that have no such number. */
  readonly replicas?: number;
  /** Ordinal of the first of them (`spec.ordinals.start`); absent: 0. */
  readonly start?: number;
}

export interface ClaimGarbageOptions {
  /** How long a holder must have been without its pod or its node before the first in line looks, in milliseconds. */
  readonly graceMilliseconds: number;
  /** How much longer each next in line waits, in milliseconds. */
  readonly stepMilliseconds: number;
  /** How long a retained address stays when its owner is gone or too small, in milliseconds. */
  readonly reclaimMilliseconds: number;
  /** How long the object of a released address is kept for its history, in milliseconds. */
  readonly historyMilliseconds: number;
}

/** What the watches show, synced and connected. */
export interface ClaimView {
  readonly claims: Iterable<IpAddressRecord>;
  readonly nodes: readonly NodeIdentity[];
  /** Whether the pod of that UID exists and has not ended. */
  readonly hasPod: (uid: string) => boolean;
  /** Whether the pod of that UID has an interface on this node, or is about to get one. */
  readonly isAttached: (podUid: string) => boolean;
  /** What was last read of an owner; undefined: unknown, and then nothing is done to its addresses. */
  readonly ownerState: (owner: AddressOwner) => OwnerState | undefined;
  /** Whether a subnet was deleted: whoever comes back gets an address of another. */
  readonly isLeaving?: (subnet: string) => boolean;
}

/** What to look into: whether the holder is gone, or whether the address is due for another state. */
export interface ClaimFinding {
  readonly claim: IpAddressRecord;
  readonly concern: "holder" | "owner" | "history";
}

interface Suspect {
  readonly since: number;
  place: number | undefined;
}

/** Remembers since when each claim has looked abandoned. */
export class ClaimGarbage {
  readonly #self: NodeIdentity;
  readonly #options: ClaimGarbageOptions;
  readonly #suspects = new Map<string, Suspect>();

  constructor(self: NodeIdentity, options: ClaimGarbageOptions) {
    this.#self = self;
    this.#options = options;
  }

  /**
   * Claims that this node shall look into now, with {@link collect}. Not to be called while a watch is down.
   * @param now milliseconds since the epoch
   * @param ticks milliseconds on a clock that does not go back
   */
  due(view: ClaimView, now: number, ticks: number): ClaimFinding[] {
    if (!view.nodes.some(({ uid }) => uid === this.#self.uid)) return [];
    const names = new Set(view.nodes.map(({ name }) => name));
    const claims = [...view.claims];
    const surplus = surplusAddresses(claims);
    const found = new Map<string, ClaimFinding>();
    for (const claim of claims) {
      const concern = this.#concern(claim, view, now, surplus.has(claim.name));
      if (concern !== undefined) found.set(`${claim.uid}/${concern}/${claim.holder?.podUid ?? ""}`, { claim, concern });
    }
    for (const key of this.#suspects.keys()) if (!found.has(key)) this.#suspects.delete(key);
    const due: ClaimFinding[] = [];
    let places = 0;
    for (const [key, finding] of found) {
      const suspect = this.#suspects.get(key);
      if (suspect === undefined) {
        this.#suspects.set(key, { since: ticks, place: undefined });
        continue;
      }
      const waited = ticks - suspect.since - this.#options.graceMilliseconds;
      if (waited < 0) continue;
      if (suspect.place === undefined) {
        if (places++ === placesPerCall(view.nodes.length)) break;
        suspect.place = this.#place(finding, names, view.nodes);
      }
      if (suspect.place >= 0 && waited >= suspect.place * this.#options.stepMilliseconds) due.push(finding);
    }
    return due;
  }

  #concern(
    claim: IpAddressRecord,
    view: ClaimView,
    now: number,
    isSurplus: boolean,
  ): ClaimFinding["concern"] | undefined {
    const { holder, owner, phase } = claim;
    if (holder !== undefined) {
      return view.hasPod(holder.podUid) || view.isAttached(holder.podUid) ? undefined : "holder";
    }
    if (phase === "Released") return now - claim.since >= this.#options.historyMilliseconds ? "history" : undefined;
    const state = owner === undefined ? gone : view.ownerState(owner);
    if (state === undefined) return undefined;
    const isLeaving = view.isLeaving?.(claim.subnet) === true;
    const isLost = isSurplus || isLeaving || owner === undefined || !keepsAddress(owner, state);
    if (claim.reclaimAt === undefined) return isLost ? "owner" : undefined;
    return !isLost || now >= claim.reclaimAt ? "owner" : undefined;
  }

  /** 0 looks first; -1 is not asked. */
  #place({ claim }: ClaimFinding, names: ReadonlySet<string>, nodes: readonly NodeIdentity[]): number {
    const node = claim.holder?.node;
    if (node === this.#self.name) return 0;
    if (node !== undefined && names.has(node)) return -1;
    return placeInLine(claim.name, this.#self, nodes);
  }
}

const gone: OwnerState = { exists: false, uid: "" };

/** Whether an owner still wants the address of its slot. One that was made anew wants it once it has taken it over. */
export function keepsAddress(owner: AddressOwner, state: OwnerState): boolean {
  if (!state.exists || (owner.uid !== "" && owner.uid !== state.uid)) return false;
  if (owner.slot === "" || state.replicas === undefined) return true;
  const ordinal = /-(0|[1-9][0-9]{0,9})$/.exec(owner.slot)?.[1];
  if (ordinal === undefined) return true;
  const { start = 0, replicas } = state;
  return Number(ordinal) >= start && Number(ordinal) < start + replicas;
}

/**
 * Names of retained addresses whose owner and slot hold another one of the family now: its pods ask for another since its
 * template was edited, or a claim was cut short.
 */
function surplusAddresses(claims: readonly IpAddressRecord[]): ReadonlySet<string> {
  const key = ({ owner, address }: IpAddressRecord): string => `${ownerDigest(owner!)}/${ipFamily(address)}`;
  const owned = claims.filter(({ owner, retention }) => owner !== undefined && retention !== "Pool");
  const bound = new Set(owned.filter(({ phase }) => phase === "Bound").map(key));
  const retained = owned.filter((claim) => claim.phase === "Retained" && bound.has(key(claim)));
  return new Set(retained.map(({ name }) => name));
}

/** What collecting asks of the API server, not of a cache; what it throws means "not now". */
export interface GarbageReads extends Pick<ClaimReads, "podUid">, Pick<OrphanReads, "nodeUid"> {
  /** Undefined when nobody can know. */
  ownerState(owner: AddressOwner): Promise<OwnerState | undefined>;
}

export interface CollectEnvironment {
  readonly node: NodeIdentity;
  readonly store: Pick<AddressStore, "get" | "update" | "delete" | "listOwner">;
  readonly reads: GarbageReads;
  readonly isAttached: (podUid: string) => boolean;
  readonly isLeaving?: (subnet: string) => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export type Collected = "released" | "scheduled" | "kept" | "reclaimed" | "deleted" | "nothing";

/**
 * Looks into one finding with consistent reads, and does what is due if it is true.
 * @throws what the store and the reads throw
 */
export async function collect(
  { claim, concern }: ClaimFinding,
  options: Pick<ClaimGarbageOptions, "reclaimMilliseconds" | "historyMilliseconds">,
  environment: CollectEnvironment,
): Promise<Collected> {
  const record = await environment.store.get(claim.address);
  if (record === undefined || record.uid !== claim.uid) return "nothing";
  if (concern === "holder") return collectHolder(record, claim, environment);
  if (concern === "owner") return collectRetained(record, options, environment);
  const isOld = record.phase === "Released" && environment.now() - record.since >= options.historyMilliseconds;
  return isOld && (await environment.store.delete(record)) ? "deleted" : "nothing";
}

async function collectHolder(
  record: IpAddressRecord,
  judged: IpAddressRecord,
  { node, store, reads, isAttached, now }: CollectEnvironment,
): Promise<Collected> {
  const { holder } = record;
  if (holder === undefined || holder.podUid !== judged.holder?.podUid) return "nothing";
  if ((await reads.podUid(holder.namespace, holder.pod)) === holder.podUid) return "nothing";
  const isHere = holder.node === node.name;
  // The node of that name sees its interfaces; only when there is none has whoever removed it spoken for its pods.
  if (!isHere && (await reads.nodeUid(holder.node)) !== undefined) return "nothing";
  if (isHere && isAttached(holder.podUid)) return "nothing";
  const next = releaseClaim(record, isHere ? "PodGone" : "NodeGone", now());
  if (next === undefined) return (await store.delete(record)) ? "released" : "nothing";
  return (await store.update(next)) === undefined ? "nothing" : "released";
}

async function collectRetained(
  record: IpAddressRecord,
  { reclaimMilliseconds }: Pick<ClaimGarbageOptions, "reclaimMilliseconds">,
  { store, reads, isLeaving, now }: CollectEnvironment,
): Promise<Collected> {
  const { owner, phase, reclaimAt, subnet } = record;
  if (phase !== "Retained") return "nothing";
  const state = owner === undefined ? gone : await reads.ownerState(owner);
  if (state === undefined) return "nothing";
  const isWanted = owner !== undefined && isLeaving?.(subnet) !== true && keepsAddress(owner, state);
  const isKept = isWanted && !(await isSurplus(record, owner, store));
  const swap = async (next: IpAddressRecord, done: Collected): Promise<Collected> =>
    (await store.update(next)) === undefined ? "nothing" : done;
  if (isKept) return reclaimAt === undefined ? "nothing" : swap(scheduleReclaim(record, undefined), "kept");
  if (reclaimAt === undefined) return swap(scheduleReclaim(record, now() + reclaimMilliseconds), "scheduled");
  return now() >= reclaimAt ? swap(reclaim(record, now()), "reclaimed") : "nothing";
}

async function isSurplus(
  record: IpAddressRecord,
  owner: AddressOwner,
  store: Pick<AddressStore, "listOwner">,
): Promise<boolean> {
  const all = await store.listOwner(ownerDigest(owner));
  const others = all.filter((each) => each.uid !== record.uid && isSameOwner(each.owner, owner));
  return surplusAddresses([record, ...others]).has(record.name);
}
