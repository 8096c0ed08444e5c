/**
 * What is wrong with the physical networks of a node, judged from what was seen of its NICs and heard on their VLANs. Pure:
 * each finding comes with a sentence that says what to do.
 */
import type { Violation } from "@beyondfabric/kube/kinds";
import { ipFamily, type Ip, type Mac } from "@beyondfabric/packet";
import { networkOf } from "./placement.ts";

/** A gateway as a VLAN knows it. */
export interface GatewayObservation {
  readonly subnet: string;
  readonly address: Ip;
  /** Who answered for it; absent when nobody did. */
  readonly mac?: Mac;
  /** Between the question and its answer (ms), as the agent sees it. */
  readonly roundTrip?: number;
  /** It answered a question from a MAC that the wire had not seen before. */
  readonly answersStrangers: boolean;
}

/** A neighbour table that names another machine than the one that has the address. */
export interface StaleNeighbour {
  /** Whose table: `Pod bank/core`, `gateway 10.30.0.1`. */
  readonly holder: string;
  readonly address: Ip;
  /** What the table says. */
  readonly mac: Mac;
  /** Who has the address. */
  readonly owner: Mac;
}

/** What was heard on one VLAN. */
export interface WireObservation {
  /** 0: untagged */
  readonly vlan: number;
  readonly subnets: readonly string[];
  readonly gateways: readonly GatewayObservation[];
  readonly duplicates: readonly { readonly pod: string; readonly address: Ip; readonly mac: Mac }[];
  /** Offers of DHCP servers. */
  readonly offers: readonly { readonly server: Ip; readonly mac: Mac; readonly address: Ip }[];
  /** Routers that announce themselves (IPv6). */
  readonly routers: readonly { readonly address: Ip; readonly mac: Mac }[];
  readonly stale: readonly StaleNeighbour[];
}

/** A physical network as this node has it. */
export interface NetworkObservation {
  readonly network: string;
  readonly nic: string;
  readonly bridge: string;
  readonly present: boolean;
  readonly linkUp: boolean;
  /** Of the NIC (bytes); 0 when it is not there. */
  readonly mtu: number;
  /** `spec.mtu` of the Network (bytes); absent: the NIC's counts. */
  readonly wantedMtu?: number;
  /** Addresses of the node itself on the NIC or its bridge. */
  readonly nodeAddresses: readonly string[];
  readonly allowNodeInterface: boolean;
  /** The NIC's bridge answers the agent: without it nothing can be asked of the wire. */
  readonly answering: boolean;
  /** Pods of this node that live on it. */
  readonly pods: readonly { readonly pod: string; readonly mtu?: number }[];
  readonly wires: readonly WireObservation[];
}

export interface UnderlayObservation {
  readonly node: string;
  readonly networks: readonly NetworkObservation[];
  /** Networks that name a NIC of this node which another has. */
  readonly violations: readonly Violation[];
}

export type UnderlayRule =
  | "InterfaceTaken"
  | "InterfaceMissing"
  | "InterfaceRefused"
  | "LinkDown"
  | "MtuTooSmall"
  | "BridgeSilent"
  | "GatewaySilent"
  | "UnknownMacDropped"
  | "AddressDuplicate"
  | "DhcpServer"
  | "ForeignRouter"
  | "NeighbourStale";

export interface UnderlayFinding {
  readonly rule: UnderlayRule;
  readonly network: string;
  /** 0: untagged; absent where it is no VLAN's matter. */
  readonly vlan?: number;
  readonly message: string;
  /** One sentence. */
  readonly advice: string;
}

/** Everything that is wrong, network by network, the NIC before what is said on it. */
export function diagnose({ node, networks, violations }: UnderlayObservation): UnderlayFinding[] {
  return [
    ...violations.map((violation): UnderlayFinding => {
      const { field, rule, remedy } = violation;
      const network = networkOf(violation);
      return {
        rule: "InterfaceTaken",
        network,
        message: `${field} ${rule}`,
        advice: `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`,
      };
    }),
    ...networks.flatMap((network) => [
      ...nicFindings(network, node),
      ...network.wires.flatMap((wire) => wireFindings(network, wire)),
    ]),
  ];
}

