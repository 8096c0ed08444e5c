/** Plain switching: the bridge as Open vSwitch makes it, one entry with the NORMAL action, no controller. */
import { introduce, Switch } from "../environment/switch.ts";
import type { Contender } from "./contender.ts";
import { unusedEntries } from "./entries.ts";

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
};
