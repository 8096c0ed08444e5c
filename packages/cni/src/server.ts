/** The agent's end of the contract in rpc.ts: a unix socket on which each connection carries one CNI operation. */
import { chmodSync, lstatSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import type { Attachments, AttachRequest } from "./attachments.ts";
import { CNI_CODE, CniError } from "./errors.ts";
import { OperationQueue } from "./operation-queue.ts";
import { parseOperation, versionOf, type AttachmentParameters, type Operation } from "./protocol.ts";
import { formatError, formatResult, formatVersion, mergeResult } from "./result.ts";
import {
  decodeRequest,
  encodeResponse,
  HEARTBEAT_MILLISECONDS,
  MAX_REQUEST_BYTES,
  MAX_STDIN_BYTES,
  RpcError,
  type CallRequest,
  type CallResponse,
} from "./rpc.ts";

/** The part of a logger that is used; pino's has it. */
export interface CniLogger {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** What the server is made of. */
export interface CniServerOptions {
  readonly socketPath: string;
  readonly attachments: Attachments;
  readonly logger?: CniLogger;
  /** Operations that run side by side; further ones wait. Default 64. */
  readonly concurrency?: number;
  /** Connections; further ones are told to try again. Default 1024. */
  readonly connections?: number;
  /** Time for one operation once it runs, in milliseconds. Default 60 000. */
  readonly operationMilliseconds?: number;
  /** Called when an operation has ended: its command, the CNI error code (0 success) and how long it took, with waiting. */
  readonly observe?: (command: string, code: number, milliseconds: number) => void;
}

/** The socket cannot be had. */
export class CniServerError extends Error {
  readonly code: "CNI_SOCKET_IN_USE" | "CNI_SOCKET";
  constructor(code: "CNI_SOCKET_IN_USE" | "CNI_SOCKET", message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CniServerError";
    this.code = code;
  }
}

const REQUEST_MILLISECONDS = 5_000;
const PROBE_MILLISECONDS = 1_000;
const CLOSE_MILLISECONDS = 10_000;
const LINE_END = 0x0a;

/** True if a process listens on the socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.setTimeout(PROBE_MILLISECONDS, () => done(true));
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

/** Serves `fabric-cni`. Every request is answered; nothing that arrives can end the process. */
export class CniServer {
  readonly #options: CniServerOptions;
  readonly #queue: OperationQueue;
  readonly #connections = new Set<Socket>();
  readonly #operations = new Set<Promise<unknown>>();
  readonly #stop = new AbortController();
  #server: Server | undefined;

  constructor(options: CniServerOptions) {
    this.#options = options;
    this.#queue = new OperationQueue(options.concurrency ?? 64);
  }

  /** Operations that run, and that wait for their turn. */
  get load(): { running: number; waiting: number } {
    return { running: this.#queue.running, waiting: this.#queue.waiting };
  }

  /**
   * Begins to listen. The socket appears with mode 0600, in one step, in place of one that a dead process left; its folder
   * is made. Throws CniServerError: CNI_SOCKET_IN_USE when another process answers there.
   */
  async listen(): Promise<void> {
    const { socketPath } = this.#options;
    const temporary = `${socketPath}.${process.pid}`;
    try {
      mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
      const present = lstatSync(socketPath, { throwIfNoEntry: false });
      if (present !== undefined && !present.isSocket()) {
        throw new CniServerError(
          "CNI_SOCKET",
          `${socketPath} is there and is no socket; remove it or choose another path`,
        );
      }
      if (present !== undefined && (await answers(socketPath))) {
        throw new CniServerError(
          "CNI_SOCKET_IN_USE",
          `another process answers on ${socketPath}; stop the other agent of this node, or choose another cni.socket`,
        );
      }
      rmSync(temporary, { force: true });
      const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(temporary, resolve);
      });
      server.on("error", (error) => this.#options.logger?.error({ err: error }, "cni socket"));
      this.#server = server;
      // Not reachable under its name before the mode is right.
      chmodSync(temporary, 0o600);
      renameSync(temporary, socketPath);
    } catch (error) {
      rmSync(temporary, { force: true });
      this.#server?.close();
      this.#server = undefined;
      if (error instanceof CniServerError) throw error;
      throw new CniServerError("CNI_SOCKET", `cannot listen on ${socketPath}: ${String(error)}`, { cause: error });
    }
  }

  /** Stops listening, aborts what runs and waits for its end. The socket is removed. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    rmSync(this.#options.socketPath, { force: true });
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    this.#stop.abort(new Error("the agent stops"));
    const ended = new AbortController();
    await Promise.race([
      Promise.allSettled(this.#operations),
      // An operation that does not obey its signal must not keep the agent from ending.
      delay(CLOSE_MILLISECONDS, undefined, { signal: ended.signal }),
    ]);
    ended.abort();
    // The answers of what was aborted are written in this turn.
    await turn();
    for (const socket of this.#connections) socket.destroySoon();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket);
    const gone = new AbortController();
    socket.on("close", () => {
      this.#connections.delete(socket);
      gone.abort(new Error("the caller has gone"));
    });
    // A caller that gave up: "close" follows.
    socket.on("error", () => {});
    if (this.#connections.size > (this.#options.connections ?? 1024)) {
      this.#refuse(
        socket,
        new CniError(CNI_CODE.tryAgainLater, "too many CNI operations", "try again in some seconds"),
      );
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    const late = setTimeout(() => socket.destroy(), REQUEST_MILLISECONDS);
    socket.on("close", () => clearTimeout(late));
    const read = (chunk: Buffer) => {
      const end = chunk.indexOf(LINE_END);
      chunks.push(end < 0 ? chunk : chunk.subarray(0, end));
      length += chunks.at(-1)!.length;
      if (length > MAX_REQUEST_BYTES) {
        socket.off("data", read);
        clearTimeout(late);
        this.#refuse(
          socket,
          new CniError(CNI_CODE.ioFailure, "request too large", `at most ${MAX_REQUEST_BYTES} bytes`),
        );
        return;
      }
      if (end < 0) return;
      socket.off("data", read);
      // Discards what may follow, and lets "end" be seen.
      socket.resume();
      clearTimeout(late);
      void this.#answer(socket, Buffer.concat(chunks).toString("utf8"), gone.signal);
    };
    socket.on("data", read);
    socket.on("end", () => {
      // The executable keeps its side open until it has the answer: its end is the caller's end.
      socket.destroy();
    });
  }

  #refuse(socket: Socket, error: CniError): void {
    socket.end(encodeResponse({ exitCode: 1, stdout: formatError(undefined, error) }));
    socket.resume();
  }

  /** Never rejects. */
  async #answer(socket: Socket, line: string, gone: AbortSignal): Promise<void> {
    const heartbeat = setInterval(() => {
      // One that does not read must not make us pile up spaces.
      if (socket.writable && socket.writableLength === 0) socket.write(" ");
    }, HEARTBEAT_MILLISECONDS);
    let response: CallResponse;
    try {
      response = await this.#call(decodeRequest(line), gone);
    } catch (error) {
      const details = error instanceof RpcError ? error.message : String(error);
      response = {
        exitCode: 1,
        stdout: formatError(undefined, new CniError(CNI_CODE.decodingFailure, "request not understood", details)),
      };
    } finally {
      clearInterval(heartbeat);
    }
    if (socket.writable) socket.end(encodeResponse(response));
  }

  async #call(request: CallRequest, gone: AbortSignal): Promise<CallResponse> {
    const started = performance.now();
    const { env, stdin } = request;
    const facts = { command: env.CNI_COMMAND, container: env.CNI_CONTAINERID, ifname: env.CNI_IFNAME };
    let code = 0;
    let stdout = "";
    try {
      if (Buffer.byteLength(stdin) > MAX_STDIN_BYTES) {
        throw new CniError(CNI_CODE.ioFailure, "network configuration too large", `at most ${MAX_STDIN_BYTES} bytes`);
      }
      stdout = await this.#perform(parseOperation(env, stdin), gone);
    } catch (error) {
      const refusal =
        error instanceof CniError
          ? error
          : new CniError(CNI_CODE.internal, "internal error", `${String(error)}; the agent's log has more`);
      code = refusal.code;
      stdout = formatError(versionOf(stdin), refusal);
      const told = { ...facts, code, details: refusal.details };
      if (error instanceof CniError) this.#options.logger?.warn(told, refusal.message);
      else this.#options.logger?.error({ ...told, err: error }, "CNI operation failed");
    }
    const milliseconds = performance.now() - started;
    if (code === 0)
      this.#options.logger?.info({ ...facts, milliseconds: Math.round(milliseconds) }, "CNI operation done");
    this.#options.observe?.(env.CNI_COMMAND ?? "", code, milliseconds);
    return { exitCode: code === 0 ? 0 : 1, stdout };
  }

  #perform(operation: Operation, gone: AbortSignal): Promise<string> {
    const { attachments } = this.#options;
    switch (operation.command) {
      case "VERSION":
        return Promise.resolve(formatVersion(operation.asked));
      case "STATUS":
        return this.#run(
          (work) => work(),
          gone,
          async (signal) => {
            await attachments.status(signal);
            return "";
          },
        );
      case "GC":
        return this.#run(
          (work) => this.#queue.exclusive(work),
          gone,
          async (signal) => {
            await attachments.gc(operation.networkName, operation.valid, signal);
            return "";
          },
        );
      case "ADD":
        return this.#forContainer(operation.parameters, gone, async (request) => {
          const { version, dns } = operation.parameters;
          const attachment = await attachments.add(request);
          return formatResult(version, mergeResult(operation.previous, attachment, dns));
        });
      case "DEL":
        return this.#forContainer(operation.parameters, gone, async (request) => {
          await attachments.del(request);
          return "";
        });
      case "CHECK":
        return this.#forContainer(operation.parameters, gone, async (request) => {
          await attachments.check(request, operation.previous);
          return "";
        });
    }
  }

  #forContainer(
    parameters: AttachmentParameters,
    gone: AbortSignal,
    perform: (request: AttachRequest) => Promise<string>,
  ): Promise<string> {
    const { version: _version, dns: _dns, ...rest } = parameters;
    return this.#run(
      (work) => this.#queue.forContainer(parameters.containerId, work),
      gone,
      (signal) => perform({ ...rest, signal }),
    );
  }

  /**
   * Gives an operation its turn and its time. The caller is told at once when the time is over; the operation keeps its
   * place in the queue until it really ends, so that a later one of the same container never meets it half-way.
   */
  #run(
    inTurn: (work: () => Promise<void>) => Promise<void>,
    gone: AbortSignal,
    perform: (signal: AbortSignal) => Promise<string>,
  ): Promise<string> {
    const limit = this.#options.operationMilliseconds ?? 60_000;
    return new Promise((resolve, reject) => {
      const interrupted = (why: string, cause?: unknown) => {
        const details = `${why}; it is safe to try again`;
        reject(new CniError(CNI_CODE.tryAgainLater, "CNI operation interrupted", details, { cause }));
      };
      const work = inTurn(async () => {
        // A caller that left while it waited will call DEL, or call again: starting now would only have to be undone.
        if (gone.aborted || this.#stop.signal.aborted) return interrupted("it had not begun");
        const time = AbortSignal.timeout(limit);
        const signal = AbortSignal.any([gone, time, this.#stop.signal]);
        const reason = () => (time.aborted ? `it took more than ${limit} ms` : (signal.reason as Error).message);
        const tell = () => interrupted(reason());
        signal.addEventListener("abort", tell, { once: true });
        try {
          resolve(await perform(signal));
        } catch (error) {
          if (error instanceof CniError || !signal.aborted) reject(error);
          else interrupted(reason(), error);
        } finally {
          signal.removeEventListener("abort", tell);
        }
      });
      this.#operations.add(work);
      work.catch(reject).finally(() => this.#operations.delete(work));
    });
  }
}
