/**
 * Walks an object from outside and notes what cannot be honoured. Fields that are not known are passed over: the kinds
 * have many that are of no concern here.
 */
import type { Violation } from "@beyondfabric/kube/kinds";

export type RawObject = Readonly<Record<string, unknown>>;

const maxViolations = 50;

export class FieldReader {
  readonly violations: Violation[] = [];
  readonly #object: string;
  #elementsLeft: number;

  /**
   * @param object kind and name, such as `Service/shop/web`
   * @param maxElements of all lists together
   */
  constructor(object: string, maxElements: number) {
    this.#object = object;
    this.#elementsLeft = maxElements;
  }

  /** @param rule what is wrong, and what follows from it */
  offend(field: string, rule: string, remedy: string): undefined {
    if (this.violations.length < maxViolations) this.violations.push({ object: this.#object, field, rule, remedy });
  }

  /** An object; undefined when it is something else. What is absent is an object without fields. */
  object(path: string, value: unknown, consequence: string): RawObject | undefined {
    if (value === undefined || value === null) return {};
    if (isObject(value)) return value;
    return this.offend(path || "object", `is ${fieldText(value)}, so ${consequence}`, "write an object");
  }

  /** The elements of a list; none when it is absent, something else, or longer than what may be looked at. */
  list(path: string, value: unknown, consequence: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) {
      this.offend(path, `is ${fieldText(value)}, so ${consequence}`, "write a list");
      return [];
    }
    this.#elementsLeft -= value.length;
    if (this.#elementsLeft >= 0) return value;
    this.offend(path, `makes the object too large, so ${consequence}`, "split the object");
    return [];
  }

  /** A whole number from `first` to `last`; undefined when it is absent or something else. */
  number(path: string, value: unknown, [first, last]: readonly [number, number], consequence: string) {
    if (value === undefined || value === null) return undefined;
    if (isWholeNumber(value) && value >= first && value <= last) return value;
    const remedy = `write a number from ${first} to ${last}`;
    return this.offend(path, `is ${fieldText(value)}, so ${consequence}`, remedy);
  }

  /** One of some words; `absent` when there is none, undefined when it is something else. */
  word<Word extends string>(
    path: string,
    value: unknown,
    words: readonly Word[],
    absent: Word,
    consequence: string,
  ): Word | undefined {
    if (value === undefined || value === null || value === "") return absent;
    const known = words.find((word) => word === value);
    if (known !== undefined) return known;
    return this.offend(path, `is ${fieldText(value)}, so ${consequence}`, `write one of ${words.join(", ")}`);
  }
}

export function isObject(value: unknown): value is RawObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWholeNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value);
}

/** A value as a message shows it: never all of it, for it may be large. */
export function fieldText(value: unknown): string {
  if (value === undefined) return "missing";
  if (Array.isArray(value)) return value.length === 0 ? "[]" : "a list";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  if (typeof value !== "string") return `a ${typeof value}`;
  return value.length > 50 ? `${JSON.stringify(value.slice(0, 50))}...` : JSON.stringify(value);
}
