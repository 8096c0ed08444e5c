import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diagnose, type NetworkObservation, type WireObservation } from "../../src/underlay/diagnosis.ts";

const router = "02:fa:01:00:00:01";
const foreign = "02:fa:03:00:00:01";

const wire: WireObservation = {
  vlan: 30,
  subnets: ["vlan30"],
  gateways: [
    { subnet: "vlan30", address: "10.30.0.1", mac: router, roundTrip: 0.4, answersStrangers: true },
    { subnet: "vlan30", address: "fd00:30::1", mac: router, roundTrip: 0.4, answersStrangers: true },
  ],
  duplicates: [],
  offers: [],
  routers: [],
  stale: [],
};

const network: NetworkObservation = {
  network: "wire",
  nic: "eth2",
  bridge: "br-eth2",
  present: true,
  linkUp: true,
  mtu: 1500,
  nodeAddresses: [],
  allowNodeInterface: false,
  answering: true,
  pods: [{ pod: "bank/core", mtu: 1500 }, { pod: "bank/gone" }],
  wires: [wire],
};

const found = (change: Partial<NetworkObservation>): string[] =>
  diagnose({ node: "node-1", networks: [{ ...network, ...change }], violations: [] }).map(
    ({ rule, vlan, message, advice }) => {
      assert.match(advice, /^[A-Z][^\n]*\.$/, rule);
      return `${rule} ${vlan ?? "-"} ${message}`;
    },
  );
const heard = (change: Partial<WireObservation>): string[] => found({ wires: [{ ...wire, ...change }] });

describe("the diagnosis of physical networks", () => {
  it("finds nothing where nothing is wrong", () => {
    assert.deepEqual(found({}), []);
    assert.deepEqual(found({ nodeAddresses: ["10.30.0.11/24"], allowNodeInterface: true, wantedMtu: 1500 }), []);
  });

  it("judges the NIC: there, its own, large enough, with a link", () => {
    assert.deepEqual(found({ present: false, linkUp: false, mtu: 0, answering: false, wires: [] }), [
      "InterfaceMissing - interface eth2 does not exist on node node-1",
    ]);
    assert.deepEqual(found({ nodeAddresses: ["10.30.0.11/24"] }), [
      "InterfaceRefused - interface eth2 carries 10.30.0.11/24 of the node itself",
    ]);
    assert.deepEqual(found({ wantedMtu: 9000 }), [
      "MtuTooSmall - interface eth2 has MTU 1500, and spec.mtu of the Network is 9000",
    ]);
    assert.deepEqual(found({ mtu: 1400 }), [
      "MtuTooSmall - Pod bank/core has MTU 1500, and interface eth2 carries 1400",
    ]);
    assert.deepEqual(found({ linkUp: false, answering: true, wires: [] }), ["LinkDown - interface eth2 has no link"]);
    assert.deepEqual(found({ answering: false, wires: [] }), [
      "BridgeSilent - bridge br-eth2 does not answer, so that nothing was asked of the wire",
    ]);
  });

  it("says what to check when a gateway is silent, with and without a tag", () => {
    const gateways = [{ subnet: "vlan30", address: "10.30.0.1", answersStrangers: false }];
    assert.deepEqual(heard({ gateways }), ["GatewaySilent 30 gateway 10.30.0.1 of Subnet vlan30 does not answer"]);
    const advice = (vlan: number): string =>
      diagnose({ node: "n", networks: [{ ...network, wires: [{ ...wire, vlan, gateways }] }], violations: [] })[0]!
        .advice;
    assert.match(advice(30), /carries VLAN 30 tagged/);
    assert.match(advice(0), /carries untagged frames/);
  });

  it("tells a port that drops unknown MACs from a gateway that does not answer", () => {
    const deaf = wire.gateways.map((gateway) => ({ ...gateway, answersStrangers: false }));
    assert.deepEqual(heard({ gateways: deaf }), [
      "UnknownMacDropped 30 10.30.0.1 and fd00:30::1 answer the NIC's own MAC and not another one",
    ]);
    assert.deepEqual(heard({ gateways: deaf.slice(0, 1) }), [
      "UnknownMacDropped 30 10.30.0.1 answers the NIC's own MAC and not another one",
    ]);
    // Frames pass, whatever the other gateway thinks of strangers.
    assert.deepEqual(heard({ gateways: [wire.gateways[0]!, deaf[1]!] }), []);
  });

  it("names who answers, offers and announces what is not theirs", () => {
    assert.deepEqual(heard({ duplicates: [{ pod: "bank/core", address: "10.30.0.50", mac: foreign }] }), [
      `AddressDuplicate 30 the machine with MAC ${foreign} answers for 10.30.0.50 of Pod bank/core`,
    ]);
    assert.deepEqual(heard({ offers: [{ server: "10.30.0.9", mac: foreign, address: "10.30.0.60" }] }), [
      `DhcpServer 30 DHCP server 10.30.0.9 (MAC ${foreign}) offers 10.30.0.60`,
    ]);
    assert.deepEqual(heard({ routers: [{ address: "fe80::1", mac: router }] }), []);
    assert.deepEqual(heard({ routers: [{ address: "fe80::9", mac: foreign }] }), [
      `ForeignRouter 30 router fe80::9 (MAC ${foreign}) announces itself, and is not the gateway`,
    ]);
    const ipv4Only = wire.gateways.slice(0, 1);
    assert.deepEqual(heard({ gateways: ipv4Only, routers: [{ address: "fe80::9", mac: foreign }] }), []);
  });

  it("says in whose table an address is out of date", () => {
    const stale = ["Pod bank/core", "gateway 10.30.0.1"].map((holder) => ({
      holder,
      address: "10.30.0.1",
      mac: foreign,
      owner: router,
    }));
    assert.deepEqual(
      heard({ stale }),
      stale.map(({ holder }) => `NeighbourStale 30 ${holder} takes ${foreign} for 10.30.0.1, which ${router} has`),
    );
  });

  it("hands on that two networks want one NIC", () => {
    const violation = {
      object: "Network/second",
      field: "spec.interfaces[0].name",
      rule: "is eth2, which on node node-1 carries Network wire already",
      remedy: "name another NIC, or make its VLANs Subnets of that Network",
    };
    assert.deepEqual(diagnose({ node: "node-1", networks: [network], violations: [violation] }), [
      {
        rule: "InterfaceTaken",
        network: "second",
        message: "spec.interfaces[0].name is eth2, which on node node-1 carries Network wire already",
        advice: "Name another NIC, or make its VLANs Subnets of that Network.",
      },
    ]);
  });
});
