/** One request on the agent's local API: HTTP/1.1 and JSON over a unix socket, bounded in time and in bytes. */
import { request, type IncomingMessage } from "node:http";
import { FabricctlError } from "./errors.ts";

export interface LocalApiOptions {
  readonly socket: string;
  /** For the whole exchange (ms); default 5,000. */
  readonly timeout?: number;
  /** Of an answer's body; default 64 MiB, several times what 20,000 entries take. */
  readonly maxBytes?: number;
  /** What is sent as JSON, with POST; absent: nothing is, with GET. */
  readonly body?: unknown;
}

/**
 * What the agent answers on a path, as parsed from its JSON and not checked otherwise.
 * @throws FabricctlError with a sentence that says what to do
 */
export async function askLocal(path: string, options: LocalApiOptions): Promise<unknown> {
  const { socket, timeout = 5000, maxBytes = 64 * 1024 * 1024 } = options;
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const signal = AbortSignal.timeout(timeout);
  let status: number;
  let text: string;
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request({
        socketPath: socket,
        path,
        method: body === undefined ? "GET" : "POST",
        signal,
        agent: false,
        headers: {
          accept: "application/json",
          host: "local",
          ...(body === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
        },
      })
        .on("response", resolve)
        .on("error", reject)
        .end(body);
    });
    status = response.statusCode ?? 0;
    text = await readBody(response, maxBytes);
  } catch (cause) {
    if (cause instanceof FabricctlError) throw cause;
    throw signal.aborted ? silent(path, socket, timeout, cause) : unreachable(socket, cause as NodeJS.ErrnoException);
  }
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch (cause) {
    throw new FabricctlError(
      "FABRICCTL_REPLY",
      `the answer of ${socket} to ${path} (HTTP status ${status}) is no JSON; check that the socket is fabric-node's api.socket`,
      { cause },
    );
  }
  if (status === 200) return reply;
  const { code, message } = (reply ?? {}) as { code?: unknown; message?: unknown };
  const words = typeof message === "string" ? message : `HTTP status ${status}`;
  const name = typeof code === "string" ? ` (${code})` : "";
  throw new FabricctlError("FABRICCTL_REFUSED", `fabric-node refused ${path}: ${words}${name}`);
}

async function readBody(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      response.destroy();
      throw new FabricctlError(
        "FABRICCTL_REPLY",
        `the answer is larger than ${maxBytes} bytes and is not read; ask for less, for example with --pod or --limit`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function silent(path: string, socket: string, timeout: number, cause: unknown): FabricctlError {
  return new FabricctlError(
    "FABRICCTL_TIMEOUT",
    `fabric-node did not answer ${path} on ${socket} within ${timeout / 1000} s; see its log and the load of the node`,
    { cause },
  );
}

/** What an operator can do about it depends on why the socket does not answer. */
const remedies: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket: start fabric-node on this node, or name its api.socket with --socket",
  ECONNREFUSED: "nobody listens there: start fabric-node on this node",
  EACCES: "only root may ask: run fabricctl as root",
  EPERM: "only root may ask: run fabricctl as root",
  ENOTSOCK: "that file is no socket: name fabric-node's api.socket with --socket",
};

function unreachable(socket: string, cause: NodeJS.ErrnoException): FabricctlError {
  const code = cause.code ?? "";
  const remedy = Object.hasOwn(remedies, code)
    ? remedies[code]!
    : `${cause.message}: see fabric-node's log, and check that the socket is its api.socket`;
  return new FabricctlError("FABRICCTL_UNREACHABLE", `fabric-node cannot be reached at ${socket}: ${remedy}`, {
    cause,
  });
}
