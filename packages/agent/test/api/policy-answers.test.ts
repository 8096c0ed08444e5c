import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { parseCidr } from "@beyondfabric/packet";
import { parseNetworkPolicy } from "@beyondfabric/policy";
import { PolicyAnswers } from "../../src/api/policy-answers.ts";
import type { Denial } from "../../src/reactor/denial-log.ts";
import { View } from "../../src/view.ts";

function node(): View {
  const view = new View("node-1", new Set(["kube-system"]));
  view.setSubnets([
    { name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 },
    { name: "six", cidr: parseCidr("fd00:244::/64"), gateway: "fd00:244::1", vni: 7 },
  ]);
  view.setNode({ name: "node-2", uid: "n2", gatewayAddresses: ["10.244.2.1"] });
  for (const [namespace, tenant] of [["shop"], ["bank", "bank"]] as const) {
    view.setNamespace({ name: namespace, labels: LabelSet.empty, ...(tenant === undefined ? {} : { tenant }) });
  }
  for (const [index, [namespace, name]] of [
    ["shop", "web"],
    ["shop", "cart"],
    ["bank", "ledger"],
  ].entries()) {
    const uid = `${namespace}/${name}`;
    const labels = LabelSet.of({ app: name! });
    view.setIdentity({ uid, namespace: namespace!, name: name!, node: "node-2", labels, ports: [] });
    const addresses = [`10.244.2.${index + 5}`, `fd00:244::${index + 5}`];
    view.setPod({ namespace: namespace!, name: name!, uid, node: "node-2", addresses, created: 0 });
  }
  view.setComplete();
  const spec = { podSelector: { matchLabels: { app: "web" } }, ingress: [{ ports: [{ port: 80 }] }] };
  view.setPolicy(parseNetworkPolicy({ metadata: { namespace: "shop", name: "web" }, spec }).policy!);
  return view;
}

const denial: Denial = {
  reason: "policy-ingress",
  source: "10.244.2.6",
  destination: "10.244.2.5",
  protocol: 6,
  destinationPort: 81,
  direction: "ingress",
  pod: "shop/web",
  policies: ["shop/web"],
  last: 1000,
  count: 3,
};

describe("what is said about policies", () => {
  const answers = new PolicyAnswers({
    view: node(),
    denials: () => [denial],
    rules: () => [
      { rule: { policy: "shop/web", direction: "ingress", index: 10 }, sessions: 1, packets: 2, bytes: 120 },
      { rule: { policy: "shop/web", direction: "ingress", index: 1 }, sessions: 3, packets: 40, bytes: 5000 },
    ],
    readCounters: async () => {},
    endpointsOf: async (namespace, name) => {
      if (name === "none") return [];
      if (`${namespace}/${name}` !== "shop/front") return undefined;
      const ports = [{ protocol: "TCP", port: 8000, targetPort: 80 } as const];
      return [
        { address: "10.244.2.6", ports },
        { address: "10.244.2.5", ports },
      ];
    },
  });

  it("explains what each endpoint of a service makes of a packet, on the port where it answers", async () => {
    const { allowed, to, service } = await answers.explain("192.0.2.1", "svc/shop/front", "8000/TCP");
    assert.deepEqual([allowed, to, service?.name], [true, "10.244.2.6", "service shop/front"]);
    assert.match(service!.endpoints[1]!.sentence, /^ALLOWED 192\.0\.2\.1 to pod shop\/web on 80\/TCP/);
    const all = await answers.explain("bank/ledger", "service/shop/front", undefined);
    assert.deepEqual([all.allowed, all.service?.endpoints.length], [false, 2]);
    await assert.rejects(answers.explain("shop/web", "svc/shop/front", "80/TCP"), /no endpoint.* ready for 80\/TCP/);
    await assert.rejects(
      answers.explain("shop/web", "svc/shop/none", undefined),
      /no endpoint of the family that is ready/,
    );
    await assert.rejects(answers.explain("shop/web", "svc/shop/nobody", undefined), /no service shop\/nobody/);
  });

  it("explains packets between pods, nodes and addresses, in a family that both ends have", async () => {
    for (const [from, to, port, allowed] of [
      ["shop/cart", "shop/web", "80", true],
      ["shop/cart", "shop/web", "81/tcp", false],
      ["shop/cart", "shop/web", undefined, true],
      ["shop/cart", "fd00:244::5", "80/TCP", true],
      ["node-2", "shop/web", "81/UDP", true],
      ["192.0.2.1", "shop/web", "icmp", false],
      ["shop/web", "192.0.2.1", "443/TCP", true],
      ["shop/web", "bank/ledger", "443/TCP", false],
    ] as const) {
      const reply = await answers.explain(from, to, port);
      assert.equal(reply.allowed, allowed, reply.sentence);
    }
    assert.equal((await answers.explain("shop/cart", "fd00:244::5", "80")).from, "fd00:244::6");
    assert.match((await answers.explain("shop/web", "bank/ledger", undefined)).sentence, /^DENIED by tenancy/);
  });

  it("says what to write when nobody is meant", async () => {
    for (const [from, to, port, expected] of [
      ["shop/nobody", "shop/web", undefined, /shop\/nobody is no pod, node or address.*write NAMESPACE\/NAME/],
      ["10.244.9.9", "shop/web", undefined, /nobody is known to hold 10\.244\.9\.9/],
      ["shop/cart", "shop/web", "eighty", /"eighty" is no port; write for example 8080\/TCP/],
      ["shop/cart", "shop/web", "80/GRE", /is no port/],
      ["node-2", "fd00:244::5", undefined, /no addresses of one family/],
    ] as const) {
      await assert.rejects(answers.explain(from, to, port), expected);
    }
    assert.throws(() => answers.list("shop/nobody"), /no pod shop\/nobody is known/);
  });

  it("lists what isolates a pod", () => {
    assert.deepEqual(answers.list("shop/web"), {
      pod: "shop/web",
      ingressIsolated: true,
      egressIsolated: false,
      policies: [{ policy: "shop/web", podSelector: "app=web", ingressRules: 1, egressRules: null }],
    });
    assert.deepEqual(answers.list("shop/cart").policies, []);
  });

  it("shows who reaches whom", () => {
    assert.deepEqual(answers.matrix(["shop", "bank"]), {
      pods: ["shop/web", "shop/cart", "bank/ledger"],
      rows: [
        { from: "shop/web", openings: ["everything", "everything", "nothing"] },
        { from: "shop/cart", openings: ["80/TCP", "everything", "nothing"] },
        { from: "bank/ledger", openings: ["nothing", "nothing", "everything"] },
      ],
    });
  });

  it("names the pods of what was refused", () => {
    const [row] = answers.denials().denials;
    assert.deepEqual(
      [row!.source, row!.destination, row!.isolated, row!.destinationPort],
      [{ address: "10.244.2.6", pod: "shop/cart" }, { address: "10.244.2.5", pod: "shop/web" }, "shop/web", 81],
    );
  });

  it("tells what rules let pass, in the order of their places", async () => {
    const { rules } = await answers.counters();
    assert.deepEqual(
      rules.map(({ rule, sessions, bytes }) => [rule, sessions, bytes]),
      [
        [2, 3, 5000],
        [11, 1, 120],
      ],
    );
  });
});
