/** Every message, one row each: OpenFlow 1.5 section 7 and the Nicira extensions. */
import { OpenFlowDecodeError, OpenFlowEncodeError } from "../errors.ts";
import { match, oxmList } from "../match.ts";
import type { Flow, FlowModCommand } from "../model.ts";
import {
  field,
  flagSet,
  list,
  named,
  optional,
  pad,
  padded,
  properties,
  property,
  rest,
  struct,
  u16,
  u32,
  u64,
  u8,
} from "../schema.ts";
import type { Codec, Infer } from "../schema.ts";
import type { Writer } from "../wire.ts";
import { actions } from "./actions.ts";
import { NICIRA, packetInReason, reservedPorts } from "./numbers.ts";
import { instructions } from "./instructions.ts";
import { multipartReply, multipartRequest } from "./multipart.ts";
import {
  address16,
  bands,
  buckets,
  ctTupleProperty,
  flowFlags,
  groupType,
  mac,
  METER_FLAGS,
  port,
  PORT_CONFIG,
  statistics,
  tableDescription,
  tableProperties,
  tlvMap,
} from "./structures.ts";

const NO_BUFFER = 0xffff_ffff;
const ANY = reservedPorts.ANY as number;

/** OFPET_EXPERIMENTER: the code is the experimenter's own, its number follows. */
export const EXPERIMENTER_ERROR = 0xffff;

/** The versions that a side speaks. */
export interface HelloBody {
  /** Versions spoken, ascending, as on the wire: 6 is OpenFlow 1.5. */
  readonly versions: readonly number[];
}

/** OFPT_HELLO (section 7.5.1): a bitmap of versions; without one, everything up to the header's version. */
const hello: Codec<HelloBody> = {
  decode(r) {
    const versions: number[] = [];
    let bitmap = false;
    while (r.remaining >= 4) {
      const start = r.offset;
      const type = r.u16();
      const size = r.u16();
      if (size < 4) break;
      const body = r.sub(Math.min(size - 4, r.remaining));
      r.align(start, 8);
      if (type !== 1 || bitmap) continue;
      bitmap = true;
      for (let base = 0; body.remaining >= 4 && base < 256; base += 32) {
        const word = body.u32();
        for (let bit = 0; bit < 32; bit++) if (((word >>> bit) & 1) === 1) versions.push(base + bit);
      }
    }
    if (!bitmap) for (let version = 1; version <= r.version; version++) versions.push(version);
    return { versions };
  },
  encode(w, { versions }) {
    w.u16(1);
    w.u16(8);
    let word = 0;
    for (const version of versions) {
      if (version < 0 || version > 31) throw new OpenFlowEncodeError(`hello: ${version} is no version up to 31`);
      word |= 1 << version;
    }
    w.u32(word >>> 0);
  },
};

/** A refusal; `errorName` names it. */
export interface ErrorBody {
  readonly errorType: number;
  readonly errorCode: number;
  /** For `errorType` 0xffff: whose error it is. */
  readonly experimenter?: number;
  /** The beginning of the message that was refused. */
  readonly data: Uint8Array;
}

const error: Codec<ErrorBody> = {
  decode(r) {
    const errorType = r.u16();
    const errorCode = r.u16();
    if (errorType !== EXPERIMENTER_ERROR) return { errorType, errorCode, data: r.rest() };
    return { errorType, errorCode, experimenter: r.u32(), data: r.rest() };
  },
  encode(w, body) {
    w.u16(body.errorType);
    w.u16(body.errorCode);
    if (body.errorType === EXPERIMENTER_ERROR) w.u32(body.experimenter ?? 0);
    w.raw(body.data);
  },
};

const COMMANDS: readonly FlowModCommand[] = ["add", "modify", "modify_strict", "delete", "delete_strict"];

/** A change to entries. */
export interface FlowModBody {
  readonly command: FlowModCommand;
  readonly flow: Flow;
  /** Which bits of `flow.cookie` select entries, for modify and delete. */
  readonly cookieMask?: bigint;
  readonly bufferId?: number;
  /** Only entries that output there, for delete. */
  readonly outPort?: number;
  readonly outGroup?: number;
  readonly importance?: number;
}

