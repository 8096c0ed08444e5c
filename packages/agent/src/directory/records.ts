/** What is kept of the API's objects: a few hundred bytes where the API sends kilobytes. */
import type { ClusterNode, PodFact } from "../view.ts";
import { isIp, parseIp, type Ip } from "@beyondfabric/packet";

export const tunnelAddressAnnotation = "beyondfabric.io/tunnel-address";
export const gatewayAddressesAnnotation = "beyondfabric.io/gateway-addresses";

type RawObject = Readonly<Record<string, unknown>>;

/** A field that should be an object: one without fields when it is anything else. */
function objectIn(value: unknown): RawObject {
  return typeof value === "object" && value !== null ? (value as RawObject) : {};
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/**
 * A pod that holds addresses of its own. Undefined for one that has none yet, that shares its node's, or that has ended:
 * its addresses are free for others although the object still lists them.
 */
export function podRecord(raw: unknown): PodFact | undefined {
  const { metadata, spec, status } = objectIn(raw);
  const { uid, name, namespace, creationTimestamp } = objectIn(metadata);
  const { nodeName, hostNetwork } = objectIn(spec);
  const { phase, podIP, podIPs } = objectIn(status);
  if (typeof uid !== "string" || typeof nodeName !== "string" || hostNetwork === true) return undefined;
  if (phase === "Succeeded" || phase === "Failed") return undefined;
  const addresses = canonical(Array.isArray(podIPs) ? podIPs.map((each) => objectIn(each)["ip"]) : [podIP]);
  if (addresses.length === 0) return undefined;
  return {
    namespace: textIn(namespace) ?? "",
    name: textIn(name) ?? "",
    uid,
    node: nodeName,
    addresses,
    created: Date.parse(textIn(creationTimestamp) ?? "") || 0,
  };
}

export function nodeRecord(raw: unknown): ClusterNode | undefined {
  const { name, uid, annotations } = objectIn(objectIn(raw)["metadata"]);
  if (typeof name !== "string" || typeof uid !== "string") return undefined;
  const notes = objectIn(annotations);
  const tunnel = canonical([notes[tunnelAddressAnnotation]])[0];
  return {
    name,
    uid,
    gatewayAddresses: canonical((textIn(notes[gatewayAddressesAnnotation]) ?? "").split(",")),
    ...(tunnel === undefined ? {} : { tunnelAddress: tunnel }),
  };
}

function canonical(addresses: readonly unknown[]): Ip[] {
  return addresses
    .filter((address) => typeof address === "string" && isIp(address))
    .map((each) => parseIp(each as string));
}
