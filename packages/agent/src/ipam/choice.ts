/** Which addresses a pod is to get: one pure decision over what it, its namespace and the subnets and pools say. */
import { compileSelector } from "@beyondfabric/kube";
import type { Labels, Selector } from "@beyondfabric/kube";
import { bySeniority, formatAddressRange, formatViolation, unassignable } from "@beyondfabric/kube/kinds";
import type { AddressOwner, AddressRange, AddressRetention, IpPool, LabelSelector } from "@beyondfabric/kube/kinds";
import type { Parsed, Subnet, Violation } from "@beyondfabric/kube/kinds";
import { cidrContains, compareIps } from "@beyondfabric/packet";
import type { Ip, Mac } from "@beyondfabric/packet";
import { quote, readMac, readWish, subnetAnnotation } from "./annotations.ts";
import type { ListWish, PoolWish, Wish } from "./annotations.ts";
import { candidatesOf, subnetCandidates } from "./candidates.ts";
import type { Candidates } from "./candidates.ts";
import { IpamError } from "./errors.ts";
import { hash64 } from "./hash.ts";
import { podOwner } from "./owner.ts";
import type { OwnPod, PodOwner, StickyOwner } from "./owner.ts";

/** The namespace of a pod. */
export interface PodNamespace {
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Labels;
}

/** What there is to choose from: only objects that break no rule, those that are being deleted included. */
export interface AddressWorld {
  readonly subnets: readonly Subnet[];
  readonly pools: readonly IpPool[];
  /** Networks whose subnets have no blocks: their addresses are claimed one by one. */
  readonly physicalNetworks?: ReadonlySet<string>;
  /** Kinds that keep their addresses besides StatefulSet. */
  readonly stickyOwners: readonly StickyOwner[];
}

interface AnyPlan {
  readonly subnet: Subnet;
  /** What the pod asks for; undefined: as the agent makes it of the address. */
  readonly mac: Mac | undefined;
  /** What decided, for messages: an annotation and its object, or a rule of a Subnet. */
  readonly source: string;
}

/** Any address of the subnet, for as long as the pod has it. */
export interface OrdinaryPlan extends AnyPlan {
  readonly kind: "ordinary";
}

/** Any address of the subnet at first, and the same ever after. */
export interface StickyPlan extends AnyPlan {
  readonly kind: "sticky";
  readonly owner: AddressOwner;
}

/** One of certain addresses. */
export interface NamedPlan extends AnyPlan {
  readonly kind: "named";
  readonly retention: AddressRetention;
  readonly owner: AddressOwner;
  /** The IPPool that the candidates are; undefined when the pod lists them itself. */
  readonly pool: string | undefined;
  /** Of each family that the pod is to get, one entry: a pod that names one family gets no other. */
  readonly candidates: readonly Candidates[];
}

export type AddressingPlan = OrdinaryPlan | StickyPlan | NamedPlan;

/** Beyond this many, violations say nothing new. */
const maxViolations = 10;

/**
 * Which addresses the pod is to get. In order of precedence: addresses in annotations of the pod, a pool there, a subnet
 * there, a subnet in the namespace's annotations, the oldest Subnet whose `namespaceSelector` fits, the default Subnet.
 * What is overruled is not read, but a pod that names addresses and a subnet must mean the same one.
 */
export function chooseAddressing(pod: OwnPod, namespace: PodNamespace, world: AddressWorld): Parsed<AddressingPlan> {
  const violations: Violation[] = [];
  const object = `Pod/${pod.namespace}/${pod.name}`;
  const offend = (field: string, rule: string, remedy: string, of = object): void => {
    if (violations.length < maxViolations) violations.push({ object: of, field, rule, remedy });
  };
  const complain = (annotation: string, rule: string, remedy: string): void =>
    offend(annotationField(annotation), rule, remedy);
  const value = plan({ pod, namespace, world, offend, complain });
  return value !== undefined && violations.length === 0 ? { ok: true, value } : { ok: false, violations };
}

/** The error of a pod that asks for what it cannot have. */
export function addressingRefused(violations: readonly Violation[]): IpamError {
  return new IpamError("IPAM_ADDRESSING_REFUSED", violations.map(formatViolation).join("; "));
}

interface Question {
  readonly pod: OwnPod;
  readonly namespace: PodNamespace;
  readonly world: AddressWorld;
  readonly offend: (field: string, rule: string, remedy: string, object?: string) => void;
  readonly complain: (annotation: string, rule: string, remedy: string) => void;
}