/** OFPT_FLOW_MOD (section 7.3.4.2). */
const flowMod: Codec<FlowModBody> = {
  decode(r) {
    const cookie = r.u64();
    const cookieMask = r.u64();
    const table = r.u8();
    const commandCode = r.u8();
    const command = COMMANDS[commandCode];
    if (command === undefined) throw new OpenFlowDecodeError(`flow-mod command ${commandCode}`);
    const idleTimeout = r.u16();
    const hardTimeout = r.u16();
    const priority = r.u16();
    const bufferId = r.u32();
    const outPort = r.u32();
    const outGroup = r.u32();
    const flags = flowFlags.decode(r);
    const importance = r.u16();
    const fields = match.decode(r);
    return {
      command,
      flow: {
        table,
        priority,
        cookie,
        match: fields,
        instructions: instructions.decode(r),
        ...(idleTimeout === 0 ? {} : { idleTimeout }),
        ...(hardTimeout === 0 ? {} : { hardTimeout }),
        ...(flags.length === 0 ? {} : { flags }),
      },
      ...(cookieMask === 0n ? {} : { cookieMask }),
      ...(bufferId === NO_BUFFER ? {} : { bufferId }),
      ...(outPort === ANY ? {} : { outPort }),
      ...(outGroup === ANY ? {} : { outGroup }),
      ...(importance === 0 ? {} : { importance }),
    };
  },
  encode: encodeFlowMod,
};

/** The body of a flow-mod; also the way in for those who build many. */
export function encodeFlowMod(w: Writer, body: FlowModBody): void {
  const { flow } = body;
  w.u64(flow.cookie);
  w.u64(body.cookieMask ?? 0n);
  w.u8(flow.table);
  w.u8(COMMANDS.indexOf(body.command));
  w.u16(flow.idleTimeout ?? 0);
  w.u16(flow.hardTimeout ?? 0);
  w.u16(flow.priority);
  w.u32(body.bufferId ?? NO_BUFFER);
  w.u32(body.outPort ?? ANY);
  w.u32(body.outGroup ?? ANY);
  flowFlags.encode(w, flow.flags ?? []);
  w.u16(body.importance ?? 0);
  match.encode(w, flow.match);
  instructions.encode(w, flow.instructions);
}

/** OFPT_PACKET_OUT (section 7.3.6): the match names the in-port and other pipeline fields. */
const packetOutParts = struct(
  optional("bufferId", u32, NO_BUFFER),
  field("match", match),
  field("actions", actions),
  field("packet", rest),
);
const packetOut: Codec<Infer<typeof packetOutParts>> = {
  decode(r) {
    const bufferId = r.u32();
    const size = r.u16();
    r.skip(2);
    const fields = match.decode(r);
    const list = actions.decode(r.sub(size));
    return {
      ...(bufferId === NO_BUFFER ? {} : { bufferId }),
      match: fields,
      actions: list,
      packet: r.rest(),
    };
  },
  encode(w, body) {
    w.u32(body.bufferId ?? NO_BUFFER);
    const lengthAt = w.length;
    w.u32(0);
    match.encode(w, body.match);
    const start = w.length;
    actions.encode(w, body.actions);
    w.patchU16(lengthAt, w.length - start);
    w.raw(body.packet);
  },
};

const GROUP_COMMANDS = {
  add: 0,
  modify: 1,
  delete: 2,
  insert_bucket: 3,
  remove_bucket: 5,
  add_or_modify: 0x8000,
} as const;

const groupModTail = properties();
const groupModParts = struct(
  field("command", named(u16, GROUP_COMMANDS)),
  field("kind", groupType),
  field("group", u32),
  optional("commandBucket", u32, 0xffff_ffff),
  field("buckets", buckets),
  groupModTail,
);
const groupCommand = named(u16, GROUP_COMMANDS);
/** OFPT_GROUP_MOD (section 7.3.4.3): buckets with a length of their own, then properties. */
const groupMod: Codec<Infer<typeof groupModParts>> = {
  decode(r) {
    const command = groupCommand.decode(r);
    const kind = groupType.decode(r);
    r.skip(1);
    const group = r.u32();
    const size = r.u16();
    r.skip(2);
    const commandBucket = r.u32();
    const target: Infer<typeof groupModParts> = {
      command,
      kind,
      group,
      ...(commandBucket === 0xffff_ffff ? {} : { commandBucket }),
      buckets: buckets.decode(r.sub(size)),
    };
    groupModTail.decodeInto(r, target);
    return target;
  },
  encode(w, body) {
    groupCommand.encode(w, body.command);
    groupType.encode(w, body.kind);
    w.zeros(1);
    w.u32(body.group);
    const lengthAt = w.length;
    w.u32(0);
    w.u32(body.commandBucket ?? 0xffff_ffff);
    const start = w.length;
    buckets.encode(w, body.buckets);
    w.patchU16(lengthAt, w.length - start);
    groupModTail.encodeFrom(w, body);
  },
};

