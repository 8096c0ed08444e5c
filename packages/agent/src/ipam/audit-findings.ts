/**
 * What is wrong with the addresses of a cluster: leaks (an address that somebody holds for nobody), duplicates (two that
 * believe to have one address), strangers (what stands where nobody should be). Pure; each finding names the object, the rule,
 * the remedy and, where a compare-and-swap can mend it, the steps of the repair.
 */
import { formatViolation, ipAddressName, validateAddressBlocks } from "@beyondfabric/kube/kinds";
import type { AddressOwner, IpAddressRecord, Violation } from "@beyondfabric/kube/kinds";
import { cidrContains, formatCidr, type Ip } from "@beyondfabric/packet";
import { isCut, type AddressBook, type AuditBlock, type AuditPod, type Published } from "./audit.ts";

/** Which rule is broken. */
export type FindingRule =
  /** leak: an IPAddress names a pod that the API does not have. */
  | "HolderGone"
  /** leak: an address is kept for an owner past the time at which it was to be released. */
  | "RetainedTooLong"
  /** leak: an address is kept for an owner that is gone or too small, and no time of release is set. */
  | "OwnerGone"
  /** leak: a block's owner published an address of a pod that the API does not have. */
  | "AllocationWithoutPod"
  /** leak: a block belongs to a node that is gone. */
  | "BlockWithoutNode"
  /** duplicate: two pods show one address. */
  | "TwoPods"
  /** duplicate: a pod shows an address that is claimed for another pod, or kept for an owner. */
  | "HeldByAnother"
  /** duplicate: an address is claimed for one pod and ordinary for another. */
  | "ClaimedAndOrdinary"
  /** duplicate: two pods have one address as an ordinary one. */
  | "TwoAllocations"
  /** duplicate: a pod shows an address that is a node's or a gateway. */
  | "NotForPods"
  /** duplicate: a block overlaps another one that has not lent the part, or lies outside of its subnet. */
  | "BlockMisplaced"
  /** stranger: a pod shows an address of a subnet that nobody handed out. */
  | "NotHandedOut"
  /** stranger: an IPAddress outside of its subnet, or of a subnet that does not exist. */
  | "ClaimMisplaced"
  /** stranger: an object that claims an address or a block and cannot be read. */
  | "Unreadable";

export type FindingKind = "leak" | "duplicate" | "stranger";

/** A write that happens only if the object is still the version that was judged, and what was judged is still true. */
export interface RepairStep {
  /** `release`: the holder gives the address up. `reclaim`: the owner does. `delete`: the object goes. */
  readonly action: "release" | "reclaim" | "delete";
  readonly kind: "IPAddress" | "AddressBlock";
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

export interface Finding {
  readonly kind: FindingKind;
  readonly rule: FindingRule;
  /** KIND/NAME, of a pod Pod/NAMESPACE/NAME. */
  readonly object: string;
  readonly address?: Ip;
  /** What is so, in one sentence. */
  readonly message: string;
  readonly remedy: string;
  /** Absent: only a person can decide what to do. */
  readonly repair?: readonly RepairStep[];
  /** What a person has to know before the repair. */
  readonly caution?: string;
}

/** An object of ours that breaks its own rules, which keeps its name taken all the same. */
export interface UnreadableObject {
  readonly violations: readonly Violation[];
}

export interface CheckOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** How long the agents may take for what is due, in milliseconds. */
  readonly grace: number;
  /** Whether an owner still wants its address; undefined: not known. */
  readonly keeps?: (owner: AddressOwner) => boolean | undefined;
  readonly unreadable?: readonly UnreadableObject[];
}

/** Everything that is wrong, the objects of one rule after those of another. Undefined is a pause among what is sound. */
export function* findingsOf(book: AddressBook, options: CheckOptions): Generator<Finding | undefined> {
  const pods = new PodIndex();
  for (const pod of book.facts.pods) {
    yield undefined;
    pods.add(pod);
  }
  yield* claimFindings(book, pods, options);
  yield* blockFindings(book);
  yield* allocationFindings(book, pods);
  yield* podFindings(book);
  for (const { violations } of options.unreadable ?? []) {
    const [first] = violations;
    if (first === undefined) continue;
    const message = violations.map(formatViolation).join("; ");
    yield { kind: "stranger", rule: "Unreadable", object: first.object, message, remedy: first.remedy };
  }
}

