/**
 * Sends what is due, when it is due. The clock and the sleep are passed in, so that the arithmetic can be tested
 * without waiting.
 */

/** Where a pacer gets its time from; nanoseconds. */
export interface Clock {
  now(): number;
  sleepUntil(nanoseconds: number): void;
}

/** Paces batches: `next` waits until something is due and says how much later than due the clock stands. */
export class Pacer {
  readonly #clock: Clock;
  #start: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#start = clock.now();
  }

  /** Due time zero is now. */
  restart(): void {
    this.#start = this.#clock.now();
  }

  /** Nanoseconds since the start. */
  elapsed(): number {
    return this.#clock.now() - this.#start;
  }

  /** True if a packet due `seconds` after the start may leave now. */
  isDue(seconds: number): boolean {
    return this.#clock.now() - this.#start >= seconds * 1e9;
  }

  /** Waits for a due time; returns the nanoseconds by which it was missed. Never early. */
  waitFor(seconds: number): number {
    const due = this.#start + seconds * 1e9;
    let now = this.#clock.now();
    while (now < due) {
      this.#clock.sleepUntil(due);
      now = this.#clock.now();
    }
    return now - due;
  }
}
