/**
 * The physical networks that this node is on: which NIC carries which, how each stands, the bridges of their NICs, and the
 * pods of this node that live on them. Declared like everything else: a step looks, compares and repairs.
 */
import {
  segmentOf,
  type Segment,
  type SubnetFact,
  type UplinkExamination,
  type UplinkFacts,
  type UplinkMember,
  type Wire,
} from "@beyondfabric/datapath";
import type { Labels } from "@beyondfabric/kube";
import { formatViolation, type Subnet, type UnderlayNetwork, type Violation } from "@beyondfabric/kube/kinds";
import type { Cache } from "@beyondfabric/ovsdb";
import { cidrContains, formatCidr, ipFamily, type Cidr, type Ip, type Mac, type Packet } from "@beyondfabric/packet";
import { AgentError } from "../errors.ts";
import type { HostNetwork } from "../host/network.ts";
import type { Logger } from "../log.ts";
import { uplinkBridgeName, uplinkPortNumber, type SwitchTables, type UplinkDeclaration } from "../switch/database.ts";
import { UplinkSession } from "../switch/uplink-session.ts";
import { judgeNic, networkOf, placementsOf, type NetworkState, type NicFacts, type Placement } from "./placement.ts";
import { announcementFrames, announcementTimes, conflictIn, probeFrames, probePatience, probeTimes } from "./probe.ts";

export interface PhysicalNetworksOptions {
  readonly nodeName: string;
  readonly runDirectory: string;
  /** The NIC that carries tunnels and was given a bridge for that. */
  readonly tunnelNic: string | undefined;
  readonly cache: Cache<SwitchTables>;
  readonly host: Pick<HostNetwork, "nicFacts">;
  readonly logger: Logger;
  /** A network stands differently, or its bridge does: whoever declares from it should look again. */
  readonly onChange: () => void;
  /** Somebody on the wire uses an address of a pod of this node. */
  readonly onConflict: (resident: Resident, address: Ip, mac: Mac) => void;
}

/** A pod of this node that lives on a physical network, or wants to. */
export interface Resident {
  /** Container and interface: what tells one attachment from the next. */
  readonly key: string;
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly subnet: string;
  readonly mac: Mac;
  readonly addresses: readonly Ip[];
}

/** A NIC that carries a physical network, as it stands. */
interface Carrier {
  readonly placement: Placement;
  readonly bridge: string;
  readonly state: NetworkState;
  readonly mac: Mac | undefined;
  readonly mtu: number;
  /** The bridge carries addresses of the node. */
  readonly carriesNode: boolean;
  readonly port: number | undefined;
}

/** A physical network of this node as it stands now, for those who examine it. */
export interface SurveyedNetwork {
  readonly placement: Placement;
  readonly bridge: string;
  readonly facts: NicFacts & { readonly mac: Mac | undefined };
  /** The bridge answers. */
  readonly answering: boolean;
  readonly subnets: readonly Subnet[];
  readonly residents: readonly Resident[];
}

/** Who listens while a bridge is examined. */
export interface Ear {
  answer(packet: Packet, frame: Buffer): void;
  conflict(resident: Resident, address: Ip, mac: Mac): void;
}

interface Claim extends Resident {
  /** Set while nobody but us may want its addresses. */
  conflict?: (address: Ip, mac: Mac) => void;
}

export class PhysicalNetworks {
  readonly #options: PhysicalNetworksOptions;
  readonly #sessions = new Map<string, UplinkSession>();
  readonly #residents = new Map<string, Claim>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #networks: readonly UnderlayNetwork[] = [];
  #subnets = new Map<string, Subnet>();
  #carriers = new Map<string, Carrier>();
  #violations: readonly Violation[] = [];
  #ownAddresses: readonly Ip[] = [];
  #told = false;
  #informed = false;
  /** What is written about each bridge, to tell whether it changed. */
  readonly #written = new Map<string, string>();
  readonly #announced = new Set<string>();
  /** Pods of whose addresses it is not known yet whether somebody else uses them. */
  readonly #probed = new Set<string>();
  readonly #examined = new Map<string, { readonly wires: readonly UplinkExamination[]; readonly ear: Ear }>();

