import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { figuresOf, verdict, type Metric } from "../figures.ts";

const metric: Metric<number> = { title: "latency", unit: "ms", form: "reference/subject", of: (value) => value };
const seven = (value: number) => Array.from({ length: 7 }, (_, at) => value + at / 100);

void describe("figures", () => {
  void it("turn the ratio as their form says", () => {
    const subject = { name: "ours", results: seven(1) };
    const reference = { name: "theirs", results: seven(2) };
    const [better] = figuresOf("s", [metric], subject, reference);
    assert.ok(better!.value.value > 1.9 && better!.value.value < 2.1);
    const [share] = figuresOf("s", [{ ...metric, form: "subject/reference" }], subject, reference);
    assert.ok(share!.value.value > 0.49 && share!.value.value < 0.53);
    assert.equal(better!.incomplete, false);
  });

  void it("without a reference give the median and the span of the runs", () => {
    const [figure] = figuresOf("s", [{ ...metric, form: "subject" }], { name: "ours", results: [3, 1, 2] });
    assert.deepEqual(figure!.value, { value: 2, low: 1, high: 3 });
    assert.equal(figure!.reference, undefined);
    assert.equal(figure!.incomplete, true);
  });

  void it("meet a goal only with their whole interval", () => {
    const goal = { bound: "at least", value: 1 } as const;
    const judged = (subject: number[], reference: number[]) =>
      verdict(
        figuresOf("s", [{ ...metric, goal }], { name: "a", results: subject }, { name: "b", results: reference })[0]!,
      );
    assert.equal(judged(seven(1), seven(2)), "met");
    assert.equal(judged(seven(2), seven(1)), "missed");
    assert.equal(judged([1, 2, 3, 1, 2, 3, 2], [2, 3, 1, 2, 3, 1, 2]), "within noise");
    const [plain] = figuresOf("s", [metric], { name: "a", results: [1] });
    assert.equal(verdict(plain!), "no goal");
  });

  void it("judge bounds from above the other way round", () => {
    const goal = { bound: "at most", value: 1.2 } as const;
    const results = { name: "a", results: seven(1) };
    const [figure] = figuresOf("s", [{ ...metric, form: "subject/reference", goal }], results, results);
    assert.equal(figure!.value.value, 1);
    assert.equal(verdict(figure!), "met");
    assert.equal(verdict({ ...figure!, value: { value: 2, low: 1.9, high: 2.1 } }), "missed");
  });
});
