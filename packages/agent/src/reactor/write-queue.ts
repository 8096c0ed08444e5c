/**
 * Flow-mods on their way to the switch: coalesced for a few milliseconds, revocations before grants, at most
 * {@link slice} in one turn so that first packets are answered in between. A later write about the same entry replaces
 * an earlier one that is still queued, so that the order of the two classes can never leave a stale grant behind.
 * Revocations keep their order; grants, and what may go as late as they, come when none is left.
 */
export type WriteClass = "revocation" | "grant";

const slice = 200;

export class WriteQueue {
  readonly #send: (frame: Buffer) => void;
  readonly #delay: number;
  readonly #revocations = new Map<string, Buffer>();
  readonly #grants = new Map<string, Buffer>();
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** @param delay how long a grant may wait for company (ms) */
  constructor(send: (frame: Buffer) => void, delay: number) {
    this.#send = send;
    this.#delay = delay;
  }

  get size(): number {
    return this.#revocations.size + this.#grants.size;
  }

  push(key: string, frame: Buffer, kind: WriteClass): void {
    this.#revocations.delete(key);
    this.#grants.delete(key);
    if (kind === "revocation") {
      this.#revocations.set(key, frame);
      this.#immediate ??= setImmediate(() => this.#drain());
    } else {
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
    this.#revocations.clear();
    this.#grants.clear();
  }

  #drain(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
    let left = slice;
    for (const queue of [this.#revocations, this.#grants]) {
      for (const [key, frame] of queue) {
        if (left-- <= 0) break;
        queue.delete(key);
        this.#send(frame);
      }
    }
    if (this.size > 0) this.#immediate = setImmediate(() => this.#drain());
  }
}
