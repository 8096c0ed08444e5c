import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { normal } from "../contenders/normal.ts";
import { alternate, type Bench } from "../harness.ts";
import type { Site } from "../environment/site.ts";

function bench(runs: number, expired: () => boolean = () => false): Bench & { lines: string[] } {
  const lines: string[] = [];
  return {
    // Nothing here builds a network.
    site: undefined as unknown as Site,
    subject: normal,
    contenders: new Map(),
    runs,
    quick: true,
    lines,
    progress: (line) => lines.push(line),
    expired,
  };
}

function contestants(log: string[]) {
  return ["a", "b"].map((name) => ({
    name,
    measure: async () => {
      log.push(name);
      return log.length;
    },
  }));
}

void describe("alternation", () => {
  void it("turns the order round every time, so that a drift falls on both sides alike", async () => {
    const log: string[] = [];
    const runs = await alternate(bench(4), "x", contestants(log), String);
    assert.equal(log.join(""), "ababbaabba");
    assert.deepEqual(runs, [
      { name: "a", results: [3, 6, 7, 10] },
      { name: "b", results: [4, 5, 8, 9] },
    ]);
  });

  void it("stops between rounds when the time is up, with as many results on both sides, and says so", async () => {
    const log: string[] = [];
    const limited = bench(7, () => log.length >= 5);
    const runs = await alternate(limited, "x", contestants(log), String);
    assert.deepEqual(
      runs.map((side) => side.results.length),
      [2, 2],
    );
    assert.match(limited.lines.at(-1)!, /out of time after 2 of 7 rounds/);
  });

  void it("makes the first round at all events", async () => {
    const runs = await alternate(
      bench(7, () => true),
      "x",
      contestants([]),
      String,
    );
    assert.deepEqual(
      runs.map((side) => side.results.length),
      [1, 1],
    );
  });
});
