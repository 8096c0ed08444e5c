import { join } from "node:path";
import { type ControlPlaneKind, parseLabConfig } from "./config.ts";
import { callSupervisor } from "./control-client.ts";
import { down } from "./down.ts";
import { LabError } from "./errors.ts";
import { type Pod, podKey } from "./kubelet/pod-model.ts";
import type { PodRecord } from "./kubelet/sandbox.ts";
import { documents, LabApi, type WatchHandlers } from "./lab-api.ts";
import { podResource } from "@beyondfabric/kube";
import { hostNamespaceOf, inNamespace, nodeEnvironment, nodeNamespaceOf, podRecord } from "./machine-command.ts";
import { labNames, type LabNames, type NodePaths, nodePaths } from "./names.ts";
import { type CommandResult, forEachBounded, run, type RunOptions, sleep } from "./process/run.ts";
import { fileTail } from "./process/supervised-process.ts";
import type { LabStatus } from "./status-text.ts";
import {
  businessAddress,
  type HostPlan,
  hostPlans,
  managementAddress,
  type NicAddresses,
} from "./topology/address-plan.ts";
import { up } from "./up.ts";
import { readSpec } from "./supervisor/lab-spec.ts";

/** How {@link Lab.up} makes a lab; everything has the defaults of `fabric-lab up`. */
export interface LabOptions {
  readonly name?: string;
  readonly nodes?: number;
  readonly controlPlane?: ControlPlaneKind;
  /** Further keys of a lab's configuration file: hosts, vlans, agent, manifests, cni. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly onStep?: (text: string) => void;
}

/** A pod as tests describe it. */
export interface PodRequest {
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Without one the pod only exists: an address and a namespace to run commands in. */
  readonly command?: readonly string[];
  readonly restartPolicy?: "Always" | "OnFailure" | "Never";
  /** Laid over the spec that the other fields make. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

export type ComponentAction = "start" | "stop" | "kill" | "pid";

const READY_TIMEOUT_MS = 60_000;

/**
 * A lab as scenarios use it. Commands resolve to their exit code and output whatever these are; what the lab itself refuses is thrown as
 * {@link LabError}. Times are milliseconds.
 */
export class Lab {
  readonly name: string;
  readonly #names: LabNames;
  readonly #index: number;
  readonly #hosts: readonly HostPlan[];

  private constructor(name: string) {
    this.name = name;
    this.#names = labNames(name);
    const { index, config } = readSpec(this.#names);
    this.#index = index;
    this.#hosts = hostPlans(config.hosts, config.vlans);
  }

  /** Brings a lab up, or takes over the one that is up already under that name. Take it down with {@link Lab.down}. */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const name = options.name ?? "lab";
    const config = parseLabConfig(options.config ?? {}, "LabOptions.config", process.cwd(), {
      ...(options.nodes === undefined ? {} : { nodes: options.nodes }),
      ...(options.controlPlane === undefined ? {} : { controlPlane: options.controlPlane }),
    });
    await up(name, config, (step) => options.onStep?.(`${step.name}: ${step.milliseconds} ms`));
    return new Lab(name);
  }

  /** A lab that was brought up by someone else; `LAB_NOT_RUNNING` when there is none. */
  static attach(name = "lab"): Lab {
    return new Lab(name);
  }

  /** Path of the administrator's kubeconfig. */
  get kubeconfig(): string {
    return this.#names.kubeconfig;
  }

  /** Folder that holds everything of this lab. */
  get directory(): string {
    return this.#names.directory;
  }

