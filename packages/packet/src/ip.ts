/**
 * IPv4 and IPv6 addresses as canonical text, so that an address is a map key and compares with `===`: IPv4 dotted, IPv6
 * after RFC 5952 (an IPv4-mapped address keeps its dotted tail, RFC 5952 section 5).
 */
import { AddressError } from "./errors.ts";

/** Canonical text of an IPv4 or IPv6 address, without zone or length. */
export type Ip = string;
/** The version of IP. */
export type IpFamily = 4 | 6;

const DEC: readonly string[] = Array.from({ length: 256 }, (_, byte) => String(byte));
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16));
const HEX2: readonly string[] = HEX.map((text) => text.padStart(2, "0"));

const COLON = 58;
const DOT = 46;

/**
 * Canonical text of an address.
 * @throws AddressError when it is neither IPv4 (four decimals without leading zeros) nor IPv6 (RFC 4291 section 2.2).
 *   Zones (`%eth0`) and lengths (`/24`) are refused.
 */
export function parseIp(text: string): Ip {
  const bytes = tryParse(text);
  if (bytes === undefined) {
    throw new AddressError(`${JSON.stringify(text)} is not an IP address; write it like 10.0.0.5 or fd00::5`);
  }
  return ipFromBytes(bytes, 0, bytes.length === 4 ? 4 : 6);
}

/** Whether the text is an IPv4 or IPv6 address, canonical or not. */
export function isIp(text: string): boolean {
  return tryParse(text) !== undefined;
}

/** The family of an address that is known to be one: told by its colon. */
export function ipFamily(ip: Ip): IpFamily {
  return ip.includes(":") ? 6 : 4;
}

/** 4 or 16 bytes in network order. @throws AddressError when it is no address. */
export function ipToBytes(ip: Ip): Uint8Array {
  const bytes = tryParse(ip);
  if (bytes === undefined) throw new AddressError(`${JSON.stringify(ip)} is not an IP address`);
  return bytes;
}

/** Canonical text of the 4 or 16 bytes at `offset`. @throws AddressError when they are not all there. */
export function ipFromBytes(bytes: Uint8Array, offset: number, family: IpFamily): Ip {
  const size = family === 4 ? 4 : 16;
  if (offset < 0 || offset + size > bytes.length) {
    throw new AddressError(
      `an IPv${family} address needs ${size} bytes at offset ${offset}, the buffer has ${bytes.length}`,
    );
  }
  if (family === 4) return ipv4Text(bytes, offset);
  return ipv6Text(bytes, offset);
}

