/** Collects what claims were left behind: asks for the owners' state, and lets `ipam/claim-garbage.ts` decide. */
import type { AddressOwner, IpAddressRecord, Subnet } from "@beyondfabric/kube/kinds";
import type { NodeIdentity } from "../ipam/blocks.ts";
import {
  ClaimGarbage,
  collect,
  type ClaimGarbageOptions,
  type GarbageReads,
  type OwnerState,
} from "../ipam/claim-garbage.ts";
import type { AddressStore } from "../ipam/claims.ts";
import { placeInLine } from "../ipam/garbage.ts";
import type { Logger } from "../log.ts";
import type { AddressEvents } from "./events.ts";

export interface ClaimCollectorOptions {
  readonly self: NodeIdentity;
  readonly store: AddressStore;
  readonly reads: GarbageReads;
  /** What the watches show; asked only while they are synced and connected. */
  readonly watched: {
    readonly claims: () => Iterable<IpAddressRecord>;
    readonly nodes: () => readonly NodeIdentity[];
    readonly hasPod: (uid: string) => boolean;
  };
  /** Whether the pod of that UID has an interface on this node, or is about to get one. */
  readonly isAttached: (podUid: string) => boolean;
  readonly subnet: (name: string) => Subnet | undefined;
  readonly reclaimMilliseconds: number;
  readonly historyMilliseconds: number;
  readonly events: Pick<AddressEvents, "collected">;
  readonly logger: Logger;
}

const patience = { graceMilliseconds: 5000, stepMilliseconds: 10_000 };
/** Owners are read by the first nodes in line for their addresses only, so many at a time, and so often (ms). */
const readingPlaces = 2;
const ownersPerRound = 20;
const ownerMilliseconds = 10_000;

export class ClaimCollector {
  readonly #options: ClaimCollectorOptions;
  readonly #garbage: ClaimGarbage;
  readonly #garbageOptions: ClaimGarbageOptions;
  readonly #owners = new Map<string, { readonly state: OwnerState | undefined; readonly read: number }>();
  readonly #places = new Map<string, number>();
  #running = false;

  constructor(options: ClaimCollectorOptions) {
    this.#options = options;
    const { reclaimMilliseconds, historyMilliseconds } = options;
    this.#garbageOptions = { ...patience, reclaimMilliseconds, historyMilliseconds };
    this.#garbage = new ClaimGarbage(options.self, this.#garbageOptions);
  }

  /** One round; what fails is left to the next. */
  async collect(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#readOwners();
      await this.#collect();
    } finally {
      this.#running = false;
    }
  }

  async #collect(): Promise<void> {
    const { self, store, reads, watched, isAttached, subnet, logger } = this.#options;
    const isLeaving = (name: string): boolean => subnet(name)?.deletionTimestamp !== undefined;
    const view = {
      isLeaving,
      claims: watched.claims(),
      nodes: watched.nodes(),
      hasPod: watched.hasPod,
      isAttached,
      ownerState: (owner: AddressOwner) => this.#owners.get(ownerKey(owner))?.state,
    };
    for (const finding of this.#garbage.due(view, Date.now(), performance.now())) {
      const { address } = finding.claim;
      const seconds = subnet(finding.claim.subnet)?.reclaimSeconds;
      const options =
        seconds === undefined ? this.#garbageOptions : { ...this.#garbageOptions, reclaimMilliseconds: seconds * 1000 };
      try {
        const environment = { node: self, store, reads, isAttached, isLeaving, now: () => Date.now() };
        const collected = await collect(finding, options, environment);
        if (collected === "released" || collected === "reclaimed") this.#options.events.collected(finding.claim);
        if (collected !== "nothing")
          logger.info({ address, concern: finding.concern, collected }, "looked after a claim");
      } catch (error) {
        logger.debug({ err: error, address }, "claim not looked after yet");
      }
    }
  }

  /** Asks for the owners of retained addresses that this node is among the first to look after. */
  async #readOwners(): Promise<void> {
    const { watched, reads, logger } = this.#options;
    const nodes = watched.nodes();
    const now = performance.now();
    const wanted = new Map<string, AddressOwner>();
    const kept = new Set<string>();
    for (const claim of watched.claims()) {
      if (claim.holder !== undefined || claim.owner === undefined || claim.phase !== "Retained") continue;
      kept.add(claim.name);
      const key = ownerKey(claim.owner);
      const known = this.#owners.get(key);
      const isFresh = known !== undefined && now - known.read < ownerMilliseconds;
      if (!isFresh && this.#placeFor(claim.name, nodes) < readingPlaces) wanted.set(key, claim.owner);
    }
    for (const name of this.#places.keys()) if (!kept.has(name)) this.#places.delete(name);
    for (const [key, { read }] of this.#owners) {
      if (now - read > 6 * ownerMilliseconds) this.#owners.delete(key);
    }
    for (const [key, owner] of [...wanted].slice(0, ownersPerRound)) {
      try {
        this.#owners.set(key, { state: await reads.ownerState(owner), read: performance.now() });
      } catch (error) {
        logger.debug({ err: error, owner: `${owner.kind} ${owner.namespace}/${owner.name}` }, "owner not read");
      }
    }
  }

  /** Worked out once a claim: a line that changed since only delays. */
  #placeFor(name: string, nodes: readonly NodeIdentity[]): number {
    let place = this.#places.get(name);
    if (place === undefined) {
      place = placeInLine(name, this.#options.self, nodes);
      this.#places.set(name, place);
    }
    return place < 0 ? Number.POSITIVE_INFINITY : place;
  }
}

/** All slots of an owner ask for the same object. */
function ownerKey({ apiVersion, kind, namespace, name }: AddressOwner): string {
  return `${apiVersion}/${kind}/${namespace}/${name}`;
}
