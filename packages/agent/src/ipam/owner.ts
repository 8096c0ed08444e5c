/** Whose identity a pod's addresses are. */
import type { AddressOwner } from "@beyondfabric/kube/kinds";
import type { Labels } from "@beyondfabric/kube";

/** What is known of a pod of this node before it has an address. */
export interface OwnPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Labels;
  /** The owner reference that is marked `controller: true`. */
  readonly controller?: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly uid: string;
  };
}

/** A kind whose objects keep their addresses, as the agent's configuration lists it. */
export interface StickyOwner {
  readonly apiVersion: string;
  readonly kind: string;
}

/** The owner of a pod's addresses, and what follows for them. */
export interface PodOwner {
  readonly owner: AddressOwner;
  /** Its addresses stay with it without being asked for. */
  readonly isSticky: boolean;
  /** Place of the pod among its equals, from 0; undefined for pods that have none. */
  readonly ordinal?: bigint | undefined;
}

/**
 * The controller of the pod, or what stands behind it: a ReplicaSet is a Deployment's as long as its name says so, since
 * each roll-out brings a new one. A pod that nobody controls, or only its node (a static pod), is its own owner.
 */
export function podOwner(pod: OwnPod, stickyOwners: readonly StickyOwner[]): PodOwner {
  const { namespace, controller } = pod;
  if (controller === undefined || is(controller, "v1", "Node")) {
    const owner = { apiVersion: "v1", kind: "Pod", namespace, name: pod.name, uid: pod.uid, slot: "" };
    return { owner, isSticky: false };
  }
  const { apiVersion, kind, name, uid } = controller;
  const isSticky =
    is(controller, "apps/v1", "StatefulSet") || stickyOwners.some((each) => is(controller, each.apiVersion, each.kind));
  if (isSticky && kind === "StatefulSet") {
    const owner = { apiVersion, kind, namespace, name, uid, slot: pod.name };
    return { owner, isSticky, ordinal: ordinalOf(pod.name, name) };
  }
  const deployment = isSticky || !is(controller, "apps/v1", "ReplicaSet") ? undefined : deploymentOf(pod, name);
  if (deployment !== undefined) {
    // The pod does not say the Deployment's UID.
    const owner = { apiVersion, kind: "Deployment", namespace, name: deployment, uid: "", slot: "" };
    return { owner, isSticky };
  }
  return { owner: { apiVersion, kind, namespace, name, uid, slot: "" }, isSticky };
}

/** The Deployment whose ReplicaSet of that name made the pod: it names its sets after itself and the template's hash. */
function deploymentOf(pod: OwnPod, replicaSet: string): string | undefined {
  const hash = pod.labels.get("pod-template-hash");
  if (hash === undefined || hash === "" || !replicaSet.endsWith(`-${hash}`)) return undefined;
  const deployment = replicaSet.slice(0, -hash.length - 1);
  return deployment === "" ? undefined : deployment;
}

/** Whether an object is of a kind of a group, in whatever version. */
function is(object: StickyOwner, apiVersion: string, kind: string): boolean {
  return object.kind === kind && groupOf(object.apiVersion) === groupOf(apiVersion);
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf("/");
  return slash < 0 ? "" : apiVersion.slice(0, slash);
}

/** The number behind the set's name in the pod's (`db-2` of `db`); undefined for a name that was not made that way. */
function ordinalOf(pod: string, set: string): bigint | undefined {
  const digits = pod.startsWith(`${set}-`) ? pod.slice(set.length + 1) : "";
  return /^[0-9]{1,10}$/.test(digits) ? BigInt(digits) : undefined;
}
