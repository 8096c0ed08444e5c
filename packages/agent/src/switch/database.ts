/**
 * What the switch's database must hold, and the transaction that makes it so. The switch is declared, not commanded:
 * the same function runs at start, after every change and at every reconcile, and does nothing when nothing differs.
 */
import { integrationPort, nicPort, tables } from "@beyondfabric/datapath";
import {
  Transaction,
  type BridgeRow,
  type Cache,
  type FlowTableRow,
  type InputValue,
  type InterfaceRow,
  type OpenVswitchRow,
  type PortRow,
} from "@beyondfabric/ovsdb";
import { AgentError } from "../errors.ts";

export const ownerKey = "beyondfabric.io/owner";
export const owner = "fabric-node";

export const hostInterfaceName = "fabric0";
export const tunnelInterfaceName = "fabric-tunnel";
export const hostPortNumber = 1;
export const tunnelPortNumber = 2;
/** Ways to the bridges of NICs are numbered from here to below the meters of wires, 90. */
const firstUplinkPortNumber = 10;
const lastUplinkPortNumber = 89;
/** Pod ports are numbered from here; the numbers below belong to the bridge's own ports. */
export const firstPodPortNumber = 100;

export interface SwitchDeclaration {
  readonly bridge: string;
  readonly datapathType: "netdev" | "system";
  /** MAC of `fabric0`. */
  readonly hostMac: string;
  /** MTU of pods and of `fabric0` (bytes); undefined until the network is known. */
  readonly mtu: number | undefined;
  /** The tunnel port; undefined until an overlay network is known. */
  readonly tunnel: { readonly type: "vxlan" | "geneve" | "gre"; readonly port: number } | undefined;
  /**
   * Bridges of NICs: of the one that carries the tunnels, where the datapath needs the tunnel's address on a bridge, and
   * of those that carry physical networks for pods.
   */
  readonly uplinks: readonly UplinkDeclaration[];
}

export interface UplinkDeclaration {
  readonly bridge: string;
  readonly nic: string;
  /** MAC of the NIC: the bridge keeps it, so that neighbours and the physical switch see no change. */
  readonly mac: string | undefined;
  /** OpenFlow port of the way to the bridge on the integration bridge; undefined: pods have no business there. */
  readonly port: number | undefined;
}

/** What of the database is watched. */
export const monitoredTables = {
  Open_vSwitch: { columns: ["bridges", "other_config", "external_ids", "ovs_version", "next_cfg", "cur_cfg"] },
  Bridge: {
    columns: [
      "name",
      "datapath_type",
      "fail_mode",
      "protocols",
      "ports",
      "other_config",
      "external_ids",
      "flow_tables",
      "controller",
    ],
  },
  Port: { columns: ["name", "interfaces", "external_ids"] },
  Interface: {
    columns: [
      "name",
      "type",
      "options",
      "external_ids",
      "ofport",
      "ofport_request",
      "error",
      "mac",
      "mac_in_use",
      "mtu_request",
      "mtu",
      "link_state",
    ],
  },
  Flow_Table: { columns: ["name", "prefixes"] },
} as const;

/** The bridge that takes a NIC: `br-` and the NIC's name, cut to what the kernel allows. */
export function uplinkBridgeName(nic: string): string {
  return `br-${nic}`.slice(0, 15);
}

/** Names of the two ends of the way between the integration bridge and that of a NIC. */
export function patchNames(bridge: string): { readonly integration: string; readonly uplink: string } {
  return { integration: `int-${bridge}`, uplink: `${bridge}-int` };
}

/**
 * The number of the way to a NIC's bridge: the one that it has, else the lowest that is free. Entries and what pods are
 * remembered by hold it, so it must not change while the bridge stands.
 * @param taken numbers that are given away although the database does not show them yet
 */
export function uplinkPortNumber(
  cache: Cache<SwitchTables>,
  bridge: string,
  taken: ReadonlySet<number>,
): number | undefined {
  const { integration } = patchNames(bridge);
  const present = cache.find("Interface", (row) => row.name === integration)?.ofport_request;
  if (present !== undefined) return present;
  const used = new Set([...taken, ...[...cache.table("Interface").values()].map((row) => row.ofport_request)]);
  for (let number = firstUplinkPortNumber; number <= lastUplinkPortNumber; number++) {
    if (!used.has(number)) return number;
  }
  return undefined;
}

