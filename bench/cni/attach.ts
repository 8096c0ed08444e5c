/** CNI operations on many containers of one node. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { output, type Site } from "../environment/site.ts";
import type { Attachment, LaunchOrder, LaunchReport } from "./launcher.ts";

/** A node on which a plug-in works. */
export interface CniNode {
  readonly name: string;
  readonly namespace: string;
  readonly executable: string;
  readonly binDirectory: string;
  /** The network configuration that a runtime would pass on standard input. */
  readonly configuration: object;
  /** CNI_ARGS for a container. */
  argumentsOf(containerId: string): string;
  /** Called before containers are added: makes whatever the plug-in expects to find about them. */
  announce(containerIds: readonly string[]): Promise<void>;
  /** Called after they are gone. */
  withdraw(containerIds: readonly string[]): Promise<void>;
}

let serial = 0;

/** Identifiers that no other call has used. */
export function containerIds(count: number): string[] {
  return Array.from({ length: count }, () => `bench${process.pid}x${serial++}`);
}

/** The namespaces of containers, named after them. */
export function containerAttachments(
  node: CniNode,
  ids: readonly string[],
  namespaces: readonly string[],
): Attachment[] {
  return ids.map((containerId, at) => ({
    containerId,
    netns: `/run/netns/${namespaces[at]!}`,
    arguments: node.argumentsOf(containerId),
  }));
}

/** Runs one command for all attachments, `parallel` at a time. Fails if any call failed. */
export async function callPlugin(
  site: Site,
  node: CniNode,
  command: LaunchOrder["command"],
  attachments: readonly Attachment[],
  parallel: number,
): Promise<LaunchReport> {
  const directory = site.addDirectory(`cni-${command}`);
  const configuration = join(directory, "network.json");
  writeFileSync(configuration, JSON.stringify(node.configuration));
  const { executable, binDirectory } = node;
  const order: LaunchOrder = { executable, command, configuration, binDirectory, directory, attachments, parallel };
  const file = join(directory, "order.json");
  writeFileSync(file, JSON.stringify(order));
  const program = join(import.meta.dirname, "launcher.ts");
  const text = await output(
    site.start(node.namespace, [process.execPath, program, file]),
    `CNI ${command} by ${node.name}`,
  );
  const report = JSON.parse(text) as LaunchReport;
  if (report.failures.length > 0) {
    throw new Error(
      `${node.name}: ${report.failures.length} of ${attachments.length} ${command}s failed: ${report.failures[0]}`,
    );
  }
  return report;
}
