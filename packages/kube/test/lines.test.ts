import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { LineSplitter } from "../src/lines.ts";

describe("LineSplitter", () => {
  it("gives the same lines however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" })), fc.array(fc.nat(30)), (texts, cuts) => {
        const lines = texts.map((text) => text.replaceAll("\n", "¶"));
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
        const splitter = new LineSplitter(1_000_000);
        const seen: string[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          for (const line of splitter.push(bytes.subarray(at, at + cut))) seen.push(line.toString("utf8"));
          at = Math.min(bytes.length, at + cut);
        }
        assert.deepEqual(seen, lines);
        assert.equal(splitter.pending, 0);
      }),
    );
  });

  it("keeps what has no end yet, and refuses what is too long, whole or in pieces", () => {
    const splitter = new LineSplitter(5);
    assert.deepEqual([...splitter.push(Buffer.from("12345\nabc"))].map(String), ["12345"]);
    assert.equal(splitter.pending, 3);
    assert.throws(() => [...splitter.push(Buffer.from("def"))], RangeError);
    assert.throws(() => [...new LineSplitter(5).push(Buffer.from("123456\n"))], RangeError);
    assert.throws(() => {
      const other = new LineSplitter(5);
      for (const byte of "123456") assert.deepEqual([...other.push(Buffer.from(byte))], []);
    }, RangeError);
  });
});
