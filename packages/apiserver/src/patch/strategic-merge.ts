/**
 * Kubernetes' strategic merge patch: like a merge patch, but lists with a merge key are merged member by member, and
 * directives (`$patch`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`) say what a merge cannot.
 */
import { clone, deepEqual, isObject, listOf, textsOf, type JsonObject } from "../json.ts";
import { ApiError } from "../status.ts";
import type { ListKinds } from "./list-keys.ts";

const DELETE_PRIMITIVE = "$deleteFromPrimitiveList/";
const SET_ORDER = "$setElementOrder/";

/**
 * The target with the patch merged in; a new value.
 * @throws ApiError BadRequest when a directive is malformed or a list member lacks its merge key
 */
export function applyStrategicMerge(target: unknown, patch: unknown, kinds: ListKinds): unknown {
  if (!isObject(patch)) throw ApiError.badRequest("a strategic merge patch must be an object");
  return mergeObject(isObject(target) ? target : {}, patch, kinds, []);
}

function mergeObject(target: JsonObject, patch: JsonObject, kinds: ListKinds, path: readonly string[]): JsonObject {
  const directive = patch["$patch"];
  if (directive === "replace") return withoutDirectives(patch);
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge") {
    throw ApiError.badRequest(`unknown strategic merge directive $patch: ${JSON.stringify(directive)}`);
  }
  const result: JsonObject = { ...target };
  const retained = patch["$retainKeys"];
  if (retained !== undefined) {
    const keep = new Set(textsOf(retained));
    for (const field of Object.keys(result)) if (!keep.has(field)) delete result[field];
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field === "$patch" || field === "$retainKeys" || field.startsWith(SET_ORDER)) continue;
    if (field.startsWith(DELETE_PRIMITIVE)) {
      const list = field.slice(DELETE_PRIMITIVE.length);
      const removed = listOf(value);
      if (Array.isArray(result[list])) {
        result[list] = listOf(result[list]).filter((member) => !removed.some((item) => deepEqual(item, member)));
      }
    } else if (value === null) delete result[field];
    else if (isObject(value)) {
      const previous = result[field];
      result[field] = mergeObject(isObject(previous) ? previous : {}, value, kinds, [...path, field]);
    } else if (Array.isArray(value)) {
      const at = [...path, field];
      const before = listOf(target[field]);
      const merged = mergeList(listOf(result[field]), value, kinds, at);
      // Without an order of its own the patch's members come in the patch's order.
      const ordered = kinds(at).type !== "atomic" && !Object.hasOwn(patch, `${SET_ORDER}${field}`);
      result[field] = ordered ? inOrder(merged, value, keyOf(kinds, at), before) : merged;
    } else result[field] = value;
  }
  for (const [field, order] of Object.entries(patch)) {
    if (!field.startsWith(SET_ORDER)) continue;
    const list = field.slice(SET_ORDER.length);
    if (Array.isArray(result[list])) {
      result[list] = inOrder(listOf(result[list]), listOf(order), keyOf(kinds, [...path, list]), listOf(target[list]));
    }
  }
  return result;
}

function keyOf(kinds: ListKinds, path: readonly string[]): string | undefined {
  const kind = kinds(path);
  return kind.type === "map" ? kind.keys[0] : undefined;
}

function withoutDirectives(patch: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const [field, value] of Object.entries(patch)) {
    if (field === "$patch" || field === "$retainKeys" || field.startsWith(SET_ORDER)) continue;
    if (field.startsWith(DELETE_PRIMITIVE) || value === null) continue;
    result[field] = isObject(value) ? withoutDirectives(value) : clone(value);
  }
  return result;
}

function mergeList(target: unknown[], patch: unknown[], kinds: ListKinds, path: readonly string[]): unknown[] {
  const kind = kinds(path);
  if (kind.type === "set" && patch.every((member) => !isObject(member))) {
    const result = [...target];
    for (const member of patch) if (!result.some((item) => deepEqual(item, member))) result.push(member);
    return result;
  }
  const key = kind.type === "map" ? kind.keys[0] : undefined;
  if (key === undefined) return patch.map((member) => (isObject(member) ? withoutDirectives(member) : clone(member)));
  const replaces = patch.some((member) => isObject(member) && member["$patch"] === "replace" && !(key in member));
  let result = replaces ? [] : [...target];
  for (const member of patch) {
    if (!isObject(member)) throw ApiError.badRequest(`${path.join(".")}: members must be objects`);
    const directive = member["$patch"];
    if (directive === "replace" && !(key in member)) continue;
    if (!(key in member)) {
      throw ApiError.badRequest(`map: ${path.join(".")}: a member does not contain declared merge key: ${key}`);
    }
    const at = result.findIndex((item) => isObject(item) && deepEqual(item[key], member[key]));
    if (directive === "delete") {
      result = result.filter((item) => !isObject(item) || !deepEqual(item[key], member[key]));
    } else if (at < 0) result.push(mergeObject({}, member, kinds, path));
    else result[at] = mergeObject(result[at] as JsonObject, member, kinds, path);
  }
  return result;
}

/** Members named by the order come in that order; members that only the server has keep their place relative to the old list. */
function inOrder(list: unknown[], order: unknown[], key: string | undefined, before: unknown[]): unknown[] {
  const idOf = (member: unknown): string =>
    JSON.stringify(key !== undefined && isObject(member) ? member[key] : member) ?? "null";
  const rank = new Map(order.map((member, index) => [idOf(member), index]));
  const oldRank = new Map(before.map((member, index) => [idOf(member), index]));
  const ordered = list
    .filter((member) => rank.has(idOf(member)))
    .sort((a, b) => rank.get(idOf(a))! - rank.get(idOf(b))!);
  const others = list.filter((member) => !rank.has(idOf(member)));
  const result: unknown[] = [];
  let next = 0;
  for (const member of others) {
    const place = oldRank.get(idOf(member)) ?? Number.POSITIVE_INFINITY;
    while (next < ordered.length) {
      const candidate = oldRank.get(idOf(ordered[next]));
      if (candidate !== undefined && candidate > place) break;
      result.push(ordered[next++]);
    }
    result.push(member);
  }
  return [...result, ...ordered.slice(next)];
}
