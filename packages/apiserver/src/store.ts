/**
 * Objects by resource and key, every change numbered, with a bounded history of changes. The number is the
 * `resourceVersion`: one counter for all resources, as etcd's revision is.
 */
import { ApiError } from "./status.ts";
import type { KubeObject } from "./object.ts";

/** One stored state of one object. Immutable. */
export interface Stored {
  readonly key: string;
  readonly revision: number;
  readonly object: KubeObject;
  /** The object serialised in its stored version. */
  readonly json: string;
}

/** One change. */
export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: string;
  readonly revision: number;
  /** The new state; for a deletion the last one, carrying the revision of the deletion. */
  readonly current: Stored;
  readonly previous: Stored | undefined;
  /** The encoded watch event, made once however many watchers there are. Filled by the watch code. */
  encoded?: Buffer;
}

/** Where changes are made durable before they become visible. */
export interface ChangeLog {
  put(resource: string, stored: Stored): void;
  remove(resource: string, key: string, revision: number, json: string): void;
}

/** Bounds of the history. */
export interface HistoryLimits {
  /** Most changes kept. */
  changes: number;
  /** Most characters of serialised objects kept by these changes. */
  characters: number;
}

interface Table {
  entries: Map<string, Stored>;
  /** Keys in order; undefined after one came or went. */
  sorted: string[] | undefined;
  listeners: Set<(change: Change) => void>;
}

/** `namespace/name`, or `name` when the object has no namespace. */
export function storeKey(namespace: string, name: string): string {
  return namespace === "" ? name : `${namespace}/${name}`;
}

/** The store. All operations are synchronous, so each is atomic. */
export class Store {
  readonly #tables = new Map<string, Table>();
  readonly #limits: HistoryLimits;
  #history: Change[] = [];
  /** Index of the oldest change kept; the array is trimmed now and then, not for every change. */
  #first = 0;
  #characters = 0;
  #revision: number;
  /** Changes up to this revision are forgotten. */
  #forgotten: number;
  #log: ChangeLog | undefined;
  readonly #followers = new Set<(change: Change) => void>();

  constructor(limits: HistoryLimits, revision = 1) {
    this.#limits = limits;
    this.#revision = revision;
    this.#forgotten = revision;
  }

  /** The number of the latest change. */
  get revision(): number {
    return this.#revision;
  }

  /** The oldest revision from which {@link since} can answer. */
  get oldest(): number {
    return this.#forgotten;
  }

  /** From now on every change goes to the log first. */
  attach(log: ChangeLog): void {
    this.#log = log;
  }

  /** The revision that the next change gets. */
  get next(): number {
    return this.#revision + 1;
  }

  get(resource: string, key: string): Stored | undefined {
    return this.#tables.get(resource)?.entries.get(key);
  }

  /** How many objects of a resource there are. */
  count(resource: string): number {
    return this.#tables.get(resource)?.entries.size ?? 0;
  }

