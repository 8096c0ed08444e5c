/** A cluster that has nothing but an API server and agents without switches, for what addresses cost. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { owner, ownerKey } from "../../packages/agent/src/switch/database.ts";
import { CommandError, printed, run, until, type Running, type Site } from "../environment/site.ts";
import type { AddressAgentOrder } from "./address-agent.ts";
import type { AllocationOrder, AllocationReport } from "./address-agents.ts";
import { BenchApiServer } from "./api-server.ts";
import type { Manifest } from "./recorded.ts";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";
const HOST = "127.0.0.1";
/** Pods that a kubelet starts at a time. */
const PARALLEL = 8;

/** How pods ask for their addresses: nothing, an address of their own, a pool. */
export type Manner = "ordinary" | "fixed" | "pool";

/** A real API server, and agents that share one process. */
export class AddressCluster {
  readonly agents: number;
  readonly #site: Site;
  readonly #api: BenchApiServer;
  readonly #process: Running;
  readonly #lines: Interface;
  readonly #databases: readonly Running[];
  #round = 0;

  private constructor(site: Site, api: BenchApiServer, agents: number, child: Running, databases: readonly Running[]) {
    this.agents = agents;
    this.#site = site;
    this.#api = api;
    this.#process = child;
    this.#databases = databases;
    this.#lines = createInterface({ input: child.stdout });
  }

  /** Returns when every agent owns a block. */
  static async start(site: Site, agents: number): Promise<AddressCluster> {
    const namespace = site.addNamespace(`ipam${agents}`);
    const api = await BenchApiServer.startReal(site, namespace, HOST);
    const names = Array.from({ length: agents }, (_, at) => `agent-${at}`);
    await api.load([...cluster(), ...names.map(node)]);
    const databases: Running[] = [];
    const orders: AddressAgentOrder[] = [];
    for (const name of names) {
      const { child, database } = await startDatabase(site, namespace, name);
      databases.push(child);
      orders.push({ node: name, kubeconfig: api.kubeconfig, database });
    }
    const file = join(site.addDirectory("agents"), "orders.json");
    writeFileSync(file, JSON.stringify(orders));
    const program = join(import.meta.dirname, "address-agents.ts");
    const child = site.start(namespace, [process.execPath, program, file]);
    await printed(child, "ready", "agents");
    return new AddressCluster(site, api, agents, child, databases);
  }

  /** Has every agent give so many new pods an address; tells how many requests that took. */
  async allocate(manner: Manner, podsPerAgent: number): Promise<AllocationReport & { readonly requests: number }> {
    const round = this.#round++;
    const prefix = `r${round}-`;
    if (manner === "pool") await this.#api.load([pool(round)]);
    await this.#api.load(pods(prefix, round, manner, this.agents, podsPerAgent));
    const before = this.#api.requests();
    const order: AllocationOrder = { prefix, podsPerAgent, parallel: PARALLEL };
    const answer = new Promise<string>((resolve, reject) => {
      this.#lines.once("line", resolve);
      this.#process.once("exit", () => reject(new CommandError("the agents ended before they answered")));
    });
    this.#process.stdin.write(`${JSON.stringify(order)}\n`);
    const report = JSON.parse(await answer) as AllocationReport;
    if (report.failures.length > 0) {
      throw new CommandError(`${report.failures.length} ${manner} allocations failed: ${report.failures[0]}`);
    }
    return { ...report, requests: this.#api.requests() - before };
  }

  async stop(): Promise<void> {
    this.#lines.close();
    for (const child of [this.#process, ...this.#databases]) await this.#site.stop(child);
    await this.#api.stop();
  }
}

/** An OVSDB with a bridge, in which an agent remembers what it promised. */
async function startDatabase(
  site: Site,
  namespace: string,
  name: string,
): Promise<{ child: Running; database: string }> {
  const directory = site.addDirectory(name);
  const file = join(directory, "conf.db");
  const socket = join(directory, "db.sock");
  run(["ovsdb-tool", "create", file, SCHEMA]);
  const child = site.start(
    namespace,
    [
      "ovsdb-server",
      `--remote=punix:${socket}`,
      "-vconsole:off",
      "--no-chdir",
      `--unixctl=${join(directory, "ctl")}`,
      file,
    ],
    { OVS_RUNDIR: directory },
  );
  await until("ovsdb-server", 20_000, () => existsSync(socket));
  run([
    "ovs-vsctl",
    `--db=unix:${socket}`,
    "--no-wait",
    "init",
    "--",
    "add-br",
    "br-int",
    "--",
    "set",
    "bridge",
    "br-int",
    `external_ids:"${ownerKey}"=${owner}`,
  ]);
  return { child, database: `unix:${socket}` };
}

const apiVersion = "beyondfabric.io/v1alpha1";

function* cluster(): Generator<Manifest> {
  yield {
    apiVersion,
    kind: "Network",
    metadata: { name: "overlay" },
    spec: { type: "Overlay", encapsulation: "VXLAN", vni: 1 },
  };
  yield {
    apiVersion,
    kind: "Subnet",
    metadata: { name: "default" },
    spec: { network: "overlay", cidrs: ["10.64.0.0/10"], default: true },
  };
}

function node(name: string): Manifest {
  return { apiVersion: "v1", kind: "Node", metadata: { name }, spec: {} };
}

/** Addresses of a round: each has a /16 of its own, above those that blocks are claimed from. */
function addressOf(round: number, at: number): string {
  return `10.${96 + (round % 32)}.${at >> 8}.${at & 255}`;
}

function pool(round: number): Manifest {
  const addresses = [`${addressOf(round, 256)}-${addressOf(round, 256 + 4095)}`];
  return { apiVersion, kind: "IPPool", metadata: { name: `pool-${round}` }, spec: { subnet: "default", addresses } };
}

function* pods(prefix: string, round: number, manner: Manner, agents: number, each: number): Generator<Manifest> {
  for (let at = 0; at < agents * each; at++) {
    const annotations = {
      ...(manner === "fixed" ? { "beyondfabric.io/ip": addressOf(round, 256 + at) } : {}),
      ...(manner === "pool" ? { "beyondfabric.io/ip-pool": `pool-${round}` } : {}),
    };
    yield {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `${prefix}${at}`, namespace: "default", annotations },
      spec: { nodeName: `agent-${at % agents}`, containers: [{ name: "main", image: "none" }] },
    };
  }
}
