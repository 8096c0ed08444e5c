import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { parseCidr } from "@beyondfabric/packet";
import { cookieBuckets, VerdictTable, type FactKey, type Question, type Settled, type Verdict } from "../src/index.ts";

const addresses = ["10.244.1.5", "10.244.1.6", "fd00:244::5"] as const;
const facts: readonly FactKey[] = ["address:10.244.1.5", "node:node-1", "subnets", "blocks"];

function questionOf(from: Question["from"], end: number): Question {
  const source = addresses[end]!;
  return { from, source, destination: source, ...(from === "tunnel" ? { tunnelSource: "10.10.0.12" } : {}) };
}

function decisionOf({ source }: Question, exact: boolean, dependsOn: readonly FactKey[], refuses = true): Settled {
  const width = source.includes(":") ? 128 : 32;
  const whole = parseCidr(source.includes(":") ? "::/0" : "0.0.0.0/0");
  return {
    ...(refuses ? { verdict: "deny" } : { verdict: "allow", way: { kind: "local" } }),
    cube: { source: parseCidr(`${source}/${width}`), destination: exact ? parseCidr(`${source}/${width}`) : whole },
    reason: "destination-absent",
    explanation: "for this test",
    dependsOn,
  };
}

interface Remembered {
  readonly id: number;
  readonly question: Question;
  readonly exact: boolean;
  dependsOn: readonly FactKey[];
  refuses: boolean;
  packets: bigint;
  lastUsed: number;
}

/** The same table as a list that is searched from end to end, the least recently used first. */
class NaiveTable {
  list: Remembered[] = [];

  add(entry: Remembered): void {
    this.list = this.list.filter((each) => !sameCube(each, entry) && each.id !== entry.id);
    this.list.push(entry);
  }

  record(id: number, packets: bigint, now: number): void {
    const entry = this.list.find((each) => each.id === id);
    if (entry === undefined || entry.packets === packets) return;
    entry.packets = packets;
    entry.lastUsed = now;
    this.list = [...this.list.filter((each) => each !== entry), entry];
  }
}

function sameCube(a: Remembered, b: Remembered): boolean {
  return a.exact === b.exact && a.question.from === b.question.from && a.question.source === b.question.source;
}

const anyFacts = fc.subarray([...facts]);
const anyPosition = fc.nat({ max: 20 });
const anyStep = fc.oneof(
  fc.record({
    step: fc.constant("add" as const),
    from: fc.constantFrom("pod" as const, "tunnel" as const, "host" as const),
    end: fc.nat({ max: 2 }),
    exact: fc.boolean(),
    dependsOn: anyFacts,
    refuses: fc.boolean(),
    adopted: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
  }),
  fc.record({
    step: fc.constant("update" as const),
    position: anyPosition,
    dependsOn: anyFacts,
    refuses: fc.boolean(),
  }),
  fc.record({ step: fc.constant("remove" as const), position: anyPosition }),
  fc.record({ step: fc.constant("record" as const), position: anyPosition, packets: fc.bigInt({ min: 0n, max: 3n }) }),
);

const ids = (verdicts: Iterable<{ readonly id: number }>): number[] => Array.from(verdicts, ({ id }) => id);

function assertSame(table: VerdictTable, model: NaiveTable): void {
  assert.equal(table.size, model.list.length);
  assert.deepEqual(ids(table.values()), ids(model.list));
  for (let budget = 0; budget <= model.list.length + 1; budget++) {
    assert.deepEqual(ids(table.beyond(budget)), ids(model.list.slice(0, Math.max(0, model.list.length - budget))));
  }
  for (const fact of facts) {
    const expected = ids(model.list.filter(({ dependsOn }) => dependsOn.includes(fact))).sort((a, b) => a - b);
    assert.deepEqual(
      ids(table.dependingOn([fact])).sort((a, b) => a - b),
      expected,
      fact,
    );
  }
  const inBuckets = Array.from({ length: cookieBuckets }, (_, bucket) => ids(table.inBucket(bucket)));
  for (const [bucket, members] of inBuckets.entries()) assert.ok(members.every((id) => id % cookieBuckets === bucket));
  const byNumber = (a: number, b: number): number => a - b;
  assert.deepEqual(inBuckets.flat().sort(byNumber), ids(model.list).sort(byNumber));
  const refusing = ids(model.list.filter(({ refuses }) => refuses));
  assert.deepEqual(ids(table.refusals).sort(byNumber), refusing.sort(byNumber));
  for (const from of ["pod", "tunnel", "host"] as const) {
    for (const end of addresses.keys()) {
      const question = questionOf(from, end);
      for (const exact of [true, false]) {
        const same = ({ question: { from: other, source }, exact: width }: Remembered): boolean =>
          other === from && source === question.source && width === exact;
        const expected = model.list.find(same)?.id;
        assert.equal(table.findCube(question, decisionOf(question, exact, []))?.id, expected);
        if (exact) assert.equal(table.findPair(question)?.id, expected);
      }
    }
  }
  for (const { id, packets, lastUsed } of model.list) {
    const verdict = table.get(id);
    assert.equal(verdict?.packets, packets);
    assert.equal(verdict?.lastUsed, lastUsed);
  }
}

