/** The conversation with the bridge, on a real switch: what it holds is read with ovs-ofctl and spoilt with it. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { type LocalPort } from "@beyondfabric/datapath";
import { LabelSet } from "@beyondfabric/kube";
import { parseCidr } from "@beyondfabric/packet";
import { OpenVswitch, until } from "../../../openflow/test/channel/open-vswitch.ts";
import { Reactor } from "../../src/reactor/reactor.ts";
import { BridgeSession } from "../../src/switch/bridge-session.ts";
import { View } from "../../src/view.ts";
import { packetIn } from "../reactor/recording-switch.ts";

const web: LocalPort = {
  ofport: 7,
  mac: "0a:58:00:00:00:01",
  addresses: ["10.244.1.5"],
  pod: "shop/web",
  uid: "w",
  tracked: false,
};
const shop: LocalPort = {
  ofport: 8,
  mac: "0a:58:00:00:00:02",
  addresses: ["10.244.1.6"],
  pod: "shop/shop",
  uid: "s",
  tracked: false,
};
const toDb = packetIn({ from: "pod", source: "10.244.1.5", destination: "10.244.2.5" });
const base = {
  ports: { host: 1, tunnel: 2, hostMac: "0e:00:00:00:00:01" },
  gateways: ["10.244.0.1"],
  vnis: [7],
  metered: true,
};

/** What bounds the frames that the agent is shown: forged ones, and those about addresses that pods pass on. */
const shown = ["92 50", "93 100"];

