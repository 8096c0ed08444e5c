/**
 * The results as a Markdown table, for the README and for people.
 *
 *     node bench/report.ts [RESULTS [BASELINE]]
 *
 * With a baseline, a last column says how each value has moved against it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { verdict, type Figure } from "./figures.ts";

/** What `make bench` writes. */
export interface Results {
  readonly format: 1;
  readonly subject: string;
  readonly runs: number;
  readonly quick: boolean;
  readonly versions: { readonly node: string; readonly openvswitch: string };
  /** Scenarios that ended with an error, and its message. */
  readonly failures: Readonly<Record<string, string>>;
  readonly figures: readonly Figure[];
}

/** Three significant digits, without exponents. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : "∞";
  return String(Number(value.toPrecision(3)));
}

function withUnit(figure: Figure, value: number): string {
  return figure.form === "subject" ? `${significant(value)} ${figure.unit}` : significant(value);
}

function goalText(figure: Figure): string {
  if (figure.goal === undefined) return "";
  return `${figure.goal.bound === "at least" ? "≥" : "≤"} ${withUnit(figure, figure.goal.value)}`;
}

function against(figure: Figure): string {
  if (figure.reference === undefined) return "–";
  return figure.form === "subject/reference"
    ? `× of ${figure.reference.name}`
    : `times better than ${figure.reference.name}`;
}

function baselineText(figure: Figure, baseline: Results | undefined): string {
  const before = baseline?.figures.find((other) => other.scenario === figure.scenario && other.title === figure.title);
  return before === undefined ? "" : withUnit(before, before.value.value);
}

/** Renders results as Markdown. */
export function renderReport(results: Results, baseline?: Results): string {
  const head = ["figure", "value (interval)", "compared", "goal", "", ...(baseline ? ["baseline"] : [])];
  const lines = [`| ${head.join(" | ")} |`, `|${head.map(() => "---|").join("")}`];
  for (const figure of results.figures) {
    const { value, low, high } = figure.value;
    const outcome = verdict(figure);
    const cells = [
      figure.title,
      `${withUnit(figure, value)} (${significant(low)}–${significant(high)})`,
      against(figure),
      goalText(figure),
      [outcome === "no goal" ? "" : outcome, figure.incomplete ? `${figure.subject.samples.length} runs only` : ""]
        .filter(Boolean)
        .join(", "),
    ];
    if (baseline) cells.push(baselineText(figure, baseline));
    lines.push(`| ${cells.join(" | ")} |`);
  }
  const notes = [
    "",
    `Medians of ${results.runs} alternating runs (\`scale\`: one reading); a ratio's interval is a 95 % bootstrap, an absolute figure's the span of its runs. ` +
      `Open vSwitch ${results.versions.openvswitch}, userspace datapath, Node ${results.versions.node}.`,
  ];
  for (const [scenario, message] of Object.entries(results.failures))
    notes.push(`Not measured: ${scenario} (${message}).`);
  return [...lines, ...notes, ""].join("\n");
}

/** Reads a results file; throws if it is of another format. */
export function readResults(path: string): Results {
  const results = JSON.parse(readFileSync(path, "utf8")) as Results;
  if (results.format !== 1) throw new Error(`${path}: format ${String(results.format)} is not 1; run make bench again`);
  return results;
}

if (import.meta.main) {
  const [resultsPath, baselinePath] = process.argv.slice(2);
  const results = readResults(resultsPath ?? join(import.meta.dirname, "results.json"));
  process.stdout.write(renderReport(results, baselinePath === undefined ? undefined : readResults(baselinePath)));
}
