import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { LabError, messageOf } from "../errors.ts";
import { namespacePath } from "../names.ts";
import { run } from "../process/run.ts";

/** A network configuration list as a runtime finds it in its configuration folder (CNI specification, section 1). */
export interface NetworkConfiguration {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly (Readonly<Record<string, unknown>> & { readonly type: string })[];
}

/** The parts of a CNI result that a runtime reads (section 5). */
export interface CniResult {
  readonly cniVersion?: string;
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
  readonly [key: string]: unknown;
}

/** One attachment: everything that must be the same in ADD, CHECK and DEL. */
export interface Attachment {
  readonly containerId: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly ifname: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
}

/** The node's side of the CNI: where it looks for configuration and executables, and where these run. */
export interface CniNode {
  readonly confDirectory: string;
  /** Folders searched for an executable, in order; CNI_PATH. */
  readonly binDirectories: readonly string[];
  /** The node's network namespace. */
  readonly namespace: string;
}

export type CniCommand = "ADD" | "DEL" | "CHECK";

/** What a plug-in said when it refused (section 5, "Error"). */
export class CniFailure extends LabError {
  readonly cniCode: number;
  readonly details: string;

  constructor(plugin: string, command: CniCommand, cniCode: number, text: string, details: string) {
    super(
      "LAB_CNI_FAILED",
      `plugin type="${plugin}" failed (${command.toLowerCase()}): ${text}${details === "" ? "" : `; ${details}`}`,
    );
    this.cniCode = cniCode;
    this.details = details;
  }
}

/** A plug-in that does not answer is killed after this time, as a runtime does when its sandbox request expires. */
const CNI_TIMEOUT_MS = 60_000;

/** The first configuration of the folder in lexical order, which is what runtimes take; `undefined` when there is none yet. */
export async function readNetworkConfiguration(confDirectory: string): Promise<NetworkConfiguration | undefined> {
  let entries: string[];
  try {
    entries = await readdir(confDirectory);
  } catch {
    return undefined;
  }
  const [file] = entries.filter((entry) => entry.endsWith(".conflist")).sort();
  if (file === undefined) return undefined;
  return parseNetworkConfiguration(await readFile(join(confDirectory, file), "utf8"), join(confDirectory, file));
}

/** Parses and checks a configuration list; `LAB_CNI_FAILED` names the file and the field. */
export function parseNetworkConfiguration(text: string, source: string): NetworkConfiguration {
  const refuse = (what: string, cause?: unknown): never => {
    throw new LabError("LAB_CNI_FAILED", `${source}: ${what}`, { cause });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse("is not JSON", error);
  }
  if (typeof value !== "object" || value === null) return refuse("is not an object");
  const { cniVersion, name, plugins } = value as Record<string, unknown>;
  if (typeof cniVersion !== "string") return refuse("cniVersion is missing");
  if (typeof name !== "string" || name === "") return refuse("name is missing");
  if (!Array.isArray(plugins) || plugins.length === 0) return refuse("plugins is missing or empty");
  for (const plugin of plugins as unknown[]) {
    if (typeof plugin !== "object" || plugin === null || typeof (plugin as { type?: unknown }).type !== "string")
      return refuse("a plug-in without type");
  }
  return { cniVersion, name, plugins: plugins as NetworkConfiguration["plugins"] };
}

/** Adds an attachment: every plug-in of the list in order, each told what the one before it answered. */
export async function cniAdd(
  node: CniNode,
  configuration: NetworkConfiguration,
  attachment: Attachment,
): Promise<CniResult> {
  let result: CniResult | undefined;
  for (const plugin of configuration.plugins)
    result = await invoke(node, configuration, plugin, "ADD", attachment, result);
  if (result === undefined)
    throw new LabError("LAB_CNI_FAILED", `network ${configuration.name}: no plug-in answered ADD with a result`);
  return result;
}

