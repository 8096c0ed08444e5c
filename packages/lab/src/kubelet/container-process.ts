import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { shellExitCode } from "../process/run.ts";
import { signalGroup } from "../process/supervised-process.ts";
import type { Container, Pod } from "./pod-model.ts";

/** Where and as what a container's command runs. */
export interface ContainerPlace {
  /** Name of the network namespace: the pod's, or the node's for a pod on the host network. */
  readonly namespace: string;
  readonly hostname: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Folder with the pod's own `hosts` and `resolv.conf`. */
  readonly etcDirectory: string;
}

/** The files that a runtime gives a pod. There is no DNS in a lab: a look-up fails at once instead of waiting for the machine's name servers. */
export function podFiles(
  hostname: string,
  addresses: readonly string[],
): { readonly hosts: string; readonly resolvConf: string } {
  const own = addresses.map((address) => `${address}\t${hostname}\n`).join("");
  return {
    hosts: `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n${own}`,
    resolvConf: "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
  };
}

// First process of the container. A program without a handler ignores SIGTERM as process 1, and deleting every `sleep` would take the whole grace period.
const INIT = [
  'hostname "$1"',
  'mount --bind "$2/hosts" /etc/hosts',
  'mount --bind "$2/resolv.conf" /etc/resolv.conf',
  "shift 2",
  '"$@" &',
  "child=$!",
  "trap 'kill -TERM $child 2>/dev/null' TERM",
  "wait $child; code=$?",
  "while kill -0 $child 2>/dev/null; do wait $child; code=$?; done",
  "exit $code",
].join("\n");

/** The command line of a container: its command and arguments, with `$(NAME)` replaced by variables that are known (core/v1 Container.command). */
export function containerCommand(container: Container, env: Readonly<Record<string, string>>): string[] {
  return [...(container.command ?? []), ...(container.args ?? [])].map((word) => expandVariables(word, env));
}

/** `$(NAME)` becomes the variable's value, `$$` becomes `$`, unknown references stay as they are. */
export function expandVariables(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (all, name: string | undefined) =>
    name === undefined ? "$" : (env[name] ?? all),
  );
}

/** A container's environment: what a minimal image would set, then its own variables in order. */
export function containerEnvironment(
  container: Container,
  pod: Pod,
  facts: { addresses: readonly string[]; hostAddress: string },
): Record<string, string> {
  const env: Record<string, string> = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    HOSTNAME: podHostname(pod),
  };
  for (const variable of container.env ?? []) {
    const path = variable.valueFrom?.fieldRef?.fieldPath;
    env[variable.name] = path === undefined ? expandVariables(variable.value ?? "", env) : fieldValue(path, pod, facts);
  }
  return env;
}

/** The host name inside a pod. */
export function podHostname(pod: Pod): string {
  return (pod.spec.hostname ?? pod.metadata.name).slice(0, 63);
}

function fieldValue(path: string, pod: Pod, facts: { addresses: readonly string[]; hostAddress: string }): string {
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed !== null) return pod.metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2]!] ?? "";
  switch (path) {
    case "metadata.name":
      return pod.metadata.name;
    case "metadata.namespace":
      return pod.metadata.namespace ?? "default";
    case "metadata.uid":
      return pod.metadata.uid;
    case "spec.nodeName":
      return pod.spec.nodeName ?? "";
    case "status.hostIP":
      return facts.hostAddress;
    case "status.podIP":
      return facts.addresses[0] ?? "";
    case "status.podIPs":
      return facts.addresses.join(",");
    default:
      return "";
  }
}

/**
 * A running container. One without a command is a pause container: it runs until it is stopped, and needs no process.
 * Others get a process tree of their own in the pod's network namespace, with new pid, mount and UTS namespaces.
 */
export class ContainerProcess {
  readonly #child: ChildProcess | undefined;
  #exitCode: number | undefined;
  readonly #onExit: (code: number) => void;

  constructor(
    command: readonly string[],
    place: ContainerPlace,
    onExit: (code: number) => void,
    workingDirectory?: string,
  ) {
    this.#onExit = onExit;
    if (command.length === 0) return;
    const log = openSync(place.logFile, "a", 0o600);
    const enter = [
      "netns",
      "exec",
      place.namespace,
      "unshare",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      "--uts",
      "--",
    ];
    const child = spawn("ip", [...enter, "sh", "-c", INIT, "init", place.hostname, place.etcDirectory, ...command], {
      stdio: ["ignore", log, log],
      env: place.env,
      cwd: workingDirectory ?? "/",
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    child.on("error", () => this.#exited(127));
    child.on("exit", (code, signal) => this.#exited(shellExitCode(code, signal)));
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#exitCode === undefined;
  }

  /** SIGTERM to all of its processes; a pause container ends at once. */
  terminate(): void {
    if (this.#child === undefined) this.#exited(0);
    else this.#signal("SIGTERM");
  }

  /** SIGKILL: nothing of it survives, because its process 1 goes. */
  kill(): void {
    if (this.#child === undefined) this.#exited(137);
    else this.#signal("SIGKILL");
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.running && this.#child?.pid !== undefined) signalGroup(this.#child.pid, signal);
  }

  #exited(code: number): void {
    if (this.#exitCode !== undefined) return;
    this.#exitCode = code;
    this.#onExit(code);
  }
}
