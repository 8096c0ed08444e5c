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

/** A locally administered MAC that tells in a capture whose NIC it is: kind 1 management, 2 business, 3 outside host. */
export function nicMac(index: number, kind: 1 | 2 | 3, number: number): string {
  return [0x02, 0xfa, kind, index, number >> 8, number & 0xff]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join(":");
}

/** The lowest index that no other lab uses; `undefined` when all are taken. */
export function freeIndex(used: ReadonlySet<number>): number | undefined {
  for (let index = 0; index < MAX_LABS; index++) if (!used.has(index)) return index;
  return undefined;
}
