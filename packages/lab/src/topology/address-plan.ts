import { addressAt, formatCidr, parseCidr } from "@beyondfabric/packet";
import { hostNumber, nodeNumber } from "../names.ts";

/** Addresses of one machine of the lab, without and with their prefix lengths. */
export interface NicAddresses {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly cidrs: readonly [string, string];
}

/** The lab's addresses: one management network per lab (`172.31.<index>.0/24`), the same wire in every lab. */
export const WIRE_IPV4 = "10.10.0.0/24";
export const WIRE_IPV6 = "fd00:10::/64";

/** Number of labs that fit on a machine: the third byte of the management network. */
export const MAX_LABS = 255;

function nic(ipv4: string, ipv6: string): NicAddresses {
  return { ipv4, ipv6, cidrs: [`${ipv4}/24`, `${ipv6}/64`] };
}

/** The address of the machine itself on a lab's management network, where the API server listens. */
export function gatewayAddress(index: number): string {
  return `172.31.${index}.1`;
}

/** A node's eth0. */
export function managementAddress(index: number, node: string): NicAddresses {
  const number = nodeNumber(node);
  return nic(`172.31.${index}.${10 + number}`, `fd00:31:${index.toString(16)}::${10 + number}`);
}

/** A node's eth1. */
export function businessAddress(node: string): NicAddresses {
  const number = nodeNumber(node);
  return nic(`10.10.0.${10 + number}`, `fd00:10::${10 + number}`);
}

/** An outside host's eth0. */
export function hostAddress(host: string): NicAddresses {
  const number = hostNumber(host);
  return nic(`10.10.0.${200 + number}`, `fd00:10::${200 + number}`);
}

/** The router's address on the untagged part of the wire. */
export const ROUTER_ADDRESS: NicAddresses = nic("10.10.0.254", "fd00:10::fe");

/** A VLAN of the wire: a network of its own that the router connects to the others. */
export interface Vlan {
  /** 1 to 4094 */
  readonly id: number;
  /** One of each family. */
  readonly cidrs: readonly [ipv4: string, ipv6: string];
  /** Outside hosts that sit on it. */
  readonly hosts: number;
}

/** The address of each family of a VLAN that ends in these decimal digits. The router has 1: it is the gateway. */
export function vlanAddress(vlan: Vlan, number: number): NicAddresses {
  const [ipv4, ipv6] = vlan.cidrs.map((text) => {
    const cidr = parseCidr(text);
    // The digits are the same to look at in both families.
    return { address: addressAt(cidr, BigInt(cidr.family === 4 ? number : `0x${number}`)), length: cidr.length };
  }) as [{ address: string; length: number }, { address: string; length: number }];
  return {
    ipv4: ipv4.address,
    ipv6: ipv6.address,
    cidrs: [`${ipv4.address}/${ipv4.length}`, `${ipv6.address}/${ipv6.length}`],
  };
}

/** An outside host as the wire has it: where it is connected, and what it is called there. */
export interface HostPlan {
  readonly name: string;
  /** Undefined: untagged. */
  readonly vlan: Vlan | undefined;
  readonly addresses: NicAddresses;
  /** Absent when there is no router. */
  readonly gateway: NicAddresses | undefined;
}

/** All outside hosts: `hosts` untagged ones first, then those of each VLAN, numbered through. */
export function hostPlans(hosts: number, vlans: readonly Vlan[]): HostPlan[] {
  const untaggedGateway = vlans.length === 0 ? undefined : ROUTER_ADDRESS;
  const plans: HostPlan[] = [];
  const next = (): { name: string; number: number } => {
    const number = plans.length + 1;
    return { name: `host-${number}`, number };
  };
  for (let count = 0; count < hosts; count++) {
    const { name } = next();
    plans.push({ name, vlan: undefined, addresses: hostAddress(name), gateway: untaggedGateway });
  }
  for (const vlan of vlans) {
    for (let count = 0; count < vlan.hosts; count++) {
      const { name, number } = next();
      plans.push({ name, vlan, addresses: vlanAddress(vlan, 200 + number), gateway: vlanAddress(vlan, 1) });
    }
  }
  return plans;
}

/** Whether a CIDR of a VLAN has room for the addresses that the lab gives on it. */
export function fitsHosts(text: string): boolean {
  const cidr = parseCidr(text);
  return formatCidr(cidr) === text && cidr.length <= (cidr.family === 4 ? 24 : 64);
}

/**
 * A locally administered MAC that tells in a capture whose NIC it is: kind 1 management, 2 business, 3 outside host, 4 a
 * node's NIC for underlays, 5 the router.
 */
export function nicMac(index: number, kind: 1 | 2 | 3 | 4 | 5, number: number): string {
  return [0x02, 0xfa, kind, index, number >> 8, number & 0xff]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join(":");
}

/** The lowest index that no other lab uses; `undefined` when all are taken. */
export function freeIndex(used: ReadonlySet<number>): number | undefined {
  for (let index = 0; index < MAX_LABS; index++) if (!used.has(index)) return index;
  return undefined;
}