/**
 * Findings that an earlier look found too. Objects are read one kind after the other and owners publish behind their pods,
 * so that what is seen once may only be on its way.
 */
export function confirmed(earlier: readonly Finding[], later: readonly Finding[]): Finding[] {
  const known = new Set(earlier.map(keyOf));
  return later.filter((finding) => known.has(keyOf(finding)));
}

function keyOf({ rule, object, address, message }: Finding): string {
  return [rule, object, address, message].join("\n");
}

/** Pods by the UIDs that they go by. */
class PodIndex {
  readonly #byUid = new Map<string, AuditPod>();
  readonly #byName = new Map<string, AuditPod>();

  add(pod: AuditPod): void {
    this.#byUid.set(pod.uid, pod);
    if (pod.staticUid !== undefined) this.#byUid.set(pod.staticUid, pod);
    this.#byName.set(nameOf(pod), pod);
  }

  /** Some runtimes tell no UID: then the name has to do. */
  find(uid: string, name: string): AuditPod | undefined {
    return uid === "" ? this.#byName.get(name) : this.#byUid.get(uid);
  }
}

function* claimFindings(book: AddressBook, pods: PodIndex, options: CheckOptions): Generator<Finding | undefined> {
  const nodes = new Set(book.facts.nodes.map(({ uid }) => uid));
  const subnets = new Map(book.facts.subnets.map((subnet) => [subnet.name, subnet]));
  for (const claim of book.facts.claims) {
    yield undefined;
    if (claim.phase === "Released") continue;
    const object = `IPAddress/${claim.name}`;
    const { address, holder, owner, reclaimAt } = claim;
    const subnet = subnets.get(claim.subnet);
    if (subnet?.families.some(({ cidr }) => cidrContains(cidr, address)) !== true) {
      const why = subnet === undefined ? "which does not exist" : "which does not contain it";
      const message = `${address} is claimed in Subnet ${claim.subnet}, ${why}`;
      const remedy = "create or mend that Subnet, or delete the IPAddress when no pod uses it";
      yield { kind: "stranger", rule: "ClaimMisplaced", object, address, message, remedy };
    }
    if (holder !== undefined && pods.find(holder.podUid, `${holder.namespace}/${holder.pod}`) === undefined) {
      const message = `${address} is held by pod ${holder.namespace}/${holder.pod} (${holder.podUid}), which the API does not have`;
      const remedy = `the agent of node ${holder.node} releases it: see whether it runs; or release the address here`;
      const stillThere = `make sure that node ${holder.node} is not merely cut off: a pod that runs there goes on using the address`;
      const caution = nodes.has(holder.nodeUid) ? { caution: stillThere } : {};
      const repair = [stepFor(claim, "release")];
      yield { kind: "leak", rule: "HolderGone", object, address, message, remedy, repair, ...caution };
    }
    if (claim.phase === "Retained" && owner !== undefined) {
      const whose = `${owner.kind} ${owner.namespace}/${owner.name}`;
      if (reclaimAt !== undefined && options.now > reclaimAt + options.grace) {
        const message = `${address} is kept for ${whose} although it was to be released at ${new Date(reclaimAt).toISOString()}`;
        const remedy = "any agent releases it: see whether agents reach the API server; or release the address here";
        const repair = [stepFor(claim, "reclaim")];
        yield { kind: "leak", rule: "RetainedTooLong", object, address, message, remedy, repair };
      } else if (
        reclaimAt === undefined &&
        options.now > claim.since + options.grace &&
        options.keeps?.(owner) === false
      ) {
        const slot = owner.slot === "" ? "" : ` or has no ${owner.slot} any more`;
        const message = `${address} is kept for ${whose}, which is gone${slot}, and no time of release is set`;
        const remedy = "the agents set one within a minute: check again then, and if it stays delete the IPAddress";
        yield { kind: "leak", rule: "OwnerGone", object, address, message, remedy };
      }
    }
  }
}

