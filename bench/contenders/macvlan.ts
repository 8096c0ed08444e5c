/** The CNI project's `macvlan` as Debian ships it: pods hang on the NIC, without any switch. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { callPlugin, containerAttachments, containerIds } from "../cni/attach.ts";
import { run } from "../environment/site.ts";
import type { Pod } from "../environment/switch.ts";
import { layCable, underlayAddress, underlayPrefix } from "../environment/wire.ts";
import type { Contender } from "./contender.ts";

const DIRECTORY = "/usr/lib/cni";

export const macvlan: Required<Pick<Contender, "name" | "startUnderlay">> = {
  name: "macvlan",
  async startUnderlay(site) {
    const executable = join(DIRECTORY, "macvlan");
    if (!existsSync(executable)) {
      throw new Error(`${executable} is missing; install Debian's containernetworking-plugins`);
    }
    const nodes = site.addNamespaces(["macvlan1", "macvlan2"]);
    layCable("eth2", nodes[0]!, nodes[1]!);
    const pods: Pod[] = [];
    for (const [at, namespace] of nodes.entries()) {
      const address = underlayAddress(at);
      const node = {
        name: macvlan.name,
        namespace,
        executable,
        binDirectory: DIRECTORY,
        configuration: {
          cniVersion: "1.0.0",
          name: "bench",
          type: "macvlan",
          master: "eth2",
          mode: "bridge",
          ipam: { type: "static", addresses: [{ address: `${address}/${underlayPrefix}` }] },
        },
        argumentsOf: () => "",
        announce: async () => {},
        withdraw: async () => {},
      };
      const ids = containerIds(1);
      const [own] = site.addNamespaces([`macpod${at}`]);
      await callPlugin(site, node, "ADD", containerAttachments(node, ids, [own!]), 1);
      const mac = run(["ip", "netns", "exec", own!, "cat", "/sys/class/net/eth0/address"]).trim();
      pods.push({ name: `macpod${at}`, namespace: own!, port: "eth2", interface: "eth0", address, mac });
    }
    const [from, to] = pods;
    return { contender: macvlan.name, from: from!, to: to!, stop: async () => site.removeNamespaces(nodes) };
  },
};
