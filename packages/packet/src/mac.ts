/** Ethernet addresses (IEEE 802 EUI-48). The canonical text is six lower-case hex pairs joined by colons. */
import { AddressError } from "./errors.ts";

/** Canonical text of a MAC address: `aa:bb:cc:dd:ee:ff`. */
export type Mac = string;

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

/** Two lower-case hex digits for each byte value. */
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** @throws AddressError when the text is not six hex pairs joined by colons. Upper case is accepted and lowered. */
export function parseMac(text: string): Mac {
  if (!MAC.test(text)) {
    throw new AddressError(
      `${JSON.stringify(text)} is not a MAC address; write six hex pairs joined by colons, such as 0a:58:00:00:00:01`,
    );
  }
  return text.toLowerCase();
}

/** Whether the text is a MAC address, canonical or with upper-case digits. */
export function isMac(text: string): boolean {
  return MAC.test(text);
}

/** The six bytes, in the order of transmission. */
export function macToBytes(mac: Mac): Uint8Array {
  const canonical = parseMac(mac);
  const bytes = new Uint8Array(6);
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(canonical.slice(i * 3, i * 3 + 2), 16);
  return bytes;
}

/** @throws AddressError when fewer than six bytes follow `offset`. */
export function macFromBytes(bytes: Uint8Array, offset = 0): Mac {
  if (offset < 0 || offset + 6 > bytes.length) {
    throw new AddressError(`a MAC address needs 6 bytes at offset ${offset}, the buffer has ${bytes.length}`);
  }
  return `${HEX[bytes[offset]!]}:${HEX[bytes[offset + 1]!]}:${HEX[bytes[offset + 2]!]}:${HEX[bytes[offset + 3]!]}:${HEX[bytes[offset + 4]!]}:${HEX[bytes[offset + 5]!]}`;
}

/** The address as an unsigned 48-bit integer, as a match field carries it. */
export function macToBigInt(mac: Mac): bigint {
  return BigInt(`0x${parseMac(mac).replaceAll(":", "")}`);
}

/** @throws AddressError when the value is not an unsigned 48-bit integer. */
export function macFromBigInt(value: bigint): Mac {
  if (value < 0n || value >> 48n !== 0n) throw new AddressError(`${value} is not an unsigned 48-bit integer`);
  return value
    .toString(16)
    .padStart(12, "0")
    .replaceAll(/(..)(?=.)/g, "$1:");
}
