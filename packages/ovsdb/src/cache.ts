import { EventEmitter } from "node:events";
import { OvsdbError } from "./errors.ts";
import { applyDiff, decodeValue, defaultValue, valuesEqual, type Value } from "./notation.ts";
import type { ColumnSchema } from "./schema.ts";

/** A row as JavaScript has it: its UUID and the monitored columns (see `Value`). Never changed in place. */
export interface Row {
  readonly _uuid: string;
  readonly [column: string]: Value;
}

/** One row that changed. `old` is absent for a new row, `new` for one that went. */
export interface RowChange<R = Row> {
  readonly table: string;
  readonly uuid: string;
  readonly old?: R;
  readonly new?: R;
}

/** Everything that one message of the server changed; usually one transaction. */
export interface CacheUpdate {
  /**
   * `initial`: the first content. `update`: a change as it happened. `resync`: what changed while there was no
   * connection, or the difference to the server's full content when it could not say.
   */
  readonly kind: "initial" | "update" | "resync";
  readonly changes: readonly RowChange[];
}

export interface CacheEvents {
  update: [update: CacheUpdate];
}

/** What a monitor says about one row, whatever the version of the monitor. */
export type RowDelta =
  | {
      readonly table: string;
      readonly uuid: string;
      readonly kind: "whole";
      readonly columns: Readonly<Record<string, unknown>>;
    }
  | {
      readonly table: string;
      readonly uuid: string;
      readonly kind: "diff";
      readonly columns: Readonly<Record<string, unknown>>;
    }
  | { readonly table: string; readonly uuid: string; readonly kind: "delete" };

/** The tables and columns of a cache, resolved against the schema. */
export type CacheLayout = ReadonlyMap<string, readonly ColumnSchema[]>;

const NO_ROWS: ReadonlyMap<string, Row> = new Map<string, Row>();

/**
 * The monitored part of the database, kept current. While there is no connection it holds the last known rows. `T`
 * names the row type per table.
 */
export class Cache<T extends object = Record<string, Row>> extends EventEmitter<CacheEvents> {
  readonly #tables = new Map<string, Map<string, Row>>();
  #layout: CacheLayout = new Map();
  #synchronised = false;
  #filled = false;
  #revision = 0;
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  /** The rows are what the server has: connected, and the content was received on this connection. */
  get synchronised(): boolean {
    return this.#synchronised;
  }

  /** Counts the updates that changed anything. */
  get revision(): number {
    return this.#revision;
  }

  /** Resolves when the rows are what the server has. Rejects when the client stops. */
  whenSynchronised(): Promise<void> {
    if (this.#synchronised) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /** The rows of a table by UUID. A live view: it changes with the database. */
  table<N extends keyof T & string>(name: N): ReadonlyMap<string, T[N]> {
    return (this.#tables.get(name) ?? NO_ROWS) as ReadonlyMap<string, T[N]>;
  }

  row<N extends keyof T & string>(table: N, uuid: string): T[N] | undefined {
    return this.table(table).get(uuid);
  }

  /** The first row for which `test` holds. */
  find<N extends keyof T & string>(table: N, test: (row: T[N]) => boolean): T[N] | undefined {
    for (const row of this.table(table).values()) if (test(row)) return row;
    return undefined;
  }

  filter<N extends keyof T & string>(table: N, test: (row: T[N]) => boolean): T[N][] {
    return [...this.table(table).values()].filter((row) => test(row));
  }

  /** For the client: which columns the rows have from now on. */
  layOut(layout: CacheLayout): void {
    this.#layout = layout;
    for (const name of layout.keys()) if (!this.#tables.has(name)) this.#tables.set(name, new Map());
  }

  /**
   * For the client: takes what the server sent. With `complete` the deltas are the whole content, and rows that are
   * not among them are gone. Throws `OVSDB_PROTOCOL`, changing nothing, when the deltas do not fit the rows.
   */
  apply(deltas: readonly RowDelta[], complete: boolean, kind: CacheUpdate["kind"]): CacheUpdate | undefined {
    const changes: RowChange[] = [];
    const seen = new Set<string>();
    for (const delta of deltas) {
      const layout = this.#layout.get(delta.table);
      const rows = this.#tables.get(delta.table);
      if (layout === undefined || rows === undefined) {
        throw new OvsdbError("OVSDB_PROTOCOL", `the server sent a row of table ${delta.table}, which is not monitored`);
      }
      const old = rows.get(delta.uuid);
      if (complete) seen.add(delta.uuid);
      if (delta.kind === "delete") {
        if (old === undefined) throw unknownRow(delta);
        changes.push({ table: delta.table, uuid: delta.uuid, old });
        continue;
      }
      if (delta.kind === "diff" && old === undefined) throw unknownRow(delta);
      const row: Record<string, Value> & { _uuid: string } = { _uuid: delta.uuid };
      let changed = old === undefined;
      for (const column of layout) {
        const before = old?.[column.name];
        let value: Value;
        if (!Object.hasOwn(delta.columns, column.name)) value = delta.kind === "diff" ? before : defaultValue(column);
        else if (delta.kind === "diff") value = applyDiff(column, before, delta.columns[column.name]);
        else value = decodeValue(column, delta.columns[column.name]);
        if (value !== undefined) row[column.name] = value;
        changed ||= !valuesEqual(before, value);
      }
      if (changed) {
        changes.push({ table: delta.table, uuid: delta.uuid, new: row, ...(old === undefined ? {} : { old }) });
      }
    }
    if (complete) {
      for (const [table, rows] of this.#tables) {
        for (const [uuid, old] of rows) if (!seen.has(uuid)) changes.push({ table, uuid, old });
      }
    }
    for (const change of changes) {
      const rows = this.#tables.get(change.table)!;
      if (change.new === undefined) rows.delete(change.uuid);
      else rows.set(change.uuid, change.new);
    }
    const first = !this.#filled;
    this.#filled = true;
    if (changes.length === 0 && !first) return undefined;
    this.#revision++;
    return { kind: first ? "initial" : kind, changes };
  }

  /** For the client: whether the rows are current. */
  setSynchronised(synchronised: boolean): void {
    this.#synchronised = synchronised;
    if (!synchronised) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.resolve();
  }

  /** For the client: there will be no content any more, those who wait for it are told why. */
  abandon(error: Error): void {
    this.#synchronised = false;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }
}

function unknownRow(delta: RowDelta): OvsdbError {
  return new OvsdbError(
    "OVSDB_PROTOCOL",
    `the server sent a ${delta.kind === "delete" ? "deletion" : "change"} of row ${delta.uuid} of ${delta.table}, which it never announced`,
  );
}
