/**
 * Keeps the userspace datapath's own neighbour table filled for the nodes that this node sends to. That datapath drops
 * a packet whose tunnel's next hop it has not learned, and it learns only from ARP and ND replies that pass by. So the
 * node's kernel is made to ask (an empty datagram to the discard port is enough), the switch is told what the kernel
 * knows (the kernel may have learned it from the other side's question, and then asks nothing itself), and packets are
 * held until then. With the kernel datapath none of this is needed: the kernel queues.
 */
import { createSocket, type Socket } from "node:dgram";
import { isIp, type Ip, type Mac } from "@beyondfabric/packet";
import type { TunnelGate } from "../reactor/options.ts";
import { AgentError } from "../errors.ts";
import { unixctl } from "./unixctl.ts";

export interface TunnelNeighboursOptions {
  readonly runDirectory: string;
  /** The MAC that the node's kernel knows for a neighbour on an interface. */
  readonly kernelNeighbour: (dev: string, address: Ip) => Promise<Mac | undefined>;
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
      for (const destination of Array.from(this.#asking.keys())) {
        try {
          await this.#look(destination);
        } catch (error) {
          // One that has no route must not take the others with it; the next packet asks again.
          this.#asking.delete(destination);
          this.#options.onError(error);
        }
      }
      const oldest = Math.min(...this.#asking.values());
      const pause = Date.now() - oldest < patienceMilliseconds ? pollMilliseconds : 50;
      if (this.#asking.size > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.#polling = false;
  }

  async #look(destination: Ip): Promise<void> {
    const since = this.#asking.get(destination);
    if (since === undefined) return;
    const { dev, hop } = parseRoute(await this.#ctl("ovs/route/lookup", destination), destination);
    const mac = await this.#options.kernelNeighbour(dev, hop);
    if (mac !== undefined) await this.#ctl("tnl/neigh/set", dev, hop, mac);
    if (mac !== undefined || parseNeighbours(await this.#ctl("tnl/neigh/show")).has(hop)) {
      this.#asking.delete(destination);
      this.#known.set(destination, Date.now());
      this.#options.onReady(destination);
    } else if (Date.now() - since >= attemptMilliseconds) {
      this.#asking.delete(destination);
    }
  }

  #ctl(method: string, ...params: string[]): Promise<string> {
    return unixctl({ runDirectory: this.#options.runDirectory }, method, params);
  }
}

/**
 * The text of `ovs/route/lookup`: lines `src`, `gateway` (`::` for none) and `dev`.
 * @throws AgentError `AGENT_SWITCH_CONTROL` when there is no way there
 */
export function parseRoute(text: string, destination: Ip): { dev: string; hop: Ip } {
  const fields = new Map(text.split("\n").map((line) => line.split(" ", 2) as [string, string | undefined]));
  const dev = fields.get("dev");
  const gateway = fields.get("gateway") ?? "::";
  if (dev === undefined) {
    throw new AgentError("AGENT_SWITCH_CONTROL", `the switch knows no route to ${destination}: ${text.trim()}`);
  }
  return { dev, hop: isIp(gateway) && gateway !== "::" && gateway !== "0.0.0.0" ? gateway : destination };
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
