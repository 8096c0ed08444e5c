/** Bytes to and from one API server: connections, TLS, credentials, and what goes wrong with them. */
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { ClusterConfig } from "./config.ts";
import type { Credentials } from "./credentials.ts";
import { KubeError } from "./errors.ts";

export type HttpMethod = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** An answer whose headers are there; the body comes as it is read. */
export interface TransportResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

export interface TransportRequest {
  readonly method: HttpMethod;
  /** With its query. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: string;
  readonly signal: AbortSignal;
  /** A body that does not end: it gets a connection of its own, and no limit on silence. */
  readonly stream?: boolean;
}

interface Pools {
  readonly identity: string;
  readonly reads: HttpAgent;
  /** Each on a connection of its own: on one that was idle nobody could tell a lost write from one that was done. */
  readonly writes: HttpAgent;
  readonly streams: HttpAgent;
}

/** ms */
const headersTimeout = 30_000;
const connectTimeout = 5000;
/** Requests that run side by side; further ones wait. */
const maxConnections = 8;

/** What certificates fail with, and what helps. */
const tlsRemedies: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: "name its authority in `certificate-authority`",
  SELF_SIGNED_CERT_IN_CHAIN: "name its authority in `certificate-authority`",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "name its authority in `certificate-authority`",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "name its authority in `certificate-authority`",
  ERR_TLS_CERT_ALTNAME_INVALID: "connect by a name that the certificate carries, or give it in `tls-server-name`",
  CERT_HAS_EXPIRED: "renew the server's certificate, and check both clocks",
  CERT_NOT_YET_VALID: "check both clocks",
};

export class Transport {
  readonly #config: ClusterConfig;
  #pools: Pools | undefined;
  #closed = false;

  constructor(config: ClusterConfig) {
    this.#config = config;
  }

  get server(): string {
    return this.#config.server;
  }

