/** The wire that tests of physical networks have in common: its VLANs, an overlay beside it, and who stands outside. */

type Vlan = 30 | 40;

export interface WireOptions {
  /** Machines on the untagged part. */
  readonly hosts: number;
  /** Each with a router and one machine. */
  readonly vlans: readonly Vlan[];
  /** Objects beside the overlay's. */
  readonly manifests?: readonly object[];
  /** Fields of the overlay's Subnet. */
  readonly overlay?: object;
  readonly agent?: object;
}

const apiVersion = "beyondfabric.io/v1alpha1";

const cidrsOf = (vlan: Vlan): string[] => [`10.${vlan}.0.0/24`, `fd00:${vlan}::/64`];

/** The configuration of a lab, as a text. */
export function wireConfig({ hosts, vlans, manifests = [], overlay = {}, agent }: WireOptions): string {
  const network = { type: "Overlay", encapsulation: "VXLAN" };
  return JSON.stringify({
    hosts,
    vlans: vlans.map((id) => ({ id, cidrs: cidrsOf(id) })),
    ...(agent === undefined ? {} : { agent }),
    manifests: [
      { apiVersion, kind: "Network", metadata: { name: "overlay" }, spec: network },
      subnet("default", { network: "overlay", cidrs: ["10.244.0.0/16", "fd00:244::/64"], default: true, ...overlay }),
      ...manifests,
    ],
  });
}

/** The physical network of the business NIC. */
export const wireNetwork: object = {
  apiVersion,
  kind: "Network",
  metadata: { name: "wire" },
  spec: { type: "Underlay", interfaces: [{ name: "eth2" }] },
};

export function subnet(name: string, spec: object): object {
  return { apiVersion, kind: "Subnet", metadata: { name }, spec };
}

/** Subnet `vlan30` or `vlan40`, whose pods have addresses from `.50` to `.99`. */
export function vlanSubnet(vlan: Vlan, more: object = {}): object {
  const ranges = [`10.${vlan}.0.50-10.${vlan}.0.99`, `fd00:${vlan}::50-fd00:${vlan}::99`];
  return subnet(`vlan${vlan}`, { network: "wire", vlan, cidrs: cidrsOf(vlan), ranges, ...more });
}

export interface Place {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** The machines outside, with one on the untagged part and both VLANs. */
export const machines = {
  untagged: { name: "host-1", ipv4: "10.10.0.201", ipv6: "fd00:10::201" },
  vlan30: { name: "host-2", ipv4: "10.30.0.202", ipv6: "fd00:30::202" },
  vlan40: { name: "host-3", ipv4: "10.40.0.203", ipv6: "fd00:40::203" },
} as const;

export const addressesOf = ({ ipv4, ipv6 }: Place): string[] => [ipv4, ipv6];

/** A shell line that pings addresses, and prints those that do not answer in so many seconds. */
export function pings(targets: readonly string[], patience = 3): string {
  return targets.map((to) => `ping -n -c 1 -W ${patience} ${to} >/dev/null || echo ${to}`).join("; ");
}

/** A shell line that talks to echo servers over TCP and UDP, and prints those that do not answer. */
export function talks(targets: readonly string[]): string {
  return targets
    .flatMap((to) =>
      ["TCP", "UDP"].map((kind) => {
        const target = to.includes(":") ? `[${to}]` : to;
        return `test "$(echo hello | timeout 5 socat -t 0.5 -T 3 - ${kind}:${target}:7000)" = hello || echo ${kind} ${to}`;
      }),
    )
    .join("; ");
}

export const lines = (text: string): string[] => text.split("\n").filter(Boolean);
