/** An Open vSwitch of our own: a database server and a switch daemon in one namespace, with the userspace datapath. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cpuTime, type CpuTime } from "./cpu.ts";
import { inNamespace, run, until, type Running, type Site } from "./site.ts";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

const TUNNEL_ADDRESSES = ["10.10.0.11", "10.10.0.12"] as const;

/** A machine on the switch: a namespace with one interface `eth0`. */
export interface Pod {
  readonly name: string;
  readonly namespace: string;
  /** Name of the interface at the switch's end of the veth pair. */
  readonly port: string;
  readonly interface: "eth0";
  readonly address: string;
  readonly mac: string;
}

/** What a pod that does not exist yet shall be. */
export interface PodRequest {
  readonly name: string;
  readonly address: string;
  /** Prefix length of its own subnet route. */
  readonly length: number;
}

/** A switch with one bridge, `br-int`. */
export class Switch {
  readonly site: Site;
  readonly namespace: string;
  readonly runDirectory: string;
  readonly bridge = "br-int";
  readonly #database: Running;
  readonly #daemon: Running;
  static #macs = 0;
  static #ports = 0;

  private constructor(site: Site, namespace: string, runDirectory: string, database: Running, daemon: Running) {
    this.site = site;
    this.namespace = namespace;
    this.runDirectory = runDirectory;
    this.#database = database;
    this.#daemon = daemon;
  }

  /** Starts a switch. With its bridge it forwards when this returns; without, whoever controls it makes the bridge and speaks IPv6 too. */
  static async start(
    site: Site,
    purpose: string,
    bridge: "with bridge" | "without bridge" = "with bridge",
  ): Promise<Switch> {
    const families = bridge === "with bridge" ? "IPv4" : "IPv4 and IPv6";
    const namespace = site.addNamespace(purpose, families);
    const directory = site.addDirectory(purpose);
    const file = join(directory, "conf.db");
    run(["ovsdb-tool", "create", file, SCHEMA]);
    const environment = { OVS_RUNDIR: directory, OVS_LOGDIR: directory, OVS_DBDIR: directory };
    const options = ["-vconsole:off", `--log-file=${join(directory, "ovs.log")}`, "--no-chdir"];
    const database = site.start(
      namespace,
      ["ovsdb-server", `--remote=punix:${join(directory, "db.sock")}`, "--pidfile", ...options, file],
      environment,
    );
    await until("ovsdb-server", 20_000, () => existsSync(join(directory, "db.sock")));
    run(["ovs-vsctl", `--db=unix:${join(directory, "db.sock")}`, "--retry", "--no-wait", "init"]);
    const daemon = site.start(
      namespace,
      ["ovs-vswitchd", "--pidfile", ...options, `unix:${join(directory, "db.sock")}`],
      environment,
    );
    const started = new Switch(site, namespace, directory, database, daemon);
    if (bridge === "with bridge")
      started.configure("add-br", started.bridge, "--", "set", "bridge", started.bridge, "datapath_type=netdev");
    return started;
  }

  /** ovs-vsctl; waits until the switch has applied the change. */
  configure(...command: string[]): string {
    return run(["ovs-vsctl", "--timeout=30", `--db=unix:${join(this.runDirectory, "db.sock")}`, ...command]);
  }

  /** ovs-ofctl with OpenFlow 1.5. `input` is what `-` reads. */
  openflow(command: string, bridge: string, rest: readonly string[] = [], input = ""): string {
    const program = ["ovs-ofctl", "-O", "OpenFlow15", command, bridge, ...rest];
    return run(program, input, { ...process.env, OVS_RUNDIR: this.runDirectory });
  }

  /** ovs-appctl to the switch daemon. */
  control(...command: string[]): string {
    const program = ["ovs-appctl", "-t", "ovs-vswitchd", ...command];
    return run(program, "", { ...process.env, OVS_RUNDIR: this.runDirectory });
  }

  /** Process id of ovs-vswitchd. */
  get pid(): number {
    return this.#daemon.pid!;
  }

  cpu(): CpuTime {
    return cpuTime(this.pid);
  }

  /** Flows that the datapath holds now. */
  datapathFlows(): number {
    return Number(/flows: (\d+)/.exec(this.control("dpctl/show"))?.[1] ?? 0);
  }

  /** Milliseconds that the last walk over all datapath flows took. */
  dumpMilliseconds(): number {
    return Number(/dump duration : (\d+)ms/.exec(this.control("upcall/show"))?.[1] ?? 0);
  }

  /** Entries of the OpenFlow tables. */
  entries(): number {
    return Number(/flow_count=(\d+)/.exec(this.openflow("dump-aggregate", this.bridge))?.[1] ?? 0);
  }

  /** Forgets all datapath flows: the next packet of every flow is new again. */
  forgetDatapathFlows(): void {
    this.control("revalidator/purge");
  }

