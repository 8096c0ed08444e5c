import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { namespacePath, podNamespace } from "../names.ts";
import { runChecked } from "../process/run.ts";
import { deleteNamespace } from "../topology/namespaces.ts";
import {
  type Attachment,
  cniAdd,
  cniCheck,
  cniDel,
  type CniNode,
  type CniResult,
  type NetworkConfiguration,
  readNetworkConfiguration,
  resultAddresses,
} from "./cni.ts";
import { LabError } from "../errors.ts";
import { podFiles, podHostname } from "./container-process.ts";
import { type Pod, podKey } from "./pod-model.ts";

/** What stays of a pod in a file, so that `exec` finds its namespace, with or without a supervisor. */
export interface PodRecord {
  readonly pod: string;
  readonly uid: string;
  readonly node: string;
  readonly namespace: string;
  readonly containerId?: string;
  readonly result?: CniResult;
}

/** Where sandboxes of a node are made. */
export interface SandboxHost {
  readonly lab: string;
  readonly node: string;
  readonly cni: CniNode;
  /** Folder of the records of all pods of the lab. */
  readonly recordsDirectory: string;
  /** Folder of the logs of this node's containers. */
  readonly podsDirectory: string;
}

/** File name of a pod's record; neither name can contain `_`. */
export function recordFile(recordsDirectory: string, podNamespaceName: string, podName: string): string {
  return join(recordsDirectory, `${podNamespaceName}_${podName}.json`);
}

/**
 * A pod's network namespace with its attachment, which is what a runtime calls the sandbox. A pod on the host network has the node's.
 */
export class Sandbox {
  readonly #host: SandboxHost;
  readonly #pod: Pod;
  readonly namespace: string;
  readonly logDirectory: string;
  #attachment: Attachment | undefined;
  #configuration: NetworkConfiguration | undefined;
  /** What failed ADDs may have left behind, because the DEL after them failed too. */
  readonly #remains: Attachment[] = [];
  #result: CniResult | undefined;

  constructor(host: SandboxHost, pod: Pod) {
    this.#host = host;
    this.#pod = pod;
    this.namespace = pod.spec.hostNetwork === true ? host.cni.namespace : podNamespace(host.lab, pod.metadata.uid);
    this.logDirectory = join(
      host.podsDirectory,
      `${pod.metadata.namespace ?? "default"}_${pod.metadata.name}_${pod.metadata.uid.slice(0, 8)}`,
    );
  }

  /** The pod's addresses as ADD answered them; empty on the host network. */
  get addresses(): readonly string[] {
    return this.#result === undefined ? [] : resultAddresses(this.#result);
  }

  /** Creates the namespace and attaches it. After a failure it may be tried again; what is left of it goes first. */
  async create(): Promise<void> {
    await mkdir(this.logDirectory, { recursive: true });
    if (this.#pod.spec.hostNetwork !== true) await this.#attach();
    const record: PodRecord = {
      pod: podKey(this.#pod),
      uid: this.#pod.metadata.uid,
      node: this.#host.node,
      namespace: this.namespace,
      ...(this.#attachment === undefined ? {} : { containerId: this.#attachment.containerId }),
      ...(this.#result === undefined ? {} : { result: this.#result }),
    };
    const { hosts, resolvConf } = podFiles(podHostname(this.#pod), this.addresses);
    await writeFile(join(this.logDirectory, "hosts"), hosts);
    await writeFile(join(this.logDirectory, "resolv.conf"), resolvConf);
    await mkdir(this.#host.recordsDirectory, { recursive: true });
    const temporary = `${this.#recordFile()}.${this.#pod.metadata.uid}`;
    await writeFile(temporary, `${JSON.stringify(record)}\n`);
    await rename(temporary, this.#recordFile());
  }

  /** Asks the plug-ins whether the attachment is still as they made it. */
  async check(): Promise<void> {
    if (this.#attachment === undefined || this.#configuration === undefined || this.#result === undefined) {
      throw new LabError(
        "LAB_NOT_FOUND",
        `pod ${podKey(this.#pod)} has no attachment to check; it is on the host network or not started`,
      );
    }
    await cniCheck(this.#host.cni, this.#configuration, this.#attachment, this.#result);
  }

  /** Detaches and removes the namespace. Throws while the plug-in refuses: an address must not be forgotten. */
  async destroy(): Promise<void> {
    if (this.#attachment !== undefined && this.#configuration !== undefined) {
      await cniDel(this.#host.cni, this.#configuration, this.#attachment, this.#result);
      this.#attachment = undefined;
      this.#result = undefined;
    }
    const configuration = await readNetworkConfiguration(this.#host.cni.confDirectory);
    if (configuration !== undefined) await this.#removeRemains(configuration);
    await this.discard();
  }

  /** Removes the namespace and every trace without asking a plug-in, as when the whole machine goes. */
  async discard(): Promise<void> {
    if (this.#pod.spec.hostNetwork !== true) await deleteNamespace(this.namespace);
    await this.#removeRecord();
    await rm(this.logDirectory, { recursive: true, force: true });
  }

  async #attach(): Promise<void> {
    const configuration = await readNetworkConfiguration(this.#host.cni.confDirectory);
    if (configuration === undefined) {
      throw new LabError(
        "LAB_CNI_FAILED",
        `cni plugin not initialized: no network configuration in ${this.#host.cni.confDirectory}; the node's agent writes it when it starts`,
      );
    }
    await this.#removeRemains(configuration);
    await deleteNamespace(this.namespace);
    await runChecked(["ip", "netns", "add", this.namespace]);
    const attachment: Attachment = {
      containerId: randomBytes(32).toString("hex"),
      netns: namespacePath(this.namespace),
      ifname: "eth0",
      podNamespace: this.#pod.metadata.namespace ?? "default",
      podName: this.#pod.metadata.name,
      podUid: this.#pod.metadata.uid,
    };
    try {
      await runChecked(["ip", "-n", this.namespace, "link", "set", "lo", "up"]);
      this.#result = await cniAdd(this.#host.cni, configuration, attachment);
      this.#attachment = attachment;
      this.#configuration = configuration;
    } catch (error) {
      // A runtime calls DEL after a failed ADD; that this fails too changes nothing about the reason, but it has to be repeated.
      await cniDel(this.#host.cni, configuration, attachment).catch(() => this.#remains.push(attachment));
      await deleteNamespace(this.namespace);
      throw error;
    }
  }

  /** An ADD that failed left no configuration to keep: today's is asked, which may be the one that was mended. */
  async #removeRemains(configuration: NetworkConfiguration): Promise<void> {
    for (let first = this.#remains[0]; first !== undefined; first = this.#remains[0]) {
      await cniDel(this.#host.cni, configuration, first);
      this.#remains.shift();
    }
  }

  // A pod that was deleted by force may have a successor of the same name already.
  async #removeRecord(): Promise<void> {
    const text = await readFile(this.#recordFile(), "utf8").catch(() => undefined);
    if (text === undefined || (JSON.parse(text) as PodRecord).uid !== this.#pod.metadata.uid) return;
    await rm(this.#recordFile(), { force: true });
  }

  #recordFile(): string {
    return recordFile(this.#host.recordsDirectory, this.#pod.metadata.namespace ?? "default", this.#pod.metadata.name);
  }
}
