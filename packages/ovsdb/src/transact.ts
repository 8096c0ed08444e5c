import type { Row } from "./cache.ts";
import { encodeConditions, type Condition } from "./condition.ts";
import { excerpt, OvsdbError, OvsdbTransactionError } from "./errors.ts";
import {
  decodeValue,
  encodeKeys,
  encodeValue,
  isNamedUuid,
  type InputAtom,
  type InputValue,
  type NamedUuid,
  type Value,
} from "./notation.ts";
import { columnOf, tableOf, type ColumnSchema, type DatabaseSchema, type TableSchema } from "./schema.ts";

/** Column values to write; a column that is absent keeps its value (update) or gets its default (insert). */
export type RowInput = Readonly<Record<string, InputValue>>;

/** Which rows: one by UUID, one that the same transaction makes, those equal in the given columns, or by conditions (none: all rows). */
export type Where = string | NamedUuid | RowInput | readonly Condition[];

/**
 * <mutation> of RFC 7047 section 5.1. Arithmetic on numbers; `insert` and `delete` on sets and maps. `delete` of a map
 * takes an object (exactly these pairs) or an array (these keys, whatever their value).
 */
export type Mutation = readonly [
  column: string,
  mutator: "+=" | "-=" | "*=" | "/=" | "%=" | "insert" | "delete",
  value: InputValue,
];

interface Operation {
  readonly op: string;
  readonly table?: string;
  readonly columns: readonly string[];
  encode(schema: DatabaseSchema): Record<string, unknown>;
}

/** Builds one transaction (RFC 7047 section 4.1.3): applied as a whole or not at all, in order. */
export class Transaction {
  readonly #operations: Operation[] = [];
  #names = 0;

  get size(): number {
    return this.#operations.length;
  }