  /** Files of a node: agent configuration, sockets, OVS run directory. */
  nodePaths(node: string): NodePaths {
    return nodePaths(this.#names, node);
  }

  /** A node's address on the management network, its InternalIP. */
  managementAddress(node: string): NicAddresses {
    return managementAddress(this.#index, node);
  }

  /** A node's address on the wire. */
  businessAddress(node: string): NicAddresses {
    return businessAddress(node);
  }

  /** The addresses of an outside host; `LAB_NOT_FOUND` when the lab has no such host. */
  hostAddress(host: string): NicAddresses {
    const plan = this.#hosts.find(({ name }) => name === host);
    if (plan === undefined) throw new LabError("LAB_NOT_FOUND", `lab ${this.name} has no host ${host}`);
    return plan.addresses;
  }

  /** Runs the real kubectl; throws when it fails, with what it said. Returns its output. */
  async kubectl(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const result = await this.tryKubectl(args, options);
    if (result.code !== 0)
      throw new LabError(
        "LAB_COMMAND_FAILED",
        `kubectl ${args.join(" ")} ended with ${result.code}: ${result.stderr.trim() || result.stdout.trim()}`,
      );
    return result.stdout;
  }

  /** Runs the real kubectl, also to see it fail. */
  async tryKubectl(args: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return await run(["kubectl", `--kubeconfig=${this.kubeconfig}`, ...args], options);
  }

  /** `kubectl apply` of objects or of YAML text. */
  async apply(manifests: string | readonly unknown[]): Promise<string> {
    const text = typeof manifests === "string" ? manifests : documents(manifests);
    return await this.kubectl(["apply", "-f", "-"], { input: text });
  }

  /** Creates a pod and returns at once. */
  async createPod(request: PodRequest): Promise<void> {
    await this.createPods([request]);
  }

  /** Creates pods in one call. */
  async createPods(requests: readonly PodRequest[]): Promise<void> {
    await this.kubectl(["create", "-f", "-"], {
      input: documents(requests.map(podManifest)),
    });
  }

  /** The pod as the API server has it. */
  async pod(name: string): Promise<Pod> {
    const [namespace, pod] = splitPod(name);
    return JSON.parse(await this.kubectl(["get", "pod", pod, "-n", namespace, "-o", "json"])) as Pod;
  }

  /** Waits until pods (`name` or `namespace/name`) are ready, and returns their addresses, in the same order. Throws with their events when they are not. */
  async waitReady(
    pods: string | readonly string[],
    timeoutMs = READY_TIMEOUT_MS,
  ): Promise<readonly (readonly string[])[]> {
    const names = (typeof pods === "string" ? [pods] : pods).map((name) => splitPod(name).join("/"));
    const waiting = new Set(names);
    // kubectl wait asks for each pod on its own and brakes itself to five a second.
    await this.#watchPods(timeoutMs, () => waiting.size === 0, {
      changed: (pod) => {
        if (isReady(pod)) waiting.delete(podKey(pod));
      },
      refused: async () =>
        `pods not ready after ${timeoutMs} ms: ${[...waiting].join(", ")}\n${(await this.tryKubectl(["get", "events", "-A", "--field-selector=type=Warning"])).stdout}`,
    });
    return await Promise.all(names.map(async (name) => this.record(name).then((record) => addressesOf(record))));
  }

  /** What the lab's runtime knows of a running pod: node, namespace, CNI container id and the result of ADD. */
  async record(pod: string): Promise<PodRecord> {
    return podRecord(this.#names, splitPod(pod).join("/"));
  }

  /** Addresses of a running pod, as ADD answered them. */
  async addresses(pod: string): Promise<readonly string[]> {
    return addressesOf(await this.record(pod));
  }

  /** Deletes a pod and waits until it is gone, unless told otherwise. */
  async deletePod(pod: string, options: { readonly wait?: boolean; readonly force?: boolean } = {}): Promise<void> {
    const [namespace, name] = splitPod(pod);
    await this.kubectl([
      "delete",
      "pod",
      name,
      "-n",
      namespace,
      `--wait=${options.wait ?? true}`,
      ...(options.force === true ? ["--grace-period=0", "--force"] : []),
    ]);
  }

  /** Deletes pods and waits until all are gone. */
  async deletePods(pods: readonly string[], timeoutMs = READY_TIMEOUT_MS): Promise<void> {
    const waiting = new Set(pods.map((name) => splitPod(name).join("/")));
    const api = new LabApi(this.kubeconfig);
    await forEachBounded(pods, 16, async (pod) => await api.remove(podResource, ...splitPod(pod)));
    await api.close();
    await this.#watchPods(timeoutMs, () => waiting.size === 0, {
      deleted: (pod) => waiting.delete(podKey(pod)),
      synced: (present) => {
        const keys = new Set(present.map(podKey));
        for (const name of waiting) if (!keys.has(name)) waiting.delete(name);
      },
      refused: () => Promise.resolve(`pods not gone after ${timeoutMs} ms: ${[...waiting].join(", ")}`),
    });
  }

  /** Runs a command in a pod's network namespace. */
  async exec(pod: string, command: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return await run(inNamespace((await this.record(pod)).namespace, command), options);
  }

