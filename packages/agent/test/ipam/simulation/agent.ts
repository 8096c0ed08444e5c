/** An agent as the simulation runs it: the code under test, and around it no more than a loop would be. */
import { ipFamily } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import { cidrContains, formatCidr } from "@beyondfabric/packet";
import { addressBlockName, subnetFamily } from "@beyondfabric/kube/kinds";
import type { AddressBlock, AddressHolder, AddressOwner, Subnet } from "@beyondfabric/kube/kinds";
import { Allocator } from "../../../src/ipam/allocator.ts";
import { longestPart, possibleBlocks } from "../../../src/ipam/block-parts.ts";
import type { BlockStore, NodeIdentity } from "../../../src/ipam/blocks.ts";
import { ClaimGarbage, collect } from "../../../src/ipam/claim-garbage.ts";
import type { ClaimGarbageOptions, GarbageReads, OwnerState } from "../../../src/ipam/claim-garbage.ts";
import { candidateAddresses, candidatesOf, isCandidate } from "../../../src/ipam/candidates.ts";
import { claim, release } from "../../../src/ipam/claims.ts";
import type { AddressStore, Candidates, ClaimEnvironment, ClaimReads } from "../../../src/ipam/claims.ts";
import { IpamError } from "../../../src/ipam/errors.ts";
import { BlockGarbage, releaseOrphan } from "../../../src/ipam/garbage.ts";
import type { OrphanReads } from "../../../src/ipam/garbage.ts";
import { Grants } from "../../../src/ipam/grants.ts";
import { hash64 } from "../../../src/ipam/hash.ts";
import { formatWishes, IdleBlocks, Lender, parseWishes, partToLend } from "../../../src/ipam/lending.ts";
import type { BlockWish } from "../../../src/ipam/lending.ts";
import { OwnBlocks } from "../../../src/ipam/own-blocks.ts";
import { RecentTries } from "../../../src/ipam/recent-tries.ts";
import type { Machine } from "./machine.ts";
import { Lost } from "./postman.ts";
import type { Life } from "./postman.ts";
import { addressStore, blockStore } from "./simulated-api.ts";
import type { Call, PodObject, SimulatedApi, SimulatedWatch } from "./simulated-api.ts";

/** All that the code under test asks of the outside; what a mutation spoils. */
export interface Surroundings {
  readonly addresses: AddressStore;
  readonly blocks: BlockStore;
  readonly reads: ClaimReads & OrphanReads & GarbageReads;
  readonly remember: (machine: Machine, memory: NonNullable<Machine["memory"]>) => void;
}

export interface AgentOptions {
  readonly api: SimulatedApi;
  readonly subnet: Subnet;
  readonly families: readonly IpFamily[];
  readonly now: () => number;
  readonly spoil: (surroundings: Surroundings) => Surroundings;
  readonly onAttach: (machine: Machine, pod: PodObject, addresses: readonly Ip[]) => void;
}

/** How long things take, in milliseconds of the simulation's clock. */
export const delays = {
  quarantine: 1000,
  idle: 3000,
  recent: 1000,
  garbage: { graceMilliseconds: 1000, stepMilliseconds: 500 },
  claims: {
    graceMilliseconds: 1000,
    stepMilliseconds: 500,
    reclaimMilliseconds: 5000,
    historyMilliseconds: 10_000,
  } satisfies ClaimGarbageOptions,
};

export const activities = ["blocks", "settle", "sync", "claims", "orphans", "lend", "return", "publish"] as const;
export type Activity = (typeof activities)[number];

export class SimulatedAgent {
  readonly life: Life;
  readonly watch: SimulatedWatch;
  readonly #machine: Machine;
  readonly #options: AgentOptions;
  readonly #call: Call;
  readonly #write: Call;
  readonly #outside: Surroundings;
  readonly #busy = new Set<string>();
  readonly #adding = new Set<string>();
  readonly #ownerStates = new Map<string, OwnerState | undefined>();
  readonly #idle = new IdleBlocks({ idleMilliseconds: delays.idle });
  readonly #recent: RecentTries;
  #own: Own | undefined;
  #wishes: readonly BlockWish[] = [];
  /** An error that nobody expected. */
  failure: unknown;

