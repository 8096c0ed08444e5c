/**
 * This node's place in the cluster as the API has it: its Node object, the Networks, Subnets and pools that it serves, the
 * blocks and claims that concern it. Takes what the directory tells, tells the others what they must know, and looks after
 * what nobody else does.
 */
import { type EventRecorder, type KubeClient, nodeResource } from "@beyondfabric/kube";
import {
  type AddressBlock,
  API_GROUP,
  API_VERSION,
  formatViolation,
  type IpAddressRecord,
  networkKind,
} from "@beyondfabric/kube/kinds";
import { formatCidr, type Ip } from "@beyondfabric/packet";
import { ClaimCollector } from "./addresses/claim-collector.ts";
import type { AddressEvents } from "./addresses/events.ts";
import type { Publication } from "./addresses/publication.ts";
import type { AddressService } from "./addresses/service.ts";
import type { AgentConfig } from "./config.ts";
import { freeBlocks, readNodeUid } from "./directory/block-store.ts";
import type { Directory } from "./directory/directory.ts";
import { emptyTopology, topologyOf, type Topology } from "./directory/networks.ts";
import type { OwnerStates } from "./directory/owner-states.ts";
import { gatewayAddressesAnnotation, tunnelAddressAnnotation } from "./directory/records.ts";
import type { AddressStore, ClaimReads } from "./ipam/claims.ts";
import { BlockGarbage, placeInLine } from "./ipam/garbage.ts";
import { formatWishes, parseWishes, WANTS_BLOCK_ANNOTATION, type BlockWish } from "./ipam/lending.ts";
import { networksOf, poolsOf, subnetsOf, type LocalState } from "./local-state.ts";
import type { Logger } from "./log.ts";
import { networkLabelPrefix, NodeReport } from "./underlay/node-report.ts";
import { networkOf } from "./underlay/placement.ts";
import type { PhysicalNetworks } from "./underlay/physical-networks.ts";
import type { ClusterNode, View } from "./view.ts";

const blockGarbage = { graceMilliseconds: 10_000, stepMilliseconds: 10_000 };

/** Kinds that only agents write; what people write says itself what is wrong with it, in a condition. */
const agentKinds: ReadonlySet<string> = new Set(["AddressBlock", "IPAddress"]);

export interface MembershipOptions {
  readonly config: Pick<AgentConfig, "nodeName" | "addresses">;
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly view: View;
  readonly addresses: AddressService;
  readonly addressEvents: AddressEvents;
  readonly publication: Publication;
  readonly store: AddressStore;
  readonly reads: ClaimReads;
  readonly owners: OwnerStates;
  readonly networks: Pick<PhysicalNetworks, "setTopology" | "locate" | "states" | "violations">;
  readonly logger: Logger;
  readonly directory: () => Directory;
  /** Where this node's tunnels end, once that is known. */
  readonly tunnelAddress: () => Ip | undefined;
  /** Something that steps depend on is different now. */
  readonly onChange: () => void;
}

