/** A DHCP server that offers one address to whoever discovers: `node dhcp-responder.ts SERVER OFFERED`. */
import { createSocket } from "node:dgram";

const [server = "", offered = ""] = process.argv.slice(2);
const bytesOf = (address: string): number[] => address.split(".").map(Number);
const options = 240;

const socket = createSocket({ type: "udp4", reuseAddr: true });
socket.on("message", (discover) => {
  if (discover.length < options || discover[0] !== 1) return;
  const offer = Buffer.alloc(300);
  discover.copy(offer, 0, 0, 44);
  offer[0] = 2;
  offer.set(bytesOf(offered), 16);
  offer.set([0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, ...bytesOf(server), 255], options - 4);
  socket.send(offer, 68, "255.255.255.255");
});
socket.bind(67, () => {
  socket.setBroadcast(true);
  console.log("listening");
});
