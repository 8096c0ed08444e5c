/**
 * A set of texts that remembers only that it saw them: two hashes of 32 bits each, in memory of fixed size. Texts by the
 * thousand that live for some seconds would be copied again and again by the collector of young garbage, and first packets
 * wait meanwhile. Two texts with the same 64 bits are taken for one; whoever asks must be able to live with that.
 */
export class Sightings {
  readonly #capacity: number;
  readonly #mask: number;
  /** Open addressing; both hashes are zero where nothing stands. */
  readonly #hashes: Uint32Array;
  #size = 0;

  /** @param capacity how many texts it takes; a power of two */
  constructor(capacity: number) {
    this.#capacity = capacity;
    const slots = capacity * 2;
    this.#mask = slots - 1;
    this.#hashes = new Uint32Array(slots * 2);
  }

  get full(): boolean {
    return this.#size >= this.#capacity;
  }

  has(text: string): boolean {
    return this.#find(text) < 0;
  }

  /** Takes a text in; one too many is not taken. */
  add(text: string): void {
    const slot = this.#find(text);
    if (slot < 0 || this.full) return;
    this.#hashes[slot] = first;
    this.#hashes[slot + 1] = second;
    this.#size++;
  }

  clear(): void {
    if (this.#size > 0) this.#hashes.fill(0);
    this.#size = 0;
  }

  /** Where a text that is new would stand; -1 when it is there. */
  #find(text: string): number {
    hash(text);
    const hashes = this.#hashes;
    for (let slot = first & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * 2;
      if (hashes[at] === 0 && hashes[at + 1] === 0) return at;
      if (hashes[at] === first && hashes[at + 1] === second) return -1;
    }
  }
}

/** Where {@link hash} leaves its two results: an object for them would be garbage of its own. */
let first = 0;
let second = 0;

/** FNV-1a over the code units, and the same with another start and multiplier; never both zero. */
function hash(text: string): void {
  let a = 0x811c_9dc5;
  let b = 0x9e37_79b9;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x0100_0193);
    b = Math.imul(b ^ unit, 0x85eb_ca6b);
    b ^= b >>> 15;
  }
  // The lowest bits of a product know only the lowest bits of what went in.
  first = (a ^ (a >>> 16)) >>> 0;
  second = b >>> 0 || 1;
}
