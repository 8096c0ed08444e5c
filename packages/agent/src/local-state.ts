/**
 * What the node must still know when the agent starts and the API server is away: kept in OVSDB, in the `external_ids`
 * of the bridge, beside the pods' ports. It is a copy; the API is asked as soon as it answers.
 */
import {
  parseIpPool,
  parseNetwork,
  parseSubnet,
  type IpPool,
  type Network,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { Transaction, type Cache } from "@beyondfabric/ovsdb";
import { familyBits, ipFamily, isIp, parseIp, type Ip } from "@beyondfabric/packet";
import { z } from "zod";
import type { UplinkAddresses } from "./host/network.ts";
import type { SwitchTables } from "./switch/database.ts";

const stateKey = "beyondfabric.io/state";
const stateFormat = 1;

export interface LocalState {
  readonly nodeUid: string;
  /** The objects as the API gave them. */
  readonly networks: readonly unknown[];
  readonly subnets: readonly unknown[];
  readonly pools: readonly unknown[];
  readonly nodeAddresses: readonly Ip[];
  readonly tunnelAddress: Ip | undefined;
  /** What the bridges of NICs have to have, by NIC; see {@link UplinkAddresses}. */
  readonly uplinks: Readonly<Record<string, UplinkAddresses>>;
  /** The node's labels, which choose its NICs. */
  readonly nodeLabels: Readonly<Record<string, string>>;
}

const ip = z.string().refine(isIp).transform(parseIp);

/** An address or a destination with its prefix length, as the kernel gives it. */
const prefixed = z.string().refine((text) => {
  const [address = "", length = ""] = text.split("/", 2);
  return isIp(address) && /^\d{1,3}$/.test(length) && Number(length) <= familyBits(ipFamily(address));
});

const route = z
  .object({ dst: prefixed, gateway: ip.optional() })
  .transform(({ dst, gateway }) => (gateway === undefined ? { dst } : { dst, gateway }));

const storedState = z.object({
  format: z.literal(stateFormat),
  nodeUid: z.string(),
  networks: z.array(z.unknown()),
  subnets: z.array(z.unknown()),
  pools: z.array(z.unknown()).default([]),
  nodeAddresses: z.array(ip),
  tunnelAddress: ip.optional(),
  uplinks: z.record(z.string(), z.object({ addresses: z.array(prefixed), routes: z.array(route) })).default({}),
  nodeLabels: z.record(z.string(), z.string()).default({}),
});

/** Undefined when there is none, or when it cannot be read: it is only a copy, and anybody may write into OVSDB. */
export function readLocalState(cache: Cache<SwitchTables>, bridge: string): LocalState | undefined {
  const text = cache.find("Bridge", (row) => row.name === bridge)?.external_ids[stateKey];
  return text === undefined ? undefined : parseLocalState(text);
}

/** The state in a text of {@link writeLocalState}; undefined for any other text. */
export function parseLocalState(text: string): LocalState | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = storedState.safeParse(raw);
  if (!parsed.success) return undefined;
  const { nodeUid, networks, subnets, pools, nodeAddresses, tunnelAddress, uplinks, nodeLabels } = parsed.data;
  return { nodeUid, networks, subnets, pools, nodeAddresses, tunnelAddress, uplinks, nodeLabels };
}

/** The transaction that stores the state; undefined when it stands there already. */
export function writeLocalState(
  cache: Cache<SwitchTables>,
  bridge: string,
  state: LocalState,
): Transaction | undefined {
  const row = cache.find("Bridge", (candidate) => candidate.name === bridge);
  if (row === undefined) return undefined;
  const text = JSON.stringify({
    format: stateFormat,
    ...state,
  });
  if (row.external_ids[stateKey] === text) return undefined;
  // Others write to their own keys of the same map meanwhile.
  return new Transaction().setPairs("Bridge", row._uuid, "external_ids", { [stateKey]: text });
}

export function networksOf(state: LocalState): Network[] {
  return state.networks.map(parseNetwork).flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
}

export function subnetsOf(state: LocalState): Subnet[] {
  return state.subnets.map(parseSubnet).flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
}

export function poolsOf(state: LocalState): IpPool[] {
  return state.pools.map(parseIpPool).flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
}
