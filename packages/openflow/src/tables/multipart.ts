/** Every kind of multipart message, one row each with its request and its reply: OpenFlow 1.5 section 7.3.5. */
import { OpenFlowDecodeError } from "../errors.ts";
import { match } from "../match.ts";
import type { Flow } from "../model.ts";
import {
  delimited,
  field,
  flagSet,
  lengthPlace,
  list,
  optional,
  pad,
  properties,
  property,
  rest,
  struct,
  text,
  u16,
  u32,
  u64,
  u8,
} from "../schema.ts";
import type { Codec, Infer } from "../schema.ts";
import type { Reader, Writer } from "../wire.ts";
import { reservedPorts } from "./numbers.ts";
import { instructions } from "./instructions.ts";
import {
  bands,
  buckets,
  counters,
  duration,
  flowFlags,
  groupType,
  METER_FLAGS,
  port,
  statistics,
  tableDescription,
} from "./structures.ts";
import type { FlowStatistics } from "./structures.ts";

const ANY = reservedPorts.ANY as number;
const ALL_TABLES = 0xff;

/** One installed entry as the switch reports it. */
export interface FlowEntry {
  readonly flow: Flow;
  readonly importance?: number;
  readonly statistics: FlowStatistics;
}

/** struct ofp_flow_desc (OpenFlow 1.5 section 7.3.5.2), which holds match, statistics and instructions. */
const flowEntry = delimited(0, {
  decode(r): FlowEntry {
    r.skip(4);
    const table = r.u8();
    r.skip(1);
    const priority = r.u16();
    const idleTimeout = r.u16();
    const hardTimeout = r.u16();
    const flags = flowFlags.decode(r);
    const importance = r.u16();
    const cookie = r.u64();
    const fields = match.decode(r);
    const stats = statistics.decode(r);
    const flow: Flow = {
      table,
      priority,
      cookie,
      match: fields,
      instructions: instructions.decode(r),
      ...(idleTimeout === 0 ? {} : { idleTimeout }),
      ...(hardTimeout === 0 ? {} : { hardTimeout }),
      ...(flags.length === 0 ? {} : { flags }),
    };
    return { flow, ...(importance === 0 ? {} : { importance }), statistics: stats };
  },
  encode(w, { flow, importance, statistics: stats }: FlowEntry) {
    w.u32(0);
    w.u8(flow.table);
    w.u8(0);
    w.u16(flow.priority);
    w.u16(flow.idleTimeout ?? 0);
    w.u16(flow.hardTimeout ?? 0);
    flowFlags.encode(w, flow.flags ?? []);
    w.u16(importance ?? 0);
    w.u64(flow.cookie);
    match.encode(w, flow.match);
    statistics.encode(w, stats);
    instructions.encode(w, flow.instructions);
  },
});

/** What a flow or aggregate request selects; everything absent selects every entry. */
const flowSelection = struct(
  optional("table", u8, ALL_TABLES),
  pad(3),
  optional("outPort", u32, ANY),
  optional("outGroup", u32, ANY),
  pad(4),
  optional("cookie", u64, 0n),
  optional("cookieMask", u64, 0n),
  field("match", match),
);
/** The selection of a flow or aggregate request. */
export type FlowSelection = Infer<typeof flowSelection>;

const tableStatistics = struct(
  field("table", u8),
  pad(3),
  field("active", u32),
  field("lookups", u64),
  field("matched", u64),
);

const portStatistics = delimited(
  0,
  struct(
    lengthPlace,
    pad(2),
    field("port", u32),
    field("duration", duration),
    field("rxPackets", u64),
    field("txPackets", u64),
    field("rxBytes", u64),
    field("txBytes", u64),
    field("rxDropped", u64),
    field("txDropped", u64),
    field("rxErrors", u64),
    field("txErrors", u64),
    properties(
      property(
        "ethernet",
        0,
        struct(
          pad(4),
          field("frameErrors", u64),
          field("overruns", u64),
          field("crcErrors", u64),
          field("collisions", u64),
        ),
      ),
    ),
  ),
);

