import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseNetwork, validateNetwork, validateNetworks } from "@beyondfabric/kube/kinds";
import { network, object, texts } from "./objects.ts";

void describe("Network", () => {
  void it("is VXLAN on 4789 with VNI 1 when it says no more than Overlay", () => {
    assert.deepEqual(network("overlay", { type: "Overlay" }), {
      name: "overlay",
      uid: "",
      resourceVersion: "",
      generation: 0,
      created: 0,
      type: "Overlay",
      encapsulation: "VXLAN",
      port: 4789,
      vni: 1,
      mtu: undefined,
      interfaces: [],
    });
  });

  void it("takes each protocol's own port", () => {
    const portOf = (spec: Record<string, unknown>): unknown => (network("n", spec) as { port?: number }).port;
    assert.equal(portOf({ type: "Overlay", encapsulation: "Geneve" }), 6081);
    assert.equal(portOf({ type: "Overlay", encapsulation: "GRE" }), undefined);
    assert.equal(portOf({ type: "Overlay", encapsulation: "Geneve", port: 4789 }), 4789);
  });

  void it("keeps the NIC of an Underlay per node", () => {
    const interfaces = [{ nodeSelector: { rack: "a" }, name: "eth1" }, { name: "eth2" }];
    assert.deepEqual(network("n", { type: "Underlay", interfaces }).interfaces, [
      { nodeSelector: { rack: "a" }, name: "eth1" },
      { nodeSelector: {}, name: "eth2" },
    ]);
  });

  void it("takes no NIC of the node's own unless told to", () => {
    const allowed = (spec: object): unknown =>
      (network("n", { type: "Underlay", interfaces: [{ name: "a" }], ...spec }) as { allowNodeInterface?: boolean })
        .allowNodeInterface;
    assert.deepEqual([allowed({}), allowed({ allowNodeInterface: true })], [false, true]);
  });

  for (const [spec, field] of [
    [undefined, "spec"],
    [{}, "spec.type"],
    [{ type: "overlay" }, "spec.type"],
    [{ type: "Overlay", encapsulation: "STT" }, "spec.encapsulation"],
    [{ type: "Overlay", encapsulation: "GRE", port: 1 }, "spec.port"],
    [{ type: "Overlay", vni: 0 }, "spec.vni"],
    [{ type: "Overlay", vni: 16777216 }, "spec.vni"],
    [{ type: "Overlay", mtu: 1279 }, "spec.mtu"],
    [{ type: "Overlay", interfaces: [{ name: "sixteen-letters-" }] }, "spec.interfaces[0].name"],
    [{ type: "Overlay", interfaces: [{ name: "a" }, { name: "b" }] }, "spec.interfaces[0]"],
    [
      { type: "Overlay", interfaces: [{ name: "a", nodeSelector: { rack: 3 } }] },
      "spec.interfaces[0].nodeSelector.rack",
    ],
    [{ type: "Underlay" }, "spec.interfaces"],
    [{ type: "Overlay", allowNodeInterface: false }, "spec.allowNodeInterface"],
    [{ type: "Underlay", interfaces: [{ name: "a" }], allowNodeInterface: "yes" }, "spec.allowNodeInterface"],
    [{ type: "Underlay", interfaces: [{ name: "a" }, { name: "b" }] }, "spec.interfaces[0]"],
    [{ type: "Underlay", interfaces: [{ name: "a" }], vni: 4 }, "spec.vni"],
  ] as const) {
    void it(`is refused at ${field}: ${JSON.stringify(spec)}`, () => {
      const violations = validateNetwork(object("Network", "n", spec));
      assert.deepEqual(
        violations.map((each) => `${each.object} ${each.field}`),
        [`Network/n ${field}`],
      );
      assert.ok(violations[0]!.rule.length > 0 && violations[0]!.remedy.length > 0);
    });
  }

  void it("of any shape yields violations and never throws", () => {
    for (const raw of [
      undefined,
      null,
      3,
      "x",
      [],
      {},
      { metadata: null, spec: null },
      { metadata: { name: 3 }, spec: [] },
    ]) {
      const parsed = parseNetwork(raw);
      assert.equal(parsed.ok, false);
    }
  });
});

void describe("networks together", () => {
  void it("may not share port and VNI, and the older one stays", () => {
    const networks = [
      network("younger", { type: "Overlay" }, 20),
      network("older", { type: "Overlay" }, 10),
      network("other-vni", { type: "Overlay", vni: 2 }, 30),
      network("other-port", { type: "Overlay", port: 4790 }, 30),
      network("gre", { type: "Overlay", encapsulation: "GRE" }, 30),
      network("wire", { type: "Underlay", interfaces: [{ name: "eth1" }] }, 30),
    ];
    assert.deepEqual(texts(validateNetworks(networks)), [
      "Network/younger spec.vni is 1, which Network older has on VXLAN port 4789 already; choose another vni",
    ]);
  });
});
