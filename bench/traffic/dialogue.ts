/** Line-wise talk with a program of the bench: one line of JSON there, one back. */
import { createInterface } from "node:readline";
import { printed, type Running } from "../environment/site.ts";

/** An answer that does not come within so long (ms) never does. */
const PATIENCE = 60_000;

export class Dialogue {
  readonly #child: Running;
  readonly #what: string;
  readonly #waiting: ((line: string) => void)[] = [];
  #errors = "";

  private constructor(child: Running, what: string) {
    this.#child = child;
    this.#what = what;
    child.stderr.on("data", (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-1000);
    });
    createInterface({ input: child.stdout }).on("line", (line) => this.#waiting.shift()?.(line));
  }

  /** Waits until the program prints `ready`. */
  static async begin(child: Running, what: string): Promise<Dialogue> {
    await printed(child, "ready", what);
    return new Dialogue(child, what);
  }

  /** One question at a time. */
  async ask(question: object): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const patience = setTimeout(() => reject(new Error(`${this.#what} does not answer: ${this.#errors}`)), PATIENCE);
    this.#waiting.push(resolve);
    this.#child.stdin.write(`${JSON.stringify(question)}\n`);
    try {
      return JSON.parse(await promise);
    } finally {
      clearTimeout(patience);
    }
  }
}
