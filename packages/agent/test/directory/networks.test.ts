import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseNetwork, parseSubnet, type Network, type OverlayNetwork, type Subnet } from "@beyondfabric/kube/kinds";
import { podMtu, topologyOf } from "../../src/directory/networks.ts";

function object(kind: string, name: string, year: number, spec: unknown): unknown {
  const metadata = { name, uid: `uid-${name}`, creationTimestamp: `${year}-01-01T00:00:00Z` };
  return { apiVersion: "beyondfabric.io/v1alpha1", kind, metadata, spec };
}

function network(name: string, spec: object = {}, year = 2025): Network {
  const parsed = parseNetwork(object("Network", name, year, { type: "Overlay", ...spec }));
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.value;
}

function subnet(name: string, network: string, cidrs: readonly string[], year = 2025): Subnet {
  const parsed = parseSubnet(object("Subnet", name, year, { network, cidrs }));
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.value;
}

describe("a topology", () => {
  it("has one fact for each family of each subnet, with its network's identifier", () => {
    const topology = topologyOf([network("red", { vni: 7 })], [subnet("a", "red", ["10.244.0.0/16", "fd00:244::/64"])]);
    assert.deepEqual(topology.violations, []);
    assert.deepEqual(topology.vnis, [7]);
    assert.equal(topology.overlay?.name, "red");
    assert.deepEqual(topology.facts, [
      { name: "a", cidr: { family: 4, address: "10.244.0.0", length: 16 }, gateway: "10.244.0.1", vni: 7 },
      { name: "a", cidr: { family: 6, address: "fd00:244::", length: 64 }, gateway: "fd00:244::1", vni: 7 },
    ]);
  });

  it("leaves out the younger of two networks that the wire cannot tell apart, and its subnets", () => {
    const networks = [network("young", {}, 2026), network("old")];
    const topology = topologyOf(networks, [subnet("a", "old", ["10.1.0.0/16"]), subnet("b", "young", ["10.2.0.0/16"])]);
    assert.equal(topology.overlay?.name, "old");
    assert.deepEqual(
      topology.subnets.map(({ name }) => name),
      ["a"],
    );
    assert.deepEqual(
      topology.violations.map(({ object, field }) => `${object} ${field}`),
      ["Network/young spec.vni", "Subnet/b spec.network"],
    );
  });

  it("leaves out the younger of two subnets that overlap", () => {
    const topology = topologyOf(
      [network("red")],
      [subnet("young", "red", ["10.1.2.0/24"], 2026), subnet("old", "red", ["10.1.0.0/16"])],
    );
    assert.deepEqual(
      topology.facts.map(({ name }) => name),
      ["old"],
    );
    assert.deepEqual([...new Set(topology.violations.map(({ object }) => object))], ["Subnet/young"]);
  });

  it("has subnets of physical networks, with the overlay that carries what their pods and overlay pods say", () => {
    const topology = topologyOf(
      [network("red", { vni: 7 }), network("wire", { type: "Underlay", interfaces: [{ name: "eth2" }] })],
      [subnet("a", "wire", ["10.30.0.0/24"])],
    );
    assert.deepEqual(topology.violations, []);
    assert.deepEqual(
      topology.underlays.map(({ name }) => name),
      ["wire"],
    );
    assert.deepEqual(topology.facts, [
      {
        name: "a",
        cidr: { family: 4, address: "10.30.0.0", length: 24 },
        gateway: "10.30.0.1",
        vni: 7,
        wire: { direct: false },
      },
    ]);
  });

  it("says which subnet names no network, or one of another encapsulation than this node's", () => {
    const networks = [network("red"), network("geneve", { encapsulation: "Geneve" })];
    const topology = topologyOf(networks, [
      subnet("a", "absent", ["10.1.0.0/16"]),
      subnet("b", "geneve", ["10.2.0.0/16"]),
    ]);
    assert.deepEqual(topology.facts, []);
    assert.deepEqual(topology.vnis, [1]);
    assert.deepEqual(
      topology.violations.map(({ object, rule }) => `${object} ${rule}`),
      [
        "Subnet/a names absent, which does not exist or is refused",
        "Subnet/b names geneve, an Overlay of another encapsulation or port than red, which came first",
      ],
    );
  });

  it("of nothing is empty", () => {
    const nothing = { subnets: [], facts: [], pools: [], underlays: [], overlay: undefined, vnis: [], violations: [] };
    assert.deepEqual(topologyOf([], []), nothing);
  });
});

describe("the MTU of pods", () => {
  const overlay = (spec: object): OverlayNetwork => {
    const made = network("red", spec);
    assert.ok(made.type === "Overlay");
    return made;
  };

  it("leaves room for what the tunnel adds, and is never more than the network says", () => {
    assert.equal(podMtu(overlay({}), 1500), 1450);
    assert.equal(podMtu(overlay({ encapsulation: "Geneve" }), 1500), 1450);
    assert.equal(podMtu(overlay({ encapsulation: "GRE" }), 1500), 1458);
    assert.equal(podMtu(overlay({ mtu: 1400 }), 1500), 1400);
    assert.equal(podMtu(overlay({ mtu: 9000 }), 1500), 1450);
    assert.equal(podMtu(undefined, 1500), 1500);
  });
});
