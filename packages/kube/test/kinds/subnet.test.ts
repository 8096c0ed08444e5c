import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSubnet, subnetFamily, validateSubnet } from "@beyondfabric/kube/kinds";
import { formatCidr } from "@beyondfabric/packet";
import { object, subnet } from "./objects.ts";

void describe("Subnet", () => {
  void it("has gateways, block lengths and NAT by default", () => {
    const { families, natOutgoing, isDefault, ranges } = subnet("s", { cidrs: ["10.244.0.0/16", "FD00:244::/64"] });
    assert.deepEqual(families, [
      { family: 4, cidr: { family: 4, address: "10.244.0.0", length: 16 }, gateway: "10.244.0.1", blockLength: 26 },
      { family: 6, cidr: { family: 6, address: "fd00:244::", length: 64 }, gateway: "fd00:244::1", blockLength: 122 },
    ]);
    assert.deepEqual([natOutgoing, isDefault, ranges], [true, false, []]);
  });

  void it("takes gateways in any order", () => {
    const s = subnet("s", { cidrs: ["10.0.0.0/24", "fd00::/64"], gateways: ["fd00::fe", "10.0.0.254"] });
    assert.equal(subnetFamily(s, 4)?.gateway, "10.0.0.254");
    assert.equal(subnetFamily(s, 6)?.gateway, "fd00::fe");
  });

  void it("smaller than a default block is one block", () => {
    assert.equal(subnetFamily(subnet("s", { cidrs: ["10.0.0.0/28"] }), 4)?.blockLength, 28);
    assert.equal(subnetFamily(subnet("s", { cidrs: ["10.0.0.0/28"] }), 6), undefined);
  });

  void it("is untagged without a VLAN, and with VLAN 0", () => {
    const vlans = [{}, { vlan: 0 }, { vlan: 7 }].map((spec) => subnet("s", { cidrs: ["10.0.0.0/24"], ...spec }).vlan);
    assert.deepEqual(vlans, [undefined, undefined, 7]);
  });

  void it("keeps addresses for an owner that is gone as long as it says, or as the agents are configured", () => {
    const seconds = [{}, { reclaimSeconds: 0 }].map(
      (spec) => subnet("s", { cidrs: ["10.0.0.0/24"], ...spec }).reclaimSeconds,
    );
    assert.deepEqual(seconds, [undefined, 0]);
  });

  void it("tells since when it is being deleted", () => {
    const raw = object("Subnet", "s", { network: "overlay", cidrs: ["10.0.0.0/24"] });
    const metadata = { name: "s", deletionTimestamp: "2026-01-31T12:00:00Z" };
    for (const [given, expected] of [
      [raw, undefined],
      [{ ...raw, metadata }, Date.UTC(2026, 0, 31, 12)],
    ] as const) {
      const parsed = parseSubnet(given);
      assert.ok(parsed.ok);
      assert.equal(parsed.value.deletionTimestamp, expected);
    }
  });

  void it("reads ranges in their three spellings", () => {
    const s = subnet("s", {
      cidrs: ["10.0.0.0/24", "fd00::/64"],
      ranges: ["10.0.0.16/28", "10.0.0.50 - 10.0.0.60"],
      excluded: ["10.0.0.17"],
      reserved: ["FD00::10-fd00::1f"],
    });
    assert.deepEqual(s.ranges, [
      { family: 4, first: "10.0.0.16", last: "10.0.0.31" },
      { family: 4, first: "10.0.0.50", last: "10.0.0.60" },
    ]);
    assert.deepEqual(s.excluded, [{ family: 4, first: "10.0.0.17", last: "10.0.0.17" }]);
    assert.deepEqual(s.reserved, [{ family: 6, first: "fd00::10", last: "fd00::1f" }]);
  });

  void it("allows its pods addresses that nobody is given: excluded, outside of the ranges, outside of the subnet", () => {
    for (const [spec, allowed] of [
      [{ excluded: ["10.0.0.9"], allowedAddresses: ["10.0.0.9"] }, ["10.0.0.9/32"]],
      [{ ranges: ["10.0.0.50-10.0.0.60"], allowedAddresses: ["10.0.0.248/29"] }, ["10.0.0.248/29"]],
      [{ allowedAddresses: ["192.0.2.7", "198.51.100.0/24"] }, ["192.0.2.7/32", "198.51.100.0/24"]],
      [{}, []],
    ] as const) {
      const parsed = parseSubnet(object("Subnet", "s", { network: "wire", cidrs: ["10.0.0.0/24"], ...spec }));
      assert.ok(parsed.ok, JSON.stringify(parsed));
      assert.deepEqual(parsed.value.allowedAddresses.map(formatCidr), allowed);
    }
  });

  const cidrs = ["10.0.0.0/24"];
  for (const [spec, field] of [
    [{}, "spec.cidrs"],
    [{ cidrs: [] }, "spec.cidrs"],
    [{ cidrs: ["10.0.0.0"] }, "spec.cidrs[0]"],
    [{ cidrs: ["10.0.0.1/24"] }, "spec.cidrs[0]"],
    [{ cidrs: ["10.0.0.0/31"] }, "spec.cidrs[0]"],
    [{ cidrs: ["10.0.0.0/7"] }, "spec.cidrs[0]"],
    [{ cidrs: ["10.0.0.0/24", "10.0.1.0/24"] }, "spec.cidrs[1]"],
    [{ cidrs, network: "No" }, "spec.network"],
    [{ cidrs, gateways: ["10.0.1.1"] }, "spec.gateways"],
    [{ cidrs, gateways: ["10.0.0.0"] }, "spec.gateways[0]"],
    [{ cidrs, gateways: ["10.0.0.255"] }, "spec.gateways[0]"],
    [{ cidrs, gateways: ["10.0.0.1", "10.0.0.2"] }, "spec.gateways[1]"],
    [{ cidrs, gateways: ["10.0.0.1", "fd00::1"] }, "spec.gateways[1]"],
    [{ cidrs, gateways: ["x"] }, "spec.gateways[0]"],
    [{ cidrs, vlan: 4095 }, "spec.vlan"],
    [{ cidrs, vlan: -1 }, "spec.vlan"],
    [{ cidrs, reclaimSeconds: -1 }, "spec.reclaimSeconds"],
    [{ cidrs, reclaimSeconds: 1.5 }, "spec.reclaimSeconds"],
    [{ cidrs, reclaimSeconds: 31_536_001 }, "spec.reclaimSeconds"],
    [{ cidrs, blockLength: { ipv4: 20 } }, "spec.blockLength.ipv4"],
    [{ cidrs, blockLength: { ipv4: 31 } }, "spec.blockLength.ipv4"],
    [{ cidrs, ranges: ["10.0.0.9-10.0.0.5"] }, "spec.ranges[0]"],
    [{ cidrs, ranges: ["10.0.0.9-fd00::5"] }, "spec.ranges[0]"],
    [{ cidrs, excluded: ["10.0.0.1", "10.0.1.0/28"] }, "spec.excluded[1]"],
    [{ cidrs, reserved: ["10.0.0.250-10.0.1.5"] }, "spec.reserved[0]"],
    [{ cidrs, allowedAddresses: ["10.0.0.9"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, ranges: ["10.0.0.50-10.0.0.60"], allowedAddresses: ["10.0.0.56/29"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, excluded: ["10.0.0.1"], allowedAddresses: ["10.0.0.1"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["192.0.2.1", "fd00::9"] }, "spec.allowedAddresses[1]"],
    [{ cidrs, allowedAddresses: ["192.0.2.0/23"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["192.0.2.1/24"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["224.0.0.18"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["0.0.0.0/0"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["127.0.0.1"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: ["10.0.0.9-10.0.0.12"] }, "spec.allowedAddresses[0]"],
    [{ cidrs, allowedAddresses: Array.from({ length: 17 }, (_, n) => `192.0.2.${n}`) }, "spec.allowedAddresses"],
    [{ cidrs, default: "yes" }, "spec.default"],
    [
      { cidrs, namespaceSelector: { matchExpressions: [{ key: "a", operator: "in" }] } },
      "spec.namespaceSelector.matchExpressions[0].operator",
    ],
    [
      { cidrs, namespaceSelector: { matchExpressions: [{ key: "a", operator: "In" }] } },
      "spec.namespaceSelector.matchExpressions[0].values",
    ],
  ] as const) {
    void it(`is refused at ${field}: ${JSON.stringify(spec)}`, () => {
      const violations = validateSubnet(object("Subnet", "s", { network: "overlay", ...spec }));
      assert.ok(
        violations.some((each) => each.object === "Subnet/s" && each.field === field),
        JSON.stringify(violations),
      );
      for (const each of violations) assert.ok(each.rule.length > 0 && each.remedy.length > 0);
    });
  }

  void it("has all that is wrong with it reported", () => {
    const raw = object("Subnet", "s", { cidrs: ["10.0.0.1/24", "x"], vlan: -1, default: 1 });
    const parsed = parseSubnet(raw);
    assert.ok(!parsed.ok);
    assert.deepEqual(parsed.violations.map((each) => each.field).sort(), [
      "spec.cidrs[1]",
      "spec.default",
      "spec.network",
      "spec.vlan",
    ]);
  });
});
