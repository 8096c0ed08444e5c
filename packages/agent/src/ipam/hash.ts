/** The one hash that nodes must agree on: who looks after what is decided by it, so it may never change. */
import { hash } from "node:crypto";

/** SHA-256 of the UTF-8 bytes in hexadecimal; hexadecimal digests order as the numbers that they write. */
export function digest(text: string): string {
  return hash("sha256", text, "hex");
}

/** The first 64 bits of the digest as a number. */
export function hash64(text: string): bigint {
  return BigInt(`0x${digest(text).slice(0, 16)}`);
}
