import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Backoff } from "../src/index.ts";
import { KubeApiError, KubeError } from "../src/errors.ts";
import { Resumption, type Step } from "../src/resumption.ts";
import { retryDelay } from "../src/retry.ts";

function resumption(random = 0.5): Resumption {
  return new Resumption(new Backoff({ random: () => random }));
}

const gone = new KubeApiError("watch things", 410, "Expired", "too old");
const reset = new KubeError("KUBE_UNREACHABLE", "reset");
const nonsense = new KubeError("KUBE_PROTOCOL", "no JSON");

describe("Backoff", () => {
  it("waits between 0.2 s and a ceiling that doubles up to 30 s", () => {
    const low = new Backoff({ random: () => 0 });
    const high = new Backoff({ random: () => 1 });
    const lows = Array.from({ length: 12 }, () => low.next());
    const highs = Array.from({ length: 12 }, () => high.next());
    assert.ok(lows.every((delay) => delay === 200));
    assert.deepEqual(highs, [400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000, 30_000]);
    high.reset();
    assert.equal(high.next(), 400);
  });

  it("stays within its bounds, whatever they are", () => {
    fc.assert(
      fc.property(
        fc.nat(100_000),
        fc.nat(100_000),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (minimum, maximum, random) => {
          const backoff = new Backoff({ minimum, maximum, random: () => random });
          for (let attempt = 0; attempt < 40; attempt++) {
            const delay = backoff.next();
            assert.ok(delay >= minimum && delay <= Math.max(minimum, maximum), String(delay));
          }
        },
      ),
    );
  });

  it("waits by its clock, as long as was asked if that is longer", async () => {
    const waits: number[] = [];
    const clock = {
      now: () => 0,
      wait: (milliseconds: number) => {
        waits.push(milliseconds);
        return Promise.resolve();
      },
    };
    const backoff = new Backoff({ clock, random: () => 0 });
    await backoff.wait(new AbortController().signal);
    await backoff.wait(new AbortController().signal, 5000);
    assert.deepEqual(waits, [200, 5000]);
  });
});

