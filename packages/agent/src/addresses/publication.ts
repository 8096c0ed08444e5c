/**
 * What the objects of address management say to people: conditions, figures, who has which address. Behind the pods, batched,
 * and only when it is different; decisions are taken from none of it. Objects that are everybody's are written by the node
 * that rendezvous hashing puts first, and by the next in line when that one does not.
 */
import { isConflict, isNotFound, type EventRecorder, type KubeClient } from "@beyondfabric/kube";
import {
  addressBlockKind,
  addressBlockName,
  addressBlockStatus,
  API_GROUP,
  API_VERSION,
  formatViolation,
  ipPoolKind,
  networkKind,
  parseAddressBlockStatus,
  subnetKind,
  type AddressBlock,
  type BlockAllocation,
  type IpAddressRecord,
  type IpPool,
  type Kind,
  type Network,
  type Subnet,
  type Violation,
} from "@beyondfabric/kube/kinds";
import { cidrContains, formatCidr, type Cidr, type Ip } from "@beyondfabric/packet";
import type { PodPort } from "../attachment/ports.ts";
import { conditionsOf, withCondition, type ConditionRecord, type Stored } from "../directory/stored.ts";
import type { NodeIdentity } from "../ipam/blocks.ts";
import { placeInLine } from "../ipam/garbage.ts";
import type { OwnBlock } from "../ipam/own-blocks.ts";
import type { Logger } from "../log.ts";
import { BlockLedger } from "./block-ledger.ts";
import { poolFigures, subnetFigures, type SubnetFigures } from "./figures.ts";
import { holdersOf, inUseCondition, type ResidentNode, type SubnetHolders } from "./subnet-holders.ts";

/** Keeps a Subnet from vanishing under its pods. */
export const inUseFinalizer = `${API_GROUP}/in-use`;

/** What there is to publish about. */
export interface PublicationSource {
  readonly self: () => NodeIdentity | undefined;
  readonly nodes: () => readonly NodeIdentity[];
  /** Addresses that nodes have themselves. */
  readonly residents: () => readonly ResidentNode[];
  readonly networks: () => readonly Stored<Network>[];
  readonly subnets: () => readonly Stored<Subnet>[];
  readonly pools: () => readonly Stored<IpPool>[];
  /** What objects break together, beside what each breaks by itself. */
  readonly violations: () => readonly Violation[];
  readonly blocks: () => Iterable<AddressBlock>;
  readonly claims: () => Iterable<IpAddressRecord>;
  /** Claims of a subnet, read from the API server. */
  readonly readClaims: (subnet: string) => Promise<readonly IpAddressRecord[]>;
  readonly ownBlocks: () => readonly OwnBlock[];
  /** Addresses that an own block could hand out in all. */
  readonly roomOf: (block: OwnBlock) => bigint;
  /** Addresses of own blocks that nobody else can get: allocated or reserved. */
  readonly taken: () => Iterable<Ip>;
  readonly ports: () => Iterable<PodPort>;
}

export interface PublicationOptions {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly source: PublicationSource;
  readonly logger: Logger;
}

/** A block is written at most so often (ms). */
const blockMilliseconds = 1000;
/** How much longer each next in line waits before it writes about an object that is everybody's (ms). */
const stepMilliseconds = 10_000;

export class Publication {
  readonly #options: PublicationOptions;
  readonly #ledgers = new Map<string, { ledger: BlockLedger; written: number }>();
  /** Objects that do not say what they should, since when (ms), and this node's place in line. */
  readonly #overdue = new Map<string, { readonly since: number; readonly place: number }>();

  #figures: ReadonlyMap<string, SubnetFigures> = new Map();

  constructor(options: PublicationOptions) {
    this.#options = options;
  }

  /** How full each subnet of the cluster was when it was looked at last, by name. */
  get figures(): ReadonlyMap<string, SubnetFigures> {
    return this.#figures;
  }

