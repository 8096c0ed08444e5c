import type { Semaphore } from "@beyondfabric/kube";
import { isDeepStrictEqual } from "node:util";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { run } from "../process/run.ts";
import { containerEnvironment, podHostname } from "./container-process.ts";
import { ContainerRunner } from "./container-runner.ts";
import type { Container, Pod, PodStatus } from "./pod-model.ts";
import { type PodFacts, podPhase, podStatus } from "./pod-status.ts";
import type { ProbeTarget } from "./probe.ts";
import { Sandbox, type SandboxHost } from "./sandbox.ts";

/** What a worker asks of the API server. Each call throws when the server cannot be reached; the worker tries again. */
export interface PodApi {
  /** Writes the status; returns false when this very pod is gone. */
  writeStatus(pod: Pod, status: PodStatus): Promise<boolean>;
  /** Removes the object at once; fine when it is gone or replaced by another of the same name. */
  remove(pod: Pod): Promise<void>;
  /** Posts an Event; never throws. */
  event(pod: Pod, reason: string, message: string, warning: boolean): void;
}

/** What a worker needs from its node. */
export interface WorkerContext {
  readonly host: SandboxHost;
  readonly hostAddress: string;
  readonly mark: Readonly<Record<string, string>>;
  readonly api: PodApi;
  readonly connect: ProbeTarget["connect"];
  /** Bounds how many sandboxes are made or removed at a time. */
  readonly sandboxes: Semaphore;
  /** The worker has nothing left to do. */
  readonly done: (worker: PodWorker) => void;
}

const MIN_RETRY_MS = 200;
const MAX_RETRY_MS = 2_000;

/**
 * Brings one pod to life, keeps its containers running, and clears it away. One step at a time: whatever happens (an update, the end of a
 * container, a probe's opinion, a timer) only asks for another look at the whole.
 */
export class PodWorker {
  readonly uid: string;
  readonly #context: WorkerContext;
  #pod: Pod;
  #gone = false;
  #sandbox: Sandbox | undefined;
  #sandboxReady = false;
  readonly #startedAt = Date.now();
  readonly #initContainers: ContainerRunner[];
  readonly #containers: ContainerRunner[];
  #published: PodStatus | undefined;
  #retryMs = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #dirty = false;
  #running = false;
  #paused = false;
  #terminating = false;
  #finished = false;

  constructor(pod: Pod, context: WorkerContext) {
    this.uid = pod.metadata.uid;
    this.#pod = pod;
    this.#context = context;
    const policy = pod.spec.restartPolicy ?? "Always";
    const runnerContext = {
      place: (container: Container) => this.#place(container),
      target: this.#target(),
      changed: () => this.#wake(),
      event: (reason: string, message: string, warning: boolean) => this.#event(reason, message, warning),
    };
    this.#initContainers = (pod.spec.initContainers ?? []).map(
      (container) => new ContainerRunner(container, policy === "Always" ? "OnFailure" : policy, runnerContext),
    );
    this.#containers = pod.spec.containers.map((container) => new ContainerRunner(container, policy, runnerContext));
    this.#wake();
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** The pod's sandbox once it exists. */
  get sandbox(): Sandbox | undefined {
    return this.#sandboxReady ? this.#sandbox : undefined;
  }

