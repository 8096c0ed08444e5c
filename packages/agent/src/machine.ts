/**
 * What this machine must hold so that pods can live on it: the switch with its ports, the NIC's bridge, the entries that
 * are constant, the host's side of the bridge. Each method is a step of the loop that converges: it compares and repairs.
 */
import { createHash } from "node:crypto";
import type { Cache, OvsdbClient } from "@beyondfabric/ovsdb";
import type { Subnet } from "@beyondfabric/kube/kinds";
import type { Cidr, Ip } from "@beyondfabric/packet";
import type { AgentConfig } from "./config.ts";
import { podMtu, type Topology } from "./directory/networks.ts";
import { AgentError } from "./errors.ts";
import type { HostNetwork, UplinkAddresses } from "./host/network.ts";
import type { BridgeSession } from "./switch/bridge-session.ts";
import {
  declareSwitch,
  hostInterfaceName,
  removeUplinks,
  retiredUplinks,
  tunnelInterfaceName,
  uplinkBridgeName,
  type SwitchDeclaration,
  type SwitchTables,
  type UplinkDeclaration,
} from "./switch/database.ts";
import type { PhysicalNetworks } from "./underlay/physical-networks.ts";

export interface MachineOptions {
  readonly config: AgentConfig;
  readonly database: OvsdbClient;
  readonly cache: Cache<SwitchTables>;
  readonly host: HostNetwork;
  readonly session: BridgeSession;
  readonly networks: PhysicalNetworks;
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
  /** What the bridges of NICs have to have, by NIC; remembered from before too. */
  readonly uplinkAddresses = new Map<string, UplinkAddresses>();

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

  /** MTU of pods of a subnet (bytes). */
  mtuOf(subnet: Subnet): number {
    return this.#options.networks.mtuOf(subnet) ?? this.podMtu;
  }

  async declareSwitch(): Promise<void> {
    const { host, database, cache, session } = this.#options;
    const tunnelNic = this.#tunnelNic;
    if (tunnelNic !== undefined) {
      const nic = await host.interfaceFacts(tunnelNic);
      if (nic === undefined) {
        throw new AgentError(
          "AGENT_TUNNEL_INTERFACE",
          `tunnel.interface names ${tunnelNic}, which does not exist on this node; name an interface that \`ip link\` shows`,
        );
      }
      this.#nicMac = nic.mac;
    }
    await this.#retireUplinks();
    try {
      await database.transactWithRetry<SwitchTables>((current) => declareSwitch(current, this.#declaration()));
      this.#bridgeIsOurs = true;
    } catch (error) {
      if (error instanceof AgentError && error.code === "AGENT_BRIDGE_TAKEN") this.#bridgeIsOurs = false;
      throw error;
    }
    for (const name of [hostInterfaceName, tunnelInterfaceName, tunnelNic]) {
      const row = cache.find("Interface", (candidate) => candidate.name === name);
      if (row?.error !== undefined)
        throw new AgentError("AGENT_PORT_REFUSED", `the switch refuses interface ${name}: ${row.error}`);
    }
    session.start();
    await this.#options.networks.connect();
  }

  /** NICs whose network is gone are the node's again, with their addresses. */
  async #retireUplinks(): Promise<void> {
    const { cache, config, database, host, networks } = this.#options;
    if (!networks.isInformed) return;
    const retired = retiredUplinks(cache, this.#declaration());
    if (retired.length === 0) return;
    for (const { nic, bridge } of retired) {
      if (nic === undefined) continue;
      await host.releaseUplink(nic, bridge, this.uplinkAddresses.get(nic));
      this.uplinkAddresses.delete(nic);
    }
    const bridges = retired.map(({ bridge }) => bridge);
    await database.transactWithRetry<SwitchTables>((current) => removeUplinks(current, config.ovs.bridge, bridges));
  }

  /** The NIC that carries tunnels, where the datapath needs a bridge for it. */
  get #tunnelNic(): string | undefined {
    const { ovs, tunnel } = this.#options.config;
    return ovs.datapathType === "netdev" ? tunnel?.interface : undefined;
  }

  /** NICs that bridges have taken. */
  get #captured(): readonly string[] {
    const { networks } = this.#options;
    const tunnelNic = this.#tunnelNic;
    return [
      ...new Set([...(tunnelNic === undefined ? [] : [tunnelNic]), ...networks.captured().map(({ nic }) => nic)]),
    ];
  }

