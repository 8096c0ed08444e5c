/**
 * What each rule of the policies let pass at the pods of this node since the agent started: connections as they are let in,
 * packets and bytes as the switch counts them. What an entry counted after its last reading goes with it.
 */
import type { RuleReference } from "@beyondfabric/policy";

type Rules = readonly RuleReference[];

export interface RuleFigures {
  readonly rule: RuleReference;
  /** Connections; of protocols without any, what conntrack takes for one. */
  sessions: number;
  /** Of both directions. */
  packets: number;
  bytes: number;
}

/** Rules that are counted; the least recently used ones beyond that are forgotten. */
const capacity = 10_000;

export class RuleCounters {
  readonly #figures = new Map<string, RuleFigures>();

  /** A connection passes by rules of both its ends, and counts for each. */
  session(rules: Rules, count = 1): void {
    for (const rule of rules) this.#of(rule).sessions += count;
  }

  traffic(rules: Rules, packets: number, bytes: number): void {
    for (const rule of rules) {
      const figures = this.#of(rule);
      figures.packets += packets;
      figures.bytes += bytes;
    }
  }

  /** @param exists forgets the rules of which it says no */
  list(exists: (rule: RuleReference) => boolean): RuleFigures[] {
    for (const [key, { rule }] of this.#figures) if (!exists(rule)) this.#figures.delete(key);
    return [...this.#figures.values()];
  }

  #of(rule: RuleReference): RuleFigures {
    const key = `${rule.policy} ${rule.direction} ${rule.index}`;
    const figures = this.#figures.get(key) ?? { rule, sessions: 0, packets: 0, bytes: 0 };
    this.#figures.delete(key);
    this.#figures.set(key, figures);
    for (const oldest of this.#figures.keys()) {
      if (this.#figures.size <= capacity) break;
      this.#figures.delete(oldest);
    }
    return figures;
  }
}
