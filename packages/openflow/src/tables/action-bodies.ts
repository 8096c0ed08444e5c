/** What follows the header of each action that is more than a few plain numbers. */
import { OpenFlowEncodeError } from "../errors.ts";
import { fieldHeader, oxm } from "../match.ts";
import type { Action, FieldSlice, LearnSpec, NatRange } from "../model.ts";
import {
  field,
  flagSet,
  optional,
  pad,
  properties,
  property,
  present,
  rest,
  struct,
  u16,
  u32,
  u64,
  u8,
} from "../schema.ts";
import type { Codec } from "../schema.ts";
import type { Writer } from "../wire.ts";
import { fieldByHeader, fieldByName } from "./fields.ts";
import { reservedPorts, packetInReason } from "./numbers.ts";

/** The name of an action. */
export type ActionType = Action["type"];
/** The action of a name. */
export type ActionOf<T extends ActionType> = Extract<Action, { readonly type: T }>;
/** The action of a name, without that name. */
export type BodyOf<T extends ActionType> = Omit<ActionOf<T>, "type">;

/** Thrown by a body that holds something this codec has no name for; the whole action is then kept as it is. */
export class UnknownPart extends Error {}

/** struct ofp_action_output; the length matters for the controller only, where its default is everything. */
export const outputBody: Codec<BodyOf<"output">> = {
  decode(r) {
    const port = r.u32();
    const maxLen = r.u16();
    return maxLen === defaultMaxLen(port) ? { port } : { port, maxLen };
  },
  encode(w, { port, maxLen }) {
    w.u32(port);
    w.u16(maxLen ?? defaultMaxLen(port));
    w.zeros(6);
  },
};

function defaultMaxLen(port: number): number {
  return port === reservedPorts.CONTROLLER ? 0xffff : 0;
}

const knownHeader: Codec<FieldSlice["field"]> = {
  decode(r) {
    const name = fieldHeader.decode(r);
    if (name === undefined) throw new UnknownPart();
    return name;
  },
  encode: (w, name) => fieldHeader.encode(w, name),
};

/** Offset in ten bits, width minus one in six: Nicira's `ofs_nbits`. */
function writeOffsetBits(w: Writer, slice: FieldSlice): void {
  checkSlice(slice);
  if (slice.bits > 64)
    throw new OpenFlowEncodeError(`${slice.field}: a slice of ${slice.bits} bits; at most 64 fit here`);
  w.u16((slice.offset << 6) | (slice.bits - 1));
}

function checkSlice(slice: FieldSlice): void {
  const { bits } = fieldByName(slice.field);
  if (slice.offset < 0 || slice.bits < 1 || slice.offset + slice.bits > bits) {
    throw new OpenFlowEncodeError(
      `${slice.field}[${slice.offset}..${slice.offset + slice.bits - 1}] is outside of the field's ${bits} bits`,
    );
  }
}

/** OFPAT_SET_FIELD; a value of a field without a row makes the whole action unknown. */
export const setFieldBody: Codec<BodyOf<"set_field">> = {
  decode(r) {
    const entry = oxm.decode(r);
    if (entry.field === "unknown") throw new UnknownPart();
    return entry;
  },
  encode: (w, entry) => oxm.encode(w, entry),
};

/** A load as the set-field that does the same: the value moved into place, the mask covering the slice. */
export function loadAsSetField(load: ActionOf<"load">): ActionOf<"set_field"> {
  const { dst, value } = load;
  checkSlice(dst);
  const whole = fieldByName(dst.field);
  if (!whole.writable) throw new OpenFlowEncodeError(`load: no action may write ${dst.field}`);
  const ones = (1n << BigInt(dst.bits)) - 1n;
  if (value < 0n || value > ones) {
    throw new OpenFlowEncodeError(`load: ${value} does not fit the ${dst.bits} bits of ${dst.field}`);
  }
  const shift = BigInt(dst.offset);
  const mask = ones << shift;
  return mask === whole.full
    ? { type: "set_field", field: dst.field, value }
    : { type: "set_field", field: dst.field, value: value << shift, mask };
}

