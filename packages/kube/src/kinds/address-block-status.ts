/** What a block's owner publishes about it, behind the pods: for people and audits, no decision is taken from it. */
import { isIp, parseIp } from "@beyondfabric/packet";
import type { Ip } from "@beyondfabric/packet";
import { z } from "zod";
import { formatTimestamp, parseTimestamp, timestamp } from "./timestamp.ts";

/** Most allocations that are published, so that the object stays small whatever the block's size. */
export const MAX_ALLOCATIONS = 1024;
/** Most allocations that ended which are remembered. */
export const MAX_ENDED_ALLOCATIONS = 128;

const allocationShape = {
  address: z.string().max(45).describe("The address, in canonical text."),
  pod: z.string().max(317).describe("NAMESPACE/NAME of the pod."),
  uid: z.string().max(128).describe("UID of the pod. Absent: the runtime did not say.").optional(),
};

/** Schema of `AddressBlock.status`. */
export const blockStatusSchema = z.object({
  used: z.int().min(0).describe("Addresses in use, as the owner last wrote it.").optional(),
  free: z.int().min(0).describe("Addresses that the block could hand out besides.").optional(),
  allocations: z
    .array(z.object({ ...allocationShape, since: timestamp("When the pod got the address.") }))
    .max(MAX_ALLOCATIONS)
    .describe("Who has which address.")
    .optional(),
  history: z
    .array(
      z.object({
        ...allocationShape,
        from: timestamp("When the pod got the address."),
        until: timestamp("When it lost it."),
      }),
    )
    .max(MAX_ENDED_ALLOCATIONS)
    .describe("Who had addresses before, newest last.")
    .optional(),
});

/** A pod's address; times are milliseconds since the epoch. */
export interface BlockAllocation {
  readonly address: Ip;
  /** NAMESPACE/NAME. */
  readonly pod: string;
  /** Empty when the runtime did not say. */
  readonly uid: string;
  readonly since: number;
}

/** An address that a pod had. */
export interface EndedAllocation {
  readonly address: Ip;
  readonly pod: string;
  /** Empty when the runtime did not say. */
  readonly uid: string;
  readonly from: number;
  readonly until: number;
}

/** `AddressBlock.status` as a record. */
export interface AddressBlockStatus {
  readonly used: number;
  readonly free: number;
  readonly allocations: readonly BlockAllocation[];
  /** Newest last. */
  readonly history: readonly EndedAllocation[];
}

/** The status to write; of more than can be published the first allocations and the newest history. */
export function addressBlockStatus(status: AddressBlockStatus): z.input<typeof blockStatusSchema> {
  return {
    used: status.used,
    free: status.free,
    allocations: status.allocations.slice(0, MAX_ALLOCATIONS).map(({ address, pod, uid, since }) => ({
      address,
      pod,
      // Some builds of Kubernetes 1.20 refuse an empty text in a custom resource.
      ...(uid === "" ? {} : { uid }),
      since: formatTimestamp(since),
    })),
    history: status.history.slice(-MAX_ENDED_ALLOCATIONS).map(({ address, pod, uid, from, until }) => ({
      address,
      pod,
      // Some builds of Kubernetes 1.20 refuse an empty text in a custom resource.
      ...(uid === "" ? {} : { uid }),
      from: formatTimestamp(from),
      until: formatTimestamp(until),
    })),
  };
}

/** Reads the status of an AddressBlock object; undefined when it has none that can be read. */
export function parseAddressBlockStatus(raw: unknown): AddressBlockStatus | undefined {
  const status = blockStatusSchema.safeParse((raw as { status?: unknown } | null | undefined)?.status);
  if (!status.success) return undefined;
  const { used = 0, free = 0, allocations = [], history = [] } = status.data;
  return {
    used,
    free,
    allocations: allocations.filter(hasAddress).map((each) => ({
      ...each,
      uid: each.uid ?? "",
      address: parseIp(each.address),
      since: parseTimestamp(each.since),
    })),
    history: history.filter(hasAddress).map((each) => ({
      ...each,
      uid: each.uid ?? "",
      address: parseIp(each.address),
      from: parseTimestamp(each.from),
      until: parseTimestamp(each.until),
    })),
  };
}

function hasAddress({ address }: { readonly address: string }): boolean {
  return isIp(address);
}
