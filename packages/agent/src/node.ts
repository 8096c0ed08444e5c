/**
 * One node: everything that the other files of the agent offer, put together. State that matters is declared and
 * converged upon: whatever happens (a daemon that dies, an object that changes, a timer), one loop compares what should
 * be with what is, step by step, and remembers what is still wrong.
 */
import { randomInt } from "node:crypto";
import { CniServer } from "@beyondfabric/cni";
import { maxLife, routerMac } from "@beyondfabric/datapath";
import { EventRecorder, inClusterConfig, KubeClient, LabelSet, loadKubeconfig } from "@beyondfabric/kube";
import { listeningPorts, RouteSocket } from "@beyondfabric/link";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { buildTooBig, type Ip, type Mac } from "@beyondfabric/packet";
import { assembleAddresses, type AddressAssembly } from "./addresses/assembly.ts";
import type { AddressService } from "./addresses/service.ts";
import { ApiServer } from "./api/server.ts";
import { ApiAnswers } from "./api/answers.ts";
import { AttachmentService } from "./attachment/service.ts";
import { Listeners } from "./attachment/listeners.ts";
import { podKeyOf, rememberIsolation } from "./attachment/ports.ts";
import { podSight } from "./attachment/pod-sight.ts";
import type { AgentConfig } from "./config.ts";
import { Convergence, type Step } from "./convergence.ts";
import { lookUpService } from "./directory/service-lookup.ts";
import { Directory } from "./directory/directory.ts";
import { HostNetwork } from "./host/network.ts";
import { readLocalState, writeLocalState, type LocalState } from "./local-state.ts";
import type { Logger } from "./log.ts";
import { Machine } from "./machine.ts";
import { Membership } from "./membership.ts";
import { Forgeries } from "./forgeries.ts";
import { NoiseWatch } from "./noise.ts";
import { ageEntries } from "./reactor/aging.ts";
import { GatheredChanges } from "./reactor/gathered-changes.ts";
import { Reactor } from "./reactor/reactor.ts";
import { BridgeSession } from "./switch/bridge-session.ts";
import { monitoredTables, type SwitchTables } from "./switch/database.ts";
import { TunnelNeighbours } from "./switch/tunnel-neighbours.ts";
import { unixctl } from "./switch/unixctl.ts";
import { Examiner } from "./underlay/examiner.ts";
import { PhysicalNetworks, type Resident } from "./underlay/physical-networks.ts";
import { Recently } from "./underlay/recently.ts";
import { View } from "./view.ts";

const convergeMilliseconds = 5000;
/** A node that is ready gathers changes for so long (ms). */
const gatherMilliseconds = 50;
/**
 * And for so long those that pods make as they come and go (ms): they are many, wait for none of this, and would wait for
 * the processor and the kernel's configuration lock while it is done.
 */
const calmMilliseconds = 500;
const reconcileMilliseconds = 30_000;
const neighbourMilliseconds = 60_000;
const tendMilliseconds = 5000;
const publishMilliseconds = 2000;
/** A conflict that lasts is told again after so long (ms). */
const conflictMilliseconds = 60_000;

export class FabricNode {
  readonly #config: AgentConfig;
  readonly #logger: Logger;
  readonly #view: View;
  readonly #kernel: RouteSocket;
  /** For pods' interfaces: requests on one socket queue, and an ADD must not wait for the node's own housekeeping. */
  readonly #podKernel: RouteSocket;
  readonly #host: HostNetwork;
  readonly #database: OvsdbClient;
  readonly #cache: Cache<SwitchTables>;
  readonly #client: KubeClient;
  readonly #events: EventRecorder;
  readonly #reactor: Reactor;
  readonly #session: BridgeSession;
  readonly #networks: PhysicalNetworks;
  readonly #neighbours: TunnelNeighbours | undefined;
  readonly #addressing: AddressAssembly;
  readonly #addresses: AddressService;
  readonly #attachments: AttachmentService;
  readonly #directory: Directory;
  readonly #cni: CniServer;
  readonly #api: ApiServer;
  readonly #forgeries: Forgeries;
  readonly #noise: NoiseWatch;
  readonly #machine: Machine;
  readonly #membership: Membership;
  readonly #convergence: Convergence;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #startedAt = Date.now();
  #switchVersion: string | undefined;
  #nodeLabels: LabelSet | undefined;
  readonly #conflicts = new Recently(conflictMilliseconds);
  #restored = false;
  #stopping = false;
  #publishing = false;

