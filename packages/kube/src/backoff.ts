/** Waiting between attempts: exponential with full jitter, so that thousands of agents do not come back at once. */
export interface BackoffOptions {
  /** ms */
  readonly minimum?: number;
  /** ms */
  readonly maximum?: number;
  /** 0 inclusive to 1 exclusive */
  readonly random?: () => number;
}

export class Backoff {
  readonly #minimum: number;
  readonly #maximum: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor({ minimum = 200, maximum = 10_000, random = Math.random }: BackoffOptions = {}) {
    this.#minimum = minimum;
    this.#maximum = maximum;
    this.#random = random;
  }

  /** How long to wait before the next attempt (ms); each call counts as a failed one. */
  next(): number {
    const ceiling = Math.min(this.#maximum, this.#minimum * 2 ** this.#attempt);
    if (ceiling < this.#maximum) this.#attempt++;
    return this.#minimum / 2 + this.#random() * (ceiling - this.#minimum / 2);
  }

  reset(): void {
    this.#attempt = 0;
  }

  /** Waits for {@link next}, or for what the server asked if that is longer; ends early, quietly, when aborted. */
  async wait(signal: AbortSignal, asked = 0): Promise<void> {
    const milliseconds = Math.max(asked, this.next());
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done);
    });
  }
}
