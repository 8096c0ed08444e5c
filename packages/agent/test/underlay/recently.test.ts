import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Recently } from "../../src/underlay/recently.ts";

describe("what was said lately", () => {
  it("is news again when its time has passed, and each thing has its own", () => {
    const recently = new Recently(1000);
    assert.deepEqual(
      [0, 999, 1000, 1500].map((now) => recently.isNew("a", now)),
      [true, false, true, false],
    );
    assert.equal(recently.isNew("b", 1500), true);
  });

  it("is bounded", () => {
    const recently = new Recently(1000);
    for (let index = 0; index <= 1024; index++) assert.equal(recently.isNew(`thing ${index}`, 0), true);
    assert.equal(recently.isNew("thing 1024", 1), false);
  });
});
