/** Structures that several messages share: ports, buckets, bands, statistics, tables. */
import { macFromBytes, macToBytes } from "@beyondfabric/packet";
import type { Mac } from "@beyondfabric/packet";
import { OpenFlowDecodeError } from "../errors.ts";
import type { FlowFlag } from "../model.ts";
import {
  delimited,
  field,
  flagSet,
  lengthPlace,
  list,
  named,
  optional,
  pad,
  padded,
  properties,
  property,
  struct,
  text,
  u16,
  u32,
  u64,
  u8,
} from "../schema.ts";
import type { Codec, Infer } from "../schema.ts";
import { actions } from "./actions.ts";

export const mac: Codec<Mac> = {
  decode: (r) => macFromBytes(r.take(6)),
  encode: (w, value) => w.raw(macToBytes(value)),
};

export const FLOW_FLAGS: Readonly<Record<FlowFlag, number>> = {
  send_flow_rem: 1,
  check_overlap: 2,
  reset_counts: 4,
  no_pkt_counts: 8,
  no_byt_counts: 16,
};

export const flowFlags = flagSet(u16, FLOW_FLAGS) as Codec<readonly FlowFlag[]>;

export const PORT_CONFIG = { port_down: 1, no_recv: 4, no_fwd: 32, no_packet_in: 64 } as const;
export const PORT_STATE = { link_down: 1, blocked: 2, live: 4 } as const;

/** Speeds are in kbit/s; the feature bits are those of enum ofp_port_features. */
export const ethernetProperty = struct(
  pad(4),
  field("current", u32),
  field("advertised", u32),
  field("supported", u32),
  field("peer", u32),
  field("currentSpeed", u32),
  field("maximumSpeed", u32),
);

/** struct ofp_port (OpenFlow 1.5 section 7.2.1). */
export const port = delimited(
  4,
  struct(
    field("port", u32),
    lengthPlace,
    pad(2),
    field("mac", mac),
    pad(2),
    field("name", text(16)),
    field("config", flagSet(u32, PORT_CONFIG)),
    field("state", flagSet(u32, PORT_STATE)),
    properties(property("ethernet", 0, ethernetProperty)),
  ),
);
/** A port of the switch. */
export type Port = Infer<typeof port>;

const bucketTail = properties(
  property("weight", 0, u16),
  property("watchPort", 1, u32),
  property("watchGroup", 2, u32),
);

/** struct ofp_bucket (OpenFlow 1.5 section 7.3.4.3): actions with a length of their own, then properties. */
const bucketBody: Codec<Infer<typeof bucketFields> & { readonly actions: Infer<typeof actions> }> = {
  decode(r) {
    r.skip(2);
    const actionsSize = r.u16();
    const id = r.u32();
    const bucketActions = actions.decode(r.sub(actionsSize));
    const target: Infer<typeof bucketFields> & { readonly actions: Infer<typeof actions> } = {
      id,
      actions: bucketActions,
    };
    bucketTail.decodeInto(r, target);
    return target;
  },
  encode(w, bucket) {
    w.zeros(2);
    const lengthAt = w.length;
    w.u16(0);
    w.u32(bucket.id);
    const start = w.length;
    actions.encode(w, bucket.actions);
    w.patchU16(lengthAt, w.length - start);
    bucketTail.encodeFrom(w, bucket);
  },
};
const bucketFields = struct(field("id", u32), bucketTail);
export const bucket = delimited(0, bucketBody);
/** One of the action lists that a group chooses from. */
export type Bucket = Infer<typeof bucket>;

export const GROUP_TYPES = { all: 0, select: 1, indirect: 2, ff: 3 } as const;
export const groupType = named(u8, GROUP_TYPES);

/** NTR selection method of a group: how a `select` group hashes. */
export const groupProperties = properties();

export const METER_FLAGS = { kbps: 1, pktps: 2, burst: 4, stats: 8 } as const;

/** struct ofp_meter_band_*: 16 bytes each; `level` is the DSCP remark's precedence. */
export const band = delimited(
  2,
  struct(
    field("kind", named(u16, { drop: 1, dscp_remark: 2 })),
    lengthPlace,
    field("rate", u32),
    field("burst", u32),
    optional("level", u8, 0),
    pad(3),
  ),
);
/** What a meter does beyond a rate. */
export type Band = Infer<typeof band>;

/** Counters of an entry, or of several; what the switch does not report is absent. */
export interface FlowStatistics {
  /** Since the entry was installed, in nanoseconds. */
  readonly duration?: bigint;
  /** Since it last matched, in nanoseconds. */
  readonly idle?: bigint;
  readonly flows?: number;
  readonly packets?: bigint;
  readonly bytes?: bigint;
}

