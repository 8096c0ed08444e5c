/** A recording implementation of the agent's side, and the executable, for the tests of this package. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Attachment, Attachments, AttachRequest, PreviousResult, ValidAttachment } from "../src/index.ts";

/** Attachments that keep a record and can be told to wait or to fail. */
export class RecordingAttachments implements Attachments {
  readonly calls: string[] = [];
  readonly requests: AttachRequest[] = [];
  previous: PreviousResult | undefined;
  valid: readonly ValidAttachment[] | undefined;
  /** Runs inside every operation. */
  during: (command: string, request?: AttachRequest, signal?: AbortSignal) => Promise<void> = () => Promise.resolve();

  async #record(command: string, request: AttachRequest): Promise<void> {
    this.requests.push(request);
    this.calls.push(`${command} ${request.containerId} ${request.ifname}`);
    await this.during(command, request, request.signal);
    this.calls.push(`${command} ${request.containerId} end`);
  }

  async add(request: AttachRequest): Promise<Attachment> {
    await this.#record("ADD", request);
    return {
      hostInterface: { name: "fab12345", mac: "02:00:00:00:00:01" },
      podInterface: { name: request.ifname, mac: "0a:58:0a:f4:01:05", sandbox: request.netns ?? "", mtu: 1450 },
      ips: [{ address: "10.244.1.5/32", gateway: "10.244.1.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.244.1.1" }],
    };
  }

  del(request: AttachRequest): Promise<void> {
    return this.#record("DEL", request);
  }

  async check(request: AttachRequest, previous: PreviousResult): Promise<void> {
    this.previous = previous;
    await this.#record("CHECK", request);
  }

  async gc(networkName: string, valid: readonly ValidAttachment[], signal: AbortSignal): Promise<void> {
    this.valid = valid;
    this.calls.push(`GC ${networkName}`);
    await this.during("GC", undefined, signal);
    this.calls.push("GC end");
  }

  async status(signal: AbortSignal): Promise<void> {
    await this.during("STATUS", undefined, signal);
  }
}

/** A folder that is gone when the test is over. */
export function temporaryFolder(context: { after(fn: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), "bf-cni-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Builds the executable, or finds it built. */
export function builtExecutable(): string {
  return execFileSync(join(import.meta.dirname, "../../../tools/build-cni.sh"), { encoding: "utf8" }).trim();
}

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON, undefined when it is empty. */
  readonly json: Record<string, unknown> | undefined;
  readonly milliseconds: number;
}

/** Runs a program as a container runtime does: this environment and nothing else. */
export function callPlugin(
  program: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin: string,
  options: { cwd?: string } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(program[0]!, program.slice(1), { env, cwd: options.cwd ?? "/", stdio: "pipe" });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdin.on("error", () => {});
    child.on("error", reject);
    child.on("close", (status) => {
      const milliseconds = performance.now() - started;
      const json = stdout === "" ? undefined : (JSON.parse(stdout) as Record<string, unknown>);
      resolve({ status, stdout, stderr, json, milliseconds });
    });
    child.stdin.end(stdin);
  });
}

/** Runs a program to its end. */
export function run(program: string, rest: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, rest, (error, stdout) => (error === null ? resolve(stdout) : reject(error)));
  });
}
