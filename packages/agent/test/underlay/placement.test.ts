import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { parseNetwork, type UnderlayNetwork } from "@beyondfabric/kube/kinds";
import { judgeNic, placementsOf, type NicFacts, type Placement } from "../../src/underlay/placement.ts";

function network(name: string, interfaces: unknown, year = 2025, more: object = {}): UnderlayNetwork {
  const parsed = parseNetwork({
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "Network",
    metadata: { name, uid: name, creationTimestamp: `${year}-01-01T00:00:00Z` },
    spec: { type: "Underlay", interfaces, ...more },
  });
  assert.ok(parsed.ok && parsed.value.type === "Underlay", JSON.stringify(parsed));
  return parsed.value;
}

describe("the NIC of a network on a node", () => {
  const interfaces = [{ nodeSelector: { rack: "a", kind: "big" }, name: "bond0" }, { name: "eth2" }];

  it("is that of the first entry whose labels the node carries", () => {
    const nic = (labels: Record<string, string>): string | undefined =>
      placementsOf([network("wire", interfaces)], "node-1", LabelSet.of(labels)).placements[0]?.nic;
    assert.equal(nic({ rack: "a", kind: "big", other: "x" }), "bond0");
    assert.equal(nic({ rack: "a" }), "eth2");
    assert.equal(nic({}), "eth2");
  });

  it("is none where no entry fits", () => {
    const only = network("wire", interfaces.slice(0, 1));
    assert.deepEqual(placementsOf([only], "node-1", LabelSet.of({ rack: "b" })), { placements: [], violations: [] });
  });

  it("carries one network: the older one's", () => {
    const networks = [network("young", [{ name: "eth2" }], 2026), network("old", [{ name: "eth2" }])];
    const { placements, violations } = placementsOf(networks, "node-1", LabelSet.empty);
    assert.deepEqual(
      placements.map(({ network: name, nic }) => `${name} ${nic}`),
      ["old eth2"],
    );
    assert.deepEqual(violations, [
      {
        object: "Network/young",
        field: "spec.interfaces[0].name",
        rule: "is eth2, which on node node-1 carries Network old already",
        remedy: "name another NIC, or make its VLANs Subnets of that Network",
      },
    ]);
  });
});

describe("a NIC", () => {
  const placement: Placement = { network: "wire", nic: "eth2", mtu: undefined, allowNodeInterface: false };
  const sound: NicFacts = { present: true, linkUp: true, mtu: 1500, addresses: [] };
  const judge = (facts: Partial<NicFacts>, more: Partial<Placement> = {}): string => {
    const judged = judgeNic({ ...placement, ...more }, "node-1", { ...sound, ...facts });
    return judged.state === "ready" ? "ready" : `${judged.state}: ${judged.message}`;
  };

  it("is taken when it is there, up, and nobody else's", () => {
    assert.equal(judge({}), "ready");
    assert.equal(judge({}, { mtu: 1500 }), "ready");
  });

  it("is left alone when it carries the node's own address, unless that is allowed", () => {
    assert.match(
      judge({ addresses: ["10.0.0.1/24"] }),
      /^refused: .*eth2 of node node-1 carries 10\.0\.0\.1\/24.*allowNodeInterface/,
    );
    assert.equal(judge({ addresses: ["10.0.0.1/24"] }, { allowNodeInterface: true }), "ready");
  });

  it("is missing, down or too small, with a sentence for each", () => {
    assert.match(judge({ present: false, linkUp: false }), /^missing: .* does not exist; plug it in/);
    assert.match(judge({ linkUp: false }), /^down: .* has no link; check the cable/);
    assert.match(judge({}, { mtu: 9000 }), /^refused: .* has MTU 1500, less than spec\.mtu 9000/);
  });
});
