/** Subnet: addresses of a network, which namespaces draw from them, and how they leave the cluster. */
import {
  addressAt,
  cidrContains,
  cidrsOverlap,
  cidrSize,
  compareIps,
  familyBits,
  firstAddress,
  formatCidr,
  ipFamily,
  lastAddress,
  parseCidr,
  parseIp,
} from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import { z } from "zod";
import { parseAddressRange, rangeList } from "./address-range.ts";
import type { AddressRange } from "./address-range.ts";
import { familyCounts } from "./family-counts.ts";
import { attempt, celRules, conditionsSchema, defineKind, immutable, objectName, parseObject, wide } from "./kind.ts";
import type { Identity, Offend, Parsed, Violation } from "./kind.ts";
import { checkSelector, selectorSchema } from "./label-selector.ts";
import type { LabelSelector } from "./label-selector.ts";
import { ruled } from "./rules.ts";

const cidrText = ruled(
  z
    .string()
    .max(43)
    .regex(/^[0-9a-fA-F.:]+\/[0-9]{1,3}$/),
  "must be a CIDR",
  "write for example 10.244.0.0/16 or fd00:244::/64",
);

const addressText = ruled(
  z
    .string()
    .max(39)
    .regex(/^[0-9a-fA-F.:]+$/),
  "must be an address",
  "write for example 10.244.0.1 or fd00:244::1",
);

const allowedAddress = ruled(
  z
    .string()
    .max(43)
    .regex(/^[0-9a-fA-F.:]+(\/[0-9]{1,3})?$/),
  "must be an address or a CIDR",
  "write for example 10.244.0.250 or fd00:244::f0/124",
);

const blockLengthSchema = ruled(
  z
    .object({
      ipv4: ruled(z.int().min(16).max(30), "must be from 16 to 30", "drop the field for 26: 64 addresses").default(26),
      ipv6: ruled(z.int().min(96).max(126), "must be from 96 to 126", "drop the field for 122: 64 addresses").default(
        122,
      ),
    })
    .describe(
      "Prefix lengths of the blocks that nodes of an Overlay claim. A claim is named after its block, so they are fixed for life.",
    ),
  "must be {ipv4, ipv6}",
  "drop the field for {ipv4: 26, ipv6: 122}",
);

const specSchema = ruled(
  celRules(
    z.object({
      network: objectName("The Network whose addresses these are."),
      cidrs: ruled(
        celRules(
          z.array(cidrText).min(1).max(2).describe("One CIDR, or one of each family."),
          {
            rule: "self.size() < 2 || self[0].contains(':') != self[1].contains(':')",
            message: "one CIDR per family: two of the same family are two Subnets",
            since: "1.25",
          },
          {
            rule: "self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",
            message: "each must be a CIDR without host bits",
            since: "1.31",
          },
        ),
        "must be one CIDR, or one of each family",
        "write for example [10.244.0.0/16, fd00:244::/64]",
      ),
      gateways: ruled(
        z
          .array(addressText)
          .min(1)
          .max(2)
          .describe("The pods' gateways, one per CIDR. Default: the first address after the network's own."),
        "must be one address per CIDR",
        "drop the field to use the first address of each CIDR",
      ).optional(),
      vlan: ruled(
        z.int().min(0).max(4094).describe("VLAN of an Underlay's subnet. Absent or 0: untagged."),
        "must be a VLAN, from 1 to 4094, or 0",
        "drop the field or write 0 for untagged",
      ).optional(),
      interSubnet: ruled(
        z
          .enum(["Gateway", "Direct"])
          .describe(
            "How pods of this Underlay subnet reach those of another. Gateway: by the physical gateways, whose packet filter decides. Direct, when both subnets say so: without them. Default Gateway.",
          ),
        "must be Gateway or Direct",
        "drop the field for Gateway",
      ).optional(),
      ranges: rangeList(
        "What may be handed out, as addresses, CIDRs or FIRST-LAST. Absent or empty: all of the CIDRs.",
      ).default([]),
      excluded: rangeList("What is never handed out, because others use it.").default([]),
      reserved: rangeList("What is handed out only to those who ask for that very address.").default([]),
      allowedAddresses: ruled(
        z
          .array(allowedAddress)
          .max(16)
          .describe(
            "Addresses that the pods of this subnet may take beside their own and pass on among themselves, such as VRRP's virtual ones: whoever announced one last has it.",
          ),
        "must be a list of at most 16 addresses or CIDRs",
        "join neighbouring addresses into a CIDR",
      ).default([]),
      namespaceSelector: selectorSchema
        .describe(
          "Namespaces whose pods draw from this subnet. Absent: those that name it, and all when it is the default.",
        )
        .optional(),
      default: ruled(
        z.boolean().describe("Serves every namespace that no other subnet serves."),
        "must be true or false",
        "write it without quotes",
      ).default(false),
      natOutgoing: ruled(
        z.boolean().describe("Traffic that leaves the cluster takes the node's address."),
        "must be true or false",
        "write it without quotes",
      ).default(true),
      reclaimSeconds: ruled(
        z
          .int()
          .min(0)
          .max(31_536_000)
          .describe(
            "How long an address stays with an owner that is gone, or too small for it, before it is free for others. Default: the agents' configuration.",
          ),
        "must be a number of seconds, from 0 to 31536000 (a year)",
        "drop the field for what the agents are configured with",
      ).optional(),
      blockLength: blockLengthSchema.default({ ipv4: 26, ipv6: 122 }),
    }),
    ...immutable("network", "cidrs", "gateways", "vlan", "blockLength"),
    {
      rule: "!has(self.gateways) || self.gateways.all(g, isIP(g) && self.cidrs.exists(c, isCIDR(c) && cidr(c).containsIP(g)))",
      message: "each gateway must be inside one of the CIDRs",
      since: "1.31",
    },
    {
      rule: "!has(self.gateways) || self.gateways.size() == self.cidrs.size()",
      message: "one gateway per CIDR",
      since: "1.25",
    },
    {
      rule: "!has(self.allowedAddresses) || self.allowedAddresses.all(a, isIP(a) || (isCIDR(a) && cidr(a) == cidr(a).masked()))",
      message: "each of allowedAddresses must be an address or a CIDR without host bits",
      since: "1.31",
    },
  ),
  "must be the subnet's specification",
  "write for example {network: overlay, cidrs: [10.244.0.0/16]}",
);

