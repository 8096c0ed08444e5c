/**
 * Who has which address, told from what the API server says: claims, blocks with what their owners published, pods, nodes
 * and subnets. Pure, and of no part in handing addresses out: an audit that shared the allocator's memory would share its
 * mistakes. All times are milliseconds since the epoch.
 */
import { intervalsContain, MAX_ALLOCATIONS, rangeInterval, specificIntervals } from "@beyondfabric/kube/kinds";
import type {
  AddressBlock,
  AddressBlockStatus,
  AddressClaim,
  AddressOwner,
  AddressRange,
  AddressRetention,
  BlockAllocation,
  Interval,
  IpAddressRecord,
  Subnet,
  SubnetFamily,
} from "@beyondfabric/kube/kinds";
import {
  cidrContains,
  cidrOf,
  compareIps,
  familyBits,
  formatCidr,
  ipFamily,
  ipFromBigInt,
  ipToBigInt,
  PrefixMap,
  type Ip,
} from "@beyondfabric/packet";

/** A pod with a network of its own that has not ended. */
export interface AuditPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The UID by which the runtime knows a static pod, whose object in the API is only a mirror. */
  readonly staticUid?: string;
  /** Empty while it is bound to none. */
  readonly node: string;
  /** What its status says. */
  readonly addresses: readonly Ip[];
}

/** A block with what its owner last published about it; `status` is undefined when it has not. */
export interface AuditBlock {
  readonly block: AddressBlock;
  readonly status: AddressBlockStatus | undefined;
}

export interface AuditNode {
  readonly name: string;
  readonly uid: string;
  /** The node's own addresses inside cluster subnets. */
  readonly gatewayAddresses: readonly Ip[];
}

/** What an audit looks at, as it was read. */
export interface AddressFacts {
  readonly claims: readonly IpAddressRecord[];
  readonly blocks: readonly AuditBlock[];
  readonly pods: readonly AuditPod[];
  readonly nodes: readonly AuditNode[];
  readonly subnets: readonly Subnet[];
}

/**
 * `pod`: a pod's ordinary address, out of a block. `bound`, `pending`, `retained`, `released`: what its IPAddress says.
 * `node`: a node's own. `gateway`, `excluded`, `reserved`: what its Subnet says; reserved ones are handed out by name only.
 * `free`: could be handed out. `outside`: of no Subnet.
 */
export type AddressState =
  | "pod"
  | "bound"
  | "pending"
  | "retained"
  | "released"
  | "node"
  | "gateway"
  | "excluded"
  | "reserved"
  | "free"
  | "outside";

/** The pod that has an address; of an ordinary address no MAC is published. */
export interface AddressUser {
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly node: string;
  readonly mac?: string;
}

/** What is known of one address now. */
export interface AddressAccount {
  readonly address: Ip;
  readonly state: AddressState;
  readonly subnet?: string;
  /** The block around it, and whose that is. */
  readonly block?: { readonly cidr: string; readonly node: string };
  readonly user?: AddressUser;
  /** Whose own address it is, in the state `node`. */
  readonly node?: string;
  readonly owner?: AddressOwner;
  readonly retention?: AddressRetention;
  readonly pool?: string;
  readonly since?: number;
  /** When a retained address becomes anybody's. */
  readonly reclaimAt?: number;
  /** Why the block's owner does not let the pod use it yet. */
  readonly refusal?: string;
}

/** Which addresses to list; what is absent does not matter. */
export interface AddressSelection {
  readonly subnet?: string;
  readonly namespace?: string;
  /** KIND/NAME, as the owner is called; KIND without regard to case. */
  readonly owner?: { readonly kind: string; readonly name: string };
}

/** An allocation that a block's owner published. */
export interface Published {
  readonly block: AddressBlock;
  readonly allocation: BlockAllocation;
}

/** The facts by address. */
export class AddressBook {
  readonly facts: AddressFacts;
  readonly #claims = new Map<Ip, IpAddressRecord>();
  readonly #allocations = new Map<Ip, Published[]>();
  readonly #nodes = new Map<Ip, AuditNode>();
  readonly #blocks = new PrefixMap<AuditBlock>();
  readonly #subnets = new PrefixMap<{ readonly subnet: Subnet; readonly family: SubnetFamily }>();
  readonly #intervals = new Map<SubnetFamily, readonly Interval[]>();

