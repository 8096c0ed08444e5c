/** Who may run when: operations of one container one after the other, garbage collection alone, never too many at once. */

interface Waiting {
  /** Undefined: alone. */
  readonly container: string | undefined;
  readonly start: () => void;
}

/**
 * Orders operations. Those of different containers run side by side up to a limit; those of one container in the order
 * of their coming; an exclusive one waits for all that run, and those that come after it wait for it.
 */
export class OperationQueue {
  readonly #limit: number;
  readonly #waiting: Waiting[] = [];
  readonly #busy = new Set<string>();
  #running = 0;
  #exclusive = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Operations that run now. */
  get running(): number {
    return this.#running;
  }

  /** Operations that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `operation` when no other one of this container, and no exclusive one, runs. */
  forContainer<T>(container: string, operation: () => Promise<T>): Promise<T> {
    return this.#enter(container, operation);
  }

  /** Runs `operation` when nothing else runs. */
  exclusive<T>(operation: () => Promise<T>): Promise<T> {
    return this.#enter(undefined, operation);
  }

  async #enter<T>(container: string | undefined, operation: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => {
      this.#waiting.push({ container, start: resolve });
      this.#next();
    });
    try {
      return await operation();
    } finally {
      this.#running--;
      if (container === undefined) this.#exclusive = false;
      else this.#busy.delete(container);
      this.#next();
    }
  }

  #next(): void {
    const passed = new Set<string>();
    for (let index = 0; index < this.#waiting.length && !this.#exclusive && this.#running < this.#limit;) {
      const { container, start } = this.#waiting[index]!;
      if (container === undefined) {
        if (this.#running > 0) return;
        this.#exclusive = true;
      } else if (this.#busy.has(container) || passed.has(container)) {
        passed.add(container);
        index++;
        continue;
      } else {
        this.#busy.add(container);
      }
      this.#waiting.splice(index, 1);
      this.#running++;
      start();
    }
  }
}
