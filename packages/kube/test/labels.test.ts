import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { LabelPool, LabelSet } from "../src/index.ts";
import { until } from "./observer.ts";

const labels = fc.dictionary(fc.string(), fc.string());

describe("LabelSet", () => {
  it("gives what it was made of, ordered by key", () => {
    fc.assert(
      fc.property(labels, (object) => {
        const set = LabelSet.of(object);
        assert.deepEqual(
          [...set],
          Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)),
        );
        assert.equal(set.size, Object.keys(object).length);
        for (const [key, value] of Object.entries(object)) assert.equal(set.get(key), value);
        assert.equal(set.get("no such key at all"), undefined);
      }),
    );
  });

  it("leaves out what is no text", () => {
    assert.deepEqual([...LabelSet.of({ a: 1, b: "x", c: null, d: ["y"] })], [["b", "x"]]);
    for (const nothing of [undefined, null, {}]) assert.equal(LabelSet.of(nothing), LabelSet.empty);
    assert.equal(JSON.stringify(LabelSet.of({ b: "2", a: "1" })), '{"a":"1","b":"2"}');
    assert.equal(String(LabelSet.of({ b: "2", a: "1" })), "a=1,b=2");
  });
});

describe("LabelPool", () => {
  it("gives the same object for equal sets, and only for those", () => {
    const pool = new LabelPool();
    fc.assert(
      fc.property(labels, labels, (a, b) => {
        const reversed = Object.fromEntries(Object.entries(a).reverse());
        assert.equal(pool.intern(a), pool.intern(reversed));
        const equal = isDeepStrictEqual(new Map(Object.entries(a)), new Map(Object.entries(b)));
        assert.equal(pool.intern(a) === pool.intern(b), equal);
      }),
    );
    assert.notEqual(pool.intern({ a: "1,b=2" }), pool.intern({ a: "1", b: "2" }));
  });

  it("forgets sets that nobody holds", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const pool = new LabelPool();
    const kept = pool.intern({ app: "kept" });
    for (let each = 0; each < 1000; each++) pool.intern({ job: `n${each}` });
    assert.equal(pool.size, 1001);
    await until("the pool has let them go", () => {
      collect();
      return pool.size === 1;
    });
    assert.equal(pool.intern({ app: "kept" }), kept);
  });
});
