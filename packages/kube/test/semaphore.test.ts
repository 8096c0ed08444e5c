import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import { Semaphore } from "../src/semaphore.ts";

describe("a semaphore", () => {
  it("lets so many run at once, the others in order, whether they fail or not", async () => {
    const semaphore = new Semaphore(2);
    const begun: number[] = [];
    let running = 0;
    let most = 0;
    const results = await Promise.allSettled(
      Array.from({ length: 9 }, (_, number) =>
        semaphore.run(async () => {
          begun.push(number);
          most = Math.max(most, ++running);
          await turn();
          running--;
          if (number % 3 === 0) throw new Error(String(number));
          return number;
        }),
      ),
    );
    assert.equal(most, 2);
    assert.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert.deepEqual(
      results.map(({ status }) => status),
      Array.from({ length: 9 }, (_, number) => (number % 3 === 0 ? "rejected" : "fulfilled")),
    );
    assert.equal(await semaphore.run(async () => "again"), "again");
  });
});
