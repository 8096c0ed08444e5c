/** The shapes of the agent's replies about policies; see `reply.ts`. */
import type {
  DenialsReply,
  PolicyCountersReply,
  PolicyExplanationReply,
  PolicyFinding,
  PolicyListReply,
  PolicyMatrixReply,
} from "@beyondfabric/agent/api";
import { boolean, list, number, object, oneOf, optional, string, type Shape } from "./shape.ts";

const numberOrNull: Shape<number | null> = (value, path) => (value === null ? null : number(value, path));

const findings = list(object<PolicyFinding>({ part: string, matched: boolean, why: string }));

type ExplainedDirection = PolicyExplanationReply["directions"][number];
type ExplainedPolicy = ExplainedDirection["policies"][number];

export const policyExplanationReply: Shape<PolicyExplanationReply> = object<PolicyExplanationReply>({
  allowed: boolean,
  sentence: string,
  from: string,
  to: string,
  spoofGuard: string,
  service: optional(
    object<NonNullable<PolicyExplanationReply["service"]>>({
      name: string,
      endpoints: list(
        object<NonNullable<PolicyExplanationReply["service"]>["endpoints"][number]>({
          from: string,
          to: string,
          allowed: boolean,
          sentence: string,
        }),
      ),
    }),
  ),
  tenancy: object<PolicyExplanationReply["tenancy"]>({ allowed: boolean, because: string }),
  directions: list(
    object<ExplainedDirection>({
      direction: oneOf("ingress", "egress"),
      pod: string,
      allowed: boolean,
      because: string,
      policies: list(
        object<ExplainedPolicy>({
          policy: string,
          podSelector: string,
          rules: list(
            object<ExplainedPolicy["rules"][number]>({
              rule: string,
              matched: boolean,
              peers: findings,
              ports: findings,
            }),
          ),
        }),
      ),
    }),
  ),
});

export const policyListReply: Shape<PolicyListReply> = object<PolicyListReply>({
  pod: string,
  ingressIsolated: boolean,
  egressIsolated: boolean,
  policies: list(
    object<PolicyListReply["policies"][number]>({
      policy: string,
      podSelector: string,
      ingressRules: numberOrNull,
      egressRules: numberOrNull,
    }),
  ),
});

export const policyMatrixReply: Shape<PolicyMatrixReply> = object<PolicyMatrixReply>({
  pods: list(string),
  rows: list(object<PolicyMatrixReply["rows"][number]>({ from: string, openings: list(string) })),
});

export const policyCountersReply: Shape<PolicyCountersReply> = object<PolicyCountersReply>({
  rules: list(
    object<PolicyCountersReply["rules"][number]>({
      policy: string,
      direction: oneOf("ingress", "egress"),
      rule: number,
      sessions: number,
      packets: number,
      bytes: number,
    }),
  ),
});

type DenialRow = DenialsReply["denials"][number];

const denialEnd = object<DenialRow["source"]>({ address: string, pod: optional(string) });

export const denialsReply: Shape<DenialsReply> = object<DenialsReply>({
  denials: list(
    object<DenialRow>({
      reason: oneOf("tenant-differs", "policy", "policy-ingress", "policy-egress"),
      source: denialEnd,
      destination: denialEnd,
      protocol: number,
      destinationPort: optional(number),
      direction: optional(oneOf("ingress", "egress")),
      isolated: optional(string),
      policies: list(string),
      last: number,
      count: number,
    }),
  ),
});
