import { ChannelError } from "./errors.ts";

const HEADER_BYTES = 8;

/**
 * Cuts a stream into OpenFlow frames by the length in their header (OpenFlow 1.5 section 7.1.1). A frame that lies in
 * one chunk is a view of it; only a frame that is spread over chunks is copied, once. The format itself bounds a frame
 * to 65,535 bytes.
 */
export class FrameSplitter {
  readonly #onFrame: (frame: Buffer) => void;
  /** The beginning of a frame that goes on in the next chunk; until its header is whole it has no size of its own. */
  #partial: Buffer | undefined;
  #filled = 0;
  readonly #header = Buffer.alloc(HEADER_BYTES);

  constructor(onFrame: (frame: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  /** Hands over every frame that these bytes complete. Throws `OPENFLOW_PROTOCOL`; then it is of no more use. */
  push(chunk: Buffer): void {
    let at = this.#filled === 0 ? 0 : this.#resume(chunk);
    const end = chunk.length;
    while (end - at >= HEADER_BYTES) {
      const length = frameLength(chunk, at);
      if (end - at < length) break;
      this.#onFrame(chunk.subarray(at, at + length));
      at += length;
    }
    if (at < end) this.#keep(chunk, at);
  }

  /** Completes the frame begun earlier; returns where the rest of the chunk begins. */
  #resume(chunk: Buffer): number {
    let at = 0;
    if (this.#partial === undefined) {
      at = Math.min(HEADER_BYTES - this.#filled, chunk.length);
      chunk.copy(this.#header, this.#filled, 0, at);
      this.#filled += at;
      if (this.#filled < HEADER_BYTES) return at;
      this.#partial = Buffer.allocUnsafe(frameLength(this.#header, 0));
      this.#header.copy(this.#partial);
    }
    const frame = this.#partial;
    const taken = Math.min(frame.length - this.#filled, chunk.length - at);
    chunk.copy(frame, this.#filled, at, at + taken);
    this.#filled += taken;
    if (this.#filled === frame.length) {
      this.#partial = undefined;
      this.#filled = 0;
      this.#onFrame(frame);
    }
    return at + taken;
  }

  #keep(chunk: Buffer, at: number): void {
    this.#filled = chunk.length - at;
    if (this.#filled < HEADER_BYTES) {
      chunk.copy(this.#header, 0, at);
    } else {
      this.#partial = Buffer.allocUnsafe(frameLength(chunk, at));
      chunk.copy(this.#partial, 0, at);
    }
  }
}

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt16BE(at + 2);
  if (length < HEADER_BYTES) {
    throw new ChannelError(
      "OPENFLOW_PROTOCOL",
      `the switch sent a frame whose header claims ${length} bytes, less than the header itself: ` +
        `${bytes.toString("hex", at, at + HEADER_BYTES)}; is this an OpenFlow switch?`,
    );
  }
  return length;
}
