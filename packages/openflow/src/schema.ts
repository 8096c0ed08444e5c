/**
 * The vocabulary in which the tables describe structures: codecs for single values, parts that together make a
 * structure, and the walks that read and write them. The TypeScript type of a structure is inferred from its parts.
 */
import { OpenFlowDecodeError } from "./errors.ts";
import type { Reader, Writer } from "./wire.ts";

/** One value: both directions of the same bytes. */
export interface Codec<T> {
  decode(reader: Reader): T;
  encode(writer: Writer, value: T): void;
}

/** One or several properties of a structure, at one place of its bytes. */
export interface Part<T extends object> {
  decodeInto(reader: Reader, target: T): void;
  encodeFrom(writer: Writer, source: T): void;
}

/** The value that a codec reads and writes. */
export type Infer<C> = C extends Codec<infer T> ? T : never;

type PartType<P> = P extends Part<infer T> ? T : never;
type Intersect<U> = (U extends unknown ? (value: U) => void : never) extends (value: infer I) => void ? I : never;
type Simplify<T> = { [K in keyof T]: T[K] };
// oxlint-disable-next-line typescript/no-explicit-any -- a list of parts of whatever types; each is checked at its own place
type AnyPart = Part<any>;
/** The value of a structure with these parts. */
export type StructOf<P extends readonly AnyPart[]> = Simplify<Intersect<PartType<P[number]>>>;

export const u8: Codec<number> = { decode: (r) => r.u8(), encode: (w, value) => w.u8(value) };
export const u16: Codec<number> = { decode: (r) => r.u16(), encode: (w, value) => w.u16(value) };
export const u32: Codec<number> = { decode: (r) => r.u32(), encode: (w, value) => w.u32(value) };
export const u64: Codec<bigint> = { decode: (r) => r.u64(), encode: (w, value) => w.u64(value) };

/** All bytes that are left. */
export const rest: Codec<Uint8Array> = { decode: (r) => r.rest(), encode: (w, value) => w.raw(value) };

/** Text in a field of fixed size, filled with zeros; longer text is cut. A byte is a character, whatever it encodes. */
export function text(size: number): Codec<string> {
  return {
    decode(r) {
      const bytes = r.take(size);
      const end = bytes.indexOf(0);
      return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("latin1");
    },
    encode(w, value) {
      const bytes = Buffer.from(value, "latin1").subarray(0, size);
      w.raw(bytes);
      w.zeros(size - bytes.length);
    },
  };
}

/** A number with a name for each known value; others stay numbers, so that nothing is lost. */
export function named<const Names extends Readonly<Record<string, number>>>(
  width: Codec<number>,
  names: Names,
): Codec<keyof Names | number> {
  const byNumber = new Map(Object.entries(names).map(([name, value]) => [value, name as keyof Names]));
  return {
    decode(r) {
      const value = width.decode(r);
      return byNumber.get(value) ?? value;
    },
    encode(w, value) {
      width.encode(w, typeof value === "number" ? value : names[value]!);
    },
  };
}

/** A set of flags by name; bits without a name are kept as `bitN`. */
export function flagSet<const Names extends Readonly<Record<string, number>>>(
  width: Codec<number>,
  names: Names,
): Codec<readonly (keyof Names | `bit${number}`)[]> {
  const entries = Object.entries(names) as [keyof Names, number][];
  return {
    decode(r) {
      let value = width.decode(r);
      const flags: (keyof Names | `bit${number}`)[] = [];
      for (const [name, bit] of entries) {
        if ((value & bit) !== 0) {
          flags.push(name);
          value &= ~bit;
        }
      }
      for (let bit = 0; bit < 32; bit++) if (((value >>> bit) & 1) === 1) flags.push(`bit${bit}`);
      return flags;
    },
    encode(w, flags) {
      let value = 0;
      for (const flag of flags) {
        const known = names[flag as string];
        value |= known ?? 1 << Number((flag as string).slice(3));
      }
      width.encode(w, value >>> 0);
    },
  };
}

/** One value under a name. */
export function field<const N extends string, T>(name: N, codec: Codec<T>): Part<{ readonly [K in N]: T }> {
  return {
    decodeInto(r, target) {
      (target as Record<string, unknown>)[name] = codec.decode(r);
    },
    encodeFrom(w, source) {
      codec.encode(w, source[name]);
    },
  };
}

/** A property that is absent when its bytes say `absent`. */
export function optional<const N extends string, T>(
  name: N,
  codec: Codec<T>,
  absent: T,
): Part<{ readonly [K in N]?: T }> {
  return {
    decodeInto(r, target) {
      const value = codec.decode(r);
      if (value !== absent) (target as Record<string, unknown>)[name] = value;
    },
    encodeFrom(w, source) {
      codec.encode(w, source[name] ?? absent);
    },
  };
}

/** Bytes that must be there and mean nothing. */
export function pad(size: number): Part<object> {
  return { decodeInto: (r) => r.skip(size), encodeFrom: (w) => w.zeros(size) };
}

/** A constant, such as a length that {@link delimited} fills in later: written as zero, read and ignored. */
export const lengthPlace: Part<object> = pad(2);

