/**
 * An agent without a switch: the directory, the address service, the claims and what is published about them are those of
 * `fabric-node`, with an API server and an OVSDB of its own; only the interfaces are missing, and remembered here.
 */
import { EventRecorder, KubeClient, loadKubeconfig } from "@beyondfabric/kube";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { assembleAddresses, type AddressAssembly } from "../../packages/agent/src/addresses/assembly.ts";
import type { PodPort } from "../../packages/agent/src/attachment/ports.ts";
import { parseConfig } from "../../packages/agent/src/config.ts";
import { Directory } from "../../packages/agent/src/directory/directory.ts";
import type { OwnPodRecord } from "../../packages/agent/src/directory/records.ts";
import { createLogger } from "../../packages/agent/src/log.ts";
import type { Machine } from "../../packages/agent/src/machine.ts";
import { Membership } from "../../packages/agent/src/membership.ts";
import { monitoredTables, type SwitchTables } from "../../packages/agent/src/switch/database.ts";
import { View } from "../../packages/agent/src/view.ts";

/** How often the agent looks after what is not urgent, and publishes (ms); as `fabric-node` does. */
const TEND = 5000;
const PUBLISH = 1000;

/** What makes an agent. */
export interface AddressAgentOrder {
  readonly node: string;
  readonly kubeconfig: string;
  /** `unix:` and the path of its OVSDB. */
  readonly database: string;
}

export class AddressAgent {
  readonly node: string;
  readonly #client: KubeClient;
  readonly #database: OvsdbClient;
  readonly #cache: Cache<SwitchTables>;
  readonly #directory: Directory;
  readonly #membership: Membership;
  readonly #addressing: AddressAssembly;
  readonly #ports = new Map<string, PodPort>();
  readonly #timers: NodeJS.Timeout[] = [];

  constructor({ node, kubeconfig, database }: AddressAgentOrder) {
    this.node = node;
    const text = JSON.stringify({ nodeName: node, kubeconfig, ovs: { database }, log: { level: "error" } });
    const config = parseConfig(text, `agent of ${node}`);
    const logger = createLogger("error", node);
    const view = new View(node);
    this.#client = new KubeClient(loadKubeconfig(kubeconfig));
    this.#database = new OvsdbClient({ address: database, logger });
    this.#cache = this.#database.monitor<SwitchTables>(monitoredTables);
    const recorder = new EventRecorder({ client: this.#client, component: "fabric-node", node, onError: () => {} });
    this.#addressing = assembleAddresses({
      config,
      client: this.#client,
      recorder,
      database: this.#database,
      cache: this.#cache,
      view,
      logger,
      directory: () => this.#directory,
      machine: () => ({ mtuOf: () => 1450 }) as unknown as Machine,
      membership: () => this.#membership,
      ports: () => this.#ports.values(),
      onChange: () => {},
      onBlocks: () => {},
    });
    const { addresses } = this.#addressing;
    this.#directory = new Directory({
      client: this.#client,
      view,
      logger,
      onSelf: (self) => this.#membership.knowSelf(self),
      onBlock: (block) => this.#membership.knowBlock(block),
      onClaim: (claim) => this.#membership.knowClaim(claim),
      onOwnPod: () => addresses.podsChanged(),
      onNamespace: () => addresses.podsChanged(),
      onTopology: () => this.#membership.takeTopology(),
      onViolation: (kind, name, message) => logger.error({ kind, name }, message),
      onPolicyViolation: ({ name }, message) => logger.error({ policy: name }, message),
      onSynced: () => addresses.podsChanged(),
    });
    this.#membership = new Membership({
      ...this.#addressing,
      networks: { setTopology: () => {}, locate: (facts) => [...facts], states: () => new Map(), violations: [] },
      config,
      client: this.#client,
      events: recorder,
      view,
      logger,
      directory: () => this.#directory,
      tunnelAddress: () => undefined,
      onChange: () => {},
    });
  }

  /** Resolves when it owns blocks. */
  async start(): Promise<void> {
    void this.#database.start();
    await until(() => this.#cache.synchronised);
    const { addresses, memory } = this.#addressing;
    addresses.restore(memory.restore(), [], [], "");
    this.#directory.start();
    await until(() => this.#directory.synced && addresses.keeper !== undefined);
    await this.#membership.ensureBlocks();
    addresses.nodeAddresses();
    this.#timers.push(
      setInterval(() => void this.#membership.tend(), TEND),
      setInterval(() => void this.#membership.publish().catch(() => {}), PUBLISH),
    );
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#directory.stop();
    await this.#database.stop();
    await this.#client.close();
  }

  /** The pods of this node whose names begin so, once the watch shows all of them. */
  async pods(prefix: string, count: number): Promise<OwnPodRecord[]> {
    const found = (): OwnPodRecord[] => [...this.#directory.ownPods()].filter(({ name }) => name.startsWith(prefix));
    await until(() => found().length === count);
    return found();
  }

  /** What happens inside ADD about the address of a pod; milliseconds. */
  async allocate({ namespace, name, uid }: OwnPodRecord): Promise<number> {
    const begin = performance.now();
    const container = `c-${uid}`;
    const given = await this.#addressing.addresses.allocate({ namespace, name, uid, container });
    const milliseconds = performance.now() - begin;
    const { addresses, subnet, mac, mtu, claimed } = given;
    this.#ports.set(uid, {
      container,
      ifname: "eth0",
      netns: "",
      namespace,
      name,
      uid,
      mac,
      addresses,
      subnet,
      hostInterface: "",
      ofport: 0,
      mtu,
      created: Date.now(),
      held: [],
      routed: [],
      claimed,
    });
    return milliseconds;
  }
}

/** Asks every few milliseconds until it is so; fails after a minute. */
async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error("what an agent waits for did not happen within a minute");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