  /** Creates pods with their veth pairs, checksum offload off (AF_PACKET hands unfinished checksums on), not yet on the bridge. */
  createPods(requests: readonly PodRequest[]): Pod[] {
    const namespaces = this.site.addNamespaces(requests.map((request) => request.name));
    const pods = requests.map((request, at): Pod => {
      const serial = Switch.#macs++;
      return {
        name: request.name,
        namespace: namespaces[at]!,
        port: `v${Switch.#ports++}`,
        interface: "eth0",
        address: request.address,
        mac: `02:bf:00:00:${hexByte(serial >> 8)}:${hexByte(serial)}`,
      };
    });
    const links = pods.map(
      (pod) => `link add ${pod.port} type veth peer name eth0 address ${pod.mac} netns ${pod.namespace}\n`,
    );
    const ups = pods.map((pod) => `link set ${pod.port} up\n`);
    run(["ip", "-n", this.namespace, "-batch", "-"], [...links, ...ups].join(""));
    const setup = pods.map(
      (pod, at) =>
        `ip netns exec ${pod.namespace} sh -ec 'ethtool -K eth0 tx off >/dev/null;` +
        ` ip addr add ${pod.address}/${requests[at]!.length} dev eth0; ip link set eth0 up'\n`,
    );
    run(["sh", "-e"], setup.join(""));
    return pods;
  }

  /** Adds the switch's ends of pods' links to the bridge, with what `describe` adds to each interface's record. */
  async attach(pods: readonly Pod[], describe: (pod: Pod) => readonly string[] = () => []): Promise<void> {
    if (pods.length === 0) return;
    const command = pods.flatMap((pod) => {
      const facts = describe(pod);
      const add = ["--", "add-port", this.bridge, pod.port];
      return facts.length === 0 ? add : [...add, "--", "set", "interface", pod.port, ...facts];
    });
    this.configure(...command.slice(1));
    const last = pods.at(-1)!.port;
    await until(`port ${last}`, 30_000, () => this.configure("get", "interface", last, "ofport").trim() !== "[]");
  }

  /** Adds ports that nobody uses: both ends of their links stay in the switch's namespace. */
  async addIdlePorts(count: number): Promise<void> {
    const names = Array.from({ length: count }, () => `i${Switch.#ports++}`);
    const links = names.map(
      (name) => `link add ${name} type veth peer name ${name}p\nlink set ${name} up\nlink set ${name}p up\n`,
    );
    run(["ip", "-n", this.namespace, "-batch", "-"], links.join(""));
    this.configure(...names.flatMap((name) => ["--", "add-port", this.bridge, name]).slice(1));
    const last = names.at(-1)!;
    await until(`port ${last}`, 60_000, () => this.configure("get", "interface", last, "ofport").trim() !== "[]");
  }

  /**
   * Joins two switches by a cable and a VXLAN tunnel over it. The cable ends on a bridge of its own whose internal port
   * holds the tunnel's local address: that is where the userspace datapath looks for it.
   */
  static connect(left: Switch, right: Switch): void {
    const cable = `name w0 netns ${left.namespace} type veth peer name w0 netns ${right.namespace}`;
    run(["ip", "link", "add", ...cable.split(" ")]);
    const ends = [
      { own: left, address: TUNNEL_ADDRESSES[0], remote: TUNNEL_ADDRESSES[1] },
      { own: right, address: TUNNEL_ADDRESSES[1], remote: TUNNEL_ADDRESSES[0] },
    ];
    for (const { own, address, remote } of ends) {
      own.configure("add-br", "br-wire", "--", "set", "bridge", "br-wire", "datapath_type=netdev");
      own.configure("add-port", "br-wire", "w0");
      run(
        ["ip", "-n", own.namespace, "-batch", "-"],
        `link set w0 up\naddr add ${address}/24 dev br-wire\nlink set br-wire up\n`,
      );
      const tunnel = ["type=vxlan", `options:remote_ip=${remote}`];
      own.configure("add-port", own.bridge, "vxlan0", "--", "set", "interface", "vxlan0", ...tunnel);
    }
  }

  /** Runs a program in this switch's namespace to its end. */
  exec(...command: string[]): string {
    return run(inNamespace(this.namespace, command));
  }

  /** Ends both daemons. */
  async stop(): Promise<void> {
    await this.site.stop(this.#daemon);
    await this.site.stop(this.#database);
  }
}

function hexByte(value: number): string {
  return (value & 0xff).toString(16).padStart(2, "0");
}

/** Tells pods each other's MAC addresses (permanent neighbours), so that no ARP disturbs a measurement. */
export function introduce(pods: readonly Pod[], macOf: (pod: Pod) => string = (pod) => pod.mac): void {
  for (const pod of pods) {
    const lines = pods
      .filter((peer) => peer !== pod)
      .map((peer) => `neigh replace ${peer.address} lladdr ${macOf(peer)} dev eth0 nud permanent\n`);
    run(["ip", "-n", pod.namespace, "-batch", "-"], lines.join(""));
  }
}
