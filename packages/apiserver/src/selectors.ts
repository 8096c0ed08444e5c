/**
 * Label and field selectors as they stand in query parameters.
 */
import { valueAt } from "./json.ts";
import { labelKeyProblem, labelValueProblem, type KubeObject } from "./object.ts";
import { ApiError } from "./status.ts";

/** One condition of a label selector. `in` with one value is equality. */
export interface LabelRequirement {
  key: string;
  operator: "in" | "notin" | "exists" | "!" | "gt" | "lt";
  values: string[];
}

/** One condition of a field selector. */
export interface FieldRequirement {
  path: string;
  equal: boolean;
  value: string;
}

/** Says whether an object is selected. */
export type Selector = (object: KubeObject) => boolean;

/** Longest selector that is read. */
const MAX_LENGTH = 16_384;

const TOKEN = /\s*(?:(==|=|!=|!|>|<|\(|\)|,)|([^\s=!<>(),]+))/y;

function tokens(text: string): string[] {
  const result: string[] = [];
  const trimmed = text.trim();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < trimmed.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(trimmed);
    if (match === null) throw unparsable(text, `unexpected ${JSON.stringify(trimmed.slice(at, at + 10))}`);
    result.push(match[1] ?? match[2] ?? "");
  }
  return result;
}

function unparsable(text: string, why: string): ApiError {
  return ApiError.badRequest(`unable to parse requirement: ${why} in selector ${JSON.stringify(text)}`);
}

const SYMBOLS = new Set(["==", "=", "!=", "!", ">", "<", "(", ")", ","]);

/**
 * Parses a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3`.
 * @throws ApiError BadRequest
 */
export function parseLabelSelector(text: string): LabelRequirement[] {
  if (text.length > MAX_LENGTH) throw ApiError.badRequest(`labelSelector is longer than ${MAX_LENGTH} characters`);
  const list = tokens(text);
  const requirements: LabelRequirement[] = [];
  let at = 0;
  const word = (what: string): string => {
    const token = list[at];
    if (token === undefined || SYMBOLS.has(token)) throw unparsable(text, `found ${token ?? "end"}, expected ${what}`);
    at++;
    return token;
  };
  const valueList = (): string[] => {
    if (list[at] !== "(") throw unparsable(text, "expected '('");
    at++;
    const values: string[] = [];
    for (;;) {
      if (list[at] === "," || list[at] === ")") values.push("");
      else values.push(word("a value"));
      const separator = list[at++];
      if (separator === ")") return values;
      if (separator !== ",") throw unparsable(text, "expected ',' or ')'");
    }
  };
  while (at < list.length) {
    const requirement: LabelRequirement = { key: "", operator: "exists", values: [] };
    if (list[at] === "!") {
      at++;
      requirement.operator = "!";
      requirement.key = word("a key");
    } else {
      requirement.key = word("a key");
      const operator = list[at];
      if (operator === "=" || operator === "==" || operator === "!=") {
        at++;
        requirement.operator = operator === "!=" ? "notin" : "in";
        requirement.values = [at >= list.length || list[at] === "," ? "" : word("a value")];
      } else if (operator === ">" || operator === "<") {
        at++;
        requirement.operator = operator === ">" ? "gt" : "lt";
        const value = word("an integer");
        if (!/^-?\d+$/.test(value)) throw unparsable(text, `${JSON.stringify(value)} is no integer`);
        requirement.values = [value];
      } else if (operator === "in" || operator === "notin") {
        at++;
        requirement.operator = operator;
        requirement.values = valueList();
      }
    }
    const problem = labelKeyProblem(requirement.key) ?? requirement.values.map(labelValueProblem).find(Boolean);
    if (problem !== undefined) throw unparsable(text, `${JSON.stringify(requirement.key)}: ${problem}`);
    requirements.push(requirement);
    if (at < list.length && list[at++] !== ",") throw unparsable(text, "expected ','");
    else if (at === list.length && list[at - 1] === ",") throw unparsable(text, "found end, expected a key");
  }
  return requirements;
}

/** Whether labels satisfy all requirements. An absent label satisfies `!=` and `notin`. */
export function labelsMatch(labels: Record<string, string>, requirements: readonly LabelRequirement[]): boolean {
  return requirements.every(({ key, operator, values }) => {
    const has = Object.hasOwn(labels, key);
    const value = has ? (labels[key] ?? "") : "";
    switch (operator) {
      case "in":
        return has && values.includes(value);
      case "notin":
        return !has || !values.includes(value);
      case "exists":
        return has;
      case "!":
        return !has;
      case "gt":
        return has && /^-?\d+$/.test(value) && BigInt(value) > BigInt(values[0] ?? "0");
      case "lt":
        return has && /^-?\d+$/.test(value) && BigInt(value) < BigInt(values[0] ?? "0");
    }
    return false;
  });
}

/**
 * Parses a field selector, `metadata.name=a,status.phase!=Failed`, for a resource that can be selected by `supported`.
 * @throws ApiError BadRequest for a field that is not in the list
 */
export function parseFieldSelector(text: string, supported: readonly string[]): FieldRequirement[] {
  if (text.length > MAX_LENGTH) throw ApiError.badRequest(`fieldSelector is longer than ${MAX_LENGTH} characters`);
  const requirements: FieldRequirement[] = [];
  if (text.trim() === "") return requirements;
  for (const term of text.split(/(?<!\\),/)) {
    const match = /^([^=!]+)(==|=|!=)(.*)$/s.exec(term);
    if (match === null)
      throw ApiError.badRequest(`invalid selector: ${JSON.stringify(text)}; can't understand ${JSON.stringify(term)}`);
    const path = (match[1] ?? "").trim();
    if (!supported.includes(path)) {
      throw ApiError.badRequest(
        `field label not supported: ${path}; this resource can be selected by ${supported.join(", ")}`,
      );
    }
    requirements.push({
      path,
      equal: match[2] !== "!=",
      value: (match[3] ?? "").replaceAll(/\\([\\,=])/g, "$1"),
    });
  }
  return requirements;
}

/** Fields that every resource can be selected by. */
export const COMMON_FIELDS: readonly string[] = ["metadata.name", "metadata.namespace"];

/**
 * One test out of both selectors; undefined when nothing is asked, so that callers can skip the test.
 * @throws ApiError BadRequest
 */
export function compileSelectors(
  labelSelector: string,
  fieldSelector: string,
  supportedFields: readonly string[],
): Selector | undefined {
  const labels = parseLabelSelector(labelSelector);
  const fields = parseFieldSelector(fieldSelector, supportedFields).map((requirement) => ({
    ...requirement,
    steps: requirement.path.split("."),
  }));
  if (labels.length === 0 && fields.length === 0) return undefined;
  return (object) =>
    fields.every(({ steps, equal, value }) => (scalarText(valueAt(object, steps)) === value) === equal) &&
    (labels.length === 0 || labelsMatch(object.metadata.labels ?? {}, labels));
}

function scalarText(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "boolean" || typeof value === "number" ? String(value) : "";
}