/** OXS class of OpenFlow's own statistics. */
const OXS_BASIC = 0x8002;
const OXS = { duration: 0, idle: 1, flows: 3, packets: 4, bytes: 5 } as const;

/** struct ofp_stats (OpenFlow 1.5 section 7.2.4): OXS fields with a length, zeros up to 8 bytes. Unknown ones are dropped. */
export const statistics: Codec<FlowStatistics> = {
  decode(r) {
    const start = r.offset;
    r.skip(2);
    const size = r.u16();
    if (size < 4) throw new OpenFlowDecodeError(`statistics of ${size} bytes at byte ${start}`);
    const body = r.sub(size - 4);
    r.align(start, 8);
    const out: { -readonly [K in keyof FlowStatistics]: FlowStatistics[K] } = {};
    while (body.remaining >= 4) {
      const header = body.u32();
      const value = body.sub(header & 0xff);
      if (header >>> 16 !== OXS_BASIC) continue;
      switch ((header >>> 9) & 0x7f) {
        case OXS.duration:
          out.duration = BigInt(value.u32()) * 1_000_000_000n + BigInt(value.u32());
          break;
        case OXS.idle:
          out.idle = BigInt(value.u32()) * 1_000_000_000n + BigInt(value.u32());
          break;
        case OXS.flows:
          out.flows = value.u32();
          break;
        case OXS.packets:
          out.packets = value.u64();
          break;
        case OXS.bytes:
          out.bytes = value.u64();
          break;
        default:
      }
    }
    return out;
  },
  encode(w, value) {
    const start = w.length;
    w.u32(0);
    const header = (number: number, size: number): void => w.u32(((OXS_BASIC << 16) | (number << 9) | size) >>> 0);
    for (const key of ["duration", "idle"] as const) {
      const nanoseconds = value[key];
      if (nanoseconds === undefined) continue;
      header(OXS[key], 8);
      w.u32(Number(nanoseconds / 1_000_000_000n));
      w.u32(Number(nanoseconds % 1_000_000_000n));
    }
    if (value.flows !== undefined) {
      header(OXS.flows, 4);
      w.u32(value.flows);
    }
    for (const key of ["packets", "bytes"] as const) {
      const count = value[key];
      if (count === undefined) continue;
      header(OXS[key], 8);
      w.u64(count);
    }
    w.patchU16(start + 2, w.length - start);
    w.align(start, 8);
  },
};

/** Seconds and nanoseconds as one number of nanoseconds. */
export const duration: Codec<bigint> = {
  decode: (r) => BigInt(r.u32()) * 1_000_000_000n + BigInt(r.u32()),
  encode(w, value) {
    w.u32(Number(value / 1_000_000_000n));
    w.u32(Number(value % 1_000_000_000n));
  },
};

export const counters = struct(field("packets", u64), field("bytes", u64));

/** One Geneve option and the tun_metadata field that it is mapped to. */
export const tlvMap = struct(
  field("optionClass", u16),
  field("optionType", u8),
  field("optionLength", u8),
  field("index", u16),
  pad(2),
);
/** A mapping of a tunnel option. */
export type TlvMap = Infer<typeof tlvMap>;

/** Table properties (OpenFlow 1.5 section 7.3.4.1): what is evicted, when to warn that a table fills. */
export const tableProperties = properties(
  property("eviction", 2, u32),
  property("vacancy", 3, struct(field("down", u8), field("up", u8), field("now", u8), pad(1))),
);

/** struct ofp_table_desc. */
export const tableDescription = delimited(
  0,
  struct(lengthPlace, field("table", u8), pad(1), field("config", u32), tableProperties),
);

export const address16: Codec<bigint> = { decode: (r) => r.uint(16), encode: (w, value) => w.uint(value, 16) };

/** A tuple of NXT_CT_FLUSH; addresses are 128 bits, IPv4 mapped into IPv6. */
const ctTuple = struct(
  properties(
    property("src", 0, address16),
    property("dst", 1, address16),
    property("srcPort", 2, u16),
    property("dstPort", 3, u16),
    property("icmpId", 4, u16),
    property("icmpType", 5, u8),
    property("icmpCode", 6, u8),
  ),
);
/** One direction of a tracked connection; what is absent matches any. */
export type CtTuple = Infer<typeof ctTuple>;
export const ctTupleProperty = padded(ctTuple);

export const bands = list(band);
export const buckets = list(bucket);
