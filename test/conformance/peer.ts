/**
 * One pod of the model, as a program: `peer.ts PATH` answers on every service, and tries addresses on behalf of whoever
 * connects to the socket at PATH: pods of the lab share the host's files.
 */
import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { ports } from "./network-policy.ts";

export interface Probe {
  readonly address: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
  /** Length of what is said over UDP (bytes); the answer is as long. */
  readonly bytes?: number;
}

export interface Order {
  readonly probes: readonly Probe[];
  /** How long an answer may take (ms). */
  readonly milliseconds: number;
}

function serve(): void {
  for (const port of ports) {
    createServer((socket) => socket.on("error", () => {}).end("here")).listen(port, "::");
    const socket = createSocket("udp6");
    socket.on("message", (said, { address, port: from }) => socket.send(said, from, address));
    socket.bind(port, "::");
  }
}

function answers({ address, port, protocol, bytes = 4 }: Probe, milliseconds: number): Promise<boolean> {
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
    socket.once("message", (said) => done(said.length === bytes));
    socket.once("error", () => done(false));
    socket.send(Buffer.alloc(bytes, "who "), port, address);
  });
}

/** Takes lists of probes, a line of JSON each, and answers each with a line that says which of them were answered. */
function takeOrders(path: string): void {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    createInterface({ input: socket }).on("line", (line) => {
      const { probes, milliseconds } = JSON.parse(line) as Order;
      void Promise.all(probes.map((each) => answers(each, milliseconds))).then((reached) =>
        socket.write(`${JSON.stringify(reached)}\n`),
      );
    });
  });
  server.listen(path);
}

/** Has the pod whose socket this is try addresses; says which of them answered in time. */
export async function probe(path: string, order: Order): Promise<boolean[]> {
  const socket = connect({ path });
  try {
    socket.write(`${JSON.stringify(order)}\n`);
    for await (const line of createInterface({ input: socket })) return JSON.parse(line) as boolean[];
    throw new Error(`${path} was closed without an answer`);
  } finally {
    socket.destroy();
  }
}

if (import.meta.main) {
  serve();
  takeOrders(process.argv[2]!);
}
