import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { JsonFramer, OvsdbError, type JsonObject } from "@beyondfabric/ovsdb";
import { RpcSession } from "../src/json-rpc.ts";

function frame(chunks: readonly Uint8Array[], maxMessageBytes?: number): JsonObject[] {
  const messages: JsonObject[] = [];
  const framer = new JsonFramer(
    (message) => messages.push(message),
    maxMessageBytes === undefined ? {} : { maxMessageBytes },
  );
  for (const chunk of chunks) framer.push(Buffer.from(chunk));
  return messages;
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const points = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  const chunks = [...points, bytes.length].map((to) => {
    const chunk = bytes.subarray(from, to);
    from = to;
    return chunk;
  });
  return chunks;
}

void test("any messages, any spacing, cut anywhere, come out as they went in", () => {
  const message = fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 4, stringUnit: "binary" }));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(message, fc.constantFrom("", " ", "\n", "\r\n\t ")), { maxLength: 8 }),
      fc.array(fc.nat(4000), { maxLength: 20 }),
      (parts, cuts) => {
        const texts = parts.map(([value, space]) => JSON.stringify(value) + space);
        const messages = frame(split(Buffer.from(texts.join("")), cuts));
        assert.deepStrictEqual(
          messages,
          texts.map((text) => JSON.parse(text) as JsonObject),
        );
      },
    ),
    { numRuns: 400 },
  );
});

void test("a character cut in two, an escaped quote, a bracket in a string", () => {
  const text = JSON.stringify({ a: '"]}\\"', "€ü𝄞{[": "\\" });
  const bytes = Buffer.from(text);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.deepEqual(frame([bytes.subarray(0, cut), bytes.subarray(cut)]), [JSON.parse(text)]);
  }
  assert.deepEqual(frame(Array.from(bytes, (byte) => Buffer.of(byte))), [JSON.parse(text)]);
});

void test("bytes that are no JSON are refused, never anything worse", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .string({ maxLength: 200, unit: fc.constantFrom("{", "}", "[", "]", '"', "\\", ":", ",", "1", " ", "a") })
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(200), { maxLength: 5 }), (input, cuts) => {
      try {
        for (const message of frame(split(Buffer.from(input), cuts))) assert.equal(typeof message, "object");
      } catch (error) {
        assert.ok(error instanceof OvsdbError && error.code === "OVSDB_PROTOCOL", String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

void test("the size and the depth of a message are bounded", () => {
  const protocol = (pattern: RegExp) => (error: unknown) =>
    error instanceof OvsdbError && error.code === "OVSDB_PROTOCOL" && pattern.test(error.message);
  const long = Buffer.from(JSON.stringify({ a: "x".repeat(1000) }));
  assert.throws(() => frame([long], 1000), protocol(/longer than 1000 bytes/));
  assert.throws(
    () => frame([long.subarray(0, 600), long.subarray(600, 1005)], 1000),
    protocol(/longer than 1000 bytes/),
  );
  assert.equal(frame([long.subarray(0, 5), long.subarray(5)], long.length).length, 1);
  const deep = `{"a":${"[".repeat(63)}${"]".repeat(63)}}`;
  assert.equal(frame([Buffer.from(deep)]).length, 1);
  assert.throws(() => frame([Buffer.from(`{"a":${"[".repeat(64)}`)]), protocol(/deeper than 64/));
  assert.throws(() => frame([Buffer.from("[]")]), protocol(/expected a JSON object/));
  assert.throws(() => frame([Buffer.from("{]")]), protocol(/malformed JSON/));
  assert.throws(() => frame([Buffer.from('{"a":"\xff"}', "latin1")]), protocol(/not UTF-8/));
});

function session(): { sent: JsonObject[]; notes: unknown[]; rpc: RpcSession } {
  const sent: JsonObject[] = [];
  const notes: unknown[] = [];
  const rpc = new RpcSession({
    send: (text) => sent.push(JSON.parse(text) as JsonObject),
    onNotification: (method, params) => notes.push([method, params]),
  });
  return { sent, notes, rpc };
}

void test("replies find their requests, out of order; the rest of the dialogue is answered", () => {
  const { sent, notes, rpc } = session();
  const replies: unknown[] = [];
  rpc.call("a", [1], 5000, (error, result) => replies.push(["a", error?.message, result]));
  rpc.call("b", [], 5000, (error, result) => replies.push(["b", error?.message, result]));
  rpc.receive({ id: sent[1]!["id"], error: { error: "no", details: "because" }, result: null });
  rpc.receive({ id: sent[0]!["id"], error: null, result: [7] });
  rpc.receive({ id: sent[0]!["id"], error: null, result: "twice" });
  assert.deepEqual(replies, [
    ["b", "ovsdb-server refused b: no: because", undefined],
    ["a", undefined, [7]],
  ]);
  rpc.receive({ method: "echo", params: ["x"], id: "e" });
  rpc.receive({ method: "steal", params: [], id: 9 });
  rpc.receive({ method: "locked", params: ["l"], id: null });
  assert.deepEqual(sent.slice(2), [
    { id: "e", result: ["x"], error: null },
    { id: 9, result: null, error: "unknown method" },
  ]);
  assert.deepEqual(notes, [["locked", ["l"]]]);
  for (const wrong of [{}, { id: 1 }, { result: 1 }, { method: "update" }, { method: "update", params: {} }]) {
    assert.throws(() => rpc.receive(wrong), OvsdbError, JSON.stringify(wrong));
  }
});

void test("the end of the connection answers what is open, exactly once", async () => {
  const { rpc } = session();
  const errors: (string | undefined)[] = [];
  rpc.call("slow", [], 10, (error) => errors.push(error?.code));
  await new Promise((resolve) => setTimeout(resolve, 40));
  rpc.call("open", [], 5000, (error) => errors.push(error?.message));
  rpc.end((method) => new OvsdbError("OVSDB_DISCONNECTED", `gone: ${method}`));
  rpc.end(() => new OvsdbError("OVSDB_DISCONNECTED", "again"));
  assert.deepEqual(errors, ["OVSDB_TIMEOUT", "gone: open"]);
  assert.throws(() => rpc.call("late", [], 1, () => {}), /was not sent/);
  const many = session().rpc;
  for (let i = 0; i < 4096; i++) many.call("x", [], 5000, () => {});
  assert.throws(
    () => many.call("x", [], 5000, () => {}),
    (error) => error instanceof OvsdbError && error.code === "OVSDB_OVERFLOW",
  );
  many.end(() => new OvsdbError("OVSDB_DISCONNECTED", "done"));
});
