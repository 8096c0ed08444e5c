import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import {
  explainVerdict,
  parseNetworkPolicy,
  PolicyIndex,
  type Explanation,
  type PacketFacts,
  type Party,
  type PodParty,
} from "../src/index.ts";

function pod(
  namespace: string,
  name: string,
  address: string,
  options: { tenant?: string; node?: string } = {},
): PodParty {
  const { tenant, node = "n1" } = options;
  return {
    kind: "pod",
    address,
    pod: {
      name,
      uid: `${namespace}/${name}`,
      node,
      namespace: {
        name: namespace,
        labels: LabelSet.of({ name: namespace }),
        ...(tenant === undefined ? {} : { tenant }),
      },
      labels: LabelSet.of({ app: name }),
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    },
  };
}

const web = pod("shop", "web", "10.1.0.1");
const cart = pod("shop", "cart", "10.1.0.2");
const audit = pod("audit", "log", "10.1.0.3");
const bank = pod("bank", "ledger", "10.1.0.4", { tenant: "bank" });
const outside: Party = { kind: "outside", address: "192.0.2.9" };
const node: Party = { kind: "node", address: "10.2.0.1", node: "n1" };
const http: PacketFacts = { protocol: 6, destinationPort: 8080 };

const index = new PolicyIndex();
for (const [name, spec] of [
  ["closed", {}],
  [
    "open-web",
    {
      podSelector: { matchLabels: { app: "web" } },
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: "cart" } } },
            { namespaceSelector: { matchLabels: { name: "ops" } } },
            { ipBlock: { cidr: "192.0.2.0/24", except: ["192.0.2.8/29"] } },
            {},
          ],
          ports: [{ port: "http" }, { port: "metrics" }, { protocol: "UDP", port: 53 }],
        },
      ],
    },
  ],
] as const) {
  const { policy } = parseNetworkPolicy({ metadata: { namespace: "shop", name }, spec });
  index.set(policy!);
}

function explain(source: Party, destination: Party, packet?: PacketFacts): Explanation {
  return explainVerdict(index, {
    source,
    destination,
    sharedNamespaces: new Set(["kube-system"]),
    ...(packet === undefined ? {} : { packet }),
  });
}

describe("an explanation", () => {
  const sentences: [name: string, explanation: Explanation, sentence: string][] = [
    [
      "names the rule that lets a packet pass",
      explain(cart, web, http),
      "ALLOWED pod shop/cart to pod shop/web on 8080/TCP: egress: no policy isolates pod shop/cart for egress; ingress: ingress rule 1 of shop/open-web",
    ],
    [
      "says which ports pass when none is asked for",
      explain(cart, web),
      "ALLOWED pod shop/cart to pod shop/web: egress: no policy isolates pod shop/cart for egress; ingress: only 8080/TCP, 53/UDP",
    ],
    [
      "names the implicit deny, and what isolates the pod",
      explain(audit, web, http),
      "DENIED at the ingress of pod shop/web, pod audit/log to pod shop/web on 8080/TCP: the implicit deny of ingress: shop/closed, shop/open-web isolate the pod and no rule matches",
    ],
    [
      "judges tenancy first",
      explain(bank, web, http),
      'DENIED by tenancy, pod bank/ledger to pod shop/web on 8080/TCP: namespace bank has tenant "bank" and namespace shop has no tenant',
    ],
    [
      "knows the exemptions",
      explain(node, web, http),
      "ALLOWED node n1 to pod shop/web on 8080/TCP: ingress: a pod's own node always reaches it",
    ],
    [
      "of a pod that reaches itself",
      explain(web, web, http),
      "ALLOWED pod shop/web to pod shop/web on 8080/TCP: egress: no policy isolates pod shop/web for egress; ingress: a pod always reaches itself",
    ],
    [
      "of packets that no policy is about",
      explain(node, outside, { protocol: 1 }),
      "ALLOWED node n1 to 192.0.2.9 on ICMP: tenancy: node n1 talks to every tenant",
    ],
    [
      "of ICMP, which no rule with ports lets pass",
      explain(cart, web, { protocol: 1 }),
      "DENIED at the ingress of pod shop/web, pod shop/cart to pod shop/web on ICMP: the implicit deny of ingress: shop/closed, shop/open-web isolate the pod and no rule matches",
    ],
  ];
  for (const [name, { sentence }, expected] of sentences) it(name, () => assert.equal(sentence, expected));

  it("tells of each part of each rule what became of it", () => {
    const { directions } = explain(outside, web, http);
    const [closed, openWeb] = directions.find(({ direction }) => direction === "ingress")!.policies;
    assert.deepEqual(closed, { policy: "shop/closed", podSelector: "(all)", rules: [] });
    assert.equal(openWeb!.podSelector, "app=web");
    const [rule] = openWeb!.rules;
    assert.equal(rule!.matched, false);
    assert.deepEqual(
      [...rule!.peers, ...rule!.ports].map(({ part, matched, why }) => `${matched ? "+" : "-"} ${part}: ${why}`),
      [
        "- pods app=cart in namespace shop: 192.0.2.9 is no pod of the pod network",
        "- pods (all) in namespaces name=ops: 192.0.2.9 is no pod of the pod network",
        "- 192.0.2.0/24 except 192.0.2.8/29: 192.0.2.9 is in its exception 192.0.2.8/29",
        "- (unreadable): it cannot be honoured; see the policy's Events",
        "+ http/TCP: 8080/TCP is in it",
        "- metrics/TCP: the destination has no port of that name and protocol",
        "- 53/UDP: the packet is 8080/TCP",
      ],
    );
  });

  it("says what a pod or its namespace has instead of what is asked", () => {
    const peers = (source: Party): string[] =>
      explain(source, web, http)
        .directions.at(-1)!
        .policies[1]!.rules[0]!.peers.map(({ why }) => why);
    assert.deepEqual(peers(audit).slice(0, 2), ["the pod is in namespace audit", "namespace audit has name=audit"]);
    assert.deepEqual(peers(web).slice(0, 2), ["the pod has app=web", "namespace shop has name=shop"]);
  });
});
