/** Which NIC of this node carries which physical network, from the Networks and the node's labels. Pure. */
import type { Labels } from "@beyondfabric/kube";
import type { UnderlayNetwork, Violation } from "@beyondfabric/kube/kinds";

/** A network that a NIC of this node is named for. */
export interface Placement {
  readonly network: string;
  readonly nic: string;
  /** MTU of pods (bytes); undefined: the NIC's. */
  readonly mtu: number | undefined;
  readonly allowNodeInterface: boolean;
}

/**
 * The first entry of `interfaces` whose selector fits the node holds; a network without such an entry is not on this node.
 * A NIC carries one network: VLANs of one NIC are Subnets of one Network.
 * @param networks sound ones, in any order; the older keeps the NIC
 */
export function placementsOf(
  networks: readonly UnderlayNetwork[],
  node: string,
  labels: Labels,
): { readonly placements: readonly Placement[]; readonly violations: readonly Violation[] } {
  const placements: Placement[] = [];
  const violations: Violation[] = [];
  const bySeniority = networks.toSorted((a, b) => a.created - b.created || (a.name < b.name ? -1 : 1));
  for (const { name: network, interfaces, mtu, allowNodeInterface } of bySeniority) {
    const index = interfaces.findIndex(({ nodeSelector }) =>
      Object.entries(nodeSelector).every(([key, value]) => labels.get(key) === value),
    );
    const nic = interfaces[index]?.name;
    if (nic === undefined) continue;
    const other = placements.find((placement) => placement.nic === nic);
    if (other === undefined) {
      placements.push({ network, nic, mtu, allowNodeInterface });
      continue;
    }
    violations.push({
      object: `Network/${network}`,
      field: `spec.interfaces[${index}].name`,
      rule: `is ${nic}, which on node ${node} carries Network ${other.network} already`,
      remedy: "name another NIC, or make its VLANs Subnets of that Network",
    });
  }
  return { placements, violations };
}

/** The network that a violation of this node's is about. */
export function networkOf({ object }: Violation): string {
  return object.slice(object.indexOf("/") + 1);
}

/** What is seen of a NIC. */
export interface NicFacts {
  readonly present: boolean;
  /** Administratively up, with a carrier. */
  readonly linkUp: boolean;
  /** bytes */
  readonly mtu: number;
  /** Addresses that the NIC, or the bridge that took it, carries for the node itself. */
  readonly addresses: readonly string[];
}

/** How a network stands on this node. */
export type NetworkState =
  | { readonly state: "ready" }
  /** Pods that are here stay; new ones are refused. */
  | { readonly state: "down"; readonly message: string }
  /** The NIC is left alone. */
  | { readonly state: "refused" | "missing"; readonly message: string };

/** Every state, in the order from good to bad. */
export const networkStates: readonly NetworkState["state"][] = ["ready", "down", "missing", "refused"];

/** Judges a NIC that a network names. */
export function judgeNic(
  { network, nic, mtu, allowNodeInterface }: Placement,
  node: string,
  facts: NicFacts,
): NetworkState {
  const what = `Network ${network}: interface ${nic} of node ${node}`;
  if (!facts.present) {
    return {
      state: "missing",
      message: `${what} does not exist; plug it in, or correct spec.interfaces of the Network`,
    };
  }
  if (facts.addresses.length > 0 && !allowNodeInterface) {
    return {
      state: "refused",
      message: `${what} carries ${facts.addresses.join(", ")} of the node itself; name another NIC, or set spec.allowNodeInterface: true, which moves the addresses to the NIC's bridge`,
    };
  }
  if (mtu !== undefined && mtu > facts.mtu) {
    return {
      state: "refused",
      message: `${what} has MTU ${facts.mtu}, less than spec.mtu ${mtu} of the Network; raise the NIC's or lower the Network's`,
    };
  }
  if (!facts.linkUp) {
    return { state: "down", message: `${what} has no link; check the cable and the port of the physical switch` };
  }
  return { state: "ready" };
}
