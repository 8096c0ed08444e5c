import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { formatCidr, type Ip } from "@beyondfabric/packet";
import { openingsText, parseNetworkPolicy } from "@beyondfabric/policy";
import { decide, noRuleGroups, sameVerdict, verdictFlows, type Decision, type Question } from "../src/index.ts";
import { cluster, factsOf, segments, type Cluster } from "./cluster.fixture.ts";

function clusterWith(change: (state: Cluster) => void): Cluster {
  const state = cluster();
  change(state);
  return state;
}

function policy(state: Cluster, name: string, spec: unknown, namespace = "shop"): void {
  const { policy: parsed } = parseNetworkPolicy({ metadata: { namespace, name }, spec });
  state.policies.set(parsed!);
}

const app = (name: string): object => ({ matchLabels: { app: name } });

/** Pods of namespace `shop`, each labelled by its name; `web` and `cart` live here, `db` on node 2. */
function shop(change: (state: Cluster) => void = () => {}): Cluster {
  return clusterWith((state) => {
    for (const { uid, name, kind } of state.endpoints.values()) {
      if (kind === "pod") state.identities.set(uid, { labels: LabelSet.of({ app: name.split("/")[1]! }) });
    }
    change(state);
  });
}

const pod = (source: Ip, destination: Ip): Question => ({ from: "pod", source, destination });
const tunnel = (source: Ip, destination: Ip): Question => ({
  from: "tunnel",
  source,
  destination,
  tunnelSource: "10.10.0.12",
});
const [web, cart, db] = ["10.244.1.5", "10.244.1.6", "10.244.2.5"];

/** The verdict, and for one with a guard what may pass. */
function said(decision: Decision): string {
  if (decision.verdict !== "allow") return `${decision.verdict} ${decision.reason}`;
  return decision.guard === undefined ? "allow" : `allow ${openingsText(decision.guard.openings)}`;
}

function ask(state: Cluster, question: Question): string {
  return said(decide(question, factsOf(state)));
}

