/**
 * List, then watch, for ever: objects become slim records as they are read, and consumers hear of what was added, changed
 * and deleted, whatever happened to the connection in between. A clean end or a reset resumes from the last
 * resourceVersion; 410 lists anew and reports the difference.
 */
import { Backoff } from "./backoff.ts";
import { isGone, KubeApiError, KubeError } from "./errors.ts";
import type { KubeClient, Resource, Selection } from "./request.ts";

export interface ListWatchHandlers<R> {
  /** `old` is absent for a record that is new. */
  changed(record: R, old: R | undefined): void;
  deleted(record: R): void;
  /** The first list is complete, and again after every list anew. */
  synced?(): void;
  /** The connection was lost or refused; the next attempt follows by itself. */
  failed?(error: unknown): void;
}

export interface ListWatchOptions<R> {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly selection?: Selection;
  /** Keeps what is needed of an object; undefined drops it. Called right after its JSON was read. */
  readonly select: (raw: unknown) => R | undefined;
  readonly handlers: ListWatchHandlers<R>;
  readonly pageSize?: number;
  /** Without a byte for so long (ms) a watch is taken for dead. */
  readonly silence?: number;
}

interface RawEvent {
  readonly type?: string;
  readonly object?: {
    readonly metadata?: { readonly uid?: string; readonly resourceVersion?: string };
    readonly code?: number;
    readonly message?: string;
    readonly reason?: string;
  };
}

const maxLineBytes = 16 * 1024 * 1024;
/** A server ends a watch by itself after this time (s). */
const watchSeconds = 290;

export class ListWatch<R> {
  readonly #options: ListWatchOptions<R>;
  readonly #records = new Map<string, R>();
  readonly #abort = new AbortController();
  readonly #backoff = new Backoff();
  #running: Promise<void> | undefined;
  #synced = false;
  #connected = false;

  constructor(options: ListWatchOptions<R>) {
    this.#options = options;
  }

  /** A list was completed at least once. */
  get synced(): boolean {
    return this.#synced;
  }

  /** A watch is open now. */
  get connected(): boolean {
    return this.#connected;
  }

  get size(): number {
    return this.#records.size;
  }

  records(): IterableIterator<R> {
    return this.#records.values();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let version: string | undefined;
    while (!this.#abort.signal.aborted) {
      try {
        version ??= await this.#list();
        version = await this.#watch(version);
      } catch (error) {
        if (this.#abort.signal.aborted) break;
        this.#connected = false;
        if (isGone(error)) {
          version = undefined;
        } else {
          version = error instanceof WatchEnded ? error.version : version;
          const cause = error instanceof WatchEnded ? error.cause : error;
          this.#options.handlers.failed?.(cause);
          const asked = cause instanceof KubeApiError ? cause.retryAfterMilliseconds : undefined;
          await this.#backoff.wait(this.#abort.signal, asked);
        }
      }
    }
    this.#connected = false;
  }

  async #list(): Promise<string> {
    const { client, resource, selection = {}, select, pageSize = 500 } = this.#options;
    const seen = new Set<string>();
    let token: string | undefined;
    let version = "";
    do {
      const page = await client.list(
        resource,
        { ...selection, limit: pageSize, ...(token === undefined ? {} : { continue: token }) },
        { signal: this.#abort.signal, timeout: 60_000 },
      );
      version = page.metadata?.resourceVersion ?? version;
      token = page.metadata?.continue === "" ? undefined : page.metadata?.continue;
      for (const raw of page.items ?? []) {
        const uid = uidOf(raw);
        if (uid === undefined) continue;
        const record = select(raw);
        if (record === undefined) continue;
        seen.add(uid);
        this.#put(uid, record);
      }
    } while (token !== undefined);
    for (const uid of [...this.#records.keys()]) if (!seen.has(uid)) this.#drop(uid);
    this.#synced = true;
    this.#options.handlers.synced?.();
    return version;
  }

  /** Reads one watch to its end. Returns the version to go on from; throws {@link WatchEnded} when it broke. */
  async #watch(from: string): Promise<string> {
    const { client, resource, selection = {}, silence = 120_000 } = this.#options;
    let version = from;
    const silent = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, silent.signal]);
    let watchdog = setTimeout(() => silent.abort(), silence);
    try {
      const body = await client.watch(
        resource,
        { ...selection, resourceVersion: from, timeoutSeconds: watchSeconds },
        signal,
      );
      this.#connected = true;
      let rest: Buffer[] = [];
      let restBytes = 0;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => silent.abort(), silence);
        let start = 0;
        for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
          const piece = chunk.subarray(start, end);
          const line = restBytes === 0 ? piece : Buffer.concat([...rest, piece]);
          rest = [];
          restBytes = 0;
          start = end + 1;
          version = this.#event(line) ?? version;
          this.#backoff.reset();
        }
        if (start < chunk.length) {
          rest.push(chunk.subarray(start));
          restBytes += chunk.length - start;
          if (restBytes > maxLineBytes) {
            throw new KubeError("KUBE_PROTOCOL", `a watch event of ${resource.plural} exceeds ${maxLineBytes} bytes`);
          }
        }
      }
      return version;
    } catch (error) {
      if (isGone(error)) throw error;
      const cause = silent.signal.aborted
        ? new KubeError("KUBE_TIMEOUT", `the watch of ${resource.plural} was silent for ${silence} ms`)
        : error;
      throw new WatchEnded(version, cause);
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** Takes one line; returns the resourceVersion that it brings. */
  #event(line: Buffer): string | undefined {
    if (line.length === 0) return undefined;
    let event: RawEvent;
    try {
      event = JSON.parse(line.toString("utf8")) as RawEvent;
    } catch (cause) {
      throw new KubeError("KUBE_PROTOCOL", `a watch event of ${this.#options.resource.plural} is no JSON`, { cause });
    }
    const { object } = event;
    if (event.type === "ERROR") {
      const reason = object?.reason ?? "Unknown";
      throw new KubeApiError(
        `watch ${this.#options.resource.plural}`,
        object?.code ?? 500,
        reason,
        object?.message ?? "",
      );
    }
    const version = object?.metadata?.resourceVersion;
    const uid = object?.metadata?.uid;
    if (event.type === "BOOKMARK" || uid === undefined) return version;
    if (event.type === "DELETED") {
      this.#drop(uid);
    } else {
      const record = this.#options.select(object);
      if (record === undefined) this.#drop(uid);
      else this.#put(uid, record);
    }
    return version;
  }

  #put(uid: string, record: R): void {
    const old = this.#records.get(uid);
    this.#records.set(uid, record);
    this.#options.handlers.changed(record, old);
  }

  #drop(uid: string): void {
    const old = this.#records.get(uid);
    if (old === undefined) return;
    this.#records.delete(uid);
    this.#options.handlers.deleted(old);
  }
}

/** A watch that broke after it had reached some version. */
class WatchEnded extends Error {
  readonly version: string;
  constructor(version: string, cause: unknown) {
    super("the watch ended", { cause });
    this.version = version;
  }
}

function uidOf(raw: unknown): string | undefined {
  return (raw as { metadata?: { uid?: string } } | undefined)?.metadata?.uid;
}
