/** Addresses that pods of a subnet pass on among themselves (`spec.allowedAddresses`): whoever announced one last has it. */
import type { Announcement } from "@beyondfabric/datapath";
import { cidrContains, type Cidr, type Ip } from "@beyondfabric/packet";
import type { PodPort } from "./ports.ts";

export interface Handover {
  /** The pod of this node that has the address no longer. */
  readonly from?: PodPort;
  /** The pod of this node that has it from now on. */
  readonly to?: PodPort;
}

export interface Situation {
  readonly ports: Iterable<PodPort>;
  /** The pod that the announcement comes from; undefined: it came in from the wire. */
  readonly speaker: PodPort | undefined;
  /** What pods of a subnet may take. */
  readonly allowed: (subnet: string) => readonly Cidr[];
  /** Whether an address is somebody's own: a pod's, a node's, a gateway, or claimed. */
  readonly isTaken: (address: Ip) => boolean;
}

/** Who has an address after an announcement; undefined when nothing changes. */
export function handoverOf({ address, mac, isStatement }: Announcement, situation: Situation): Handover | undefined {
  const { speaker, allowed, isTaken } = situation;
  const ports = [...situation.ports];
  const holder = ports.find(({ held }) => held.includes(address));
  if (speaker === undefined) {
    // A frame of the pod's own that came back from the wire says nothing new.
    return holder === undefined || !isStatement || mac === holder.mac ? undefined : { from: holder };
  }
  const mayTake = allowed(speaker.subnet).some((prefix) => cidrContains(prefix, address));
  if (!mayTake || holder === speaker || mac !== speaker.mac) return undefined;
  // Who only sends from the address has it when nobody else here does.
  if (holder !== undefined && !isStatement) return undefined;
  if (isTaken(address) || ports.some(({ addresses }) => addresses.includes(address))) return undefined;
  return { to: speaker, ...(holder === undefined ? {} : { from: holder }) };
}

/** What a pod still holds: what its subnet allows no more, or is somebody's own by now, it does not. */
export function stillHeld(
  { held, subnet }: PodPort,
  allowed: Situation["allowed"],
  isTaken: Situation["isTaken"],
): Ip[] {
  const prefixes = allowed(subnet);
  return held.filter((address) => !isTaken(address) && prefixes.some((prefix) => cidrContains(prefix, address)));
}
