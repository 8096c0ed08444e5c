/** Waiting between attempts: exponential with full jitter, so that thousands of agents do not come back at once. */
import { systemClock, type Clock } from "./clock.ts";

export interface BackoffOptions {
  /** ms; default 200 */
  readonly minimum?: number;
  /** ms; default 30,000 */
  readonly maximum?: number;
  /** 0 inclusive to 1 exclusive */
  readonly random?: () => number;
  readonly clock?: Clock;
}

export class Backoff {
  readonly #minimum: number;
  readonly #maximum: number;
  readonly #random: () => number;
  readonly #clock: Clock;
  #ceiling: number;

  constructor({ minimum = 200, maximum = 30_000, random = Math.random, clock = systemClock }: BackoffOptions = {}) {
    this.#minimum = minimum;
    this.#maximum = Math.max(minimum, maximum);
    this.#random = random;
    this.#clock = clock;
    this.#ceiling = this.#first;
  }

  /**
   * How long to wait before the next attempt (ms): evenly spread between the minimum and a ceiling that doubles with
   * each call.
   */
  next(): number {
    const delay = this.#minimum + this.#random() * (this.#ceiling - this.#minimum);
    this.#ceiling = Math.min(this.#maximum, this.#ceiling * 2);
    return delay;
  }

  /** An attempt succeeded: the next failure waits briefly again. */
  reset(): void {
    this.#ceiling = this.#first;
  }

  /** Waits for {@link next}, or for what the server asked (ms) if that is longer; ends early, quietly, when aborted. */
  async wait(signal: AbortSignal, asked = 0): Promise<void> {
    await this.#clock.wait(Math.max(asked, this.next()), signal);
  }

  get #first(): number {
    return Math.min(this.#maximum, this.#minimum * 2);
  }
}
