/** What people write onto pods and namespaces about addresses: from text to values, or to what is wrong with it. */
import { IntervalIndex, parseAddressRange, rangeInterval } from "@beyondfabric/kube/kinds";
import type { AddressRange } from "@beyondfabric/kube/kinds";
import { AddressError, ipFamily, macToBytes, parseIp, parseMac } from "@beyondfabric/packet";
import type { Ip, Mac } from "@beyondfabric/packet";

/** One address, or one of each family, separated by a comma. */
export const ipAnnotation = "beyondfabric.io/ip";
/** The name of an IPPool, or addresses and ranges separated by commas. */
export const ipPoolAnnotation = "beyondfabric.io/ip-pool";
/** The name of a Subnet; on a namespace it holds for pods that say nothing. */
export const subnetAnnotation = "beyondfabric.io/subnet";
/** MAC address of the pod's interface. */
export const macAnnotation = "beyondfabric.io/mac";

const ovnAddress = "ovn.kubernetes.io/ip_address";
const ovnPool = "ovn.kubernetes.io/ip_pool";
const calicoAddresses = "cni.projectcalico.org/ipAddrs";

/** Annotations of a pod that choose its addresses: what a record of a pod has to keep. */
export const podAddressAnnotations: readonly string[] = [
  ipAnnotation,
  ipPoolAnnotation,
  subnetAnnotation,
  macAnnotation,
  ovnAddress,
  ovnPool,
  calicoAddresses,
];

/** The same of a namespace. */
export const namespaceAddressAnnotations: readonly string[] = [subnetAnnotation];

/** Addresses that a pod asks for, and the annotation that says so. */
export type Wish = ListWish | PoolWish;

/** `addresses`: these and no others, one of a family. `ranges`: one of each family out of these, which share no address. */
export interface ListWish {
  readonly annotation: string;
  readonly kind: "addresses" | "ranges";
  readonly ranges: readonly [AddressRange, ...AddressRange[]];
}

/** One of each family out of an IPPool. */
export interface PoolWish {
  readonly annotation: string;
  readonly kind: "pool";
  readonly pool: string;
}

/** Notes what is wrong with an annotation, as the end of "ANNOTATION ...", and what to do about it. */
export type Complain = (annotation: string, rule: string, remedy: string) => void;

/** Characters of a list; beyond it somebody should make an IPPool. */
const maxText = 16_384;
const maxEntries = 256;
/** The longest range: two IPv6 addresses of 45 characters and a dash. */
const maxEntry = 91;

type Read = (annotation: string, text: string, complain: Complain) => Wish | undefined;

/** In order of precedence: ours first, then the spellings of others, which ease moving a workload here. */
const spellings: readonly { readonly annotation: string; readonly read: Read }[] = [
  { annotation: ipAnnotation, read: readAddresses },
  { annotation: ipPoolAnnotation, read: (...rest) => readPool(",", ...rest) },
  { annotation: ovnAddress, read: readAddresses },
  { annotation: calicoAddresses, read: readJsonAddresses },
  // Dual stack is written as pairs: a4,a6;b4,b6.
  { annotation: ovnPool, read: (...rest) => readPool(/[,;]/, ...rest) },
];

/**
 * The addresses that a pod asks for: `none` when it does not, `unreadable` after complaining. Only the annotation of
 * highest precedence is read.
 */
export function readWish(
  annotations: Readonly<Record<string, string>>,
  complain: Complain,
): Wish | "none" | "unreadable" {
  for (const { annotation, read } of spellings) {
    const text = annotations[annotation];
    if (text === undefined) continue;
    if (text.trim() === "") complain(annotation, "is empty", "write addresses into it, or drop it");
    else if (text.length > maxText) {
      complain(annotation, `has ${text.length} characters, more than ${maxText}`, "make an IPPool and name it");
    } else return read(annotation, text, complain) ?? "unreadable";
    return "unreadable";
  }
  return "none";
}

