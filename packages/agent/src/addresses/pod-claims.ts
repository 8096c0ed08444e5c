/**
 * Claimed addresses of this node's pods: asked for while a pod starts, remembered in OVSDB before the pod uses them, and given
 * up when the pod is gone. What a claim may do is decided in `ipam/claims.ts`; here are its time, its memory and its Events.
 */
import type { AddressHolder, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { ipFamily, type Ip, type Mac } from "@beyondfabric/packet";
import type { OwnPodRecord } from "../directory/records.ts";
import { AgentError } from "../errors.ts";
import { candidateAddresses, isCandidate } from "../ipam/candidates.ts";
import type { NamedPlan, StickyPlan } from "../ipam/choice.ts";
import { claim, release, type AwaitedGrant, type ClaimEnvironment, type ClaimRequest } from "../ipam/claims.ts";
import type { NodeIdentity } from "../ipam/blocks.ts";
import { IpamError } from "../ipam/errors.ts";
import type { Logger } from "../log.ts";
import type { DurableMemory, PodClaim } from "./durable-memory.ts";
import type { AddressEvents } from "./events.ts";

export type ClaimedPlan = NamedPlan | StickyPlan;

export interface PodClaimsOptions {
  readonly memory: DurableMemory;
  readonly events: AddressEvents;
  readonly logger: Logger;
  /** MAC of the pod that has this address first. */
  readonly macOf: (address: Ip) => Mac;
  /** The watches are open: what they do not show does not exist, but for a moment. */
  readonly isInformed: () => boolean;
  /** A pod of this node by name, as the watch shows it. */
  readonly ownPod: (namespace: string, name: string) => OwnPodRecord | undefined;
  /** What the watch shows of an address. */
  readonly seen: (address: Ip) => IpAddressRecord | undefined;
  /** Claims whose holder is on this node, as the watch shows them. */
  readonly heldHere: () => Iterable<IpAddressRecord>;
  /** Whether a pod of that UID has an interface here, with that address or with any. */
  readonly isAttached: (podUid: string, address?: Ip) => boolean;
  /** This node wrote a claim: nobody need wait until the watch shows it. */
  readonly onWritten: (record: IpAddressRecord) => void;
}

/** How long a pod's start waits for the grant of another node (ms); the runtime asks again after that. */
const grantPatience = 20_000;
/** Of several candidates one is waited for at most so long (ms). */
const candidatePatience = 4000;
/** An address that a machine outside uses is not tried for so long (ms) by pods that may have another. */
const inUseMilliseconds = 10 * 60_000;
/** How often is asked again although nothing was heard (ms). */
const askAgain = 1000;

export class PodClaims {
  readonly #options: PodClaimsOptions;
  /** UIDs of pods that are being given addresses. */
  readonly #underWay = new Map<string, number>();
  /** Addresses that machines outside use, and until when nobody tries them again (ms). */
  readonly #inUse = new Map<Ip, number>();
  #waiters = new Set<() => void>();
  #environment: ClaimEnvironment | undefined;
  #node: NodeIdentity | undefined;
  #reviewing: Promise<void> | undefined;
  #reviewAgain = false;

  constructor(options: PodClaimsOptions) {
    this.#options = options;
  }

  /** Who this node is, and what claims are made with; before that none can be. */
  setEnvironment(node: NodeIdentity, environment: ClaimEnvironment): void {
    this.#node = node;
    this.#environment = environment;
  }

  /** A claim or a block is different: whoever waits for a grant looks again. */
  heard(): void {
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const wake of waiters) wake();
  }

  /** Whether a pod of that UID has an interface here or is about to get one. */
  isPresent(podUid: string): boolean {
    return this.#underWay.has(podUid) || this.#options.isAttached(podUid);
  }

  /**
   * Claims what the plan says, and resolves when the pod may use it.
   * @throws IpamError when somebody else has it; AgentError `AGENT_GRANT_PENDING`, `AGENT_API_NEEDED`; what the API says
   */
  async obtain(pod: OwnPodRecord, plan: ClaimedPlan, signal: AbortSignal | undefined): Promise<PodClaim> {
    this.#underWay.set(pod.uid, (this.#underWay.get(pod.uid) ?? 0) + 1);
    try {
      return await this.#obtain(pod, plan, signal);
    } finally {
      const count = this.#underWay.get(pod.uid)! - 1;
      if (count === 0) this.#underWay.delete(pod.uid);
      else this.#underWay.set(pod.uid, count);
    }
  }

  /** What OVSDB remembers for the pod, if the plan still says so and nobody who can be heard says otherwise. */
  remembered(pod: OwnPodRecord, plan: ClaimedPlan): PodClaim | undefined {
    const claimed = this.#options.memory.podClaim(pod.uid);
    if (claimed === undefined || claimed.subnet !== plan.subnet.name) return undefined;
    if (plan.mac !== undefined && plan.mac !== claimed.mac) return undefined;
    if (!fits(claimed.addresses, plan)) return undefined;
    if (!this.#options.isInformed()) return claimed;
    const isShown = claimed.addresses.every((address) => {
      const record = this.#options.seen(address);
      return record?.phase === "Bound" && record.holder?.podUid === pod.uid;
    });
    return isShown ? claimed : undefined;
  }

  async #obtain(pod: OwnPodRecord, plan: ClaimedPlan, signal: AbortSignal | undefined): Promise<PodClaim> {
    const [node, environment] = [this.#node, this.#environment];
    if (node === undefined || environment === undefined) {
      throw new AgentError(
        "AGENT_API_NEEDED",
        `Pod ${pod.namespace}/${pod.name} asks for an address that has to be claimed (${plan.source}), and the API server has not answered yet; it is tried again`,
      );
    }
    const deadline = Date.now() + grantPatience;
    const avoid = new Set<Ip>(hasChoice(plan) ? this.#inUseNow() : []);
    let waitingSince = Date.now();
    for (;;) {
      const request = this.#request(pod, plan, node, avoid);
      const outcome = await claim(request, environment);
      if (outcome.state === "refused") {
        const error = refusal(plan, outcome.error);
        this.#options.events.conflict(pod, single(plan), error.message);
        throw error;
      }
      if (outcome.state === "granted") return await this.#granted(pod, plan, outcome.records);
      const message = pendingMessage(outcome.awaited);
      this.#options.events.pending(pod, message);
      signal?.throwIfAborted();
      const now = Date.now();
      if (now >= deadline) throw new AgentError("AGENT_GRANT_PENDING", message);
      if (now - waitingSince >= candidatePatience && hasChoice(plan)) {
        for (const { address } of outcome.awaited) avoid.add(address);
        waitingSince = now;
        continue;
      }
      await this.#change(Math.min(askAgain, deadline - now));
    }
  }

  /**
   * A machine outside answers for an address that the pod was granted. The claim of one that may be anybody's is given up,
   * so that the pod gets another; a pod that must have this one waits, and the Event says for whom.
   */
  async inUseElsewhere(
    pod: { readonly namespace: string; readonly name: string; readonly uid: string },
    address: Ip,
    message: string,
  ): Promise<void> {
    const { memory, events, onWritten, ownPod } = this.#options;
    this.#inUse.set(address, Date.now() + inUseMilliseconds);
    events.conflict(pod, [address], message);
    const uid = pod.uid === "" ? (ownPod(pod.namespace, pod.name)?.uid ?? "") : pod.uid;
    const claimed = memory.podClaim(uid);
    const environment = this.#environment;
    if (claimed === undefined || environment === undefined) return;
    // What is kept for an owner stays so: the pod waits until the machine has gone, or until an operator decides.
    if (claimed.addresses.some((each) => this.#options.seen(each)?.retention !== "Pool")) return;
    for (const each of claimed.addresses) {
      const { left } = await release(each, uid, "AddressInUse", environment);
      if (left !== undefined) onWritten(left);
    }
    await memory.forgetPod(uid);
  }

  #inUseNow(): Ip[] {
    const now = Date.now();
    for (const [address, until] of this.#inUse) if (until <= now) this.#inUse.delete(address);
    return [...this.#inUse.keys()];
  }

  #request(pod: OwnPodRecord, plan: ClaimedPlan, node: NodeIdentity, avoid: ReadonlySet<Ip>): ClaimRequest {
    const { subnet, owner, mac } = plan;
    const holder: AddressHolder = {
      namespace: pod.namespace,
      pod: pod.name,
      podUid: pod.uid,
      node: node.name,
      nodeUid: node.uid,
      mac: mac ?? noMac,
    };
    const macOf = mac === undefined ? this.#options.macOf : () => mac;
    if (plan.kind === "sticky") {
      const wishes = subnet.families.map(({ family }) => ({ family }));
      return { subnet, owner, retention: "Sticky", holder, macOf, wishes, avoid };
    }
    const wishes = plan.candidates.map((candidates) => ({
      family: candidates.family,
      candidates: {
        [Symbol.iterator]: () => candidateAddresses(candidates),
        has: (address: Ip) => isCandidate(candidates, address),
      },
    }));
    return { subnet, owner, retention: plan.retention, pool: plan.pool, holder, macOf, wishes, avoid };
  }

  async #granted(pod: OwnPodRecord, plan: ClaimedPlan, records: readonly IpAddressRecord[]): Promise<PodClaim> {
    const { memory, events, onWritten, logger } = this.#options;
    const addresses = records.map(({ address }) => address);
    const claimed: PodClaim = {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      subnet: plan.subnet.name,
      mac: records[0]!.holder!.mac,
      addresses,
    };
    await memory.rememberPod(claimed);
    for (const record of records) onWritten(record);
    events.claimed(records);
    logger.info({ pod: `${pod.namespace}/${pod.name}`, addresses }, "claimed addresses");
    return claimed;
  }

  /** Until something is heard, or so long (ms). */
  #change(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#waiters.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /**
   * Gives up what pods of this node hold that are gone, or have other addresses now. To be called when a pod or an interface
   * went, and now and then; what fails is left to the next call.
   */
  review(): Promise<void> {
    if (this.#reviewing !== undefined) {
      this.#reviewAgain = true;
      return this.#reviewing;
    }
    this.#reviewing = this.#review().finally(() => {
      this.#reviewing = undefined;
      if (!this.#reviewAgain) return;
      this.#reviewAgain = false;
      void this.review();
    });
    return this.#reviewing;
  }

  async #review(): Promise<void> {
    const environment = this.#environment;
    if (environment === undefined || !this.#options.isInformed()) return;
    const { memory, logger } = this.#options;
    const held = new Map<string, Holding>();
    for (const claimed of memory.pods()) held.set(claimed.uid, { ...claimed, addresses: new Set(claimed.addresses) });
    for (const { address, holder } of this.#options.heldHere()) {
      if (holder === undefined) continue;
      const { namespace, pod: name, podUid: uid } = holder;
      const known = held.get(uid) ?? { namespace, name, uid, addresses: new Set<Ip>() };
      known.addresses.add(address);
      held.set(uid, known);
    }
    for (const holding of held.values()) {
      try {
        await this.#giveUp(holding, environment);
      } catch (error) {
        logger.debug({ err: error, pod: `${holding.namespace}/${holding.name}` }, "claims not given up yet");
      }
    }
  }

  async #giveUp(holding: Holding, environment: ClaimEnvironment): Promise<void> {
    const { memory, events, isAttached, onWritten } = this.#options;
    const unused = [...holding.addresses].filter((address) => !isAttached(holding.uid, address));
    if (unused.length === 0) return;
    const reason = await this.#reasonToGiveUp(holding, environment);
    if (reason === undefined) return;
    const given: IpAddressRecord[] = [];
    try {
      for (const address of unused) {
        const { released, left } = await release(address, holding.uid, reason, environment);
        if (left !== undefined) onWritten(left);
        if (released && left !== undefined) given.push(left);
      }
    } finally {
      events.released(given, holding);
    }
    const kept = memory.podClaim(holding.uid);
    if (kept?.addresses.every((address) => unused.includes(address)) === true) await memory.forgetPod(holding.uid);
  }

  /** Why the pod needs these addresses no more; undefined: it does, or that is not certain. */
  async #reasonToGiveUp({ namespace, name, uid }: Holding, environment: ClaimEnvironment): Promise<string | undefined> {
    if (this.#underWay.has(uid)) return undefined;
    const { ownPod, isAttached } = this.#options;
    const pod = ownPod(namespace, name);
    if (pod?.uid === uid) {
      if (pod.leaving) return "PodDeleted";
      if (pod.ended) return "PodEnded";
      // The runtime made the pod's network anew, with other addresses.
      return isAttached(uid) ? "AddressChanged" : undefined;
    }
    const isGone = (await environment.reads.podUid(namespace, name)) !== uid;
    return isGone && !this.#underWay.has(uid) ? "PodDeleted" : undefined;
  }
}

/** Stands where the address, and the MAC that is made of it, are still to be found. */
const noMac: Mac = "00:00:00:00:00:00";

interface Holding {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly addresses: Set<Ip>;
}

/** Whether addresses are what a plan asks for. */
export function fits(addresses: readonly Ip[], plan: ClaimedPlan): boolean {
  if (plan.kind === "sticky") {
    const families = plan.subnet.families.map(({ family }) => family);
    return addresses.length === families.length && addresses.every((each) => families.includes(ipFamily(each)));
  }
  return (
    addresses.length === plan.candidates.length &&
    plan.candidates.every((candidates) => addresses.some((address) => isCandidate(candidates, address)))
  );
}

/** The refusal of one candidate says little where there are many. */
function refusal(plan: ClaimedPlan, error: IpamError): IpamError {
  if (plan.kind === "sticky" || error.code !== "IPAM_ADDRESS_TAKEN" || !hasChoice(plan)) return error;
  const from = plan.pool === undefined ? `${plan.source} lists` : `IPPool ${plan.pool} has`;
  return new IpamError("IPAM_POOL_EXHAUSTED", `${from} no free address: ${error.message}`, { cause: error });
}

function hasChoice(plan: ClaimedPlan): boolean {
  return plan.kind === "sticky" || plan.candidates.some(({ count }) => count > 1n);
}

/** The addresses of a plan that leaves no choice: a refusal is about them. */
function single(plan: ClaimedPlan): Ip[] {
  if (plan.kind === "sticky") return [];
  return plan.candidates.filter(({ count }) => count === 1n).flatMap((each) => [...candidateAddresses(each)]);
}

function pendingMessage(awaited: readonly AwaitedGrant[]): string {
  const each = awaited.map(
    ({ address, node }) => `${address} lies in a block of node ${node}, whose agent has not granted it yet`,
  );
  return `${each.join("; ")}; it is tried again: see whether fabric-node runs there`;
}
