/** Turns what the switch's entries have counted into what each rule of the policies let pass. */
import { flowKey, type Counted, type Verdict, type verdictEntries } from "@beyondfabric/datapath";
import type { Flow } from "@beyondfabric/openflow";
import type { RuleCounters } from "./rule-counters.ts";

/** Counters of one verdict's entry, as the switch gives them. */
export interface Reading {
  readonly id: number;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** The entry as the switch has it. */
  readonly flow: Flow;
}

/** What the entries of a verdict count, by their keys, and what they had counted when they were read last. */
interface Tally {
  readonly decision: Verdict["decision"];
  readonly label: number;
  readonly counted: ReadonlyMap<string, Counted>;
  readonly before: Map<string, Pick<Reading, "packets" | "bytes">>;
}

export class RuleTally {
  readonly #rules: RuleCounters;
  readonly #entriesOf: (verdict: Verdict) => ReturnType<typeof verdictEntries>;
  readonly #tallies = new WeakMap<Verdict, Tally>();

  constructor(rules: RuleCounters, entriesOf: (verdict: Verdict) => ReturnType<typeof verdictEntries>) {
    this.#rules = rules;
    this.#entriesOf = entriesOf;
  }

  /** Adds what an entry of the verdict has counted since it was read last to the rules by which it let that pass. */
  count(verdict: Verdict, { flow, packets, bytes }: Reading): void {
    if (verdict.decision.verdict === "deny" || verdict.decision.guard === undefined) return;
    const { counted, before } = this.#tallyOf(verdict);
    const key = flowKey(flow);
    const what = counted.get(key);
    if (what === undefined) return;
    const last = before.get(key);
    before.set(key, { packets, bytes });
    // An entry that was written anew counts from nought.
    const isAnew = last === undefined || packets < last.packets;
    const more = Number(isAnew ? packets : packets - last.packets);
    if (more === 0) return;
    if (what.what === "sessions") this.#rules.session(what.rules, more);
    else this.#rules.traffic(what.rules, more, Number(isAnew ? bytes : bytes - last.bytes));
  }

  #tallyOf(verdict: Verdict): Tally {
    const known = this.#tallies.get(verdict);
    if (known?.decision === verdict.decision && known.label === verdict.label) return known;
    const counted = new Map<string, Counted>();
    for (const { flow, counted: what } of this.#entriesOf(verdict)) {
      if (what !== undefined) counted.set(flowKey(flow), what);
    }
    const { decision, label } = verdict;
    const tally = { decision, label, counted, before: known?.before ?? new Map() };
    this.#tallies.set(verdict, tally);
    return tally;
  }
}
