/**
 * A set of addresses made of many blocks with exceptions, asked by address: the answer, and the widest prefix around the
 * address for which it is the same. A hundred thousand blocks cost a search among disjoint intervals, not a walk.
 */
import {
  cidrOf,
  cidrSize,
  familyBits,
  ipFamily,
  ipToBigInt,
  type Cidr,
  type Ip,
  type IpFamily,
} from "@beyondfabric/packet";

export interface AddressBlocks {
  readonly cidr: Cidr;
  /** Taken out of `cidr`, and only of this one: another block may contain them. */
  readonly except: readonly Cidr[];
}

export interface AddressAnswer {
  readonly contained: boolean;
  readonly prefix: Cidr;
}

/** Disjoint, ordered, no two adjacent: `firsts[i]` to `lasts[i]`, both included. */
interface Intervals {
  readonly firsts: readonly bigint[];
  readonly lasts: readonly bigint[];
}

export class AddressSet {
  readonly #families: Readonly<Record<IpFamily, Intervals>>;

  constructor(blocks: readonly AddressBlocks[]) {
    this.#families = { 4: intervalsOf(blocks, 4), 6: intervalsOf(blocks, 6) };
  }

  /** Whether the address is in the set, and where around it that is so. */
  lookup(address: Ip): AddressAnswer {
    const family = ipFamily(address);
    const { firsts, lasts } = this.#families[family];
    const value = ipToBigInt(address);
    const place = lastNotAbove(firsts, value);
    const contained = place >= 0 && lasts[place]! >= value;
    const first = contained ? firsts[place]! : place < 0 ? 0n : lasts[place]! + 1n;
    const end = (1n << BigInt(familyBits(family))) - 1n;
    const last = contained ? lasts[place]! : place + 1 < firsts.length ? firsts[place + 1]! - 1n : end;
    return { contained, prefix: cidrOf(address, widestLength(value, first, last, familyBits(family))) };
  }
}

function intervalsOf(blocks: readonly AddressBlocks[], family: IpFamily): Intervals {
  const pieces: [first: bigint, last: bigint][] = [];
  for (const { cidr, except } of blocks) {
    if (cidr.family !== family) continue;
    const [start, end] = boundsOf(cidr);
    let next = start;
    const holes = except.filter((hole) => hole.family === family).map(boundsOf);
    for (const [first, last] of holes.sort(byFirst)) {
      if (first > end || last < next) continue;
      if (first > next) pieces.push([next, first - 1n]);
      next = last + 1n;
    }
    if (next <= end) pieces.push([next, end]);
  }
  const firsts: bigint[] = [];
  const lasts: bigint[] = [];
  for (const [first, last] of pieces.sort(byFirst)) {
    const open = lasts.length - 1;
    if (open >= 0 && first <= lasts[open]! + 1n) {
      if (last > lasts[open]!) lasts[open] = last;
    } else {
      firsts.push(first);
      lasts.push(last);
    }
  }
  return { firsts, lasts };
}

function boundsOf(cidr: Cidr): [first: bigint, last: bigint] {
  const first = ipToBigInt(cidr.address);
  return [first, first + cidrSize(cidr) - 1n];
}

function byFirst([a]: readonly [bigint, bigint], [b]: readonly [bigint, bigint]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The place of the greatest value that is not above `value`, -1 when all are. */
function lastNotAbove(values: readonly bigint[], value: bigint): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Length of the shortest prefix around `value` that stays from `first` to `last`. */
function widestLength(value: bigint, first: bigint, last: bigint, bits: number): number {
  let low = 0;
  let high = bits;
  while (low < high) {
    const length = (low + high) >>> 1;
    const host = (1n << BigInt(bits - length)) - 1n;
    if ((value & ~host) >= first && (value | host) <= last) high = length;
    else low = length + 1;
  }
  return low;
}
