/**
 * Sends UDP frames to random addresses of the cluster and beyond from the namespace it runs in:
 * `node flood.ts INTERFACE PACKETS_PER_SECOND SECONDS`. Says how many it sent. At most 100,000 a second for a minute.
 */
import { networkInterfaces } from "node:os";
import { routerMac } from "@beyondfabric/datapath";
import { PacketSocket } from "@beyondfabric/link";
import { buildEthernet, buildIp, buildUdp } from "@beyondfabric/packet";

const [ifname = "eth0", rateText = "50000", secondsText = "5"] = process.argv.slice(2);
const rate = Math.min(100_000, Number(rateText));
const seconds = Math.min(60, Number(secondsText));
const own = networkInterfaces()[ifname]?.find(({ family }) => family === "IPv4");
if (own === undefined) throw new Error(`${ifname} has no IPv4 address`);

const batch = 64;
const destinationOffset = 14 + 16;

/** Frames whose destination is replaced before each send; the checksum of UDP is left out, which IPv4 allows. */
function template(): Buffer {
  const ip = buildIp(
    { src: own!.address, dst: "10.244.0.0", protocol: 17 },
    buildUdp({ src: own!.address, dst: "10.244.0.0", srcPort: 40000, dstPort: 9 }, Buffer.alloc(18)),
  );
  ip.writeUInt16BE(0, 26);
  return buildEthernet({ src: own!.mac, dst: routerMac, etherType: 0x0800 }, ip);
}

function aim(frame: Buffer): void {
  // Three of four go into the cluster's range, where every address must be looked up; the rest go anywhere.
  const inside = Math.random() < 0.75;
  const address = inside
    ? 0x0af40000 | Math.floor(Math.random() * 0x10000)
    : 0x0b000000 + Math.floor(Math.random() * 0x70000000);
  frame.writeUInt32BE(address >>> 0, destinationOffset);
  frame.writeUInt16BE(0, 24);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += frame.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, 24);
}

const frames = Array.from({ length: batch }, template);
using socket = PacketSocket.open({ ifname, etherType: 0, batch });
const started = performance.now();
let sent = 0;
while (performance.now() - started < seconds * 1000) {
  const due = ((performance.now() - started) / 1000) * rate;
  while (sent < due) {
    for (const frame of frames) aim(frame);
    sent += socket.send(frames);
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
}
console.log(`sent ${sent} packets in ${seconds} s`);
