/**
 * The facts that a decision may look at. `decide()` sees the cluster only through {@link Facts}; whether they come from
 * a watch, from the owner of an address or from a recorded file is not its business.
 */
import type { Cidr, Ip, Mac } from "@beyondfabric/packet";
import type { Isolations, NamespaceIdentity, PodIdentity, PolicyIndex } from "@beyondfabric/policy";
import type { Segment } from "./registers.ts";

/** Somebody who holds an address inside a cluster subnet. */
export interface Endpoint {
  readonly kind: "pod" | "node";
  /** `namespace/name` of a pod, or the name of a node. */
  readonly name: string;
  /** Name of the node that it lives on. */
  readonly node: string;
  /** Kubernetes UID: the epoch of the identity, different for every holder that an address ever had. */
  readonly uid: string;
  /** Its MAC, where it is known; needed only to reach it over a wire that its sender is not on. */
  readonly mac?: Mac;
}

/** Which pod. Runtimes may not tell the UID (then it is empty): the name says it alone. */
export type PodKey = Pick<Endpoint, "name" | "uid">;

export interface NodeFact {
  readonly name: string;
  /** Where its tunnels end (IPv4); absent while the node has not said so. */
  readonly tunnelAddress?: Ip;
}

export interface SubnetFact {
  readonly name: string;
  readonly cidr: Cidr;
  readonly gateway: Ip;
  /**
   * Virtual network identifier of the network that the subnet belongs to. Of a subnet on a wire: of the overlay that
   * carries what its pods and overlay pods of other nodes say to each other.
   */
  readonly vni: number;
  /** Present when the pods of the subnet are hosts on a physical network. */
  readonly wire?: WireFact;
}

/** A subnet on a physical network: everything in it that is no pod is a machine out there. */
export interface WireFact {
  /** Where this node meets the subnet's VLAN; absent while it does not. */
  readonly segment?: Segment;
  /** Pods of the subnet, and those of others that say so too, reach each other without the physical gateway. */
  readonly direct: boolean;
}

export interface BlockFact {
  readonly cidr: Cidr;
  /** Name of the node that owns it. */
  readonly node: string;
}

/**
 * An address that has an object of its own in the API: it belongs to whom that names, whatever block lies around it and
 * whatever the status of a pod says.
 */
export interface ClaimFact {
  readonly address: Ip;
  /** Who holds it; absent while no pod does and it is kept for its owner. */
  readonly holder?: Endpoint;
  /** The holder may use it. Before that it waits for the owner of the block around the address. */
  readonly bound: boolean;
  /** For whom it is kept, for explanations; absent: nobody's but the holder's. */
  readonly keptFor?: string;
}

export interface Facts {
  /** Name of the node that decides. */
  readonly node: string;
  /** False until nodes, blocks, subnets and pods have been listed once: until then nothing is known to be absent. */
  readonly complete: boolean;
  subnetOf(address: Ip): SubnetFact | undefined;
  /** The widest prefix around an address outside all cluster subnets that touches none of them, and no own address. */
  outsidePrefix(address: Ip): Cidr;
  blockOf(address: Ip): BlockFact | undefined;
  /** The widest prefix around an address of a subnet, inside that subnet, in which nobody owns a block. */
  unownedPrefix(address: Ip, subnet: SubnetFact): Cidr;
  nodeNamed(name: string): NodeFact | undefined;
  /** Who is known to have the address. Of a claimed one: the holder, once it may use the address. */
  endpointAt(address: Ip): Endpoint | undefined;
  claimAt(address: Ip): ClaimFact | undefined;
  /** Whether the node itself has the address, on whichever of its interfaces. */
  isOwnAddress(address: Ip): boolean;
  readonly policies: PolicyIndex;
  /** A pod as policies see it; undefined while that is not known. */
  identityOf(pod: PodKey): PodIdentity | undefined;
  /**
   * The namespace of a pod, which is all that tenancy asks for: known where the pod itself is not, because the API does not
   * list it (yet). Undefined while that is not known either.
   */
  namespaceOf(pod: PodKey): NamespaceIdentity | undefined;
  /** What isolates a pod of this node; undefined while that is not known. */
  isolationsOf(pod: PodKey): Isolations | undefined;
  /** Whether any namespace carries a tenant. */
  readonly hasTenants: boolean;
  /** Names of the namespaces that talk to every tenant. */
  readonly sharedNamespaces: ReadonlySet<string>;
}

/** A pod of this node as the switch sees it. */
export interface LocalPort {
  /** OpenFlow port number on the integration bridge. */
  readonly ofport: number;
  readonly mac: Mac;
  /** Its own, and those of {@link allowedAddresses} that it holds now. */
  readonly addresses: readonly Ip[];
  /** The segment that the pod is a host on; absent for a pod of an overlay. */
  readonly segment?: Segment;
  /** What the pod may take beside its own addresses, by announcing it. */
  readonly allowedAddresses?: readonly Cidr[];
  /** Prefixes that the pod forwards for: it may send from them. */
  readonly routedPrefixes?: readonly Cidr[];
  /** `namespace/name`. */
  readonly pod: string;
  readonly uid: string;
  /** All of its traffic is tracked: policies isolate it in some direction, or it is not known whether they do. */
  readonly tracked: boolean;
}

/**
 * What a decision depended on. When the fact behind a key changes, exactly the verdicts that carry the key are taken
 * again. `subnets` and `tenants` (whether there are any) concern every verdict, whether it carries the key or not: they
 * change too rarely to be worth a place in each. What changes about the policies or labels of a pod is told with the keys of
 * its addresses.
 */
export type FactKey =
  | `address:${Ip}`
  | `node:${string}`
  | `namespace:${string}`
  | "subnets"
  | "blocks"
  | "tenants"
  | "complete";
