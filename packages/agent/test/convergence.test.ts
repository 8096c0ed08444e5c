/** Rounds: when they begin, and that they never overlap. A calm request here means never: only an urgent one begins a round. */
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { Convergence } from "../src/convergence.ts";
import { createLogger } from "../src/log.ts";

const never = 600_000;

describe("rounds of convergence", () => {
  let convergence: Convergence;
  afterEach(() => convergence.stop());

  /** A loop of one step, which ends when it is let go; `begun` resolves when the next round begins. */
  function loop(): { rounds: () => number; begun: () => Promise<void>; letGo: () => void } {
    let rounds = 0;
    let begin = Promise.withResolvers<void>();
    let end = Promise.withResolvers<void>();
    convergence = new Convergence({
      steps: [
        {
          name: "only",
          run: () => {
            rounds++;
            begin.resolve();
            begin = Promise.withResolvers();
            return end.promise;
          },
        },
      ],
      ready: () => true,
      delay: () => 1,
      calmDelay: () => never,
      logger: createLogger("silent", "node-1"),
    });
    return {
      rounds: () => rounds,
      begun: () => begin.promise,
      letGo: () => {
        end.resolve();
        end = Promise.withResolvers();
      },
    };
  }

  it("begin soon, whatever was asked for when calm, before or after", async () => {
    const { rounds, begun } = loop();
    const first = begun();
    convergence.whenCalm();
    convergence.soon();
    convergence.whenCalm();
    await first;
    assert.equal(rounds(), 1);
  });

  it("do not overlap: what is asked for meanwhile becomes one more, as soon as the most urgent wants it", async () => {
    const { rounds, begun, letGo } = loop();
    const first = begun();
    convergence.soon();
    await first;
    for (let i = 0; i < 3; i++) {
      convergence.whenCalm();
      convergence.soon();
      convergence.whenCalm();
    }
    assert.equal(rounds(), 1, "a round began while another ran");
    const second = begun();
    letGo();
    await second;
    assert.equal(rounds(), 2);
    letGo();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(rounds(), 2, "several requests were several rounds");
  });

  it("begin no more once it is stopped", async () => {
    const { rounds, begun, letGo } = loop();
    const first = begun();
    convergence.soon();
    await first;
    convergence.soon();
    convergence.stop();
    letGo();
    await new Promise((resolve) => setTimeout(resolve, 50));
    convergence.soon();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(rounds(), 1);
  });
});
