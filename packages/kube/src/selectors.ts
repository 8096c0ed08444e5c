/**
 * Label selectors, as objects (`matchLabels`, `matchExpressions`) and as text (`app=web,tier in (a, b),!legacy`), with the
 * meaning that the API gives them: `NotIn` and `!=` also hold for an object that lacks the key.
 */
import type { LabelSelector } from "./types/meta.ts";

export type { LabelSelector, LabelSelectorRequirement } from "./types/meta.ts";

export type SelectorOperator = "In" | "NotIn" | "Exists" | "DoesNotExist";

export interface Requirement {
  readonly key: string;
  readonly operator: SelectorOperator;
  /** Ordered, each once. Empty for `Exists` and `DoesNotExist`. */
  readonly values: readonly string[];
}

/** Anything that can be asked for the value of a label: a `LabelSet`, a `Map`. */
export interface Labels {
  get(key: string): string | undefined;
}

export type ParsedSelector =
  | { readonly ok: true; readonly selector: Selector }
  | {
      readonly ok: false;
      /** What is wrong, and what would be right. */
      readonly problem: string;
      /** Where in the text (characters from its beginning), or which field. */
      readonly at: string;
    };

/** All of its requirements must hold; without any it selects everything. */
export class Selector {
  readonly requirements: readonly Requirement[];

  constructor(requirements: readonly Requirement[]) {
    this.requirements = requirements;
  }

  static readonly everything: Selector = new Selector([]);

  matches(labels: Labels): boolean {
    return this.requirements.every(({ key, operator, values }) => {
      const value = labels.get(key);
      switch (operator) {
        case "In":
          return value !== undefined && values.includes(value);
        case "NotIn":
          return value === undefined || !values.includes(value);
        case "Exists":
          return value !== undefined;
        case "DoesNotExist":
          return value === undefined;
      }
    });
  }

  /** As text, which {@link parseSelector} and query parameters take; equal for requirements in the same order. */
  toString(): string {
    return this.requirements.map(requirementText).join(",");
  }
}

