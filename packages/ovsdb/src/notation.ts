import { excerpt, OvsdbError } from "./errors.ts";
import type { AtomType, BaseType, ColumnSchema } from "./schema.ts";

/** A single value. UUIDs are their text; integers beyond 2^53 (only counters reach that) are rounded. */
export type Atom = string | number | boolean;

/** A column's value, by the column's kind: atom, atom or `undefined`, array, object. Arrays are sorted. */
export type Value = Atom | readonly Atom[] | Readonly<Record<string, Atom>> | undefined;

/** The row that an `insert` of the same transaction will make (RFC 7047 section 5.1, <named-uuid>). */
export interface NamedUuid {
  readonly namedUuid: string;
}

export type InputAtom = Atom | NamedUuid;

/** What a caller may give for a column: as `Value`, with references to rows that are being made, and no need to sort. */
export type InputValue = InputAtom | readonly InputAtom[] | Readonly<Record<string, InputAtom>> | undefined;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** Reads a <value> (RFC 7047 section 5.1) as the column's type has it. Throws `OVSDB_PROTOCOL`. */
export function decodeValue(column: ColumnSchema, json: unknown): Value {
  switch (column.kind) {
    case "scalar":
      return decodeAtom(column, column.key, single(column, json));
    case "optional": {
      const atoms = setElements(json);
      if (atoms.length > 1) throw malformed(column, json);
      return atoms.length === 0 ? undefined : decodeAtom(column, column.key, atoms[0]);
    }
    case "set":
      return sortAtoms(setElements(json).map((atom) => decodeAtom(column, column.key, atom)));
    case "map": {
      const map: Record<string, Atom> = {};
      for (const [key, value] of mapElements(column, json)) {
        put(map, String(decodeAtom(column, column.key, key)), decodeAtom(column, column.value!, value));
      }
      return map;
    }
  }
}

/** Writes a value as the column's type wants it. Throws `OVSDB_SCHEMA` that names what is wrong. */
export function encodeValue(column: ColumnSchema, value: InputValue): unknown {
  switch (column.kind) {
    case "scalar":
      return encodeAtom(column, column.key, value);
    case "optional":
      return value === undefined ? ["set", []] : encodeAtom(column, column.key, value);
    case "set": {
      if (!Array.isArray(value)) throw unfit(column, value, "must be an array");
      const atoms = [...new Set(value.map((atom) => JSON.stringify(encodeAtom(column, column.key, atom))))];
      checkCount(column, atoms.length);
      return ["set", atoms.map((atom) => JSON.parse(atom) as unknown)];
    }
    case "map": {
      if (typeof value !== "object" || Array.isArray(value)) throw unfit(column, value, "must be an object");
      const pairs = Object.entries(value as Record<string, InputAtom>).filter(([, each]) => each !== undefined);
      checkCount(column, pairs.length);
      return [
        "map",
        pairs.map(([key, each]) => [
          encodeAtom(column, column.key, column.key.type === "integer" ? Number(key) : key),
          encodeAtom(column, column.value!, each),
        ]),
      ];
    }
  }
}

/** The keys of a map, or the elements of a set, that a `mutate` with `delete` takes away; maps accept keys alone. */
export function encodeKeys(column: ColumnSchema, keys: readonly InputAtom[]): unknown {
  return [
    "set",
    keys.map((key) =>
      encodeAtom(column, column.key, column.kind === "map" && column.key.type === "integer" ? Number(key) : key),
    ),
  ];
}

/** What a column holds when nothing was ever written to it (RFC 7047 section 5.2.1); monitors leave such values out. */
export function defaultValue(column: ColumnSchema): Value {
  switch (column.kind) {
    case "optional":
      return undefined;
    case "set":
      return column.min === 0 ? [] : [DEFAULT_ATOMS[column.key.type]];
    case "map":
      return {};
    case "scalar":
      // The first of an enumeration is what the server takes; for strings that is the smallest.
      return column.key.enum === undefined
        ? DEFAULT_ATOMS[column.key.type]
        : (sortAtoms([...column.key.enum])[0] ?? DEFAULT_ATOMS[column.key.type]);
  }
}

const DEFAULT_ATOMS: Readonly<Record<AtomType, Atom>> = {
  integer: 0,
  real: 0,
  boolean: false,
  string: "",
  uuid: "00000000-0000-0000-0000-000000000000",
};

/**
 * Applies what a `modify` of <table-updates2> says about one column (ovsdb-server(7), "Monitor Cond"): a column that
 * holds at most one element is replaced; of a set the elements named change sides; of a map a pair that is there with
 * that value goes, any other is put.
 */
export function applyDiff(column: ColumnSchema, old: Value, json: unknown): Value {
  if (column.max <= 1) return decodeValue(column, json);
  const diff = decodeValue(column, json);
  if (column.kind === "set") {
    const elements = new Set(old as readonly Atom[]);
    for (const atom of diff as readonly Atom[]) {
      if (!elements.delete(atom)) elements.add(atom);
    }
    return sortAtoms([...elements]);
  }
  const map = { ...(old as Record<string, Atom>) };
  for (const [key, value] of Object.entries(diff as Record<string, Atom>)) {
    if (Object.hasOwn(map, key) && map[key] === value) delete map[key];
    else put(map, key, value);
  }
  return map;
}

