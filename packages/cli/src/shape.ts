/** Checking the shape of what came from elsewhere: each shape names the path at which a value is not as it must be. */
import { FabricctlError } from "./errors.ts";

/** Gives the value back when it has the shape, and names `path` otherwise. */
export type Shape<T> = (value: unknown, path: string) => T;

export type Fields<T> = {
  readonly [K in keyof T]-?: object extends Pick<T, K> ? Shape<T[K] | undefined> : Shape<T[K]>;
};

function wrong(path: string, expected: string, value: unknown): FabricctlError {
  const found = value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
  return new FabricctlError(
    "FABRICCTL_REPLY",
    `fabric-node's answer has ${found} where ${path} must be ${expected}; use the fabricctl of the agent's version`,
  );
}

export const string: Shape<string> = (value, path) => {
  if (typeof value !== "string") throw wrong(path, "a string", value);
  return value;
};

export const number: Shape<number> = (value, path) => {
  if (typeof value !== "number") throw wrong(path, "a number", value);
  return value;
};

export const boolean: Shape<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw wrong(path, "true or false", value);
  return value;
};

export const optional =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (value, path) =>
    value === undefined ? undefined : shape(value, path);

export const oneOf =
  <const T extends string>(...values: readonly T[]): Shape<T> =>
  (value, path) => {
    if (!values.includes(value as T)) throw wrong(path, `one of ${values.join(", ")}`, value);
    return value as T;
  };

export const list =
  <T>(shape: Shape<T>): Shape<readonly T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) throw wrong(path, "a list", value);
    for (const [index, item] of value.entries()) shape(item, `${path}[${index}]`);
    return value as readonly T[];
  };

/** Names that nobody knows beforehand, each with a value of one shape. */
export const record =
  <T>(shape: Shape<T>): Shape<Readonly<Record<string, T>>> =>
  (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(path, "an object", value);
    for (const [name, item] of Object.entries(value)) shape(item, `${path}.${name}`);
    return value as Readonly<Record<string, T>>;
  };

export const object =
  <T>(fields: Fields<T>): Shape<T> =>
  (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(path, "an object", value);
    for (const [name, shape] of Object.entries<Shape<unknown>>(fields)) {
      shape(Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined, `${path}.${name}`);
    }
    return value as T;
  };