  /**
   * Sends a request and returns once the headers of its answer are there. After a 401 credentials are asked for anew, and
   * the request is sent again if they changed: it was refused before anything was done.
   * @throws KubeError `KUBE_UNREACHABLE`, `KUBE_CREDENTIALS`; the reason of `signal` when that was aborted
   */
  async send(what: TransportRequest): Promise<TransportResponse> {
    const credentials = await this.#config.credentials();
    const response = await this.#exchange(what, credentials);
    if (response.statusCode !== 401 || this.#config.rejected === undefined) return response;
    this.#config.rejected(credentials);
    const renewed = await this.#config.credentials();
    if (sameCredentials(credentials, renewed)) return response;
    response.body.resume();
    return this.#exchange(what, renewed);
  }

  /** Ends every connection, with what runs on it. */
  close(): Promise<void> {
    this.#closed = true;
    const pools = this.#pools;
    this.#pools = undefined;
    pools?.reads.destroy();
    pools?.writes.destroy();
    pools?.streams.destroy();
    return Promise.resolve();
  }

  async #exchange(what: TransportRequest, credentials: Credentials): Promise<TransportResponse> {
    const { method, path, body, contentType = "application/json", signal, stream = false } = what;
    if (this.#closed) throw new KubeError("KUBE_UNREACHABLE", `${method} ${path}: the client is closed`);
    const pools = this.#connections(credentials);
    const headers: Record<string, string> = { accept: "application/json", "user-agent": "beyondfabric" };
    if (credentials.token !== undefined) headers["authorization"] = `Bearer ${credentials.token}`;
    if (body !== undefined) headers["content-type"] = contentType;
    const pool = stream ? pools.streams : method === "GET" ? pools.reads : pools.writes;
    for (;;) {
      try {
        return await this.#request(pool, what, headers);
      } catch (cause) {
        if (signal.aborted) throw signal.reason;
        // The server gave up an idle connection in the moment in which it was used again: there is another.
        if (cause instanceof StaleConnection) continue;
        throw unreachable(`${method} ${path}: ${this.server}`, cause);
      }
    }
  }

  #request(
    agent: HttpAgent,
    { method, path, body, signal }: TransportRequest,
    headers: Readonly<Record<string, string>>,
  ): Promise<TransportResponse> {
    const url = new URL(this.server + path);
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = send(url, { method, agent, signal, headers: { ...headers, ...lengthOf(body) } });
      const late = (what: string, milliseconds: number): NodeJS.Timeout =>
        setTimeout(() => request.destroy(new Error(`${what} within ${milliseconds} ms`)), milliseconds);
      const answer = late("no answer", headersTimeout);
      let connect: NodeJS.Timeout | undefined;
      request.once("socket", (socket) => {
        if (!socket.connecting) return;
        connect = late("no connection", connectTimeout);
        socket.once(url.protocol === "https:" ? "secureConnect" : "connect", () => clearTimeout(connect));
      });
      request.once("close", () => {
        clearTimeout(answer);
        clearTimeout(connect);
      });
      // Not only once: what is malformed behind the headers is an error of the request too, and one that nobody hears of
      // ends the process.
      request.on("error", (error: NodeJS.ErrnoException) => {
        const stale =
          method === "GET" && request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
        reject(stale ? new StaleConnection(error) : error);
      });
      request.once("response", (response) => {
        clearTimeout(answer);
        resolve({ statusCode: response.statusCode ?? 0, headers: response.headers, body: response });
      });
      request.end(body);
    });
  }

  /** Connections are made anew when the client certificate rotates. */
  #connections({ certificate = "", key = "" }: Credentials): Pools {
    const identity = `${certificate}\n${key}`;
    if (this.#pools?.identity === identity) return this.#pools;
    const old = this.#pools;
    const { ca, insecure, serverName } = this.#config;
    const tls = {
      rejectUnauthorized: !insecure,
      ...(ca === undefined ? {} : { ca }),
      ...(serverName === undefined ? {} : { servername: serverName }),
      ...(certificate === "" ? {} : { cert: certificate, key }),
    };
    const pool = (maxSockets: number, keepAlive = true): HttpAgent => {
      const options = { keepAlive, keepAliveMsecs: 30_000, maxSockets, scheduling: "lifo" as const };
      return this.server.startsWith("https:") ? new HttpsAgent({ ...options, ...tls }) : new HttpAgent(options);
    };
    // Watches hold their connections for minutes: in one pool with requests they would leave none for these.
    this.#pools = {
      identity,
      reads: pool(maxConnections),
      writes: pool(maxConnections, false),
      streams: pool(Number.POSITIVE_INFINITY),
    };
    // Requests under way end on the old connections, which close when they do; idle ones close now.
    for (const agent of [old?.reads, old?.streams]) closeIdle(agent);
    return this.#pools;
  }
}

/** A connection that had been idle ended before it brought a byte of an answer. */
class StaleConnection extends Error {
  constructor(cause: Error) {
    super("an idle connection had ended", { cause });
  }
}

function closeIdle(agent: HttpAgent | undefined): void {
  if (agent === undefined) return;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  agent.maxFreeSockets = 0;
}

function lengthOf(body: string | undefined): { "content-length"?: number } {
  return body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
}

/** Reads a body to its end, or gives up when it gets longer than `limit` (bytes). */
export async function readBody(body: AsyncIterable<Buffer>, limit: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > limit) throw new KubeError("KUBE_PROTOCOL", `${what}: the answer exceeds ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

/** What a lost connection is called: the socket's own words, which Node wraps in others. */
export function unreachable(what: string, cause: unknown): KubeError {
  const error = innermost(cause);
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const text = error.message === "" ? code : error.message;
  const remedy = tlsRemedies[code];
  return new KubeError("KUBE_UNREACHABLE", `${what}: ${text}${remedy === undefined ? "" : `; ${remedy}`}`, { cause });
}

function innermost(error: unknown): Error {
  if (error instanceof AggregateError && error.errors.length > 0) return innermost(error.errors[0]);
  return error instanceof Error ? error : new Error(String(error));
}

function sameCredentials(a: Credentials, b: Credentials): boolean {
  return a.token === b.token && a.certificate === b.certificate && a.key === b.key;
}