/** A structure: its parts one after the other. */
export function struct<const P extends readonly AnyPart[]>(...parts: P): Codec<StructOf<P>> {
  return {
    decode(r) {
      const target = {} as StructOf<P>;
      for (const part of parts) part.decodeInto(r, target);
      return target;
    },
    encode(w, value) {
      for (const part of parts) part.encodeFrom(w, value);
    },
  };
}

/** Elements one after the other until the range ends. */
export function list<T>(element: Codec<T>): Codec<readonly T[]> {
  return {
    decode(r) {
      const values: T[] = [];
      while (r.remaining > 0) {
        const before = r.offset;
        values.push(element.decode(r));
        if (r.offset === before) throw new OpenFlowDecodeError(`an element of no length at byte ${before}`);
      }
      return values;
    },
    encode(w, values) {
      for (const value of values) element.encode(w, value);
    },
  };
}

/**
 * A structure that carries its own length, 16 bits at `lengthAt` (a {@link lengthPlace} there), padding to `alignment`
 * included in the length when `alignmentCounted`. What is left of the length after the parts is ignored: newer
 * switches may append.
 */
export function delimited<T>(
  lengthAt: number,
  body: Codec<T>,
  options: { readonly alignment?: number } = {},
): Codec<T> {
  const alignment = options.alignment ?? 1;
  return {
    decode(r) {
      const size = r.peekU16(lengthAt);
      if (size < lengthAt + 2) throw new OpenFlowDecodeError(`a length of ${size} at byte ${r.offset + lengthAt}`);
      return body.decode(r.sub(size));
    },
    encode(w, value) {
      const start = w.length;
      body.encode(w, value);
      w.align(start, alignment);
      w.patchU16(start + lengthAt, w.length - start);
    },
  };
}

/** One kind of property: its number, the name it has in the value, and its body after the four bytes of type and length. */
export interface PropertyRow<N extends string, T> {
  readonly name: N;
  readonly code: number;
  readonly body: Codec<T>;
}

/** A row of {@link properties}. */
export function property<const N extends string, T>(name: N, code: number, body: Codec<T>): PropertyRow<N, T> {
  return { name, code, body };
}

/** A property without a row, its four bytes of type and length apart. */
export interface UnknownProperty {
  readonly code: number;
  readonly bytes: Uint8Array;
}

// oxlint-disable-next-line typescript/no-explicit-any -- rows of whatever types; each is checked where it is declared
type AnyRow = PropertyRow<string, any>;
type RowProperty<R> = R extends PropertyRow<infer N, infer T> ? { readonly [K in N]?: T } : never;
/** The members that a list of properties adds to its structure. */
export type PropertiesOf<R extends readonly AnyRow[]> = Simplify<
  Intersect<RowProperty<R[number]>> & { readonly unknownProperties?: readonly UnknownProperty[] }
>;

/**
 * A list of properties (type, length, body, zeros up to 8 bytes) until the range ends, as optional members of the
 * surrounding structure. Written in the order of the rows; unknown ones follow and keep their bytes.
 */
export function properties<const R extends readonly AnyRow[]>(...rows: R): Part<PropertiesOf<R>> {
  const byCode = new Map<number, AnyRow>(rows.map((row) => [row.code, row]));
  return {
    decodeInto(r, target) {
      const out = target as Record<string, unknown>;
      const unknown: UnknownProperty[] = [];
      while (r.remaining >= 4) {
        const start = r.offset;
        const code = r.peekU16();
        const size = r.peekU16(2);
        if (size < 4) throw new OpenFlowDecodeError(`a property of ${size} bytes at byte ${start}`);
        const row = byCode.get(code);
        const body = r.sub(size);
        body.skip(4);
        if (row === undefined) unknown.push({ code, bytes: body.rest() });
        else out[row.name] = row.body.decode(body);
        r.align(start, 8);
      }
      if (unknown.length > 0) out["unknownProperties"] = unknown;
    },
    encodeFrom(w, source) {
      const values = source as Record<string, unknown>;
      for (const row of rows) {
        const value = values[row.name];
        if (value === undefined) continue;
        encodeProperty(w, row.code, () => row.body.encode(w, value));
      }
      for (const { code, bytes } of (values["unknownProperties"] as readonly UnknownProperty[] | undefined) ?? []) {
        encodeProperty(w, code, () => w.raw(bytes));
      }
    },
  };
}

function encodeProperty(w: Writer, code: number, body: () => void): void {
  const start = w.length;
  w.u16(code);
  w.u16(0);
  body();
  w.patchU16(start + 2, w.length - start);
  w.align(start, 8);
}

/** A property's body behind four bytes of padding, as 64-bit values and nested structures have it. */
export function padded<T>(codec: Codec<T>): Codec<T> {
  return {
    decode(r) {
      r.skip(4);
      return codec.decode(r);
    },
    encode(w, value) {
      w.zeros(4);
      codec.encode(w, value);
    },
  };
}

/** A property that says something by being there. */
export const present: Codec<true> = { decode: () => true, encode: () => undefined };
