/**
 * The loop that converges (`docs/design/0007-convergence-loop.md`): the same steps in the same order whatever happened,
 * each comparing what should be with what is. Rounds never overlap, requests that come together become one, and what is
 * wrong is remembered by the step that found it.
 */
import type { Logger } from "./log.ts";

export interface Step {
  readonly name: string;
  /** Throws what is wrong. A later success of the same step clears it. */
  readonly run: () => Promise<void> | void;
  /** Whether the steps behind it may run now; asked after it ran. Absent: always. */
  readonly goOn?: () => boolean;
}

export interface ConvergenceOptions {
  readonly steps: readonly Step[];
  /** Whether a round makes sense at all. */
  readonly ready: () => boolean;
  /** How long changes are gathered before a round (ms). */
  readonly delay: () => number;
  readonly logger: Logger;
}

export class Convergence {
  readonly #options: ConvergenceOptions;
  readonly #problems = new Map<string, string>();
  #running = false;
  #again = false;
  #stopped = false;

  constructor(options: ConvergenceOptions) {
    this.#options = options;
  }

  /** What is wrong now, by the step that found it. */
  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Asks for a round. */
  soon(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    setTimeout(() => {
      void this.#round().finally(() => {
        this.#running = false;
        if (!this.#again) return;
        this.#again = false;
        this.soon();
      });
    }, this.#options.delay());
  }

  /** No round begins any more. */
  stop(): void {
    this.#stopped = true;
  }

  async #round(): Promise<void> {
    if (!this.#options.ready()) return;
    for (const { name, run, goOn } of this.#options.steps) {
      try {
        await run();
        this.#problems.delete(name);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (this.#problems.get(name) !== message)
          this.#options.logger.warn({ err: error, step: name }, "not as declared yet");
        this.#problems.set(name, message);
      }
      if (goOn?.() === false) return;
    }
  }
}
