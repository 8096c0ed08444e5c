/** Plain switching: the bridge as Open vSwitch makes it, one entry with the NORMAL action, no controller. */
import { run } from "../environment/site.ts";
import { introduce, Switch, type Pod } from "../environment/switch.ts";
import { layCable, underlayAddress, underlayPrefix } from "../environment/wire.ts";
import type { Contender } from "./contender.ts";
import { unusedEntries } from "./entries.ts";

/** 1500 less what VXLAN over IPv4 adds. */
const OVERLAY_MTU = 1450;

export const normal: Contender = {
  name: "NORMAL",
  async start(site, setting) {
    const own = await Switch.start(site, "normal");
    const pods = own.createPods(setting.pods);
    await own.attach(pods);
    if (setting.idlePorts > 0) await own.addIdlePorts(setting.idlePorts);
    introduce(pods);
    return {
      contender: normal.name,
      switch: own,
      pods,
      macTowards: (_from, to) => to.mac,
      controllerCpu: () => 0,
      controllerMemory: () => 0,
      async forget() {
        own.forgetDatapathFlows();
      },
      async addEntries(count) {
        own.openflow("add-flows", own.bridge, ["-"], unusedEntries(count));
      },
      stop: () => own.stop(),
    };
  },
  async startAcross(site) {
    const nodes = [await Switch.start(site, "normal1"), await Switch.start(site, "normal2")] as const;
    Switch.connect(...nodes);
    const pods: Pod[] = [];
    for (const [at, node] of nodes.entries()) {
      const created = node.createPods([{ name: `far${at}`, address: `10.1.0.${at + 1}`, length: 16 }]);
      await node.attach(created);
      pods.push(...created);
    }
    for (const pod of pods) run(["ip", "-n", pod.namespace, "link", "set", "eth0", "mtu", String(OVERLAY_MTU)]);
    introduce(pods);
    const [from, to] = pods;
    return {
      contender: normal.name,
      from: from!,
      to: to!,
      async stop() {
        for (const node of nodes) await node.stop();
      },
    };
  },
  async startUnderlay(site) {
    const nodes = [await Switch.start(site, "normal3"), await Switch.start(site, "normal4")] as const;
    layCable("eth2", nodes[0].namespace, nodes[1].namespace);
    const pods: Pod[] = [];
    for (const [at, node] of nodes.entries()) {
      node.configure("add-port", node.bridge, "eth2");
      const created = node.createPods([{ name: `wired${at}`, address: underlayAddress(at), length: underlayPrefix }]);
      await node.attach(created);
      pods.push(...created);
    }
    const [from, to] = pods;
    return {
      contender: normal.name,
      from: from!,
      to: to!,
      async stop() {
        for (const node of nodes) await node.stop();
      },
    };
  },
};
