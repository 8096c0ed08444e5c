/** Who keeps a Subnet that was deleted from going. */
import type { AddressBlock, BlockAllocation, IpAddressRecord } from "@beyondfabric/kube/kinds";

export interface SubnetHolders {
  /** `namespace/name` of pods with an address of it, in order. */
  readonly pods: readonly string[];
  /** Nodes with a block of it, in order. */
  readonly nodes: readonly string[];
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
  read: (block: AddressBlock) => Promise<readonly BlockAllocation[]>,
): Promise<SubnetHolders> {
  const pods = new Set<string>();
  const nodes = new Set<string>();
  for (const { subnet: name, holder } of claims) {
    if (name === subnet && holder !== undefined) pods.add(`${holder.namespace}/${holder.pod}`);
  }
  for (const block of blocks) {
    if (block.subnet !== subnet) continue;
    nodes.add(block.node);
    // Enough names for a sentence: the others need not be read.
    if (pods.size <= maxNamed) for (const { pod } of await read(block)) pods.add(pod);
  }
  return { pods: [...pods].sort(), nodes: [...nodes].sort() };
}

/** The condition that says so. */
export function inUseCondition({ pods, nodes }: SubnetHolders): {
  type: string;
  status: "True" | "False";
  reason: string;
  message: string;
} {
  if (pods.length === 0 && nodes.length === 0) {
    return { type: "InUse", status: "False", reason: "NoHolders", message: "nobody holds anything of it" };
  }
  const message =
    pods.length === 0
      ? `it goes as soon as the blocks of ${named(nodes, "node")} are given back`
      : `it was deleted and waits for ${named(pods, "pod")}: delete them, or let them move to another Subnet`;
  return { type: "InUse", status: "True", reason: "AddressesHeld", message };
}

function named(names: readonly string[], what: string): string {
  const shown = names.slice(0, maxNamed).join(", ");
  const rest = names.length - maxNamed;
  const title = names.length === 1 ? what : `${names.length} ${what}s`;
  return rest > 0 ? `${title}: ${shown} and ${rest} more` : `${title} ${shown}`;
}
