import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Sightings } from "../../src/reactor/sightings.ts";

const capacity = 64;

describe("sightings", () => {
  it("agree with a set of texts, up to their capacity and after being cleared", () => {
    const step = fc.oneof(
      { weight: 30, arbitrary: fc.string({ maxLength: 3 }) },
      { weight: 1, arbitrary: fc.constant(undefined) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const sightings = new Sightings(capacity);
        const model = new Set<string>();
        for (const text of steps) {
          if (text === undefined) {
            sightings.clear();
            model.clear();
            continue;
          }
          assert.equal(sightings.has(text), model.has(text));
          sightings.add(text);
          if (model.size < capacity) model.add(text);
          assert.equal(sightings.has(text), model.has(text));
          assert.equal(sightings.full, model.size === capacity);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("tell pairs apart that differ in one digit", () => {
    const sightings = new Sightings(16_384);
    const pair = (number: number): string =>
      `pod 10.${(number >> 16) & 0xff}.${(number >> 8) & 0xff}.${number & 0xff} 10.244.1.6`;
    for (let number = 0; number < 16_384; number++) {
      assert.ok(!sightings.has(pair(number)), pair(number));
      sightings.add(pair(number));
    }
    for (let number = 0; number < 16_384; number++) assert.ok(sightings.has(pair(number)), pair(number));
    for (let number = 16_384; number < 200_000; number++) assert.ok(!sightings.has(pair(number)), pair(number));
  });

  it("find their place however full they are", () => {
    const sightings = new Sightings(16_384);
    for (let number = 0; number < 16_384; number++) sightings.add(String(number));
    assert.ok(sightings.full);
    const begun = performance.now();
    for (let number = 16_384; number < 116_384; number++) sightings.has(String(number));
    const each = ((performance.now() - begun) / 100_000) * 1000;
    assert.ok(each < 50, `${each.toFixed(1)} µs a question: the hashes crowd together`);
  });
});
