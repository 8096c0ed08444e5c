/**
 * Structural schemas of CustomResourceDefinitions (apiextensions.k8s.io/v1): validation, pruning, defaulting.
 */
import { clone, deepEqual, isObject, listOf, objectOf, objectsOf, textsOf, type JsonObject } from "../json.ts";
import { fieldError, type StatusCause } from "../status.ts";
import { formatProblem } from "./formats.ts";

/** A schema node; its shape was checked when the definition was accepted. */
export type Schema = JsonObject;

/** Most errors that are reported for one object. */
const MAX_ERRORS = 50;

const patterns = new Map<string, RegExp>();

/** The expression for a pattern. Patterns are RE2's; the common ground with ECMAScript covers what schemas use. */
export function compilePattern(pattern: string): RegExp {
  let compiled = patterns.get(pattern);
  if (compiled === undefined) {
    try {
      compiled = new RegExp(pattern, "u");
    } catch {
      compiled = new RegExp(pattern);
    }
    if (patterns.size > 1000) patterns.clear();
    patterns.set(pattern, compiled);
  }
  return compiled;
}

function keepsUnknown(schema: Schema): boolean {
  return schema["x-kubernetes-preserve-unknown-fields"] === true;
}

/** The schemas of an object's implied fields. */
const ENVELOPE = new Set(["apiVersion", "kind", "metadata"]);

/**
 * Removes fields that the schema does not specify; returns their paths. `root` exempts apiVersion, kind and metadata.
 */
export function prune(value: unknown, schema: Schema, path = "", root = false): string[] {
  const dropped: string[] = [];
  if (Array.isArray(value)) {
    const items = schema["items"];
    if (isObject(items)) {
      value.forEach((member, index) => dropped.push(...prune(member, items, `${path}[${index}]`)));
    }
    return dropped;
  }
  if (!isObject(value)) return dropped;
  const exempt = root || schema["x-kubernetes-embedded-resource"] === true;
  const properties = objectOf(schema["properties"]);
  const additional = schema["additionalProperties"];
  for (const field of Object.keys(value)) {
    const at = path === "" ? field : `${path}.${field}`;
    if (exempt && ENVELOPE.has(field)) continue;
    const property = Object.hasOwn(properties, field) ? properties[field] : undefined;
    if (isObject(property)) dropped.push(...prune(value[field], property, at));
    else if (isObject(additional)) dropped.push(...prune(value[field], additional, at));
    else if (additional !== true && !keepsUnknown(schema)) {
      delete value[field];
      dropped.push(at);
    }
  }
  return dropped;
}

/** Fills in defaults, in place. Nulls that are not allowed give way to the default, or go. */
export function applyDefaults(value: unknown, schema: Schema): void {
  if (Array.isArray(value)) {
    const items = schema["items"];
    if (isObject(items)) for (const member of value) applyDefaults(member, items);
    return;
  }
  if (!isObject(value)) return;
  const properties = objectOf(schema["properties"]);
  for (const [field, property] of Object.entries(properties)) {
    if (!isObject(property)) continue;
    const present = Object.hasOwn(value, field) ? value[field] : undefined;
    const hasDefault = Object.hasOwn(property, "default");
    if (present === null && property["nullable"] !== true && hasDefault) delete value[field];
    if (value[field] === undefined && hasDefault) value[field] = clone(property["default"]);
    applyDefaults(value[field], property);
  }
  const additional = schema["additionalProperties"];
  if (!isObject(additional)) return;
  for (const field of Object.keys(value))
    if (!Object.hasOwn(properties, field)) applyDefaults(value[field], additional);
}

/** What breaks the schema. `root` exempts apiVersion, kind and metadata, which are checked for every object. */
export function validate(value: unknown, schema: Schema, root = false): StatusCause[] {
  const causes: StatusCause[] = [];
  check(value, schema, "", causes, root);
  return causes;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function check(value: unknown, schema: Schema, path: string, causes: StatusCause[], root = false): void {
  if (causes.length >= MAX_ERRORS) return;
  if (value === null && schema["nullable"] === true) return;
  const { type } = schema;
  const actual = typeName(value);
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (actual !== "integer" && actual !== "string") {
      causes.push(
        fieldError.type(path, value, `${path} in body must be of type integer or string: ${JSON.stringify(actual)}`),
      );
      return;
    }
  } else if (typeof type === "string" && actual !== type && !(type === "number" && actual === "integer")) {
    causes.push(fieldError.type(path, value, `${path} in body must be of type ${type}: ${JSON.stringify(actual)}`));
    return;
  }
  const allowed = schema["enum"];
  if (Array.isArray(allowed) && !allowed.some((item) => deepEqual(item, value))) {
    causes.push(fieldError.notSupported(path, value, allowed));
  }
  if (typeof value === "string") checkString(value, schema, path, causes);
  else if (typeof value === "number") checkNumber(value, schema, path, causes);
  else if (Array.isArray(value)) checkArray(value, schema, path, causes);
  else if (isObject(value)) checkObject(value, schema, path, causes, root);
  checkCombinations(value, schema, path, causes);
}

