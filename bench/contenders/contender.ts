/** What the bench asks of everything that it compares. */
import type { BenchApiServer } from "../cluster/api-server.ts";
import type { BenchPolicy, ServiceName } from "../cluster/policies.ts";
import type { CniNode } from "../cni/attach.ts";
import type { Site } from "../environment/site.ts";
import type { Pod, PodRequest, Switch } from "../environment/switch.ts";
import type { Variation } from "../traffic/plan.ts";

/** Pods on each recorded node. */
export const PODS_PER_NODE = 30;

/** What a contender is told before it starts. */
export interface Setting {
  readonly pods: readonly PodRequest[];
  /** Further source addresses that the pod `pods[0]` sends from: every one of them opens a new flow. */
  readonly sources: Variation;
  /** Ports that nobody uses, beside those of the pods. */
  readonly idlePorts: number;
  /** `default`: ports are limited as they are out of the box. Otherwise one pod may open flows like a whole node. */
  readonly meters?: "default";
  /** Pods on other nodes of the cluster, for a contender that knows a cluster. None unless given. */
  readonly clusterPods?: number;
  /** Entries that {@link Running.addEntries} will be asked for. */
  readonly entries?: number;
  /**
   * The service that each of `pods` belongs to, where policies are about them; undefined for a pod that none is about.
   * Absent: no pod of the API stands for them.
   */
  readonly services?: readonly (ServiceName | undefined)[];
  /** What is in force before any traffic. */
  readonly policies?: readonly BenchPolicy[];
  /** Datapath flows that are kept alive besides what is measured: a budget of entries must have room for theirs. */
  readonly liveFlows?: number;
}

/** A contender at work on a switch of its own. */
export interface Running {
  readonly contender: string;
  readonly switch: Switch;
  readonly pods: readonly Pod[];
  /** MAC address to which `from` sends what is meant for `to`. */
  macTowards(from: Pod, to: Pod): string;
  /** Processor time of whatever controls the switch, in microseconds since its start; 0 if nothing does. */
  controllerCpu(): number;
  /** Resident bytes of whatever controls the switch; 0 if nothing does. */
  controllerMemory(): number;
  /** Forgets everything that earlier traffic left behind, so that its flows are new again. */
  forget(): Promise<void>;
  /** Puts `count` entries that no traffic of the bench hits into the table that new flows pass. */
  addEntries(count: number): Promise<void>;
  /** Its API server, where it has one. */
  readonly api?: BenchApiServer;
  /** Ends the contender and its switch. */
  stop(): Promise<void>;
}

/** Two pods on two nodes. */
export interface Across {
  readonly contender: string;
  readonly from: Pod;
  readonly to: Pod;
  stop(): Promise<void>;
}

/** A node in a growing cluster. */
export interface Scaled {
  readonly contender: string;
  /** Grows the cluster to so many pods on other nodes; returns when the node knows them all. */
  grow(pods: number): Promise<void>;
  /** Entries in the node's OpenFlow tables. */
  entries(): number;
  /** Resident bytes of what controls the switch. */
  memory(): number;
  stop(): Promise<void>;
}

/** Something that can run the bench's traffic. */
export interface Contender {
  readonly name: string;
  start(site: Site, setting: Setting): Promise<Running>;
  /** Starts two nodes joined by VXLAN, with one pod on each. */
  startAcross?(site: Site): Promise<Across>;
  /** Starts two nodes joined by a cable, with one pod on each that is a host on that cable. */
  startUnderlay?(site: Site): Promise<Across>;
  /** Starts a node whose pods come and go by CNI. */
  startCni?(site: Site): Promise<CniNode>;
  /** Starts a node with `localPods` pods in a cluster that can grow. */
  startScaled?(site: Site, localPods: number): Promise<Scaled>;
}