/** OFPAT_COPY_FIELD (OpenFlow 1.5): one width, two offsets, two headers. */
export const copyFieldBody: Codec<BodyOf<"move">> = {
  decode(r) {
    const bits = r.u16();
    const srcOffset = r.u16();
    const dstOffset = r.u16();
    r.skip(2);
    const src = knownHeader.decode(r);
    const dst = knownHeader.decode(r);
    return { src: { field: src, offset: srcOffset, bits }, dst: { field: dst, offset: dstOffset, bits } };
  },
  encode(w, { src, dst }) {
    checkSlice(src);
    checkSlice(dst);
    if (src.bits !== dst.bits) throw new OpenFlowEncodeError(`move: ${src.bits} bits into ${dst.bits}`);
    w.u16(src.bits);
    w.u16(src.offset);
    w.u16(dst.offset);
    w.zeros(2);
    fieldHeader.encode(w, src.field);
    fieldHeader.encode(w, dst.field);
  },
};

/** Nicira's actions name ports in 16 bits; the reserved ones keep their low half. */
export const port16: Codec<number> = {
  decode(r) {
    const port = r.u16();
    return port >= 0xff00 ? (0xffff_0000 | port) >>> 0 : port;
  },
  encode(w, port) {
    if (port >= 0xff00 && port < 0xffff_ff00) throw new OpenFlowEncodeError(`port ${port} has no 16-bit form`);
    w.u16(port & 0xffff);
  },
};

export const resubmitTable = struct(
  optional("port", port16, reservedPorts.IN_PORT as number),
  optional("table", u8, 0xff),
  pad(3),
);

const controllerProperties = struct(
  pad(6),
  properties(
    property("maxLen", 0, u16),
    property("controllerId", 1, u16),
    property("reason", 2, packetInReason),
    property("userdata", 3, rest),
    property("pause", 4, present),
    property("meterId", 5, u32),
  ),
);

type ControllerBody = BodyOf<"controller">;

/** NXAST_CONTROLLER2: properties, of which those with their default value are left out. */
export const controller2Body: Codec<ControllerBody> = {
  decode(r) {
    const { unknownProperties, ...known } = controllerProperties.decode(r);
    if (unknownProperties !== undefined) throw new UnknownPart();
    return withoutDefaults<ControllerBody>(known);
  },
  encode(w, action) {
    const { maxLen, controllerId, reason, userdata, pause, meterId } = withoutDefaults(action);
    controllerProperties.encode(w, {
      ...(maxLen === undefined ? {} : { maxLen }),
      ...(controllerId === undefined ? {} : { controllerId }),
      ...(reason === undefined ? {} : { reason }),
      ...(userdata === undefined ? {} : { userdata }),
      ...(pause === true ? { pause: true as const } : {}),
      ...(meterId === undefined ? {} : { meterId }),
    });
  },
};

/** The same action, without what says nothing. */
export function withoutDefaults<A extends ControllerBody>(action: A): A {
  const { maxLen, controllerId, reason, userdata, pause, meterId, ...others } = action;
  return {
    ...others,
    ...(maxLen === undefined || maxLen === 0xffff ? {} : { maxLen }),
    ...(controllerId === undefined || controllerId === 0 ? {} : { controllerId }),
    ...(reason === undefined || reason === "action" ? {} : { reason }),
    ...(userdata === undefined || userdata.length === 0 ? {} : { userdata }),
    ...(pause === true ? { pause } : {}),
    ...(meterId === undefined ? {} : { meterId }),
  } as A;
}

