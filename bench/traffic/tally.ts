/**
 * What the receiver learns from the packets of one run: loss, duplicates, reordering and latency. Pure accounting.
 */
import { percentile } from "../statistics.ts";
import type { Stamp } from "./frame.ts";

/** Latencies in milliseconds; NaN-free: `count` 0 leaves all figures 0. */
export interface LatencySummary {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** The receiver's account of one run. */
export interface TallySummary {
  /** Distinct packets received. */
  readonly received: number;
  readonly duplicates: number;
  /** Packets that arrived after a later packet of the same flow. */
  readonly reordered: number;
  /** Latency of the packets that opened a flow. */
  readonly first: LatencySummary;
  /** Latency of all other packets. */
  readonly later: LatencySummary;
  /** Nanoseconds of CLOCK_MONOTONIC. */
  readonly lastArrival: number;
}

/** Summary of latencies given in nanoseconds; sorts its argument. */
export function summarizeLatencies(latencies: Float64Array): LatencySummary {
  if (latencies.length === 0) return { count: 0, p50: 0, p90: 0, p99: 0, max: 0 };
  latencies.sort();
  const at = (share: number) => percentile(latencies, share) / 1e6;
  return { count: latencies.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** Counts packets of a plan with `flows` flows of `packetsPerFlow` packets. */
export class Tally {
  readonly #packetsPerFlow: number;
  readonly #latency: Float64Array;
  /** Highest index received per flow, plus one. */
  readonly #highest: Uint32Array;
  #received = 0;
  #duplicates = 0;
  #reordered = 0;
  #foreign = 0;
  #lastArrival = 0;

  constructor(flows: number, packetsPerFlow: number) {
    this.#packetsPerFlow = packetsPerFlow;
    this.#latency = new Float64Array(flows * packetsPerFlow).fill(-1);
    this.#highest = new Uint32Array(flows);
  }

  /** Distinct packets so far. */
  get received(): number {
    return this.#received;
  }

  /** Packets whose flow or index the plan does not have. */
  get foreign(): number {
    return this.#foreign;
  }

  /** Records one arrival; `arrivedAt` in nanoseconds on the clock of `stamp.sentAt`. */
  record(stamp: Readonly<Stamp>, arrivedAt: number): void {
    if (stamp.index >= this.#packetsPerFlow || stamp.flow >= this.#highest.length) {
      this.#foreign += 1;
      return;
    }
    const slot = stamp.flow * this.#packetsPerFlow + stamp.index;
    if (this.#latency[slot]! >= 0) {
      this.#duplicates += 1;
      return;
    }
    this.#received += 1;
    if (arrivedAt > this.#lastArrival) this.#lastArrival = arrivedAt;
    // The two clocks are compared to within a microsecond: an instant delivery must not look like a missing packet.
    this.#latency[slot] = Math.max(0, arrivedAt - stamp.sentAt);
    if (stamp.index < this.#highest[stamp.flow]!) this.#reordered += 1;
    else this.#highest[stamp.flow] = stamp.index + 1;
  }

  summary(): TallySummary {
    const first: number[] = [];
    const later: number[] = [];
    for (const [slot, latency] of this.#latency.entries()) {
      if (latency >= 0) (slot % this.#packetsPerFlow === 0 ? first : later).push(latency);
    }
    return {
      received: this.#received,
      duplicates: this.#duplicates,
      reordered: this.#reordered,
      first: summarizeLatencies(Float64Array.from(first)),
      later: summarizeLatencies(Float64Array.from(later)),
      lastArrival: this.#lastArrival,
    };
  }
}