  /** Makes a row. The result stands for its UUID in this transaction, and in `TransactionResult.uuid` afterwards. */
  insert(table: string, row: RowInput): NamedUuid {
    const name = `row${++this.#names}`;
    this.#add("insert", table, Object.keys(row), (schema) => ({
      row: encodeRow(schema, table, row),
      "uuid-name": name,
    }));
    return { namedUuid: name };
  }

  update(table: string, where: Where, row: RowInput): this {
    return this.#add("update", table, Object.keys(row), (schema) => ({
      where: encodeWhere(schema, table, where),
      row: encodeRow(schema, table, row),
    }));
  }

  mutate(table: string, where: Where, mutations: readonly Mutation[]): this {
    return this.#add(
      "mutate",
      table,
      mutations.map(([column]) => column),
      (schema) => ({
        where: encodeWhere(schema, table, where),
        mutations: mutations.map((mutation) => encodeMutation(tableOf(schema, table), mutation)),
      }),
    );
  }

  /**
   * Writes these pairs of a map and leaves its others alone. (The mutator `insert` does not: it keeps the value of a
   * key that is there.)
   */
  setPairs(table: string, where: Where, column: string, pairs: Readonly<Record<string, InputAtom>>): this {
    return this.mutate(table, where, [
      [column, "delete", Object.keys(pairs)],
      [column, "insert", pairs],
    ]);
  }

  delete(table: string, where: Where): this {
    return this.#add("delete", table, [], (schema) => ({ where: encodeWhere(schema, table, where) }));
  }

  /** Reads rows; they come back in `TransactionResult.rows(index)`. */
  select(table: string, where: Where, columns: readonly string[]): this {
    return this.#add("select", table, columns, (schema) => {
      for (const column of columns) columnOf(tableOf(schema, table), column);
      return { where: encodeWhere(schema, table, where), columns };
    });
  }

  /**
   * Refuses the transaction (`OVSDB_CONFLICT`) unless the rows that `where` finds have exactly (`==`), or not (`!=`),
   * these values in `columns`. `timeoutMs` is how long the server waits for it to become true; 0 asks once.
   */
  wait(
    table: string,
    where: Where,
    columns: readonly string[],
    rows: readonly RowInput[],
    options: { until?: "==" | "!="; timeoutMs?: number } = {},
  ): this {
    return this.#add("wait", table, columns, (schema) => ({
      timeout: options.timeoutMs ?? 0,
      where: encodeWhere(schema, table, where),
      columns,
      until: options.until ?? "==",
      rows: rows.map((row) => encodeRow(schema, table, row)),
    }));
  }

  /** Refuses the transaction (`OVSDB_CONFLICT`) if any of these columns is no longer what the cached `row` says. */
  verify(table: string, row: object, columns: readonly string[]): this {
    const cached = row as Row;
    const values = Object.fromEntries(columns.map((column) => [column, cached[column]]));
    return this.wait(table, cached._uuid, columns, [values]);
  }

  /** A remark for the database's log, as `ovsdb-tool show-log` prints it. */
  comment(text: string): this {
    return this.#add("comment", undefined, [], () => ({ comment: text }));
  }

  /** For the client: these operations, then those of the others. Only the first may insert. */
  concat(others: readonly Transaction[]): Transaction {
    const whole = new Transaction();
    for (const each of [this, ...others]) whole.#operations.push(...each.#operations);
    whole.#names = this.#names;
    return whole;
  }

  /** For the client. Throws `OVSDB_SCHEMA` that names the operation. */
  encode(schema: DatabaseSchema): Record<string, unknown>[] {
    return this.#operations.map((operation, index) => {
      try {
        return { op: operation.op, ...operation.encode(schema) };
      } catch (error) {
        if (!(error instanceof OvsdbError)) throw error;
        throw new OvsdbError(
          error.code,
          `operation ${index + 1}, ${operation.op}${operation.table === undefined ? "" : ` of table ${operation.table}`}: ${error.message}`,
          { cause: error },
        );
      }
    });
  }

  /** For the client: reads the server's answer. Throws `OvsdbTransactionError`, or `OVSDB_PROTOCOL`. */
  decode(schema: DatabaseSchema, result: unknown): TransactionResult {
    if (!Array.isArray(result)) throw malformed(result);
    const results = result as unknown[];
    for (const [index, each] of results.entries()) {
      if (typeof each === "object" && each !== null && typeof (each as { error?: unknown }).error === "string") {
        throw this.#refusal(index, each as { error: string; details?: unknown });
      }
    }
    if (results.length !== this.#operations.length) throw malformed(result);
    const uuids = new Map<string, string>();
    const counts: number[] = [];
    const rows: Row[][] = [];
    let inserted = 0;
    for (const [index, operation] of this.#operations.entries()) {
      const each = (results[index] ?? {}) as { uuid?: unknown; count?: unknown; rows?: unknown };
      counts.push(typeof each.count === "number" ? each.count : 0);
      rows.push([]);
      if (operation.op === "insert") {
        const uuid = Array.isArray(each.uuid) ? (each.uuid as unknown[])[1] : undefined;
        if (typeof uuid !== "string") throw malformed(each);
        uuids.set(`row${++inserted}`, uuid);
      } else if (operation.op === "select") {
        if (!Array.isArray(each.rows)) throw malformed(each);
        rows[index] = each.rows.map((row) => decodeRow(tableOf(schema, operation.table!), row));
      }
    }
    return {
      uuid(reference) {
        const uuid = uuids.get(reference.namedUuid);
        if (uuid === undefined) {
          throw new OvsdbError("OVSDB_SCHEMA", `${reference.namedUuid} was not inserted by this transaction`);
        }
        return uuid;
      },
      count: (index) => counts[index] ?? 0,
      rows: (index) => rows[index] ?? [],
    };
  }

  #add(
    op: string,
    table: string | undefined,
    columns: readonly string[],
    encode: (schema: DatabaseSchema) => Record<string, unknown>,
  ): this {
    this.#operations.push(
      table === undefined
        ? { op, columns, encode }
        : { op, table, columns, encode: (schema) => ({ table, ...encode(schema) }) },
    );
    return this;
  }

  #refusal(index: number, { error, details }: { error: string; details?: unknown }): OvsdbTransactionError {
    const operation = this.#operations[index];
    const { code, remedy } = REFUSALS[error] ?? {
      code: "OVSDB_TRANSACTION",
      remedy: "see ovsdb-server's log for more",
    };
    return new OvsdbTransactionError({
      code: operation?.op === "wait" && error === "timed out" ? "OVSDB_CONFLICT" : code,
      index,
      operation: operation?.op ?? "commit",
      table: operation?.table,
      columns: operation?.columns ?? [],
      error,
      details: typeof details === "string" ? details : undefined,
      remedy,
    });
  }
}

