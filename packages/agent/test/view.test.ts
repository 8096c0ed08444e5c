/** What the view knows of isolation: when it is known, whom a change concerns, and what a start without the API recalls. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decide, type FactKey, type PodKey } from "@beyondfabric/datapath";
import { LabelPool } from "@beyondfabric/kube";
import { parseCidr } from "@beyondfabric/packet";
import { parseNetworkPolicy } from "@beyondfabric/policy";
import { View } from "../src/view.ts";

const labels = new LabelPool();

interface Watched {
  readonly view: View;
  /** Keys of facts that changed since the last look. */
  readonly keys: () => FactKey[];
  /** Ports whose tracking changed since the last look: `web tracked`. */
  readonly tracking: () => string[];
}

/** Pods `web` and `cart` of namespace `shop` on this node; nothing of the API is told yet. */
function node(): Watched {
  const view = new View("node-1", new Set(["kube-system"]));
  let keys: FactKey[] = [];
  let tracking: string[] = [];
  view.onChange((changed) => keys.push(...changed));
  view.onTracking(({ pod, tracked }) => tracking.push(`${pod} ${tracked ? "tracked" : "free"}`));
  view.setSubnets([{ name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 }]);
  for (const [index, name] of ["web", "cart"].entries()) {
    view.setLocalPort({
      ofport: 100 + index,
      mac: "0a:58:00:00:00:01",
      addresses: [`10.244.1.${5 + index}`],
      pod: `shop/${name}`,
      uid: name,
      tracked: true,
    });
  }
  const taken = <T>(values: T[]): T[] => values.splice(0);
  return { view, keys: () => taken(keys).sort(), tracking: () => taken(tracking).sort() };
}

function tell({ view }: Watched): void {
  view.setNamespace({ name: "shop", labels: labels.intern({}) });
  for (const name of ["web", "cart"]) identify(view, name, { app: name });
}

function identify(view: View, name: string, pairs: Record<string, string>): void {
  view.setIdentity({ uid: name, namespace: "shop", name, node: "node-1", labels: labels.intern(pairs), ports: [] });
}

function policy(view: View, name: string, spec: unknown): void {
  view.setPolicy(parseNetworkPolicy({ metadata: { namespace: "shop", name }, spec }).policy!);
}

const key = (name: string): PodKey => ({ name: `shop/${name}`, uid: name });
/** What is remembered of a pod of a namespace without policies. */
const open = { isolated: false, namespaceHasPolicies: false } as const;
const web = { podSelector: { matchLabels: { app: "web" } } };
const pair = { from: "pod", source: "10.244.1.5", destination: "10.244.1.6" } as const;

