/**
 * Which lists of the built-in kinds are maps in disguise, and by which field; which are sets. The API marks them with
 * `patchMergeKey` and `listMapKeys`.
 */

/** How a list is merged: by keys, as a set of scalars, or as a whole. */
export type ListKind = { type: "map"; keys: readonly string[] } | { type: "set" } | { type: "atomic" };

/** Answers for the list at a path of field names; list members add no step. */
export type ListKinds = (path: readonly string[]) => ListKind;

const ATOMIC: ListKind = { type: "atomic" };
const SET: ListKind = { type: "set" };
const byKey = (...keys: string[]): ListKind => ({ type: "map", keys });

/** By `parent.field`, then by `field`. The strategic merge key comes first. */
const rules: Record<string, ListKind> = {
  "metadata.ownerReferences": byKey("uid"),
  "metadata.finalizers": SET,
  conditions: byKey("type"),
  addresses: ATOMIC,
  "status.addresses": byKey("type"),
  podIPs: byKey("ip"),
  hostIPs: byKey("ip"),
  podCIDRs: SET,
  containers: byKey("name"),
  initContainers: byKey("name"),
  ephemeralContainers: byKey("name"),
  volumes: byKey("name"),
  volumeMounts: byKey("mountPath"),
  volumeDevices: byKey("devicePath"),
  env: byKey("name"),
  imagePullSecrets: byKey("name"),
  secrets: byKey("name"),
  hostAliases: byKey("ip"),
  topologySpreadConstraints: byKey("topologyKey"),
  readinessGates: ATOMIC,
  "containers.ports": byKey("containerPort", "protocol"),
  "initContainers.ports": byKey("containerPort", "protocol"),
  clusterRoleSelectors: ATOMIC,
};

/** The list kinds of a built-in resource. */
export function builtInListKinds(kind: string): ListKinds {
  return (path) => {
    const field = path.at(-1) ?? "";
    const parent = path.at(-2) ?? "";
    // A Service's ports have a key; those of a NetworkPolicy, an Endpoints or an EndpointSlice are atomic.
    if (kind === "Service" && parent === "spec" && field === "ports") return byKey("port", "protocol");
    if (kind === "CustomResourceDefinition" && path[0] === "spec") return ATOMIC;
    return rules[`${parent}.${field}`] ?? rules[field] ?? ATOMIC;
  };
}

/** The list kinds of a custom resource, from `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`. */
export function schemaListKinds(schema: Record<string, unknown>): ListKinds {
  return (path) => {
    if (path[0] === "metadata") return rules[path.join(".")] ?? ATOMIC;
    let current: Record<string, unknown> | undefined = schema;
    for (const field of path) {
      while (current?.["type"] === "array") current = current["items"] as Record<string, unknown> | undefined;
      const properties = current?.["properties"] as Record<string, Record<string, unknown>> | undefined;
      const additional = current?.["additionalProperties"];
      if (properties !== undefined && Object.hasOwn(properties, field)) current = properties[field];
      else current = typeof additional === "object" ? (additional as Record<string, unknown>) : undefined;
    }
    const keys = current?.["x-kubernetes-list-map-keys"];
    if (current?.["x-kubernetes-list-type"] === "map" && Array.isArray(keys)) {
      return { type: "map", keys: keys.filter((key): key is string => typeof key === "string") };
    }
    return current?.["x-kubernetes-list-type"] === "set" ? SET : ATOMIC;
  };
}
