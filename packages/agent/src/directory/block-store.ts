/** Blocks in the Kubernetes API: creating is claiming, and deleting says which version was judged. */
import { isAlreadyExists, isConflict, isNotFound, nodeResource, type KubeClient } from "@beyondfabric/kube";
import { addressBlockKind, formatViolation, parseAddressBlock, type AddressBlock } from "@beyondfabric/kube/kinds";
import { AgentError } from "../errors.ts";
import type { BlockStore } from "../ipam/blocks.ts";
import { releaseOrphan } from "../ipam/garbage.ts";
import type { Logger } from "../log.ts";

export function blockStore(client: KubeClient): BlockStore {
  return {
    async create(manifest) {
      try {
        return read(await client.create(addressBlockKind, manifest));
      } catch (error) {
        if (isAlreadyExists(error)) return undefined;
        throw error;
      }
    },
    async get(name) {
      try {
        return read(await client.get(addressBlockKind, name));
      } catch (error) {
        if (isNotFound(error)) return undefined;
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

function read(raw: unknown): AddressBlock {
  const parsed = parseAddressBlock(raw);
  if (parsed.ok) return parsed.value;
  throw new AgentError("AGENT_API_REQUEST", parsed.violations.map(formatViolation).join("; "));
}

/** Frees blocks whose nodes are gone; what cannot be freed now is due again later. */
export async function freeBlocks(due: readonly AddressBlock[], client: KubeClient, logger: Logger): Promise<void> {
  const store = blockStore(client);
  for (const block of due) {
    try {
      if (await releaseOrphan(block, (name) => readNodeUid(client, name), store)) {
        logger.info({ block: block.name, node: block.node }, "freed a block whose node is gone");
      }
    } catch (error) {
      logger.debug({ err: error, block: block.name }, "block not freed yet");
    }
  }
}

async function readNodeUid(client: KubeClient, name: string): Promise<string | undefined> {
  try {
    return (await client.get<{ metadata: { uid: string } }>(nodeResource, name)).metadata.uid;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
