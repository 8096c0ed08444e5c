import { mkdir, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { dump } from "js-yaml";
import { conflistFor, overlay } from "../config.ts";
import { LabError, messageOf } from "../errors.ts";
import { connectFrom } from "../kubelet/connect.ts";
import { Kubelet } from "../kubelet/kubelet.ts";
import type { LabApi } from "../lab-api.ts";
import { CHECKOUT, type LabNames, machineNamespace, nodeNumber, type NodePaths, nodePaths } from "../names.ts";
import { runChecked } from "../process/run.ts";
import { SupervisedProcess } from "../process/supervised-process.ts";
import { businessAddress, managementAddress, type NicAddresses } from "../topology/address-plan.ts";
import { createNodeNamespace, deleteNamespace, trunkPort, wirePort } from "../topology/namespaces.ts";
import { startSwitch, type SwitchProcesses, switchProcesses } from "../topology/switch.ts";
import { labMark, type LabSpec } from "./lab-spec.ts";

/** Port on which an agent answers /healthz and /readyz on its management address. */
const HEALTH_PORT = 9474;

/** What all nodes of a lab share. */
export interface NodeSurroundings {
  readonly spec: LabSpec;
  readonly names: LabNames;
  readonly api: LabApi;
  /** Kubeconfig that agents use. */
  readonly agentKubeconfig: string;
  /** The built CNI executable; unused with another plug-in. */
  readonly cniExecutable: string;
  readonly log: (message: string) => void;
}

/** One node of a lab: a namespace with a switch, an agent and a kubelet. */
export class LabNode {
  readonly name: string;
  readonly paths: NodePaths;
  readonly namespace: string;
  readonly management: NicAddresses;
  readonly business: NicAddresses;
  readonly switch: SwitchProcesses;
  /** Absent when another network plug-in is tried. */
  readonly agent: SupervisedProcess | undefined;
  readonly kubelet: Kubelet;
  readonly #surroundings: NodeSurroundings;

  constructor(name: string, surroundings: NodeSurroundings) {
    const { spec, names, api, log } = surroundings;
    this.#surroundings = surroundings;
    this.name = name;
    this.paths = nodePaths(names, name);
    this.namespace = machineNamespace(names.lab, name);
    this.management = managementAddress(spec.index, name);
    this.business = businessAddress(name);
    const mark = labMark(names.lab);
    this.switch = switchProcesses(this.namespace, this.paths.ovsRunDirectory, mark);
    const other = spec.config.cni;
    if (other === undefined) {
      this.agent = new SupervisedProcess({
        name: "agent",
        namespace: this.namespace,
        env: { ...mark, OVS_RUNDIR: this.paths.ovsRunDirectory },
        logFile: join(this.paths.directory, "agent.log"),
        pidFile: join(this.paths.directory, "agent.pid"),
        command: [join(CHECKOUT, "bin", "fabric-node"), "--config", this.paths.agentConfig],
      });
    }
    this.kubelet = new Kubelet({
      host: {
        lab: names.lab,
        node: name,
        cni: {
          confDirectory: this.paths.cniConfDirectory,
          binDirectories: other === undefined ? [this.paths.cniBinDirectory] : [other.binDirectory],
          namespace: this.namespace,
        },
        recordsDirectory: join(names.directory, "pods"),
        podsDirectory: this.paths.podsDirectory,
      },
      hostAddress: this.management.ipv4,
      labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" },
      api,
      connect: async (host, port, timeoutMs) => await connectFrom(this.namespace, host, port, timeoutMs),
      mark,
      networkReady: async () => (other === undefined ? await this.#agentProblem() : undefined),
      log,
    });
  }

  /** Names of its components, as `component` takes them. */
  get components(): readonly SupervisedProcess[] {
    return [this.switch.database, this.switch.daemon, ...(this.agent === undefined ? [] : [this.agent])];
  }

  /** Makes the machine: folders, namespace, NICs. */
  async create(): Promise<void> {
    for (const directory of [
      this.paths.ovsRunDirectory,
      this.paths.cniBinDirectory,
      this.paths.cniConfDirectory,
      this.paths.podsDirectory,
    ]) {
      await mkdir(directory, { recursive: true });
    }
    const { names, spec } = this.#surroundings;
    await createNodeNamespace(names, spec.index, this.name, spec.config.vlans.length > 0);
  }

  /** Starts its Open vSwitch. */
  async startSwitch(): Promise<void> {
    try {
      await startSwitch(this.switch);
    } catch (error) {
      throw new LabError("LAB_COMPONENT_FAILED", `${this.name}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Installs the network plug-in: what the DaemonSet's init container does on a real node. */
  async installPlugin(): Promise<void> {
    const { spec } = this.#surroundings;
    if (this.agent === undefined) {
      const text = conflistFor(spec.config.cni!, this.name, nodeNumber(this.name), this.paths.directory);
      await writeFile(join(this.paths.cniConfDirectory, "10-lab.conflist"), text);
      return;
    }
    await writeFile(this.paths.agentConfig, dump(this.#agentConfiguration()));
    await runChecked([join(CHECKOUT, "bin", "fabric-node"), "install-cni", "--config", this.paths.agentConfig]);
  }

  /** Starts the agent, if the node has one. */
  async startAgent(): Promise<void> {
    await this.agent?.start();
  }

  startKubelet(): void {
    this.kubelet.start();
  }

  /** Stops everything on the node; its namespace stays. */
  async stop(): Promise<void> {
    await this.kubelet.powerOff();
    await this.agent?.stop();
    await this.switch.daemon.stop();
    await this.switch.database.stop();
  }

  /** Removes the machine after {@link stop}. */
  async destroy(): Promise<void> {
    await deleteNamespace(this.namespace);
    await rm(this.paths.directory, { recursive: true, force: true });
  }

  /** Ports of the wire's switch that its NICs are connected to. */
  get wirePorts(): readonly string[] {
    return [wirePort(this.name), ...(this.#surroundings.spec.config.vlans.length > 0 ? [trunkPort(this.name)] : [])];
  }

  #agentConfiguration(): Record<string, unknown> {
    const { spec, agentKubeconfig, cniExecutable } = this.#surroundings;
    const generated = {
      nodeName: this.name,
      kubeconfig: agentKubeconfig,
      ovs: {
        database: `unix:${join(this.paths.ovsRunDirectory, "db.sock")}`,
        runDirectory: this.paths.ovsRunDirectory,
        bridge: "br-int",
        datapathType: "netdev",
      },
      tunnel: { interface: "eth1", address: this.business.ipv4 },
      cni: {
        socket: this.paths.cniSocket,
        binDirectory: this.paths.cniBinDirectory,
        confDirectory: this.paths.cniConfDirectory,
        executable: cniExecutable,
      },
      api: { socket: this.paths.apiSocket, healthAddress: `0.0.0.0:${HEALTH_PORT}` },
    };
    return overlay(generated, spec.config.agent);
  }

  async #agentProblem(): Promise<string | undefined> {
    return await new Promise<string | undefined>((resolve) => {
      const call = request(
        { host: this.management.ipv4, port: HEALTH_PORT, path: "/readyz", timeout: 2_000, agent: false },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => {
            if (text.length < 500) text += chunk;
          });
          response.on("end", () =>
            resolve(response.statusCode === 200 ? undefined : `the agent is not ready: ${text.trim().slice(0, 500)}`),
          );
          response.on("error", (error) => resolve(`the agent does not answer: ${error.message}`));
        },
      );
      call.on("timeout", () => call.destroy(new Error("no answer within 2 s")));
      call.on("error", (error) => resolve(`the agent does not answer: ${error.message}`));
      call.end();
    });
  }
}
