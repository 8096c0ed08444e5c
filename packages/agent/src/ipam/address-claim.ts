/**
 * What may become of a claim: each function gives the next version of an IPAddress, for a compare-and-swap with the version
 * that was read. Nothing else writes these objects. `now` is in milliseconds since the epoch.
 *
 * `Pending` is a claim that its claimant has not confirmed; `Bound` one that was confirmed once, which stays true until
 * it is `Released`: whoever makes a block around it later finds it and keeps off.
 */
import { MAX_HISTORY, ownerDigest } from "@beyondfabric/kube/kinds";
import type { AddressClaim, AddressHolder, AddressOwner, AddressRetention } from "@beyondfabric/kube/kinds";
import type { HistoryEntry, IpAddressRecord } from "@beyondfabric/kube/kinds";
import type { Cidr, Ip } from "@beyondfabric/packet";

/** On whose behalf and under which rule an address is claimed. */
export interface ClaimTerms {
  readonly subnet: string;
  readonly retention: AddressRetention;
  readonly owner: AddressOwner;
  /** The IPPool that the address is drawn from, if any. */
  readonly pool?: string | undefined;
}

export type AddressGrant = NonNullable<AddressClaim["grant"]>;

/** Whether two owners are one, made anew perhaps: of the same kind, namespace, name and slot. */
export function isSameOwner(a: AddressOwner | undefined, b: AddressOwner | undefined): boolean {
  return a !== undefined && b !== undefined && ownerDigest(a) === ownerDigest(b);
}

/** A first claim of an address that has no object. */
export function newClaim(address: Ip, terms: ClaimTerms, holder: AddressHolder, now: number): AddressClaim {
  const { subnet, retention, owner, pool } = terms;
  return {
    address,
    subnet,
    pool,
    retention,
    owner,
    holder,
    phase: "Pending",
    since: now,
    history: [],
    grant: undefined,
    refusal: undefined,
    reclaimAt: undefined,
  };
}

/** A claim of an address that is nobody's, but has a history. */
export function claimReleased(
  record: IpAddressRecord,
  terms: ClaimTerms,
  holder: AddressHolder,
  now: number,
): IpAddressRecord {
  const { history } = record;
  return { ...record, ...newClaim(record.address, { ...terms, subnet: record.subnet }, holder, now), history };
}

/** The owner's next pod takes the address that was kept for it. */
export function claimRetained(
  record: IpAddressRecord,
  terms: ClaimTerms,
  holder: AddressHolder,
  now: number,
): IpAddressRecord {
  const { retention, owner, pool } = terms;
  return { ...record, retention, owner, pool, holder, phase: "Bound", since: now, reclaimAt: undefined };
}

/** The owner's next pod takes the address over from one that is gone. What was not confirmed is not by that. */
export function succeed(
  record: IpAddressRecord,
  terms: ClaimTerms,
  holder: AddressHolder,
  now: number,
): IpAddressRecord {
  const { retention, owner, pool } = terms;
  return { ...record, retention, owner, pool, holder, since: now, history: ended(record, now, "Succeeded") };
}

/** The claimant found that nobody else can hand the address out. */
export function confirm(record: IpAddressRecord, grant: AddressGrant | undefined, now: number): IpAddressRecord {
  return { ...record, phase: "Bound", since: now, grant, refusal: undefined };
}

/** The block's owner promises not to hand the address out. */
export function grantClaim(record: IpAddressRecord, block: Cidr, nodeUid: string): IpAddressRecord {
  return { ...record, grant: { block, nodeUid }, refusal: undefined };
}

/** The block's owner says why it cannot promise that. */
export function refuseClaim(record: IpAddressRecord, nodeUid: string, message: string): IpAddressRecord {
  return { ...record, grant: undefined, refusal: { nodeUid, message } };
}

/**
 * The holder gives the address up. What was never confirmed, or is nobody's from now on and has no history, needs no
 * object: undefined says that it is to be deleted.
 * @param reason for the history, such as `PodDeleted`
 */
export function releaseClaim(record: IpAddressRecord, reason: string, now: number): IpAddressRecord | undefined {
  const history = ended(record, now, reason);
  if (record.phase === "Bound" && record.retention !== "Pool" && record.owner !== undefined) {
    return { ...record, holder: undefined, phase: "Retained", since: now, history };
  }
  const last = history.at(-1);
  // A claim in between that was never confirmed does not make the address younger.
  return last === undefined ? undefined : nobodys({ ...record, history }, last.until);
}

/** A retained address whose owner is gone or too small is released at `at`; undefined: it is the owner's again. */
export function scheduleReclaim(record: IpAddressRecord, at: number | undefined): IpAddressRecord {
  return { ...record, reclaimAt: at };
}

/** The time has passed: anybody may have the address. */
export function reclaim(record: IpAddressRecord, now: number): IpAddressRecord {
  return nobodys(record, now);
}

function nobodys(record: IpAddressRecord, now: number): IpAddressRecord {
  return {
    ...record,
    owner: undefined,
    holder: undefined,
    pool: undefined,
    phase: "Released",
    since: now,
    grant: undefined,
    refusal: undefined,
    reclaimAt: undefined,
  };
}

/** The history with the holder that leaves, if it ever used the address. */
function ended(record: IpAddressRecord, until: number, reason: string): readonly HistoryEntry[] {
  const { holder, phase, since, history } = record;
  if (holder === undefined || phase !== "Bound") return history;
  const { namespace, pod, podUid, node, mac } = holder;
  return [...history, { namespace, pod, podUid, node, mac, from: since, until, reason }].slice(-MAX_HISTORY);
}
