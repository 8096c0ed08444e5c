/**
 * What an operator asks about addresses: reads the facts, lets `ipam/audit*.ts` judge them, and carries out the repairs that
 * the operator agreed to.
 */
import type { Ip } from "@beyondfabric/packet";
import type { AddressOwner, IpAddressRecord, Subnet } from "@beyondfabric/kube/kinds";
import { ownerDigest } from "@beyondfabric/kube/kinds";
import type { AddressHistoryQuery, AddressListQuery, AddressSource } from "../api/address-routes.ts";
import type {
  AddressCheckReply,
  AddressesReply,
  AddressHistoryReply,
  AddressRepairReply,
  AddressReply,
} from "../api/types.ts";
import type { AddressFactReader } from "../directory/address-facts.ts";
import { AddressBook, type AddressFacts, type AuditNode } from "../ipam/audit.ts";
import { confirmed, findingsOf, type Finding, type RepairStep } from "../ipam/audit-findings.ts";
import { historyOfAddress, historyOfPod } from "../ipam/audit-history.ts";
import { keepsAddress, type OwnerState } from "../ipam/claim-garbage.ts";
import { repair, type RepairEnvironment } from "../ipam/repair.ts";
import { AgentError } from "../errors.ts";
import type { Logger } from "../log.ts";

export interface AddressAuditOptions {
  readonly reader: AddressFactReader;
  /** What the watches show. */
  readonly watched: {
    readonly nodes: () => Iterable<AuditNode>;
    readonly subnets: () => readonly Subnet[];
    /** Whether everything was listed once. */
    readonly isListed: () => boolean;
  };
  readonly ownerState: (owner: AddressOwner) => Promise<OwnerState | undefined>;
  /** Undefined until the API has told who this node is. */
  readonly repairing: () => Omit<RepairEnvironment, "now"> | undefined;
  /** An operator had this address released. */
  readonly onReleased: (before: IpAddressRecord, left: IpAddressRecord | undefined) => void;
  readonly logger: Logger;
  /** Between the two looks of a check (ms). Default 3,000: owners of blocks publish once a second, and kubelets take as long. */
  readonly secondLookMilliseconds?: number;
}

/** What the agents may take to do what is due (ms). */
const grace = 60_000;
/** Owners that one check asks for, so many at a time: a check is no reason to overrun the API server. */
const mostOwners = 500;
const ownersAtOnce = 8;

export class AddressAudit implements AddressSource {
  readonly #options: AddressAuditOptions;
  #checking: Promise<AddressCheckReply> | undefined;

  constructor(options: AddressAuditOptions) {
    this.#options = options;
  }