  constructor(config: AgentConfig, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
    this.#view = new View(config.nodeName, new Set(config.sharedNamespaces));
    this.#kernel = RouteSocket.open();
    this.#podKernel = RouteSocket.open();
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
    const listeners = new Listeners({
      netnsOf: (address) => this.#attachments.netnsOf(address),
      portsOf: listeningPorts,
      now: () => performance.now(),
    });
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
      sink: { send: (frame) => this.#session.send(frame), taken: () => this.#session.taken() },
      now: () => performance.now(),
      firstId: randomInt(1, 2 ** 32),
      life: randomInt(1, maxLife),
      listening: (question, packet) => listeners.endOf(question, packet),
      onUndecodable: (error) => logger.warn({ err: error }, "a packet-in could not be read"),
      onTooLarge: (packet, port) => this.#answerTooLarge(packet, port),
      onAnnouncement: (frame, port) => this.#attachments.announced(frame, port),
      onForgery: (frame, port) => this.#forgeries.seen(frame, port),
    });
    this.#view.onTracking((port) => {
      void this.#session
        .replacePod(port)
        .catch((error: unknown) => logger.warn({ err: error }, "entries of a pod not replaced yet"));
      this.#convergence.soon();
    });
    const changes = new GatheredChanges((keys) => this.#reactor.factsChanged(keys));
    this.#view.onChange((keys) => changes.add(keys));
    this.#session = new BridgeSession({
      runDirectory: config.ovs.runDirectory,
      bridge: config.ovs.bridge,
      limits: { perPort: config.limits.missesPerSecondPerPort, tunnel: config.limits.missesPerSecondTunnel },
      reactor: this.#reactor,
      logger,
      onReady: () => {
        this.#neighbours?.forgetAll(this.#reactor.tunnelsInUse());
        void this.#askSwitchVersion();
        this.#convergence.soon();
      },
      onLost: (reason) => logger.warn({ reason }, "lost the switch"),
    });
    this.#networks = new PhysicalNetworks({
      nodeName: config.nodeName,
      runDirectory: config.ovs.runDirectory,
      tunnelNic: userspace ? config.tunnel?.interface : undefined,
      cache: this.#cache,
      host: this.#host,
      logger,
      onChange: () => this.#convergence.soon(),
      onConflict: (resident, address, mac) => this.#conflict(resident, address, mac),
    });
    this.#addressing = assembleAddresses({
      config,
      client: this.#client,
      recorder: this.#events,
      database: this.#database,
      cache: this.#cache,
      view: this.#view,
      logger,
      directory: () => this.#directory,
      machine: () => this.#machine,
      membership: () => this.#membership,
      ports: () => this.#attachments.ports(),
      onChange: () => this.#convergence.whenCalm(),
      onBlocks: () => this.#convergence.soon(),
    });
    this.#addresses = this.#addressing.addresses;
    this.#attachments = new AttachmentService({
      database: this.#database,
      cache: this.#cache,
      kernel: { node: this.#podKernel },
      bridge: config.ovs.bridge,
      datapathType: config.ovs.datapathType,
      addresses: this.#addresses,
      networks: this.#networks,
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
      onSelf: (node) => this.#membership.knowSelf(node),
      onBlock: (block) => this.#membership.knowBlock(block),
      onClaim: (claim) => this.#membership.knowClaim(claim),
      onOwnPod: () => this.#addresses.podsChanged(),
      onNamespace: () => this.#addresses.podsChanged(),
      onTopology: () => this.#membership.takeTopology(),
      onViolation: (kind, name, message) => this.#membership.report(kind, name, message),
      onPolicyViolation: ({ namespace, name, uid }, message) => {
        logger.warn({ namespace, policy: name }, message);
        const target = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", namespace, name, uid };
        if (this.#membership.speaksFor(`${namespace}/${name}`)) {
          this.#events.record(target, "Warning", "NotHonoured", message);
        }
      },
      onSynced: () => {
        this.#membership.dropLostBlocks();
        this.#view.setComplete();
        this.#reactor.revalidateAll();
        this.#addresses.podsChanged();
      },
    });
    this.#machine = new Machine({
      config,
      database: this.#database,
      cache: this.#cache,
      host: this.#host,
      session: this.#session,
      networks: this.#networks,
      topology: () => this.#membership.topology,
      nodeAddresses: () => this.#addresses.nodeAddresses(),
    });
    this.#membership = new Membership({
      ...this.#addressing,
      events: this.#events,
      networks: this.#networks,
      config,
      client: this.#client,
      view: this.#view,
      logger,
      directory: () => this.#directory,
      tunnelAddress: () => this.#machine.tunnelAddress,
      onChange: () => this.#convergence.soon(),
    });
    this.#convergence = new Convergence({
      steps: this.#steps(),
      ready: () => this.#cache.synchronised,
      delay: () => (this.notReady().length === 0 ? gatherMilliseconds : 5),
      calmDelay: () => (this.notReady().length === 0 ? calmMilliseconds : 5),
      logger,
    });
    this.#forgeries = new Forgeries({
      ports: () => this.#attachments.ports(),
      events: this.#events,
      logger,
      now: () => performance.now(),
    });
    this.#noise = new NoiseWatch({
      session: this.#session,
      reactor: this.#reactor,
      forgeries: this.#forgeries,
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
        forgeries: this.#forgeries,
        claims: () => this.#directory.claims,
        subnets: () => this.#addressing.publication.figures,
        api: () => ({ connected: this.#directory.connected, synced: this.#directory.synced }),
        tunnelAddress: () => this.#machine.tunnelAddress,
        switchVersion: () => this.#switchVersion,
        audit: this.#addressing.audit,
        endpointsOf: (namespace, name) => lookUpService(this.#client, namespace, name),
        networks: this.#networks,
        examiner: new Examiner({
          nodeName: config.nodeName,
          networks: this.#networks,
          podSight: async (address) => {
            const port = [...this.#attachments.ports()].find(({ addresses }) => addresses.includes(address));
            return port === undefined ? undefined : await podSight(port.netns, port.ifname);
          },
        }),
      }),
    });
  }

  /** Starts everything that can start; the rest follows as its parts appear. */
  async start(): Promise<void> {
    await this.#api.start();
    this.#cache.on("update", () => this.#convergence.whenCalm());
    this.#database.on("connected", () => this.#convergence.soon());
    void this.#database.start().catch((error: unknown) => {
      this.#logger.warn({ err: error }, "Open vSwitch is not there yet");
    });
    await this.#cni.listen();
    this.#directory.start();
    this.#every(convergeMilliseconds, () => this.#convergence.soon());
    this.#every(reconcileMilliseconds, () => {
      void this.#session.reconcileNow();
      void this.#networks.reconcile();
    });
    this.#every(neighbourMilliseconds, () => this.#neighbours?.refresh(this.#reactor.tunnelsInUse()));
    this.#every(100, () => this.#reactor.tick());
    this.#every(2000, () => void this.#noise.look());
    this.#every(tendMilliseconds, () => void this.#membership.tend());
    this.#every(publishMilliseconds, () => void this.#publishObjects());
    void ageEntries({
      reactor: this.#reactor,
      session: this.#session,
      idleMilliseconds: this.#config.limits.idleSeconds * 1000,
      logger: this.#logger,
      stopping: () => this.#stopping,
    });
    this.#logger.info({ socket: this.#config.cni.socket }, "fabric-node started");
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#convergence.stop();
    for (const timer of this.#timers) clearInterval(timer);
    await this.#cni.close();
    await this.#api.stop();
    await this.#directory.stop();
    await this.#session.stop();
    await this.#networks.stop();
    this.#neighbours?.stop();
    await this.#database.stop();
    await this.#client.close();
    await this.#kernel.close();
    await this.#podKernel.close();
  }

  /** Why the node cannot take pods, one sentence each; empty when it can. */
  notReady(): readonly string[] {
    // What needs the API server waits for it without making the node unready: it serves what it has.
    const reasons = [...this.#convergence.problems]
      .filter(([step]) => !quietSteps.has(step))
      .map(([, message]) => message);
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
    if (!this.#machine.hostReady && reasons.length === 0) reasons.push("the node's own network is being set up");
    return reasons;
  }

  #steps(): Step[] {
    const machine = this.#machine;
    const membership = this.#membership;
    return [
      { name: "restore", run: () => this.#restore() },
      { name: "networks", run: () => this.#lookAtNetworks() },
      { name: "ports", run: () => this.#attachments.refresh() },
      { name: "switch", run: () => machine.declareSwitch(), goOn: () => machine.bridgeIsOurs },
      { name: "uplink", run: () => machine.ensureUplink() },
      { name: "wires", run: () => machine.ensureWires() },
      { name: "blocks", run: () => membership.ensureBlocks() },
      { name: "entries", run: () => machine.ensureEntries() },
      { name: "host", run: () => this.#ensureHost() },
      { name: "publish", run: () => membership.publish() },
      { name: "remember", run: () => this.#remember() },
      { name: "isolation", run: () => this.#rememberIsolation() },
    ];
  }

  /** Once per life: what OVSDB remembers of pods, blocks and subnets. */
  async #restore(): Promise<void> {
    if (this.#restored) return;
    const state = readLocalState(this.#cache, this.#config.ovs.bridge);
    if (state !== undefined) {
      this.#machine.tunnelAddress = state.tunnelAddress;
      for (const [nic, addresses] of Object.entries(state.uplinks)) this.#machine.uplinkAddresses.set(nic, addresses);
      this.#membership.restore(state);
      this.#nodeLabels = LabelSet.of(state.nodeLabels);
      await this.#lookAtNetworks();
    }
    const memory = this.#addressing.memory.restore();
    for (const { cidr } of memory.blocks) this.#view.setBlock({ cidr, node: this.#config.nodeName });
    const ports = this.#attachments.restore();
    this.#addresses.restore(memory, ports, state?.nodeAddresses ?? [], state?.nodeUid ?? "");
    this.#session.restorePods(this.#view.localPorts.values());
    this.#restored = true;
    this.#logger.info({ pods: ports.length, blocks: memory.blocks.length }, "restored from OVSDB");
  }

  async #lookAtNetworks(): Promise<void> {
    this.#nodeLabels = this.#membership.self?.labels ?? this.#nodeLabels;
    const ownAddresses = await this.#host.ownAddresses();
    this.#view.setOwnAddresses(ownAddresses);
    await this.#networks.look(this.#nodeLabels, ownAddresses);
    this.#membership.showSubnets();
  }

  /** A packet of a pod on a wire is larger than overlays take: its sender is told. */
  #answerTooLarge(packet: Buffer, port: number): void {
    const gateways = this.#view.subnets.filter(({ wire }) => wire === undefined).map(({ gateway }) => gateway);
    const answer = buildTooBig(packet, { mac: routerMac, addresses: gateways, mtu: this.#machine.podMtu });
    if (answer !== undefined) this.#session.emit(answer, port);
  }

  #conflict({ pod, subnet }: Resident, address: Ip, mac: Mac): void {
    const message = `address ${address} of Subnet ${subnet} is used on the wire by the machine with MAC ${mac} as well; take it from that machine, or delete the pod and put the address into spec.excluded of the Subnet`;
    if (!this.#conflicts.isNew(`${address} ${mac}`, performance.now())) return;
    this.#logger.error({ pod: `${pod.namespace}/${pod.name}`, address, mac }, "an address is used twice");
    this.#addressing.addressEvents.duplicate(pod, address, message);
  }

  async #ensureHost(): Promise<void> {
    const gatewayAddresses = this.#addresses.nodeAddresses();
    if (gatewayAddresses.length === 0) return;
    const { tunnelAddress } = this.#machine;
    this.#view.setNode({
      name: this.#config.nodeName,
      uid: this.#membership.self?.uid ?? "",
      gatewayAddresses,
      ...(tunnelAddress === undefined ? {} : { tunnelAddress }),
    });
    await this.#machine.ensureHost();
  }

  async #remember(): Promise<void> {
    const remembered = this.#membership.remembered;
    if (remembered.subnets.length === 0 && this.#addresses.ownBlocks.length === 0) return;
    const state: LocalState = {
      nodeUid: this.#membership.self?.uid ?? readLocalState(this.#cache, this.#config.ovs.bridge)?.nodeUid ?? "",
      ...remembered,
      nodeAddresses: this.#addresses.nodeAddresses(),
      tunnelAddress: this.#machine.tunnelAddress,
      uplinks: Object.fromEntries(this.#machine.uplinkAddresses),
      nodeLabels: this.#nodeLabels?.toJSON() ?? {},
    };
    const transaction = writeLocalState(this.#cache, this.#config.ovs.bridge, state);
    if (transaction !== undefined) await this.#database.transact(transaction);
  }

  async #publishObjects(): Promise<void> {
    if (this.#publishing || !this.#membership.isInformed) return;
    this.#publishing = true;
    try {
      await this.#addressing.publication.publishObjects();
    } catch (error) {
      this.#logger.debug({ err: error }, "status of objects not written yet");
    } finally {
      this.#publishing = false;
    }
  }

  async #rememberIsolation(): Promise<void> {
    if (!this.#view.complete) return;
    const transaction = rememberIsolation(this.#cache, (port) => this.#view.isolationToRemember(podKeyOf(port)));
    if (transaction !== undefined) await this.#database.transact(transaction);
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
}

/** Steps whose failure leaves the node able to take pods from what it owns. */
const quietSteps: ReadonlySet<string> = new Set(["networks", "wires", "blocks", "publish"]);