  constructor(machine: Machine, options: AgentOptions, watch: SimulatedWatch, life: Life, call: Call, write: Call) {
    this.#machine = machine;
    this.#options = options;
    this.watch = watch;
    this.life = life;
    this.#call = call;
    this.#write = write;
    this.#recent = new RecentTries({ milliseconds: delays.recent, now: options.now });
    this.#outside = options.spoil({
      addresses: addressStore(options.api, call),
      blocks: blockStore(options.api, call),
      reads: this.#reads(),
      remember: (target, memory) => void (target.memory = memory),
    });
  }

  get isReady(): boolean {
    return this.#own !== undefined;
  }

  get isBusy(): boolean {
    return this.#busy.size > 0;
  }

  get own(): Own | undefined {
    return this.#own;
  }

  /** Whether the Node object is another one than the agent lives by: it then begins anew. */
  get isMistaken(): boolean {
    const node = this.watch.get("nodes", this.#machine.name);
    return this.#own !== undefined && node !== undefined && node.uid !== this.#own.node.uid;
  }

  #reads(): Surroundings["reads"] {
    const { api } = this.#options;
    return {
      // One after the other, as an agent reads them by their names.
      blocksAround: async (subnet, address) => {
        const found: AddressBlock[] = [];
        for (const cidr of possibleBlocks(subnetFamily(subnet, ipFamily(address))!, address)) {
          const block = await this.#call("get block", () => api.get("blocks", addressBlockName(cidr)));
          if (block !== undefined) found.push(block);
        }
        return found;
      },
      podUid: (namespace, name) => this.#call("get pod", () => api.get("pods", `${namespace}.${name}`)?.uid),
      nodeUid: (name) => this.#call("get node", () => api.get("nodes", name)?.uid),
      podsOn: (node) => this.#call("list pods", () => api.list("pods").filter((pod) => pod.node === node)),
      ownerState: (owner) => this.#call("get owner", () => ownerState(api, owner)),
    };
  }

  /** Does something unless it is being done; losses end it, and so does what the IPAM refuses. */
  #run(name: string, act: () => Promise<void>): void {
    if (this.#busy.has(name)) return;
    this.#busy.add(name);
    act()
      .catch((error: unknown) => {
        if (!(error instanceof Lost || error instanceof IpamError)) this.failure ??= error;
      })
      .finally(() => this.#busy.delete(name));
  }

  /** Finds out who it is, and takes up what its node remembers. */
  start(): void {
    if (this.#own !== undefined) return;
    this.#run("start", async () => {
      const { memory, name } = this.#machine;
      let uid = memory?.nodeUid;
      try {
        uid = await this.#call("get own node", () => this.#options.api.get("nodes", name)?.uid);
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
      }
      if (uid === undefined) return;
      const own = this.#assemble({ name, uid });
      if (memory?.nodeUid === uid) own.blocks.restore(memory);
      const ordinary = [...this.#machine.ports].filter(([, port]) => !port.isClaimed);
      own.allocator.restore(
        ordinary.map(([owner, { addresses, created }]) => ({ owner, subnet: "default", addresses, created })),
      );
      this.#own = own;
    });
  }

  #assemble(node: NodeIdentity): Own {
    const { now, subnet } = this.#options;
    const allocator = new Allocator({ quarantineMilliseconds: delays.quarantine, prefetchBelow: 2, now });
    const blocks = new OwnBlocks({
      node,
      allocator,
      blocks: this.#outside.blocks,
      addresses: this.#outside.addresses,
      subnet: () => subnet,
      remember: (memory) =>
        this.#write("remember", () => this.#outside.remember(this.#machine, { ...memory, nodeUid: node.uid })),
    });
    return {
      node,
      allocator,
      blocks,
      grants: new Grants({ node, allocator, blocks, store: this.#outside.addresses }),
      claimGarbage: new ClaimGarbage(node, delays.claims),
      blockGarbage: new BlockGarbage(node, delays.garbage),
      lender: new Lender(node, { stepMilliseconds: delays.garbage.stepMilliseconds }),
    };
  }

  /** Begins one of the things that an agent does now and then. */
  begin(activity: Activity): void {
    const own = this.#own;
    if (own === undefined) return;
    if (activity !== "blocks" && activity !== "settle" && !this.#machine.isConnected) return;
    this.#run(activity, () => this.#activities[activity](own));
  }

  readonly #activities: Readonly<Record<Activity, (own: Own) => Promise<void>>> = {
    blocks: (own) => this.#ensureBlocks(own),
    settle: async ({ grants }) => {
      for (const address of grants.unsettled(this.watch.list("addresses"))) await grants.settle(address);
    },
    sync: async ({ blocks }) => {
      await blocks.sync(this.watch.list("blocks"), (cidr) => this.#holdsInside(cidr));
    },
    claims: (own) => this.#collectClaims(own),
    orphans: async ({ node, blockGarbage }) => {
      const { blocks, reads } = this.#outside;
      const due = blockGarbage.due(this.watch.list("blocks"), this.watch.list("nodes"), this.#options.now());
      for (const block of due) await releaseOrphan(block, node, (cidr) => this.#holdsInside(cidr), reads, blocks);
    },
    lend: async ({ allocator, blocks, lender }) => {
      const nodes = this.watch.list("nodes");
      const wishes = nodes.flatMap(({ uid, wants }) => parseWishes(wants).map((wish) => ({ ...wish, nodeUid: uid })));
      const { subnet } = this.#options;
      for (const { family } of lender.due(wishes, this.watch.list("blocks"), this.#options.now())) {
        for (const { cidr, lent } of blocks.list().filter((each) => each.cidr.family === family)) {
          const longest = longestPart(subnetFamily(subnet, family)!);
          const part = partToLend({ cidr, lent }, longest, (each) => allocator.isIdle(each));
          if (part === undefined) continue;
          await blocks.lend(cidr, part);
          break;
        }
      }
    },
    return: async ({ allocator, blocks }) => {
      const idle = new Set(allocator.idleBlocks().map(formatCidr));
      const candidates = blocks.list().filter(({ cidr }) => idle.has(formatCidr(cidr)));
      const due = this.#idle.due(candidates, ({ cidr }) => allocator.canSpare(cidr), this.#options.now());
      for (const { cidr } of due) await blocks.giveBack(cidr);
    },
    publish: async ({ blocks }) => {
      for (const block of this.watch.list("blocks")) {
        if (!blocks.list().some(({ cidr }) => formatCidr(cidr) === formatCidr(block.cidr))) continue;
        const inUse = [...this.#machine.ports.values()].filter((port) =>
          port.addresses.some((a) => cidrContains(block.cidr, a)),
        );
        if (block.used === inUse.length) continue;
        await this.#call("update status", () => this.#options.api.update("blocks", { ...block, used: inUse.length }));
      }
    },
  };

  async #ensureBlocks({ allocator, blocks, node }: Own): Promise<void> {
    const { subnet, families, api } = this.#options;
    const unmet: BlockWish[] = [];
    for (const family of families) {
      const isOwned = blocks.list().some(({ cidr }) => cidr.family === family);
      if (isOwned && !allocator.wanted().some((want) => want.family === family)) continue;
      try {
        await blocks.acquire(subnet, family, this.watch.list("blocks"));
      } catch (error) {
        if (!(error instanceof IpamError)) throw error;
        if (error.code === "IPAM_SUBNET_EXHAUSTED") unmet.push({ subnet: subnet.name, family });
      }
    }
    if (formatWishes(unmet) === formatWishes(this.#wishes)) return;
    await this.#call("wish", () => {
      const stored = api.get("nodes", node.name);
      if (stored?.uid === node.uid) api.update("nodes", { ...stored, wants: formatWishes(unmet) });
    });
    this.#wishes = unmet;
  }

  async #collectClaims({ node, claimGarbage }: Own): Promise<void> {
    const { addresses, reads } = this.#outside;
    const claims = this.watch.list("addresses");
    for (const { owner, phase } of claims) {
      if (phase !== "Retained" || owner === undefined) continue;
      this.#ownerStates.set(ownerKey(owner), await reads.ownerState(owner));
    }
    const pods = new Set(this.watch.list("pods").map(({ uid }) => uid));
    const isAttached = (uid: string): boolean => this.#isAttached(uid);
    const now = this.#options.now();
    const due = claimGarbage.due(
      {
        claims: this.watch.list("addresses"),
        nodes: this.watch.list("nodes"),
        hasPod: (uid) => pods.has(uid),
        isAttached,
        ownerState: (owner) => this.#ownerStates.get(ownerKey(owner)),
      },
      now,
      now,
    );
    const environment = { node, store: addresses, reads, isAttached, now: this.#options.now };
    for (const finding of due) await collect(finding, delays.claims, environment);
  }

  #isAttached(podUid: string): boolean {
    return this.#adding.has(podUid) || this.#machine.ports.has(podUid);
  }

  #holdsInside(cidr: Cidr): boolean {
    const ordinary = [...this.#machine.ports.values()].filter(({ isClaimed }) => !isClaimed);
    const held = [...this.#own!.allocator.allocations(), ...ordinary];
    return held.some(({ addresses }) => addresses.some((address) => cidrContains(cidr, address)));
  }

  /** CNI ADD. */
  add(pod: PodObject, done: (isAttached: boolean) => void): void {
    const own = this.#own;
    if (own === undefined) return done(false);
    this.#run(`pod ${pod.uid}`, async () => {
      this.#adding.add(pod.uid);
      try {
        const addresses = await this.#addressesFor(pod, own);
        if (addresses === undefined) return done(false);
        await this.#attach(pod, addresses);
        done(true);
      } catch (error) {
        done(false);
        throw error;
      } finally {
        this.#adding.delete(pod.uid);
      }
    });
  }

  async #attach(pod: PodObject, addresses: readonly Ip[]): Promise<void> {
    if (this.#machine.ports.has(pod.uid)) return;
    const isClaimed = pod.plan.kind !== "ordinary";
    const nodeUid = this.#own!.node.uid;
    await this.#write("attach", () => {
      this.#options.onAttach(this.#machine, pod, addresses);
      const created = this.#options.now();
      this.#machine.ports.set(pod.uid, { pod, addresses, isClaimed, created, nodeUid });
    });
  }

  async #addressesFor(pod: PodObject, own: Own): Promise<readonly Ip[] | undefined> {
    const port = this.#machine.ports.get(pod.uid);
    if (port !== undefined) return port.addresses;
    const { families, subnet } = this.#options;
    if (await this.#isDisplaced(pod, own)) return undefined;
    if (pod.plan.kind === "ordinary") return own.allocator.allocate(pod.uid, subnet, families).addresses;
    const { owner, kind } = pod.plan;
    const holder: AddressHolder = {
      namespace: pod.namespace,
      pod: pod.pod,
      podUid: pod.uid,
      node: own.node.name,
      nodeUid: own.node.uid,
      mac: "02:00:00:00:00:01",
    };
    const wishes = families.flatMap((family) => {
      const candidates = pod.plan.candidates?.filter((each) => ipFamily(each) === family);
      if (candidates !== undefined && candidates.length === 0) return [];
      return [{ family, ...(candidates === undefined ? {} : { candidates: inOrderOf(pod, candidates) }) }];
    });
    const retention = kind === "sticky" ? "Sticky" : kind === "fixed" ? "Fixed" : "Pool";
    const outcome = await claim({ subnet, retention, owner, holder, wishes }, this.#environment(own));
    return outcome.state === "granted" ? outcome.records.map(({ address }) => address) : undefined;
  }

  /** A pod that the watch does not show is asked for, and then the Node as well (`PodLookup`). */
  async #isDisplaced(pod: PodObject, { node }: Own): Promise<boolean> {
    if (this.watch.list("pods").some(({ uid }) => uid === pod.uid)) return false;
    try {
      const { reads } = this.#outside;
      if ((await reads.podUid(pod.namespace, pod.pod)) === undefined) return false;
      return (await reads.nodeUid(node.name)) !== node.uid;
    } catch (error) {
      if (error instanceof Lost) return false;
      throw error;
    }
  }

  #environment({ grants }: Own): ClaimEnvironment {
    const { addresses: store, reads } = this.#outside;
    return {
      store,
      reads,
      own: grants,
      now: this.#options.now,
      seen: (address) => this.watch.list("addresses").find((each) => each.address === address),
      recent: this.#recent,
      isAttached: (uid) => this.#machine.ports.has(uid),
    };
  }

  /** CNI DEL. */
  remove(pod: PodObject, done: () => void): void {
    const own = this.#own;
    if (own === undefined) return;
    this.#run(`pod ${pod.uid}`, async () => {
      const port = this.#machine.ports.get(pod.uid);
      await this.#write("detach", () => void this.#machine.ports.delete(pod.uid));
      own.allocator.release(pod.uid);
      done();
      if (port?.isClaimed !== true) return;
      for (const address of port.addresses) await release(address, pod.uid, "PodDeleted", this.#environment(own));
    });
  }
}

