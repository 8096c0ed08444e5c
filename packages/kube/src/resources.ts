/** The built-in kinds that we speak of, as the API addresses them. */
import type { Resource } from "./resource.ts";

function core(plural: string, kind: string, namespaced: boolean): Resource {
  return { group: "", version: "v1", plural, kind, namespaced };
}

export const podResource = core("pods", "Pod", true);
export const nodeResource = core("nodes", "Node", false);
export const namespaceResource = core("namespaces", "Namespace", false);
export const networkPolicyResource: Resource = {
  group: "networking.k8s.io",
  version: "v1",
  plural: "networkpolicies",
  kind: "NetworkPolicy",
  namespaced: true,
};
export const serviceResource = core("services", "Service", true);
export const endpointsResource = core("endpoints", "Endpoints", true);
/** The same kind under both of its versions, the better one first: Kubernetes before 1.21 serves the beta alone. */
export const endpointSliceResources: readonly Resource[] = ["v1", "v1beta1"].map((version) => ({
  group: "discovery.k8s.io",
  version,
  plural: "endpointslices",
  kind: "EndpointSlice",
  namespaced: true,
}));
export const eventResource = core("events", "Event", true);
export const leaseResource: Resource = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};
