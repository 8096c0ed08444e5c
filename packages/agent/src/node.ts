/**
 * One node: everything that the other files of the agent offer, put together. State that matters is declared and
 * converged upon: whatever happens (a daemon that dies, an object that changes, a timer), one loop compares what should
 * be with what is, step by step, and remembers what is still wrong.
 */
import { createHash, randomInt } from "node:crypto";
import { CniServer } from "@beyondfabric/cni";
import { EventRecorder, inClusterConfig, KubeClient, loadKubeconfig, nodeResource } from "@beyondfabric/kube";
import { addressBlockKind, addressBlockName, type AddressBlock } from "@beyondfabric/kube/kinds";
import { RouteSocket } from "@beyondfabric/link";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { formatCidr, type Ip } from "@beyondfabric/packet";
import { AddressService } from "./addresses.ts";
import { ApiServer } from "./api/server.ts";
import { ApiAnswers } from "./api/answers.ts";
import { AttachmentService } from "./attachment/service.ts";
import { localPortOf } from "./attachment/ports.ts";
import type { AgentConfig } from "./config.ts";
import { blockStore, freeBlocks } from "./directory/block-store.ts";
import { Directory } from "./directory/directory.ts";
import { podMtu, topologyOf, type Topology } from "./directory/networks.ts";
import { gatewayAddressesAnnotation, tunnelAddressAnnotation } from "./directory/records.ts";
import { AgentError } from "./errors.ts";
import { HostNetwork, type UplinkAddresses } from "./host/network.ts";
import { BlockGarbage } from "./ipam/garbage.ts";
import { networksOf, readLocalState, subnetsOf, writeLocalState, type LocalState } from "./local-state.ts";
import type { Logger } from "./log.ts";
import { NoiseWatch } from "./noise.ts";
import { Reactor } from "./reactor/reactor.ts";
import { BridgeSession } from "./switch/bridge-session.ts";
import {
  declareSwitch,
  hostInterfaceName,
  tunnelInterfaceName,
  type SwitchDeclaration,
  type SwitchTables,
} from "./switch/database.ts";
import { monitoredTables, uplinkBridgeName } from "./switch/database.ts";
import { TunnelNeighbours } from "./switch/tunnel-neighbours.ts";
import { unixctl } from "./switch/unixctl.ts";
import { UplinkSession } from "./switch/uplink-session.ts";
import { View, type ClusterNode } from "./view.ts";

const convergeMilliseconds = 5000;
/** A node that is ready gathers changes for so long (ms): pods that come and go make many, and wait for none of this. */
const calmMilliseconds = 50;
const reconcileMilliseconds = 30_000;
const neighbourMilliseconds = 60_000;
const garbage = { graceMilliseconds: 10_000, stepMilliseconds: 10_000 };

export class FabricNode {
  readonly #config: AgentConfig;
  readonly #logger: Logger;
  readonly #view: View;
  readonly #kernel: RouteSocket;
  readonly #host: HostNetwork;
  readonly #database: OvsdbClient;
  readonly #cache: Cache<SwitchTables>;
  readonly #client: KubeClient;
  readonly #events: EventRecorder;
  readonly #reactor: Reactor;
  readonly #session: BridgeSession;
  readonly #uplink: UplinkSession | undefined;
  readonly #neighbours: TunnelNeighbours | undefined;
  readonly #addresses: AddressService;
  readonly #attachments: AttachmentService;
  readonly #directory: Directory;
  readonly #cni: CniServer;
  readonly #api: ApiServer;
  readonly #noise: NoiseWatch;
  readonly #timers: NodeJS.Timeout[] = [];
  /** What is wrong now, by the step that found it. */
  readonly #problems = new Map<string, string>();
  readonly #startedAt = Date.now();
  #self: ClusterNode | undefined;
  #blockGarbage: BlockGarbage | undefined;
  #topology: Topology = { subnets: [], facts: [], overlay: undefined, vnis: [], violations: [] };
  #topologyTold = false;
  #rawNetworks: readonly unknown[] = [];
  #rawSubnets: readonly unknown[] = [];
  #tunnelAddress: Ip | undefined;
  #switchVersion: string | undefined;
  #nicMac: string | undefined;
  #linkMtu = 1500;
  #restored = false;
  /** The bridge of the configured name was made by us: until then nothing on this node is touched. */
  #bridgeIsOurs = false;
  #hostReady = false;
  #converging = false;
  #convergeAgain = false;
  #uplinkAddresses: UplinkAddresses | undefined;
  readonly #writtenUsage = new Map<string, number>();
  #stopping = false;

