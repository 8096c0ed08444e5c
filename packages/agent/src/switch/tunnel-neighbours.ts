/**
 * Keeps the userspace datapath's own neighbour table filled for the nodes that this node sends to. That datapath drops
 * a packet whose tunnel's next hop it has not learned, and it learns only from ARP and ND replies that pass by. So the
 * node's kernel is made to ask (an empty datagram to the discard port is enough), and packets are held until the
 * switch has seen the answer. With the kernel datapath none of this is needed: the kernel queues.
 */
import { createSocket, type Socket } from "node:dgram";
import type { Ip } from "@beyondfabric/packet";
import type { TunnelGate } from "../reactor/reactor.ts";
import { unixctl } from "./unixctl.ts";

export interface TunnelNeighboursOptions {
  readonly runDirectory: string;
  readonly onReady: (destination: Ip) => void;
  readonly onError: (error: unknown) => void;
}

const discardPort = 9;
/** The switch forgets a neighbour after 15 minutes; what is in use is asked for again well before (ms). */
const refreshMilliseconds = 5 * 60_000;
const pollMilliseconds = 2;
/** After this long (ms) polls become rare; after the second figure the attempt ends and the next packet begins another. */
const patienceMilliseconds = 100;
const attemptMilliseconds = 3000;

export class TunnelNeighbours implements TunnelGate {
  readonly #options: TunnelNeighboursOptions;
  /** When each neighbour was last seen in the switch (ms). */
  readonly #known = new Map<Ip, number>();
  readonly #asking = new Map<Ip, number>();
  #socket: Socket | undefined;
  #polling = false;
  #stopped = false;

  constructor(options: TunnelNeighboursOptions) {
    this.#options = options;
  }

  ready(destination: Ip): boolean {
    const since = this.#known.get(destination);
    if (since !== undefined && Date.now() - since < 2 * refreshMilliseconds) return true;
    this.#ask(destination);
    return false;
  }

  /** Asks again for what is in use and was not seen for a while. To be called every minute or so. */
  refresh(inUse: Iterable<Ip>): void {
    const now = Date.now();
    for (const destination of inUse) {
      if (now - (this.#known.get(destination) ?? 0) >= refreshMilliseconds) this.#ask(destination);
    }
  }

  /** The switch restarted: it has forgotten everybody. */
  forgetAll(inUse: Iterable<Ip>): void {
    this.#known.clear();
    for (const destination of inUse) this.#ask(destination);
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.close();
    this.#socket = undefined;
  }

  #ask(destination: Ip): void {
    if (this.#stopped) return;
    if (!this.#asking.has(destination)) this.#asking.set(destination, Date.now());
    this.#provoke(destination);
    if (!this.#polling) {
      this.#polling = true;
      void this.#poll();
    }
  }

  #provoke(destination: Ip): void {
    if (this.#socket === undefined) {
      this.#socket = createSocket("udp4");
      this.#socket.on("error", (error) => this.#options.onError(error));
      this.#socket.unref();
    }
    this.#socket.send(new Uint8Array(0), discardPort, destination, (error) => {
      if (error !== null) this.#options.onError(error);
    });
  }

  async #poll(): Promise<void> {
    while (this.#asking.size > 0 && !this.#stopped) {
      try {
        this.#settle(parseNeighbours(await unixctl({ runDirectory: this.#options.runDirectory }, "tnl/neigh/show")));
      } catch (error) {
        this.#options.onError(error);
        this.#asking.clear();
        break;
      }
      const oldest = Math.min(...this.#asking.values());
      const pause = Date.now() - oldest < patienceMilliseconds ? pollMilliseconds : 50;
      if (this.#asking.size > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.#polling = false;
  }

  #settle(neighbours: ReadonlySet<Ip>): void {
    const now = Date.now();
    for (const [destination, since] of this.#asking) {
      if (neighbours.has(destination)) {
        this.#asking.delete(destination);
        this.#known.set(destination, now);
        this.#options.onReady(destination);
      } else if (now - since >= attemptMilliseconds) {
        this.#asking.delete(destination);
      }
    }
  }
}

/** The addresses in the text of `tnl/neigh/show`: a heading, a rule, then one line per neighbour that begins with it. */
export function parseNeighbours(text: string): Set<Ip> {
  const found = new Set<Ip>();
  for (const line of text.split("\n").slice(2)) {
    const address = line.split(/\s+/, 1)[0];
    if (address !== undefined && address !== "") found.add(address);
  }
  return found;
}
