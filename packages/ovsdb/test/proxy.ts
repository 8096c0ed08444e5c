import { createConnection, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { JsonFramer, type JsonObject } from "@beyondfabric/ovsdb";

/** Stands between a client and the real server: can hang up, refuse methods as an old server does, and put in a word. */
export class Proxy {
  readonly address: string;
  /** Methods that the server behind shall seem not to know. */
  readonly unknown = new Set<string>();
  /** Results of requests by method, as they passed. */
  readonly results: [method: string, result: unknown][] = [];
  readonly #path: string;
  readonly #upstream: string;
  readonly #clients = new Set<Socket>();
  #server: Server | undefined;

  constructor(path: string, upstream: string) {
    this.#path = path;
    this.#upstream = upstream;
    this.address = `unix:${path}`;
  }

  async listen(): Promise<void> {
    this.#server = createServer((client) => this.#accept(client));
    this.#server.listen(this.#path);
    await once(this.#server, "listening");
  }

  /** Hangs up on everybody and, until `listen`, lets nobody in. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const client of this.#clients) client.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  inject(text: string | Buffer): void {
    for (const client of this.#clients) client.write(text);
  }

  #accept(client: Socket): void {
    const upstream = createConnection(this.#upstream);
    const methods = new Map<unknown, string>();
    this.#clients.add(client);
    const hangUp = (): void => {
      this.#clients.delete(client);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      socket.on("error", hangUp);
      socket.on("close", hangUp);
    }
    const requests = new JsonFramer((message: JsonObject) => {
      const { id, method } = message as { id: unknown; method: string };
      if (this.unknown.has(method)) {
        client.write(JSON.stringify({ id, result: null, error: { error: "unknown method", details: method } }));
        return;
      }
      methods.set(id, method);
      upstream.write(JSON.stringify(message));
    });
    const replies = new JsonFramer((message: JsonObject) => {
      const method = methods.get(message["id"]);
      if (method !== undefined) this.results.push([method, message["result"]]);
      client.write(JSON.stringify(message));
    });
    client.on("data", (chunk: Buffer) => requests.push(chunk));
    upstream.on("data", (chunk: Buffer) => replies.push(chunk));
  }
}
