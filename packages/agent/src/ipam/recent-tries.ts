/** Addresses that were asked for on this node a moment ago: whether they can be had the watch may not show yet. */
import type { Ip } from "@beyondfabric/packet";

export interface RecentTriesOptions {
  /** For so long (ms) the watch may not show what became of it. */
  readonly milliseconds: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Spares requests, and decides nothing: claims leave these addresses for the end, and then ask the API server. */
export class RecentTries {
  readonly #options: RecentTriesOptions;
  /** When, oldest first. */
  readonly #tried = new Map<Ip, number>();

  constructor(options: RecentTriesOptions) {
    this.#options = options;
  }

  note(address: Ip): void {
    const now = this.#options.now();
    this.#tried.delete(address);
    this.#tried.set(address, now);
    for (const [each, at] of this.#tried) {
      if (this.#isRecent(at, now)) break;
      this.#tried.delete(each);
    }
  }

  has(address: Ip): boolean {
    const at = this.#tried.get(address);
    return at !== undefined && this.#isRecent(at, this.#options.now());
  }

  /** Of a clock that was set back nothing is known. */
  #isRecent(at: number, now: number): boolean {
    return at <= now && now - at < this.#options.milliseconds;
  }
}