/** NXAST_CONTROLLER: no userdata, no pause, no meter. */
export const controllerBody: Codec<ControllerBody> = {
  decode: (r) => {
    const maxLen = r.u16();
    const controllerId = r.u16();
    const reason = packetInReason.decode(r);
    return withoutDefaults({ maxLen, controllerId, reason });
  },
  encode(w, action) {
    w.u16(action.maxLen ?? 0xffff);
    w.u16(action.controllerId ?? 0);
    packetInReason.encode(w, action.reason ?? "action");
    w.zeros(1);
  },
};

/** Whether the first form of the controller action can say it. */
export function isPlainController(action: ControllerBody): boolean {
  return (action.userdata?.length ?? 0) === 0 && action.pause !== true && action.meterId === undefined;
}

const CT_COMMIT = 1;
const CT_FORCE = 2;
const CT_NO_TABLE = 0xff;

/** NXAST_CT: the zone is a number or a slice of a field; nested actions fill the rest. */
export const ctBody = (actions: Codec<readonly Action[]>): Codec<BodyOf<"ct">> => ({
  decode(r) {
    const flags = r.u16();
    const zoneHeader = r.u32();
    const zone = zoneHeader === 0 ? r.u16() : sliceOf(zoneHeader, r.u16());
    const table = r.u8();
    r.skip(3);
    const alg = r.u16();
    const nested = r.remaining > 0 ? actions.decode(r.sub(r.remaining, true)) : [];
    return {
      ...((flags & CT_COMMIT) === 0 ? {} : { commit: true }),
      ...((flags & CT_FORCE) === 0 ? {} : { force: true }),
      ...(zone === 0 ? {} : { zone }),
      ...(table === CT_NO_TABLE ? {} : { table }),
      ...(alg === 0 ? {} : { alg }),
      ...(nested.length === 0 ? {} : { actions: nested }),
    };
  },
  encode(w, action) {
    w.u16((action.commit === true ? CT_COMMIT : 0) | (action.force === true ? CT_FORCE : 0));
    const zone = action.zone ?? 0;
    if (typeof zone === "number") {
      w.u32(0);
      w.u16(zone);
    } else {
      fieldHeader.encode(w, zone.field);
      writeOffsetBits(w, zone);
    }
    w.u8(action.table ?? CT_NO_TABLE);
    w.zeros(3);
    w.u16(action.alg ?? 0);
    actions.encode(w, action.actions ?? []);
  },
});

function sliceOf(header: number, offsetBits: number): FieldSlice {
  const name = headerName(header);
  return { field: name, offset: offsetBits >> 6, bits: (offsetBits & 0x3f) + 1 };
}

const NAT_FLAGS = { src: 1, dst: 2, persistent: 4, hash: 8, random: 16 } as const;
const natFlags = flagSet(u16, NAT_FLAGS);

/** NXAST_NAT: a bit for each bound that follows. */
export const natBody: Codec<BodyOf<"nat">> = {
  decode(r) {
    r.skip(2);
    const flags = natFlags.decode(r);
    const bounds = r.u16();
    const range = <T>(bit: number, read: () => T): NatRange<T> | undefined => {
      if ((bounds & bit) === 0) {
        if ((bounds & (bit << 1)) !== 0) throw new UnknownPart();
        return undefined;
      }
      const min = read();
      return (bounds & (bit << 1)) === 0 ? { min } : { min, max: read() };
    };
    const ipv4 = range(1, () => r.uint(4));
    const ipv6 = range(4, () => r.uint(16));
    const ports = range(16, () => r.u16());
    return {
      ...(flags.includes("src") ? { direction: "src" as const } : {}),
      ...(flags.includes("dst") ? { direction: "dst" as const } : {}),
      ...(flags.includes("persistent") ? { persistent: true } : {}),
      ...(flags.includes("hash") ? { hash: true } : {}),
      ...(flags.includes("random") ? { random: true } : {}),
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
      ...(ports === undefined ? {} : { ports }),
    };
  },
  encode(w, action) {
    w.zeros(2);
    natFlags.encode(w, [
      ...(action.direction === undefined ? [] : [action.direction]),
      ...(action.persistent === true ? (["persistent"] as const) : []),
      ...(action.hash === true ? (["hash"] as const) : []),
      ...(action.random === true ? (["random"] as const) : []),
    ]);
    const { ipv4, ipv6, ports } = action;
    const bit = (range: NatRange<unknown> | undefined, min: number): number =>
      range === undefined ? 0 : min | (range.max === undefined ? 0 : min << 1);
    w.u16(bit(ipv4, 1) | bit(ipv6, 4) | bit(ports, 16));
    for (const bound of [ipv4?.min, ipv4?.max]) if (bound !== undefined) w.uint(bound, 4);
    for (const bound of [ipv6?.min, ipv6?.max]) if (bound !== undefined) w.uint(bound, 16);
    for (const bound of [ports?.min, ports?.max]) if (bound !== undefined) w.u16(bound);
  },
};

