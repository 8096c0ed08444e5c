/**
 * A schema that can explain itself: each part carries the sentence that names its rule and the one that says how to
 * satisfy it, so that what a person reads is the same wherever the value came from.
 */
import { z } from "zod";

/** What must hold, and what to write when it does not. */
export interface Rule {
  readonly rule: string;
  readonly remedy: string;
}

const rules = z.registry<Rule>();

/** Steps from the root of a value to a part of it. */
export type ValuePath = readonly (string | number)[];

/** Attaches a rule to a schema. Call it last: schema methods that return a copy leave the rule behind. */
export function ruled<Schema extends z.ZodType>(schema: Schema, rule: string, remedy: string): Schema {
  rules.add(schema, { rule, remedy });
  return schema;
}

/** The schema below optional, default and prefault wrappers. */
function unwrap(type: z.core.$ZodType): z.core.$ZodType {
  let inner = type;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
    inner = inner.unwrap();
  }
  return inner;
}

/** The schema of the part at `path`, or of the deepest part on the way that has one. */
export function schemaAt(root: z.core.$ZodType, path: ValuePath): z.core.$ZodType {
  let type = unwrap(root);
  for (const step of path) {
    if (type instanceof z.ZodObject && typeof step === "string" && Object.hasOwn(type.shape, step)) {
      type = unwrap(type.shape[step] as z.core.$ZodType);
    } else if (type instanceof z.ZodArray) {
      type = unwrap(type.element);
    } else if (type instanceof z.ZodRecord) {
      type = unwrap(type.valueType);
    }
  }
  return type;
}

/** The rule that a failed check broke, with what was found instead. */
export function explain(root: z.core.$ZodType, issue: z.core.$ZodIssue): Rule {
  const path = issue.path as ValuePath;
  const known = rules.get(schemaAt(root, path));
  const rule = known?.rule ?? issue.message;
  const remedy = known?.remedy ?? "correct the value";
  if (issue.code === "invalid_type" && issue.input === undefined) return { rule: `is missing and ${rule}`, remedy };
  return { rule: path.length === 0 ? rule : `${rule} (it is ${shorten(issue.input)})`, remedy };
}

function shorten(input: unknown): string {
  const text = JSON.stringify(input) ?? String(input);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** `["spec", "cidrs", 1]` as `spec.cidrs[1]`. */
export function formatPath(path: ValuePath): string {
  let text = "";
  for (const step of path) text += typeof step === "number" ? `[${step}]` : text === "" ? step : `.${step}`;
  return text;
}