describe("policies in decisions", () => {
  it("leave a pair alone when neither of its pods here is isolated, whatever isolates others", () => {
    const state = shop((each) => policy(each, "db", { podSelector: app("db") }));
    assert.equal(ask(state, pod(web, cart)), "allow");
    // Node 2 judges what its own pods receive.
    assert.equal(ask(state, pod(web, db)), "allow");
  });

  it("guard all that an isolated pod says or hears, in whichever direction it is isolated", () => {
    const state = shop((each) =>
      policy(each, "web", { podSelector: app("web"), ingress: [{ ports: [{ port: 80 }] }] }),
    );
    assert.equal(ask(state, pod(cart, web)), "allow 80/TCP");
    assert.equal(ask(state, pod(web, cart)), "allow everything");
    assert.equal(ask(state, pod(web, db)), "allow everything");
    assert.equal(ask(state, tunnel(db, web)), "allow 80/TCP");
    assert.equal(ask(state, pod(web, "8.8.8.8")), "allow everything");
  });

  it("let pass what both ends let pass, when both are here", () => {
    const state = shop((each) => {
      policy(each, "web", { podSelector: app("web"), ingress: [{ ports: [{ port: 80 }, { port: 81 }] }] });
      policy(each, "cart", {
        podSelector: app("cart"),
        policyTypes: ["Egress"],
        egress: [{ ports: [{ port: 81, endPort: 90 }] }],
      });
    });
    assert.equal(ask(state, pod(cart, web)), "allow 81/TCP");
    assert.equal(ask(state, pod(cart, db)), "allow 81-90/TCP");
  });

  it("keep a way for answers where nothing may be opened", () => {
    const state = shop((each) => policy(each, "web", { podSelector: app("web") }));
    assert.equal(ask(state, pod(cart, web)), "allow nothing");
  });

  it("judge strangers by as wide a prefix as the rules allow, and nothing else with them", () => {
    const state = shop((each) => {
      const peers = [{ ipBlock: { cidr: "8.0.0.0/8", except: ["8.8.0.0/16"] } }];
      policy(each, "web", { podSelector: app("web"), policyTypes: ["Egress"], egress: [{ to: peers }] });
    });
    for (const [destination, expected, prefix] of [
      ["8.1.1.1", "allow everything", "8.0.0.0/13"],
      ["8.8.8.8", "allow nothing", "8.8.0.0/16"],
      ["192.0.2.1", "allow nothing", "192.0.0.0/2"],
    ] as const) {
      const decision = decide(pod(web, destination), factsOf(state));
      assert.equal(said(decision), expected);
      assert.ok(decision.verdict === "allow");
      assert.equal(formatCidr(decision.cube.destination), prefix);
      assert.equal(formatCidr(decision.cube.source), `${web}/32`);
    }
  });

  it("let the node's own traffic in, and not what it forwards", () => {
    const state = shop((each) => policy(each, "web", { podSelector: app("web") }));
    assert.equal(ask(state, { from: "host", source: "10.244.1.1", destination: web }), "allow everything");
    assert.equal(ask(state, { from: "host", source: "192.0.2.7", destination: web }), "allow nothing");
    assert.equal(ask(state, tunnel("10.244.2.1", web)), "allow nothing", "another node is not the pod's own");
  });

  it("hold a packet while it is not known who a pod is or what isolates it", () => {
    const isolated = shop((each) => {
      policy(each, "web", { podSelector: app("web") });
      each.unknownPods.add("d");
    });
    assert.equal(ask(isolated, tunnel(db, web)), "hold identity-unknown");
    assert.equal(ask(isolated, tunnel(db, cart)), "allow", "nobody asks who sends to a pod that nothing isolates");
    const unknown = shop((each) => void each.unknownPods.add("w"));
    assert.equal(ask(unknown, pod(web, cart)), "hold policies-unknown");
    assert.equal(ask(unknown, pod(cart, web)), "hold policies-unknown");
  });

  it("never take an address of the cluster for a stranger's because nobody holds it yet", () => {
    const state = shop((each) => {
      policy(each, "web", { podSelector: app("web"), ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0" } }] }] });
    });
    assert.equal(ask(state, tunnel("10.244.2.20", web)), "hold identity-unknown");
  });

  it("take the machines of a physical network for strangers, and its pods for pods", () => {
    const state = shop((each) => {
      const from = [{ ipBlock: { cidr: "10.30.0.200/29" } }, { podSelector: app("till") }];
      policy(each, "core", { podSelector: app("core"), ingress: [{ from, ports: [{ port: 80 }] }] }, "bank");
    });
    const wire = (source: Ip): Question => ({
      from: "uplink",
      segment: segments.business,
      source,
      destination: "10.30.0.50",
    });
    assert.equal(ask(state, wire("10.30.0.202")), "allow 80/TCP");
    assert.equal(ask(state, wire("10.30.0.210")), "allow nothing");
    assert.equal(ask(state, wire("10.30.0.60")), "allow nothing", "a pod of another node");
    assert.equal(ask(state, pod("10.30.0.51", "10.30.0.50")), "allow 80/TCP");
    assert.equal(ask(state, pod("10.30.0.50", "10.30.0.202")), "allow everything");
    const own: Question = { from: "host", source: "10.30.0.11", destination: "10.30.0.50" };
    assert.equal(ask(state, own), "allow everything", "the node itself");
  });

  it("depend on the namespaces that were looked at", () => {
    const state = shop((each) => policy(each, "web", { podSelector: app("web") }));
    assert.ok(decide(pod(cart, web), factsOf(state)).dependsOn.includes("namespace:shop"));
  });
});

describe("tenancy in decisions", () => {
  const tenants = (bank: string | undefined): Cluster =>
    shop((each) => {
      each.endpoints.set("10.244.1.7", { kind: "pod", name: "bank/ledger", node: "node-1", uid: "l" });
      if (bank !== undefined) each.tenants["bank"] = bank;
    });
  const ledger = "10.244.1.7";

  it("refuses pods of other tenants, before policies and whatever they allow", () => {
    const state = tenants("bank");
    policy(state, "open", { ingress: [{}] });
    assert.equal(ask(state, pod(ledger, web)), "deny tenant-differs");
    assert.equal(ask(state, pod(web, ledger)), "deny tenant-differs");
    state.tenants["shop"] = "bank";
    assert.equal(ask(state, pod(ledger, web)), "allow everything");
    assert.equal(ask(tenants(undefined), pod(ledger, web)), "allow");
  });

  it("lets nodes, strangers and shared namespaces through", () => {
    const state = tenants("bank");
    state.endpoints.set("10.244.1.8", { kind: "pod", name: "kube-system/dns", node: "node-1", uid: "k" });
    assert.equal(ask(state, pod(ledger, "10.244.1.8")), "allow");
    assert.equal(ask(state, pod(ledger, "8.8.8.8")), "allow");
    assert.equal(ask(state, { from: "host", source: "10.244.1.1", destination: ledger }), "allow");
  });
});

describe("two decisions", () => {
  it("tell the switch the same when the same connections pass, by whichever rules", () => {
    const by = (...specs: object[]): Decision => {
      const state = shop((each) => specs.forEach((spec, index) => policy(each, `p${index}`, spec)));
      return decide(pod(cart, web), factsOf(state));
    };
    const ports = (...list: object[]): object => ({ podSelector: app("web"), ingress: [{ ports: list }] });
    assert.ok(sameVerdict(by(ports({ port: 80 })), by(ports({ port: 80 }), ports({ port: 80 }))));
    assert.ok(sameVerdict(by(ports({ port: 80, endPort: 82 })), by(ports({ port: 82 }, { port: 80, endPort: 81 }))));
    assert.ok(!sameVerdict(by(ports({ port: 80 })), by(ports({ port: 81 }))));
    assert.ok(!sameVerdict(by(ports({ port: 80 })), by(ports({ port: 80, protocol: "UDP" }))));
    assert.ok(!sameVerdict(by(), by({ podSelector: app("web"), ingress: [{}] })), "tracked or not");
  });

  it("make few entries of a pair for which ten thousand ports are open, and of one for which one is", () => {
    const opened = (count: number): number => {
      const ports = Array.from({ length: count }, (_, number) => ({ port: 1 + number * 2 }));
      const state = shop((each) => policy(each, "web", { podSelector: app("web"), ingress: [{ ports }] }));
      const decision = decide(pod(cart, web), factsOf(state));
      assert.ok(decision.verdict === "allow" && decision.guard !== undefined);
      assert.equal(decision.guard.openings.kind === "ports" && decision.guard.openings.TCP.length, count);
      return verdictFlows(decision, pod(cart, web), 7, { edition: 0, label: 1n, groups: noRuleGroups }).length;
    };
    assert.ok(opened(1) < 8);
    // First packets of such a pair go to the agent instead, each of them.
    assert.ok(opened(10_000) < 8);
  });
});
