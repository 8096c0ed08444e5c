import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { monotonicNow, removeTimerSlack, sleepUntil } from "../../traffic/libc.ts";
import { Pacer } from "../../traffic/pacing.ts";
import { percentile } from "../../statistics.ts";

void describe("pacing", () => {
  void it("a pacer is never early and reports by how much it was late, on a scripted clock", () => {
    let time = 1000;
    const overshoot = [0, 50, 700];
    const pacer = new Pacer({
      now: () => time,
      sleepUntil: (until) => {
        time = until + overshoot.shift()!;
      },
    });
    assert.equal(pacer.isDue(1e-6), false);
    assert.equal(pacer.waitFor(1e-6), 0);
    assert.equal(pacer.waitFor(2e-6), 50);
    assert.equal(pacer.waitFor(3e-6), 700);
    // What became due during a late wake-up does not wait.
    assert.equal(pacer.isDue(3.5e-6), true);
    assert.equal(pacer.waitFor(3.5e-6), 200);
  });

  void it("a sleep that a signal cuts short is resumed", () => {
    let time = 0;
    let sleeps = 0;
    const pacer = new Pacer({
      now: () => time,
      sleepUntil: (until) => {
        sleeps += 1;
        time = sleeps < 3 ? until / 2 : until;
      },
    });
    assert.equal(pacer.waitFor(1), 0);
    assert.equal(sleeps, 3);
  });

  void it("on the real clock no wake-up is early, and half of 500 are late by no more than a loaded machine explains", () => {
    removeTimerSlack();
    const pacer = new Pacer({ now: monotonicNow, sleepUntil });
    const late: number[] = [];
    for (let at = 0; at < 500; at++) late.push(pacer.waitFor(at / 2000));
    late.sort((a, b) => a - b);
    assert.ok(late[0]! >= 0, "never early");
    assert.ok(percentile(late, 0.5) < 100e6, `median ${percentile(late, 0.5)} ns`);
  });
});
