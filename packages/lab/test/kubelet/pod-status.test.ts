import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Pod, PodStatus } from "../../src/kubelet/pod-model.ts";
import { type ContainerFacts, type PodFacts, podPhase, podStatus, restarts } from "../../src/kubelet/pod-status.ts";

const running: ContainerFacts = { name: "c", state: "running", id: "1", startedAt: 1000, restartCount: 0, ready: true };
const ended = (exitCode: number): ContainerFacts => ({
  name: "c",
  state: "terminated",
  id: "1",
  startedAt: 1000,
  finishedAt: 2000,
  exitCode,
  restartCount: 0,
  ready: false,
});
const waiting: ContainerFacts = { name: "c", state: "waiting", restartCount: 0, ready: false };
const facts = (containers: ContainerFacts[], initContainers: ContainerFacts[] = []): PodFacts => ({
  hostAddress: "172.31.0.11",
  addresses: ["10.244.0.2", "fd00:244::2"],
  startedAt: 500,
  initContainers,
  containers,
});
const pod = (spec: Partial<Pod["spec"]> = {}): Pod => ({
  metadata: { name: "p", namespace: "default", uid: "u" },
  spec: { containers: [{ name: "c", image: "i" }], ...spec },
});
const conditionsOf = (status: PodStatus) =>
  Object.fromEntries((status.conditions ?? []).map((condition) => [condition.type, condition.status]));

describe("a pod's phase", () => {
  it("follows its containers and its restart policy", () => {
    assert.equal(podPhase("Always", facts([waiting])), "Pending");
    assert.equal(podPhase("Always", facts([running])), "Running");
    assert.equal(podPhase("Never", facts([ended(0)])), "Succeeded");
    assert.equal(podPhase("Never", facts([ended(1)])), "Failed");
    assert.equal(podPhase("OnFailure", facts([ended(0)])), "Succeeded");
    assert.equal(podPhase("OnFailure", facts([ended(1)])), "Running");
    assert.equal(podPhase("Always", facts([ended(0)])), "Running");
    assert.equal(podPhase("Never", facts([ended(0), running])), "Running");
    assert.equal(podPhase("Never", facts([ended(0), ended(2)])), "Failed");
  });

  it("is Pending until the init containers have ended well, and Failed when one may not try again", () => {
    assert.equal(podPhase("Always", facts([waiting], [running])), "Pending");
    assert.equal(podPhase("Always", facts([waiting], [ended(1)])), "Pending");
    assert.equal(podPhase("Never", facts([waiting], [ended(1)])), "Failed");
    assert.equal(podPhase("Never", facts([running], [ended(0)])), "Running");
  });

  it("is Running while a crashed container waits for its restart", () => {
    const backoff: ContainerFacts = {
      ...waiting,
      waitingReason: "CrashLoopBackOff",
      last: { id: "1", exitCode: 1, startedAt: 0, finishedAt: 1 },
    };
    assert.equal(podPhase("Always", facts([backoff])), "Running");
  });

  it("restarts as the policy says", () => {
    assert.deepEqual(
      [restarts("Always", 0), restarts("OnFailure", 0), restarts("OnFailure", 1), restarts("Never", 1)],
      [true, false, true, false],
    );
  });
});

describe("a pod's status", () => {
  it("carries addresses, host and the conditions of a running pod", () => {
    const status = podStatus(pod(), facts([running]), undefined, 3000);
    assert.equal(status.podIP, "10.244.0.2");
    assert.deepEqual(status.podIPs, [{ ip: "10.244.0.2" }, { ip: "fd00:244::2" }]);
    assert.equal(status.hostIP, "172.31.0.11");
    assert.equal(status.startTime, "1970-01-01T00:00:00Z");
    assert.deepEqual(conditionsOf(status), {
      Initialized: "True",
      Ready: "True",
      ContainersReady: "True",
      PodScheduled: "True",
    });
    assert.deepEqual(status.containerStatuses?.[0]?.state, { running: { startedAt: "1970-01-01T00:00:01Z" } });
  });

  it("says which containers are not ready", () => {
    const status = podStatus(pod(), facts([{ ...running, ready: false }]), undefined, 3000);
    assert.deepEqual(conditionsOf(status), {
      Initialized: "True",
      Ready: "False",
      ContainersReady: "False",
      PodScheduled: "True",
    });
    assert.match(status.conditions?.find((condition) => condition.type === "Ready")?.message ?? "", /\[c\]/);
  });

  it("keeps the time of a transition, and the conditions of others", () => {
    const gate = { type: "example.com/gate", status: "True" } as const;
    const first = podStatus(pod(), facts([running]), { conditions: [gate] }, 3000);
    const second = podStatus(pod(), facts([running]), first, 60_000);
    assert.deepEqual(second.conditions, first.conditions);
    assert.ok(second.conditions?.some((condition) => condition.type === gate.type));
    const third = podStatus(pod(), facts([{ ...running, ready: false }]), second, 60_000);
    assert.equal(
      third.conditions?.find((condition) => condition.type === "Ready")?.lastTransitionTime,
      "1970-01-01T00:01:00Z",
    );
    assert.equal(
      third.conditions?.find((condition) => condition.type === "Initialized")?.lastTransitionTime,
      "1970-01-01T00:00:03Z",
    );
  });

  it("is not ready before its readiness gates are met", () => {
    const gated = pod({ readinessGates: [{ conditionType: "g" }] });
    assert.equal(conditionsOf(podStatus(gated, facts([running]), undefined, 0))["Ready"], "False");
    assert.equal(
      conditionsOf(podStatus(gated, facts([running]), { conditions: [{ type: "g", status: "True" }] }, 0))["Ready"],
      "True",
    );
  });

  it("tells how a container ended", () => {
    const status = podStatus(pod({ restartPolicy: "Never" }), facts([ended(3)]), undefined, 3000);
    assert.equal(status.phase, "Failed");
    assert.equal(status.containerStatuses?.[0]?.state.terminated?.exitCode, 3);
    assert.equal(status.containerStatuses?.[0]?.state.terminated?.reason, "Error");
  });
});
