import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  includesOpenings,
  intersectOpenings,
  isClosed,
  openingsText,
  passingRules,
  uniteOpenings,
  type Opening,
  type Openings,
  type RuleReference,
} from "../src/index.ts";

function rule(index: number): RuleReference {
  return { policy: "shop/web", direction: "ingress", index };
}

const anyRange = fc
  .tuple(fc.nat({ max: 40 }), fc.nat({ max: 12 }), fc.nat({ max: 5 }))
  .map(([first, length, index]): Opening => ({ first, last: first + length, rules: [rule(index)] }));
const anyRanges = fc.array(anyRange, { maxLength: 12 });

function covers({ first, last }: Opening, port: number): boolean {
  return first <= port && port <= last;
}

function ports(TCP: readonly Opening[]): Openings {
  return { kind: "ports", TCP: uniteOpenings(TCP), UDP: [], SCTP: [] };
}

function tcp(destinationPort: number): { protocol: number; destinationPort: number } {
  return { protocol: 6, destinationPort };
}

describe("openings", () => {
  it("include others whose every port is theirs, and nothing else", () => {
    fc.assert(
      fc.property(anyRanges, anyRanges, (one, other) => {
        const [outer, inner] = [ports(one), ports(other)];
        const all = Array.from({ length: 60 }, (_, port) => port);
        const expected = all.every(
          (port) => passingRules(inner, tcp(port)) === undefined || passingRules(outer, tcp(port)) !== undefined,
        );
        assert.equal(includesOpenings(outer, inner), expected);
        assert.ok(includesOpenings(inner, inner));
      }),
    );
    const everything: Openings = { kind: "everything", rules: [] };
    assert.ok(includesOpenings(everything, ports([])) && includesOpenings(everything, everything));
    assert.ok(!includesOpenings(ports([{ first: 0, last: 65_535, rules: [] }]), everything));
  });

  it("united are disjoint, in order, as few as possible, and attributed to a rule that opens them", () => {
    fc.assert(
      fc.property(anyRanges, (ranges) => {
        const united = uniteOpenings(ranges);
        for (let port = 0; port < 60; port++) {
          const found = united.filter((each) => covers(each, port));
          const opening = ranges.filter((each) => covers(each, port));
          assert.equal(found.length, opening.length > 0 ? 1 : 0, `port ${port}`);
          if (found.length > 0) {
            const [owner] = found[0]!.rules;
            assert.ok(ranges.some((each) => each.rules[0] === owner && covers(each, port)));
          }
        }
        assert.deepEqual(
          united,
          united.toSorted((a, b) => a.first - b.first),
        );
        // No fewer ranges can cover the same ports: each begins where no range that covers its predecessor's begin reaches.
        for (const [place, { first }] of united.slice(1).entries()) {
          const before = united[place]!;
          assert.ok(!ranges.some((each) => covers(each, before.first) && covers(each, first)));
        }
      }),
    );
  });

  it("of two verdicts are what both let pass, with the rules of both", () => {
    const anyOpenings = fc.oneof(
      anyRanges.map(ports),
      fc.constant<Openings>({ kind: "everything", rules: [rule(9)] }),
      fc.constant<Openings>({ kind: "everything", rules: [] }),
    );
    fc.assert(
      fc.property(anyOpenings, anyOpenings, (before, after) => {
        const both = intersectOpenings(before, after);
        for (const packet of [
          { protocol: 1 },
          { protocol: 17, destinationPort: 1 },
          ...Array.from({ length: 60 }, (_, port) => tcp(port)),
        ]) {
          const one = passingRules(before, packet);
          const other = passingRules(after, packet);
          const expected = one === undefined || other === undefined ? undefined : [...one, ...other];
          assert.deepEqual(passingRules(both, packet), expected);
        }
      }),
    );
  });

  it("close ICMP and protocols without ports unless everything passes", () => {
    const some = ports([{ first: 0, last: 65535, rules: [rule(0)] }]);
    assert.equal(passingRules(some, { protocol: 1 }), undefined);
    assert.equal(passingRules(some, { protocol: 47 }), undefined);
    assert.equal(passingRules(some, { protocol: 6 }), undefined, "a packet whose port cannot be seen");
    assert.deepEqual(passingRules({ kind: "everything", rules: [] }, { protocol: 47 }), []);
  });

  it("can be said in words", () => {
    const opened: Openings = {
      kind: "ports",
      TCP: [
        { first: 80, last: 80, rules: [] },
        { first: 8000, last: 8100, rules: [] },
      ],
      UDP: [{ first: 0, last: 65535, rules: [] }],
      SCTP: [],
    };
    assert.equal(openingsText(opened), "80/TCP, 8000-8100/TCP, all UDP");
    assert.equal(openingsText(ports([])), "nothing");
    assert.equal(openingsText({ kind: "everything", rules: [] }), "everything");
    assert.deepEqual([isClosed(ports([])), isClosed(opened)], [true, false]);
  });
});
