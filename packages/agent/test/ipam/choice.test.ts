import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { parseIpPool } from "@beyondfabric/kube/kinds";
import type { IpPool, Subnet } from "@beyondfabric/kube/kinds";
import { isIp, type Ip } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { podAddressAnnotations } from "../../src/ipam/annotations.ts";
import { candidateAddresses } from "../../src/ipam/candidates.ts";
import { addressingRefused, chooseAddressing } from "../../src/ipam/choice.ts";
import type { AddressingPlan, AddressWorld, PodNamespace } from "../../src/ipam/choice.ts";
import type { OwnPod } from "../../src/ipam/owner.ts";
import { subnet } from "./subnets.ts";

function pool(name: string, spec: Record<string, unknown>, more: Partial<IpPool> = {}): IpPool {
  const parsed = parseIpPool({ metadata: { name }, spec: { subnet: "office", ...spec } });
  return parsed.ok ? { ...parsed.value, ...more } : assert.fail(JSON.stringify(parsed.violations));
}

const team = { matchLabels: { team: "a" } };
const office: Subnet = {
  ...subnet({ cidrs: ["10.0.0.0/24", "fd00::/64"], excluded: ["10.0.0.40"], reserved: ["10.0.0.60"] }, "office"),
  created: 1,
};
const lab: Subnet = { ...subnet({ cidrs: ["10.1.0.0/24"], namespaceSelector: team }, "lab"), created: 3 };
const young: Subnet = { ...subnet({ cidrs: ["10.2.0.0/24"], namespaceSelector: team }, "young"), created: 4 };
const youngest: Subnet = { ...subnet({ cidrs: ["10.3.0.0/24"], namespaceSelector: team }, "youngest"), created: 6 };
const fallback: Subnet = { ...subnet({ cidrs: ["10.9.0.0/24"], default: true }, "fallback"), created: 2 };
const leaving: Subnet = { ...subnet({ cidrs: ["10.8.0.0/24"] }, "leaving"), created: 5, deletionTimestamp: 6 };

const world: AddressWorld = {
  subnets: [office, young, lab, youngest, fallback, leaving],
  pools: [
    pool("web", { addresses: ["10.0.0.50-10.0.0.52", "fd00::50-fd00::52"] }),
    pool("closed", { addresses: ["10.0.0.70-10.0.0.79"], namespaceSelector: { matchLabels: { team: "b" } } }),
    pool("going", { addresses: ["10.0.0.80"] }, { deletionTimestamp: 6 }),
    pool("stranded", { subnet: "leaving", addresses: ["10.8.0.5"] }),
    pool("lost", { subnet: "refused", addresses: ["10.7.0.5"] }),
  ],
  stickyOwners: [{ apiVersion: "kubevirt.io/v1", kind: "VirtualMachineInstance" }],
};

const set = { apiVersion: "apps/v1", kind: "StatefulSet", name: "db", uid: "set-uid" };
const ours = (annotations: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(annotations).map(([key, value]) => [`beyondfabric.io/${key}`, value]));

function pod(annotations: Record<string, string>, more: Partial<OwnPod> = {}): OwnPod {
  return { namespace: "shop", name: "web-1", uid: "pod-uid", annotations, labels: LabelSet.empty, ...more };
}

interface Spaces extends PodNamespace {
  readonly labels: LabelSet;
}

function namespace(annotations: Record<string, string> = {}, labels: Record<string, string> = {}): Spaces {
  return { name: "shop", annotations, labels: LabelSet.of(labels) };
}

function planOf(chosen: ReturnType<typeof chooseAddressing>): AddressingPlan {
  return chosen.ok ? chosen.value : assert.fail(JSON.stringify(chosen.violations));
}

/** The plan in short: what kind, of which subnet, and the lowest addresses, in whatever order they are tried. */
function short(plan: AddressingPlan): string {
  const words: string[] = [plan.kind, plan.subnet.name];
  if (plan.kind !== "named") return words.join(" ");
  const ascending = plan.candidates.map((each) => ({ ...each, preferred: 0n, stride: 1n }));
  words.push(plan.retention, ...ascending.map((each) => [...candidateAddresses(each)].slice(0, 4).join(",")));
  return words.join(" ");
}

