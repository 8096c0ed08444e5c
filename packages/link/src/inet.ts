/** Text and bytes of addresses, as far as netlink needs them. */
import { isIPv4, isIPv6 } from "node:net";
import { AF_INET, AF_INET6 } from "./libc.ts";
import { LinkError } from "./errors.ts";

/** AF_INET or AF_INET6. */
export type Family = typeof AF_INET | typeof AF_INET6;

/** An address with the length of its prefix. */
export interface Prefix {
  readonly family: Family;
  readonly bytes: Buffer;
  readonly length: number;
}

function badAddress(text: string, expected: string): LinkError {
  return new LinkError("LINK_BAD_ADDRESS", `${JSON.stringify(text)} is not ${expected}`, { object: text });
}

function ipv6Bytes(text: string): Buffer {
  const bytes = Buffer.alloc(16);
  let rest = text;
  const lastColon = rest.lastIndexOf(":");
  // A dotted tail stands for the last two groups (RFC 4291 section 2.2).
  if (rest.includes(".", lastColon)) {
    const tail = rest.slice(lastColon + 1).split(".");
    const high = (Number(tail[0]) << 8) | Number(tail[1]);
    const low = (Number(tail[2]) << 8) | Number(tail[3]);
    rest = `${rest.slice(0, lastColon + 1)}${high.toString(16)}:${low.toString(16)}`;
  }
  const [head = "", tail] = rest.split("::", 2);
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  front.forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  back.forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), 16 - (back.length - index) * 2));
  return bytes;
}

/** Bytes of an IPv4 or IPv6 address without a zone. Throws LINK_BAD_ADDRESS. */
export function addressBytes(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split(".").map(Number));
  if (isIPv6(text) && !text.includes("%")) return ipv6Bytes(text);
  throw badAddress(text, "an IPv4 or IPv6 address");
}

/** Family of an address by its length. */
export function familyOf(bytes: Uint8Array): Family {
  return bytes.length === 4 ? AF_INET : AF_INET6;
}

/** Bytes of `address/length`; a bare address has the whole length. Throws LINK_BAD_ADDRESS. */
export function parsePrefix(text: string): Prefix {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  if (match === null) throw badAddress(text, "an address with a prefix length such as 10.0.0.1/24");
  const bytes = addressBytes(match[1]!);
  const bits = bytes.length * 8;
  const length = match[2] === undefined ? bits : Number(match[2]);
  if (length > bits) throw badAddress(text, `a prefix: the length must not exceed ${bits}`);
  return { family: familyOf(bytes), bytes, length };
}

/** Canonical text of 4 or 16 address bytes (RFC 5952 for IPv6). */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) groups.push((bytes[index]! << 8) | bytes[index + 1]!);
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestStart === 0 && bestLength === 5 && groups[5] === 0xffff) return `::ffff:${bytes.slice(12).join(".")}`;
  if (bestStart < 0) return hex.join(":");
  return `${hex.slice(0, bestStart).join(":")}::${hex.slice(bestStart + bestLength).join(":")}`;
}

/** Bytes of a MAC address `aa:bb:cc:dd:ee:ff`. Throws LINK_BAD_ADDRESS. */
export function macBytes(text: string): Buffer {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text))
    throw badAddress(text, "a MAC address such as 0a:58:0a:f4:01:05");
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

/** Text of a hardware address, lower case. */
export function formatMac(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("hex")
    .replaceAll(/(..)(?=.)/g, "$1:");
}
