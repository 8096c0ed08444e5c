/**
 * What the node must still know when the agent starts and the API server is away: kept in OVSDB, in the `external_ids`
 * of the bridge, beside the pods' ports. It is a copy; the API is asked as soon as it answers.
 */
import { parseNetwork, parseSubnet, type Network, type Subnet } from "@beyondfabric/kube/kinds";
import { Transaction, type Cache } from "@beyondfabric/ovsdb";
import { formatCidr, isIp, parseCidr, parseIp, type Cidr, type Ip } from "@beyondfabric/packet";
import type { UplinkAddresses } from "./host/network.ts";
import { withEntries, type SwitchTables } from "./switch/database.ts";

const stateKey = "beyondfabric.io/state";
const stateFormat = 1;

export interface LocalState {
  readonly nodeUid: string;
  /** The objects as the API gave them. */
  readonly networks: readonly unknown[];
  readonly subnets: readonly unknown[];
  readonly blocks: readonly { readonly subnet: string; readonly cidr: Cidr }[];
  readonly nodeAddresses: readonly Ip[];
  readonly tunnelAddress: Ip | undefined;
  /** What the NIC's bridge has to have; see {@link UplinkAddresses}. */
  readonly uplink: UplinkAddresses | undefined;
}

/** Undefined when there is none, or when it cannot be read: it is only a copy. */
export function readLocalState(cache: Cache<SwitchTables>, bridge: string): LocalState | undefined {
  const text = cache.find("Bridge", (row) => row.name === bridge)?.external_ids[stateKey];
  if (text === undefined) return undefined;
  try {
    const raw = JSON.parse(text) as {
      format: number;
      nodeUid: string;
      networks: unknown[];
      subnets: unknown[];
      blocks: { subnet: string; cidr: string }[];
      nodeAddresses: string[];
      tunnelAddress?: string;
      uplink?: UplinkAddresses;
    };
    if (raw.format !== stateFormat || !raw.nodeAddresses.every(isIp)) return undefined;
    return {
      nodeUid: raw.nodeUid,
      networks: raw.networks,
      subnets: raw.subnets,
      blocks: raw.blocks.map(({ subnet, cidr }) => ({ subnet, cidr: parseCidr(cidr) })),
      nodeAddresses: raw.nodeAddresses.map(parseIp),
      tunnelAddress: raw.tunnelAddress !== undefined && isIp(raw.tunnelAddress) ? raw.tunnelAddress : undefined,
      uplink: raw.uplink,
    };
  } catch {
    return undefined;
  }
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
    blocks: state.blocks.map(({ subnet, cidr }) => ({ subnet, cidr: formatCidr(cidr) })),
  });
  const ids = withEntries(row.external_ids, { [stateKey]: text });
  return ids === undefined ? undefined : new Transaction().update("Bridge", row._uuid, { external_ids: ids });
}

export function networksOf(state: LocalState): Network[] {
  return state.networks.map(parseNetwork).flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
}

export function subnetsOf(state: LocalState): Subnet[] {
  return state.subnets.map(parseSubnet).flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
}
