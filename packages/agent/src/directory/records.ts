/** What is kept of the API's objects: a few hundred bytes where the API sends kilobytes. */
import type { ClaimFact } from "@beyondfabric/datapath";
import { LabelPool, type LabelSet } from "@beyondfabric/kube";
import type { IpAddressRecord } from "@beyondfabric/kube/kinds";
import { WANTS_BLOCK_ANNOTATION } from "../ipam/lending.ts";
import type { AuditPod } from "../ipam/audit.ts";
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

/** Most pods and namespaces carry the labels of many others. */
export const labelPool = new LabelPool();

/** A pod of this node, from the moment at which it is bound: what decides about its addresses. */
export interface OwnPodRecord {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The UID by which the runtime knows a static pod, whose object in the API is only a mirror. */
  readonly staticUid?: string;
  /** Those that concern us, the spellings of others included. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: LabelSet;
  readonly controller?: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly uid: string;
  };
  /** Deleted, and still there until its containers have ended. */
  readonly leaving: boolean;
  /** All of its containers have ended for good. */
  readonly ended: boolean;
}

/** Undefined for a pod of another node, and for one that shares its node's network. */
export function ownPodRecord(raw: unknown, node: string): OwnPodRecord | undefined {
  const { metadata, spec, status } = objectIn(raw);
  const { uid, name, namespace, annotations, labels, ownerReferences, deletionTimestamp } = objectIn(metadata);
  const { nodeName, hostNetwork } = objectIn(spec);
  if (typeof uid !== "string" || typeof name !== "string" || typeof namespace !== "string") return undefined;
  if (nodeName !== node || hostNetwork === true) return undefined;
  const references = Array.isArray(ownerReferences) ? ownerReferences.map(objectIn) : [];
  const controller = references.find((reference) => reference["controller"] === true);
  const phase = objectIn(status)["phase"];
  const staticUid = textIn(objectIn(annotations)["kubernetes.io/config.hash"]);
  return {
    namespace,
    name,
    uid,
    annotations: texts(annotations, concernsAddresses),
    labels: labelPool.intern(objectIn(labels)),
    leaving: typeof deletionTimestamp === "string",
    ended: phase === "Succeeded" || phase === "Failed",
    ...(staticUid === undefined ? {} : { staticUid }),
    ...(controller === undefined
      ? {}
      : {
          controller: {
            apiVersion: textIn(controller["apiVersion"]) ?? "",
            kind: textIn(controller["kind"]) ?? "",
            name: textIn(controller["name"]) ?? "",
            uid: textIn(controller["uid"]) ?? "",
          },
        }),
  };
}

/** A namespace: what chooses a subnet for its pods. */
export interface NamespaceRecord {
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: LabelSet;
}

export function namespaceRecord(raw: unknown): NamespaceRecord | undefined {
  const { name, annotations, labels } = objectIn(objectIn(raw)["metadata"]);
  if (typeof name !== "string") return undefined;
  return { name, annotations: texts(annotations, concernsAddresses), labels: labelPool.intern(objectIn(labels)) };
}

/** What decisions about packets need of a claim; undefined for one that is nobody's any more. */
export function claimFact(record: IpAddressRecord): ClaimFact | undefined {
  const { address, holder, owner, phase } = record;
  if (phase === "Released") return undefined;
  return {
    address,
    bound: phase === "Bound",
    ...(owner === undefined ? {} : { keptFor: `${owner.kind} ${owner.namespace}/${owner.name}` }),
    ...(holder === undefined
      ? {}
      : {
          holder: {
            kind: "pod",
            name: `${holder.namespace}/${holder.pod}`,
            node: holder.node,
            uid: holder.podUid,
            mac: holder.mac,
          },
        }),
  };
}

/** Annotations about addresses: ours, and those of other plug-ins that are understood. */
function concernsAddresses(key: string): boolean {
  return (
    key.startsWith("beyondfabric.io/") ||
    key === "ovn.kubernetes.io/ip_address" ||
    key === "ovn.kubernetes.io/ip_pool" ||
    key === "cni.projectcalico.org/ipAddrs"
  );
}

/** The texts of a mapping; what is none cannot have come from an API server. */
function texts(value: unknown, isWanted: (key: string) => boolean): Record<string, string> {
  return Object.fromEntries(
    Object.entries(objectIn(value)).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string" && isWanted(entry[0]),
    ),
  );
}

/** @param own name of this node: of it the labels are kept */
export function nodeRecord(raw: unknown, own = ""): ClusterNode | undefined {
  const { name, uid, annotations, labels } = objectIn(objectIn(raw)["metadata"]);
  if (typeof name !== "string" || typeof uid !== "string") return undefined;
  const notes = objectIn(annotations);
  const tunnel = canonical([notes[tunnelAddressAnnotation]])[0];
  const wishes = notes[WANTS_BLOCK_ANNOTATION];
  return {
    name,
    uid,
    gatewayAddresses: canonical((textIn(notes[gatewayAddressesAnnotation]) ?? "").split(",")),
    ...(tunnel === undefined ? {} : { tunnelAddress: tunnel }),
    ...(typeof wishes === "string" ? { wishes } : {}),
    ...(name === own ? { labels: labelPool.intern(objectIn(labels)) } : {}),
  };
}

/** A pod as an audit sees it, also before it has addresses. Undefined for one that shares its node's, or that has ended. */
export function auditPodRecord(raw: unknown): AuditPod | undefined {
  const { metadata, spec, status } = objectIn(raw);
  const { uid, name, namespace, annotations } = objectIn(metadata);
  const { nodeName, hostNetwork } = objectIn(spec);
  if (typeof uid !== "string" || typeof name !== "string" || typeof namespace !== "string") return undefined;
  const { phase } = objectIn(status);
  if (hostNetwork === true || phase === "Succeeded" || phase === "Failed") return undefined;
  // The API has a mirror of a static pod only; the runtime knows the pod by what it was made from.
  const staticUid = textIn(objectIn(annotations)["kubernetes.io/config.hash"]);
  return {
    namespace,
    name,
    uid,
    node: textIn(nodeName) ?? "",
    addresses: podRecord(raw)?.addresses ?? [],
    ...(staticUid === undefined ? {} : { staticUid }),
  };
}

function canonical(addresses: readonly unknown[]): Ip[] {
  return addresses
    .filter((address) => typeof address === "string" && isIp(address))
    .map((each) => parseIp(each as string));
}
