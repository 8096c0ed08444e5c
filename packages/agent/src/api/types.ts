/**
 * What `fabric-node` answers on its local API (HTTP/1.1 and JSON over a unix socket), as `fabricctl` reads it. All
 * times are milliseconds since the epoch unless a name says otherwise; counters only grow while the agent lives.
 */
export interface ApiError {
  readonly code: string;
  readonly message: string;
}

/** GET /v1/version */
export interface VersionReply {
  readonly version: string;
  readonly node: string;
  readonly ovs: string | undefined;
  readonly openflow: string;
  readonly runtime: string;
}

/** GET /v1/status */
export interface StatusReply {
  readonly node: string;
  readonly version: VersionReply;
  readonly startedAt: number;
  readonly ready: boolean;
  /** Why the node is not ready, one sentence each; empty when it is. */
  readonly notReady: readonly string[];
  readonly switch: {
    readonly connected: boolean;
    readonly datapathType: string;
    readonly bridge: string;
    readonly failMode: string | undefined;
    readonly baseEntries: number;
    readonly podEntries: number;
    readonly verdictEntries: number;
    readonly entryBudget: number;
  };
  readonly api: { readonly connected: boolean; readonly synced: boolean };
  readonly addresses: readonly {
    readonly subnet: string;
    readonly block: string;
    readonly used: number;
    readonly capacity: number;
  }[];
  readonly tunnelAddress: string | undefined;
  readonly gatewayAddresses: readonly string[];
  readonly peers: number;
  readonly pods: number;
  readonly misses: {
    readonly total: number;
    /** Over the last few seconds. */
    readonly perSecond: number;
    readonly held: number;
    readonly holdExpired: number;
    readonly withoutEntry: number;
    /** Packets that the meters refused, all ports. */
    readonly metered: number;
  };
  /** Local pods that asked for more than their share of first packets in the last minute, the worst first. */
  readonly noisy: readonly {
    readonly pod: string;
    readonly ofport: number;
    readonly missesPerSecond: number;
    readonly droppedPerSecond: number;
    readonly droppedTotal: number;
    readonly lastSeen: number;
  }[];
  readonly memoryBytes: number;
}

/** GET /v1/endpoints */
export interface EndpointsReply {
  readonly endpoints: readonly {
    readonly pod: string;
    readonly uid: string;
    readonly addresses: readonly string[];
    readonly mac: string;
    readonly ofport: number;
    readonly hostInterface: string;
    readonly container: string;
    readonly subnet: string;
    readonly created: number;
    /** Packets that the pod sent under a name that is not its own. */
    readonly spoofedPackets: number;
    readonly misses: number;
  }[];
}

/** GET /v1/flows[?pod=namespace/name] */
export interface FlowsReply {
  readonly flows: readonly {
    readonly table: string;
    readonly kind: "base" | "pod" | "verdict" | "foreign";
    /** The entry in the syntax of `ovs-ofctl`. */
    readonly text: string;
    readonly packets: number;
    readonly bytes: number;
    /** The sentence that explains a verdict; absent for other entries. */
    readonly explanation?: string;
    readonly source?: string;
    readonly destination?: string;
  }[];
}
