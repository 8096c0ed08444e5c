import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { evaluateDirection, parseNetworkPolicy, PolicyIndex, type PodParty } from "@beyondfabric/policy";
import { clusterPolicies, policyManifest, serviceName, type ServiceName } from "../../cluster/policies.ts";
import { NAMESPACES, recordedPod } from "../../cluster/recorded.ts";
import type { Setting } from "../../contenders/contender.ts";
import { policyCommands } from "../../contenders/ovn.ts";

const policies = clusterPolicies(1000, 1000);

function podOf({ namespace, app }: ServiceName, address: string): PodParty {
  const labels = LabelSet.of({ app });
  const named = { name: namespace, labels: LabelSet.of({ "kubernetes.io/metadata.name": namespace }) };
  return { kind: "pod", address, pod: { name: app, uid: address, node: "n", namespace: named, labels, ports: [] } };
}

void describe("the policies of a recorded cluster", () => {
  void it("are spread evenly, each about a caller of its service's namespace and a port of its own", () => {
    const perService = new Map<string, number>();
    for (const { to, from } of policies) {
      perService.set(to.app, (perService.get(to.app) ?? 0) + 1);
      assert.equal(from.namespace, to.namespace);
      assert.notEqual(from.app, to.app);
    }
    assert.deepEqual([...new Set(perService.values())], [10]);
    assert.equal(perService.size, 100);
    const rules = policies.map(({ to, from, ports }) => `${to.app} ${from.app} ${ports[0]!.port}`);
    assert.equal(new Set(rules).size, policies.length);
  });

  void it("are about services that the recorded pods are of", () => {
    for (const at of [0, 9, 10, 999]) {
      const { metadata } = recordedPod(at, 30);
      const { namespace, app } = serviceName(Math.floor(at / 10));
      assert.equal(metadata.namespace, namespace);
      assert.equal((metadata["labels"] as { app: string }).app, app);
    }
  });

  void it("say in the API what they say", () => {
    const index = new PolicyIndex();
    const foreign = {
      name: "x",
      to: serviceName(1),
      from: serviceName(0),
      ports: [{ protocol: "UDP", port: 9 } as const],
    };
    for (const policy of [...policies, foreign]) {
      const parsed = parseNetworkPolicy(policyManifest(policy));
      assert.deepEqual(parsed.violations, []);
      index.set(parsed.policy!);
    }
    const subject = podOf(serviceName(1), "10.1.0.1");
    const opened = (from: ServiceName): number => {
      const peer = podOf(from, "10.1.0.2");
      const { openings } = evaluateDirection(index, { direction: "ingress", subject, peer });
      return openings.kind === "ports" ? openings.TCP.length + openings.UDP.length : Number.NaN;
    };
    assert.equal(opened(serviceName(0)), 1);
    assert.ok(opened(serviceName(1 + NAMESPACES)) > 0);
    assert.equal(opened(serviceName(2)), 0);
  });

  void it("make no namespace's services callers of themselves when the cluster is too small", () => {
    assert.throws(() => clusterPolicies(10, 250), /not a multiple of 250/);
    assert.throws(() => clusterPolicies(10, 1001), /not a multiple of 250/);
  });

  void it("become port groups and ACLs of OVN for the pods of this node only, under one refusal", () => {
    const pods = ["a", "b"].map((name, at) => ({ name, address: `10.1.0.${at + 1}`, length: 16 }));
    const setting: Setting = {
      pods,
      services: [serviceName(1), undefined],
      sources: { field: "source", base: 0, bits: 1, first: 0, scatter: false },
      idlePorts: 0,
      clusterPods: 1000,
      policies,
    };
    const commands = policyCommands(setting);
    const own = policies.filter(({ to }) => to.app === "service-1");
    const acls = commands.filter((command) => command.includes("acl-add"));
    assert.equal(acls.length, own.length + 2);
    assert.equal(acls.filter((command) => command.at(-1) === "drop").length, 1);
    assert.deepEqual(
      commands.filter(([verb]) => verb === "pg-add").map(([, , ...members]) => members),
      [...own, "isolated"].map(() => ["a"]),
    );
    const sets = commands.filter(([verb]) => verb === "create");
    assert.equal(sets.length, new Set(own.map(({ from }) => from.app)).size);
    // All ten pods of a caller, none of which lives here.
    for (const [, , , addresses] of sets) assert.equal(addresses!.split(",").length, 10);
  });
});