  constructor(options: PhysicalNetworksOptions) {
    this.#options = options;
  }

  /**
   * Which networks and subnets there are.
   * @param told the API said so: what is missing does not exist
   */
  setTopology(networks: readonly UnderlayNetwork[], subnets: readonly Subnet[], told: boolean): void {
    this.#networks = networks;
    this.#subnets = new Map(subnets.map((subnet) => [subnet.name, subnet]));
    this.#told ||= told;
  }

  /** The NICs were judged by what the API says; before that nothing is taken away. */
  get isInformed(): boolean {
    return this.#informed;
  }

  /** What breaks a rule only here: a NIC that two networks want. */
  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** How each network stands that a NIC of this node is named for, those included whose NIC another has. */
  states(): ReadonlyMap<string, NetworkState> {
    const states = new Map<string, NetworkState>([...this.#carriers].map(([network, { state }]) => [network, state]));
    for (const violation of this.#violations) {
      states.set(networkOf(violation), { state: "refused", message: formatViolation(violation) });
    }
    return states;
  }

  /** Whether pods can be let onto a network now. */
  isReady(network: string): boolean {
    const carrier = this.#carriers.get(network);
    return carrier?.state.state === "ready" && this.#sessions.get(carrier.bridge)?.connected === true;
  }

  /**
   * Looks at the NICs.
   * @param labels the node's; undefined while nobody has told them: then no NIC is chosen
   */
  async look(labels: Labels | undefined, ownAddresses: readonly Ip[]): Promise<void> {
    if (labels === undefined) return;
    const { nodeName, host, cache, tunnelNic } = this.#options;
    const { placements, violations } = placementsOf(this.#networks, nodeName, labels);
    this.#violations = violations;
    this.#ownAddresses = ownAddresses;
    const carriers = new Map<string, Carrier>();
    const taken = new Set<number>();
    for (const placement of placements) {
      const bridge = uplinkBridgeName(placement.nic);
      const facts = await host.nicFacts(placement.nic, bridge);
      const state = judgeNic(placement, nodeName, facts);
      const stands = cache.find("Bridge", (row) => row.name === bridge) !== undefined;
      const isUsed = state.state === "ready" || state.state === "down" || (state.state === "missing" && stands);
      const port = isUsed ? uplinkPortNumber(cache, bridge, taken) : undefined;
      if (port !== undefined) taken.add(port);
      carriers.set(placement.network, {
        placement,
        bridge,
        state,
        mac: facts.mac,
        mtu: placement.mtu ?? facts.mtu,
        carriesNode: facts.addresses.length > 0 || placement.nic === tunnelNic,
        port,
      });
    }
    // While pods live on a network that nobody declares any more its bridge stays: they are not cut off by a mistake.
    for (const [network, carrier] of this.#carriers) {
      if (carriers.has(network) || carrier.port === undefined || !this.#isInhabited(network)) continue;
      carriers.set(network, carrier);
    }
    const before = JSON.stringify([...this.#carriers]);
    this.#carriers = carriers;
    this.#informed = this.#told;
    if (before !== JSON.stringify([...carriers])) this.#options.onChange();
  }

  #isInhabited(network: string): boolean {
    for (const { subnet } of this.#residents.values()) {
      if (this.#networkOf(subnet) === network) return true;
    }
    return false;
  }

  /** The bridges that the switch must have for physical networks. */
  declarations(): UplinkDeclaration[] {
    return [...this.#carriers.values()].flatMap(({ bridge, placement, mac, port }) =>
      port === undefined ? [] : [{ bridge, nic: placement.nic, mac, port }],
    );
  }

  /** NICs that a bridge has taken, with what their bridges carry for the node. */
  captured(): readonly { readonly nic: string; readonly bridge: string; readonly carriesNode: boolean }[] {
    return [...this.#carriers.values()]
      .filter(({ port }) => port !== undefined)
      .map(({ placement, bridge, carriesNode }) => ({ nic: placement.nic, bridge, carriesNode }));
  }

  /** Opens the conversations with the bridges that are declared, and closes the others. */
  async connect(): Promise<void> {
    const wanted = new Set(this.declarations().map(({ bridge }) => bridge));
    const { tunnelNic, runDirectory, logger } = this.#options;
    if (tunnelNic !== undefined) wanted.add(uplinkBridgeName(tunnelNic));
    for (const bridge of wanted) {
      if (this.#sessions.has(bridge)) continue;
      const session = new UplinkSession({
        runDirectory,
        bridge,
        logger,
        onStatement: (packet) => this.#heard(bridge, packet),
        onAnswer: (packet, frame) => this.#examined.get(bridge)?.ear.answer(packet, frame),
        onReady: () => this.#greet(bridge),
      });
      this.#sessions.set(bridge, session);
      session.start();
    }
    for (const [bridge, session] of this.#sessions) {
      if (wanted.has(bridge)) continue;
      this.#sessions.delete(bridge);
      this.#written.delete(bridge);
      await session.stop();
    }
    await this.#write();
  }

  /** Repairs what somebody else changed in the bridges. */
  async reconcile(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.reconcile()));
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all([...this.#sessions.values()].map((session) => session.stop()));
  }

  /** Where this node meets a subnet; undefined when it does not, or when the subnet is no physical network's. */
  segmentOf(subnetName: string): Segment | undefined {
    const subnet = this.#subnets.get(subnetName);
    const port = subnet && this.#carriers.get(subnet.network)?.port;
    return subnet === undefined || port === undefined ? undefined : segmentOf(port, subnet.vlan ?? 0);
  }

  /** Facts of subnets with the segments of this node. */
  locate(facts: readonly SubnetFact[]): SubnetFact[] {
    return facts.map((fact) => {
      const segment = fact.wire === undefined ? undefined : this.segmentOf(fact.name);
      return segment === undefined ? fact : { ...fact, wire: { direct: fact.wire!.direct, segment } };
    });
  }

  /** Segments for the constant entries, each once whatever number of subnets shares it. */
  wires(): Wire[] {
    const wires = new Map<Segment, Wire & { gateways: Ip[]; nodeAddresses: Ip[]; shared: Cidr[] }>();
    for (const subnet of this.#subnets.values()) {
      const segment = this.segmentOf(subnet.name);
      if (segment === undefined) continue;
      const wire = wires.get(segment) ?? { segment, gateways: [], nodeAddresses: [], shared: [] };
      wires.set(segment, wire);
      wire.shared.push(...subnet.allowedAddresses);
      for (const { cidr, gateway } of subnet.families) {
        wire.gateways.push(gateway);
        wire.nodeAddresses.push(...this.#ownAddresses.filter((address) => cidrContains(cidr, address)));
      }
    }
    return [...wires.values()];
  }

  /** MTU of pods of a subnet (bytes); undefined for one that is no physical network's. */
  mtuOf(subnet: Subnet): number | undefined {
    return this.#carriers.get(subnet.network)?.mtu;
  }

  /** Whether pods of a subnet live on a physical network, wherever that is. */
  isPhysical(subnetName: string): boolean {
    const network = this.#networkOf(subnetName);
    return this.#networks.some(({ name }) => name === network);
  }

  /** Takes over a pod that lives here since before. */
  restore(resident: Resident): void {
    this.#residents.set(resident.key, resident);
  }

  /** Addresses of the pods of this node that live on physical networks. */
  residentAddresses(): Ip[] {
    return [...this.#residents.values()].flatMap(({ addresses }) => addresses);
  }

  /**
   * Lets a pod onto its network: asks the wire whether its addresses are in use, and has what concerns it let in.
   * @throws AgentError `AGENT_NETWORK_ABSENT` when the network is not there or has no link; `AGENT_ADDRESS_CONFLICT` when
   *   somebody answers
   */
  async admit(resident: Resident): Promise<void> {
    const network = this.#networkOf(resident.subnet);
    const carrier = network === undefined ? undefined : this.#carriers.get(network);
    const segment = this.segmentOf(resident.subnet);
    if (carrier === undefined || segment === undefined || carrier.state.state !== "ready") {
      const state = carrier?.state ?? (network === undefined ? undefined : this.states().get(network));
      const why =
        state === undefined || state.state === "ready"
          ? `Network ${network ?? resident.subnet} names no interface of node ${this.#options.nodeName}; run the pod on another node, or add an entry to spec.interfaces of the Network`
          : state.message;
      throw new AgentError("AGENT_NETWORK_ABSENT", why);
    }
    const session = this.#sessions.get(carrier.bridge);
    if (session === undefined || !this.isReady(carrier.placement.network)) {
      throw new AgentError(
        "AGENT_NETWORK_ABSENT",
        `bridge ${carrier.bridge} of Network ${network} does not answer; is ovs-vswitchd running?`,
      );
    }
    const claim: Claim = { ...resident };
    this.#residents.set(resident.key, claim);
    this.#probed.add(resident.key);
    try {
      await this.#write();
      await this.#probe(claim, session);
      delete claim.conflict;
    } catch (error) {
      this.#residents.delete(resident.key);
      await this.#write();
      throw error;
    } finally {
      this.#probed.delete(resident.key);
    }
  }

  async #probe(claim: Claim, session: UplinkSession): Promise<void> {
    const vlan = this.#vlanOf(claim.subnet);
    await new Promise<void>((resolve, reject) => {
      const timers = probeTimes.map((time) => this.#after(time, () => session.transmit(probeFrames(claim), vlan)));
      timers.push(this.#after(probePatience, resolve));
      claim.conflict = (address, mac) => {
        for (const timer of timers) clearTimeout(timer);
        reject(
          new AgentError(
            "AGENT_ADDRESS_CONFLICT",
            `address ${address} of Pod ${claim.pod.namespace}/${claim.pod.name} is in use on VLAN ${vlan} by the machine with MAC ${mac}; take it from that machine, or exclude it in spec.excluded of Subnet ${claim.subnet}`,
            { address },
          ),
        );
      };
    });
  }

  /** Tells the wire that a pod is here now. */
  announce(key: string): void {
    this.#announced.add(key);
    for (const time of announcementTimes) {
      this.#after(time, () => {
        const resident = this.#residents.get(key);
        if (resident !== undefined)
          this.#sessionOf(resident.subnet)?.transmit(announcementFrames(resident), this.#vlanOf(resident.subnet));
      });
    }
  }

  /** The pod has gone: nothing is let in for it any more. */
  async retire(key: string): Promise<void> {
    if (!this.#residents.delete(key)) return;
    this.#announced.delete(key);
    await this.#write();
  }

  /** A bridge answers: pods that live on it since before this agent are announced once, in small groups. */
  #greet(bridge: string): void {
    let group = 0;
    for (const { key, subnet } of this.#residents.values()) {
      if (this.#announced.has(key) || this.#probed.has(key) || this.#carrierOf(subnet)?.bridge !== bridge) continue;
      this.#announced.add(key);
      this.#after(group++ * announcementPace, () => this.announce(key));
    }
  }

  /** Every network that a NIC of this node is named for, the NIC looked at anew. */
  async survey(): Promise<SurveyedNetwork[]> {
    return await Promise.all(
      [...this.#carriers.values()].map(async ({ placement, bridge, port }) => ({
        placement,
        bridge,
        facts: await this.#options.host.nicFacts(placement.nic, bridge),
        answering: port !== undefined && this.#sessions.get(bridge)?.connected === true,
        subnets: [...this.#subnets.values()].filter(({ network }) => network === placement.network),
        residents: [...this.#residents.values()].filter(({ subnet }) => this.#networkOf(subnet) === placement.network),
      })),
    );
  }

  /**
   * Has what answers an examination of VLANs reported to somebody, until it is told that nobody listens any more. Resolves
   * when the switch has taken it.
   */
  async listen(bridge: string, wires: readonly UplinkExamination[], ear: Ear | undefined): Promise<void> {
    if (ear === undefined) this.#examined.delete(bridge);
    else this.#examined.set(bridge, { wires, ear });
    await this.#write();
  }

  /** Puts frames onto a VLAN of a NIC. */
  transmit(bridge: string, vlan: number, frames: readonly Uint8Array[]): void {
    this.#sessions.get(bridge)?.transmit(frames, vlan);
  }

  async #write(): Promise<void> {
    await Promise.all(
      [...this.#sessions].map(async ([bridge, session]) => {
        const facts = this.#factsOf(bridge);
        const text = JSON.stringify(facts);
        if (this.#written.get(bridge) === text) return;
        this.#written.set(bridge, text);
        await session.set(facts);
      }),
    );
  }

  #factsOf(bridge: string): UplinkFacts {
    const carrier = [...this.#carriers.values()].find((each) => each.bridge === bridge && each.port !== undefined);
    if (carrier === undefined) {
      return { carriesNode: true, carriesPods: false, members: [], gateways: [], examinations: [], metered: true };
    }
    const members: UplinkMember[] = [];
    const gateways = new Map<string, { vlan: number; address: Ip }>();
    const shared = new Map<string, { vlan: number; prefix: Cidr }>();
    for (const { subnet: name, mac, addresses } of this.#residents.values()) {
      const subnet = this.#subnets.get(name);
      if (subnet?.network !== carrier.placement.network) continue;
      const vlan = subnet.vlan ?? 0;
      members.push({ mac, addresses, vlan });
      for (const prefix of subnet.allowedAddresses) shared.set(`${vlan} ${formatCidr(prefix)}`, { vlan, prefix });
      for (const { family, gateway } of subnet.families) {
        if (addresses.some((address) => ipFamily(address) === family)) {
          gateways.set(`${vlan} ${gateway}`, { vlan, address: gateway });
        }
      }
    }
    const { carriesNode } = carrier;
    const examinations = this.#examined.get(bridge)?.wires ?? [];
    return {
      carriesNode,
      carriesPods: true,
      members,
      gateways: [...gateways.values()],
      shared: [...shared.values()],
      examinations,
      metered: true,
    };
  }

  #heard(bridge: string, packet: Packet): void {
    const vlan = packet.vlan < 0 ? 0 : packet.vlan & 0xfff;
    for (const resident of this.#residents.values()) {
      if (this.#carrierOf(resident.subnet)?.bridge !== bridge || this.#vlanOf(resident.subnet) !== vlan) continue;
      const found = conflictIn(packet, resident);
      if (found === undefined) continue;
      this.#examined.get(bridge)?.ear.conflict(resident, found.address, found.mac);
      if (resident.conflict !== undefined) resident.conflict(found.address, found.mac);
      else this.#options.onConflict(resident, found.address, found.mac);
    }
  }

  #networkOf(subnet: string): string | undefined {
    return this.#subnets.get(subnet)?.network;
  }

  #carrierOf(subnet: string): Carrier | undefined {
    const network = this.#networkOf(subnet);
    return network === undefined ? undefined : this.#carriers.get(network);
  }

  #sessionOf(subnet: string): UplinkSession | undefined {
    const carrier = this.#carrierOf(subnet);
    return carrier && this.#sessions.get(carrier.bridge);
  }

  #vlanOf(subnet: string): number {
    return this.#subnets.get(subnet)?.vlan ?? 0;
  }

  #after(milliseconds: number, run: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, milliseconds);
    this.#timers.add(timer);
    return timer;
  }
}

/** Pods are announced so far apart after a start (ms): a node with hundreds of them makes no storm. */
const announcementPace = 20;
