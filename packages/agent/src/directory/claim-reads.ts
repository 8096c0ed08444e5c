/** What a claim must know from the API server beside the claims: blocks around an address, and whether a pod is still there. */
import { isNotFound, podResource, type KubeClient, type Pod, type RequestOptions } from "@beyondfabric/kube";
import {
  addressBlockKind,
  addressBlockName,
  subnetFamily,
  type AddressBlock,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { cidrOf, familyBits, ipFamily, type Ip } from "@beyondfabric/packet";
import type { ClaimReads } from "../ipam/claims.ts";
import { readBlock } from "./block-store.ts";

/** A part of a block that is lent is at most so much longer than the block, and never smaller than four addresses. */
const longestPart = 6;

export function claimReads(client: KubeClient, options: RequestOptions = {}): ClaimReads {
  const get = async <T>(read: Promise<T>): Promise<T | undefined> => {
    try {
      return await read;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  return {
    async blocksAround(subnet: Subnet, address: Ip): Promise<AddressBlock[]> {
      const family = subnetFamily(subnet, ipFamily(address));
      if (family === undefined) return [];
      // A block has one name for its prefix: reading the few that are possible is cheaper than listing all.
      const last = Math.max(
        family.blockLength,
        Math.min(family.blockLength + longestPart, familyBits(family.family) - 2),
      );
      const names: string[] = [];
      for (let length = family.blockLength; length <= last; length++) {
        names.push(addressBlockName(cidrOf(address, length)));
      }
      const found = await Promise.all(
        names.map((name) => get(client.get<unknown>(addressBlockKind, name, undefined, options))),
      );
      return found.filter((raw) => raw !== undefined).map(readBlock);
    },
    async podUid(namespace: string, name: string): Promise<string | undefined> {
      const pod = await get(client.get<Pod>(podResource, name, namespace, options));
      const phase = pod?.status?.phase;
      return phase === "Succeeded" || phase === "Failed" ? undefined : pod?.metadata?.uid;
    },
  };
}
