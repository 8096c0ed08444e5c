/** A cluster of two nodes as plain data, for asking `decide()`. */
import { PrefixMap, parseCidr, type Cidr, type Ip } from "@beyondfabric/packet";
import type { BlockFact, ClaimFact, Endpoint, Facts, NodeFact, SubnetFact } from "../src/index.ts";

export interface Cluster {
  node: string;
  complete: boolean;
  subnets: SubnetFact[];
  blocks: BlockFact[];
  nodes: NodeFact[];
  endpoints: Map<Ip, Endpoint>;
  claims: ClaimFact[];
}

export function cluster(): Cluster {
  const subnet4 = { name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 };
  const subnet6 = { name: "default", cidr: parseCidr("fd00:244::/64"), gateway: "fd00:244::1", vni: 7 };
  return {
    node: "node-1",
    complete: true,
    subnets: [subnet4, subnet6],
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
  };
}

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
  return {
    node: state.node,
    complete: state.complete,
    subnetOf: (address) => subnets.lookup(address)?.value,
    outsidePrefix: (address) => subnets.widestDisjoint(address) ?? host(address),
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
  };
}
