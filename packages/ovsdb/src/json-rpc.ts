import { isUtf8 } from "node:buffer";
import { excerpt, OvsdbError } from "./errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export interface JsonFramerOptions {
  /** The longest message accepted, bytes. Default 64 MiB: the initial content of a large database is one message. */
  readonly maxMessageBytes?: number;
}

const DEFAULT_MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** OVSDB nests about ten deep; this bounds what a parser must hold for a hostile peer. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;

/** What a byte outside of a string means for the structure; 0 is nothing. */
const STRING = 1;
const OPEN = 2;
const CLOSE = 3;
const SPACE = 4;
const ROLES = new Uint8Array(256);
for (const byte of Buffer.from("{[")) ROLES[byte] = OPEN;
for (const byte of Buffer.from("}]")) ROLES[byte] = CLOSE;
for (const byte of Buffer.from(" \t\r\n")) ROLES[byte] = SPACE;
ROLES[QUOTE] = STRING;

/**
 * Cuts a stream of JSON texts that nothing separates (RFC 7047 section 4) into messages. Works on bytes: in UTF-8 no
 * byte of a longer character looks like a quote or a bracket, so a chunk may end anywhere.
 */
export class JsonFramer {
  readonly #onMessage: (message: JsonObject) => void;
  readonly #maxMessageBytes: number;
  /** Chunks of the unfinished message. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #depth = 0;
  #inString = false;
  /** Bytes of the next chunk that a backslash escapes: 0 or 1. */
  #skip = 0;

  constructor(onMessage: (message: JsonObject) => void, options: JsonFramerOptions = {}) {
    this.#onMessage = onMessage;
    this.#maxMessageBytes = options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES;
  }

  /** Takes the next bytes and hands over every message they complete. Throws `OVSDB_PROTOCOL`; then it is of no more use. */
  push(chunk: Buffer): void {
    const length = chunk.length;
    let depth = this.#depth;
    let inString = this.#inString;
    let start = 0;
    // A backslash at the end of the last chunk took the first byte of this one.
    let i = this.#skip;
    while (i < length) {
      if (inString) {
        let byte: number;
        while (i < length && (byte = chunk[i]!) !== QUOTE) i += byte === BACKSLASH ? 2 : 1;
        if (i >= length) break;
        inString = false;
        i++;
        continue;
      }
      const role = ROLES[chunk[i]!]!;
      if (depth === 0 && role !== SPACE) {
        if (chunk[i] !== OPEN_BRACE) {
          throw protocol(`expected a JSON object, found ${excerpt(chunk.toString("latin1", i, i + 40))}`);
        }
        start = i;
      }
      i++;
      if (role === STRING) inString = true;
      else if (role === OPEN) {
        if (++depth > MAX_DEPTH) throw protocol(`a message nested deeper than ${MAX_DEPTH} levels`);
      } else if (role === CLOSE && --depth === 0) {
        this.#complete(chunk.subarray(start, i));
        start = i;
      }
    }
    this.#skip = i - length;
    this.#depth = depth;
    this.#inString = inString;
    if (depth > 0) {
      // The chunk is the connection's, and its memory is read into again.
      const rest = Buffer.from(chunk.subarray(start));
      this.#partBytes += rest.length;
      if (this.#partBytes > this.#maxMessageBytes) throw this.#tooLarge();
      this.#parts.push(rest);
    }
  }

  #complete(last: Buffer): void {
    const size = this.#partBytes + last.length;
    if (size > this.#maxMessageBytes) throw this.#tooLarge();
    const bytes = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last], size);
    this.#parts = [];
    this.#partBytes = 0;
    this.#onMessage(parse(bytes));
  }

  #tooLarge(): OvsdbError {
    return protocol(`a message longer than ${this.#maxMessageBytes} bytes; raise maxMessageBytes, or monitor less`);
  }
}

function parse(bytes: Buffer): JsonObject {
  if (!isUtf8(bytes)) throw protocol("a message that is not UTF-8");
  try {
    return JSON.parse(bytes.toString("utf8")) as JsonObject;
  } catch (cause) {
    throw new OvsdbError("OVSDB_PROTOCOL", `the server sent malformed JSON: ${excerpt(bytes.toString("utf8"))}`, {
      cause,
    });
  }
}

