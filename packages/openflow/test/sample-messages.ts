/** One or more samples of every message and every kind of multipart. */
import type { Flow, Message, MultipartReplyBody, MultipartRequestBody } from "../src/index.ts";
import { flowOf, tcp } from "./sample-flows.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const flow: Flow = flowOf(tcp, [{ type: "output", port: 2 }], [{ type: "goto_table", table: 9 }]);

const messages: readonly (readonly [string, Message])[] = [
  ["hello", { type: "hello", versions: [6] }],
  ["hello of two versions", { type: "hello", versions: [4, 6] }],
  ["error", { type: "error", errorType: 4, errorCode: 9, data: bytes(6, 0, 0, 8, 0, 0, 0, 1) }],
  [
    "error of the extension",
    { type: "error", errorType: 0xffff, errorCode: 35, experimenter: 0x2320, data: bytes(6, 0, 0, 8, 0, 0, 0, 1) },
  ],
  ["echo request", { type: "echo_request", data: bytes(1, 2, 3) }],
  ["echo reply", { type: "echo_reply", data: bytes() }],
  ["features request", { type: "features_request" }],
  [
    "features reply",
    {
      type: "features_reply",
      datapathId: 0x1234_5678_9abcn,
      buffers: 0,
      tables: 254,
      auxiliaryId: 0,
      capabilities: 0x24f,
    },
  ],
  ["get config request", { type: "get_config_request" }],
  ["get config reply", { type: "get_config_reply", flags: 0, missSendLength: 0xffff }],
  ["set config", { type: "set_config", flags: 3, missSendLength: 128 }],
  [
    "packet-in",
    {
      type: "packet_in",
      totalLength: 14,
      reason: "no_match",
      table: 7,
      cookie: 0xabn,
      match: [{ field: "in_port", value: 1n }],
      packet: bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xb5),
    },
  ],
  [
    "packet-in with a continuation",
    {
      type: "packet_in2",
      packet: bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xb5),
      fullLength: 60,
      table: 50,
      cookie: 0xbf01n << 48n,
      reason: "action",
      metadata: [
        { field: "in_port", value: 3n },
        { field: "xreg2", value: 0xee_0000_00een, mask: (1n << 64n) - 1n },
        { field: "tun_src", value: 0x0a0a_000bn },
      ],
      userdata: bytes(7, 0, 1),
    },
  ],
  [
    "resume",
    {
      type: "resume",
      packet: bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xb5),
      table: 50,
      reason: "action",
      metadata: [{ field: "in_port", value: 3n }],
    },
  ],
  [
    "flow removed",
    {
      type: "flow_removed",
      table: 3,
      reason: "delete",
      priority: 10,
      idleTimeout: 60,
      cookie: 0x77n,
      match: tcp,
      statistics: { duration: 5_250_000_000n, packets: 3n, bytes: 180n },
    },
  ],
  [
    "port status",
    {
      type: "port_status",
      reason: "add",
      port: {
        port: 4,
        mac: "0a:58:00:00:00:04",
        name: "pod4",
        config: ["port_down"],
        state: ["link_down"],
        ethernet: { current: 0x840, advertised: 0, supported: 0, peer: 0, currentSpeed: 10_000_000, maximumSpeed: 0 },
      },
    },
  ],
  [
    "packet-out",
    {
      type: "packet_out",
      match: [{ field: "in_port", value: 0xffff_fffdn }],
      actions: [{ type: "output", port: 0xffff_fff9 }],
      packet: bytes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xb5),
    },
  ],
  [
    "flow-mod delete by cookie",
    { type: "flow_mod", command: "delete", flow: { ...flow, instructions: [] }, cookieMask: 0xffn << 56n },
  ],
  [
    "flow-mod delete by output",
    { type: "flow_mod", command: "delete", flow: { ...flow, instructions: [] }, outPort: 7, outGroup: 8 },
  ],
  ["flow-mod modify", { type: "flow_mod", command: "modify_strict", flow, importance: 9 }],
  [
    "group-mod",
    {
      type: "group_mod",
      command: "add",
      kind: "select",
      group: 5,
      buckets: [
        { id: 0, weight: 10, actions: [{ type: "output", port: 1 }] },
        { id: 1, weight: 20, watchPort: 2, actions: [{ type: "pop_vlan" }, { type: "output", port: 2 }] },
      ],
    },
  ],
  ["group-mod delete", { type: "group_mod", command: "delete", kind: "all", group: 0xffff_fffc, buckets: [] }],
  [
    "group-mod insert",
    {
      type: "group_mod",
      command: "insert_bucket",
      kind: "all",
      group: 5,
      commandBucket: 0xffff_fffe,
      buckets: [{ id: 4, actions: [{ type: "output", port: 1 }] }],
    },
  ],
  [
    "port-mod",
    {
      type: "port_mod",
      port: 3,
      mac: "0a:58:00:00:00:04",
      config: ["no_fwd"],
      mask: ["no_recv", "no_fwd"],
      advertise: 0,
    },
  ],
  ["table-mod", { type: "table_mod", table: 3, config: 4, eviction: 1 }],
  ["barrier request", { type: "barrier_request" }],
  ["barrier reply", { type: "barrier_reply" }],
  ["role request", { type: "role_request", role: "primary", generation: 3n }],
  ["role reply", { type: "role_reply", role: "secondary", generation: 3n }],
  ["get async request", { type: "get_async_request" }],
  ["get async reply", { type: "get_async_reply", packetInPrimary: 2, flowRemovedPrimary: 0xf }],
  ["set async", { type: "set_async", packetInSecondary: 0x3f, packetInPrimary: 0x3f, portStatusPrimary: 7 }],
  [
    "meter-mod",
    {
      type: "meter_mod",
      command: "add",
      flags: ["pktps", "burst"],
      meter: 3,
      bands: [{ kind: "drop", rate: 500, burst: 50 }],
    },
  ],
  [
    "meter-mod that remarks",
    {
      type: "meter_mod",
      command: "modify",
      flags: ["kbps"],
      meter: 4,
      bands: [{ kind: "dscp_remark", rate: 500, burst: 0, level: 2 }],
    },
  ],
  ["role status", { type: "role_status", role: "secondary", reason: "primary_request", generation: 5n }],
  [
    "table status",
    {
      type: "table_status",
      reason: "vacancy_down",
      table: { table: 2, config: 8, vacancy: { down: 20, up: 80, now: 10 } },
    },
  ],
  ["bundle open", { type: "bundle_control", bundle: 2, control: "open_request", flags: ["atomic", "ordered"] }],
  [
    "bundle add",
    { type: "bundle_add", bundle: 2, flags: ["atomic"], message: { type: "flow_mod", command: "add", flow } },
  ],
  ["packet-in format", { type: "set_packet_in_format", format: "nxt2" }],
  ["controller id", { type: "set_controller_id", controllerId: 7 }],
  [
    "options of tunnels",
    {
      type: "tlv_table_mod",
      command: "add",
      maps: [
        { optionClass: 0x102, optionType: 1, optionLength: 4, index: 0 },
        { optionClass: 0xffff, optionType: 255, optionLength: 124, index: 5 },
      ],
    },
  ],
  ["request for options", { type: "tlv_table_request" }],
  [
    "reply with options",
    {
      type: "tlv_table_reply",
      maximumSpace: 252,
      maximumFields: 64,
      maps: [{ optionClass: 0x102, optionType: 1, optionLength: 4, index: 0 }],
    },
  ],
  ["conntrack zone flush", { type: "ct_flush_zone", zone: 13 }],
  [
    "conntrack flush",
    {
      type: "ct_flush",
      ipProto: 6,
      original: { src: 0xffff_0a00_0001n, dst: 0xffff_0a00_0002n, srcPort: 1234, dstPort: 80 },
      zone: 13,
    },
  ],
  ["a message without a row", { type: "unknown", version: 6, code: 35, bytes: bytes(0, 0, 0, 1) }],
];

