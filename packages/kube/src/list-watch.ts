/**
 * List, then watch, for ever: objects become slim records as they are read, and consumers hear of what was added, changed
 * and deleted, whatever happened to the connection in between. A clean end or a reset resumes from the last
 * resourceVersion; 410 lists anew and reports the difference.
 */
import { Backoff } from "./backoff.ts";
import { systemClock, type Clock } from "./clock.ts";
import { isGone, KubeError, refusal } from "./errors.ts";
import { LineSplitter } from "./lines.ts";
import type { KubeClient } from "./request.ts";
import type { Resource, Selection } from "./resource.ts";
import { Resumption, type Step } from "./resumption.ts";
import { recordKey, Store, type RecordListener, type Records, type Seen } from "./store.ts";

export interface ListWatchHandlers<R> extends RecordListener<R> {
  /** The first list is complete, and again after every list anew. */
  synced?(): void;
  /** The connection was lost or refused, or an object could not be read; what is to be done next follows by itself. */
  failed?(error: unknown): void;
}

export interface ListWatchOptions<R> {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly selection?: Selection;
  /**
   * Keeps what is needed of an object; undefined drops it. Called right after its JSON was read. An object at which it
   * throws is reported and left as it was last known.
   */
  readonly select: (raw: unknown) => R | undefined;
  readonly handlers?: ListWatchHandlers<R>;
  /** True when nobody needs to hear of the difference between two states of an object. */
  readonly same?: (a: R, b: R) => boolean;
  /** Objects in a page of a list; default 500. */
  readonly pageSize?: number;
  /** Without a byte for so long (ms) a watch is taken for dead; default 120,000, twice what passes between bookmarks. */
  readonly silence?: number;
  /** The longest line of a watch (bytes); default 16 MiB. */
  readonly lineLimit?: number;
  readonly backoff?: Backoff;
  readonly clock?: Clock;
  /** 0 inclusive to 1 exclusive */
  readonly random?: () => number;
}

interface RawMetadata {
  readonly name?: unknown;
  readonly namespace?: unknown;
  readonly uid?: unknown;
  readonly resourceVersion?: unknown;
}

/** What every object says of itself. */
interface Identity {
  readonly key: string;
  readonly uid: string;
  readonly version: string;
}

const defaultLineLimit = 16 * 1024 * 1024;
/** For one page (ms). */
const pageTimeout = 60_000;
/** A server ends a watch by itself after this time (s), and as much again at random, so that not all end at once. */
const watchSeconds = 240;

export class ListWatch<R> {
  readonly #options: ListWatchOptions<R>;
  readonly #store: Store<R>;
  readonly #abort = new AbortController();
  readonly #resumption: Resumption;
  readonly #clock: Clock;
  readonly #random: () => number;
  #running: Promise<void> | undefined;
  #connected = false;

