/**
 * One program that listens for TCP in many network namespaces. Its argument is a `ListenerOrder` as JSON. It prints
 * `ready`, and then serves: on `acceptPort` connections are taken and dropped, on `echoPort` one connection at a time
 * is answered byte for byte until its client closes.
 */
import { acceptWaiting, closeConnection, enterNamespace, listenOn, receiveSome, sendAll } from "./tcp-socket.ts";

/** Where to listen. */
export interface ListenerOrder {
  readonly namespaces: readonly string[];
  readonly acceptPort: number;
  readonly echoPort: number;
}

async function main(order: ListenerOrder): Promise<void> {
  const accepting: number[] = [];
  const echoing: number[] = [];
  for (const namespace of order.namespaces) {
    enterNamespace(namespace);
    accepting.push(listenOn(order.acceptPort));
    echoing.push(listenOn(order.echoPort));
  }
  process.stdin.on("end", () => process.exit(0));
  process.stdin.resume();
  console.log("ready");
  const bytes = new Uint8Array(65_536);
  for (;;) {
    for (const listener of accepting) {
      for (let one = acceptWaiting(listener); one >= 0; one = acceptWaiting(listener)) closeConnection(one);
    }
    for (const listener of echoing) {
      const connection = acceptWaiting(listener);
      if (connection < 0) continue;
      for (let count = receiveSome(connection, bytes); count > 0; count = receiveSome(connection, bytes)) {
        sendAll(connection, bytes.subarray(0, count));
      }
      closeConnection(connection);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

await main(JSON.parse(process.argv[2]!) as ListenerOrder);
