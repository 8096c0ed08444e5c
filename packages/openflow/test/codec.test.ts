import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeMessage, encodeMessage, formatInstructions, formatMatch, readHeader } from "../src/index.ts";
import { printByTool, readGoldens } from "./golden.ts";
import { sampleFlows } from "./sample-flows.ts";
import { sampleMessages } from "./sample-messages.ts";

const goldens = readGoldens();

describe("golden frames", () => {
  test("are those of the samples", () => {
    const names = [...sampleMessages.map(({ name }) => name), ...sampleFlows.map(({ name }) => `flow-mod: ${name}`)];
    assert.deepStrictEqual(
      goldens.map(({ name }) => name),
      names,
    );
    for (const [index, { message }] of sampleMessages.entries()) {
      const { name, frame } = goldens[index]!;
      assert.equal(encodeMessage(message, index + 1).toString("hex"), frame.toString("hex"), name);
      assert.deepStrictEqual(decodeMessage(frame), message, name);
    }
  });

  test("decode and encode to the same bytes", () => {
    for (const { name, frame } of goldens) {
      const { xid, length } = readHeader(frame)!;
      assert.equal(length, frame.length);
      assert.equal(encodeMessage(decodeMessage(frame), xid).toString("hex"), frame.toString("hex"), name);
    }
  });

  test("say the same to ovs-ofctl as when they were written down", () => {
    const printed = printByTool(goldens.map(({ frame }) => frame));
    for (const [index, { name, text }] of goldens.entries()) assert.equal(printed[index], text, name);
  });

  test("of entries are printed as ovs-ofctl prints them", () => {
    let compared = 0;
    for (const { name, frame, text } of goldens) {
      const message = decodeMessage(frame);
      if (message.type !== "flow_mod" || message.command !== "add" || name.includes("tun_gbp_flags")) continue;
      const parts =
        /ADD (?:table:\d+ )?(.*?)(?: ?cookie:\S+)?(?: ?idle:\d+)?(?: ?hard:\d+)?(?: ?send_flow_rem no_packet_counts no_byte_counts)? ?actions=(.*)$/.exec(
          text,
        );
      assert.ok(parts !== null, text);
      const match = parts[1]!.replace(/^priority=\d+,?/, "");
      assert.equal(formatMatch(message.flow.match), match, name);
      // Loads of the extension print alike; what an action set holds is the tool's own order.
      assert.equal(formatInstructions(message.flow.instructions), parts[2], name);
      compared++;
    }
    assert.ok(compared > 400);
  });
});

describe("frames of other versions and unknown kinds", () => {
  test("hello without a bitmap speaks everything up to its version", () => {
    assert.deepStrictEqual(decodeMessage(Buffer.from("0400000800000001", "hex")), {
      type: "hello",
      versions: [1, 2, 3, 4],
    });
  });

  test("a message of another version is kept, not interpreted", () => {
    const frame = Buffer.from("040e000c0000000101020304", "hex");
    const message = decodeMessage(frame);
    assert.deepStrictEqual(message, { type: "unknown", version: 4, code: 14, bytes: Uint8Array.of(1, 2, 3, 4) });
    assert.deepStrictEqual(encodeMessage(message, 1), frame);
  });

  test("an unknown experimenter message is kept whole", () => {
    const frame = Buffer.from("06040014000000010000232000000063deadbeef", "hex");
    assert.deepStrictEqual(encodeMessage(decodeMessage(frame), 1), frame);
  });

  test("an unknown action, instruction, field and property survive", () => {
    const unknownField = "8000fe02abcd";
    const unknownExperimenterField = "ffff02080000abcd01020304";
    const match = `0001${(4 + 6 + 12).toString(16).padStart(4, "0")}${unknownField}${unknownExperimenterField}0000`;
    const action = "00fe0008deadbeef";
    const experimenterAction = "ffff0010000023200063000000000000";
    const foreignAction = "ffff0010000000990001020304050607";
    const apply = `0004003000000000${action}${experimenterAction}${foreignAction}`;
    const instruction = "00770008cafebabe";
    const head = `${"0".repeat(32)}0000000000008000${"ffffffff".repeat(3)}00000000`;
    const body = `${head}${match}${apply}${instruction}`;
    const size = 8 + body.length / 2;
    const frame = Buffer.from(`060e${size.toString(16).padStart(4, "0")}00000001${body}`, "hex");
    const message = decodeMessage(frame);
    assert.ok(message.type === "flow_mod");
    assert.deepStrictEqual(
      message.flow.match.map(({ field }) => field),
      ["unknown", "unknown"],
    );
    const [first, second] = message.flow.instructions;
    assert.ok(first?.type === "apply_actions");
    assert.deepStrictEqual(
      first.actions.map(({ type }) => type),
      ["unknown", "unknown", "unknown"],
    );
    assert.equal(second?.type, "unknown");
    assert.deepStrictEqual(encodeMessage(message, 1).toString("hex"), frame.toString("hex"));
  });
});

describe("what has no encoding is refused", () => {
  const flow = { table: 0, priority: 1, cookie: 0n, match: [], instructions: [] };
  const refused: readonly (readonly [string, Parameters<typeof encodeMessage>[0]])[] = [
    [
      "a value wider than its field",
      { type: "flow_mod", command: "add", flow: { ...flow, match: [{ field: "ip_proto", value: 256n }] } },
    ],
    [
      "a negative value",
      { type: "flow_mod", command: "add", flow: { ...flow, match: [{ field: "reg0", value: -1n }] } },
    ],
    ["a priority of 17 bits", { type: "flow_mod", command: "add", flow: { ...flow, priority: 65_536 } }],
    ["a fractional table", { type: "flow_mod", command: "add", flow: { ...flow, table: 1.5 } }],
    [
      "a load that does not fit",
      {
        type: "packet_out",
        match: [],
        actions: [{ type: "load", dst: { field: "reg0", offset: 0, bits: 4 }, value: 16n }],
        packet: new Uint8Array(),
      },
    ],
    [
      "a slice outside of its field",
      {
        type: "packet_out",
        match: [],
        actions: [{ type: "stack_push", src: { field: "reg0", offset: 30, bits: 4 } }],
        packet: new Uint8Array(),
      },
    ],
    [
      "a load of the port that may only be matched",
      {
        type: "packet_out",
        match: [],
        actions: [{ type: "load", dst: { field: "in_port", offset: 0, bits: 16 }, value: 0n }],
        packet: new Uint8Array(),
      },
    ],
    ["a frame of more than 65535 bytes", { type: "echo_request", data: new Uint8Array(65_536) }],
  ];
  for (const [name, message] of refused) {
    test(name, () => {
      assert.throws(() => encodeMessage(message, 1), { name: "OpenFlowEncodeError", code: "OPENFLOW_BAD_VALUE" });
    });
  }
});

test("decoded bytes do not change with the frame's buffer", () => {
  const frame = encodeMessage({ type: "echo_request", data: Uint8Array.of(1, 2, 3) }, 1);
  const message = decodeMessage(frame);
  frame.fill(0);
  assert.deepStrictEqual(message, { type: "echo_request", data: Uint8Array.of(1, 2, 3) });
});
