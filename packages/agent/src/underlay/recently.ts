/** What was said lately need not be said again. */

/** More things than this are not told apart: then all but the latest are news again. */
const capacity = 1024;

export class Recently {
  readonly #milliseconds: number;
  readonly #until = new Map<string, number>();

  /** @param milliseconds how long something is no news */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
  }

  /** Whether this was not said within the time; from now on it was. `now` is in milliseconds. */
  isNew(what: string, now: number): boolean {
    for (const [each, until] of this.#until) if (until <= now) this.#until.delete(each);
    if (this.#until.has(what)) return false;
    if (this.#until.size >= capacity) this.#until.clear();
    this.#until.set(what, now + this.#milliseconds);
    return true;
  }
}