/** What a transaction answered; positions count operations from 0 in the order they were added. */
export interface TransactionResult {
  /** The UUID of an inserted row. */
  uuid(reference: NamedUuid): string;
  /** Rows that an update, mutate or delete touched. */
  count(index: number): number;
  /** Rows that a select found. */
  rows(index: number): readonly Row[];
}

/** Errors of RFC 7047 sections 3.1, 4.1.3 and 5.2, and what to do about each. */
const REFUSALS: Readonly<Record<string, { code: OvsdbError["code"]; remedy: string }>> = {
  "timed out": {
    code: "OVSDB_TRANSACTION",
    remedy: "another client changed these rows; read them again and build the transaction anew",
  },
  "constraint violation": {
    code: "OVSDB_CONSTRAINT",
    remedy: "the value is outside what the schema allows, or a row with this unique value exists already",
  },
  "referential integrity violation": {
    code: "OVSDB_CONSTRAINT",
    remedy:
      "a row that is still referred to cannot be deleted, and a reference needs its row; change both in one transaction",
  },
  "domain error": { code: "OVSDB_CONSTRAINT", remedy: "the arithmetic has no result; look at the row's present value" },
  "range error": {
    code: "OVSDB_CONSTRAINT",
    remedy: "the result does not fit the column; look at the row's present value",
  },
  "not owner": { code: "OVSDB_TRANSACTION", remedy: "another client holds the lock" },
  "I/O error": {
    code: "OVSDB_TRANSACTION",
    remedy: "ovsdb-server cannot write its file; look at the disk and its log",
  },
  "resources exhausted": { code: "OVSDB_TRANSACTION", remedy: "ovsdb-server is out of memory; ask for less at once" },
  "not supported": { code: "OVSDB_UNSUPPORTED", remedy: "this server cannot do that; upgrade it" },
  "permission error": { code: "OVSDB_TRANSACTION", remedy: "this connection's role may not change these columns" },
  aborted: { code: "OVSDB_TRANSACTION", remedy: "the transaction asked for it" },
};

/** Throws `OVSDB_SCHEMA`. */
function encodeRow(schema: DatabaseSchema, tableName: string, row: RowInput): Record<string, unknown> {
  const table = tableOf(schema, tableName);
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, encodeValue(columnOf(table, name), value)]),
  );
}

function encodeWhere(schema: DatabaseSchema, tableName: string, where: Where): unknown[] {
  const table = tableOf(schema, tableName);
  if (typeof where === "string" || isNamedUuid(where)) return encodeConditions(table, [["_uuid", "==", where]]);
  if (Array.isArray(where)) return encodeConditions(table, where as readonly Condition[]);
  const equal = Object.entries(where as RowInput);
  return encodeConditions(
    table,
    equal.map(([column, value]) => [column, "==", value]),
  );
}

function encodeMutation(table: TableSchema, [name, mutator, value]: Mutation): unknown {
  const column = columnOf(table, name);
  if (mutator === "insert" || mutator === "delete") {
    if (column.kind === "map" && mutator === "delete" && Array.isArray(value)) {
      return [name, mutator, encodeKeys(column, value as readonly InputAtom[])];
    }
    // What is added or removed may be less than what the column must hold.
    const part: ColumnSchema = column.kind === "optional" ? { ...column, kind: "set", max: 1 } : { ...column, min: 0 };
    return [name, mutator, encodeValue(part, value)];
  }
  if (column.kind === "map") throw new OvsdbError("OVSDB_SCHEMA", `column ${name}: ${mutator} does not apply to a map`);
  const { min: _min, max: _max, enum: _enum, ...key } = column.key;
  return [name, mutator, encodeValue({ ...column, kind: "scalar", key }, value)];
}

function decodeRow(table: TableSchema, json: unknown): Row {
  if (typeof json !== "object" || json === null) throw malformed(json);
  const row: Record<string, Value> = {};
  for (const [name, value] of Object.entries(json)) {
    const column = table.columns.get(name);
    if (column === undefined) throw malformed(json);
    const decoded = decodeValue(column, value);
    if (decoded !== undefined) row[name] = decoded;
  }
  return row as unknown as Row;
}

function malformed(json: unknown): OvsdbError {
  return new OvsdbError("OVSDB_PROTOCOL", `the server answered a transaction with ${excerpt(json)}`);
}
