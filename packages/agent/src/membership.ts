/**
 * This node's place in the cluster as the API has it: its Node object, the Networks and Subnets that it serves, the blocks
 * that are its own. Takes what the directory tells, and publishes what the others must know.
 */
import { type EventRecorder, type KubeClient, nodeResource } from "@beyondfabric/kube";
import { addressBlockKind, addressBlockName, type AddressBlock } from "@beyondfabric/kube/kinds";
import { formatCidr, type Ip } from "@beyondfabric/packet";
import type { AddressService } from "./addresses.ts";
import { freeBlocks } from "./directory/block-store.ts";
import type { Directory } from "./directory/directory.ts";
import { topologyOf, type Topology } from "./directory/networks.ts";
import { gatewayAddressesAnnotation, tunnelAddressAnnotation } from "./directory/records.ts";
import { BlockGarbage } from "./ipam/garbage.ts";
import { networksOf, subnetsOf, type LocalState } from "./local-state.ts";
import type { Logger } from "./log.ts";
import type { ClusterNode, View } from "./view.ts";

const garbage = { graceMilliseconds: 10_000, stepMilliseconds: 10_000 };

export interface MembershipOptions {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly view: View;
  readonly addresses: AddressService;
  readonly logger: Logger;
  readonly directory: () => Directory;
  /** Where this node's tunnels end, once that is known. */
  readonly tunnelAddress: () => Ip | undefined;
  /** Something that steps depend on is different now. */
  readonly onChange: () => void;
}

export class Membership {
  readonly #options: MembershipOptions;
  readonly #writtenUsage = new Map<string, number>();
  #self: ClusterNode | undefined;
  #blockGarbage: BlockGarbage | undefined;
  #topology: Topology = { subnets: [], facts: [], overlay: undefined, vnis: [], violations: [] };
  #topologyTold = false;
  /** The objects as the API gave them, to be remembered. */
  #rawNetworks: readonly unknown[] = [];
  #rawSubnets: readonly unknown[] = [];

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  get topology(): Topology {
    return this.#topology;
  }

  get self(): ClusterNode | undefined {
    return this.#self;
  }