export class Membership {
  readonly #options: MembershipOptions;
  #self: ClusterNode | undefined;
  #blockGarbage: BlockGarbage | undefined;
  #claimCollector: ClaimCollector | undefined;
  #topology = emptyTopology;
  #topologyTold = false;
  /** The objects as the API gave them, to be remembered. */
  #raw: Pick<LocalState, "networks" | "subnets" | "pools"> = { networks: [], subnets: [], pools: [] };
  #publishAgain: NodeJS.Timeout | undefined;
  #told = "";
  /** What was said of Networks whose NIC another has, by name. */
  #takenInterfaces: ReadonlyMap<string, string> = new Map();
  readonly #report: NodeReport;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#report = new NodeReport(options.client, options.config.nodeName);
  }

  get topology(): Topology {
    return this.#topology;
  }

  get self(): ClusterNode | undefined {
    return this.#self;
  }

  get remembered(): Pick<LocalState, "networks" | "subnets" | "pools"> {
    return this.#raw;
  }

  /** Everything was listed, and every watch is open. */
  get isInformed(): boolean {
    const directory = this.#options.directory();
    return directory.synced && directory.connected;
  }

  /** Takes over what OVSDB remembers, unless the API has spoken already. */
  restore(state: LocalState): void {
    if (this.#topologyTold) return;
    this.#raw = { networks: state.networks, subnets: state.subnets, pools: state.pools };
    this.#useTopology(topologyOf(networksOf(state), subnetsOf(state), poolsOf(state)));
  }

  /** The node's own Node object. */
  knowSelf(node: ClusterNode): void {
    const { addresses, config, logger, onChange, owners, reads, store, client } = this.#options;
    if (this.#self?.uid !== node.uid) {
      const self = { name: node.name, uid: node.uid };
      addresses.setIdentity(self);
      this.#blockGarbage = new BlockGarbage(self, blockGarbage);
      this.#claimCollector = new ClaimCollector({
        self,
        store,
        reads: {
          podUid: (namespace, name) => reads.podUid(namespace, name),
          nodeUid: (name) => readNodeUid(client, name),
          ownerState: (owner) => owners.read(owner),
        },
        watched: {
          claims: () => this.#options.directory().claims,
          nodes: () => [...this.#options.directory().nodes],
          hasPod: (uid) => this.#options.directory().hasPod(uid),
        },
        isAttached: (podUid) => addresses.claims.isPresent(podUid),
        subnet: (name) => addresses.subnetNamed(name),
        reclaimMilliseconds: config.addresses.reclaimSeconds * 1000,
        historyMilliseconds: config.addresses.historySeconds * 1000,
        events: this.#options.addressEvents,
        logger,
      });
    }
    this.#self = node;
    onChange();
  }

  knowBlock(_block: AddressBlock): void {
    this.#options.addresses.claimsChanged();
    this.#options.onChange();
  }

  knowClaim(_claim: IpAddressRecord): void {
    this.#options.addresses.claimsChanged();
  }

  /** Networks, Subnets or pools are different. */
  takeTopology(): void {
    const { logger, onChange } = this.#options;
    const directory = this.#options.directory();
    if (!directory.topologyKnown) return;
    this.#topologyTold = true;
    const { networks, subnets, pools } = directory;
    const raw = (stored: readonly { value: unknown; raw: unknown }[]): unknown[] =>
      stored.filter(({ value }) => value !== undefined).map((each) => each.raw);
    this.#raw = { networks: raw(networks), subnets: raw(subnets), pools: raw(pools) };
    const sound = <T>(stored: readonly { value: T | undefined }[]): T[] =>
      stored.flatMap(({ value }) => (value === undefined ? [] : [value]));
    const topology = topologyOf(sound(networks), sound(subnets), sound(pools));
    const told = topology.violations.map(formatViolation).join("\n");
    if (told !== this.#told && told !== "")
      logger.warn({ violations: topology.violations }, "objects that break rules");
    this.#told = told;
    this.#useTopology(topology);
    onChange();
  }

  /** Blocks that OVSDB remembers and the API no longer has: they were freed while this node was away. */
  dropLostBlocks(): void {
    const { addresses, view, directory } = this.#options;
    const present = new Set([...directory().blocks].map(({ cidr }) => formatCidr(cidr)));
    for (const { cidr } of addresses.ownBlocks) if (!present.has(formatCidr(cidr))) view.removeBlock(cidr);
  }

  /** Families of subnets of which nodes found no block. */
  wishes(): (BlockWish & { readonly nodeUid: string })[] {
    const wishes: (BlockWish & { readonly nodeUid: string })[] = [];
    for (const { uid, wishes: text } of this.#options.directory().nodes) {
      for (const wish of parseWishes(text)) wishes.push({ ...wish, nodeUid: uid });
    }
    return wishes;
  }

  /** Tells the other nodes where this one is and what it wants, and the API who has the addresses of its blocks. */
  async publish(): Promise<void> {
    const { addresses, client, config, directory, publication, onChange } = this.#options;
    const nodeAddresses = addresses.nodeAddresses();
    const tunnelAddress = this.#options.tunnelAddress();
    const self = this.#self;
    if (self === undefined || !directory().synced) return;
    const gateways = nodeAddresses.join(",");
    const wishes = formatWishes(addresses.keeper?.wishes ?? []);
    const isPlaceTold = self.tunnelAddress === tunnelAddress && self.gatewayAddresses.join(",") === gateways;
    if ((nodeAddresses.length > 0 && !isPlaceTold) || self.wishes !== wishes) {
      const annotations = {
        ...(nodeAddresses.length === 0
          ? {}
          : { [tunnelAddressAnnotation]: tunnelAddress ?? null, [gatewayAddressesAnnotation]: gateways }),
        [WANTS_BLOCK_ANNOTATION]: wishes ?? null,
      };
      await client.patch(nodeResource, config.nodeName, { metadata: { annotations } });
    }
    const labelled = [...(self.labels ?? [])].map(([key]) => key).filter((key) => key.startsWith(networkLabelPrefix));
    await this.#report.write(
      this.#options.networks.states(),
      labelled.map((key) => key.slice(networkLabelPrefix.length)),
      new Date(),
    );
    this.#tellTakenInterfaces();
    const wait = await publication.publishBlocks();
    if (wait === undefined) return;
    clearTimeout(this.#publishAgain);
    this.#publishAgain = setTimeout(onChange, wait).unref();
  }

  /** A Network whose NIC on this node is another's already says so itself: its owner need not look at every Node. */
  #tellTakenInterfaces(): void {
    const { directory, events, logger, networks } = this.#options;
    const told = new Map(networks.violations.map((violation) => [networkOf(violation), formatViolation(violation)]));
    for (const [name, message] of told) {
      if (this.#takenInterfaces.get(name) === message) continue;
      logger.warn({ network: name }, message);
      const uid = directory().networks.find((each) => each.name === name)?.uid ?? "";
      const target = { apiVersion: `${API_GROUP}/${API_VERSION}`, kind: networkKind.kind, name, uid };
      events.record(target, "Warning", "InterfaceTaken", message);
    }
    this.#takenInterfaces = told;
  }

  /** Claims blocks when there are too few; nothing while the API has not told what there is. */
  async ensureBlocks(): Promise<void> {
    const { addresses, directory } = this.#options;
    if (this.#self !== undefined && directory().synced) await addresses.ensureBlocks();
  }

  /** What is not urgent: once every few seconds, and only while nothing is hidden from this node. */
  async tend(): Promise<void> {
    if (!this.isInformed) return;
    const { addresses, logger } = this.#options;
    const work = [
      () => addresses.keeper?.tend(),
      () => addresses.claims.review(),
      () => this.#freeBlocks(),
      () => this.#claimCollector?.collect(),
    ];
    for (const each of work) {
      try {
        await each();
      } catch (error) {
        logger.debug({ err: error }, "not tended yet");
      }
    }
  }

  async #freeBlocks(): Promise<void> {
    const { addresses, client, logger } = this.#options;
    const { blocks, nodes } = this.#options.directory();
    const self = this.#self;
    if (this.#blockGarbage === undefined || self === undefined) return;
    const due = this.#blockGarbage.due(blocks, Array.from(nodes), performance.now());
    await freeBlocks(due, client, logger, self, (cidr) => addresses.holdsInside(cidr));
  }

  /** Says on an object of the agents' own, which somebody spoilt, that it breaks a rule; one node of all does. */
  report(kind: string, name: string, message: string): void {
    const { events, logger } = this.#options;
    logger.warn({ kind, name }, message);
    if (agentKinds.has(kind) && this.speaksFor(name)) {
      events.record({ apiVersion: `${API_GROUP}/${API_VERSION}`, kind, name }, "Warning", "Refused", message);
    }
  }

  /** Whether this node is the one of all that says what every agent finds out about an object. */
  speaksFor(name: string): boolean {
    const self = this.#self;
    return self !== undefined && placeInLine(name, self, [...this.#options.directory().nodes]) <= 0;
  }

  #useTopology(topology: Topology): void {
    this.#topology = topology;
    const { addresses, networks } = this.#options;
    addresses.setTopology(topology.subnets, topology.pools, new Set(topology.underlays.map(({ name }) => name)));
    networks.setTopology(topology.underlays, topology.subnets, this.#topologyTold);
    this.showSubnets();
  }

  /** Tells the facts where subnets are; to be called when physical networks are elsewhere now. */
  showSubnets(): void {
    this.#options.view.setSubnets(this.#options.networks.locate(this.#topology.facts));
  }
}
