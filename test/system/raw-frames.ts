/** Puts frames out of an interface as they are given: `node raw-frames.ts INTERFACE HEX...`, Ethernet header first. */
import { setTimeout } from "node:timers/promises";
import { sendFrame } from "@beyondfabric/link";

const [ifname = "", ...frames] = process.argv.slice(2);
for (const frame of frames) {
  sendFrame(undefined, ifname, Buffer.from(frame, "hex"));
  // Slower than the switch shows them to its agent.
  await setTimeout(30);
}
console.log(`sent ${frames.length}`);
