/**
 * `x-kubernetes-validations`: rules in CEL at the nodes of a schema. Rules that use what is not supported here are
 * ignored (an API server without CEL ignores all of them); rules that mention `oldSelf` apply to updates only.
 */
import { isObject, objectOf, objectsOf, textOf, type JsonObject } from "../json.ts";
import { fieldError, type StatusCause } from "../status.ts";
import { CelError, checkCel, evaluateCel, mentions } from "./cel-evaluate.ts";
import { CelSyntaxError, parseCel, type Expression } from "./cel-parse.ts";
import type { Schema } from "./structural.ts";

interface Rule {
  expression: Expression;
  transition: boolean;
  text: string;
  message: string;
  reason: string;
  fieldPath: string;
}

const compiled = new WeakMap<Schema, Rule[]>();

function rulesOf(schema: Schema): Rule[] {
  let rules = compiled.get(schema);
  if (rules === undefined) {
    rules = objectsOf(schema["x-kubernetes-validations"]).flatMap(compile);
    compiled.set(schema, rules);
  }
  return rules;
}

function compile(rule: JsonObject): Rule[] {
  const text = textOf(rule["rule"]);
  try {
    const expression = parseCel(text);
    checkCel(expression);
    return [
      {
        expression,
        transition: mentions(expression, "oldSelf"),
        text,
        message: textOf(rule["message"]),
        reason: textOf(rule["reason"], "FieldValueInvalid"),
        fieldPath: textOf(rule["fieldPath"]),
      },
    ];
  } catch (error) {
    if (error instanceof CelSyntaxError) return [];
    throw error;
  }
}

/** The rules that a value breaks. `old` is the value before an update, undefined when there is none to compare with. */
export function brokenRules(value: unknown, old: unknown, schema: Schema, path = ""): StatusCause[] {
  const causes: StatusCause[] = [];
  if (value === null || value === undefined) return causes;
  for (const rule of rulesOf(schema)) {
    if (rule.transition && old === undefined) continue;
    const at = `${path}${rule.fieldPath}`.replace(/^\./, "");
    const problem = breaks(rule, value, old);
    if (problem !== undefined)
      causes.push({ ...fieldError.invalid(at, typeName(value), problem), reason: rule.reason });
  }
  if (Array.isArray(value)) {
    const items = schema["items"];
    // Members of a list cannot be told to be the same as before, so rules about change do not apply to them.
    if (isObject(items)) {
      value.forEach((member, index) => causes.push(...brokenRules(member, undefined, items, `${path}[${index}]`)));
    }
  } else if (isObject(value)) {
    const properties = objectOf(schema["properties"]);
    const additional = schema["additionalProperties"];
    for (const [field, member] of Object.entries(value)) {
      const property = Object.hasOwn(properties, field) ? properties[field] : additional;
      if (!isObject(property)) continue;
      const before = isObject(old) && Object.hasOwn(old, field) ? old[field] : undefined;
      causes.push(...brokenRules(member, before, property, path === "" ? field : `${path}.${field}`));
    }
  }
  return causes;
}

function breaks(rule: Rule, value: unknown, old: unknown): string | undefined {
  try {
    if (
      evaluateCel(
        rule.expression,
        new Map([
          ["self", value],
          ["oldSelf", old],
        ]),
      ) === true
    )
      return undefined;
    return rule.message === "" ? `failed rule: ${rule.text}` : rule.message;
  } catch (error) {
    if (error instanceof CelError) return `rule evaluation error: ${error.message}; evaluating rule: ${rule.text}`;
    throw error;
  }
}

function typeName(value: unknown): string {
  return Array.isArray(value) ? "array" : typeof value;
}
