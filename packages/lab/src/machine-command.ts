import { readFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LabError } from "./errors.ts";
import { recordFile, type PodRecord } from "./kubelet/sandbox.ts";
import { hostNumber, type LabNames, machineNamespace, namespacePath, nodeNumber, nodePaths, ROUTER } from "./names.ts";
import { shellExitCode } from "./process/run.ts";

/** Command line that runs a command in a named network namespace, with that namespace's view of /sys. */
export function inNamespace(namespace: string, command: readonly string[]): string[] {
  if (command.length === 0) throw new LabError("LAB_BAD_ARGUMENT", "no command given; name a program after --");
  return ["ip", "netns", "exec", namespace, ...command];
}

/** What a running pod left in the lab's folder. `LAB_NOT_FOUND` when it does not run. */
export function podRecord(names: LabNames, pod: string): PodRecord {
  const [namespace, name, ...rest] = pod.split("/");
  if (namespace === undefined || name === undefined || name === "" || rest.length > 0) {
    throw new LabError(
      "LAB_BAD_ARGUMENT",
      `"${pod}" does not name a pod: write NAMESPACE/POD, for example default/web`,
    );
  }
  try {
    return JSON.parse(readFileSync(recordFile(join(names.directory, "pods"), namespace, name), "utf8")) as PodRecord;
  } catch (cause) {
    throw new LabError(
      "LAB_NOT_FOUND",
      `pod ${pod} does not run in lab ${names.lab}; look with: kubectl get pods -n ${namespace}`,
      { cause },
    );
  }
}

/** Namespace of a node; `LAB_NOT_FOUND` when the lab has no such node. */
export function nodeNamespaceOf(names: LabNames, node: string): string {
  nodeNumber(node);
  return existing(machineNamespace(names.lab, node), `node ${node}`, names);
}

/** Namespace of an outside host or of the router; `LAB_NOT_FOUND` when the lab has no such machine. */
export function hostNamespaceOf(names: LabNames, host: string): string {
  if (host !== ROUTER) hostNumber(host);
  return existing(machineNamespace(names.lab, host), `host ${host}`, names);
}

function existing(namespace: string, what: string, names: LabNames): string {
  if (!existsSync(namespacePath(namespace)))
    throw new LabError(
      "LAB_NOT_FOUND",
      `lab ${names.lab} has no ${what}; look with: fabric-lab status --name ${names.lab}`,
    );
  return namespace;
}

/** Environment of a command on a node: the Open vSwitch tools then speak to that node's switch. */
export function nodeEnvironment(names: LabNames, node: string): Record<string, string> {
  const { ovsRunDirectory } = nodePaths(names, node);
  return { OVS_RUNDIR: ovsRunDirectory, OVS_DBDIR: ovsRunDirectory };
}

/** Runs a command on the terminal of this process, passes signals on to it and resolves to its exit code. */
export async function runAttached(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const [program, ...args] = command;
  return await new Promise<number>((resolve, reject) => {
    const child = spawn(program!, args, { stdio: "inherit", env: { ...process.env, ...env } });
    // The terminal's own signals reach the child by themselves; those sent to this process alone do not.
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
    process.on("SIGINT", () => undefined);
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(shellExitCode(code, signal)));
  });
}
