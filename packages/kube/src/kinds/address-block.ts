/** AddressBlock: a slice of an Overlay's subnet that one node owns; creating the object is the claim. */
import { cidrContainsCidr, cidrsOverlap, formatCidr, ipToObjectName, parseCidr } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import { z } from "zod";
import {
  API_GROUP,
  API_VERSION,
  attempt,
  bySeniority,
  celRules,
  defineKind,
  immutable,
  objectName,
  parseObject,
} from "./kind.ts";
import type { Identity, Offend, Parsed, Violation } from "./kind.ts";
import { OverlapIndex } from "./overlap.ts";
import { ruled } from "./rules.ts";
import { blockStatusSchema } from "./address-block-status.ts";
import type { Subnet } from "./subnet.ts";

const LEAVE = "leave blocks to the agents that claim them";

/** Parts that one block can lend at the same time. */
export const MAX_LENT = 64;

function cidrText(description?: string) {
  const schema = z
    .string()
    .max(43)
    .regex(/^[0-9a-fA-F.:]+\/[0-9]{1,3}$/);
  return ruled(description === undefined ? schema : schema.describe(description), "must be a CIDR", LEAVE);
}

const specSchema = ruled(
  celRules(
    z.object({
      subnet: objectName("The Subnet that the addresses belong to."),
      cidr: cidrText("The addresses. The object is named after them: 10-244-1-0-26 holds 10.244.1.0/26."),
      node: objectName("Name of the Node that owns the block."),
      nodeUid: ruled(
        z
          .string()
          .min(1)
          .max(128)
          .describe("UID of that Node: one that is created anew under the same name owns nothing."),
        "must be the UID of a Node",
        LEAVE,
      ),
      lent: ruled(
        z
          .array(cidrText())
          .max(MAX_LENT)
          .describe("Parts that the owner gave away: it hands nothing out of them, and any node may claim them."),
        `must be a list of at most ${MAX_LENT} CIDRs`,
        LEAVE,
      ).default([]),
    }),
    ...immutable("subnet", "cidr", "node", "nodeUid"),
    {
      rule: "isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()",
      message: "cidr must be a CIDR without host bits",
      since: "1.31",
    },
    {
      rule: "!has(self.lent) || self.lent.all(c, isCIDR(c) && cidr(c) == cidr(c).masked() && isCIDR(self.cidr) && cidr(self.cidr).containsCIDR(c))",
      message: "what is lent must be CIDRs inside the block",
      since: "1.31",
    },
  ),
  "must be the block's specification",
  LEAVE,
);

export const addressBlockKind = defineKind({
  plural: "addressblocks",
  kind: "AddressBlock",
  shortNames: ["bfblock"],
  description: "A slice of a subnet that one node owns; addresses inside it are handed out without asking anybody.",
  spec: specSchema,
  status: blockStatusSchema,
  rules: [
    {
      rule: "self.spec.cidr.contains(':') || self.metadata.name == self.spec.cidr.replace('.', '-').replace('/', '-')",
      message: "the name must be the CIDR with '.' and '/' written as '-'",
      since: "1.25",
    },
  ],
  columns: [
    { name: "Subnet", type: "string", jsonPath: ".spec.subnet", description: "The subnet it is a slice of" },
    { name: "CIDR", type: "string", jsonPath: ".spec.cidr", description: "Its addresses" },
    { name: "Node", type: "string", jsonPath: ".spec.node", description: "The node that owns it" },
    { name: "Used", type: "integer", jsonPath: ".status.used", description: "Addresses in use" },
    { name: "Free", type: "integer", jsonPath: ".status.free", description: "Addresses that are left" },
    { name: "Lent", type: "string", jsonPath: ".spec.lent", description: "Parts given away", priority: 1 },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Since when it exists" },
  ],
});

/** A claimed block. */
export interface AddressBlock extends Identity {
  readonly subnet: string;
  readonly cidr: Cidr;
  readonly node: string;
  readonly nodeUid: string;
  /** Parts that the owner gave away; they lie inside the block and apart from each other. */
  readonly lent: readonly Cidr[];
  /** What the owner last wrote; undefined when it has not. */
  readonly used: number | undefined;
}

/** The object that claims a block when it is created. */
export interface AddressBlockManifest {
  readonly apiVersion: `${typeof API_GROUP}/${typeof API_VERSION}`;
  readonly kind: "AddressBlock";
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly subnet: string;
    readonly cidr: string;
    readonly node: string;
    readonly nodeUid: string;
    readonly lent?: readonly string[];
  };
}

