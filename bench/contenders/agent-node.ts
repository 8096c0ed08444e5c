/**
 * A node as a cluster would have it: a switch, the real `fabric-node` on it, pods attached by the real CNI executable.
 * Nothing in the agent knows that it is measured.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { kindSelector } from "@beyondfabric/datapath";
import type { BenchApiServer } from "../cluster/api-server.ts";
import { cpuTime, residentBytes } from "../environment/cpu.ts";
import { inNamespace, run, until, type Running, type Site } from "../environment/site.ts";
import type { Pod, Switch } from "../environment/switch.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Time for an agent to build its bridge, claim a block and read the cluster. */
const READY = 60_000;

/** What the agent of a bench node is told beyond its names and sockets. */
export interface AgentLimits {
  readonly missesPerSecondPerPort?: number;
  readonly missesPerSecondTunnel?: number;
  readonly entries?: number;
  readonly idleSeconds?: number;
}

/** The part of `GET /v1/status` that the bench reads. */
export interface AgentStatus {
  readonly ready: boolean;
  readonly notReady: readonly string[];
  readonly switch: { readonly baseEntries: number; readonly podEntries: number; readonly verdictEntries: number };
}

/** Path of the CNI executable, built if it is not there. */
export function cniExecutable(): string {
  const built = spawnSync(join(ROOT, "tools/build-cni.sh"), { encoding: "utf8", timeout: 900_000 });
  if (built.status !== 0) {
    const reason = built.error?.message ?? built.stderr.slice(-800);
    throw new Error(`tools/build-cni.sh failed: ${reason}`);
  }
  return built.stdout.trim().split("\n").at(-1)!;
}

let agentProgram: string | undefined;

/** The agent as images carry it: one file, emitted from the sources as they stand now. */
function builtAgent(): string {
  if (agentProgram !== undefined) return agentProgram;
  const built = spawnSync(process.execPath, [join(ROOT, "tools/build.ts")], { encoding: "utf8", timeout: 120_000 });
  if (built.status !== 0) throw new Error(`tools/build.ts failed: ${built.stderr.slice(-800)}`);
  agentProgram = join(ROOT, "build/fabric-node");
  return agentProgram;
}

/** Where the API has a pod, and what it is known by there. */
export interface ApiPod {
  readonly namespace: string;
  readonly uid: string;
}

/** The name of a bench pod for its runtime, and in the API. */
export function containerIdOf(name: string): string {
  return `bench-${name}`;
}

/** A pod that was attached by CNI. */
export interface AttachedPod extends Pod {
  readonly containerId: string;
  /** MAC to which the pod sends everything: its gateway's. */
  readonly routerMac: string;
  readonly inApi?: ApiPod;
}

/** A running node. */
export class AgentNode {
  readonly name: string;
  readonly switch: Switch;
  readonly directory: string;
  readonly executable: string;
  readonly #agent: Running;

  private constructor(name: string, own: Switch, directory: string, executable: string, agent: Running) {
    this.name = name;
    this.switch = own;
    this.directory = directory;
    this.executable = executable;
    this.#agent = agent;
  }

