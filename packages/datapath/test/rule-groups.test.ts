import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { passingRules, uniteOpenings, type Opening, type Openings, type RuleReference } from "@beyondfabric/policy";
import * as fc from "fast-check";
import { groupOf, nextRuleGroups, noRuleGroups, type RuleGroups } from "../src/index.ts";

const rule = (index: number): RuleReference => ({ policy: "shop/web", direction: "ingress", index });
const rules = Array.from({ length: 4 }, (_, index) => [rule(index)]);
const maxPort = 12;

const anyOpenings: fc.Arbitrary<Openings> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(
        fc
          .tuple(fc.nat({ max: maxPort }), fc.nat({ max: 4 }), fc.nat({ max: 3 }))
          .map(([first, length, index]): Opening => ({ first, last: first + length, rules: rules[index]! })),
        { maxLength: 5 },
      )
      .map((ranges): Openings => ({ kind: "ports", TCP: uniteOpenings(ranges), UDP: [], SCTP: [] })),
  },
  { weight: 1, arbitrary: fc.constant<Openings>({ kind: "everything", rules: rules[0]! }) },
);

const tcp = (destinationPort: number): { protocol: number; destinationPort: number } => ({
  protocol: 6,
  destinationPort,
});

describe("groups of rules", () => {
  it("let a connection pass unasked exactly as long as its port has been open all the time", () => {
    fc.assert(
      fc.property(fc.array(anyOpenings, { minLength: 1, maxLength: 12 }), (history) => {
        let groups: RuleGroups = noRuleGroups;
        const connections: { port: number; group: number }[] = [];
        for (const openings of history) {
          const next = nextRuleGroups(groups, openings);
          if (next === undefined) return;
          groups = next;
          for (const { port, group } of connections) {
            if (groups[group]!.holds)
              assert.ok(passingRules(openings, tcp(port)) !== undefined, `port ${port} is closed`);
          }
          for (let port = 0; port <= maxPort + 4; port++) {
            const passing = passingRules(openings, tcp(port));
            if (passing === undefined) continue;
            const group = groupOf(groups, passing);
            assert.ok(groups[group]?.holds, "what passes has a number that holds");
            connections.push({ port, group });
          }
        }
      }),
    );
  });

  it("that nothing happens to keep their numbers; one that ended is never given again", () => {
    const open = (...ranges: [number, number, number][]): Openings => ({
      kind: "ports",
      TCP: uniteOpenings(ranges.map(([first, last, index]) => ({ first, last, rules: rules[index]! }))),
      UDP: [],
      SCTP: [],
    });
    const first = nextRuleGroups(noRuleGroups, open([80, 80, 0], [443, 443, 1]))!;
    const [web, tls] = [groupOf(first, rules[0]!), groupOf(first, rules[1]!)];
    const more = nextRuleGroups(first, open([80, 80, 0], [443, 443, 1], [8080, 8080, 2]))!;
    assert.deepEqual([groupOf(more, rules[0]!), groupOf(more, rules[1]!)], [web, tls]);
    const less = nextRuleGroups(more, open([80, 80, 0]))!;
    assert.equal(groupOf(less, rules[0]!), web);
    assert.equal(less[tls]!.holds, false);
    const again = nextRuleGroups(less, open([80, 80, 0], [443, 443, 1]))!;
    assert.notEqual(groupOf(again, rules[1]!), tls);
    assert.equal(again[tls]!.holds, false, "connections of before are judged again");
    assert.notEqual(groupOf(again, rules[1]!) % 2, tls % 2, "and their entries look at another bit");
  });

  it("end when there are no numbers left", () => {
    let groups: RuleGroups | undefined = noRuleGroups;
    let changes = 0;
    for (; groups !== undefined; changes++) {
      const port = changes % 2 === 0 ? 80 : 81;
      groups = nextRuleGroups(groups, {
        kind: "ports",
        TCP: [{ first: port, last: port, rules: rules[0]! }],
        UDP: [],
        SCTP: [],
      });
      assert.ok(changes < 100);
    }
    assert.ok(changes > 15);
  });
});
