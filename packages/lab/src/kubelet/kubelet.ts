import { release } from "node:os";
import { LabError, messageOf } from "../errors.ts";
import { sleep } from "../process/run.ts";
import type { LabApi, Watch } from "../lab-api.ts";
import { nodeResource, podResource, Semaphore } from "@beyondfabric/kube";
import { readNetworkConfiguration } from "./cni.ts";
import { type Node, type Pod, podKey } from "./pod-model.ts";
import { timestamp } from "./pod-status.ts";
import { type PodApi, PodWorker } from "./pod-worker.ts";
import type { ProbeTarget } from "./probe.ts";
import type { SandboxHost } from "./sandbox.ts";

/** What a kubelet needs to know of its node. */
export interface KubeletOptions {
  readonly host: SandboxHost;
  readonly hostAddress: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly api: LabApi;
  readonly connect: ProbeTarget["connect"];
  readonly mark: Readonly<Record<string, string>>;
  /** Is the node's network ready? Text says why not. */
  readonly networkReady: () => Promise<string | undefined>;
  readonly log: (message: string) => void;
}

/** Sandboxes made or removed at a time on one node. */
const SANDBOX_PARALLELISM = 8;
const UNREADY_CHECK_MS = 100;
const READY_CHECK_MS = 1_000;
/** The Ready condition is written again after this time even when nothing changed. */
const HEARTBEAT_MS = 30_000;

/**
 * The lab's kubelet: registers the node, runs the pods that are bound to it, tells the API server about them. It may be stopped and started
 * again like the real one: containers run on in the meantime.
 */
