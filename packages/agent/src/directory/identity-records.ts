/** What policies and tenancy need of the API's pods and namespaces. */
import { protocols, tenantAnnotation, type NamedPort } from "@beyondfabric/policy";
import type { IdentityRecord, NamespaceFact } from "../identities.ts";
import { labelPool, type NamespaceRecord } from "./records.ts";

type RawObject = Readonly<Record<string, unknown>>;

function objectIn(value: unknown): RawObject {
  return typeof value === "object" && value !== null ? (value as RawObject) : {};
}

function objectsIn(value: unknown): RawObject[] {
  return Array.isArray(value) ? value.map(objectIn) : [];
}

/** Most pods name the ports that others name too. */
const noPorts: readonly NamedPort[] = [];

/**
 * A pod that is bound to a node and has a network of its own. Undefined for one that uses its node's: to policies it is
 * the node.
 */
export function identityRecord(raw: unknown): IdentityRecord | undefined {
  const { metadata, spec, status } = objectIn(raw);
  const { uid, name, namespace, labels, annotations } = objectIn(metadata);
  const { nodeName, hostNetwork, containers, initContainers } = objectIn(spec);
  const { phase } = objectIn(status);
  if (typeof uid !== "string" || typeof name !== "string" || typeof namespace !== "string") return undefined;
  if (typeof nodeName !== "string" || hostNetwork === true || phase === "Succeeded" || phase === "Failed") {
    return undefined;
  }
  const staticUid = objectIn(annotations)["kubernetes.io/config.hash"];
  // Containers that start first and stay (sidecars) listen as long as the others.
  const sidecars = objectsIn(initContainers).filter(({ restartPolicy }) => restartPolicy === "Always");
  return {
    uid,
    namespace,
    name,
    node: nodeName,
    labels: labelPool.intern(objectIn(labels)),
    ports: namedPorts([...objectsIn(containers), ...sidecars]),
    ...(typeof staticUid === "string" ? { staticUid } : {}),
  };
}

function namedPorts(containers: readonly RawObject[]): readonly NamedPort[] {
  const ports = containers.flatMap((container) => objectsIn(container["ports"])).flatMap(namedPort);
  return ports.length === 0 ? noPorts : ports;
}

function namedPort({ name, containerPort, protocol }: RawObject): NamedPort[] {
  const known = protocols.find((each) => each === (protocol ?? "TCP"));
  if (typeof name !== "string" || typeof containerPort !== "number" || known === undefined) return [];
  return [{ name, protocol: known, port: containerPort }];
}

/** What policies and tenancy need of a namespace. */
export function namespaceFact({ name, labels, annotations }: NamespaceRecord): NamespaceFact {
  const tenant = annotations[tenantAnnotation];
  return { name, labels, ...(tenant === undefined ? {} : { tenant }) };
}
