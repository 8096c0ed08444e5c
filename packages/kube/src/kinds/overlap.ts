/** Finding overlaps among many prefixes without comparing each with each. */
import { cidrOf, formatCidr } from "@beyondfabric/packet";
import type { Cidr, IpFamily } from "@beyondfabric/packet";

/**
 * Prefixes with a value each. Two prefixes overlap exactly when the longer, cut to the length of the shorter, equals it;
 * so every prefix is filed under itself and under its cut to each length that occurs. A cluster knows few lengths, which
 * keeps both filing and asking to a handful of map operations.
 */
export class OverlapIndex<Value> {
  readonly #exact = new Map<string, Value>();
  /** For a prefix of a length in use: the longer filed prefixes that lie within it. */
  readonly #within = new Map<string, Map<string, Value>>();
  readonly #lengths = { 4: new Set<number>(), 6: new Set<number>() };

  /** Files a prefix; one that is filed already gets the new value. */
  add(cidr: Cidr, value: Value): void {
    this.#learnLength(cidr.family, cidr.length);
    const key = formatCidr(cidr);
    this.#exact.set(key, value);
    for (const length of this.#lengths[cidr.family]) {
      if (length < cidr.length) this.#fileWithin(formatCidr(cidrOf(cidr.address, length)), key, value);
    }
  }

  /** The value of a filed prefix that overlaps this one: the widest of those around it, else one of those within. */
  find(cidr: Cidr): Value | undefined {
    for (const value of this.overlapping(cidr)) return value;
    return undefined;
  }

  /** The values of all filed prefixes that overlap this one: those around it, widest first, then those within. */
  *overlapping(cidr: Cidr): Generator<Value> {
    for (const length of [...this.#lengths[cidr.family]].sort((a, b) => a - b)) {
      if (length > cidr.length) break;
      const value = this.#exact.get(formatCidr(cidrOf(cidr.address, length)));
      if (value !== undefined) yield value;
    }
    this.#learnLength(cidr.family, cidr.length);
    yield* this.#within.get(formatCidr(cidr))?.values() ?? [];
  }

  delete(cidr: Cidr): void {
    const key = formatCidr(cidr);
    this.#exact.delete(key);
    for (const length of this.#lengths[cidr.family]) {
      if (length >= cidr.length) continue;
      const cut = formatCidr(cidrOf(cidr.address, length));
      const inside = this.#within.get(cut);
      inside?.delete(key);
      if (inside?.size === 0) this.#within.delete(cut);
    }
  }

  #fileWithin(cut: string, key: string, value: Value): void {
    let inside = this.#within.get(cut);
    if (inside === undefined) this.#within.set(cut, (inside = new Map()));
    inside.set(key, value);
  }

  #learnLength(family: IpFamily, length: number): void {
    if (this.#lengths[family].has(length)) return;
    this.#lengths[family].add(length);
    for (const [key, value] of this.#exact) {
      const slash = key.lastIndexOf("/");
      const address = key.slice(0, slash);
      const isLonger = Number(key.slice(slash + 1)) > length;
      if (isLonger && address.includes(":") === (family === 6)) {
        this.#fileWithin(formatCidr(cidrOf(address, length)), key, value);
      }
    }
  }
}
