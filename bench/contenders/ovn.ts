/**
 * OVN: its own databases, northd and controller on an Open vSwitch like everybody's, in the shape that OVN-Kubernetes gives
 * it by default: each node is a zone of its own, so that northd and the controller know the node's pods, and pods elsewhere
 * only as members of address sets. A policy is a port group of the pods that it selects and one ACL for each port that it
 * allows from an address set; under those lies a refusal for all pods that any policy selects.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PODS_PER_SERVICE, serviceName, type BenchPolicy, type ServiceName } from "../cluster/policies.ts";
import { recordedAddresses } from "../cluster/recorded.ts";
import { cpuTime, residentBytes } from "../environment/cpu.ts";
import { run, until, type Site } from "../environment/site.ts";
import { introduce, Switch, type Pod } from "../environment/switch.ts";
import { PODS_PER_NODE, type Contender, type Setting } from "./contender.ts";

const ROOT = join(import.meta.dirname, "../..");
const SCHEMAS = "/usr/share/ovn";
const ADDRESS = "10.10.0.11";
/** The options of one `ovn-nbctl` may be so long (bytes). */
const LONGEST = 60_000;

/** Installs OVN where it is missing. */
function installed(): void {
  const setup = spawnSync(join(ROOT, "tools/setup.sh"), ["ovn"], { encoding: "utf8", timeout: 600_000 });
  if (setup.status !== 0) throw new Error(`tools/setup.sh ovn failed: ${setup.stderr.slice(-800)}`);
}

const key = ({ namespace, app }: ServiceName): string => `${namespace}_${app}`.replaceAll("-", "_");

/** The commands of ovn-nbctl that make policies of this node's pods. */
export function policyCommands(setting: Setting): string[][] {
  const local = new Map<string, string[]>();
  const addresses = new Map<string, string[]>();
  for (const [at, service] of (setting.services ?? []).entries()) {
    if (service === undefined) continue;
    const { name, address } = setting.pods[at]!;
    local.set(key(service), [...(local.get(key(service)) ?? []), name]);
    addresses.set(key(service), [...(addresses.get(key(service)) ?? []), address]);
  }
  for (let pod = 0; pod < (setting.clusterPods ?? 0); pod++) {
    const service = key(serviceName(Math.floor(pod / PODS_PER_SERVICE)));
    addresses.set(service, [...(addresses.get(service) ?? []), recordedAddresses(pod, PODS_PER_NODE)[0]]);
  }
  return aclCommands(setting.policies ?? [], local, addresses);
}

function aclCommands(
  policies: readonly BenchPolicy[],
  local: ReadonlyMap<string, readonly string[]>,
  addresses: ReadonlyMap<string, readonly string[]>,
): string[][] {
  const commands: string[][] = [];
  const sets = new Set<string>();
  const isolated = new Set<string>();
  for (const { name, to, from, ports } of policies) {
    const pods = local.get(key(to));
    // Without a pod of this node the port group is empty, and its ACLs concern no switch of this zone.
    if (pods === undefined) continue;
    for (const pod of pods) isolated.add(pod);
    const group = `pg_${name.replaceAll("-", "_")}`;
    const set = `as_${key(from)}`;
    if (!sets.has(set)) {
      sets.add(set);
      const members = (addresses.get(key(from)) ?? []).map((address) => `"${address}"`).join(",");
      commands.push(["create", "address_set", `name=${set}`, ...(members === "" ? [] : [`addresses=${members}`])]);
    }
    commands.push(["pg-add", group, ...pods]);
    for (const { protocol, port } of ports) {
      const l4 = protocol.toLowerCase();
      const match = `outport == @${group} && ip4.src == $${set} && ${l4} && ${l4}.dst == ${port}`;
      commands.push(["--type=port-group", "acl-add", group, "to-lport", "1001", match, "allow-related"]);
    }
  }
  if (isolated.size > 0) {
    commands.push(["pg-add", "pg_isolated", ...isolated]);
    for (const [priority, extra, action] of [
      ["1000", "", "drop"],
      ["1001", " && arp", "allow"],
    ]) {
      const match = `outport == @pg_isolated${extra!}`;
      commands.push(["--type=port-group", "acl-add", "pg_isolated", "to-lport", priority!, match, action!]);
    }
  }
  return commands;
}

