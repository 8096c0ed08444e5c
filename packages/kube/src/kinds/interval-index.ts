/** Finding overlaps among many ranges without comparing each with each. */
import type { IpFamily } from "@beyondfabric/packet";
import type { Interval } from "./assignable.ts";

/** Disjoint intervals with a value each, in order, so that an overlap is found by bisection. */
export class IntervalIndex<Value> {
  readonly #entries: Record<IpFamily, { readonly interval: Interval; readonly value: Value }[]> = { 4: [], 6: [] };

  /** The value of an interval that overlaps this one. */
  find(family: IpFamily, interval: Interval): Value | undefined {
    const entry = this.#entries[family][this.#place(family, interval.first)];
    return entry !== undefined && entry.interval.first <= interval.last ? entry.value : undefined;
  }

  /** Files an interval that overlaps none that is filed. */
  add(family: IpFamily, interval: Interval, value: Value): void {
    this.#entries[family].splice(this.#place(family, interval.first), 0, { interval, value });
  }

  /** Index of the first interval that does not end before `first`. */
  #place(family: IpFamily, first: bigint): number {
    const entries = this.#entries[family];
    let low = 0;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (entries[middle]!.interval.last < first) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
