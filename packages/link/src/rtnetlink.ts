/**
 * Messages of rtnetlink: interfaces, addresses, routes, neighbours, both ways (linux/if_link.h, if_addr.h, rtnetlink.h,
 * neighbour.h). One function per message that is sent, one per message that is read. No sockets.
 */
import { AF_INET, AF_INET6, AF_UNSPEC } from "./libc.ts";
import { LinkError } from "./errors.ts";
import { addressBytes, familyOf, formatAddress, formatMac, macBytes, parsePrefix } from "./inet.ts";
import {
  attributeText,
  attributeU32,
  MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  parseAttributes,
  type Message,
} from "./netlink.ts";
import type {
  Address,
  AddressSpec,
  Link,
  LinkChange,
  Neighbour,
  Route,
  RouteScope,
  RouteSpec,
  RouteType,
  VethSpec,
} from "./records.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_LOWER_UP = 0x10000;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_EUI64 = 0;
const IN6_ADDR_GEN_MODE_NONE = 1;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;
const FOR_EVER = 0xffffffff;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;
const RTPROT_STATIC = 4;
const RT_TABLE_MAIN = 254;

const NDA_DST = 1;
const NDA_LLADDR = 2;
const NUD_PERMANENT = 0x80;
const NTF_PROXY = 0x08;

const SCOPES: Readonly<Record<RouteScope, number>> = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 };
const ROUTE_TYPES: Readonly<Record<RouteType, number>> = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
};

const DO = NLM_F_REQUEST | NLM_F_ACK;
const NEW = DO | NLM_F_CREATE | NLM_F_EXCL;
const PUT = DO | NLM_F_CREATE | NLM_F_REPLACE;
const DUMP = NLM_F_REQUEST | NLM_F_DUMP;

function nameOf<Name extends string>(table: Readonly<Record<Name, number>>, value: number, other: NoInfer<Name>): Name {
  for (const [name, number] of Object.entries(table)) if (number === value) return name as Name;
  return other;
}

/**
 * Checks an interface name as the kernel does (dev_valid_name): 1 to 15 bytes, not `.` or `..`, no slash, colon or white
 * space. Throws LINK_NAME_TOO_LONG or LINK_BAD_NAME.
 */
export function checkLinkName(name: string): void {
  if (Buffer.byteLength(name) > 15) {
    throw new LinkError("LINK_NAME_TOO_LONG", `interface name ${JSON.stringify(name)} has more than 15 bytes`, {
      object: name,
      remedy: "choose a shorter one",
    });
  }
  // oxlint-disable-next-line no-control-regex -- a zero byte would end the name early in the kernel
  if (name === "" || name === "." || name === ".." || /[/:\s\0]/.test(name)) {
    throw new LinkError("LINK_BAD_NAME", `${JSON.stringify(name)} is not an interface name`, {
      object: name,
      remedy: 'use 1 to 15 bytes without slash, colon or white space, and not "." or ".."',
    });
  }
}

function linkHeader(index = 0, flags = 0, change = 0): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(change, 12);
  return bytes;
}

function upFlag(up: boolean | undefined): [flags: number, change: number] {
  return up === undefined ? [0, 0] : [up ? IFF_UP : 0, IFF_UP];
}

function linkLocalMode(writer: MessageWriter, linkLocal: boolean | undefined): void {
  if (linkLocal === undefined) return;
  const mode = linkLocal ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE;
  writer.nest(IFLA_AF_SPEC, () => writer.nest(AF_INET6, () => writer.u8(IFLA_INET6_ADDR_GEN_MODE, mode)));
}