  /** All resources that have or had objects. */
  resources(): string[] {
    return [...this.#tables.keys()];
  }

  /**
   * Stores a new state; its `metadata.resourceVersion` is set here. The object belongs to the store from now on.
   */
  put(resource: string, key: string, object: KubeObject): Stored {
    const revision = this.#revision + 1;
    object.metadata.resourceVersion = String(revision);
    return this.#apply(resource, { key, revision, object, json: JSON.stringify(object) });
  }

  /** Removes an object; watchers see `object` (its last state) with the revision of the deletion. */
  remove(resource: string, key: string, object: KubeObject): Stored {
    const revision = this.#revision + 1;
    const last: KubeObject = { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
    const stored: Stored = { key, revision, object: last, json: JSON.stringify(last) };
    this.#log?.remove(resource, key, revision, stored.json);
    this.#drop(resource, stored);
    return stored;
  }

  /** Puts back what a log holds. Neither logged nor announced, but remembered in the history. */
  restore(type: "put" | "remove" | "base", resource: string, stored: Stored): void {
    if (type === "base") {
      const table = this.#table(resource);
      table.entries.set(stored.key, stored);
      table.sorted = undefined;
    } else if (type === "put") this.#apply(resource, stored, false);
    else this.#drop(resource, stored);
  }

  /** Starts counting at a revision; everything before it counts as forgotten. For an empty or just restored store. */
  startAt(revision: number): void {
    this.#revision = revision;
    this.#forgotten = revision;
  }

  #apply(resource: string, stored: Stored, log = true): Stored {
    if (log) this.#log?.put(resource, stored);
    const table = this.#table(resource);
    const previous = table.entries.get(stored.key);
    table.entries.set(stored.key, stored);
    if (previous === undefined) table.sorted = undefined;
    this.#announce(table, {
      type: previous === undefined ? "ADDED" : "MODIFIED",
      resource,
      revision: stored.revision,
      current: stored,
      previous,
    });
    return stored;
  }

  #drop(resource: string, last: Stored): void {
    const table = this.#table(resource);
    const previous = table.entries.get(last.key);
    table.entries.delete(last.key);
    table.sorted = undefined;
    this.#announce(table, { type: "DELETED", resource, revision: last.revision, current: last, previous });
  }

  #announce(table: Table, change: Change): void {
    this.#revision = change.revision;
    this.#history.push(change);
    this.#characters += change.current.json.length;
    while (
      this.#history.length - this.#first > this.#limits.changes ||
      (this.#characters > this.#limits.characters && this.#history.length - this.#first > 1)
    ) {
      const forgotten = this.#history[this.#first]!;
      this.#forgotten = forgotten.revision;
      this.#characters -= forgotten.current.json.length;
      this.#first++;
    }
    if (this.#first > 1024 && this.#first * 2 > this.#history.length) {
      this.#history = this.#history.slice(this.#first);
      this.#first = 0;
    }
    for (const listener of table.listeners) listener(change);
    for (const follower of this.#followers) follower(change);
  }

  #table(resource: string): Table {
    let table = this.#tables.get(resource);
    if (table === undefined) {
      table = { entries: new Map(), sorted: undefined, listeners: new Set() };
      this.#tables.set(resource, table);
    }
    return table;
  }

  /** The objects of a resource in key order, of one namespace if one is given. */
  list(resource: string, namespace = ""): Stored[] {
    const table = this.#tables.get(resource);
    if (table === undefined) return [];
    table.sorted ??= [...table.entries.keys()].sort(compareKeys);
    const result: Stored[] = [];
    if (namespace === "") {
      for (const key of table.sorted) result.push(table.entries.get(key)!);
      return result;
    }
    const prefix = `${namespace}/`;
    for (let at = lowerBound(table.sorted, prefix); at < table.sorted.length; at++) {
      const key = table.sorted[at]!;
      if (!key.startsWith(prefix)) break;
      result.push(table.entries.get(key)!);
    }
    return result;
  }

  /**
   * The objects as they were right after a revision, found by undoing the changes since.
   * @throws ApiError Expired when the history does not reach back that far
   */
  listAt(resource: string, namespace: string, revision: number): Stored[] {
    if (revision >= this.#revision) return this.list(resource, namespace);
    if (revision < this.#forgotten) throw this.#expired(revision);
    const past = new Map(this.list(resource, namespace).map((stored) => [stored.key, stored]));
    const prefix = `${namespace}/`;
    for (let at = this.#history.length - 1; at >= this.#first; at--) {
      const change = this.#history[at]!;
      if (change.revision <= revision) break;
      if (change.resource !== resource) continue;
      if (namespace !== "" && !change.current.key.startsWith(prefix)) continue;
      if (change.previous === undefined) past.delete(change.current.key);
      else past.set(change.current.key, change.previous);
    }
    return [...past.values()].sort((a, b) => compareKeys(a.key, b.key));
  }

  /**
   * The changes of a resource after a revision.
   * @throws ApiError Expired when some of them are forgotten
   */
  since(resource: string, revision: number): Change[] {
    if (revision < this.#forgotten) throw this.#expired(revision);
    // Binary search: a watch usually resumes near the end of a long history.
    let low = this.#first;
    let high = this.#history.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#history[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    const changes: Change[] = [];
    for (let at = low; at < this.#history.length; at++) {
      const change = this.#history[at]!;
      if (change.resource === resource) changes.push(change);
    }
    return changes;
  }

  /** Calls the listener, synchronously, for every later change of the resource. Returns what ends that. */
  subscribe(resource: string, listener: (change: Change) => void): () => void {
    const { listeners } = this.#table(resource);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Like {@link subscribe}, for the changes of all resources. */
  subscribeAll(listener: (change: Change) => void): () => void {
    this.#followers.add(listener);
    return () => void this.#followers.delete(listener);
  }

  #expired(revision: number): ApiError {
    return ApiError.expired(`too old resource version: ${revision} (${this.#forgotten})`);
  }
}

function compareKeys(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function lowerBound(keys: readonly string[], wanted: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
