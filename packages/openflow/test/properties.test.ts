import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  canonicalActions,
  canonicalFlow,
  canonicalMatch,
  decodeMessage,
  encodeMessage,
  fields,
  flowModFrame,
  formatFlow,
  parseFlow,
} from "../src/index.ts";
import type { Action, Field, FieldSlice, Flow, FlowFlag, Instruction, MatchField } from "../src/index.ts";

function bits(count: number): fc.Arbitrary<bigint> {
  return fc.bigInt({ min: 0n, max: (1n << BigInt(count)) - 1n });
}

/** Options of tunnels are as long as their mapping, which text does not tell. */
const plain = fields.filter((field) => field.variable !== true);

function entryOf(field: Field): fc.Arbitrary<MatchField> {
  const exact = bits(field.bits).map((value) => ({ field: field.name, value }));
  if (!field.maskable) return exact;
  const masked = fc
    .tuple(bits(field.bits), bits(field.bits))
    .map(([value, mask]) => ({ field: field.name, value, mask }));
  return fc.oneof(exact, masked);
}

const match = fc
  .uniqueArray(fc.constantFrom(...plain), { maxLength: 8, selector: (field) => field.name })
  .chain((chosen) => fc.tuple(...chosen.map(entryOf)));

const narrow = plain.filter((field) => field.bits <= 64 && field.writable && field.name !== "in_port_nxm");

function sliceUpTo(maximum: number): fc.Arbitrary<FieldSlice> {
  return fc
    .constantFrom(...narrow)
    .chain((field) =>
      fc
        .nat({ max: field.bits - 1 })
        .chain((offset) =>
          fc
            .integer({ min: 1, max: Math.min(maximum, field.bits - offset) })
            .map((size) => ({ field: field.name, offset, bits: size })),
        ),
    );
}

const port = fc.oneof(fc.nat({ max: 0xfeff }), fc.constantFrom(0xffff_fff8, 0xffff_fffe, 0xffff_fffa));
const u8 = fc.nat({ max: 0xfe });
const u16 = fc.nat({ max: 0xffff });
const u32 = fc.nat({ max: 0xffff_ffff });
const someBytes = fc.uint8Array({ minLength: 1, maxLength: 12 });

const setField: fc.Arbitrary<Action> = fc
  .constantFrom(...plain.filter((field) => field.writable))
  .chain(entryOf)
  .filter((entry) => entry.mask !== 0n)
  .map((entry) => ({ type: "set_field", ...entry }));

const load: fc.Arbitrary<Action> = sliceUpTo(64).chain((dst) =>
  bits(dst.bits).map((value) => ({ type: "load", dst, value })),
);

const move: fc.Arbitrary<Action> = fc.tuple(sliceUpTo(64), sliceUpTo(64)).map(([src, dst]) => {
  const size = Math.min(src.bits, dst.bits);
  return { type: "move", src: { ...src, bits: size }, dst: { ...dst, bits: size } };
});

const nat: fc.Arbitrary<Action> = fc
  .record({
    direction: fc.constantFrom("src" as const, "dst" as const),
    family: fc.constantFrom(4, 6),
    a: bits(32),
    b: bits(32),
    ports: fc.option(fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 65_535 }))),
    hash: fc.boolean(),
  })
  .map(({ direction, family, a, b, ports, hash }) => ({
    type: "nat",
    direction,
    [family === 4 ? "ipv4" : "ipv6"]: a === b ? { min: a + 1n } : { min: a < b ? a : b, max: a < b ? b : a },
    ...(ports === null || ports[0] === ports[1] ? {} : { ports: { min: ports[0], max: ports[1] } }),
    ...(hash ? { hash: true } : {}),
  }));

const controller: fc.Arbitrary<Action> = fc
  .record(
    {
      maxLen: u16,
      controllerId: fc.integer({ min: 1, max: 0xffff }),
      reason: fc.constantFrom("no_match" as const, "invalid_ttl" as const, "group" as const),
      userdata: someBytes,
      pause: fc.constant(true),
      meterId: u32,
    },
    { requiredKeys: ["controllerId"] },
  )
  .map((options) => ({ type: "controller", ...options }));

const leaf: fc.Arbitrary<Action> = fc.oneof(
  port.map((number): Action => ({ type: "output", port: number })),
  u32.map((group): Action => ({ type: "group", group })),
  u32.map((meter): Action => ({ type: "meter", meter })),
  u32.map((queue): Action => ({ type: "set_queue", queue })),
  setField,
  load,
  move,
  controller,
  fc.constantFrom<Action>({ type: "pop_vlan" }, { type: "dec_ttl" }, { type: "ct_clear" }),
  fc.tuple(port, u8).map(([number, table]): Action => ({ type: "resubmit", port: number, table })),
  u8.map((table): Action => ({ type: "resubmit", table, ct: true })),
  someBytes.map((bytes): Action => ({ type: "note", bytes })),
  sliceUpTo(64).map((src): Action => ({ type: "stack_push", src })),
  sliceUpTo(64).map((src): Action => ({ type: "output_reg", src })),
  sliceUpTo(1).map((dst): Action => ({ type: "check_pkt_larger", length: 1400, dst })),
);

