import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { existsSync, readdirSync } from "node:fs";
import { normal } from "../../contenders/normal.ts";
import type { Running } from "../../contenders/contender.ts";
import { Site } from "../../environment/site.ts";
import { parseAddress } from "../../traffic/frame.ts";
import { measureTraffic, startBackground, watchArrivals, type Route } from "../../traffic/measure.ts";
import { liveFlows, newFlows, type TrafficPlan, type Variation } from "../../traffic/plan.ts";

const sources: Variation = { field: "source", base: parseAddress("10.64.0.0"), bits: 20, first: 0, scatter: false };
const pods = [
  { name: "a", address: "10.1.0.1", length: 16 },
  { name: "b", address: "10.1.0.2", length: 16 },
];

let site: Site;
let running: Running;
let route: Route;

void describe("generator, switch and receiver", () => {
  before(async () => {
    site = new Site();
    running = await normal.start(site, { pods, sources, idlePorts: 0 });
    const [from, to] = running.pods;
    route = { from: from!, to: to!, destinationMac: running.macTowards(from!, to!) };
  });

  after(() => {
    const { directory } = site;
    const namespaces = running.pods.map((pod) => pod.namespace);
    site.close();
    assert.ok(!existsSync(directory));
    const left = readdirSync("/run/netns");
    for (const namespace of namespaces) assert.ok(!left.includes(namespace), `${namespace} is still there`);
  });

  void it("a switch that forwards everything delivers every packet once, at the rate that was asked for", async () => {
    const result = await measureTraffic(site, route, newFlows(1000, 0.5, sources));
    assert.equal(result.sent, 500);
    assert.equal(result.lost, 0);
    assert.equal(result.receiver.duplicates, 0);
    assert.equal(result.receiver.reordered, 0);
    assert.equal(result.receiver.socketDrops, 0);
    assert.ok(result.receiver.first.p50 > 0 && result.receiver.first.p50 < 1000);
    assert.ok(result.goodput > 100 && result.goodput < 1100, `goodput ${result.goodput}`);
  });

  void it("several packets per flow: the first and the later ones are told apart", async () => {
    const plan: TrafficPlan = { flowsPerSecond: 500, flows: 50, packetsPerFlow: 4, gap: 0.005, variation: sources };
    const result = await measureTraffic(site, route, plan);
    assert.equal(result.lost, 0);
    assert.equal(result.receiver.first.count, 50);
    assert.equal(result.receiver.later.count, 150);
  });

  void it("whoever asks when packets arrive is told the first and the last of each time, and of this run only", async () => {
    const once = { ...sources, bits: 0, base: parseAddress("10.1.0.1") };
    const traffic = await startBackground(site, route, liveFlows(1, 200, 60, once));
    const [watch, other] = [
      await watchArrivals(site, route.to, traffic.run),
      await watchArrivals(site, route.to, traffic.run + 1),
    ];
    let count = 0;
    let latest = 0;
    while (count < 40) {
      const arrivals = await watch.look();
      if (arrivals.count > 0) {
        assert.ok(arrivals.first > latest && arrivals.last >= arrivals.first);
        latest = arrivals.last;
      }
      count += arrivals.count;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await traffic.stop();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await watch.look();
    const after = await watch.look();
    assert.deepEqual(after, { count: 0, first: 0, last: 0, socketDrops: 0 });
    assert.equal((await other.look()).count, 0);
    for (const each of [watch, other]) await each.stop();
  });

  void it("what the switch drops is counted as lost", async () => {
    const own = running.switch;
    // Every second source address is dropped.
    own.openflow("add-flow", own.bridge, ["priority=100,ip,nw_src=10.64.0.0/255.255.0.1,actions=drop"]);
    const result = await measureTraffic(site, route, newFlows(1000, 0.2, sources));
    own.openflow("del-flows", own.bridge, ["ip"]);
    assert.equal(result.sent, 200);
    assert.equal(result.lost, 100);
  });

  void it("what the switch sends twice is counted as duplicated", async () => {
    const own = running.switch;
    const port = own.configure("get", "interface", route.to.port, "ofport").trim();
    own.openflow("add-flow", own.bridge, [`priority=100,ip,actions=output:${port},output:${port}`]);
    const result = await measureTraffic(site, route, newFlows(1000, 0.1, sources));
    own.openflow("del-flows", own.bridge, ["ip"]);
    assert.equal(result.lost, 0);
    assert.equal(result.receiver.duplicates, 100);
  });

  void it("packets that are steered by destination reach a pod in promiscuous fashion, whatever their address", async () => {
    const scattered: Variation = {
      field: "destination",
      base: parseAddress("10.128.0.0"),
      bits: 16,
      first: 7,
      scatter: true,
    };
    const result = await measureTraffic(site, route, newFlows(5000, 0.2, scattered));
    assert.equal(result.lost, 0);
  });

  void it("the switch's processor time grows with the packets it handles", async () => {
    const beforeRun = running.switch.cpu();
    await measureTraffic(site, route, newFlows(5000, 0.4, sources));
    const afterRun = running.switch.cpu();
    assert.ok(afterRun.process > beforeRun.process);
    assert.ok(afterRun.mainThread > beforeRun.mainThread);
    assert.ok(afterRun.process - beforeRun.process >= afterRun.mainThread - beforeRun.mainThread);
  });
});
