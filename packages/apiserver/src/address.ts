/**
 * IP addresses as numbers, in both families.
 */
import { isIP } from "node:net";

/** The number that an address is. The text must be an address (`isIP`). */
export function addressToNumber(address: string): bigint {
  if (isIP(address) === 4) return address.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  if (dotted !== null) {
    const tail = addressToNumber(dotted[2]!);
    return addressToNumber(`${dotted[1]!}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`);
  }
  const [head = "", tail] = address.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
  return [...left, ...zeros, ...right].reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n);
}

/** The address that a number is, in canonical form (RFC 5952 for IPv6). */
export function numberToAddress(value: bigint, family: "IPv4" | "IPv6"): string {
  if (family === "IPv4") return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  const full = groups.join(":");
  // The longest run of at least two zero groups becomes "::".
  const runs = [...full.matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort((a, b) => b[0].length - a[0].length);
  const run = runs[0];
  if (run === undefined) return full;
  const before = full.slice(0, run.index);
  const after = full.slice(run.index + run[0].length);
  return `${before}::${after.startsWith(":") ? after.slice(1) : after}`;
}
