/** Judging subnets together: what no object can say about itself and no API server can check. */
import { cidrContains, compareIps, formatCidr, ipFamily } from "@beyondfabric/packet";
import type { Cidr, Ip } from "@beyondfabric/packet";
import type { AddressRange } from "./address-range.ts";
import { bySeniority } from "./kind.ts";
import type { Violation } from "./kind.ts";
import type { Network } from "./network.ts";
import { OverlapIndex } from "./overlap.ts";
import type { Subnet } from "./subnet.ts";

/** What else is known of the cluster when its subnets are judged together. */
export interface SubnetSurroundings {
  /** When given, a subnet must name one of them. */
  readonly networks?: readonly Network[];
  /** Addresses that machines have already: of nodes, on the management and the business side. */
  readonly addresses?: readonly { readonly owner: string; readonly address: Ip }[];
  /** CIDRs that are in use outside of the subnets, such as the range of Services. */
  readonly cidrs?: readonly { readonly owner: string; readonly cidr: Cidr }[];
}

/**
 * Subnets that exclude each other or their surroundings. All subnets share one address space, because overlay and
 * underlay reach each other without NAT. The older of two keeps its place; one that is refused excludes nobody.
 */
export function validateSubnets(subnets: readonly Subnet[], surroundings: SubnetSurroundings = {}): Violation[] {
  const violations: Violation[] = [];
  const networks = surroundings.networks && new Map(surroundings.networks.map((each) => [each.name, each]));
  const machines = new AddressIndex(surroundings.addresses ?? []);
  const taken = new OverlapIndex<Taken>();
  for (const each of surroundings.cidrs ?? []) taken.add(each.cidr, each);
  let defaultSubnet: string | undefined;
  for (const subnet of subnets.toSorted(bySeniority)) {
    const found = [
      ...networkViolations(subnet, networks),
      ...overlapViolations(subnet, taken),
      ...addressViolations(subnet, networks?.get(subnet.network)?.type === "Underlay", machines),
    ];
    // One that is on its way out makes room for the next: nodes move from the one to the other.
    const isDefault = subnet.isDefault && subnet.deletionTimestamp === undefined;
    if (isDefault && defaultSubnet !== undefined) {
      const rule = `is true, but Subnet ${defaultSubnet} is the default already`;
      found.push(violation(subnet, "spec.default", rule, "set one of the two to false"));
    }
    violations.push(...found);
    if (found.length > 0) continue;
    if (isDefault) defaultSubnet = subnet.name;
    for (const { cidr } of subnet.families) taken.add(cidr, { owner: `Subnet ${subnet.name}`, cidr });
  }
  return violations;
}

interface Taken {
  readonly owner: string;
  readonly cidr: Cidr;
}

interface Machine {
  readonly owner: string;
  readonly address: Ip;
}

/** Addresses in order, so that those inside a prefix are found by bisection: nodes times subnets would be too many. */
class AddressIndex {
  readonly #machines: readonly Machine[];

  constructor(machines: readonly Machine[]) {
    this.#machines = machines.toSorted((a, b) => compareIps(a.address, b.address));
  }

  *inside(cidr: Cidr): Generator<Machine> {
    let low = 0;
    let high = this.#machines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareIps(this.#machines[middle]!.address, cidr.address) < 0) low = middle + 1;
      else high = middle;
    }
    for (; low < this.#machines.length && cidrContains(cidr, this.#machines[low]!.address); low++) {
      yield this.#machines[low]!;
    }
  }
}

function violation(subnet: Subnet, field: string, rule: string, remedy: string): Violation {
  return { object: `Subnet/${subnet.name}`, field, rule, remedy };
}

function networkViolations(subnet: Subnet, networks: ReadonlyMap<string, Network> | undefined): Violation[] {
  if (networks === undefined) return [];
  const network = networks.get(subnet.network);
  if (network === undefined) {
    const rule = `names ${subnet.network}, which does not exist or is refused`;
    return [violation(subnet, "spec.network", rule, "create or mend that Network")];
  }
  const violations: Violation[] = [];
  if (network.type === "Overlay") {
    const rule = `does not go with ${network.name}, an Overlay`;
    if (subnet.vlan !== undefined) violations.push(violation(subnet, "spec.vlan", rule, "drop the field"));
    if (subnet.interSubnet === "Direct") violations.push(violation(subnet, "spec.interSubnet", rule, "drop the field"));
  } else if (subnet.isDefault) {
    // Nodes draw their own addresses from blocks of the default subnet, and an Underlay has none.
    const rule = `is true, but ${network.name} is an Underlay, which gives nodes no addresses of their own`;
    const remedy =
      "make a Subnet of an Overlay the default, and choose this one with namespaceSelector or an annotation";
    violations.push(violation(subnet, "spec.default", rule, remedy));
  }
  return violations;
}

function overlapViolations(subnet: Subnet, taken: OverlapIndex<Taken>): Violation[] {
  const violations: Violation[] = [];
  for (const [index, { cidr }] of subnet.families.entries()) {
    const other = taken.find(cidr);
    if (other === undefined) continue;
    const rule = `is ${formatCidr(cidr)}, which overlaps ${formatCidr(other.cidr)} of ${other.owner}`;
    violations.push(violation(subnet, `spec.cidrs[${index}]`, rule, "choose addresses that nobody else has"));
  }
  return violations;
}

/** One subnet across all nodes of a large cluster would otherwise fill an Event with thousands of lines. */
const MAX_ADDRESS_VIOLATIONS = 10;

/** In an Underlay machines and pods share the wire, so a machine's address only has to be excluded. */
function addressViolations(subnet: Subnet, isUnderlay: boolean, machines: AddressIndex): Violation[] {
  const violations: Violation[] = [];
  for (const [index, { cidr, gateway }] of subnet.families.entries()) {
    for (const { owner, address } of machines.inside(cidr)) {
      if (isUnderlay && (address === gateway || isListed(subnet.excluded, address))) continue;
      const field = isUnderlay ? "spec.excluded" : `spec.cidrs[${index}]`;
      const rule = isUnderlay
        ? `does not list ${address}, an address of ${owner}`
        : `is ${formatCidr(cidr)}, which holds ${address}, an address of ${owner}`;
      const remedy = isUnderlay ? `add ${address}` : "choose addresses that no machine has";
      violations.push(violation(subnet, field, rule, remedy));
      if (violations.length === MAX_ADDRESS_VIOLATIONS) return violations;
    }
  }
  return violations;
}

function isListed(ranges: readonly AddressRange[], address: Ip): boolean {
  const family = ipFamily(address);
  return ranges.some(
    (each) => each.family === family && compareIps(each.first, address) <= 0 && compareIps(address, each.last) <= 0,
  );
}
