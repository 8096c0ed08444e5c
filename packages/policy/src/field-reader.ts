/** Walks an object from outside, notes what cannot be honoured, and stops at a bound. */
import type { Violation } from "@beyondfabric/kube/kinds";
import {
  compileSelector,
  type LabelSelector,
  type LabelSelectorRequirement,
  type Selector,
} from "@beyondfabric/kube/selectors";

export interface ObjectFields {
  readonly value: Readonly<Record<string, unknown>>;
  readonly sound: boolean;
}

const maxViolations = 50;

export class FieldReader {
  readonly violations: Violation[] = [];
  readonly #object: string;
  #elementsLeft: number;

  /**
   * @param object kind and name, such as `NetworkPolicy/shop/web`
   * @param maxElements of all lists together
   */
  constructor(object: string, maxElements: number) {
    this.#object = object;
    this.#elementsLeft = maxElements;
  }

  /** Whether the lists together are longer than what may be looked at. */
  get isExhausted(): boolean {
    return this.#elementsLeft < 0;
  }

  /** @param rule what is wrong, and what follows from it */
  offend(field: string, rule: string, remedy: string): undefined {
    if (this.violations.length < maxViolations) this.violations.push({ object: this.#object, field, rule, remedy });
  }

  /**
   * An object with no other fields than the known ones: a field that we do not know could narrow what the others say.
   * @param consequence of its being unsound: `the rule allows nothing`
   */
  object(path: string, value: unknown, known: readonly string[], consequence: string): ObjectFields {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      this.offend(path || "object", `is ${fieldText(value)}, so ${consequence}`, "write an object");
      return { value: {}, sound: false };
    }
    const unknown = Object.keys(value).find((name) => !known.includes(name));
    if (unknown === undefined) return { value: value as ObjectFields["value"], sound: true };
    const field = path === "" ? unknown.slice(0, 64) : `${path}.${unknown.slice(0, 64)}`;
    this.offend(field, `is not known here, so ${consequence}`, `drop it; known are ${known.join(", ")}`);
    return { value: value as ObjectFields["value"], sound: false };
  }

  /** @param consequence of its not being one: `the rule matches nobody` */
  isArray(path: string, value: unknown, consequence: string): value is readonly unknown[] {
    if (!Array.isArray(value)) {
      this.offend(path, `is ${fieldText(value)}, so ${consequence}`, "write a list");
      return false;
    }
    const hadRoom = !this.isExhausted;
    this.#elementsLeft -= value.length;
    if (!this.isExhausted) return true;
    if (hadRoom) this.offend(path, "makes the policy too large, so it allows nothing", "split the policy");
    return false;
  }

  /** A label selector; undefined when it is none. */
  selector(path: string, value: unknown, consequence: string): Selector | undefined {
    const shaped = this.#selectorShape(path, value, consequence);
    if (shaped === undefined) return undefined;
    const compiled = compileSelector(shaped);
    if (compiled.ok) return compiled.selector;
    return this.offend(`${path}.${compiled.at}`, `cannot be read, so ${consequence}`, compiled.problem);
  }

  #selectorShape(path: string, value: unknown, consequence: string): LabelSelector | undefined {
    const { value: fields, sound } = this.object(path, value, ["matchLabels", "matchExpressions"], consequence);
    if (!sound) return undefined;
    const matchLabels = fields["matchLabels"] ?? {};
    const matchExpressions = fields["matchExpressions"] ?? [];
    if (typeof matchLabels !== "object" || Array.isArray(matchLabels)) {
      return this.offend(`${path}.matchLabels`, `is ${fieldText(matchLabels)}, so ${consequence}`, "write an object");
    }
    if (!this.isArray(`${path}.matchExpressions`, matchExpressions, consequence)) return undefined;
    const requirements: LabelSelectorRequirement[] = [];
    for (const [index, item] of matchExpressions.entries()) {
      const at = `${path}.matchExpressions[${index}]`;
      const expression = this.object(at, item, ["key", "operator", "values"], consequence);
      if (!expression.sound) return undefined;
      const values = expression.value["values"] ?? [];
      if (!this.isArray(`${at}.values`, values, consequence)) return undefined;
      // Keys, operators and values of any type: compiling the selector refuses what is no text.
      requirements.push({ ...expression.value, values } as unknown as LabelSelectorRequirement);
    }
    return { matchLabels: matchLabels as Record<string, string>, matchExpressions: requirements };
  }
}

/** A value as a message shows it. */
export function fieldText(value: unknown): string {
  const text = value === undefined ? "missing" : (JSON.stringify(value) ?? typeof value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
