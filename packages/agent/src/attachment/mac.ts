/** MACs of pods: made of the address, so that the same address keeps its MAC wherever it goes. */
import { createHash } from "node:crypto";
import { ipFamily, ipToBytes, macFromBytes, type Ip, type Mac } from "@beyondfabric/packet";

/** Locally administered, unicast. An IPv4 address fits whole; of an IPv6 address a digest does. */
export function macOf(address: Ip): Mac {
  const bytes = new Uint8Array(6);
  if (ipFamily(address) === 4) {
    bytes.set([0x0a, 0x58]);
    bytes.set(ipToBytes(address), 2);
  } else {
    bytes.set([0x0a, 0x59]);
    bytes.set(createHash("sha256").update(ipToBytes(address)).digest().subarray(0, 4), 2);
  }
  return macFromBytes(bytes, 0);
}
