/**
 * NetworkPolicies as decisions look at them (`networking.k8s.io/v1`, NetworkPolicySpec): every default filled in, every
 * selector compiled. Parts that could not be read stay in their places, marked, and match nothing.
 */
import type { Selector } from "@beyondfabric/kube/selectors";
import type { Cidr } from "@beyondfabric/packet";

export type Direction = "ingress" | "egress";

/** The protocols whose ports a policy can name. */
export type Protocol = "TCP" | "UDP" | "SCTP";

/** In the order in which they are listed for people. */
export const protocols: readonly Protocol[] = ["TCP", "UDP", "SCTP"];

export interface NetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The pods that it isolates, of its own namespace. */
  readonly podSelector: Selector;
  /** The rules of a direction, in the object's order. Absent: pods are not isolated in that direction by this policy. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
}

/** Names a rule: which policy, which direction, which place in the object's list. */
export interface RuleReference {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly direction: Direction;
  /** Counted from 0. */
  readonly index: number;
}

export interface PolicyRule {
  readonly reference: RuleReference;
  /** Who may be at the other end: anybody, or whoever matches one of these. */
  readonly peers: "everybody" | readonly Peer[];
  /** Which ports of the destination: every packet whatever its protocol, or what matches one of these. */
  readonly ports: "everything" | readonly PolicyPort[];
}

export type Peer =
  | {
      readonly kind: "pods";
      /** Absent: the policy's own namespace. */
      readonly namespaceSelector?: Selector;
      readonly podSelector: Selector;
    }
  | { readonly kind: "block"; readonly cidr: Cidr; readonly except: readonly Cidr[] }
  /** Could not be read, and matches nobody. */
  | { readonly kind: "unreadable" };

export type PolicyPort =
  /** Ports from `first` to `last`, both included. */
  | { readonly kind: "range"; readonly protocol: Protocol; readonly first: number; readonly last: number }
  /** The container port of that name and protocol of the pod that the packet goes to. */
  | { readonly kind: "named"; readonly protocol: Protocol; readonly name: string }
  /** Could not be read, and matches no port. */
  | { readonly kind: "unreadable" };

/** `namespace/name`, as people name a policy. */
export function policyName(policy: Pick<NetworkPolicy, "namespace" | "name">): string {
  return `${policy.namespace}/${policy.name}`;
}

/** `ingress rule 2 of shop/allow-web`; rules are counted from 1 for people. */
export function ruleName({ policy, direction, index }: RuleReference): string {
  return `${direction} rule ${index + 1} of ${policy}`;
}
