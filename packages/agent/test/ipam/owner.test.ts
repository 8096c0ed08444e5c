import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { podOwner } from "../../src/ipam/owner.ts";
import type { OwnPod } from "../../src/ipam/owner.ts";

const stickyOwners = [
  { apiVersion: "kubevirt.io/v1", kind: "VirtualMachineInstance" },
  { apiVersion: "apps.kruise.io/v1beta1", kind: "StatefulSet" },
];

function ownerOf(
  name: string,
  controller: [string, string, string] | undefined,
  labels: Record<string, string> = {},
): string {
  const pod: OwnPod = {
    namespace: "shop",
    name,
    uid: "pod-uid",
    annotations: {},
    labels: LabelSet.of(labels),
    ...(controller && {
      controller: { apiVersion: controller[0], kind: controller[1], name: controller[2], uid: "uid" },
    }),
  };
  const { owner, isSticky, ordinal } = podOwner(pod, stickyOwners);
  assert.equal(owner.namespace, "shop");
  const words = [owner.apiVersion, owner.kind, owner.name, owner.uid, owner.slot];
  return `${words.join(" ")}${isSticky ? " sticky" : ""} ${ordinal ?? "-"}`;
}

void describe("whose identity a pod's addresses are", () => {
  for (const [name, controller, labels, expected] of [
    ["db-3", ["apps/v1", "StatefulSet", "db"], {}, "apps/v1 StatefulSet db uid db-3 sticky 3"],
    ["db-3", ["apps/v1beta2", "StatefulSet", "db"], {}, "apps/v1beta2 StatefulSet db uid db-3 sticky 3"],
    ["db-x", ["apps/v1", "StatefulSet", "db"], {}, "apps/v1 StatefulSet db uid db-x sticky -"],
    ["other-1", ["apps/v1", "StatefulSet", "db"], {}, "apps/v1 StatefulSet db uid other-1 sticky -"],
    [
      "db-1",
      ["apps.kruise.io/v1alpha1", "StatefulSet", "db"],
      {},
      "apps.kruise.io/v1alpha1 StatefulSet db uid db-1 sticky 1",
    ],
    ["db-1", ["example.io/v1", "StatefulSet", "db"], {}, "example.io/v1 StatefulSet db uid  -"],
    [
      "launcher-x",
      ["kubevirt.io/v2", "VirtualMachineInstance", "vm"],
      {},
      "kubevirt.io/v2 VirtualMachineInstance vm uid  sticky -",
    ],
    [
      "web-5d4f-x",
      ["apps/v1", "ReplicaSet", "web-5d4f"],
      { "pod-template-hash": "5d4f" },
      "apps/v1 Deployment web   -",
    ],
    [
      "web-5d4f-x",
      ["apps/v1", "ReplicaSet", "web-5d4f"],
      { "pod-template-hash": "beef" },
      "apps/v1 ReplicaSet web-5d4f uid  -",
    ],
    ["web-x", ["apps/v1", "ReplicaSet", "web"], {}, "apps/v1 ReplicaSet web uid  -"],
    ["x", ["apps/v1", "ReplicaSet", "-5d4f"], { "pod-template-hash": "5d4f" }, "apps/v1 ReplicaSet -5d4f uid  -"],
    ["agent-x", ["apps/v1", "DaemonSet", "agent"], {}, "apps/v1 DaemonSet agent uid  -"],
    ["once-x", ["batch/v1", "Job", "once"], {}, "batch/v1 Job once uid  -"],
    ["alone", undefined, {}, "v1 Pod alone pod-uid  -"],
    ["etcd-node-1", ["v1", "Node", "node-1"], {}, "v1 Pod etcd-node-1 pod-uid  -"],
  ] as [string, [string, string, string] | undefined, Record<string, string>, string][]) {
    void it(`${name} of ${controller?.join(" ") ?? "nobody"} with ${JSON.stringify(labels)}`, () => {
      assert.equal(ownerOf(name, controller, labels), expected);
    });
  }
});