  private constructor(facts: AddressFacts) {
    this.facts = facts;
  }

  /** Files the facts; each step is a place to pause, because a cluster has more of them than fit into one turn. */
  static *from(facts: AddressFacts): Generator<undefined, AddressBook> {
    const book = new AddressBook(facts);
    for (const claim of facts.claims) {
      yield;
      book.#claims.set(claim.address, claim);
    }
    for (const each of facts.blocks) {
      yield;
      book.#addBlock(each);
    }
    for (const node of facts.nodes) for (const address of node.gatewayAddresses) book.#nodes.set(address, node);
    for (const subnet of facts.subnets) {
      for (const family of subnet.families) book.#subnets.set(family.cidr, { subnet, family });
    }
    return book;
  }

  #addBlock(each: AuditBlock): void {
    this.#blocks.set(each.block.cidr, each);
    for (const allocation of each.status?.allocations ?? []) {
      const published = { block: each.block, allocation };
      const others = this.#allocations.get(allocation.address);
      if (others === undefined) this.#allocations.set(allocation.address, [published]);
      else others.push(published);
    }
  }

  claimOf(address: Ip): IpAddressRecord | undefined {
    return this.#claims.get(address);
  }

  /** What owners of blocks published about an address: more than one entry is a mistake. */
  allocationsOf(address: Ip): readonly Published[] {
    return this.#allocations.get(address) ?? [];
  }

  /** Every address with a published allocation. */
  allocated(): IterableIterator<[Ip, readonly Published[]]> {
    return this.#allocations.entries();
  }

  nodeOf(address: Ip): AuditNode | undefined {
    return this.#nodes.get(address);
  }

  subnetOf(address: Ip): { readonly subnet: Subnet; readonly family: SubnetFamily } | undefined {
    return this.#subnets.lookup(address)?.value;
  }

  /** The block whose owner decides about an address; undefined in a part that was lent and that nobody has taken up. */
  blockAround(address: Ip): AuditBlock | undefined {
    const found = this.#blocks.lookup(address)?.value;
    return found?.block.lent.some((part) => cidrContains(part, address)) === true ? undefined : found;
  }

  /** Who has an address, or why nobody does. */
  account(address: Ip): AddressAccount {
    const found = this.subnetOf(address);
    const around = this.blockAround(address)?.block;
    const about = {
      address,
      ...(found === undefined ? {} : { subnet: found.subnet.name }),
      ...(around === undefined ? {} : { block: { cidr: formatCidr(around.cidr), node: around.node } }),
    };
    const claim = this.claimOf(address);
    if (claim !== undefined && claim.phase !== "Released") return { ...about, ...accountOfClaim(claim) };
    const node = this.nodeOf(address);
    if (node !== undefined) return { ...about, state: "node", node: node.name };
    const [published] = this.allocationsOf(address);
    if (published !== undefined) return { ...about, ...accountOfAllocation(published) };
    const state = found === undefined ? "outside" : this.#unused(address, found.subnet, found.family);
    if (claim !== undefined && (state === "free" || state === "reserved"))
      return { ...about, ...accountOfClaim(claim) };
    return { ...about, state };
  }

  #unused(address: Ip, subnet: Subnet, family: SubnetFamily): AddressState {
    if (address === family.gateway) return "gateway";
    if (!intervalsContain(this.#specific(subnet, family), ipToBigInt(address))) return "excluded";
    return covers(subnet.reserved, address) ? "reserved" : "free";
  }

  #specific(subnet: Subnet, family: SubnetFamily): readonly Interval[] {
    let intervals = this.#intervals.get(family);
    if (intervals === undefined) this.#intervals.set(family, (intervals = specificIntervals(subnet, family)));
    return intervals;
  }

  /**
   * Every address that somebody has or that is kept for somebody, in order, as far as the selection wants it. Undefined is a
   * pause.
   */
  *taken(selection: AddressSelection = {}): Generator<AddressAccount | undefined> {
    const addresses = new Set([...this.#allocations.keys(), ...this.#nodes.keys()]);
    for (const { address, phase } of this.facts.claims) if (phase !== "Released") addresses.add(address);
    for (const address of inOrder(addresses)) {
      const account = address === undefined ? undefined : this.account(address);
      yield account !== undefined && isSelected(account, selection) ? account : undefined;
    }
  }

  /**
   * Addresses that could be handed out, in order; nothing is worked out before it is asked for, because an IPv6 subnet has
   * more than can be counted. Those inside a block are for its node's pods first. Undefined is a pause among those that are
   * taken.
   */
  *free(subnetName?: string): Generator<AddressAccount | undefined> {
    for (const subnet of this.facts.subnets) {
      if (subnetName !== undefined && subnet.name !== subnetName) continue;
      for (const family of subnet.families) yield* this.#freeOf(subnet, family);
    }
  }

  *#freeOf(subnet: Subnet, family: SubnetFamily): Generator<AddressAccount | undefined> {
    for (const { first, last } of this.#specific(subnet, family)) {
      for (let value = first; value <= last; value++) {
        const account = this.account(ipFromBigInt(value, family.family));
        yield account.state === "free" || account.state === "released" ? account : undefined;
      }
    }
  }
}

