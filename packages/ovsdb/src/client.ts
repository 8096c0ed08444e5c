import { EventEmitter } from "node:events";
import { Connection, formatAddress, silentLogger, type ConnectionOptions, type Logger } from "@beyondfabric/stream";
import type { Cache, CacheUpdate } from "./cache.ts";
import { excerpt, OvsdbError, OvsdbTransactionError } from "./errors.ts";
import { JsonFramer, RpcSession } from "./json-rpc.ts";
import { Monitor, MONITOR_METHODS, type MonitorMethod, type MonitorTable } from "./monitor.ts";
import type { OpenVswitchTables } from "./open-vswitch.ts";
import { parseSchema, type DatabaseSchema } from "./schema.ts";
import { Transaction, type TransactionResult } from "./transact.ts";

export interface OvsdbClientOptions extends ConnectionOptions {
  /** The database's name. Default `Open_vSwitch`. */
  readonly database?: string;
  readonly logger?: Logger;
  /** How long to wait for an answer, ms. Default 10,000. */
  readonly timeoutMs?: number;
  /** The longest message accepted from the server, bytes. Default 64 MiB. */
  readonly maxMessageBytes?: number;
}

export interface OvsdbClientEvents {
  /** Connected, the schema is known and every monitor has its content. */
  connected: [];
  /** No longer connected; caches keep their last rows. Not emitted for attempts that fail. */
  disconnected: [reason: Error];
  /** What one message of the server changed. */
  update: [update: CacheUpdate, cache: Cache<object>];
}

export interface TransactOptions {
  /** How long to wait for the answer, ms. Default: the client's. */
  readonly timeoutMs?: number;
  /**
   * Also wait until ovs-vswitchd has applied the change, at most this long, ms: `next_cfg` grows with the transaction,
   * and `cur_cfg` follows (ovs-vswitchd.conf.db(5)). Fails with `OVSDB_SWITCH_TIMEOUT`; the change stays committed.
   */
  readonly switchTimeoutMs?: number;
}

export interface RetryOptions extends TransactOptions {
  /** How often to try, the first time included. Default 10. */
  readonly attempts?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_SWITCH_TIMEOUT_MS = 10_000;
/** How long to wait for the news that explains a conflict, per attempt made, before reading the cache again anyway. */
const CONFLICT_WAIT_MS = 20;

/**
 * A client of one database (RFC 7047): connects and reconnects, keeps caches current, runs transactions.
 *
 * A transaction is sent at most once. When the connection ends before its answer, it is rejected with
 * `OVSDB_FATE_UNKNOWN` and the caller decides, with the cache in sight.
 */
export class OvsdbClient extends EventEmitter<OvsdbClientEvents> {
  readonly database: string;
  readonly #where: string;
  readonly #connection: Connection;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  readonly #maxMessageBytes: number | undefined;
  readonly #monitors = new Map<string, Monitor>();
  #session: RpcSession | undefined;
  #schema: DatabaseSchema | undefined;
  #ready = false;
  #lastError: Error | undefined;
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #firstCache: Cache<object> | undefined;
  #switchCache: Cache<OpenVswitchTables> | undefined;
  #stopped = new AbortController();

  constructor(options: OvsdbClientOptions) {
    super();
    this.database = options.database ?? "Open_vSwitch";
    this.#logger = options.logger ?? silentLogger;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#connection = new Connection(options);
    this.#where = formatAddress(this.#connection.address);
    this.#connection.on("connected", () => this.#begin());
    this.#connection.on("disconnected", (reason, established) => this.#end(reason, established));
    this.#connection.on("probe", () => this.#guarded(() => this.#session?.probe()));
  }

  /** Connected, the schema is known and every monitor has its content. */
  get connected(): boolean {
    return this.#ready;
  }

  /** The schema of the last connection. */
  get schema(): DatabaseSchema | undefined {
    return this.#schema;
  }

  /** Why there is no connection, `undefined` while there is one. */
  get lastError(): Error | undefined {
    return this.#ready ? undefined : (this.#lastError ?? this.#connection.lastError);
  }

  /**
   * Begins to connect, and reconnects until `stop`. Resolves at the first `connected`, however long that takes: a
   * server that is not there yet is no error, `lastError` says what is being waited for. Rejects with `OVSDB_SCHEMA` or
   * `OVSDB_UNSUPPORTED`, and stops, when a monitor does not fit the server; with `OVSDB_TIMEOUT` after `timeoutMs`, if
   * given, going on trying; with `OVSDB_DISCONNECTED` when stopped.
   */
  async start(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.#stopped.signal.aborted) this.#stopped = new AbortController();
    this.#connection.start();
    await this.whenConnected(options);
  }

