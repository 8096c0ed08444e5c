import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import * as fc from "fast-check";
import { OperationQueue } from "../src/operation-queue.ts";

describe("order of operations", () => {
  it("never two of one container, never anything beside an exclusive one, never above the limit, all in order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            container: fc.constantFrom("a", "b", "c", "d", undefined),
            turns: fc.nat(3),
            fails: fc.boolean(),
          }),
          {
            maxLength: 40,
          },
        ),
        fc.integer({ min: 1, max: 4 }),
        async (operations, limit) => {
          const queue = new OperationQueue(limit);
          const running = new Map<number, string | undefined>();
          const begun: number[] = [];
          const outcomes = await Promise.allSettled(
            operations.map(({ container, turns, fails }, index) => {
              const work = async () => {
                const beside = [...running.values()];
                if (container === undefined) assert.equal(beside.length, 0);
                else assert.ok(!beside.includes(container) && !beside.includes(undefined));
                running.set(index, container);
                begun.push(index);
                assert.ok(running.size <= limit);
                for (let count = 0; count < turns; count++) await turn();
                running.delete(index);
                if (fails) throw new Error("fails");
                return index;
              };
              return container === undefined ? queue.exclusive(work) : queue.forContainer(container, work);
            }),
          );
          operations.forEach(({ fails }, index) => {
            const outcome = outcomes[index]!;
            if (fails) assert.match(String(outcome.status === "rejected" && outcome.reason), /fails/);
            else assert.ok(outcome.status === "fulfilled" && outcome.value === index);
          });
          for (const name of ["a", "b", "c", "d", undefined]) {
            const mine = begun.filter((index) => operations[index]!.container === name);
            assert.deepEqual(
              mine,
              mine.toSorted((a, b) => a - b),
            );
          }
          assert.equal(queue.running + queue.waiting, 0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
