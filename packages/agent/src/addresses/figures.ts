/** How many addresses subnets and pools have, and how many of them are taken: what their status shows. */
import {
  assignableIntervals,
  intervalsSize,
  rangeInterval,
  type AddressBlock,
  type FamilyCounts,
  type IpAddressRecord,
  type IpPool,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { cidrContains, ipFamily, ipToBigInt, PrefixMap, type Ip, type IpFamily } from "@beyondfabric/packet";

/** Of a subnet, per family. */
export interface SubnetFigures {
  readonly capacity: FamilyCounts;
  readonly used: FamilyCounts;
  readonly free: FamilyCounts;
}

export interface PoolFigures {
  readonly capacity: FamilyCounts;
  readonly used: FamilyCounts;
}

/**
 * Figures of one subnet. A block's owner counts what is taken inside it, claims included; claims outside every block are
 * counted here. Both are as late as the blocks' status.
 */
export function subnetFigures(
  subnet: Subnet,
  blocks: Iterable<AddressBlock>,
  claims: Iterable<IpAddressRecord>,
): SubnetFigures {
  const used = new Map<IpFamily, bigint>();
  const add = (family: IpFamily, count: bigint): void => void used.set(family, (used.get(family) ?? 0n) + count);
  const around = new PrefixMap<true>();
  for (const block of blocks) {
    if (block.subnet !== subnet.name) continue;
    around.set(block.cidr, true);
    add(block.cidr.family, BigInt(block.used ?? 0));
  }
  for (const claim of claims) {
    if (claim.subnet !== subnet.name || claim.phase === "Released") continue;
    if (around.lookup(claim.address) === undefined) add(ipFamily(claim.address), 1n);
  }
  const capacity = new Map<IpFamily, bigint>();
  const free = new Map<IpFamily, bigint>();
  for (const family of subnet.families) {
    const all = intervalsSize(assignableIntervals(subnet, family));
    const taken = used.get(family.family) ?? 0n;
    capacity.set(family.family, all);
    used.set(family.family, taken);
    free.set(family.family, all > taken ? all - taken : 0n);
  }
  return { capacity: countsOf(capacity), used: countsOf(used), free: countsOf(free) };
}

/** Figures of one pool. */
export function poolFigures(pool: IpPool, claims: Iterable<IpAddressRecord>): PoolFigures {
  const capacity = new Map<IpFamily, bigint>();
  const used = new Map<IpFamily, bigint>();
  for (const range of pool.addresses) {
    const { first, last } = rangeInterval(range);
    capacity.set(range.family, (capacity.get(range.family) ?? 0n) + last - first + 1n);
    used.set(range.family, used.get(range.family) ?? 0n);
  }
  for (const claim of claims) {
    if (claim.phase === "Released" || !inPool(pool, claim.address)) continue;
    const family = ipFamily(claim.address);
    used.set(family, (used.get(family) ?? 0n) + 1n);
  }
  return { capacity: countsOf(capacity), used: countsOf(used) };
}

function inPool(pool: IpPool, address: Ip): boolean {
  const family = ipFamily(address);
  return pool.addresses.some((range) => {
    if (range.family !== family) return false;
    const { first, last } = rangeInterval(range);
    const value = ipToBigInt(address);
    return first <= value && value <= last;
  });
}

/** Whether a subnet has an address, whoever holds it. */
export function inSubnet(subnet: Subnet, address: Ip): boolean {
  return subnet.families.some(({ cidr }) => cidr.family === ipFamily(address) && cidrContains(cidr, address));
}

function countsOf(counts: ReadonlyMap<IpFamily, bigint>): FamilyCounts {
  const [ipv4, ipv6] = [counts.get(4), counts.get(6)];
  return {
    ...(ipv4 === undefined ? {} : { ipv4: ipv4.toString() }),
    ...(ipv6 === undefined ? {} : { ipv6: ipv6.toString() }),
  };
}
