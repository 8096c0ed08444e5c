/**
 * The reactive controller that comes with Open vSwitch: it learns MAC addresses and installs one exact entry with an
 * idle time-out of 60 s for every new flow, which is what it does when it is started without options.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cpuTime, residentBytes } from "../environment/cpu.ts";
import { run, inNamespace, until } from "../environment/site.ts";
import { introduce, Switch, type Pod } from "../environment/switch.ts";
import type { Contender } from "./contender.ts";
import { unusedEntries } from "./entries.ts";

/** Every pod says something, so that the controller learns where its MAC is. */
async function announce(pods: readonly Pod[]): Promise<void> {
  const [first, ...others] = pods;
  if (first === undefined) return;
  for (const pod of others)
    run(inNamespace(pod.namespace, ["ping", "-c", "2", "-i", "0.1", "-W", "2", "-q", first.address]));
}

export const testcontroller: Contender = {
  name: "ovs-testcontroller",
  async start(site, setting) {
    const own = await Switch.start(site, "tc");
    const pods = own.createPods(setting.pods);
    await own.attach(pods);
    if (setting.idlePorts > 0) await own.addIdlePorts(setting.idlePorts);
    introduce(pods);
    const socket = join(own.runDirectory, "controller.sock");
    const controller = site.start(own.namespace, [
      "ovs-testcontroller",
      "-vconsole:off",
      `--unixctl=${join(own.runDirectory, "controller.ctl")}`,
      `punix:${socket}`,
    ]);
    // A switch that finds nobody there tries again only seconds later.
    await until("ovs-testcontroller's socket", 20_000, () => existsSync(socket));
    own.configure("set-fail-mode", own.bridge, "secure", "--", "set-controller", own.bridge, `unix:${socket}`);
    // Its table-miss entry shows that it has taken the switch; the database says so only every five seconds.
    const taken = () => own.openflow("dump-flows", own.bridge).includes("CONTROLLER");
    await until("ovs-testcontroller to take the switch", 20_000, taken);
    await announce(pods);
    return {
      contender: testcontroller.name,
      switch: own,
      pods,
      macTowards: (_from, to) => to.mac,
      controllerCpu: () => cpuTime(controller.pid!).process,
      controllerMemory: () => residentBytes(controller.pid!),
      async forget() {
        // The strict deletion by match leaves the table-miss entry, whose match is empty, alone.
        own.openflow("del-flows", own.bridge, ["ip"]);
        own.forgetDatapathFlows();
      },
      async addEntries(count) {
        own.openflow("add-flows", own.bridge, ["-"], unusedEntries(count));
      },
      async stop() {
        await site.stop(controller);
        await own.stop();
      },
    };
  },
};
