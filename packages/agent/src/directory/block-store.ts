/** Blocks in the Kubernetes API: creating is claiming, and deleting says which version was judged. */
import { isAlreadyExists, isConflict, isNotFound, nodeResource, podResource } from "@beyondfabric/kube";
import type { KubeClient, Pod } from "@beyondfabric/kube";
import { addressBlockKind, formatViolation, parseAddressBlock, type AddressBlock } from "@beyondfabric/kube/kinds";
import { formatCidr, isIp, parseIp, type Cidr, type Ip } from "@beyondfabric/packet";
import { AgentError } from "../errors.ts";
import type { BlockStore, NodeIdentity } from "../ipam/blocks.ts";
import { releaseOrphan, type OrphanReads } from "../ipam/garbage.ts";
import type { Logger } from "../log.ts";

/** Blocks that are read at a time. */
const maxReads = 16;

export function blockStore(client: KubeClient): BlockStore {
  const get = async (name: string): Promise<AddressBlock | undefined> => {
    try {
      return readBlock(await client.get(addressBlockKind, name));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  return {
    get,
    async create(manifest) {
      try {
        return readBlock(await client.create(addressBlockKind, manifest));
      } catch (error) {
        if (isAlreadyExists(error)) return undefined;
        throw error;
      }
    },
    async existing(names) {
      const found: AddressBlock[] = [];
      for (let at = 0; at < names.length; at += maxReads) {
        const blocks = await Promise.all(names.slice(at, at + maxReads).map(get));
        found.push(...blocks.filter((block) => block !== undefined));
      }
      return found;
    },
    async lend({ name, uid, resourceVersion }, lent) {
      const change = { metadata: { uid, resourceVersion }, spec: { lent: lent.map(formatCidr) } };
      try {
        return readBlock(await client.patch(addressBlockKind, name, change));
      } catch (error) {
        if (isNotFound(error) || isConflict(error)) return undefined;
        throw error;
      }
    },
    async delete({ name, uid, resourceVersion }) {
      try {
        await client.delete(addressBlockKind, name, { preconditions: { uid, resourceVersion } });
        return true;
      } catch (error) {
        if (isNotFound(error) || isConflict(error)) return false;
        throw error;
      }
    },
  };
}

/** @throws AgentError `AGENT_API_REQUEST` for an object that breaks rules */
export function readBlock(raw: unknown): AddressBlock {
  const parsed = parseAddressBlock(raw);
  if (parsed.ok) return parsed.value;
  throw new AgentError("AGENT_API_REQUEST", parsed.violations.map(formatViolation).join("; "));
}

/**
 * Frees blocks whose nodes are gone; what cannot be freed now is due again later.
 * @param isAttached whether one of this node's own pods has an ordinary address inside
 */
export async function freeBlocks(
  due: readonly AddressBlock[],
  client: KubeClient,
  logger: Logger,
  self: NodeIdentity,
  isAttached: (cidr: Cidr) => boolean,
): Promise<void> {
  const store = blockStore(client);
  const reads = orphanReads(client);
  for (const block of due) {
    try {
      if (await releaseOrphan(block, self, isAttached, reads, store)) {
        logger.info({ block: block.name, node: block.node }, "freed a block whose node is gone");
      }
    } catch (error) {
      logger.debug({ err: error, block: block.name }, "block not freed yet");
    }
  }
}

/** What must be known before the block of a node that is gone is freed. */
export function orphanReads(client: KubeClient): OrphanReads {
  return {
    nodeUid: (name) => readNodeUid(client, name),
    podsOn: (node) => readPodsOn(client, node),
  };
}

/** UID of the Node of that name, read from the API server; undefined when there is none. */
export async function readNodeUid(client: KubeClient, name: string): Promise<string | undefined> {
  try {
    return (await client.get<{ metadata: { uid: string } }>(nodeResource, name)).metadata.uid;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function readPodsOn(client: KubeClient, node: string): Promise<{ addresses: Ip[] }[]> {
  const addressesOf = (raw: unknown): { addresses: Ip[] } | undefined => {
    const { spec, status } = raw as Pod;
    if (spec?.hostNetwork === true || status?.phase === "Succeeded" || status?.phase === "Failed") return undefined;
    const texts = status?.podIPs?.map(({ ip }) => ip) ?? [status?.podIP];
    return { addresses: texts.filter((ip) => ip !== undefined && isIp(ip)).map((ip) => parseIp(ip!)) };
  };
  return (await client.listAll(podResource, addressesOf, { fieldSelector: `spec.nodeName=${node}` })).records;
}
