/** The addresses that a pod may have, in the order in which it tries them: ranges, never a list of every address. */
import { assignableIntervals, intervalsSize, rangeInterval } from "@beyondfabric/kube/kinds";
import type { AddressRange, Interval, Subnet } from "@beyondfabric/kube/kinds";
import { ipFamily, ipFromBigInt, ipToBigInt } from "@beyondfabric/packet";
import type { Ip, IpFamily } from "@beyondfabric/packet";

/** What a pod may have of one family; the ranges are of that family and share no address. */
export interface Candidates {
  readonly family: IpFamily;
  readonly ranges: readonly AddressRange[];
  /** How many addresses, at least 1. */
  readonly count: bigint;
  /** Place, from 0, of the address that is tried before all others. */
  readonly preferred: bigint;
}

/**
 * The candidates of each family that the ranges have, IPv4 first.
 * @param ordinal the pod's place among its equals: it prefers the address in the same place, counted around
 */
export function candidatesOf(ranges: readonly AddressRange[], ordinal = 0n): Candidates[] {
  return ([4, 6] as const).flatMap((family) => {
    const own = ranges.filter((range) => range.family === family);
    const count = own.reduce((sum, range) => sum + size(rangeInterval(range)), 0n);
    return count === 0n ? [] : [{ family, ranges: own, count, preferred: ordinal % count }];
  });
}

/**
 * Every address of a subnet that is handed out without being asked for by name, for a subnet without blocks.
 * @param seed where to begin: claimants that begin in different places do not meet before the subnet is full
 */
export function subnetCandidates(subnet: Subnet, seed: bigint): Candidates[] {
  return subnet.families.flatMap((each) => {
    const intervals = assignableIntervals(subnet, each);
    const count = intervalsSize(intervals);
    if (count === 0n) return [];
    const { family } = each;
    const ranges = rotate(intervals, seed % count).map(({ first, last }) => ({
      family,
      first: ipFromBigInt(first, family),
      last: ipFromBigInt(last, family),
    }));
    return [{ family, ranges, count, preferred: 0n }];
  });
}

/** The same values, from the `place`-th on and around. */
function rotate(intervals: readonly Interval[], place: bigint): Interval[] {
  const before: Interval[] = [];
  let rest = place;
  for (const [index, { first, last }] of intervals.entries()) {
    const length = last - first + 1n;
    if (rest >= length) {
      before.push({ first, last });
      rest -= length;
      continue;
    }
    if (rest > 0n) before.push({ first, last: first + rest - 1n });
    return [{ first: first + rest, last }, ...intervals.slice(index + 1), ...before];
  }
  return before;
}

/** Every candidate once: the preferred one, then the others in the order of the ranges. */
export function* candidateAddresses(candidates: Candidates): Generator<Ip> {
  const { family, ranges, preferred } = candidates;
  const first = candidateAt(candidates, preferred);
  yield first;
  for (const range of ranges) {
    const { first: low, last: high } = rangeInterval(range);
    for (let value = low; value <= high; value++) {
      const address = ipFromBigInt(value, family);
      if (address !== first) yield address;
    }
  }
}

/** Whether the address is one of the candidates. */
export function isCandidate(candidates: Candidates, address: Ip): boolean {
  if (ipFamily(address) !== candidates.family) return false;
  const value = ipToBigInt(address);
  return candidates.ranges.some((range) => {
    const { first, last } = rangeInterval(range);
    return first <= value && value <= last;
  });
}

function candidateAt({ family, ranges }: Candidates, place: bigint): Ip {
  let rest = place;
  for (const range of ranges) {
    const interval = rangeInterval(range);
    if (rest < size(interval)) return ipFromBigInt(interval.first + rest, family);
    rest -= size(interval);
  }
  throw new RangeError(`place ${place} is beyond the candidates`);
}

function size({ first, last }: Interval): bigint {
  return last - first + 1n;
}

/** `maxSurge` of a roll-out: a number of pods, or a percentage of the replicas such as `25%`. */
export type MaxSurge = number | string | undefined;

/**
 * Why a pool is too small for a roll-out of its workload, as a sentence; undefined when it has room. The pods of the old
 * and of the new template hold addresses at the same time, `maxSurge` more than there are replicas.
 * @param replicas of a Deployment, or the nodes that a DaemonSet runs on
 * @param maxSurge of its update strategy; undefined when it replaces pods without a spare one
 * @param count addresses of the pool, in the family that has fewer
 */
export function poolRoom(replicas: number, maxSurge: MaxSurge, count: bigint): string | undefined {
  const surge = surgeOf(replicas, maxSurge);
  const needed = BigInt(replicas) + surge;
  if (needed <= count) return undefined;
  const pods = surge === 0n ? `${replicas} replicas` : `${replicas} replicas and ${surge} more during a rolling update`;
  return `${pods} need ${needed} addresses, and there are ${count}; add ${needed - count}, or lower replicas or maxSurge`;
}

/** Percentages are rounded up, as the controllers of Kubernetes do (`GetScaledValueFromIntOrPercent`). */
function surgeOf(replicas: number, maxSurge: MaxSurge): bigint {
  if (typeof maxSurge === "number") return Number.isSafeInteger(maxSurge) && maxSurge > 0 ? BigInt(maxSurge) : 0n;
  const percent = /^([0-9]{1,6})%$/.exec(maxSurge ?? "")?.[1];
  return percent === undefined ? 0n : (BigInt(replicas) * BigInt(percent) + 99n) / 100n;
}
