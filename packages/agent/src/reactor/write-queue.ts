/**
 * Flow-mods on their way to the switch: coalesced for a few milliseconds, revocations before grants, at most
 * {@link slice} in one turn so that first packets are answered in between, and no more before the switch has taken those:
 * a packet that is resumed waits behind whatever was sent before it. A later write about the same entry replaces an
 * earlier one that is still queued, so that the order of the two classes can never leave a stale grant behind, and what
 * changes faster than the switch can take it is written as it is in the end. Revocations keep their order; grants, and
 * what may go as late as they, come when none is left.
 */
export type WriteClass = "revocation" | "grant";

const slice = 200;

export class WriteQueue {
  readonly #send: (frame: Buffer) => void;
  readonly #delay: number;
  readonly #taken: (() => Promise<void>) | undefined;
  readonly #revocations = new Map<string, Buffer>();
  readonly #grants = new Map<string, Buffer>();
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** The slice that the switch has not taken yet. */
  #underway: Promise<void> | undefined;

  /**
   * @param delay how long a grant may wait for company (ms)
   * @param taken resolves when the switch has taken everything that was sent; without it nobody waits for that
   */
  constructor(send: (frame: Buffer) => void, delay: number, taken?: () => Promise<void>) {
    this.#send = send;
    this.#delay = delay;
    this.#taken = taken;
  }

  get size(): number {
    return this.#revocations.size + this.#grants.size;
  }

  push(key: string, frame: Buffer, kind: WriteClass): void {
    if (kind === "revocation") {
      this.#grants.delete(key);
      this.#revocations.set(key, frame);
      this.#immediate ??= setImmediate(() => this.#drain());
    } else {
      this.#revocations.delete(key);
      this.#grants.set(key, frame);
      this.#timer ??= setTimeout(() => this.#drain(), this.#delay);
    }
  }

  /** Sends a write at once; what was queued about the same entry is older, and is forgotten. */
  sendNow(key: string, frame: Buffer): void {
    this.#revocations.delete(key);
    this.#grants.delete(key);
    this.#send(frame);
  }

  clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
    this.#underway = undefined;
    this.#revocations.clear();
    this.#grants.clear();
  }

  #drain(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
    if (this.#underway !== undefined) return;
    let left = slice;
    for (const queue of [this.#revocations, this.#grants]) {
      for (const [key, frame] of queue) {
        if (left-- <= 0) break;
        queue.delete(key);
        this.#send(frame);
      }
    }
    if (left === slice) return;
    if (this.#taken !== undefined) this.#await(this.#taken());
    else if (this.size > 0) this.#immediate = setImmediate(() => this.#drain());
  }

  /** A switch that is gone has taken nothing, and the queue is cleared then; it never stands still. */
  #await(taken: Promise<void>): void {
    const underway = taken
      .catch(() => {})
      .then(() => {
        if (this.#underway !== underway) return;
        this.#underway = undefined;
        if (this.size > 0) this.#immediate ??= setImmediate(() => this.#drain());
      });
    this.#underway = underway;
  }
}
