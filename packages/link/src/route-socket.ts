/** Interfaces, addresses, routes and neighbours of one network namespace. */
import { closeSync } from "node:fs";
import { EADDRNOTAVAIL, EEXIST, ENODEV, ENOENT, EOPNOTSUPP, EACCES, EPERM, ESRCH } from "./libc.ts";
import { LinkError, type LinkErrorCode } from "./errors.ts";
import { disableTransmitChecksum, readOffloads, type Offloads } from "./ethtool.ts";
import { LinkDeletions } from "./link-deletion.ts";
import { openNamespace } from "./namespace.ts";
import { NetlinkSocket, type Reply } from "./netlink-socket.ts";
import type { Message, MessageWriter } from "./netlink.ts";
import * as rtnetlink from "./rtnetlink.ts";
import type {
  Address,
  AddressSpec,
  Link,
  LinkChange,
  Neighbour,
  Route,
  RouteSpec,
  VethPair,
  VethSpec,
} from "./records.ts";

const MAIN_TABLE = 254;
/** A dump that the kernel calls inconsistent is repeated; after so many times the last one is taken. */
const DUMP_ATTEMPTS = 5;

interface Question {
  /** For the message: what was asked, such as "add route 10.0.0.0/8". */
  readonly what: string;
  readonly object: string;
  /** Errors that mean "it is not there" and need no more than that said. */
  readonly absent?: readonly number[];
  readonly remedy?: string;
}

function codeOf(errno: number, absent: readonly number[]): LinkErrorCode {
  if (absent.includes(errno)) return "LINK_NOT_FOUND";
  switch (errno) {
    case EEXIST:
      return "LINK_EXISTS";
    case EPERM:
    case EACCES:
      return "LINK_NOT_PERMITTED";
    case EOPNOTSUPP:
      return "LINK_UNSUPPORTED";
    default:
      return "LINK_NETLINK";
  }
}

function remedyOf(code: LinkErrorCode): string | undefined {
  if (code === "LINK_NOT_PERMITTED") return "run with CAP_NET_ADMIN in that namespace";
  if (code === "LINK_EXISTS") return "delete it first, or ask to replace it";
  return undefined;
}

/**
 * A connection to the kernel's network configuration in one namespace; it stays in that namespace, and keeps it alive,
 * until closed. Every method throws LinkError. Methods that are called in the same turn of the event loop travel in one
 * system call, in the order of the calls; a later one runs even if an earlier one is refused.
 */
export class RouteSocket implements AsyncDisposable {
  readonly #netns: string | undefined;
  readonly #socket: NetlinkSocket;
  /** For deletions of interfaces, which take the kernel so long that nothing else should queue behind them. */
  readonly #slow: NetlinkSocket;
  readonly #deletions: LinkDeletions;

  private constructor(netns: string | undefined, socket: NetlinkSocket, slow: NetlinkSocket) {
    this.#netns = netns;
    this.#socket = socket;
    this.#slow = slow;
    this.#deletions = new LinkDeletions(slow);
  }

  /** Opens a connection in the namespace at `netns`, by default the calling thread's. Throws LINK_NO_NAMESPACE. */
  static open(netns?: string): RouteSocket {
    const socket = NetlinkSocket.open(netns);
    try {
      return new RouteSocket(netns, socket, NetlinkSocket.open(netns));
    } catch (error) {
      void socket.close();
      throw error;
    }
  }

  /** The path that this connection was opened with. */
  get netns(): string | undefined {
    return this.#netns;
  }

