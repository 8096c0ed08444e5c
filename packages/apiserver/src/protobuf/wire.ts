/**
 * The protobuf wire format, reading only (protobuf.dev, "Encoding").
 */
import { ApiError } from "../status.ts";

/** One field as it stands on the wire. Fixed-width fields do not occur in what is read here and are kept as bytes. */
export interface WireField {
  number: number;
  /** The value of a varint field. */
  varint: bigint;
  /** The content of a length-delimited field. */
  bytes: Buffer | undefined;
}

function malformed(why: string): ApiError {
  return ApiError.badRequest(`the body is not valid protobuf: ${why}`);
}

/** The fields of a message in order. @throws ApiError BadRequest when the bytes end early or are malformed */
export function* readFields(message: Buffer): Generator<WireField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) throw malformed("it ends inside a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw malformed("a number is longer than ten bytes");
  };
  const take = (length: number): Buffer => {
    if (length > message.length - at) throw malformed("it ends inside a field");
    const bytes = message.subarray(at, at + length);
    at += length;
    return bytes;
  };
  while (at < message.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    if (number === 0) throw malformed("a field has number 0");
    switch (tag % 8) {
      case 0:
        yield { number, varint: varint(), bytes: undefined };
        break;
      case 1:
        yield { number, varint: 0n, bytes: take(8) };
        break;
      case 2:
        yield { number, varint: 0n, bytes: take(Number(varint())) };
        break;
      case 5:
        yield { number, varint: 0n, bytes: take(4) };
        break;
      default:
        throw malformed(`wire type ${tag % 8} is not used`);
    }
  }
}
