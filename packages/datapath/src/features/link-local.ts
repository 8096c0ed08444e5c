/** The address that a kernel gives an interface by itself. */
import { ipFromBytes, macToBytes, type Ip, type Mac } from "@beyondfabric/packet";

/** The modified EUI-64 link-local address of a MAC (RFC 4291, appendix A). */
export function linkLocal(mac: Mac): Ip {
  const bytes = macToBytes(mac);
  const address = new Uint8Array(16);
  address.set([0xfe, 0x80], 0);
  address.set([bytes[0]! ^ 0x02, bytes[1]!, bytes[2]!, 0xff, 0xfe, bytes[3]!, bytes[4]!, bytes[5]!], 8);
  return ipFromBytes(address, 0, 6);
}
