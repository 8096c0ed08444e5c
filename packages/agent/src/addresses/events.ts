/** What people read about addresses in `kubectl describe`: Events on pods, on IPAddress objects, and on what owns the pods. */
import type { EventRecorder, EventTarget } from "@beyondfabric/kube";
import { API_GROUP, API_VERSION, ipAddressName, type IpAddressRecord } from "@beyondfabric/kube/kinds";
import type { Ip } from "@beyondfabric/packet";

/** A pod as an Event names it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export class AddressEvents {
  readonly #recorder: Pick<EventRecorder, "record">;

  constructor(recorder: Pick<EventRecorder, "record">) {
    this.#recorder = recorder;
  }

  /**
   * A pod has its addresses now; one has moved if the pod that had it before was another, or on another node. The pod is told
   * once about all of them: a second Event of the same reason would take the place of the first.
   */
  claimed(records: readonly IpAddressRecord[]): void {
    const told = new Map<string, string[]>();
    for (const record of records) {
      const claimed = claimOf(record);
      if (claimed === undefined) continue;
      this.#recorder.record(ofAddress(record), "Normal", claimed.reason, claimed.message);
      told.set(claimed.reason, [...(told.get(claimed.reason) ?? []), claimed.message]);
    }
    const holder = records[0]?.holder;
    if (holder === undefined) return;
    const pod = ofPod({ ...holder, name: holder.pod, uid: holder.podUid });
    for (const [reason, messages] of told) this.#recorder.record(pod, "Normal", reason, messages.join("; "));
  }

  released(records: readonly IpAddressRecord[], pod: PodName): void {
    const messages = records.map((record) => {
      const message = `${pod.namespace}/${pod.name} has given ${record.address} back; ${nextOf(record)}`;
      this.#recorder.record(ofAddress(record), "Normal", "AddressReleased", message);
      return message;
    });
    if (messages.length > 0) this.#recorder.record(ofPod(pod), "Normal", "AddressReleased", messages.join("; "));
  }

  /** An operator took the address from a pod that is gone, or from an owner. */
  freed({ address, holder, owner }: IpAddressRecord, left: IpAddressRecord | undefined): void {
    const whose = owner === undefined ? "nobody" : `${owner.kind} ${owner.namespace}/${owner.name}`;
    const had = holder === undefined ? `was kept for ${whose}` : `pod ${holder.namespace}/${holder.pod} had`;
    const next = left?.phase === "Retained" ? `it is kept for ${whose}` : "anybody may have it";
    const message = `an operator released ${address}, which ${had}; ${next}`;
    this.#recorder.record(ofAddress({ address }), "Normal", "AddressReleased", message);
  }

  /** An agent took the address from a pod that is gone, or from an owner that wants it no more. */
  collected({ address, holder, owner, retention }: IpAddressRecord): void {
    const whose = owner === undefined ? "nobody" : `${owner.kind} ${owner.namespace}/${owner.name}`;
    const isKept = holder !== undefined && owner !== undefined && retention !== "Pool";
    const message =
      holder === undefined
        ? `${address} is no longer kept for ${whose}; anybody may have it`
        : `pod ${holder.namespace}/${holder.pod} of node ${holder.node} is gone, which had ${address}; ` +
          (isKept ? `it is kept for ${whose}` : "anybody may have it");
    this.#recorder.record(ofAddress({ address }), "Normal", "AddressReleased", message);
  }

  /** The pod waits for an address; the message names who has it, and what to do. */
  conflict(pod: PodName, addresses: readonly Ip[], message: string): void {
    this.#recorder.record(ofPod(pod), "Warning", "AddressConflict", message);
    for (const address of addresses) {
      this.#recorder.record(ofAddress({ address }), "Warning", "AddressConflict", message);
    }
  }

  /** A machine outside uses the address of a pod that runs. */
  duplicate(pod: PodName, address: Ip, message: string): void {
    this.#recorder.record(ofPod(pod), "Warning", "AddressDuplicate", message);
    this.#recorder.record(ofAddress({ address }), "Warning", "AddressDuplicate", message);
  }

  /** The pod waits for the owner of the block around an address. */
  pending(pod: PodName, message: string): void {
    this.#recorder.record(ofPod(pod), "Normal", "AddressPending", message);
  }

  /** The pod's annotations, or its namespace's, ask for what cannot be. */
  refused(pod: PodName, message: string): void {
    this.#recorder.record(ofPod(pod), "Warning", "AddressRefused", message);
  }

  /** The pod runs with other addresses than it asked for. */
  differs(pod: PodName, message: string): void {
    this.#recorder.record(ofPod(pod), "Warning", "AddressDiffers", message);
  }

  /** A pool has too few addresses for the workload that draws from it. */
  poolTooSmall(workload: EventTarget, pool: string | undefined, message: string): void {
    this.#recorder.record(workload, "Warning", "PoolTooSmall", message);
    if (pool === undefined) return;
    this.#recorder.record({ apiVersion, kind: "IPPool", name: pool }, "Warning", "PoolTooSmall", message);
  }
}

/** Who has an address now, and had it before, as a sentence; undefined when nobody has it. */
function claimOf(record: IpAddressRecord): { readonly reason: string; readonly message: string } | undefined {
  const { holder } = record;
  if (holder === undefined) return undefined;
  const last = record.history.at(-1);
  const hasMoved = last !== undefined && (last.node !== holder.node || last.pod !== holder.pod);
  const kept = record.owner === undefined ? "" : `, the identity of ${record.owner.kind} ${record.owner.name}`;
  const pool = record.pool === undefined ? "" : `, of IPPool ${record.pool}`;
  const about = `${record.address} of Subnet ${record.subnet}${pool}${kept}`;
  const who = `${holder.namespace}/${holder.pod} on node ${holder.node}`;
  const before = hasMoved ? `; before: ${last.namespace}/${last.pod} on node ${last.node}` : "";
  return { reason: hasMoved ? "AddressMoved" : "AddressClaimed", message: `${who} has ${about}${before}` };
}

function nextOf({ phase, owner }: IpAddressRecord): string {
  if (phase !== "Retained" || owner === undefined) return "anybody may have it";
  return `it is kept for ${owner.kind} ${owner.namespace}/${owner.name}`;
}

const apiVersion = `${API_GROUP}/${API_VERSION}`;

function ofPod({ namespace, name, uid }: PodName): EventTarget {
  return { apiVersion: "v1", kind: "Pod", namespace, name, ...(uid === "" ? {} : { uid }) };
}

function ofAddress({ address, uid }: { readonly address: Ip; readonly uid?: string }): EventTarget {
  return {
    apiVersion,
    kind: "IPAddress",
    name: ipAddressName(address),
    ...(uid === undefined || uid === "" ? {} : { uid }),
  };
}
