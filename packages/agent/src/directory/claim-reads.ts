/** What a claim must know from the API server beside the claims: blocks around an address, and whether a pod is still there. */
import { isNotFound, podResource, type KubeClient, type Pod, type RequestOptions } from "@beyondfabric/kube";
import {
  addressBlockKind,
  addressBlockName,
  subnetFamily,
  type AddressBlock,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { ipFamily, type Ip } from "@beyondfabric/packet";
import { possibleBlocks } from "../ipam/block-parts.ts";
import type { ClaimReads } from "../ipam/claims.ts";
import { readBlock } from "./block-store.ts";

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
      const names = possibleBlocks(family, address).map(addressBlockName);
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