const queueStatistics = delimited(
  0,
  struct(
    lengthPlace,
    pad(6),
    field("port", u32),
    field("queue", u32),
    field("txBytes", u64),
    field("txPackets", u64),
    field("txErrors", u64),
    field("duration", duration),
    properties(),
  ),
);

const queueDescription = delimited(
  8,
  struct(
    field("port", u32),
    field("queue", u32),
    lengthPlace,
    pad(6),
    /** Rates in tenths of a percent of the port's speed. */
    properties(property("minimumRate", 1, u16), property("maximumRate", 2, u16)),
  ),
);

const groupStatistics = delimited(
  0,
  struct(
    lengthPlace,
    pad(2),
    field("group", u32),
    field("references", u32),
    pad(4),
    field("packets", u64),
    field("bytes", u64),
    field("duration", duration),
    field("buckets", list(counters)),
  ),
);

const groupTail = properties();

const groupDescriptionHead = struct(
  field("group", u32),
  field("kind", groupType),
  field("buckets", buckets),
  groupTail,
);

/** struct ofp_group_desc: buckets with a length of their own, then properties. */
const groupDescription = delimited(0, {
  decode(r): Infer<typeof groupDescriptionHead> {
    r.skip(2);
    const kind = groupType.decode(r);
    r.skip(1);
    const group = r.u32();
    const size = r.u16();
    r.skip(6);
    const target: Infer<typeof groupDescriptionHead> = { group, kind, buckets: buckets.decode(r.sub(size)) };
    groupTail.decodeInto(r, target);
    return target;
  },
  encode(w, value: Infer<typeof groupDescriptionHead>) {
    w.zeros(2);
    groupType.encode(w, value.kind);
    w.zeros(1);
    w.u32(value.group);
    const lengthAt = w.length;
    w.zeros(8);
    const start = w.length;
    buckets.encode(w, value.buckets);
    w.patchU16(lengthAt, w.length - start);
    groupTail.encodeFrom(w, value);
  },
});

const four: Codec<readonly number[]> = {
  decode: (r) => [r.u32(), r.u32(), r.u32(), r.u32()],
  encode(w, values) {
    for (let i = 0; i < 4; i++) w.u32(values[i] ?? 0);
  },
};

const meterStatistics = delimited(
  4,
  struct(
    field("meter", u32),
    lengthPlace,
    pad(6),
    field("references", u32),
    field("packets", u64),
    field("bytes", u64),
    field("duration", duration),
    field("bands", list(counters)),
  ),
);

const meterConfiguration = delimited(
  0,
  struct(lengthPlace, field("flags", flagSet(u16, METER_FLAGS)), field("meter", u32), field("bands", bands)),
);

const empty = struct();
const oneNumber = <const N extends string>(name: N, all: number): Codec<{ readonly [K in N]?: number }> =>
  struct(optional(name, u32, all), pad(4)) as unknown as Codec<{ readonly [K in N]?: number }>;

interface Row<K extends string, Request, Reply> {
  readonly kind: K;
  readonly code: number;
  readonly request: Codec<Request>;
  readonly reply: Codec<Reply>;
}

function row<const K extends string, Request extends object, Reply extends object>(
  kind: K,
  code: number,
  request: Codec<Request>,
  reply: Codec<Reply>,
): Row<K, Request, Reply> {
  return { kind, code, request, reply };
}

