import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  applyDiff,
  decodeValue,
  encodeValue,
  OvsdbError,
  parseSchema,
  valuesEqual,
  type ColumnSchema,
  type InputValue,
  type Value,
} from "@beyondfabric/ovsdb";
import { defaultValue } from "../src/notation.ts";

const schema = parseSchema(JSON.parse(readFileSync("/usr/share/openvswitch/vswitch.ovsschema", "utf8")));

function column(table: string, name: string): ColumnSchema {
  return schema.tables.get(table)!.columns.get(name)!;
}

const UUID_A = "aaaaaaaa-0000-4000-8000-000000000001";
const UUID_B = "bbbbbbbb-0000-4000-8000-000000000002";

void test("the switch's own schema is understood", () => {
  assert.equal(schema.name, "Open_vSwitch");
  const kinds = [
    "Bridge.name",
    "Bridge.fail_mode",
    "Bridge.ports",
    "Bridge.external_ids",
    "Bridge.flow_tables",
    "Port.tag",
  ];
  assert.deepEqual(
    kinds.map((each) => {
      const [table, name] = each.split(".") as [string, string];
      return column(table, name).kind;
    }),
    ["scalar", "optional", "set", "map", "map", "optional"],
  );
  assert.deepEqual(column("Bridge", "fail_mode").key.enum, new Set(["secure", "standalone"]));
  assert.equal(column("Port", "tag").key.max, 4095);
  assert.equal(column("Bridge", "ports").key.refTable, "Port");
  assert.equal(column("Bridge", "name").mutable, false);
  assert.deepEqual(schema.tables.get("Bridge")!.indexes, [["name"]]);
});

void test("values are read and written by their column's type", () => {
  const cases: [ColumnSchema, unknown, Value, unknown?][] = [
    [column("Bridge", "name"), "br0", "br0"],
    [column("Bridge", "fail_mode"), ["set", []], undefined],
    [column("Bridge", "fail_mode"), "secure", "secure"],
    [column("Bridge", "ports"), ["uuid", UUID_A], [UUID_A], ["set", [["uuid", UUID_A]]]],
    [
      column("Bridge", "ports"),
      [
        "set",
        [
          ["uuid", UUID_A],
          ["uuid", UUID_B],
        ],
      ],
      [UUID_A, UUID_B],
    ],
    [column("Bridge", "external_ids"), ["map", [["a", "1"]]], { a: "1" }],
    [column("Bridge", "flow_tables"), ["map", [[60, ["uuid", UUID_A]]]], { 60: UUID_A }],
    [column("Bridge", "mcast_snooping_enable"), true, true],
    [column("Port", "trunks"), ["set", [5, 3, 10]], [3, 5, 10], ["set", [3, 5, 10]]],
    [column("Port", "tag"), ["set", [7]], 7, 7],
  ];
  for (const [type, json, value, written] of cases) {
    assert.deepStrictEqual(decodeValue(type, json), value);
    assert.deepStrictEqual(encodeValue(type, value as InputValue), written ?? json);
  }
  const pollution = decodeValue(column("Bridge", "external_ids"), ["map", [["__proto__", "x"]]]);
  assert.ok(Object.hasOwn(pollution as object, "__proto__"));
  assert.equal(Object.getPrototypeOf(pollution), Object.prototype);
});

void test("what the server may not send is refused", () => {
  const wrong: [ColumnSchema, unknown][] = [
    [column("Bridge", "name"), 1],
    [column("Bridge", "name"), ["set", []]],
    [column("Bridge", "name"), ["set", ["a", "b"]]],
    [column("Bridge", "fail_mode"), ["set", ["secure", "standalone"]]],
    [column("Bridge", "ports"), ["uuid", "x"]],
    [column("Bridge", "ports"), ["set", [UUID_A]]],
    [column("Bridge", "external_ids"), { a: "1" }],
    [column("Bridge", "external_ids"), ["map", [["a"]]]],
    [column("Bridge", "external_ids"), ["map", [["a", 1]]]],
    [column("Port", "tag"), null],
  ];
  for (const [type, json] of wrong) {
    assert.throws(
      () => decodeValue(type, json),
      (error) => error instanceof OvsdbError && error.code === "OVSDB_PROTOCOL",
      JSON.stringify(json),
    );
  }
  for (const json of [
    null,
    [],
    {},
    { tables: 1 },
    { tables: { a: { columns: { b: {} } } } },
    { tables: { a: { columns: { b: { type: "text" } } } } },
  ]) {
    assert.throws(() => parseSchema(json), OvsdbError, JSON.stringify(json));
  }
});

void test("any value of a column survives the round trip", () => {
  const ids = column("Bridge", "external_ids");
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" })), (map) => {
      const back = decodeValue(ids, JSON.parse(JSON.stringify(encodeValue(ids, map))));
      assert.ok(valuesEqual(back, map));
    }),
  );
  const trunks = column("Port", "trunks");
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 4095 }), { maxLength: 50 }), (numbers) => {
      const expected = [...new Set(numbers)].sort((a, b) => a - b);
      assert.deepEqual(decodeValue(trunks, encodeValue(trunks, numbers)), expected);
    }),
  );
});

void test("a difference applied to the old value gives the new one", () => {
  const trunks = column("Port", "trunks");
  const vlan = fc.array(fc.integer({ min: 0, max: 30 })).map((each) => [...new Set(each)].sort((a, b) => a - b));
  fc.assert(
    fc.property(vlan, vlan, (old, next) => {
      const diff = [...old.filter((each) => !next.includes(each)), ...next.filter((each) => !old.includes(each))];
      assert.deepEqual(applyDiff(trunks, old, ["set", diff]), next);
    }),
  );
  const ids = column("Bridge", "external_ids");
  const map = fc.dictionary(fc.constantFrom("a", "b", "c", "__proto__"), fc.constantFrom("1", "2"), {
    noNullPrototype: true,
  });
  fc.assert(
    fc.property(map, map, (old, next) => {
      const diff = [
        ...Object.entries(old).filter(([key]) => !Object.hasOwn(next, key)),
        ...Object.entries(next).filter(([key, value]) => !Object.hasOwn(old, key) || old[key] !== value),
      ];
      assert.ok(valuesEqual(applyDiff(ids, old, ["map", diff]), next));
    }),
  );
  assert.equal(applyDiff(column("Port", "tag"), 5, ["set", []]), undefined);
  assert.equal(applyDiff(column("Port", "tag"), undefined, 6), 6);
});

void test("defaults are what a monitor leaves out", () => {
  assert.equal(defaultValue(column("Bridge", "name")), "");
  assert.equal(defaultValue(column("Bridge", "fail_mode")), undefined);
  assert.deepEqual(defaultValue(column("Bridge", "ports")), []);
  assert.deepEqual(defaultValue(column("Bridge", "external_ids")), {});
  assert.equal(defaultValue(column("Bridge", "stp_enable")), false);
  assert.equal(defaultValue(column("Open_vSwitch", "next_cfg")), 0);
});
