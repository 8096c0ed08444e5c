/**
 * The embedded API server: HTTPS in front, the store behind, and the objects that every cluster has.
 */
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Authenticator, type TokenUser } from "./authentication.ts";
import { clusterDefaults } from "./bootstrap.ts";
import { CustomResources } from "./custom-resources.ts";
import { apiGroup, apiGroupList, apiResourceList, apiVersions } from "./discovery.ts";
import { Journal } from "./journal.ts";
import { builtInStrategies } from "./kinds/index.ts";
import { parseServiceRange } from "./kinds/service.ts";
import { Lifecycle } from "./lifecycle.ts";
import { negotiate } from "./negotiate.ts";
import { openApi } from "./openapi.ts";
import { Operations } from "./operations.ts";
import { parseResourcePath } from "./request.ts";
import { Catalogue, resourceKey } from "./resources.ts";
import type { Answer } from "./exchange.ts";
import { ResourceHandler } from "./resource-handler.ts";
import { ApiError } from "./status.ts";
import { Store } from "./store.ts";

/** Where to listen. Port 0 takes a free one. */
export interface ListenAddress {
  host: string;
  port: number;
}

/** TLS material, PEM. */
export interface TlsSettings {
  certificate: string;
  key: string;
  /** Authority that client certificates must be signed by. Absent: tokens only. */
  clientAuthority?: string;
}

/** How to run the server. */
export interface EmbeddedApiServerOptions {
  listen: readonly ListenAddress[];
  tls: TlsSettings;
  tokens?: readonly TokenUser[];
  /** The journal's file; absent: the state is lost when the server stops. */
  storagePath?: string;
  /** Changes that a watch can resume over. Default 10,000. */
  historySize?: number;
  /** Seconds between bookmarks. Default 60. */
  bookmarkSeconds?: number;
  /** Ranges of cluster addresses, the primary family first. Default 10.96.0.0/16 and fd00:96::/112. */
  serviceCidrs?: readonly string[];
  /** Called with failures that are bugs of the server; the client gets a 500. */
  onError?: (error: Error) => void;
}

/** What `/version` says. The minor version is the newest one whose features are promised (see `features.ts`). */
const VERSION = {
  major: "1",
  minor: "32",
  gitVersion: "v1.32.0+beyondfabric",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "",
  compiler: "node",
  platform: "linux/amd64",
};

/** Largest request body, as in Kubernetes. */
const MAX_BODY = 3 * 1024 * 1024;
const HISTORY_CHARACTERS = 128 * 1024 * 1024;
/** Paths that need no authentication, as in Kubernetes' `system:public-info-viewer`. */
const PUBLIC = new Set(["/healthz", "/livez", "/readyz", "/version"]);

/** One API server. Start it once; after `stop` make a new one. */
export class EmbeddedApiServer {
  readonly #options: EmbeddedApiServerOptions;
  readonly #store: Store;
  readonly #catalogue = new Catalogue();
  readonly #operations: Operations;
  readonly #handler: ResourceHandler;
  readonly #authenticator: Authenticator;
  readonly #custom: CustomResources;
  readonly #lifecycle: Lifecycle;
  readonly #servers: Server[] = [];
  readonly #watches = new Set<() => void>();
  #journal: Journal | undefined;