  /** Takes a newer version of the object in. */
  update(pod: Pod): void {
    this.#pod = pod;
    if (this.#terminating && pod.metadata.deletionGracePeriodSeconds === 0)
      for (const runner of this.#all()) runner.kill();
    this.#wake();
  }

  /** The object is gone from the API server: clear everything away, at once. */
  remove(): void {
    this.#gone = true;
    if (this.#terminating) for (const runner of this.#all()) runner.kill();
    this.#wake();
  }

  /** While paused nothing is begun and nothing published, as when a kubelet is down; containers run on. */
  pause(): void {
    this.#paused = true;
    clearTimeout(this.#retryTimer);
  }

  /** The machine is switched off: nothing is told to anybody, nothing of the pod stays. */
  async powerOff(): Promise<void> {
    this.pause();
    this.#finished = true;
    await Promise.all(this.#all().map(async (runner) => await runner.stop(0)));
    await this.#sandbox?.discard();
  }

  resume(): void {
    this.#paused = false;
    this.retryNow();
  }

  /** Tries again at once whatever waits for another try. */
  retryNow(): void {
    this.#retryMs = 0;
    this.#wake();
  }

  #wake(): void {
    this.#dirty = true;
    if (this.#running || this.#paused || this.#finished) return;
    this.#running = true;
    void this.#loop();
  }

  async #loop(): Promise<void> {
    while (this.#dirty && !this.#paused && !this.#finished) {
      this.#dirty = false;
      clearTimeout(this.#retryTimer);
      try {
        await this.#step();
        if (!this.#dirty) this.#retryMs = 0;
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#running = false;
  }

  #failed(error: unknown): void {
    this.#retryMs = Math.min(this.#retryMs === 0 ? MIN_RETRY_MS : this.#retryMs * 2, MAX_RETRY_MS);
    this.#retryTimer = setTimeout(() => this.#wake(), this.#retryMs);
    if (error instanceof SandboxFailure) this.#event("FailedCreatePodSandBox", error.message, true);
    if (error instanceof TeardownFailure) this.#event("FailedKillPod", error.message, true);
  }

  async #step(): Promise<void> {
    if (this.#gone || this.#pod.metadata.deletionTimestamp !== undefined) {
      await this.#terminate();
      return;
    }
    const phase = this.#pod.status?.phase;
    if (!this.#sandboxReady && (phase === "Succeeded" || phase === "Failed")) return; // it ran to its end before
    if (!this.#sandboxReady && !this.#over()) await this.#createSandbox();
    this.#startContainers();
    if (this.#over()) await this.#destroySandbox();
    await this.#publish();
  }

  async #createSandbox(): Promise<void> {
    this.#sandbox ??= new Sandbox(this.#context.host, this.#pod);
    const sandbox = this.#sandbox;
    try {
      await this.#context.sandboxes.run(async () => await sandbox.create());
    } catch (error) {
      await this.#publish().catch(() => undefined); // the refusal itself is what matters, and it is tried again anyway
      throw new SandboxFailure(`Failed to create pod sandbox: ${messageOf(error)}`, { cause: error });
    }
    this.#sandboxReady = true;
  }

  async #destroySandbox(): Promise<void> {
    const sandbox = this.#sandbox;
    if (sandbox === undefined) return;
    try {
      await this.#context.sandboxes.run(async () => await sandbox.destroy());
    } catch (error) {
      throw new TeardownFailure(`error killing pod: ${messageOf(error)}`, { cause: error });
    }
    this.#sandbox = undefined;
    this.#sandboxReady = false;
  }

  #startContainers(): void {
    if (!this.#sandboxReady || this.#over()) return;
    for (const runner of this.#initContainers) {
      if (!runner.started) runner.start();
      const { state, exitCode } = runner.facts;
      if (state !== "terminated" || exitCode !== 0) return; // the next one begins when this one has ended well
    }
    for (const runner of this.#containers) if (!runner.started) runner.start();
  }

  #over(): boolean {
    const phase = podPhase(this.#pod.spec.restartPolicy ?? "Always", this.#facts());
    return phase === "Succeeded" || phase === "Failed";
  }

  async #terminate(): Promise<void> {
    const graceMs = this.#gone
      ? 0
      : (this.#pod.metadata.deletionGracePeriodSeconds ?? this.#pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
    this.#terminating = true;
    await Promise.all(this.#all().map(async (runner) => await runner.stop(graceMs)));
    await this.#destroySandbox();
    if (!this.#gone) await this.#context.api.remove(this.#pod);
    this.#finished = true;
    this.#context.done(this);
  }

  #all(): ContainerRunner[] {
    return [...this.#initContainers, ...this.#containers];
  }

  async #publish(): Promise<void> {
    const status = podStatus(this.#pod, this.#facts(), this.#published ?? this.#pod.status, Date.now());
    if (isDeepStrictEqual(status, this.#published)) return;
    const exists = await this.#context.api.writeStatus(this.#pod, status);
    this.#published = status;
    if (!exists) this.#gone = this.#dirty = true;
  }

  #facts(): PodFacts {
    return {
      hostAddress: this.#context.hostAddress,
      addresses:
        this.#pod.spec.hostNetwork === true
          ? [this.#context.hostAddress]
          : (this.#sandbox?.addresses ?? this.#publishedAddresses()),
      startedAt: this.#startedAt,
      initContainers: this.#initContainers.map((runner) => runner.facts),
      containers: this.#containers.map((runner) => runner.facts),
    };
  }

  // A pod that has ended keeps its address in its status, though the address is free again.
  #publishedAddresses(): string[] {
    return (this.#published?.podIPs ?? []).map((item) => item.ip);
  }

  #place(container: Container) {
    const facts = this.#facts();
    const sandbox = this.#sandbox!;
    return {
      namespace: sandbox.namespace,
      hostname: podHostname(this.#pod),
      env: { ...containerEnvironment(container, this.#pod, facts), ...this.#context.mark },
      logFile: join(sandbox.logDirectory, `${container.name}.log`),
      etcDirectory: sandbox.logDirectory,
    };
  }

  #target(): ProbeTarget {
    const address = () => this.#facts().addresses[0] ?? "";
    return {
      get podAddress() {
        return address();
      },
      connect: this.#context.connect,
      execute: async (command, timeoutMs) => {
        const namespace = this.#sandbox?.namespace;
        if (namespace === undefined) return 1;
        return (await run(["ip", "netns", "exec", namespace, ...command], { timeoutMs, cwd: "/" })).code;
      },
    };
  }

  #event(reason: string, message: string, warning: boolean): void {
    if (!this.#paused) this.#context.api.event(this.#pod, reason, message, warning);
  }
}

class SandboxFailure extends Error {}
class TeardownFailure extends Error {}
