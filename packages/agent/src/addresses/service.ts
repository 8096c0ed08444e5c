/**
 * Addresses for this node's pods. An ordinary one comes from a block of the node without asking anybody; one that has a name
 * is claimed. Which of the two a pod gets is decided in `ipam/choice.ts`.
 */
import type { LabelSet } from "@beyondfabric/kube";
import type { AddressBlock, IpAddressRecord, IpPool, Parsed, Subnet } from "@beyondfabric/kube/kinds";
import { cidrContains, formatCidr, ipFamily, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import type { PodPort } from "../attachment/ports.ts";
import type { PodAddresses, PodAddressing } from "../attachment/service.ts";
import type { PodAnswer, PodLookup, PodReference } from "../directory/pod-lookup.ts";
import type { OwnPodRecord } from "../directory/records.ts";
import { AgentError } from "../errors.ts";
import { Allocator, NODE_OWNER } from "../ipam/allocator.ts";
import type { Usage } from "../ipam/allocation.ts";
import type { BlockStore, NodeIdentity } from "../ipam/blocks.ts";
import { addressingRefused, chooseAddressing, type AddressingPlan } from "../ipam/choice.ts";
import type { AddressStore, ClaimReads } from "../ipam/claims.ts";
import { IpamError } from "../ipam/errors.ts";
import { RecentTries } from "../ipam/recent-tries.ts";
import type { BlockWish } from "../ipam/lending.ts";
import type { StickyOwner } from "../ipam/owner.ts";
import type { OwnBlock } from "../ipam/own-blocks.ts";
import type { Logger } from "../log.ts";
import { BlockKeeper } from "./block-keeper.ts";
import type { DurableMemory, Memory, PodClaim } from "./durable-memory.ts";
import type { AddressEvents } from "./events.ts";
import { fits, PodClaims } from "./pod-claims.ts";

/** What the watches show. */
export interface WatchedAddresses {
  readonly blocks: () => Iterable<AddressBlock>;
  readonly claims: () => Iterable<IpAddressRecord>;
  readonly claimAt: (address: Ip) => IpAddressRecord | undefined;
  readonly ownPods: () => Iterable<OwnPodRecord>;
  readonly ownPod: (namespace: string, name: string) => OwnPodRecord | undefined;
  readonly namespace: (
    name: string,
  ) => { name: string; annotations: Readonly<Record<string, string>>; labels: LabelSet } | undefined;
  readonly wishes: () => readonly (BlockWish & { readonly nodeUid: string })[];
  /** Everything was listed, and every watch is open. */
  readonly isInformed: () => boolean;
}

export interface AddressServiceOptions {
  readonly nodeName: string;
  readonly blocks: BlockStore;
  readonly addresses: AddressStore;
  readonly reads: ClaimReads;
  readonly lookup: Pick<PodLookup, "find">;
  readonly watched: WatchedAddresses;
  readonly memory: DurableMemory;
  readonly events: AddressEvents;
  readonly stickyOwners: readonly StickyOwner[];
  /** Makes sure that a subnet does not vanish under what is about to be claimed. */
  readonly protect: (subnet: Subnet) => Promise<void>;
  /** Interfaces of pods on this node. */
  readonly ports: () => Iterable<PodPort>;
  readonly macOf: (address: Ip) => Mac;
  /** MTU of pods in bytes, for a subnet. */
  readonly mtuOf: (subnet: Subnet) => number;
  /** The first pod of a workload asks for addresses of a limited set. */
  readonly onPlan: (pod: OwnPodRecord, plan: AddressingPlan) => void;
  /** This node wrote a claim. */
  readonly onWritten: (record: IpAddressRecord) => void;
  /** Addresses of pods are different: whoever publishes them should look again, some time. */
  readonly onChange: () => void;
  /** Blocks are different, or it is known who this node is: whoever keeps facts or local state should look again. */
  readonly onBlocks: () => void;
  readonly logger: Logger;
  /** Milliseconds on a clock that does not go back. */
  readonly now: () => number;
}

/** A released address rests so long (ms) before anybody else gets it: longer than caches of other nodes lag. */
const quarantineMilliseconds = 10_000;
/** With fewer free addresses than this the next block is claimed. */
const prefetchBelow = 8;
/** A watch shows within that (ms) what became of an address that was asked for, but for rare moments. */
const recentMilliseconds = 3000;
/** Changes are gathered for so long (ms) before it is looked what they mean. */
const gatherMilliseconds = 20;

export class AddressService implements PodAddresses {
  readonly claims: PodClaims;
  readonly allocator: Allocator;
  readonly #options: AddressServiceOptions;
  #subnets: readonly Subnet[] = [];
  #pools: readonly IpPool[] = [];
  #physicalNetworks: ReadonlySet<string> = new Set();
  /** What OVSDB remembers, until it is known who this node is. */
  #remembered: Memory = nothing;
  /** UID of the Node that it was written for; empty when it does not say. */
  #rememberedFor = "";
  #restored = false;
  #identity: NodeIdentity | undefined;
  #keeper: BlockKeeper | undefined;
  #needed: Set<string> | undefined;
  /** Plans of pods as long as nothing that decides about them is different. */
  #plans = new WeakMap<OwnPodRecord, { readonly namespace: unknown; readonly plan: Parsed<AddressingPlan> }>();
  readonly #gathering = new Set<string>();
  /** Pods that were told that they hold something else than they ask for. */
  readonly #told = new Map<string, string>();

  constructor(options: AddressServiceOptions) {
    this.#options = options;
    this.allocator = new Allocator({ quarantineMilliseconds, prefetchBelow, now: options.now });
    const { memory, events, logger, watched, macOf, onWritten } = options;
    this.claims = new PodClaims({
      memory,
      events,
      logger,
      macOf,
      isInformed: watched.isInformed,
      ownPod: watched.ownPod,
      seen: watched.claimAt,
      heldHere: () => this.#heldHere(),
      isAttached: (podUid, address) => this.#isAttached(podUid, address),
      onWritten,
    });
  }

  /**
   * Who this node is, as the API or OVSDB says; before that no block can be claimed and nothing granted. Waits for
   * {@link restore}: a block of this node that nobody remembers would be taken for one that is left over.
   */
  setIdentity(node: NodeIdentity): void {
    this.#identity = node;
    if (!this.#restored || this.#keeper?.node.uid === node.uid) return;
    const { blocks, addresses, reads, watched, memory, protect, logger, now, onBlocks } = this.#options;
    this.#forgetFormerNode(node);
    const keeper = new BlockKeeper({
      node,
      allocator: this.allocator,
      blocks,
      addresses,
      subnet: (name) => this.subnetNamed(name),
      open: () => this.#subnets.filter(({ deletionTimestamp }) => deletionTimestamp === undefined),
      needed: () => this.#neededSubnets(),
      protect,
      remember: (own) => memory.rememberOwn(own),
      known: watched,
      isAttached: (cidr) => this.holdsInside(cidr),
      logger,
      now,
      onChange: onBlocks,
    });
    keeper.own.restore(this.#remembered);
    this.#keeper = keeper;
    this.claims.setEnvironment(node, {
      store: addresses,
      reads,
      own: keeper.grants,
      now: () => Date.now(),
      seen: watched.claimAt,
      recent: new RecentTries({ milliseconds: recentMilliseconds, now: () => Date.now() }),
      isAttached: (podUid) => this.#isAttached(podUid),
    });
    onBlocks();
  }

  /**
   * A Node that is made anew owns nothing of the one before it: nothing more is handed out of those blocks, the node takes
   * new addresses of its own, and pods keep theirs until they go.
   */
  #forgetFormerNode({ uid }: NodeIdentity): void {
    const former = this.#keeper?.node.uid ?? this.#rememberedFor;
    if (former === uid || former === "") return;
    for (const { cidr } of this.#keeper?.own.list() ?? []) this.allocator.withdrawBlock(cidr);
    this.allocator.release(NODE_OWNER);
    this.#remembered = nothing;
  }

  /** Subnets and pools that break no rule, those that are being deleted included. */
  setTopology(
    subnets: readonly Subnet[],
    pools: readonly IpPool[],
    physicalNetworks: ReadonlySet<string> = new Set(),
  ): void {
    this.#subnets = subnets.map((subnet) => withPoolsReserved(subnet, pools));
    this.#pools = pools;
    this.#physicalNetworks = physicalNetworks;
    this.#needed = undefined;
    this.#plans = new WeakMap();
    for (const subnet of this.#subnets) this.allocator.updateSubnet(subnet);
    this.#keeper?.own.subnetsChanged();
    this.#gather("pods", () => this.#lookAtPods());
  }

  subnetNamed(name: string): Subnet | undefined {
    return this.#subnets.find((subnet) => subnet.name === name);
  }

  get keeper(): BlockKeeper | undefined {
    return this.#keeper;
  }

  get ownBlocks(): readonly OwnBlock[] {
    return this.#keeper?.own.list() ?? this.#remembered.blocks;
  }

  /** Takes over what OVSDB says of blocks, claims and pods of this node, and the node's own addresses. */
  restore(memory: Memory, ports: Iterable<PodPort>, nodeAddresses: readonly Ip[], nodeUid: string): void {
    this.#remembered = memory;
    this.#rememberedFor = nodeUid;
    for (const address of memory.reserved) this.allocator.reserve(address);
    const facts: { owner: string; subnet: string; addresses: readonly Ip[]; created: number }[] = [];
    for (const port of ports) {
      if (port.claimed) for (const address of port.addresses) this.allocator.reserve(address);
      else facts.push({ ...port, owner: port.container });
    }
    const subnet = this.#defaultSubnet()?.name ?? "";
    if (nodeAddresses.length > 0) facts.push({ owner: NODE_OWNER, subnet, addresses: nodeAddresses, created: 0 });
    for (const { address, holder, refused } of this.allocator.restore(facts)) {
      this.#options.logger.error({ address, holder, refused }, "two pods of this node claim one address");
    }
    this.#restored = true;
    const identity = this.#identity ?? (nodeUid === "" ? undefined : { name: this.#options.nodeName, uid: nodeUid });
    if (identity !== undefined) this.setIdentity(identity);
  }

  /**
   * The node's own addresses in the default subnet: the first of its first blocks. Empty until it owns blocks. When the
   * subnet that they are of is deleted, the node takes others as soon as it owns blocks of another default one.
   */
  nodeAddresses(): readonly Ip[] {
    const held = this.allocator.allocation(NODE_OWNER)?.addresses;
    const subnet = this.#defaultSubnet();
    if (subnet === undefined || (held !== undefined && !this.#isToLeave(held, subnet))) return held ?? [];
    try {
      if (held === undefined) return this.allocator.allocate(NODE_OWNER, subnet).addresses;
      const { addresses } = this.allocator.move(NODE_OWNER, subnet);
      this.#options.logger.info(
        { before: held, addresses, subnet: subnet.name },
        "the node's own addresses are others now",
      );
      return addresses;
    } catch (error) {
      if (error instanceof IpamError && held !== undefined) return held;
      if (error instanceof IpamError) return [];
      throw error;
    }
  }

  /** Whether addresses are of a subnet that is on its way out, and the one that is there to follow is another. */
  #isToLeave(addresses: readonly Ip[], successor: Subnet): boolean {
    if (successor.deletionTimestamp !== undefined) return false;
    const subnet = this.#subnets.find(({ families }) =>
      families.some(({ cidr }) => addresses.some((address) => isInside(cidr, address))),
    );
    return subnet?.deletionTimestamp !== undefined;
  }

  gatewaysOf(subnet: string): readonly Ip[] {
    return this.subnetNamed(subnet)?.families.map(({ gateway }) => gateway) ?? [];
  }

  allowedAddressesOf(subnet: string): readonly Cidr[] | undefined {
    return this.subnetNamed(subnet)?.allowedAddresses;
  }

  /** On a physical network a pod has neighbours, all of its subnet; in an overlay it has a router alone. */
  prefixLengthOf(subnetName: string, address: Ip): number {
    const family = ipFamily(address);
    const subnet = this.subnetNamed(subnetName);
    const cidr = subnet?.families.find((each) => each.family === family)?.cidr;
    const isPhysical = subnet !== undefined && this.#physicalNetworks.has(subnet.network);
    return isPhysical && cidr !== undefined ? cidr.length : family === 4 ? 32 : 128;
  }

  /** The overlays that a pod of a physical network finds behind the switch's router, not behind its gateway. */
  overlaysBeside(subnetName: string): readonly Cidr[] {
    const subnet = this.subnetNamed(subnetName);
    if (subnet === undefined || !this.#physicalNetworks.has(subnet.network)) return [];
    return this.#subnets
      .filter(({ network }) => !this.#physicalNetworks.has(network))
      .flatMap(({ families }) => families.map(({ cidr }) => cidr));
  }

  async allocate(owner: PodReference & { readonly container: string }, signal?: AbortSignal): Promise<PodAddressing> {
    const answer = await this.#options.lookup.find(owner);
    if (answer.state !== "known") return await this.#withoutPod(owner, answer);
    const { pod, namespace } = answer;
    const plan = this.#plan(pod, namespace);
    if (!plan.ok) {
      const error = addressingRefused(plan.violations);
      this.#options.events.refused(pod, error.message);
      throw error;
    }
    this.#options.onPlan(pod, plan.value);
    if (plan.value.kind === "ordinary") return await this.#ordinary(owner.container, plan.value.subnet, plan.value.mac);
    const { subnet } = plan.value;
    // What the pod has already needs nobody's answer.
    const remembered = this.claims.remembered(pod, plan.value);
    if (remembered !== undefined) return this.#claimed(subnet, remembered);
    await this.#options.protect(subnet);
    if (plan.value.kind === "sticky") await this.#keeper?.require(subnet);
    return this.#claimed(subnet, await this.claims.obtain(pod, plan.value, signal));
  }

  /** Somebody on the wire uses an address of a pod that is about to start: its next attempt takes another, if it may. */
  async inUseElsewhere(owner: PodReference, address: Ip, message: string): Promise<void> {
    await this.claims.inUseElsewhere(owner, address, message);
  }

  release(container: string): void {
    this.allocator.release(container);
    this.#needed = undefined;
    this.#gather("pods", () => this.#lookAtPods());
    this.#options.onChange();
  }

  /** A pod of this node, or a namespace, is new, different or gone. */
  podsChanged(): void {
    this.#needed = undefined;
    this.#gather("pods", () => this.#lookAtPods());
    this.#options.onChange();
  }

  /** Claims or blocks are different. */
  claimsChanged(): void {
    this.claims.heard();
    this.#gather("claims", () => this.#lookAtClaims());
  }

  #lookAtPods(): void {
    this.#compare();
    void this.claims.review();
  }

  #lookAtClaims(): void {
    const keeper = this.#keeper;
    if (keeper === undefined || !this.#options.watched.isInformed()) return;
    keeper.settle().catch((error: unknown) => this.#options.logger.debug({ err: error }, "claims not granted yet"));
  }

  /** Each look goes through everything there is: a list that is read anew tells of thousands of changes at once. */
  #gather(what: string, look: () => void): void {
    if (this.#gathering.has(what)) return;
    this.#gathering.add(what);
    setTimeout(() => {
      this.#gathering.delete(what);
      look();
    }, gatherMilliseconds).unref();
  }

  /** Why pods cannot get addresses; undefined when they can. */
  get problem(): string | undefined {
    const subnet = this.#defaultSubnet();
    if (subnet === undefined) return "no usable default Subnet is known";
    const failure = this.#keeper?.failureOf(subnet.name);
    if (this.ownBlocks.length === 0) return failure ?? "this node owns no block of addresses yet";
    if (this.nodeAddresses().length === 0) return failure ?? "this node has no address of its own yet";
    return undefined;
  }

  /** Claims blocks where they run out; nothing before it is known who this node is. */
  async ensureBlocks(): Promise<void> {
    await this.#keeper?.ensure();
  }

  /** Of each subnet and family of which this node has blocks. */
  usage(): readonly Usage[] {
    return this.allocator.usage();
  }

  /** Addresses of own blocks that nobody else can get: allocated, or promised to claims. */
  *taken(): IterableIterator<Ip> {
    for (const { addresses } of this.allocator.allocations()) yield* addresses;
    yield* this.allocator.reservations();
  }

  blockUsage(): { subnet: string; block: string; used: number; capacity: number }[] {
    const taken = [...this.taken()];
    return this.ownBlocks.map(({ subnet, cidr }) => ({
      subnet,
      block: formatCidr(cidr),
      used: taken.filter((address) => cidr.family === ipFamily(address) && cidrContains(cidr, address)).length,
      capacity: Number(1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length)),
    }));
  }

  /** The plan of a pod, as things stand now. */
  #plan(pod: OwnPodRecord, namespace: NonNullable<ReturnType<WatchedAddresses["namespace"]>>): Parsed<AddressingPlan> {
    const known = this.#plans.get(pod);
    if (known !== undefined && known.namespace === namespace) return known.plan;
    const { stickyOwners } = this.#options;
    const plan = chooseAddressing(pod, namespace, {
      subnets: this.#subnets,
      pools: this.#pools,
      physicalNetworks: this.#physicalNetworks,
      stickyOwners,
    });
    this.#plans.set(pod, { namespace, plan });
    return plan;
  }

  /**
   * A pod that the API does not know, or cannot be asked about: what OVSDB remembers for it, else an ordinary address. When
   * the API is back and the pod asked for another one, an Event says so.
   */
  async #withoutPod(
    owner: PodReference & { readonly container: string },
    answer: Exclude<PodAnswer, { state: "known" }>,
  ): Promise<PodAddressing> {
    const { memory, logger } = this.#options;
    if (answer.state === "displaced") {
      throw new AgentError(
        "AGENT_API_NEEDED",
        `this node has a new Node object that its agent has not heard of yet, and addresses of the former one may be others' by now; it is tried again`,
      );
    }
    if (answer.state === "busy") {
      throw new AgentError(
        "AGENT_API_NEEDED",
        `the API server did not say in time which addresses Pod ${owner.namespace}/${owner.name} asks for; it is tried again`,
        { cause: answer.cause },
      );
    }
    const named = memory.podClaimNamed(owner.namespace, owner.name);
    const claimed = owner.uid === "" ? named : memory.podClaim(owner.uid);
    const subnet = claimed === undefined ? undefined : this.subnetNamed(claimed.subnet);
    if (answer.state === "unreachable" && claimed !== undefined && subnet !== undefined) {
      return this.#claimed(subnet, claimed);
    }
    if (answer.state === "unreachable" && named !== undefined) {
      throw new AgentError(
        "AGENT_API_NEEDED",
        `Pod ${owner.namespace}/${owner.name} follows one that holds ${named.addresses.join(", ")}, and the API server does not say whether it may take them over; it is tried again`,
        { cause: answer.cause },
      );
    }
    logger.info({ pod: `${owner.namespace}/${owner.name}`, answer: answer.state }, "a pod that the API does not show");
    const fallback = this.#defaultSubnet();
    if (fallback !== undefined) return await this.#ordinary(owner.container, fallback, undefined);
    throw new AgentError(
      "AGENT_NO_SUBNET",
      "no Subnet is marked `default: true` and usable; create one, or see its Events when there is one",
    );
  }

  async #ordinary(container: string, subnet: Subnet, mac: Mac | undefined): Promise<PodAddressing> {
    let allocation;
    try {
      allocation = this.allocator.allocate(container, subnet);
    } catch (error) {
      if (!(error instanceof IpamError) || !claimHelps.has(error.code)) throw error;
      await this.#keeper?.require(subnet);
      allocation = this.allocator.allocate(container, subnet);
    }
    if (this.allocator.wanted().length > 0) void this.ensureBlocks().catch(() => {});
    return this.#addressing(subnet, allocation.addresses, mac, false);
  }

  #claimed(subnet: Subnet, { addresses, mac }: PodClaim): PodAddressing {
    return this.#addressing(subnet, addresses, mac, true);
  }

  #addressing(subnet: Subnet, addresses: readonly Ip[], mac: Mac | undefined, claimed: boolean): PodAddressing {
    return {
      addresses,
      subnet: subnet.name,
      gateways: addresses.flatMap((address) => {
        const family = subnet.families.find((each) => each.family === ipFamily(address));
        return family === undefined ? [] : [family.gateway];
      }),
      mtu: this.#options.mtuOf(subnet),
      mac: mac ?? this.#options.macOf(addresses[0]!),
      claimed,
    };
  }

  /** Says of each pod that runs with other addresses than it asks for that it does, once. */
  #compare(): void {
    const { watched, events, ports } = this.#options;
    if (!watched.isInformed()) return;
    for (const port of ports()) {
      const pod = watched.ownPod(port.namespace, port.name);
      const namespace = watched.namespace(port.namespace);
      if (pod === undefined || namespace === undefined || pod.leaving) continue;
      if (pod.uid !== port.uid && pod.staticUid !== port.uid) continue;
      const plan = this.#plan(pod, namespace);
      const difference = plan.ok ? differenceOf(port, plan.value) : undefined;
      if (difference === undefined || this.#told.get(pod.uid) === difference) continue;
      this.#told.set(pod.uid, difference);
      events.differs(pod, difference);
    }
    for (const uid of this.#told.keys()) if (!this.#isAttached(uid)) this.#told.delete(uid);
  }

  /** Names of the subnets of which this node needs blocks: for itself, for pods that are here and for those to come. */
  #neededSubnets(): ReadonlySet<string> {
    if (this.#needed !== undefined) return this.#needed;
    const { watched } = this.#options;
    const needed = new Set<string>();
    const own = this.#defaultSubnet();
    if (own !== undefined) needed.add(own.name);
    for (const { subnet } of this.allocator.allocations()) needed.add(subnet);
    for (const pod of watched.ownPods()) {
      const namespace = watched.namespace(pod.namespace);
      if (namespace === undefined || pod.leaving || pod.ended) continue;
      const plan = this.#plan(pod, namespace);
      if (plan.ok && plan.value.kind !== "named") needed.add(plan.value.subnet.name);
    }
    this.#needed = needed;
    return needed;
  }

  #defaultSubnet(): Subnet | undefined {
    const marked = this.#subnets.filter((subnet) => subnet.isDefault);
    return marked.find(({ deletionTimestamp }) => deletionTimestamp === undefined) ?? marked[0];
  }

  #isAttached(podUid: string, address?: Ip): boolean {
    for (const port of this.#options.ports()) {
      if (port.uid === podUid && (address === undefined || port.addresses.includes(address))) return true;
    }
    return false;
  }

  /** Whether a pod of this node, or the node itself, has an ordinary address inside. */
  holdsInside(cidr: Cidr): boolean {
    const isHere = (address: Ip): boolean => isInside(cidr, address);
    for (const { addresses } of this.allocator.allocations()) if (addresses.some(isHere)) return true;
    for (const { addresses, claimed } of this.#options.ports()) if (!claimed && addresses.some(isHere)) return true;
    return false;
  }

  *#heldHere(): IterableIterator<IpAddressRecord> {
    for (const claim of this.#options.watched.claims()) {
      if (claim.holder?.node === this.#options.nodeName) yield claim;
    }
  }
}