const requests: readonly MultipartRequestBody[] = [
  { kind: "description" },
  { kind: "flow_desc", match: [] },
  { kind: "flow_desc", table: 3, cookie: 5n, cookieMask: 0xffn, outPort: 2, match: tcp },
  { kind: "aggregate", match: tcp },
  { kind: "table_stats" },
  { kind: "port_stats" },
  { kind: "port_stats", port: 3 },
  { kind: "queue_stats", port: 1, queue: 2 },
  { kind: "group_stats", group: 1 },
  { kind: "group_desc" },
  { kind: "group_features" },
  { kind: "meter_stats", meter: 1 },
  { kind: "meter_desc" },
  { kind: "meter_features" },
  { kind: "port_desc" },
  { kind: "table_desc" },
  { kind: "queue_desc", port: 1 },
];

const replies: readonly MultipartReplyBody[] = [
  {
    kind: "description",
    manufacturer: "maker",
    hardware: "thing",
    software: "1.0",
    serialNumber: "none",
    datapath: "br-int",
  },
  {
    kind: "flow_desc",
    entries: [
      { flow, statistics: { duration: 1_500_000_000n, idle: 2_000_000_000n, packets: 7n, bytes: 420n } },
      { flow: { ...flow, flags: ["send_flow_rem"], idleTimeout: 5 }, importance: 3, statistics: { packets: 0n } },
    ],
  },
  { kind: "aggregate", statistics: { flows: 3, packets: 10n, bytes: 1000n } },
  { kind: "table_stats", tables: [{ table: 0, active: 5, lookups: 100n, matched: 90n }] },
  {
    kind: "port_stats",
    ports: [
      {
        port: 1,
        duration: 3_000_000_007n,
        rxPackets: 1n,
        txPackets: 2n,
        rxBytes: 3n,
        txBytes: 4n,
        rxDropped: 5n,
        txDropped: 6n,
        rxErrors: 7n,
        txErrors: 8n,
        ethernet: { frameErrors: 9n, overruns: 10n, crcErrors: 11n, collisions: 12n },
      },
    ],
  },
  {
    kind: "queue_stats",
    queues: [{ port: 1, queue: 2, txBytes: 3n, txPackets: 4n, txErrors: 5n, duration: 6_000_000_000n }],
  },
  {
    kind: "group_stats",
    groups: [
      {
        group: 1,
        references: 2,
        packets: 3n,
        bytes: 4n,
        duration: 5n,
        buckets: [
          { packets: 1n, bytes: 2n },
          { packets: 2n, bytes: 2n },
        ],
      },
    ],
  },
  {
    kind: "group_desc",
    groups: [{ group: 1, kind: "ff", buckets: [{ id: 0, actions: [{ type: "output", port: 1 }], watchPort: 1 }] }],
  },
  { kind: "group_features", types: 15, capabilities: 7, maximumGroups: [1, 2, 3, 4], actions: [1, 1, 1, 1] },
  {
    kind: "meter_stats",
    meters: [{ meter: 1, references: 2, packets: 3n, bytes: 4n, duration: 5n, bands: [{ packets: 1n, bytes: 2n }] }],
  },
  { kind: "meter_desc", meters: [{ flags: ["kbps"], meter: 1, bands: [{ kind: "drop", rate: 5, burst: 0 }] }] },
  { kind: "meter_features", maximumMeter: 100, bandTypes: 2, capabilities: 15, maximumBands: 8, maximumColor: 0 },
  {
    kind: "port_desc",
    ports: [
      {
        port: 0xffff_fffe,
        mac: "0a:58:00:00:00:04",
        name: "br-int",
        config: [],
        state: ["live"],
        ethernet: { current: 0, advertised: 0, supported: 0, peer: 0, currentSpeed: 0, maximumSpeed: 0 },
      },
    ],
  },
  { kind: "table_desc", tables: [{ table: 3, config: 4, eviction: 1 }] },
  { kind: "queue_desc", queues: [{ port: 1, queue: 2, minimumRate: 100, maximumRate: 500 }] },
];

export interface NamedMessage {
  readonly name: string;
  readonly message: Message;
}

export const sampleMessages: readonly NamedMessage[] = [
  ...messages.map(([name, message]) => ({ name, message })),
  ...requests.map((body, i) => ({
    name: `request ${i + 1}: ${body.kind}`,
    message: { type: "multipart_request", body } as const,
  })),
  ...replies.map((body) => ({
    name: `reply: ${body.kind}`,
    message: { type: "multipart_reply", more: true, body } as const,
  })),
];
