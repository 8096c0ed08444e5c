/**
 * The agent's two ears for people: a unix socket with the local API (root only) and a TCP port with health and metrics.
 * Both are read-only. Requests are bounded; what is not understood gets an answer that says so.
 */
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import type { Logger } from "../log.ts";
import type { ApiError, EndpointsReply, FlowsReply, StatusReply, VersionReply } from "./types.ts";

export interface ApiSource {
  version(): VersionReply;
  status(): Promise<StatusReply>;
  endpoints(): Promise<EndpointsReply>;
  flows(pod: string | undefined): Promise<FlowsReply>;
  metrics(): Promise<{ contentType: string; text: string }>;
  /** Why the agent is not ready, one sentence each; empty when it is. */
  notReady(): readonly string[];
}

export interface ApiServerOptions {
  readonly socket: string;
  readonly healthAddress: { readonly host: string; readonly port: number };
  readonly source: ApiSource;
  readonly logger: Logger;
}

type Route = (url: URL) => Promise<{ status?: number; contentType?: string; body: string }>;

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #servers: Server[] = [];

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { source, socket, healthAddress } = this.#options;
    const json = (reply: unknown): { contentType: string; body: string } => ({
      contentType: "application/json",
      body: JSON.stringify(reply),
    });
    const local = new Map<string, Route>([
      ["/v1/version", async () => json(source.version())],
      ["/v1/status", async () => json(await source.status())],
      ["/v1/endpoints", async () => json(await source.endpoints())],
      ["/v1/flows", async (url) => json(await source.flows(url.searchParams.get("pod") ?? undefined))],
    ]);
    const health = new Map<string, Route>([
      ["/healthz", async () => ({ contentType: "text/plain", body: "ok\n" })],
      [
        "/readyz",
        async () => {
          const reasons = source.notReady();
          if (reasons.length === 0) return { contentType: "text/plain", body: "ok\n" };
          return { status: 503, contentType: "text/plain", body: `${reasons.join("\n")}\n` };
        },
      ],
      [
        "/metrics",
        async () => {
          const { contentType, text } = await source.metrics();
          return { contentType, body: text };
        },
      ],
    ]);
    mkdirSync(dirname(socket), { recursive: true });
    rmSync(socket, { force: true });
    await this.#listen(local, { path: socket });
    chmodSync(socket, 0o600);
    await this.#listen(health, healthAddress);
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
    rmSync(this.#options.socket, { force: true });
  }

  async #listen(
    routes: ReadonlyMap<string, Route>,
    where: { path: string } | { host: string; port: number },
  ): Promise<void> {
    const server = createServer({ maxHeaderSize: 16 * 1024, requestTimeout: 10_000 }, (request, response) => {
      void this.#answer(routes, request, response);
    });
    server.maxConnections = 64;
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(where, () => {
        server.off("error", reject);
        server.on("error", (error) => this.#options.logger.error({ err: error }, "local API server"));
        resolve();
      });
    });
  }

  async #answer(routes: ReadonlyMap<string, Route>, request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    try {
      const url = new URL(request.url ?? "/", "http://local");
      const route = routes.get(url.pathname);
      if (request.method !== "GET" && request.method !== "HEAD") {
        refuse(response, 405, { code: "API_METHOD", message: `${request.method} is not answered here; use GET` });
      } else if (route === undefined) {
        const known = [...routes.keys()].join(", ");
        refuse(response, 404, { code: "API_PATH", message: `${url.pathname} is not known here; known are ${known}` });
      } else {
        const { status = 200, contentType = "text/plain", body } = await route(url);
        response.writeHead(status, { "content-type": contentType }).end(body);
      }
    } catch (error) {
      this.#options.logger.warn({ err: error, url: request.url }, "local API request failed");
      const message = error instanceof Error ? error.message : String(error);
      if (!response.headersSent) refuse(response, 500, { code: "API_FAILED", message });
      else response.destroy();
    }
  }
}

function refuse(response: ServerResponse, status: number, error: ApiError): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(error));
}