/** NXAST_OUTPUT_REG, and its second form for fields whose header has eight bytes. */
export const outputRegBody: Codec<BodyOf<"output_reg">> = {
  decode(r) {
    const offsetBits = r.u16();
    const src = sliceOf(r.u32(), offsetBits);
    const maxLen = r.u16();
    return maxLen === 0xffff ? { src } : { src, maxLen };
  },
  encode(w, { src, maxLen }) {
    writeOffsetBits(w, src);
    fieldHeader.encode(w, src.field);
    w.u16(maxLen ?? 0xffff);
    w.zeros(6);
  },
};

export const outputReg2Body: Codec<BodyOf<"output_reg">> = {
  decode(r) {
    const offsetBits = r.u16();
    const maxLen = r.u16();
    const src = { field: knownHeader.decode(r), offset: offsetBits >> 6, bits: (offsetBits & 0x3f) + 1 };
    return maxLen === 0xffff ? { src } : { src, maxLen };
  },
  encode(w, { src, maxLen }) {
    const start = w.length;
    writeOffsetBits(w, src);
    w.u16(maxLen ?? 0xffff);
    fieldHeader.encode(w, src.field);
    w.zeros(14 - (w.length - start));
  },
};

/** NXAST_STACK_PUSH and _POP: offset, header, width. */
export function stackBody<const K extends "src" | "dst">(key: K): Codec<{ readonly [P in K]: FieldSlice }> {
  return {
    decode(r) {
      const offset = r.u16();
      const name = knownHeader.decode(r);
      return { [key]: { field: name, offset, bits: r.u16() } } as { readonly [P in K]: FieldSlice };
    },
    encode(w, action) {
      const slice = action[key];
      const start = w.length;
      checkSlice(slice);
      w.u16(slice.offset);
      fieldHeader.encode(w, slice.field);
      w.u16(slice.bits);
      w.zeros(14 - (w.length - start));
    },
  };
}

/** NXAST_CHECK_PKT_LARGER: writes one bit. */
export const checkPktLargerBody: Codec<BodyOf<"check_pkt_larger">> = {
  decode(r) {
    const length = r.u16();
    const offset = r.u16();
    return { length, dst: { field: knownHeader.decode(r), offset, bits: 1 } };
  },
  encode(w, { length, dst }) {
    if (dst.bits !== 1) throw new OpenFlowEncodeError(`check_pkt_larger writes 1 bit, not ${dst.bits} of ${dst.field}`);
    checkSlice(dst);
    const start = w.length;
    w.u16(length);
    w.u16(dst.offset);
    fieldHeader.encode(w, dst.field);
    w.zeros(14 - (w.length - start));
  },
};

export const deleteFieldBody: Codec<BodyOf<"delete_field">> = {
  decode: (r) => ({ field: knownHeader.decode(r) }),
  encode(w, action) {
    const start = w.length;
    fieldHeader.encode(w, action.field);
    w.zeros(14 - (w.length - start));
  },
};

const LEARN_IMMEDIATE = 1 << 13;
const LEARN_LOAD = 1 << 11;
const LEARN_OUTPUT = 2 << 11;
const LEARN_BITS = 0x7ff;

