/**
 * Policies of a recorded cluster: which pods may be spoken to by which others, on which ports. Neutral, so that each
 * contender holds the same ones in its own form. Deterministic, as the cluster is.
 */
import { NAMESPACES, namespaceName, type Manifest } from "./recorded.ts";

/** A service of the cluster: pods of one namespace with one label `app`. */
export interface ServiceName {
  readonly namespace: string;
  readonly app: string;
}

/** Pods of `to` are isolated for ingress, and hear pods of `from` on these ports. */
export interface BenchPolicy {
  readonly name: string;
  readonly to: ServiceName;
  readonly from: ServiceName;
  readonly ports: readonly { readonly protocol: "TCP" | "UDP"; readonly port: number }[];
}

/** Pods of one service in the recorded cluster. */
export const PODS_PER_SERVICE = 10;

/** Service number `at`: pods `at * 10` to `at * 10 + 9` of the recorded cluster are its own. */
export function serviceName(at: number): ServiceName {
  return { namespace: namespaceName(at), app: `service-${at}` };
}

/**
 * `count` policies, spread evenly over the services of a cluster with `pods` pods, each about a caller and a port of its
 * own. The callers are of the same namespace.
 * @param pods a multiple of 250, at least 500: every namespace has as many services, and two at least
 */
export function clusterPolicies(count: number, pods: number): BenchPolicy[] {
  const services = pods / PODS_PER_SERVICE;
  const others = services / NAMESPACES - 1;
  if (!Number.isInteger(others) || others < 1) {
    throw new RangeError(`${pods} pods: not a multiple of ${NAMESPACES * PODS_PER_SERVICE}, or no more than that`);
  }
  return Array.from({ length: count }, (_, at): BenchPolicy => {
    const service = at % services;
    const round = Math.floor(at / services);
    const caller = (service + NAMESPACES * (1 + (round % others))) % services;
    const ports = [{ protocol: "TCP", port: 8000 + round } as const];
    return { name: `policy-${at}`, to: serviceName(service), from: serviceName(caller), ports };
  });
}

/** The policy as the API has it. */
export function policyManifest({ name, to, from, ports }: BenchPolicy): Manifest {
  const namespaceSelector = { matchLabels: { "kubernetes.io/metadata.name": from.namespace } };
  const peer = {
    ...(from.namespace === to.namespace ? {} : { namespaceSelector }),
    podSelector: { matchLabels: { app: from.app } },
  };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: to.namespace },
    spec: {
      podSelector: { matchLabels: { app: to.app } },
      policyTypes: ["Ingress"],
      ingress: [{ from: [peer], ports }],
    },
  };
}
