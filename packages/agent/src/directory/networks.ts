/**
 * From `Network` and `Subnet` objects to what the node does: which subnets exist, how tunnels are made, how large packets
 * may be. Objects that break rules are left out, and said to be.
 */
import type { SubnetFact } from "@beyondfabric/datapath";
import {
  validateNetworks,
  validatePools,
  validateSubnets,
  type IpPool,
  type Network,
  type OverlayNetwork,
  type Subnet,
  type UnderlayNetwork,
  type Violation,
} from "@beyondfabric/kube/kinds";

export interface Topology {
  /** Subnets of sound networks that this node serves. */
  readonly subnets: readonly Subnet[];
  /** Those of Underlays do not tell their segments yet: where a node meets them is its own affair. */
  readonly facts: readonly SubnetFact[];
  /** Sound pools of those subnets. */
  readonly pools: readonly IpPool[];
  readonly underlays: readonly UnderlayNetwork[];
  /** The overlay whose tunnels this node makes; one kind of tunnel port serves all virtual networks of that kind. */
  readonly overlay: OverlayNetwork | undefined;
  readonly vnis: readonly number[];
  readonly violations: readonly Violation[];
}

export const emptyTopology: Topology = {
  subnets: [],
  facts: [],
  pools: [],
  underlays: [],
  overlay: undefined,
  vnis: [],
  violations: [],
};

export function topologyOf(
  networks: readonly Network[],
  subnets: readonly Subnet[],
  pools: readonly IpPool[] = [],
): Topology {
  const violations = [...validateNetworks(networks)];
  const refusedNetworks = new Set(violations.map(({ object }) => object));
  const soundNetworks = networks.filter(({ name }) => !refusedNetworks.has(`Network/${name}`));
  violations.push(...validateSubnets(subnets, { networks: soundNetworks }));
  const refused = new Set(violations.map(({ object }) => object));
  const overlays = soundNetworks.filter((network) => network.type === "Overlay");
  const underlays = soundNetworks.filter((network) => network.type === "Underlay");
  const overlay = overlays[0];
  const served = overlays.filter(
    (network) => network.encapsulation === overlay?.encapsulation && network.port === overlay.port,
  );
  const byName = new Map<string, Network>([...served, ...underlays].map((network) => [network.name, network]));
  const sound = subnets.filter((subnet) => !refused.has(`Subnet/${subnet.name}`) && byName.has(subnet.network));
  for (const subnet of subnets) {
    if (refused.has(`Subnet/${subnet.name}`) || byName.has(subnet.network)) continue;
    violations.push({
      object: `Subnet/${subnet.name}`,
      field: "spec.network",
      rule: `names ${subnet.network}, an Overlay of another encapsulation or port than ${overlay?.name ?? "none"}, which came first`,
      remedy: "name that one, or give both networks the same encapsulation and port",
    });
  }
  const poolViolations = validatePools(pools, sound);
  violations.push(...poolViolations);
  const refusedPools = new Set(poolViolations.map(({ object }) => object));
  return {
    subnets: sound,
    pools: pools.filter((pool) => !refusedPools.has(`IPPool/${pool.name}`)),
    facts: sound.flatMap((subnet) => {
      const network = byName.get(subnet.network)!;
      const wire = network.type === "Underlay" ? { wire: { direct: subnet.interSubnet === "Direct" } } : {};
      const vni = network.type === "Overlay" ? network.vni : (overlay?.vni ?? 0);
      return subnet.families.map(({ cidr, gateway }) => ({ name: subnet.name, cidr, gateway, vni, ...wire }));
    }),
    underlays,
    overlay,
    vnis: served.map(({ vni }) => vni),
    violations,
  };
}

/** Bytes that a tunnel adds to a packet over IPv4: outer Ethernet payload headers plus the inner Ethernet header. */
export const tunnelOverhead = { VXLAN: 50, Geneve: 50, GRE: 42 } as const;

export function podMtu(overlay: OverlayNetwork | undefined, linkMtu: number): number {
  if (overlay === undefined) return linkMtu;
  const fits = linkMtu - tunnelOverhead[overlay.encapsulation];
  return overlay.mtu === undefined ? fits : Math.min(overlay.mtu, fits);
}