function requirementText({ key, operator, values }: Requirement): string {
  switch (operator) {
    case "In":
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(",")})`;
    case "NotIn":
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${values.join(",")})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
  }
}

/**
 * A selector from an object of the API. An empty one selects everything; what an absent one means differs from field to
 * field, so the caller decides.
 */
export function compileSelector(selector: LabelSelector): ParsedSelector {
  const requirements: Requirement[] = [];
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    const problem = keyProblem(key) ?? valueProblem(value);
    if (problem !== undefined) return { ok: false, problem, at: `matchLabels[${key}]` };
    requirements.push({ key, operator: "In", values: [value] });
  }
  for (const [index, { key, operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const at = `matchExpressions[${index}]`;
    const badKey = keyProblem(key);
    if (badKey !== undefined) return { ok: false, problem: badKey, at: `${at}.key` };
    if (!isOperator(operator)) {
      const problem = `${JSON.stringify(operator)} is no operator; write In, NotIn, Exists or DoesNotExist`;
      return { ok: false, problem, at: `${at}.operator` };
    }
    const takesValues = operator === "In" || operator === "NotIn";
    if (takesValues !== values.length > 0) {
      const problem = takesValues ? `${operator} needs at least one value` : `${operator} takes no values`;
      return { ok: false, problem, at: `${at}.values` };
    }
    for (const [place, value] of values.entries()) {
      const problem = valueProblem(value);
      if (problem !== undefined) return { ok: false, problem, at: `${at}.values[${place}]` };
    }
    requirements.push({ key, operator, values: unique(values) });
  }
  return { ok: true, selector: new Selector(requirements) };
}

interface Token {
  readonly text: string;
  readonly at: number;
  readonly word: boolean;
}

const maxLength = 16_384;
const tokenPattern = /\s*(?:(?<sign>==|!=|=|!|\(|\)|,)|(?<word>[^\s=!(),]+))/y;

/** A selector from text: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Empty text selects everything. */
export function parseSelector(text: string): ParsedSelector {
  if (text.length > maxLength) {
    return {
      ok: false,
      problem: `the selector is longer than ${maxLength} characters; shorten it`,
      at: String(maxLength),
    };
  }
  try {
    return { ok: true, selector: new Selector(new SelectorReader(text).read()) };
  } catch (error) {
    if (error instanceof Mistake) return { ok: false, problem: error.message, at: String(error.at) };
    throw error;
  }
}

class Mistake extends Error {
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

class SelectorReader {
  readonly #tokens: readonly Token[];
  readonly #end: number;
  #next = 0;

  constructor(text: string) {
    const tokens: Token[] = [];
    for (const match of text.matchAll(new RegExp(tokenPattern, "gy"))) {
      const { sign, word } = match.groups ?? {};
      const token = sign ?? word ?? "";
      tokens.push({ text: token, at: match.index + match[0].length - token.length, word: word !== undefined });
    }
    this.#tokens = tokens;
    this.#end = text.length;
  }

  read(): Requirement[] {
    const requirements: Requirement[] = [];
    if (this.#tokens.length === 0) return requirements;
    do requirements.push(this.#requirement());
    while (this.#take(","));
    if (this.#next < this.#tokens.length) throw this.#unexpected("a comma between requirements");
    return requirements;
  }

  #requirement(): Requirement {
    if (this.#take("!")) return { key: this.#key(), operator: "DoesNotExist", values: [] };
    const key = this.#key();
    const sign = this.#tokens[this.#next];
    switch (sign?.text) {
      case "=":
      case "==":
      case "!=":
        this.#next++;
        return { key, operator: sign.text === "!=" ? "NotIn" : "In", values: [this.#value()] };
      case "in":
      case "notin":
        this.#next++;
        return { key, operator: sign.text === "in" ? "In" : "NotIn", values: this.#values() };
      default:
        return { key, operator: "Exists", values: [] };
    }
  }

  #key(): string {
    const token = this.#tokens[this.#next];
    if (token?.word !== true) throw this.#unexpected("a label's key");
    this.#next++;
    const problem = keyProblem(token.text);
    if (problem !== undefined) throw new Mistake(problem, token.at);
    return token.text;
  }

  /** A value may be empty: `a=` selects objects whose label `a` is there and empty. */
  #value(): string {
    const token = this.#tokens[this.#next];
    if (token?.word !== true) return "";
    this.#next++;
    const problem = valueProblem(token.text);
    if (problem !== undefined) throw new Mistake(problem, token.at);
    return token.text;
  }

  #values(): string[] {
    if (!this.#take("(")) throw this.#unexpected("an opening parenthesis");
    const values: string[] = [];
    do values.push(this.#value());
    while (this.#take(","));
    if (!this.#take(")")) throw this.#unexpected("a comma or a closing parenthesis");
    return unique(values);
  }

  #take(sign: string): boolean {
    const token = this.#tokens[this.#next];
    if (token === undefined || token.word || token.text !== sign) return false;
    this.#next++;
    return true;
  }

  #unexpected(expected: string): Mistake {
    const token = this.#tokens[this.#next];
    const found = token === undefined ? "the selector ends" : `there is ${JSON.stringify(token.text)}`;
    return new Mistake(`${found} where ${expected} is expected`, token?.at ?? this.#end);
  }
}

const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const subdomainPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** Why a text is no label key: `[prefix/]name`, the prefix a DNS subdomain of at most 253 characters. */
export function keyProblem(key: unknown): string | undefined {
  if (typeof key !== "string") return "a label's key must be a text";
  const slash = key.indexOf("/");
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  if (prefix !== undefined && (prefix.length > 253 || !subdomainPattern.test(prefix))) {
    return `${JSON.stringify(key)} is no label key; what stands before the slash must be a DNS name of small letters`;
  }
  if (namePattern.test(key.slice(slash + 1))) return undefined;
  return `${JSON.stringify(key)} is no label key; write up to 63 letters, digits, -, _ and ., a letter or digit at both ends`;
}

/** Why a text is no label value: empty, or formed like the name in a key. */
export function valueProblem(value: unknown): string | undefined {
  if (typeof value !== "string") return "a label's value must be a text";
  if (value === "" || namePattern.test(value)) return undefined;
  return `${JSON.stringify(value)} is no label value; write up to 63 letters, digits, -, _ and ., a letter or digit at both ends`;
}

function isOperator(text: string): text is SelectorOperator {
  return text === "In" || text === "NotIn" || text === "Exists" || text === "DoesNotExist";
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}
