/**
 * Carrying out what an audit proposed and a person agreed to. A step is done only if its object is still the version that was
 * judged, and only if what was judged still holds when the API server is asked: between the finding and the answer of a
 * person there may be minutes.
 */
import type { AddressBlock, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { ipFromObjectName, type Ip } from "@beyondfabric/packet";
import { reclaim, releaseClaim } from "./address-claim.ts";
import type { RepairStep } from "./audit-findings.ts";
import type { BlockStore, NodeIdentity } from "./blocks.ts";
import type { AddressStore, ClaimReads } from "./claims.ts";
import { releaseOrphan, type OrphanReads } from "./garbage.ts";

export interface RepairEnvironment {
  /** The node that repairs. */
  readonly node: NodeIdentity;
  readonly addresses: Pick<AddressStore, "get" | "update" | "delete">;
  readonly blocks: Pick<BlockStore, "get" | "delete">;
  readonly reads: Pick<ClaimReads, "podUid"> & OrphanReads;
  /** Whether a pod has an interface on this node. */
  readonly isAttached: (podUid: string) => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** `changed`: the object is another one by now, or gone. `refused`: what was found holds no longer; the message says why. */
export type RepairOutcome =
  | { readonly state: "done"; readonly before: IpAddressRecord | AddressBlock; readonly left?: IpAddressRecord }
  | { readonly state: "changed" }
  | { readonly state: "refused"; readonly message: string };

/** Who freed an address, in its history. */
const reason = "ReleasedByOperator";

/**
 * Does one step.
 * @throws what the stores and the reads throw; then it is open whether it was done
 */
export async function repair(step: RepairStep, environment: RepairEnvironment): Promise<RepairOutcome> {
  if (step.kind === "AddressBlock") return freeBlock(step, environment);
  const address = addressOf(step.name);
  const record = address === undefined ? undefined : await environment.addresses.get(address);
  if (record === undefined || !isJudged(record, step)) return { state: "changed" };
  return step.action === "release" ? releaseHolder(record, environment) : reclaimAddress(record, environment);
}

async function releaseHolder(record: IpAddressRecord, environment: RepairEnvironment): Promise<RepairOutcome> {
  const { addresses, reads, isAttached, now } = environment;
  const { holder } = record;
  if (holder === undefined) return { state: "refused", message: "no pod holds it any more" };
  const pod = `${holder.namespace}/${holder.pod}`;
  if ((await reads.podUid(holder.namespace, holder.pod)) === holder.podUid) {
    return { state: "refused", message: `pod ${pod} is there` };
  }
  if (isAttached(holder.podUid)) {
    const message = `pod ${pod} still has its interface on this node; the kubelet removes it`;
    return { state: "refused", message };
  }
  const next = releaseClaim(record, reason, now());
  if (next === undefined) {
    return (await addresses.delete(record)) ? { state: "done", before: record } : { state: "changed" };
  }
  return swapped(record, await addresses.update(next));
}

async function reclaimAddress(record: IpAddressRecord, environment: RepairEnvironment): Promise<RepairOutcome> {
  const { addresses, now } = environment;
  const { phase, reclaimAt } = record;
  if (phase !== "Retained" || reclaimAt === undefined || now() < reclaimAt) {
    return { state: "refused", message: "it is not due to be released" };
  }
  return swapped(record, await addresses.update(reclaim(record, now())));
}

function swapped(before: IpAddressRecord, left: IpAddressRecord | undefined): RepairOutcome {
  return left === undefined ? { state: "changed" } : { state: "done", before, left };
}

async function freeBlock(step: RepairStep, environment: RepairEnvironment): Promise<RepairOutcome> {
  const { blocks, node, reads } = environment;
  const block = await blocks.get(step.name);
  if (block === undefined || !isJudged(block, step)) return { state: "changed" };
  // A block of this node's name is this agent's own affair: it sees its interfaces, and frees it as soon as it can.
  if (block.node === node.name) {
    return {
      state: "refused",
      message: "it was this very node's: its agent frees it when no pod has an address of it",
    };
  }
  if (await releaseOrphan(block, node, () => false, reads, blocks)) return { state: "done", before: block };
  const message = `node ${block.node} is there again, or the API has pods of it that may have addresses of the block`;
  return { state: "refused", message };
}

function isJudged(
  { uid, resourceVersion }: { readonly uid: string; readonly resourceVersion: string },
  step: RepairStep,
): boolean {
  return uid === step.uid && resourceVersion === step.resourceVersion;
}

function addressOf(name: string): Ip | undefined {
  try {
    return ipFromObjectName(name);
  } catch {
    return undefined;
  }
}
