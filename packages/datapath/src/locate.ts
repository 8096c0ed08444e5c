/** Where an address is: here, on another node, on a wire, outside, or not known. */
import { formatCidr, type Ip } from "@beyondfabric/packet";
import type { Reason } from "./decision.ts";
import type { Endpoint, Facts, SubnetFact } from "./facts.ts";

export type Location =
  | { readonly at: "local"; readonly endpoint: Endpoint; readonly subnet: SubnetFact }
  | { readonly at: "this-node" }
  | { readonly at: "remote"; readonly endpoint: Endpoint; readonly subnet: SubnetFact }
  | { readonly at: "outside" }
  /** An address of a physical network that no pod is known to hold: a machine out there, or nobody. */
  | { readonly at: "wire"; readonly subnet: SubnetFact }
  | { readonly at: "unowned"; readonly subnet: SubnetFact }
  | { readonly at: "absent"; readonly why: string }
  | { readonly at: "unknown"; readonly why: Reason };

/** Where an address is, as far as this node knows. */
export function locate(address: Ip, facts: Facts): Location {
  const subnet = facts.subnetOf(address);
  if (subnet === undefined) return facts.complete ? { at: "outside" } : { at: "unknown", why: "facts-incomplete" };
  const endpoint = facts.endpointAt(address);
  if (endpoint !== undefined) {
    if (endpoint.node !== facts.node) return { at: "remote", endpoint, subnet };
    return endpoint.kind === "node" ? { at: "this-node" } : { at: "local", endpoint, subnet };
  }
  const claim = facts.claimAt(address);
  // The claim tells of a holder before the holder's node, or the pod's status, does: its pod is on its way.
  if (claim?.holder !== undefined) return { at: "unknown", why: "destination-unknown" };
  if (claim !== undefined) {
    return { at: "absent", why: `${address} is kept for ${claim.keptFor ?? "its owner"} and no pod holds it` };
  }
  // Even an address of an own block may have been claimed for a pod elsewhere.
  if (!facts.complete) return { at: "unknown", why: "facts-incomplete" };
  if (subnet.wire !== undefined) return { at: "wire", subnet };
  const block = facts.blockOf(address);
  if (block?.node === facts.node) {
    return { at: "absent", why: `${address} lies in block ${formatCidr(block.cidr)} of this node and no pod holds it` };
  }
  if (block === undefined) return { at: "unowned", subnet };
  return { at: "unknown", why: "destination-unknown" };
}
