/**
 * Everything that a bench run creates outside itself: processes, network namespaces, folders. A `Site` undoes all of it
 * when it is closed, when the program fails or is interrupted; what a killed program left is found by the next one.
 */
import { spawn, spawnSync, type ChildProcessByStdio } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

/** A program that ended otherwise than expected; the message holds the end of what it printed. */
export class CommandError extends Error {
  readonly code = "BENCH_COMMAND";
}

/** A running program whose standard input and output are ours. */
export type Running = ChildProcessByStdio<Writable, Readable, Readable>;

/** `IPv4` alone keeps a namespace free of router and neighbour solicitations. */
export type Families = "IPv4" | "IPv4 and IPv6";

const NAMESPACE_DIRECTORY = "/run/netns";
const PREFIX = "bfb";
const COMMAND_TIMEOUT = 60_000;

/** Runs a program to its end and returns its standard output. */
export function run(command: readonly string[], input = "", environment: NodeJS.ProcessEnv = process.env): string {
  const [program, ...rest] = command;
  const ended = spawnSync(program!, rest, {
    input,
    encoding: "utf8",
    env: environment,
    timeout: COMMAND_TIMEOUT,
    maxBuffer: 64 << 20,
  });
  if (ended.status !== 0) {
    const reason = ended.error?.message ?? `status ${ended.status ?? ended.signal}`;
    // A CNI plug-in gives its reason on standard output.
    const said = ((ended.stderr ?? "").trim() || (ended.stdout ?? "").trim()).slice(-600);
    throw new CommandError(`${command.join(" ")}: ${reason}: ${said}`);
  }
  return ended.stdout;
}

/** Waits until `done` holds, asking every `interval` milliseconds, at most `timeout` milliseconds. */
export async function until(what: string, timeout: number, done: () => boolean, interval = 20): Promise<void> {
  const deadline = performance.now() + timeout;
  while (!done()) {
    if (performance.now() > deadline) throw new CommandError(`${what}: not within ${timeout} ms`);
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

/** The command in front of a program that makes it run in a namespace and die with us, however we die. */
export function inNamespace(namespace: string, command: readonly string[]): string[] {
  return ["ip", "netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", ...command];
}

/** True if the process that a left-over is named after still lives. */
function ownerLives(name: string): boolean {
  const owner = /^bfb(\d+)-/.exec(name)?.[1];
  return owner === undefined || existsSync(`/proc/${owner}`);
}

/** Removes namespaces and folders of bench runs whose process is gone. Returns what was removed. */
export function sweepLeftovers(): string[] {
  const removed: string[] = [];
  const namespaces = existsSync(NAMESPACE_DIRECTORY) ? readdirSync(NAMESPACE_DIRECTORY) : [];
  for (const name of namespaces) {
    if (!name.startsWith(PREFIX) || ownerLives(name)) continue;
    killInside(name);
    spawnSync("ip", ["netns", "delete", name]);
    removed.push(name);
  }
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(PREFIX) || ownerLives(name)) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/** Ends the processes inside one of our own namespaces. */
function killInside(namespace: string): void {
  const pids = spawnSync("ip", ["netns", "pids", namespace], { encoding: "utf8" }).stdout ?? "";
  for (const pid of pids.split("\n").filter(Boolean)) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It ended by itself between the listing and the signal.
    }
  }
}

/** The place where one bench run builds its networks. */
export class Site {
  readonly directory: string;
  readonly #children = new Set<Running>();
  readonly #namespaces: string[] = [];
  readonly #prefix = `${PREFIX}${process.pid}-`;
  static #count = 0;
  #closed = false;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), this.#prefix));
    const emergency = () => this.close();
    process.once("exit", emergency);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, () => {
        this.close();
        process.exit(130);
      });
    }
  }

  /** Creates a network namespace with its loopback up; returns its name, which nobody else has. */
  addNamespace(purpose: string, families: Families = "IPv4"): string {
    return this.addNamespaces([purpose], families)[0]!;
  }

  /** Creates many namespaces. */
  addNamespaces(purposes: readonly string[], families: Families = "IPv4"): string[] {
    const names = purposes.map((purpose) => `${this.#prefix}${Site.#count++}-${purpose}`);
    run(["ip", "-batch", "-"], names.map((name) => `netns add ${name}\n`).join(""));
    this.#namespaces.push(...names);
    const off = ["all", "default"].map((scope) => `echo 1 >/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`).join("; ");
    const setup = families === "IPv4" ? `ip link set lo up; ${off}` : "ip link set lo up";
    run(["sh", "-e"], names.map((name) => `ip netns exec ${name} sh -c '${setup}'\n`).join(""));
    return names;
  }

  /** Removes namespaces before the site is closed, with everything in them. */
  removeNamespaces(names: readonly string[]): void {
    for (const name of names) killInside(name);
    run(["ip", "-batch", "-"], names.map((name) => `netns delete ${name}\n`).join(""));
    for (const name of names) this.#namespaces.splice(this.#namespaces.indexOf(name), 1);
  }

  /** A fresh folder of this site. */
  addDirectory(purpose: string): string {
    const path = join(this.directory, `${Site.#count++}-${purpose}`);
    mkdirSync(path);
    return path;
  }

  /** Starts a program in a namespace. What it prints to standard error is kept for error messages. */
  start(namespace: string, command: readonly string[], environment: NodeJS.ProcessEnv = {}): Running {
    const [program, ...rest] = inNamespace(namespace, command);
    const child = spawn(program!, rest, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    this.#children.add(child);
    child.stdin.on("error", () => {});
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  /** Ends one program and waits for its end. */
  async stop(child: Running): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Undoes everything. Safe to call again, and from an exit handler: it does not wait for events. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const child of this.#children) child.kill("SIGKILL");
    for (const name of this.#namespaces) killInside(name);
    const batch = this.#namespaces.map((name) => `netns delete ${name}\n`).join("");
    spawnSync("ip", ["-force", "-batch", "-"], { input: batch });
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Collects what a program prints; resolves when it ends with status 0, fails with the end of its errors otherwise. */
export function output(child: Running, what: string): Promise<string> {
  let text = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    child.once("close", (code, signal) => {
      if (code === 0) resolve(text);
      else reject(new CommandError(`${what} ended with ${code ?? signal}: ${errors.trim()}`));
    });
  });
}

/** Resolves when a program has printed `word`; fails if it ends before, or after 20 s. */
export function printed(child: Running, word: string, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new CommandError(`${what} did not print "${word}" within 20 s`)), 20_000);
    const settle = (action: () => void) => {
      clearTimeout(timer);
      child.stdout.off("data", look);
      action();
    };
    const look = (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes(word)) settle(resolve);
    };
    let errors = "";
    const listen = (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", listen);
    child.once("close", () =>
      settle(() => reject(new CommandError(`${what} ended before it printed "${word}": ${errors.trim()}`))),
    );
  });
}
