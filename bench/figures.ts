/** What a bench run publishes: figures, most of them ratios of medians. */
import { median, ratioOfMedians, type RatioEstimate } from "./statistics.ts";

/** One side of a comparison, with every run's value. */
export interface Side {
  readonly name: string;
  readonly median: number;
  readonly samples: readonly number[];
}

/** What a figure ought to be. */
export interface Goal {
  readonly bound: "at least" | "at most";
  readonly value: number;
}

/** A published figure. Without a reference, `value` is the subject's median and its interval that of its runs. */
export interface Figure {
  readonly scenario: string;
  readonly title: string;
  readonly unit: string;
  /** How `value` is computed. */
  readonly form: "subject/reference" | "reference/subject" | "subject";
  readonly value: RatioEstimate;
  readonly subject: Side;
  readonly reference: Side | undefined;
  readonly goal: Goal | undefined;
  /** True if the run was too short for the published number of runs, or its time ran out. */
  readonly incomplete: boolean;
}

/** How a figure is taken from the results of runs. */
export interface Metric<Result> {
  readonly title: string;
  readonly unit: string;
  readonly form: Figure["form"];
  readonly goal?: Goal;
  of(result: Result): number;
}

/** The runs of one side. */
export interface Runs<Result> {
  readonly name: string;
  readonly results: readonly Result[];
}

/** Fewer runs than this are not published as a comparison. */
export const REQUIRED_RUNS = 7;

/** Computes the figures of a comparison. Something that does not vary from run to run needs fewer runs than `required`. */
export function figuresOf<Result>(
  scenario: string,
  metrics: readonly Metric<Result>[],
  subject: Runs<Result>,
  reference?: Runs<Result>,
  required: number = REQUIRED_RUNS,
): Figure[] {
  return metrics.map((metric) => {
    const own = side(subject, metric);
    const other = reference === undefined || metric.form === "subject" ? undefined : side(reference, metric);
    return {
      scenario,
      title: metric.title,
      unit: metric.unit,
      form: metric.form,
      value: valueOf(metric.form, own, other),
      subject: own,
      reference: other,
      goal: metric.goal,
      incomplete: own.samples.length < required || (other !== undefined && other.samples.length < required),
    };
  });
}

function side<Result>(runs: Runs<Result>, metric: Metric<Result>): Side {
  const samples = runs.results.map((result) => metric.of(result));
  return { name: runs.name, median: median(samples), samples };
}

function valueOf(form: Figure["form"], own: Side, other: Side | undefined): RatioEstimate {
  if (other === undefined) {
    const ascending = [...own.samples].sort((a, b) => a - b);
    return { value: own.median, low: ascending[0] ?? Number.NaN, high: ascending.at(-1) ?? Number.NaN };
  }
  return form === "reference/subject"
    ? ratioOfMedians(other.samples, own.samples)
    : ratioOfMedians(own.samples, other.samples);
}

/** Whether a figure meets its goal: clearly (the whole interval), or only by its value, or not. */
export function verdict(figure: Figure): "met" | "within noise" | "missed" | "no goal" {
  const { goal, value } = figure;
  if (goal === undefined) return "no goal";
  const meets = (candidate: number) => (goal.bound === "at least" ? candidate >= goal.value : candidate <= goal.value);
  if (meets(value.low) && meets(value.high)) return "met";
  return meets(value.low) || meets(value.high) ? "within noise" : "missed";
}