function limit(schema: Schema, name: string): number | undefined {
  const value = schema[name];
  return typeof value === "number" ? value : undefined;
}

function checkString(value: string, schema: Schema, path: string, causes: StatusCause[]): void {
  const least = limit(schema, "minLength");
  const most = limit(schema, "maxLength");
  const { pattern, format } = schema;
  if (least !== undefined || most !== undefined) {
    // Length counts code points, as in JSON Schema.
    const length = value.length > 10_000 ? value.length : Array.from(value).length;
    if (least !== undefined && length < least) {
      causes.push(fieldError.invalid(path, value, `${path} in body should be at least ${least} chars long`));
    }
    if (most !== undefined && length > most) {
      causes.push(fieldError.tooLong(path, `may not be more than ${most} characters`));
      return;
    }
  }
  if (typeof pattern === "string" && !compilePattern(pattern).test(value)) {
    causes.push(fieldError.invalid(path, value, `${path} in body should match '${pattern}'`));
  }
  if (typeof format === "string" && formatProblem(format, value)) {
    causes.push(fieldError.invalid(path, value, `${path} in body must be of type ${format}: ${JSON.stringify(value)}`));
  }
}

function checkNumber(value: number, schema: Schema, path: string, causes: StatusCause[]): void {
  const least = limit(schema, "minimum");
  const most = limit(schema, "maximum");
  const multiple = limit(schema, "multipleOf");
  if (least !== undefined && (schema["exclusiveMinimum"] === true ? value <= least : value < least)) {
    const words = schema["exclusiveMinimum"] === true ? "greater than" : "greater than or equal to";
    causes.push(fieldError.invalid(path, value, `${path} in body should be ${words} ${least}`));
  }
  if (most !== undefined && (schema["exclusiveMaximum"] === true ? value >= most : value > most)) {
    const words = schema["exclusiveMaximum"] === true ? "less than" : "less than or equal to";
    causes.push(fieldError.invalid(path, value, `${path} in body should be ${words} ${most}`));
  }
  if (multiple !== undefined && multiple > 0 && !Number.isInteger(value / multiple)) {
    causes.push(fieldError.invalid(path, value, `${path} in body should be a multiple of ${multiple}`));
  }
  if (schema["format"] === "int32" && Math.abs(value) > 2_147_483_648) {
    causes.push(fieldError.invalid(path, value, `${path} in body must be of type int32`));
  }
}

function checkArray(value: unknown[], schema: Schema, path: string, causes: StatusCause[]): void {
  const least = limit(schema, "minItems");
  const most = limit(schema, "maxItems");
  if (least !== undefined && value.length < least) {
    causes.push(fieldError.invalid(path, value.length, `${path} in body should have at least ${least} items`));
  }
  if (most !== undefined && value.length > most) {
    causes.push({
      reason: "FieldValueTooMany",
      message: `Too many: ${value.length}: must have at most ${most} items`,
      field: path,
    });
    return;
  }
  const listType = schema["x-kubernetes-list-type"];
  const keys = textsOf(schema["x-kubernetes-list-map-keys"]);
  if (listType === "set" || listType === "map" || schema["uniqueItems"] === true) {
    const seen = new Set<string>();
    value.forEach((member, index) => {
      const identity = listType === "map" ? keys.map((key) => objectOf(member)[key] ?? null) : member;
      const id = JSON.stringify(identity);
      if (seen.has(id)) causes.push(fieldError.duplicate(`${path}[${index}]`, identity));
      seen.add(id);
    });
  }
  const items = schema["items"];
  if (isObject(items)) value.forEach((member, index) => check(member, items, `${path}[${index}]`, causes));
}

function checkObject(value: JsonObject, schema: Schema, path: string, causes: StatusCause[], root: boolean): void {
  const at = (field: string): string => (path === "" ? field : `${path}.${field}`);
  for (const field of textsOf(schema["required"])) {
    if (value[field] === undefined || !Object.hasOwn(value, field)) causes.push(fieldError.required(at(field)));
  }
  const count = Object.keys(value).length;
  const least = limit(schema, "minProperties");
  const most = limit(schema, "maxProperties");
  if (least !== undefined && count < least) {
    causes.push(fieldError.invalid(path, count, `${path} in body should have at least ${least} properties`));
  }
  if (most !== undefined && count > most) {
    causes.push({
      reason: "FieldValueTooMany",
      message: `Too many: ${count}: must have at most ${most} items`,
      field: path,
    });
    return;
  }
  const properties = objectOf(schema["properties"]);
  const additional = schema["additionalProperties"];
  for (const [field, member] of Object.entries(value)) {
    if (member === undefined) continue;
    const property = Object.hasOwn(properties, field) ? properties[field] : additional;
    if (!isObject(property)) continue;
    if (root && field === "metadata") {
      checkMetadata(objectOf(member), property, causes);
      continue;
    }
    if (root && ENVELOPE.has(field)) continue;
    // A null where none is allowed counts as absent, as it does for typed clients.
    if (member === null && property["nullable"] !== true && !keepsUnknown(property)) {
      causes.push(
        fieldError.type(at(field), null, `${at(field)} in body must be of type ${String(property["type"])}: "null"`),
      );
      continue;
    }
    check(member, property, at(field), causes);
  }
}

