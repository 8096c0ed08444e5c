import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "./errors.ts";

/** Folder that holds one folder per lab. */
export const LABS_DIRECTORY = "/run/fabric-lab";

/** Root of the checkout this file belongs to. */
export const CHECKOUT = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");

/** Where `ip netns` keeps the named namespaces. */
export const NETNS_DIRECTORY = "/run/netns";

// A link name has at most 15 characters and the lab appends up to 5 of its own.
const LAB_NAME = /^[a-z](?:[a-z0-9-]{0,7}[a-z0-9])?$/;
const NODE_NAME = /^node-([1-9][0-9]{0,2})$/;
const HOST_NAME = /^host-([1-9][0-9]?)$/;

/** Node numbers above this would collide with the addresses of the outside hosts. */
export const MAX_NODE_NUMBER = 180;
/** The machine that routes between the VLANs of the wire. */
export const ROUTER = "router";

/** Outside hosts have the addresses .201 to .250 of the wire. */
export const MAX_HOST_NUMBER = 50;

/** Names and paths of one lab. Everything a lab leaves on a machine is named here, so that `down` can find it. */
export interface LabNames {
  readonly lab: string;
  readonly directory: string;
  readonly specFile: string;
  readonly controlSocket: string;
  readonly kubeconfig: string;
  readonly wireNamespace: string;
  readonly managementBridge: string;
}

/** Checks a lab's name (`LAB_BAD_ARGUMENT`) and derives every other name from it. */
export function labNames(lab: string): LabNames {
  if (!LAB_NAME.test(lab)) {
    throw new LabError(
      "LAB_BAD_ARGUMENT",
      `lab name "${lab}" is refused: at most 9 lower case letters, digits and "-", beginning with a letter; choose another --name`,
    );
  }
  const directory = join(LABS_DIRECTORY, lab);
  return {
    lab,
    directory,
    specFile: join(directory, "lab.json"),
    controlSocket: join(directory, "control.sock"),
    kubeconfig: join(directory, "kubeconfig"),
    wireNamespace: `${lab}-wire`,
    managementBridge: `${lab}-mgmt`,
  };
}

/** The number N of `node-N`, which its addresses are made from. */
export function nodeNumber(node: string): number {
  const number = Number(NODE_NAME.exec(node)?.[1] ?? "0");
  if (number === 0 || number > MAX_NODE_NUMBER) {
    throw new LabError(
      "LAB_BAD_ARGUMENT",
      `node name "${node}" is refused: a node is called node-1 to node-${MAX_NODE_NUMBER}`,
    );
  }
  return number;
}

/** The number N of the outside host `host-N`. */
export function hostNumber(host: string): number {
  const number = Number(HOST_NAME.exec(host)?.[1] ?? "0");
  if (number === 0 || number > MAX_HOST_NUMBER) {
    throw new LabError(
      "LAB_BAD_ARGUMENT",
      `host name "${host}" is refused: an outside host is called host-1 to host-${MAX_HOST_NUMBER}`,
    );
  }
  return number;
}

/** Name of the namespace of a node or an outside host. */
export function machineNamespace(lab: string, machine: string): string {
  return `${lab}-${machine}`;
}

/** Name of the namespace of a pod: the first eight digits of its UID are enough among the pods of one lab. */
export function podNamespace(lab: string, uid: string): string {
  const digits = uid.replaceAll(/[^0-9a-f]/g, "").slice(0, 8);
  return `${lab}-pod-${digits.padEnd(8, "0")}`;
}

/** Path of a named network namespace. */
export function namespacePath(namespace: string): string {
  return join(NETNS_DIRECTORY, namespace);
}

/** Does a namespace of the machine belong to this lab? Exact, because the name of one lab may begin with another's. */
export function isNamespaceOf(lab: string, namespace: string): boolean {
  if (!namespace.startsWith(`${lab}-`)) return false;
  return /^(?:node-\d+|host-\d+|wire|router|pod-[0-9a-f]{8})$/.test(namespace.slice(lab.length + 1));
}

/** Does a link in the root namespace belong to this lab? */
export function isRootLinkOf(lab: string, link: string): boolean {
  return link.startsWith(`${lab}-`) && /^(?:mgmt|m\d+)$/.test(link.slice(lab.length + 1));
}

/** Paths of one node's folder. */
export interface NodePaths {
  readonly directory: string;
  readonly ovsRunDirectory: string;
  readonly cniSocket: string;
  readonly apiSocket: string;
  readonly agentConfig: string;
  readonly cniBinDirectory: string;
  readonly cniConfDirectory: string;
  readonly podsDirectory: string;
}

/** Where the files of a node are. */
export function nodePaths(names: LabNames, node: string): NodePaths {
  const directory = join(names.directory, node);
  return {
    directory,
    ovsRunDirectory: join(directory, "ovs"),
    cniSocket: join(directory, "cni.sock"),
    apiSocket: join(directory, "api.sock"),
    agentConfig: join(directory, "fabric-node.yaml"),
    cniBinDirectory: join(directory, "cni", "bin"),
    cniConfDirectory: join(directory, "cni", "net.d"),
    podsDirectory: join(directory, "pods"),
  };
}
