/** What the switch is told about the entries of verdicts: all of them, or only those that a change of the verdict changes. */
import {
  BoundedMap,
  flowModFor,
  flowModOf,
  labelOf,
  verdictEntries,
  type Verdict,
  type VerdictMod,
} from "@beyondfabric/datapath";
import type { Flow } from "@beyondfabric/openflow";

/** Verdicts of which it is remembered what their entries are. */
const writtenCapacity = 64;

/** The entries of a verdict by their keys, each with the flow-mod that adds it. */
type EntryMods = ReadonlyMap<string, { readonly flow: Flow; readonly frame: Buffer }>;

/** What a change of a verdict changes in the switch. */
export interface EntryChanges {
  readonly add: readonly VerdictMod[];
  /** Entries that the verdict has no more. */
  readonly remove: readonly Flow[];
}

export class VerdictWrites {
  readonly #life: number;
  /** What was written last about verdicts that change often: half of the price of a change is to know what was there. */
  readonly #written = new BoundedMap<Verdict, EntryMods>(writtenCapacity);

  /** @param life of the agent: part of the labels */
  constructor(life: number) {
    this.#life = life;
  }

  label({ label }: Verdict): bigint {
    return labelOf(this.#life, label);
  }

  /** The flow-mods about a verdict's entries; that about the one of an unguarded verdict comes from a template. */
  all(command: "add" | "delete_strict", verdict: Verdict): VerdictMod[] {
    const { question, decision, id, edition } = verdict;
    if (decision.verdict === "deny" || decision.guard === undefined) {
      return [flowModFor(command, question, decision, id, edition)];
    }
    return this.entriesOf(verdict).map((flow) => flowModOf(command, flow));
  }

  entriesOf(verdict: Verdict): Flow[] {
    return this.countingEntriesOf(verdict).map(({ flow }) => flow);
  }

  countingEntriesOf(verdict: Verdict): ReturnType<typeof verdictEntries> {
    const { question, decision, id, edition, groups, associations } = verdict;
    return verdictEntries(decision, question, id, { edition, groups, associations, label: this.label(verdict) });
  }

  /** @param change changes the verdict */
  changesOf(verdict: Verdict, change: () => void): EntryChanges {
    // Associations write their entries themselves.
    const known = verdict.associations === undefined ? this.#written.get(verdict) : undefined;
    const before = known ?? this.#mods(verdict);
    change();
    const after = this.#mods(verdict);
    if (verdict.associations === undefined) this.#written.set(verdict, after);
    else this.#written.delete(verdict);
    const isNew = (key: string, frame: Buffer): boolean => before.get(key)?.frame.equals(frame) !== true;
    return {
      add: [...after].flatMap(([key, { frame }]) => (isNew(key, frame) ? [{ key, frame }] : [])),
      remove: [...before].flatMap(([key, { flow }]) => (after.has(key) ? [] : [flow])),
    };
  }

  forget(verdict: Verdict): void {
    this.#written.delete(verdict);
  }

  #mods(verdict: Verdict): EntryMods {
    return new Map(
      this.entriesOf(verdict).map((flow) => {
        const { key, frame } = flowModOf("add", flow);
        return [key, { flow, frame }];
      }),
    );
  }
}
