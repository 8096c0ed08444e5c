import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Manifest, readManifests } from "../config.ts";
import { type ControlPlane, startControlPlane } from "../control-plane/control-plane.ts";
import { LabError, messageOf } from "../errors.ts";
import type { Node, Pod } from "../kubelet/pod-model.ts";
import { CHECKOUT, type LabNames, labNames, nodeNumber, ROUTER } from "../names.ts";
import { forEachBounded, runChecked, sleep } from "../process/run.ts";
import { fileTail, type SupervisedProcess } from "../process/supervised-process.ts";
import { nodeResource, podResource } from "@beyondfabric/kube";
import { type HostPlan, hostPlans, ROUTER_ADDRESS, vlanAddress } from "../topology/address-plan.ts";
import {
  createHostNamespace,
  createManagementNetwork,
  createRouterNamespace,
  createWireNamespace,
  routerPort,
  wirePort,
} from "../topology/namespaces.ts";
import {
  startSwitch,
  switchProcesses,
  type SwitchProcesses,
  vsctl,
  WIRE_BRIDGE,
  wirePortArguments,
} from "../topology/switch.ts";
import type { ControlOperations, Step } from "./control-server.ts";
import { DEFAULT_MANIFESTS } from "./default-manifests.ts";
import { LabNode, type NodeSurroundings } from "./lab-node.ts";
import { labMark, type LabSpec } from "./lab-spec.ts";
import { NamespaceFinalizer } from "./namespace-finalizer.ts";
import { SchedulerLoop } from "./scheduler-loop.ts";

/** All nodes must be ready within this time after their agents were started. */
const READY_TIMEOUT_MS = 60_000;
/** Machines built at a time: each is a handful of short processes, and two cores do not get faster. */
const BUILD_PARALLELISM = 4;

/** Owns a lab: builds it, keeps its processes running, answers the control socket. */
export class LabSupervisor implements ControlOperations {
  readonly #spec: LabSpec;
  readonly #names: LabNames;
  readonly #log: (message: string) => void;
  readonly #nodes = new Map<string, LabNode>();
  readonly #controlProcesses: SupervisedProcess[] = [];
  readonly #steps: Step[] = [];
  readonly #listeners = new Set<(step: Step) => void>();
  readonly #wire: SwitchProcesses;
  #control: ControlPlane | undefined;
  #surroundings: NodeSurroundings | undefined;
  #scheduler: SchedulerLoop | undefined;
  #finalizer: NamespaceFinalizer | undefined;
  #ready: Promise<void> | undefined;

  constructor(spec: LabSpec, log: (message: string) => void) {
    this.#spec = spec;
    this.#log = log;
    this.#names = labNames(spec.name);
    this.#wire = switchProcesses(
      this.#names.wireNamespace,
      join(this.#names.directory, "wire", "ovs"),
      labMark(spec.name),
    );
  }

  /** Builds the lab; later calls share the first one's outcome. */
  start(): Promise<void> {
    this.#ready ??= this.#build();
    return this.#ready;
  }

