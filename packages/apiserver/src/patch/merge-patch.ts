/**
 * RFC 7386 JSON Merge Patch.
 */
import { clone, isObject, type JsonObject } from "../json.ts";

/** The target with the patch merged in: null removes, objects merge, everything else replaces. A new value. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return clone(patch);
  const result: JsonObject = isObject(target) ? clone(target) : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = applyMergePatch(result[field], value);
  }
  return result;
}
