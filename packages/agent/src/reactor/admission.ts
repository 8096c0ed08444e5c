/**
 * Which new pairs get an entry. Every flow-mod makes the switch look at all of its datapath flows again, so entries are
 * worth their price only for pairs that come back. While new pairs are few, each gets its entry with its first packet;
 * when they are many, only those that are seen a second time within a few seconds do. In a flood of new pairs an entry for
 * one in forty would spare hardly anybody a trip, and all first packets would wait for the switch to look again.
 */
import { Sightings } from "./sightings.ts";

/** Pairs that a generation remembers. */
const seenCapacity = 16_384;
const generationMilliseconds = 5000;
/** How many seconds' worth of entries may come at once, after a quiet time. */
const burstSeconds = 2;
/** New pairs must have been few for so long, in seconds, before each gets its entry again after a flood. */
const calmSeconds = 2;

export class Admission {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #flood: number;
  /** New pairs of late: each adds one, and `perSecond` of them are forgotten every second. */
  #level = 0;
  #drained = 0;
  #young = new Sightings(seenCapacity);
  #old = new Sightings(seenCapacity);
  #generationSince = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, perSecond * burstSeconds);
    this.#flood = this.#burst + perSecond * calmSeconds;
  }

  admits(pair: string, now: number): boolean {
    if (this.#young.full || now - this.#generationSince >= generationMilliseconds) {
      [this.#old, this.#young] = [this.#young, this.#old];
      this.#young.clear();
      this.#generationSince = now;
    }
    if (this.#young.has(pair) || this.#old.has(pair)) return true;
    this.#level = Math.max(0, this.#level - ((now - this.#drained) * this.#perSecond) / 1000);
    this.#drained = now;
    const few = this.#level + 1 <= this.#burst;
    this.#level = Math.min(this.#flood, this.#level + 1);
    if (!few) this.#young.add(pair);
    return few;
  }
}