  constructor(options: ListWatchOptions<R>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#resumption = new Resumption(options.backoff ?? new Backoff({ random: this.#random, clock: this.#clock }));
    this.#store = new Store<R>({
      ...(options.same === undefined ? {} : { same: options.same }),
      onListenerError: (error) => this.#failed(error),
    });
    if (options.handlers !== undefined) this.#store.subscribe(options.handlers);
  }

  /** The records, by name, with listeners of their own. */
  get store(): Records<R> {
    return this.#store;
  }

  /** A list was completed at least once. */
  get synced(): boolean {
    return this.#store.isSynced;
  }

  /** A watch is open now. */
  get connected(): boolean {
    return this.#connected;
  }

  get size(): number {
    return this.#store.size;
  }

  records(): IterableIterator<R> {
    return this.#store.records();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is under way any more. Records stay readable. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    let step: Step = this.#resumption.begin();
    while (!signal.aborted) {
      if (step.delay > 0) await this.#clock.wait(step.delay, signal);
      if (signal.aborted) break;
      step = step.action === "list" ? await this.#list(step.paged) : await this.#watch(step.version);
    }
  }

  async #list(paged: boolean): Promise<Step> {
    try {
      const version = this.#store.size === 0 ? await this.#listFirst(paged) : await this.#listAnew(paged);
      if (version === undefined || version === "") {
        throw new KubeError("KUBE_PROTOCOL", `the list of ${this.#options.resource.plural} has no resourceVersion`);
      }
      this.#store.markSynced();
      this.#guarded(() => this.#options.handlers?.synced?.());
      return this.#resumption.listed(version);
    } catch (error) {
      if (!this.#abort.signal.aborted) {
        this.#store.markStale(this.#clock.now());
        this.#failed(error);
      }
      return this.#resumption.listFailed(error);
    }
  }

  /** Nothing is known yet, so nothing can be gone: records are handed on page by page. */
  #listFirst(paged: boolean): Promise<string | undefined> {
    return this.#pages(paged, (raw) => {
      const identity = this.#identify(raw);
      if (identity === undefined) return;
      const record = this.#select(raw, identity);
      if (record.known && record.value !== undefined) {
        this.#store.put(identity.key, { uid: identity.uid, version: identity.version, record: record.value });
      }
    });
  }

  /** The difference to what is known, told once the list is complete. */
  async #listAnew(paged: boolean): Promise<string | undefined> {
    const listed = new Map<string, Seen<R>>();
    const version = await this.#pages(paged, (raw) => {
      const identity = this.#identify(raw);
      if (identity === undefined) return;
      const { key, uid, version } = identity;
      const before = this.#store.seen(key);
      if (before !== undefined && before.uid === uid && before.version === version) {
        listed.set(key, before);
        return;
      }
      const record = this.#select(raw, identity);
      if (!record.known) {
        if (before !== undefined && before.uid === uid) listed.set(key, before);
      } else if (record.value !== undefined) {
        listed.set(key, { uid, version, record: record.value });
      }
    });
    if (version !== undefined && version !== "") this.#store.replace(listed);
    return version;
  }

  #pages(paged: boolean, take: (raw: unknown) => void): Promise<string | undefined> {
    const { client, resource, selection = {}, pageSize } = this.#options;
    const options = { signal: this.#abort.signal, timeout: pageTimeout, retry: false };
    return client.eachPage(resource, selection, paged ? pageSize : 0, options, (items) => items.forEach(take));
  }

  /** Reads one watch to its end. */
  async #watch(from: string): Promise<Step> {
    const { client, resource, selection = {}, silence = 120_000, lineLimit = defaultLineLimit } = this.#options;
    const silent = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, silent.signal]);
    const watchdog = setTimeout(() => silent.abort(), silence);
    let failure: unknown;
    try {
      const timeoutSeconds = Math.round(watchSeconds * (1 + this.#random()));
      const body = await client.watch(resource, { ...selection, resourceVersion: from, timeoutSeconds }, signal);
      this.#resumption.watchOpened(this.#clock.now());
      this.#connected = true;
      this.#store.markFresh();
      const lines = new LineSplitter(lineLimit);
      let version = from;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        watchdog.refresh();
        for (const line of this.#split(lines, chunk)) {
          const reached = this.#event(line, version);
          if (reached === undefined) continue;
          version = reached;
          this.#resumption.progressed(version);
        }
      }
    } catch (error) {
      failure = silent.signal.aborted
        ? new KubeError("KUBE_TIMEOUT", `the watch of ${resource.plural} was silent for ${silence} ms`)
        : this.#lost(error);
    } finally {
      clearTimeout(watchdog);
      this.#connected = false;
    }
    if (!this.#abort.signal.aborted) {
      this.#store.markStale(this.#clock.now());
      if (failure !== undefined && !isGone(failure)) this.#failed(failure);
    }
    return this.#resumption.watchEnded(failure, this.#clock.now());
  }

  #lost(error: unknown): unknown {
    if (error instanceof KubeError) return error;
    const { client, resource } = this.#options;
    const message = `the watch of ${resource.plural} at ${client.server} broke: ${(error as Error).message}`;
    return new KubeError("KUBE_UNREACHABLE", message, { cause: error });
  }

  *#split(lines: LineSplitter, chunk: Buffer): Generator<Buffer, void, void> {
    try {
      yield* lines.push(chunk);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new KubeError("KUBE_PROTOCOL", `the watch of ${this.#options.resource.plural}: ${cause.message}`, {
        cause,
      });
    }
  }

  /**
   * Takes one line.
   * @param reached the version that the watch has reached so far
   * @returns the version that it brings
   */
  #event(line: Buffer, reached: string): string | undefined {
    if (line.length === 0) return undefined;
    const { plural } = this.#options.resource;
    let event: { readonly type?: unknown; readonly object?: unknown } | null;
    try {
      event = JSON.parse(line.toString("utf8")) as typeof event;
    } catch (cause) {
      throw new KubeError("KUBE_PROTOCOL", `a watch event of ${plural} is no JSON`, { cause });
    }
    const type = event?.type;
    const raw = event?.object;
    if (typeof type !== "string" || typeof raw !== "object" || raw === null) {
      throw new KubeError("KUBE_PROTOCOL", `a watch event of ${plural} has no type or no object`);
    }
    if (type === "ERROR") {
      const { code } = raw as { code?: unknown };
      throw refusal(`watch ${plural}`, typeof code === "number" ? code : 500, raw);
    }
    if (type === "BOOKMARK") return textOf((raw as { metadata?: RawMetadata }).metadata?.resourceVersion);
    const identity = this.#identify(raw);
    if (identity === undefined) return undefined;
    const { key, uid, version } = identity;
    if (type === "DELETED") {
      this.#store.drop(key, uid);
    } else if (type === "ADDED" || type === "MODIFIED") {
      // Told before: taking it again would undo what has happened since.
      if (!isLater(version, reached)) return undefined;
      const record = this.#select(raw, identity);
      if (record.known) {
        if (record.value === undefined) this.#store.drop(key);
        else this.#store.put(key, { uid, version, record: record.value });
      }
    } else {
      throw new KubeError("KUBE_PROTOCOL", `a watch event of ${plural} is of the unknown type ${type.slice(0, 40)}`);
    }
    return isLater(version, reached) ? version : undefined;
  }

  /** Undefined, and reported, for what is no object of the API. */
  #identify(raw: unknown): Identity | undefined {
    const metadata = (raw as { metadata?: RawMetadata } | null | undefined)?.metadata;
    const name = textOf(metadata?.name);
    const uid = textOf(metadata?.uid);
    const version = textOf(metadata?.resourceVersion);
    if (name === undefined || uid === undefined || version === undefined) {
      const { plural } = this.#options.resource;
      this.#failed(new KubeError("KUBE_PROTOCOL", `one of the ${plural} lacks name, uid or resourceVersion; left out`));
      return undefined;
    }
    return { key: recordKey(name, textOf(metadata?.namespace)), uid, version };
  }

  #select(raw: unknown, { key }: Identity): { readonly known: boolean; readonly value: R | undefined } {
    try {
      return { known: true, value: this.#options.select(raw) };
    } catch (cause) {
      const what = `${this.#options.resource.kind} ${key}`;
      this.#failed(new KubeError("KUBE_PROTOCOL", `${what} cannot be read: ${(cause as Error).message}`, { cause }));
      return { known: false, value: undefined };
    }
  }

  #failed(error: unknown): void {
    try {
      this.#options.handlers?.failed?.(error);
    } catch {
      // Whoever fails at hearing of failures cannot be told of this one.
    }
  }

  #guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#failed(error);
    }
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/**
 * Whether a resourceVersion comes after another. They are decimal numbers of any length (API concepts, "Resource versions");
 * two that are not count as different states in the order in which they came.
 */
function isLater(version: string, reached: string): boolean {
  if (!isDecimal(version) || !isDecimal(reached)) return version !== reached;
  return version.length === reached.length ? version > reached : version.length > reached.length;
}

function isDecimal(text: string): boolean {
  return /^(?:0|[1-9][0-9]*)$/.test(text);
}