describe("Resumption", () => {
  it("begins with a list in pages, then watches from its version", () => {
    const machine = resumption();
    assert.deepEqual(machine.begin(), { action: "list", delay: 0, paged: true });
    assert.deepEqual(machine.listed("7"), { action: "watch", delay: 0, version: "7" });
  });

  it("opens the next watch at once after one that ended well, from where it came to", () => {
    const machine = resumption();
    machine.listed("7");
    machine.watchOpened(1000);
    machine.progressed("9");
    assert.deepEqual(machine.watchEnded(undefined, 1001), { action: "watch", delay: 0, version: "9" });
    machine.watchOpened(2000);
    assert.deepEqual(
      machine.watchEnded(undefined, 12_000),
      { action: "watch", delay: 0, version: "9" },
      "a quiet one too",
    );
  });

  it("waits longer and longer for a server that ends watches as soon as they are open", () => {
    const machine = resumption(1);
    machine.listed("7");
    const delays = [0, 1, 2, 3].map((now) => {
      machine.watchOpened(now);
      return machine.watchEnded(undefined, now + 1).delay;
    });
    assert.deepEqual(delays, [400, 800, 1600, 3200]);
  });

  it("goes on from the same version after a reset, and waits longer only while nothing gets better", () => {
    const machine = resumption(1);
    machine.listed("7");
    assert.deepEqual(machine.watchEnded(reset, 0), { action: "watch", delay: 400, version: "7" });
    assert.deepEqual(machine.watchEnded(reset, 0), { action: "watch", delay: 800, version: "7" });
    machine.watchOpened(0);
    machine.progressed("8");
    assert.deepEqual(machine.watchEnded(reset, 1), { action: "watch", delay: 400, version: "8" });
  });

  it("lists anew at once after 410 on a watch that worked, and waits when nothing but 410 comes", () => {
    const machine = resumption(1);
    machine.listed("7");
    machine.watchOpened(0);
    machine.progressed("8");
    assert.deepEqual(machine.watchEnded(gone, 1), { action: "list", delay: 0, paged: true });
    const delays: number[] = [];
    for (let round = 0; round < 3; round++) {
      machine.listed(String(10 + round));
      const step = machine.watchEnded(gone, 5);
      assert.equal(step.action, "list");
      delays.push(step.delay);
    }
    assert.deepEqual(delays, [400, 800, 1600]);
  });

  it("lists in one piece after a list whose pages were gone, until one succeeds", () => {
    const machine = resumption();
    assert.deepEqual(machine.listFailed(gone), { action: "list", delay: 300, paged: false });
    assert.equal((machine.listFailed(reset) as { paged: boolean }).paged, false);
    machine.listed("7");
    const anew = machine.watchEnded(gone, 0);
    assert.equal(anew.action === "list" && anew.paged, true);
  });

  it("lists anew when the version is of no use, and not when the server has other troubles", () => {
    const tooLarge = new KubeApiError("w", 504, "Timeout", "Too large resource version", undefined, {
      causes: [{ reason: "ResourceVersionTooLarge" }],
    });
    const cases: readonly [unknown, Step["action"]][] = [
      [gone, "list"],
      [new KubeApiError("w", 500, "Expired", ""), "list"],
      [tooLarge, "list"],
      [new KubeApiError("w", 400, "BadRequest", "invalid resource version"), "list"],
      [new KubeApiError("w", 404, "NotFound", ""), "list"],
      [nonsense, "list"],
      [new KubeApiError("w", 504, "Timeout", ""), "watch"],
      [new KubeApiError("w", 500, "InternalError", ""), "watch"],
      [new KubeApiError("w", 429, "TooManyRequests", ""), "watch"],
      [new KubeApiError("w", 401, "Unauthorized", ""), "watch"],
      [new KubeApiError("w", 403, "Forbidden", ""), "watch"],
      [reset, "watch"],
    ];
    for (const [error, action] of cases) {
      const machine = resumption();
      machine.listed("7");
      const step = machine.watchEnded(error, 0);
      assert.equal(step.action, action, String(error));
      assert.ok(step.delay >= 200);
    }
  });

  it("waits longer and longer when each watch brings the same nonsense after some progress", () => {
    const machine = resumption(1);
    const delays = [0, 1, 2].map(() => {
      machine.listed("7");
      machine.watchOpened(0);
      machine.progressed("8");
      return machine.watchEnded(nonsense, 1).delay;
    });
    assert.deepEqual(delays, [400, 800, 1600]);
  });

  it("waits as long as the server asks", () => {
    const machine = resumption();
    const busy = new KubeApiError("w", 429, "TooManyRequests", "", 7000);
    assert.equal(machine.listFailed(busy).delay, 7000);
    machine.listed("7");
    assert.equal(machine.watchEnded(busy, 0).delay, 7000);
  });
});

describe("retryDelay", () => {
  const refused = (status: number, asked?: number): KubeApiError => new KubeApiError("x", status, "R", "m", asked);

  it("repeats 429 for every method, with the time asked for and some more", () => {
    for (const method of ["GET", "POST", "DELETE"]) {
      const delay = retryDelay(method, refused(429, 2000), 1, 0.5);
      assert.ok(delay !== undefined && delay > 2000 && delay < 3000);
      assert.equal(retryDelay(method, refused(429, 60_000), 1, 0.5), undefined, "that is for whoever asked");
      assert.equal(retryDelay(method, refused(429), 4, 0.5), undefined, "not for ever");
    }
  });

  it("repeats only reading when it is not known what was done", () => {
    assert.notEqual(retryDelay("GET", reset, 1, 0.5), undefined);
    assert.notEqual(retryDelay("GET", refused(503, 1000), 1, 0.5), undefined);
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      assert.equal(retryDelay(method, reset, 1, 0.5), undefined);
      assert.equal(retryDelay(method, refused(503, 1000), 1, 0.5), undefined);
    }
    for (const status of [400, 401, 403, 404, 409, 410, 422, 500]) {
      assert.equal(retryDelay("GET", refused(status), 1, 0.5), undefined);
    }
    assert.equal(retryDelay("GET", nonsense, 1, 0.5), undefined);
    assert.equal(retryDelay("GET", new Error("anything"), 1, 0.5), undefined);
  });
});
