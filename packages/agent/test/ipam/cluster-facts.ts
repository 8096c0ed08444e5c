/** A small sound cluster for the tests of audits: two nodes with a block each, a third block's part that was lent. */
import assert from "node:assert/strict";
import { addressBlockManifest, ipAddressManifest, parseAddressBlock, parseIpAddress } from "@beyondfabric/kube/kinds";
import type { AddressBlockStatus, AddressClaim, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import { AddressBook, type AddressFacts, type AuditBlock, type AuditPod } from "../../src/ipam/audit.ts";
import { subnet } from "./subnets.ts";

/** The moment of the audit, and a time long before it. */
export const now = Date.parse("2026-03-04T12:00:00Z");
export const earlier = now - 3_600_000;

export function block(
  cidr: string,
  node: string,
  status?: Partial<AddressBlockStatus>,
  lent: string[] = [],
): AuditBlock {
  const identity = { name: node, uid: `uid-${node}` };
  const manifest = addressBlockManifest("default", parseCidr(cidr), identity, lent.map(parseCidr));
  const metadata = { ...manifest.metadata, uid: `uid-${cidr}`, resourceVersion: "7" };
  const parsed = parseAddressBlock({ ...manifest, metadata });
  if (!parsed.ok) assert.fail(JSON.stringify(parsed.violations));
  const published = status && { used: 0, free: 0, allocations: [], history: [], ...status };
  return { block: parsed.value, status: published };
}

export function allocation(address: string, name: string): AddressBlockStatus["allocations"][number] {
  return { address, pod: `shop/${name}`, uid: `uid-${name}`, since: earlier };
}

/** An IPAddress; `holder` is a pod's name. */
export function claim(
  address: string,
  {
    holder,
    node = "node-1",
    ...rest
  }: Partial<Omit<AddressClaim, "holder">> & { readonly holder?: string; readonly node?: string } = {},
): IpAddressRecord {
  const owner = {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    namespace: "shop",
    name: "db",
    uid: "uid-db",
    slot: holder ?? "db-0",
  };
  const record: AddressClaim = {
    address,
    subnet: "default",
    pool: undefined,
    retention: "Sticky",
    owner,
    holder: holder === undefined ? undefined : holderOf(holder, node),
    phase: holder === undefined ? "Retained" : "Bound",
    since: earlier,
    grant: undefined,
    refusal: undefined,
    reclaimAt: undefined,
    history: [],
    ...rest,
  };
  const manifest = ipAddressManifest(record);
  const metadata = { ...manifest.metadata, uid: `uid-${address}`, resourceVersion: "9" };
  const parsed = parseIpAddress({ ...manifest, metadata });
  return parsed.ok ? parsed.value : assert.fail(JSON.stringify(parsed.violations));
}

function holderOf(pod: string, node: string): NonNullable<AddressClaim["holder"]> {
  return { namespace: "shop", pod, podUid: `uid-${pod}`, node, nodeUid: `uid-${node}`, mac: "02:00:00:00:00:01" };
}

export function pod(name: string, node: string, ...addresses: string[]): AuditPod {
  return { namespace: "shop", name, uid: `uid-${name}`, node, addresses };
}

export const sound: AddressFacts = {
  subnets: [
    subnet({
      cidrs: ["10.0.0.0/24", "fd00::/64"],
      blockLength: { ipv4: 28 },
      excluded: ["10.0.0.250-10.0.0.254"],
      reserved: ["10.0.0.200"],
    }),
  ],
  nodes: [
    { name: "node-1", uid: "uid-node-1", gatewayAddresses: ["10.0.0.2"] },
    { name: "node-2", uid: "uid-node-2", gatewayAddresses: ["10.0.0.17"] },
  ],
  blocks: [
    block("10.0.0.0/28", "node-1", { allocations: [allocation("10.0.0.3", "web-1")] }, ["10.0.0.8/29"]),
    block("10.0.0.8/29", "node-2", { allocations: [allocation("10.0.0.9", "web-2")] }),
    block("10.0.0.16/28", "node-2", {
      allocations: [allocation("10.0.0.18", "web-3")],
      history: [{ address: "10.0.0.19", pod: "shop/old", uid: "uid-old", from: earlier - 9000, until: earlier }],
    }),
  ],
  claims: [
    claim("10.0.0.20", { holder: "db-0", node: "node-1" }),
    claim("10.0.0.100", { reclaimAt: now + 60_000 }),
    claim("10.0.0.101", { phase: "Released", owner: undefined }),
    claim("fd00::5", { holder: "db-0", node: "node-1" }),
  ],
  pods: [
    pod("web-1", "node-1", "10.0.0.3"),
    pod("web-2", "node-2", "10.0.0.9"),
    pod("web-3", "node-2", "10.0.0.18"),
    pod("db-0", "node-1", "10.0.0.20", "fd00::5"),
    pod("starting", "node-1"),
  ],
};

/** The sound cluster with some of its facts replaced. */
export function cluster(facts: Partial<AddressFacts> = {}): AddressBook {
  return bookOf({ ...sound, ...facts });
}

/** The facts, filed without a pause. */
export function bookOf(facts: AddressFacts): AddressBook {
  const steps = AddressBook.from(facts);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}
