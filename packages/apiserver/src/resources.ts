/**
 * What the server serves: the built-in resources as data, and the catalogue that custom resources join.
 */
import type { NameRule } from "./object.ts";

/** A column of a CustomResourceDefinition's `additionalPrinterColumns`. */
export interface PrinterColumn {
  name: string;
  type: string;
  jsonPath: string;
  format: string;
  description: string;
  priority: number;
}

/** What a CustomResourceDefinition says about one served version. */
export interface CustomVersion {
  /** `schema.openAPIV3Schema`, a structural schema. */
  schema: Record<string, unknown>;
  columns: PrinterColumn[];
  /** Whether `/status` exists, and so whether the main endpoint ignores `status`. */
  status: boolean;
}

/** One resource (`pods`), with all that generic code needs to know about it. */
export interface Resource {
  group: string;
  /** The version that is stored. */
  version: string;
  /** Served versions, preferred first. */
  versions: string[];
  plural: string;
  singular: string;
  kind: string;
  namespaced: boolean;
  shortNames: string[];
  categories: string[];
  /** Without `/status`, `status` is an ordinary field. */
  hasStatus: boolean;
  /** Other subresources: `binding`, `eviction`, `finalize`, `scale` is not among them. */
  subresources: string[];
  nameRule: NameRule;
  /** Fields beside the name and the namespace that a field selector may use. */
  fields: string[];
  /** Whether `metadata.generation` counts changes of what is desired. */
  generation: boolean;
  /** Whether objects are stored; reviews are only answered. */
  stored: boolean;
  /** By version; present for custom resources. */
  custom?: Map<string, CustomVersion>;
}

type Row = Pick<Resource, "plural" | "kind"> & Partial<Resource>;

function singularOf(kind: string): string {
  return kind.toLowerCase();
}

function resource(group: string, row: Row): Resource {
  const version = row.version ?? "v1";
  return {
    group,
    version,
    versions: [version],
    singular: singularOf(row.kind),
    namespaced: true,
    shortNames: [],
    categories: [],
    hasStatus: false,
    subresources: [],
    nameRule: "subdomain",
    fields: [],
    generation: false,
    stored: true,
    ...row,
  };
}

const core: Row[] = [
  {
    plural: "namespaces",
    kind: "Namespace",
    namespaced: false,
    shortNames: ["ns"],
    hasStatus: true,
    subresources: ["finalize"],
    nameRule: "label",
    fields: ["status.phase"],
  },
  {
    plural: "nodes",
    kind: "Node",
    namespaced: false,
    shortNames: ["no"],
    hasStatus: true,
    fields: ["spec.unschedulable"],
  },
  {
    plural: "pods",
    kind: "Pod",
    shortNames: ["po"],
    categories: ["all"],
    hasStatus: true,
    subresources: ["binding", "eviction"],
    fields: [
      "spec.nodeName",
      "spec.restartPolicy",
      "spec.schedulerName",
      "spec.serviceAccountName",
      "spec.hostNetwork",
      "status.phase",
      "status.podIP",
      "status.nominatedNodeName",
    ],
  },
  {
    plural: "events",
    kind: "Event",
    shortNames: ["ev"],
    fields: [
      "involvedObject.kind",
      "involvedObject.namespace",
      "involvedObject.name",
      "involvedObject.uid",
      "involvedObject.apiVersion",
      "involvedObject.resourceVersion",
      "involvedObject.fieldPath",
      "reason",
      "reportingComponent",
      "source",
      "type",
    ],
  },
  { plural: "configmaps", kind: "ConfigMap", shortNames: ["cm"] },
  { plural: "secrets", kind: "Secret", fields: ["type"] },
  {
    plural: "services",
    kind: "Service",
    shortNames: ["svc"],
    categories: ["all"],
    hasStatus: true,
    nameRule: "label-1035",
    fields: ["spec.clusterIP", "spec.type"],
  },
  { plural: "endpoints", kind: "Endpoints", singular: "endpoints", shortNames: ["ep"] },
  { plural: "serviceaccounts", kind: "ServiceAccount", shortNames: ["sa"] },
  { plural: "resourcequotas", kind: "ResourceQuota", shortNames: ["quota"], hasStatus: true },
  { plural: "limitranges", kind: "LimitRange", shortNames: ["limits"] },
  { plural: "persistentvolumeclaims", kind: "PersistentVolumeClaim", shortNames: ["pvc"], hasStatus: true },
  { plural: "persistentvolumes", kind: "PersistentVolume", namespaced: false, shortNames: ["pv"], hasStatus: true },
];

const workload = { categories: ["all"], hasStatus: true, generation: true } as const;

