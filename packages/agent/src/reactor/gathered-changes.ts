/**
 * Facts change in bursts: what came with one read from the API is taken to the reactor at once, so that a verdict is taken
 * again once for all of it. An agent that has too much to do reads more with each turn, and so does less for each change.
 */
import type { FactKey } from "@beyondfabric/datapath";

export class GatheredChanges {
  readonly #take: (keys: ReadonlySet<FactKey>) => void;
  #keys = new Set<FactKey>();

  /** @param take called in the same turn of the event loop, when everything that was read in it has been told */
  constructor(take: (keys: ReadonlySet<FactKey>) => void) {
    this.#take = take;
  }

  add(keys: Iterable<FactKey>): void {
    if (this.#keys.size === 0) setImmediate(() => this.#flush());
    for (const key of keys) this.#keys.add(key);
  }

  #flush(): void {
    const keys = this.#keys;
    this.#keys = new Set();
    this.#take(keys);
  }
}
