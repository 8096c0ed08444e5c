/**
 * Calls a CNI plug-in again and again, as a container runtime would, and measures each call from start to exit. Runs
 * inside the node's network namespace; its argument is the path of a `LaunchOrder` in JSON. Prints a `LaunchReport`.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { monotonicNow } from "../traffic/libc.ts";
import { startProgram, waitForAny } from "./posix-spawn.ts";

/** One container's turn. */
export interface Attachment {
  readonly containerId: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** CNI_ARGS, empty if there are none. */
  readonly arguments: string;
}

/** Calls to make. */
export interface LaunchOrder {
  readonly executable: string;
  readonly command: "ADD" | "DEL";
  /** File with the network configuration, the plug-in's standard input. */
  readonly configuration: string;
  readonly binDirectory: string;
  /** Folder for what the plug-in prints. */
  readonly directory: string;
  readonly attachments: readonly Attachment[];
  /** Calls that run at the same time. */
  readonly parallel: number;
}

/** What happened: the milliseconds of every successful call, and what the failed ones printed. */
export interface LaunchReport {
  readonly milliseconds: readonly number[];
  readonly failures: readonly string[];
  /** Milliseconds from the first start to the last exit. */
  readonly total: number;
}

function launch(order: LaunchOrder): LaunchReport {
  const milliseconds: number[] = [];
  const failures: string[] = [];
  const running = new Map<number, { start: number; output: string }>();
  const waiting = [...order.attachments].reverse();
  const begin = monotonicNow();
  while (waiting.length > 0 || running.size > 0) {
    while (waiting.length > 0 && running.size < order.parallel) {
      const attachment = waiting.pop()!;
      const output = join(order.directory, `${order.command}-${attachment.containerId}`);
      const environment = {
        PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
        CNI_COMMAND: order.command,
        CNI_CONTAINERID: attachment.containerId,
        CNI_NETNS: attachment.netns,
        CNI_IFNAME: "eth0",
        CNI_PATH: order.binDirectory,
        CNI_ARGS: attachment.arguments,
      };
      const start = monotonicNow();
      const pid = startProgram({ path: order.executable, environment, input: order.configuration, output });
      running.set(pid, { start, output });
    }
    const { pid, status } = waitForAny();
    const end = monotonicNow();
    const call = running.get(pid);
    if (call === undefined) continue;
    running.delete(pid);
    if (status === 0) milliseconds.push((end - call.start) / 1e6);
    else failures.push(`status ${status}: ${read(call.output)} ${read(`${call.output}.err`)}`.trim());
    rmSync(call.output, { force: true });
    rmSync(`${call.output}.err`, { force: true });
  }
  return { milliseconds, failures, total: (monotonicNow() - begin) / 1e6 };
}

function read(path: string): string {
  return readFileSync(path, "utf8").trim().slice(-500);
}

console.log(JSON.stringify(launch(JSON.parse(readFileSync(process.argv[2]!, "utf8")) as LaunchOrder)));