  get remembered(): Pick<LocalState, "networks" | "subnets"> {
    return { networks: this.#rawNetworks, subnets: this.#rawSubnets };
  }

  /** Takes over what OVSDB remembers, unless the API has spoken already. */
  restore(state: LocalState): void {
    const { view, addresses, nodeName } = this.#options;
    if (!this.#topologyTold) {
      this.#rawNetworks = state.networks;
      this.#rawSubnets = state.subnets;
      this.#useTopology(topologyOf(networksOf(state), subnetsOf(state)));
    }
    for (const { subnet, cidr } of state.blocks) {
      view.setBlock({ cidr, node: nodeName });
      addresses.addOwnBlock(subnet, cidr);
    }
  }

  /** The node's own Node object. */
  knowSelf(node: ClusterNode): void {
    const { addresses, directory, onChange } = this.#options;
    if (this.#self?.uid !== node.uid) {
      const identity = { name: node.name, uid: node.uid };
      addresses.setIdentity(identity, () => directory().blocks);
      this.#blockGarbage = new BlockGarbage(identity, garbage);
    }
    this.#self = node;
    this.#claimKnownBlocks();
    onChange();
  }

  knowBlock(block: AddressBlock, gone: boolean): void {
    const { addresses, nodeName, onChange } = this.#options;
    if (block.node !== nodeName) return;
    if (gone || (this.#self !== undefined && block.nodeUid !== this.#self.uid)) addresses.removeOwnBlock(block.cidr);
    else if (this.#self !== undefined) addresses.addOwnBlock(block.subnet, block.cidr);
    // Before our own Node object is known the block waits for it: `knowSelf` comes with the first list of nodes.
    onChange();
  }

  /** Networks or Subnets are different. */
  takeTopology(): void {
    const directory = this.#options.directory();
    if (!directory.topologyKnown) return;
    this.#topologyTold = true;
    const { networks, subnets } = directory;
    this.#rawNetworks = networks.map(({ raw }) => raw);
    this.#rawSubnets = subnets.map(({ raw }) => raw);
    const topology = topologyOf(
      networks.map(({ value }) => value),
      subnets.map(({ value }) => value),
    );
    for (const { object, field, rule, remedy } of topology.violations) {
      const [kind = "", name = ""] = object.split("/", 2);
      this.report(kind, name, `${field} ${rule}; ${remedy}`);
    }
    this.#useTopology(topology);
    this.#claimKnownBlocks();
    this.#options.onChange();
  }

  /** Blocks that OVSDB remembers and the API no longer has: they were freed while this node was away. */
  dropLostBlocks(): void {
    const { addresses, view, directory } = this.#options;
    const present = new Set([...directory().blocks].map(({ cidr }) => formatCidr(cidr)));
    for (const { cidr } of addresses.ownBlocks) {
      if (present.has(formatCidr(cidr))) continue;
      view.removeBlock(cidr);
      addresses.removeOwnBlock(cidr);
    }
  }

  /** Tells the other nodes where this one is, and the API how full its blocks are. */
  async publish(): Promise<void> {
    const { addresses, client, directory, nodeName } = this.#options;
    const nodeAddresses = addresses.nodeAddresses();
    const tunnelAddress = this.#options.tunnelAddress();
    if (this.#self === undefined || !directory().synced) return;
    const gateways = nodeAddresses.join(",");
    if (
      nodeAddresses.length > 0 &&
      (this.#self.tunnelAddress !== tunnelAddress || this.#self.gatewayAddresses.join(",") !== gateways)
    ) {
      const annotations = {
        [tunnelAddressAnnotation]: tunnelAddress ?? null,
        [gatewayAddressesAnnotation]: gateways,
      };
      await client.patch(nodeResource, nodeName, { metadata: { annotations } });
    }
    for (const { block, used } of addresses.usage()) {
      if (this.#writtenUsage.get(block) === used) continue;
      const cidr = addresses.ownBlocks.find((each) => formatCidr(each.cidr) === block)?.cidr;
      if (cidr === undefined) continue;
      const patch = { status: { used } };
      await client.patch(addressBlockKind, addressBlockName(cidr), patch, { subresource: "status" });
      this.#writtenUsage.set(block, used);
    }
  }

  /** Claims blocks when there are too few; nothing while the API has not told what there is. */
  async ensureBlocks(): Promise<void> {
    const { addresses, directory } = this.#options;
    if (this.#self !== undefined && directory().synced) await addresses.ensureBlocks();
  }

  async collectGarbage(): Promise<void> {
    const { addresses, client, logger } = this.#options;
    const directory = this.#options.directory();
    if (!directory.synced || !directory.connected || this.#blockGarbage === undefined) return;
    const due = this.#blockGarbage.due(directory.blocks, Array.from(directory.nodes), performance.now());
    await freeBlocks(due, client, logger, this.#self!, (cidr) => addresses.holdsInside(cidr));
  }

  /** Says on an object that it breaks a rule. */
  report(kind: string, name: string, message: string): void {
    const { directory, events, logger } = this.#options;
    logger.warn({ kind, name }, message);
    const stored = kind === "Network" ? directory().networks : directory().subnets;
    const uid = stored.find(({ value }) => value.name === name)?.value.uid;
    const target = { apiVersion: "beyondfabric.io/v1alpha1", kind, name, ...(uid === undefined ? {} : { uid }) };
    events.record(target, "Warning", "Refused", message);
  }

  #claimKnownBlocks(): void {
    for (const block of this.#options.directory().blocks) this.knowBlock(block, false);
  }

  #useTopology(topology: Topology): void {
    this.#topology = topology;
    this.#options.addresses.setSubnets(topology.subnets);
    this.#options.view.setSubnets(topology.facts);
  }
}
