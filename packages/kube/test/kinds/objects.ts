/** Objects as the API server would give them, for the tests of the kinds. */
import assert from "node:assert/strict";
import { parseAddressBlock, parseIpPool, parseNetwork, parseSubnet } from "@beyondfabric/kube/kinds";
import type { AddressBlock, IpPool, Network, Parsed, Subnet, Violation } from "@beyondfabric/kube/kinds";

const API_VERSION = "beyondfabric.io/v1alpha1";

export function object(kind: string, name: string, spec: unknown, created = 0): Record<string, unknown> {
  const creationTimestamp = created === 0 ? undefined : new Date(created * 1000).toISOString();
  return { apiVersion: API_VERSION, kind, metadata: { name, creationTimestamp }, spec };
}

function sound<Value>(parsed: Parsed<Value>): Value {
  return parsed.ok ? parsed.value : assert.fail(JSON.stringify(parsed.violations));
}

export function network(name: string, spec: Record<string, unknown>, created = 0): Network {
  return sound(parseNetwork(object("Network", name, spec, created)));
}

export function subnet(name: string, spec: Record<string, unknown>, created = 0): Subnet {
  return sound(parseSubnet(object("Subnet", name, { network: "overlay", ...spec }, created)));
}

export function pool(name: string, spec: Record<string, unknown>, created = 0): IpPool {
  return sound(parseIpPool(object("IPPool", name, spec, created)));
}

/** @param more fields of the specification besides the node, or instead of it */
export function block(name: string, cidr: string, created = 0, more: Record<string, unknown> = {}): AddressBlock {
  const spec = { subnet: "default", cidr, node: "node-1", nodeUid: "uid-1", ...more };
  return sound(parseAddressBlock(object("AddressBlock", name, spec, created)));
}

/** The violations as `object field rule; remedy`. */
export function texts(violations: readonly Violation[]): string[] {
  return violations.map(({ object, field, rule, remedy }) => `${object} ${field} ${rule}; ${remedy}`);
}
