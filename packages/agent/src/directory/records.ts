/** What is kept of the API's objects: a few hundred bytes where the API sends kilobytes. */
import type { ClusterNode, PodFact } from "../view.ts";
import { isIp, parseIp, type Ip } from "@beyondfabric/packet";

export const tunnelAddressAnnotation = "beyondfabric.io/tunnel-address";
export const gatewayAddressesAnnotation = "beyondfabric.io/gateway-addresses";

interface RawMetadata {
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly creationTimestamp?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface RawPod {
  readonly metadata?: RawMetadata;
  readonly spec?: { readonly nodeName?: string; readonly hostNetwork?: boolean };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip?: string }[];
  };
}

/**
 * A pod that holds addresses of its own. Undefined for one that has none yet, that shares its node's, or that has ended:
 * its addresses are free for others although the object still lists them.
 */
export function podRecord(raw: unknown): PodFact | undefined {
  const { metadata, spec, status } = raw as RawPod;
  if (metadata?.uid === undefined || spec?.nodeName === undefined || spec.hostNetwork === true) return undefined;
  if (status?.phase === "Succeeded" || status?.phase === "Failed") return undefined;
  const listed = status?.podIPs?.map(({ ip }) => ip) ?? [status?.podIP];
  const addresses = canonical(listed);
  if (addresses.length === 0) return undefined;
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name ?? "",
    uid: metadata.uid,
    node: spec.nodeName,
    addresses,
    created: Date.parse(metadata.creationTimestamp ?? "") || 0,
  };
}

export function nodeRecord(raw: unknown): ClusterNode | undefined {
  const { metadata } = raw as { metadata?: RawMetadata };
  if (metadata?.name === undefined || metadata.uid === undefined) return undefined;
  const tunnel = canonical([metadata.annotations?.[tunnelAddressAnnotation]])[0];
  return {
    name: metadata.name,
    uid: metadata.uid,
    gatewayAddresses: canonical((metadata.annotations?.[gatewayAddressesAnnotation] ?? "").split(",")),
    ...(tunnel === undefined ? {} : { tunnelAddress: tunnel }),
  };
}

function canonical(addresses: readonly (string | undefined)[]): Ip[] {
  return addresses.filter((address) => address !== undefined && isIp(address)).map((address) => parseIp(address!));
}