/** Which asynchronous messages to send, a bit per reason; `primary` is also what an equal controller gets. */
const asyncProperties = struct(
  properties(
    property("packetInSecondary", 0, u32),
    property("packetInPrimary", 1, u32),
    property("portStatusSecondary", 2, u32),
    property("portStatusPrimary", 3, u32),
    property("flowRemovedSecondary", 4, u32),
    property("flowRemovedPrimary", 5, u32),
    property("roleStatusSecondary", 6, u32),
    property("roleStatusPrimary", 7, u32),
    property("tableStatusSecondary", 8, u32),
    property("tableStatusPrimary", 9, u32),
    property("requestForwardSecondary", 10, u32),
    property("requestForwardPrimary", 11, u32),
  ),
);

/** NXT_PACKET_IN2 and NXT_RESUME (nicira-ext): the second is the first, given back with changed metadata. */
const packetIn2 = struct(
  properties(
    property("packet", 0, rest),
    property("fullLength", 1, u32),
    property("bufferId", 2, u32),
    property("table", 3, u8),
    property("cookie", 4, padded(u64)),
    property("reason", 5, packetInReason),
    property("metadata", 6, oxmList),
    /** The switch's own; only it can read this. */
    property("continuation", 8, padded(rest)),
    property("userdata", 7, rest),
  ),
);

const role = struct(
  field("role", named(u32, { nochange: 0, equal: 1, primary: 2, secondary: 3 })),
  optional("shortId", u16, 0),
  pad(2),
  field("generation", u64),
);

const config = struct(field("flags", u16), field("missSendLength", u16));

const FLOW_REMOVED_REASONS = { idle: 0, hard: 1, delete: 2, group_delete: 3, meter_delete: 4, eviction: 5 } as const;

const BUNDLE_CONTROLS = {
  open_request: 0,
  open_reply: 1,
  close_request: 2,
  close_reply: 3,
  commit_request: 4,
  commit_reply: 5,
  discard_request: 6,
  discard_reply: 7,
} as const;
const BUNDLE_FLAGS = { atomic: 1, ordered: 2 } as const;

interface Row<N extends string, T> {
  readonly type: N;
  /** OFPT number, or subtype of the vendor's. */
  readonly code: number;
  readonly vendor?: number;
  readonly body: Codec<T>;
}

function message<const N extends string, T extends object>(type: N, code: number, body: Codec<T>): Row<N, T> {
  return { type, code, body };
}

function nicira<const N extends string, T extends object>(type: N, code: number, body: Codec<T>): Row<N, T> {
  return { type, code, vendor: NICIRA, body };
}

const empty = struct();

