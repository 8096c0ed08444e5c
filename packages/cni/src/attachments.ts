/** What the agent does behind the protocol: the interface between the CNI server and whoever wires pods. */

/** The pod that a sandbox belongs to, as Kubernetes runtimes say it in CNI_ARGS. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
}

/** One container's interface. */
export interface AttachRequest {
  /** `name` of the network configuration. */
  readonly networkName: string;
  readonly containerId: string;
  /** Path of the container's network namespace. May be absent, or lead nowhere, on DEL. */
  readonly netns?: string;
  /** Name of the interface inside the container. */
  readonly ifname: string;
  /** Absent when the runtime is not Kubernetes'. */
  readonly pod?: PodReference;
  /** All pairs of CNI_ARGS. */
  readonly args: ReadonlyMap<string, string>;
  /** Capability arguments (`runtimeConfig`), such as `bandwidth`, `mac`, `ips`. Unchecked values. */
  readonly runtimeConfig: Readonly<Record<string, unknown>>;
  /** The whole configuration of this plug-in. Unchecked values. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Aborted when the caller has gone or the time is over: what is under way should be undone or finished quickly. */
  readonly signal: AbortSignal;
}

/** An address on the pod's interface. */
export interface AttachedIp {
  /** `address/length`. */
  readonly address: string;
  readonly gateway?: string;
}

/** A route inside the container. */
export interface AttachedRoute {
  /** `address/length`. */
  readonly dst: string;
  readonly gw?: string;
  /** Bytes. */
  readonly mtu?: number;
}

/** Name resolution that the runtime may give the container. */
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** A finished attachment. */
export interface Attachment {
  readonly hostInterface: { readonly name: string; readonly mac: string };
  readonly podInterface: {
    readonly name: string;
    readonly mac: string;
    /** CNI_NETNS as given. */
    readonly sandbox: string;
    /** Bytes. */
    readonly mtu: number;
  };
  readonly ips: readonly AttachedIp[];
  readonly routes: readonly AttachedRoute[];
  readonly dns?: Dns;
}

/** An attachment that the runtime still has. */
export interface ValidAttachment {
  readonly containerId: string;
  readonly ifname: string;
}

/**
 * What the agent implements. A refusal is thrown as CniError and goes to the runtime; anything else that is thrown
 * becomes code 100. No two calls about one container run at the same time, and `gc` runs alone.
 */
export interface Attachments {
  /** Attaches. Asked again for the same container and interface it gives the same attachment. */
  add(request: AttachRequest): Promise<Attachment>;
  /** Detaches and frees everything. Done already, or the namespace gone, is success. */
  del(request: AttachRequest): Promise<void>;
  /** Throws CniError when an interface, address or route of `prevResult` that is ours is missing or wrong. */
  check(request: AttachRequest, prevResult: PreviousResult): Promise<void>;
  /** Frees what belongs to attachments of the network that are not in `valid`. Goes on after an error; throws at the end. */
  gc(networkName: string, valid: readonly ValidAttachment[], signal: AbortSignal): Promise<void>;
  /** Throws CniError with code 50 or 51 when ADD cannot be served. */
  status(signal: AbortSignal): Promise<void>;
}

/** The result that an earlier ADD gave, checked for its shape, the same for every version of the specification. */
export interface PreviousResult {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Readonly<Record<string, unknown>>;
}

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
  /** Absent on the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface ResultIp {
  /** `address/length`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface ResultRoute {
  /** `address/length`. */
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}
