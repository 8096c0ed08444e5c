/**
 * Tenants: the namespaces that carry the same `beyondfabric.io/tenant` value. Judged before any NetworkPolicy, and no
 * policy can widen it.
 */
import { partyName, type NamespaceIdentity, type Party } from "./party.ts";

/** A party as far as tenancy asks: of a pod nothing but its namespace. */
export type TenancyParty =
  | Exclude<Party, { kind: "pod" }>
  | { readonly kind: "pod"; readonly pod: { readonly namespace: NamespaceIdentity } };

export interface TenancyVerdict {
  readonly allowed: boolean;
  /** Why, as the end of a sentence. */
  readonly because: string;
}

/** The annotation of a namespace that names its tenant. */
export const tenantAnnotation = "beyondfabric.io/tenant";

/**
 * Whether tenancy lets two parties talk. Pods do when both namespaces carry the same tenant or both carry none, or when
 * one of them is shared. Nodes talk to everybody, and whoever is outside of the cluster is no tenant.
 * @param shared names of the namespaces that talk to every tenant
 */
export function judgeTenancy(
  source: TenancyParty,
  destination: TenancyParty,
  shared: ReadonlySet<string>,
): TenancyVerdict {
  if (source.kind !== "pod") return outsideOfTenancy(source);
  if (destination.kind !== "pod") return outsideOfTenancy(destination);
  const from = source.pod.namespace;
  const to = destination.pod.namespace;
  for (const { name } of [from, to]) {
    if (shared.has(name)) return { allowed: true, because: `namespace ${name} is shared by all tenants` };
  }
  return { allowed: from.tenant === to.tenant, because: comparison(from, to) };
}

function outsideOfTenancy(party: Exclude<Party, { kind: "pod" }>): TenancyVerdict {
  const because = party.kind === "node" ? "talks to every tenant" : "is outside of the cluster and no tenant";
  return { allowed: true, because: `${partyName(party)} ${because}` };
}

function comparison(from: NamespaceIdentity, to: NamespaceIdentity): string {
  const tenantText = ({ tenant }: NamespaceIdentity): string =>
    tenant === undefined ? "no tenant" : `tenant ${JSON.stringify(tenant)}`;
  if (from.name === to.name) return `both are in namespace ${from.name}`;
  if (from.tenant === to.tenant) return `namespaces ${from.name} and ${to.name} both have ${tenantText(from)}`;
  return `namespace ${from.name} has ${tenantText(from)} and namespace ${to.name} has ${tenantText(to)}`;
}
