/** What the kernel tells about interfaces, addresses, routes and neighbours, and what it can be asked for. */

/** An interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** Lower-case hardware address; absent for interfaces without one. */
  readonly mac?: string;
  /** Bytes. */
  readonly mtu: number;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
  /** Up, and its peer or cable too (IFF_LOWER_UP). */
  readonly carrier: boolean;
  readonly loopback: boolean;
  /** The kernel's name of its sort: `veth`, `bridge`, `tun`, `vxlan`...; absent for physical ones and loopback. */
  readonly kind?: string;
  /** Index of the bridge (or other master) that it belongs to. */
  readonly master?: number;
  /** Index of the other end of a veth, in that end's namespace. */
  readonly peerIndex?: number;
  /** Present when the other end is in another namespace: this namespace's number for that one, -1 if it has none. */
  readonly peerNamespaceId?: number;
}

/** An address on an interface. */
export interface Address {
  readonly dev: number;
  /** `address/length`. */
  readonly cidr: string;
  readonly family: 4 | 6;
  readonly scope: "global" | "site" | "link" | "host";
  /** Duplicate address detection has not finished (IPv6). */
  readonly tentative: boolean;
  /** Duplicate address detection found another holder (IPv6). */
  readonly duplicate: boolean;
  /** Set by hand or program, without a lifetime. */
  readonly permanent: boolean;
  /** The kernel made no route for its prefix. */
  readonly noPrefixRoute: boolean;
  readonly broadcast?: string;
  /** Seconds left; absent for ever. */
  readonly validSeconds?: number;
  /** Seconds left; absent for ever. */
  readonly preferredSeconds?: number;
}

/** An address to set. */
export interface AddressSpec {
  readonly dev: number;
  /** `address/length`; a bare address has the whole length. */
  readonly cidr: string;
  /** IPv6: use it at once, without asking the link for another holder. */
  readonly nodad?: boolean;
  /** Make no route for its prefix. */
  readonly noPrefixRoute?: boolean;
  /** IPv4: by default the last address of a prefix shorter than /31, as routers expect. */
  readonly broadcast?: string;
  /** Seconds; for ever by default. */
  readonly validSeconds?: number;
  /** Seconds; for ever by default. */
  readonly preferredSeconds?: number;
  /** Take an address that is already there as success, with these settings. */
  readonly replace?: boolean;
}

export type RouteScope = "global" | "site" | "link" | "host" | "nowhere";
export type RouteType =
  | "unicast"
  | "local"
  | "broadcast"
  | "anycast"
  | "multicast"
  | "blackhole"
  | "unreachable"
  | "prohibit";

/** A route. */
export interface Route {
  /** `address/length`; `0.0.0.0/0` and `::/0` are the default routes. */
  readonly dst: string;
  readonly family: 4 | 6;
  readonly gateway?: string;
  readonly dev?: number;
  /** Preferred source address. */
  readonly src?: string;
  readonly scope: RouteScope;
  readonly type: RouteType;
  /** Who made it: the number of linux/rtnetlink.h RTPROT_*; 2 the kernel, 3 boot, 4 static, 9 router advertisement. */
  readonly protocol: number;
  readonly table: number;
  /** Lower wins; absent is 0 for IPv4 and 1024 for IPv6. */
  readonly metric?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** The gateway is taken to be on the link though no address of the interface says so. */
  readonly onlink: boolean;
  /** It has several next hops, which this package does not name. */
  readonly multipath: boolean;
}

/** A route to set. */
export interface RouteSpec {
  /** `address/length`, or `default4`, `default6`. */
  readonly dst: string;
  readonly gateway?: string;
  /** Needed for unicast. */
  readonly dev?: number;
  readonly src?: string;
  /** By default `link` for IPv4 without a gateway, else `global`. */
  readonly scope?: RouteScope;
  /** `unicast` by default. */
  readonly type?: RouteType;
  /** 4 (static) by default. */
  readonly protocol?: number;
  /** 254 (main) by default. */
  readonly table?: number;
  readonly metric?: number;
  /** Bytes. */
  readonly mtu?: number;
  readonly onlink?: boolean;
  /** Replace a route with the same destination, table and metric. */
  readonly replace?: boolean;
}

/** An entry of the ARP or neighbour-discovery table. */
export interface Neighbour {
  readonly dev: number;
  readonly ip: string;
  readonly mac?: string;
  /** Bits of linux/neighbour.h NUD_*. */
  readonly state: number;
  readonly permanent: boolean;
  /** The interface answers for this address (proxy ARP or ND). */
  readonly proxy: boolean;
}

/** What can be changed on an interface; what is absent stays. */
export interface LinkChange {
  readonly up?: boolean;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: string;
  /** A new name; the interface must be down on kernels before 6.x. */
  readonly name?: string;
  /** Index of a bridge to join; 0 leaves it. */
  readonly master?: number;
  /** Whether the kernel makes a link-local IPv6 address by itself. */
  readonly linkLocal?: boolean;
  /** Path of a namespace to move to. */
  readonly netns?: string;
}

/** A pair of interfaces: what goes in at one comes out at the other. */
export interface VethSpec {
  /** Name of the end in the socket's namespace. */
  readonly host: string;
  readonly hostMac?: string;
  /** Name of the other end. */
  readonly peer: string;
  readonly peerMac?: string;
  /** Path of the namespace that the other end is made in; by default the socket's. */
  readonly peerNetns?: string;
  /** Bytes, both ends. */
  readonly mtu?: number;
  /** False: the host's end gets no link-local IPv6 address when it comes up. For ends that are ports of a switch. */
  readonly hostLinkLocal?: boolean;
  /** Bring the host's end up. */
  readonly hostUp?: boolean;
}

/** Indexes of a new pair, each in its own namespace. */
export interface VethPair {
  readonly hostIndex: number;
  readonly peerIndex: number;
}
