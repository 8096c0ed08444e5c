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
  /** The same for changes that nobody waits for (ms): they are gathered longer. */
  readonly calmDelay: () => number;
  readonly logger: Logger;
}

export class Convergence {
  readonly #options: ConvergenceOptions;
  readonly #problems = new Map<string, string>();
  #running = false;
  #timer: NodeJS.Timeout | undefined;
  /** When the planned round begins (ms). */
  #due = 0;
  /** Delay of the round that was asked for while one ran (ms); undefined when none was. */
  #again: number | undefined;
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
    this.#ask(this.#options.delay());
  }

  /** Asks for a round about something that nobody waits for. */
  whenCalm(): void {
    this.#ask(this.#options.calmDelay());
  }

  #ask(delay: number): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = Math.min(this.#again ?? delay, delay);
      return;
    }
    const due = performance.now() + delay;
    if (this.#timer !== undefined && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#running = true;
      void this.#round().finally(() => {
        this.#running = false;
        const again = this.#again;
        this.#again = undefined;
        if (again !== undefined) this.#ask(again);
      });
    }, delay);
  }

  /** No round begins any more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
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
