/**
 * What must be known of addresses when the agent starts and the API server is away: the blocks of this node, what is promised
 * to claims inside them, and which claimed addresses its pods hold. Kept in OVSDB, in the `external_ids` of the bridge, and
 * written before anything relies on it.
 */
import { Transaction, type Cache, type OvsdbClient } from "@beyondfabric/ovsdb";
import { formatCidr, isIp, isMac, parseCidr, parseIp, parseMac, type Ip, type Mac } from "@beyondfabric/packet";
import { AgentError } from "../errors.ts";
import type { AddressMemory, OwnBlock } from "../ipam/own-blocks.ts";
import { owner, ownerKey, type SwitchTables } from "../switch/database.ts";

const memoryKey = "beyondfabric.io/addresses";
const memoryFormat = 1;

/** The claimed addresses of one pod of this node. */
export interface PodClaim {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly subnet: string;
  readonly mac: Mac;
  readonly addresses: readonly Ip[];
}

export interface Memory extends AddressMemory {
  readonly pods: readonly PodClaim[];
}

export interface DurableMemoryOptions {
  readonly database: Pick<OvsdbClient, "transact">;
  readonly cache: Cache<SwitchTables>;
  readonly bridge: string;
}

export class DurableMemory {
  readonly #options: DurableMemoryOptions;
  #own: AddressMemory = { blocks: [], reserved: [] };
  readonly #pods = new Map<string, PodClaim>();
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(options: DurableMemoryOptions) {
    this.#options = options;
  }

  /** Reads what a former life wrote; what cannot be read counts as none. */
  restore(): Memory {
    const { cache, bridge } = this.#options;
    const text = cache.find("Bridge", (row) => row.name === bridge)?.external_ids[memoryKey];
    const read = text === undefined ? undefined : parseMemory(text);
    if (read !== undefined) {
      this.#own = { blocks: read.blocks, reserved: read.reserved };
      for (const claim of read.pods) this.#pods.set(claim.uid, claim);
    }
    return { ...this.#own, pods: [...this.#pods.values()] };
  }

  pods(): IterableIterator<PodClaim> {
    return this.#pods.values();
  }

  podClaim(uid: string): PodClaim | undefined {
    return this.#pods.get(uid);
  }

  /** The claim of a pod of that name, whatever its UID. */
  podClaimNamed(namespace: string, name: string): PodClaim | undefined {
    return [...this.#pods.values()].find((claim) => claim.namespace === namespace && claim.name === name);
  }

  /**
   * Blocks and promises as they are from now on; resolves when OVSDB has them.
   * @throws AgentError `AGENT_MEMORY` while the bridge is not there or not ours: then nothing may be promised
   */
  rememberOwn(own: AddressMemory): Promise<void> {
    this.#own = own;
    return this.#save();
  }

  /** Resolves when OVSDB has it: only then may the pod use the addresses. */
  rememberPod(claim: PodClaim): Promise<void> {
    this.#pods.set(claim.uid, claim);
    return this.#save();
  }

  async forgetPod(uid: string): Promise<void> {
    if (this.#pods.delete(uid)) await this.#save();
  }

  /** One write at a time; all that is asked for while one is under way goes with the next. */
  #save(): Promise<void> {
    if (this.#writing === undefined) {
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
      });
      return this.#writing;
    }
    this.#next ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#save();
      });
    return this.#next;
  }

  async #write(): Promise<void> {
    const { cache, bridge, database } = this.#options;
    const text = formatMemory({ ...this.#own, pods: [...this.#pods.values()] });
    const row = cache.find("Bridge", (candidate) => candidate.name === bridge);
    if (row?.external_ids[ownerKey] !== owner) {
      const state = row === undefined ? "is not there" : "belongs to another program";
      throw new AgentError(
        "AGENT_MEMORY",
        `bridge ${bridge}, where this node keeps what it promises of addresses, ${state}; see \`fabricctl status\``,
      );
    }
    if (row.external_ids[memoryKey] === text) return;
    await database.transact(
      new Transaction().setPairs("Bridge", { name: bridge }, "external_ids", { [memoryKey]: text }),
    );
  }
}

export function formatMemory({ blocks, reserved, pods }: Memory): string {
  return JSON.stringify({
    format: memoryFormat,
    blocks: blocks.map(({ subnet, cidr, lent }) => ({ subnet, cidr: formatCidr(cidr), lent: lent.map(formatCidr) })),
    reserved,
    pods,
  });
}

/** Undefined for what is none of ours: people can write into the database too. */
export function parseMemory(text: string): Memory | undefined {
  try {
    const raw = fieldsOf(JSON.parse(text));
    const { format, blocks, reserved, pods } = raw;
    if (format !== memoryFormat || !Array.isArray(blocks) || !areIps(reserved) || !Array.isArray(pods))
      return undefined;
    return {
      blocks: blocks.map(readBlock),
      reserved: reserved.map(parseIp),
      pods: pods.map(readPod),
    };
  } catch {
    return undefined;
  }
}

function readBlock(raw: unknown): OwnBlock {
  const { subnet, cidr, lent } = fieldsOf(raw);
  if (!Array.isArray(lent)) throw new TypeError("a block without `lent`");
  return { subnet: textOf(subnet), cidr: parseCidr(textOf(cidr)), lent: lent.map((part) => parseCidr(textOf(part))) };
}

function readPod(raw: unknown): PodClaim {
  const { namespace, name, uid, subnet, mac, addresses } = fieldsOf(raw);
  if (!areIps(addresses) || typeof mac !== "string" || !isMac(mac)) throw new TypeError("a pod without addresses");
  return {
    namespace: textOf(namespace),
    name: textOf(name),
    uid: textOf(uid),
    subnet: textOf(subnet),
    mac: parseMac(mac),
    addresses: addresses.map(parseIp),
  };
}

function areIps(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string" && isIp(each));
}

function textOf(value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`${String(value)} is no text`);
  return value;
}

function fieldsOf(raw: unknown): Readonly<Record<string, unknown>> {
  return typeof raw === "object" && raw !== null ? (raw as Record<string, unknown>) : {};
}
