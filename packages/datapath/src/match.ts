/** Small builders of match fields, with the prerequisites that the wire format demands (OpenFlow 1.5, section 7.2.3.8). */
import type { MatchField } from "@beyondfabric/openflow";
import { ipFamily, ipToBigInt, macToBigInt, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";

export const etherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
export const protocol = { udp: 17, icmpv6: 58 } as const;
export const routerAdvertisement = 134;
export const neighbourSolicitation = 135;
export const neighbourAdvertisement = 136;
export const redirect = 137;

/** An ICMPv6 message of a type, code 0. */
export function icmpv6(type: number): MatchField[] {
  return [
    ethType(etherType.ipv6),
    { field: "ip_proto", value: BigInt(protocol.icmpv6) },
    { field: "icmpv6_type", value: BigInt(type) },
    { field: "icmpv6_code", value: 0n },
  ];
}

export function inPort(port: number): MatchField {
  return { field: "in_port", value: BigInt(port) };
}

export function ethType(type: number): MatchField {
  return { field: "eth_type", value: BigInt(type) };
}

export function ethSource(mac: Mac): MatchField {
  return { field: "eth_src", value: macToBigInt(mac) };
}

/** `eth_type` and an address or prefix in the field that fits its family; a zero-length prefix compares nothing. */
export function sourceIn(prefix: Cidr | Ip): MatchField[] {
  return addressIn(prefix, "ip_src", "ipv6_src");
}

export function destinationIn(prefix: Cidr | Ip): MatchField[] {
  return addressIn(prefix, "ip_dst", "ipv6_dst");
}

/** An address in a field that is no IP header's: exact, or by its prefix. */
export function within(field: "arp_spa" | "arp_tpa" | "nd_target", prefix: Cidr | Ip): MatchField {
  if (typeof prefix === "string") return { field, value: ipToBigInt(prefix) };
  const width = prefix.family === 4 ? 32 : 128;
  const value = ipToBigInt(prefix.address);
  if (prefix.length === width) return { field, value };
  return { field, value, mask: ((1n << BigInt(prefix.length)) - 1n) << BigInt(width - prefix.length) };
}

function addressIn(
  prefix: Cidr | Ip,
  ipv4Field: "ip_src" | "ip_dst",
  ipv6Field: "ipv6_src" | "ipv6_dst",
): MatchField[] {
  const address = typeof prefix === "string" ? prefix : prefix.address;
  const family = ipFamily(address);
  const width = family === 4 ? 32 : 128;
  const length = typeof prefix === "string" ? width : prefix.length;
  const field = family === 4 ? ipv4Field : ipv6Field;
  if (length === 0) return [];
  if (length === width) return [{ field, value: ipToBigInt(address) }];
  const mask = ((1n << BigInt(length)) - 1n) << BigInt(width - length);
  return [{ field, value: ipToBigInt(address), mask }];
}

export function ipType(address: Ip): MatchField {
  return ethType(ipFamily(address) === 4 ? etherType.ipv4 : etherType.ipv6);
}