export const subnetKind = defineKind({
  plural: "subnets",
  kind: "Subnet",
  shortNames: ["bfsubnet"],
  description: "Addresses of a network, which namespaces draw from them, and how they leave the cluster.",
  spec: specSchema,
  status: z.object({
    capacity: familyCounts("Addresses that can be handed out"),
    used: familyCounts("Addresses in use"),
    free: familyCounts("Addresses that could be handed out now"),
    conditions: conditionsSchema,
  }),
  rules: [],
  columns: [
    { name: "CIDRs", type: "string", jsonPath: ".spec.cidrs", description: "Its addresses" },
    { name: "Network", type: "string", jsonPath: ".spec.network", description: "The network it belongs to" },
    { name: "VLAN", type: "integer", jsonPath: ".spec.vlan", description: "VLAN of an Underlay's subnet" },
    {
      name: "Default",
      type: "boolean",
      jsonPath: ".spec.default",
      description: "Serves namespaces that no other serves",
    },
    { name: "Used", type: "string", jsonPath: ".status.used.ipv4", description: "IPv4 addresses in use" },
    { name: "Free", type: "string", jsonPath: ".status.free.ipv4", description: "IPv4 addresses that are left" },
    wide("Capacity", ".status.capacity.ipv4", "IPv4 addresses in all"),
    wide("Used6", ".status.used.ipv6", "IPv6 addresses in use"),
    wide("Free6", ".status.free.ipv6", "IPv6 addresses that are left"),
    wide("Capacity6", ".status.capacity.ipv6", "IPv6 addresses in all"),
    {
      name: "NAT",
      type: "boolean",
      jsonPath: ".spec.natOutgoing",
      description: "Leaves with the node's address",
      priority: 1,
    },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Since when it exists" },
  ],
});

/** One family of a subnet. */
export interface SubnetFamily {
  readonly family: IpFamily;
  readonly cidr: Cidr;
  readonly gateway: Ip;
  /** Prefix length of the blocks that nodes claim. */
  readonly blockLength: number;
}

/** A Subnet with every default filled in. */
export interface Subnet extends Identity {
  readonly network: string;
  /** One or two entries, in the order in which the object lists its CIDRs. */
  readonly families: readonly SubnetFamily[];
  /** Undefined: untagged. */
  readonly vlan: number | undefined;
  /** How its pods reach those of other subnets on physical networks. */
  readonly interSubnet: "Gateway" | "Direct";
  /** Empty: everything may be handed out. */
  readonly ranges: readonly AddressRange[];
  readonly excluded: readonly AddressRange[];
  readonly reserved: readonly AddressRange[];
  /** What its pods may take beside their own addresses, and pass on among themselves. */
  readonly allowedAddresses: readonly Cidr[];
  readonly namespaceSelector: LabelSelector | undefined;
  readonly isDefault: boolean;
  readonly natOutgoing: boolean;
  /** Seconds that an address stays with an owner that is gone; undefined: as the agents are configured. */
  readonly reclaimSeconds: number | undefined;
}