export const multipartRows = [
  row(
    "description",
    0,
    empty,
    struct(
      field("manufacturer", text(256)),
      field("hardware", text(256)),
      field("software", text(256)),
      field("serialNumber", text(32)),
      field("datapath", text(256)),
    ),
  ),
  row("flow_desc", 1, flowSelection, struct(field("entries", list(flowEntry)))),
  row("aggregate", 2, flowSelection, struct(field("statistics", statistics))),
  row("table_stats", 3, empty, struct(field("tables", list(tableStatistics)))),
  row("port_stats", 4, oneNumber("port", ANY), struct(field("ports", list(portStatistics)))),
  row(
    "queue_stats",
    5,
    struct(optional("port", u32, ANY), optional("queue", u32, 0xffff_ffff)),
    struct(field("queues", list(queueStatistics))),
  ),
  row("group_stats", 6, oneNumber("group", 0xffff_fffc), struct(field("groups", list(groupStatistics)))),
  row("group_desc", 7, oneNumber("group", 0xffff_fffc), struct(field("groups", list(groupDescription)))),
  row(
    "group_features",
    8,
    empty,
    struct(field("types", u32), field("capabilities", u32), field("maximumGroups", four), field("actions", four)),
  ),
  row("meter_stats", 9, oneNumber("meter", 0xffff_ffff), struct(field("meters", list(meterStatistics)))),
  row("meter_desc", 10, oneNumber("meter", 0xffff_ffff), struct(field("meters", list(meterConfiguration)))),
  row(
    "meter_features",
    11,
    empty,
    struct(
      field("maximumMeter", u32),
      field("bandTypes", u32),
      field("capabilities", u32),
      field("maximumBands", u8),
      field("maximumColor", u8),
      pad(2),
      optional("features", tail32(), 0),
    ),
  ),
  row("port_desc", 13, oneNumber("port", ANY), struct(field("ports", list(port)))),
  row("table_desc", 14, empty, struct(field("tables", list(tableDescription)))),
  row(
    "queue_desc",
    15,
    struct(optional("port", u32, ANY), optional("queue", u32, 0xffff_ffff)),
    struct(field("queues", list(queueDescription))),
  ),
] as const;

/** OpenFlow 1.5 appended features and padding to the meter features; switches may leave them out. */
function tail32(): Codec<number> {
  return {
    decode: (r) => (r.remaining >= 4 ? r.u32() : 0),
    encode(w, value) {
      if (value === 0) return;
      w.u32(value);
      w.zeros(4);
    },
  };
}

interface UnknownBody {
  readonly kind: "unknown";
  readonly code: number;
  readonly bytes: Uint8Array;
}

type Rows = (typeof multipartRows)[number];
type RequestOf<R> = R extends Row<infer K, infer T, unknown> ? { readonly kind: K } & T : never;
type ReplyOf<R> = R extends Row<infer K, unknown, infer T> ? { readonly kind: K } & T : never;

/** The body of a request, told apart by `kind`. */
export type MultipartRequestBody = RequestOf<Rows> | UnknownBody;
/** The body of a reply, told apart by `kind`. */
export type MultipartReplyBody = ReplyOf<Rows> | UnknownBody;

interface AnyRow {
  readonly kind: string;
  readonly code: number;
  readonly request: Codec<object>;
  readonly reply: Codec<object>;
}
const rows = multipartRows as unknown as readonly AnyRow[];
const byCode = new Map(rows.map((r) => [r.code, r]));
const byKind = new Map(rows.map((r) => [r.kind, r]));

/** A multipart message without its header. */
export interface MultipartHead<Body> {
  /** More parts with the same xid follow. */
  readonly more?: true;
  readonly body: Body;
}

function multipart<Body extends { readonly kind: string }>(side: "request" | "reply"): Codec<MultipartHead<Body>> {
  return {
    decode(r: Reader) {
      const code = r.u16();
      const flags = r.u16();
      r.skip(4);
      const known = byCode.get(code);
      const body =
        known === undefined
          ? { kind: "unknown", code, bytes: r.rest() }
          : { kind: known.kind, ...known[side].decode(r) };
      if (known !== undefined && r.remaining >= 8) {
        throw new OpenFlowDecodeError(`${r.remaining} bytes too many in a multipart ${side} of ${known.kind}`);
      }
      return { ...((flags & 1) === 0 ? {} : { more: true as const }), body: body as unknown as Body };
    },
    encode(w: Writer, { more, body }) {
      const known = byKind.get(body.kind);
      w.u16(known?.code ?? (body as unknown as UnknownBody).code);
      w.u16(more === true ? 1 : 0);
      w.zeros(4);
      if (known === undefined) rest.encode(w, (body as unknown as UnknownBody).bytes);
      else known[side].encode(w, body);
    },
  };
}

export const multipartRequest = multipart<MultipartRequestBody>("request");
export const multipartReply = multipart<MultipartReplyBody>("reply");