/** The MAC address that a pod asks for; undefined when it asks for none, or after complaining. */
export function readMac(annotations: Readonly<Record<string, string>>, complain: Complain): Mac | undefined {
  const text = annotations[macAnnotation];
  if (text === undefined) return undefined;
  const mac = attempt(macAnnotation, text, parseMac, complain);
  if (mac === undefined) return undefined;
  const bytes = macToBytes(mac);
  const remedy = "write an address of a single machine, such as 0a:58:00:00:00:01";
  if ((bytes[0]! & 1) === 1) complain(macAnnotation, `is ${mac}, an address of many machines (multicast)`, remedy);
  else if (bytes.every((byte) => byte === 0)) complain(macAnnotation, `is ${mac}, nobody's address`, remedy);
  else return mac;
  return undefined;
}

function readAddresses(annotation: string, text: string, complain: Complain): Wish | undefined {
  return addressWish(annotation, text.split(","), complain);
}

function readJsonAddresses(annotation: string, text: string, complain: Complain): Wish | undefined {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (Array.isArray(list) && list.every((each) => typeof each === "string")) {
    return addressWish(annotation, list, complain);
  }
  complain(annotation, `is ${quote(text)}, no JSON list of addresses`, 'write for example ["10.0.0.5"]');
  return undefined;
}

function addressWish(annotation: string, texts: readonly string[], complain: Complain): Wish | undefined {
  const addresses: Ip[] = [];
  // Of three addresses two are of one family.
  for (const text of texts.slice(0, 3)) {
    const address = attempt(annotation, text.trim(), parseIp, complain);
    if (address === undefined) return undefined;
    addresses.push(address);
  }
  const double = ([4, 6] as const).find((family) => addresses.filter((each) => ipFamily(each) === family).length > 1);
  if (double !== undefined) {
    const rule = `names two IPv${double} addresses, and a pod has one of each family`;
    complain(annotation, rule, `drop one, or list what the pod may choose from in ${ipPoolAnnotation}`);
    return undefined;
  }
  const [first, ...rest] = addresses.map((address) => ({ family: ipFamily(address), first: address, last: address }));
  if (first !== undefined) return { annotation, kind: "addresses", ranges: [first, ...rest] };
  complain(annotation, "lists no address", "write one, or drop it");
  return undefined;
}

function readPool(separator: string | RegExp, annotation: string, text: string, complain: Complain): Wish | undefined {
  if (!isList(text)) return { annotation, kind: "pool", pool: text.trim() };
  const entries = text.split(separator).map((each) => each.trim());
  if (entries.length > maxEntries) {
    complain(annotation, `lists ${entries.length} ranges, more than ${maxEntries}`, "make an IPPool and name it");
    return undefined;
  }
  const ranges: AddressRange[] = [];
  const taken = new IntervalIndex<string>();
  for (const entry of entries) {
    const range = attempt(annotation, entry, parseAddressRange, complain);
    if (range === undefined) return undefined;
    const other = taken.find(range.family, rangeInterval(range));
    if (other !== undefined) {
      complain(annotation, `lists ${entry}, which overlaps ${other}`, "list each address once");
      return undefined;
    }
    taken.add(range.family, rangeInterval(range), entry);
    ranges.push(range);
  }
  const [first, ...rest] = ranges;
  return first && { annotation, kind: "ranges", ranges: [first, ...rest] };
}

/**
 * Whether a text means addresses and ranges rather than the name of an IPPool. A name has none of `,;:/` and no space;
 * `10.0.0.5` and `10.0.0.5-10.0.0.9` could be names and are not taken for one, nor is what was meant to be like them.
 */
function isList(text: string): boolean {
  const trimmed = text.trim();
  return /[,;:/\s]/.test(trimmed) || (/^[0-9.-]+$/.test(trimmed) && trimmed.split(".").length > 3);
}

function attempt<Value>(
  annotation: string,
  text: string,
  parse: (text: string) => Value,
  complain: Complain,
): Value | undefined {
  if (text.length > maxEntry) {
    complain(annotation, `has ${quote(text)}, which is too long`, "correct it");
    return undefined;
  }
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    complain(annotation, "cannot be read", error.message);
    return undefined;
  }
}

/** A text as a message can hold it, in quotes. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