  constructor(config: AgentConfig, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
    this.#view = new View(config.nodeName);
    this.#kernel = RouteSocket.open();
    this.#host = new HostNetwork(this.#kernel, logger);
    this.#client = new KubeClient(
      config.kubeconfig === undefined ? inClusterConfig() : loadKubeconfig(config.kubeconfig),
    );
    this.#events = new EventRecorder({
      client: this.#client,
      component: "fabric-node",
      node: config.nodeName,
      onError: (error) => logger.debug({ err: error }, "event not posted"),
    });
    this.#database = new OvsdbClient({ address: config.ovs.database, logger });
    this.#cache = this.#database.monitor<SwitchTables>(monitoredTables);
    const userspace = config.ovs.datapathType === "netdev";
    this.#neighbours = userspace
      ? new TunnelNeighbours({
          runDirectory: config.ovs.runDirectory,
          kernelNeighbour: (dev, address) => this.#host.neighbour(dev, address),
          onReady: (destination) => this.#reactor.tunnelReady(destination),
          onError: (error) => logger.debug({ err: error }, "tunnel neighbour not known"),
        })
      : undefined;
    this.#reactor = new Reactor({
      facts: this.#view,
      ...(this.#neighbours === undefined ? {} : { gate: this.#neighbours }),
      limits: {
        entries: config.limits.entries,
        idleMilliseconds: config.limits.idleSeconds * 1000,
        heldPerPort: config.limits.heldPerPort,
        holdMilliseconds: config.limits.holdMilliseconds,
        coalesceMilliseconds: 2,
        entriesPerSecond: 50,
      },
      sink: { send: (frame) => this.#session.send(frame) },
      now: () => performance.now(),
      firstId: randomInt(1, 2 ** 32),
      onUndecodable: (error) => logger.warn({ err: error }, "a packet-in could not be read"),
    });
    this.#view.onChange((keys) => this.#reactor.factsChanged(keys));
    this.#session = new BridgeSession({
      runDirectory: config.ovs.runDirectory,
      bridge: config.ovs.bridge,
      limits: { perPort: config.limits.missesPerSecondPerPort, tunnel: config.limits.missesPerSecondTunnel },
      reactor: this.#reactor,
      logger,
      onReady: () => {
        this.#neighbours?.forgetAll(this.#reactor.tunnelsInUse());
        void this.#askSwitchVersion();
        this.#convergeSoon();
      },
      onLost: (reason) => logger.warn({ reason }, "lost the switch"),
    });
    this.#uplink =
      userspace && config.tunnel !== undefined
        ? new UplinkSession({
            runDirectory: config.ovs.runDirectory,
            bridge: uplinkBridgeName(config.tunnel.interface),
            logger,
          })
        : undefined;
    this.#addresses = new AddressService({
      store: blockStore(this.#client),
      logger,
      now: () => performance.now(),
      onChange: () => this.#convergeSoon(),
      mtuOf: () => this.#podMtu(),
    });
    this.#attachments = new AttachmentService({
      database: this.#database,
      cache: this.#cache,
      kernel: { node: this.#kernel },
      bridge: config.ovs.bridge,
      datapathType: config.ovs.datapathType,
      addresses: this.#addresses,
      entries: this.#session,
      facts: this.#view,
      notReady: () => this.notReady(),
      logger,
      now: () => Date.now(),
    });
    this.#directory = new Directory({
      client: this.#client,
      view: this.#view,
      logger,
      onSelf: (node) => this.#knowSelf(node),
      onBlock: (block, gone) => this.#knowBlock(block, gone),
      onTopology: () => this.#takeTopology(),
      onViolation: (kind, name, message) => this.#report(kind, name, message),
      onSynced: () => {
        this.#dropLostBlocks();
        this.#view.setComplete();
        this.#reactor.revalidateAll();
        this.#convergeSoon();
      },
    });
    this.#noise = new NoiseWatch({
      session: this.#session,
      reactor: this.#reactor,
      ports: () => this.#attachments.ports(),
      events: this.#events,
      logger,
      missesPerSecond: config.limits.missesPerSecondPerPort,
    });
    this.#cni = new CniServer({ socketPath: config.cni.socket, attachments: this.#attachments, logger });
    this.#api = new ApiServer({
      socket: config.api.socket,
      healthAddress: config.api.healthAddress,
      logger,
      source: new ApiAnswers({
        config,
        startedAt: this.#startedAt,
        notReady: () => this.notReady(),
        session: this.#session,
        reactor: this.#reactor,
        view: this.#view,
        cache: this.#cache,
        addresses: this.#addresses,
        attachments: this.#attachments,
        noise: this.#noise,
        api: () => ({ connected: this.#directory.connected, synced: this.#directory.synced }),
        tunnelAddress: () => this.#tunnelAddress,
        switchVersion: () => this.#switchVersion,
      }),
    });
  }

  /** Starts everything that can start; the rest follows as its parts appear. */
  async start(): Promise<void> {
    await this.#api.start();
    this.#cache.on("update", () => this.#convergeSoon());
    this.#database.on("connected", () => this.#convergeSoon());
    void this.#database.start().catch((error: unknown) => {
      this.#logger.warn({ err: error }, "Open vSwitch is not there yet");
    });
    await this.#cni.listen();
    this.#directory.start();
    this.#every(convergeMilliseconds, () => this.#convergeSoon());
    this.#every(reconcileMilliseconds, () => {
      void this.#session.reconcileNow();
      void this.#uplink?.reconcile();
    });
    this.#every(neighbourMilliseconds, () => this.#neighbours?.refresh(this.#reactor.tunnelsInUse()));
    this.#every(100, () => this.#reactor.tick());
    this.#every(2000, () => void this.#noise.look());
    this.#every(5000, () => void this.#collectGarbage());
    void this.#ageForEver();
    this.#logger.info({ socket: this.#config.cni.socket }, "fabric-node started");
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#cni.close();
    await this.#api.stop();
    await this.#directory.stop();
    await this.#session.stop();
    await this.#uplink?.stop();
    this.#neighbours?.stop();
    await this.#database.stop();
    await this.#client.close();
    await this.#kernel.close();
  }

  /** Why the node cannot take pods, one sentence each; empty when it can. */
  notReady(): readonly string[] {
    // What needs the API server waits for it without making the node unready: it serves what it has.
    const reasons = [...this.#problems].filter(([step]) => !quietSteps.has(step)).map(([, message]) => message);
    if (!this.#database.connected && !this.#restored) {
      reasons.unshift(
        `the Open vSwitch database at ${this.#config.ovs.database} does not answer: ${this.#database.lastError?.message ?? "connecting"}; start ovsdb-server and ovs-vswitchd`,
      );
      return reasons;
    }
    if (!this.#restored) return ["the state of this node is being read", ...reasons];
    if (!this.#session.ready)
      reasons.push(`bridge ${this.#config.ovs.bridge} does not answer; is ovs-vswitchd running?`);
    const addresses = this.#addresses.problem;
    if (addresses !== undefined) reasons.push(addresses);
    if (!this.#hostReady && reasons.length === 0) reasons.push("the node's own network is being set up");
    return reasons;
  }

  /** The database may not name it, and need not be right: the daemon itself is asked. */
  async #askSwitchVersion(): Promise<void> {
    try {
      const text = await unixctl({ runDirectory: this.#config.ovs.runDirectory }, "version");
      this.#switchVersion = /\d+\.\d+\.\d+/.exec(text)?.[0];
    } catch (error) {
      this.#logger.debug({ err: error }, "version of the switch not known");
    }
  }

  #every(milliseconds: number, run: () => void): void {
    this.#timers.push(setInterval(run, milliseconds));
  }

  #convergeSoon(): void {
    if (this.#stopping) return;
    if (this.#converging) {
      this.#convergeAgain = true;
      return;
    }
    this.#converging = true;
    setTimeout(
      () => {
        void this.#converge().finally(() => {
          this.#converging = false;
          if (!this.#convergeAgain) return;
          this.#convergeAgain = false;
          this.#convergeSoon();
        });
      },
      this.notReady().length === 0 ? calmMilliseconds : 5,
    );
  }

  async #converge(): Promise<void> {
    if (!this.#cache.synchronised) return;
    await this.#step("restore", () => this.#restore());
    this.#attachments.refresh();
    await this.#step("switch", () => this.#declare());
    if (!this.#bridgeIsOurs) return;
    await this.#step("uplink", () => this.#ensureUplink());
    await this.#step("blocks", () => this.#ensureBlocks());
    await this.#step("entries", () => this.#ensureEntries());
    await this.#step("host", () => this.#ensureHost());
    await this.#step("publish", () => this.#publish());
    await this.#step("remember", () => this.#remember());
  }

  async #step(name: string, run: () => Promise<void> | void): Promise<void> {
    try {
      await run();
      this.#problems.delete(name);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (this.#problems.get(name) !== message) this.#logger.warn({ err: error, step: name }, "not as declared yet");
      this.#problems.set(name, message);
    }
  }

  /** Once per life: what OVSDB remembers of pods, blocks and subnets. */
  #restore(): void {
    if (this.#restored) return;
    const state = readLocalState(this.#cache, this.#config.ovs.bridge);
    if (state !== undefined) {
      this.#tunnelAddress = state.tunnelAddress;
      this.#uplinkAddresses = state.uplink;
      if (!this.#topologyTold) {
        this.#rawNetworks = state.networks;
        this.#rawSubnets = state.subnets;
        this.#useTopology(topologyOf(networksOf(state), subnetsOf(state)));
      }
      for (const { subnet, cidr } of state.blocks) {
        this.#view.setBlock({ cidr, node: this.#config.nodeName });
        this.#addresses.addOwnBlock(subnet, cidr);
      }
    }
    const ports = this.#attachments.restore();
    this.#addresses.restore(ports, state?.nodeAddresses ?? []);
    this.#session.restorePods(ports.map(localPortOf));
    this.#restored = true;
    this.#logger.info({ pods: ports.length, blocks: state?.blocks.length ?? 0 }, "restored from OVSDB");
  }

  async #declare(): Promise<void> {
    const { uplink } = this.#declaration();
    if (uplink !== undefined) {
      const nic = await this.#host.interfaceFacts(uplink.nic);
      if (nic === undefined) {
        throw new AgentError(
          "AGENT_TUNNEL_INTERFACE",
          `tunnel.interface names ${uplink.nic}, which does not exist on this node; name an interface that \`ip link\` shows`,
        );
      }
      this.#nicMac = nic.mac;
    }
    try {
      await this.#database.transactWithRetry<SwitchTables>((cache) => declareSwitch(cache, this.#declaration()));
      this.#bridgeIsOurs = true;
    } catch (error) {
      if (error instanceof AgentError && error.code === "AGENT_BRIDGE_TAKEN") this.#bridgeIsOurs = false;
      throw error;
    }
    for (const name of [hostInterfaceName, tunnelInterfaceName, uplink?.nic]) {
      const row = this.#cache.find("Interface", (candidate) => candidate.name === name);
      if (row?.error !== undefined)
        throw new AgentError("AGENT_PORT_REFUSED", `the switch refuses interface ${name}: ${row.error}`);
    }
    this.#session.start();
    this.#uplink?.start();
  }

  #declaration(): SwitchDeclaration {
    const { ovs, tunnel, nodeName } = this.#config;
    const { overlay } = this.#topology;
    return {
      bridge: ovs.bridge,
      datapathType: ovs.datapathType,
      hostMac: hostMacOf(nodeName),
      mtu: overlay === undefined ? undefined : this.#podMtu(),
      tunnel: overlay === undefined ? undefined : { type: tunnelTypes[overlay.encapsulation], port: overlay.port ?? 0 },
      uplink:
        ovs.datapathType === "netdev" && tunnel !== undefined
          ? { bridge: uplinkBridgeName(tunnel.interface), nic: tunnel.interface, mac: this.#nicMac }
          : undefined,
    };
  }

  async #ensureUplink(): Promise<void> {
    const { tunnel, ovs } = this.#config;
    if (tunnel === undefined) return;
    if (ovs.datapathType === "netdev") {
      const bridge = uplinkBridgeName(tunnel.interface);
      this.#uplinkAddresses =
        (await this.#host.ensureUplink(tunnel.interface, bridge, this.#uplinkAddresses)) ?? this.#uplinkAddresses;
    }
    const carrier = ovs.datapathType === "netdev" ? uplinkBridgeName(tunnel.interface) : tunnel.interface;
    const facts = await this.#host.interfaceFacts(carrier);
    this.#linkMtu = facts?.mtu ?? this.#linkMtu;
    const address = tunnel.address ?? facts?.ipv4;
    if (address === undefined) {
      throw new AgentError(
        "AGENT_TUNNEL_INTERFACE",
        `interface ${carrier} has no IPv4 address for tunnels; give it one, or set tunnel.address`,
      );
    }
    this.#tunnelAddress = address;
  }

  async #ensureBlocks(): Promise<void> {
    if (this.#self !== undefined && this.#directory.synced) await this.#addresses.ensureBlocks();
  }

  #ensureEntries(): void {
    const host = this.#cache.find("Interface", (row) => row.name === hostInterfaceName);
    const tunnel = this.#cache.find("Interface", (row) => row.name === tunnelInterfaceName);
    const hostPort = host?.ofport;
    const tunnelPort = tunnel?.ofport;
    if (hostPort === undefined || hostPort < 0 || host?.mac_in_use === undefined) return;
    this.#session.setBase({
      ports: { host: hostPort, tunnel: tunnelPort ?? 0, hostMac: host.mac_in_use },
      gateways: this.#topology.facts.map(({ gateway }) => gateway),
      vnis: tunnelPort === undefined || tunnelPort < 0 ? [] : this.#topology.vnis,
      metered: this.#session.metered,
    });
  }

  async #ensureHost(): Promise<void> {
    const nodeAddresses = this.#addresses.nodeAddresses();
    if (nodeAddresses.length === 0) return;
    this.#view.setNode({
      name: this.#config.nodeName,
      uid: this.#self?.uid ?? "",
      gatewayAddresses: nodeAddresses,
      ...(this.#tunnelAddress === undefined ? {} : { tunnelAddress: this.#tunnelAddress }),
    });
    this.#hostReady = await this.#host.ensure({
      hostInterface: hostInterfaceName,
      captured: this.#declaration().uplink?.nic,
      mtu: this.#podMtu(),
      nodeAddresses,
      subnets: this.#topology.subnets.flatMap(({ families, natOutgoing }) =>
        families.map(({ cidr, gateway }) => ({ cidr, gateway, natOutgoing })),
      ),
    });
  }

  /** Tells the other nodes where this one is, and the API how full its blocks are. */
  async #publish(): Promise<void> {
    const nodeAddresses = this.#addresses.nodeAddresses();
    if (this.#self === undefined || !this.#directory.synced) return;
    const gateways = nodeAddresses.join(",");
    if (
      nodeAddresses.length > 0 &&
      (this.#self.tunnelAddress !== this.#tunnelAddress || this.#self.gatewayAddresses.join(",") !== gateways)
    ) {
      const annotations = {
        [tunnelAddressAnnotation]: this.#tunnelAddress ?? null,
        [gatewayAddressesAnnotation]: gateways,
      };
      await this.#client.patch(nodeResource, this.#config.nodeName, { metadata: { annotations } });
    }
    for (const { block, used } of this.#addresses.usage()) {
      if (this.#writtenUsage.get(block) === used) continue;
      const cidr = this.#addresses.ownBlocks.find((each) => formatCidr(each.cidr) === block)?.cidr;
      if (cidr === undefined) continue;
      const patch = { status: { used } };
      await this.#client.patch(addressBlockKind, addressBlockName(cidr), patch, { subresource: "status" });
      this.#writtenUsage.set(block, used);
    }
  }

  async #remember(): Promise<void> {
    if (this.#rawSubnets.length === 0 && this.#addresses.ownBlocks.length === 0) return;
    const state: LocalState = {
      nodeUid: this.#self?.uid ?? readLocalState(this.#cache, this.#config.ovs.bridge)?.nodeUid ?? "",
      networks: this.#rawNetworks,
      subnets: this.#rawSubnets,
      blocks: this.#addresses.ownBlocks,
      nodeAddresses: this.#addresses.nodeAddresses(),
      tunnelAddress: this.#tunnelAddress,
      uplink: this.#uplinkAddresses,
    };
    const transaction = writeLocalState(this.#cache, this.#config.ovs.bridge, state);
    if (transaction !== undefined) await this.#database.transact(transaction);
  }

  #podMtu(): number {
    return podMtu(this.#topology.overlay, this.#linkMtu);
  }

  #knowSelf(node: ClusterNode): void {
    if (this.#self?.uid !== node.uid) {
      const identity = { name: node.name, uid: node.uid };
      this.#addresses.setIdentity(identity, () => this.#directory.blocks);
      this.#blockGarbage = new BlockGarbage(identity, garbage);
    }
    this.#self = node;
    this.#claimKnownBlocks();
    this.#convergeSoon();
  }

  #knowBlock(block: AddressBlock, gone: boolean): void {
    if (block.node !== this.#config.nodeName) return;
    if (gone || (this.#self !== undefined && block.nodeUid !== this.#self.uid))
      this.#addresses.removeOwnBlock(block.cidr);
    else if (this.#self !== undefined) this.#addresses.addOwnBlock(block.subnet, block.cidr);
    // Before our own Node object is known the block waits for it: `#knowSelf` comes with the first list of nodes.
    this.#convergeSoon();
  }

  #takeTopology(): void {
    if (!this.#directory.topologyKnown) return;
    this.#topologyTold = true;
    const { networks, subnets } = this.#directory;
    this.#rawNetworks = networks.map(({ raw }) => raw);
    this.#rawSubnets = subnets.map(({ raw }) => raw);
    const topology = topologyOf(
      networks.map(({ value }) => value),
      subnets.map(({ value }) => value),
    );
    for (const { object, field, rule, remedy } of topology.violations) {
      const [kind = "", name = ""] = object.split("/", 2);
      this.#report(kind, name, `${field} ${rule}; ${remedy}`);
    }
    this.#useTopology(topology);
    this.#claimKnownBlocks();
    this.#convergeSoon();
  }

  #claimKnownBlocks(): void {
    for (const block of this.#directory.blocks) this.#knowBlock(block, false);
  }

  /** Blocks that OVSDB remembers and the API no longer has: they were freed while this node was away. */
  #dropLostBlocks(): void {
    const present = new Set([...this.#directory.blocks].map(({ cidr }) => formatCidr(cidr)));
    for (const { cidr } of this.#addresses.ownBlocks) {
      if (present.has(formatCidr(cidr))) continue;
      this.#view.removeBlock(cidr);
      this.#addresses.removeOwnBlock(cidr);
    }
  }

  #useTopology(topology: Topology): void {
    this.#topology = topology;
    this.#addresses.setSubnets(topology.subnets);
    this.#view.setSubnets(topology.facts);
  }

  #report(kind: string, name: string, message: string): void {
    this.#logger.warn({ kind, name }, message);
    const stored = kind === "Network" ? this.#directory.networks : this.#directory.subnets;
    const uid = stored.find(({ value }) => value.name === name)?.value.uid;
    const target = { apiVersion: "beyondfabric.io/v1alpha1", kind, name, ...(uid === undefined ? {} : { uid }) };
    this.#events.record(target, "Warning", "Refused", message);
  }

  async #collectGarbage(): Promise<void> {
    if (!this.#directory.synced || !this.#directory.connected || this.#blockGarbage === undefined) return;
    const { blocks, nodes } = this.#directory;
    const due = this.#blockGarbage.due(blocks, Array.from(nodes), performance.now());
    await freeBlocks(due, this.#client, this.#logger);
  }

  /** Reads statistics bucket by bucket, so that every entry is looked at twice in its idle time. */
  async #ageForEver(): Promise<void> {
    const pause = Math.max(20, (this.#config.limits.idleSeconds * 1000) / 2 / bucketsPerRound);
    while (!this.#stopping) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (!this.#session.ready || this.#reactor.verdicts.size === 0) continue;
      const bucket = this.#reactor.nextBucket();
      if (this.#reactor.bucketIsEmpty(bucket)) continue;
      try {
        this.#reactor.recordBucket(bucket, await this.#session.readBucket(bucket));
      } catch (error) {
        this.#logger.debug({ err: error }, "statistics not read");
      }
    }
  }
}

const bucketsPerRound = 64;

/** Steps whose failure leaves the node able to take pods from what it owns. */
const quietSteps: ReadonlySet<string> = new Set(["blocks", "publish"]);

const tunnelTypes = { VXLAN: "vxlan", Geneve: "geneve", GRE: "gre" } as const;

/** MAC of `fabric0`: made of the node's name, so that it survives the interface. */
function hostMacOf(nodeName: string): string {
  const digest = createHash("sha256").update(nodeName).digest();
  return ["0e", "fb", ...[...digest.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
