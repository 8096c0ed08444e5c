import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Admission } from "../../src/reactor/admission.ts";

/** How many of these new pairs get an entry at once. */
function admitted(admission: Admission, now: number, pairs: number, name = `at ${now}`): number {
  let count = 0;
  for (let i = 0; i < pairs; i++) if (admission.admits(`${name}, ${i}`, now)) count++;
  return count;
}

describe("admission of new pairs", () => {
  it("lets two seconds' worth in at once, and none of those beyond it", () => {
    const admission = new Admission(10);
    assert.equal(admitted(admission, 0, 100), 20);
    assert.equal(admitted(admission, 50, 100), 0);
    assert.equal(admitted(admission, 1000, 100), 0);
  });

  it("lets every pair in while they come no faster than the rate", () => {
    const admission = new Admission(10);
    for (let now = 0; now < 60_000; now += 101) assert.equal(admitted(admission, now, 1), 1, `at ${now} ms`);
  });

  it("lets pairs in again when there were few of them for two seconds", () => {
    const admission = new Admission(10);
    admitted(admission, 0, 1000);
    assert.equal(admitted(admission, 1900, 1), 0);
    // The one of before was one too many: it counts, too.
    assert.equal(admitted(admission, 2101, 1), 0);
    assert.equal(admitted(admission, 2302, 1), 1);
  });

  it("saves up two seconds' worth, however long it was quiet", () => {
    const admission = new Admission(10);
    assert.equal(admitted(admission, 0, 20), 20);
    assert.equal(admitted(admission, 3_600_000, 100), 20);
  });

  it("lets in whom it sees a second time, without a token", () => {
    const admission = new Admission(10);
    admitted(admission, 0, 20);
    assert.equal(admission.admits("web to db", 0), false);
    assert.equal(admission.admits("web to db", 0), true);
    assert.equal(admission.admits("web to db", 1), true);
    assert.equal(admission.admits("web to cache", 1), false);
  });

  it("remembers a sight for one generation more, and not for ever", () => {
    const busy = new Admission(10);
    admitted(busy, 5000, 20);
    assert.equal(busy.admits("web to db", 5000), false);
    admitted(busy, 10_000, 100);
    assert.equal(busy.admits("web to db", 10_000), true);
    admitted(busy, 15_000, 100);
    assert.equal(busy.admits("web to db", 15_000), false);
  });

  it("remembers no more than two generations of 16384, whoever asks", () => {
    const flooded = new Admission(1);
    admitted(flooded, 1, 2);
    assert.equal(flooded.admits("web to db", 1), false);
    assert.equal(admitted(flooded, 1, 16_384, "first flood"), 0);
    assert.equal(flooded.admits("web to db", 1), true);
    assert.equal(admitted(flooded, 1, 2 * 16_384, "second flood"), 0);
    assert.equal(flooded.admits("web to db", 1), false);
  });

  it("lets single pairs in where the rate is below one", () => {
    const admission = new Admission(0.1);
    assert.equal(admitted(admission, 0, 5), 1);
    assert.equal(admitted(admission, 9000, 5), 0);
    assert.equal(admitted(admission, 22_000, 5), 1);
  });
});