export function valuesEqual(a: Value, b: Value): boolean {
  if (typeof a !== "object" || typeof b !== "object") return a === b;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((atom, i) => atom === b[i]);
  const left = a as Readonly<Record<string, Atom>>;
  const right = b as Readonly<Record<string, Atom>>;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && left[key] === right[key])
  );
}

/** `__proto__` is a legal key in the database and must not reach the prototype. */
function put(map: Record<string, Atom>, key: string, value: Atom): void {
  if (key === "__proto__") {
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  } else map[key] = value;
}

function sortAtoms(atoms: Atom[]): Atom[] {
  return atoms.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** A set of exactly one element may be written as the element alone. */
function setElements(json: unknown): readonly unknown[] {
  return Array.isArray(json) && json[0] === "set" && Array.isArray(json[1]) ? json[1] : [json];
}

function single(column: ColumnSchema, json: unknown): unknown {
  const elements = setElements(json);
  if (elements.length !== 1) throw malformed(column, json);
  return elements[0];
}

function mapElements(column: ColumnSchema, json: unknown): readonly [unknown, unknown][] {
  if (!Array.isArray(json) || json[0] !== "map" || !Array.isArray(json[1])) throw malformed(column, json);
  for (const pair of json[1] as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) throw malformed(column, json);
  }
  return json[1] as [unknown, unknown][];
}

function decodeAtom(column: ColumnSchema, base: BaseType, json: unknown): Atom {
  switch (base.type) {
    case "integer":
    case "real":
      if (typeof json === "number") return json;
      break;
    case "boolean":
      if (typeof json === "boolean") return json;
      break;
    case "string":
      if (typeof json === "string") return json;
      break;
    case "uuid":
      if (Array.isArray(json) && json[0] === "uuid" && typeof json[1] === "string" && UUID.test(json[1]))
        return json[1];
      break;
  }
  throw malformed(column, json);
}

function encodeAtom(column: ColumnSchema, base: BaseType, value: unknown): unknown {
  switch (base.type) {
    case "integer":
    case "real":
      if (typeof value !== "number" || !Number.isFinite(value)) throw unfit(column, value, "must be a number");
      if (base.type === "integer" && !Number.isSafeInteger(value)) throw unfit(column, value, "must be an integer");
      if (base.min !== undefined && value < base.min) throw unfit(column, value, `must be at least ${base.min}`);
      if (base.max !== undefined && value > base.max) throw unfit(column, value, `must be at most ${base.max}`);
      break;
    case "boolean":
      if (typeof value !== "boolean") throw unfit(column, value, "must be true or false");
      break;
    case "string": {
      if (typeof value !== "string") throw unfit(column, value, "must be a string");
      if (!value.isWellFormed()) throw unfit(column, value, "must be well-formed Unicode");
      const length = base.minLength === undefined && base.maxLength === undefined ? 0 : Array.from(value).length;
      if (length < (base.minLength ?? 0)) throw unfit(column, value, `must have at least ${base.minLength} characters`);
      if (length > (base.maxLength ?? Infinity)) {
        throw unfit(column, value, `must have at most ${base.maxLength} characters`);
      }
      break;
    }
    case "uuid":
      if (typeof value === "string" && UUID.test(value)) return ["uuid", value];
      if (isNamedUuid(value)) return ["named-uuid", value.namedUuid];
      throw unfit(
        column,
        value,
        `must be the UUID of a row${base.refTable === undefined ? "" : ` of ${base.refTable}`}`,
      );
  }
  if (base.enum !== undefined && !base.enum.has(value)) {
    throw unfit(column, value, `must be one of ${[...base.enum].join(", ")}`);
  }
  return value;
}

export function isNamedUuid(value: unknown): value is NamedUuid {
  return typeof value === "object" && value !== null && typeof (value as NamedUuid).namedUuid === "string";
}

function checkCount(column: ColumnSchema, count: number): void {
  if (count < column.min) {
    throw new OvsdbError("OVSDB_SCHEMA", `column ${column.name} needs at least ${column.min} elements, not ${count}`);
  }
  if (count > column.max) {
    throw new OvsdbError("OVSDB_SCHEMA", `column ${column.name} holds at most ${column.max} elements, not ${count}`);
  }
}

function unfit(column: ColumnSchema, value: unknown, rule: string): OvsdbError {
  return new OvsdbError("OVSDB_SCHEMA", `column ${column.name}: ${excerpt(value)} ${rule}`);
}

function malformed(column: ColumnSchema, json: unknown): OvsdbError {
  return new OvsdbError("OVSDB_PROTOCOL", `the server sent ${excerpt(json)} for column ${column.name}`);
}
