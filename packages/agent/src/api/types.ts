/**
 * What `fabric-node` answers on its local API (HTTP/1.1 and JSON over a unix socket), as `fabricctl` reads it. All
 * times are milliseconds since the epoch unless a name says otherwise; counters only grow while the agent lives.
 */
import type { AddressAccount } from "../ipam/audit.ts";
import type { Finding, RepairStep } from "../ipam/audit-findings.ts";
import type { UnderlayFinding, UnderlayObservation } from "../underlay/diagnosis.ts";
import type { Tenure } from "../ipam/audit-history.ts";

export type {
  NetworkObservation,
  UnderlayFinding,
  UnderlayObservation,
  UnderlayRule,
  WireObservation,
} from "../underlay/diagnosis.ts";
export type { AddressAccount, AddressState, AddressUser } from "../ipam/audit.ts";
export type { Finding, FindingKind, FindingRule, RepairStep } from "../ipam/audit-findings.ts";
export type { Tenure } from "../ipam/audit-history.ts";

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
  /** Local pods that sent under false names in the last minute, the worst first. */
  readonly spoofing: readonly {
    readonly pod: string;
    readonly packets: number;
    readonly reasons: Readonly<Record<string, number>>;
    /** What the last packet that was looked at claimed. */
    readonly claim: string;
    /** How long ago the last one was (ms). */
    readonly age: number;
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
    /** The same by what was false about them; `unread`: more than the agent looks at. */
    readonly spoofedAs: Readonly<Record<string, number>>;
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

/** GET /v1/addresses/account?address=A */
export interface AddressReply {
  readonly account: AddressAccount;
}

/** GET /v1/addresses[?subnet=S][&namespace=NS][&owner=KIND/NAME][&free=true][&limit=N] */
export interface AddressesReply {
  /** In order; at most `limit` (default 1,000). */
  readonly addresses: readonly AddressAccount[];
  /** There are more than these. */
  readonly more: boolean;
}

/** GET /v1/addresses/history?address=A or ?pod=namespace/name */
export interface AddressHistoryReply {
  /** Newest first; those that last come before those that ended. */
  readonly tenures: readonly Tenure[];
}

/** GET /v1/addresses/check: takes some seconds, because what is found is looked at twice. */
export interface AddressCheckReply {
  readonly findings: readonly Finding[];
  /** What was looked at. */
  readonly looked: {
    readonly claims: number;
    readonly blocks: number;
    readonly pods: number;
    readonly nodes: number;
    readonly subnets: number;
  };
}

/** POST /v1/addresses/repair {"steps": [...]}: steps as a finding gave them */
export interface AddressRepairReply {
  readonly results: readonly {
    readonly step: RepairStep;
    /** `changed`: the object is no longer what was judged. `refused`, `failed`: `message` says why. */
    readonly state: "done" | "changed" | "refused" | "failed";
    readonly message?: string;
  }[];
}

/** GET /v1/underlay/examination: takes some seconds, because answers are waited for. */
export interface UnderlayReply extends UnderlayObservation {
  readonly findings: readonly UnderlayFinding[];
}

/** A part of a rule of a policy, and what became of it. */
export interface PolicyFinding {
  readonly part: string;
  readonly matched: boolean;
  readonly why: string;
}

/** GET /v1/policy/explain?from=&to=[&port=] */
export interface PolicyExplanationReply {
  readonly allowed: boolean;
  /** The whole answer in one line. */
  readonly sentence: string;
  /** The addresses that were compared. */
  readonly from: string;
  readonly to: string;
  /** What is done about packets under a false name. */
  readonly spoofGuard: string;
  readonly tenancy: { readonly allowed: boolean; readonly because: string };
  /** Where an end is a service: all of its endpoints; the rest is about the first that is refused, or the first of all. */
  readonly service?: {
    readonly name: string;
    readonly endpoints: readonly {
      readonly from: string;
      readonly to: string;
      readonly allowed: boolean;
      readonly sentence: string;
    }[];
  };
  /** Egress at the source, then ingress at the destination; only where there is a pod. */
  readonly directions: readonly {
    readonly direction: "ingress" | "egress";
    readonly pod: string;
    readonly allowed: boolean;
    readonly because: string;
    readonly policies: readonly {
      readonly policy: string;
      readonly podSelector: string;
      readonly rules: readonly {
        readonly rule: string;
        readonly matched: boolean;
        readonly peers: readonly PolicyFinding[];
        readonly ports: readonly PolicyFinding[];
      }[];
    }[];
  }[];
}

/** GET /v1/policy/list?pod=namespace/name */
export interface PolicyListReply {
  readonly pod: string;
  readonly ingressIsolated: boolean;
  readonly egressIsolated: boolean;
  readonly policies: readonly {
    readonly policy: string;
    /** Empty for one that selects every pod of the namespace. */
    readonly podSelector: string;
    /** How many; null when the policy does not isolate in that direction. */
    readonly ingressRules: number | null;
    readonly egressRules: number | null;
  }[];
}

/** GET /v1/policy/matrix?namespace=[&namespace=] */
export interface PolicyMatrixReply {
  readonly pods: readonly string[];
  /** A row per source; its openings stand in the order of `pods`: `everything`, `nothing`, or ports. */
  readonly rows: readonly { readonly from: string; readonly openings: readonly string[] }[];
}

/** GET /v1/policy/counters: what each rule let pass at pods of this node since its agent started. */
export interface PolicyCountersReply {
  readonly rules: readonly {
    readonly policy: string;
    readonly direction: "ingress" | "egress";
    /** Counted from 1. */
    readonly rule: number;
    readonly sessions: number;
    /** Of both directions. */
    readonly packets: number;
    readonly bytes: number;
  }[];
}

/** GET /v1/denials: what policies and tenancy refused lately at pods of this node, oldest first. */
export interface DenialsReply {
  readonly denials: readonly {
    /** `policy`: what each end lets pass, the other does not. */
    readonly reason: "tenant-differs" | "policy" | "policy-ingress" | "policy-egress";
    readonly source: { readonly address: string; readonly pod?: string };
    readonly destination: { readonly address: string; readonly pod?: string };
    /** IANA's number; 0 when an entry of the switch refused packets of any kind. */
    readonly protocol: number;
    /** Absent when packets of several ports were refused by one entry. */
    readonly destinationPort?: number;
    readonly direction?: "ingress" | "egress";
    /** The pod whose isolation refused it. */
    readonly isolated?: string;
    /** The policies that isolate it. */
    readonly policies: readonly string[];
    readonly last: number;
    readonly count: number;
  }[];
}
