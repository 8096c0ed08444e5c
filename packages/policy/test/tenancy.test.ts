import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { judgeTenancy, type Party } from "../src/index.ts";

function pod(namespace: string, tenant?: string): Party {
  return {
    kind: "pod",
    address: "10.1.0.1",
    pod: {
      name: "a",
      uid: `${namespace}-a`,
      node: "n1",
      labels: LabelSet.empty,
      ports: [],
      namespace: { name: namespace, labels: LabelSet.empty, ...(tenant === undefined ? {} : { tenant }) },
    },
  };
}

const node: Party = { kind: "node", address: "10.2.0.1", node: "n1" };
const outside: Party = { kind: "outside", address: "192.0.2.1" };
const shared = new Set(["kube-system"]);

describe("tenancy", () => {
  const cases: [source: Party, destination: Party, allowed: boolean, because: string][] = [
    [pod("x", "bank"), pod("y", "bank"), true, 'namespaces x and y both have tenant "bank"'],
    [pod("x", "bank"), pod("y", "shop"), false, 'namespace x has tenant "bank" and namespace y has tenant "shop"'],
    [pod("x", "bank"), pod("y"), false, 'namespace x has tenant "bank" and namespace y has no tenant'],
    [pod("x", ""), pod("y"), false, 'namespace x has tenant "" and namespace y has no tenant'],
    [pod("x"), pod("y"), true, "namespaces x and y both have no tenant"],
    [pod("x", "bank"), pod("x", "bank"), true, "both are in namespace x"],
    [pod("x", "bank"), pod("kube-system"), true, "namespace kube-system is shared by all tenants"],
    [pod("x", "Bank"), pod("y", "bank"), false, 'namespace x has tenant "Bank" and namespace y has tenant "bank"'],
    [pod("x", "bank"), node, true, "node n1 talks to every tenant"],
    [pod("x", "bank"), outside, true, "192.0.2.1 is outside of the cluster and no tenant"],
  ];
  for (const [source, destination, allowed, because] of cases) {
    it(`${allowed ? "lets pass" : "refuses"}, both ways: ${because}`, () => {
      assert.deepEqual(judgeTenancy(source, destination, shared), { allowed, because });
      assert.equal(judgeTenancy(destination, source, shared).allowed, allowed);
    });
  }
});