describe("isolation in the view", () => {
  it("is unknown, and pods tracked, until pods, namespaces and policies are listed", () => {
    const watched = node();
    const { view, tracking } = watched;
    tell(watched);
    assert.equal(view.isolationsOf(key("web")), undefined);
    assert.deepEqual(tracking(), []);
    policy(view, "web", web);
    view.setComplete();
    assert.deepEqual(tracking(), ["shop/cart free"]);
    assert.deepEqual([view.isTracked(key("web")), view.isTracked(key("cart"))], [true, false]);
  });

  it("of a pod that the API does not list is nothing in a namespace without policies, and unknown in any other", () => {
    const watched = node();
    const { view, keys, tracking } = watched;
    view.setComplete();
    assert.deepEqual(tracking(), ["shop/cart free", "shop/web free"]);
    assert.equal(decide(pair, view).verdict, "allow");
    keys();
    policy(view, "web", web);
    assert.deepEqual(keys(), ["address:10.244.1.5", "address:10.244.1.6"]);
    assert.deepEqual(tracking(), ["shop/cart tracked", "shop/web tracked"]);
    assert.equal(decide(pair, view).verdict, "hold");
    tell(watched);
    assert.deepEqual(tracking(), ["shop/cart free"]);
    assert.notEqual(decide(pair, view).verdict, "hold");
  });

  it("asks for the tenant of a pod that the API does not list by its namespace", () => {
    const { view } = node();
    view.setNamespace({ name: "bank", labels: labels.intern({}), tenant: "gold" });
    view.setComplete();
    assert.equal(decide(pair, view).verdict, "hold", "the namespace is not known");
    view.setNamespace({ name: "shop", labels: labels.intern({}) });
    assert.equal(decide(pair, view).verdict, "allow");
    const stranger = { ofport: 110, mac: "0a:58:00:00:00:09", addresses: ["10.244.1.9"], tracked: true } as const;
    view.setLocalPort({ ...stranger, pod: "bank/till", uid: "till" });
    assert.equal(decide({ ...pair, destination: "10.244.1.9" }, view).verdict, "deny");
  });

  it("is found by name for runtimes that do not tell the UID", () => {
    const watched = node();
    const { view, tracking } = watched;
    view.setLocalPort({ ...view.localPorts.get(100)!, uid: "" });
    tell(watched);
    policy(view, "web", web);
    view.setComplete();
    assert.deepEqual(tracking(), ["shop/cart free"]);
    assert.ok(view.isolationsOf({ name: "shop/web", uid: "" })?.ingress);
    identify(view, "web", { app: "none" });
    assert.deepEqual(tracking(), ["shop/web free"]);
  });

  it("changes with policies and labels, and touches the pods concerned and no others", () => {
    const watched = node();
    const { view, keys, tracking } = watched;
    tell(watched);
    view.setComplete();
    keys();
    tracking();
    policy(view, "web", web);
    assert.deepEqual([keys(), tracking()], [["address:10.244.1.5"], ["shop/web tracked"]]);
    policy(view, "web", { ...web, ingress: [{}] });
    assert.deepEqual([keys(), tracking()], [["address:10.244.1.5"], []]);
    identify(view, "cart", { app: "web" });
    assert.deepEqual([keys(), tracking()], [["address:10.244.1.6"], ["shop/cart tracked"]]);
    identify(view, "cart", { app: "web" });
    assert.deepEqual([keys(), tracking()], [[], []]);
    view.removePolicy("shop", "web");
    assert.deepEqual(keys(), ["address:10.244.1.5", "address:10.244.1.6"]);
    assert.deepEqual(tracking(), ["shop/cart free", "shop/web free"]);
    policy(view, "other", { podSelector: { matchLabels: { app: "nobody" } } });
    assert.deepEqual([keys(), tracking()], [[], []]);
  });

  it("tells when the first tenant comes and the last goes: every verdict may change then", () => {
    const watched = node();
    const { view, keys } = watched;
    tell(watched);
    view.setComplete();
    keys();
    const bank = { name: "bank", labels: labels.intern({}) };
    view.setNamespace({ ...bank, tenant: "gold" });
    assert.deepEqual([keys(), view.hasTenants], [["namespace:bank", "tenants"], true]);
    view.setNamespace({ ...bank, tenant: "silver" });
    assert.deepEqual(keys(), ["namespace:bank"]);
    view.removeNamespace("bank");
    assert.deepEqual([keys(), view.hasTenants], [["namespace:bank", "tenants"], false]);
  });

  it("recalled from a former life lets what nobody isolated go on, in its tenant, until the API has told everything", () => {
    const watched = node();
    const { view } = watched;
    assert.equal(decide(pair, view).verdict, "hold");
    for (const name of ["web", "cart"]) view.recall(key(name), open);
    assert.equal(decide(pair, view).verdict, "allow");
    view.recall(key("cart"), { ...open, isolated: true });
    assert.equal(decide(pair, view).verdict, "hold");
    view.recall(key("cart"), { ...open, tenant: "gold" });
    assert.equal(decide(pair, view).verdict, "allow");
    const till = { name: "bank/till", uid: "till" };
    view.setLocalPort({
      ...view.localPorts.get(101)!,
      ofport: 110,
      addresses: ["10.244.1.9"],
      pod: till.name,
      uid: till.uid,
    });
    view.recall(till, open);
    assert.equal(decide({ ...pair, destination: "10.244.1.9" }, view).verdict, "deny");
    view.recall(till, { ...open, tenant: "gold" });
    assert.equal(decide({ ...pair, destination: "10.244.1.9" }, view).verdict, "allow");
    tell(watched);
    policy(view, "web", { ...web, policyTypes: ["Egress"] });
    view.setComplete();
    const decision = decide(pair, view);
    assert.ok(decision.verdict === "allow" && decision.guard !== undefined);
  });

  it("lets a new pod begin without the API where its namespace had no policies, and nowhere else", () => {
    const { view } = node();
    view.recall(key("web"), { ...open, tenant: "gold" });
    assert.equal(decide(pair, view).verdict, "allow");
    view.recall(key("other"), { ...open, namespaceHasPolicies: true });
    assert.equal(decide(pair, view).verdict, "hold");
  });

  it("is remembered when it is known, and not before", () => {
    const watched = node();
    const { view } = watched;
    assert.equal(view.isolationToRemember(key("web")), undefined);
    tell(watched);
    view.setNamespace({ name: "shop", labels: labels.intern({}), tenant: "gold" });
    view.setComplete();
    assert.deepEqual(view.isolationToRemember(key("web")), {
      isolated: false,
      namespaceHasPolicies: false,
      tenant: "gold",
    });
    policy(view, "web", web);
    assert.deepEqual(view.isolationToRemember(key("web")), {
      isolated: true,
      namespaceHasPolicies: true,
      tenant: "gold",
    });
  });
});

describe("an address that a port of this node has", () => {
  const address = "10.244.1.5";
  const claimedBy = (view: View, uid: string): void => {
    view.setClaim({ address, bound: true, holder: { kind: "pod", name: "shop/web", node: "node-1", uid } });
  };

  it("is nobody's here once the API names another pod of that name as its holder", () => {
    const watched = node();
    tell(watched);
    claimedBy(watched.view, "web");
    assert.equal(watched.view.endpointAt(address)?.uid, "web");
    claimedBy(watched.view, "another");
    assert.equal(watched.view.endpointAt(address), undefined);
  });

  it("stays a static pod's, which the API knows by another UID than the runtime", () => {
    const watched = node();
    const { view } = watched;
    tell(watched);
    claimedBy(view, "mirror");
    assert.equal(view.endpointAt(address), undefined, "nobody has told that they are one");
    watched.keys();
    const record = { namespace: "shop", name: "web", node: "node-1", labels: labels.intern({}), ports: [] };
    view.setIdentity({ ...record, uid: "mirror", staticUid: "web" });
    view.removeIdentity({ ...record, uid: "web" });
    assert.equal(view.endpointAt(address)?.name, "shop/web");
    assert.ok(watched.keys().includes(`address:${address}`), "verdicts about it are taken anew");
  });
});