/** Bridges of NICs that are ours and that nobody declares any more. */
export function retiredUplinks(
  cache: Cache<SwitchTables>,
  { bridge, uplinks }: Pick<SwitchDeclaration, "bridge" | "uplinks">,
): { readonly bridge: string; readonly nic: string | undefined }[] {
  const kept = new Set([bridge, ...uplinks.map((uplink) => uplink.bridge)]);
  return cache
    .filter("Bridge", (row) => row.external_ids[ownerKey] === owner && !kept.has(row.name))
    .map((row) => ({ bridge: row.name, nic: nicOf(cache, row) }));
}

function nicOf(cache: Cache<SwitchTables>, bridge: BridgeRow): string | undefined {
  const interfaces = bridge.ports.flatMap((uuid) => cache.row("Port", uuid)?.interfaces ?? []);
  return interfaces.map((uuid) => cache.row("Interface", uuid)).find((row) => row?.ofport_request === nicPort)?.name;
}

/** Takes bridges of NICs out of the switch, their ways included; the NICs are the node's again. */
export function removeUplinks(
  cache: Cache<SwitchTables>,
  integrationBridge: string,
  bridges: readonly string[],
): Transaction | undefined {
  const transaction = new Transaction();
  for (const name of bridges) {
    const bridge = cache.find("Bridge", (row) => row.name === name);
    if (bridge === undefined) continue;
    transaction.mutate("Open_vSwitch", [], [["bridges", "delete", [bridge._uuid]]]);
    const way = cache.find("Port", (row) => row.name === patchNames(name).integration);
    const integration = cache.find("Bridge", (row) => row.name === integrationBridge);
    if (way === undefined || integration === undefined) continue;
    transaction.mutate("Bridge", integration._uuid, [["ports", "delete", [way._uuid]]]);
  }
  return transaction.size === 0 ? undefined : transaction;
}

/** Tables whose entries match addresses: the classifier keeps tries for them, IPv6 included, so that masks stay wide. */
const prefixTables = [tables["spoof-guard"].id, tables.egress.id, tables.ingress.id, tables.deliver.id];
const prefixes = ["ip_dst", "ip_src", "ipv6_dst"];

/** The configuration that every first packet's latency rests on; verified at each reconcile. */
export const requiredSettings = {
  /** Never delete datapath flows wholesale because a dump took long. */
  openVswitch: { "min-revalidate-pps": "0" },
  /** The longest queue towards the controller that the switch allows. */
  bridge: { "controller-queue-size": "512", "disable-in-band": "true" },
} as const;

/**
 * @returns the transaction that makes the database hold the declaration; undefined when it does already
 * @throws AgentError `AGENT_SWITCH_ABSENT` for a database that was never initialised, `AGENT_BRIDGE_TAKEN` when a bridge
 *   of that name exists, has ports and is not ours, `AGENT_INTERFACE_TAKEN` when another bridge holds an interface of it
 */
export function declareSwitch(cache: Cache<SwitchTables>, declaration: SwitchDeclaration): Transaction | undefined {
  const transaction = new Transaction();
  const root = [...cache.table("Open_vSwitch").values()][0];
  if (root === undefined) {
    throw new AgentError(
      "AGENT_SWITCH_ABSENT",
      "the Open vSwitch database has no row in table Open_vSwitch; run `ovs-vsctl init`, then start again",
    );
  }
  const settings = withEntries(root.other_config, requiredSettings.openVswitch);
  if (settings !== undefined) transaction.update("Open_vSwitch", root._uuid, { other_config: settings });

  declareBridge(cache, transaction, {
    name: declaration.bridge,
    datapathType: declaration.datapathType,
    otherConfig: requiredSettings.bridge,
    interfaces: integrationInterfaces(declaration),
    prefixes: true,
  });
  for (const { bridge, nic, mac, port } of declaration.uplinks) {
    const { integration, uplink } = patchNames(bridge);
    const way: DeclaredInterface = {
      name: uplink,
      row: { type: "patch", options: { peer: integration }, ofport_request: integrationPort },
    };
    declareBridge(cache, transaction, {
      name: bridge,
      datapathType: declaration.datapathType,
      otherConfig: mac === undefined ? {} : { hwaddr: mac },
      interfaces: [{ name: nic, row: { ofport_request: nicPort } }, ...(port === undefined ? [] : [way])],
      prefixes: false,
    });
  }
  return transaction.size === 0 ? undefined : transaction;
}

