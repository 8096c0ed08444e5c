/**
 * Medians, and how far a ratio of two of them can be trusted. Everything is deterministic: the resampling draws from a
 * seeded generator, so that the same samples always give the same interval.
 */

/** A ratio of medians with its 95 % interval. */
export interface RatioEstimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Value below which `share` (0 to 1) of an ascending sequence lies, interpolated linearly. NaN when it is empty. */
export function percentile(ascending: ArrayLike<number>, share: number): number {
  if (ascending.length === 0) return Number.NaN;
  const position = Math.min(1, Math.max(0, share)) * (ascending.length - 1);
  const below = Math.floor(position);
  const low = ascending[below]!;
  const high = ascending[Math.min(below + 1, ascending.length - 1)]!;
  return low + (high - low) * (position - below);
}

/** The middle of a sample. NaN when it is empty. */
export function median(sample: readonly number[]): number {
  return percentile(
    [...sample].sort((a, b) => a - b),
    0.5,
  );
}

/** A small deterministic source of numbers in [0, 1) (xorshift32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 0x1_0000_0000;
  };
}

/**
 * median(numerator) / median(denominator) with a 95 % bootstrap interval: the runs are drawn again with replacement 2,000
 * times, and the interval is that of the middle 95 % of the ratios. Samples of equal length are rounds of one alternation
 * and are drawn together, because what disturbs a round disturbs both of its runs. A denominator of zero gives
 * Infinity, and 0/0 counts as 1 (both lost nothing).
 */
export function ratioOfMedians(numerator: readonly number[], denominator: readonly number[]): RatioEstimate {
  const random = seededRandom(0x5eed);
  const draw = (length: number) => Array.from({ length }, () => Math.floor(random() * length));
  const ratios: number[] = [];
  for (let round = 0; round < 2000; round++) {
    const above = draw(numerator.length);
    const below = numerator.length === denominator.length ? above : draw(denominator.length);
    const taken = (sample: readonly number[], rounds: number[]) => median(rounds.map((at) => sample[at]!));
    ratios.push(divide(taken(numerator, above), taken(denominator, below)));
  }
  ratios.sort((a, b) => a - b);
  return {
    value: divide(median(numerator), median(denominator)),
    low: percentile(ratios, 0.025),
    high: percentile(ratios, 0.975),
  };
}

function divide(numerator: number, denominator: number): number {
  return numerator === 0 && denominator === 0 ? 1 : numerator / denominator;
}
