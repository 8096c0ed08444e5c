/**
 * Which new pairs get an entry. Every flow-mod makes the switch look at all of its datapath flows again, so entries are
 * worth their price only for pairs that come back. While new pairs are few, each gets its entry with its first packet;
 * when they are many, only those that are seen a second time within a few seconds do.
 */
const seenCapacity = 16_384;
const generationMilliseconds = 5000;
/** How many seconds' worth of entries may come at once, after a quiet time. */
const burstSeconds = 2;

export class Admission {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #refilled = 0;
  #young = new Set<string>();
  #old = new Set<string>();
  #generationSince = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, perSecond * burstSeconds);
    this.#tokens = this.#burst;
  }

  admits(pair: string, now: number): boolean {
    if (this.#young.size >= seenCapacity || now - this.#generationSince >= generationMilliseconds) {
      this.#old = this.#young;
      this.#young = new Set();
      this.#generationSince = now;
    }
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#refilled) * this.#perSecond) / 1000);
    this.#refilled = now;
    if (this.#young.has(pair) || this.#old.has(pair)) return true;
    if (this.#tokens >= 1) {
      this.#tokens--;
      return true;
    }
    this.#young.add(pair);
    return false;
  }
}
