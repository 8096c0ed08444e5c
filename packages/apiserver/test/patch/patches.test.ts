import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { applyConfiguration, trackUpdate } from "../../src/patch/apply.ts";
import { applyJsonPatch } from "../../src/patch/json-patch.ts";
import { builtInListKinds, schemaListKinds } from "../../src/patch/list-keys.ts";
import { applyMergePatch } from "../../src/patch/merge-patch.ts";
import { applyStrategicMerge } from "../../src/patch/strategic-merge.ts";
import type { KubeObject } from "../../src/object.ts";

const kinds = builtInListKinds("Pod");

describe("merge patch (RFC 7386, appendix A)", () => {
  const cases: [unknown, unknown, unknown][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, expected] of cases) {
    test(`${JSON.stringify(target)} + ${JSON.stringify(patch)}`, () => {
      assert.deepEqual(applyMergePatch(target, patch), expected);
    });
  }
});

describe("json patch (RFC 6902)", () => {
  test("operations in sequence, the document itself untouched", () => {
    const document = { a: [1, 2, 3], b: { c: "d" } };
    const result = applyJsonPatch(document, [
      { op: "add", path: "/a/1", value: 9 },
      { op: "add", path: "/a/-", value: 8 },
      { op: "remove", path: "/a/0" },
      { op: "move", from: "/b/c", path: "/e~1f" },
      { op: "copy", from: "/a", path: "/b/list" },
      { op: "replace", path: "/a/0", value: 7 },
      { op: "test", path: "/e~1f", value: "d" },
    ]);
    assert.deepEqual(result, { a: [7, 2, 3, 8], b: { list: [9, 2, 3, 8] }, "e/f": "d" });
    assert.deepEqual(document, { a: [1, 2, 3], b: { c: "d" } });
  });

  const bad: [unknown, number][] = [
    [{}, 400],
    [[{ op: "add", path: "a", value: 1 }], 400],
    [[{ op: "jump", path: "/a" }], 400],
    [[{ op: "remove", path: "/missing" }], 422],
    [[{ op: "test", path: "/a", value: 2 }], 422],
    [[{ op: "add", path: "/list/5", value: 1 }], 422],
    [[{ op: "add", path: "/list/01", value: 1 }], 422],
    [[{ op: "move", from: "/o", path: "/o/x" }], 422],
    [[{ op: "add", path: "/__proto__", value: 1 }], 422],
    [[{ op: "replace", path: "/__proto__/x", value: 1 }], 422],
  ];
  for (const [patch, status] of bad) {
    test(`${JSON.stringify(patch)} is refused with ${status}`, () => {
      assert.throws(() => applyJsonPatch({ a: 1, list: [1], o: {} }, patch), { httpStatus: status });
    });
  }
});

describe("strategic merge patch", () => {
  const merge = (target: unknown, patch: unknown): unknown => applyStrategicMerge(target, patch, kinds);

  test("lists with a key merge by it, others are replaced", () => {
    const target = {
      spec: {
        containers: [
          { name: "a", image: "1", command: ["x", "y"] },
          { name: "b", image: "1" },
        ],
      },
    };
    const patch = { spec: { containers: [{ name: "a", image: "2", command: ["z"] }] } };
    assert.deepEqual(merge(target, patch), {
      spec: {
        containers: [
          { name: "a", image: "2", command: ["z"] },
          { name: "b", image: "1" },
        ],
      },
    });
  });

  test("members are deleted, replaced as a whole, and ordered", () => {
    const target = { status: { conditions: [{ type: "A" }, { type: "B" }, { type: "C" }] } };
    const deleted = merge(target, { status: { conditions: [{ type: "B", $patch: "delete" }] } });
    assert.deepEqual(deleted, { status: { conditions: [{ type: "A" }, { type: "C" }] } });
    const ordered = merge(target, { status: { "$setElementOrder/conditions": [{ type: "C" }, { type: "A" }] } });
    assert.deepEqual(ordered, { status: { conditions: [{ type: "B" }, { type: "C" }, { type: "A" }] } });
    const replaced = merge(target, { status: { conditions: [{ $patch: "replace" }, { type: "Z" }] } });
    assert.deepEqual(replaced, { status: { conditions: [{ type: "Z" }] } });
  });

  test("sets are joined and subtracted from", () => {
    const target = { metadata: { finalizers: ["a", "b"] } };
    assert.deepEqual(merge(target, { metadata: { "$deleteFromPrimitiveList/finalizers": ["a"] } }), {
      metadata: { finalizers: ["b"] },
    });
    assert.deepEqual(merge(target, { metadata: { finalizers: ["b", "c"] } }), {
      metadata: { finalizers: ["a", "b", "c"] },
    });
  });

  test("$retainKeys drops the rest", () => {
    const target = { spec: { volumes: [{ name: "v", emptyDir: {} }] } };
    const patch = { spec: { volumes: [{ name: "v", $retainKeys: ["name", "hostPath"], hostPath: { path: "/" } }] } };
    assert.deepEqual(merge(target, patch), { spec: { volumes: [{ name: "v", hostPath: { path: "/" } }] } });
  });

  test("a member without its key, or an unknown directive, is refused", () => {
    assert.throws(() => merge({}, { spec: { containers: [{ image: "x" }] } }), { httpStatus: 400 });
    assert.throws(() => merge({}, { spec: { $patch: "explode" } }), { httpStatus: 400 });
    assert.throws(() => merge({}, []), { httpStatus: 400 });
  });
});