  async up(onStep: (step: Step) => void): Promise<void> {
    for (const step of this.#steps) onStep(step);
    this.#listeners.add(onStep);
    try {
      await this.start();
      await this.#untilNodesReady([...this.#nodes.values()]);
    } finally {
      this.#listeners.delete(onStep);
    }
  }

  /** Starts nothing any more, so that all can be swept away. */
  halt(): void {
    for (const node of this.#nodes.values()) {
      for (const process of node.components) process.abandon();
      void node.kubelet.stop();
    }
    for (const process of [...this.#controlProcesses, this.#wire.database, this.#wire.daemon]) process.abandon();
    void this.#scheduler?.stop();
    void this.#finalizer?.stop();
  }

  status(): Promise<unknown> {
    const components = (processes: readonly SupervisedProcess[]) =>
      processes.map((process) => ({
        name: process.name,
        state: process.state,
        pid: process.pid ?? null,
        exits: process.exits,
      }));
    return Promise.resolve({
      name: this.#spec.name,
      controlPlane: this.#spec.config.controlPlane,
      kubeconfig: this.#names.kubeconfig,
      directory: this.#names.directory,
      components: components([...this.#controlProcesses, this.#wire.database, this.#wire.daemon]).map(
        (component, index) =>
          index < this.#controlProcesses.length ? component : { ...component, name: `wire-${component.name}` },
      ),
      nodes: [...this.#nodes.values()].map((node) => ({
        name: node.name,
        ready: node.kubelet.readyProblem === undefined,
        ...(node.kubelet.readyProblem === undefined ? {} : { problem: node.kubelet.readyProblem }),
        namespace: node.namespace,
        management: node.management.cidrs,
        business: node.business.cidrs,
        pods: node.kubelet.podCount,
        components: [
          ...components(node.components),
          { name: "kubelet", state: node.kubelet.running ? "running" : "stopped", pid: null, exits: 0 },
        ],
      })),
      hosts: this.#outside().map(({ name, addresses, vlan }) => ({
        name,
        namespace: `${this.#names.lab}-${name}`,
        addresses,
        ...(vlan === undefined ? {} : { vlan }),
      })),
    });
  }

  async component(machine: string, name: string, action: string): Promise<unknown> {
    const node = machine === "-" ? undefined : this.#node(machine);
    if (node !== undefined && name === "kubelet") return await this.#kubelet(node, action);
    const process = this.#component(node, name);
    switch (action) {
      case "start":
        await process.start();
        break;
      case "stop":
        await process.stop();
        break;
      case "kill":
        process.kill("SIGKILL");
        break;
      case "pid":
        break;
      default:
        throw new LabError("LAB_BAD_ARGUMENT", `action "${action}" is refused: use start, stop, kill or pid`);
    }
    return { pid: process.pid ?? null, state: process.state };
  }

  async addNode(name: string): Promise<unknown> {
    await this.start();
    nodeNumber(name);
    if (this.#nodes.has(name))
      throw new LabError("LAB_BAD_ARGUMENT", `node ${name} exists already; choose another number`);
    const node = new LabNode(name, this.#surroundings!);
    this.#nodes.set(name, node);
    try {
      await node.create();
      await vsctl(this.#wire.runDirectory, node.wirePorts.flatMap((port) => wirePortArguments(port)).slice(1));
      node.startKubelet();
      await Promise.all([node.startSwitch(), node.installPlugin()]);
      await node.startAgent();
      await this.#untilNodesReady([node]);
    } catch (error) {
      await this.removeNode(name);
      throw error;
    }
    return {};
  }

  async removeNode(name: string): Promise<unknown> {
    const node = this.#node(name);
    this.#nodes.delete(name);
    const api = this.#control!.api;
    await node.stop();
    // What a real cluster's garbage collection does with the pods of a node that is gone.
    const pods = (await api.list<Pod>(podResource)).filter((pod) => pod.spec.nodeName === name);
    await forEachBounded(
      pods,
      BUILD_PARALLELISM,
      async (pod) =>
        await api.remove(podResource, pod.metadata.namespace, pod.metadata.name, {
          uid: pod.metadata.uid,
          gracePeriodSeconds: 0,
        }),
    );
    await api.remove(nodeResource, undefined, name);
    const unplug = node.wirePorts.flatMap((port) => ["--", "--if-exists", "del-port", "wire", port]);
    await vsctl(this.#wire.runDirectory, unplug.slice(1));
    await node.destroy();
    return {};
  }

  async check(pod: string): Promise<unknown> {
    for (const node of this.#nodes.values()) {
      try {
        await node.kubelet.check(pod);
        return {};
      } catch (error) {
        if (!(error instanceof LabError && error.code === "LAB_NOT_FOUND")) throw error;
      }
    }
    throw new LabError("LAB_NOT_FOUND", `no node runs a pod ${pod}; look with: kubectl get pods -A`);
  }

  async #build(): Promise<void> {
    const { config, index } = this.#spec;
    const names = this.#names;
    const nodeNames = Array.from({ length: config.nodes }, (_item, position) => `node-${position + 1}`);
    const hosts = hostPlans(config.hosts, config.vlans);
    const cniExecutable = this.#step("CNI executable", async () => (config.cni === undefined ? await buildCni() : ""));
    cniExecutable.catch(() => undefined); // awaited below; an earlier failure must not make this one unhandled
    await this.#step("management network", async () => await createManagementNetwork(names, index));
    const control = this.#step(
      `control plane (${config.controlPlane})`,
      async () => await startControlPlane(names, this.#spec, this.#controlProcesses),
    );
    control.catch(() => undefined);
    await this.#step("wire", async () => {
      await createWireNamespace(names);
      await startSwitch(this.#wire);
    });
    await this.#step(`outside hosts (${hosts.length})`, async () => {
      if (config.vlans.length > 0) await createRouterNamespace(names, index, config.vlans);
      await forEachBounded(hosts, BUILD_PARALLELISM, async (host) => await createHostNamespace(names, index, host));
    });
    this.#control = await control;
    this.#surroundings = {
      spec: this.#spec,
      names,
      api: this.#control.api,
      agentKubeconfig: this.#control.agentKubeconfig,
      cniExecutable: await cniExecutable,
      log: this.#log,
    };
    const nodes = nodeNames.map((name) => new LabNode(name, this.#surroundings!));
    for (const node of nodes) this.#nodes.set(node.name, node);
    await this.#step(
      `machines (${nodes.length})`,
      async () => await forEachBounded(nodes, BUILD_PARALLELISM, async (node) => await node.create()),
    );
    await this.#step("cables", async () => {
      const ports = [
        ...nodes.flatMap((node) => node.wirePorts).map((port) => wirePortArguments(port)),
        ...hosts.map(({ name, vlan }) => wirePortArguments(wirePort(name), vlan?.id)),
        ...(config.vlans.length === 0 ? [] : [undefined, ...config.vlans]).map((vlan) =>
          wirePortArguments(routerPort(vlan?.id), vlan?.id),
        ),
      ];
      await vsctl(this.#wire.runDirectory, [...WIRE_BRIDGE, ...ports.flat()]);
    });
    await this.#step("definitions and default network", async () => {
      await this.#control!.api.apply(this.#manifests());
    });
    // As in a real cluster the Node object is there before the agent that runs on it.
    for (const node of nodes) node.startKubelet();
    this.#scheduler = new SchedulerLoop(this.#control.api, this.#log);
    this.#scheduler.start();
    if (this.#spec.config.controlPlane === "kubernetes") {
      this.#finalizer = new NamespaceFinalizer(this.#control.api, this.#log);
      this.#finalizer.start();
    }
    await this.#step("switches, CNI configuration", async () => {
      await forEachBounded(nodes, BUILD_PARALLELISM, async (node) => {
        await Promise.all([node.startSwitch(), node.installPlugin()]);
      });
    });
    await this.#step("agents", async () => {
      await forEachBounded(nodes, BUILD_PARALLELISM, async (node) => await node.startAgent());
    });
    await this.#step("nodes ready", async () => await this.#untilNodesReady(nodes));
  }

  /** Machines outside of the cluster, with their addresses and the VLAN of each. */
  #outside(): { name: string; addresses: readonly string[]; vlan?: number }[] {
    const { hosts, vlans } = this.#spec.config;
    const router = [ROUTER_ADDRESS, ...vlans.map((vlan) => vlanAddress(vlan, 1))].flatMap(({ cidrs }) => cidrs);
    return [
      ...hostPlans(hosts, vlans).map(({ name, addresses, vlan }: HostPlan) => ({
        name,
        addresses: addresses.cidrs,
        ...(vlan === undefined ? {} : { vlan: vlan.id }),
      })),
      ...(vlans.length === 0 ? [] : [{ name: ROUTER, addresses: router }]),
    ];
  }

  #manifests(): readonly Manifest[] {
    const directory = join(CHECKOUT, "deploy", "crds");
    const definitions = existsSync(directory) ? readdirSync(directory).filter((file) => file.endsWith(".yaml")) : [];
    const own = this.#spec.config.cni === undefined ? DEFAULT_MANIFESTS : [];
    return [
      ...definitions.sort().flatMap((file) => readManifests(join(directory, file))),
      ...(this.#spec.config.manifests ?? own),
    ];
  }

  async #untilNodesReady(nodes: readonly LabNode[]): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (const node of nodes) {
      // What counts is what everybody else sees: the Node object.
      for (;;) {
        const object = await this.#control!.api.get<Node>(nodeResource, undefined, node.name).catch(() => undefined);
        if (
          object?.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ===
          true
        )
          break;
        const failed = node.components.find((component) => component.exits >= 5 && component.state === "backoff");
        if (failed !== undefined || performance.now() > deadline) throw notReady(node, failed);
        await sleep(50);
      }
    }
  }

  async #step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      return await work();
    } catch (error) {
      throw error instanceof LabError
        ? new LabError(error.code, `${name}: ${error.message}`, { cause: error })
        : new LabError("LAB_COMPONENT_FAILED", `${name}: ${messageOf(error)}`, { cause: error });
    } finally {
      const step = { name, milliseconds: Math.round(performance.now() - begun) };
      this.#steps.push(step);
      this.#log(`${step.name}: ${step.milliseconds} ms`);
      for (const listener of this.#listeners) listener(step);
    }
  }

  #node(name: string): LabNode {
    const node = this.#nodes.get(name);
    if (node === undefined)
      throw new LabError("LAB_NOT_FOUND", `no node "${name}"; there are ${[...this.#nodes.keys()].join(", ")}`);
    return node;
  }

  #component(node: LabNode | undefined, name: string): SupervisedProcess {
    const wire = [this.#wire.database, this.#wire.daemon].find((process) => `wire-${process.name}` === name);
    const candidates = node === undefined ? this.#controlProcesses : node.components;
    const found = candidates.find((process) => process.name === name) ?? (node === undefined ? wire : undefined);
    if (found === undefined) {
      throw new LabError(
        "LAB_NOT_FOUND",
        `no component "${name}" on ${node?.name ?? "-"}; there are ${candidates.map((process) => process.name).join(", ")}`,
      );
    }
    return found;
  }

  async #kubelet(node: LabNode, action: string): Promise<unknown> {
    if (action === "stop" || action === "kill") await node.kubelet.stop();
    if (action === "start" || action === "kill") node.kubelet.start();
    return { pid: process.pid, state: node.kubelet.running ? "running" : "stopped" };
  }
}

function notReady(node: LabNode, failed: SupervisedProcess | undefined): LabError {
  const culprit = failed ?? node.agent;
  const log =
    culprit === undefined ? "" : `; the log of ${culprit.name} ends with:\n${fileTail(culprit.spec.logFile, 20)}`;
  const why =
    failed === undefined
      ? (node.kubelet.readyProblem ?? "the kubelet has not published it")
      : `${failed.name} ended ${failed.exits} times`;
  return new LabError("LAB_COMPONENT_FAILED", `${node.name} is not ready: ${why}${log}`);
}

/** Builds fabric-cni if its sources have changed, and returns the executable's path. */
async function buildCni(): Promise<string> {
  return (await runChecked([join(CHECKOUT, "tools", "build-cni.sh")], { timeoutMs: 600_000 }))
    .trim()
    .split("\n")
    .at(-1)!;
}