  /** Sets up the NICs of physical networks, and brings what they carry for the node to their bridges. */
  async ensureWires(): Promise<void> {
    const { host, networks } = this.#options;
    for (const { nic, bridge } of networks.captured()) {
      if (nic === this.#tunnelNic) continue;
      const addresses = await host.ensureUplink(nic, bridge, this.uplinkAddresses.get(nic));
      if (addresses === undefined) continue;
      if (addresses.addresses.length > 0) this.uplinkAddresses.set(nic, addresses);
      else this.uplinkAddresses.delete(nic);
    }
  }

  async ensureUplink(): Promise<void> {
    const { config, host } = this.#options;
    const { tunnel, ovs } = config;
    if (tunnel === undefined) return;
    if (ovs.datapathType === "netdev") {
      const bridge = uplinkBridgeName(tunnel.interface);
      const addresses = await host.ensureUplink(tunnel.interface, bridge, this.uplinkAddresses.get(tunnel.interface));
      if (addresses !== undefined) this.uplinkAddresses.set(tunnel.interface, addresses);
    }
    const carrier = this.#captured.includes(tunnel.interface) ? uplinkBridgeName(tunnel.interface) : tunnel.interface;
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
    const { cache, networks, session, topology } = this.#options;
    const wires = networks.wires();
    const host = cache.find("Interface", (row) => row.name === hostInterfaceName);
    const tunnel = cache.find("Interface", (row) => row.name === tunnelInterfaceName);
    const hostPort = host?.ofport;
    const tunnelPort = tunnel?.ofport;
    if (hostPort === undefined || hostPort < 0 || host?.mac_in_use === undefined) return;
    session.setBase({
      ports: { host: hostPort, tunnel: tunnelPort ?? 0, hostMac: host.mac_in_use },
      gateways: topology()
        .facts.filter(({ wire }) => wire === undefined)
        .map(({ gateway }) => gateway),
      wires,
      ...(wires.length === 0 ? {} : { overlayMtu: this.podMtu }),
      vnis: tunnelPort === undefined || tunnelPort < 0 ? [] : topology().vnis,
      metered: session.metered,
    });
  }

  async ensureHost(): Promise<void> {
    const nodeAddresses = this.#options.nodeAddresses();
    if (nodeAddresses.length === 0) return;
    this.#hostReady = await this.#options.host.ensure({
      hostInterface: hostInterfaceName,
      captured: this.#captured,
      mtu: this.podMtu,
      nodeAddresses,
      wirePods: this.#options.networks.residentAddresses(),
      subnets: overlaySubnets(this.#options.topology()),
    });
  }

  #declaration(): SwitchDeclaration {
    const { ovs, nodeName } = this.#options.config;
    const { overlay } = this.#options.topology();
    const uplinks: UplinkDeclaration[] = this.#options.networks.declarations();
    const nic = this.#tunnelNic;
    if (nic !== undefined && !uplinks.some((uplink) => uplink.nic === nic)) {
      uplinks.push({ bridge: uplinkBridgeName(nic), nic, mac: this.#nicMac, port: undefined });
    }
    return {
      bridge: ovs.bridge,
      datapathType: ovs.datapathType,
      hostMac: hostMacOf(nodeName),
      mtu: overlay === undefined ? undefined : this.podMtu,
      tunnel: overlay === undefined ? undefined : { type: tunnelTypes[overlay.encapsulation], port: overlay.port ?? 0 },
      uplinks,
    };
  }
}

function overlaySubnets({ subnets, underlays }: Topology): { cidr: Cidr; gateway: Ip; natOutgoing: boolean }[] {
  const physical = new Set(underlays.map(({ name }) => name));
  return subnets
    .filter(({ network }) => !physical.has(network))
    .flatMap(({ families, natOutgoing }) => families.map(({ cidr, gateway }) => ({ cidr, gateway, natOutgoing })));
}

const tunnelTypes = { VXLAN: "vxlan", Geneve: "geneve", GRE: "gre" } as const;

/** MAC of `fabric0`: made of the node's name, so that it survives the interface. */
function hostMacOf(nodeName: string): string {
  const digest = createHash("sha256").update(nodeName).digest();
  return ["0e", "fb", ...[...digest.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