  constructor(options: EmbeddedApiServerOptions) {
    this.#options = options;
    // Without storage a restart must not reuse versions that clients remember: counting starts at the clock.
    const first = options.storagePath === undefined ? Date.now() : 1;
    this.#store = new Store({ changes: options.historySize ?? 10_000, characters: HISTORY_CHARACTERS }, first);
    const ranges = (options.serviceCidrs ?? ["10.96.0.0/16", "fd00:96::/112"]).map(parseServiceRange);
    const store = this.#store;
    const strategies = builtInStrategies(ranges, () => store.list("services").map((stored) => stored.object));
    this.#custom = new CustomResources(store, this.#catalogue);
    strategies.set("customresourcedefinitions.apiextensions.k8s.io", this.#custom.strategy);
    this.#operations = new Operations(store, this.#catalogue, (resource, version) =>
      resource.custom === undefined
        ? strategies.get(resourceKey(resource.group, resource.plural))
        : this.#custom.strategyOf(resource, version),
    );
    this.#authenticator = new Authenticator(options.tokens);
    this.#lifecycle = new Lifecycle(this.#operations);
    this.#handler = new ResourceHandler(this.#operations, {
      bookmarkSeconds: options.bookmarkSeconds ?? 60,
      userOfToken: (token) => this.#authenticator.byToken(token),
      watchStarted: (end) => {
        this.#watches.add(end);
        return () => void this.#watches.delete(end);
      },
    });
  }

  /** The addresses that are listened on, with the ports that were taken. */
  get addresses(): ListenAddress[] {
    return this.#servers.map((server) => {
      const { address, port } = server.address() as AddressInfo;
      return { host: address, port };
    });
  }

  /**
   * Reads the journal, makes the objects that every cluster has, and listens.
   * @throws JournalError, or the system's error when an address cannot be listened on (nothing is left open then)
   */
  async start(): Promise<void> {
    const { storagePath, listen, tls } = this.#options;
    if (storagePath !== undefined) this.#journal = Journal.open(storagePath, this.#store);
    this.#custom.start();
    this.#lifecycle.start();
    clusterDefaults(this.#operations, this.#store);
    try {
      for (const { host, port } of listen) {
        const server = createServer(
          {
            cert: tls.certificate,
            key: tls.key,
            ...(tls.clientAuthority === undefined ? {} : { ca: tls.clientAuthority, requestCert: true }),
            rejectUnauthorized: false,
            keepAlive: true,
            noDelay: true,
          },
          (request, response) => void this.#serve(request, response),
        );
        server.keepAliveTimeout = 120_000;
        server.on("tlsClientError", (_error, socket) => socket.destroy());
        this.#servers.push(server);
        await new Promise<void>((resolve, reject) => {
          server.once("error", reject);
          server.listen(port, host, () => {
            server.off("error", reject);
            resolve();
          });
        });
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends all watches, closes all connections and the journal. */
  async stop(): Promise<void> {
    this.#lifecycle.stop();
    for (const end of this.#watches) end();
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeIdleConnections();
            setTimeout(() => server.closeAllConnections(), 200).unref();
          }),
      ),
    );
    this.#servers.length = 0;
    this.#journal?.close();
    this.#journal = undefined;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that leaves while it is answered is no error of ours.
    response.on("error", () => {});
    try {
      const answer = await this.#answer(request, response);
      if (answer !== undefined) send(response, answer, request);
    } catch (error) {
      const known = error instanceof ApiError ? error : ApiError.internal(error);
      if (!(error instanceof ApiError) && error instanceof Error) this.#options.onError?.(error);
      if (response.headersSent) response.destroy();
      else send(response, { status: known.httpStatus, value: known.toStatus() }, request, known);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<Answer | undefined> {
    const method = request.method ?? "GET";
    const [path, search] = splitUrl(request.url ?? "/");
    const user = this.#authenticator.byRequest(request);
    if (user === undefined && !PUBLIC.has(path) && !isHealth(path)) throw ApiError.unauthorized();
    const target = parseResourcePath(path);
    if (target === undefined || user === undefined) {
      request.resume();
      if (method !== "GET" && method !== "HEAD") throw ApiError.methodNotAllowed(method, path);
      return this.#plain(path, request, response);
    }
    const body = await readBody(request);
    const warnings: string[] = [];
    const answer = this.#handler.handle({
      method,
      query: new URLSearchParams(search),
      target,
      body,
      contentType: request.headers["content-type"],
      userAgent: request.headers["user-agent"] ?? "unknown",
      representation: negotiate(request.headers.accept),
      user,
      response,
      warnings,
    });
    for (const warning of warnings) response.appendHeader("warning", `299 - ${JSON.stringify(warning)}`);
    return answer;
  }

  /** Everything that is no resource: discovery, health, version, OpenAPI. */
  #plain(path: string, request: IncomingMessage, response: ServerResponse): Answer | undefined {
    if (isHealth(path)) {
      response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("ok");
      return undefined;
    }
    const [first, second, third, ...more] = path.split("/").filter((segment) => segment !== "");
    if (more.length > 0 && first !== "openapi") throw ApiError.noSuchPath();
    let value: unknown;
    if (first === undefined)
      value = { paths: ["/api", "/api/v1", "/apis", "/healthz", "/openapi/v2", "/openapi/v3", "/version"] };
    else if (first === "version" && second === undefined) value = VERSION;
    else if (first === "api" && second === undefined) {
      const { address, port } = request.socket.address() as AddressInfo | { address?: string; port?: number };
      value = apiVersions(`${address ?? ""}:${port ?? 0}`);
    } else if (first === "api" && second !== undefined && third === undefined) {
      value = apiResourceList(this.#catalogue, "", second);
    } else if (first === "apis" && second === undefined) value = apiGroupList(this.#catalogue);
    else if (first === "apis" && second !== undefined) {
      value = third === undefined ? apiGroup(this.#catalogue, second) : apiResourceList(this.#catalogue, second, third);
    } else if (first === "openapi") {
      const served = openApi(this.#catalogue, path, request.headers.accept ?? "");
      if (served !== undefined) {
        response.writeHead(200, { "content-type": served.type }).end(served.body);
        return undefined;
      }
    }
    if (value === undefined) throw ApiError.noSuchPath();
    return { status: 200, value };
  }
}

function splitUrl(url: string): [string, string] {
  const question = url.indexOf("?");
  return question < 0 ? [url, ""] : [url.slice(0, question), url.slice(question + 1)];
}

function isHealth(path: string): boolean {
  return /^\/(?:healthz|livez|readyz)(?:\/|$)/.test(path);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw ApiError.tooLarge(MAX_BODY);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, answer: Answer, request: IncomingMessage, error?: ApiError): void {
  const body = Buffer.from(answer.json ?? JSON.stringify(answer.value));
  response.statusCode = answer.status;
  response.setHeader("content-type", "application/json");
  response.setHeader("cache-control", "no-cache, private");
  response.setHeader("content-length", body.length);
  if (error?.httpStatus === 401) response.setHeader("www-authenticate", 'Bearer realm="beyondfabric"');
  if (error?.details?.retryAfterSeconds !== undefined) {
    response.setHeader("retry-after", error.details.retryAfterSeconds);
  }
  // A body that was refused half-way leaves the connection in an unknown state.
  if (error?.httpStatus === 413) response.setHeader("connection", "close");
  response.end(request.method === "HEAD" ? undefined : body);
}
