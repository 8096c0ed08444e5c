/** Who keeps a Subnet that was deleted from going. */
import type { AddressBlock, BlockAllocation, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { cidrContains, ipFamily, type Ip } from "@beyondfabric/packet";

export interface SubnetHolders {
  /** `namespace/name` of pods with an address of it, in order. */
  readonly pods: readonly string[];
  /** Nodes with a block of it, in order. */
  readonly nodes: readonly string[];
  /** Nodes whose own addresses are of it, in order. */
  readonly residents: readonly string[];
}

/** A node and the addresses that it has itself. */
export interface ResidentNode {
  readonly name: string;
  readonly addresses: readonly Ip[];
}

/** As many are named; the rest is counted. */
const maxNamed = 10;

/**
 * Pods and nodes that hold something of a subnet.
 * @param read the allocations that a block's owner has published
 */
export async function holdersOf(
  subnet: string,
  blocks: readonly AddressBlock[],
  claims: readonly IpAddressRecord[],
  residents: readonly ResidentNode[],
  read: (block: AddressBlock) => Promise<readonly BlockAllocation[]>,
): Promise<SubnetHolders> {
  const pods = new Set<string>();
  const nodes = new Set<string>();
  for (const { subnet: name, holder } of claims) {
    if (name === subnet && holder !== undefined) pods.add(`${holder.namespace}/${holder.pod}`);
  }
  const own = blocks.filter((block) => block.subnet === subnet);
  for (const block of own) {
    nodes.add(block.node);
    // Enough names for a sentence: the others need not be read.
    if (pods.size <= maxNamed) for (const { pod } of await read(block)) pods.add(pod);
  }
  const isOfSubnet = (address: Ip): boolean =>
    own.some(({ cidr }) => cidr.family === ipFamily(address) && cidrContains(cidr, address));
  const living = residents.filter(({ addresses }) => addresses.some(isOfSubnet)).map(({ name }) => name);
  return { pods: [...pods].sort(), nodes: [...nodes].sort(), residents: living.sort() };
}

/** The condition that says so. */
export function inUseCondition({ pods, nodes, residents }: SubnetHolders): {
  type: string;
  status: "True" | "False";
  reason: string;
  message: string;
} {
  if (pods.length === 0 && nodes.length === 0) {
    return { type: "InUse", status: "False", reason: "NoHolders", message: "nobody holds anything of it" };
  }
  const waits: string[] = [];
  if (pods.length > 0) waits.push(`${named(pods, "pod")}: delete them, or let them move to another Subnet`);
  if (residents.length > 0) {
    waits.push(
      `the own addresses of ${named(residents, "node")}: create another Subnet with default: true, and they take theirs from it`,
    );
  }
  const message =
    waits.length === 0
      ? `it goes as soon as the blocks of ${named(nodes, "node")} are given back`
      : `it was deleted and waits for ${waits.join("; and for ")}`;
  return { type: "InUse", status: "True", reason: "AddressesHeld", message };
}

function named(names: readonly string[], what: string): string {
  const shown = names.slice(0, maxNamed).join(", ");
  const rest = names.length - maxNamed;
  const title = names.length === 1 ? what : `${names.length} ${what}s`;
  return rest > 0 ? `${title}: ${shown} and ${rest} more` : `${title} ${shown}`;
}