export interface SwitchTables {
  readonly Open_vSwitch: OpenVswitchRow;
  readonly Bridge: BridgeRow;
  readonly Port: PortRow;
  readonly Interface: InterfaceRow;
  readonly Flow_Table: FlowTableRow;
}

interface DeclaredInterface {
  readonly name: string;
  readonly row: Readonly<Record<string, InputValue>>;
}

function integrationInterfaces(declaration: SwitchDeclaration): DeclaredInterface[] {
  const interfaces: DeclaredInterface[] = [
    {
      name: hostInterfaceName,
      row: {
        type: "internal",
        ofport_request: hostPortNumber,
        mac: declaration.hostMac,
        ...(declaration.mtu === undefined ? {} : { mtu_request: declaration.mtu }),
      },
    },
  ];
  if (declaration.tunnel !== undefined) {
    const { type, port } = declaration.tunnel;
    interfaces.push({
      name: tunnelInterfaceName,
      row: {
        type,
        ofport_request: tunnelPortNumber,
        options: {
          key: "flow",
          remote_ip: "flow",
          ...(type === "gre" ? {} : { dst_port: String(port) }),
        },
      },
    });
  }
  for (const { bridge, port } of declaration.uplinks) {
    if (port === undefined) continue;
    const { integration, uplink } = patchNames(bridge);
    interfaces.push({
      name: integration,
      row: { type: "patch", options: { peer: uplink }, ofport_request: port },
    });
  }
  return interfaces;
}

interface DeclaredBridge {
  readonly name: string;
  readonly datapathType: string;
  readonly otherConfig: Readonly<Record<string, string>>;
  readonly interfaces: readonly DeclaredInterface[];
  readonly prefixes: boolean;
}

function declareBridge(cache: Cache<SwitchTables>, transaction: Transaction, declared: DeclaredBridge): void {
  for (const { name } of declared.interfaces) refuseHeldElsewhere(cache, name, declared.name);
  const bridge = cache.find("Bridge", (row) => row.name === declared.name);
  if (bridge === undefined) {
    createBridge(transaction, declared);
    return;
  }
  if (bridge.external_ids[ownerKey] !== owner) refuseTaken(cache, bridge);
  const row: Record<string, InputValue> = {};
  if (bridge.datapath_type !== declared.datapathType) row["datapath_type"] = declared.datapathType;
  if (bridge.fail_mode !== "secure") row["fail_mode"] = "secure";
  const wantedProtocols = protocols.filter((protocol) => !bridge.protocols.includes(protocol));
  if (wantedProtocols.length > 0) row["protocols"] = [...protocols];
  const otherConfig = withEntries(bridge.other_config, declared.otherConfig);
  if (otherConfig !== undefined) row["other_config"] = otherConfig;
  const ids = withEntries(bridge.external_ids, { [ownerKey]: owner });
  if (ids !== undefined) row["external_ids"] = ids;
  if (declared.prefixes && !hasPrefixes(cache, bridge)) row["flow_tables"] = insertFlowTables(transaction);
  if (Object.keys(row).length > 0) transaction.update("Bridge", bridge._uuid, row);

  for (const wanted of declared.interfaces) {
    const present = cache.find("Interface", (candidate) => candidate.name === wanted.name);
    if (present === undefined) {
      const port = insertPort(transaction, wanted);
      transaction.mutate("Bridge", bridge._uuid, [["ports", "insert", [port]]]);
      continue;
    }
    const changes = differing(present, wanted.row);
    if (changes !== undefined) transaction.update("Interface", present._uuid, changes);
  }
}

