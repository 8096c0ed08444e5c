/**
 * Labels of an object, kept small: most pods carry the labels of many others, so equal sets are one object. Equal sets of
 * one pool can be compared with `===`, which makes them good keys.
 */

/** An immutable set of labels, ordered by key. */
export class LabelSet {
  /** Key, value, key, value and so on. Sets are small: a scan is quicker than a hash, and much smaller. */
  readonly #pairs: readonly string[];

  private constructor(pairs: readonly string[]) {
    this.#pairs = pairs;
  }

  /** What is no text is left out: it cannot have come from an API server. */
  static of(labels: Readonly<Record<string, unknown>> | null | undefined): LabelSet {
    if (typeof labels !== "object" || labels === null) return LabelSet.empty;
    const pairs: string[] = [];
    for (const key of Object.keys(labels).sort()) {
      const value = labels[key];
      if (typeof value === "string") pairs.push(key, value);
    }
    return pairs.length === 0 ? LabelSet.empty : new LabelSet(pairs);
  }

  static readonly empty: LabelSet = new LabelSet([]);

  get size(): number {
    return this.#pairs.length / 2;
  }

  get(key: string): string | undefined {
    for (let at = 0; at < this.#pairs.length; at += 2) if (this.#pairs[at] === key) return this.#pairs[at + 1];
    return undefined;
  }

  *[Symbol.iterator](): IterableIterator<[key: string, value: string]> {
    for (let at = 0; at < this.#pairs.length; at += 2) yield [this.#pairs[at]!, this.#pairs[at + 1]!];
  }

  /** `a=1,b=2`: equal for equal sets, and different for different ones, as neither part can hold `=` or `,`. */
  toString(): string {
    return [...this].map(([key, value]) => `${key}=${value}`).join(",");
  }

  toJSON(): Record<string, string> {
    return Object.fromEntries(this);
  }
}

/** Gives one object for equal sets, for as long as somebody holds it. */
export class LabelPool {
  readonly #sets = new Map<string, WeakRef<LabelSet>>();
  readonly #gone = new FinalizationRegistry<string>((key) => {
    // A set of the same name may have been made anew since.
    if (this.#sets.get(key)?.deref() === undefined) this.#sets.delete(key);
  });

  /** Different sets that are in use, and some that have just gone out of use. */
  get size(): number {
    return this.#sets.size;
  }

  /** The labels of an object as its JSON has them. */
  intern(labels: Readonly<Record<string, unknown>> | null | undefined): LabelSet {
    const fresh = LabelSet.of(labels);
    if (fresh.size === 0) return LabelSet.empty;
    const key = JSON.stringify([...fresh]);
    const known = this.#sets.get(key)?.deref();
    if (known !== undefined) return known;
    this.#sets.set(key, new WeakRef(fresh));
    this.#gone.register(fresh, key);
    return fresh;
  }
}
