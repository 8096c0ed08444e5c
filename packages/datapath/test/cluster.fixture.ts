/** A cluster of two nodes as plain data, for asking `decide()`. */
import { LabelSet } from "@beyondfabric/kube";
import { PrefixMap, parseCidr, type Cidr, type Ip } from "@beyondfabric/packet";
import { PolicyIndex, type PodIdentity } from "@beyondfabric/policy";
import { segmentOf } from "../src/index.ts";
import type { BlockFact, ClaimFact, Endpoint, Facts, NodeFact, PodKey, SubnetFact, WireFact } from "../src/index.ts";

export interface Cluster {
  node: string;
  complete: boolean;
  subnets: SubnetFact[];
  blocks: BlockFact[];
  nodes: NodeFact[];
  endpoints: Map<Ip, Endpoint>;
  claims: ClaimFact[];
  /** Addresses of the node's own interfaces. */
  own: Ip[];
  policies: PolicyIndex;
  /** Tenants by the name of their namespace. */
  tenants: Record<string, string>;
  /** What policies see of a pod, by uid; one without labels when it is not here. */
  identities: Map<string, Partial<PodIdentity>>;
  /** Pods about which the API has told nothing, by uid. */
  unknownPods: Set<string>;
}

export function cluster(): Cluster {
  const subnet4 = { name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 };
  const subnet6 = { name: "default", cidr: parseCidr("fd00:244::/64"), gateway: "fd00:244::1", vni: 7 };
  const wire = (name: string, cidr: string, gateway: Ip, fact: WireFact): SubnetFact => {
    return { name, cidr: parseCidr(cidr), gateway, vni: 7, wire: fact };
  };
  return {
    node: "node-1",
    complete: true,
    subnets: [
      subnet4,
      subnet6,
      wire("business", "10.30.0.0/24", "10.30.0.1", { segment: segments.business, direct: false }),
      wire("business", "fd00:30::/64", "fd00:30::1", { segment: segments.business, direct: false }),
      wire("storage", "10.40.0.0/24", "10.40.0.1", { segment: segments.storage, direct: true }),
      wire("backup", "10.50.0.0/24", "10.50.0.1", { segment: segments.backup, direct: true }),
      wire("elsewhere", "10.60.0.0/24", "10.60.0.1", { direct: true }),
    ],
    own: ["172.31.0.11", "10.30.0.11"],
    blocks: [
      { cidr: parseCidr("10.244.1.0/26"), node: "node-1" },
      { cidr: parseCidr("10.244.2.0/26"), node: "node-2" },
      { cidr: parseCidr("fd00:244::1:0/122"), node: "node-1" },
      { cidr: parseCidr("fd00:244::2:0/122"), node: "node-2" },
    ],
    nodes: [
      { name: "node-1", tunnelAddress: "10.10.0.11" },
      { name: "node-2", tunnelAddress: "10.10.0.12" },
      { name: "node-3" },
    ],
    endpoints: new Map<Ip, Endpoint>([
      ["10.244.1.1", { kind: "node", name: "node-1", node: "node-1", uid: "n1" }],
      ["10.244.2.1", { kind: "node", name: "node-2", node: "node-2", uid: "n2" }],
      ["10.244.1.5", { kind: "pod", name: "shop/web", node: "node-1", uid: "w" }],
      ["10.244.1.6", { kind: "pod", name: "shop/cart", node: "node-1", uid: "c" }],
      ["10.244.2.5", { kind: "pod", name: "shop/db", node: "node-2", uid: "d" }],
      ["10.244.3.5", { kind: "pod", name: "shop/far", node: "node-3", uid: "f" }],
      ["fd00:244::1:5", { kind: "pod", name: "shop/web", node: "node-1", uid: "w" }],
      ["fd00:244::2:5", { kind: "pod", name: "shop/db", node: "node-2", uid: "d" }],
      ["10.30.0.50", { kind: "pod", name: "bank/core", node: "node-1", uid: "core" }],
      ["10.30.0.51", { kind: "pod", name: "bank/till", node: "node-1", uid: "till" }],
      ["10.30.0.60", { kind: "pod", name: "bank/far", node: "node-2", uid: "far" }],
      ["fd00:30::50", { kind: "pod", name: "bank/core", node: "node-1", uid: "core" }],
      ["10.40.0.50", { kind: "pod", name: "bank/disk", node: "node-1", uid: "disk" }],
      ["10.50.0.50", { kind: "pod", name: "bank/tape", node: "node-1", uid: "tape" }],
      ["10.50.0.60", { kind: "pod", name: "bank/vault", node: "node-2", uid: "vault", mac: "0a:58:0a:32:00:3c" }],
      ["10.60.0.50", { kind: "pod", name: "bank/away", node: "node-2", uid: "away", mac: "0a:58:0a:3c:00:32" }],
      // A sticky address of node 1's block whose pod runs on node 2.
      ["10.244.1.40", { kind: "pod", name: "shop/db-0", node: "node-2", uid: "s0" }],
    ]),
    claims: [
      { address: "10.244.1.40", holder: { kind: "pod", name: "shop/db-0", node: "node-2", uid: "s0" }, bound: true },
      // Outside of every block, known by its claim alone.
      { address: "10.244.200.7", holder: { kind: "pod", name: "shop/mq", node: "node-2", uid: "q" }, bound: false },
      // Of node 1's block; the pod of this node is not there yet.
      { address: "10.244.1.41", holder: { kind: "pod", name: "shop/db-1", node: "node-1", uid: "s1" }, bound: true },
      { address: "10.244.1.42", bound: false, keptFor: "StatefulSet shop/db" },
      { address: "10.244.200.8", bound: false, keptFor: "StatefulSet shop/db" },
    ],
    policies: new PolicyIndex(),
    tenants: {},
    identities: new Map(),
    unknownPods: new Set(),
  };
}