/** Several commands in each call of ovn-nbctl. */
function batches(commands: readonly (readonly string[])[]): string[][] {
  const made: string[][] = [];
  let length = LONGEST;
  for (const command of commands) {
    const size = command.reduce((sum, word) => sum + word.length + 1, 3);
    if (length + size > LONGEST) {
      made.push([]);
      length = 0;
    }
    made.at(-1)!.push("--", ...command);
    length += size;
  }
  return made;
}

async function startDatabase(site: Site, own: Switch, directory: string, name: "nb" | "sb"): Promise<string> {
  const file = join(directory, `${name}.db`);
  const socket = join(directory, `${name}.sock`);
  run(["ovsdb-tool", "create", file, join(SCHEMAS, `ovn-${name}.ovsschema`)]);
  const options = ["-vconsole:off", "-vsyslog:off", "--no-chdir", `--unixctl=${join(directory, `${name}.ctl`)}`];
  site.start(own.namespace, ["ovsdb-server", `--remote=punix:${socket}`, ...options, file]);
  await until(`OVN's database ${name}`, 20_000, () => existsSync(socket));
  return `unix:${socket}`;
}

export const ovn: Contender = {
  name: "OVN",
  async start(site, setting) {
    installed();
    const own = await Switch.start(site, "ovn");
    const directory = site.addDirectory("ovn-state");
    const pods = own.createPods(setting.pods);
    await own.attach(pods, (pod) => [`external_ids:iface-id=${pod.name}`]);
    if (setting.idlePorts > 0) await own.addIdlePorts(setting.idlePorts);
    introduce(pods);
    run(["ip", "-n", own.namespace, "addr", "add", `${ADDRESS}/32`, "dev", "lo"]);
    const north = await startDatabase(site, own, directory, "nb");
    const south = await startDatabase(site, own, directory, "sb");
    const nb = (...words: string[]): string => run(["ovn-nbctl", `--db=${north}`, "--timeout=50", ...words]);
    run(["ovn-nbctl", `--db=${north}`, "init"]);
    run(["ovn-sbctl", `--db=${south}`, "init"]);
    const environment = { OVS_RUNDIR: own.runDirectory, OVN_RUNDIR: directory };
    const quiet = ["-vconsole:off", "-vsyslog:off"];
    site.start(
      own.namespace,
      [
        "ovn-northd",
        `--ovnnb-db=${north}`,
        `--ovnsb-db=${south}`,
        ...quiet,
        `--unixctl=${join(directory, "northd.ctl")}`,
      ],
      environment,
    );
    const settings = {
      "system-id": "bench-1",
      "ovn-remote": south,
      "ovn-encap-type": "geneve",
      "ovn-encap-ip": ADDRESS,
      "ovn-bridge-datapath-type": "netdev",
    };
    own.configure(
      "set",
      "open_vswitch",
      ".",
      ...Object.entries(settings).map(([name, to]) => `external_ids:${name}=${to}`),
    );
    const controller = site.start(
      own.namespace,
      ["ovn-controller", `unix:${join(own.runDirectory, "db.sock")}`, ...quiet],
      environment,
    );
    const chassis = (): string => run(["ovn-sbctl", `--db=${south}`, "--bare", "--columns=name", "list", "chassis"]);
    await until("ovn-controller to register its node", 20_000, () => chassis().includes("bench-1"), 100);
    const network = [["ls-add", "node"], ...pods.flatMap((pod) => portCommands(pod))];
    for (const batch of batches([...network, ...policyCommands(setting)])) nb(...batch.slice(1));
    // Ten thousand policies take northd and the controller their time.
    for (let minute = 0; ; minute++) {
      try {
        nb("--wait=hv", "sync");
        break;
      } catch (error) {
        if (minute >= 5) throw error;
      }
    }
    return {
      contender: ovn.name,
      switch: own,
      pods,
      macTowards: (_from, to) => to.mac,
      controllerCpu: () => cpuTime(controller.pid!).process,
      controllerMemory: () => residentBytes(controller.pid!),
      async forget() {
        own.forgetDatapathFlows();
      },
      async addEntries() {
        throw new Error("OVN's tables are its own: nothing is put into them");
      },
      async stop() {
        await site.stop(controller);
        await own.stop();
      },
    };
  },
};

function portCommands({ name, mac, address }: Pod): string[][] {
  return [
    ["lsp-add", "node", name],
    ["lsp-set-addresses", name, `${mac} ${address}`],
  ];
}
