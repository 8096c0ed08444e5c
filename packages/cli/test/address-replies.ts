/** What an agent might answer about addresses. */
import type {
  AddressAccount,
  AddressCheckReply,
  AddressesReply,
  AddressHistoryReply,
  AddressReply,
} from "@beyondfabric/agent/api";
import { now } from "./replies.ts";

const hour = 3_600_000;

const claimed: AddressAccount = {
  address: "10.0.0.20",
  state: "bound",
  subnet: "office",
  block: { cidr: "10.0.0.16/28", node: "node-2" },
  user: { namespace: "shop", pod: "db-0", uid: "uid-db-0", node: "node-1", mac: "02:00:00:00:00:01" },
  owner: { apiVersion: "apps/v1", kind: "StatefulSet", namespace: "shop", name: "db", uid: "uid-db", slot: "db-0" },
  retention: "Sticky",
  pool: "databases",
  since: now - 49 * hour,
};

export const account: AddressReply = { account: claimed };

export const addresses: AddressesReply = {
  addresses: [
    {
      address: "10.0.0.2",
      state: "node",
      subnet: "office",
      block: { cidr: "10.0.0.0/28", node: "node-1" },
      node: "node-1",
    },
    {
      address: "10.0.0.3",
      state: "pod",
      subnet: "office",
      block: { cidr: "10.0.0.0/28", node: "node-1" },
      user: { namespace: "shop", pod: "web-1", uid: "uid-web-1", node: "node-1" },
      since: now - hour,
    },
    claimed,
  ],
  more: true,
};

export const history: AddressHistoryReply = {
  tenures: [
    {
      address: "10.0.0.20",
      namespace: "shop",
      pod: "db-0",
      uid: "uid-db-0",
      node: "node-1",
      mac: "02:00:00:00:00:01",
      from: now - 49 * hour,
      source: "IPAddress",
    },
    {
      address: "10.0.0.20",
      namespace: "shop",
      pod: "db-0",
      uid: "uid-before",
      node: "node-2",
      mac: "02:00:00:00:00:01",
      from: now - 60 * hour,
      until: now - 50 * hour,
      reason: "PodDeleted",
      source: "IPAddress",
    },
    {
      address: "10.0.0.20",
      namespace: "shop",
      pod: "old",
      uid: "uid-old",
      node: "node-2",
      from: now - 100 * hour,
      until: now - 99 * hour,
      source: "AddressBlock",
    },
  ],
};

const looked = { claims: 7, blocks: 6, pods: 500, nodes: 3, subnets: 1 };

export const sound: AddressCheckReply = { findings: [], looked };

export const check: AddressCheckReply = {
  findings: [
    {
      kind: "leak",
      rule: "HolderGone",
      object: "IPAddress/10-0-0-20",
      address: "10.0.0.20",
      message: "10.0.0.20 is held by pod shop/db-0 (uid-db-0), which the API does not have",
      remedy: "the agent of node node-1 releases it",
      repair: [{ action: "release", kind: "IPAddress", name: "10-0-0-20", uid: "uid-1", resourceVersion: "9" }],
      caution: "make sure that node node-1 is not merely cut off",
    },
    {
      kind: "duplicate",
      rule: "TwoPods",
      object: "Pod/shop/twin",
      address: "10.0.0.3",
      message: "10.0.0.3 is shown by pod shop/web-1 on node node-1 and shop/twin on node node-2",
      remedy: "delete shop/twin",
    },
  ],
  looked,
};
