/**
 * The agent's two ears for people: a unix socket with the local API (root only) and a TCP port with health and metrics.
 * Only the first takes anything but questions. Requests are bounded; what is not understood gets an answer that says so.
 */
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import type { Logger } from "../log.ts";
import { addressRoutes, type AddressSource } from "./address-routes.ts";
import { asking, jsonAnswer, readJson, RequestError, type Route } from "./route.ts";
import { policyRoutes, type PolicySource } from "./policy-routes.ts";
import type { ApiError, EndpointsReply, FlowsReply, StatusReply, UnderlayReply, VersionReply } from "./types.ts";

export interface ApiSource {
  version(): VersionReply;
  status(): Promise<StatusReply>;
  endpoints(): Promise<EndpointsReply>;
  flows(pod: string | undefined): Promise<FlowsReply>;
  metrics(): Promise<{ contentType: string; text: string }>;
  readonly policy: PolicySource;
  /** Why the agent is not ready, one sentence each; empty when it is. */
  notReady(): readonly string[];
  readonly addresses: AddressSource;
  /** Looks at the physical networks of the node and asks their wires. */
  underlay(): Promise<UnderlayReply>;
}

export interface ApiServerOptions {
  readonly socket: string;
  readonly healthAddress: { readonly host: string; readonly port: number };
  readonly source: ApiSource;
  readonly logger: Logger;
}

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #servers: Server[] = [];

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { source, socket, healthAddress } = this.#options;
    const local = new Map<string, Route>([
      ["/v1/version", asking(async () => jsonAnswer(source.version()))],
      ["/v1/status", asking(async () => jsonAnswer(await source.status()))],
      ["/v1/endpoints", asking(async () => jsonAnswer(await source.endpoints()))],
      ["/v1/flows", asking(async (url) => jsonAnswer(await source.flows(url.searchParams.get("pod") ?? undefined)))],
      ["/v1/underlay/examination", asking(async () => jsonAnswer(await source.underlay()))],
      ...addressRoutes(source.addresses),
      ...policyRoutes(source.policy),
    ]);
    const health = new Map<string, Route>([
      ["/healthz", asking(async () => ({ contentType: "text/plain", body: "ok\n" }))],
      [
        "/readyz",
        asking(async () => {
          const reasons = source.notReady();
          if (reasons.length === 0) return { contentType: "text/plain", body: "ok\n" };
          return { status: 503, contentType: "text/plain", body: `${reasons.join("\n")}\n` };
        }),
      ],
      [
        "/metrics",
        asking(async () => {
          const { contentType, text } = await source.metrics();
          return { contentType, body: text };
        }),
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
    try {
      const url = new URL(request.url ?? "/", "http://local");
      const route = routes.get(url.pathname);
      const method = request.method === "HEAD" ? "GET" : request.method;
      if (route === undefined || method !== route.method) {
        request.resume();
        if (route === undefined && method === "GET") {
          const known = [...routes.keys()].join(", ");
          refuse(response, 404, { code: "API_PATH", message: `${url.pathname} is not known here; known are ${known}` });
        } else {
          const message = `${method} is not answered here; use ${route?.method ?? "GET"}`;
          refuse(response, 405, { code: "API_METHOD", message });
        }
        return;
      }
      if (method === "GET") request.resume();
      const body = method === "GET" ? undefined : await readJson(request);
      const { status = 200, contentType = "text/plain", body: text } = await route.answer(url, body);
      response.writeHead(status, { "content-type": contentType }).end(text);
    } catch (error) {
      if (error instanceof RequestError && !response.headersSent) {
        // What was not read of a body that is too long would be taken for the next request.
        if (!request.complete) response.setHeader("connection", "close");
        refuse(response, 400, { code: error.code, message: error.message });
        return;
      }
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