function isInside(cidr: Cidr, address: Ip): boolean {
  return ipFamily(address) === cidr.family && cidrContains(cidr, address);
}

/** What a pool has of a subnet is for those who ask for it, as is what the Subnet itself reserves. */
function withPoolsReserved(subnet: Subnet, pools: readonly IpPool[]): Subnet {
  const ranges = pools.filter((pool) => pool.subnet === subnet.name).flatMap(({ addresses }) => addresses);
  return ranges.length === 0 ? subnet : { ...subnet, reserved: [...subnet.reserved, ...ranges] };
}

const nothing: Memory = { blocks: [], reserved: [], pods: [] };

/** What a port has and its pod does not ask for, as a sentence; undefined when the two agree. */
function differenceOf(port: PodPort, plan: AddressingPlan): string | undefined {
  const remedy = "delete the pod, so that its successor gets what it asks for";
  const has = `runs with ${port.addresses.join(", ")} of Subnet ${port.subnet}`;
  if (port.subnet !== plan.subnet.name) {
    return `${has}, but ${plan.source} asks for Subnet ${plan.subnet.name}; ${remedy}`;
  }
  if (plan.mac !== undefined && plan.mac !== port.mac) {
    return `runs with MAC ${port.mac}, but asks for ${plan.mac}; ${remedy}`;
  }
  if (plan.kind === "ordinary" || (port.claimed && fits(port.addresses, plan))) return undefined;
  const wanted = plan.kind === "sticky" ? "addresses that stay with its owner" : "others";
  return `${has}, but ${plan.source} asks for ${wanted}; ${remedy}`;
}

/** Refusals that another block mends. */
const claimHelps: ReadonlySet<string> = new Set(["IPAM_NO_BLOCK", "IPAM_NO_FREE_ADDRESS"]);