const protocols = ["OpenFlow10", "OpenFlow13", "OpenFlow15"] as const;

function createBridge(transaction: Transaction, declared: DeclaredBridge): void {
  const ports = [{ name: declared.name, row: { type: "internal" } }, ...declared.interfaces].map((each) =>
    insertPort(transaction, each),
  );
  const bridge = transaction.insert("Bridge", {
    name: declared.name,
    datapath_type: declared.datapathType,
    fail_mode: "secure",
    protocols: [...protocols],
    other_config: { ...declared.otherConfig },
    external_ids: { [ownerKey]: owner },
    ports,
    ...(declared.prefixes ? { flow_tables: insertFlowTables(transaction) } : {}),
  });
  transaction.mutate("Open_vSwitch", [], [["bridges", "insert", [bridge]]]);
}

function insertPort(transaction: Transaction, { name, row }: DeclaredInterface): ReturnType<Transaction["insert"]> {
  const uuid = transaction.insert("Interface", { name, ...row });
  return transaction.insert("Port", { name, interfaces: [uuid] });
}

function insertFlowTables(transaction: Transaction): InputValue {
  return Object.fromEntries(
    prefixTables.map((id) => [String(id), transaction.insert("Flow_Table", { prefixes: [...prefixes] })]),
  );
}

function hasPrefixes(cache: Cache<SwitchTables>, bridge: BridgeRow): boolean {
  return prefixTables.every((id) => {
    const uuid = bridge.flow_tables[String(id)];
    const row = uuid === undefined ? undefined : cache.row("Flow_Table", uuid);
    return row !== undefined && prefixes.every((prefix) => row.prefixes.includes(prefix));
  });
}

function refuseTaken(cache: Cache<SwitchTables>, bridge: BridgeRow): void {
  const foreign = bridge.ports
    .map((uuid) => cache.row("Port", uuid)?.name)
    .filter((name) => name !== undefined && name !== bridge.name);
  if (foreign.length === 0) return;
  throw new AgentError(
    "AGENT_BRIDGE_TAKEN",
    `bridge ${bridge.name} exists, carries ${foreign.join(", ")} and was not made by fabric-node; name another bridge in ovs.bridge, or remove this one with \`ovs-vsctl del-br ${bridge.name}\` if nothing needs it`,
  );
}

/** An interface has one bridge: to change it where it is would be to change somebody else's. */
function refuseHeldElsewhere(cache: Cache<SwitchTables>, name: string, bridge: string): void {
  const held = cache.find("Interface", (row) => row.name === name);
  if (held === undefined) return;
  const port = cache.find("Port", ({ interfaces }) => interfaces.includes(held._uuid));
  const holder = port === undefined ? undefined : cache.find("Bridge", ({ ports }) => ports.includes(port._uuid));
  if (port === undefined || holder === undefined || holder.name === bridge) return;
  throw new AgentError(
    "AGENT_INTERFACE_TAKEN",
    `interface ${name} is a port of bridge ${holder.name} and is needed in ${bridge}; name another NIC in tunnel.interface if it is one, or take it out with \`ovs-vsctl del-port ${holder.name} ${port.name}\` if nothing needs it there`,
  );
}

/** The map with the entries added, or undefined when it has them all. */
export function withEntries(
  map: Readonly<Record<string, string>>,
  entries: Readonly<Record<string, string>>,
): Record<string, string> | undefined {
  const missing = Object.entries(entries).some(([key, value]) => map[key] !== value);
  return missing ? { ...map, ...entries } : undefined;
}

function differing(
  present: InterfaceRow,
  wanted: Readonly<Record<string, InputValue>>,
): Record<string, InputValue> | undefined {
  const changes: Record<string, InputValue> = {};
  for (const [column, value] of Object.entries(wanted)) {
    const current = (present as unknown as Record<string, unknown>)[column];
    if (column === "options") {
      const merged = withEntries(current as Record<string, string>, value as Record<string, string>);
      if (merged !== undefined) changes[column] = merged;
    } else if (current !== value) {
      changes[column] = value;
    }
  }
  return Object.keys(changes).length === 0 ? undefined : changes;
}