  async account(address: Ip): Promise<AddressReply> {
    const objects = await this.#options.reader.about(address, await this.#subnetOf(address));
    return { account: (await this.#book(objects)).account(address) };
  }

  async list({ free, limit, ...selection }: AddressListQuery): Promise<AddressesReply> {
    const book = await this.#book(await this.#options.reader.objects(selection.subnet));
    const found = free ? book.free(selection.subnet) : book.taken(selection);
    const { items: addresses } = await inTurns(found, limit + 1);
    return { addresses: addresses.slice(0, limit), more: addresses.length > limit };
  }

  async history(query: AddressHistoryQuery): Promise<AddressHistoryReply> {
    const { reader } = this.#options;
    if ("pod" in query) {
      const { namespace, name } = query.pod;
      return { tenures: historyOfPod(await reader.objects(), namespace, name) };
    }
    const { address } = query;
    return { tenures: historyOfAddress(await reader.about(address, await this.#subnetOf(address)), address) };
  }

  /** One check at a time: whoever asks meanwhile gets the same answer. */
  check(): Promise<AddressCheckReply> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async #check(): Promise<AddressCheckReply> {
    const { secondLookMilliseconds = 3000 } = this.#options;
    const first = await this.#look();
    if (first.findings.length === 0) return first;
    await new Promise((resolve) => setTimeout(resolve, secondLookMilliseconds));
    const second = await this.#look();
    return { ...second, findings: confirmed(first.findings, second.findings) };
  }

  async #look(): Promise<AddressCheckReply> {
    const { reader } = this.#options;
    // Pods last: what a claim or an allocation names then has its pod, unless the pod is gone.
    const objects = await reader.objects();
    const pods = await reader.pods();
    const book = await this.#book(objects, pods);
    const { claims, blocks, nodes, subnets } = book.facts;
    const keeps = await this.#owners(claims);
    const { items: findings } = await inTurns<Finding, void>(
      findingsOf(book, { now: Date.now(), grace, keeps, unreadable: objects.unreadable }),
    );
    const looked = {
      claims: claims.length,
      blocks: blocks.length,
      pods: pods.length,
      nodes: nodes.length,
      subnets: subnets.length,
    };
    return { findings, looked };
  }

  /** Whether owners of retained addresses that have no time of release still want them. */
  async #owners(claims: readonly IpAddressRecord[]): Promise<(owner: AddressOwner) => boolean | undefined> {
    const wanted = new Map<string, AddressOwner>();
    for (const { phase, owner, reclaimAt } of claims) {
      if (phase !== "Retained" || owner === undefined || reclaimAt !== undefined) continue;
      if (wanted.size < mostOwners) wanted.set(ownerDigest(owner), owner);
    }
    const states = new Map<string, OwnerState | undefined>();
    const queue = wanted.entries();
    const work = async (): Promise<void> => {
      for (const [digest, owner] of queue) states.set(digest, await this.#options.ownerState(owner));
    };
    await Promise.all(Array.from({ length: ownersAtOnce }, work));
    return (owner) => {
      const state = states.get(ownerDigest(owner));
      return state && keepsAddress(owner, state);
    };
  }

  async repair(steps: readonly RepairStep[]): Promise<AddressRepairReply> {
    const results: AddressRepairReply["results"][number][] = [];
    for (const step of steps) results.push(await this.#repair(step));
    return { results };
  }

  async #repair(step: RepairStep): Promise<AddressRepairReply["results"][number]> {
    const { logger, onReleased, repairing } = this.#options;
    const environment = repairing();
    if (environment === undefined) {
      return { step, state: "refused", message: "this node does not know its own Node object yet; try again" };
    }
    try {
      const outcome = await repair(step, { ...environment, now: () => Date.now() });
      if (outcome.state === "done") {
        logger.warn({ step }, "repaired what an operator found in the addresses");
        if ("address" in outcome.before) onReleased(outcome.before, outcome.left);
        return { step, state: "done" };
      }
      return outcome.state === "changed"
        ? { step, state: "changed" }
        : { step, state: "refused", message: outcome.message };
    } catch (error) {
      logger.warn({ err: error, step }, "repair of addresses failed");
      return { step, state: "failed", message: error instanceof Error ? error.message : String(error) };
    }
  }

  async #subnetOf(address: Ip): Promise<Subnet | undefined> {
    return (await this.#book({ claims: [], blocks: [] })).subnetOf(address)?.subnet;
  }

  /** @throws AgentError before everything was listed: an audit of half a cluster finds leaks everywhere */
  async #book(objects: Pick<AddressFacts, "claims" | "blocks">, pods: AddressFacts["pods"] = []): Promise<AddressBook> {
    const { nodes, subnets, isListed } = this.#options.watched;
    if (!isListed()) {
      const message = "the agent has not listed the API server's objects yet; see `fabricctl status`, and ask again";
      throw new AgentError("AGENT_API_NEEDED", message);
    }
    return (await inTurns(AddressBook.from({ ...objects, pods, nodes: [...nodes()], subnets: subnets() }))).result;
  }
}

/** How long the agent may be kept from packets at a time (ms). */
const turnMilliseconds = 5;

/** Goes on to the end, or to so many items, with pauses in which packets are served. */
async function inTurns<T, Result>(
  steps: Generator<T | undefined, Result>,
  most = Number.POSITIVE_INFINITY,
): Promise<{ readonly items: T[]; readonly result: Result }> {
  const items: T[] = [];
  let begun = performance.now();
  for (;;) {
    const { done, value } = items.length >= most ? steps.return(undefined as Result) : steps.next();
    if (done === true) return { items, result: value };
    if (value !== undefined) items.push(value);
    if (performance.now() - begun < turnMilliseconds) continue;
    await new Promise((resolve) => setImmediate(resolve));
    begun = performance.now();
  }
}
