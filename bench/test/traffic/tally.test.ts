import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Tally } from "../../traffic/tally.ts";

function arrival(
  flow: number,
  index: number,
  latencyMilliseconds: number,
): [{ sequence: number; flow: number; index: number; sentAt: number }, number] {
  return [{ sequence: 0, flow, index, sentAt: 1e9 }, 1e9 + latencyMilliseconds * 1e6];
}

void describe("the tally", () => {
  void it("loss, duplicates, reordering and the two kinds of latency are told apart", () => {
    const tally = new Tally(3, 3);
    tally.record(...arrival(0, 0, 2));
    tally.record(...arrival(0, 2, 4));
    tally.record(...arrival(0, 1, 5));
    tally.record(...arrival(0, 1, 6));
    tally.record(...arrival(1, 0, 3));
    const summary = tally.summary();
    assert.equal(summary.received, 4);
    assert.equal(summary.duplicates, 1);
    assert.equal(summary.reordered, 1);
    assert.equal(summary.first.count, 2);
    assert.equal(summary.first.p50, 2.5);
    assert.equal(summary.later.count, 2);
    assert.equal(summary.later.max, 5);
    assert.equal(summary.lastArrival, 1e9 + 5e6);
  });

  void it("packets that the plan does not have are counted apart and harm nothing", () => {
    const tally = new Tally(2, 1);
    tally.record(...arrival(2, 0, 1));
    tally.record(...arrival(0, 1, 1));
    tally.record(...arrival(0xffffffff, 0xffffffff, 1));
    assert.equal(tally.foreign, 3);
    assert.equal(tally.received, 0);
    assert.deepEqual(tally.summary().first, { count: 0, p50: 0, p90: 0, p99: 0, max: 0 });
  });

  void it("a clock difference below zero counts as an instant delivery, not as a loss", () => {
    const tally = new Tally(1, 1);
    tally.record(...arrival(0, 0, -0.001));
    tally.record(...arrival(0, 0, 1));
    const summary = tally.summary();
    assert.equal(summary.received, 1);
    assert.equal(summary.duplicates, 1);
    assert.equal(summary.first.max, 0);
  });
});