function* blockFindings(book: AddressBook): Generator<Finding | undefined> {
  const { blocks, nodes, pods, subnets } = book.facts;
  const live = new Set(nodes.map(({ uid }) => uid));
  const orphans = blocks.filter(({ block }) => !live.has(block.nodeUid));
  const used = orphans.length === 0 ? undefined : yield* podsByBlock(book, pods);
  for (const { block } of orphans) {
    const users = used?.get(block.name) ?? [];
    const message = `block ${formatCidr(block.cidr)} belongs to node ${block.node} (${block.nodeUid}), which is gone`;
    const object = `AddressBlock/${block.name}`;
    if (users.length > 0) {
      const some = users.slice(0, 3).map(nameOf).join(", ");
      const remedy = `delete its pods, which the API still has (${users.length}: ${some}); then the agents free it`;
      yield { kind: "leak", rule: "BlockWithoutNode", object, message, remedy };
    } else {
      const remedy = "any agent frees it: see whether agents reach the API server; or free it here";
      const { name, uid, resourceVersion } = block;
      const repair = [{ action: "delete", kind: "AddressBlock", name, uid, resourceVersion } as const];
      yield { kind: "leak", rule: "BlockWithoutNode", object, message, remedy, repair };
    }
  }
  for (const { object, field, rule, remedy } of validateAddressBlocks(
    blocks.map(({ block }) => block),
    subnets,
  )) {
    yield { kind: "duplicate", rule: "BlockMisplaced", object, message: `${field} ${rule}`, remedy };
  }
}

function* podsByBlock(book: AddressBook, pods: readonly AuditPod[]): Generator<undefined, Map<string, AuditPod[]>> {
  const found = new Map<string, AuditPod[]>();
  for (const pod of pods) {
    yield;
    for (const address of pod.addresses) {
      const name = book.blockAround(address)?.block.name;
      if (name === undefined) continue;
      const others = found.get(name);
      if (others === undefined) found.set(name, [pod]);
      else others.push(pod);
    }
  }
  return found;
}

function* allocationFindings(book: AddressBook, pods: PodIndex): Generator<Finding | undefined> {
  const live = new Set(book.facts.nodes.map(({ uid }) => uid));
  for (const [address, published] of book.allocated()) {
    yield undefined;
    const claim = book.claimOf(address);
    for (const each of published) {
      const { block, allocation } = each;
      // All of a block whose node is gone is one finding.
      if (!live.has(block.nodeUid)) continue;
      if (pods.find(allocation.uid, allocation.pod) === undefined) yield withoutPod(each);
      if (claim === undefined || claim.phase === "Released" || claim.phase === "Pending") continue;
      if (claim.holder?.podUid === allocation.uid) continue;
      const object = `IPAddress/${claim.name}`;
      const message = `${address} is ${claimed(claim)}, and the ordinary address of pod ${allocation.pod} on node ${block.node}`;
      const remedy = `delete pod ${allocation.pod}: it gets another address`;
      yield { kind: "duplicate", rule: "ClaimedAndOrdinary", object, address, message, remedy };
    }
    const [first, second] = published;
    if (first === undefined || second === undefined) continue;
    const one = `${first.allocation.pod} on node ${first.block.node}`;
    const other = `${second.allocation.pod} on node ${second.block.node}`;
    const object = `AddressBlock/${second.block.name}`;
    const message = `${address} is the ordinary address of pod ${one} and of pod ${other}`;
    const remedy = "delete one of the two pods: it gets another address; and see which blocks overlap";
    yield { kind: "duplicate", rule: "TwoAllocations", object, address, message, remedy };
  }
}

function withoutPod({ block, allocation }: Published): Finding {
  const { address, pod, uid } = allocation;
  return {
    kind: "leak",
    rule: "AllocationWithoutPod",
    object: `AddressBlock/${block.name}`,
    address,
    message: `${address} is the ordinary address of pod ${pod} (${uid}), which the API does not have`,
    remedy:
      `see on node ${block.node} with \`fabricctl endpoints\` whether the interface is still there: ` +
      "the kubelet removes it (`crictl pods`), and the address with it",
  };
}

