import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { LabError, messageOf } from "../errors.ts";

/** One step of `up`, as it is told to people. */
export interface Step {
  readonly name: string;
  readonly milliseconds: number;
}

/** What a supervisor can be asked to do. */
export interface ControlOperations {
  /** Calls `step` for every step so far and to come; resolves when the lab is ready, rejects when it failed. */
  up(step: (step: Step) => void): Promise<void>;
  status(): Promise<unknown>;
  component(machine: string, component: string, action: string): Promise<unknown>;
  addNode(node: string): Promise<unknown>;
  removeNode(node: string): Promise<unknown>;
  check(pod: string): Promise<unknown>;
}

const MAX_BODY = 65_536;

/** Serves the operations as HTTP on a unix socket: JSON in, JSON out; `GET /up` streams one line per step. */
export async function serveControl(socketPath: string, operations: ControlOperations): Promise<Server> {
  rmSync(socketPath, { force: true });
  const server = createServer((request, response) => {
    handle(operations, request, response).catch((error: unknown) => {
      const code = error instanceof LabError ? error.code : "LAB_COMPONENT_FAILED";
      if (!response.headersSent)
        response.writeHead(code === "LAB_NOT_FOUND" ? 404 : 400, { "content-type": "application/json" });
      response.end(`${JSON.stringify({ error: { code, message: messageOf(error) } })}\n`);
    });
  });
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, resolve);
  });
  return server;
}

async function handle(
  operations: ControlOperations,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const route = `${request.method} ${request.url}`;
  if (route === "GET /up") {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    await operations.up((step) => response.write(`${JSON.stringify({ step })}\n`));
    response.end(`${JSON.stringify({ done: true })}\n`);
    return;
  }
  const result = await perform(operations, route, await readBody(request));
  response.writeHead(200, { "content-type": "application/json" });
  response.end(`${JSON.stringify(result ?? {})}\n`);
}

async function perform(
  operations: ControlOperations,
  route: string,
  body: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  const text = (key: string): string => {
    const value = body[key];
    if (typeof value !== "string") throw new LabError("LAB_BAD_ARGUMENT", `${route}: "${key}" must be text`);
    return value;
  };
  switch (route) {
    case "GET /status":
      return await operations.status();
    case "POST /component":
      return await operations.component(text("machine"), text("component"), text("action"));
    case "POST /add-node":
      return await operations.addNode(text("node"));
    case "POST /remove-node":
      return await operations.removeNode(text("node"));
    case "POST /check":
      return await operations.check(text("pod"));
    default:
      throw new LabError("LAB_NOT_FOUND", `${route} is not an operation of the supervisor`);
  }
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = "";
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > MAX_BODY) throw new LabError("LAB_BAD_ARGUMENT", `the request is larger than ${MAX_BODY} bytes`);
  }
  if (text === "") return {};
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null)
    throw new LabError("LAB_BAD_ARGUMENT", "the request is not an object");
  return value as Record<string, unknown>;
}
