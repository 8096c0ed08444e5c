/** One object for equal ones: names of nodes, ports and zones stand in thousands of endpoints. */
export class Pool<Value> {
  readonly #values = new Map<string, Value>();
  readonly #most: number;

  /** @param most how many are kept; beyond, all are forgotten, which costs memory and nothing else */
  constructor(most: number) {
    this.#most = most;
  }

  /** The value that was made for this key, or the one that is made now. */
  of(key: string, make: () => Value): Value {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    if (this.#values.size >= this.#most) this.#values.clear();
    const value = make();
    this.#values.set(key, value);
    return value;
  }
}
