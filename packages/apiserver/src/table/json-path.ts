/**
 * The simple JSONPath of `additionalPrinterColumns`: fields, quoted fields, indices, `[*]` and `[?(@.a=="b")]`.
 */
import { isObject } from "../json.ts";

type Step =
  | { type: "field"; name: string }
  | { type: "index"; at: number }
  | { type: "all" }
  | { type: "filter"; path: string[]; value: string; equal: boolean };

/** A parsed path. */
export type JsonPath = readonly Step[];

const STEP =
  /\.(\*)|\.([A-Za-z0-9_-]+(?:\\\.[A-Za-z0-9_/-]+)*)|\[(\*)\]|\[(-?\d+)\]|\[['"]((?:[^'"\\]|\\.)*)['"]\]|\[\?\(\s*@((?:\.[A-Za-z0-9_-]+)+)\s*(==|!=)\s*['"]?([^'")]*)['"]?\s*\)\]/y;

/** The path, or undefined when it uses what is not supported. Braces around it are allowed. */
export function parseJsonPath(text: string): JsonPath | undefined {
  const source = text.startsWith("{") && text.endsWith("}") ? text.slice(1, -1) : text;
  const steps: Step[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < source.length) {
    const match = STEP.exec(source);
    if (match === null) return undefined;
    const [, dotStar, field, star, index, quoted, filterPath, operator, value] = match;
    if (dotStar !== undefined || star !== undefined) steps.push({ type: "all" });
    else if (field !== undefined) steps.push({ type: "field", name: field.replaceAll("\\.", ".") });
    else if (index !== undefined) steps.push({ type: "index", at: Number(index) });
    else if (quoted !== undefined) steps.push({ type: "field", name: quoted.replaceAll(/\\(.)/g, "$1") });
    else if (filterPath !== undefined) {
      steps.push({
        type: "filter",
        path: filterPath.slice(1).split("."),
        value: value ?? "",
        equal: operator === "==",
      });
    }
  }
  return steps;
}

/** All values at the path, in order. */
export function evaluateJsonPath(path: JsonPath, root: unknown): unknown[] {
  let current: unknown[] = [root];
  for (const step of path) {
    const next: unknown[] = [];
    for (const value of current) {
      if (step.type === "field") {
        if (isObject(value) && Object.hasOwn(value, step.name)) next.push(value[step.name]);
      } else if (step.type === "index") {
        if (Array.isArray(value)) {
          const member: unknown = value.at(step.at);
          if (member !== undefined) next.push(member);
        }
      } else {
        const members: unknown[] = Array.isArray(value) ? value : isObject(value) ? Object.values(value) : [];
        for (const member of members) if (step.type === "all" || passes(step, member)) next.push(member);
      }
    }
    current = next;
  }
  return current;
}

function passes(step: { path: string[]; value: string; equal: boolean }, member: unknown): boolean {
  let value = member;
  for (const field of step.path) value = isObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  const text = typeof value === "string" ? value : value === undefined ? undefined : JSON.stringify(value);
  return (text === step.value) === step.equal;
}