  /**
   * Registers the node and starts the agent in the switch's namespace, which must hold `eth1`, the NIC of the tunnels.
   * Returns when the agent says that it is ready.
   */
  static async start(
    site: Site,
    own: Switch,
    api: BenchApiServer,
    node: { name: string; tunnelAddress: string; limits?: AgentLimits },
    executable: string = cniExecutable(),
  ): Promise<AgentNode> {
    const directory = site.addDirectory("agent");
    for (const name of ["bin", "net.d"]) mkdirSync(join(directory, name));
    const configuration = {
      nodeName: node.name,
      kubeconfig: api.kubeconfig,
      ovs: {
        database: `unix:${join(own.runDirectory, "db.sock")}`,
        runDirectory: own.runDirectory,
        bridge: own.bridge,
        datapathType: "netdev",
      },
      tunnel: { interface: "eth1", address: node.tunnelAddress },
      cni: {
        socket: join(directory, "cni.sock"),
        binDirectory: join(directory, "bin"),
        confDirectory: join(directory, "net.d"),
        executable,
      },
      api: { socket: join(directory, "api.sock"), healthAddress: "127.0.0.1:9474" },
      ...(node.limits === undefined ? {} : { limits: node.limits }),
      log: { level: "warn" },
    };
    // JSON is YAML.
    const file = join(directory, "fabric-node.yaml");
    writeFileSync(file, JSON.stringify(configuration, undefined, 1));
    await api.load([
      {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: node.name, labels: { "kubernetes.io/hostname": node.name } },
        spec: {},
        status: { addresses: [{ type: "InternalIP", address: node.tunnelAddress }] },
      },
    ]);
    const agent = site.start(own.namespace, [builtAgent(), "--config", file], {
      OVS_RUNDIR: own.runDirectory,
      NODE: process.execPath,
    });
    let said = "";
    for (const stream of [agent.stdout, agent.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-1000);
      });
    }
    const started = new AgentNode(node.name, own, directory, executable, agent);
    const deadline = performance.now() + READY;
    for (;;) {
      const status = await started.status().catch(() => undefined);
      if (status?.ready) return started;
      if (agent.exitCode !== null) throw new Error(`fabric-node ended with ${agent.exitCode}: ${said}`);
      if (performance.now() > deadline) {
        throw new Error(`fabric-node was not ready within ${READY} ms: ${status?.notReady.join("; ") ?? said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** What the agent says about itself. */
  async status(): Promise<AgentStatus> {
    const text = await new Promise<string>((resolve, reject) => {
      const asked = request({ socketPath: join(this.directory, "api.sock"), path: "/v1/status", timeout: 10_000 });
      asked.on("response", (answer) => {
        let said = "";
        answer.setEncoding("utf8");
        answer.on("data", (chunk: string) => {
          said += chunk;
        });
        answer.on("end", () => (answer.statusCode === 200 ? resolve(said) : reject(new Error(said))));
      });
      asked.on("timeout", () => asked.destroy(new Error("fabric-node's API does not answer")));
      asked.on("error", reject);
      asked.end();
    });
    return JSON.parse(text) as AgentStatus;
  }

  /** Pods of the whole cluster that the agent knows, from its metrics. */
  clusterPods(): number {
    const script = "process.stdout.write(await (await fetch('http://127.0.0.1:9474/metrics')).text())";
    const command = [process.execPath, "--input-type=module", "--eval", script];
    const metrics = run(inNamespace(this.switch.namespace, command));
    return Number(/^fabric_cluster_pods (\d+)$/m.exec(metrics)?.[1] ?? 0);
  }

  /** Processor time of the agent in microseconds. */
  cpu(): number {
    return cpuTime(this.#agent.pid!).process;
  }

  /** Resident memory of the agent in bytes. */
  memory(): number {
    return residentBytes(this.#agent.pid!);
  }

  /** The network configuration that a runtime passes to the plug-in. */
  get networkConfiguration(): object {
    return { cniVersion: "1.0.0", name: "beyondfabric", type: "fabric-cni", socket: join(this.directory, "cni.sock") };
  }

  /** CNI_ARGS of a bench pod. */
  argumentsOf(pod: string, { namespace, uid }: ApiPod = { namespace: "bench-0", uid: `uid-${pod}` }): string {
    return `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${pod};K8S_POD_UID=${uid}`;
  }

  #call(command: "ADD" | "DEL", containerId: string, namespace: string, inApi: ApiPod | undefined): string {
    const environment = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: `/run/netns/${namespace}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: join(this.directory, "bin"),
      CNI_ARGS: this.argumentsOf(containerId, inApi),
    };
    const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const call = inNamespace(this.switch.namespace, ["env", ...variables, this.executable]);
    return run(call, JSON.stringify(this.networkConfiguration));
  }

  /** CNI ADD of a pod with a namespace of its own. @param inApi what the API knows it by, where it does */
  attach(name: string, namespace: string, inApi?: ApiPod): AttachedPod {
    const containerId = containerIdOf(name);
    const result = JSON.parse(this.#call("ADD", containerId, namespace, inApi)) as {
      interfaces: { name: string; mac: string; sandbox?: string }[];
      ips: { address: string }[];
    };
    const inside = result.interfaces.find((one) => one.sandbox !== undefined && one.sandbox !== "")!;
    const outside = result.interfaces.find((one) => one !== inside)!;
    const ipv4 = result.ips.map(({ address }) => address.split("/")[0]!).find((address) => address.includes("."))!;
    return {
      name,
      namespace,
      containerId,
      port: outside.name,
      interface: "eth0",
      address: ipv4,
      mac: inside.mac,
      routerMac: outside.mac,
      ...(inApi === undefined ? {} : { inApi }),
    };
  }

  /** CNI DEL. */
  detach(pod: AttachedPod): void {
    this.#call("DEL", pod.containerId, pod.namespace, pod.inApi);
  }

  /** Deletes the entries of verdicts at the switch, when the agent has no more to write. */
  async deleteVerdicts(): Promise<void> {
    let before = -1;
    await until("the agent to come to rest", 30_000, () => before === (before = this.switch.entries()), 200);
    const { cookie, mask } = kindSelector("verdict");
    const selector = `cookie=0x${cookie.toString(16)}/0x${mask.toString(16)}`;
    this.switch.openflow("del-flows", this.switch.bridge, [selector]);
  }

  async stop(): Promise<void> {
    await this.switch.site.stop(this.#agent);
    await this.switch.stop();
  }
}