/** The one name that a block can have, which is what makes creating it a claim. */
export function addressBlockName(cidr: Cidr): string {
  return `${ipToObjectName(cidr.address)}-${cidr.length}`;
}

/** @param lent parts that others own already, counted as given away */
export function addressBlockManifest(
  subnet: string,
  cidr: Cidr,
  node: { name: string; uid: string },
  lent: readonly Cidr[] = [],
): AddressBlockManifest {
  return {
    apiVersion: `${API_GROUP}/${API_VERSION}`,
    kind: "AddressBlock",
    metadata: { name: addressBlockName(cidr) },
    spec: {
      subnet,
      cidr: formatCidr(cidr),
      node: node.name,
      nodeUid: node.uid,
      ...(lent.length === 0 ? {} : { lent: lent.map(formatCidr) }),
    },
  };
}

/** Reads an AddressBlock object; what is wrong with it comes back as violations. */
export function parseAddressBlock(raw: unknown): Parsed<AddressBlock> {
  return parseObject(addressBlockKind, raw, (identity, spec, offend): AddressBlock | undefined => {
    const cidr = attempt(() => parseCidr(spec.cidr), ["spec", "cidr"], offend);
    if (cidr === undefined) return undefined;
    const name = addressBlockName(cidr);
    if (identity.name !== name) {
      offend(
        ["metadata", "name"],
        `must be ${name}, after spec.cidr`,
        "delete the block: a name that differs claims nothing",
      );
    }
    const lent = readLent(spec.lent, cidr, offend);
    return {
      ...identity,
      subnet: spec.subnet,
      cidr,
      node: spec.node,
      nodeUid: spec.nodeUid,
      lent,
      used: publishedUse(raw),
    };
  });
}

/** `status.used` alone: the rest of a status is long, and there may be thousands of blocks. */
function publishedUse(raw: unknown): number | undefined {
  const { used } = (raw as { readonly status?: { readonly used?: unknown } | null }).status ?? {};
  return Number.isSafeInteger(used) && (used as number) >= 0 ? (used as number) : undefined;
}

function readLent(texts: readonly string[], block: Cidr, offend: Offend): Cidr[] {
  const lent: Cidr[] = [];
  for (const [index, text] of texts.entries()) {
    const path = ["spec", "lent", index];
    const part = attempt(() => parseCidr(text), path, offend);
    if (part === undefined) continue;
    const other = lent.find((each) => cidrsOverlap(each, part));
    if (!cidrContainsCidr(block, part) || part.length === block.length) {
      offend(path, `is ${text}, which is no part of ${formatCidr(block)}`, LEAVE);
    } else if (other !== undefined) {
      offend(path, `is ${text}, which overlaps ${formatCidr(other)}`, LEAVE);
    } else {
      lent.push(part);
    }
  }
  return lent;
}

/**
 * Blocks that lie outside of their subnet or overlap an older block, other than as a part that the wider of the two has
 * given away; only a block made by hand can.
 */
export function validateAddressBlocks(blocks: readonly AddressBlock[], subnets: readonly Subnet[]): Violation[] {
  const violations: Violation[] = [];
  const byName = new Map(subnets.map((subnet) => [subnet.name, subnet]));
  const accepted = new OverlapIndex<AddressBlock>();
  for (const block of blocks.toSorted(bySeniority)) {
    const object = `AddressBlock/${block.name}`;
    const remedy = "delete the block once no pod uses it";
    const subnet = byName.get(block.subnet);
    if (subnet !== undefined && !subnet.families.some(({ cidr }) => cidrContainsCidr(cidr, block.cidr))) {
      const rule = `is ${formatCidr(block.cidr)}, which is not inside Subnet ${subnet.name}`;
      violations.push({ object, field: "spec.cidr", rule, remedy });
      continue;
    }
    const other = accepted.overlapping(block.cidr).find((each) => !isLent(each, block));
    if (other !== undefined) {
      const rule = `is ${formatCidr(block.cidr)}, which overlaps ${formatCidr(other.cidr)} of node ${other.node}`;
      violations.push({ object, field: "spec.cidr", rule, remedy });
      continue;
    }
    accepted.add(block.cidr, block);
  }
  return violations;
}

/** Whether of two blocks that overlap the narrower lies in a part that the wider has given away. */
function isLent(a: AddressBlock, b: AddressBlock): boolean {
  const [wider, narrower] = a.cidr.length < b.cidr.length ? [a, b] : [b, a];
  return wider.lent.some((part) => cidrContainsCidr(part, narrower.cidr));
}
