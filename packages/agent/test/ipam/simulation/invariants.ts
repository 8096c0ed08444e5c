/** What must hold whatever happens, and what must hold when all is quiet. */
import assert from "node:assert/strict";
import { cidrContains, formatCidr, ipFamily } from "@beyondfabric/packet";
import type { Ip } from "@beyondfabric/packet";
import { blockAround, isLent } from "../../../src/ipam/block-parts.ts";
import { keepsAddress } from "../../../src/ipam/claim-garbage.ts";
import { cidrsOverlap } from "@beyondfabric/packet";
import { delays, ownerState } from "./agent.ts";
import type { Host } from "./host.ts";
import type { Machine, Port } from "./machine.ts";
import type { PodObject, SimulatedApi } from "./simulated-api.ts";

/** A promise that was broken; the message says which. */
export class Broken extends Error {
  override readonly name = "Broken";
}

interface Identity {
  readonly address: Ip;
  /** UID of the owner whose pod last had it: one that is made anew has to take it over in time. */
  readonly ownerUid: string;
  /** Since when its owner has not wanted it; undefined: it does. */
  unownedSince: number | undefined;
}

/** What they look at. */
export interface Watched {
  readonly api: SimulatedApi;
  readonly machines: readonly Host[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export class Invariants {
  readonly #cluster: Watched;
  /** The address of each slot of a StatefulSet, per family. */
  readonly #identities = new Map<string, Identity>();
  attachments = 0;
  readonly #broken: Broken[] = [];

  constructor(cluster: Watched) {
    this.#cluster = cluster;
  }

  /** Called at the moment in which a pod gets its addresses. */
  attached(machine: Machine, pod: PodObject, addresses: readonly Ip[]): void {
    this.attachments++;
    for (const other of this.#cluster.machines) {
      for (const port of other.ports.values()) {
        if (port.pod.uid === pod.uid || this.#isExcused(other, port)) continue;
        const address = port.addresses.find((each) => addresses.includes(each));
        if (address === undefined) continue;
        const [first, second] = [port.pod, pod].map(({ name, uid, plan }) => `${plan.kind} ${name} ${uid}`);
        this.#broken.push(
          new Broken(`${address} is used by ${first} on ${other.name} and by ${second} on ${machine.name}`),
        );
      }
    }
    if (pod.plan.kind === "sticky") for (const address of addresses) this.#checkIdentity(pod, address);
  }

  /**
   * Whoever removed a pod by force has spoken for the machine that still runs it, once the pod has a successor with the
   * same identity; whoever removed the Node has spoken for all pods there that the API has no more.
   */
  #isExcused(machine: Machine, { pod, nodeUid }: Port): boolean {
    const { api } = this.#cluster;
    if (api.get("pods", pod.name)?.uid === pod.uid) return false;
    if (api.get("nodes", machine.name)?.uid !== nodeUid) return true;
    const { kind, owner } = pod.plan;
    if (kind !== "sticky" && kind !== "fixed") return false;
    return api
      .list("pods")
      .some(({ uid, plan }) => uid !== pod.uid && plan.kind === kind && isSameSlot(plan.owner, owner));
  }

  #checkIdentity(pod: PodObject, address: Ip): void {
    const key = `${pod.plan.owner.name}/${pod.plan.owner.slot}/${ipFamily(address)}`;
    const { api } = this.#cluster;
    // A pod that the API does not have any more has no say.
    if (api.get("pods", pod.name)?.uid !== pod.uid) return;
    const before = this.#identities.get(key);
    if (before !== undefined && before.address !== address) {
      const isGivenUp =
        before.unownedSince !== undefined &&
        this.#cluster.now - before.unownedSince >= delays.claims.reclaimMilliseconds;
      const isEdited = pod.plan.candidates?.includes(before.address) === false && ipFamily(address) === 4;
      if (!isGivenUp && !isEdited) this.#broken.push(new Broken(`${key} had ${before.address} and has ${address} now`));
    }
    this.#identities.set(key, { address, ownerUid: pod.plan.owner.uid, unownedSince: undefined });
  }

  /** After every step. */
  check(): void {
    const [broken] = this.#broken;
    if (broken !== undefined) throw broken;
    const { api, now } = this.#cluster;
    for (const [key, identity] of this.#identities) {
      const [name, slot] = key.split("/") as [string, string];
      const owner = {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        namespace: "default",
        name,
        uid: identity.ownerUid,
        slot,
      };
      const isOwned = keepsAddress(owner, ownerState(api, owner));
      if (isOwned) {
        const isGivenUp =
          identity.unownedSince !== undefined && now - identity.unownedSince >= delays.claims.reclaimMilliseconds;
        if (isGivenUp) this.#identities.delete(key);
        else identity.unownedSince = undefined;
      } else identity.unownedSince ??= now;
    }
  }

