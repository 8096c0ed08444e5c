/**
 * One pod of the model, as a program: `peer.ts serve` answers on every service, `peer.ts probe` tries addresses given as
 * JSON on its standard input and prints which answered, one line of JSON.
 */
import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { ports } from "./network-policy.ts";

export interface Probe {
  readonly address: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
}

function serve(): void {
  for (const port of ports) {
    createServer((socket) => socket.on("error", () => {}).end("here")).listen(port, "::");
    const socket = createSocket("udp6");
    socket.on("message", (_, { address, port: from }) => socket.send("here", from, address));
    socket.bind(port, "::");
  }
}

function answers({ address, port, protocol }: Probe, milliseconds: number): Promise<boolean> {
  return new Promise((resolve) => {
    if (protocol === "TCP") {
      const socket = connect({ host: address, port });
      const done = (reached: boolean): void => {
        socket.destroy();
        resolve(reached);
      };
      socket.setTimeout(milliseconds, () => done(false));
      socket.once("data", () => done(true));
      socket.once("error", () => done(false));
      return;
    }
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    const timer = setTimeout(() => done(false), milliseconds);
    const done = (reached: boolean): void => {
      clearTimeout(timer);
      socket.close();
      resolve(reached);
    };
    socket.once("message", () => done(true));
    socket.once("error", () => done(false));
    socket.send("who", port, address);
  });
}

async function probe(): Promise<void> {
  const milliseconds = Number(process.argv[4] ?? 1000);
  const probes = JSON.parse(process.argv[3] ?? "[]") as Probe[];
  console.log(JSON.stringify(await Promise.all(probes.map((each) => answers(each, milliseconds)))));
}

if (process.argv[2] === "serve") serve();
else if (process.argv[2] === "probe") await probe();
