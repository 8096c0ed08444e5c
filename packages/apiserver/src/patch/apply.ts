/**
 * Server-side apply: the applied configuration is merged in, what the same manager applied before and leaves out now
 * goes, and what another manager owns with another value is a conflict. Ownership by updates is tracked from the first
 * apply on; fields that were set before belong to nobody.
 */
import { clone, deepEqual, isObject, listOf, objectsOf, textOf, type JsonObject } from "../json.ts";
import { timestamp, type KubeObject } from "../object.ts";
import { ApiError, type StatusCause } from "../status.ts";
import {
  collectFields,
  decodeFieldSet,
  describePath,
  encodeFieldSet,
  keyStep,
  memberIndex,
  removeAtSteps,
  stepsOf,
  valueAtSteps,
  type FieldSet,
} from "./field-set.ts";
import type { ListKinds } from "./list-keys.ts";

/** Who applies what. */
export interface ApplyRequest {
  manager: string;
  /** Take over what others own. */
  force: boolean;
  subresource: "" | "status";
  kinds: ListKinds;
}

interface Owner {
  manager: string;
  operation: "Apply" | "Update";
  apiVersion: string;
  time: string;
  subresource: string;
  fields: FieldSet;
}

/** Metadata that nobody manages. */
const UNMANAGED = [
  "name",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "managedFields",
  "selfLink",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "generateName",
];

function managedPart(object: JsonObject): JsonObject {
  const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = object;
  const kept: JsonObject = {};
  if (isObject(metadata)) {
    for (const [field, value] of Object.entries(metadata)) if (!UNMANAGED.includes(field)) kept[field] = value;
  }
  return Object.keys(kept).length === 0 ? rest : { ...rest, metadata: kept };
}

function readOwners(object: KubeObject): Owner[] {
  return objectsOf(object.metadata.managedFields).map((entry) => ({
    manager: textOf(entry["manager"]),
    operation: entry["operation"] === "Apply" ? "Apply" : "Update",
    apiVersion: textOf(entry["apiVersion"]),
    time: textOf(entry["time"]),
    subresource: textOf(entry["subresource"]),
    fields: decodeFieldSet(entry["fieldsV1"]),
  }));
}

function writeOwners(owners: readonly Owner[]): JsonObject[] {
  return owners
    .filter((owner) => owner.fields.size > 0)
    .map(({ manager, operation, apiVersion, time, subresource, fields }) => ({
      apiVersion,
      fieldsType: "FieldsV1",
      fieldsV1: encodeFieldSet(fields),
      manager,
      operation,
      ...(subresource === "" ? {} : { subresource }),
      time,
    }));
}

function merge(live: unknown, applied: unknown, kinds: ListKinds, path: readonly string[]): unknown {
  if (isObject(applied)) {
    const result: JsonObject = isObject(live) ? { ...live } : {};
    for (const [field, value] of Object.entries(applied))
      result[field] = merge(result[field], value, kinds, [...path, field]);
    return result;
  }
  if (!Array.isArray(applied)) return applied;
  const kind = kinds(path);
  if (kind.type === "atomic") return clone(applied);
  const result = [...listOf(live)];
  for (const member of applied as unknown[]) {
    const step = kind.type === "set" ? `v:${JSON.stringify(member)}` : keyStep(member, kind.keys);
    const index = memberIndex(result, step);
    if (index < 0) result.push(clone(member));
    else if (kind.type === "map") result[index] = merge(result[index], member, kinds, path);
  }
  return result;
}

/**
 * The object that results from applying a configuration to the live one (undefined: it does not exist yet), its
 * `managedFields` brought up to date.
 * @throws ApiError Conflict naming the fields and their managers, unless forced
 */
