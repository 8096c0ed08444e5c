/**
 * Who wrote an entry, in its cookie, so that a restarted agent recognises its own and statistics can be read in slices.
 *
 * ```
 * 63      56 55    48 47    40 39    32 31             0
 * | 0xbf    | format | kind   | bucket | id             |
 * ```
 * The format number changes whenever the meaning of registers or tables does: an agent replaces entries of another
 * format and never adopts them.
 */
import { DatapathError } from "./errors.ts";

const magic = 0xbfn;
export const cookieFormat = 2;

export const cookieKind = { base: 1, pod: 2, verdict: 3, refusal: 4 } as const;
export type CookieKind = keyof typeof cookieKind;

/** The kinds that on-demand entries have: what passes, and what is refused. They share one range of numbers. */
export function isVerdictKind(kind: CookieKind | undefined): kind is "verdict" | "refusal" {
  return kind === "verdict" || kind === "refusal";
}

/** Statistics are read one bucket at a time; entries spread over the buckets by their id. */
export const cookieBuckets = 64;

export interface Cookie {
  readonly kind: CookieKind;
  readonly bucket: number;
  readonly id: number;
}

export function encodeCookie(kind: CookieKind, id: number): bigint {
  if (!Number.isInteger(id) || id < 0 || id > 0xffff_ffff) {
    throw new DatapathError("DATAPATH_BAD_COOKIE", `cookie id ${id} is not an unsigned 32-bit integer`);
  }
  const high = (0xbf << 24) | (cookieFormat << 16) | (cookieKind[kind] << 8) | (id % cookieBuckets);
  return (BigInt(high >>> 0) << 32n) | BigInt(id);
}

/** The parts of a cookie of ours in the current format; undefined for any other. */
export function decodeCookie(cookie: bigint): Cookie | undefined {
  if (cookie >> 56n !== magic || ((cookie >> 48n) & 0xffn) !== BigInt(cookieFormat)) return undefined;
  const kindNumber = Number((cookie >> 40n) & 0xffn);
  const kind = (Object.keys(cookieKind) as CookieKind[]).find((name) => cookieKind[name] === kindNumber);
  if (kind === undefined) return undefined;
  return { kind, bucket: Number((cookie >> 32n) & 0xffn), id: Number(cookie & 0xffff_ffffn) };
}

/** Cookie and mask that select the verdict entries of one bucket; refusals are few and are read all at once. */
export function bucketSelector(bucket: number): { cookie: bigint; mask: bigint } {
  return { cookie: encodeCookie("verdict", bucket), mask: 0xffff_ffff_0000_0000n };
}

/** Cookie and mask that select every entry of one kind. */
export function kindSelector(kind: CookieKind): { cookie: bigint; mask: bigint } {
  return { cookie: encodeCookie(kind, 0), mask: 0xffff_ff00_0000_0000n };
}
