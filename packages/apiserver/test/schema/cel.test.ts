import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { checkCel, CelError, evaluateCel } from "../../src/schema/cel-evaluate.ts";
import { CelSyntaxError, parseCel } from "../../src/schema/cel-parse.ts";
import { brokenRules } from "../../src/schema/rules.ts";

const self = {
  name: "abc",
  count: 3,
  list: ["10.0.0.0/8", "fd00::/64"],
  map: { k: "v" },
  items: [{ id: 1 }, { id: 2 }],
};

function evaluate(text: string): unknown {
  const expression = parseCel(text);
  checkCel(expression);
  return evaluateCel(expression, new Map<string, unknown>([["self", self]]));
}

describe("CEL", () => {
  const cases: [string, unknown][] = [
    ["1 + 2 * 3 == 7", true],
    ["(1 + 2) * 3", 9],
    ["-self.count", -3],
    ["7 / 2", 3],
    ["7 % 2 == 1 && 2 - 1 - 1 == 0", true],
    ["!has(self.absent) && has(self.name)", true],
    ["self.count > 2 ? 'many' : 'few'", "many"],
    ["self.name.startsWith('a') || self.absent", true],
    ["self.absent || true", true],
    ["self.absent && false", false],
    ["self.list.size() == 2 && size(self.name) == 3", true],
    ["self.list[0].contains(':') != self.list[1].contains(':')", true],
    ["self.list.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())", true],
    ["self.list.exists(c, isCIDR(c) && cidr(c).containsIP('10.2.3.4'))", true],
    ["self.list.exists(c, cidr(c).containsIP('192.168.0.1'))", false],
    ["cidr('10.0.0.1/8') == cidr('10.0.0.1/8').masked()", false],
    ["cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", true],
    ["isIP('::1') && !isIP('300.1.1.1') && ip('::1').family() == 6", true],
    ["cidr('fd00::/64').prefixLength()", 64],
    ["string(ip('FD00:0:0:0::1'))", "fd00::1"],
    ["self.items.exists_one(i, i.id == 2)", true],
    ["self.items.map(i, i.id * 2)", [2, 4]],
    ["self.items.filter(i, i.id > 1)", [{ id: 2 }]],
    ["'k' in self.map && !('z' in self.map) && 3 in [1, 2, 3]", true],
    ["self.map['k']", "v"],
    ["'10.0.0.0/8'.replace('.', '-').replace('/', '-')", "10-0-0-0-8"],
    ["self.name.matches('^[a-c]+$')", true],
    ['"it\\"s" + \' ok\'', 'it"s ok'],
    ["null == null", true],
    ["[1] + [2] == [1, 2]", true],
  ];
  for (const [text, expected] of cases) test(text, () => assert.deepEqual(evaluate(text), expected));

  for (const text of ["self.absent", "self.list[5]", "1 + 'a'", "cidr('x')", "self.name && true", "unknown", "1 / 0"]) {
    test(`${text} has no value`, () => assert.throws(() => evaluate(text), CelError));
  }

  for (const text of ["", "1 +", "(1", "a b", "self.", "self.name.launch()", "now()", "has(self)", "[1,2", "'open"]) {
    test(`${JSON.stringify(text)} is refused`, () => assert.throws(() => evaluate(text), CelSyntaxError));
  }

  test("work and depth are bounded", () => {
    const nested = "[1,1,1,1,1,1,1,1,1,1]";
    const deep = `${nested}.all(a, ${nested}.all(b, ${nested}.all(c, ${nested}.all(d, ${nested}.all(e, a == e)))))`;
    assert.throws(() => evaluate(deep), CelError);
    assert.throws(() => parseCel(`${"(".repeat(5000)}1${")".repeat(5000)}`), CelSyntaxError);
    assert.throws(() => parseCel(`${"!".repeat(5000)}true`), CelSyntaxError);
  });

  test("noise ends in an error of its own kind, or a value", () => {
    const word = fc.constantFrom(
      ..."self . name ( ) [ ] , && || ! == in has 1 'x' ? : - + all exists x cidr".split(" "),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 15 }), (words) => {
        try {
          evaluate(words.join(" "));
        } catch (error) {
          assert.ok(error instanceof CelSyntaxError || error instanceof CelError, String(error));
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe("rules in a schema", () => {
  const rule = (text: string, more = {}): unknown => ({ rule: text, message: text, ...more });
  const schema = {
    type: "object",
    properties: {
      spec: {
        type: "object",
        "x-kubernetes-validations": [
          rule("self.a == oldSelf.a"),
          rule("self.a < 10", { fieldPath: ".a", reason: "FieldValueForbidden" }),
          rule("frobnicate(self)"),
        ],
        properties: {
          a: { type: "integer" },
          list: { type: "array", items: { type: "string", "x-kubernetes-validations": [rule("isIP(self)")] } },
        },
      },
    },
  };

  test("hold at creation, except those about change", () => {
    assert.deepEqual(brokenRules({ spec: { a: 1 } }, undefined, schema), []);
    const causes = brokenRules({ spec: { a: 11, list: ["::1", "x"] } }, undefined, schema);
    assert.deepEqual(
      causes.map(({ field, reason }) => [field, reason]),
      [
        ["spec.a", "FieldValueForbidden"],
        ["spec.list[1]", "FieldValueInvalid"],
      ],
    );
  });

  test("about change hold at updates", () => {
    const [cause] = brokenRules({ spec: { a: 2 } }, { spec: { a: 1 } }, schema);
    assert.equal(cause?.field, "spec");
    assert.match(cause?.message ?? "", /self\.a == oldSelf\.a/);
    assert.deepEqual(brokenRules({ spec: { a: 1 } }, { spec: { a: 1 } }, schema), []);
  });
});