/** Reads a Subnet object; what is wrong with it comes back as violations. */
export function parseSubnet(raw: unknown): Parsed<Subnet> {
  return parseObject(subnetKind, raw, (identity, spec, offend): Subnet | undefined => {
    const families = readFamilies(spec, offend);
    const cidrs = families.map((each) => each.cidr);
    checkSelector(spec.namespaceSelector, ["spec", "namespaceSelector"], offend);
    const ranges = readRanges("ranges", spec.ranges, cidrs, offend);
    const excluded = readRanges("excluded", spec.excluded, cidrs, offend);
    return {
      ...identity,
      network: spec.network,
      families,
      vlan: spec.vlan === 0 ? undefined : spec.vlan,
      interSubnet: spec.interSubnet ?? "Gateway",
      ranges,
      excluded,
      reserved: readRanges("reserved", spec.reserved, cidrs, offend),
      allowedAddresses: readAllowed(spec.allowedAddresses, families, { ranges, excluded }, offend),
      namespaceSelector: spec.namespaceSelector,
      isDefault: spec.default,
      natOutgoing: spec.natOutgoing,
      reclaimSeconds: spec.reclaimSeconds,
    };
  });
}

/** The violations of one Subnet, looked at by itself. */
export function validateSubnet(raw: unknown): readonly Violation[] {
  const parsed = parseSubnet(raw);
  return parsed.ok ? [] : parsed.violations;
}

/** The family of a subnet, if it has it. */
export function subnetFamily(subnet: Subnet, family: IpFamily): SubnetFamily | undefined {
  return subnet.families.find((each) => each.family === family);
}

type Spec = z.output<typeof specSchema>;

/** A subnet needs a network address, a gateway and a pod; beyond /8 and /16 a CIDR is a mistake, not a subnet. */
const LENGTHS = { 4: [8, 30], 6: [16, 126] } as const;

function readFamilies(spec: Spec, offend: Offend): SubnetFamily[] {
  const families: SubnetFamily[] = [];
  for (const [index, text] of spec.cidrs.entries()) {
    const path = ["spec", "cidrs", index];
    const cidr = attempt(() => parseCidr(text), path, offend);
    if (cidr === undefined) continue;
    const [shortest, longest] = LENGTHS[cidr.family];
    if (cidr.length < shortest || cidr.length > longest) {
      offend(path, `is ${text}, but the length must be from /${shortest} to /${longest}`, "choose another length");
      continue;
    }
    if (families.some((each) => each.family === cidr.family)) {
      offend(path, "is of the same family as the one before it", "make it a Subnet of its own");
      continue;
    }
    const gateway = readGateway(spec, cidr, offend);
    const blockLength = readBlockLength(spec, cidr, offend);
    if (gateway !== undefined) families.push({ family: cidr.family, cidr, gateway, blockLength });
  }
  if (spec.gateways !== undefined) checkGateways(spec.gateways, families, offend);
  return families;
}

function readGateway(spec: Spec, cidr: Cidr, offend: Offend): Ip | undefined {
  // The first address is the network's own (IPv4) or the routers' anycast address (RFC 4291 section 2.6.1).
  if (spec.gateways === undefined) return addressAt(cidr, 1n);
  for (const [index, text] of spec.gateways.entries()) {
    const gateway = attempt(
      () => parseIp(text),
      ["spec", "gateways", index],
      () => undefined,
    );
    if (gateway !== undefined && cidrContains(cidr, gateway)) {
      if (gateway !== firstAddress(cidr) && (cidr.family === 6 || gateway !== lastAddress(cidr))) return gateway;
      const rule = `is ${gateway}, the network or broadcast address of ${formatCidr(cidr)}`;
      offend(["spec", "gateways", index], rule, `write for example ${addressAt(cidr, 1n)}`);
      return undefined;
    }
  }
  const rule = `has no address inside ${formatCidr(cidr)}`;
  offend(["spec", "gateways"], rule, `add one, for example ${addressAt(cidr, 1n)}, or drop the field`);
  return undefined;
}