/** What an agent that knows who it is works with. */
export interface Own {
  readonly node: NodeIdentity;
  readonly allocator: Allocator;
  readonly blocks: OwnBlocks;
  readonly grants: Grants;
  readonly claimGarbage: ClaimGarbage;
  readonly blockGarbage: BlockGarbage;
  readonly lender: Lender;
}

/** As an agent makes them of the pod's plan. */
function inOrderOf({ uid }: PodObject, addresses: readonly Ip[]): Candidates {
  const ranges = addresses.map((address) => ({ family: ipFamily(address), first: address, last: address }));
  const [candidates] = candidatesOf(ranges, { seed: hash64(uid) });
  return {
    [Symbol.iterator]: () => candidateAddresses(candidates!),
    has: (address) => isCandidate(candidates!, address),
  };
}

function ownerKey({ kind, namespace, name }: AddressOwner): string {
  return `${kind}.${namespace}.${name}`;
}

/** What the API says of an owner; owners are named after kind, namespace and name here. */
export function ownerState(api: Pick<SimulatedApi, "get">, owner: AddressOwner): OwnerState {
  const object = api.get("owners", ownerKey(owner));
  if (object === undefined) return { exists: false, uid: "" };
  return { exists: true, uid: object.uid, replicas: object.replicas, start: object.start };
}
