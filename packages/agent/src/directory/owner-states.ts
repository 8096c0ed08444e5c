/** Whether the owners of addresses are still there, read from the API server. */
import { isNotFound, podResource, type KubeClient, type Resource } from "@beyondfabric/kube";
import type { AddressOwner } from "@beyondfabric/kube/kinds";

/** A kind of the configuration whose pods keep their addresses. */
export interface StickyOwnerKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** Plural, as the API's paths have it. */
  readonly resource: string;
}

/** What an owner's object says about its pods. */
export interface OwnerState {
  readonly exists: boolean;
  readonly uid: string;
  /** Pods that it wants; absent for a kind that has no such number. */
  readonly replicas?: number;
  /** Ordinal of the first of them (`spec.ordinals.start`). */
  readonly start?: number;
}

export const statefulSetResource = workload("statefulsets", "StatefulSet");
export const deploymentResource = workload("deployments", "Deployment");
export const daemonSetResource = workload("daemonsets", "DaemonSet");
export const replicaSetResource = workload("replicasets", "ReplicaSet");

export class OwnerStates {
  readonly #client: KubeClient;
  readonly #kinds: ReadonlyMap<string, Resource>;

  constructor(client: KubeClient, stickyOwners: readonly StickyOwnerKind[]) {
    this.#client = client;
    const builtIn = [statefulSetResource, deploymentResource, daemonSetResource, replicaSetResource, podResource];
    const configured = stickyOwners.map(({ apiVersion, kind, resource }): Resource => {
      const [version = "", group = ""] = apiVersion.split("/").toReversed();
      return { group, version, plural: resource, kind, namespaced: true };
    });
    this.#kinds = new Map([...builtIn, ...configured].map((resource) => [keyOf(resource), resource]));
  }

  /** Undefined when nobody knows: the kind is none that is understood. Throws when the API server does not answer. */
  async read(owner: AddressOwner): Promise<OwnerState | undefined> {
    const slash = owner.apiVersion.lastIndexOf("/");
    const group = slash < 0 ? "" : owner.apiVersion.slice(0, slash);
    const resource = this.#kinds.get(keyOf({ group, kind: owner.kind }));
    if (resource === undefined) return undefined;
    try {
      return ownerState(await this.#client.get(resource, owner.name, owner.namespace));
    } catch (error) {
      if (isNotFound(error)) return { exists: false, uid: "" };
      throw error;
    }
  }
}

/** What an object says, whatever its kind. */
export function ownerState(raw: unknown): OwnerState {
  const { metadata, spec } = fieldsOf(raw);
  const { uid } = fieldsOf(metadata);
  const { replicas, ordinals } = fieldsOf(spec);
  const { start } = fieldsOf(ordinals);
  return {
    exists: true,
    uid: typeof uid === "string" ? uid : "",
    ...(typeof replicas === "number" ? { replicas } : {}),
    ...(typeof start === "number" ? { start } : {}),
  };
}

function workload(plural: string, kind: string): Resource {
  return { group: "apps", version: "v1", plural, kind, namespaced: true };
}

function keyOf({ group, kind }: { readonly group: string; readonly kind: string }): string {
  return `${group}/${kind}`;
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