export const messageRows = [
  message("hello", 0, hello),
  message("error", 1, error),
  message("echo_request", 2, struct(field("data", rest))),
  message("echo_reply", 3, struct(field("data", rest))),
  message("features_request", 5, empty),
  message(
    "features_reply",
    6,
    struct(
      field("datapathId", u64),
      field("buffers", u32),
      field("tables", u8),
      field("auxiliaryId", u8),
      pad(2),
      field("capabilities", u32),
      pad(4),
    ),
  ),
  message("get_config_request", 7, empty),
  message("get_config_reply", 8, config),
  message("set_config", 9, config),
  message(
    "packet_in",
    10,
    struct(
      optional("bufferId", u32, NO_BUFFER),
      field("totalLength", u16),
      field("reason", packetInReason),
      field("table", u8),
      field("cookie", u64),
      field("match", match),
      pad(2),
      field("packet", rest),
    ),
  ),
  message(
    "flow_removed",
    11,
    struct(
      field("table", u8),
      field("reason", named(u8, FLOW_REMOVED_REASONS)),
      field("priority", u16),
      optional("idleTimeout", u16, 0),
      optional("hardTimeout", u16, 0),
      field("cookie", u64),
      field("match", match),
      field("statistics", statistics),
    ),
  ),
  message(
    "port_status",
    12,
    struct(field("reason", named(u8, { add: 0, delete: 1, modify: 2 })), pad(7), field("port", port)),
  ),
  message("packet_out", 13, packetOut),
  message("flow_mod", 14, flowMod),
  message("group_mod", 15, groupMod),
  message(
    "port_mod",
    16,
    struct(
      field("port", u32),
      pad(4),
      field("mac", mac),
      pad(2),
      field("config", flagSet(u32, PORT_CONFIG)),
      /** Which bits of `config` change. */
      field("mask", flagSet(u32, PORT_CONFIG)),
      properties(property("advertise", 0, u32)),
    ),
  ),
  message("table_mod", 17, struct(field("table", u8), pad(3), field("config", u32), tableProperties)),
  message("multipart_request", 18, multipartRequest),
  message("multipart_reply", 19, multipartReply),
  message("barrier_request", 20, empty),
  message("barrier_reply", 21, empty),
  message("role_request", 24, role),
  message("role_reply", 25, role),
  message("get_async_request", 26, empty),
  message("get_async_reply", 27, asyncProperties),
  message("set_async", 28, asyncProperties),
  message(
    "meter_mod",
    29,
    struct(
      field("command", named(u16, { add: 0, modify: 1, delete: 2 })),
      field("flags", flagSet(u16, METER_FLAGS)),
      field("meter", u32),
      field("bands", bands),
    ),
  ),
  message(
    "role_status",
    30,
    struct(
      field("role", named(u32, { nochange: 0, equal: 1, primary: 2, secondary: 3 })),
      field("reason", named(u8, { primary_request: 0, config: 1, experimenter: 2 })),
      pad(3),
      field("generation", u64),
      properties(),
    ),
  ),
  message(
    "table_status",
    31,
    struct(field("reason", named(u8, { vacancy_down: 3, vacancy_up: 4 })), pad(7), field("table", tableDescription)),
  ),
  message(
    "bundle_control",
    33,
    struct(
      field("bundle", u32),
      field("control", named(u16, BUNDLE_CONTROLS)),
      field("flags", flagSet(u16, BUNDLE_FLAGS)),
      properties(),
    ),
  ),
  nicira("set_packet_in_format", 16, struct(field("format", named(u32, { standard: 0, nxt1: 1, nxt2: 2 })))),
  nicira("set_controller_id", 20, struct(pad(6), field("controllerId", u16))),
  nicira(
    "tlv_table_mod",
    24,
    struct(field("command", named(u16, { add: 0, delete: 1, clear: 2 })), pad(6), field("maps", list(tlvMap))),
  ),
  nicira("tlv_table_request", 25, empty),
  nicira(
    "tlv_table_reply",
    26,
    struct(field("maximumSpace", u32), field("maximumFields", u16), pad(10), field("maps", list(tlvMap))),
  ),
  nicira("resume", 28, packetIn2),
  nicira("ct_flush_zone", 29, struct(pad(6), field("zone", u16))),
  nicira("packet_in2", 30, packetIn2),
  nicira(
    "ct_flush",
    32,
    struct(
      optional("ipProto", u8, 0),
      pad(7),
      properties(
        property("original", 0, ctTupleProperty),
        property("reply", 1, ctTupleProperty),
        property("zone", 2, u16),
        property("mark", 3, u32),
        property("markMask", 4, u32),
        property("labels", 5, padded(address16)),
        property("labelsMask", 6, padded(address16)),
      ),
    ),
  ),
] as const;

type Rows = (typeof messageRows)[number];
type MessageOf<R> = R extends Row<infer N, infer T> ? { readonly type: N } & { [K in keyof T]: T[K] } : never;

/** A message inside of a bundle: it carries the xid of the frame around it. */
export interface BundleAdd {
  readonly type: "bundle_add";
  readonly bundle: number;
  readonly flags: Infer<typeof bundleFlags>;
  readonly message: Message;
}

/** A message this codec has no row for, header apart, as it is. */
export interface UnknownMessage {
  readonly type: "unknown";
  readonly version: number;
  readonly code: number;
  readonly bytes: Uint8Array;
}

/** Any message, told apart by `type`. */
export type Message = MessageOf<Rows> | BundleAdd | UnknownMessage;
/** The name of a kind of message. */
export type MessageType = Message["type"];

export const bundleFlags = flagSet(u16, BUNDLE_FLAGS);
export const BUNDLE_ADD = 34;
export const EXPERIMENTER_MESSAGE = 4;