function nicFindings(seen: NetworkObservation, node: string): UnderlayFinding[] {
  const { network, nic, present, linkUp, mtu, wantedMtu, nodeAddresses, allowNodeInterface, answering, pods } = seen;
  const findings: UnderlayFinding[] = [];
  const find = (rule: UnderlayRule, message: string, advice: string): void => {
    findings.push({ rule, network, message, advice });
  };
  if (!present) {
    find(
      "InterfaceMissing",
      `interface ${nic} does not exist on node ${node}`,
      "Plug the NIC in, or correct spec.interfaces of the Network.",
    );
    return findings;
  }
  if (nodeAddresses.length > 0 && !allowNodeInterface) {
    find(
      "InterfaceRefused",
      `interface ${nic} carries ${nodeAddresses.join(", ")} of the node itself`,
      "Name another NIC, or set spec.allowNodeInterface: true, which moves the addresses to the NIC's bridge.",
    );
  }
  if (wantedMtu !== undefined && wantedMtu > mtu) {
    find(
      "MtuTooSmall",
      `interface ${nic} has MTU ${mtu}, and spec.mtu of the Network is ${wantedMtu}`,
      "Raise the NIC's MTU and that of the switch port, or lower spec.mtu.",
    );
  }
  for (const { pod, mtu: own } of pods) {
    if (own === undefined || own <= mtu) continue;
    find(
      "MtuTooSmall",
      `Pod ${pod} has MTU ${own}, and interface ${nic} carries ${mtu}`,
      "Raise the NIC's MTU again, or start the pod anew so that it gets the smaller one.",
    );
  }
  if (!linkUp) {
    find(
      "LinkDown",
      `interface ${nic} has no link`,
      "Check the cable and whether the port of the physical switch is enabled.",
    );
  } else if (findings.length === 0 && !answering) {
    find(
      "BridgeSilent",
      `bridge ${seen.bridge} does not answer, so that nothing was asked of the wire`,
      "See `fabricctl status` and whether ovs-vswitchd runs, then ask again.",
    );
  }
  return findings;
}

function wireFindings({ network, nic }: NetworkObservation, wire: WireObservation): UnderlayFinding[] {
  const { vlan, gateways, duplicates, offers, routers, stale } = wire;
  const findings: UnderlayFinding[] = [];
  const find = (rule: UnderlayRule, message: string, advice: string): void => {
    findings.push({ rule, network, vlan, message, advice });
  };
  for (const { subnet, address, mac } of gateways) {
    if (mac !== undefined) continue;
    find(
      "GatewaySilent",
      `gateway ${address} of Subnet ${subnet} does not answer`,
      vlan === 0
        ? `Check that the switch port of ${nic} carries untagged frames of this network, and spec.gateways of the Subnet.`
        : `Check that the switch port of ${nic} carries VLAN ${vlan} tagged, and spec.gateways of the Subnet.`,
    );
  }
  // One gateway that answers strangers shows that their frames pass; one that does not may have reasons of its own.
  const known = gateways.filter(({ mac }) => mac !== undefined);
  if (known.length > 0 && known.every(({ answersStrangers }) => !answersStrangers)) {
    find(
      "UnknownMacDropped",
      `${known.map(({ address }) => address).join(" and ")} ${known.length === 1 ? "answers" : "answer"} the NIC's own MAC and not another one`,
      "Let the port take other MACs than the NIC's: accept forged transmits and MAC address changes on VMware's port group, set port_security_enabled=false on OpenStack's port, or lift port security on the physical switch.",
    );
  }
  for (const { pod, address, mac } of duplicates) {
    find(
      "AddressDuplicate",
      `the machine with MAC ${mac} answers for ${address} of Pod ${pod}`,
      "Find that MAC on the physical switch and take the address from its machine, or exclude the address in the Subnet and start the pod anew.",
    );
  }
  for (const { server, mac, address } of offers) {
    find(
      "DhcpServer",
      `DHCP server ${server} (MAC ${mac}) offers ${address}`,
      "Have the network team keep its pool off spec.ranges of the Subnet, or remove the server if it is not theirs.",
    );
  }
  const legitimate = new Set(gateways.filter(({ address }) => ipFamily(address) === 6).map(({ mac }) => mac));
  for (const { address, mac } of routers) {
    // Without an IPv6 gateway that answers there is nothing to compare with.
    if (legitimate.has(mac) || ![...legitimate].some((each) => each !== undefined)) continue;
    find(
      "ForeignRouter",
      `router ${address} (MAC ${mac}) announces itself, and is not the gateway`,
      "Find that MAC on the physical switch, and have router advertisements of others than the gateway filtered there (RA guard).",
    );
  }
  for (const { holder, address, mac, owner } of stale) {
    find(
      "NeighbourStale",
      `${holder} takes ${mac} for ${address}, which ${owner} has`,
      holder.startsWith("Pod ")
        ? "Remove the entry in the pod with `ip neigh del`; a static one must be corrected where it is set."
        : "Clear the entry on the gateway; where it is static, correct it.",
    );
  }
  return findings;
}