/** What an adopted entry of this number carries. */
function adopted(id: number | undefined): { id: number; edition: number } | undefined {
  return id === undefined ? undefined : { id, edition: 0 };
}

describe("the verdicts of a node", () => {
  it("are those of a list, whatever is added, adopted, changed, used and removed", () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
        const table = new VerdictTable();
        const model = new NaiveTable();
        for (const [now, step] of steps.entries()) {
          if (step.step === "add") {
            const question = questionOf(step.from, step.end);
            const decision = decisionOf(question, step.exact, step.dependsOn, step.refuses);
            const taken = new Set(ids(model.list));
            const { id } = table.add(question, decision, now, adopted(step.adopted));
            if (step.adopted === undefined) assert.ok(!taken.has(id), `number ${id} was drawn while in use`);
            else assert.equal(id, step.adopted);
            const { exact, dependsOn, refuses } = step;
            model.add({ id, question, exact, dependsOn, refuses, packets: 0n, lastUsed: now });
          } else {
            const entry = model.list[step.position % Math.max(1, model.list.length)];
            if (entry === undefined) continue;
            const verdict = table.get(entry.id);
            assert.ok(verdict !== undefined);
            if (step.step === "record") {
              table.record(entry.id, step.packets, 0n, now);
              model.record(entry.id, step.packets, now);
            } else if (step.step === "update") {
              table.update(verdict, decisionOf(entry.question, entry.exact, step.dependsOn, step.refuses));
              entry.dependsOn = step.dependsOn;
              entry.refuses = step.refuses;
            } else {
              table.remove(verdict);
              model.list = model.list.filter((each) => each !== entry);
            }
          }
          assertSame(table, model);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("have entries that a switch cannot take for those of the verdict about the same packets before", () => {
    const table = new VerdictTable();
    const question = questionOf("pod", 0);
    const decided = (refuses: boolean): Settled => decisionOf(question, true, [], refuses);
    const add = (): Verdict => table.add(question, decided(false), 0);
    const first = add();
    const second = add();
    assert.notEqual(second.edition, first.edition, "one that was written over");
    table.remove(second);
    const third = add();
    assert.notEqual(third.edition, second.edition, "one that went");
    const before = third.edition;
    table.update(third, decided(false));
    assert.equal(third.edition, before, "nothing changed for its packets");
    table.update(third, decided(true));
    assert.notEqual(third.edition, before, "another way");
    assert.equal(table.add(questionOf("pod", 1), decisionOf(questionOf("pod", 1), true, []), 0).edition, first.edition);
  });

  it("are numbered beyond 2^32 - 1 from 1 on, past those in use", () => {
    const table = new VerdictTable(0xffff_ffff);
    const add = (end: number, id?: number): Verdict => {
      const question = questionOf("pod", end);
      return table.add(question, decisionOf(question, true, []), 0, adopted(id));
    };
    assert.equal(add(0, 1).id, 1);
    assert.equal(add(1).id, 0xffff_ffff);
    assert.equal(add(2).id, 2);
  });

  it("are counted for known numbers only, and once each for several facts", () => {
    const table = new VerdictTable();
    table.record(7, 1n, 1n, 0);
    assert.equal(table.size, 0);
    const question = questionOf("pod", 0);
    const verdict = table.add(question, decisionOf(question, true, ["subnets", "blocks"]), 0);
    assert.deepEqual([...table.dependingOn(["subnets", "blocks", "complete"])], [verdict]);
    table.remove(verdict);
    table.remove(verdict);
    assert.equal(table.dependingOn(facts).size, 0);
  });
});