/** Checks an attachment against the cached result of its ADD. */
export async function cniCheck(
  node: CniNode,
  configuration: NetworkConfiguration,
  attachment: Attachment,
  cached: CniResult,
): Promise<void> {
  for (const plugin of configuration.plugins) await invoke(node, configuration, plugin, "CHECK", attachment, cached);
}

/** Removes an attachment: the list in reverse, with the cached result of ADD if there was one. */
export async function cniDel(
  node: CniNode,
  configuration: NetworkConfiguration,
  attachment: Attachment,
  cached?: CniResult,
): Promise<void> {
  for (const plugin of configuration.plugins.toReversed())
    await invoke(node, configuration, plugin, "DEL", attachment, cached);
}

/** The environment of an invocation (section 2, "Parameters"). */
export function cniEnvironment(
  command: CniCommand,
  attachment: Attachment,
  binDirectories: readonly string[],
): Record<string, string> {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netns,
    CNI_IFNAME: attachment.ifname,
    CNI_PATH: binDirectories.join(":"),
    CNI_ARGS: [
      "IgnoreUnknown=1",
      `K8S_POD_NAMESPACE=${attachment.podNamespace}`,
      `K8S_POD_NAME=${attachment.podName}`,
      `K8S_POD_INFRA_CONTAINER_ID=${attachment.containerId}`,
      `K8S_POD_UID=${attachment.podUid}`,
    ].join(";"),
  };
}

async function invoke(
  node: CniNode,
  configuration: NetworkConfiguration,
  plugin: NetworkConfiguration["plugins"][number],
  command: CniCommand,
  attachment: Attachment,
  previous: CniResult | undefined,
): Promise<CniResult | undefined> {
  const input = JSON.stringify({
    ...plugin,
    cniVersion: configuration.cniVersion,
    name: configuration.name,
    ...(previous === undefined ? {} : { prevResult: previous }),
  });
  const executable = await findExecutable(plugin.type, node.binDirectories);
  const result = await run(["nsenter", `--net=${namespacePath(node.namespace)}`, "--", executable], {
    input,
    cwd: "/",
    timeoutMs: CNI_TIMEOUT_MS,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...cniEnvironment(command, attachment, node.binDirectories) },
  });
  if (result.code !== 0) throw failureOf(plugin.type, command, result.stdout, result.stderr, result.code);
  if (command !== "ADD") return undefined;
  try {
    return JSON.parse(result.stdout) as CniResult;
  } catch (error) {
    throw new CniFailure(plugin.type, command, 999, "the answer is not JSON", messageOf(error));
  }
}

function failureOf(plugin: string, command: CniCommand, stdout: string, stderr: string, exitCode: number): CniFailure {
  try {
    const error = JSON.parse(stdout) as { code?: unknown; msg?: unknown; details?: unknown };
    if (typeof error.msg === "string") {
      return new CniFailure(
        plugin,
        command,
        Number(error.code ?? 999),
        error.msg,
        typeof error.details === "string" ? error.details : "",
      );
    }
  } catch {
    // Not an error object: what it printed is all there is to tell.
  }
  return new CniFailure(plugin, command, 999, `exit code ${exitCode}`, (stderr.trim() || stdout.trim()).slice(0, 1000));
}

async function findExecutable(type: string, directories: readonly string[]): Promise<string> {
  if (!/^[^/\0]+$/.test(type)) throw new LabError("LAB_CNI_FAILED", `plug-in type "${type}" is not a file name`);
  for (const directory of directories) {
    const files = await readdir(directory).catch((): string[] => []);
    if (files.includes(type)) return join(directory, type);
  }
  throw new LabError("LAB_CNI_FAILED", `plug-in "${type}" is not in ${directories.join(":")}; install it there`);
}

/** The pod's addresses of a result, without prefix lengths, in the plug-in's order. */
export function resultAddresses(result: CniResult): string[] {
  return (result.ips ?? []).map((item) => item.address.split("/")[0]!);
}