function* podFindings(book: AddressBook): Generator<Finding | undefined> {
  const shown = new Map<Ip, AuditPod[]>();
  for (const pod of book.facts.pods) {
    yield undefined;
    for (const address of pod.addresses) {
      const others = shown.get(address);
      if (others === undefined) shown.set(address, [pod]);
      else others.push(pod);
    }
  }
  for (const [address, pods] of shown) {
    yield undefined;
    const found = book.subnetOf(address);
    if (pods.length > 1) yield twoPods(book, address, pods);
    if (found === undefined) continue;
    const node = book.nodeOf(address);
    for (const pod of pods) {
      const object = `Pod/${nameOf(pod)}`;
      if (address === found.family.gateway || node !== undefined) {
        const whose = node === undefined ? `the gateway of Subnet ${found.subnet.name}` : `node ${node.name}'s own`;
        const message = `pod ${nameOf(pod)} on node ${pod.node} shows ${address}, which is ${whose}`;
        const remedy = "delete the pod: it gets another address";
        yield { kind: "duplicate", rule: "NotForPods", object, address, message, remedy };
      } else if (pods.length === 1) {
        const finding = handedOut(book, address, pod, book.blockAround(address));
        if (finding !== undefined) yield finding;
      }
    }
  }
}

function twoPods(book: AddressBook, address: Ip, pods: readonly AuditPod[]): Finding {
  const rightful = new Set(book.allocationsOf(address).map(({ allocation }) => allocation.uid));
  const holder = book.claimOf(address)?.holder;
  if (holder !== undefined) rightful.add(holder.podUid);
  const others = pods.filter(({ uid, staticUid = uid }) => !rightful.has(uid) && !rightful.has(staticUid));
  const names = pods.map((pod) => `${nameOf(pod)} on node ${pod.node}`).join(" and ");
  const wrong = others.length > 0 && others.length < pods.length ? others.map(nameOf).join(", ") : undefined;
  return {
    kind: "duplicate",
    rule: "TwoPods",
    object: `Pod/${nameOf((others.length < pods.length ? others[0] : undefined) ?? pods[0]!)}`,
    address,
    message: `${address} is shown by pod ${names}`,
    remedy:
      wrong === undefined
        ? "delete one of them: it gets another address"
        : `delete ${wrong}: the address was handed out to the other one`,
  };
}

/** Undefined when the address was handed out to this pod, or nobody can know. */
function handedOut(book: AddressBook, address: Ip, pod: AuditPod, around: AuditBlock | undefined): Finding | undefined {
  const goesBy = (uid: string, name: string): boolean =>
    uid === "" ? name === nameOf(pod) : uid === pod.uid || uid === pod.staticUid;
  const claim = book.claimOf(address);
  const object = `Pod/${nameOf(pod)}`;
  const about = `pod ${nameOf(pod)} on node ${pod.node} shows ${address}`;
  const remedy = "delete the pod: it gets an address of its own";
  if (claim !== undefined && claim.phase !== "Released") {
    const { holder } = claim;
    if (holder !== undefined && goesBy(holder.podUid, `${holder.namespace}/${holder.pod}`)) return undefined;
    // A claim that waits for its grant takes the address from nobody.
    if (claim.phase !== "Pending") {
      const message = `${about}, which is ${claimed(claim)}`;
      return { kind: "duplicate", rule: "HeldByAnother", object, address, message, remedy };
    }
  }
  if (book.allocationsOf(address).some(({ allocation }) => goesBy(allocation.uid, allocation.pod))) return undefined;
  if (around !== undefined && isCut(around)) return undefined;
  const where = around === undefined ? "lies in no block" : `is not among what node ${around.block.node} handed out`;
  const message = `${about}, which is claimed by nobody and ${where}`;
  return { kind: "stranger", rule: "NotHandedOut", object, address, message, remedy };
}

function claimed({ holder, owner }: IpAddressRecord): string {
  if (holder !== undefined) return `claimed for pod ${holder.namespace}/${holder.pod} on node ${holder.node}`;
  return owner === undefined ? "kept for nobody" : `kept for ${owner.kind} ${owner.namespace}/${owner.name}`;
}

function stepFor(claim: IpAddressRecord, action: "release" | "reclaim"): RepairStep {
  const { uid, resourceVersion } = claim;
  return { action, kind: "IPAddress", name: ipAddressName(claim.address), uid, resourceVersion };
}

function nameOf({ namespace, name }: AuditPod): string {
  return `${namespace}/${name}`;
}
