import { randomBytes } from "node:crypto";
import { ContainerProcess, type ContainerPlace, containerCommand } from "./container-process.ts";
import { type ProbeTarget, probeOnce, probeSchedule, ProbeVerdict } from "./probe.ts";
import type { Container, Probe, RestartPolicy } from "./pod-model.ts";
import { type ContainerFacts, restarts } from "./pod-status.ts";

const MIN_CRASH_BACKOFF_MS = 500;
const MAX_CRASH_BACKOFF_MS = 10_000;
/** A container that ran this long has recovered: its next crash counts as the first. */
const RECOVERED_AFTER_MS = 60_000;

/** What a container needs from its pod. */
export interface RunnerContext {
  readonly place: (container: Container) => ContainerPlace;
  readonly target: ProbeTarget;
  /** Called whenever the facts have changed. */
  readonly changed: () => void;
  readonly event: (reason: string, message: string, warning: boolean) => void;
}

/** Keeps one container of a pod running as its restart policy says, and probes it. */
export class ContainerRunner {
  readonly container: Container;
  readonly #policy: RestartPolicy;
  readonly #context: RunnerContext;
  #process: ContainerProcess | undefined;
  #id: string | undefined;
  #startedAt = 0;
  #finishedAt = 0;
  #exitCode: number | undefined;
  #restartCount = 0;
  #last: ContainerFacts["last"];
  #ready = false;
  #healthy = true;
  #backoffMs = 0;
  #restartTimer: NodeJS.Timeout | undefined;
  #probes: ProbeLoop[] = [];
  #stopping = false;
  #onceEnded: (() => void) | undefined;

  constructor(container: Container, policy: RestartPolicy, context: RunnerContext) {
    this.container = container;
    this.#policy = policy;
    this.#context = context;
  }

  /** True while there is a process, or one about to be started again. */
  get running(): boolean {
    return this.#process?.running === true;
  }

  get started(): boolean {
    return this.#id !== undefined;
  }

  get facts(): ContainerFacts {
    const base = {
      name: this.container.name,
      restartCount: this.#restartCount,
      ready: this.#ready && this.running,
      ...(this.#last === undefined ? {} : { last: this.#last }),
    };
    if (this.#id === undefined) return { ...base, state: "waiting", waitingReason: "ContainerCreating" };
    if (this.running) return { ...base, state: "running", id: this.#id, startedAt: this.#startedAt };
    if (this.#restartTimer !== undefined) {
      return {
        ...base,
        state: "waiting",
        waitingReason: "CrashLoopBackOff",
        id: this.#id,
        last: { id: this.#id, exitCode: this.#exitCode ?? 0, startedAt: this.#startedAt, finishedAt: this.#finishedAt },
      };
    }
    return {
      ...base,
      state: "terminated",
      id: this.#id,
      startedAt: this.#startedAt,
      finishedAt: this.#finishedAt,
      exitCode: this.#exitCode ?? 0,
    };
  }

  start(): void {
    if (this.#stopping || this.running) return;
    this.#id = randomBytes(32).toString("hex");
    this.#startedAt = Date.now();
    this.#exitCode = undefined;
    this.#healthy = true;
    const place = this.#context.place(this.container);
    this.#process = new ContainerProcess(
      containerCommand(this.container, place.env),
      place,
      (code) => this.#exited(code),
      this.container.workingDir,
    );
    const { readinessProbe, livenessProbe, startupProbe } = this.container;
    this.#ready = readinessProbe === undefined && startupProbe === undefined;
    if (startupProbe !== undefined) {
      this.#watch(startupProbe, "Startup", false, (healthy) => {
        if (!healthy) return this.#killUnhealthy();
        this.#endProbes();
        this.#watchRunning(readinessProbe, livenessProbe);
      });
    } else {
      this.#watchRunning(readinessProbe, livenessProbe);
    }
  }

  /** Ends it for good: SIGTERM, then SIGKILL after the grace period. Resolves when nothing of it is left. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    this.#restartTimer = undefined;
    this.#endProbes();
    const current = this.#process;
    if (current === undefined || !current.running) return;
    const ended = new Promise<void>((resolve) => {
      this.#onceEnded = resolve;
    });
    if (graceMs > 0) current.terminate();
    else current.kill();
    const timer = setTimeout(() => current.kill(), graceMs);
    await ended;
    clearTimeout(timer);
  }

  /** SIGKILL at once; what the restart policy says still holds unless it is being stopped. */
  kill(): void {
    this.#process?.kill();
  }

  #watchRunning(readiness: Probe | undefined, liveness: Probe | undefined): void {
    if (readiness === undefined) {
      this.#ready = true;
      this.#context.changed();
    } else {
      this.#watch(readiness, "Readiness", false, (healthy) => {
        this.#ready = healthy;
        this.#context.changed();
      });
    }
    if (liveness !== undefined) {
      this.#watch(liveness, "Liveness", true, (healthy) => {
        if (!healthy) this.#killUnhealthy();
      });
    }
  }

  #watch(probe: Probe, kind: string, healthy: boolean, changed: (healthy: boolean) => void): void {
    const loop = new ProbeLoop(probe, this.container, this.#context.target, healthy, changed, (failure) => {
      this.#context.event("Unhealthy", `${kind} probe failed: ${failure}`, true);
    });
    this.#probes.push(loop);
  }

  #killUnhealthy(): void {
    if (!this.#healthy) return;
    this.#healthy = false;
    this.#context.event("Killing", `Container ${this.container.name} failed its probe, will be restarted`, false);
    this.#process?.kill();
  }

  #endProbes(): void {
    for (const probe of this.#probes.splice(0)) probe.stop();
  }

  #exited(code: number): void {
    this.#endProbes();
    this.#exitCode = code;
    this.#finishedAt = Date.now();
    this.#ready = false;
    this.#onceEnded?.();
    if (!this.#stopping && restarts(this.#policy, code)) {
      const ran = this.#finishedAt - this.#startedAt;
      this.#backoffMs =
        this.#backoffMs === 0 || ran > RECOVERED_AFTER_MS
          ? MIN_CRASH_BACKOFF_MS
          : Math.min(this.#backoffMs * 2, MAX_CRASH_BACKOFF_MS);
      this.#restartTimer = setTimeout(() => {
        this.#restartTimer = undefined;
        this.#last = { id: this.#id!, exitCode: code, startedAt: this.#startedAt, finishedAt: this.#finishedAt };
        this.#restartCount += 1;
        this.start();
        this.#context.changed();
      }, this.#backoffMs);
    }
    this.#context.changed();
  }
}

/** Runs one probe in its rhythm until it is stopped. */
class ProbeLoop {
  #timer: NodeJS.Timeout;
  #stopped = false;
  readonly #run: () => Promise<void>;

  constructor(
    probe: Probe,
    container: Container,
    target: ProbeTarget,
    healthy: boolean,
    changed: (healthy: boolean) => void,
    failed: (failure: string) => void,
  ) {
    const schedule = probeSchedule(probe);
    const verdict = new ProbeVerdict(schedule, healthy);
    this.#run = async () => {
      const failure = await probeOnce(probe, container, target);
      if (this.#stopped) return;
      if (failure !== undefined) failed(failure);
      if (verdict.take(failure === undefined)) changed(verdict.healthy);
      if (!this.#stopped) this.#timer = setTimeout(() => void this.#run(), schedule.periodMs);
    };
    this.#timer = setTimeout(() => void this.#run(), schedule.initialDelayMs);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