describe("server-side apply", () => {
  const request = { manager: "one", force: false, subresource: "" as const, kinds };
  const config = (spec: Record<string, unknown>, labels: Record<string, string> = {}): KubeObject => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p", labels },
    spec,
  });

  test("what a manager leaves out later goes, what others hold stays", () => {
    const first = applyConfiguration(undefined, config({ a: 1, b: 2 }, { x: "1", y: "1" }), request);
    const second = applyConfiguration(first, config({ b: 2 }, { y: "1" }), { ...request, manager: "two" });
    const third = applyConfiguration(second, config({ a: 1 }, { x: "1" }), request);
    assert.deepEqual(third["spec"], { a: 1, b: 2 });
    assert.deepEqual(third.metadata.labels, { x: "1", y: "1" });
    const fourth = applyConfiguration(third, config({}, {}), { ...request, manager: "two" });
    assert.deepEqual(fourth["spec"], { a: 1 });
    assert.deepEqual(fourth.metadata.labels, { x: "1" });
  });

  test("members of keyed lists come and go with their managers", () => {
    const container = (name: string): unknown => ({ name, image: "i" });
    const first = applyConfiguration(undefined, config({ containers: [container("a")] }), request);
    const second = applyConfiguration(first, config({ containers: [container("b")] }), { ...request, manager: "two" });
    assert.deepEqual(second["spec"], { containers: [container("a"), container("b")] });
    const third = applyConfiguration(second, config({ containers: [] }), request);
    assert.deepEqual(third["spec"], { containers: [container("b")] });
  });

  test("another value for a field of another manager is a conflict, until forced", () => {
    const first = applyConfiguration(undefined, config({ a: 1 }), request);
    const two = { ...request, manager: "two" };
    assert.throws(() => applyConfiguration(first, config({ a: 2 }), two), {
      httpStatus: 409,
      message: /conflict with "one": \.spec\.a/,
    });
    const forced = applyConfiguration(first, config({ a: 2 }), { ...two, force: true });
    assert.deepEqual(forced["spec"], { a: 2 });
    assert.throws(() => applyConfiguration(forced, config({ a: 3 }), request), { httpStatus: 409 });
  });

  test("an update takes what it changes", () => {
    const first = applyConfiguration(undefined, config({ a: 1, b: 1 }), request);
    const updated: KubeObject = { ...first, spec: { a: 5, b: 1 } };
    const managedFields = trackUpdate(first, updated, "editor", "", kinds) ?? [];
    const tracked: KubeObject = { ...updated, metadata: { ...updated.metadata, managedFields } };
    assert.throws(() => applyConfiguration(tracked, config({ a: 1, b: 1 }), request), /conflict with "editor"/);
    assert.equal(trackUpdate({ ...first, metadata: { name: "p" } }, updated, "editor", "", kinds), undefined);
  });

  test("applying the same twice changes nothing", () => {
    const first = applyConfiguration(
      undefined,
      config({ containers: [{ name: "a", ports: [{ containerPort: 1 }] }] }),
      request,
    );
    const again = applyConfiguration(
      first,
      config({ containers: [{ name: "a", ports: [{ containerPort: 1 }] }] }),
      request,
    );
    assert.deepEqual(again, first);
  });

  test("list kinds of a custom resource come from its schema", () => {
    const list = (more: Record<string, unknown>): unknown => ({ type: "array", items: { type: "object" }, ...more });
    const lists = schemaListKinds({
      type: "object",
      properties: {
        spec: {
          type: "object",
          properties: {
            keyed: list({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"] }),
            set: list({ "x-kubernetes-list-type": "set" }),
            plain: list({}),
          },
        },
      },
    });
    assert.deepEqual(lists(["spec", "keyed"]), { type: "map", keys: ["id"] });
    assert.deepEqual(lists(["spec", "set"]), { type: "set" });
    assert.deepEqual(lists(["spec", "plain"]), { type: "atomic" });
  });
});
