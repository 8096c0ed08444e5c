/** IPPool: a named set of addresses of a subnet, for the workloads that name it. */
import { z } from "zod";
import { formatAddressRange, parseAddressRange, rangeList } from "./address-range.ts";
import type { AddressRange } from "./address-range.ts";
import { rangeInterval, unassignable } from "./assignable.ts";
import { familyCounts } from "./family-counts.ts";
import { IntervalIndex } from "./interval-index.ts";
import { attempt, bySeniority, celRules, conditionsSchema, defineKind, immutable, objectName } from "./kind.ts";
import { parseObject, wide } from "./kind.ts";
import type { Identity, Offend, Parsed, Violation } from "./kind.ts";
import { checkSelector, selectorSchema } from "./label-selector.ts";
import type { LabelSelector } from "./label-selector.ts";
import { ruled } from "./rules.ts";
import type { Subnet } from "./subnet.ts";

const specSchema = ruled(
  celRules(
    z.object({
      subnet: objectName("The Subnet that the addresses belong to."),
      addresses: rangeList(
        "The addresses, as addresses, CIDRs or FIRST-LAST, in the order in which they are handed out.",
      ),
      namespaceSelector: selectorSchema
        .describe("Namespaces whose pods may draw from the pool. Absent: all.")
        .optional(),
    }),
    ...immutable("subnet"),
    {
      rule: "self.addresses.size() > 0",
      message: "a pool needs addresses",
      since: "1.25",
    },
  ),
  "must be the pool's specification",
  "write for example {subnet: office, addresses: [10.0.0.50-10.0.0.60]}",
);

export const ipPoolKind = defineKind({
  plural: "ippools",
  kind: "IPPool",
  shortNames: ["bfpool"],
  description: "A named set of addresses of a subnet, for the workloads that name it.",
  spec: specSchema,
  status: z.object({
    capacity: familyCounts("Addresses of the pool"),
    used: familyCounts("Addresses that pods have, or that are kept for their owners"),
    conditions: conditionsSchema,
  }),
  rules: [],
  columns: [
    { name: "Subnet", type: "string", jsonPath: ".spec.subnet", description: "The subnet they belong to" },
    { name: "Addresses", type: "string", jsonPath: ".spec.addresses", description: "The addresses" },
    { name: "Used", type: "string", jsonPath: ".status.used.ipv4", description: "IPv4 addresses that are taken" },
    { name: "Capacity", type: "string", jsonPath: ".status.capacity.ipv4", description: "IPv4 addresses in all" },
    wide("Used6", ".status.used.ipv6", "IPv6 addresses that are taken"),
    wide("Capacity6", ".status.capacity.ipv6", "IPv6 addresses in all"),
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Since when it exists" },
  ],
});

/** An IPPool as the API server stores it. */
export interface IpPool extends Identity {
  readonly subnet: string;
  /** In the order in which they are handed out; no address is in two of them. */
  readonly addresses: readonly AddressRange[];
  /** Undefined: every namespace. */
  readonly namespaceSelector: LabelSelector | undefined;
}

/** Reads an IPPool object; what is wrong with it comes back as violations. */
export function parseIpPool(raw: unknown): Parsed<IpPool> {
  return parseObject(ipPoolKind, raw, (identity, spec, offend): IpPool => {
    checkSelector(spec.namespaceSelector, ["spec", "namespaceSelector"], offend);
    const { subnet, namespaceSelector } = spec;
    return { ...identity, subnet, addresses: readAddresses(spec.addresses, offend), namespaceSelector };
  });
}

function readAddresses(texts: readonly string[], offend: Offend): AddressRange[] {
  if (texts.length === 0) offend(["spec", "addresses"], "is empty", "list addresses, CIDRs or FIRST-LAST");
  const ranges: AddressRange[] = [];
  const taken = new IntervalIndex<string>();
  for (const [index, text] of texts.entries()) {
    const path = ["spec", "addresses", index];
    const range = attempt(() => parseAddressRange(text), path, offend);
    if (range === undefined) continue;
    const interval = rangeInterval(range);
    const other = taken.find(range.family, interval);
    if (other !== undefined) {
      offend(path, `is ${text}, which overlaps ${other}`, "list each address once");
      continue;
    }
    taken.add(range.family, interval, text);
    ranges.push(range);
  }
  return ranges;
}

/**
 * Pools whose subnet is not among the given sound ones, that hold what the subnet does not hand out, or that overlap an
 * older pool. One that is refused excludes nobody.
 */
export function validatePools(pools: readonly IpPool[], subnets: readonly Subnet[]): Violation[] {
  const violations: Violation[] = [];
  const byName = new Map(subnets.map((subnet) => [subnet.name, subnet]));
  const taken = new Map<string, IntervalIndex<IpPool>>();
  for (const pool of pools.toSorted(bySeniority)) {
    const subnet = byName.get(pool.subnet);
    if (subnet === undefined) {
      const rule = `names ${pool.subnet}, which does not exist or is refused`;
      violations.push({
        object: `IPPool/${pool.name}`,
        field: "spec.subnet",
        rule,
        remedy: "create or mend that Subnet",
      });
      continue;
    }
    let others = taken.get(subnet.name);
    if (others === undefined) taken.set(subnet.name, (others = new IntervalIndex()));
    const found = poolViolations(pool, subnet, others);
    violations.push(...found);
    if (found.length > 0) continue;
    for (const range of pool.addresses) others.add(range.family, rangeInterval(range), pool);
  }
  return violations;
}

function poolViolations(pool: IpPool, subnet: Subnet, others: IntervalIndex<IpPool>): Violation[] {
  const violations: Violation[] = [];
  for (const [index, range] of pool.addresses.entries()) {
    const offend = (rule: string, remedy: string): void => {
      const field = `spec.addresses[${index}]`;
      violations.push({
        object: `IPPool/${pool.name}`,
        field,
        rule: `is ${formatAddressRange(range)}, ${rule}`,
        remedy,
      });
    };
    const refused = unassignable(subnet, range);
    const other = others.find(range.family, rangeInterval(range));
    if (refused !== undefined) offend(refused, `choose addresses that Subnet ${subnet.name} hands out`);
    else if (other !== undefined) offend(`which overlaps IPPool ${other.name}`, "give each address to one pool");
  }
  return violations;
}
