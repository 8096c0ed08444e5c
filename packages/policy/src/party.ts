/** Who stands at the ends of a packet, as far as policies and tenancy care. */
import type { Labels } from "@beyondfabric/kube/selectors";
import type { Ip } from "@beyondfabric/packet";
import type { Protocol } from "./model.ts";

/** A set of labels that can be asked and walked: a `LabelSet`, a `Map`. */
export interface LabelPairs extends Labels, Iterable<readonly [key: string, value: string]> {}

export interface NamespaceIdentity {
  readonly name: string;
  readonly labels: LabelPairs;
  /** The value of the annotation `beyondfabric.io/tenant`; absent when the namespace carries none. */
  readonly tenant?: string;
}

/** A container port that has a name: what named ports of policies mean on this pod. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export interface PodIdentity {
  readonly name: string;
  /** Kubernetes UID: tells a pod from a later one of the same name. */
  readonly uid: string;
  /** Name of the node that it runs on. */
  readonly node: string;
  readonly namespace: NamespaceIdentity;
  /** Equal sets should be one object (see `LabelPool`): what selects a pod is remembered by its set of labels. */
  readonly labels: LabelPairs;
  readonly ports: readonly NamedPort[];
}

export type Party =
  | { readonly kind: "pod"; readonly address: Ip; readonly pod: PodIdentity }
  /** A node itself, and the pods that use its network. */
  | { readonly kind: "node"; readonly address: Ip; readonly node: string }
  /** Anybody outside of the cluster's subnets. */
  | { readonly kind: "outside"; readonly address: Ip };

export type PodParty = Extract<Party, { kind: "pod" }>;

/** As a sentence names it: `pod shop/web`, `node n1`, or the bare address. */
export function partyName(party: Party): string {
  switch (party.kind) {
    case "pod":
      return `pod ${party.pod.namespace.name}/${party.pod.name}`;
    case "node":
      return `node ${party.node}`;
    case "outside":
      return party.address;
  }
}
