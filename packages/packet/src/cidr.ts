/** Address prefixes (RFC 4632, RFC 4291 section 2.3) and arithmetic on them. */
import { AddressError } from "./errors.ts";
import { ipFamily, ipFromBigInt, ipFromBytes, ipToBigInt, ipToBytes, parseIp } from "./ip.ts";
import type { Ip, IpFamily } from "./ip.ts";

/** A prefix: `address` is its first address (host bits zero), `length` the number of leading bits that count. */
export interface Cidr {
  readonly family: IpFamily;
  readonly address: Ip;
  readonly length: number;
}

/** Bits of an address: 32 or 128. */
export function familyBits(family: IpFamily): number {
  return family === 4 ? 32 : 128;
}

/**
 * Reads `10.0.0.0/24`. Strict: a CIDR whose host bits are set is more often a mistake than a wish.
 * @throws AddressError naming the remedy.
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf("/");
  const lengthText = text.slice(slash + 1);
  if (slash < 0 || !/^(?:0|[1-9][0-9]{0,2})$/.test(lengthText)) {
    throw new AddressError(`${JSON.stringify(text)} is not a CIDR; write it like 10.0.0.0/24 or fd00::/64`);
  }
  let address: Ip;
  try {
    address = parseIp(text.slice(0, slash));
  } catch (cause) {
    throw new AddressError(`${JSON.stringify(text)} is not a CIDR; write it like 10.0.0.0/24 or fd00::/64`, { cause });
  }
  const family = ipFamily(address);
  const length = Number(lengthText);
  if (length > familyBits(family)) {
    throw new AddressError(
      `${JSON.stringify(text)}: an IPv${family} prefix is at most ${familyBits(family)} bits long`,
    );
  }
  const cidr = cidrOf(address, length);
  if (cidr.address !== address) {
    throw new AddressError(`${JSON.stringify(text)} has host bits set; write ${formatCidr(cidr)}`);
  }
  return cidr;
}

/** `address/length`, the inverse of {@link parseCidr}. */
export function formatCidr(cidr: Cidr): string {
  return `${cidr.address}/${cidr.length}`;
}

/** The prefix of `length` bits that contains the address. @throws AddressError when the length does not fit. */
export function cidrOf(ip: Ip, length: number): Cidr {
  const family = ipFamily(ip);
  if (!Number.isInteger(length) || length < 0 || length > familyBits(family)) {
    throw new AddressError(`${length} is not the length of an IPv${family} prefix (0 to ${familyBits(family)})`);
  }
  const bytes = ipToBytes(ip);
  maskBytes(bytes, length);
  return { family, address: ipFromBytes(bytes, 0, family), length };
}

/** Whether the address is in the prefix; never for an address of the other family. */
export function cidrContains(cidr: Cidr, ip: Ip): boolean {
  return cidr.family === ipFamily(ip) && commonBits(ipToBytes(cidr.address), ipToBytes(ip), cidr.length);
}

/** Whether every address of `inner` is in `outer`; a prefix contains itself. */
export function cidrContainsCidr(outer: Cidr, inner: Cidr): boolean {
  return outer.length <= inner.length && cidrContains(outer, inner.address);
}

/** Whether any address is in both, which is to say that one contains the other. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return cidrContainsCidr(a, b) || cidrContainsCidr(b, a);
}

/** The lowest address, the network address of IPv4. */
export function firstAddress(cidr: Cidr): Ip {
  return cidr.address;
}

/** The highest address, the broadcast address of IPv4. */
export function lastAddress(cidr: Cidr): Ip {
  return addressAt(cidr, cidrSize(cidr) - 1n);
}

/** How many addresses, the first and last included. */
export function cidrSize(cidr: Cidr): bigint {
  return 1n << BigInt(familyBits(cidr.family) - cidr.length);
}

/** The address `index` places after the first. @throws AddressError when that is outside of the prefix. */
export function addressAt(cidr: Cidr, index: bigint): Ip {
  if (index < 0n || index >= cidrSize(cidr)) {
    throw new AddressError(`index ${index} is outside of ${formatCidr(cidr)}, which has ${cidrSize(cidr)} addresses`);
  }
  return ipFromBigInt(ipToBigInt(cidr.address) + index, cidr.family);
}

/** The place of an address in the prefix. @throws AddressError when it is not in it. */
export function indexOf(cidr: Cidr, ip: Ip): bigint {
  if (!cidrContains(cidr, ip)) throw new AddressError(`${ip} is not in ${formatCidr(cidr)}`);
  return ipToBigInt(ip) - ipToBigInt(cidr.address);
}

function maskBytes(bytes: Uint8Array, length: number): void {
  for (let i = 0; i < bytes.length; i++) {
    const bits = Math.min(8, Math.max(0, length - i * 8));
    bytes[i] = bytes[i]! & (0xff00 >> bits);
  }
}

function commonBits(a: Uint8Array, b: Uint8Array, length: number): boolean {
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = length & 7;
  return rest === 0 || ((a[whole]! ^ b[whole]!) & (0xff00 >> rest) & 0xff) === 0;
}
