/**
 * The node's own side of the network: `fabric0` with the node's cluster addresses and the routes to all subnets, the
 * packet filter, and, where the datapath needs it, the NIC's addresses on the bridge that took the NIC. Declared: every
 * call compares and repairs, because the userspace datapath takes its interfaces away when it dies and makes new ones.
 */
import { applyRuleset, moveAddresses, readTable, setSysctls, type RouteSocket } from "@beyondfabric/link";
import { formatCidr, ipFamily, parseCidr, parseIp, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { AgentError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { NicFacts } from "../underlay/placement.ts";
import { releasedRuleset, ruleset, tableName } from "./ruleset.ts";

export interface HostNetworkFacts {
  readonly hostInterface: string;
  /** NICs that bridges took, where the kernel still sees their frames. */
  readonly captured: readonly string[];
  /** bytes */
  readonly mtu: number;
  readonly nodeAddresses: readonly Ip[];
  /** Pods of this node that live on physical networks: the node reaches them through the bridge, not through the wire. */
  readonly wirePods: readonly Ip[];
  /** Subnets of overlays. */
  readonly subnets: readonly { readonly cidr: Cidr; readonly gateway: Ip; readonly natOutgoing: boolean }[];
}

/** What a NIC had before a bridge took it; kept so that a bridge that is made anew gets it back. */
export interface UplinkAddresses {
  readonly addresses: readonly string[];
  readonly routes: readonly { readonly dst: string; readonly gateway?: string }[];
}

export class HostNetwork {
  readonly #socket: RouteSocket;
  readonly #logger: Logger;
  readonly #netns: string | undefined;
  #appliedRuleset = "";
  #rulesetSeen = 0;

  /** @param netns path of the namespace that the socket is of; by default the agent's own */
  constructor(socket: RouteSocket, logger: Logger, netns?: string) {
    this.#socket = socket;
    this.#logger = logger;
    this.#netns = netns;
  }

  /** Makes the node's side as declared. False when `fabric0` is not there yet. */
  async ensure(facts: HostNetworkFacts): Promise<boolean> {
    const link = await this.#socket.findLink(facts.hostInterface);
    if (link === undefined) return false;
    setSysctls(
      {
        "ipv4/ip_forward": 1,
        "ipv6/conf/all/forwarding": 1,
        [`ipv4/conf/${facts.hostInterface}/rp_filter`]: 0,
        [`ipv6/conf/${facts.hostInterface}/accept_dad`]: 0,
        [`ipv6/conf/${facts.hostInterface}/accept_ra`]: 0,
      },
      this.#netns,
    );
    for (const nic of facts.captured) await this.#silence(nic);
    if (link.mtu !== facts.mtu || !link.up) await this.#socket.setLink(link.index, { mtu: facts.mtu, up: true });
    await this.#ensureAddresses(link.index, facts.nodeAddresses);
    await this.#ensureRoutes(link.index, facts);
    await this.#ensureRuleset(facts);
    return true;
  }

  /** The bridge speaks for a NIC that it took; the kernel must not speak on it as well. */
  async #silence(nic: string): Promise<void> {
    const link = await this.#socket.findLink(nic);
    if (link === undefined) return;
    // What has not moved to the bridge yet would be gone for good.
    if ((await this.#socket.listAddresses(link.index)).some(({ scope }) => scope === "global")) return;
    setSysctls({ [`ipv4/conf/${nic}/arp_ignore`]: 8, [`ipv6/conf/${nic}/disable_ipv6`]: 1 }, this.#netns);
  }

  async #ensureAddresses(dev: number, wanted: readonly Ip[]): Promise<void> {
    const present = new Map((await this.#socket.listAddresses(dev)).map((address) => [address.cidr, address]));
    for (const address of wanted) {
      const cidr = hostPrefix(address);
      if (!present.delete(cidr)) await this.#socket.addAddress({ dev, cidr, nodad: true });
    }
    for (const [cidr, address] of present) {
      if (address.scope === "global") await this.#socket.deleteAddress(dev, cidr);
    }
  }

  async #ensureRoutes(dev: number, { subnets, nodeAddresses, wirePods }: HostNetworkFacts): Promise<void> {
    const present = await this.#socket.listRoutes({ dev });
    const wanted = new Set<string>();
    const pods = wirePods.flatMap((address) => {
      const router = subnets.find(({ cidr }) => cidr.family === ipFamily(address));
      return router === undefined ? [] : [{ cidr: parseCidr(hostPrefix(address)), gateway: router.gateway }];
    });
    for (const { cidr, gateway } of [...subnets, ...pods]) {
      const src = nodeAddresses.find((address) => ipFamily(address) === cidr.family);
      if (src === undefined) continue;
      const dst = formatCidr(cidr);
      wanted.add(dst);
      const stands = present.some(
        (route) => route.dst === dst && route.gateway === gateway && (cidr.family === 6 || route.src === src),
      );
      if (!stands) await this.#socket.addRoute({ dst, gateway, dev, src, onlink: true, replace: true });
    }
    for (const route of present) {
      if (route.protocol === staticProtocol && route.gateway !== undefined && !wanted.has(route.dst)) {
        await this.#socket.deleteRoute({ dst: route.dst, dev, gateway: route.gateway });
      }
    }
  }

  async #ensureRuleset(facts: HostNetworkFacts): Promise<void> {
    const text = ruleset(facts);
    const now = performance.now();
    if (text === this.#appliedRuleset) {
      // Asking whether it still stands costs a process: not with every pod that comes or goes.
      if (now - this.#rulesetSeen < rulesetMilliseconds) return;
      this.#rulesetSeen = now;
      if ((await readTable("inet", tableName)) !== undefined) return;
    }
    await applyRuleset(text);
    this.#appliedRuleset = text;
    this.#rulesetSeen = now;
  }

  /**
   * Brings the addresses and routes of a NIC to the bridge that took it. `remembered` is what the bridge had in a former
   * life. Returns what the bridge has now; undefined when the bridge's interface is not there yet.
   */
  async ensureUplink(
    nic: string,
    bridge: string,
    remembered: UplinkAddresses | undefined,
  ): Promise<UplinkAddresses | undefined> {
    const [from, to] = await Promise.all([this.#socket.findLink(nic), this.#socket.findLink(bridge)]);
    if (to === undefined) return undefined;
    if (from === undefined) {
      throw new AgentError(
        "AGENT_TUNNEL_INTERFACE",
        `interface ${nic} does not exist on this node; name one that \`ip link\` shows`,
      );
    }
    if (!from.up) await this.#socket.setLink(from.index, { up: true });
    if (to.mtu !== from.mtu || !to.up) await this.#socket.setLink(to.index, { mtu: from.mtu, up: true });
    await this.#socket.disableTransmitChecksum(nic).catch((error: unknown) => {
      this.#logger.warn({ err: error, nic }, "checksum offload of the NIC stays as it is");
    });
    const { addresses } = await moveAddresses(this.#socket, from.index, to.index);
    if (addresses.length > 0) this.#logger.info({ nic, bridge, addresses }, "moved the NIC's addresses to its bridge");
    await this.#giveBack(to.index, remembered);
    return await this.#uplinkAddresses(to.index);
  }

  /**
   * Brings what the bridge of a NIC carries for the node back to the NIC, before the bridge goes; and what is remembered of
   * it where the bridge's interface has gone already, as it does with a userspace datapath that died.
   * @returns the addresses that the NIC has now; none when it is not there
   */
  async releaseUplink(
    nic: string,
    bridge: string,
    remembered: UplinkAddresses | undefined,
  ): Promise<readonly string[]> {
    const [from, to] = await Promise.all([this.#socket.findLink(bridge), this.#socket.findLink(nic)]);
    if (to === undefined) return [];
    setSysctls({ [`ipv4/conf/${nic}/arp_ignore`]: 0, [`ipv6/conf/${nic}/disable_ipv6`]: 0 }, this.#netns);
    if (!to.up) await this.#socket.setLink(to.index, { up: true });
    if (from !== undefined) await moveAddresses(this.#socket, from.index, to.index);
    await this.#giveBack(to.index, remembered);
    const { addresses } = await this.#uplinkAddresses(to.index);
    if (addresses.length > 0) this.#logger.info({ nic, bridge, addresses }, "gave the NIC its addresses back");
    return addresses;
  }

  /** Has the kernel take the frames of every NIC again, those included that bridges took. */
  async hearNics(hostInterface: string): Promise<void> {
    if ((await readTable("inet", tableName)) !== undefined) await applyRuleset(releasedRuleset(hostInterface));
  }

  /** What is seen of a NIC, and of the bridge that took it, if one did. */
  async nicFacts(nic: string, bridge: string): Promise<NicFacts & { readonly mac: Mac | undefined }> {
    const [link, taken] = await Promise.all([this.#socket.findLink(nic), this.#socket.findLink(bridge)]);
    const carrier = taken ?? link;
    const addresses = carrier === undefined ? [] : await this.#socket.listAddresses(carrier.index);
    return {
      present: link !== undefined,
      // Nobody has to have set it up before: that is done here.
      linkUp: link !== undefined && (link.carrier || !link.up),
      mtu: link?.mtu ?? 0,
      mac: link?.mac,
      addresses: addresses.filter(({ scope }) => scope === "global").map(({ cidr }) => cidr),
    };
  }

  /** Every address of the node that others may know it by. */
  async ownAddresses(): Promise<readonly Ip[]> {
    const addresses = await this.#socket.listAddresses();
    return addresses.filter(({ scope }) => scope === "global").map(({ cidr }) => parseIp(cidr.split("/", 1)[0]!));
  }

  async #giveBack(dev: number, remembered: UplinkAddresses | undefined): Promise<void> {
    if (remembered === undefined) return;
    const present = new Set((await this.#socket.listAddresses(dev)).map(({ cidr }) => cidr));
    for (const cidr of remembered.addresses) {
      if (!present.has(cidr)) await this.#socket.addAddress({ dev, cidr, nodad: true });
    }
    const routes = await this.#socket.listRoutes({ dev });
    for (const { dst, gateway } of remembered.routes) {
      if (routes.some((route) => route.dst === dst && route.gateway === gateway)) continue;
      await this.#socket.addRoute({ dst, dev, replace: true, ...(gateway === undefined ? {} : { gateway }) });
    }
  }

  async #uplinkAddresses(dev: number): Promise<UplinkAddresses> {
    const addresses = (await this.#socket.listAddresses(dev)).filter(({ scope }) => scope === "global");
    const routes = (await this.#socket.listRoutes({ dev })).filter(
      ({ protocol, type, multipath }) => protocol !== kernelProtocol && type === "unicast" && !multipath,
    );
    return {
      addresses: addresses.map(({ cidr }) => cidr),
      routes: routes.map(({ dst, gateway }) => ({ dst, ...(gateway === undefined ? {} : { gateway }) })),
    };
  }

  /** The MAC that the kernel knows for a neighbour; undefined when it does not, or has given up on it. */
  async neighbour(interfaceName: string, address: Ip): Promise<Mac | undefined> {
    const link = await this.#socket.findLink(interfaceName);
    if (link === undefined) return undefined;
    const found = (await this.#socket.listNeighbours({ dev: link.index })).find(({ ip }) => ip === address);
    return found === undefined || (found.state & neighbourUnusable) !== 0 ? undefined : found.mac;
  }

  /** MTU, MAC and first IPv4 address of an interface; undefined when it is not there. */
  async interfaceFacts(name: string): Promise<{ mtu: number; mac: Mac | undefined; ipv4: Ip | undefined } | undefined> {
    const link = await this.#socket.findLink(name);
    if (link === undefined) return undefined;
    const addresses = await this.#socket.listAddresses(link.index);
    const first = addresses.find(({ family, scope }) => family === 4 && scope === "global");
    return { mtu: link.mtu, mac: link.mac, ipv4: first?.cidr.split("/", 1)[0] };
  }
}

/** How often the packet filter is looked at when nothing about it changed (ms). */
const rulesetMilliseconds = 10_000;

/** RTPROT_KERNEL and RTPROT_STATIC of linux/rtnetlink.h. */
const kernelProtocol = 2;
const staticProtocol = 4;
/** NUD_INCOMPLETE and NUD_FAILED of linux/neighbour.h. */
const neighbourUnusable = 0x01 | 0x20;

function hostPrefix(address: Ip): string {
  return `${address}/${ipFamily(address) === 4 ? 32 : 128}`;
}
