/**
 * Values that came from JSON or YAML, and how to look into them without trusting their shape.
 */
import { ApiError } from "./status.ts";

/** A JSON object of unknown shape. */
export type JsonObject = { [field: string]: unknown };

/** Deepest nesting of a body that is accepted; deeper ones would exhaust the stack when they are serialised. */
const MAX_DEPTH = 100;
/** Most values (scalars included) in one body; bounds the expansion of YAML aliases. */
const MAX_VALUES = 500_000;

/** Whether the value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value if it is an object, else an empty one. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

/** The value if it is an array, else an empty one. */
export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** The objects in the value if it is an array; members that are no objects are left out. */
export function objectsOf(value: unknown): JsonObject[] {
  return listOf(value).filter(isObject);
}

/** The value if it is a string, else the fallback. */
export function textOf(value: unknown, fallback = ""): string {
  return typeof value === "string" ? value : fallback;
}

/** The value if it is a finite number, else the fallback. */
export function numberOf(value: unknown, fallback = 0): number {
  return typeof value === "number" && Number.isFinite(value) ? value : fallback;
}

/** The string members of the value if it is an array. */
export function textsOf(value: unknown): string[] {
  return listOf(value).filter((member) => typeof member === "string");
}

/** The object under a field, created there when absent or of another type. */
export function childObject(parent: JsonObject, field: string): JsonObject {
  const value = parent[field];
  if (isObject(value)) return value;
  const child: JsonObject = {};
  parent[field] = child;
  return child;
}

/** The value at a path of fields, undefined when any step is absent. */
export function valueAt(value: unknown, path: readonly string[]): unknown {
  let current = value;
  for (const field of path) {
    if (!isObject(current) || !Object.hasOwn(current, field)) return undefined;
    current = current[field];
  }
  return current;
}

/** Structural equality of two JSON values; absent and undefined fields are the same. */
export function deepEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((member, index) => deepEqual(member, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  for (const field of Object.keys(a)) if (!deepEqual(a[field], b[field])) return false;
  for (const field of Object.keys(b)) if (b[field] !== undefined && !Object.hasOwn(a, field)) return false;
  return true;
}

/** A deep copy of a JSON value. */
export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map((member) => clone<unknown>(member)) as T;
  if (!isObject(value)) return value;
  const copy: JsonObject = {};
  for (const field of Object.keys(value)) copy[field] = clone(value[field]);
  return copy as T;
}

/**
 * Refuses what later code could not handle safely: nesting beyond 100 levels, more than 500,000 values, a field named
 * `__proto__`, and values that JSON has no form for (YAML can make dates, maps and non-finite numbers).
 * @throws ApiError BadRequest
 */
export function checkJson(root: unknown): void {
  const pending: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }];
  let count = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, depth } = next;
    if (++count > MAX_VALUES) throw ApiError.badRequest(`the body holds more than ${MAX_VALUES} values`);
    if (depth > MAX_DEPTH) throw ApiError.badRequest(`the body is nested deeper than ${MAX_DEPTH} levels`);
    if (Array.isArray(value)) {
      for (const member of value) pending.push({ value: member, depth: depth + 1 });
    } else if (typeof value === "object" && value !== null) {
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null) {
        throw ApiError.badRequest("the body holds a value that JSON has no form for");
      }
      for (const [field, member] of Object.entries(value)) {
        if (field === "__proto__") throw ApiError.badRequest("a field may not be named __proto__");
        pending.push({ value: member, depth: depth + 1 });
      }
    } else if (typeof value === "number" ? !Number.isFinite(value) : typeof value === "bigint") {
      throw ApiError.badRequest("the body holds a number that JSON has no form for");
    }
  }
}
