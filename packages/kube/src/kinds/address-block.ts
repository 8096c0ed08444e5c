/** AddressBlock: a slice of an Overlay's subnet that one node owns; creating the object is the claim. */
import { AddressError, cidrContainsCidr, formatCidr, ipToObjectName, parseCidr } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import { z } from "zod";
import {
  API_GROUP,
  API_VERSION,
  bySeniority,
  celRules,
  defineKind,
  immutable,
  objectName,
  parseObject,
} from "./kind.ts";
import type { Identity, Parsed, Violation } from "./kind.ts";
import { OverlapIndex } from "./overlap.ts";
import { ruled } from "./rules.ts";
import type { Subnet } from "./subnet.ts";

const specSchema = ruled(
  celRules(
    z.object({
      subnet: objectName("The Subnet that the addresses belong to."),
      cidr: ruled(
        z
          .string()
          .max(43)
          .regex(/^[0-9a-fA-F.:]+\/[0-9]{1,3}$/)
          .describe("The addresses. The object is named after them: 10-244-1-0-26 holds 10.244.1.0/26."),
        "must be a CIDR",
        "leave blocks to the agents that claim them",
      ),
      node: objectName("Name of the Node that owns the block."),
      nodeUid: ruled(
        z
          .string()
          .min(1)
          .max(128)
          .describe("UID of that Node: one that is created anew under the same name owns nothing."),
        "must be the UID of a Node",
        "leave blocks to the agents that claim them",
      ),
    }),
    ...immutable("subnet", "cidr", "node", "nodeUid"),
    {
      rule: "isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()",
      message: "cidr must be a CIDR without host bits",
      since: "1.31",
    },
  ),
  "must be the block's specification",
  "leave blocks to the agents that claim them",
);

export const addressBlockKind = defineKind({
  plural: "addressblocks",
  kind: "AddressBlock",
  shortNames: ["bfblock"],
  description: "A slice of a subnet that one node owns; addresses inside it are handed out without asking anybody.",
  spec: specSchema,
  status: z.object({ used: z.int().min(0).describe("Addresses in use, as the owner last wrote it.").optional() }),
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
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Since when it exists" },
  ],
});

/** A claimed block. */
export interface AddressBlock extends Identity {
  readonly subnet: string;
  readonly cidr: Cidr;
  readonly node: string;
  readonly nodeUid: string;
  /** What the owner last wrote; undefined when it has not. */
  readonly used: number | undefined;
}

/** The object that claims a block when it is created. */
export interface AddressBlockManifest {
  readonly apiVersion: `${typeof API_GROUP}/${typeof API_VERSION}`;
  readonly kind: "AddressBlock";
  readonly metadata: { readonly name: string };
  readonly spec: { readonly subnet: string; readonly cidr: string; readonly node: string; readonly nodeUid: string };
}

/** The one name that a block can have, which is what makes creating it a claim. */
export function addressBlockName(cidr: Cidr): string {
  return `${ipToObjectName(cidr.address)}-${cidr.length}`;
}

export function addressBlockManifest(
  subnet: string,
  cidr: Cidr,
  node: { name: string; uid: string },
): AddressBlockManifest {
  return {
    apiVersion: `${API_GROUP}/${API_VERSION}`,
    kind: "AddressBlock",
    metadata: { name: addressBlockName(cidr) },
    spec: { subnet, cidr: formatCidr(cidr), node: node.name, nodeUid: node.uid },
  };
}

/** Reads an AddressBlock object; what is wrong with it comes back as violations. */
export function parseAddressBlock(raw: unknown): Parsed<AddressBlock> {
  return parseObject(addressBlockKind, raw, (identity, spec, offend, status): AddressBlock | undefined => {
    let cidr: Cidr;
    try {
      cidr = parseCidr(spec.cidr);
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      offend(["spec", "cidr"], "cannot be read", error.message);
      return undefined;
    }
    const name = addressBlockName(cidr);
    if (identity.name !== name) {
      offend(
        ["metadata", "name"],
        `must be ${name}, after spec.cidr`,
        "delete the block: a name that differs claims nothing",
      );
    }
    const read = addressBlockKind.status.safeParse(status ?? {});
    const used = read.success ? (read.data as { used?: number }).used : undefined;
    return { ...identity, subnet: spec.subnet, cidr, node: spec.node, nodeUid: spec.nodeUid, used };
  });
}

/** Blocks that lie outside of their subnet or overlap an older block; only a block made by hand can. */
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
    const other = accepted.find(block.cidr);
    if (other !== undefined) {
      const rule = `is ${formatCidr(block.cidr)}, which overlaps ${formatCidr(other.cidr)} of node ${other.node}`;
      violations.push({ object, field: "spec.cidr", rule, remedy });
      continue;
    }
    accepted.add(block.cidr, block);
  }
  return violations;
}