/** The address of each family that is tried before all others. */
function firsts(plan: AddressingPlan): (Ip | undefined)[] {
  return plan.kind === "named" ? plan.candidates.map((each) => candidateAddresses(each).next().value) : [];
}

function violationsOf(annotations: Record<string, string>, spaces = namespace(), more: Partial<OwnPod> = {}): string[] {
  const chosen = chooseAddressing(pod(annotations, more), spaces, world);
  if (chosen.ok) return [];
  for (const each of chosen.violations) assert.ok(each.remedy.length > 0);
  return chosen.violations.map(({ object, field, rule }) => `${object} ${field} ${rule}`);
}

void describe("which addresses a pod gets", () => {
  /** From the strongest to the weakest: what is added to pod or namespace, and what alone comes of it. */
  const steps: [source: string, pod: Record<string, string>, namespace: Spaces, plan: string][] = [
    [
      "annotation beyondfabric.io/ip of Pod shop/web-1",
      ours({ ip: "10.0.0.5" }),
      namespace(),
      "named office Fixed 10.0.0.5",
    ],
    [
      "annotation beyondfabric.io/ip-pool of Pod shop/web-1",
      ours({ "ip-pool": "10.1.0.5-10.1.0.7" }),
      namespace(),
      "named lab Pool 10.1.0.5,10.1.0.6,10.1.0.7",
    ],
    [
      "annotation ovn.kubernetes.io/ip_address of Pod shop/web-1",
      { "ovn.kubernetes.io/ip_address": "10.0.0.6,fd00::6" },
      namespace(),
      "named office Fixed 10.0.0.6 fd00::6",
    ],
    [
      "annotation cni.projectcalico.org/ipAddrs of Pod shop/web-1",
      { "cni.projectcalico.org/ipAddrs": '["10.0.0.7"]' },
      namespace(),
      "named office Fixed 10.0.0.7",
    ],
    [
      "annotation ovn.kubernetes.io/ip_pool of Pod shop/web-1",
      { "ovn.kubernetes.io/ip_pool": "10.0.0.8,fd00::8;10.0.0.9,fd00::9" },
      namespace(),
      "named office Pool 10.0.0.8,10.0.0.9 fd00::8,fd00::9",
    ],
    ["annotation beyondfabric.io/subnet of Pod shop/web-1", ours({ subnet: "young" }), namespace(), "ordinary young"],
    [
      "annotation beyondfabric.io/subnet of Namespace shop",
      {},
      namespace(ours({ subnet: "office" })),
      "ordinary office",
    ],
    ["namespaceSelector of Subnet lab", {}, namespace({}, { team: "a" }), "ordinary lab"],
    ["default of Subnet fallback", {}, namespace(), "ordinary fallback"],
  ];

  for (const [source, annotations, spaces, expected] of steps) {
    void it(`by ${source}`, () => {
      const plan = planOf(chooseAddressing(pod(annotations), spaces, world));
      assert.deepEqual([short(plan), plan.source], [expected, source]);
    });
  }

  for (const [strong, [source, annotations, spaces, expected]] of steps.entries()) {
    for (const [weakSource, weakAnnotations, weakSpaces] of steps.slice(strong + 1)) {
      const isAgreement = "beyondfabric.io/subnet" in weakAnnotations && expected.startsWith("named");
      if (isAgreement) continue;
      void it(`by ${source} rather than by ${weakSource}`, () => {
        const both = pod({ ...weakAnnotations, ...annotations });
        const labels = LabelSet.of(Object.fromEntries([...weakSpaces.labels, ...spaces.labels]));
        const around = { ...spaces, annotations: { ...weakSpaces.annotations, ...spaces.annotations }, labels };
        const plan = planOf(chooseAddressing(both, around, world));
        assert.deepEqual([short(plan), plan.source], [expected, source]);
      });
    }
  }

  void it("by addresses and a subnet only if they agree", () => {
    for (const annotations of [
      ours({ ip: "10.0.0.5" }),
      ours({ "ip-pool": "10.0.0.5-10.0.0.7" }),
      ours({ "ip-pool": "web" }),
      { "ovn.kubernetes.io/ip_address": "10.0.0.6" },
      { "cni.projectcalico.org/ipAddrs": '["10.0.0.6"]' },
      { "ovn.kubernetes.io/ip_pool": "10.0.0.6" },
    ]) {
      const [field] = Object.keys(annotations);
      const agreed = planOf(
        chooseAddressing(pod({ ...annotations, ...ours({ subnet: "office" }) }), namespace(), world),
      );
      assert.equal(agreed.source, `annotation ${field} of Pod shop/web-1`);
      const [violation] = violationsOf({ ...annotations, ...ours({ subnet: "lab" }) });
      assert.match(
        violation!,
        new RegExp(`^Pod/shop/web-1 metadata.annotations\\[${field}\\] names .*(10.1.0.0/24|lab)`),
      );
    }
  });

  void it("takes a MAC address along, whatever chose the address", () => {
    for (const [, annotations, spaces] of steps) {
      const asked = pod({ ...annotations, ...ours({ mac: "0A:58:00:00:00:01" }) });
      assert.equal(planOf(chooseAddressing(asked, spaces, world)).mac, "0a:58:00:00:00:01");
    }
    assert.equal(planOf(chooseAddressing(pod({}), namespace(), world)).mac, undefined);
  });

  void it("does not read what is overruled", () => {
    const annotations = { ...ours({ ip: "10.0.0.5", "ip-pool": "no such pool" }), "ovn.kubernetes.io/ip_address": "x" };
    assert.deepEqual(violationsOf(annotations, namespace(ours({ subnet: "nowhere" }))), []);
  });

  void it("draws from the oldest subnet of the namespace, and passes over one that is going", () => {
    const selected = namespace({}, { team: "a" });
    const gone = { ...world, subnets: [office, young, { ...lab, deletionTimestamp: 9 }, fallback] };
    assert.equal(short(planOf(chooseAddressing(pod({}), selected, gone))), "ordinary young");
    const all = { ...world, subnets: [{ ...lab, deletionTimestamp: 9 }, fallback] };
    const refused = chooseAddressing(pod({}), selected, all);
    assert.ok(!refused.ok);
    assert.match(refused.violations[0]!.rule, /Subnet lab is being deleted/);
  });

  void it("keeps pools for the namespaces that they are for", () => {
    const b = namespace({}, { team: "b" });
    const drawn = chooseAddressing(pod(ours({ "ip-pool": "closed" })), b, world);
    assert.equal(short(planOf(drawn)), "named office Pool 10.0.0.70,10.0.0.71,10.0.0.72,10.0.0.73");
    assert.equal(
      short(planOf(chooseAddressing(pod(ours({ ip: "10.0.0.75" })), b, world))),
      "named office Fixed 10.0.0.75",
    );
    for (const asked of [{ "ip-pool": "closed" }, { ip: "10.0.0.75" }, { "ip-pool": "10.0.0.60-10.0.0.70" }]) {
      assert.match(violationsOf(ours(asked)).join(), /not for namespace shop/);
    }
  });

  const long = Array.from({ length: 257 }, (_, index) => `fd00::1:${index.toString(16)}`).join(",");
  for (const [annotations, field, rule] of [
    [ours({ ip: "" }), "ip", /is empty/],
    [ours({ ip: " " }), "ip", /is empty/],
    [ours({ ip: "10.0.0.300" }), "ip", /cannot be read/],
    [ours({ ip: "10.0.0.5/24" }), "ip", /cannot be read/],
    [ours({ ip: "10.0.0.5," }), "ip", /cannot be read/],
    [ours({ ip: "web" }), "ip", /cannot be read/],
    [ours({ ip: "x".repeat(200) }), "ip", /too long/],
    [ours({ ip: "1".repeat(20_000) }), "ip", /20000 characters/],
    [ours({ ip: "10.0.0.5,10.0.0.6" }), "ip", /two IPv4 addresses/],
    [ours({ ip: "fd00::5,10.0.0.5,fd00::6" }), "ip", /two IPv6 addresses/],
    [ours({ ip: "192.168.0.1" }), "ip", /in no usable Subnet/],
    [ours({ ip: "10.1.0.5,fd00::5" }), "ip", /Subnet lab has no IPv6 addresses/],
    [ours({ ip: "10.0.0.5,fd01::5" }), "ip", /fd01::5, which is not inside fd00::\/64/],
    [ours({ ip: "10.0.0.0" }), "ip", /the network address/],
    [ours({ ip: "10.0.0.1" }), "ip", /the gateway/],
    [ours({ ip: "10.0.0.255" }), "ip", /the broadcast address/],
    [ours({ ip: "10.0.0.40" }), "ip", /is excluded/],
    [ours({ ip: "10.8.0.5" }), "ip", /Subnet leaving, which is being deleted/],
    [ours({ "ip-pool": "nobody" }), "ip-pool", /"nobody", which is no usable IPPool/],
    [ours({ "ip-pool": "lost" }), "ip-pool", /"lost", which is no usable IPPool/],
    [ours({ "ip-pool": "going" }), "ip-pool", /being deleted/],
    [ours({ "ip-pool": "stranded" }), "ip-pool", /Subnet leaving, which is being deleted/],
    [ours({ "ip-pool": "10.0.0.300" }), "ip-pool", /cannot be read/],
    [ours({ "ip-pool": "10.0.0.9-10.0.0.5" }), "ip-pool", /cannot be read/],
    [ours({ "ip-pool": "web,10.0.0.5" }), "ip-pool", /cannot be read/],
    [ours({ "ip-pool": "10.0.0.5;10.0.0.6" }), "ip-pool", /cannot be read/],
    [ours({ "ip-pool": "10.0.0.5,10.0.0.0/29" }), "ip-pool", /overlaps 10.0.0.5/],
    [ours({ "ip-pool": "10.0.0.0/29" }), "ip-pool", /the network address/],
    [ours({ "ip-pool": "10.0.0.35-10.0.0.45" }), "ip-pool", /10.0.0.40 is excluded/],
    [ours({ "ip-pool": "10.0.0.5,10.1.0.5" }), "ip-pool", /10.1.0.5, which is not inside 10.0.0.0\/24/],
    [ours({ "ip-pool": long }), "ip-pool", /257 ranges/],
    [ours({ subnet: "nowhere" }), "subnet", /"nowhere", which is no usable Subnet/],
    [ours({ subnet: "" }), "subnet", /no usable Subnet/],
    [ours({ subnet: "leaving" }), "subnet", /being deleted/],
    [ours({ mac: "x" }), "mac", /cannot be read/],
    [ours({ mac: "00:00:00:00:00:00" }), "mac", /nobody's/],
    [ours({ mac: "01:00:5e:00:00:01" }), "mac", /multicast/],
    [ours({ mac: "ff:ff:ff:ff:ff:ff" }), "mac", /multicast/],
    [{ "cni.projectcalico.org/ipAddrs": "10.0.0.5" }, "cni.projectcalico.org/ipAddrs", /no JSON list/],
    [{ "cni.projectcalico.org/ipAddrs": "[5]" }, "cni.projectcalico.org/ipAddrs", /no JSON list/],
    [{ "cni.projectcalico.org/ipAddrs": "[]" }, "cni.projectcalico.org/ipAddrs", /lists no address/],
    [{ "ovn.kubernetes.io/ip_address": "10.0.0.1" }, "ovn.kubernetes.io/ip_address", /the gateway/],
    [{ "ovn.kubernetes.io/ip_pool": "10.0.0.5;;" }, "ovn.kubernetes.io/ip_pool", /cannot be read/],
  ] as const) {
    void it(`not when a pod asks for ${JSON.stringify(annotations).slice(0, 80)}`, () => {
      const violations = violationsOf(annotations);
      const name = field.includes("/") ? field : `beyondfabric.io/${field}`;
      assert.ok(violations[0]?.startsWith(`Pod/shop/web-1 metadata.annotations[${name}] `), violations.join());
      assert.match(violations[0] ?? "", rule);
      assert.ok(violations.join().length < 1000);
    });
  }

  void it("not when the namespace asks for what is not there, or nothing serves it", () => {
    assert.deepEqual(violationsOf({}, namespace(ours({ subnet: "nowhere" }))), [
      'Namespace/shop metadata.annotations[beyondfabric.io/subnet] names "nowhere", which is no usable Subnet',
    ]);
    const chosen = chooseAddressing(pod({}), namespace(), { ...world, subnets: [office] });
    assert.ok(!chosen.ok);
    const error = addressingRefused(chosen.violations);
    assert.deepEqual(
      [error.code, error.message],
      [
        "IPAM_ADDRESSING_REFUSED",
        "Pod/shop/web-1: metadata.namespace is shop, which no usable Subnet serves; create a Subnet with default: true, or name one in the annotation beyondfabric.io/subnet",
      ],
    );
  });

  void it("may be one that is reserved for those who ask for it", () => {
    assert.equal(
      short(planOf(chooseAddressing(pod(ours({ ip: "10.0.0.60" })), namespace(), world))),
      "named office Fixed 10.0.0.60",
    );
  });

  void it("tells a pool's name from addresses by its spelling", () => {
    const named = {
      ...world,
      pools: ["10-0", "2024", "1.2.3", "a.b.c.d", "fd00"].map((name) => pool(name, { addresses: ["10.0.0.5"] })),
    };
    for (const { name } of named.pools) {
      const plan = planOf(chooseAddressing(pod(ours({ "ip-pool": ` ${name} ` })), namespace(), named));
      assert.ok(plan.kind === "named" && plan.pool === name);
    }
    for (const text of ["10.0.0.5", "10.0.0.5-10.0.0.6", "10.0.0.8/31", "fd00::5", "10.0.0.5, 10.0.0.6"]) {
      const plan = planOf(chooseAddressing(pod(ours({ "ip-pool": text })), namespace(), world));
      assert.ok(plan.kind === "named" && plan.pool === undefined, text);
    }
  });

  void it("never expands a range of IPv6, however large", () => {
    const plan = planOf(chooseAddressing(pod(ours({ "ip-pool": "fd00::1:0:0:0/80" })), namespace(), world));
    assert.ok(plan.kind === "named");
    assert.equal(plan.candidates[0]!.count, 1n << 48n);
    const [first, second] = candidateAddresses(plan.candidates[0]!);
    for (const address of [first, second]) assert.match(address!, /^fd00::1:/);
    assert.notEqual(first, second);
  });

  void it("are kept for a StatefulSet, whose pods try the address in their own place first", () => {
    const third = { name: "db-2", controller: set };
    const slot = {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      namespace: "shop",
      name: "db",
      uid: "set-uid",
      slot: "db-2",
    };
    const sticky = planOf(chooseAddressing(pod({}, third), namespace(), world));
    assert.ok(sticky.kind === "sticky");
    assert.deepEqual(sticky.owner, slot);
    const drawn = planOf(chooseAddressing(pod(ours({ "ip-pool": "web" }), third), namespace(), world));
    assert.equal(short(drawn), "named office Sticky 10.0.0.50,10.0.0.51,10.0.0.52 fd00::50,fd00::51,fd00::52");
    assert.ok(drawn.kind === "named");
    assert.deepEqual(firsts(drawn), ["10.0.0.52", "fd00::52"]);
    assert.deepEqual([drawn.owner, drawn.pool], [slot, "web"]);
    const beyond = pod(ours({ "ip-pool": "web" }), { name: "db-4", controller: set });
    assert.deepEqual(firsts(planOf(chooseAddressing(beyond, namespace(), world))), ["10.0.0.51", "fd00::51"]);
    const fixed = planOf(chooseAddressing(pod(ours({ ip: "10.0.0.5" }), third), namespace(), world));
    assert.equal(short(fixed), "named office Sticky 10.0.0.5");
  });

  void it("are a violation or a sound plan for whatever people write, and nothing else", () => {
    const address = fc.constantFrom(
      "10.0.0.5",
      "10.0.0.1",
      "10.1.0.9",
      "fd00::5",
      "fd00::",
      "10.0.0.50",
      "::",
      "0.0.0.0",
    );
    const piece = fc.oneof(
      address,
      fc.constantFrom(
        "web",
        "closed",
        "office",
        "lab",
        "-",
        ",",
        ";",
        "/",
        "/24",
        "/120",
        " ",
        '["',
        '"]',
        "%eth0",
        "\u0000",
      ),
      fc.string({ maxLength: 5 }),
      fc.integer().map(String),
    );
    const text = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
      fc.array(address, { maxLength: 4 }).map((list) => list.join(",")),
      fc.string(),
    );
    const annotations = fc.dictionary(fc.constantFrom(...podAddressAnnotations, "__proto__"), text, { maxKeys: 3 });
    const controller = fc.option(fc.constantFrom(set, { ...set, kind: "ReplicaSet", name: "web-1" }), {
      nil: undefined,
    });
    fc.assert(
      fc.property(
        annotations,
        fc.dictionary(fc.constant("beyondfabric.io/subnet"), text),
        controller,
        (own, of, by) => {
          const asked = pod(own, by === undefined ? {} : { controller: by });
          const chosen = chooseAddressing(asked, namespace(of), world);
          if (!chosen.ok) {
            assert.ok(chosen.violations.length > 0);
            for (const each of chosen.violations) assert.ok(each.rule.length < 300 && each.remedy.length < 300);
            return;
          }
          const plan = chosen.value;
          assert.equal(plan.subnet.deletionTimestamp, undefined);
          if (plan.kind !== "named") return;
          assert.ok(plan.candidates.length > 0);
          for (const each of plan.candidates) {
            const first = candidateAddresses(each).next().value as string;
            assert.ok(isIp(first) && first !== "10.0.0.1" && first !== "fd00::");
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

void describe("a pod on a physical network", () => {
  const wire: Subnet = {
    ...subnet({ network: "wire", cidrs: ["10.30.0.0/29", "fd00:30::/125"], reserved: ["10.30.0.6"] }, "vlan30"),
    created: 9,
  };
  const here: AddressWorld = { ...world, subnets: [...world.subnets, wire], physicalNetworks: new Set(["wire"]) };
  const choose = (more: Partial<OwnPod> = {}): AddressingPlan =>
    planOf(chooseAddressing(pod(ours({ subnet: "vlan30" }), more), namespace(), here));
  const candidates = (plan: AddressingPlan): string[][] =>
    plan.kind === "named" ? plan.candidates.map((each) => [...candidateAddresses(each)]) : assert.fail(plan.kind);

  void it("claims any address of its subnet, since there are no blocks, and each once", () => {
    const plan = choose();
    assert.ok(plan.kind === "named" && plan.retention === "Pool");
    const [ipv4, ipv6] = candidates(plan);
    assert.deepEqual(ipv4!.toSorted(), ["10.30.0.2", "10.30.0.3", "10.30.0.4", "10.30.0.5"]);
    assert.equal(new Set(ipv6).size, 6);
  });

  void it("begins in a place of its own, and always in the same", () => {
    const firsts = Array.from({ length: 40 }, (_, index) => candidates(choose({ uid: `uid-${index}` }))[0]![0]!);
    assert.equal(new Set(firsts).size, 4);
    assert.deepEqual(candidates(choose()), candidates(choose()));
  });

  void it("keeps its address when its owner does", () => {
    const plan = choose({ controller: set });
    assert.ok(plan.kind === "named" && plan.retention === "Sticky" && plan.owner.kind === "StatefulSet");
  });
});