export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #workers = new Map<string, PodWorker>();
  readonly #sandboxes = new Semaphore(SANDBOX_PARALLELISM);
  #watch: Watch | undefined;
  #abort: AbortController | undefined;
  #readyProblem: string | undefined = "not checked yet";
  #heartbeat: Promise<void> | undefined;

  constructor(options: KubeletOptions) {
    this.#options = options;
  }

  get node(): string {
    return this.#options.host.node;
  }

  get running(): boolean {
    return this.#abort !== undefined;
  }

  /** Why the node's network is not ready; `undefined` when it is. */
  get readyProblem(): string | undefined {
    return this.#readyProblem;
  }

  get podCount(): number {
    return this.#workers.size;
  }

  start(): void {
    if (this.#abort !== undefined) return;
    this.#abort = new AbortController();
    for (const worker of this.#workers.values()) worker.resume();
    this.#heartbeat = this.#keepNodeStatus(this.#abort.signal);
    this.#watch = this.#options.api.watch<Pod>(
      podResource,
      { fieldSelector: `spec.nodeName=${this.node}` },
      {
        changed: (pod) => this.#changed(pod),
        deleted: (pod) => this.#workers.get(pod.metadata.uid)?.remove(),
        synced: (pods) => this.#synced(pods),
      },
    );
  }

  async stop(): Promise<void> {
    this.#abort?.abort();
    this.#abort = undefined;
    for (const worker of this.#workers.values()) worker.pause();
    await Promise.all([this.#watch?.stop(), this.#heartbeat]);
    this.#watch = undefined;
  }

  /** Stops for good and ends the pods without a word to anybody, as when the machine is switched off. */
  async powerOff(): Promise<void> {
    await this.stop();
    await Promise.all([...this.#workers.values()].map(async (worker) => await worker.powerOff()));
    this.#workers.clear();
  }

  /** Runs CNI CHECK on a pod of this node; throws what the plug-in says. */
  async check(key: string): Promise<void> {
    for (const worker of this.#workers.values()) {
      if (podKey(worker.pod) !== key || worker.sandbox === undefined) continue;
      await worker.sandbox.check();
      return;
    }
    throw new LabError("LAB_NOT_FOUND", `no running pod ${key} on ${this.node}`);
  }

  #changed(pod: Pod): void {
    const worker = this.#workers.get(pod.metadata.uid);
    if (worker !== undefined) {
      worker.update(pod);
      return;
    }
    this.#workers.set(
      pod.metadata.uid,
      new PodWorker(pod, {
        host: this.#options.host,
        hostAddress: this.#options.hostAddress,
        mark: this.#options.mark,
        api: this.#podApi(),
        connect: this.#options.connect,
        sandboxes: this.#sandboxes,
        done: (done) => this.#workers.delete(done.uid),
      }),
    );
  }

  // Pods that were deleted by force while the kubelet was away are not announced; they are missing from the list.
  #synced(pods: readonly Pod[]): void {
    const present = new Set(pods.map((pod) => pod.metadata.uid));
    for (const worker of this.#workers.values()) if (!present.has(worker.uid)) worker.remove();
  }

  #podApi(): PodApi {
    const { api } = this.#options;
    return {
      writeStatus: async (pod, status) =>
        await api.patchStatus(podResource, pod.metadata.namespace, pod.metadata.name, "merge", {
          metadata: { uid: pod.metadata.uid },
          status: { ...status },
        }),
      remove: async (pod) =>
        await api.remove(podResource, pod.metadata.namespace, pod.metadata.name, {
          uid: pod.metadata.uid,
          gracePeriodSeconds: 0,
        }),
      event: (pod, reason, message, warning) => {
        api.event(
          {
            kind: "Pod",
            apiVersion: "v1",
            name: pod.metadata.name,
            namespace: pod.metadata.namespace ?? "default",
            uid: pod.metadata.uid,
          },
          reason,
          message,
          warning,
          "kubelet",
          this.node,
        );
      },
    };
  }

  async #keepNodeStatus(signal: AbortSignal): Promise<void> {
    let written: string | undefined;
    let writtenAt = 0;
    let since = Date.now();
    while (!signal.aborted) {
      const problem = await this.#networkProblem();
      if (signal.aborted) return;
      if ((problem === undefined) !== (this.#readyProblem === undefined)) {
        since = Date.now();
        if (problem === undefined) for (const worker of this.#workers.values()) worker.retryNow();
      }
      this.#readyProblem = problem;
      const text = problem ?? "";
      if (text !== written || Date.now() - writtenAt > HEARTBEAT_MS) {
        try {
          await this.#writeNode(problem, since);
          written = text;
          writtenAt = Date.now();
        } catch (error) {
          this.#options.log(`node ${this.node}: status not written: ${messageOf(error)}`);
        }
      }
      await sleep(problem === undefined && written === text ? READY_CHECK_MS : UNREADY_CHECK_MS, signal);
    }
  }

  async #networkProblem(): Promise<string | undefined> {
    try {
      const configuration = await readNetworkConfiguration(this.#options.host.cni.confDirectory);
      if (configuration === undefined) return "cni plugin not initialized: no network configuration yet";
    } catch (error) {
      return messageOf(error);
    }
    return await this.#options.networkReady();
  }

  async #writeNode(problem: string | undefined, since: number): Promise<void> {
    const { api, labels, hostAddress } = this.#options;
    const name = this.node;
    const existing = await api.get<Node>(nodeResource, undefined, name);
    if (existing === undefined)
      await api.create(nodeResource, {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels },
        spec: {},
      });
    const times = { lastHeartbeatTime: timestamp(Date.now()), lastTransitionTime: timestamp(since) };
    const ready =
      problem === undefined
        ? {
            type: "Ready",
            status: "True",
            reason: "KubeletReady",
            message: "the lab's kubelet is posting ready status",
          }
        : {
            type: "Ready",
            status: "False",
            reason: "KubeletNotReady",
            message: `container runtime network not ready: ${problem}`,
          };
    const pressure = (type: string) => ({
      type,
      status: "False",
      reason: "KubeletHasSufficientResources",
      message: "not measured in a lab",
    });
    const resources = { cpu: "64", memory: "64Gi", pods: "250", "ephemeral-storage": "64Gi" };
    await api.patchStatus(nodeResource, undefined, name, "strategic", {
      status: {
        conditions: [pressure("MemoryPressure"), pressure("DiskPressure"), pressure("PIDPressure"), ready].map(
          (condition) => ({ ...condition, ...times }),
        ),
        addresses: [
          { type: "InternalIP", address: hostAddress },
          { type: "Hostname", address: name },
        ],
        capacity: resources,
        allocatable: resources,
        nodeInfo: {
          machineID: name,
          systemUUID: name,
          bootID: name,
          kernelVersion: release(),
          osImage: "fabric-lab",
          containerRuntimeVersion: "lab://1.0",
          kubeletVersion: "v1.20.2",
          kubeProxyVersion: "v1.20.2",
          operatingSystem: "linux",
          architecture: "amd64",
        },
      },
    });
  }
}