  /**
   * Writes the status of own blocks that differ and were not written a moment ago.
   * @returns how long (ms) until a block that had to wait can be written; undefined when none had to
   */
  async publishBlocks(): Promise<number | undefined> {
    const { source } = this.#options;
    const blocks = source.ownBlocks();
    const names = new Set(blocks.map(({ cidr }) => addressBlockName(cidr)));
    for (const name of this.#ledgers.keys()) if (!names.has(name)) this.#ledgers.delete(name);
    const taken = [...source.taken()];
    const ports = [...source.ports()];
    let wait: number | undefined;
    for (const block of blocks) {
      const due = await this.#publishBlock(block, taken, ports);
      if (due !== undefined) wait = Math.min(wait ?? due, due);
    }
    return wait;
  }

  async #publishBlock(block: OwnBlock, taken: readonly Ip[], ports: readonly PodPort[]): Promise<number | undefined> {
    const { client, source } = this.#options;
    const name = addressBlockName(block.cidr);
    const entry = this.#ledgers.get(name) ?? (await this.#openLedger(name));
    if (entry === undefined) return undefined;
    const used = taken.filter((address) => isInside(block.cidr, address)).length;
    const free = source.roomOf(block) - BigInt(used);
    const status = entry.ledger.due(
      {
        used,
        free: free > 0n ? Number(free < maxCount ? free : maxCount) : 0,
        allocations: ports.filter(({ claimed }) => !claimed).flatMap((port) => allocationsIn(block.cidr, port)),
      },
      Date.now(),
    );
    if (status === undefined) return undefined;
    const waited = performance.now() - entry.written;
    if (waited < blockMilliseconds) return blockMilliseconds - waited;
    entry.written = performance.now();
    try {
      await client.patch(addressBlockKind, name, { status: addressBlockStatus(status) }, { subresource: "status" });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    entry.ledger.wrote(status);
    return undefined;
  }

  /** What a former life published is the beginning of the history. */
  async #openLedger(name: string): Promise<{ ledger: BlockLedger; written: number } | undefined> {
    try {
      const published = parseAddressBlockStatus(await this.#options.client.get(addressBlockKind, name));
      const entry = { ledger: new BlockLedger(published), written: Number.NEGATIVE_INFINITY };
      this.#ledgers.set(name, entry);
      return entry;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Conditions and figures of Networks, Subnets and IPPools, and the finalizers of Subnets. */
  async publishObjects(): Promise<void> {
    const { source, logger } = this.#options;
    const self = source.self();
    if (self === undefined) return;
    const nodes = source.nodes();
    const blocks = [...source.blocks()];
    const claims = [...source.claims()];
    const together = source.violations();
    const standing = new Set<string>();
    const attend = async <T>(stored: Stored<T>, kind: Kind, figures: object, more: Condition[] = []): Promise<void> => {
      const key = `${stored.kind}/${stored.name}`;
      const violations = [...stored.violations, ...together.filter(({ object }) => object === key)];
      const accepted = acceptedCondition(violations);
      const change = statusChange(stored, figures, [accepted, ...more]);
      if (change === undefined) return;
      standing.add(key);
      if (!this.#isDue(key, stored.uid, self, nodes)) return;
      try {
        await this.#options.client.patch(kind, stored.name, { status: change }, { subresource: "status" });
        if (accepted.status === "False") this.#refused(stored, violations);
      } catch (error) {
        if (!isNotFound(error)) logger.debug({ err: error, object: key }, "status not written yet");
      }
    };
    for (const network of source.networks()) await attend(network, networkKind, {});
    const known = new Map<string, SubnetFigures>();
    for (const subnet of source.subnets()) {
      const { value } = subnet;
      const figures = value === undefined ? undefined : subnetFigures(value, blocks, claims);
      if (figures !== undefined) known.set(subnet.name, figures);
      const more = subnet.deleting ? [inUseCondition(await this.#holders(subnet, blocks, claims))] : [];
      await attend(subnet, subnetKind, figures ?? {}, more);
      if (subnet.deleting && this.#isFirst(subnet.uid, self, nodes)) await this.#letGo(subnet);
    }
    this.#figures = known;
    for (const pool of source.pools()) {
      await attend(pool, ipPoolKind, pool.value === undefined ? {} : poolFigures(pool.value, claims));
    }
    for (const key of this.#overdue.keys()) if (!standing.has(key)) this.#overdue.delete(key);
  }

  #isFirst(uid: string, self: NodeIdentity, nodes: readonly NodeIdentity[]): boolean {
    return placeInLine(uid, self, nodes) === 0;
  }

  #isDue(key: string, uid: string, self: NodeIdentity, nodes: readonly NodeIdentity[]): boolean {
    let overdue = this.#overdue.get(key);
    if (overdue === undefined) {
      overdue = { since: performance.now(), place: placeInLine(uid, self, nodes) };
      this.#overdue.set(key, overdue);
    }
    const { since, place } = overdue;
    return place >= 0 && performance.now() - since >= place * stepMilliseconds;
  }

  #refused({ kind, name, uid }: Stored<unknown>, violations: readonly Violation[]): void {
    const target = { apiVersion: `${API_GROUP}/${API_VERSION}`, kind, name, uid };
    const [first] = violations;
    if (first === undefined) return;
    const message = violations.map(({ field, rule, remedy }) => `${field} ${rule}; ${remedy}`).join("; ");
    this.#options.events.record(target, "Warning", "Refused", message);
  }

  /**
   * Puts the finalizer on a Subnet before anything of it is claimed.
   * @throws what the API server says
   */
  async protect(name: string): Promise<void> {
    const { client, source } = this.#options;
    const shown = source.subnets().find((each) => each.name === name);
    if (shown?.finalizers.includes(inUseFinalizer) === true) return;
    for (let attempt = 1; ; attempt++) {
      const raw = await client.get<{ metadata: { resourceVersion: string; finalizers?: string[] } }>(subnetKind, name);
      const { resourceVersion, finalizers = [] } = raw.metadata;
      if (finalizers.includes(inUseFinalizer)) return;
      const metadata = { resourceVersion, finalizers: [...finalizers, inUseFinalizer] };
      try {
        await client.patch(subnetKind, name, { metadata });
        return;
      } catch (error) {
        if (!isConflict(error) || attempt === 5) throw error;
      }
    }
  }

  async #holders(
    { name, finalizers }: Stored<Subnet>,
    blocks: readonly AddressBlock[],
    claims: readonly IpAddressRecord[],
  ): Promise<SubnetHolders> {
    if (!finalizers.includes(inUseFinalizer)) return { pods: [], nodes: [], residents: [] };
    const read = async (block: AddressBlock): Promise<readonly BlockAllocation[]> => {
      try {
        return parseAddressBlockStatus(await this.#options.client.get(addressBlockKind, block.name))?.allocations ?? [];
      } catch (error) {
        if (isNotFound(error)) return [];
        throw error;
      }
    };
    return holdersOf(name, blocks, claims, this.#options.source.residents(), read);
  }

  /** Takes the finalizer away once the API server shows no block and no held claim of the subnet. */
  async #letGo(subnet: Stored<Subnet>): Promise<void> {
    const { client, logger, source } = this.#options;
    if (!subnet.finalizers.includes(inUseFinalizer)) return;
    const isHeld = (claim: IpAddressRecord): boolean => claim.subnet === subnet.name && claim.holder !== undefined;
    if ([...source.blocks()].some((block) => block.subnet === subnet.name)) return;
    if ([...source.claims()].some(isHeld)) return;
    try {
      const blocks = await client.listAll(addressBlockKind, (raw) => subnetIn(raw) === subnet.name || undefined);
      if (blocks.records.length > 0 || (await source.readClaims(subnet.name)).some(isHeld)) return;
      const raw = await client.get<{ metadata: { uid: string; resourceVersion: string; finalizers?: string[] } }>(
        subnetKind,
        subnet.name,
      );
      const { uid, resourceVersion, finalizers = [] } = raw.metadata;
      if (uid !== subnet.uid) return;
      const metadata = { resourceVersion, finalizers: finalizers.filter((each) => each !== inUseFinalizer) };
      await client.patch(subnetKind, subnet.name, { metadata });
      logger.info({ subnet: subnet.name }, "nobody holds anything of a deleted Subnet any more");
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }
}

type Condition = Omit<ConditionRecord, "lastTransitionTime" | "observedGeneration">;

const maxCount = BigInt(Number.MAX_SAFE_INTEGER);
const maxMessage = 1024;

function acceptedCondition(violations: readonly Violation[]): Condition {
  if (violations.length === 0) return { type: "Accepted", status: "True", reason: "Sound", message: "breaks no rule" };
  const message = violations.map(formatViolation).join("; ").slice(0, maxMessage);
  return { type: "Accepted", status: "False", reason: "RuleBroken", message };
}

/** What the status must say beside what it says; undefined when it says all of it. */
export function statusChange(
  stored: Pick<Stored<unknown>, "status" | "generation">,
  figures: object,
  conditions: readonly Condition[],
): Record<string, unknown> | undefined {
  const before = conditionsOf(stored.status);
  let next = before;
  for (const condition of conditions) {
    next = withCondition(next, { ...condition, observedGeneration: stored.generation }, Date.now());
  }
  const wanted: Record<string, unknown> = { ...figures, conditions: next };
  const isSame = Object.entries(wanted).every(
    ([field, value]) => canonical(stored.status[field]) === canonical(field === "conditions" ? next : value),
  );
  return isSame ? undefined : wanted;
}

/** JSON with its keys in order, so that equal values are equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

function allocationsIn(cidr: Cidr, port: PodPort): BlockAllocation[] {
  const pod = `${port.namespace}/${port.name}`;
  return port.addresses
    .filter((address) => isInside(cidr, address))
    .map((address) => ({ address, pod, uid: port.uid, since: port.created }));
}

function isInside(cidr: Cidr, address: Ip): boolean {
  return cidrContains(cidr, address);
}

function subnetIn(raw: unknown): string | undefined {
  return (raw as { spec?: { subnet?: string } } | null)?.spec?.subnet;
}

/** A block's name for people. */
export function blockTitle(block: { readonly cidr: Cidr; readonly node: string }): string {
  return `${formatCidr(block.cidr)} of node ${block.node}`;
}
