/**
 * Services and their endpoints as decisions look at them (core/v1 ServiceSpec, discovery.k8s.io/v1 EndpointSlice): every
 * default filled in, every address canonical. What could not be read is not in here.
 */
import type { Cidr, Ip } from "@beyondfabric/packet";

/** The protocols that a port of a Service can have. */
export type Protocol = "TCP" | "UDP" | "SCTP";

/** Whether all endpoints may be chosen, or only those of the node that chooses. */
export type TrafficPolicy = "Cluster" | "Local";

/** Where an address of a Service comes from: the API server, the load balancer's controller, or whoever wrote the Service. */
export type AddressKind = "cluster" | "loadBalancer" | "external";

/** How a Service is reached. */
export type FrontendKind = AddressKind | "nodePort";

export interface ServicePort {
  /** Empty for the only port of a Service that has no name. Endpoints are found by name and protocol. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort?: number;
}

export interface ServiceRecord {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Milliseconds since the epoch. An object that does not say it is younger than all that do. */
  readonly created: number;
  /**
   * Only `proxied` ones have front ends. `headless` ones are found by DNS alone, `external-name` ones are names, and
   * `foreign` ones are left to the proxy that their label `service.kubernetes.io/service-proxy-name` names.
   */
  readonly treatment: "proxied" | "headless" | "external-name" | "foreign";
  /** None of them is of a family in which the Service has no cluster address. */
  readonly addresses: Readonly<Record<AddressKind, readonly Ip[]>>;
  /** No two have the same protocol and port, or the same protocol and name. */
  readonly ports: readonly ServicePort[];
  /** For how long a client stays with its endpoint (seconds, 1 to 86400); absent without affinity. */
  readonly affinitySeconds?: number;
  /** For its cluster addresses (KEP-2086). */
  readonly internalTrafficPolicy: TrafficPolicy;
  /** For everything else by which it is reached, and clients outside of the cluster. */
  readonly externalTrafficPolicy: TrafficPolicy;
  /** Where load balancers ask each node for endpoints of its own. */
  readonly healthCheckNodePort?: number;
  /** Whether an endpoint counts as ready whatever its conditions say. */
  readonly publishNotReadyAddresses: boolean;
  /** Who may use its load balancer's addresses: absent everybody, empty nobody. */
  readonly sourceRanges?: readonly Cidr[];
}

export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  /** Empty when the endpoint does not say it. */
  readonly uid: string;
}

/** One address behind a Service. Its ports are those of its {@link EndpointSource}. */
export interface EndpointRecord {
  readonly address: Ip;
  readonly ready: boolean;
  /** Answers, whether or not it is about to end. */
  readonly serving: boolean;
  readonly terminating: boolean;
  /** Name of its node; absent for an endpoint outside of the cluster. */
  readonly node?: string;
  /** The zones that it is meant for (`hints.forZones`); empty when nobody said. */
  readonly zones: readonly string[];
  readonly pod?: PodReference;
}

export interface EndpointPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/** Endpoints that answer on the same ports: a slice, or one of the subsets of an Endpoints object. */
export interface EndpointSource {
  /** Unique among those of one Service. */
  readonly name: string;
  /** No two have the same protocol and name. */
  readonly ports: readonly EndpointPort[];
  /** Ordered by the text of their addresses, each of which stands there once. */
  readonly endpoints: readonly EndpointRecord[];
}

export interface SliceRecord extends EndpointSource {
  readonly namespace: string;
  /** Name of the Service. */
  readonly service: string;
}

/** An Endpoints object: its Service has the same name. */
export interface EndpointsRecord {
  readonly namespace: string;
  readonly name: string;
  readonly sources: readonly EndpointSource[];
}

/** How changes name a Service: `service:NAMESPACE/NAME`. */
export function serviceKey(namespace: string, name: string): string {
  return `service:${namespace}/${name}`;
}