/** A definition may restrict `metadata.name` and `generateName` only. */
function checkMetadata(metadata: JsonObject, schema: Schema, causes: StatusCause[]): void {
  const properties = objectOf(schema["properties"]);
  for (const field of ["name", "generateName"]) {
    const property = properties[field];
    if (isObject(property) && metadata[field] !== undefined)
      check(metadata[field], property, `metadata.${field}`, causes);
  }
}

function checkCombinations(value: unknown, schema: Schema, path: string, causes: StatusCause[]): void {
  const passes = (part: Schema): boolean => {
    const found: StatusCause[] = [];
    check(value, part, path, found);
    return found.length === 0;
  };
  for (const part of objectsOf(schema["allOf"])) check(value, part, path, causes);
  const any = objectsOf(schema["anyOf"]);
  if (any.length > 0 && !any.some(passes)) {
    causes.push(fieldError.invalid(path, value, `${path} in body must validate at least one schema (anyOf)`));
  }
  const one = objectsOf(schema["oneOf"]);
  if (one.length > 0 && one.filter(passes).length !== 1) {
    causes.push(fieldError.invalid(path, value, `${path} in body must validate one and only one schema (oneOf)`));
  }
  const not = schema["not"];
  if (isObject(not) && passes(not)) {
    causes.push(fieldError.invalid(path, value, `${path} in body must not validate the schema (not)`));
  }
}

/**
 * Why a schema is not structural, with paths below `field`; empty when it is.
 */
export function structuralProblems(schema: unknown, field: string, root = true): StatusCause[] {
  if (!isObject(schema)) return [fieldError.required(field, "schemas are required")];
  const causes: StatusCause[] = [];
  const { type } = schema;
  const free = schema["x-kubernetes-int-or-string"] === true || keepsUnknown(schema);
  const types = ["string", "number", "integer", "boolean", "array", "object"];
  if (type === undefined) {
    if (!free || root)
      causes.push(fieldError.required(`${field}.type`, "must not be empty for specified object fields"));
  } else if (typeof type !== "string" || !types.includes(type))
    causes.push(fieldError.notSupported(`${field}.type`, type, types));
  else if (root && type !== "object") {
    causes.push(fieldError.invalid(`${field}.type`, type, "must be object at the root"));
  }
  for (const forbidden of ["$ref", "patternProperties", "dependencies", "definitions", "deprecated", "id"]) {
    if (schema[forbidden] !== undefined)
      causes.push(fieldError.forbidden(`${field}.${forbidden}`, `${forbidden} is not supported`));
  }
  if (schema["uniqueItems"] === true) {
    causes.push(
      fieldError.forbidden(
        `${field}.uniqueItems`,
        "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
      ),
    );
  }
  const { pattern } = schema;
  if (typeof pattern === "string") {
    try {
      compilePattern(pattern);
    } catch (error) {
      causes.push(
        fieldError.invalid(`${field}.pattern`, pattern, `must be a valid regular expression: ${String(error)}`),
      );
    }
  }
  for (const [name, property] of Object.entries(objectOf(schema["properties"]))) {
    if (root && ENVELOPE.has(name)) continue;
    causes.push(...structuralProblems(property, `${field}.properties[${name}]`, false));
  }
  if (schema["additionalProperties"] !== undefined) {
    if (schema["properties"] !== undefined) {
      causes.push(
        fieldError.forbidden(
          `${field}.additionalProperties`,
          "additionalProperties and properties are mutually exclusive",
        ),
      );
    }
    if (isObject(schema["additionalProperties"])) {
      causes.push(...structuralProblems(schema["additionalProperties"], `${field}.additionalProperties`, false));
    }
  }
  if (type === "array") causes.push(...structuralProblems(schema["items"], `${field}.items`, false));
  if (schema["x-kubernetes-list-type"] === "map" && listOf(schema["x-kubernetes-list-map-keys"]).length === 0) {
    causes.push(
      fieldError.required(`${field}.x-kubernetes-list-map-keys`, "must not be empty if x-kubernetes-list-type is map"),
    );
  }
  return causes;
}