const { action } = fc.letrec<{ action: Action }>((tie) => ({
  action: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.array(tie("action"), { minLength: 1, maxLength: 3 }).map((actions): Action => ({ type: "clone", actions })),
    fc
      .record({ zone: u16, table: fc.option(u8), actions: fc.array(fc.oneof(nat, setField, move), { maxLength: 3 }) })
      .map(({ zone, table, actions }): Action => ({
        type: "ct",
        commit: true,
        zone,
        ...(table === null ? {} : { table }),
        actions,
      })),
  ),
}));

const instructions: fc.Arbitrary<readonly Instruction[]> = fc
  .tuple(fc.array(action, { minLength: 1, maxLength: 5 }), fc.option(u8), fc.option(fc.tuple(bits(64), bits(64))))
  .map(([actions, table, metadata]) => [
    { type: "apply_actions", actions },
    ...(metadata === null ? [] : [{ type: "write_metadata" as const, value: metadata[0], mask: metadata[1] }]),
    ...(table === null ? [] : [{ type: "goto_table" as const, table }]),
  ]);

const flow: fc.Arbitrary<Flow> = fc.record(
  {
    table: u8,
    priority: u16,
    cookie: bits(64),
    match,
    instructions,
    idleTimeout: fc.integer({ min: 1, max: 0xffff }),
    hardTimeout: fc.integer({ min: 1, max: 0xffff }),
    flags: fc.uniqueArray(fc.constantFrom<FlowFlag>("send_flow_rem", "no_pkt_counts"), { minLength: 1 }),
  },
  { requiredKeys: ["table", "priority", "cookie", "match", "instructions"] },
);

describe("any flow", () => {
  test("is on the wire what it was before, in canonical form", () => {
    fc.assert(
      fc.property(flow, u32, (given, xid) => {
        const message = decodeMessage(encodeMessage({ type: "flow_mod", command: "add", flow: given }, xid));
        assert.ok(message.type === "flow_mod");
        assert.deepStrictEqual(canonicalFlow(message.flow), canonicalFlow(given));
        // What was decoded is already as the wire has it: a second trip changes nothing at all.
        assert.deepStrictEqual(decodeMessage(encodeMessage(message, xid)), message);
        assert.deepStrictEqual(
          flowModFrame("add", given, xid),
          encodeMessage({ type: "flow_mod", command: "add", flow: given }, xid),
        );
      }),
      { numRuns: 2000 },
    );
  });

  test("has one canonical form, whatever the order of its match", () => {
    fc.assert(
      fc.property(flow, fc.nat(), (given, seed) => {
        const canonical = canonicalFlow(given);
        assert.deepStrictEqual(canonicalFlow(canonical), canonical);
        const turned = given.match.map((_, i, all) => all[(i + seed) % all.length]!);
        const wide = given.match.some((entry) => /^x{0,2}reg/.test(entry.field));
        // Registers that overlap wider ones say different things about the same bits: order decides there.
        if (!wide) assert.deepStrictEqual(canonicalMatch(turned), canonical.match);
        const {
          instructions: [first],
        } = canonical;
        assert.ok(first?.type === "apply_actions" || canonical.instructions.length > 0);
        if (first?.type === "apply_actions") assert.deepStrictEqual(canonicalActions(first.actions), first.actions);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("text", () => {
  /** Fields whose text stands on its own, apart from what the words for protocols and tags take in. */
  const free = plain.filter(
    ({ name, prerequisite }) =>
      ["none", "ip", "ipv4", "ipv6", "arp", "ct"].includes(prerequisite) &&
      ![
        "in_port_nxm",
        "vlan_tci",
        "nw_tos",
        "packet_type",
        "ip_frag",
        "vlan_vid",
        "in_port",
        "actset_output",
        "ct_state",
      ].includes(name) &&
      !name.startsWith("xreg") &&
      !name.startsWith("xxreg"),
  );
  const textMatch = fc
    .uniqueArray(fc.constantFrom(...free), { maxLength: 8, selector: (field) => field.name })
    .chain((chosen) => fc.tuple(...chosen.map(entryOf)));
  // A load of a mask or a whole field, and defaults, are printed as what they do.
  const textFlow = fc.tuple(flow, textMatch).map(([given, entries]) => canonicalFlow({ ...given, match: entries }));

  test("of any flow reads back as the same flow", () => {
    fc.assert(
      fc.property(textFlow, (given) => {
        const text = formatFlow(given);
        assert.deepStrictEqual(canonicalFlow(parseFlow(text)), given, text);
        assert.equal(formatFlow(parseFlow(text)), text);
      }),
      { numRuns: 2000 },
    );
  });
});
