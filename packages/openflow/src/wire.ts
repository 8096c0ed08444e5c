/**
 * Bytes in network order, read and written with bounds. A {@link Reader} cannot leave the range that it was made for, so
 * nothing that is built on it can read past a frame; every loop that reads makes progress or throws.
 */
import { OpenFlowDecodeError, OpenFlowEncodeError } from "./errors.ts";

/** Actions nest (clone, ct) and messages do (bundles); deeper than this is an attack, not a flow. */
const MAX_DEPTH = 16;

/** Reads forward in a range of bytes. @throws OpenFlowDecodeError from every method that would leave the range. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly end: number;
  /** Version of the frame being read, for what differs by version. */
  readonly version: number;
  readonly depth: number;
  offset: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length, version = 6, depth = 0) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
    this.version = version;
    this.depth = depth;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  u8(): number {
    return this.bytes[this.#advance(1)]!;
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8));
  }

  /** An unsigned integer of any number of bytes. */
  uint(size: number): bigint {
    const at = this.#advance(size);
    switch (size) {
      case 1:
        return BigInt(this.bytes[at]!);
      case 2:
        return BigInt(this.#view.getUint16(at));
      case 4:
        return BigInt(this.#view.getUint32(at));
      case 8:
        return this.#view.getBigUint64(at);
      default: {
        let value = 0n;
        for (let i = at; i < at + size; i++) value = (value << 8n) | BigInt(this.bytes[i]!);
        return value;
      }
    }
  }

  /** The 16-bit integer `ahead` bytes from here, without moving. */
  peekU16(ahead = 0): number {
    if (ahead + 2 > this.remaining) throw this.#cut(ahead + 2);
    return this.#view.getUint16(this.offset + ahead);
  }

  skip(size: number): void {
    this.#advance(size);
  }

  /** A copy of the next bytes: what is decoded does not keep the frame alive, nor change with its buffer. */
  take(size: number): Uint8Array {
    const at = this.#advance(size);
    const copy = new Uint8Array(size);
    copy.set(this.bytes.subarray(at, at + size));
    return copy;
  }

  rest(): Uint8Array {
    return this.take(this.remaining);
  }

  /** A reader of the next `size` bytes; this one moves behind them. */
  sub(size: number, nested = false): Reader {
    const depth = nested ? this.depth + 1 : this.depth;
    if (depth > MAX_DEPTH) throw new OpenFlowDecodeError(`nested deeper than ${MAX_DEPTH} at byte ${this.offset}`);
    const at = this.#advance(size);
    return new Reader(this.bytes, at, at + size, this.version, depth);
  }

  /** Skips what fills the range up to a multiple of `alignment`, counted from `start`; a missing tail is tolerated. */
  align(start: number, alignment: number): void {
    const over = (this.offset - start) % alignment;
    if (over !== 0) this.offset = Math.min(this.end, this.offset + alignment - over);
  }

  #advance(size: number): number {
    const at = this.offset;
    if (size < 0 || size > this.end - at) throw this.#cut(size);
    this.offset = at + size;
    return at;
  }

  #cut(size: number): OpenFlowDecodeError {
    return new OpenFlowDecodeError(
      `cut short: ${size} bytes wanted at byte ${this.offset}, ${this.remaining} are left before byte ${this.end}`,
    );
  }
}

/** A growing buffer. `finish` gives the bytes written; the writer may be reset and used again. */
export class Writer {
  #buffer: Buffer;
  #view: DataView;
  length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
    this.#view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, this.#buffer.byteLength);
  }

  u8(value: number): void {
    const at = this.#grow(1);
    if (value >>> 0 !== value || value > 0xff) throw outOfRange(value, 8);
    this.#buffer[at] = value;
  }

  u16(value: number): void {
    const at = this.#grow(2);
    if (value >>> 0 !== value || value > 0xffff) throw outOfRange(value, 16);
    this.#view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    if (value >>> 0 !== value) throw outOfRange(value, 32);
    this.#view.setUint32(at, value);
  }

  u64(value: bigint): void {
    const at = this.#grow(8);
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw outOfRange(value, 64);
    this.#view.setBigUint64(at, value);
  }

  /** An unsigned integer in exactly `size` bytes. */
  uint(value: bigint, size: number): void {
    if (value < 0n) throw outOfRange(value, size * 8);
    const at = this.#grow(size);
    if (size <= 4) {
      if (value >> BigInt(size * 8) !== 0n) throw outOfRange(value, size * 8);
      this.#buffer.writeUIntBE(Number(value), at, size);
      return;
    }
    let rest = value;
    let end = at + size;
    for (; end - at >= 8; end -= 8) {
      this.#view.setBigUint64(end - 8, BigInt.asUintN(64, rest));
      rest >>= 64n;
    }
    while (end > at) {
      this.#buffer[--end] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    if (rest !== 0n) throw outOfRange(value, size * 8);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#buffer.set(bytes, at);
  }

  zeros(size: number): void {
    const at = this.#grow(size);
    this.#buffer.fill(0, at, at + size);
  }

  /** Zeros up to a multiple of `alignment`, counted from `start`. */
  align(start: number, alignment: number): void {
    const over = (this.length - start) % alignment;
    if (over !== 0) this.zeros(alignment - over);
  }

  patchU16(at: number, value: number): void {
    if (value > 0xffff) {
      throw new OpenFlowEncodeError(`${value} bytes do not fit an OpenFlow length of 16 bits; split the message`);
    }
    this.#view.setUint16(at, value);
  }

  reset(): void {
    this.length = 0;
  }

  /** A copy of the bytes from `start` on. */
  finish(start = 0): Buffer {
    const out = Buffer.allocUnsafe(this.length - start);
    this.#buffer.copy(out, 0, start, this.length);
    return out;
  }

  #grow(size: number): number {
    const at = this.length;
    this.length = at + size;
    if (this.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer, larger.byteOffset, larger.byteLength);
    }
    return at;
  }
}

function outOfRange(value: number | bigint, bits: number): OpenFlowEncodeError {
  return new OpenFlowEncodeError(`${value} is not an unsigned integer of ${bits} bits`);
}
