import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { median, percentile, ratioOfMedians, seededRandom } from "../statistics.ts";

void describe("statistics", () => {
  void it("percentiles interpolate between neighbours and stay within the sample", () => {
    assert.equal(percentile([10, 20, 30, 40, 50], 0.5), 30);
    assert.equal(percentile([10, 20], 0.25), 12.5);
    assert.equal(percentile([7], 0.99), 7);
    assert.ok(Number.isNaN(percentile([], 0.5)));
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (sample, share) => {
          const ascending = [...sample].sort((a, b) => a - b);
          const value = percentile(ascending, share);
          assert.ok(value >= ascending[0]! - 1e-6 && value <= ascending.at(-1)! + 1e-6);
        },
      ),
    );
  });

  void it("the median does not depend on the order of the sample, and leaves it alone", () => {
    const sample = [5, 1, 9, 3];
    assert.equal(median(sample), 4);
    assert.deepEqual(sample, [5, 1, 9, 3]);
  });

  void it("a ratio's interval holds its value, is reproducible, and narrows to a point when nothing varies", () => {
    const estimate = ratioOfMedians([10, 11, 12, 13, 14, 15, 16], [6.5, 5, 8, 7, 5.5, 7.5, 6]);
    assert.equal(estimate.value, 2);
    assert.ok(estimate.low < 2 && estimate.low > 1.2, `low ${estimate.low}`);
    assert.ok(estimate.high > 2 && estimate.high < 3.3, `high ${estimate.high}`);
    assert.deepEqual(estimate, ratioOfMedians([10, 11, 12, 13, 14, 15, 16], [6.5, 5, 8, 7, 5.5, 7.5, 6]));
    assert.deepEqual(ratioOfMedians([3, 3, 3], [2, 2, 2]), { value: 1.5, low: 1.5, high: 1.5 });
  });

  void it("what disturbs a round disturbs both of its runs, and widens the interval of neither", () => {
    const load = [1, 5, 2, 9, 3, 1, 7];
    const estimate = ratioOfMedians(
      load.map((each) => each * 3),
      load,
    );
    assert.ok(Math.abs(estimate.low - 3) < 1e-9 && Math.abs(estimate.high - 3) < 1e-9);
    assert.ok(ratioOfMedians([3, 15, 6, 27, 9, 3], load).high > 3.5);
  });

  void it("nothing against nothing is parity, something against nothing is infinite", () => {
    assert.equal(ratioOfMedians([0, 0, 0], [0, 0, 0]).value, 1);
    assert.equal(ratioOfMedians([1, 1, 1], [0, 0, 0]).value, Number.POSITIVE_INFINITY);
  });

  void it("the seeded source is uniform enough to resample with", () => {
    const random = seededRandom(42);
    const buckets = Array.from({ length: 10 }, () => 0);
    for (let at = 0; at < 100_000; at++) {
      const bucket = Math.floor(random() * 10);
      buckets[bucket] = buckets[bucket]! + 1;
    }
    for (const count of buckets) assert.ok(count > 9_000 && count < 11_000, `bucket of ${count}`);
  });
});
