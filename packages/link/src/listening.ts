/**
 * The TCP ports on which anybody listens in a network namespace. The kernel lists listening sockets before all others
 * (`/proc/net/tcp`, state 0A), so a namespace with many connections is not read to its end.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { withNamespace } from "./namespace.ts";

const tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
const listening = "0A";
const pageBytes = 16 << 10;

/** Throws LINK_NO_NAMESPACE when the path leads to none. A namespace without one of the families has no such sockets. */
export function listeningPorts(netns: string): Set<number> {
  return withNamespace(netns, () => new Set(tables.flatMap(readTable)));
}

function readTable(path: string): number[] {
  const ports: number[] = [];
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return ports;
    throw error;
  }
  try {
    const page = Buffer.alloc(pageBytes);
    let rest = "";
    for (let first = true; ;) {
      const length = readSync(descriptor, page);
      if (length === 0) return ports;
      const lines = (rest + page.toString("latin1", 0, length)).split("\n");
      rest = lines.pop() ?? "";
      if (first) lines.shift();
      first = false;
      for (const line of lines) {
        const port = listeningPort(line);
        if (port === undefined) return ports;
        ports.push(port);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** The local port of a line such as `0: 00000000:1F90 00000000:0000 0A ...`; undefined when it does not listen. */
function listeningPort(line: string): number | undefined {
  const [, local = "", , state] = line.trim().split(/\s+/);
  return state === listening ? Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16) : undefined;
}
