import { excerpt, OvsdbError } from "./errors.ts";

export type AtomType = "integer" | "real" | "boolean" | "string" | "uuid";

/** <base-type> of RFC 7047 section 3.2. */
export interface BaseType {
  readonly type: AtomType;
  readonly enum?: ReadonlySet<string | number | boolean>;
  readonly min?: number;
  readonly max?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly refTable?: string;
}

/**
 * How a column's value looks in JavaScript:
 * `scalar` an atom; `optional` an atom or `undefined`; `set` an array; `map` an object.
 */
export type ColumnKind = "scalar" | "optional" | "set" | "map";

/** <column-schema> with its <type>, RFC 7047 section 3.2. */
export interface ColumnSchema {
  readonly name: string;
  readonly kind: ColumnKind;
  readonly key: BaseType;
  readonly value?: BaseType;
  readonly min: number;
  /** `Infinity` for "unlimited". */
  readonly max: number;
  readonly mutable: boolean;
}

export interface TableSchema {
  readonly name: string;
  readonly columns: ReadonlyMap<string, ColumnSchema>;
  readonly indexes: readonly (readonly string[])[];
  readonly isRoot: boolean;
}

export interface DatabaseSchema {
  readonly name: string;
  readonly version: string;
  readonly tables: ReadonlyMap<string, TableSchema>;
}

const ATOM_TYPES: ReadonlySet<unknown> = new Set<AtomType>(["integer", "real", "boolean", "string", "uuid"]);

/** Reads a <database-schema> (RFC 7047 section 3.2), as `get_schema` returns it. Throws `OVSDB_PROTOCOL`. */
export function parseSchema(json: unknown): DatabaseSchema {
  const database = object(json, "the schema");
  const tables = new Map<string, TableSchema>();
  for (const [name, tableJson] of Object.entries(object(database["tables"], "tables"))) {
    const table = object(tableJson, `table ${name}`);
    const columns = new Map<string, ColumnSchema>();
    columns.set("_uuid", rowUuidColumn("_uuid"));
    columns.set("_version", rowUuidColumn("_version"));
    for (const [column, columnJson] of Object.entries(object(table["columns"], `columns of ${name}`))) {
      columns.set(column, parseColumn(column, object(columnJson, `column ${name}.${column}`)));
    }
    const indexes = Array.isArray(table["indexes"]) ? (table["indexes"] as string[][]) : [];
    tables.set(name, { name, columns, indexes, isRoot: table["isRoot"] === true });
  }
  return { name: String(database["name"]), version: String(database["version"]), tables };
}

/** The table, or `OVSDB_SCHEMA` with the names there are. */
export function tableOf(schema: DatabaseSchema, table: string): TableSchema {
  const found = schema.tables.get(table);
  if (found !== undefined) return found;
  throw new OvsdbError(
    "OVSDB_SCHEMA",
    `database ${schema.name} ${schema.version} has no table ${JSON.stringify(table)}; it has ${names(schema.tables)}`,
  );
}

/** The column, or `OVSDB_SCHEMA` with the names there are. */
export function columnOf(table: TableSchema, column: string): ColumnSchema {
  const found = table.columns.get(column);
  if (found !== undefined) return found;
  throw new OvsdbError(
    "OVSDB_SCHEMA",
    `table ${table.name} has no column ${JSON.stringify(column)}; it has ${names(table.columns)}`,
  );
}

function names(map: ReadonlyMap<string, unknown>): string {
  return [...map.keys()].filter((name) => !name.startsWith("_")).join(", ");
}

function rowUuidColumn(name: string): ColumnSchema {
  return { name, kind: "scalar", key: { type: "uuid" }, min: 1, max: 1, mutable: false };
}

function parseColumn(name: string, json: Record<string, unknown>): ColumnSchema {
  const mutable = json["mutable"] !== false;
  const type = json["type"];
  if (typeof type === "string") {
    return { name, kind: "scalar", key: parseBaseType(name, type), min: 1, max: 1, mutable };
  }
  const full = object(type, `type of column ${name}`);
  const key = parseBaseType(name, full["key"]);
  const min = count(name, full["min"] ?? 1);
  const max = full["max"] === "unlimited" ? Infinity : count(name, full["max"] ?? 1);
  if (full["value"] !== undefined) {
    return { name, kind: "map", key, value: parseBaseType(name, full["value"]), min, max, mutable };
  }
  const kind = max > 1 ? "set" : min === 0 ? "optional" : "scalar";
  return { name, kind, key, min, max, mutable };
}

function parseBaseType(column: string, json: unknown): BaseType {
  if (typeof json === "string") return { type: atomType(column, json) };
  const base = object(json, `type of column ${column}`);
  const type = atomType(column, base["type"]);
  const min = base[type === "real" ? "minReal" : "minInteger"];
  const max = base[type === "real" ? "maxReal" : "maxInteger"];
  const { minLength, maxLength, refTable } = base;
  return {
    type,
    ...(base["enum"] === undefined ? {} : { enum: enumAtoms(column, base["enum"]) }),
    ...(typeof min === "number" ? { min } : {}),
    ...(typeof max === "number" ? { max } : {}),
    ...(typeof minLength === "number" ? { minLength } : {}),
    ...(typeof maxLength === "number" ? { maxLength } : {}),
    ...(typeof refTable === "string" ? { refTable } : {}),
  };
}

function enumAtoms(column: string, json: unknown): ReadonlySet<string | number | boolean> {
  const atoms: unknown[] = Array.isArray(json) && json[0] === "set" && Array.isArray(json[1]) ? json[1] : [json];
  for (const atom of atoms) {
    if (typeof atom !== "string" && typeof atom !== "number" && typeof atom !== "boolean") {
      throw malformed(`enum of column ${column}`, json);
    }
  }
  return new Set(atoms as (string | number | boolean)[]);
}

function atomType(column: string, json: unknown): AtomType {
  if (!ATOM_TYPES.has(json)) throw malformed(`type of column ${column}`, json);
  return json as AtomType;
}

function count(column: string, json: unknown): number {
  if (typeof json !== "number" || !Number.isInteger(json) || json < 0)
    throw malformed(`size of column ${column}`, json);
  return json;
}

function object(json: unknown, what: string): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw malformed(what, json);
  return json as Record<string, unknown>;
}

function malformed(what: string, json: unknown): OvsdbError {
  return new OvsdbError("OVSDB_PROTOCOL", `the server's schema is malformed: ${what} is ${excerpt(json)}`);
}