/** struct nx_flow_mod_spec: what a learned flow matches, loads or outputs to. A header of zero ends the list. */
const learnSpecs: Codec<LearnSpec["specs"]> = {
  decode(r) {
    const specs: LearnSpec["specs"][number][] = [];
    while (r.remaining >= 2) {
      const header = r.u16();
      if (header === 0) break;
      const bits = header & LEARN_BITS;
      const kind = header & (3 << 11);
      if (bits === 0 || (header & 0xc000) !== 0) throw new UnknownPart();
      let src: FieldSlice | bigint;
      if ((header & LEARN_IMMEDIATE) === 0) {
        const name = knownHeader.decode(r);
        src = { field: name, offset: r.u16(), bits };
      } else {
        src = r.uint(Math.ceil(bits / 16) * 2);
      }
      if (kind === LEARN_OUTPUT) {
        if (typeof src === "bigint") throw new UnknownPart();
        specs.push({ kind: "output", src });
        continue;
      }
      const name = knownHeader.decode(r);
      const dst = { field: name, offset: r.u16(), bits };
      if (kind !== 0 && kind !== LEARN_LOAD) throw new UnknownPart();
      specs.push({ kind: kind === LEARN_LOAD ? "load" : "match", src, dst });
    }
    return specs;
  },
  encode(w, specs) {
    for (const spec of specs) {
      const { bits } = spec.kind === "output" ? spec.src : spec.dst;
      const kind = spec.kind === "match" ? 0 : spec.kind === "load" ? LEARN_LOAD : LEARN_OUTPUT;
      const { src } = spec;
      if (typeof src === "bigint") {
        w.u16(LEARN_IMMEDIATE | kind | bits);
        w.uint(src, Math.ceil(bits / 16) * 2);
      } else {
        checkSlice(src);
        w.u16(kind | bits);
        fieldHeader.encode(w, src.field);
        w.u16(src.offset);
      }
      if (spec.kind === "output") continue;
      checkSlice(spec.dst);
      fieldHeader.encode(w, spec.dst.field);
      w.u16(spec.dst.offset);
    }
  },
};

export const learnBody: Codec<BodyOf<"learn">> = {
  decode(r) {
    const head = learnHead.decode(r);
    return { learn: { ...head, specs: learnSpecs.decode(r) } };
  },
  encode(w, { learn }) {
    learnHead.encode(w, learn);
    learnSpecs.encode(w, learn.specs);
  },
};

const learnHead = struct(
  optional("idleTimeout", u16, 0),
  optional("hardTimeout", u16, 0),
  optional("priority", u16, 0x8000),
  optional("cookie", u64, 0n),
  optional("flags", u16, 0),
  field("table", u8),
  pad(1),
  optional("finIdleTimeout", u16, 0),
  optional("finHardTimeout", u16, 0),
);

function headerName(header: number): FieldSlice["field"] {
  const name = fieldByHeader(header)?.name;
  if (name === undefined) throw new UnknownPart();
  return name;
}

export const nothing = (size: number): Codec<object> => struct(pad(size));

/** NXAST_CLONE: what its actions change is forgotten behind it. */
export const cloneBody = (actions: Codec<readonly Action[]>): Codec<BodyOf<"clone">> => ({
  decode: (r) => {
    r.skip(6);
    return { actions: actions.decode(r.sub(r.remaining, true)) };
  },
  encode(w, action) {
    w.zeros(6);
    actions.encode(w, action.actions);
  },
});

/** A note's bytes as they fit: 6, 14, 22, ...; shorter ones gain zeros. */
export const noteBody: Codec<BodyOf<"note">> = {
  decode: (r) => ({ bytes: r.rest() }),
  encode(w, { bytes }) {
    w.raw(bytes);
    if (bytes.length < 6) w.zeros(6 - bytes.length);
  },
};
