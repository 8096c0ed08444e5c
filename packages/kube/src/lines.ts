/** A stream of bytes cut at line feeds. A line is decoded only when it is whole, so no character is torn in two. */
export class LineSplitter {
  readonly #limit: number;
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** @param limit the longest line that is taken (bytes) */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes of the line that has begun and not ended. */
  get pending(): number {
    return this.#bytes;
  }

  /**
   * The lines that `chunk` completes, without their line feeds.
   * @throws RangeError when a line exceeds the limit
   */
  *push(chunk: Buffer): Generator<Buffer, void, void> {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      const piece = chunk.subarray(start, end);
      start = end + 1;
      this.#check(piece.length);
      if (this.#bytes === 0) {
        yield piece;
      } else {
        const line = Buffer.concat([...this.#pieces, piece], this.#bytes + piece.length);
        this.#pieces = [];
        this.#bytes = 0;
        yield line;
      }
    }
    if (start < chunk.length) {
      this.#check(chunk.length - start);
      this.#pieces.push(chunk.subarray(start));
      this.#bytes += chunk.length - start;
    }
  }

  #check(more: number): void {
    if (this.#bytes + more > this.#limit) throw new RangeError(`a line exceeds ${this.#limit} bytes`);
  }
}