  /** Closes the connection once everything asked before has been answered. */
  async close(): Promise<void> {
    await this.#deletions.idle();
    await Promise.all([this.#socket.close(), this.#slow.close()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #error(question: Question, reply: Reply): LinkError {
    const { errno, text } = reply.acknowledgement;
    const code = codeOf(errno, question.absent ?? []);
    const place = this.#netns === undefined ? "" : ` in ${this.#netns}`;
    return new LinkError(code, `cannot ${question.what}${place}`, {
      object: question.object,
      errno,
      kernelText: text,
      remedy: remedyOf(code) ?? question.remedy,
    });
  }

  async #ask(question: Question, writer: MessageWriter): Promise<Reply> {
    const reply = await this.#socket.request(writer);
    if (reply.acknowledgement.errno !== 0) throw this.#error(question, reply);
    return reply;
  }

  async #list<T>(
    question: Question,
    make: () => MessageWriter,
    read: (message: Message) => T | undefined,
  ): Promise<T[]> {
    let records: T[] = [];
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const reply = await this.#socket.dump(make());
      const { errno } = reply.acknowledgement;
      if (errno !== 0) {
        if ((question.absent ?? []).includes(errno)) return [];
        throw this.#error(question, reply);
      }
      records = reply.messages.map(read).filter((record) => record !== undefined);
      if (!reply.interrupted) break;
    }
    return records;
  }

  /**
   * Makes a veth pair, its other end straight in `peerNetns`. Throws LINK_EXISTS when either name is taken (nothing is
   * left behind), LINK_NO_NAMESPACE, LINK_NAME_TOO_LONG.
   */
  async createVeth(spec: VethSpec): Promise<VethPair> {
    const namespace = spec.peerNetns === undefined ? undefined : openNamespace(spec.peerNetns);
    try {
      const there = spec.peerNetns === undefined ? "" : ` (in ${spec.peerNetns})`;
      const created = this.#ask(
        { what: `create veth ${spec.host} with peer ${spec.peer}${there}`, object: spec.host },
        rtnetlink.newVeth(spec, namespace, spec.hostUp === true && spec.hostLinkLocal !== false),
      );
      // Asked in the same send; awaited after the creation, whose refusal is the one to report.
      const found = this.findLink(spec.host);
      found.catch(() => {});
      await created;
      const link = await found;
      if (link?.peerIndex === undefined) {
        throw new LinkError("LINK_NOT_FOUND", `veth ${spec.host} was deleted while it was made`, { object: spec.host });
      }
      if (spec.hostLinkLocal === false) {
        // The kernel takes this setting only for an interface that exists, and obeys it only before it comes up.
        await this.#undoingLink(link.index, () =>
          this.setLink(link.index, { linkLocal: false, ...(spec.hostUp === true ? { up: true } : {}) }),
        );
      }
      return { hostIndex: link.index, peerIndex: link.peerIndex };
    } finally {
      if (namespace !== undefined) closeSync(namespace);
    }
  }

  /** Makes a Linux bridge and returns its index. Throws LINK_EXISTS. */
  async createBridge(name: string, options: { mac?: string; mtu?: number } = {}): Promise<number> {
    await this.#ask(
      { what: `create bridge ${name}`, object: name },
      rtnetlink.newBridge(name, options.mac, options.mtu),
    );
    return (await this.getLink(name)).index;
  }

  /**
   * Deletes an interface by name or index, with both ends of a veth. Returns false when there was none. Does not hold up
   * the event loop, nor other requests of this connection; many at once cost little more than one.
   */
  async deleteLink(of: string | number): Promise<boolean> {
    const reply = await this.#deletions.delete(of);
    const { errno } = reply.acknowledgement;
    if (errno === ENODEV || errno === ENOENT) return false;
    if (errno !== 0) throw this.#error({ what: `delete interface ${of}`, object: String(of) }, reply);
    return true;
  }

  /** The interface of that name or index. Throws LINK_NOT_FOUND. */
  async getLink(of: string | number): Promise<Link> {
    const question = { what: `find interface ${of}`, object: String(of), absent: [ENODEV] };
    const reply = await this.#ask(question, rtnetlink.getLink(of));
    const link = reply.messages.map(rtnetlink.readLink).find((found) => found !== undefined);
    if (link === undefined) {
      throw new LinkError("LINK_PROTOCOL", `the kernel found interface ${of} and did not describe it`, {
        object: String(of),
      });
    }
    return link;
  }

  /** The interface of that name or index, undefined when there is none. */
  async findLink(of: string | number): Promise<Link | undefined> {
    try {
      return await this.getLink(of);
    } catch (error) {
      if (error instanceof LinkError && error.code === "LINK_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** All interfaces of the namespace. */
  listLinks(): Promise<Link[]> {
    return this.#list({ what: "list interfaces", object: "interfaces" }, rtnetlink.dumpLinks, rtnetlink.readLink);
  }

  /** Changes an interface. Throws LINK_NOT_FOUND, LINK_EXISTS (a new name that is taken). */
  async setLink(index: number, change: LinkChange): Promise<void> {
    const namespace = change.netns === undefined ? undefined : openNamespace(change.netns);
    try {
      await this.#ask(
        { what: `change interface ${index}`, object: String(index), absent: [ENODEV] },
        rtnetlink.setLink(index, change, namespace),
      );
    } finally {
      if (namespace !== undefined) closeSync(namespace);
    }
  }

  /** Adds an address. Throws LINK_EXISTS (unless `replace`), LINK_NOT_FOUND (no such interface), LINK_BAD_ADDRESS. */
  async addAddress(spec: AddressSpec): Promise<void> {
    await this.#ask(
      {
        what: `add address ${spec.cidr} to interface ${spec.dev}`,
        object: spec.cidr,
        absent: [ENODEV],
        ...(spec.cidr.includes(":") ? { remedy: "net.ipv6.conf.*.disable_ipv6 of the interface must be 0" } : {}),
      },
      rtnetlink.newAddress(spec),
    );
  }

  /** Deletes an address; false when the interface did not have it. */
  async deleteAddress(dev: number, cidr: string): Promise<boolean> {
    return this.#absentIsFalse(
      {
        what: `delete address ${cidr} of interface ${dev}`,
        object: cidr,
        absent: [EADDRNOTAVAIL, ENODEV],
      },
      rtnetlink.deleteAddress(dev, cidr),
    );
  }

  /** Addresses of one interface, or of all. */
  async listAddresses(dev?: number): Promise<Address[]> {
    const addresses = await this.#list(
      { what: "list addresses", object: String(dev ?? "addresses"), absent: [ENODEV] },
      () => rtnetlink.dumpAddresses(dev),
      rtnetlink.readAddress,
    );
    return dev === undefined ? addresses : addresses.filter((address) => address.dev === dev);
  }

  /** Adds a route. Throws LINK_EXISTS (unless `replace`); LINK_NETLINK with the kernel's reason (ENETUNREACH: gateway). */
  async addRoute(spec: RouteSpec): Promise<void> {
    await this.#ask(
      {
        what: `add route ${spec.dst}${spec.gateway === undefined ? "" : ` via ${spec.gateway}`}`,
        object: spec.dst,
        absent: [ENODEV],
        remedy: "the interface must be up, and the gateway on its link",
      },
      rtnetlink.newRoute(spec),
    );
  }

  /** Deletes the first route that agrees with everything `spec` names; false when there is none. */
  async deleteRoute(spec: RouteSpec): Promise<boolean> {
    return this.#absentIsFalse(
      { what: `delete route ${spec.dst}`, object: spec.dst, absent: [ESRCH, ENODEV, ENOENT] },
      rtnetlink.deleteRoute(spec),
    );
  }

  /** Routes of both families in a table (254, main, by default), of one interface or of all. */
  async listRoutes(filter: { dev?: number; table?: number } = {}): Promise<Route[]> {
    const table = filter.table ?? MAIN_TABLE;
    const question = { what: `list routes of table ${table}`, object: String(table), absent: [ENOENT, EOPNOTSUPP] };
    const routes: Route[] = [];
    for (const family of [4, 6] as const) {
      routes.push(...(await this.#list(question, () => rtnetlink.dumpRoutes(family, table), rtnetlink.readRoute)));
    }
    return routes.filter((route) => route.table === table && (filter.dev === undefined || route.dev === filter.dev));
  }

  /** Adds a permanent neighbour, replacing what was known about the address. Throws LINK_NOT_FOUND, LINK_BAD_ADDRESS. */
  async addNeighbour(dev: number, ip: string, mac: string): Promise<void> {
    await this.#ask(
      { what: `add neighbour ${ip}`, object: ip, absent: [ENODEV] },
      rtnetlink.newNeighbour(dev, ip, mac),
    );
  }

  /** Makes the interface answer ARP or ND for an address that is not its own. Throws LINK_NOT_FOUND. */
  async addProxyNeighbour(dev: number, ip: string): Promise<void> {
    await this.#ask(
      { what: `add proxy neighbour ${ip}`, object: ip, absent: [ENODEV] },
      rtnetlink.newNeighbour(dev, ip, undefined),
    );
  }

  /** Deletes a neighbour or, with `proxy`, an address that the interface answers for; false when there was none. */
  async deleteNeighbour(dev: number, ip: string, options: { proxy?: boolean } = {}): Promise<boolean> {
    return this.#absentIsFalse(
      { what: `delete neighbour ${ip}`, object: ip, absent: [ENOENT, ENODEV] },
      rtnetlink.deleteNeighbour(dev, ip, options.proxy === true),
    );
  }

  /** Neighbours of one interface or of all; with `proxy`, the addresses that are answered for. */
  async listNeighbours(filter: { dev?: number; proxy?: boolean } = {}): Promise<Neighbour[]> {
    const all = await this.#list(
      { what: "list neighbours", object: "neighbours" },
      () => rtnetlink.dumpNeighbours(filter.proxy === true),
      rtnetlink.readNeighbour,
    );
    return all.filter((neighbour) => filter.dev === undefined || neighbour.dev === filter.dev);
  }

  /**
   * Switches transmit checksum offload of an interface off, and with it scatter-gather and segmentation offload, which the
   * kernel takes away without it. A frame that leaves without its checksum cannot be delivered by the userspace datapath.
   * Throws LINK_NOT_FOUND, LINK_UNSUPPORTED.
   */
  disableTransmitChecksum(name: string): Promise<void> {
    return disableTransmitChecksum(this.#socket.descriptor, name);
  }

  /** What of an interface's transmit work its driver does. Throws LINK_NOT_FOUND. */
  offloads(name: string): Promise<Offloads> {
    return readOffloads(this.#socket.descriptor, name);
  }

  /** Runs a step of making an interface; if it fails the interface goes again. */
  async #undoingLink(index: number, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      await this.deleteLink(index).catch(() => false);
      throw error;
    }
  }

  async #absentIsFalse(question: Question, writer: MessageWriter): Promise<boolean> {
    try {
      await this.#ask(question, writer);
      return true;
    } catch (error) {
      if (error instanceof LinkError && error.code === "LINK_NOT_FOUND") return false;
      throw error;
    }
  }
}
