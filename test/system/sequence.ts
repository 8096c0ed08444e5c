/**
 * Traffic whose every packet is counted, as a program in a pod. `sequence.ts receive PORT...` listens for UDP and TCP on
 * each port, both families. `sequence.ts send ID ADDRESS PORT` sends numbered datagrams from one socket and from new ones,
 * numbered lines on one connection that lasts, and one line on each of many new connections. Either ends when its standard
 * input does, and prints what it counted as its last line, one of JSON.
 */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

/** What a sender's packets are counted by: datagrams of one socket, datagrams of new sockets, lines likewise. */
export type Kind = "datagrams" | "new datagrams" | "lines" | "new lines";
export const kinds: readonly Kind[] = ["datagrams", "new datagrams", "lines", "new lines"];

export interface SenderReport {
  readonly sent: Readonly<Record<Kind, number>>;
  /** Why the connection that lasts ended before its time; empty when it did not. */
  readonly broken: string;
  /** New connections that did not come about. */
  readonly refused: number;
}

export interface ReceiverReport {
  /** `ID KIND` to how many different numbers came, and how many came twice. */
  readonly heard: Readonly<Record<string, { readonly different: number; readonly again: number }>>;
  /** Datagrams for which a socket had no room: nobody's fault but the receiver's. */
  readonly overflow: number;
}

const steadyMilliseconds = 20;
const freshMilliseconds = 100;
const connectMilliseconds = 250;
/** A new connection that stands after so long is none (ms): a lost SYN comes again after a second. */
const patienceMilliseconds = 10_000;

function ended(): Promise<void> {
  return new Promise((done) => {
    process.stdin.resume().once("end", done);
  });
}

async function receive(ports: readonly number[]): Promise<void> {
  const heard = new Map<string, { numbers: Set<string>; again: number }>();
  const hear = (text: string): void => {
    const [id = "", kind = "", number = ""] = text.split("|");
    const key = `${id} ${kind}`;
    const entry = heard.get(key) ?? { numbers: new Set<string>(), again: 0 };
    heard.set(key, entry);
    if (entry.numbers.has(number)) entry.again++;
    else entry.numbers.add(number);
  };
  for (const port of ports) {
    for (const family of ["udp4", "udp6"] as const) {
      const socket = createSocket({ type: family, ipv6Only: family === "udp6", recvBufferSize: 1 << 20 });
      socket.on("message", (message) => hear(message.toString()));
      socket.bind(port);
    }
    createServer((socket) => {
      let rest = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        lines.forEach(hear);
        // The sender of a new connection waits for the answer to its only line.
        socket.write("heard\n");
      });
      socket.on("error", () => {});
    }).listen(port, "::");
  }
  console.log("ready");
  await ended();
  const report: ReceiverReport = {
    heard: Object.fromEntries([...heard].map(([key, { numbers, again }]) => [key, { different: numbers.size, again }])),
    overflow: overflow(ports),
  };
  console.log(JSON.stringify(report));
  process.exit(0);
}

/** The last column of the kernel's list of sockets. */
function overflow(ports: readonly number[]): number {
  let sum = 0;
  for (const file of ["udp", "udp6"]) {
    for (const line of readFileSync(`/proc/self/net/${file}`, "utf8").trim().split("\n").slice(1)) {
      const columns = line.trim().split(/\s+/);
      if (ports.includes(Number.parseInt(columns[1]!.split(":").at(-1)!, 16))) sum += Number(columns.at(-1));
    }
  }
  return sum;
}

async function send(id: string, address: string, port: number): Promise<void> {
  const sent: Record<Kind, number> = { datagrams: 0, "new datagrams": 0, lines: 0, "new lines": 0 };
  let broken = "";
  let refused = 0;
  let stopping = false;
  const text = (kind: Kind): string => `${id}|${kind}|${++sent[kind]}`;
  const newSocket = (): DatagramSocket => createSocket(address.includes(":") ? "udp6" : "udp4").on("error", () => {});
  const steady = newSocket();
  const lasting: Socket = connect({ host: address, port, noDelay: true });
  const breaks = (why: string): void => {
    if (!stopping && broken === "") broken = why;
  };
  lasting.on("error", ({ message }) => breaks(message));
  lasting.on("close", () => breaks("closed"));
  lasting.resume();
  const pending = new Set<Promise<void>>();
  const timers = [
    setInterval(() => {
      steady.send(text("datagrams"), port, address);
      if (!lasting.connecting && broken === "") lasting.write(`${text("lines")}\n`);
    }, steadyMilliseconds),
    setInterval(() => {
      const socket = newSocket();
      socket.send(text("new datagrams"), port, address, () => socket.close());
    }, freshMilliseconds),
    setInterval(() => {
      const task = sayOnce(address, port, () => text("new lines")).then((isHeard) => {
        if (!isHeard) refused++;
        pending.delete(task);
      });
      pending.add(task);
    }, connectMilliseconds),
  ];
  console.log("ready");
  await ended();
  stopping = true;
  for (const timer of timers) clearInterval(timer);
  if (lasting.connecting) broken = "never stood";
  lasting.end();
  await Promise.all(pending);
  const report: SenderReport = { sent, broken, refused };
  console.log(JSON.stringify(report));
  process.exit(0);
}

/** One line on a connection of its own. The line is made once the connection stands. */
function sayOnce(host: string, port: number, line: () => string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (isHeard: boolean): void => {
      clearTimeout(patience);
      socket.destroy();
      resolve(isHeard);
    };
    const patience = setTimeout(() => done(false), patienceMilliseconds);
    socket.once("connect", () => socket.write(`${line()}\n`));
    socket.once("data", () => done(true));
    socket.once("error", () => done(false));
    socket.once("end", () => done(false));
  });
}

if (import.meta.main) {
  const [verb, ...rest] = process.argv.slice(2);
  if (verb === "receive") await receive(rest.map(Number));
  else await send(rest[0]!, rest[1]!, Number(rest[2]));
}
