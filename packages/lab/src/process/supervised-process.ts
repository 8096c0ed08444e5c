import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readSync, fstatSync } from "node:fs";
import { namespacePath } from "../names.ts";
import { shellExitCode } from "./run.ts";
import { removePidFile, writePidFile } from "./pid-file.ts";

/** What to run and where its traces go. */
export interface ProcessSpec {
  /** As it is called in `component` and `logs`. */
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Network namespace it runs in; the machine's own when absent. */
  readonly namespace?: string;
  readonly logFile: string;
  readonly pidFile: string;
  /** Awaited before every start, e.g. to remove a stale socket. */
  readonly before?: () => Promise<void>;
  /** Told after every start, e.g. to configure a switch that has lost its memory. */
  readonly onStarted?: () => void;
}

/** `backoff`: it ended by itself and is about to be started again. */
export type ProcessState = "stopped" | "running" | "backoff";

const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 5_000;
/** Having run this long counts as healthy: the next failure is met with the shortest pause again. */
const HEALTHY_AFTER_MS = 10_000;

/** Next pause before a restart, in ms: doubles from 200 ms to 5 s, and begins anew after a healthy run. */
export function nextBackoff(previous: number, ranForMs: number): number {
  if (previous === 0 || ranForMs >= HEALTHY_AFTER_MS) return MIN_BACKOFF_MS;
  return Math.min(previous * 2, MAX_BACKOFF_MS);
}

/**
 * One long-running process that is started again whenever it ends, as a service manager or a DaemonSet would.
 * It has a pid file and a log; its process group ends with it.
 */
export class SupervisedProcess {
  readonly spec: ProcessSpec;
  #child: ChildProcess | undefined;
  #wanted = false;
  #backoffMs = 0;
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #exits = 0;
  #exitWaiters: (() => void)[] = [];

  constructor(spec: ProcessSpec) {
    this.spec = spec;
  }

  get name(): string {
    return this.spec.name;
  }

  get state(): ProcessState {
    if (this.#child !== undefined) return "running";
    return this.#wanted ? "backoff" : "stopped";
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** How often it ended without being asked to. */
  get exits(): number {
    return this.#exits;
  }

  /** Starts it and keeps it running. */
  async start(): Promise<void> {
    this.#wanted = true;
    clearTimeout(this.#timer);
    if (this.#child === undefined) await this.#spawn();
  }

  /** Sends a signal without any intention to keep it stopped: it will be started again. */
  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    if (this.#child?.pid !== undefined) process.kill(this.#child.pid, signal);
  }

  /** Ends it for good: SIGTERM, then SIGKILL to its whole group after `graceMs`. */
  async stop(graceMs = 3_000): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child?.pid === undefined) return;
    const ended = new Promise<void>((resolve) => this.#exitWaiters.push(resolve));
    signalGroup(child.pid, "SIGTERM");
    const timer = setTimeout(() => signalGroup(child.pid!, "SIGKILL"), graceMs);
    await ended;
    clearTimeout(timer);
    signalGroup(child.pid, "SIGKILL");
  }

  /** Never starts it again, and leaves it as it is. */
  abandon(): void {
    this.#wanted = false;
    clearTimeout(this.#timer);
  }

  /** The last lines of its log. */
  logTail(lines = 20): string {
    return fileTail(this.spec.logFile, lines);
  }

  async #spawn(): Promise<void> {
    await this.spec.before?.();
    if (!this.#wanted || this.#child !== undefined) return;
    const log = openSync(this.spec.logFile, "a", 0o600);
    const enter =
      this.spec.namespace === undefined ? [] : ["nsenter", `--net=${namespacePath(this.spec.namespace)}`, "--"];
    const [program, ...args] = [...enter, ...this.spec.command];
    // A group of its own: it lives on when the supervisor crashes, and its children can be ended with it.
    const child = spawn(program!, args, {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.spec.env },
      cwd: "/",
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    this.#startedAt = performance.now();
    if (child.pid !== undefined) writePidFile(this.spec.pidFile, child.pid);
    let over = false;
    const ended = (reason: string) => {
      if (over) return;
      over = true;
      this.#ended(reason);
    };
    child.on("error", (error) => ended(error.message));
    child.on("exit", (code, signal) => ended(signal ?? `exit code ${shellExitCode(code, signal)}`));
    this.spec.onStarted?.();
  }

  #ended(_reason: string): void {
    this.#child = undefined;
    removePidFile(this.spec.pidFile);
    for (const waiter of this.#exitWaiters.splice(0)) waiter();
    if (!this.#wanted) return;
    this.#exits += 1;
    this.#backoffMs = nextBackoff(this.#backoffMs, performance.now() - this.#startedAt);
    this.#timer = setTimeout(() => {
      this.#spawn().catch(() => {
        if (this.#wanted) this.#ended("could not be prepared");
      });
    }, this.#backoffMs);
  }
}

/** Signals a process group; that it is gone already is fine. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The last lines of a file, reading at most 64 kB of it; empty when it is missing. */
export function fileTail(path: string, lines: number): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return "";
  }
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, 65_536));
    readSync(fd, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString().trimEnd().split("\n").slice(-lines).join("\n");
  } finally {
    closeSync(fd);
  }
}
