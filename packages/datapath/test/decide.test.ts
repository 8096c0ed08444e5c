import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { addressAt, cidrContains, formatCidr, parseCidr, type Ip } from "@beyondfabric/packet";
import { decide, type Question } from "../src/index.ts";
import { cluster, factsOf, segments } from "./cluster.fixture.ts";

const facts = factsOf(cluster());

interface Case {
  name: string;
  question: Question;
  /** `allow way`, `deny` or `hold`, then the reason. */
  expect: string;
  cube?: string;
}

const pod = (source: Ip, destination: Ip): Question => ({ from: "pod", source, destination });
const host = (source: Ip, destination: Ip): Question => ({ from: "host", source, destination });
const tunnel = (tunnelSource: Ip, source: Ip, destination: Ip): Question => ({
  from: "tunnel",
  source,
  destination,
  tunnelSource,
});

const wire = (segment: number, source: Ip, destination: Ip): Question => ({
  from: "uplink",
  segment,
  source,
  destination,
});

const { business, storage, backup } = segments;

const wireCases: Case[] = [
  {
    name: "a pod on a wire to a machine of its VLAN",
    question: pod("10.30.0.50", "10.30.0.202"),
    expect: `allow uplink ${business} to-wire`,
    cube: "10.30.0.50/32 10.30.0.202/32",
  },
  {
    name: "the same in IPv6",
    question: pod("fd00:30::50", "fd00:30::202"),
    expect: `allow uplink ${business} to-wire`,
  },
  {
    name: "a pod on a wire to its gateway",
    question: pod("10.30.0.50", "10.30.0.1"),
    expect: `allow uplink ${business} to-wire`,
  },
  {
    name: "a pod on a wire beyond its gateway, as wide as no subnet and no own address is touched",
    question: pod("10.30.0.50", "10.10.0.201"),
    expect: `allow uplink ${business} to-wire`,
    cube: "10.30.0.50/32 10.0.0.0/12",
  },
  {
    name: "a pod on a wire to its own node, which has no address there",
    question: pod("10.30.0.50", "172.31.0.11"),
    expect: "allow host to-node",
    cube: "10.30.0.50/32 172.31.0.11/32",
  },
  {
    name: "a pod on a wire to its own node, which has one",
    question: pod("10.30.0.50", "10.30.0.11"),
    expect: "allow host to-node",
  },
  {
    name: "a pod on a wire to the node's address in the overlay",
    question: pod("10.30.0.50", "10.244.1.1"),
    expect: "allow host to-node",
  },
  {
    name: "a pod on a wire to another node is beyond the gateway",
    question: pod("10.30.0.50", "172.31.0.12"),
    expect: `allow uplink ${business} to-wire`,
  },
  {
    name: "a pod on a wire to another of its VLAN and node",
    question: pod("10.30.0.50", "10.30.0.51"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a pod on a wire to another of its VLAN on another node",
    question: pod("10.30.0.50", "10.30.0.60"),
    expect: `allow uplink ${business} to-wire`,
  },
  {
    name: "a pod to one in another VLAN goes by the gateway, although it is on the same node",
    question: pod("10.30.0.50", "10.40.0.50"),
    expect: `allow uplink ${business} to-wire`,
  },
  {
    name: "one side's Direct is not enough",
    question: pod("10.40.0.50", "10.30.0.50"),
    expect: `allow uplink ${storage} to-wire`,
  },
  {
    name: "a pod to one in another VLAN, both Direct, same node",
    question: pod("10.40.0.50", "10.50.0.50"),
    expect: "allow local to-local-pod",
  },
  {
    name: "both Direct, another node: straight over the other VLAN",
    question: pod("10.40.0.50", "10.50.0.60"),
    expect: `allow uplink ${backup} 0a:58:0a:32:00:3c to-wire`,
  },
  {
    name: "both Direct, but this node is not on the other VLAN: by the gateway",
    question: pod("10.40.0.50", "10.60.0.50"),
    expect: `allow uplink ${storage} to-wire`,
  },
  {
    name: "both Direct, a machine that is no pod: by the gateway",
    question: pod("10.40.0.50", "10.50.0.202"),
    expect: `allow uplink ${storage} to-wire`,
  },
  {
    name: "a pod on a wire to an overlay pod of its node, measured",
    question: pod("10.30.0.50", "10.244.1.5"),
    expect: "allow local narrow to-local-pod",
  },
  {
    name: "a pod on a wire to an overlay pod of another node, measured",
    question: pod("10.30.0.50", "10.244.2.5"),
    expect: "allow tunnel 10.10.0.12 vni 7 narrow to-remote-pod",
  },
  {
    name: "a pod on a wire to an overlay address that nobody owns never leaves for the gateway",
    question: pod("10.30.0.50", "10.244.129.9"),
    expect: "deny destination-unowned",
  },
  {
    name: "a pod on a wire to an overlay address that is not known yet",
    question: pod("10.30.0.50", "10.244.2.60"),
    expect: "hold destination-unknown",
  },
  {
    name: "an overlay pod to a pod on a wire of its node",
    question: pod("10.244.1.5", "10.30.0.50"),
    expect: "allow local to-local-pod",
  },
  {
    name: "an overlay pod to a pod on a wire of another node",
    question: pod("10.244.1.5", "10.30.0.60"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  {
    name: "an overlay pod to a machine of a wire leaves through the node, and nobody else with it",
    question: pod("10.244.1.5", "10.30.0.202"),
    expect: "allow host to-outside",
    cube: "10.244.1.5/32 10.30.0.202/32",
  },
  {
    name: "the node to its pod on a wire",
    question: host("10.244.1.1", "10.30.0.50"),
    expect: "allow local to-local-pod",
  },
  {
    name: "the node, from its address on that wire",
    question: host("10.30.0.11", "10.30.0.50"),
    expect: "allow local from-outside",
    cube: "10.30.0.11/32 10.30.0.50/32",
  },
  {
    name: "the node to a pod on a wire, from its management address",
    question: host("172.31.0.11", "10.30.0.50"),
    expect: "allow local from-outside",
    cube: "172.31.0.11/32 10.30.0.50/32",
  },
  {
    name: "the answer of a machine of a wire to an overlay pod",
    question: host("10.30.0.202", "10.244.1.5"),
    expect: "allow local from-outside",
    cube: "10.30.0.202/32 10.244.1.5/32",
  },
  {
    name: "a machine of a wire through this node to a pod elsewhere",
    question: host("10.30.0.202", "10.244.2.5"),
    expect: "deny stranger-to-remote",
  },
  {
    name: "the node forwarding a pod of a wire",
    question: host("10.30.0.60", "10.244.1.5"),
    expect: "deny source-forwarded",
  },
  {
    name: "the node to a machine of a wire through the bridge",
    question: host("10.244.1.1", "10.30.0.202"),
    expect: "deny no-way-back-out",
  },
  {
    name: "a machine of the VLAN to a pod",
    question: wire(business, "10.30.0.202", "10.30.0.50"),
    expect: "allow local from-wire",
    cube: "10.30.0.202/32 10.30.0.50/32",
  },
  {
    name: "a machine beyond the gateway to a pod, as wide as the outside",
    question: wire(business, "192.0.2.1", "10.30.0.50"),
    expect: "allow local from-wire",
    cube: "192.0.0.0/2 10.30.0.50/32",
  },
  {
    name: "a pod of another VLAN and the same node, by the gateway",
    question: wire(business, "10.40.0.50", "10.30.0.50"),
    expect: "allow local from-wire",
  },
  {
    name: "a pod of the same VLAN on another node",
    question: wire(business, "10.30.0.60", "10.30.0.50"),
    expect: "allow local from-wire",
  },
  {
    name: "another VLAN than the pod's",
    question: wire(storage, "10.40.0.202", "10.30.0.50"),
    expect: "deny wire-other-segment",
  },
  {
    name: "an overlay pod's address is not spoken on a wire",
    question: wire(business, "10.244.2.5", "10.30.0.50"),
    expect: "deny wire-source-overlay",
  },
  {
    name: "an overlay pod is not reached from a wire",
    question: wire(business, "10.30.0.202", "10.244.1.5"),
    expect: "deny wire-other-segment",
  },
  {
    name: "somebody else with the address of a pod of this node",
    question: wire(business, "10.30.0.51", "10.30.0.50"),
    expect: "deny wire-source-local",
  },
  {
    name: "from a wire to a pod of another node",
    question: wire(business, "10.30.0.202", "10.30.0.60"),
    expect: "deny destination-not-here",
  },
  {
    name: "a tunnel packet of a pod on a wire to an overlay pod",
    question: tunnel("10.10.0.12", "10.30.0.60", "10.244.1.5"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a tunnel packet of an overlay pod to a pod on a wire",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.30.0.50"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a tunnel packet to a machine of a wire goes no further",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.30.0.202"),
    expect: "deny destination-not-here",
  },
];

const cases: Case[] = [
  ...wireCases,
  {
    name: "a pod to a pod of the same node",
    question: pod("10.244.1.5", "10.244.1.6"),
    expect: "allow local to-local-pod",
    cube: "10.244.1.5/32 10.244.1.6/32",
  },
  {
    name: "a pod to a pod of another node",
    question: pod("10.244.1.5", "10.244.2.5"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  {
    name: "the same in IPv6",
    question: pod("fd00:244::1:5", "fd00:244::2:5"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  { name: "a pod to its own node", question: pod("10.244.1.5", "10.244.1.1"), expect: "allow host to-node" },
  {
    name: "a pod to another node's address in the subnet",
    question: pod("10.244.1.5", "10.244.2.1"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  {
    name: "a pod to the outside, as wide as no subnet is touched",
    question: pod("10.244.1.5", "10.10.0.201"),
    expect: "allow host to-outside",
    cube: "10.244.1.5/32 10.0.0.0/12",
  },
  {
    name: "a pod to the far outside",
    question: pod("10.244.1.5", "192.0.2.1"),
    expect: "allow host to-outside",
    cube: "10.244.1.5/32 192.0.0.0/2",
  },
  {
    name: "a pod to an address that nobody owns",
    question: pod("10.244.1.5", "10.244.200.9"),
    expect: "deny destination-unowned",
    cube: "10.244.1.5/32 10.244.200.9/32",
  },
  {
    name: "a pod to an address that nobody owns, as wide as no claim is touched",
    question: pod("10.244.1.5", "10.244.129.9"),
    expect: "deny destination-unowned",
    cube: "10.244.1.5/32 10.244.128.0/18",
  },
  {
    name: "a pod to a sticky address of its node's block whose pod is elsewhere",
    question: pod("10.244.1.5", "10.244.1.40"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  {
    name: "a pod to a claimed address outside every block waits for its pod",
    question: pod("10.244.1.5", "10.244.200.7"),
    expect: "hold destination-unknown",
  },
  {
    name: "a pod to a claimed address of its own node whose pod is not there yet",
    question: pod("10.244.1.5", "10.244.1.41"),
    expect: "hold destination-unknown",
  },
  {
    name: "a pod to an address that is kept while no pod holds it",
    question: pod("10.244.1.5", "10.244.1.42"),
    expect: "deny destination-absent",
    cube: "10.244.1.5/32 10.244.1.42/32",
  },
  {
    name: "the same outside every block",
    question: pod("10.244.1.5", "10.244.200.8"),
    expect: "deny destination-absent",
    cube: "10.244.1.5/32 10.244.200.8/32",
  },
  {
    name: "a pod to a free address of its own node",
    question: pod("10.244.1.5", "10.244.1.60"),
    expect: "deny destination-absent",
  },
  {
    name: "a pod to an unknown address of another node is held",
    question: pod("10.244.1.5", "10.244.2.60"),
    expect: "hold destination-unknown",
  },
  {
    name: "a pod to a node without tunnel address is held",
    question: pod("10.244.1.5", "10.244.3.5"),
    expect: "hold node-without-tunnel",
  },
  {
    name: "a pod whose source is no local pod's",
    question: pod("10.244.2.5", "10.244.1.5"),
    expect: "deny source-not-local",
  },
  { name: "the node to its pod", question: host("10.244.1.1", "10.244.1.5"), expect: "allow local to-local-pod" },
  {
    name: "the node to a pod of another node",
    question: host("10.244.1.1", "10.244.2.5"),
    expect: "allow tunnel 10.10.0.12 vni 7 to-remote-pod",
  },
  {
    name: "a reply from outside to a pod",
    question: host("10.10.0.201", "10.244.1.5"),
    expect: "allow local from-outside",
    cube: "10.0.0.0/12 10.244.1.5/32",
  },
  {
    name: "a stranger through this node to a pod elsewhere",
    question: host("10.10.0.201", "10.244.2.5"),
    expect: "deny stranger-to-remote",
  },
  {
    name: "the node forwarding a pod's address",
    question: host("10.244.2.5", "10.244.1.5"),
    expect: "deny source-forwarded",
  },
  {
    name: "the node to the outside through the bridge",
    question: host("10.244.1.1", "10.10.0.201"),
    expect: "deny no-way-back-out",
  },
  {
    name: "a tunnel packet to a local pod",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.244.1.5"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a tunnel packet from an address not yet published, of the node's block",
    question: tunnel("10.10.0.12", "10.244.2.61", "10.244.1.5"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a tunnel packet to this node",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.244.1.1"),
    expect: "allow host to-node",
  },
  {
    name: "a tunnel packet from a node that does not own the source",
    question: tunnel("10.10.0.13", "10.244.2.5", "10.244.1.5"),
    expect: "deny tunnel-source-forged",
  },
  {
    name: "a tunnel packet that claims a local pod's address",
    question: tunnel("10.10.0.12", "10.244.1.6", "10.244.1.5"),
    expect: "deny tunnel-source-forged",
  },
  {
    name: "a tunnel packet from outside every subnet",
    question: tunnel("10.10.0.12", "192.0.2.1", "10.244.1.5"),
    expect: "deny tunnel-source-outside",
  },
  {
    name: "a tunnel packet from a sticky address of this node's block, from its holder's node",
    question: tunnel("10.10.0.12", "10.244.1.40", "10.244.1.5"),
    expect: "allow local to-local-pod",
  },
  {
    name: "a tunnel packet from a sticky address, from another node than its holder's",
    question: tunnel("10.10.0.11", "10.244.1.40", "10.244.1.5"),
    expect: "deny tunnel-source-forged",
  },
  {
    name: "a tunnel packet from a claimed address that its holder may not use yet is held",
    question: tunnel("10.10.0.12", "10.244.200.7", "10.244.1.5"),
    expect: "hold tunnel-source-unknown",
  },
  {
    name: "a tunnel packet from a kept address is held: its next holder is on its way",
    question: tunnel("10.10.0.12", "10.244.1.42", "10.244.1.5"),
    expect: "hold tunnel-source-unknown",
  },
  {
    name: "a tunnel packet from an address whose claim names this node",
    question: tunnel("10.10.0.12", "10.244.1.41", "10.244.1.5"),
    expect: "deny tunnel-source-forged",
  },
  {
    name: "a tunnel packet from an address without owner is held",
    question: tunnel("10.10.0.12", "10.244.77.1", "10.244.1.5"),
    expect: "hold tunnel-source-unknown",
  },
  {
    name: "a tunnel packet to nobody here",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.244.1.61"),
    expect: "deny destination-absent",
  },
  {
    name: "a tunnel packet that would have to go on",
    question: tunnel("10.10.0.12", "10.244.2.5", "10.244.3.5"),
    expect: "deny destination-not-here",
  },
];

describe("decide", () => {
  for (const { name, question, expect, cube } of cases) {
    it(name, () => {
      const decision = decide(question, facts);
      const way =
        decision.verdict !== "allow"
          ? ""
          : decision.way.kind === "tunnel"
            ? ` tunnel ${decision.way.destination} vni ${decision.way.vni}`
            : decision.way.kind === "uplink"
              ? ` uplink ${decision.way.segment}${decision.way.mac === undefined ? "" : ` ${decision.way.mac}`}`
              : ` ${decision.way.kind}`;
      const narrow = decision.verdict === "allow" && "narrow" in decision.way ? " narrow" : "";
      assert.equal(`${decision.verdict}${way}${narrow} ${decision.reason}`, expect, decision.explanation);
      if (cube !== undefined) {
        assert.ok(decision.verdict !== "hold");
        assert.equal(`${formatCidr(decision.cube.source)} ${formatCidr(decision.cube.destination)}`, cube);
      }
    });
  }

  it("holds instead of refusing while the facts are incomplete", () => {
    const young = factsOf({ ...cluster(), complete: false });
    for (const destination of ["10.244.200.9", "10.244.2.60", "192.0.2.1"]) {
      assert.equal(decide(pod("10.244.1.5", destination), young).verdict, "hold", destination);
    }
    // An address of a block may have been claimed for a pod on another node than the block's.
    assert.equal(decide(pod("10.244.1.5", "10.244.1.60"), young).verdict, "hold");
    assert.equal(decide(tunnel("10.10.0.12", "10.244.1.60", "10.244.1.5"), young).verdict, "hold");
    assert.equal(decide(tunnel("10.10.0.13", "10.244.2.60", "10.244.1.5"), young).verdict, "hold");
    // What has a holder that is known is none of those.
    assert.equal(decide(tunnel("10.10.0.13", "10.244.1.6", "10.244.1.5"), young).verdict, "deny");
    assert.equal(decide(pod("10.244.1.5", "10.244.1.6"), young).verdict, "allow");
    assert.equal(decide(pod("10.244.1.5", "10.30.0.202"), young).verdict, "hold");
    // Whoever is on the pod's own wire was found there by the pod itself.
    assert.equal(decide(pod("10.30.0.50", "10.30.0.202"), young).verdict, "allow");
  });

  it("answers alike for every packet of the cube that it gives", () => {
    const anyAddress = fc.oneof(
      fc.constantFrom(...cluster().endpoints.keys()).filter((ip) => !ip.includes(":")),
      fc.bigInt({ min: 0n, max: 0xffff_ffffn }).map((value) => addressAt(parseCidr("0.0.0.0/0"), value)),
      fc.bigInt({ min: 0n, max: 0xffffn }).map((value) => addressAt(parseCidr("10.244.0.0/16"), value)),
      fc.bigInt({ min: 0n, max: 0xffn }).map((value) => addressAt(parseCidr("10.30.0.0/24"), value)),
      fc.constantFrom(...cluster().own),
    );
    const anyQuestion: fc.Arbitrary<Question> = fc.oneof(
      fc
        .tuple(fc.constantFrom("10.244.1.5", "10.244.1.6", "10.30.0.50", "10.40.0.50"), anyAddress)
        .map(([a, b]) => pod(a, b)),
      fc.tuple(anyAddress, anyAddress).map(([a, b]) => host(a, b)),
      fc.tuple(fc.constantFrom("10.10.0.12", "10.10.0.13"), anyAddress, anyAddress).map(([t, a, b]) => tunnel(t, a, b)),
      fc
        .tuple(fc.constantFrom(business, storage), anyAddress, fc.oneof(fc.constant("10.30.0.50"), anyAddress))
        .map(([segment, a, b]) => wire(segment, a, b)),
    );
    fc.assert(
      fc.property(anyQuestion, fc.bigInt({ min: 0n }), fc.bigInt({ min: 0n }), (question, i, j) => {
        const decision = decide(question, facts);
        if (decision.verdict === "hold") return;
        assert.ok(cidrContains(decision.cube.source, question.source));
        assert.ok(cidrContains(decision.cube.destination, question.destination));
        const inside = (cidr: typeof decision.cube.source, n: bigint): Ip =>
          addressAt(cidr, n % (1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length)));
        const other = {
          ...question,
          source: inside(decision.cube.source, i),
          destination: inside(decision.cube.destination, j),
        };
        const again = decide(other, facts);
        assert.equal(again.verdict, decision.verdict, `${JSON.stringify(question)} against ${JSON.stringify(other)}`);
        if (again.verdict === "allow" && decision.verdict === "allow") assert.deepEqual(again.way, decision.way);
      }),
      { numRuns: 3000 },
    );
  });
});
