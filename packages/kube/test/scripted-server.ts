/**
 * A server that speaks list and watch for one collection, with the manners of real ones on bad days: it ends watches, resets
 * them in the middle of a line, forgets old versions, repeats itself, cuts its answers anywhere, or says nothing at all.
 */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";

export interface TestObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly value: number;
}

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** Answers a request instead of the server; returns false to leave it to it. */
export type Interceptor = (request: Received, response: ServerResponse) => boolean;

interface Occurrence {
  readonly version: number;
  readonly line: string;
}

export class ScriptedServer {
  readonly received: Received[] = [];
  readonly #objects = new Map<string, TestObject>();
  readonly #watches = new Set<ServerResponse>();
  readonly #sockets = new Set<Socket>();
  readonly #snapshots = new Map<string, TestObject[]>();
  readonly #server;
  #history: Occurrence[] = [];
  #version = 100;
  #oldest = 0;
  #uids = 0;
  #port = 0;
  readonly #tls: boolean;

  /** Write in pieces of so many bytes; 0 for no cutting. */
  pieces = 0;
  /** Send each event so many times. */
  repeat = 1;
  intercept: Interceptor | undefined;

  constructor(tls?: ServerOptions) {
    const listener: RequestListener = (request, response) => void this.#serve(request, response);
    this.#tls = tls !== undefined;
    this.#server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("tlsClientError", () => {});
  }

  get url(): string {
    return `${this.#tls ? "https" : "http"}://127.0.0.1:${this.#port}`;
  }

  get version(): number {
    return this.#version;
  }

  get watches(): number {
    return this.#watches.size;
  }

  /** Requests for lists and watches so far, as words. */
  get journal(): string[] {
    return this.received.map(({ query }) =>
      query.get("watch") === "true"
        ? `watch ${query.get("resourceVersion")}`
        : query.has("continue")
          ? "list more"
          : "list",
    );
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Stops listening and cuts every connection; `start` opens the same port again. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#watches.clear();
  }

  put(name: string, value: number, options: { namespace?: string; anew?: boolean } = {}): TestObject {
    const { namespace = "default", anew = false } = options;
    const key = `${namespace}/${name}`;
    const before = anew ? undefined : this.#objects.get(key);
    const uid = before?.metadata.uid ?? `uid-${++this.#uids}`;
    const object = { metadata: { name, namespace, uid, resourceVersion: String(++this.#version) }, value };
    this.#objects.set(key, object);
    this.#tell(before === undefined ? "ADDED" : "MODIFIED", object);
    return object;
  }

  remove(name: string, namespace = "default"): void {
    const key = `${namespace}/${name}`;
    const object = this.#objects.get(key);
    if (object === undefined) throw new Error(`${key} is not there`);
    this.#objects.delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#tell("DELETED", { ...object, metadata });
  }

  /** A version passes for other reasons, and watches hear of it. */
  bookmark(): void {
    this.#version++;
    this.send(
      `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(this.#version) } } })}\n`,
    );
  }

  /** Writes bytes to every watch as they are. */
  send(text: string | Buffer): void {
    for (const watch of this.#watches) this.#write(watch, Buffer.from(text));
  }

  /** Ends every watch in order, as a server does after `timeoutSeconds`. */
  endWatches(): void {
    for (const watch of this.#watches) watch.end();
    this.#watches.clear();
  }

  /** Resets the connection of every watch, after the first `bytes` of an event that says what comes next. */
  resetWatches(unfinished = ""): void {
    for (const watch of this.#watches) {
      if (unfinished !== "") watch.write(unfinished);
      watch.socket?.resetAndDestroy();
    }
    this.#watches.clear();
  }

  /** Forgets what was before now: watches from older versions, and pages of older lists, are gone. */
  compact(): void {
    this.#oldest = this.#version;
    this.#history = [];
    this.#snapshots.clear();
  }

  /** Things happen while nobody is told. */
  silently(change: () => void): void {
    const watches = [...this.#watches];
    this.#watches.clear();
    change();
    for (const watch of watches) this.#watches.add(watch);
  }

  refuse(response: ServerResponse, code: number, reason: string, headers: Record<string, string> = {}): void {
    response.writeHead(code, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify({ kind: "Status", status: "Failure", code, reason, message: `${reason} as told` }));
  }

  json(response: ServerResponse, body: unknown): void {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  #tell(type: string, object: TestObject): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#history.push({ version: this.#version, line });
    for (let sent = 0; sent < this.repeat; sent++) this.send(line);
  }

  #write(response: ServerResponse, bytes: Buffer): void {
    if (this.pieces === 0) {
      response.write(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; at += this.pieces) response.write(bytes.subarray(at, at + this.pieces));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://localhost");
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const received: Received = {
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: Buffer.concat(chunks).toString("utf8"),
    };
    this.received.push(received);
    response.on("error", () => {});
    if (this.intercept?.(received, response) === true) return;
    if (url.searchParams.get("watch") === "true") this.#watch(received, response);
    else this.#list(received, response);
  }

  #list({ query }: Received, response: ServerResponse): void {
    const token = query.get("continue");
    const [version = "", offsetText = "0"] = token?.split(":") ?? [String(this.#version)];
    const all = token === null ? [...this.#objects.values()] : this.#snapshots.get(version);
    if (all === undefined) {
      this.refuse(response, 410, "Expired");
      return;
    }
    const offset = Number(offsetText);
    const limit = Number(query.get("limit") ?? all.length);
    const end = offset + limit;
    const more = end < all.length;
    if (more) this.#snapshots.set(version, all);
    const metadata = { resourceVersion: version, ...(more ? { continue: `${version}:${end}` } : {}) };
    response.writeHead(200, { "content-type": "application/json" });
    this.#write(response, Buffer.from(JSON.stringify({ kind: "List", metadata, items: all.slice(offset, end) })));
    response.end();
  }

  #watch({ query }: Received, response: ServerResponse): void {
    const from = Number(query.get("resourceVersion"));
    if (from < this.#oldest) {
      this.refuse(response, 410, "Expired");
      return;
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    this.#watches.add(response);
    response.once("close", () => this.#watches.delete(response));
    for (const { version, line } of this.#history) if (version > from) this.#write(response, Buffer.from(line));
  }
}