/** The address as an unsigned integer of 32 or 128 bits. */
export function ipToBigInt(ip: Ip): bigint {
  const bytes = ipToBytes(ip);
  if (bytes.length === 4) return BigInt(((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

/** @throws AddressError when the value does not fit the family. */
export function ipFromBigInt(value: bigint, family: IpFamily): Ip {
  const bits = family === 4 ? 32n : 128n;
  if (value < 0n || value >> bits !== 0n) throw new AddressError(`${value} is not an unsigned ${bits}-bit integer`);
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  const view = new DataView(bytes.buffer);
  if (family === 4) {
    view.setUint32(0, Number(value));
  } else {
    view.setBigUint64(0, value >> 64n);
    view.setBigUint64(8, value & 0xffff_ffff_ffff_ffffn);
  }
  return ipFromBytes(bytes, 0, family);
}

/** Order for sorting: IPv4 before IPv6, then by value. */
export function compareIps(a: Ip, b: Ip): number {
  const left = ipToBytes(a);
  const right = ipToBytes(b);
  if (left.length !== right.length) return left.length - right.length;
  for (let i = 0; i < left.length; i++) {
    if (left[i] !== right[i]) return left[i]! - right[i]!;
  }
  return 0;
}

/**
 * The address as part of a Kubernetes object name, which allows neither dots' meaning nor colons: IPv4 octets joined by
 * `-`, IPv6 as eight groups of four digits joined by `-`, so that an address has exactly one name.
 */
export function ipToObjectName(ip: Ip): string {
  const bytes = ipToBytes(ip);
  if (bytes.length === 4) return bytes.join("-");
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(HEX2[bytes[i]!]! + HEX2[bytes[i + 1]!]!);
  return groups.join("-");
}

/** The inverse of {@link ipToObjectName}. @throws AddressError when the name is not one it gives. */
export function ipFromObjectName(name: string): Ip {
  const ip = name.split("-").length === 4 ? tryParse(name.replaceAll("-", ".")) : undefined;
  const bytes = ip ?? (/^[0-9a-f]{4}(?:-[0-9a-f]{4}){7}$/.test(name) ? tryParse(name.replaceAll("-", ":")) : undefined);
  if (bytes === undefined) {
    throw new AddressError(`${JSON.stringify(name)} is not the object name of an address, such as 10-0-0-5`);
  }
  return ipFromBytes(bytes, 0, bytes.length === 4 ? 4 : 6);
}

function ipv4Text(bytes: Uint8Array, at: number): string {
  return `${DEC[bytes[at]!]}.${DEC[bytes[at + 1]!]}.${DEC[bytes[at + 2]!]}.${DEC[bytes[at + 3]!]}`;
}

function ipv6Text(bytes: Uint8Array, at: number): string {
  // The longest run of zero groups, the first of equals (RFC 5952 section 4.2); a single group is not shortened.
  let bestStart = -1;
  let bestLength = 1;
  let start = -1;
  for (let group = 0; group < 8; group++) {
    if (bytes[at + group * 2] === 0 && bytes[at + group * 2 + 1] === 0) {
      if (start < 0) start = group;
      if (group - start + 1 > bestLength) {
        bestStart = start;
        bestLength = group - start + 1;
      }
    } else {
      start = -1;
    }
  }
  if (bestStart === 0 && bestLength === 5 && bytes[at + 10] === 0xff && bytes[at + 11] === 0xff) {
    return `::ffff:${ipv4Text(bytes, at + 12)}`;
  }
  let text = "";
  for (let group = 0; group < 8; group++) {
    if (group === bestStart) {
      text += "::";
      group += bestLength - 1;
      continue;
    }
    if (group > 0 && group !== bestStart + bestLength) text += ":";
    else if (group > 0 && bestStart < 0) text += ":";
    const high = bytes[at + group * 2]!;
    const low = bytes[at + group * 2 + 1]!;
    text += high === 0 ? HEX[low]! : HEX[high]! + HEX2[low]!;
  }
  return text;
}

function tryParse(text: string): Uint8Array | undefined {
  if (text.length < 2 || text.length > 45) return undefined;
  if (text.includes(":")) {
    const bytes = new Uint8Array(16);
    return parseV6(text, bytes) ? bytes : undefined;
  }
  const bytes = new Uint8Array(4);
  return parseV4(text, 0, bytes, 0) ? bytes : undefined;
}

function parseV4(text: string, from: number, bytes: Uint8Array, at: number): boolean {
  let octet = 0;
  let digits = 0;
  let count = 0;
  for (let i = from; i <= text.length; i++) {
    const char = i < text.length ? text.charCodeAt(i) : DOT;
    if (char === DOT) {
      if (digits === 0 || count === 4) return false;
      bytes[at + count++] = octet;
      octet = 0;
      digits = 0;
      continue;
    }
    if (char < 48 || char > 57) return false;
    if (digits > 0 && octet === 0) return false;
    octet = octet * 10 + char - 48;
    digits++;
    if (octet > 255) return false;
  }
  return count === 4;
}

function hexValue(char: number): number {
  if (char >= 48 && char <= 57) return char - 48;
  const lower = char | 32;
  if (lower >= 97 && lower <= 102) return lower - 87;
  return -1;
}

function parseV6(text: string, bytes: Uint8Array): boolean {
  let group = 0;
  let gap = -1;
  let i = 0;
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false;
    gap = 0;
    i = 2;
  }
  while (i < text.length) {
    if (group === 8) return false;
    const startOfGroup = i;
    let value = 0;
    let digits = 0;
    let char = 0;
    for (; i < text.length; i++) {
      char = text.charCodeAt(i);
      const digit = hexValue(char);
      if (digit < 0) break;
      value = (value << 4) | digit;
      if (++digits > 4) return false;
    }
    if (i < text.length && char === DOT) {
      if (group > 6 || !parseV4(text, startOfGroup, bytes, group * 2)) return false;
      group += 2;
      break;
    }
    if (digits === 0) return false;
    bytes[group * 2] = value >> 8;
    bytes[group * 2 + 1] = value & 0xff;
    group++;
    if (i === text.length) break;
    if (char !== COLON) return false;
    i++;
    if (i === text.length) return false;
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false;
      gap = group;
      i++;
    }
  }
  if (gap < 0) return group === 8;
  if (group > 7) return false;
  const tail = (group - gap) * 2;
  bytes.copyWithin(16 - tail, gap * 2, gap * 2 + tail);
  bytes.fill(0, gap * 2, 16 - tail);
  return true;
}
