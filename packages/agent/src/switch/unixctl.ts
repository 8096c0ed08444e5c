/**
 * Questions to a running `ovs-vswitchd` on its control socket: the JSON-RPC that `ovs-appctl` speaks, without starting a
 * process. Only for what neither OVSDB nor OpenFlow tells: tunnel neighbours and datapath statistics.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { AgentError } from "../errors.ts";

const maxReplyBytes = 8 * 1024 * 1024;

export interface UnixctlOptions {
  /** OVS_RUNDIR: where `ovs-vswitchd.pid` and the control socket are. */
  readonly runDirectory: string;
  /** ms */
  readonly timeout?: number;
}

/**
 * Sends one command and returns its text.
 * @throws AgentError `AGENT_SWITCH_CONTROL` when the daemon is not there, refuses, or does not answer in time
 */
export async function unixctl(
  { runDirectory, timeout = 2000 }: UnixctlOptions,
  method: string,
  params: readonly string[] = [],
): Promise<string> {
  const command: Command = { method, params };
  return await ask(await controlSocket(runDirectory, command), command, timeout);
}

interface Command {
  readonly method: string;
  readonly params: readonly string[];
}

/** `ovs-vswitchd.<pid>.ctl` by default; `ovs-vswitchd.ctl` where the daemon was told to use a fixed name. */
async function controlSocket(runDirectory: string, command: Command): Promise<string> {
  const fixed = join(runDirectory, "ovs-vswitchd.ctl");
  const pidFile = join(runDirectory, "ovs-vswitchd.pid");
  const pid = await readFile(pidFile, "utf8").then(
    (text) => text.trim(),
    (cause: unknown) => {
      throw refused(command, `${pidFile} cannot be read; is ovs-vswitchd running?`, cause);
    },
  );
  if (!/^\d{1,10}$/.test(pid)) throw refused(command, `${pidFile} holds no process number`);
  const named = join(runDirectory, `ovs-vswitchd.${pid}.ctl`);
  return existsSync(named) || !existsSync(fixed) ? named : fixed;
}

function ask(path: string, command: Command, timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const timer = setTimeout(() => {
      finish(() => reject(refused(command, `no answer from ${path} within ${timeout} ms`)));
    }, timeout);
    socket.on("error", (cause) => finish(() => reject(refused(command, `${path}: ${cause.message}`, cause))));
    socket.on("connect", () => socket.write(JSON.stringify({ id: 0, ...command })));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxReplyBytes) {
        finish(() => reject(refused(command, `the answer exceeds ${maxReplyBytes} bytes`)));
        return;
      }
      const reply = parseReply(Buffer.concat(chunks).toString("utf8"));
      if (reply === undefined) return;
      if (typeof reply.result === "string") finish(() => resolve(reply.result as string));
      else finish(() => reject(refused(command, String(reply.error))));
    });
    socket.on("end", () => finish(() => reject(refused(command, `${path} closed before it answered`))));
  });
}

/** The reply is one JSON object without a delimiter: it is complete when it parses. */
function parseReply(text: string): { result?: unknown; error?: unknown } | undefined {
  if (!text.trimEnd().endsWith("}")) return undefined;
  try {
    return JSON.parse(text) as { result?: unknown; error?: unknown };
  } catch {
    return undefined;
  }
}

function refused({ method, params }: Command, why: string, cause?: unknown): AgentError {
  const words = [method, ...params].join(" ");
  return new AgentError("AGENT_SWITCH_CONTROL", `ovs-vswitchd control command ${words}: ${why.trim()}`, { cause });
}
