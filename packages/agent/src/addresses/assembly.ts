/** Puts address management together from its parts; composition only. */
import type { EventRecorder, KubeClient } from "@beyondfabric/kube";
import { ipAddressName, type IpAddressRecord } from "@beyondfabric/kube/kinds";
import type { Cache, OvsdbClient } from "@beyondfabric/ovsdb";
import type { Ip } from "@beyondfabric/packet";
import { macOf } from "../attachment/mac.ts";
import type { PodPort } from "../attachment/ports.ts";
import type { AgentConfig } from "../config.ts";
import { AddressStore } from "../directory/address-store.ts";
import { AddressFactReader } from "../directory/address-facts.ts";
import { blockStore, orphanReads } from "../directory/block-store.ts";
import { claimReads } from "../directory/claim-reads.ts";
import type { Directory } from "../directory/directory.ts";
import { OwnerStates } from "../directory/owner-states.ts";
import { PodLookup } from "../directory/pod-lookup.ts";
import { claimFact } from "../directory/records.ts";
import type { ClaimReads } from "../ipam/claims.ts";
import type { Logger } from "../log.ts";
import type { Machine } from "../machine.ts";
import type { Membership } from "../membership.ts";
import type { SwitchTables } from "../switch/database.ts";
import type { View } from "../view.ts";
import { AddressAudit } from "./audit.ts";
import { DurableMemory } from "./durable-memory.ts";
import { AddressEvents } from "./events.ts";
import { PoolRoom } from "./pool-room.ts";
import { Publication } from "./publication.ts";
import { AddressService } from "./service.ts";

export interface AddressAssembly {
  readonly addresses: AddressService;
  readonly addressEvents: AddressEvents;
  readonly publication: Publication;
  readonly memory: DurableMemory;
  readonly store: AddressStore;
  readonly reads: ClaimReads;
  readonly owners: OwnerStates;
  readonly audit: AddressAudit;
}

export interface AddressAssemblyOptions {
  readonly config: AgentConfig;
  readonly client: KubeClient;
  readonly recorder: EventRecorder;
  readonly database: OvsdbClient;
  readonly cache: Cache<SwitchTables>;
  readonly view: View;
  readonly logger: Logger;
  readonly directory: () => Directory;
  readonly machine: () => Machine;
  readonly membership: () => Membership;
  readonly ports: () => Iterable<PodPort>;
  /** Pods' addresses are different. */
  readonly onChange: () => void;
  /** The node's blocks are different, or it is known who it is. */
  readonly onBlocks: () => void;
}

/** A pod's start waits for these requests: none may hang. */
const patience = { timeout: 5000 };

export function assembleAddresses(options: AddressAssemblyOptions): AddressAssembly {
  const { config, client, recorder, database, cache, view, logger, directory, machine, membership, ports } = options;
  const events = new AddressEvents(recorder);
  const memory = new DurableMemory({ database, cache, bridge: config.ovs.bridge });
  const store = new AddressStore(client, patience);
  const reads = claimReads(client, patience);
  const owners = new OwnerStates(client, config.addresses.stickyOwners);
  const poolRoom = new PoolRoom({ client, events, logger });
  const publication = new Publication({
    client,
    events: recorder,
    logger,
    source: {
      self: () => membership().self,
      nodes: () => [...directory().nodes],
      residents: () =>
        Array.from(directory().nodes, ({ name, gatewayAddresses }) => ({ name, addresses: gatewayAddresses })),
      networks: () => directory().networks,
      subnets: () => directory().subnets,
      pools: () => directory().pools,
      violations: () => membership().topology.violations,
      blocks: () => directory().blocks,
      claims: () => directory().claims,
      readClaims: (subnet) => store.listSubnet(subnet),
      ownBlocks: () => addresses.ownBlocks,
      roomOf: (block) => addresses.keeper?.roomOf(block) ?? 0n,
      taken: () => addresses.taken(),
      ports,
    },
  });
  const addresses: AddressService = new AddressService({
    nodeName: config.nodeName,
    blocks: blockStore(client),
    addresses: store,
    reads,
    lookup: new PodLookup({
      client,
      node: config.nodeName,
      nodeUid: () => membership().self?.uid,
      watched: {
        ownPod: (namespace, name) => directory().ownPod(namespace, name),
        namespaceNamed: (name) => directory().namespaceNamed(name),
        isInformed: () => membership().isInformed,
      },
    }),
    watched: {
      blocks: () => directory().blocks,
      claims: () => directory().claims,
      claimAt: (address: Ip) => directory().claimNamed(ipAddressName(address)),
      ownPods: () => directory().ownPods(),
      ownPod: (namespace, name) => directory().ownPod(namespace, name),
      namespace: (name) => directory().namespaceNamed(name),
      wishes: () => membership().wishes(),
      isInformed: () => membership().isInformed,
    },
    memory,
    events,
    stickyOwners: config.addresses.stickyOwners,
    protect: (subnet) => publication.protect(subnet.name),
    ports,
    macOf,
    mtuOf: (subnet) => machine().mtuOf(subnet),
    onPlan: (pod, plan) => poolRoom.look(pod, plan),
    onWritten: (record) => noteClaim(view, record),
    onChange: options.onChange,
    onBlocks: options.onBlocks,
    logger,
    now: () => performance.now(),
  });
  const audit = new AddressAudit({
    reader: new AddressFactReader({ client, blocksAround: (subnet, address) => reads.blocksAround(subnet, address) }),
    watched: {
      nodes: () => directory().nodes,
      subnets: () => directory().subnets.flatMap(({ value }) => (value === undefined ? [] : [value])),
      isListed: () => directory().synced,
    },
    ownerState: (owner) => owners.read(owner),
    repairing: () => {
      const node = membership().self;
      if (node === undefined) return undefined;
      return {
        node,
        addresses: store,
        blocks: blockStore(client),
        reads: { ...orphanReads(client), podUid: (namespace, name) => reads.podUid(namespace, name) },
        isAttached: (podUid) => addresses.claims.isPresent(podUid),
      };
    },
    onReleased: (before, left) => {
      if (left !== undefined) noteClaim(view, left);
      events.freed(before, left);
    },
    logger,
  });
  return { addresses, addressEvents: events, publication, memory, store, reads, owners, audit };
}

/** What this node has just written of a claim counts at once: the watch may lag, and the pod does not wait for it. */
function noteClaim(view: View, record: IpAddressRecord): void {
  const fact = claimFact(record);
  if (fact === undefined) view.removeClaim(record.address);
  else view.setClaim(fact);
}