  /** Resolves when connected, at once if it is. Rejects as `start` does. */
  whenConnected(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.#ready) return Promise.resolve();
    const { timeoutMs } = options;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const waiter = {
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error: Error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.push(waiter);
      if (timeoutMs !== undefined) {
        timer = setTimeout(() => {
          this.#waiters = this.#waiters.filter((each) => each !== waiter);
          const cause = this.lastError;
          const why = cause === undefined ? "" : `: ${cause.message}`;
          reject(
            new OvsdbError("OVSDB_TIMEOUT", `no connection to ${this.#where} within ${timeoutMs} ms${why}`, { cause }),
          );
        }, timeoutMs);
      }
    });
  }

  /** Ends the connection for good. What is unanswered is rejected. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#connection.close();
    this.#fail(new OvsdbError("OVSDB_DISCONNECTED", `the client of ${this.#where} was stopped`));
  }

  /**
   * Watches columns of tables; the cache fills when connected (`cache.whenSynchronised`) and stays current across
   * reconnects. Throws `OVSDB_SCHEMA` at once when the schema is known and does not have a table or column.
   */
  monitor<T extends object = OpenVswitchTables>(tables: {
    readonly [N in keyof NoInfer<T> & string]?: MonitorTable;
  }): Cache<T> {
    const cache = this.#watch(tables as Readonly<Record<string, MonitorTable>>) as unknown as Cache<T>;
    this.#firstCache ??= cache as Cache<object>;
    return cache;
  }

  /**
   * Runs one transaction. When it resolves, caches show its effect. Rejects with `OvsdbTransactionError` when refused,
   * `OVSDB_DISCONNECTED` when it could not be sent, `OVSDB_FATE_UNKNOWN` when it was sent and no answer came.
   */
  async transact(transaction: Transaction, options: TransactOptions = {}): Promise<TransactionResult> {
    const { switchTimeoutMs } = options;
    const first = transaction.size;
    if (switchTimeoutMs === undefined) return this.#send(transaction, [], options);
    const count = new Transaction()
      .mutate("Open_vSwitch", [], [["next_cfg", "+=", 1]])
      .select("Open_vSwitch", [], ["next_cfg"]);
    const result = await this.#send(transaction, [count], options);
    const target = result.rows(first + 1)[0]?.["next_cfg"];
    if (typeof target !== "number") {
      throw new OvsdbError("OVSDB_PROTOCOL", "the database has no row in table Open_vSwitch; run ovs-vsctl init");
    }
    await this.#switchReached(target, switchTimeoutMs);
    return result;
  }

  /** `transact` that also waits for ovs-vswitchd, 10 s by default; then caches show what it did, such as `ofport`. */
  transactAndWait(transaction: Transaction, options: TransactOptions = {}): Promise<TransactionResult> {
    return this.transact(transaction, { switchTimeoutMs: DEFAULT_SWITCH_TIMEOUT_MS, ...options });
  }

