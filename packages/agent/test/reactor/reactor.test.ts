import assert from "node:assert/strict";
import { test } from "node:test";
import { verdictCode } from "@beyondfabric/datapath";
import { LabelSet } from "@beyondfabric/kube";
import { encodeMessage } from "@beyondfabric/openflow";
import { parseCidr } from "@beyondfabric/packet";
import { parseNetworkPolicy } from "@beyondfabric/policy";
import { Reactor } from "../../src/reactor/reactor.ts";
import { View } from "../../src/view.ts";
import { packetIn, RecordingSwitch } from "./recording-switch.ts";

function node(): { view: View; reactor: Reactor; ovs: RecordingSwitch; clock: { now: number } } {
  const view = new View("node-1");
  const ovs = new RecordingSwitch();
  const clock = { now: 0 };
  const limits = {
    entries: 100,
    idleMilliseconds: 60_000,
    heldPerPort: 2,
    holdMilliseconds: 1000,
    coalesceMilliseconds: 0,
    entriesPerSecond: 100,
  };
  const reactor = new Reactor({ facts: view, limits, sink: ovs, now: () => clock.now });
  view.onChange((keys) => reactor.factsChanged(keys));
  view.setSubnets([{ name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 }]);
  view.setNode({ name: "node-2", uid: "2", tunnelAddress: "10.10.0.12", gatewayAddresses: ["10.244.2.1"] });
  view.setBlock({ cidr: parseCidr("10.244.2.0/26"), node: "node-2" });
  view.setNamespace({ name: "shop", labels: LabelSet.empty });
  view.setIdentity({ uid: "w", namespace: "shop", name: "web", node: "node-1", labels: LabelSet.empty, ports: [] });
  view.setLocalPort({
    ofport: 7,
    mac: "0a:58:00:00:00:01",
    addresses: ["10.244.1.5"],
    pod: "shop/web",
    uid: "w",
    tracked: false,
  });
  view.setComplete();
  return { view, reactor, ovs, clock };
}

/** What was written about entries since the last call: `add tracked`, and so on; the write that tracks the pod is named. */
function written(ovs: RecordingSwitch): string[] {
  return ovs.messages.splice(0).flatMap((message) => {
    if (message.type !== "flow_mod") return [];
    const standing = message.flow.match.find((field) => field.field === "reg8");
    if (standing === undefined || !("value" in standing)) return [];
    return [`${message.command} ${standing.value === 0n ? "untracked" : "tracked"}`];
  });
}

const db = { namespace: "shop", name: "db", uid: "d", node: "node-2", addresses: ["10.244.2.5"], created: 0 };
const toDb = packetIn({ from: "pod", source: "10.244.1.5", destination: "10.244.2.5" });

test("an allowed first packet is resumed in the same turn, behind the entries there and back; repeated ones decide nothing", () => {
  const { view, reactor, ovs } = node();
  view.setPod(db);
  reactor.onPacketIn(toDb);
  assert.deepStrictEqual(ovs.take(), ["add", "add", `resume ${verdictCode.tunnel}`]);
  reactor.onPacketIn(toDb);
  assert.deepStrictEqual(ovs.take(), [`resume ${verdictCode.tunnel}`]);
  assert.equal(reactor.counters.repeated, 1);
});

test("when a pod begins or ceases to be isolated the new kind of entries comes before the old kind goes", async () => {
  const { view, reactor, ovs } = node();
  const order: string[] = [];
  view.onTracking(({ tracked }) => order.push(`${tracked ? "tracked" : "free"} ${written(ovs).join()}`));
  view.setPod(db);
  view.setIdentity({ uid: "d", namespace: "shop", name: "db", node: "node-2", labels: LabelSet.empty, ports: [] });
  reactor.onPacketIn(toDb);
  written(ovs);
  const settle = async (): Promise<void> => {
    do await new Promise((resolve) => setTimeout(resolve, 5));
    while (reactor.pendingWrites > 0);
  };
  const metadata = { namespace: "shop", name: "out" };
  const spec = { podSelector: {}, policyTypes: ["Egress"], egress: [{}] };
  view.setPolicy(parseNetworkPolicy({ metadata, spec }).policy!);
  await settle();
  const isolating = written(ovs);
  assert.deepEqual(order.splice(0), ["tracked "]);
  assert.ok(isolating.includes("delete_strict untracked"), isolating.join());
  assert.ok(isolating.lastIndexOf("add tracked") < isolating.indexOf("delete_strict untracked"), isolating.join());
  view.removePolicy("shop", "out");
  reactor.write("mark", encodeMessage({ type: "barrier_request" }, 1), "behind");
  await settle();
  assert.deepEqual(order, ["free "]);
  const kinds = ovs.messages.flatMap((message) =>
    message.type === "barrier_request" ? ["mark"] : message.type === "flow_mod" ? [message.command] : [],
  );
  assert.equal(kinds.lastIndexOf("add") < kinds.indexOf("mark"), true, kinds.join());
  assert.equal(kinds.indexOf("delete_strict") > kinds.indexOf("mark"), true, kinds.join());
});

test("a packet whose peer is unknown waits, goes on when the peer appears, and no more than a port's share wait", () => {
  const { view, reactor, ovs } = node();
  for (let i = 0; i < 3; i++) reactor.onPacketIn(toDb);
  assert.deepStrictEqual(ovs.take(), []);
  assert.deepStrictEqual([reactor.heldCount, reactor.counters.holdOverflow], [2, 1]);
  view.setPod(db);
  assert.deepStrictEqual(
    ovs.take().filter((what) => what.startsWith("resume")),
    Array(2).fill(`resume ${verdictCode.tunnel}`),
  );
  assert.equal(reactor.heldCount, 0);
});

test("a peer waited for in vain is refused at once for a second, and held packets die with the connection", () => {
  const { reactor, ovs, clock } = node();
  reactor.onPacketIn(toDb);
  clock.now = 1000;
  reactor.tick();
  assert.deepStrictEqual([reactor.heldCount, reactor.counters.holdExpired], [0, 1]);
  reactor.onPacketIn(toDb);
  assert.deepStrictEqual([reactor.heldCount, reactor.counters.refusedAbsent], [0, 1]);
  clock.now = 2000;
  reactor.tick();
  reactor.onPacketIn(toDb);
  assert.equal(reactor.heldCount, 1);
  reactor.disconnected();
  assert.deepStrictEqual([reactor.heldCount, reactor.counters.holdLost], [0, 1]);
  assert.deepStrictEqual(ovs.take(), []);
});

test("no frame makes it throw, however it is broken", () => {
  const { reactor } = node();
  for (let at = 0; at < toDb.length; at++) {
    for (const value of [0, 0x7f, 0xff]) {
      const broken = Buffer.from(toDb);
      broken[at] = value;
      reactor.onPacketIn(broken);
    }
    reactor.onPacketIn(Buffer.from(toDb.subarray(0, at)));
  }
  assert.ok(reactor.counters.unreadable > 0);
});
