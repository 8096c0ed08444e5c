/**
 * What Services mean, written down a second time: from raw objects, without any index, and without a line of the product.
 * Every answer starts from nothing.
 */
import { SocketAddress } from "node:net";

export interface WorldMetadata {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly creationTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>> | null;
}

export interface WorldService {
  readonly metadata: WorldMetadata;
  readonly spec: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[] | null;
    readonly externalIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly protocol?: string;
      readonly port: number;
      readonly nodePort?: number;
    }[];
    readonly internalTrafficPolicy?: string | null;
    readonly externalTrafficPolicy?: string;
    readonly healthCheckNodePort?: number;
    readonly publishNotReadyAddresses?: boolean;
  };
  readonly status?: {
    readonly loadBalancer?: { readonly ingress?: readonly { ip?: string; hostname?: string; ipMode?: string }[] };
  };
}

export interface WorldPort {
  readonly name?: string | null;
  readonly protocol?: string;
  readonly port: number;
}

export interface WorldSlice {
  readonly metadata: WorldMetadata;
  readonly addressType: string;
  readonly ports: readonly WorldPort[] | null;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: {
      readonly ready?: boolean | null;
      readonly serving?: boolean | null;
      readonly terminating?: boolean | null;
    } | null;
    readonly nodeName?: string | null;
    readonly topology?: Readonly<Record<string, string>>;
  }[];
}

export interface WorldEndpoints {
  readonly metadata: WorldMetadata;
  readonly subsets?: readonly {
    readonly addresses?: readonly { ip: string; nodeName?: string }[];
    readonly notReadyAddresses?: readonly { ip: string; nodeName?: string }[];
    readonly ports?: readonly WorldPort[];
  }[];
}

/** Objects by `namespace/name`. */
export interface World {
  readonly services: Map<string, WorldService>;
  readonly slices: Map<string, WorldSlice>;
  readonly endpoints: Map<string, WorldEndpoints>;
}

export interface OracleFrontend {
  readonly service: string;
  readonly portName: string;
  readonly protocol: string;
  readonly kind: string;
  readonly family: number;
}

interface OracleClaim extends OracleFrontend {
  readonly address: string;
  readonly port: number;
}

/** Addresses that the worlds hold and that no endpoint may have. */
export const forbidden = [
  "127.0.0.1",
  "169.254.1.1",
  "224.0.0.5",
  "0.0.0.0",
  "fe80::1",
  "ff02::1",
  "::1",
  "::ffff:10.1.0.1",
];

export function canonical(address: string): string {
  const family = address.includes(":") ? "ipv6" : "ipv4";
  return new SocketAddress({ address, family }).address;
}

function familyOf(address: string): number {
  return address.includes(":") ? 6 : 4;
}

function isForeign({ labels }: WorldMetadata): boolean {
  return (
    "service.kubernetes.io/service-proxy-name" in (labels ?? {}) || "service.kubernetes.io/headless" in (labels ?? {})
  );
}

function clusterAddresses({ spec }: WorldService): string[] {
  const listed = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]);
  return listed.filter((address) => address !== "None" && address !== "").map(canonical);
}

function claimsOf(name: string, service: WorldService): OracleClaim[] {
  const { metadata, spec, status } = service;
  if (isForeign(metadata) || spec.type === "ExternalName") return [];
  const cluster = clusterAddresses(service);
  const families = cluster.map(familyOf);
  const ingress = spec.type === "LoadBalancer" ? (status?.loadBalancer?.ingress ?? []) : [];
  const balancer = ingress.filter(({ ip, ipMode }) => ip !== undefined && ip !== "" && ipMode !== "Proxy");
  const claims: OracleClaim[] = [];
  for (const each of spec.ports ?? []) {
    const common = { service: name, portName: each.name ?? "", protocol: each.protocol ?? "TCP" };
    const claim = (kind: string, address: string): void => {
      if (!families.includes(familyOf(address))) return;
      claims.push({ ...common, kind, address, family: familyOf(address), port: each.port });
    };
    for (const address of cluster) claim("cluster", address);
    for (const { ip } of balancer) claim("loadBalancer", canonical(ip!));
    for (const address of spec.externalIPs ?? []) claim("external", canonical(address));
    if ((each.nodePort ?? 0) === 0) continue;
    for (const family of families) {
      claims.push({ ...common, kind: "nodePort", address: `node${family}`, family, port: each.nodePort! });
    }
  }
  return claims;
}

/** Everybody who says that an address and port is theirs, the one that has it first. */
export function oracleClaimants(world: World, address: string, protocol: string, port: number): OracleFrontend[] {
  const order = ["cluster", "loadBalancer", "external", "nodePort"];
  const sortKey = ({ service, kind }: OracleClaim): [number, number, string, string] => {
    const { creationTimestamp, uid } = world.services.get(service)!.metadata;
    const created = creationTimestamp === undefined ? Infinity : Date.parse(creationTimestamp);
    return [order.indexOf(kind), created, uid ?? "", service];
  };
  return [...world.services]
    .flatMap(([name, service]) => claimsOf(name, service))
    .filter((claim) => claim.address === address && claim.protocol === protocol && claim.port === port)
    .sort((a, b) => {
      const [left, right] = [sortKey(a), sortKey(b)];
      const place = left.findIndex((value, index) => value !== right[index]);
      return place < 0 ? 0 : left[place]! < right[place]! ? -1 : 1;
    });
}

export function oracleHasAddress(world: World, address: string, kind?: string): boolean {
  return [...world.services].some(([name, service]) =>
    claimsOf(name, service).some((claim) => claim.address === address && (kind === undefined || claim.kind === kind)),
  );
}

