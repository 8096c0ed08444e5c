/** Objects of address management, for tests that decide about them. */
import {
  parseIpPool,
  parseSubnet,
  type AddressBlock,
  type IpAddressRecord,
  type IpPool,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { parseCidr, type Ip } from "@beyondfabric/packet";

const identity = { name: "x", uid: "u", resourceVersion: "1", created: 0, generation: 1 };

export function subnet(name: string, cidrs: readonly string[], spec: object = {}): Subnet {
  const parsed = parseSubnet({ metadata: { name, uid: `uid-${name}` }, spec: { network: "overlay", cidrs, ...spec } });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.violations));
  return parsed.value;
}

export function pool(name: string, of: string, addresses: readonly string[]): IpPool {
  const parsed = parseIpPool({ metadata: { name, uid: `uid-${name}` }, spec: { subnet: of, addresses } });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.violations));
  return parsed.value;
}

export function block(of: string, cidr: string, node: string, used?: number): AddressBlock {
  return { ...identity, name: cidr, subnet: of, cidr: parseCidr(cidr), node, nodeUid: `uid-${node}`, lent: [], used };
}

export function claim(of: string, address: Ip, change: Partial<IpAddressRecord> = {}): IpAddressRecord {
  return {
    ...identity,
    name: address,
    address,
    subnet: of,
    pool: undefined,
    retention: "Fixed",
    owner: undefined,
    holder: {
      namespace: "shop",
      pod: "web",
      podUid: "w",
      node: "node-1",
      nodeUid: "uid-node-1",
      mac: "0a:58:00:00:00:01",
    },
    phase: "Bound",
    since: 0,
    grant: undefined,
    refusal: undefined,
    reclaimAt: undefined,
    history: [],
    ...change,
  };
}

/** A claim that no pod holds. */
export function kept(of: string, address: Ip, phase: "Retained" | "Released"): IpAddressRecord {
  return claim(of, address, { phase, holder: undefined });
}
