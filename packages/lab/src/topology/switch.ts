import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { LabError } from "../errors.ts";
import { runChecked, sleep } from "../process/run.ts";
import { SupervisedProcess } from "../process/supervised-process.ts";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

/** The two processes of an Open vSwitch with a run directory of its own. */
export interface SwitchProcesses {
  readonly runDirectory: string;
  readonly database: SupervisedProcess;
  readonly daemon: SupervisedProcess;
}

/** Describes ovsdb-server and ovs-vswitchd of one machine; nothing is started yet. */
export function switchProcesses(
  namespace: string,
  runDirectory: string,
  mark: Readonly<Record<string, string>>,
): SwitchProcesses {
  const env = { ...mark, OVS_RUNDIR: runDirectory, OVS_LOGDIR: runDirectory, OVS_DBDIR: runDirectory };
  const socket = join(runDirectory, "db.sock");
  const conf = join(runDirectory, "conf.db");
  const log = (name: string) => `--log-file=${join(runDirectory, `${name}.log`)}`;
  // ovs-appctl without a path finds a daemon by the pid file it wrote itself.
  const pidFile = (name: string) => `--pidfile=${join(runDirectory, `${name}.pid`)}`;
  const quiet = "--verbose=console:off";
  const database = new SupervisedProcess({
    name: "ovsdb",
    namespace,
    env,
    logFile: join(runDirectory, "ovsdb.out.log"),
    pidFile: join(runDirectory, "ovsdb.lab-pid"),
    command: ["ovsdb-server", conf, `--remote=punix:${socket}`, pidFile("ovsdb-server"), log("ovsdb-server"), quiet],
    before: async () => {
      await mkdir(runDirectory, { recursive: true });
      const exists = await access(conf).then(
        () => true,
        () => false,
      );
      if (!exists) await runChecked(["ovsdb-tool", "create", conf, SCHEMA]);
      await rm(join(runDirectory, "ovsdb-server.pid"), { force: true });
    },
  });
  const daemon = new SupervisedProcess({
    name: "vswitchd",
    namespace,
    env,
    logFile: join(runDirectory, "vswitchd.out.log"),
    pidFile: join(runDirectory, "vswitchd.lab-pid"),
    command: [
      "ovs-vswitchd",
      `unix:${socket}`,
      "--disable-system",
      pidFile("ovs-vswitchd"),
      log("ovs-vswitchd"),
      quiet,
    ],
    before: async () => {
      await rm(join(runDirectory, "ovs-vswitchd.pid"), { force: true });
    },
  });
  return { runDirectory, database, daemon };
}

/** Starts both and returns when the daemon has taken its configuration in. `LAB_COMPONENT_FAILED` names the one that did not come up. */
export async function startSwitch(processes: SwitchProcesses, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  await processes.database.start();
  const socket = join(processes.runDirectory, "db.sock");
  // With patience: the socket is there a moment before the server listens on it.
  const vsctl = ["ovs-vsctl", `--db=unix:${socket}`, "--retry", "--timeout=10"];
  for (;;) {
    const reachable = await access(socket).then(
      () => true,
      () => false,
    );
    if (reachable) break;
    giveUp(processes.database, deadline);
    await sleep(20);
  }
  await runChecked([...vsctl, "--no-wait", "init"]);
  await processes.daemon.start();
  for (;;) {
    const started = await runChecked([...vsctl, "--no-wait", "get", "Open_vSwitch", ".", "cur_cfg", "datapath_types"]);
    if (started.includes("netdev")) return;
    giveUp(processes.daemon, deadline);
    await sleep(20);
  }
}

function giveUp(component: SupervisedProcess, deadline: number): void {
  if (component.exits < 3 && performance.now() < deadline) return;
  throw new LabError(
    "LAB_COMPONENT_FAILED",
    `${component.name} did not come up (ended ${component.exits} times); its log ends with:\n${component.logTail()}`,
  );
}

/** Runs ovs-vsctl against a switch. */
export async function vsctl(runDirectory: string, args: readonly string[]): Promise<string> {
  return await runChecked(["ovs-vsctl", `--db=unix:${join(runDirectory, "db.sock")}`, "--timeout=15", ...args]);
}

/** Arguments of ovs-vsctl that make the wire's bridge: a plain learning switch in user space. */
export const WIRE_BRIDGE = [
  "--may-exist",
  "add-br",
  "wire",
  "--",
  "set",
  "bridge",
  "wire",
  "datapath_type=netdev",
  "fail_mode=standalone",
] as const;

/**
 * Arguments of ovs-vsctl that connect a port to the wire. Without a VLAN it carries untagged frames and every VLAN, tagged;
 * with one it is that VLAN's, and its machine sees no tag.
 */
export function wirePortArguments(port: string, vlan?: number): string[] {
  return ["--", "--may-exist", "add-port", "wire", port, ...(vlan === undefined ? [] : [`tag=${vlan}`])];
}
