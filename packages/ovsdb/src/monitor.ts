import { Cache, type CacheUpdate, type RowDelta } from "./cache.ts";
import { excerpt, OvsdbError } from "./errors.ts";
import { encodeConditions, type Condition } from "./condition.ts";
import { isUuid } from "./notation.ts";
import { columnOf, tableOf, type ColumnSchema, type DatabaseSchema } from "./schema.ts";

/** What to watch of one table: these columns, of the rows for which every condition holds (all rows by default). */
export interface MonitorTable {
  readonly columns: readonly string[];
  readonly where?: readonly Condition[];
}

/** The methods that watch, newest first; an older server does not know the newer ones. */
export const MONITOR_METHODS = ["monitor_cond_since", "monitor_cond", "monitor"] as const;
export type MonitorMethod = (typeof MONITOR_METHODS)[number];

/** The transaction before the first one: "send everything" (ovsdb-server(7), "Monitor Cond Since"). */
const NO_TRANSACTION = "00000000-0000-0000-0000-000000000000";

/** One monitor as it lives across connections: what was asked, how far it got, and the cache it feeds. */
export class Monitor {
  /** What the server puts on every update; also the JSON-RPC params' <monid>. */
  readonly id: string;
  readonly cache = new Cache();
  readonly #tables: Readonly<Record<string, MonitorTable>>;
  #lastTransaction = NO_TRANSACTION;
  #method: MonitorMethod = MONITOR_METHODS[0];
  #ready = false;

  constructor(id: string, tables: Readonly<Record<string, MonitorTable>>) {
    this.id = id;
    this.#tables = tables;
  }

  /** The content arrived on this connection. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The transaction up to which the cache is current; zeros when the server does not number them. */
  get lastTransaction(): string {
    return this.#lastTransaction;
  }

  /** Params of the request (RFC 7047 section 4.1.5 and ovsdb-server(7)). Throws `OVSDB_SCHEMA`, `OVSDB_UNSUPPORTED`. */
  request(schema: DatabaseSchema, method: MonitorMethod): readonly unknown[] {
    const layout = new Map<string, ColumnSchema[]>();
    const requests: Record<string, unknown> = {};
    for (const [name, { columns, where }] of Object.entries(this.#tables)) {
      const table = tableOf(schema, name);
      layout.set(
        name,
        [...new Set(columns)].map((column) => columnOf(table, column)),
      );
      if (where !== undefined && method === "monitor") {
        throw new OvsdbError(
          "OVSDB_UNSUPPORTED",
          `the monitor of table ${name} has conditions, which ovsdb-server knows since 2.6; upgrade it, or drop "where"`,
        );
      }
      const request = { columns, ...(where === undefined ? {} : { where: encodeConditions(table, where) }) };
      requests[name] = method === "monitor" ? request : [request];
    }
    this.cache.layOut(layout);
    this.#method = method;
    this.#ready = false;
    const params = [schema.name, this.id, requests];
    return method === "monitor_cond_since" ? [...params, this.#lastTransaction] : params;
  }

  /** Takes the reply to `request`. Throws `OVSDB_PROTOCOL`. */
  accept(result: unknown): CacheUpdate | undefined {
    let update: CacheUpdate | undefined;
    if (this.#method === "monitor_cond_since") {
      if (!Array.isArray(result) || result.length < 3) throw malformed(result);
      const [found, transaction, updates] = result as unknown[];
      update = this.cache.apply(readUpdates2(updates), found !== true, "resync");
      this.#setTransaction(transaction);
    } else {
      update = this.cache.apply(this.#read(result), true, "resync");
    }
    this.#ready = true;
    this.cache.setSynchronised(true);
    return update;
  }

  /** Takes the params of an `update`, `update2` or `update3` that carries this monitor's id. Throws `OVSDB_PROTOCOL`. */
  update(params: readonly unknown[]): CacheUpdate | undefined {
    if (!this.#ready) throw malformed(params);
    if (this.#method !== "monitor_cond_since") return this.cache.apply(this.#read(params[1]), false, "update");
    const update = this.cache.apply(readUpdates2(params[2]), false, "update");
    this.#setTransaction(params[1]);
    return update;
  }

  /** The connection ended. With `distrust` the next one asks for everything: what the server sent did not fit. */
  suspend(distrust: boolean): void {
    this.#ready = false;
    this.cache.setSynchronised(false);
    if (distrust) this.#lastTransaction = NO_TRANSACTION;
  }

  #read(updates: unknown): RowDelta[] {
    return this.#method === "monitor" ? readUpdates(updates) : readUpdates2(updates);
  }

  #setTransaction(id: unknown): void {
    if (typeof id !== "string" || !isUuid(id)) throw malformed(id);
    this.#lastTransaction = id;
  }
}

/** <table-updates> of RFC 7047 section 4.1.6: `new` holds every monitored column. */
function readUpdates(json: unknown): RowDelta[] {
  return rowsOf(json).map(({ table, uuid, update }): RowDelta => {
    const columns = update["new"];
    return columns === undefined
      ? { table, uuid, kind: "delete" }
      : { table, uuid, kind: "whole", columns: object(columns) };
  });
}

/** <table-updates2> of ovsdb-server(7): columns with default values are left out, modifications are differences. */
function readUpdates2(json: unknown): RowDelta[] {
  return rowsOf(json).map(({ table, uuid, update }): RowDelta => {
    if (Object.hasOwn(update, "delete")) return { table, uuid, kind: "delete" };
    if (Object.hasOwn(update, "modify")) return { table, uuid, kind: "diff", columns: object(update["modify"]) };
    return { table, uuid, kind: "whole", columns: object(update["initial"] ?? update["insert"]) };
  });
}

function rowsOf(json: unknown): { table: string; uuid: string; update: Record<string, unknown> }[] {
  return Object.entries(object(json)).flatMap(([table, rows]) =>
    Object.entries(object(rows)).map(([uuid, update]) => {
      if (!isUuid(uuid)) throw malformed(uuid);
      return { table, uuid, update: object(update) };
    }),
  );
}

function object(json: unknown): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw malformed(json);
  return json as Record<string, unknown>;
}

function malformed(json: unknown): OvsdbError {
  return new OvsdbError("OVSDB_PROTOCOL", `the server sent a malformed update: ${excerpt(json)}`);
}
