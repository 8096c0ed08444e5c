/**
 * Sends forged VXLAN packets, as any machine on the wire could: `node forge.ts NODE VNI SOURCE DESTINATION COUNT [TEXT]` puts
 * UDP datagrams "from" SOURCE to port 7000 of DESTINATION into a tunnel towards NODE.
 */
import { createSocket } from "node:dgram";
import { routerMac } from "@beyondfabric/datapath";
import { buildEthernet, buildIp, buildUdp, etherType } from "@beyondfabric/packet";

const [node = "", vni = "1", source = "", destination = "", count = "10", text = "forged"] = process.argv.slice(2);
const udp = buildUdp({ src: source, dst: destination, srcPort: 4000, dstPort: 7000 }, Buffer.from(`${text}\n`));
const inner = buildEthernet(
  { src: routerMac, dst: routerMac, etherType: source.includes(":") ? etherType.ipv6 : etherType.ipv4 },
  buildIp({ src: source, dst: destination, protocol: 17 }, udp),
);
const header = Buffer.alloc(8);
header.writeUInt32BE(0x0800_0000, 0);
header.writeUInt32BE(Number(vni) << 8, 4);
const socket = createSocket("udp4");
for (let index = 0; index < Math.min(1000, Number(count)); index++) {
  await new Promise<void>((resolve, reject) => {
    socket.send(Buffer.concat([header, inner]), 4789, node, (error) => (error === null ? resolve() : reject(error)));
  });
}
socket.close();
console.log(`sent ${count} to ${node}`);