/** A veth pair whose other end is made in the namespace of descriptor `peerNamespace`, the host's end up if `hostUp`. */
export function newVeth(spec: VethSpec, peerNamespace: number | undefined, hostUp: boolean): MessageWriter {
  checkLinkName(spec.host);
  checkLinkName(spec.peer);
  const writer = new MessageWriter(RTM_NEWLINK, NEW, linkHeader(0, ...upFlag(hostUp)));
  writer.text(IFLA_IFNAME, spec.host);
  if (spec.hostMac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(spec.hostMac));
  if (spec.mtu !== undefined) writer.u32(IFLA_MTU, spec.mtu);
  return writer.nest(IFLA_LINKINFO, () =>
    writer.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, () =>
      writer.nest(VETH_INFO_PEER, () => {
        // The kernel cannot bring this end up before the pair is complete (ENOTCONN).
        writer.raw(linkHeader()).text(IFLA_IFNAME, spec.peer);
        if (spec.peerMac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(spec.peerMac));
        if (spec.mtu !== undefined) writer.u32(IFLA_MTU, spec.mtu);
        if (peerNamespace !== undefined) writer.u32(IFLA_NET_NS_FD, peerNamespace);
      }),
    ),
  );
}

/** A Linux bridge. */
export function newBridge(name: string, mac: string | undefined, mtu: number | undefined): MessageWriter {
  checkLinkName(name);
  const writer = new MessageWriter(RTM_NEWLINK, NEW, linkHeader()).text(IFLA_IFNAME, name);
  if (mac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(mac));
  if (mtu !== undefined) writer.u32(IFLA_MTU, mtu);
  return writer.nest(IFLA_LINKINFO, () => writer.text(IFLA_INFO_KIND, "bridge"));
}

/** Changes an interface; `namespace` is the descriptor of the one to move to. */
export function setLink(index: number, change: LinkChange, namespace: number | undefined): MessageWriter {
  const writer = new MessageWriter(RTM_SETLINK, DO, linkHeader(index, ...upFlag(change.up)));
  if (change.name !== undefined) {
    checkLinkName(change.name);
    writer.text(IFLA_IFNAME, change.name);
  }
  if (change.mac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(change.mac));
  if (change.mtu !== undefined) writer.u32(IFLA_MTU, change.mtu);
  if (change.master !== undefined) writer.u32(IFLA_MASTER, change.master);
  if (namespace !== undefined) writer.u32(IFLA_NET_NS_FD, namespace);
  linkLocalMode(writer, change.linkLocal);
  return writer;
}

/** Asks for an interface by name or index. */
export function getLink(of: string | number): MessageWriter {
  if (typeof of === "number") return new MessageWriter(RTM_GETLINK, DO, linkHeader(of));
  checkLinkName(of);
  return new MessageWriter(RTM_GETLINK, DO, linkHeader()).text(IFLA_IFNAME, of);
}

export function dumpLinks(): MessageWriter {
  return new MessageWriter(RTM_GETLINK, DUMP, linkHeader());
}

/** Deletes an interface by name or index; deleting one end of a veth deletes both. */
export function deleteLink(of: string | number): MessageWriter {
  if (typeof of === "number") return new MessageWriter(RTM_DELLINK, DO, linkHeader(of));
  checkLinkName(of);
  return new MessageWriter(RTM_DELLINK, DO, linkHeader()).text(IFLA_IFNAME, of);
}

/** Puts an interface into a group. */
export function setGroup(of: string | number, group: number): MessageWriter {
  if (typeof of === "number") return new MessageWriter(RTM_SETLINK, DO, linkHeader(of)).u32(IFLA_GROUP, group);
  checkLinkName(of);
  return new MessageWriter(RTM_SETLINK, DO, linkHeader()).text(IFLA_IFNAME, of).u32(IFLA_GROUP, group);
}

/** Deletes all interfaces of a group, or none if one of them cannot be deleted. */
export function deleteGroup(group: number): MessageWriter {
  return new MessageWriter(RTM_DELLINK, DO, linkHeader()).u32(IFLA_GROUP, group);
}