function plan(question: Question): AddressingPlan | undefined {
  const { pod, world, complain } = question;
  const mac = readMac(pod.annotations, complain);
  const wish = readWish(pod.annotations, complain);
  const named = namedSubnet(question);
  if (wish === "unreadable" || named === "refused") return undefined;
  const podOwned = podOwner(pod, world.stickyOwners);
  if (wish !== "none") return namedPlan(question, wish, named, podOwned, mac);
  const found = named ?? servingSubnet(question);
  if (found === undefined) return undefined;
  const { subnet, source } = found;
  if (world.physicalNetworks?.has(subnet.network) === true) {
    const { owner, isSticky } = podOwned;
    const retention = isSticky ? "Sticky" : "Pool";
    const candidates = subnetCandidates(subnet, seedOf(pod));
    return { kind: "named", subnet, mac, source, retention, owner, pool: undefined, candidates };
  }
  if (podOwned.isSticky) return { kind: "sticky", subnet, mac, source, owner: podOwned.owner };
  return { kind: "ordinary", subnet, mac, source };
}

/** A number that is the pod's own. */
function seedOf({ uid, namespace, name }: OwnPod): bigint {
  return hash64(`${uid} ${namespace}/${name}`);
}

interface Found {
  readonly subnet: Subnet;
  readonly source: string;
}

/** The subnet that the pod's own annotation names. */
function namedSubnet({ pod, world, offend }: Question): Found | "refused" | undefined {
  const text = pod.annotations[subnetAnnotation];
  if (text === undefined) return undefined;
  const subnet = subnetOfName(text, world, (rule, remedy) => offend(annotationField(subnetAnnotation), rule, remedy));
  return subnet === undefined ? "refused" : { subnet, source: annotationSource(subnetAnnotation, podText(pod)) };
}

/** The subnet for a pod that names none, nor addresses. */
function servingSubnet({ pod, namespace, world, offend }: Question): Found | undefined {
  const text = namespace.annotations[subnetAnnotation];
  if (text !== undefined) {
    const object = `Namespace/${namespace.name}`;
    const subnet = subnetOfName(text, world, (rule, remedy) =>
      offend(annotationField(subnetAnnotation), rule, remedy, object),
    );
    const source = annotationSource(subnetAnnotation, `Namespace ${namespace.name}`);
    return subnet && { subnet, source };
  }
  const { subnets } = world;
  const selecting = subnets.filter(
    ({ namespaceSelector }) => namespaceSelector !== undefined && selects(namespaceSelector, namespace.labels),
  );
  const selected = preferred(selecting);
  const subnet = selected ?? preferred(subnets.filter(({ isDefault }) => isDefault));
  if (subnet === undefined) {
    const rule = `is ${pod.namespace}, which no usable Subnet serves`;
    const remedy = `create a Subnet with default: true, or name one in the annotation ${subnetAnnotation}`;
    offend("metadata.namespace", rule, remedy);
    return undefined;
  }
  if (subnet.deletionTimestamp !== undefined) {
    const served = `is ${pod.namespace}, whose Subnet ${subnet.name} is being deleted`;
    offend("metadata.namespace", served, `wait, or name another in the annotation ${subnetAnnotation}`);
    return undefined;
  }
  return { subnet, source: `${selected === undefined ? "default" : "namespaceSelector"} of Subnet ${subnet.name}` };
}

/** The oldest; one that is being deleted only when there is no other, so that its successor can stand ready. */
function preferred(subnets: readonly Subnet[]): Subnet | undefined {
  const sorted = subnets.toSorted(bySeniority);
  return sorted.find((each) => each.deletionTimestamp === undefined) ?? sorted[0];
}

function namedPlan(
  question: Question,
  wish: Wish,
  named: Found | undefined,
  { owner, isSticky, ordinal }: PodOwner,
  mac: Mac | undefined,
): NamedPlan | undefined {
  const { pod } = question;
  const drawn = wish.kind === "pool" ? fromPool(question, wish, named) : fromList(question, wish, named);
  if (drawn === undefined) return undefined;
  const { subnet, ranges, pool } = drawn;
  return {
    kind: "named",
    subnet,
    mac,
    source: annotationSource(wish.annotation, podText(pod)),
    retention: isSticky ? "Sticky" : wish.kind === "addresses" ? "Fixed" : "Pool",
    owner,
    pool,
    candidates: candidatesOf(ranges, { seed: seedOf(pod), ordinal }),
  };
}

interface Drawn {
  readonly subnet: Subnet;
  readonly ranges: readonly AddressRange[];
  readonly pool: string | undefined;
}

