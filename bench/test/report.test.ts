import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { figuresOf } from "../figures.ts";
import { readResults, renderReport, significant, type Results } from "../report.ts";

const results: Results = {
  format: 1,
  subject: "ours",
  runs: 7,
  quick: false,
  versions: { node: "26.0.0", openvswitch: "3.1.0" },
  failures: { across: "no cable" },
  figures: [
    ...figuresOf(
      "s",
      [
        {
          title: "p50",
          unit: "ms",
          form: "reference/subject",
          goal: { bound: "at least", value: 1 },
          of: (v: number) => v,
        },
      ],
      { name: "ours", results: [1, 1, 1, 1, 1, 1, 1] },
      { name: "theirs", results: [2, 2, 2, 2, 2, 2, 2] },
    ),
    ...figuresOf("s", [{ title: "loss", unit: "%", form: "subject", of: (v: number) => v }], {
      name: "ours",
      results: [0.5],
    }),
  ],
};

void describe("the report", () => {
  void it("is a Markdown table with interval, goal and what could not be measured", () => {
    const text = renderReport(results);
    assert.match(text, /^\| figure \| value \(interval\) \| compared \| goal \| {2}\|$/m);
    assert.match(text, /^\| p50 \| 2 \(2–2\) \| times better than theirs \| ≥ 1 \| met \|$/m);
    assert.match(text, /^\| loss \| 0\.5 % \(0\.5–0\.5\) \| – \| {2}\| 1 runs only \|$/m);
    assert.match(text, /Not measured: across \(no cable\)\./);
  });

  void it("sets the committed baseline beside every value", () => {
    const text = renderReport(results, { ...results, figures: results.figures.slice(0, 1) });
    assert.match(text, /^\| p50 .* met \| 2 \|$/m);
    assert.match(text, /^\| loss .* \| {2}\|$/m);
  });

  void it("writes numbers with three digits and no exponent", () => {
    assert.equal(significant(1234.5), "1230");
    assert.equal(significant(1), "1");
    assert.equal(significant(0.98765), "0.988");
    assert.equal(significant(0), "0");
    assert.equal(significant(Number.NaN), "–");
    assert.equal(significant(Number.POSITIVE_INFINITY), "∞");
  });

  void it("refuses results of another format", () => {
    const directory = mkdtempSync(join(tmpdir(), "bench-report-"));
    try {
      const path = join(directory, "results.json");
      writeFileSync(path, JSON.stringify({ ...results, format: 2 }));
      assert.throws(() => readResults(path), /format 2 is not 1/);
      writeFileSync(path, JSON.stringify(results));
      assert.equal(renderReport(readResults(path)), renderReport(results));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
