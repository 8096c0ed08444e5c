/** Which addresses of a subnet may be handed out: as sorted intervals, so that an IPv6 subnet costs no more than its ranges. */
import { cidrSize, formatCidr, ipFromBigInt, ipToBigInt } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import type { AddressRange } from "./address-range.ts";
import { subnetFamily } from "./subnet.ts";
import type { Subnet, SubnetFamily } from "./subnet.ts";

/** Addresses from `first` to `last`, both included, as integers of their family. */
export interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/**
 * Sorted, disjoint intervals of what is handed out without being asked for by name: the subnet's ranges (or all of it)
 * without its first address, the broadcast address of IPv4, the gateway, and what is excluded or reserved.
 */
export function assignableIntervals(subnet: Subnet, family: SubnetFamily): Interval[] {
  return subtract(specificIntervals(subnet, family), ofFamily(subnet.reserved, family));
}

/** The same, with what is reserved for those who ask for that very address. */
export function specificIntervals(subnet: Subnet, family: SubnetFamily): Interval[] {
  const whole = cidrInterval(family.cidr);
  const wanted = subnet.ranges.length === 0 ? [whole] : merge(ofFamily(subnet.ranges, family));
  const gateway = ipToBigInt(family.gateway);
  const forbidden = [
    { first: whole.first, last: whole.first },
    { first: gateway, last: gateway },
    ...ofFamily(subnet.excluded, family),
  ];
  if (family.family === 4) forbidden.push({ first: whole.last, last: whole.last });
  return subtract(wanted, forbidden);
}

/**
 * Why a subnet does not hand out every address of a range to those who name them, as the end of "is RANGE, ..."; undefined
 * when it does.
 */
export function unassignable(subnet: Subnet, range: AddressRange): string | undefined {
  const family = subnetFamily(subnet, range.family);
  if (family === undefined) return `but Subnet ${subnet.name} has no IPv${range.family} addresses`;
  const wanted = rangeInterval(range);
  const whole = cidrInterval(family.cidr);
  if (wanted.first < whole.first || wanted.last > whole.last) return `which is not inside ${formatCidr(family.cidr)}`;
  const assignable = clip(specificIntervals(subnet, family), wanted);
  if (intervalsSize(assignable) === wanted.last - wanted.first + 1n) return undefined;
  const [start] = assignable;
  // The first address that is missing: the range's own first, or the one behind the first stretch.
  const missing = start === undefined || start.first > wanted.first ? wanted.first : start.last + 1n;
  const address = ipFromBigInt(missing, range.family);
  const is = range.first === range.last ? "which is" : `and ${address} is`;
  if (address === family.gateway) return `${is} the gateway of ${formatCidr(family.cidr)}`;
  // RFC 4291 section 2.6.1 gives the first address of an IPv6 subnet to all of its routers.
  const first = range.family === 4 ? "network" : "routers' anycast";
  if (missing === whole.first) return `${is} the ${first} address of ${formatCidr(family.cidr)}`;
  if (missing === whole.last && range.family === 4) return `${is} the broadcast address of ${formatCidr(family.cidr)}`;
  const isExcluded = intervalsContain(ofFamily(subnet.excluded, family), missing);
  return isExcluded ? `${is} excluded` : `${is} outside of the subnet's ranges`;
}

export function cidrInterval(cidr: Cidr): Interval {
  const first = ipToBigInt(cidr.address);
  return { first, last: first + cidrSize(cidr) - 1n };
}

/** The part of sorted intervals that lies within a bound. */
export function clip(intervals: readonly Interval[], bound: Interval): Interval[] {
  const clipped: Interval[] = [];
  for (const { first, last } of intervals) {
    if (last < bound.first || first > bound.last) continue;
    clipped.push({ first: first > bound.first ? first : bound.first, last: last < bound.last ? last : bound.last });
  }
  return clipped;
}

export function intervalsSize(intervals: readonly Interval[]): bigint {
  return intervals.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
}

export function intervalsContain(intervals: readonly Interval[], value: bigint): boolean {
  return intervals.some(({ first, last }) => first <= value && value <= last);
}

/** The `ordinal`-th value (from 0) of sorted intervals; the ordinal must be below their size. */
export function valueAt(intervals: readonly Interval[], ordinal: bigint): bigint {
  let rest = ordinal;
  for (const { first, last } of intervals) {
    const size = last - first + 1n;
    if (rest < size) return first + rest;
    rest -= size;
  }
  throw new RangeError(`ordinal ${ordinal} is beyond ${intervalsSize(intervals)} values`);
}

/** How many values of sorted intervals lie below `value`: its ordinal, when it is one of them. */
export function ordinalOf(intervals: readonly Interval[], value: bigint): bigint {
  let ordinal = 0n;
  for (const { first, last } of intervals) {
    if (value <= first) break;
    ordinal += (value <= last ? value : last + 1n) - first;
  }
  return ordinal;
}

/** Both ends of a range as integers of its family. */
export function rangeInterval({ first, last }: AddressRange): Interval {
  return { first: ipToBigInt(first), last: ipToBigInt(last) };
}

function ofFamily(ranges: readonly AddressRange[], family: SubnetFamily): Interval[] {
  return ranges.filter((range) => range.family === family.family).map(rangeInterval);
}

/** Sorts and joins intervals that overlap or touch. */
function merge(intervals: readonly Interval[]): Interval[] {
  const merged: Interval[] = [];
  for (const next of intervals.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const previous = merged.at(-1);
    if (previous === undefined || next.first > previous.last + 1n) merged.push(next);
    else if (next.last > previous.last) merged[merged.length - 1] = { first: previous.first, last: next.last };
  }
  return merged;
}

function subtract(from: readonly Interval[], what: readonly Interval[]): Interval[] {
  let rest = [...from];
  for (const hole of merge(what)) {
    rest = rest.flatMap(({ first, last }) => {
      if (hole.last < first || hole.first > last) return [{ first, last }];
      const parts: Interval[] = [];
      if (first < hole.first) parts.push({ first, last: hole.first - 1n });
      if (hole.last < last) parts.push({ first: hole.last + 1n, last });
      return parts;
    });
  }
  return rest;
}

/** Merged intervals divided by a block's size: which blocks hold at least one of the addresses. */
export function blockIndices(intervals: readonly Interval[], family: SubnetFamily): Interval[] {
  const base = ipToBigInt(family.cidr.address);
  const shift = BigInt((family.family === 4 ? 32 : 128) - family.blockLength);
  return merge(intervals.map(({ first, last }) => ({ first: (first - base) >> shift, last: (last - base) >> shift })));
}
