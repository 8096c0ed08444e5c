/**
 * What the container runtime asks for: a pod's interface, made, checked and removed. Operations are idempotent, and one
 * that fails leaves nothing half-made behind. The order of an ADD: claim the addresses, write the entries (the drop
 * first), connect the port, publish the identity, answer.
 */
import {
  CNI_CODE,
  CniError,
  type Attachment,
  type Attachments,
  type AttachRequest,
  type ValidAttachment,
} from "@beyondfabric/cni";
import { setImmediate as nextTurn } from "node:timers/promises";
import { announcementIn, routerMac, type LocalPort, type PodKey, type Segment } from "@beyondfabric/datapath";
import type { Cache, OvsdbClient } from "@beyondfabric/ovsdb";
import { formatCidr, ipFamily, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import type { Logger } from "../log.ts";
import { AgentError } from "../errors.ts";
import type { SwitchTables } from "../switch/database.ts";
import type { Resident } from "../underlay/physical-networks.ts";
import { asCniError, retryRemedy } from "./cni-refusal.ts";
import { Departures } from "./departures.ts";
import {
  hostInterfaceName,
  insertPodPort,
  localPortOf,
  podKeyOf,
  podPorts,
  PortNumbers,
  rememberHeld,
  type PodPort,
  type RememberedIsolation,
} from "./ports.ts";
import { handoverOf, stillHeld } from "./handover.ts";
import { checkPodInterface, makePodPair, removeHostInterface, setUpPodEnd, type Kernel } from "./wiring.ts";

/** Addresses for a pod. */
export interface PodAddresses {
  /** @throws an error that names subnet or holder, rule and remedy when there is none */
  allocate(
    owner: { namespace: string; name: string; uid: string; container: string },
    signal?: AbortSignal,
  ): Promise<PodAddressing>;
  release(container: string): void;
  /** Somebody on the wire uses an address that was just allocated. */
  inUseElsewhere(owner: { namespace: string; name: string; uid: string }, address: Ip, message: string): Promise<void>;
  gatewaysOf(subnet: string): readonly Ip[];
  prefixLengthOf(subnet: string, address: Ip): number;
  /** What pods of the subnet may take beside their own addresses; undefined while the subnet is not known. */
  allowedAddressesOf(subnet: string): readonly Cidr[] | undefined;
  /** Overlays that a pod of the subnet reaches by another router than its gateway. */
  overlaysBeside(subnet: string): readonly Cidr[];
}

/** Physical networks, for pods that are hosts on one. */
export interface PodNetworks {
  /** Where this node meets a subnet; undefined for a subnet of an overlay, or of a network that is not here. */
  segmentOf(subnet: string): Segment | undefined;
  /** Whether pods of the subnet live on a physical network. */
  isPhysical(subnet: string): boolean;
  /**
   * Lets a pod onto its network, if nobody there has its addresses.
   * @throws AgentError `AGENT_NETWORK_ABSENT`, `AGENT_ADDRESS_CONFLICT`
   */
  admit(resident: Resident): Promise<void>;
  /** Takes over a pod that is there since before. */
  restore(resident: Resident): void;
  announce(key: string): void;
  retire(key: string): Promise<void>;
}

export interface PodAddressing {
  readonly addresses: readonly Ip[];
  readonly subnet: string;
  /** One per family of `addresses`. */
  readonly gateways: readonly Ip[];
  readonly mtu: number;
  readonly mac: Mac;
  /** They have objects of their own in the API, rather than coming from a block of the node. */
  readonly claimed: boolean;
}

export interface AttachmentServiceOptions {
  readonly database: OvsdbClient;
  readonly cache: Cache<SwitchTables>;
  readonly kernel: Kernel;
  readonly bridge: string;
  readonly datapathType: "netdev" | "system";
  readonly addresses: PodAddresses;
  readonly networks: PodNetworks;
  readonly entries: {
    addPod(port: LocalPort): Promise<void>;
    replacePod(port: LocalPort): Promise<void>;
    removePod(ofport: number): void;
  };
  readonly facts: {
    setLocalPort(port: LocalPort): void;
    removeLocalPort(ofport: number): void;
    isTracked(pod: PodKey): boolean;
    recall(pod: PodKey, isolation: RememberedIsolation): void;
    /** Whether an address is somebody's own, or claimed. */
    isSpokenFor(address: Ip): boolean;
  };
  /** Why the node cannot take pods; empty when it can. */
  readonly notReady: () => readonly string[];
  readonly logger: Logger;
  readonly now: () => number;
}

/** How long the switch may take to make a port, or to close one whose place another shall take (ms). */
const portTimeout = 10_000;

export interface OperationFigures {
  count: number;
  failed: number;
  seconds: number;
}

export class AttachmentService implements Attachments {
  readonly #options: AttachmentServiceOptions;
  readonly #numbers = new PortNumbers();
  readonly #ports = new Map<string, PodPort>();
  readonly #departures: Departures;
  /** The segment that each port's entries were written for, and what the pod may take beside its own addresses. */
  readonly #surroundings = new Map<string, string>();
  readonly operations = new Map<string, OperationFigures>();
  #restored = false;

  constructor(options: AttachmentServiceOptions) {
    this.#options = options;
    this.#departures = new Departures({
      database: options.database,
      cache: options.cache,
      bridge: options.bridge,
      logger: options.logger,
      onGone: (port) => this.#numbers.release(port.ofport),
    });
  }

  /** Takes over the pods that OVSDB remembers, before anything is answered. */
  restore(): PodPort[] {
    const found = podPorts(this.#options.cache);
    for (const port of found) {
      this.#ports.set(keyOf(port), port);
      this.#numbers.reserve(port.ofport);
      if (port.isolation !== undefined) {
        this.#options.facts.recall(podKeyOf(port), port.isolation);
      }
      this.#options.facts.setLocalPort(this.#localPort(port));
      if (this.#options.networks.isPhysical(port.subnet)) this.#options.networks.restore(residentOf(port));
    }
    this.#restored = true;
    return found;
  }

  /** The pods of this node as the switch is to see them. */
  localPorts(): LocalPort[] {
    return [...this.#ports.values()].map((port) => this.#localPort(port));
  }

  #localPort(port: PodPort): LocalPort {
    const { networks, addresses, facts } = this.#options;
    const segment = networks.segmentOf(port.subnet);
    this.#surroundings.set(keyOf(port), this.#surroundingsOf(port));
    // Policies that select the pod are in force before its port is up, and so is not knowing whether any does.
    const tracked = facts.isTracked(podKeyOf(port));
    return localPortOf(port, tracked, segment, addresses.allowedAddressesOf(port.subnet));
  }

  #surroundingsOf({ subnet, routed }: PodPort): string {
    const { networks, addresses } = this.#options;
    const allowed = addresses.allowedAddressesOf(subnet) ?? [];
    return `${networks.segmentOf(subnet)} ${allowed.map(formatCidr).join()} ${routed.map(formatCidr).join()}`;
  }

  /**
   * Takes to heart what is different about a pod's surroundings: where its physical network is, what its subnet allows its
   * pods to take, and what somebody had it forward for in OVSDB.
   */
  refresh(): void {
    const found = new Map(podPorts(this.#options.cache).map((port) => [keyOf(port), port]));
    for (const port of this.#ports.values()) {
      const held = this.#heldStill(port);
      const next = { ...port, held, routed: found.get(keyOf(port))?.routed ?? port.routed };
      const isSame =
        held.length === port.held.length && this.#surroundings.get(keyOf(port)) === this.#surroundingsOf(next);
      if (!isSame) this.#replace(next);
    }
  }

  #heldStill(port: PodPort): readonly Ip[] {
    const { addresses, facts } = this.#options;
    // Before the subnet is known nothing is known to be allowed no more.
    if (port.held.length === 0 || addresses.allowedAddressesOf(port.subnet) === undefined) return port.held;
    return stillHeld(
      port,
      (subnet) => this.#allowed(subnet),
      (address) => facts.isSpokenFor(address),
    );
  }

  #allowed(subnet: string): readonly Cidr[] {
    return this.#options.addresses.allowedAddressesOf(subnet) ?? [];
  }

  /**
   * Somebody says that it has an address that pods pass on, or sends from it.
   * @param ofport the port that the frame came in by: a pod's, or one that leads to a wire
   */
  announced(frame: Uint8Array, ofport: number): void {
    const ports = [...this.#ports.values()];
    const speaker = ports.find((port) => port.ofport === ofport);
    const subnets = speaker === undefined ? new Set(ports.map(({ subnet }) => subnet)) : [speaker.subnet];
    const announcement = announcementIn(
      frame,
      [...subnets].flatMap((subnet) => this.#allowed(subnet)),
    );
    if (announcement === undefined) return;
    const { facts, logger } = this.#options;
    const handover = handoverOf(announcement, {
      ports,
      speaker,
      allowed: (subnet) => this.#allowed(subnet),
      isTaken: (address) => facts.isSpokenFor(address),
    });
    if (handover === undefined) return;
    const { from, to } = handover;
    const { address, mac } = announcement;
    const nameOf = (port: PodPort | undefined): string | undefined => port && `${port.namespace}/${port.name}`;
    logger.info({ address, mac, from: nameOf(from), to: nameOf(to) }, "an address was passed on");
    // The entries of the one who had it go first: some of those of the next one take their places.
    if (from !== undefined)
      this.#hold(
        from,
        from.held.filter((each) => each !== address),
      );
    if (to !== undefined) this.#hold(to, [...to.held, address]);
  }

  /** An address becomes a pod's own: nobody has it by announcing it any more. */
  #takeBack(addresses: readonly Ip[]): void {
    for (const port of this.#ports.values()) {
      const held = port.held.filter((address) => !addresses.includes(address));
      if (held.length < port.held.length) this.#hold(port, held);
    }
  }

  #hold(port: PodPort, held: readonly Ip[]): void {
    const next = { ...port, held };
    this.#replace(next);
    const { database, cache, logger } = this.#options;
    const memory = rememberHeld(cache, next);
    if (memory === undefined) return;
    void database
      .transact(memory)
      .catch((error: unknown) => logger.warn({ err: error }, "an address that was passed on is not written down yet"));
  }

  #replace(port: PodPort): void {
    this.#ports.set(keyOf(port), port);
    const local = this.#localPort(port);
    this.#options.facts.setLocalPort(local);
    void this.#options.entries
      .replacePod(local)
      .catch((error: unknown) => this.#options.logger.warn({ err: error }, "entries of a pod not replaced yet"));
  }

  ports(): IterableIterator<PodPort> {
    return this.#ports.values();
  }

  /** Path of the network namespace of the pod that has an address. */
  netnsOf(address: Ip): string | undefined {
    return this.#ports.values().find(({ addresses }) => addresses.includes(address))?.netns;
  }

  add(request: AttachRequest): Promise<Attachment> {
    return this.#measured("ADD", () => this.#add(request));
  }

  del(request: AttachRequest): Promise<void> {
    return this.#measured("DEL", () => this.#del(request.containerId, request.ifname));
  }

  check(request: AttachRequest): Promise<void> {
    return this.#measured("CHECK", () => this.#check(request));
  }

  gc(_network: string, valid: readonly ValidAttachment[]): Promise<void> {
    return this.#measured("GC", async () => {
      const keep = new Set(valid.map(({ containerId, ifname }) => `${containerId}/${ifname}`));
      const stale = Array.from(this.#ports).filter(([key]) => !keep.has(key));
      await allOf(stale.map(([, { container, ifname }]) => this.#del(container, ifname)));
    });
  }

  async status(): Promise<void> {
    this.#requireReady(CNI_CODE.notAvailable);
  }

  #requireReady(code: number = CNI_CODE.tryAgainLater): void {
    const reasons = this.#options.notReady();
    if (reasons.length === 0) return;
    throw new CniError(code, `node cannot take pods: ${reasons.join("; ")}`, "see `fabricctl status`");
  }

  async #add(request: AttachRequest): Promise<Attachment> {
    const { containerId, ifname, netns } = request;
    if (netns === undefined) {
      throw new CniError(CNI_CODE.invalidEnvironment, "CNI_NETNS is missing", "give the path of the pod's namespace");
    }
    const present = this.#ports.get(`${containerId}/${ifname}`);
    if (present !== undefined) {
      const problems = await this.#problems(present);
      if (problems.length === 0) return this.#attachment(present);
      // A half of an earlier ADD that a crash left behind: away with it, and again from the start.
      await this.#del(containerId, ifname);
    }
    const pod = request.pod;
    if (pod === undefined) {
      throw new CniError(
        CNI_CODE.invalidEnvironment,
        "CNI_ARGS names no pod",
        "set K8S_POD_NAMESPACE, K8S_POD_NAME and K8S_POD_UID in CNI_ARGS",
      );
    }
    const other = [...this.#ports.values()].find(({ container }) => container === containerId);
    if (other !== undefined) {
      throw new CniError(
        CNI_CODE.interfaceExists,
        `container ${containerId} is on this network already, with interface ${other.ifname}`,
        "a pod has one interface on it: delete that one first",
      );
    }
    this.#requireReady();
    const undo: (() => void | Promise<void>)[] = [];
    try {
      const owner = { namespace: pod.namespace, name: pod.name, uid: pod.uid ?? "", container: containerId };
      const addressing = await this.#options.addresses.allocate(owner, request.signal);
      undo.push(() => this.#options.addresses.release(containerId));
      const port: PodPort = {
        ...owner,
        ifname,
        netns,
        mac: addressing.mac,
        addresses: addressing.addresses,
        subnet: addressing.subnet,
        hostInterface: hostInterfaceName(containerId, ifname),
        ofport: this.#numbers.draw(),
        mtu: addressing.mtu,
        created: this.#options.now(),
        held: [],
        routed: [],
        claimed: addressing.claimed,
      };
      undo.push(() => this.#departures.follow(port));
      this.#takeBack(port.addresses);
      await this.#placeFree(port);
      const { networks } = this.#options;
      const isHost = networks.isPhysical(port.subnet);
      // The wire is asked while the interface is made: nothing runs in the pod yet.
      const admitted = isHost ? this.#admit(port) : Promise.resolve();
      admitted.catch(() => {});
      undo.push(() => networks.retire(keyOf(port)));
      const local = this.#localPort(port);
      undo.push(() => this.#options.entries.removePod(port.ofport));
      undo.push(() => removeHostInterface(this.#options.kernel, port.hostInterface));
      const { addresses, kernel, database, cache, bridge, datapathType } = this.#options;
      // The entries are written while the kernel makes the pair, and both before the switch hears of the port.
      const making = makePodPair(kernel, port);
      const writing = nextTurn().then(() => {
        const taken = this.#options.entries.addPod(local);
        // Asked below, unless the pair cannot be made: then it must not fail unheard.
        taken.catch(() => {});
        return { taken };
      });
      await allOf([making, writing]);
      const pair = await making;
      const { taken } = await writing;
      undo.push(() => this.#departures.remove(port.hostInterface));
      // The switch opens its end while the pod's end is set up.
      await allOf([
        admitted,
        taken,
        database.transact(insertPodPort(cache, bridge, port)).then(() => this.#portMade(port)),
        setUpPodEnd(pair, {
          ...port,
          prefixLengths: this.#prefixLengths(port),
          gateways: addressing.gateways,
          overlays: addresses.overlaysBeside(port.subnet),
          checksumInSoftware: datapathType === "netdev",
        }),
      ]);
      this.#ports.set(keyOf(port), port);
      this.#options.facts.setLocalPort(local);
      if (isHost) networks.announce(keyOf(port));
      return this.#attachment(port);
    } catch (error) {
      for (const step of undo.reverse()) {
        try {
          await step();
        } catch (failure) {
          this.#options.logger.error({ err: failure, containerId, ifname }, "undoing a failed ADD");
        }
      }
      throw error;
    }
  }

  async #admit(port: PodPort): Promise<void> {
    const { networks, addresses } = this.#options;
    try {
      await networks.admit(residentOf(port));
    } catch (error) {
      if (error instanceof AgentError && error.code === "AGENT_ADDRESS_CONFLICT" && error.address !== undefined) {
        await addresses.inUseElsewhere(port, error.address, error.message);
      }
      throw error;
    }
  }

  #prefixLengths({ subnet, addresses }: PodPort): number[] {
    return addresses.map((address) => this.#options.addresses.prefixLengthOf(subnet, address));
  }

  /**
   * Returns when the interface is gone from the pod and the database has forgotten the port: what is left to do (the
   * switch closes the port) happens behind the answer, also when the agent does not live to see it.
   */
  async #del(container: string, ifname: string): Promise<void> {
    const key = `${container}/${ifname}`;
    const port = this.#ports.get(key);
    const hostInterface = port?.hostInterface ?? hostInterfaceName(container, ifname);
    if (port !== undefined) {
      // From here on nobody is sent to the pod, whatever fails below.
      this.#options.facts.removeLocalPort(port.ofport);
      this.#options.entries.removePod(port.ofport);
    }
    await allOf([
      this.#departures.remove(hostInterface),
      removeHostInterface(this.#options.kernel, hostInterface),
      this.#options.networks.retire(key),
    ]);
    if (port === undefined) return;
    this.#ports.delete(key);
    this.#surroundings.delete(key);
    this.#departures.follow(port);
    this.#options.addresses.release(container);
  }

  /** Waits until no port on its way out has the name or an address of a new one. */
  async #placeFree(port: PodPort): Promise<void> {
    const concerns = (leaving: PodPort): boolean =>
      leaving.hostInterface === port.hostInterface ||
      leaving.addresses.some((address) => port.addresses.includes(address));
    if (await this.#departures.gone(concerns, portTimeout)) return;
    throw new CniError(
      CNI_CODE.tryAgainLater,
      `the switch did not close the port that ${port.hostInterface} follows within ${portTimeout} ms`,
      "see whether ovs-vswitchd runs: `fabricctl status`",
    );
  }

  async #check(request: AttachRequest): Promise<void> {
    const port = this.#ports.get(`${request.containerId}/${request.ifname}`);
    if (port === undefined) {
      throw new CniError(
        CNI_CODE.unknownContainer,
        `container ${request.containerId} has no interface ${request.ifname} here`,
        "delete the pod, its workload makes another",
      );
    }
    const problems = await this.#problems(port);
    if (problems.length > 0) {
      throw new CniError(CNI_CODE.checkFailed, problems.join("; "), "delete the pod, its workload makes another");
    }
  }

  async #problems(port: PodPort): Promise<string[]> {
    const problems = await checkPodInterface(this.#options.kernel, {
      hostInterface: port.hostInterface,
      netns: port.netns,
      ifname: port.ifname,
      mac: port.mac,
      mtu: port.mtu,
      addresses: port.addresses,
      prefixLengths: this.#prefixLengths(port),
      gateways: this.#gateways(port),
    });
    const row = this.#options.cache.find("Interface", (candidate) => candidate.name === port.hostInterface);
    if (row === undefined) problems.push(`bridge ${this.#options.bridge} has no port ${port.hostInterface}`);
    else if (row.ofport !== port.ofport) problems.push(`port ${port.hostInterface} of the bridge is not in service`);
    return problems;
  }

  #gateways(port: PodPort): Ip[] {
    const families = new Set(port.addresses.map(ipFamily));
    return this.#options.addresses.gatewaysOf(port.subnet).filter((gateway) => families.has(ipFamily(gateway)));
  }

  #attachment(port: PodPort): Attachment {
    const gateways = this.#gateways(port);
    const gatewayFor = (address: Ip): Ip | undefined =>
      gateways.find((gateway) => ipFamily(gateway) === ipFamily(address));
    return {
      hostInterface: { name: port.hostInterface, mac: routerMac },
      podInterface: { name: port.ifname, mac: port.mac, sandbox: port.netns, mtu: port.mtu },
      ips: port.addresses.map((address) => {
        const gateway = gatewayFor(address);
        return {
          address: `${address}/${this.#options.addresses.prefixLengthOf(port.subnet, address)}`,
          ...(gateway === undefined ? {} : { gateway }),
        };
      }),
      routes: gateways.map((gateway) => ({ dst: ipFamily(gateway) === 4 ? "0.0.0.0/0" : "::/0", gw: gateway })),
    };
  }

  /** Waits until the switch has given the port the number that its entries were written for. */
  async #portMade(port: PodPort): Promise<void> {
    const { cache, logger } = this.#options;
    const state = (): { readonly made: boolean; readonly refusal?: string } => {
      const row = cache.find("Interface", (candidate) => candidate.name === port.hostInterface);
      if (row?.error !== undefined) return { made: false, refusal: row.error };
      if (row?.ofport === undefined) return { made: false };
      if (row.ofport === port.ofport) return { made: true };
      return { made: false, refusal: `it got number ${row.ofport} instead of ${port.ofport}` };
    };
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        const { made, refusal } = state();
        if (!made && refusal === undefined) return;
        finish();
        if (made) resolve();
        else {
          const message = `the switch refused port ${port.hostInterface}: ${refusal}`;
          reject(new CniError(CNI_CODE.internal, message, retryRemedy));
        }
      };
      const timer = setTimeout(() => {
        finish();
        reject(
          new CniError(
            CNI_CODE.tryAgainLater,
            `the switch did not make port ${port.hostInterface} within ${portTimeout} ms`,
            "see whether ovs-vswitchd runs: `fabricctl status`",
          ),
        );
      }, portTimeout);
      const finish = (): void => {
        clearTimeout(timer);
        cache.off("update", look);
      };
      cache.on("update", look);
      look();
    });
    logger.debug({ pod: `${port.namespace}/${port.name}`, ofport: port.ofport }, "port made");
  }

  async #measured<T>(operation: string, run: () => Promise<T>): Promise<T> {
    let figures = this.operations.get(operation);
    if (figures === undefined) this.operations.set(operation, (figures = { count: 0, failed: 0, seconds: 0 }));
    const started = performance.now();
    try {
      // Before OVSDB has said which pods are here, success would leave a port to be found again later.
      if (!this.#restored) this.#requireReady();
      return await run();
    } catch (error) {
      figures.failed++;
      throw asCniError(error);
    } finally {
      figures.count++;
      figures.seconds += (performance.now() - started) / 1000;
    }
  }
}

/**
 * Waits for all of them, also when one fails: what is still under way would otherwise finish behind the back of whoever
 * clears up after the failure.
 */
async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work.map((each) => Promise.resolve(each)))) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}

function residentOf(port: PodPort): Resident {
  const { namespace, name, uid, subnet, mac, addresses } = port;
  return { key: keyOf(port), pod: { namespace, name, uid }, subnet, mac, addresses };
}

function keyOf(port: PodPort): string {
  return `${port.container}/${port.ifname}`;
}
