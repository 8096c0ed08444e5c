/** The shapes of the agent's replies about addresses; see `reply.ts`. */
import type {
  AddressAccount,
  AddressCheckReply,
  AddressesReply,
  AddressHistoryReply,
  AddressRepairReply,
  AddressReply,
  AddressUser,
  Finding,
  RepairStep,
  Tenure,
} from "@beyondfabric/agent/api";
import { boolean, list, number, object, oneOf, optional, string, type Shape } from "./shape.ts";

const account = object<AddressAccount>({
  address: string,
  state: oneOf(
    "pod",
    "bound",
    "pending",
    "retained",
    "released",
    "node",
    "gateway",
    "excluded",
    "reserved",
    "free",
    "outside",
  ),
  subnet: optional(string),
  block: optional(object<NonNullable<AddressAccount["block"]>>({ cidr: string, node: string })),
  user: optional(
    object<AddressUser>({ namespace: string, pod: string, uid: string, node: string, mac: optional(string) }),
  ),
  node: optional(string),
  owner: optional(
    object<NonNullable<AddressAccount["owner"]>>({
      apiVersion: string,
      kind: string,
      namespace: string,
      name: string,
      uid: string,
      slot: string,
    }),
  ),
  retention: optional(oneOf("Fixed", "Sticky", "Pool")),
  pool: optional(string),
  since: optional(number),
  reclaimAt: optional(number),
  refusal: optional(string),
});

export const addressReply: Shape<AddressReply> = object<AddressReply>({ account });

export const addressesReply: Shape<AddressesReply> = object<AddressesReply>({
  addresses: list(account),
  more: boolean,
});

export const addressHistoryReply: Shape<AddressHistoryReply> = object<AddressHistoryReply>({
  tenures: list(
    object<Tenure>({
      address: string,
      namespace: string,
      pod: string,
      uid: string,
      node: string,
      mac: optional(string),
      from: number,
      until: optional(number),
      reason: optional(string),
      source: oneOf("IPAddress", "AddressBlock"),
    }),
  ),
});

const step = object<RepairStep>({
  action: oneOf("release", "reclaim", "delete"),
  kind: oneOf("IPAddress", "AddressBlock"),
  name: string,
  uid: string,
  resourceVersion: string,
});

export const addressCheckReply: Shape<AddressCheckReply> = object<AddressCheckReply>({
  findings: list(
    object<Finding>({
      kind: oneOf("leak", "duplicate", "stranger"),
      // A newer agent may know more rules.
      rule: string as Shape<Finding["rule"]>,
      object: string,
      address: optional(string),
      message: string,
      remedy: string,
      repair: optional(list(step)),
      caution: optional(string),
    }),
  ),
  looked: object<AddressCheckReply["looked"]>({
    claims: number,
    blocks: number,
    pods: number,
    nodes: number,
    subnets: number,
  }),
});

export const addressRepairReply: Shape<AddressRepairReply> = object<AddressRepairReply>({
  results: list(
    object<AddressRepairReply["results"][number]>({
      step,
      state: oneOf("done", "changed", "refused", "failed"),
      message: optional(string),
    }),
  ),
});
