/**
 * What this machine must hold so that pods can live on it: the switch with its ports, the NIC's bridge, the entries that
 * are constant, the host's side of the bridge. Each method is a step of the loop that converges: it compares and repairs.
 */
import { createHash } from "node:crypto";
import type { Cache, OvsdbClient } from "@beyondfabric/ovsdb";
import type { Ip } from "@beyondfabric/packet";
import type { AgentConfig } from "./config.ts";
import { podMtu, type Topology } from "./directory/networks.ts";
import { AgentError } from "./errors.ts";
import type { HostNetwork, UplinkAddresses } from "./host/network.ts";
import type { BridgeSession } from "./switch/bridge-session.ts";
import {
  declareSwitch,
  hostInterfaceName,
  tunnelInterfaceName,
  uplinkBridgeName,
  type SwitchDeclaration,
  type SwitchTables,
} from "./switch/database.ts";
import type { UplinkSession } from "./switch/uplink-session.ts";

export interface MachineOptions {
  readonly config: AgentConfig;
  readonly database: OvsdbClient;
  readonly cache: Cache<SwitchTables>;
  readonly host: HostNetwork;
  readonly session: BridgeSession;
  readonly uplink: UplinkSession | undefined;
  readonly topology: () => Topology;
  /** The node's own addresses inside cluster subnets; empty until it has some. */
  readonly nodeAddresses: () => readonly Ip[];
}

export class Machine {
  readonly #options: MachineOptions;
  #nicMac: string | undefined;
  #linkMtu = 1500;
  #bridgeIsOurs = false;
  #hostReady = false;
  /** Where this node's tunnels end; remembered from before until the NIC has been looked at. */
  tunnelAddress: Ip | undefined;
  /** What the NIC's bridge has to have; remembered from before too. */
  uplinkAddresses: UplinkAddresses | undefined;

  constructor(options: MachineOptions) {
    this.#options = options;
  }

  /** The bridge of the configured name was made by us: until then nothing on this node is touched. */
  get bridgeIsOurs(): boolean {
    return this.#bridgeIsOurs;
  }

  get hostReady(): boolean {
    return this.#hostReady;
  }

  /** MTU of pods (bytes). */
  get podMtu(): number {
    return podMtu(this.#options.topology().overlay, this.#linkMtu);
  }

  async declareSwitch(): Promise<void> {
    const { host, database, cache, session } = this.#options;
    const { uplink } = this.#declaration();
    if (uplink !== undefined) {
      const nic = await host.interfaceFacts(uplink.nic);
      if (nic === undefined) {
        throw new AgentError(
          "AGENT_TUNNEL_INTERFACE",
          `tunnel.interface names ${uplink.nic}, which does not exist on this node; name an interface that \`ip link\` shows`,
        );
      }
      this.#nicMac = nic.mac;
    }
    try {
      await database.transactWithRetry<SwitchTables>((current) => declareSwitch(current, this.#declaration()));
      this.#bridgeIsOurs = true;
    } catch (error) {
      if (error instanceof AgentError && error.code === "AGENT_BRIDGE_TAKEN") this.#bridgeIsOurs = false;
      throw error;
    }
    for (const name of [hostInterfaceName, tunnelInterfaceName, uplink?.nic]) {
      const row = cache.find("Interface", (candidate) => candidate.name === name);
      if (row?.error !== undefined)
        throw new AgentError("AGENT_PORT_REFUSED", `the switch refuses interface ${name}: ${row.error}`);
    }
    session.start();
    this.#options.uplink?.start();
  }

  async ensureUplink(): Promise<void> {
    const { config, host } = this.#options;
    const { tunnel, ovs } = config;
    if (tunnel === undefined) return;
    if (ovs.datapathType === "netdev") {
      const bridge = uplinkBridgeName(tunnel.interface);
      this.uplinkAddresses =
        (await host.ensureUplink(tunnel.interface, bridge, this.uplinkAddresses)) ?? this.uplinkAddresses;
    }
    const carrier = ovs.datapathType === "netdev" ? uplinkBridgeName(tunnel.interface) : tunnel.interface;
    const facts = await host.interfaceFacts(carrier);
    this.#linkMtu = facts?.mtu ?? this.#linkMtu;
    const address = tunnel.address ?? facts?.ipv4;
    if (address === undefined) {
      throw new AgentError(
        "AGENT_TUNNEL_INTERFACE",
        `interface ${carrier} has no IPv4 address for tunnels; give it one, or set tunnel.address`,
      );
    }
    this.tunnelAddress = address;
  }

  ensureEntries(): void {
    const { cache, session, topology } = this.#options;
    const host = cache.find("Interface", (row) => row.name === hostInterfaceName);
    const tunnel = cache.find("Interface", (row) => row.name === tunnelInterfaceName);
    const hostPort = host?.ofport;
    const tunnelPort = tunnel?.ofport;
    if (hostPort === undefined || hostPort < 0 || host?.mac_in_use === undefined) return;
    session.setBase({
      ports: { host: hostPort, tunnel: tunnelPort ?? 0, hostMac: host.mac_in_use },
      gateways: topology().facts.map(({ gateway }) => gateway),
      vnis: tunnelPort === undefined || tunnelPort < 0 ? [] : topology().vnis,
      metered: session.metered,
    });
  }

  async ensureHost(): Promise<void> {
    const nodeAddresses = this.#options.nodeAddresses();
    if (nodeAddresses.length === 0) return;
    this.#hostReady = await this.#options.host.ensure({
      hostInterface: hostInterfaceName,
      captured: this.#declaration().uplink?.nic,
      mtu: this.podMtu,
      nodeAddresses,
      subnets: this.#options
        .topology()
        .subnets.flatMap(({ families, natOutgoing }) =>
          families.map(({ cidr, gateway }) => ({ cidr, gateway, natOutgoing })),
        ),
    });
  }

  #declaration(): SwitchDeclaration {
    const { ovs, tunnel, nodeName } = this.#options.config;
    const { overlay } = this.#options.topology();
    return {
      bridge: ovs.bridge,
      datapathType: ovs.datapathType,
      hostMac: hostMacOf(nodeName),
      mtu: overlay === undefined ? undefined : this.podMtu,
      tunnel: overlay === undefined ? undefined : { type: tunnelTypes[overlay.encapsulation], port: overlay.port ?? 0 },
      uplink:
        ovs.datapathType === "netdev" && tunnel !== undefined
          ? { bridge: uplinkBridgeName(tunnel.interface), nic: tunnel.interface, mac: this.#nicMac }
          : undefined,
    };
  }
}

const tunnelTypes = { VXLAN: "vxlan", Geneve: "geneve", GRE: "gre" } as const;

/** MAC of `fabric0`: made of the node's name, so that it survives the interface. */
function hostMacOf(nodeName: string): string {
  const digest = createHash("sha256").update(nodeName).digest();
  return ["0e", "fb", ...[...digest.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
