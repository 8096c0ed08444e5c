import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { WriteQueue, type WriteClass } from "../../src/reactor/write-queue.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Turns of the event loop until nothing is queued; the limit is far beyond what any of these tests needs. */
async function drained(queue: WriteQueue): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (queue.size > 0 && Date.now() < deadline) await turn();
  assert.equal(queue.size, 0, "the queue never drained");
}

function recorder(delay: number): { queue: WriteQueue; sent: string[] } {
  const sent: string[] = [];
  return { queue: new WriteQueue((frame) => sent.push(frame.toString()), delay), sent };
}

/** Longer than any test: a grant is sent only in the company of a revocation. */
const never = 3_600_000;

describe("queued writes", () => {
  it("go revocations first, each class in its order", async () => {
    const { queue, sent } = recorder(never);
    for (const key of ["a", "b"]) queue.push(key, Buffer.from(`grant ${key}`), "grant");
    for (const key of ["c", "d"]) queue.push(key, Buffer.from(`revoke ${key}`), "revocation");
    assert.equal(queue.size, 4);
    assert.deepEqual(sent, []);
    await drained(queue);
    assert.deepEqual(sent, ["revoke c", "revoke d", "grant a", "grant b"]);
  });

  it("go by themselves when they are grants and time has passed", async () => {
    const { queue, sent } = recorder(1);
    queue.push("a", Buffer.from("grant a"), "grant");
    await drained(queue);
    assert.deepEqual(sent, ["grant a"]);
  });

  it("go 200 in one turn at most, and all of them in the end", async () => {
    const sent: { text: string; turn: number }[] = [];
    let turns = 0;
    const queue = new WriteQueue((frame) => sent.push({ text: frame.toString(), turn: turns }), never);
    for (let i = 0; i < 250; i++) queue.push(`g${i}`, Buffer.from(`g${i}`), "grant");
    for (let i = 0; i < 250; i++) queue.push(`r${i}`, Buffer.from(`r${i}`), "revocation");
    while (queue.size > 0 && turns < 100) {
      await turn();
      turns++;
    }
    const perTurn = Map.groupBy(sent, (each) => each.turn);
    assert.deepEqual(
      [...perTurn.values()].map((each) => each.length),
      [200, 200, 100],
    );
    assert.deepEqual(
      sent.map(({ text }) => text),
      [...Array.from({ length: 250 }, (_, i) => `r${i}`), ...Array.from({ length: 250 }, (_, i) => `g${i}`)],
    );
  });

  it("wait for a switch that is slow, and what changes meanwhile is written once, in its place", async () => {
    const sent: string[] = [];
    let take = (): void => {};
    const taken = (): Promise<void> => new Promise((resolve) => (take = resolve));
    const queue = new WriteQueue((frame) => sent.push(frame.toString()), never, taken);
    queue.push("a", Buffer.from("a1"), "revocation");
    await turn();
    assert.deepEqual(sent.splice(0), ["a1"]);
    for (const text of ["a2", "b1", "a3"]) queue.push(text[0]!, Buffer.from(text), "revocation");
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.deepEqual(sent, [], "nothing goes before the switch has taken what went");
    queue.sendNow("c", Buffer.from("c1"));
    assert.deepEqual(sent.splice(0), ["c1"], "but what may not wait does");
    take();
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.deepEqual(sent, ["a3", "b1"]);
    take();
    await drained(queue);
  });

  it("go on when the switch that should have taken them is gone", async () => {
    const sent: string[] = [];
    let lose: (why: Error) => void = () => {};
    const taken = (): Promise<void> => new Promise((_, reject) => (lose = reject));
    const queue = new WriteQueue((frame) => sent.push(frame.toString()), never, taken);
    queue.push("a", Buffer.from("a"), "revocation");
    await turn();
    const loseFirst = lose;
    queue.clear();
    queue.push("b", Buffer.from("b"), "revocation");
    await turn();
    loseFirst(new Error("the connection ended"));
    queue.push("c", Buffer.from("c"), "revocation");
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.deepEqual(sent, ["a", "b"]);
    lose(new Error("the connection ended"));
    await drained(queue);
    assert.deepEqual(sent, ["a", "b", "c"]);
  });

  it("leave the switch with the latest write about each entry", async () => {
    const kind = fc.constantFrom<WriteClass | "now">("revocation", "grant", "now");
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat({ max: 4 }), kind), { maxLength: 20 }), async (writes) => {
        const atSwitch = new Map<string, string>();
        const latest = new Map<string, string>();
        const queue = new WriteQueue((frame) => {
          const [key, number] = frame.toString().split(" ");
          atSwitch.set(key!, number!);
        }, never);
        for (const [number, [entry, how]] of writes.entries()) {
          const frame = Buffer.from(`${entry} ${number}`);
          if (how === "now") queue.sendNow(String(entry), frame);
          else queue.push(String(entry), frame, how);
          latest.set(String(entry), String(number));
        }
        queue.push("last", Buffer.from("last 0"), "revocation");
        latest.set("last", "0");
        await drained(queue);
        assert.deepEqual(Object.fromEntries(atSwitch), Object.fromEntries(latest));
      }),
      { numRuns: 50 },
    );
  });

  it("are sent once: what is replaced or sent at once is forgotten", async () => {
    const { queue, sent } = recorder(never);
    queue.push("a", Buffer.from("old grant"), "grant");
    queue.push("b", Buffer.from("old revocation"), "revocation");
    queue.sendNow("a", Buffer.from("now a"));
    queue.push("b", Buffer.from("new grant"), "grant");
    queue.push("c", Buffer.from("revoke c"), "revocation");
    await drained(queue);
    assert.deepEqual(sent, ["now a", "revoke c", "new grant"]);
  });

  it("are gone when the queue is cleared, and the queue goes on", async () => {
    const { queue, sent } = recorder(never);
    queue.push("a", Buffer.from("a"), "grant");
    queue.push("b", Buffer.from("b"), "revocation");
    queue.clear();
    assert.equal(queue.size, 0);
    await turn();
    await turn();
    assert.deepEqual(sent, []);
    queue.push("c", Buffer.from("c"), "revocation");
    await drained(queue);
    assert.deepEqual(sent, ["c"]);
  });
});
