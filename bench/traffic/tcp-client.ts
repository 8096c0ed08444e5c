/**
 * Measures TCP from inside a network namespace. Its argument is a `ClientOrder` as JSON; prints a `ClientReport`.
 */
import { monotonicNow } from "./libc.ts";
import { closeConnection, connectTo, receiveSome, resetConnection, sendAll } from "./tcp-socket.ts";

/** What to do: one connection to each peer, `rounds` times over, or `exchanges` single bytes there and back with the first. */
export interface ClientOrder {
  readonly peers: readonly string[];
  readonly port: number;
  readonly rounds: number;
  readonly exchanges: number;
  /** Milliseconds between two connections. */
  readonly pause: number;
}

/** Times in milliseconds. `connects[r]` are those of round r, in the order of the peers. */
export interface ClientReport {
  readonly connects: readonly (readonly number[])[];
  readonly exchanges: readonly number[];
}

async function main(order: ClientOrder): Promise<void> {
  const connects: number[][] = [];
  for (let round = 0; round < order.rounds; round++) {
    const times: number[] = [];
    for (const peer of order.peers) {
      const { descriptor, milliseconds } = connectTo(peer, order.port);
      times.push(milliseconds);
      resetConnection(descriptor);
      await new Promise((resolve) => setTimeout(resolve, order.pause));
    }
    connects.push(times);
  }
  const exchanges: number[] = [];
  if (order.exchanges > 0) {
    const { descriptor } = connectTo(order.peers[0]!, order.port);
    const byte = new Uint8Array([1]);
    const answer = new Uint8Array(16);
    for (let at = 0; at < order.exchanges; at++) {
      const start = monotonicNow();
      sendAll(descriptor, byte);
      if (receiveSome(descriptor, answer) !== 1) throw new Error(`no answer to byte ${at} from ${order.peers[0]}`);
      exchanges.push((monotonicNow() - start) / 1e6);
    }
    closeConnection(descriptor);
  }
  const report: ClientReport = { connects, exchanges };
  console.log(JSON.stringify(report));
}

await main(JSON.parse(process.argv[2]!) as ClientOrder);
