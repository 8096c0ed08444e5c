import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseCidr } from "@beyondfabric/packet";
import { validateSubnets } from "@beyondfabric/kube/kinds";
import { network, subnet, texts } from "./objects.ts";

const overlay = network("overlay", { type: "Overlay" });
const wire = network("wire", { type: "Underlay", interfaces: [{ name: "eth1" }] });

void describe("subnets together", () => {
  void it("may not overlap: the older stays, and one that is refused excludes nobody", () => {
    const subnets = [
      subnet("c", { cidrs: ["10.1.2.0/24"] }, 30),
      subnet("a", { cidrs: ["10.0.0.0/16", "fd00::/64"] }, 10),
      subnet("b", { cidrs: ["10.0.128.0/17", "fd00:1::/64"] }, 20),
      subnet("d", { cidrs: ["fd00:1::/64"] }, 40),
      subnet("e", { cidrs: ["10.1.0.0/16"] }, 50),
    ];
    assert.deepEqual(texts(validateSubnets(subnets)), [
      "Subnet/b spec.cidrs[0] is 10.0.128.0/17, which overlaps 10.0.0.0/16 of Subnet a; choose addresses that nobody else has",
      "Subnet/e spec.cidrs[0] is 10.1.0.0/16, which overlaps 10.1.2.0/24 of Subnet c; choose addresses that nobody else has",
    ]);
  });

  void it("come to the same answer in whatever order they are listed, also when they are of the same age", () => {
    const subnets = ["b", "a", "c"].map((name) => subnet(name, { cidrs: ["10.0.0.0/16"] }, 5));
    for (const order of [subnets, subnets.toReversed()]) {
      assert.deepEqual(
        validateSubnets(order).map((each) => each.object),
        ["Subnet/b", "Subnet/c"],
      );
    }
  });

  void it("have one default", () => {
    const subnets = [
      subnet("a", { cidrs: ["10.0.0.0/16"], default: true }, 1),
      subnet("b", { cidrs: ["10.1.0.0/16"], default: true }, 2),
    ];
    assert.deepEqual(texts(validateSubnets(subnets)), [
      "Subnet/b spec.default is true, but Subnet a is the default already; set one of the two to false",
    ]);
    const [former, next] = subnets;
    assert.deepEqual(validateSubnets([{ ...former!, deletionTimestamp: 3 }, next!]), []);
  });

  void it("need their network, and a VLAN needs an Underlay", () => {
    const subnets = [
      subnet("a", { cidrs: ["10.0.0.0/16"], network: "gone" }),
      subnet("b", { cidrs: ["10.1.0.0/16"], vlan: 5 }),
      subnet("c", { cidrs: ["10.2.0.0/16"], network: "wire", vlan: 5, interSubnet: "Direct" }),
      subnet("d", { cidrs: ["10.3.0.0/16"], interSubnet: "Direct" }),
      subnet("e", { cidrs: ["10.4.0.0/16"], interSubnet: "Gateway" }),
      subnet("f", { cidrs: ["10.5.0.0/16"], network: "wire", default: true }),
    ];
    assert.deepEqual(
      validateSubnets(subnets, { networks: [overlay, wire] }).map(({ object, field }) => `${object} ${field}`),
      ["Subnet/a spec.network", "Subnet/b spec.vlan", "Subnet/d spec.interSubnet", "Subnet/f spec.default"],
    );
    assert.deepEqual(validateSubnets(subnets), []);
  });

  void it("may not hold machines' addresses, unless an Underlay excludes them", () => {
    const addresses = [
      { owner: "Node node-2", address: "10.10.0.12" },
      { owner: "Node node-1", address: "10.10.0.11" },
      { owner: "Node node-1", address: "fd00:10::11" },
    ];
    const over = subnet("over", { cidrs: ["10.10.0.0/24", "fd00:10::/64"] });
    assert.deepEqual(texts(validateSubnets([over], { networks: [overlay], addresses })), [
      "Subnet/over spec.cidrs[0] is 10.10.0.0/24, which holds 10.10.0.11, an address of Node node-1; choose addresses that no machine has",
      "Subnet/over spec.cidrs[0] is 10.10.0.0/24, which holds 10.10.0.12, an address of Node node-2; choose addresses that no machine has",
      "Subnet/over spec.cidrs[1] is fd00:10::/64, which holds fd00:10::11, an address of Node node-1; choose addresses that no machine has",
    ]);
    const under = subnet("under", { cidrs: ["10.10.0.0/24"], network: "wire", excluded: ["10.10.0.1-10.10.0.11"] });
    assert.deepEqual(texts(validateSubnets([under], { networks: [wire], addresses })), [
      "Subnet/under spec.excluded does not list 10.10.0.12, an address of Node node-2; add 10.10.0.12",
    ]);
  });

  void it("may not overlap what is in use elsewhere", () => {
    const cidrs = [{ owner: "the Services", cidr: parseCidr("10.96.0.0/12") }];
    const [found] = validateSubnets([subnet("s", { cidrs: ["10.100.0.0/16"] })], { cidrs });
    assert.match(found!.rule, /10\.96\.0\.0\/12 of the Services/);
  });

  void it("are judged in time that grows with their number, not with its square", () => {
    const subnets = Array.from({ length: 2000 }, (_, i) =>
      subnet(`s${i}`, { cidrs: [`10.${i >> 8}.${i & 255}.0/24`, `fd00:0:0:${i.toString(16)}::/64`] }),
    );
    const addresses = Array.from({ length: 10_000 }, (_, i) => ({
      owner: "n",
      address: `172.16.${i >> 8}.${i & 255}`,
    }));
    const started = performance.now();
    assert.deepEqual(validateSubnets(subnets, { addresses }), []);
    // Comparing each with each takes over ten seconds here; this takes a fraction of one.
    assert.ok(performance.now() - started < 5000);
  });
});
