/**
 * The records of one kind, by namespace and name, as far as a list and watch has told of them. Readers see {@link Records};
 * what feeds it is {@link ListWatch}.
 */

export interface RecordListener<R> {
  /** `old` is absent for a record that is new. */
  changed?(record: R, old: R | undefined): void;
  deleted?(record: R): void;
}

/** What readers may do with a {@link Store}. */
export interface Records<R> {
  readonly size: number;
  get(name: string, namespace?: string): R | undefined;
  records(): IterableIterator<R>;
  /** Resolves when everything was listed once. */
  readonly synced: Promise<void>;
  readonly isSynced: boolean;
  /**
   * Since when (ms, the clock's time) the records may lag behind the cluster, because no watch is open; undefined while one
   * is, and before the first list.
   */
  readonly staleSince: number | undefined;
  /** Tells a listener of changes from now on; the records that are there already are not repeated. Returns how to stop. */
  subscribe(listener: RecordListener<R>): () => void;
}

/** An object as it was last seen. */
export interface Seen<R> {
  readonly uid: string;
  readonly version: string;
  readonly record: R;
}

export interface StoreOptions<R> {
  /** True when nobody needs to hear of the difference: the old record stays. */
  readonly same?: (a: R, b: R) => boolean;
  /** A listener threw: its mistake, which must not stop the others. */
  readonly onListenerError: (error: unknown) => void;
}

export class Store<R> implements Records<R> {
  readonly #options: StoreOptions<R>;
  readonly #seen = new Map<string, Seen<R>>();
  readonly #listeners = new Set<RecordListener<R>>();
  readonly #synced = Promise.withResolvers<void>();
  #isSynced = false;
  #staleSince: number | undefined;

  constructor(options: StoreOptions<R>) {
    this.#options = options;
  }

  get size(): number {
    return this.#seen.size;
  }

  get(name: string, namespace = ""): R | undefined {
    return this.#seen.get(recordKey(name, namespace))?.record;
  }

  *records(): IterableIterator<R> {
    for (const { record } of this.#seen.values()) yield record;
  }

  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  get staleSince(): number | undefined {
    return this.#staleSince;
  }

  subscribe(listener: RecordListener<R>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The object as it was last seen, for whoever feeds the store. */
  seen(key: string): Seen<R> | undefined {
    return this.#seen.get(key);
  }

  /** An object is there, in this state. One of the same name and another uid has been replaced: it is deleted first. */
  put(key: string, seen: Seen<R>): void {
    const before = this.#seen.get(key);
    if (before !== undefined && before.uid !== seen.uid) {
      this.drop(key);
      this.put(key, seen);
    } else if (before !== undefined && this.#options.same?.(before.record, seen.record) === true) {
      this.#seen.set(key, { ...seen, record: before.record });
    } else {
      this.#seen.set(key, seen);
      this.#tell((listener) => listener.changed?.(seen.record, before?.record));
    }
  }

  /** An object is gone. With `uid`, only if it is still that one. */
  drop(key: string, uid?: string): void {
    const before = this.#seen.get(key);
    if (before === undefined || (uid !== undefined && before.uid !== uid)) return;
    this.#seen.delete(key);
    this.#tell((listener) => listener.deleted?.(before.record));
  }

  /**
   * A complete list: whatever is not in it is gone. Deletions are told first, because what a deleted object held, an
   * address for example, may be held by a new one.
   */
  replace(listed: ReadonlyMap<string, Seen<R>>): void {
    for (const [key, { uid }] of this.#seen) if (listed.get(key)?.uid !== uid) this.drop(key);
    for (const [key, seen] of listed) if (this.#seen.get(key) !== seen) this.put(key, seen);
  }

  /** Everything has been listed. */
  markSynced(): void {
    this.#isSynced = true;
    this.#synced.resolve();
  }

  markFresh(): void {
    this.#staleSince = undefined;
  }

  /** The watch is lost, since this time (ms). Earlier moments stay: the records have not been fresh in between. */
  markStale(now: number): void {
    if (this.#isSynced) this.#staleSince ??= now;
  }

  #tell(call: (listener: RecordListener<R>) => void): void {
    for (const listener of this.#listeners) {
      try {
        call(listener);
      } catch (error) {
        this.#options.onListenerError(error);
      }
    }
  }
}

/** Neither part can hold a slash. */
export function recordKey(name: string, namespace = ""): string {
  return namespace === "" ? name : `${namespace}/${name}`;
}
