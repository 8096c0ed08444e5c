import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { canonicalActions, canonicalFlow, canonicalMatch } from "../src/index.ts";
import type { Action, Match } from "../src/index.ts";

describe("matches", () => {
  const cases: readonly (readonly [string, Match, Match])[] = [
    [
      "are sorted as the table of fields is",
      [
        { field: "tcp_dst", value: 80n },
        { field: "in_port", value: 1n },
        { field: "eth_type", value: 0x800n },
      ],
      [
        { field: "in_port", value: 1n },
        { field: "eth_type", value: 0x800n },
        { field: "tcp_dst", value: 80n },
      ],
    ],
    ["lose a mask of all bits", [{ field: "reg0", value: 5n, mask: 0xffff_ffffn }], [{ field: "reg0", value: 5n }]],
    ["lose a field without bits", [{ field: "reg0", value: 5n, mask: 0n }], []],
    [
      "lose bits outside of the mask",
      [{ field: "reg0", value: 0xffn, mask: 0xfn }],
      [{ field: "reg0", value: 0xfn, mask: 0xfn }],
    ],
    [
      "have eight bits of conntrack's state",
      [{ field: "ct_state", value: 0x21n, mask: 0xffn }],
      [{ field: "ct_state", value: 0x21n }],
    ],
    [
      "have pairs of registers taken apart",
      [{ field: "xreg2", value: 0x1_0000_0002n, mask: 0xffff_ffff_0000_000fn }],
      [
        { field: "reg4", value: 1n },
        { field: "reg5", value: 2n, mask: 0xfn },
      ],
    ],
    [
      "have only the compared part of a wide register",
      [{ field: "xxreg1", value: 7n << 32n, mask: 0xffn << 32n }],
      [{ field: "reg6", value: 7n, mask: 0xffn }],
    ],
    [
      "join what names the same register twice",
      [
        { field: "reg4", value: 1n, mask: 0xfn },
        { field: "xreg2", value: 0x20n << 32n, mask: 0xf0n << 32n },
      ],
      [{ field: "reg4", value: 0x21n, mask: 0xffn }],
    ],
  ];
  for (const [name, given, expected] of cases) {
    test(name, () => assert.deepStrictEqual(canonicalMatch(given), expected));
  }

  test("keep what they do not know, at the end", () => {
    const unknown = { field: "unknown", header: 0x8000_fe02, bytes: Uint8Array.of(1, 2) } as const;
    assert.deepStrictEqual(canonicalMatch([unknown, { field: "reg0", value: 1n }]), [
      { field: "reg0", value: 1n },
      unknown,
    ]);
  });
});

describe("actions", () => {
  const cases: readonly (readonly [string, Action, Action])[] = [
    [
      "a load of a slice is a set-field with a mask",
      { type: "load", dst: { field: "reg2", offset: 4, bits: 8 }, value: 5n },
      { type: "set_field", field: "reg2", value: 0x50n, mask: 0xff0n },
    ],
    [
      "a load of a whole field is a plain set-field",
      { type: "load", dst: { field: "reg5", offset: 0, bits: 32 }, value: 0xeen },
      { type: "set_field", field: "reg5", value: 0xeen },
    ],
    [
      "what says nothing is left out of controller",
      { type: "controller", maxLen: 0xffff, controllerId: 0, reason: "action" },
      { type: "controller" },
    ],
    [
      "what says nothing is left out of ct",
      { type: "ct", commit: false, zone: 0, table: 255, alg: 0, actions: [] },
      { type: "ct" },
    ],
    [
      "the in-port is the default of resubmit",
      { type: "resubmit", port: 0xffff_fff8, table: 4 },
      { type: "resubmit", table: 4 },
    ],
    [
      "a note is as long as it is sent",
      { type: "note", bytes: Uint8Array.of(1) },
      { type: "note", bytes: Uint8Array.of(1, 0, 0, 0, 0, 0) },
    ],
    [
      "loads are rewritten where they are nested",
      { type: "clone", actions: [{ type: "load", dst: { field: "reg5", offset: 0, bits: 32 }, value: 1n }] },
      { type: "clone", actions: [{ type: "set_field", field: "reg5", value: 1n }] },
    ],
  ];
  for (const [name, given, expected] of cases) {
    test(name, () => assert.deepStrictEqual(canonicalActions([given]), [expected]));
  }
});

test("flows: empty actions, zero timeouts and no flags say nothing; instructions have an order", () => {
  const bare = { table: 1, priority: 2, cookie: 3n, match: [], instructions: [] };
  assert.deepStrictEqual(
    canonicalFlow({
      ...bare,
      instructions: [{ type: "apply_actions", actions: [] }],
      idleTimeout: 0,
      hardTimeout: 0,
      flags: [],
    }),
    bare,
  );
  const [first, second] = canonicalFlow({
    ...bare,
    instructions: [
      { type: "goto_table", table: 4 },
      { type: "apply_actions", actions: [{ type: "output", port: 1 }] },
    ],
  }).instructions;
  assert.deepStrictEqual([first?.type, second?.type], ["apply_actions", "goto_table"]);
});