  /**
   * Builds a transaction from the cache of the first monitor and runs it; when a `wait` (see `Transaction.verify`) finds
   * that somebody was faster, builds it again from the changed cache. `build` returns `undefined` when nothing is to be
   * done. Any other refusal, and an unknown fate, are passed on.
   */
  async transactWithRetry<T extends object = OpenVswitchTables>(
    build: (cache: Cache<T>) => Transaction | undefined,
    options: RetryOptions = {},
  ): Promise<TransactionResult | undefined> {
    const cache = this.#firstCache as Cache<T> | undefined;
    if (cache === undefined) {
      throw new OvsdbError("OVSDB_SCHEMA", "transactWithRetry reads the cache of the first monitor, and there is none");
    }
    const attempts = options.attempts ?? 10;
    for (let attempt = 1; ; attempt++) {
      if (!cache.synchronised) {
        throw new OvsdbError("OVSDB_DISCONNECTED", this.#notSent(), { cause: this.lastError });
      }
      const revision = cache.revision;
      const transaction = build(cache);
      if (transaction === undefined) return undefined;
      try {
        return await this.transact(transaction, options);
      } catch (error) {
        const conflict = error instanceof OvsdbTransactionError && error.code === "OVSDB_CONFLICT";
        if (!conflict || attempt >= attempts) throw error;
        this.#logger.debug({ attempt, error: error.message }, "transaction met a conflict, building it again");
        await newer(cache, revision, CONFLICT_WAIT_MS * attempt);
      }
    }
  }

  #watch(tables: Readonly<Record<string, MonitorTable>>): Cache {
    const monitor = new Monitor(`monitor-${this.#monitors.size + 1}`, tables);
    if (this.#schema !== undefined) monitor.request(this.#schema, MONITOR_METHODS[0]);
    this.#monitors.set(monitor.id, monitor);
    // While the first exchange is under way, `#handshake` will come to it.
    if (this.#ready && this.#session !== undefined) this.#request(this.#session, monitor, 0);
    return monitor.cache;
  }

  #send(transaction: Transaction, more: readonly Transaction[], options: TransactOptions): Promise<TransactionResult> {
    const session = this.#session;
    const schema = this.#schema;
    if (!this.#ready || session === undefined || schema === undefined) {
      throw new OvsdbError("OVSDB_DISCONNECTED", this.#notSent(), { cause: this.lastError });
    }
    const whole = transaction.concat(more);
    const operations = whole.encode(schema);
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    return new Promise((resolve, reject) => {
      try {
        session.call("transact", [schema.name, ...operations], timeoutMs, (error, result) => {
          if (error?.code === "OVSDB_TIMEOUT") {
            reject(fateUnknown(`${this.#where} did not answer within ${timeoutMs} ms`, error));
          } else if (error !== undefined) {
            reject(error);
          } else {
            try {
              resolve(whole.decode(schema, result));
            } catch (refusal) {
              reject(refusal);
            }
          }
        });
      } catch (cause) {
        reject(notQueued(cause));
      }
    });
  }

  #notSent(): string {
    const why = this.lastError === undefined ? "" : ` (${this.lastError.message})`;
    return `the transaction was not sent: not connected to ${this.#where}${why}; wait for "connected" and build it again`;
  }

  async #switchReached(target: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const { signal } = this.#stopped;
    this.#switchCache ??= this.#watch({
      Open_vSwitch: { columns: ["cur_cfg"] },
    }) as unknown as Cache<OpenVswitchTables>;
    const cache = this.#switchCache;
    for (;;) {
      const current = cache.find("Open_vSwitch", () => true)?.cur_cfg;
      if (current !== undefined && current >= target) {
        await this.#settled();
        return;
      }
      if (signal.aborted) {
        throw new OvsdbError(
          "OVSDB_DISCONNECTED",
          "the change is committed, but the client was stopped before the switch applied it",
        );
      }
      const left = deadline - performance.now();
      if (left <= 0) {
        throw new OvsdbError(
          "OVSDB_SWITCH_TIMEOUT",
          `the change is committed, but the switch did not apply it within ${timeoutMs} ms (next_cfg ${target}, cur_cfg ` +
            `${current ?? "unknown"}); ovs-vswitchd may be down or busy, look at its process and log`,
        );
      }
      await newer(cache, cache.revision, left, signal);
    }
  }

  /**
   * Resolves when what the server sent so far has arrived: it sends one change to several monitors in several messages,
   * and the one that was waited for may be the first of them. Without a connection there is nothing to wait for.
   */
  #settled(): Promise<void> {
    return new Promise((resolve) => {
      try {
        if (this.#session === undefined) resolve();
        else this.#session.call("echo", [], this.#timeoutMs, () => resolve());
      } catch {
        resolve();
      }
    });
  }

  // The dialogue of one connection: schema, then monitors, then ready.

  #begin(): void {
    const session = new RpcSession({
      send: (text) => void this.#connection.write(text),
      onNotification: (method, params) => this.#notified(method, params),
    });
    this.#session = session;
    const framer = new JsonFramer(
      (message) => session.receive(message),
      this.#maxMessageBytes === undefined ? {} : { maxMessageBytes: this.#maxMessageBytes },
    );
    this.#connection.removeAllListeners("data");
    this.#connection.on("data", (chunk) => this.#guarded(() => framer.push(chunk)));
    this.#guarded(() => {
      session.call("get_schema", [this.database], this.#timeoutMs, (error, result) => {
        if (this.#session !== session) return;
        this.#guarded(() => {
          if (error !== undefined) throw error;
          this.#schema = parseSchema(result);
          this.#handshake(session);
        });
      });
    });
  }

  #handshake(session: RpcSession): void {
    if (this.#session !== session) return;
    const waiting = [...this.#monitors.values()].filter((monitor) => !monitor.ready);
    if (waiting.length > 0) {
      // One after the other: a server that knows no newer method refuses only the first.
      this.#request(session, waiting[0]!, 0);
      return;
    }
    this.#ready = true;
    this.#lastError = undefined;
    this.#logger.info({ address: this.#where, database: this.database }, "connected to the database");
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.resolve();
    this.#later(() => this.emit("connected"));
  }

  #request(session: RpcSession, monitor: Monitor, methodIndex: number): void {
    const method = MONITOR_METHODS[methodIndex] as MonitorMethod;
    let params: readonly unknown[];
    try {
      params = monitor.request(this.#schema!, method);
    } catch (error) {
      this.#misfit(error as Error);
      return;
    }
    this.#guarded(() => {
      session.call(method, params, this.#timeoutMs, (error, result) => {
        if (this.#session !== session) return;
        this.#guarded(() => {
          const unknown = error?.code === "OVSDB_REMOTE" && error.message.includes("unknown method");
          if (unknown && methodIndex + 1 < MONITOR_METHODS.length) {
            this.#request(session, monitor, methodIndex + 1);
            return;
          }
          if (error !== undefined) throw error;
          this.#announce(monitor.accept(result), monitor);
          if (!this.#ready) this.#handshake(session);
        });
      });
    });
  }

  #notified(method: string, params: readonly unknown[]): void {
    if (method !== "update" && method !== "update2" && method !== "update3") {
      this.#logger.debug({ method }, "notification ignored");
      return;
    }
    const monitor = typeof params[0] === "string" ? this.#monitors.get(params[0]) : undefined;
    if (monitor === undefined) {
      throw new OvsdbError(
        "OVSDB_PROTOCOL",
        `the server sent an update of monitor ${excerpt(params[0])}, which does not exist`,
      );
    }
    this.#announce(monitor.update(params), monitor);
  }

  #announce(update: CacheUpdate | undefined, monitor: Monitor): void {
    if (update === undefined) return;
    this.#later(() => monitor.cache.emit("update", update));
    this.#later(() => this.emit("update", update, monitor.cache));
  }

  /** Whatever goes wrong while talking to the server ends this connection, never the process. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#lastError = error as Error;
      this.#connection.reset(error as Error);
    }
  }

  /** A listener's own mistake surfaces as an uncaught error, but not in the middle of a chunk of messages. */
  #later(emit: () => void): void {
    try {
      emit();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #end(reason: Error, established: boolean): void {
    this.#connection.removeAllListeners("data");
    const session = this.#session;
    const wasReady = this.#ready;
    this.#session = undefined;
    this.#ready = false;
    this.#lastError = reason;
    const distrust = reason instanceof OvsdbError && reason.code === "OVSDB_PROTOCOL";
    for (const monitor of this.#monitors.values()) monitor.suspend(distrust);
    session?.end((method) =>
      fateUnknown(`the connection to ${this.#where} was lost (${reason.message})`, reason, method),
    );
    if (established) this.#logger.warn({ address: this.#where, reason: reason.message }, "database connection lost");
    else this.#logger.debug({ address: this.#where, reason: reason.message }, "database not reached");
    if (wasReady) this.#later(() => this.emit("disconnected", reason));
  }

  /** A monitor that this server cannot serve is a mistake of the program, or the wrong server: say so at the first start. */
  #misfit(error: Error): void {
    this.#logger.warn({ address: this.#where, error: error.message }, "the database does not fit");
    const waiters = this.#waiters;
    if (waiters.length === 0) {
      this.#lastError = error;
      this.#connection.reset(error);
      return;
    }
    this.#fail(error);
    void this.#connection.close();
  }

  #fail(error: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
    for (const monitor of this.#monitors.values()) monitor.cache.abandon(error);
  }
}

function fateUnknown(why: string, cause: Error, method = "transact"): OvsdbError {
  if (method !== "transact") return new OvsdbError("OVSDB_DISCONNECTED", `${method} got no answer: ${why}`, { cause });
  return new OvsdbError(
    "OVSDB_FATE_UNKNOWN",
    `the transaction may or may not have been committed: ${why} before its answer; it is not sent again, read the cache once connected and decide`,
    { cause },
  );
}

/** The bytes never left: whatever the stream says, the transaction was not sent. */
function notQueued(cause: unknown): OvsdbError {
  if (cause instanceof OvsdbError) return cause;
  const { code, message } = cause as { code?: string; message: string };
  return new OvsdbError(
    code === "STREAM_OVERFLOW" ? "OVSDB_OVERFLOW" : "OVSDB_DISCONNECTED",
    `the transaction was not sent: ${message}`,
    { cause },
  );
}

/** Resolves when the cache has changed since `revision`, or after `timeoutMs`. */
function newer(cache: Cache<object>, revision: number, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  if (cache.revision !== revision || signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      cache.off("update", finish);
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, timeoutMs);
    cache.on("update", finish);
    signal?.addEventListener("abort", finish);
  });
}