describe("the session with the bridge", () => {
  let ovs: OpenVswitch;
  let agents: Agent[];

  interface Agent {
    readonly session: BridgeSession;
    readonly reactor: Reactor;
    readonly lost: string[];
    ready: number;
  }

  beforeEach(async () => {
    agents = [];
    ovs = await OpenVswitch.start();
    await ovs.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "fail_mode=secure", "protocols=OpenFlow15");
  });
  afterEach(async () => {
    for (const { session } of agents) await session.stop();
    await ovs.destroy();
  });

  function agent(): Agent {
    const view = new View("node-1");
    const reactor = new Reactor({
      facts: view,
      limits: {
        entries: 100,
        idleMilliseconds: 60_000,
        heldPerPort: 2,
        holdMilliseconds: 1000,
        coalesceMilliseconds: 0,
        entriesPerSecond: 100,
      },
      sink: { send: (frame) => started.session.send(frame) },
      now: () => performance.now(),
    });
    view.onChange((keys) => reactor.factsChanged(keys));
    view.setSubnets([{ name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 }]);
    view.setNode({ name: "node-2", uid: "2", tunnelAddress: "10.10.0.12", gatewayAddresses: ["10.244.2.1"] });
    view.setBlock({ cidr: parseCidr("10.244.2.0/26"), node: "node-2" });
    view.setNamespace({ name: "shop", labels: LabelSet.empty });
    view.setIdentity({ uid: "w", namespace: "shop", name: "web", node: "node-1", labels: LabelSet.empty, ports: [] });
    view.setLocalPort(web);
    view.setPod({ namespace: "shop", name: "db", uid: "d", node: "node-2", addresses: ["10.244.2.5"], created: 0 });
    view.setComplete();
    const session = new BridgeSession({
      runDirectory: ovs.directory,
      bridge: "br-int",
      limits: { perPort: 500, tunnel: 5000 },
      reactor,
      logger: pino({ level: "silent" }),
      onReady: () => started.ready++,
      onLost: (reason) => started.lost.push(reason),
    });
    const started: Agent = { session, reactor, lost: [], ready: 0 };
    agents.push(started);
    return started;
  }

  async function begin(...pods: LocalPort[]): Promise<Agent> {
    const begun = agent();
    begun.session.restorePods(pods);
    begun.session.setBase(base);
    begun.session.start();
    await until("the session is ready", () => begun.ready > 0);
    return begun;
  }

  const flows = async (): Promise<string[]> => {
    const lines = (await ovs.ofctl("dump-flows", "br-int", "--no-stats")).split("\n");
    return lines.filter((line) => line.includes("actions=")).sort();
  };
  const of = (kind: "base" | "pod" | "verdict", lines: readonly string[]): string[] =>
    lines.filter((line) => line.includes(`cookie=0xbf${{ base: "0201", pod: "0202", verdict: "0203" }[kind]}`));
  const meters = async (): Promise<string[]> =>
    [...(await ovs.ofctl("dump-meters", "br-int")).matchAll(/^meter=(\d+) .*\n *type=drop rate=(\d+)/gm)]
      .map((match) => `${match[1]} ${match[2]}`)
      .sort();
  /** Everything that is kept about pods and of the node itself. */
  const kept = async (): Promise<unknown> => ({
    flows: (await flows()).filter((line) => !line.includes("cookie=0xbf0203")),
    meters: await meters(),
  });

  it("fills an empty bridge, and counts what it wants as the switch counts what it has", async () => {
    const { session, ready } = await begin(web);
    const lines = await flows();
    const wanted = session.desiredCounts();
    assert.deepEqual([of("base", lines).length, of("pod", lines).length], [wanted.base, wanted.pods]);
    assert.equal(lines.length, wanted.base + wanted.pods);
    assert.ok(wanted.base > 0 && wanted.pods > 0);
    assert.deepEqual(await meters(), ["1 5000", "2 5000", "7 500", ...shown]);
    assert.equal((await session.dump()).length, lines.length);
    assert.equal(ready, 1);
  });

  it("replaces whatever was there: entries of nobody, meters of nobody, another rate", async () => {
    await ovs.ofctl("add-flow", "br-int", "table=0,priority=7,actions=NORMAL");
    await ovs.ofctl("add-meter", "br-int", "meter=7,pktps,burst,band=type=drop,rate=9,burst_size=9");
    await ovs.ofctl("add-meter", "br-int", "meter=99,pktps,burst,band=type=drop,rate=9,burst_size=9");
    await begin(web);
    assert.deepEqual(
      (await flows()).filter((line) => line.includes("NORMAL")),
      [],
    );
    assert.deepEqual(await meters(), ["1 5000", "2 5000", "7 500", ...shown]);
  });

  it("repairs what somebody deletes, adds or changes, when it is asked to look", async () => {
    const { session } = await begin(web);
    const before = await kept();
    for (const spoil of [
      () => ovs.ofctl("del-flows", "br-int", "table=0"),
      () => ovs.ofctl("del-flows", "br-int"),
      () => ovs.ofctl("del-meters", "br-int"),
      () => ovs.ofctl("mod-flows", "br-int", "table=0,actions=drop"),
    ]) {
      await spoil();
      assert.notDeepEqual(await kept(), before);
      await until("it is repaired", async () => {
        await session.reconcileNow();
        return JSON.stringify(await kept()) === JSON.stringify(before);
      });
    }
  });

  it("brings a pod's entries and meter, changes them, and leaves nothing of it", async () => {
    const { session } = await begin(web);
    const before = await kept();
    await session.addPod(shop);
    const with6 = (await flows()).filter((line) => line.includes("10.244.1.6"));
    assert.ok(with6.length > 0);
    assert.ok((await meters()).includes("8 500"));
    await session.replacePod({ ...shop, addresses: ["10.244.1.9"] });
    const replaced = await flows();
    assert.deepEqual(
      replaced.filter((line) => line.includes("10.244.1.6")),
      [],
    );
    assert.equal(replaced.filter((line) => line.includes("10.244.1.9")).length, with6.length);
    session.removePod(8);
    session.removePod(8);
    await until("nothing of it is left", async () => JSON.stringify(await kept()) === JSON.stringify(before));
  });

  it("that begins without a switch writes what came meanwhile when there is one", async () => {
    await ovs.killSwitch();
    const begun = agent();
    begun.session.setBase(base);
    begun.session.start();
    await begun.session.addPod(web);
    await begun.session.addPod(shop);
    begun.session.removePod(8);
    assert.equal(begun.session.ready, false);
    await ovs.startSwitch();
    await until("the session is ready", () => begun.session.ready);
    assert.deepEqual(await meters(), ["1 5000", "2 5000", "7 500", ...shown]);
    const { base: constant, pods } = begun.session.desiredCounts();
    assert.equal((await flows()).length, constant + pods);
  });

  it("says that a switch is lost, and restores everything in the next one, verdicts included", async () => {
    const begun = await begin(web);
    begun.reactor.onPacketIn(toDb);
    await until("the verdict has its entries", async () => of("verdict", await flows()).length === 2);
    const before = await flows();
    await ovs.killSwitch();
    await until("the loss is told", () => begun.lost.length > 0);
    assert.equal(begun.session.ready, false);
    await ovs.startSwitch();
    await until("the session is ready again", () => begun.ready === 2);
    await until("everything is there", async () => (await flows()).length === before.length);
    assert.deepEqual(await flows(), before);
    assert.deepEqual(await meters(), ["1 5000", "2 5000", "7 500", ...shown]);
  });

  it("of an agent that starts anew takes over what the last one wrote, and rewrites none of it", async () => {
    const first = await begin(web);
    first.reactor.onPacketIn(toDb);
    await until("the verdict has its entries", async () => of("verdict", await flows()).length === 2);
    await first.session.stop();
    const before = await flows();
    const ages = async (): Promise<number[]> =>
      Array.from((await ovs.ofctl("dump-flows", "br-int")).matchAll(/duration=([\d.]+)s/g), (match) =>
        Number(match[1]),
      );
    await until("the entries are old enough to tell", async () => Math.min(...(await ages())) > 1);
    const youngest = Math.min(...(await ages()));
    await begin(web);
    assert.deepEqual(await flows(), before);
    assert.ok(Math.min(...(await ages())) >= youngest, "an entry was written again");
  });

  it("of an agent that starts anew takes away what no fact stands behind any more", async () => {
    const first = await begin(web, shop);
    first.reactor.onPacketIn(toDb);
    await until("the verdict has its entries", async () => of("verdict", await flows()).length === 2);
    await first.session.stop();
    // The pod went while no agent ran.
    const second = agent();
    second.session.setBase(base);
    second.session.start();
    await until("the session is ready", () => second.ready > 0);
    assert.deepEqual(of("pod", await flows()), []);
    assert.deepEqual(await meters(), ["1 5000", "2 5000", ...shown]);
  });
});
