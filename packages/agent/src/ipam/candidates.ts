/**
 * The addresses that a pod may have, in the order in which it tries them: ranges, never a list of every address. Each pod has
 * an order of its own, so that pods that start together ask for different addresses: where all took the lowest that looks
 * free, all but one would lose it, again and again.
 */
import { assignableIntervals, rangeInterval, valueAt } from "@beyondfabric/kube/kinds";
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
  /** Places from one that is tried to the next, around the end; it shares no divisor with the count, so that none is left out. */
  readonly stride: bigint;
}

/** Whose order it is. */
export interface CandidateOrder {
  /** A number of 64 bits that no other pod has. */
  readonly seed: bigint;
  /** Place, from 0, of the pod among its equals: it tries the address in the same place first, counted around. */
  readonly ordinal?: bigint | undefined;
}

/** The candidates of each family that the ranges have, IPv4 first. Families of one size are tried in the same places. */
export function candidatesOf(ranges: readonly AddressRange[], { seed, ordinal }: CandidateOrder): Candidates[] {
  return ([4, 6] as const).flatMap((family) => {
    const own = ranges.filter((range) => range.family === family);
    const count = own.reduce((sum, range) => sum + size(rangeInterval(range)), 0n);
    if (count === 0n) return [];
    return [{ family, ranges: own, count, preferred: (ordinal ?? seed) % count, stride: strideOf(seed, count) }];
  });
}

/** Every address of a subnet that is handed out without being asked for by name, for a subnet without blocks. */
export function subnetCandidates(subnet: Subnet, seed: bigint): Candidates[] {
  const ranges = subnet.families.flatMap((each) =>
    assignableIntervals(subnet, each).map(({ first, last }) => ({
      family: each.family,
      first: ipFromBigInt(first, each.family),
      last: ipFromBigInt(last, each.family),
    })),
  );
  return candidatesOf(ranges, { seed });
}

/** Made of other bits than the first place: pods that begin in one place part at the second. */
function strideOf(seed: bigint, count: bigint): bigint {
  let stride = ((seed >> 24n) % count) + 1n;
  while (commonDivisor(stride, count) !== 1n) stride++;
  return stride;
}

function commonDivisor(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a;
}

/** Every candidate once, the preferred one first. */
export function* candidateAddresses({ family, ranges, count, preferred, stride }: Candidates): Generator<Ip> {
  const intervals = ranges.map(rangeInterval);
  let place = preferred;
  for (let tried = 0n; tried < count; tried++) {
    yield ipFromBigInt(valueAt(intervals, place), family);
    place = (place + stride) % count;
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