const groups: Record<string, Row[]> = {
  "": core,
  apps: [
    { plural: "deployments", kind: "Deployment", shortNames: ["deploy"], ...workload, categories: ["all"] },
    { plural: "replicasets", kind: "ReplicaSet", shortNames: ["rs"], ...workload, categories: ["all"] },
    { plural: "statefulsets", kind: "StatefulSet", shortNames: ["sts"], ...workload, categories: ["all"] },
    { plural: "daemonsets", kind: "DaemonSet", shortNames: ["ds"], ...workload, categories: ["all"] },
    { plural: "controllerrevisions", kind: "ControllerRevision" },
  ],
  batch: [
    {
      plural: "jobs",
      kind: "Job",
      ...workload,
      categories: ["all"],
      fields: ["status.successful"],
    },
    { plural: "cronjobs", kind: "CronJob", shortNames: ["cj"], ...workload, categories: ["all"] },
  ],
  "coordination.k8s.io": [{ plural: "leases", kind: "Lease" }],
  "discovery.k8s.io": [{ plural: "endpointslices", kind: "EndpointSlice", generation: true }],
  "networking.k8s.io": [
    { plural: "networkpolicies", kind: "NetworkPolicy", shortNames: ["netpol"], generation: true },
    { plural: "ingresses", kind: "Ingress", shortNames: ["ing"], hasStatus: true, generation: true },
    { plural: "ingressclasses", kind: "IngressClass", namespaced: false, generation: true },
  ],
  policy: [
    {
      plural: "poddisruptionbudgets",
      kind: "PodDisruptionBudget",
      shortNames: ["pdb"],
      hasStatus: true,
      generation: true,
    },
  ],
  "rbac.authorization.k8s.io": [
    { plural: "roles", kind: "Role", nameRule: "path-segment" },
    { plural: "rolebindings", kind: "RoleBinding", nameRule: "path-segment" },
    { plural: "clusterroles", kind: "ClusterRole", namespaced: false, nameRule: "path-segment" },
    { plural: "clusterrolebindings", kind: "ClusterRoleBinding", namespaced: false, nameRule: "path-segment" },
  ],
  "scheduling.k8s.io": [
    { plural: "priorityclasses", kind: "PriorityClass", namespaced: false, shortNames: ["pc"], generation: true },
  ],
  "storage.k8s.io": [{ plural: "storageclasses", kind: "StorageClass", namespaced: false, shortNames: ["sc"] }],
  "apiextensions.k8s.io": [
    {
      plural: "customresourcedefinitions",
      kind: "CustomResourceDefinition",
      namespaced: false,
      shortNames: ["crd", "crds"],
      categories: ["api-extensions"],
      hasStatus: true,
      generation: true,
    },
  ],
  "authentication.k8s.io": [
    { plural: "tokenreviews", kind: "TokenReview", namespaced: false, stored: false },
    { plural: "selfsubjectreviews", kind: "SelfSubjectReview", namespaced: false, stored: false },
  ],
  "authorization.k8s.io": [
    { plural: "subjectaccessreviews", kind: "SubjectAccessReview", namespaced: false, stored: false },
    { plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", namespaced: false, stored: false },
    { plural: "selfsubjectrulesreviews", kind: "SelfSubjectRulesReview", namespaced: false, stored: false },
    { plural: "localsubjectaccessreviews", kind: "LocalSubjectAccessReview", stored: false },
  ],
};

/** The identity of a resource across versions: `pods`, `networks.beyondfabric.io`. */
export function resourceKey(group: string, plural: string): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** `v1`, `apps/v1`. */
export function apiVersionOf(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** All resources that are served now, in the order in which discovery lists them. */
export class Catalogue {
  readonly #resources = new Map<string, Resource>();
  /** Grows with every change; lets callers cache what they derive. */
  generation = 0;

  constructor() {
    for (const [group, rows] of Object.entries(groups)) {
      for (const row of rows) {
        const item = resource(group, row);
        this.#resources.set(resourceKey(item.group, item.plural), item);
      }
    }
  }

  /** The resource served under a group, version and plural name. */
  find(group: string, version: string, plural: string): Resource | undefined {
    const item = this.#resources.get(resourceKey(group, plural));
    return item !== undefined && item.versions.includes(version) ? item : undefined;
  }

  /** The resource by its key. */
  get(key: string): Resource | undefined {
    return this.#resources.get(key);
  }

  all(): IterableIterator<Resource> {
    return this.#resources.values();
  }

  /** Adds or replaces a custom resource. */
  set(item: Resource): void {
    this.#resources.set(resourceKey(item.group, item.plural), item);
    this.generation++;
  }

  remove(key: string): void {
    this.#resources.delete(key);
    this.generation++;
  }

  /** Groups (the legacy one excluded) with their versions, preferred first. */
  groups(): Map<string, string[]> {
    const result = new Map<string, string[]>();
    for (const item of this.#resources.values()) {
      if (item.group === "") continue;
      const versions = result.get(item.group) ?? [];
      for (const version of item.versions) if (!versions.includes(version)) versions.push(version);
      result.set(item.group, versions.sort(compareVersions));
    }
    return result;
  }
}

/** Kubernetes' version priority: GA before beta before alpha, higher before lower, others last by name. */
export function compareVersions(a: string, b: string): number {
  const parse = (version: string): [number, number, number] | undefined => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (match === null) return undefined;
    return [match[2] === undefined ? 2 : match[2] === "beta" ? 1 : 0, Number(match[1]), Number(match[3] ?? 0)];
  };
  const left = parse(a);
  const right = parse(b);
  if (left === undefined || right === undefined) {
    if (left !== undefined) return -1;
    if (right !== undefined) return 1;
    return a < b ? -1 : a > b ? 1 : 0;
  }
  return right[0] - left[0] || right[1] - left[1] || right[2] - left[2];
}