/**
 * IPv4 before IPv6, then by value. Sorted in heaps of at most 256 addresses each, with pauses (undefined) in between: to sort
 * all at once would keep the agent from everything else.
 */
function* inOrder(addresses: Iterable<Ip>): Generator<Ip | undefined> {
  const heaps = new Map<string, { readonly first: Ip; readonly members: Ip[] }>();
  for (const address of addresses) {
    yield undefined;
    const first = cidrOf(address, familyBits(ipFamily(address)) - 8).address;
    const heap = heaps.get(first);
    if (heap === undefined) heaps.set(first, { first, members: [address] });
    else heap.members.push(address);
  }
  for (const { members } of [...heaps.values()].sort((a, b) => compareIps(a.first, b.first))) {
    yield* members.sort(compareIps);
  }
}

function accountOfClaim(claim: AddressClaim): Omit<AddressAccount, "address"> {
  const { phase, holder, owner, retention, pool, since, reclaimAt, refusal, subnet } = claim;
  const states = { Bound: "bound", Pending: "pending", Retained: "retained", Released: "released" } as const;
  return {
    subnet,
    state: states[phase],
    ...(holder === undefined
      ? {}
      : {
          user: {
            namespace: holder.namespace,
            pod: holder.pod,
            uid: holder.podUid,
            node: holder.node,
            mac: holder.mac,
          },
        }),
    ...(owner === undefined ? {} : { owner }),
    ...(phase === "Released" ? {} : { retention }),
    ...(pool === undefined ? {} : { pool }),
    since,
    ...(reclaimAt === undefined ? {} : { reclaimAt }),
    ...(refusal === undefined ? {} : { refusal: refusal.message }),
  };
}

function accountOfAllocation({ block, allocation }: Published): Omit<AddressAccount, "address"> {
  const { pod, uid, since } = allocation;
  return { state: "pod", user: { ...namesOf(pod), uid, node: block.node }, since };
}

/** NAMESPACE/NAME as its two parts. */
export function namesOf(pod: string): { readonly namespace: string; readonly pod: string } {
  const slash = pod.indexOf("/");
  return { namespace: pod.slice(0, Math.max(0, slash)), pod: pod.slice(slash + 1) };
}

/** Whether the owner of a block published less than it knows, because there was more than an object takes. */
export function isCut({ status }: AuditBlock): boolean {
  return status === undefined || status.allocations.length >= MAX_ALLOCATIONS;
}

function covers(ranges: readonly AddressRange[], address: Ip): boolean {
  const family = ipFamily(address);
  const value = ipToBigInt(address);
  return ranges.some((range) => range.family === family && intervalsContain([rangeInterval(range)], value));
}

function isSelected(account: AddressAccount, { subnet, namespace, owner }: AddressSelection): boolean {
  if (subnet !== undefined && account.subnet !== subnet) return false;
  if (namespace !== undefined && (account.user?.namespace ?? account.owner?.namespace) !== namespace) return false;
  if (owner === undefined) return true;
  return account.owner?.name === owner.name && account.owner.kind.toLowerCase() === owner.kind.toLowerCase();
}