function fromPool(question: Question, wish: PoolWish, named: Found | undefined): Drawn | undefined {
  const { namespace, world } = question;
  const complain = (rule: string, remedy: string): undefined => {
    question.complain(wish.annotation, `names ${quote(wish.pool)}, ${rule}`, remedy);
    return undefined;
  };
  const pool = world.pools.find((each) => each.name === wish.pool);
  const subnet = pool && world.subnets.find((each) => each.name === pool.subnet);
  if (pool === undefined || subnet === undefined) {
    return complain("which is no usable IPPool", "name one that `kubectl get bfpool` shows, or see its Events");
  }
  if (!isOpenTo(pool, namespace)) {
    const rule = `an IPPool that is not for namespace ${namespace.name}`;
    return complain(rule, "label the namespace as the pool's namespaceSelector asks, or name another pool");
  }
  if (pool.deletionTimestamp !== undefined) return complain("which is being deleted", "name another pool");
  if (named !== undefined && named.subnet.name !== subnet.name) {
    const rule = `an IPPool of Subnet ${subnet.name}, but ${subnetAnnotation} names ${named.subnet.name}`;
    return complain(rule, "correct one of the two, or drop the subnet");
  }
  if (subnet.deletionTimestamp !== undefined) {
    return complain(`an IPPool of Subnet ${subnet.name}, which is being deleted`, "name another pool");
  }
  return { subnet, ranges: pool.addresses, pool: pool.name };
}

function fromList(question: Question, wish: ListWish, named: Found | undefined): Drawn | undefined {
  const { namespace, world } = question;
  const complain = (rule: string, remedy: string): undefined => {
    question.complain(wish.annotation, rule, remedy);
    return undefined;
  };
  const { ranges } = wish;
  const [{ first }] = ranges;
  const subnet = named?.subnet ?? subnetAround(first, world.subnets);
  if (subnet === undefined) {
    const remedy = "name addresses of one that `kubectl get subnets` shows";
    return complain(`names ${first}, which is in no usable Subnet`, remedy);
  }
  const handsOut = `Subnet ${subnet.name}${named === undefined ? "" : `, which ${subnetAnnotation} names,`} hands out`;
  const closed = world.pools.filter((pool) => pool.subnet === subnet.name && !isOpenTo(pool, namespace));
  let isSound = true;
  for (const range of ranges) {
    const text = formatAddressRange(range);
    const refused = unassignable(subnet, range);
    const pool = closed.find((each) => each.addresses.some((other) => overlap(range, other)));
    if (refused !== undefined) {
      complain(`names ${text}, ${refused}`, `name addresses that ${handsOut}`);
    } else if (pool !== undefined) {
      const rule = `names ${text}, of IPPool ${pool.name}, which is not for namespace ${namespace.name}`;
      complain(rule, "name others, or label the namespace as the pool's namespaceSelector asks");
    } else continue;
    isSound = false;
  }
  if (!isSound) return undefined;
  if (subnet.deletionTimestamp !== undefined) {
    const rule = `names addresses of Subnet ${subnet.name}, which is being deleted`;
    return complain(rule, "name addresses of another");
  }
  return { subnet, ranges, pool: undefined };
}

function subnetAround(address: Ip, subnets: readonly Subnet[]): Subnet | undefined {
  return subnets.find(({ families }) => families.some(({ cidr }) => cidrContains(cidr, address)));
}

function subnetOfName(
  text: string,
  { subnets }: AddressWorld,
  complain: (rule: string, remedy: string) => void,
): Subnet | undefined {
  const subnet = subnets.find((each) => each.name === text.trim());
  const remedy = "name one that `kubectl get subnets` shows, or see its Events";
  if (subnet === undefined) complain(`names ${quote(text)}, which is no usable Subnet`, remedy);
  else if (subnet.deletionTimestamp !== undefined) {
    complain(`names ${subnet.name}, which is being deleted`, "name another Subnet");
    return undefined;
  }
  return subnet;
}

function isOpenTo({ namespaceSelector }: IpPool, { labels }: PodNamespace): boolean {
  return namespaceSelector === undefined || selects(namespaceSelector, labels);
}

function overlap(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && compareIps(a.first, b.last) <= 0 && compareIps(b.first, a.last) <= 0;
}

/** Selectors are compiled once per object that the API gave; one that cannot be read selects nothing. */
const compiled = new WeakMap<LabelSelector, Selector | "unreadable">();

function selects(selector: LabelSelector, labels: Labels): boolean {
  let known = compiled.get(selector);
  if (known === undefined) {
    const parsed = compileSelector(selector);
    compiled.set(selector, (known = parsed.ok ? parsed.selector : "unreadable"));
  }
  return known !== "unreadable" && known.matches(labels);
}

function podText(pod: OwnPod): string {
  return `Pod ${pod.namespace}/${pod.name}`;
}

function annotationField(annotation: string): string {
  return `metadata.annotations[${annotation}]`;
}

function annotationSource(annotation: string, object: string): string {
  return `annotation ${annotation} of ${object}`;
}
