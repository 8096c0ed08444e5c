/** Match fields on the wire: OpenFlow 1.5 section 7.2.3, and lists of them without the surrounding structure. */
import { OpenFlowDecodeError, OpenFlowEncodeError } from "./errors.ts";
import type { Match, MatchField, UnknownMatchField } from "./model.ts";
import type { Codec } from "./schema.ts";
import { fieldByHeader, fieldByName } from "./tables/fields.ts";
import type { Field, FieldName } from "./tables/fields.ts";
import type { Reader, Writer } from "./wire.ts";

const HAS_MASK = 0x100;
const EXPERIMENTER_CLASS = 0xffff;
/** OFPMT_OXM, the only type of match since OpenFlow 1.2. */
const MATCH_TYPE = 1;

/** One field with its value, as it stands in a match, a set-field action or packet-in metadata. */
export const oxm: Codec<MatchField | UnknownMatchField> = { decode: decodeOxm, encode: encodeOxm };

/** Fields one after the other until the range ends, as in packet-in metadata. */
export const oxmList: Codec<Match> = {
  decode(r) {
    const match: (MatchField | UnknownMatchField)[] = [];
    // Four bytes are the least a field has; fewer can only be padding.
    while (r.remaining >= 4) match.push(decodeOxm(r));
    return match;
  },
  encode(w, match) {
    for (const entry of match) encodeOxm(w, entry);
  },
};

/** struct ofp_match: type, length, fields, zeros up to 8 bytes. */
export const match: Codec<Match> = {
  decode(r) {
    const start = r.offset;
    const type = r.u16();
    const size = r.u16();
    if (type !== MATCH_TYPE)
      throw new OpenFlowDecodeError(`match type ${type} at byte ${start}; only OXM (1) is known`);
    if (size < 4) throw new OpenFlowDecodeError(`a match of ${size} bytes at byte ${start}`);
    const fields = oxmList.decode(r.sub(size - 4));
    r.align(start, 8);
    return fields;
  },
  encode(w, fields) {
    const start = w.length;
    w.u16(MATCH_TYPE);
    w.u16(0);
    for (const entry of fields) encodeOxm(w, entry);
    w.patchU16(start + 2, w.length - start);
    w.align(start, 8);
  },
};

/** The header alone, 4 bytes or 8 with a vendor, where an action names a field without a value. */
export const fieldHeader: Codec<FieldName | undefined> = {
  decode(r) {
    const header = r.u32();
    const vendor = header >>> 16 === EXPERIMENTER_CLASS ? r.u32() : undefined;
    return fieldByHeader(header, vendor)?.name;
  },
  encode(w, name) {
    if (name === undefined) throw new OpenFlowEncodeError("a field without a name has no header");
    const field = fieldByName(name);
    w.u32(field.header);
    if (field.vendor !== undefined) w.u32(field.vendor);
  },
};

function decodeOxm(r: Reader): MatchField | UnknownMatchField {
  const header = r.u32();
  let size = header & 0xff;
  let vendor: number | undefined;
  if (header >>> 16 === EXPERIMENTER_CLASS) {
    if (size < 4) throw new OpenFlowDecodeError(`an experimenter field of ${size} bytes at byte ${r.offset - 4}`);
    vendor = r.u32();
    size -= 4;
  }
  const field = fieldByHeader(header, vendor);
  const masked = (header & HAS_MASK) !== 0;
  const valueSize = masked ? size / 2 : size;
  const start = r.offset;
  if (field !== undefined && sizeFits(field, valueSize)) {
    const value = r.uint(valueSize);
    const mask = masked ? r.uint(valueSize) : undefined;
    if (value <= field.full && (mask === undefined || mask <= field.full)) {
      // Bits of the value outside of its mask mean nothing; switches refuse them.
      return mask === undefined ? { field: field.name, value } : { field: field.name, value: value & mask, mask };
    }
    // Bits that the field does not have: whatever this is, it is kept as it came.
    r.offset = start;
  }
  const bytes = r.take(size);
  return vendor === undefined
    ? { field: "unknown", header, bytes }
    : { field: "unknown", header, experimenter: vendor, bytes };
}

function sizeFits(field: Field, size: number): boolean {
  return field.variable === true ? Number.isInteger(size) && size >= 1 && size <= field.bytes : size === field.bytes;
}

function encodeOxm(w: Writer, entry: MatchField | UnknownMatchField): void {
  if (entry.field === "unknown") {
    w.u32(entry.header);
    if (entry.experimenter !== undefined) w.u32(entry.experimenter);
    w.raw(entry.bytes);
    return;
  }
  const field = fieldByName(entry.field);
  const { value, mask } = entry;
  if (value < 0n || value > field.full || (mask !== undefined && (mask < 0n || mask > field.full))) {
    throw new OpenFlowEncodeError(
      `${entry.field}: ${value}${mask === undefined ? "" : `/${mask}`} exceeds ${field.bits} bits`,
    );
  }
  let { header, bytes } = field;
  if (field.variable === true) {
    // The switch extends shorter values with zeros in front; four bytes are the unit in which options are mapped.
    bytes = Math.max(4, Math.ceil((value | (mask ?? 0n)).toString(16).length / 8) * 4);
    header = ((header & ~0xff) | bytes) >>> 0;
  }
  if (mask !== undefined) header = ((header & ~0xff) | HAS_MASK | ((header & 0xff) + bytes)) >>> 0;
  w.u32(header);
  if (field.vendor !== undefined) w.u32(field.vendor);
  w.uint(mask === undefined ? value : value & mask, bytes);
  if (mask !== undefined) w.uint(mask, bytes);
}
