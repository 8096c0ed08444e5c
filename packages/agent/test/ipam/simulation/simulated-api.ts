/**
 * What matters of the Kubernetes API here: one linear history of objects with names, UIDs and versions, compare-and-swap,
 * deletion with preconditions, lists, and watches that may be late. `stores.test.ts` holds it against a real server.
 */
import assert from "node:assert/strict";
import {
  ipAddressManifest,
  ipAddressName,
  ownerDigest,
  parseAddressBlock,
  parseIpAddress,
} from "@beyondfabric/kube/kinds";
import type { AddressBlock, AddressOwner, Identity, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { cidrContains } from "@beyondfabric/packet";
import type { Ip } from "@beyondfabric/packet";
import { isDeepStrictEqual } from "node:util";
import type { BlockStore } from "../../../src/ipam/blocks.ts";
import type { AddressStore } from "../../../src/ipam/claims.ts";

/** How the pod is to get its addresses. */
export interface Plan {
  readonly kind: "ordinary" | "sticky" | "fixed" | "pool";
  readonly owner: AddressOwner;
  readonly candidates?: readonly Ip[];
}

export interface PodObject extends Identity {
  readonly namespace: string;
  readonly pod: string;
  readonly node: string;
  readonly plan: Plan;
  /** What the kubelet published. */
  readonly addresses: readonly Ip[];
  /** The kubelet is to end it. */
  readonly isDeleted: boolean;
}

/** A StatefulSet or a Deployment. */
export interface OwnerObject extends Identity {
  readonly kind: string;
  readonly replicas: number;
  readonly start: number;
  readonly candidates: readonly Ip[] | undefined;
}

export interface NodeObject extends Identity {
  /** Its annotation `beyondfabric.io/wants-block`. */
  readonly wants: string | undefined;
}

export interface Kinds {
  addresses: IpAddressRecord;
  blocks: AddressBlock;
  nodes: NodeObject;
  pods: PodObject;
  owners: OwnerObject;
}

export type KindName = keyof Kinds;

interface LogEntry {
  readonly kind: KindName;
  readonly name: string;
  readonly object: Identity | undefined;
}

/** The server's memory. Everything happens at once when it is called. */
export class SimulatedApi {
  readonly #objects = new Map<KindName, Map<string, Identity>>();
  readonly log: LogEntry[] = [];
  #serial = 0;

  #of(kind: KindName): Map<string, Identity> {
    let objects = this.#objects.get(kind);
    if (objects === undefined) this.#objects.set(kind, (objects = new Map()));
    return objects;
  }

  #write(kind: KindName, name: string, object: Identity | undefined): void {
    if (object === undefined) this.#of(kind).delete(name);
    else this.#of(kind).set(name, object);
    this.log.push({ kind, name, object });
  }

  /** Undefined when one of that name exists. */
  create<Kind extends KindName>(
    kind: Kind,
    name: string,
    value: Omit<Kinds[Kind], keyof Identity>,
  ): Kinds[Kind] | undefined {
    if (this.#of(kind).has(name)) return undefined;
    const serial = ++this.#serial;
    const identity: Identity = { name, uid: `uid-${serial}`, resourceVersion: `${serial}`, created: 0, generation: 1 };
    const object = { ...value, ...identity } as unknown as Kinds[Kind];
    this.#write(kind, name, object);
    return object;
  }

  get<Kind extends KindName>(kind: Kind, name: string): Kinds[Kind] | undefined {
    return this.#of(kind).get(name) as Kinds[Kind] | undefined;
  }

  list<Kind extends KindName>(kind: Kind): Kinds[Kind][] {
    return [...this.#of(kind).values()] as Kinds[Kind][];
  }

  /** Undefined when UID or version are others by now. What changes nothing gives no new version, as in the real one. */
  update<Kind extends KindName>(kind: Kind, object: Kinds[Kind]): Kinds[Kind] | undefined {
    const stored = this.get(kind, object.name);
    if (stored?.uid !== object.uid || stored.resourceVersion !== object.resourceVersion) return undefined;
    if (isDeepStrictEqual(stored, object)) return stored;
    const changed = { ...object, resourceVersion: `${++this.#serial}` };
    this.#write(kind, object.name, changed);
    return changed;
  }

  /** Without preconditions whatever is there; false when they do not hold, or nothing is there. */
  delete(kind: KindName, name: string, preconditions?: Pick<Identity, "uid" | "resourceVersion">): boolean {
    const stored = this.get(kind, name);
    if (stored === undefined) return false;
    const isMeant =
      preconditions === undefined ||
      (stored.uid === preconditions.uid && stored.resourceVersion === preconditions.resourceVersion);
    if (isMeant) this.#write(kind, name, undefined);
    return isMeant;
  }
}

/** What a client sees of the log, as far as it has read it. */
export class SimulatedWatch {
  readonly #api: SimulatedApi;
  readonly #objects = new Map<KindName, Map<string, Identity>>();
  #position = 0;

  /** @param position in the log that the first list shows */
  constructor(api: SimulatedApi, position: number) {
    this.#api = api;
    this.advance(position);
  }

  get lag(): number {
    return this.#api.log.length - this.#position;
  }

  advance(entries: number): void {
    for (const { kind, name, object } of this.#api.log.slice(this.#position, this.#position + entries)) {
      let objects = this.#objects.get(kind);
      if (objects === undefined) this.#objects.set(kind, (objects = new Map()));
      if (object === undefined) objects.delete(name);
      else objects.set(name, object);
      this.#position++;
    }
  }

  list<Kind extends KindName>(kind: Kind): Kinds[Kind][] {
    return [...(this.#objects.get(kind)?.values() ?? [])] as Kinds[Kind][];
  }

  get<Kind extends KindName>(kind: Kind, name: string): Kinds[Kind] | undefined {
    return this.#objects.get(kind)?.get(name) as Kinds[Kind] | undefined;
  }
}

/** Carries a request to the server and the answer back, whenever it likes. */
export type Call = <Answer>(name: string, request: () => Answer) => Promise<Answer>;

export function addressStore(api: SimulatedApi, call: Call): AddressStore {
  return {
    create: (claim) =>
      call("create address", () => {
        checkWritten(claim as IpAddressRecord);
        return api.create("addresses", ipAddressName(claim.address), claim);
      }),
    get: (address) => call("get address", () => api.get("addresses", ipAddressName(address))),
    update: (record) =>
      call("update address", () => {
        checkWritten(record);
        return api.update("addresses", record);
      }),
    delete: (record) => call("delete address", () => api.delete("addresses", record.name, record)),
    listOwner: (digest) =>
      call("list owner", () =>
        api.list("addresses").filter(({ owner }) => owner !== undefined && ownerDigest(owner) === digest),
      ),
    listInside: (cidr, subnet) =>
      call("list inside", () =>
        api.list("addresses").filter((each) => each.subnet === subnet && cidrContains(cidr, each.address)),
      ),
  };
}

/** Only what the kind's own rules allow is ever written. */
function checkWritten(record: IpAddressRecord): void {
  const parsed = parseIpAddress(ipAddressManifest(record));
  if (!parsed.ok) assert.fail(JSON.stringify(parsed.violations));
}

export function blockStore(api: SimulatedApi, call: Call): BlockStore {
  const get = (name: string): Promise<AddressBlock | undefined> => call("get block", () => api.get("blocks", name));
  return {
    get,
    create: (manifest) =>
      call("create block", () => {
        const parsed = parseAddressBlock(manifest);
        if (!parsed.ok) assert.fail(JSON.stringify(parsed.violations));
        return api.create("blocks", parsed.value.name, parsed.value);
      }),
    existing: async (names) => {
      const found: AddressBlock[] = [];
      for (const name of names) {
        const block = await get(name);
        if (block !== undefined) found.push(block);
      }
      return found;
    },
    lend: (block, lent) => call("update block", () => api.update("blocks", { ...block, lent })),
    delete: (block) => call("delete block", () => api.delete("blocks", block.name, block)),
  };
}
