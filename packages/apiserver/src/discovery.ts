/**
 * Discovery: which groups, versions and resources are served (`/api`, `/apis` and below).
 */
import { apiVersionOf, type Catalogue, type Resource } from "./resources.ts";

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** Kinds of the bodies that subresources other than `status` take, with their group and version. */
const SUBRESOURCES: Record<string, { kind: string; group: string; version: string; verbs: string[] }> = {
  binding: { kind: "Binding", group: "", version: "v1", verbs: ["create"] },
  eviction: { kind: "Eviction", group: "policy", version: "v1", verbs: ["create"] },
  finalize: { kind: "Namespace", group: "", version: "v1", verbs: ["update"] },
};

/** `GET /api`. */
export function apiVersions(serverAddress: string): unknown {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress }],
  };
}

function groupEntry(name: string, versions: readonly string[]): Record<string, unknown> {
  const items = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions: items, preferredVersion: items[0] };
}

/** `GET /apis`. */
export function apiGroupList(catalogue: Catalogue): unknown {
  const groups = [...catalogue.groups()].map(([name, versions]) => groupEntry(name, versions));
  return { kind: "APIGroupList", apiVersion: "v1", groups };
}

/** `GET /apis/GROUP`, undefined when there is no such group. */
export function apiGroup(catalogue: Catalogue, name: string): unknown {
  const versions = catalogue.groups().get(name);
  return versions === undefined ? undefined : { kind: "APIGroup", apiVersion: "v1", ...groupEntry(name, versions) };
}

/** `GET /api/v1` and `GET /apis/GROUP/VERSION`, undefined when nothing is served there. */
export function apiResourceList(catalogue: Catalogue, group: string, version: string): unknown {
  const resources: unknown[] = [];
  for (const item of catalogue.all()) {
    if (item.group !== group || !item.versions.includes(version)) continue;
    resources.push(...entries(item, version));
  }
  return resources.length === 0
    ? undefined
    : { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(group, version), resources };
}

function entries(item: Resource, version: string): unknown[] {
  const { plural, singular, namespaced, kind } = item;
  const result: unknown[] = [
    {
      name: plural,
      singularName: singular,
      namespaced,
      kind,
      verbs: item.stored ? VERBS : ["create"],
      ...(item.shortNames.length > 0 ? { shortNames: item.shortNames } : {}),
      ...(item.categories.length > 0 ? { categories: item.categories } : {}),
    },
  ];
  const hasStatus = item.custom === undefined ? item.hasStatus : (item.custom.get(version)?.status ?? false);
  if (hasStatus) {
    result.push({ name: `${plural}/status`, singularName: "", namespaced, kind, verbs: ["get", "patch", "update"] });
  }
  for (const name of item.subresources) {
    const entry = SUBRESOURCES[name];
    if (entry !== undefined) result.push({ name: `${plural}/${name}`, singularName: "", namespaced, ...entry });
  }
  return result;
}
