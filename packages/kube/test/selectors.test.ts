import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { compileSelector, LabelSet, parseSelector, type ParsedSelector, type Selector } from "../src/index.ts";

function valid(parsed: ParsedSelector): Selector {
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.selector;
}

function problem(parsed: ParsedSelector): string {
  assert.ok(!parsed.ok, "it was taken");
  return `${parsed.at}: ${parsed.problem}`;
}

const name = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?$/);
const prefix = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?(\.[a-z0-9]{1,4})?$/);
const key = fc.oneof(
  name,
  fc.tuple(prefix, name).map(([before, after]) => `${before}/${after}`),
  fc.constantFrom("a", "b", "in", "notin"),
);
const value = fc.oneof(fc.constantFrom("", "x", "y", "in", "notin"), name);
const requirement = fc.oneof(
  fc.record({ key, operator: fc.constantFrom("In", "NotIn"), values: fc.array(value, { minLength: 1, maxLength: 4 }) }),
  fc.record({ key, operator: fc.constantFrom("Exists", "DoesNotExist") }),
);
const labels = fc.dictionary(fc.oneof(fc.constantFrom("a", "b"), key), value, { maxKeys: 5 });

/** The API's definition of a requirement, in other words than the code's. */
function holds(
  one: { key: string; operator: string; values?: readonly string[] },
  object: Readonly<Record<string, string>>,
): boolean {
  const has = Object.hasOwn(object, one.key);
  const among = has && (one.values ?? []).some((each) => each === object[one.key]);
  return { In: among, NotIn: !among, Exists: has, DoesNotExist: !has }[one.operator]!;
}

describe("selectors", () => {
  it("mean what the API says", () => {
    fc.assert(
      fc.property(
        fc.array(requirement, { maxLength: 4 }),
        fc.dictionary(key, value, { maxKeys: 2 }),
        labels,
        (matchExpressions, matchLabels, object) => {
          const selector = valid(compileSelector({ matchExpressions, matchLabels }));
          const expected =
            matchExpressions.every((each) => holds(each, object)) &&
            Object.entries(matchLabels).every(
              ([each, wanted]) => Object.hasOwn(object, each) && object[each] === wanted,
            );
          assert.equal(selector.matches(LabelSet.of(object)), expected);
          assert.equal(selector.matches(new Map(Object.entries(object))), expected);
        },
      ),
    );
  });

  it("mean the same as text", () => {
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 4 }), (matchExpressions) => {
        const selector = valid(compileSelector({ matchExpressions }));
        const again = valid(parseSelector(selector.toString()));
        assert.deepEqual(again.requirements, selector.requirements);
        assert.equal(again.toString(), selector.toString());
      }),
    );
  });

  it("are taken or refused as text, but never break", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc
            .array(fc.constantFrom("a", "=", "==", "!", "!=", "in", "notin", "(", ")", ",", " ", "/", "x.y/z"))
            .map((parts) => parts.join("")),
        ),
        (text) => {
          const parsed = parseSelector(text);
          if (parsed.ok) assert.deepEqual(valid(parseSelector(parsed.selector.toString())), parsed.selector);
          else assert.ok(Number(parsed.at) >= 0 && Number(parsed.at) <= text.length);
        },
      ),
    );
  });

  for (const [text, canonical] of [
    ["", ""],
    ["  ", ""],
    ["app=web", "app=web"],
    [" app == web , tier!=db ", "app=web,tier!=db"],
    ["a in (x)", "a=x"],
    ["a in (y, x,y)", "a in (x,y)"],
    ["a notin(x,y),!b,c", "a notin (x,y),!b,c"],
    ["a=", "a="],
    ["a in (,x)", "a in (,x)"],
    ["in in (in)", "in=in"],
    ["kubernetes.io/metadata.name=blue", "kubernetes.io/metadata.name=blue"],
  ] as const) {
    it(`read ${JSON.stringify(text)} as ${JSON.stringify(canonical)}`, () => {
      assert.equal(valid(parseSelector(text)).toString(), canonical);
    });
  }

  for (const [text, expected] of [
    ["a=b,", /^4: the selector ends where a label's key is expected/],
    [",a", /^0: there is "," where a label's key/],
    ["a=b c=d", /^4: there is "c" where a comma between requirements/],
    ["a in x", /^5: there is "x" where an opening parenthesis/],
    ["a in (x", /^7: the selector ends where a comma or a closing/],
    ["!", /^1: the selector ends where a label's key/],
    ["a=b=c", /^3: there is "="/],
    ["-a=b", /^0: "-a" is no label key; write up to 63/],
    ["Upper.case/x", /^0: .*what stands before the slash/],
    ["a/b/c", /^0: "a\/b\/c" is no label key/],
    ["a=-", /^2: "-" is no label value/],
    [`a=${"x".repeat(64)}`, /^2: "x+" is no label value/],
    ["x".repeat(20_000), /longer than 16384 characters/],
  ] as const) {
    it(`refuse ${JSON.stringify(text.slice(0, 20))}, and say where`, () => {
      assert.match(problem(parseSelector(text)), expected);
    });
  }

  it("refuse objects that break the rules, and say where", () => {
    const expression = (more: object): string =>
      problem(compileSelector({ matchExpressions: [{ key: "a", operator: "In", values: ["x"], ...more }] }));
    assert.match(expression({ operator: "Near" }), /^matchExpressions\[0\]\.operator: "Near" is no operator; write In/);
    assert.match(expression({ values: [] }), /^matchExpressions\[0\]\.values: In needs at least one value/);
    assert.match(expression({ operator: "Exists" }), /^matchExpressions\[0\]\.values: Exists takes no values/);
    assert.match(expression({ values: ["x", "a b"] }), /^matchExpressions\[0\]\.values\[1\]: "a b" is no label value/);
    assert.match(expression({ key: "" }), /^matchExpressions\[0\]\.key: "" is no label key/);
    assert.match(problem(compileSelector({ matchLabels: { a: "ä" } })), /^matchLabels\[a\]: "ä" is no label value/);
  });

  it("select everything when empty", () => {
    assert.ok(valid(compileSelector({})).matches(LabelSet.empty));
    assert.ok(valid(parseSelector("")).matches(LabelSet.of({ a: "b" })));
  });
});
