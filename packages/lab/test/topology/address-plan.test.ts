import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MAX_HOST_NUMBER, MAX_NODE_NUMBER } from "../../src/names.ts";
import {
  businessAddress,
  freeIndex,
  gatewayAddress,
  hostAddress,
  hostPlans,
  managementAddress,
  MAX_LABS,
  nicMac,
} from "../../src/topology/address-plan.ts";

describe("the address plan", () => {
  it("gives node-N .10+N on both networks, and outside hosts .200+N on the wire", () => {
    assert.deepEqual(businessAddress("node-1"), {
      ipv4: "10.10.0.11",
      ipv6: "fd00:10::11",
      cidrs: ["10.10.0.11/24", "fd00:10::11/64"],
    });
    assert.equal(managementAddress(7, "node-3").ipv4, "172.31.7.13");
    assert.equal(gatewayAddress(7), "172.31.7.1");
    assert.deepEqual(hostAddress("host-1").cidrs, ["10.10.0.201/24", "fd00:10::201/64"]);
  });

  it("never gives an address of the wire twice, up to the largest numbers", () => {
    const nodes = Array.from({ length: MAX_NODE_NUMBER }, (_item, index) => businessAddress(`node-${index + 1}`));
    const hosts = Array.from({ length: MAX_HOST_NUMBER }, (_item, index) => hostAddress(`host-${index + 1}`));
    const all = [...nodes, ...hosts].flatMap((nic) => [nic.ipv4, nic.ipv6]);
    assert.equal(new Set(all).size, all.length);
    for (const { ipv4 } of [...nodes, ...hosts]) assert.ok(Number(ipv4.split(".")[3]) < 255, ipv4);
  });

  it("numbers hosts through, untagged ones first, with the router as the gateway of each", () => {
    assert.deepEqual(
      hostPlans(1, []).map(({ name, gateway }) => [name, gateway]),
      [["host-1", undefined]],
    );
    const plans = hostPlans(1, [
      { id: 30, cidrs: ["10.30.0.0/24", "fd00:30::/64"], hosts: 2 },
      { id: 40, cidrs: ["10.40.0.0/24", "fd00:40::/64"], hosts: 0 },
    ]);
    assert.deepEqual(
      plans.map(({ name, vlan, addresses, gateway }) => [name, vlan?.id, ...addresses.cidrs, gateway?.ipv6]),
      [
        ["host-1", undefined, "10.10.0.201/24", "fd00:10::201/64", "fd00:10::fe"],
        ["host-2", 30, "10.30.0.202/24", "fd00:30::202/64", "fd00:30::1"],
        ["host-3", 30, "10.30.0.203/24", "fd00:30::203/64", "fd00:30::1"],
      ],
    );
  });

  it("makes MACs that are unicast, local and different", () => {
    const macs = [
      nicMac(0, 1, 1),
      nicMac(0, 2, 1),
      nicMac(0, 3, 1),
      nicMac(1, 1, 1),
      nicMac(0, 1, 2),
      nicMac(254, 3, 180),
    ];
    assert.equal(new Set(macs).size, macs.length);
    for (const mac of macs) assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
  });

  it("finds the lowest free network, and says when there is none", () => {
    assert.equal(freeIndex(new Set()), 0);
    assert.equal(freeIndex(new Set([0, 1, 3])), 2);
    assert.equal(freeIndex(new Set(Array.from({ length: MAX_LABS }, (_item, index) => index))), undefined);
  });
});
