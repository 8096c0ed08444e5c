/**
 * Which end of a TCP connection is the server, as the kernels of this node's pods know it. Asked when conntrack met a
 * connection in the middle and the two directions of its pair are judged differently.
 */
import type { ListeningEnd, Question, TrackedPacket } from "@beyondfabric/datapath";
import type { Ip } from "@beyondfabric/packet";

export interface ListenersOptions {
  /** Path of the network namespace of the pod of this node that has the address. */
  readonly netnsOf: (address: Ip) => string | undefined;
  /** TCP ports on which somebody listens in a namespace; throws when it is gone. */
  readonly portsOf: (netns: string) => ReadonlySet<number>;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
}

/** What a pod listens on is asked again after so long (ms): a flood of odd packets must not cost a look each. */
const freshMilliseconds = 100;
const capacity = 512;

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #known = new Map<string, { readonly ports: ReadonlySet<number>; readonly until: number }>();

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** Undefined when neither end is a pod of this node, or its namespace is gone. */
  endOf({ source, destination }: Question, { connection }: TrackedPacket): ListeningEnd {
    const isForward = connection.source === source;
    const sourcePort = isForward ? connection.sourcePort : connection.destinationPort;
    const destinationPort = isForward ? connection.destinationPort : connection.sourcePort;
    for (const [end, address, port] of [
      ["source", source, sourcePort],
      ["destination", destination, destinationPort],
    ] as const) {
      const ports = this.#portsAt(address);
      // A local pod either waits on its port, or it opened the connection from there and the other end is the server.
      if (ports !== undefined && port !== undefined) {
        const other = end === "source" ? "destination" : "source";
        return ports.has(port) ? end : other;
      }
    }
    return undefined;
  }

  #portsAt(address: Ip): ReadonlySet<number> | undefined {
    const netns = this.#options.netnsOf(address);
    if (netns === undefined) return undefined;
    const now = this.#options.now();
    const known = this.#known.get(netns);
    if (known !== undefined && known.until > now) return known.ports;
    this.#known.delete(netns);
    try {
      const ports = this.#options.portsOf(netns);
      if (this.#known.size >= capacity) this.#known.clear();
      this.#known.set(netns, { ports, until: now + freshMilliseconds });
      return ports;
    } catch {
      return undefined;
    }
  }
}