/** Reads an RTM_NEWLINK; undefined for a message that is none. */
export function readLink(message: Message): Link | undefined {
  const { payload } = message;
  if (message.type !== RTM_NEWLINK || payload.length < 16) return undefined;
  const attributes = parseAttributes(payload, 16);
  const name = attributeText(attributes, IFLA_IFNAME);
  const flags = payload.readUInt32LE(8);
  if (name === undefined) return undefined;
  const mac = attributes.get(IFLA_ADDRESS);
  const info = attributes.get(IFLA_LINKINFO);
  const kind = info === undefined ? undefined : attributeText(parseAttributes(info), IFLA_INFO_KIND);
  const master = attributeU32(attributes, IFLA_MASTER);
  const peerIndex = attributeU32(attributes, IFLA_LINK);
  const namespaceId = attributes.get(IFLA_LINK_NETNSID);
  return {
    index: payload.readInt32LE(4),
    name,
    ...(mac?.length === 6 ? { mac: formatMac(mac) } : {}),
    mtu: attributeU32(attributes, IFLA_MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    ...(kind === undefined ? {} : { kind }),
    ...(master === undefined || master === 0 ? {} : { master }),
    ...(peerIndex === undefined || peerIndex === 0 ? {} : { peerIndex }),
    ...(namespaceId?.length === 4 ? { peerNamespaceId: namespaceId.readInt32LE(0) } : {}),
  };
}

function addressHeader(family: number, length: number, index: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = family;
  bytes[1] = length;
  bytes.writeUInt32LE(index, 4);
  return bytes;
}

function lastAddress(bytes: Buffer, length: number): Buffer {
  const hostBits = 32 - length;
  const mask = hostBits === 32 ? 0xffffffff : (2 ** hostBits - 1) >>> 0;
  const last = Buffer.alloc(4);
  last.writeUInt32BE((bytes.readUInt32BE(0) | mask) >>> 0);
  return last;
}

export function newAddress(spec: AddressSpec): MessageWriter {
  const { family, bytes, length } = parsePrefix(spec.cidr);
  const writer = new MessageWriter(
    RTM_NEWADDR,
    spec.replace === true ? PUT : NEW,
    addressHeader(family, length, spec.dev),
  );
  writer.bytes(IFA_LOCAL, bytes).bytes(IFA_ADDRESS, bytes);
  if (family === AF_INET) {
    if (spec.broadcast !== undefined) writer.bytes(IFA_BROADCAST, addressBytes(spec.broadcast));
    else if (length < 31) writer.bytes(IFA_BROADCAST, lastAddress(bytes, length));
  }
  const nodad = spec.nodad === true && family === AF_INET6 ? IFA_F_NODAD : 0;
  writer.u32(IFA_FLAGS, nodad | (spec.noPrefixRoute === true ? IFA_F_NOPREFIXROUTE : 0));
  if (spec.validSeconds !== undefined || spec.preferredSeconds !== undefined) {
    const lifetimes = Buffer.alloc(16);
    lifetimes.writeUInt32LE(spec.preferredSeconds ?? FOR_EVER, 0);
    lifetimes.writeUInt32LE(spec.validSeconds ?? FOR_EVER, 4);
    writer.bytes(IFA_CACHEINFO, lifetimes);
  }
  return writer;
}

export function deleteAddress(dev: number, cidr: string): MessageWriter {
  const { family, bytes, length } = parsePrefix(cidr);
  return new MessageWriter(RTM_DELADDR, DO, addressHeader(family, length, dev)).bytes(IFA_LOCAL, bytes);
}

/** Asks for the addresses of one interface, or of all. */
export function dumpAddresses(dev: number | undefined): MessageWriter {
  return new MessageWriter(RTM_GETADDR, DUMP, addressHeader(AF_UNSPEC, 0, dev ?? 0));
}

/** Reads an RTM_NEWADDR; undefined for a message that is none, or of another family. */
export function readAddress(message: Message): Address | undefined {
  const { payload } = message;
  if (message.type !== RTM_NEWADDR || payload.length < 8) return undefined;
  const family = payload[0];
  const attributes = parseAttributes(payload, 8);
  const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (bytes === undefined || bytes.length !== (family === AF_INET ? 4 : family === AF_INET6 ? 16 : -1))
    return undefined;
  const flags = attributeU32(attributes, IFA_FLAGS) ?? payload[2]!;
  const broadcast = attributes.get(IFA_BROADCAST);
  const lifetimes = attributes.get(IFA_CACHEINFO);
  const preferred = lifetimes === undefined || lifetimes.length < 8 ? FOR_EVER : lifetimes.readUInt32LE(0);
  const valid = lifetimes === undefined || lifetimes.length < 8 ? FOR_EVER : lifetimes.readUInt32LE(4);
  const scope: RouteScope = nameOf(SCOPES, payload[3]!, "global");
  return {
    dev: payload.readUInt32LE(4),
    cidr: `${formatAddress(bytes)}/${payload[1]}`,
    family: family === AF_INET ? 4 : 6,
    scope: scope === "nowhere" ? "host" : scope,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    duplicate: (flags & IFA_F_DADFAILED) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    noPrefixRoute: (flags & IFA_F_NOPREFIXROUTE) !== 0,
    ...(broadcast?.length === 4 ? { broadcast: formatAddress(broadcast) } : {}),
    ...(valid === FOR_EVER ? {} : { validSeconds: valid }),
    ...(preferred === FOR_EVER ? {} : { preferredSeconds: preferred }),
  };
}

function routeMessage(type: number, flags: number, spec: RouteSpec): MessageWriter {
  const dst = spec.dst === "default4" ? "0.0.0.0/0" : spec.dst === "default6" ? "::/0" : spec.dst;
  const { family, bytes, length } = parsePrefix(dst);
  const table = spec.table ?? RT_TABLE_MAIN;
  const isDelete = type === RTM_DELROUTE;
  const direct = family === AF_INET && spec.gateway === undefined && (spec.type ?? "unicast") === "unicast";
  const header = Buffer.alloc(12);
  header[0] = family;
  header[1] = length;
  header[4] = table < 256 ? table : 0;
  // A deletion leaves open what it does not name: protocol 0 and scope "nowhere" match any.
  header[5] = spec.protocol ?? (isDelete ? 0 : RTPROT_STATIC);
  header[6] = SCOPES[spec.scope ?? (isDelete ? "nowhere" : direct ? "link" : "global")];
  header[7] = spec.type === undefined && isDelete ? 0 : ROUTE_TYPES[spec.type ?? "unicast"];
  header.writeUInt32LE(spec.onlink === true ? RTNH_F_ONLINK : 0, 8);
  const writer = new MessageWriter(type, flags, header);
  if (length > 0) writer.bytes(RTA_DST, bytes);
  if (spec.gateway !== undefined) {
    const gateway = addressBytes(spec.gateway);
    if (familyOf(gateway) !== family) {
      throw new LinkError("LINK_BAD_ADDRESS", `route ${spec.dst}: gateway ${spec.gateway} is of the other family`, {
        object: spec.dst,
      });
    }
    writer.bytes(RTA_GATEWAY, gateway);
  }
  if (spec.dev !== undefined) writer.u32(RTA_OIF, spec.dev);
  if (spec.src !== undefined) writer.bytes(RTA_PREFSRC, addressBytes(spec.src));
  if (spec.metric !== undefined) writer.u32(RTA_PRIORITY, spec.metric);
  if (table >= 256) writer.u32(RTA_TABLE, table);
  if (spec.mtu !== undefined && !isDelete) {
    const { mtu } = spec;
    writer.nest(RTA_METRICS, () => writer.u32(RTAX_MTU, mtu));
  }
  return writer;
}

export function newRoute(spec: RouteSpec): MessageWriter {
  return routeMessage(RTM_NEWROUTE, spec.replace === true ? PUT : NEW, spec);
}

/** Deletes the first route that agrees with everything `spec` names. */
export function deleteRoute(spec: RouteSpec): MessageWriter {
  return routeMessage(RTM_DELROUTE, DO, spec);
}

/** Asks for the routes of a family (4 or 6) in a table. */
export function dumpRoutes(family: 4 | 6, table: number): MessageWriter {
  const header = Buffer.alloc(12);
  header[0] = family === 4 ? AF_INET : AF_INET6;
  header[4] = table < 256 ? table : 0;
  const writer = new MessageWriter(RTM_GETROUTE, DUMP, header);
  if (table >= 256) writer.u32(RTA_TABLE, table);
  return writer;
}

/** Reads an RTM_NEWROUTE; undefined for a message that is none, and for cached clones. */
export function readRoute(message: Message): Route | undefined {
  const { payload } = message;
  if (message.type !== RTM_NEWROUTE || payload.length < 12) return undefined;
  const flags = payload.readUInt32LE(8);
  const family = payload[0] === AF_INET ? 4 : payload[0] === AF_INET6 ? 6 : undefined;
  if (family === undefined || (flags & RTM_F_CLONED) !== 0) return undefined;
  const size = family === 4 ? 4 : 16;
  const attributes = parseAttributes(payload, 12);
  const addressOf = (type: number): string | undefined => {
    const bytes = attributes.get(type);
    return bytes?.length === size ? formatAddress(bytes) : undefined;
  };
  const gateway = addressOf(RTA_GATEWAY);
  const src = addressOf(RTA_PREFSRC);
  const dev = attributeU32(attributes, RTA_OIF);
  const metric = attributeU32(attributes, RTA_PRIORITY);
  const metrics = attributes.get(RTA_METRICS);
  const mtu = metrics === undefined ? undefined : attributeU32(parseAttributes(metrics), RTAX_MTU);
  return {
    dst: `${addressOf(RTA_DST) ?? (family === 4 ? "0.0.0.0" : "::")}/${payload[1]}`,
    family,
    ...(gateway === undefined ? {} : { gateway }),
    ...(dev === undefined ? {} : { dev }),
    ...(src === undefined ? {} : { src }),
    scope: nameOf(SCOPES, payload[6]!, "global"),
    type: nameOf(ROUTE_TYPES, payload[7]!, "unicast"),
    protocol: payload[5]!,
    table: attributeU32(attributes, RTA_TABLE) ?? payload[4]!,
    ...(metric === undefined ? {} : { metric }),
    ...(mtu === undefined ? {} : { mtu }),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
    multipath: attributes.has(RTA_MULTIPATH),
  };
}

function neighbourHeader(family: number, dev: number, state: number, flags: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = family;
  bytes.writeInt32LE(dev, 4);
  bytes.writeUInt16LE(state, 8);
  bytes[10] = flags;
  return bytes;
}

/** A permanent neighbour; without a MAC, an address that the interface answers for (proxy). Replaces one that is there. */
export function newNeighbour(dev: number, ip: string, mac: string | undefined): MessageWriter {
  const bytes = addressBytes(ip);
  const header =
    mac === undefined
      ? neighbourHeader(familyOf(bytes), dev, NUD_PERMANENT, NTF_PROXY)
      : neighbourHeader(familyOf(bytes), dev, NUD_PERMANENT, 0);
  const writer = new MessageWriter(RTM_NEWNEIGH, PUT, header).bytes(NDA_DST, bytes);
  return mac === undefined ? writer : writer.bytes(NDA_LLADDR, macBytes(mac));
}

export function deleteNeighbour(dev: number, ip: string, proxy: boolean): MessageWriter {
  const bytes = addressBytes(ip);
  const header = neighbourHeader(familyOf(bytes), dev, 0, proxy ? NTF_PROXY : 0);
  return new MessageWriter(RTM_DELNEIGH, DO, header).bytes(NDA_DST, bytes);
}

/** Asks for the neighbours of all interfaces, or for the addresses that they answer for. */
export function dumpNeighbours(proxy: boolean): MessageWriter {
  return new MessageWriter(RTM_GETNEIGH, DUMP, neighbourHeader(AF_UNSPEC, 0, 0, proxy ? NTF_PROXY : 0));
}

/** Reads an RTM_NEWNEIGH of IPv4 or IPv6; undefined for anything else (bridges list MAC addresses here). */
export function readNeighbour(message: Message): Neighbour | undefined {
  const { payload } = message;
  if (message.type !== RTM_NEWNEIGH || payload.length < 12) return undefined;
  const family = payload[0];
  const attributes = parseAttributes(payload, 12);
  const bytes = attributes.get(NDA_DST);
  if (bytes?.length !== (family === AF_INET ? 4 : family === AF_INET6 ? 16 : -1)) return undefined;
  const mac = attributes.get(NDA_LLADDR);
  const state = payload.readUInt16LE(8);
  return {
    dev: payload.readInt32LE(4),
    ip: formatAddress(bytes),
    ...(mac?.length === 6 ? { mac: formatMac(mac) } : {}),
    state,
    permanent: (state & NUD_PERMANENT) !== 0,
    proxy: (payload[10]! & NTF_PROXY) !== 0,
  };
}