/** VLANs 30, 40 and 50 of the uplink at port 10. */
export const segments = { business: segmentOf(10, 30), storage: segmentOf(10, 40), backup: segmentOf(10, 50) } as const;

export function factsOf(state: Cluster): Facts {
  const subnets = new PrefixMap<SubnetFact>();
  for (const subnet of state.subnets) subnets.set(subnet.cidr, subnet);
  const blocks = new PrefixMap<BlockFact>();
  for (const block of state.blocks) blocks.set(block.cidr, block);
  const host = (address: Ip): Cidr => ({
    family: address.includes(":") ? 6 : 4,
    address,
    length: address.includes(":") ? 128 : 32,
  });
  const identityOf = ({ uid }: PodKey): PodIdentity | undefined => {
    const endpoint = [...state.endpoints.values()].find((each) => each.uid === uid);
    if (endpoint === undefined || state.unknownPods.has(uid)) return undefined;
    const [namespace = "", name = ""] = endpoint.name.split("/");
    const tenant = state.tenants[namespace];
    return {
      name,
      uid,
      node: endpoint.node,
      labels: LabelSet.empty,
      ports: [],
      namespace: { name: namespace, labels: LabelSet.empty, ...(tenant === undefined ? {} : { tenant }) },
      ...state.identities.get(uid),
    };
  };
  return {
    node: state.node,
    complete: state.complete,
    subnetOf: (address) => subnets.lookup(address)?.value,
    outsidePrefix: (address) => {
      const own = new PrefixMap<true>();
      for (const each of state.own) own.set(host(each), true);
      return [subnets, own]
        .map((taken) => taken.widestDisjoint(address) ?? host(address))
        .reduce((free, prefix) => (prefix.length > free.length ? prefix : free));
    },
    isOwnAddress: (address) => state.own.includes(address),
    blockOf: (address) => blocks.lookup(address)?.value,
    unownedPrefix: (address, subnet) => {
      const claimed = new PrefixMap<true>();
      for (const claim of state.claims) claimed.set(host(claim.address), true);
      return [blocks, claimed]
        .map((taken) => taken.widestDisjoint(address) ?? host(address))
        .reduce((free, prefix) => (prefix.length > free.length ? prefix : free), subnet.cidr);
    },
    nodeNamed: (name) => state.nodes.find((node) => node.name === name),
    endpointAt: (address) => state.endpoints.get(address),
    claimAt: (address) => state.claims.find((claim) => claim.address === address),
    policies: state.policies,
    identityOf,
    namespaceOf: (pod) => identityOf(pod)?.namespace,
    isolationsOf: (pod) => {
      const identity = identityOf(pod);
      return identity === undefined ? undefined : state.policies.isolations(identity);
    },
    hasTenants: Object.keys(state.tenants).length > 0,
    sharedNamespaces: new Set(["kube-system"]),
  };
}
