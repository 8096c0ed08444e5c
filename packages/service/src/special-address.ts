/** Addresses that no packet to another machine can carry, and that therefore stand for no Service and no endpoint. */
import { ipToBytes, type Ip } from "@beyondfabric/packet";

/**
 * What kind of special address it is; undefined for an ordinary one. These are what the API server refuses in endpoints
 * and external addresses, and what is no better: limited broadcast, all of multicast, and the IPv6 spelling of IPv4
 * addresses (RFC 4291 section 2.5.5.2), which would bring the others back in.
 */
export function specialAddress(address: Ip): string | undefined {
  const bytes = ipToBytes(address);
  const [first, second] = [bytes[0]!, bytes[1]!];
  if (bytes.length === 4) {
    if (first === 0) return "unspecified";
    if (first === 127) return "loopback";
    if (first === 169 && second === 254) return "link-local";
    if (first >= 224 && first < 240) return "multicast";
    return bytes.every((byte) => byte === 255) ? "broadcast" : undefined;
  }
  if (first === 0xff) return "multicast";
  if (first === 0xfe && (second & 0xc0) === 0x80) return "link-local";
  if (bytes.subarray(0, 10).some((byte) => byte !== 0)) return undefined;
  if (bytes[10] === 0xff && bytes[11] === 0xff) return "IPv4-mapped";
  if (bytes.subarray(10, 15).some((byte) => byte !== 0)) return undefined;
  return bytes[15] === 0 ? "unspecified" : bytes[15] === 1 ? "loopback" : undefined;
}
