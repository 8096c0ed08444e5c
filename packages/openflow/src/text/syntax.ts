/** The shape of ovs-ofctl's texts: items apart by commas or blanks, parentheses that hold them together, numbers. */
import { OpenFlowTextError } from "../errors.ts";

/** `key=value`, `key:value`, `key(value)` or a lone `key`; the value keeps what is inside of its parentheses. */
export interface Item {
  readonly key: string;
  /** What stood between: `=`, `:`, `(` or nothing. */
  readonly sign: "=" | ":" | "(" | "";
  readonly value: string;
  /** The item as written. */
  readonly text: string;
}

const SEPARATOR = /[\s,]/;

/** Cuts at commas and blanks outside of parentheses and brackets. */
export function splitItems(text: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const char = text[i];
    if (char === "(" || char === "[") depth++;
    else if (char === ")" || char === "]") {
      if (--depth < 0) throw new OpenFlowTextError(`${JSON.stringify(text)}: a bracket closes that was never opened`);
    } else if (char === undefined || (depth === 0 && SEPARATOR.test(char))) {
      if (i > start) items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  if (depth !== 0) throw new OpenFlowTextError(`${JSON.stringify(text)}: a bracket is never closed`);
  return items;
}

/** An item taken apart at its first sign. */
export function parseItem(text: string): Item {
  const at = text.search(/[=:(]/);
  if (at < 0) return { key: text, sign: "", value: "", text };
  const sign = text[at] as "=" | ":" | "(";
  const key = text.slice(0, at);
  if (sign !== "(") return { key, sign, value: text.slice(at + 1), text };
  const end = text.lastIndexOf(")");
  // What follows the parenthesis belongs to the value of forms such as check_pkt_larger(1450)->reg0[0].
  return { key, sign, value: text.slice(at + 1, end) + text.slice(end + 1), text };
}

/** All items of a text. */
export function parseItems(text: string): Item[] {
  return splitItems(text).map(parseItem);
}

const NUMBER = /^(?:0[xX][0-9a-fA-F]{1,512}|[0-9]{1,40})$/;

/** A number, decimal or hexadecimal, of at most `bits` bits. */
export function parseNumber(text: string, bits: number, what: string): bigint {
  if (!NUMBER.test(text)) throw new OpenFlowTextError(`${what}: ${JSON.stringify(text)} is not a number`);
  const value = BigInt(text);
  if (value >> BigInt(bits) !== 0n) throw new OpenFlowTextError(`${what}: ${text} does not fit ${bits} bits`);
  return value;
}

/** As {@link parseNumber}, for at most 48 bits. */
export function parseInteger(text: string, bits: number, what: string): number {
  return Number(parseNumber(text, bits, what));
}

/** Whether the text is a number as {@link parseNumber} reads it. */
export function isNumber(text: string): boolean {
  return NUMBER.test(text);
}

/** `0x` and the digits. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** `a->b`, cut at the last arrow. */
export function splitArrow(text: string, what: string): [string, string] {
  const at = text.lastIndexOf("->");
  if (at < 0) throw new OpenFlowTextError(`${what}: ${JSON.stringify(text)} lacks "->"`);
  return [text.slice(0, at), text.slice(at + 2)];
}
