/** Runs sides in alternation, within a bound of time. */
import type { Contender } from "./contenders/contender.ts";
import type { Site } from "./environment/site.ts";
import type { Figure, Runs } from "./figures.ts";

/** Everything that a scenario needs. */
export interface Bench {
  readonly site: Site;
  /** What is judged, and what it is judged against. */
  readonly subject: Contender;
  readonly contenders: ReadonlyMap<string, Contender>;
  readonly runs: number;
  /** Smoke run: everything is done once and briefly; the figures mean nothing. */
  readonly quick: boolean;
  progress(line: string): void;
  /** True when the time is up: no further round is started. */
  expired(): boolean;
}

/** A part of the bench that can be asked for by name. */
export interface Scenario {
  readonly name: string;
  readonly describes: string;
  /** Measures and publishes; a figure that could be computed before a later step failed is not lost. */
  run(bench: Bench, publish: (figures: readonly Figure[]) => void): Promise<void>;
}

/** A side: what to do for one run. */
export interface Contestant<Result> {
  readonly name: string;
  measure(): Promise<Result>;
}

/**
 * Runs every side `bench.runs` times in alternation, each round in the opposite order of the one before, so that
 * whatever drifts (the machine's load, a growing table) falls on all sides alike. The first round is at all events
 * made; later ones only while there is time. Where there is more than one round, one uncounted run of each side goes first.
 */
export async function alternate<Result>(
  bench: Bench,
  what: string,
  contestants: readonly Contestant<Result>[],
  describe: (result: Result) => string,
): Promise<Runs<Result>[]> {
  const results = contestants.map((): Result[] => []);
  // The first run of a side pays for what the machine has not touched yet; it is not counted.
  if (bench.runs > 1) for (const contestant of contestants) await contestant.measure();
  for (let round = 0; round < bench.runs; round++) {
    if (round > 0 && bench.expired()) {
      bench.progress(`${what}: out of time after ${round} of ${bench.runs} rounds`);
      break;
    }
    const order = [...contestants.keys()];
    if (round % 2 === 1) order.reverse();
    for (const at of order) {
      const result = await contestants[at]!.measure();
      results[at]!.push(result);
      bench.progress(`${what} ${round + 1}/${bench.runs} ${contestants[at]!.name}: ${describe(result)}`);
    }
  }
  return contestants.map((contestant, at) => ({ name: contestant.name, results: results[at]! }));
}

/** The contender of a name. Throws if there is none. */
export function contenderNamed(bench: Bench, name: string): Contender {
  const found = bench.contenders.get(name);
  if (found === undefined)
    throw new Error(`no contender ${name}; there are ${[...bench.contenders.keys()].join(", ")}`);
  return found;
}