function checkGateways(gateways: readonly string[], families: readonly SubnetFamily[], offend: Offend): void {
  for (const [index, text] of gateways.entries()) {
    const path = ["spec", "gateways", index];
    const gateway = attempt(() => parseIp(text), path, offend);
    if (gateway === undefined) continue;
    const home = families.find((each) => each.family === ipFamily(gateway));
    if (home !== undefined && home.gateway !== gateway) {
      const rule = `is ${gateway}, but the gateway of ${formatCidr(home.cidr)} is ${home.gateway} already or must be inside it`;
      offend(path, rule, "write one gateway per CIDR, inside of it");
    } else if (home === undefined && families.length > 0) {
      offend(path, `is ${gateway}, and no CIDR is of that family`, "drop it or add the CIDR");
    }
  }
}

function readBlockLength(spec: Spec, cidr: Cidr, offend: Offend): number {
  const field = cidr.family === 4 ? "ipv4" : "ipv6";
  const length = spec.blockLength[field];
  if (length >= cidr.length) return length;
  // A subnet smaller than the default block is one block; only a length that somebody wrote is a mistake.
  if (length === specSchema.shape.blockLength.parse(undefined)[field]) return cidr.length;
  const rule = `is ${length}, but a block cannot be larger than ${formatCidr(cidr)}`;
  offend(["spec", "blockLength", field], rule, `write ${cidr.length} to ${familyBits(cidr.family) - 2}`);
  return cidr.length;
}

function readRanges(
  field: "ranges" | "excluded" | "reserved",
  texts: readonly string[],
  cidrs: readonly Cidr[],
  offend: Offend,
): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const [index, text] of texts.entries()) {
    const path = ["spec", field, index];
    const range = attempt(() => parseAddressRange(text), path, offend);
    if (range === undefined) continue;
    if (cidrs.some((cidr) => cidrContains(cidr, range.first) && cidrContains(cidr, range.last))) ranges.push(range);
    else if (cidrs.length > 0) {
      offend(path, `is ${text}, which is not inside ${cidrs.map(formatCidr).join(" or ")}`, "correct it or drop it");
    }
  }
  return ranges;
}

/** Wider consents are mistakes: they would let every pod be anybody. */
const SHORTEST_ALLOWED = { 4: 24, 6: 120 } as const;

/** Nobody's own: unspecified, loopback, link-local, multicast, broadcast. */
const UNUSABLE = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"].map(
  parseCidr,
);

function readAllowed(
  texts: readonly string[],
  families: readonly SubnetFamily[],
  { ranges, excluded }: Pick<Subnet, "ranges" | "excluded">,
  offend: Offend,
): Cidr[] {
  const allowed: Cidr[] = [];
  for (const [index, text] of texts.entries()) {
    const path = ["spec", "allowedAddresses", index];
    const cidr = attempt(() => (text.includes("/") ? parseCidr(text) : hostCidr(parseIp(text))), path, offend);
    if (cidr === undefined) continue;
    const shortest = SHORTEST_ALLOWED[cidr.family];
    const refuse = (rule: string, remedy: string): void => offend(path, `is ${text}, ${rule}`, remedy);
    const taken = families.find((each) => cidrsOverlap(each.cidr, cidr));
    if (cidr.length < shortest) {
      refuse(`which is wider than /${shortest}`, "list the addresses that pods share, and no others");
    } else if (UNUSABLE.some((each) => cidrsOverlap(each, cidr))) {
      refuse("which no host may have as its own", "list unicast addresses");
    } else if (!families.some(({ family }) => family === cidr.family)) {
      refuse("and no CIDR of the subnet is of that family", "drop it or add the CIDR");
    } else if (taken !== undefined && cidrContains(cidr, taken.gateway)) {
      refuse(`which holds the gateway ${taken.gateway}`, "leave the gateway out: pods must not be it");
    } else if (taken !== undefined && isHandedOut(cidr, ranges, excluded)) {
      refuse("which pods are given as their own", `add ${text} to spec.excluded`);
    } else {
      allowed.push(cidr);
    }
  }
  return allowed;
}

/** Whether a part of it may be handed out. It has at most 256 addresses. */
function isHandedOut(cidr: Cidr, ranges: readonly AddressRange[], excluded: readonly AddressRange[]): boolean {
  const isIn = (list: readonly AddressRange[], address: Ip): boolean =>
    list.some(
      ({ family, first, last }) =>
        family === cidr.family && compareIps(first, address) <= 0 && compareIps(address, last) <= 0,
    );
  const open = ranges.filter(({ family }) => family === cidr.family);
  for (let index = 0n; index < cidrSize(cidr); index++) {
    const address = addressAt(cidr, index);
    if ((open.length === 0 || isIn(open, address)) && !isIn(excluded, address)) return true;
  }
  return false;
}

function hostCidr(address: Ip): Cidr {
  const family = ipFamily(address);
  return { family, address, length: familyBits(family) };
}
