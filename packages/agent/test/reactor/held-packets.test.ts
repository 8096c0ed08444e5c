import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { HeldPackets, type HeldPacket } from "../../src/reactor/held-packets.ts";

function packet(port: number, since: number): HeldPacket {
  return {
    frame: Buffer.alloc(0),
    question: { from: "pod", source: "10.244.1.5", destination: "10.244.2.5" },
    port,
    since,
  };
}

describe("held packets", () => {
  it("come out oldest first with what they waited for, and only once", () => {
    const held = new HeldPackets(8, 1000);
    const [first, second, other] = [packet(1, 0), packet(2, 1), packet(1, 2)];
    for (const each of [first, second]) assert.ok(held.add("10.244.2.5", each));
    assert.ok(held.add("10.244.2.6", other));
    assert.deepEqual(held.take(["10.244.2.7"]), []);
    assert.deepEqual(held.take(["10.244.2.5", "10.244.2.5"]), [first, second]);
    assert.deepEqual(held.take(["10.244.2.5"]), []);
    assert.equal(held.size, 1);
    assert.deepEqual(held.takeAll(), [other]);
    assert.equal(held.size, 0);
  });

  it("are bounded for each port by itself, and a place that is left is free again", () => {
    const held = new HeldPackets(2, 1000);
    assert.ok(held.add("a", packet(1, 0)));
    assert.ok(held.add("b", packet(1, 0)));
    assert.equal(held.add("c", packet(1, 0)), false);
    assert.ok(held.add("c", packet(2, 0)));
    assert.equal(held.take(["a"]).length, 1);
    assert.ok(held.add("c", packet(1, 0)));
    assert.equal(held.add("c", packet(1, 0)), false);
    assert.equal(held.clear(), 3);
    assert.ok(held.add("c", packet(1, 0)));
  });

  it("expire when their time is over, not earlier, and it is said what did not come", () => {
    const held = new HeldPackets(2, 1000);
    held.add("a", packet(1, 0));
    held.add("a", packet(1, 400));
    held.add("b", packet(2, 0));
    assert.deepEqual(held.expire(999), []);
    assert.deepEqual(held.expire(1000), [
      { waitingFor: "a", packets: 1 },
      { waitingFor: "b", packets: 1 },
    ]);
    assert.equal(held.size, 1);
    assert.ok(held.add("a", packet(1, 1000)));
    assert.equal(held.add("a", packet(1, 1000)), false);
    assert.deepEqual(held.expire(1400), [{ waitingFor: "a", packets: 1 }]);
    assert.deepEqual(
      held.take(["a"]).map(({ since }) => since),
      [1000],
    );
  });

  it("are those of a list, in any order of events", () => {
    const step = fc.oneof(
      fc.record({ step: fc.constant("add" as const), on: fc.constantFrom("a", "b"), port: fc.nat({ max: 1 }) }),
      fc.record({ step: fc.constant("take" as const), on: fc.constantFrom("a", "b") }),
      fc.record({ step: fc.constant("expire" as const), later: fc.nat({ max: 6 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const held = new HeldPackets(3, 5);
        let list: { on: string; packet: HeldPacket }[] = [];
        let now = 0;
        for (const each of steps) {
          if (each.step === "add") {
            const fits = list.filter((entry) => entry.packet.port === each.port).length < 3;
            const added = packet(each.port, now);
            assert.equal(held.add(each.on, added), fits);
            if (fits) list.push({ on: each.on, packet: added });
          } else if (each.step === "take") {
            const expected = list.filter(({ on }) => on === each.on).map((entry) => entry.packet);
            assert.deepEqual(held.take([each.on]), expected);
            list = list.filter(({ on }) => on !== each.on);
          } else {
            now += each.later;
            const late = list.filter((entry) => now - entry.packet.since >= 5);
            const expired = held.expire(now).reduce((sum, { packets }) => sum + packets, 0);
            assert.equal(expired, late.length);
            list = list.filter((entry) => !late.includes(entry));
          }
          assert.equal(held.size, list.length);
        }
      }),
    );
  });
});