export interface OracleEndpoint {
  readonly address: string;
  readonly port: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node: string | undefined;
  readonly source: string;
}

/** Every endpoint that any source names, those that name the same address and port included. */
function namedEndpoints(world: World, service: string, portName: string, protocol: string): OracleEndpoint[] {
  const [namespace] = service.split("/");
  const isPort = (port: WorldPort): boolean => (port.name ?? "") === portName && (port.protocol ?? "TCP") === protocol;
  const slices = [...world.slices.values()].filter(
    ({ metadata, addressType }) =>
      metadata.namespace === namespace &&
      `${namespace}/${metadata.labels?.["kubernetes.io/service-name"]}` === service &&
      addressType !== "FQDN" &&
      !isForeign(metadata),
  );
  const found: OracleEndpoint[] = [];
  for (const { metadata, ports, endpoints, addressType } of slices) {
    for (const { port } of (ports ?? []).filter(isPort)) {
      for (const { addresses, conditions, nodeName, topology } of endpoints) {
        const address = canonical(addresses[0]!);
        if (forbidden.includes(address) || `IPv${familyOf(address)}` !== addressType) continue;
        const ready = conditions?.ready ?? true;
        const serving = conditions?.serving ?? ready;
        const terminating = conditions?.terminating ?? false;
        const node = nodeName ?? topology?.["kubernetes.io/hostname"];
        found.push({ address, port, ready, serving, terminating, node, source: metadata.name });
      }
    }
  }
  const legacy = world.endpoints.get(service);
  if (slices.length > 0 || legacy === undefined || isForeign(legacy.metadata)) return found;
  for (const [index, { addresses, notReadyAddresses, ports }] of (legacy.subsets ?? []).entries()) {
    for (const { port } of (ports ?? []).filter(isPort)) {
      for (const [list, ready] of [
        [addresses ?? [], true],
        [notReadyAddresses ?? [], false],
      ] as const) {
        for (const { ip, nodeName } of list) {
          const address = canonical(ip);
          if (forbidden.includes(address)) continue;
          const conditions = { ready, serving: ready, terminating: false };
          found.push({ address, port, ...conditions, node: nodeName, source: String(index) });
        }
      }
    }
  }
  return found;
}

/** One endpoint of each address and port: of several, the most useful, then the one that says its node, then by source. */
export function oracleEndpoints(
  world: World,
  service: string,
  portName: string,
  protocol: string,
  family: number,
): OracleEndpoint[] {
  const usefulness = (each: OracleEndpoint): number[] => [
    each.ready ? 0 : 1,
    each.serving ? 0 : 1,
    each.terminating ? 0 : 1,
    each.node === undefined ? 1 : 0,
  ];
  const best = new Map<string, OracleEndpoint>();
  for (const each of namedEndpoints(world, service, portName, protocol)) {
    if (familyOf(each.address) !== family) continue;
    const key = `${each.address} ${each.port}`;
    const other = best.get(key);
    const [mine, theirs] = [usefulness(each).join(""), other === undefined ? "" : usefulness(other).join("")];
    if (other === undefined || mine < theirs || (mine === theirs && each.source < other.source)) best.set(key, each);
  }
  return [...best.values()].sort((a, b) =>
    a.address === b.address ? a.port - b.port : a.address < b.address ? -1 : 1,
  );
}

export interface OracleViewpoint {
  readonly node: string;
  readonly from: "pod" | "node" | "outside";
}

/** `reject`, `drop`, or the endpoints as `basis address:port ...`. */
export function oracleEligible(world: World, frontend: OracleFrontend, { node, from }: OracleViewpoint): string {
  const { service, portName, protocol, kind, family } = frontend;
  const { spec } = world.services.get(service)!;
  const all = oracleEndpoints(world, service, portName, protocol, family);
  const isReady = (each: OracleEndpoint): boolean => each.ready || spec.publishNotReadyAddresses === true;
  const isEnding = (each: OracleEndpoint): boolean => !isReady(each) && each.serving && each.terminating;
  if (!all.some((each) => isReady(each) || isEnding(each))) return "reject";
  const isLocal =
    kind === "cluster"
      ? spec.internalTrafficPolicy === "Local"
      : from === "outside" && spec.externalTrafficPolicy === "Local";
  const near = all.filter((each) => !isLocal || each.node === node);
  const [ready, ending] = [near.filter(isReady), near.filter(isEnding)];
  const text = (endpoints: OracleEndpoint[]): string =>
    endpoints.map((each) => `${each.address}|${each.port}`).join(" ");
  if (ready.length > 0) return `ready ${text(ready)}`;
  return ending.length > 0 ? `terminating ${text(ending)}` : "drop";
}

/** How many endpoints a node has for load balancers; undefined when they do not ask. */
export function oracleLocalEndpoints(world: World, service: string, node: string): number | undefined {
  const object = world.services.get(service)!;
  const { spec, metadata } = object;
  const isAsked =
    spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local" && (spec.healthCheckNodePort ?? 0) !== 0;
  if (!isAsked || isForeign(metadata) || spec.clusterIP === "None" || spec.clusterIPs?.[0] === "None") return undefined;
  const families = clusterAddresses(object).map(familyOf);
  const counts = families.map((family) => {
    const local = new Set<string>();
    for (const { name, protocol } of spec.ports ?? []) {
      for (const each of oracleEndpoints(world, service, name ?? "", protocol ?? "TCP", family)) {
        const isReady = each.ready || spec.publishNotReadyAddresses === true;
        if (isReady && each.node === node) local.add(each.address);
      }
    }
    return local.size;
  });
  return Math.max(0, ...counts);
}