  /** When everything works and has worked for longer than all delays. */
  checkQuiet(): void {
    const { api, machines } = this.#cluster;
    const pods = new Map(api.list("pods").map((pod) => [pod.uid, pod]));
    for (const machine of machines) {
      for (const [uid, { pod }] of machine.ports) {
        assert.ok(pods.has(uid), `${machine.name} still has an interface of ${pod.name}`);
      }
    }
    for (const record of api.list("addresses")) {
      const { address, holder, owner, phase } = record;
      const pod = holder && pods.get(holder.podUid);
      const isOwned = owner !== undefined && keepsAddress(owner, ownerState(api, owner));
      if (phase === "Released") {
        // A pod that asks for it again and again, and is refused, keeps it young.
        const isAskedFor = api.list("pods").some(({ plan }) => plan.candidates?.includes(address) === true);
        assert.ok(isAskedFor, `${address} is kept for its history for ever`);
        continue;
      }
      assert.ok(pod !== undefined || (phase === "Retained" && isOwned), `${address} leaks: ${JSON.stringify(record)}`);
    }
    this.#checkBlocks();
  }

  #checkBlocks(): void {
    const { api, machines } = this.#cluster;
    const blocks = api.list("blocks");
    const nodes = new Set(api.list("nodes").map(({ uid }) => uid));
    for (const block of blocks) {
      const namesake = machines.find(({ name }) => name === block.node);
      const isHeld = [...(namesake?.agent?.own?.allocator.allocations() ?? [])].some(({ addresses }) =>
        addresses.some((address) => cidrContains(block.cidr, address)),
      );
      // Pods that live on while their Node is made anew keep their block from others.
      assert.ok(nodes.has(block.nodeUid) || isHeld, `block ${block.name} is of a node that is gone`);
      const wider = blocks.find(
        ({ uid, cidr }) => uid !== block.uid && cidrsOverlap(cidr, block.cidr) && cidr.length < block.cidr.length,
      );
      assert.ok(wider === undefined || isLent(wider, block.cidr), `${block.name} lies in ${wider?.name}`);
    }
    for (const { name, agent, ports, memory } of machines) {
      const own = agent?.own;
      assert.ok(own !== undefined, `${name} does not know who it is`);
      const known = own.blocks
        .list()
        .map(({ cidr, lent }) => `${formatCidr(cidr)} -${lent.map(formatCidr).sort().join()}`);
      const stored = blocks
        .filter(({ nodeUid }) => nodeUid === own.node.uid)
        .map(({ cidr, lent }) => `${formatCidr(cidr)} -${lent.map(formatCidr).sort().join()}`);
      assert.deepEqual(known.sort(), stored.sort(), `blocks of ${name}`);
      assert.deepEqual(memory?.blocks.length, known.length, `what ${name} remembers of its blocks`);
      const claimed = api.list("addresses").filter(({ address }) => own.blocks.around(address) !== undefined);
      const reserved = [...own.allocator.reservations()];
      const missing = claimed.filter(({ address, phase }) => phase !== "Pending" && !reserved.includes(address));
      assert.deepEqual(missing, [], `claims that ${name} does not know of`);
      const idle = reserved.filter((address) => !claimed.some((each) => each.address === address));
      assert.deepEqual(idle, [], `addresses that ${name} sets aside for nobody`);
      const held = [...own.allocator.allocations()].flatMap(({ addresses }) => addresses);
      const used = [...ports.values()].filter(({ isClaimed }) => !isClaimed).flatMap(({ addresses }) => addresses);
      assert.deepEqual(held.sort(), used.sort(), `what ${name} has handed out`);
    }
    for (const { address, grant, phase } of api.list("addresses")) {
      const around = blockAround(blocks, address);
      if (phase === "Pending" || around === undefined || !nodes.has(around.nodeUid)) continue;
      assert.equal(grant?.nodeUid, around?.nodeUid, `grant of ${address}`);
    }
  }
}

function isSameSlot(a: PodObject["plan"]["owner"], b: PodObject["plan"]["owner"]): boolean {
  return a.kind === b.kind && a.name === b.name && a.slot === b.slot;
}
