/**
 * Which endpoints a packet to a Service may go to, and which it goes to: as kube-proxy of Kubernetes 1.33 means it, topology
 * hints left aside. Pure: entries, explanation and tests ask here, and nowhere else.
 */
import { cidrContains, ipFamily, type Ip, type IpFamily } from "@beyondfabric/packet";
import type { ServiceCatalog } from "./catalog.ts";
import type { Frontend } from "./frontends.ts";
import type { ServiceRecord, TrafficPolicy } from "./model.ts";
import type { PortEndpoints, Target } from "./port-endpoints.ts";

export interface Viewpoint {
  /** Name of the node that chooses. */
  readonly node: string;
  /** Who sends: a pod or a node of the cluster, or anybody else. */
  readonly from: "pod" | "node" | "outside";
}

export type Eligibility =
  | {
      readonly kind: "endpoints";
      readonly policy: TrafficPolicy;
      /** Whether these are ready, or about to end because none is ready (KEP-1669). */
      readonly basis: "ready" | "terminating";
      /** At least one, in an order that is the same on every node. Equal lists of two calls are the same object. */
      readonly endpoints: readonly Target[];
    }
  | {
      readonly kind: "none";
      readonly policy: TrafficPolicy;
      /**
       * `reject`: no endpoint in the whole cluster, which the client should know at once. `drop`: none on this node, where
       * the packet should not have come; another node would answer.
       */
      readonly answer: "reject" | "drop";
    };

/** The endpoints that may be chosen for a front end, or what to do without any. */
export function eligibleEndpoints(
  catalog: Pick<ServiceCatalog, "endpointsOf">,
  frontend: Frontend,
  viewpoint: Viewpoint,
): Eligibility {
  const { service, port, family } = frontend;
  const lists = catalog.endpointsOf(service, port.name, port.protocol, family);
  const ready = readyTargets(service, lists);
  const terminating = service.publishNotReadyAddresses ? [] : lists.terminating;
  const policy = policyFor(frontend, viewpoint);
  const near = (targets: readonly Target[]): readonly Target[] =>
    policy === "Local" ? targetsOn(targets, viewpoint.node) : targets;
  // Each policy falls back by itself (KEP-1669): a node with endpoints that end uses them while others have ready ones.
  for (const [basis, targets] of [
    ["ready", ready],
    ["terminating", terminating],
  ] as const) {
    const endpoints = near(targets);
    if (endpoints.length > 0) return { kind: "endpoints", policy, basis, endpoints };
  }
  return { kind: "none", policy, answer: ready.length + terminating.length === 0 ? "reject" : "drop" };
}

/** Who reads the endpoints is to disregard their readiness if the Service says so (ServiceSpec.publishNotReadyAddresses). */
function readyTargets({ publishNotReadyAddresses }: ServiceRecord, { all, ready }: PortEndpoints): readonly Target[] {
  return publishNotReadyAddresses ? all : ready;
}

/**
 * Cluster addresses follow `internalTrafficPolicy`, whoever sends (KEP-2086). Everything else follows
 * `externalTrafficPolicy`, which is about clients outside: pods and nodes need no load balancer to find a node that has
 * endpoints, and go to all of them.
 */
function policyFor({ service, kind }: Frontend, { from }: Viewpoint): TrafficPolicy {
  if (kind === "cluster") return service.internalTrafficPolicy;
  return from === "outside" ? service.externalTrafficPolicy : "Cluster";
}

/** The last node that was asked for, by list: an agent asks for its own, and a list never changes. */
const nearest = new WeakMap<readonly Target[], { readonly node: string; readonly targets: readonly Target[] }>();

function targetsOn(all: readonly Target[], node: string): readonly Target[] {
  const known = nearest.get(all);
  if (known?.node === node) return known.targets;
  const targets = all.filter(({ endpoint }) => endpoint.node === node);
  nearest.set(all, { node, targets });
  return targets;
}

/**
 * One of the endpoints; undefined when there is none. The same seed and list give the same endpoint. Over seeds that are
 * evenly spread, or just counted up, endpoints differ in their share by less than one in 2^32 / their number.
 * @param seed an integer
 */
export function chooseEndpoint(endpoints: readonly Target[], seed: number): Target | undefined {
  const mixed = mix(Math.trunc(seed / 2 ** 32) ^ mix(seed | 0));
  return endpoints[Math.floor((mixed / 2 ** 32) * endpoints.length)];
}

/** A bijection of 32 bits that lets every bit of the input change half of the output (the end of MurmurHash3). */
function mix(word: number): number {
  let mixed = word;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/**
 * Whether somebody may use the front end at all: `loadBalancerSourceRanges` bound who may use a load balancer's addresses.
 * A Service that names ranges of one family only admits nobody of the other.
 */
export function admitsSource({ kind, service }: Frontend, source: Ip): boolean {
  if (kind !== "loadBalancer" || service.sourceRanges === undefined) return true;
  return service.sourceRanges.some((range) => cidrContains(range, source));
}

/** An answer to a load balancer that asks a node for endpoints of its own. */
export interface HealthAnswer {
  readonly status: 200 | 503;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: {
    readonly service: { readonly namespace: string; readonly name: string };
    readonly localEndpoints: number;
    readonly serviceProxyHealthy: boolean;
  };
}

/**
 * What `healthCheckNodePort` answers. Only ready endpoints count: a node whose endpoints all end should be left before they
 * are gone (KEP-1669). Undefined when the Service is not asked that way.
 * @param healthy whether this node's own part of the network is in order
 */
export function healthCheck(
  catalog: Pick<ServiceCatalog, "endpointsOf">,
  service: ServiceRecord,
  { node, healthy }: { readonly node: string; readonly healthy: boolean },
): HealthAnswer | undefined {
  if (service.treatment !== "proxied" || service.healthCheckNodePort === undefined) return undefined;
  // A pod of two families is one endpoint, and so is one that answers several ports.
  const counts = service.addresses.cluster.map((address) => readyAddresses(catalog, service, node, ipFamily(address)));
  const localEndpoints = Math.max(0, ...counts);
  return {
    status: localEndpoints > 0 && healthy ? 200 : 503,
    headers: {
      "Content-Type": "application/json",
      "X-Content-Type-Options": "nosniff",
      "X-Load-Balancing-Endpoint-Weight": String(localEndpoints),
    },
    body: {
      service: { namespace: service.namespace, name: service.name },
      localEndpoints,
      serviceProxyHealthy: healthy,
    },
  };
}

/** How many addresses on a node have ready endpoints of a Service. */
function readyAddresses(
  catalog: Pick<ServiceCatalog, "endpointsOf">,
  service: ServiceRecord,
  node: string,
  family: IpFamily,
): number {
  const local = new Set<Ip>();
  for (const { name, protocol } of service.ports) {
    const ready = readyTargets(service, catalog.endpointsOf(service, name, protocol, family));
    for (const { endpoint } of targetsOn(ready, node)) local.add(endpoint.address);
  }
  return local.size;
}
