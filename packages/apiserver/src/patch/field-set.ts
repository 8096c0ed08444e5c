/**
 * Sets of fields as `managedFields` holds them (FieldsV1). A path is a list of steps: `f:NAME` a field, `k:{…}` the
 * member of a keyed list, `v:…` the member of a set, and a last `.` for the member or object itself.
 */
import { deepEqual, isObject, listOf, type JsonObject } from "../json.ts";
import type { ListKinds } from "./list-keys.ts";

/** A set of paths, each the JSON of its steps. */
export type FieldSet = Set<string>;

/** Values that keys have when a member leaves them out. */
const KEY_DEFAULTS: Record<string, unknown> = { protocol: "TCP" };

/** The steps of a path in a set. */
export function stepsOf(path: string): string[] {
  return JSON.parse(path) as string[];
}

/** The step to a member of a keyed list. */
export function keyStep(member: unknown, keys: readonly string[]): string {
  const identity: JsonObject = {};
  for (const key of keys) {
    const value = isObject(member) ? (member[key] ?? KEY_DEFAULTS[key]) : undefined;
    if (value !== undefined) identity[key] = value;
  }
  return `k:${JSON.stringify(identity)}`;
}

/** The leaves of a value below `fields` (names, for the list kinds) and `steps`. */
export function collectFields(
  value: unknown,
  kinds: ListKinds,
  fields: readonly string[] = [],
  steps: readonly string[] = [],
  result: FieldSet = new Set(),
): FieldSet {
  if (isObject(value) && Object.keys(value).length > 0) {
    for (const [name, member] of Object.entries(value)) {
      if (member !== undefined) collectFields(member, kinds, [...fields, name], [...steps, `f:${name}`], result);
    }
    return result;
  }
  const kind = Array.isArray(value) ? kinds(fields) : undefined;
  if (kind === undefined || kind.type === "atomic") {
    result.add(JSON.stringify(steps));
    return result;
  }
  for (const member of listOf(value)) {
    if (kind.type === "set") result.add(JSON.stringify([...steps, `v:${JSON.stringify(member)}`]));
    else {
      const at = [...steps, keyStep(member, kind.keys)];
      result.add(JSON.stringify([...at, "."]));
      collectFields(member, kinds, fields, at, result);
    }
  }
  return result;
}

/** The position of the member of a list that a step names, -1 when there is none. */
export function memberIndex(list: readonly unknown[], step: string): number {
  const wanted: unknown = JSON.parse(step.slice(2));
  if (step.startsWith("v:")) return list.findIndex((member) => deepEqual(member, wanted));
  return list.findIndex(
    (member) =>
      isObject(member) &&
      isObject(wanted) &&
      Object.entries(wanted).every(([key, value]) => deepEqual(member[key] ?? KEY_DEFAULTS[key], value)),
  );
}

/** The value at a path, undefined when it is not there. */
export function valueAtSteps(root: unknown, steps: readonly string[]): unknown {
  let current = root;
  for (const step of steps) {
    if (step === ".") return current;
    if (step.startsWith("f:")) {
      const name = step.slice(2);
      current = isObject(current) && Object.hasOwn(current, name) ? current[name] : undefined;
    } else {
      const list = listOf(current);
      current = list[memberIndex(list, step)];
    }
    if (current === undefined) return undefined;
  }
  return current;
}

/** Removes what a path leads to, in place, and objects above it that become empty. */
export function removeAtSteps(root: JsonObject, steps: readonly string[]): void {
  const path = steps.at(-1) === "." ? steps.slice(0, -1) : steps;
  const last = path.at(-1);
  if (last === undefined) return;
  const parent = valueAtSteps(root, path.slice(0, -1));
  if (last.startsWith("f:")) {
    if (!isObject(parent)) return;
    delete parent[last.slice(2)];
    if (Object.keys(parent).length === 0 && path.length > 1) removeAtSteps(root, path.slice(0, -1));
  } else if (Array.isArray(parent)) {
    const index = memberIndex(parent, last);
    if (index >= 0) parent.splice(index, 1);
    if (parent.length === 0) removeAtSteps(root, path.slice(0, -1));
  }
}

/** The set as FieldsV1. */
export function encodeFieldSet(set: FieldSet): JsonObject {
  const root: JsonObject = {};
  for (const path of set) {
    let node = root;
    for (const step of stepsOf(path)) node = (node[step] ??= {}) as JsonObject;
  }
  return root;
}

/** The set in a FieldsV1; members that are malformed are left out. */
export function decodeFieldSet(value: unknown, steps: readonly string[] = [], result: FieldSet = new Set()): FieldSet {
  if (!isObject(value)) return result;
  const names = Object.keys(value).filter((name) => isStep(name));
  if (names.length === 0 && steps.length > 0) result.add(JSON.stringify(steps));
  for (const name of names) decodeFieldSet(value[name], [...steps, name], result);
  return result;
}

function isStep(name: string): boolean {
  if (name === "." || name.startsWith("f:")) return true;
  if (!name.startsWith("k:") && !name.startsWith("v:")) return false;
  try {
    JSON.parse(name.slice(2));
    return true;
  } catch {
    return false;
  }
}

/** The path as it is printed in conflicts: `.spec.containers[name="c"].image`. */
export function describePath(steps: readonly string[]): string {
  return steps
    .filter((step) => step !== ".")
    .map((step) => {
      if (step.startsWith("f:")) return `.${step.slice(2)}`;
      if (step.startsWith("v:")) return `[=${step.slice(2)}]`;
      const keys = JSON.parse(step.slice(2)) as JsonObject;
      return `[${Object.entries(keys)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(",")}]`;
    })
    .join("");
}
