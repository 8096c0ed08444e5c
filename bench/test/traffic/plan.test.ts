import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  flowAddress,
  liveFlows,
  newFlows,
  packetCount,
  planSeconds,
  returningFlows,
  schedule,
  type PlannedPacket,
  type TrafficPlan,
  type Variation,
} from "../../traffic/plan.ts";

const variation: Variation = { field: "source", base: 0x0a400000, bits: 16, first: 0, scatter: false };

function packets(plan: TrafficPlan): PlannedPacket[] {
  return [...schedule(plan)].map((packet) => ({ ...packet }));
}

/** `schedule` reuses its object: the copies must be taken while iterating. */
function copies(plan: TrafficPlan): PlannedPacket[] {
  const all: PlannedPacket[] = [];
  for (const packet of schedule(plan)) all.push({ ...packet });
  return all;
}

void describe("plans", () => {
  void it("every packet of a new-flow plan opens a flow, evenly spaced", () => {
    const all = copies(newFlows(2000, 0.5, variation));
    assert.equal(all.length, 1000);
    for (const [at, packet] of all.entries()) {
      assert.equal(packet.flow, at);
      assert.equal(packet.index, 0);
      assert.ok(Math.abs(packet.due - at / 2000) < 1e-9);
    }
  });

  void it("any plan sends each packet of each flow once, in order of time, and each flow's packets in their order", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 0.05, noNaN: true }),
        (flows, packetsPerFlow, flowsPerSecond, gap) => {
          const plan: TrafficPlan = { flows, packetsPerFlow, flowsPerSecond, gap, variation };
          const all = copies(plan);
          assert.equal(all.length, packetCount(plan));
          const nextIndex = Array.from({ length: flows }, () => 0);
          let before = 0;
          for (const packet of all) {
            assert.ok(packet.due >= before);
            before = packet.due;
            assert.equal(packet.index, nextIndex[packet.flow]);
            nextIndex[packet.flow] = packet.index + 1;
          }
          assert.ok(Math.abs(before - planSeconds(plan)) < 1e-6);
        },
      ),
    );
  });

  void it("live flows are opened at the rate and each is seen again within flows/rate seconds", () => {
    const plan = liveFlows(100, 1000, 1, variation);
    assert.equal(plan.packetsPerFlow, 10);
    const lastSeen = new Map<number, number>();
    for (const { flow, due } of copies(plan)) {
      const previous = lastSeen.get(flow);
      if (previous !== undefined) assert.ok(due - previous <= 0.1 + 1e-9);
      lastSeen.set(flow, due);
    }
    assert.equal(lastSeen.size, 100);
  });

  void it("returning flows come back once, two seconds later", () => {
    const all = copies(returningFlows(3000, 1000, variation));
    assert.equal(all.length, 6000);
    const opened = new Map<number, number>();
    for (const { flow, index, due } of all) {
      if (index === 0) opened.set(flow, due);
      else assert.ok(Math.abs(due - opened.get(flow)! - 2) < 1e-9);
    }
    assert.equal(opened.size, 3000);
  });

  void it("a scattered prefix is a permutation: random looks, no address twice", () => {
    const scattered: Variation = { ...variation, bits: 10, scatter: true };
    const seen = new Set<number>();
    let neighbours = 0;
    let previous = -2;
    for (let flow = 0; flow < 1024; flow++) {
      const address = flowAddress(scattered, flow);
      assert.equal(address - (address % 1024), scattered.base);
      if (Math.abs(address - previous) === 1) neighbours += 1;
      previous = address;
      seen.add(address);
    }
    assert.equal(seen.size, 1024);
    assert.ok(neighbours < 10, `${neighbours} neighbours in a row`);
  });

  void it("two runs with different first flows share no address", () => {
    const first = new Set(Array.from({ length: 500 }, (_, flow) => flowAddress(variation, flow)));
    const second = { ...variation, first: 500 };
    for (let flow = 0; flow < 500; flow++) assert.ok(!first.has(flowAddress(second, flow)));
  });

  void it("the yielded object is reused, which the generator relies on not to allocate", () => {
    const all = [...schedule(newFlows(10, 1, variation))];
    assert.equal(new Set(all).size, 1);
    assert.equal(packets(newFlows(10, 1, variation)).length, 10);
  });
});