  /** Runs a command on a node; the Open vSwitch tools speak to that node's switch. */
  async node(node: string, command: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return await run(inNamespace(nodeNamespaceOf(this.#names, node), command), {
      ...options,
      env: { ...process.env, ...options.env, ...nodeEnvironment(this.#names, node) },
    });
  }

  /** Runs a command on an outside host. */
  async host(host: string, command: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    return await run(inNamespace(hostNamespaceOf(this.#names, host), command), options);
  }

  /** Name of the network namespace of a pod (`namespace/name` or `name`), a node or a host, for tools that enter it by themselves. */
  async networkNamespace(
    machine: { readonly pod: string } | { readonly node: string } | { readonly host: string },
  ): Promise<string> {
    if ("pod" in machine) return (await this.record(machine.pod)).namespace;
    return "node" in machine ? nodeNamespaceOf(this.#names, machine.node) : hostNamespaceOf(this.#names, machine.host);
  }

  /** Starts, stops or kills (it is started again) a component of a node, or with node `-` of the control plane. Resolves to its pid, if it has one. */
  async component(node: string, component: string, action: ComponentAction): Promise<number | undefined> {
    const answer = await callSupervisor(this.#names.controlSocket, "POST /component", {
      machine: node,
      component,
      action,
    });
    return (answer as { pid: number | null }).pid ?? undefined;
  }

  async addNode(node: string): Promise<void> {
    await callSupervisor(this.#names.controlSocket, "POST /add-node", { node });
  }

  async removeNode(node: string): Promise<void> {
    await callSupervisor(this.#names.controlSocket, "POST /remove-node", { node });
  }

  /** CNI CHECK of a running pod; throws what the plug-in says. */
  async check(pod: string): Promise<void> {
    await callSupervisor(this.#names.controlSocket, "POST /check", { pod: splitPod(pod).join("/") });
  }

  async status(): Promise<LabStatus> {
    return (await callSupervisor(this.#names.controlSocket, "GET /status")) as LabStatus;
  }

  /** The end of an agent's log. */
  agentLog(node: string, lines = 40): string {
    return fileTail(join(nodePaths(this.#names, node).directory, "agent.log"), lines);
  }

  /** Takes the lab down; nothing is left. */
  async down(): Promise<void> {
    await down(this.name);
  }

  async #watchPods(
    timeoutMs: number,
    done: () => boolean,
    handlers: Partial<WatchHandlers<Pod>> & { readonly refused: () => Promise<string> },
  ): Promise<void> {
    const api = new LabApi(this.kubeconfig);
    const finished = Promise.withResolvers<boolean>();
    const look =
      <T>(handler: ((value: T) => void) | undefined) =>
      (value: T) => {
        handler?.(value);
        if (done()) finished.resolve(true);
      };
    const watch = api.watch<Pod>(
      podResource,
      {},
      { changed: look(handlers.changed), deleted: look(handlers.deleted), synced: look(handlers.synced) },
    );
    const timer = setTimeout(() => finished.resolve(false), timeoutMs);
    const inTime = await finished.promise;
    clearTimeout(timer);
    await watch.stop();
    await api.close();
    if (!inTime) throw new LabError("LAB_TIMEOUT", await handlers.refused());
  }
}

/** Polls until `condition` holds; throws `LAB_TIMEOUT` naming what was waited for. */
export async function until(
  what: string,
  timeoutMs: number,
  condition: () => Promise<boolean> | boolean,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new LabError("LAB_TIMEOUT", `waited ${timeoutMs} ms in vain for: ${what}`);
    await sleep(25);
  }
}

/** The object that a request stands for. */
export function podManifest(request: PodRequest): Record<string, unknown> {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: request.name,
      namespace: request.namespace ?? "default",
      ...(request.labels === undefined ? {} : { labels: request.labels }),
      ...(request.annotations === undefined ? {} : { annotations: request.annotations }),
    },
    spec: {
      ...(request.node === undefined ? {} : { nodeName: request.node }),
      ...(request.restartPolicy === undefined ? {} : { restartPolicy: request.restartPolicy }),
      terminationGracePeriodSeconds: 2,
      containers: [
        { name: "main", image: "host", ...(request.command === undefined ? {} : { command: request.command }) },
      ],
      ...request.spec,
    },
  };
}

function isReady(pod: Pod): boolean {
  const ready = pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True");
  return ready === true && pod.metadata.deletionTimestamp === undefined;
}

function splitPod(pod: string): [string, string] {
  const [first, second] = pod.split("/");
  return second === undefined ? ["default", first!] : [first!, second];
}

function addressesOf(record: PodRecord): string[] {
  return (record.result?.ips ?? []).map((item) => item.address.split("/")[0]!);
}
