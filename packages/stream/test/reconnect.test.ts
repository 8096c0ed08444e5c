import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Reconnect, StreamError, type ReconnectOptions } from "@beyondfabric/stream";

/** Replays a script of `time event` lines and returns `time event -> state action deadline` for each. */
function replay(script: string, options: ReconnectOptions): string {
  const machine = new Reconnect(options);
  const out: string[] = [];
  for (const line of script.trim().split("\n")) {
    const [time, event] = line.trim().split(/\s+/);
    const now = Number(time);
    const step =
      event === "enable"
        ? machine.enable(now)
        : event === "disable"
          ? machine.disable(now)
          : event === "connected"
            ? machine.connected(now)
            : event === "lost"
              ? machine.disconnected(now)
              : event === "received"
                ? (machine.received(now), {})
                : machine.run(now);
    const said = [
      step.action,
      step.reason && `(${step.reason})`,
      step.deadline !== undefined && `until ${step.deadline}`,
    ];
    out.push([now, event, "->", machine.state, ...said.filter(Boolean)].join(" "));
  }
  return out.join("\n");
}

function expect(script: string, options: ReconnectOptions = {}): void {
  const lines = script
    .trim()
    .split("\n")
    .map((line) => line.trim());
  const events = lines.map((line) => line.split(" -> ")[0]).join("\n");
  const fixed = { minBackoffMs: 100, maxBackoffMs: 800, probeIntervalMs: 1000, connectTimeoutMs: 500, random: () => 0 };
  assert.equal(replay(events, { ...fixed, ...options }), lines.join("\n"));
}

void test("the first attempt is at once, delays double up to the limit", () => {
  expect(`
    0 enable -> connecting connect until 500
    10 lost -> backoff until 110
    50 run -> backoff until 110
    110 run -> connecting connect until 610
    110 lost -> backoff until 310
    310 run -> connecting connect until 810
    320 lost -> backoff until 720
    720 run -> connecting connect until 1220
    720 lost -> backoff until 1520
    1520 run -> connecting connect until 2020
    1520 lost -> backoff until 2320`);
});

void test("an attempt that takes too long is given up", () => {
  expect(`
    0 enable -> connecting connect until 500
    499 run -> connecting until 500
    500 run -> backoff disconnect (connect-timeout) until 600
    600 run -> connecting connect until 1100`);
});

void test("a silent peer is probed, then given up; data keeps it", () => {
  expect(`
    0 enable -> connecting connect until 500
    5 connected -> active until 1005
    900 received -> active
    1005 run -> active until 1900
    1900 run -> idle probe until 2900
    2000 run -> idle until 2900
    2500 received -> active
    2900 run -> active until 3500
    3500 run -> idle probe until 4500
    4500 run -> backoff disconnect (silent) until 4600`);
});

void test("without a probe interval there is no deadline while connected", () => {
  expect(
    `
    0 enable -> connecting connect until 500
    5 connected -> active
    99999 run -> active`,
    { probeIntervalMs: 0 },
  );
});

void test("a connection that lasted forgets the delays, one that did not makes them grow", () => {
  expect(`
    0 enable -> connecting connect until 500
    0 lost -> backoff until 100
    100 run -> connecting connect until 600
    100 connected -> active until 1100
    150 lost -> backoff until 350
    350 run -> connecting connect until 850
    350 connected -> active until 1350
    360 lost -> backoff until 760
    760 run -> connecting connect until 1260
    760 connected -> active until 1760
    1200 lost -> backoff until 1300`);
});

void test("disabling disconnects what there is, and a late event changes nothing", () => {
  expect(`
    0 enable -> connecting connect until 500
    5 connected -> active until 1005
    6 disable -> void disconnect (disabled)
    7 lost -> void
    8 connected -> void
    9 run -> void
    10 enable -> connecting connect until 510
    11 disable -> void disconnect (disabled)
    12 disable -> void`);
});

void test("the jitter only shortens a delay", () => {
  expect(
    `
    0 enable -> connecting connect until 500
    0 lost -> backoff until 87.5`,
    { random: () => 0.5 },
  );
});

void test("options that cannot work are refused", () => {
  for (const options of [
    { minBackoffMs: 0 },
    { minBackoffMs: Number.NaN },
    { minBackoffMs: 10, maxBackoffMs: 5 },
    { probeIntervalMs: -1 },
    { connectTimeoutMs: 0 },
  ]) {
    assert.throws(() => new Reconnect(options), StreamError, JSON.stringify(options));
  }
});

void test("whatever happens: attempts never overlap, and unless switched off there is a next moment", () => {
  const events = fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 3000 }),
      fc.constantFrom("connected", "lost", "received", "run", "disable", "enable"),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(events, fc.double({ min: 0, max: 0.999, noNaN: true }), (script, random) => {
      const machine = new Reconnect({
        minBackoffMs: 50,
        maxBackoffMs: 1000,
        probeIntervalMs: 500,
        random: () => random,
      });
      let now = 0;
      let socket = false;
      for (const [delta, event] of script) {
        now += delta;
        // What cannot happen to a real socket: a connection event without an attempt.
        if ((event === "connected" || event === "lost") && !socket) continue;
        if (event === "lost") socket = false;
        const before = machine.state;
        let step: ReturnType<Reconnect["run"]> = {};
        if (event === "received") {
          if (before === "active" || before === "idle") machine.received(now);
          continue;
        } else if (event === "enable") step = machine.enable(now);
        else if (event === "disable") step = machine.disable(now);
        else if (event === "connected") step = machine.connected(now);
        else if (event === "lost") step = machine.disconnected(now);
        else step = machine.run(now);
        if (step.action === "connect") {
          assert.equal(socket, false, "connect while a socket exists");
          socket = true;
        }
        if (step.action === "disconnect") socket = false;
        if (step.action === "probe") assert.equal(before, "active");
        if (machine.state !== "void") assert.ok(step.deadline !== undefined && step.deadline >= now);
      }
    }),
  );
});
