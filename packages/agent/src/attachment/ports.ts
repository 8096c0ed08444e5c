/**
 * The pods of this node as OVSDB remembers them: in the `external_ids` of each pod's interface, because OVSDB is durable
 * and lives exactly as long as the port. There is no other local database.
 */
import type { LocalPort, PodKey, Segment } from "@beyondfabric/datapath";
import { Transaction, type Cache, type InterfaceRow } from "@beyondfabric/ovsdb";
import { isIp, isMac, parseCidr, parseIp, parseMac, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { createHash } from "node:crypto";
import { firstPodPortNumber, type SwitchTables } from "../switch/database.ts";

const prefix = "beyondfabric.io/";

export interface PodPort {
  readonly container: string;
  readonly ifname: string;
  readonly netns: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly mac: Mac;
  readonly addresses: readonly Ip[];
  readonly subnet: string;
  readonly hostInterface: string;
  readonly ofport: number;
  readonly mtu: number;
  /** ms since the epoch */
  readonly created: number;
  /** What it has of the addresses that its subnet's pods pass on among themselves. */
  readonly held: readonly Ip[];
  /**
   * Prefixes that the pod forwards for, as a router or a gateway of a VPN does: `beyondfabric.io/routed-prefixes` in the
   * `external_ids` of its interface, a comma list. Whoever may write there owns the switch.
   */
  readonly routed: readonly Cidr[];
  /** The addresses have IPAddress objects; they come from no block of the node by right. */
  readonly claimed: boolean;
  /** What was last known of its pod's isolation; absent when that was nothing. */
  readonly isolation?: RememberedIsolation;
}

/** What a start without the API server must know: a pod that nobody isolated goes on, and stays in its tenant. */
export interface RememberedIsolation {
  readonly isolated: boolean;
  /** Of its namespace, for pods that are new there. */
  readonly namespaceHasPolicies: boolean;
  readonly tenant?: string;
}

/**
 * The host's end of a pod's interface: named after the attachment, so that a repeated ADD finds it, and short enough
 * for the kernel (15 characters).
 */
export function hostInterfaceName(container: string, ifname: string): string {
  return `bf${createHash("sha256").update(`${container}/${ifname}`).digest("hex").slice(0, 12)}`;
}

export function portOf(row: InterfaceRow): PodPort | undefined {
  const id = (key: string): string | undefined => row.external_ids[prefix + key];
  const container = id("container");
  const ifname = id("ifname");
  const pod = id("pod")?.split("/", 2);
  const addresses = (id("addresses") ?? "").split(",");
  const mac = id("mac") ?? "";
  if (container === undefined || ifname === undefined || pod?.length !== 2) return undefined;
  if (!isMac(mac) || !addresses.every(isIp)) return undefined;
  return {
    container,
    ifname,
    netns: id("netns") ?? "",
    namespace: pod[0]!,
    name: pod[1]!,
    uid: id("uid") ?? "",
    mac: parseMac(mac),
    addresses: addresses.map(parseIp),
    subnet: id("subnet") ?? "",
    hostInterface: row.name,
    ofport: row.ofport_request ?? row.ofport ?? -1,
    mtu: wholeNumber(id("mtu")),
    created: wholeNumber(id("created")),
    held: (id("held-addresses") ?? "").split(",").filter(isIp).map(parseIp),
    routed: prefixes(id("routed-prefixes") ?? ""),
    claimed: id("claimed") === "true",
    ...isolationOf(id("isolated"), id("namespace-policies"), id("tenant")),
  };
}

function isolationOf(
  isolated: string | undefined,
  policies: string | undefined,
  tenant: string | undefined,
): Pick<PodPort, "isolation"> {
  if (isolated !== "true" && isolated !== "false") return {};
  return {
    isolation: {
      isolated: isolated === "true",
      namespaceHasPolicies: policies !== "false",
      ...(tenant === undefined ? {} : { tenant }),
    },
  };
}

/** As {@link isolationOf} reads it. */
function isolationIds({ isolated, namespaceHasPolicies, tenant }: RememberedIsolation): Record<string, string> {
  return {
    [`${prefix}isolated`]: String(isolated),
    [`${prefix}namespace-policies`]: String(namespaceHasPolicies),
    ...(tenant === undefined ? {} : { [`${prefix}tenant`]: tenant }),
  };
}

const isolationKeys = ["isolated", "namespace-policies", "tenant"].map((key) => prefix + key);

/** Writes down what is known of the pods' isolation; undefined when it stands there already. */
export function rememberIsolation(
  cache: Cache<SwitchTables>,
  known: (pod: PodPort) => RememberedIsolation | undefined,
): Transaction | undefined {
  const transaction = new Transaction();
  for (const row of cache.filter("Interface", ({ external_ids: ids }) => ids[`${prefix}container`] !== undefined)) {
    const port = portOf(row);
    const isolation = port === undefined ? undefined : known(port);
    if (isolation === undefined) continue;
    const wanted = isolationIds(isolation);
    if (isolationKeys.every((key) => row.external_ids[key] === wanted[key])) continue;
    const others = Object.entries(row.external_ids).filter(([key]) => !isolationKeys.includes(key));
    transaction.update("Interface", row._uuid, { external_ids: { ...Object.fromEntries(others), ...wanted } });
  }
  return transaction.size === 0 ? undefined : transaction;
}

/** 0 for what is no number: people can write into the database too. */
function wholeNumber(text: string | undefined): number {
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : 0;
}

/** Prefixes of a comma list; what is none is left out: no consent is given by mistake. */
function prefixes(text: string): Cidr[] {
  return text.split(",").flatMap((each) => {
    try {
      return each === "" ? [] : [parseCidr(each.trim())];
    } catch {
      return [];
    }
  });
}

/** The pod of a port, as facts are asked about it. */
export function podKeyOf({ namespace, name, uid }: PodPort): PodKey {
  return { name: `${namespace}/${name}`, uid };
}

/** Every pod port in the database. */
export function podPorts(cache: Cache<SwitchTables>): PodPort[] {
  return cache
    .filter("Interface", (row) => row.external_ids[`${prefix}container`] !== undefined)
    .map(portOf)
    .filter((port) => port !== undefined);
}

/** Adds a pod's port to the bridge in one transaction. */
export function insertPodPort(cache: Cache<SwitchTables>, bridgeName: string, port: PodPort): Transaction {
  const transaction = new Transaction();
  const uuid = transaction.insert("Interface", {
    name: port.hostInterface,
    ofport_request: port.ofport,
    external_ids: {
      [`${prefix}pod`]: `${port.namespace}/${port.name}`,
      [`${prefix}uid`]: port.uid,
      [`${prefix}container`]: port.container,
      [`${prefix}ifname`]: port.ifname,
      [`${prefix}netns`]: port.netns,
      [`${prefix}addresses`]: port.addresses.join(","),
      [`${prefix}mac`]: port.mac,
      [`${prefix}subnet`]: port.subnet,
      [`${prefix}mtu`]: String(port.mtu),
      [`${prefix}created`]: String(port.created),
      ...(port.claimed ? { [`${prefix}claimed`]: "true" } : {}),
    },
  });
  const portUuid = transaction.insert("Port", { name: port.hostInterface, interfaces: [uuid] });
  const bridge = cache.find("Bridge", (row) => row.name === bridgeName);
  return transaction.mutate("Bridge", bridge === undefined ? { name: bridgeName } : bridge._uuid, [
    ["ports", "insert", [portUuid]],
  ]);
}

/** Writes down which addresses a pod has beside its own; undefined when its port is not there. */
export function rememberHeld(cache: Cache<SwitchTables>, { hostInterface, held }: PodPort): Transaction | undefined {
  const row = cache.find("Interface", (candidate) => candidate.name === hostInterface);
  if (row === undefined) return undefined;
  return new Transaction().setPairs("Interface", row._uuid, "external_ids", {
    [`${prefix}held-addresses`]: held.join(","),
  });
}

/** Removes pods' ports from the bridge; their rows go with the reference. Undefined when none of them is there. */
export function deletePodPorts(
  cache: Cache<SwitchTables>,
  bridgeName: string,
  hostInterfaces: ReadonlySet<string>,
): Transaction | undefined {
  const ports = cache.filter("Port", (row) => hostInterfaces.has(row.name));
  const bridge = cache.find("Bridge", (row) => row.name === bridgeName);
  if (ports.length === 0 || bridge === undefined) return undefined;
  return new Transaction().mutate("Bridge", bridge._uuid, [["ports", "delete", ports.map(({ _uuid }) => _uuid)]]);
}

/** Port numbers for pods: each is used again as late as possible, so that stale continuations find nobody. */
export class PortNumbers {
  readonly #used = new Set<number>();
  #next = firstPodPortNumber;

  reserve(number: number): void {
    this.#used.add(number);
    if (number >= this.#next) this.#next = number + 1;
  }

  draw(): number {
    for (;;) {
      if (this.#next > lastPodPortNumber) this.#next = firstPodPortNumber;
      const number = this.#next++;
      if (this.#used.has(number)) continue;
      this.#used.add(number);
      return number;
    }
  }

  release(number: number): void {
    this.#used.delete(number);
  }
}

/** OpenFlow reserves the numbers from 0xff00 up in switches that speak OpenFlow 1.0 too. */
const lastPodPortNumber = 0xfe00;

/**
 * @param tracked see {@link LocalPort}
 * @param segment where the pod lives on a physical network
 * @param allowed what pods of its subnet pass on among themselves
 */
export function localPortOf(
  port: PodPort,
  tracked: boolean,
  segment?: Segment,
  allowed: readonly Cidr[] = [],
): LocalPort {
  return {
    tracked,
    ofport: port.ofport,
    mac: port.mac,
    addresses: [...port.addresses, ...port.held],
    ...(segment === undefined ? {} : { segment }),
    ...(allowed.length === 0 ? {} : { allowedAddresses: allowed }),
    ...(port.routed.length === 0 ? {} : { routedPrefixes: port.routed }),
    pod: `${port.namespace}/${port.name}`,
    uid: port.uid,
  };
}