function protocol(what: string): OvsdbError {
  return new OvsdbError("OVSDB_PROTOCOL", `the server sent nonsense: ${what}`);
}

/** How a request ended: exactly one of the two is meaningful, and `error` decides. */
export type ReplyHandler = (error: OvsdbError | undefined, result: unknown) => void;

interface Pending {
  readonly method: string;
  readonly onReply: ReplyHandler;
  readonly timer: NodeJS.Timeout;
}

/** More unanswered requests than any sane use makes; beyond it the server is stuck and memory would grow. */
const MAX_PENDING = 4096;

/**
 * One JSON-RPC 1.0 dialogue (RFC 7047 section 4), alive as long as one connection: pairs replies with requests, answers
 * the server's `echo`. Replies are delivered synchronously, in the order of arrival, because a notification that
 * follows a monitor's reply in the same chunk must find the monitor's content in place.
 */
export class RpcSession {
  readonly #send: (text: string) => void;
  readonly #onNotification: (method: string, params: readonly unknown[]) => void;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended = false;

  constructor(options: {
    send: (text: string) => void;
    onNotification: (method: string, params: readonly unknown[]) => void;
  }) {
    this.#send = options.send;
    this.#onNotification = options.onNotification;
  }

  /** Sends a request. `onReply` is called exactly once, unless `call` throws, in which case nothing was sent. */
  call(method: string, params: readonly unknown[], timeoutMs: number, onReply: ReplyHandler): void {
    if (this.#ended) throw new OvsdbError("OVSDB_DISCONNECTED", `${method} was not sent: the connection has ended`);
    if (this.#pending.size >= MAX_PENDING) {
      throw new OvsdbError(
        "OVSDB_OVERFLOW",
        `${method} was not sent: ${MAX_PENDING} requests already wait for the server`,
      );
    }
    const id = this.#nextId++;
    this.#send(JSON.stringify({ method, params, id }));
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      onReply(
        new OvsdbError("OVSDB_TIMEOUT", `no answer to ${method} within ${timeoutMs} ms; is ovsdb-server stuck?`),
        undefined,
      );
    }, timeoutMs);
    this.#pending.set(id, { method, onReply, timer });
  }

  /** Asks the server for a sign of life; the answer counts as received data and is not looked at. */
  probe(): void {
    if (!this.#ended) this.#send('{"method":"echo","params":[],"id":"probe"}');
  }

  /** Takes one message of the server. Throws `OVSDB_PROTOCOL`. */
  receive(message: JsonObject): void {
    if (this.#ended) return;
    const { method, params, id, result, error } = message;
    if (typeof method === "string") {
      if (!Array.isArray(params)) throw protocol(`${excerpt(method)} without a list of params`);
      if (id === null || id === undefined) this.#onNotification(method, params);
      else if (method === "echo") this.#send(JSON.stringify({ id, result: params, error: null }));
      else this.#send(JSON.stringify({ id, result: null, error: "unknown method" }));
      return;
    }
    if (id === undefined || (result === undefined && error === undefined)) {
      throw protocol(`neither a request nor a reply: ${excerpt(message)}`);
    }
    if (typeof id !== "number") return;
    const pending = this.#pending.get(id);
    // The answer to a request that timed out is late, not wrong.
    if (pending === undefined) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    if (error === null || error === undefined) pending.onReply(undefined, result);
    else pending.onReply(remoteError(pending.method, error), undefined);
  }

  /** The connection is gone: every unanswered request ends with what `reason` makes of its method. */
  end(reason: (method: string) => OvsdbError): void {
    this.#ended = true;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const each of pending) {
      clearTimeout(each.timer);
      each.onReply(reason(each.method), undefined);
    }
  }
}

function remoteError(method: string, error: unknown): OvsdbError {
  const { error: name, details } = (typeof error === "object" ? error : { error }) as {
    error?: unknown;
    details?: unknown;
  };
  const said = details === undefined ? excerpt(name ?? error) : `${excerpt(name)}: ${excerpt(details)}`;
  return new OvsdbError("OVSDB_REMOTE", `ovsdb-server refused ${method}: ${said}`, { cause: error });
}
