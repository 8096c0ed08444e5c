import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { age, humanDuration } from "../../src/table/duration.ts";
import { evaluateJsonPath, parseJsonPath } from "../../src/table/json-path.ts";
import { podCells } from "../../src/table/pod.ts";

describe("durations", () => {
  const second = 1000;
  const minute = 60 * second;
  const hour = 60 * minute;
  const day = 24 * hour;
  const cases: [number, string][] = [
    [-5 * second, "<invalid>"],
    [0, "0s"],
    [119 * second, "119s"],
    [2 * minute, "2m"],
    [3 * minute + 12 * second, "3m12s"],
    [10 * minute + 5 * second, "10m"],
    [179 * minute, "179m"],
    [3 * hour + 5 * minute, "3h5m"],
    [47 * hour, "47h"],
    [2 * day + 3 * hour, "2d3h"],
    [8 * day, "8d"],
    [730 * day, "2y"],
    [800 * day, "2y70d"],
    [3000 * day, "8y"],
  ];
  for (const [milliseconds, expected] of cases) {
    test(expected, () => assert.equal(humanDuration(milliseconds), expected));
  }
  test("no time", () => assert.equal(age(undefined, 0), "<unknown>"));
});

describe("JSONPath of printer columns", () => {
  const object = {
    spec: {
      list: [
        { name: "a", v: 1 },
        { name: "b", v: 2 },
      ],
      "with.dot": 5,
      map: { k: "v" },
    },
  };
  const cases: [string, unknown[]][] = [
    [".spec.list[0].name", ["a"]],
    [".spec.list[-1].name", ["b"]],
    [".spec.list[*].v", [1, 2]],
    ['.spec.list[?(@.name=="b")].v', [2]],
    [".spec['with.dot']", [5]],
    [".spec.with\\.dot", [5]],
    ["{.spec.map.k}", ["v"]],
    [".spec.missing.deep", []],
    [".constructor", []],
  ];
  for (const [path, expected] of cases) {
    test(path, () => assert.deepEqual(evaluateJsonPath(parseJsonPath(path) ?? [], object), expected));
  }
  test("what is not understood is no path", () => {
    for (const path of [".spec[", "spec", ".a..b", ".a[1:2]", ".a[?(@.x>1)]"])
      assert.equal(parseJsonPath(path), undefined, path);
  });
});

describe("the status of a pod", () => {
  const status = (pod: Record<string, unknown>, metadata: Record<string, unknown> = {}): unknown =>
    podCells({ apiVersion: "v1", kind: "Pod", metadata, ...pod }, 0).slice(1, 4);
  const container = (state: unknown, more = {}): unknown => ({ ready: false, restartCount: 0, state, ...more });
  const one = { spec: { containers: [{}] } };
  const cases: [string, Record<string, unknown>, unknown[]][] = [
    ["pending", { ...one, status: { phase: "Pending" } }, ["0/1", "Pending", "0"]],
    [
      "running",
      { ...one, status: { phase: "Running", containerStatuses: [container({ running: {} }, { ready: true })] } },
      ["1/1", "Running", "0"],
    ],
    [
      "waiting for a reason",
      {
        ...one,
        status: {
          phase: "Pending",
          containerStatuses: [container({ waiting: { reason: "CrashLoopBackOff" } }, { restartCount: 3 })],
        },
      },
      ["0/1", "CrashLoopBackOff", "3"],
    ],
    [
      "ended with a code",
      { ...one, status: { phase: "Failed", containerStatuses: [container({ terminated: { exitCode: 3 } })] } },
      ["0/1", "ExitCode:3", "0"],
    ],
    [
      "completed",
      {
        ...one,
        status: {
          phase: "Succeeded",
          containerStatuses: [container({ terminated: { exitCode: 0, reason: "Completed" } })],
        },
      },
      ["0/1", "Completed", "0"],
    ],
    [
      "initialising",
      {
        spec: { containers: [{}], initContainers: [{}, {}] },
        status: {
          phase: "Pending",
          initContainerStatuses: [container({ terminated: { exitCode: 0 } }), container({ running: {} })],
        },
      },
      ["0/1", "Init:1/2", "0"],
    ],
  ];
  for (const [what, pod, expected] of cases) test(what, () => assert.deepEqual(status(pod), expected));
  test("terminating", () => {
    const cells = status({ ...one, status: { phase: "Running" } }, { deletionTimestamp: "2026-01-01T00:00:00Z" });
    assert.deepEqual(cells, ["0/1", "Terminating", "0"]);
  });
});