export function applyConfiguration(
  live: KubeObject | undefined,
  applied: KubeObject,
  request: ApplyRequest,
): KubeObject {
  const { kinds, manager, subresource } = request;
  if ((applied.metadata.managedFields ?? []).length > 0) {
    throw ApiError.badRequest("metadata.managedFields must be nil");
  }
  const configuration = clone(applied);
  delete configuration.metadata.managedFields;
  const wanted = collectFields(managedPart(configuration), kinds);
  const owners = live === undefined ? [] : readOwners(live);
  const isOwn = (owner: Owner): boolean =>
    owner.manager === manager && owner.operation === "Apply" && owner.subresource === subresource;
  const mine = owners.find(isOwn);
  const others = owners.filter((owner) => owner !== mine);
  if (live !== undefined) settleConflicts(live, configuration, wanted, others, request.force);
  const result = merge(live ?? {}, configuration, kinds, []) as KubeObject;
  const kept = clone(result);
  const gone = [...(mine?.fields ?? [])]
    .filter((path) => !owns(wanted, path) && !others.some((owner) => owns(owner.fields, path)))
    .map(stepsOf);
  // Members of lists go as a whole, and before their fields: by these they are found.
  for (const steps of gone) if (steps.at(-1) === ".") removeAtSteps(kept, steps);
  for (const steps of gone) if (steps.at(-1) !== "." && !isKey(steps)) removeAtSteps(kept, steps);
  const unchanged = mine !== undefined && deepEqual([...mine.fields].sort(), [...wanted].sort());
  const entry: Owner = {
    manager,
    operation: "Apply",
    apiVersion: applied.apiVersion,
    // The time says when the entry last changed; otherwise every apply would be a change.
    time: unchanged ? mine.time : timestamp(Date.now()),
    subresource,
    fields: wanted,
  };
  kept.metadata ??= {};
  const index = mine === undefined ? owners.length : owners.indexOf(mine);
  kept.metadata.managedFields = writeOwners(owners.toSpliced(index, 1, entry));
  return kept;
}

/** Whether the path is a field that identifies the member of the list it is in. */
function isKey(steps: readonly string[]): boolean {
  const [member = "", field = ""] = steps.slice(-2);
  if (!member.startsWith("k:") || !field.startsWith("f:")) return false;
  return Object.hasOwn(JSON.parse(member.slice(2)) as JsonObject, field.slice(2));
}

/** Whether the set holds the path; for a list member itself (`.`), whether it holds anything of the member. */
function owns(fields: FieldSet, path: string): boolean {
  if (fields.has(path)) return true;
  const steps = stepsOf(path);
  if (steps.at(-1) !== ".") return false;
  const prefix = `${JSON.stringify(steps.slice(0, -1)).slice(0, -1)},`;
  for (const candidate of fields) if (candidate.startsWith(prefix)) return true;
  return false;
}

function settleConflicts(
  live: KubeObject,
  applied: KubeObject,
  wanted: FieldSet,
  others: readonly Owner[],
  force: boolean,
): void {
  const causes: StatusCause[] = [];
  const words: string[] = [];
  for (const path of wanted) {
    const steps = stepsOf(path);
    if (steps.at(-1) === ".") continue;
    const before = valueAtSteps(live, steps);
    if (before === undefined || deepEqual(before, valueAtSteps(applied, steps))) continue;
    for (const owner of others) {
      if (!owner.fields.has(path)) continue;
      if (force) owner.fields.delete(path);
      else {
        const field = describePath(steps);
        const how = owner.operation === "Update" ? ` using ${owner.apiVersion}` : "";
        causes.push({
          reason: "FieldManagerConflict",
          message: `conflict with ${JSON.stringify(owner.manager)}${how}`,
          field,
        });
        words.push(`conflict with ${JSON.stringify(owner.manager)}${how}: ${field}`);
      }
    }
  }
  if (causes.length === 0) return;
  const count = causes.length === 1 ? "1 conflict" : `${causes.length} conflicts`;
  throw new ApiError(409, "Conflict", `Apply failed with ${count}: ${words.join("\n")}`, { causes });
}

/**
 * The `managedFields` of an object after an update (not an apply) by a manager: what it changed is its own from now on.
 * Only objects that were applied once are tracked.
 */
export function trackUpdate(
  old: KubeObject,
  next: KubeObject,
  manager: string,
  subresource: "" | "status",
  kinds: ListKinds,
): unknown[] | undefined {
  const owners = readOwners(old);
  if (owners.length === 0) return undefined;
  const before = managedPart(old);
  const after = managedPart(next);
  const present = collectFields(after, kinds);
  const changed: string[] = [];
  for (const path of present) {
    const steps = stepsOf(path);
    if (steps.at(-1) === ".") {
      if (valueAtSteps(before, steps) === undefined) changed.push(path);
    } else if (!deepEqual(valueAtSteps(before, steps), valueAtSteps(after, steps))) changed.push(path);
  }
  for (const owner of owners) {
    for (const path of owner.fields) {
      if (valueAtSteps(after, stepsOf(path)) === undefined) owner.fields.delete(path);
    }
  }
  if (changed.length > 0) {
    for (const owner of owners) for (const path of changed) owner.fields.delete(path);
    let own = owners.find(
      (owner) => owner.manager === manager && owner.operation === "Update" && owner.subresource === subresource,
    );
    if (own === undefined) {
      own = { manager, operation: "Update", apiVersion: next.apiVersion, time: "", subresource, fields: new Set() };
      owners.push(own);
    }
    own.time = timestamp(Date.now());
    for (const path of changed) own.fields.add(path);
  }
  return writeOwners(owners);
}
