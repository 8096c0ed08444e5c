import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Node, Pod } from "../src/kubelet/pod-model.ts";
import { awaitsNode, chooseNode, isSchedulable } from "../src/scheduler.ts";

const node = (name: string, ready = true, labels: Record<string, string> = {}): Node => ({
  metadata: { name, uid: name, labels },
  status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
});
const pod = (spec: Partial<Pod["spec"]> = {}, status?: Pod["status"]): Pod => ({
  metadata: { name: "p", uid: "1" },
  spec: { containers: [], ...spec },
  ...(status === undefined ? {} : { status }),
});

describe("the scheduler's choice", () => {
  it("takes the ready node with the fewest pods, the first by number among equals", () => {
    const nodes = [node("node-10"), node("node-2"), node("node-1", false)];
    assert.deepEqual(chooseNode(pod(), nodes, new Map()), { node: "node-2" });
    assert.deepEqual(chooseNode(pod(), nodes, new Map([["node-2", 1]])), { node: "node-10" });
  });

  it("honours nodeSelector and says why no node fits", () => {
    const nodes = [
      node("node-1", true, { zone: "a" }),
      node("node-2", true, { zone: "b" }),
      node("node-3", false, { zone: "c" }),
    ];
    assert.deepEqual(chooseNode(pod({ nodeSelector: { zone: "b" } }), nodes, new Map()), { node: "node-2" });
    assert.deepEqual(chooseNode(pod({ nodeSelector: { zone: "c" } }), nodes, new Map()), {
      reason: "0/3 nodes are available: 1 not ready or unschedulable, 2 did not match the pod's node selector.",
    });
  });

  it("leaves cordoned and vanishing nodes alone", () => {
    assert.ok(!isSchedulable({ ...node("n"), spec: { unschedulable: true } }));
    assert.ok(
      !isSchedulable({ ...node("n"), metadata: { name: "n", uid: "n", deletionTimestamp: "2026-01-01T00:00:00Z" } }),
    );
    assert.ok(isSchedulable(node("n")));
  });

  it("looks only at pods that wait for it", () => {
    assert.ok(awaitsNode(pod()));
    assert.ok(awaitsNode(pod({ schedulerName: "default-scheduler" })));
    assert.ok(!awaitsNode(pod({ nodeName: "node-1" })));
    assert.ok(!awaitsNode(pod({ schedulerName: "another" })));
    assert.ok(!awaitsNode(pod({}, { phase: "Failed" })));
  });
});
