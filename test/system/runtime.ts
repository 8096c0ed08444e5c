/** A container runtime in a test's hands: calls the CNI executable of a node directly, and counts what calls left behind. */
import { existsSync } from "node:fs";
import { entryKind, run, type Lab, type Outcome } from "./lab.ts";

export interface CniCall {
  readonly container: string;
  readonly ifname?: string;
  readonly netns?: string;
  readonly pod?: string;
  /** Standard input as it is; absent: the configuration that is installed on the node, with `config` laid over it. */
  readonly stdin?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Laid over the environment; an empty text takes a variable away. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface CniAnswer extends Outcome {
  /** The object on standard output; empty when there is none. */
  readonly object: {
    readonly code?: number;
    readonly msg?: string;
    readonly details?: string;
    readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
    readonly [field: string]: unknown;
  };
  readonly milliseconds: number;
}

/** What exists on a node because of pods. Two of these are equal when nothing was left behind. */
export interface Belongings {
  readonly veths: readonly string[];
  readonly ports: readonly string[];
  readonly podEntries: number;
  readonly meters: number;
  /** Addresses in use by block, and pods; undefined when the agent does not answer. */
  readonly agent: { readonly used: Readonly<Record<string, number>>; readonly endpoints: number } | undefined;
}

export class Runtime {
  readonly #lab: Lab;
  readonly #node: string;
  readonly #namespaces: string[] = [];

  constructor(lab: Lab, node: string) {
    this.#lab = lab;
    this.#node = node;
  }

  /** Makes a network namespace for a container and returns its path. `down` of the lab takes it away too. */
  async namespace(): Promise<string> {
    const digits = Math.floor(Math.random() * 0x1_0000_0000).toString(16);
    const name = `${this.#lab.name}-pod-${digits.padStart(8, "0")}`;
    const made = await run("ip", ["netns", "add", name]);
    if (made.code !== 0) throw new Error(made.stderr);
    this.#namespaces.push(name);
    return `/run/netns/${name}`;
  }

  /** Runs a command in a namespace of {@link namespace}. */
  inside(netns: string, ...command: string[]): Promise<Outcome> {
    return run("ip", ["netns", "exec", netns.slice("/run/netns/".length), ...command]);
  }

  async removeNamespaces(): Promise<void> {
    for (const name of this.#namespaces.splice(0)) {
      if (existsSync(`/run/netns/${name}`)) await run("ip", ["netns", "delete", name]);
    }
  }

  async call(command: string, given: CniCall): Promise<CniAnswer> {
    const { container, netns, ifname = "eth0", pod = `default/${container}` } = given;
    const [namespace, name] = pod.split("/", 2);
    const installed = { cniVersion: "1.1.0", name: "beyondfabric", type: "fabric-cni", socket: this.#path("cni.sock") };
    const variables = Object.entries({
      PATH: process.env["PATH"] ?? "",
      CNI_COMMAND: command,
      CNI_CONTAINERID: container,
      CNI_IFNAME: ifname,
      CNI_NETNS: netns ?? "",
      CNI_PATH: this.#path("cni/bin"),
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_UID=uid-${container}`,
      ...given.env,
    });
    const begun = performance.now();
    const outcome = await run(
      "nsenter",
      [`--net=/run/netns/${this.#lab.name}-${this.#node}`, "--", this.#path("cni/bin/fabric-cni")],
      130_000,
      {
        input: given.stdin ?? JSON.stringify({ ...installed, ...given.config }),
        env: Object.fromEntries(variables.filter(([, value]) => value !== "")),
      },
    );
    const milliseconds = Math.round(performance.now() - begun);
    const object = outcome.stdout.trim() === "" ? {} : (JSON.parse(outcome.stdout) as CniAnswer["object"]);
    return { ...outcome, object, milliseconds };
  }

  /** An ADD that must succeed; returns the addresses without prefix lengths. */
  async add(given: CniCall): Promise<string[]> {
    const answer = await this.call("ADD", given);
    if (answer.code !== 0) throw new Error(`ADD ${given.container}: ${answer.stdout}${answer.stderr}`);
    return (answer.object.ips ?? []).map(({ address }) => address.split("/", 1)[0]!);
  }

  async belongings(): Promise<Belongings> {
    const lab = this.#lab;
    const links = await lab.node(this.#node, "ip", "-json", "link", "show", "type", "veth");
    const ports = await lab.node(this.#node, "ovs-vsctl", "--timeout=10", "list-ports", "br-int");
    const target = `unix:${this.#path("ovs/br-int.mgmt")}`;
    const meters = await lab.node(this.#node, "ovs-ofctl", "-O", "OpenFlow15", "dump-meters", target);
    for (const each of [links, ports, meters]) if (each.code !== 0) throw new Error(each.stderr);
    const flows = await lab.flows(this.#node);
    return {
      veths: (JSON.parse(links.stdout || "[]") as { ifname: string }[]).map(({ ifname }) => ifname).sort(),
      ports: ports.stdout.split("\n").filter(Boolean).sort(),
      podEntries: flows.filter((line) => entryKind(line) === "pod").length,
      meters: meters.stdout.match(/^meter=/gm)?.length ?? 0,
      agent: await this.#agentBelongings(),
    };
  }

  async #agentBelongings(): Promise<Belongings["agent"]> {
    const endpoints = await this.#lab.fabricctl(this.#node, "endpoints", "-o", "json");
    if (endpoints.code !== 0) return undefined;
    const { addresses } = await this.#lab.status(this.#node);
    return {
      used: Object.fromEntries(addresses.filter(({ used }) => used > 0).map(({ block, used }) => [block, used])),
      endpoints: (JSON.parse(endpoints.stdout) as { endpoints: unknown[] }).endpoints.length,
    };
  }

  #path(file: string): string {
    return this.#lab.path(this.#node, file);
  }
}
