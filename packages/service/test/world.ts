/** Random raw objects from a seed: small alphabets, so that addresses, ports and slices meet often. */
import type { Dice } from "../../policy/test/dice.ts";
import type { WorldEndpoints, WorldPort, WorldService, WorldSlice } from "./oracle.ts";
import { forbidden } from "./oracle.ts";

export const serviceNames = ["x/a", "x/b", "y/a"];
/** Canonical; objects spell some of them otherwise. */
export const serviceAddresses = ["10.96.0.1", "10.96.0.2", "fd00:96::1", "fd00:96::2", "192.0.2.7"];
export const portNumbers = [53, 80];
export const portNames = ["", "web"];
export const nodePorts = [30080, 30081];
export const protocols = ["TCP", "UDP"] as const;
export const nodes = ["n1", "n2"];

const dates = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", undefined];
const spellings: Readonly<Record<string, string>> = {
  "fd00:96::1": "FD00:0096::0001",
  "fd00:1::2": "fd00:1:0:0:0:0:0:2",
};

function spelled(dice: Dice, address: string): string {
  return dice.oneIn(2) ? (spellings[address] ?? address) : address;
}

function metadata(dice: Dice, id: string, labels: Readonly<Record<string, string>>): WorldService["metadata"] {
  const [namespace, name] = id.split("/") as [string, string];
  const created = dice.pick(dates);
  const foreign = dice.oneIn(16) ? { "service.kubernetes.io/service-proxy-name": "mesh" } : {};
  return {
    namespace,
    name,
    uid: `uid-${dice.below(3)}`,
    ...(created === undefined ? {} : { creationTimestamp: created }),
    labels: { ...labels, ...foreign },
  };
}

export function randomService(dice: Dice, id: string): WorldService {
  const type = dice.pick(["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName", undefined]);
  const [v4, v6] = [dice.pick(["10.96.0.1", "10.96.0.2"]), dice.pick(["fd00:96::1", "fd00:96::2"])];
  const clusterIPs = dice.pick([[v4], [v4, v6], [v6, v4], [v6], ["None"]]).map((each) => spelled(dice, each));
  const isExposed = type === "NodePort" || type === "LoadBalancer";
  const free = [...nodePorts];
  const names = dice.oneIn(2) ? [...portNames] : [...portNames].reverse();
  const ports = portNumbers
    .filter(() => !dice.oneIn(3))
    .map((port) => {
      const nodePort = isExposed && !dice.oneIn(3) ? free.splice(dice.below(free.length), 1)[0] : undefined;
      const name = names.pop()!;
      return {
        ...(name === "" ? {} : { name }),
        ...(dice.oneIn(2) ? { protocol: dice.pick(protocols) } : {}),
        port,
        ...(nodePort === undefined ? {} : { nodePort }),
      };
    });
  const ingress = dice.list(2, (): { hostname?: string; ip?: string; ipMode?: string } => {
    if (dice.oneIn(5)) return { hostname: "lb.example" };
    return {
      ip: spelled(dice, dice.pick(serviceAddresses)),
      ...dice.pick([{}, { ipMode: "VIP" }, { ipMode: "Proxy" }]),
    };
  });
  const seen = new Set<string>();
  const balancer = ingress.filter(({ ip }) => ip === undefined || !seen.has(ip.toLowerCase()));
  const externalIPs = dice.oneIn(2) ? [] : [dice.pick(serviceAddresses)];
  return {
    metadata: metadata(dice, id, dice.oneIn(16) ? { "service.kubernetes.io/headless": "" } : {}),
    spec: {
      ...(type === undefined ? {} : { type }),
      ...(type === "ExternalName" ? {} : dice.oneIn(4) ? { clusterIP: clusterIPs[0]! } : { clusterIPs }),
      externalIPs,
      ports,
      ...dice.pick([
        {},
        { internalTrafficPolicy: "Local" },
        { internalTrafficPolicy: "Cluster" },
        { internalTrafficPolicy: null },
      ]),
      ...dice.pick([
        {},
        { externalTrafficPolicy: "Local", healthCheckNodePort: 31000 },
        { externalTrafficPolicy: "Cluster" },
      ]),
      ...dice.pick([{}, {}, { publishNotReadyAddresses: true }]),
    },
    status: { loadBalancer: { ingress: balancer } },
  };
}

function randomPorts(dice: Dice): WorldPort[] {
  return portNames
    .filter(() => !dice.oneIn(4))
    .map((name) => ({
      ...(name === "" ? dice.pick([{}, { name: null }, { name: "" }]) : { name }),
      ...(dice.oneIn(2) ? { protocol: dice.pick(protocols) } : {}),
      port: dice.pick([8080, 8080, 8081]),
    }));
}

function randomAddress(dice: Dice, family: number): string {
  if (dice.oneIn(12)) return dice.pick(forbidden);
  const host = 1 + dice.below(4);
  return spelled(dice, family === 4 ? `10.1.0.${host}` : `fd00:1::${host}`);
}

export const sliceNames = ["s1", "s2", "s3"];

export function randomSlice(dice: Dice, id: string): WorldSlice {
  const [namespace] = id.split("/");
  const service = dice.pick(serviceNames.filter((name) => name.startsWith(`${namespace}/`))).split("/")[1]!;
  const addressType = dice.pick(["IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "FQDN"]);
  const family = addressType === "IPv6" ? 6 : 4;
  const anyFlag = (): { ready?: boolean | null; serving?: boolean | null; terminating?: boolean | null } => ({
    ...dice.pick([{}, { ready: true }, { ready: false }, { ready: null }]),
    ...dice.pick([{}, { serving: true }, { serving: false }, { serving: null }]),
    ...dice.pick([{}, { terminating: true }, { terminating: false }]),
  });
  return {
    metadata: metadata(dice, id, dice.oneIn(10) ? {} : { "kubernetes.io/service-name": service }),
    addressType,
    ports: dice.oneIn(8) ? null : randomPorts(dice),
    endpoints: dice.list(4, () => ({
      addresses: addressType === "FQDN" ? ["a.example"] : [randomAddress(dice, family), "10.1.0.99"],
      ...(dice.oneIn(3) ? {} : { conditions: dice.oneIn(6) ? null : anyFlag() }),
      // v1 says it in one field, v1beta1 in another one.
      ...dice.pick([
        {},
        { nodeName: dice.pick(nodes) },
        { nodeName: null },
        { topology: { "kubernetes.io/hostname": dice.pick(nodes) } },
      ]),
    })),
  };
}

export function randomEndpoints(dice: Dice, id: string): WorldEndpoints {
  const address = (): { ip: string; nodeName?: string } => ({
    ip: randomAddress(dice, dice.pick([4, 4, 6])),
    ...(dice.oneIn(3) ? {} : { nodeName: dice.pick(nodes) }),
  });
  return {
    metadata: metadata(dice, id, {}),
    subsets: dice.list(2, () => ({
      ...(dice.oneIn(5) ? {} : { addresses: dice.list(3, address) }),
      ...(dice.oneIn(2) ? {} : { notReadyAddresses: dice.list(2, address) }),
      ...(dice.oneIn(6) ? {} : { ports: randomPorts(dice) }),
    })),
  };
}

/** The object with one value, at any depth but its own name's, replaced by what no API server would take. */
export function breakSomewhere(dice: Dice, object: object): unknown {
  const copy = structuredClone(object) as Record<string, unknown>;
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const visit = (holder: Record<string, unknown>, key: string): void => {
    places.push([holder, key]);
    const value = holder[key];
    if (typeof value !== "object" || value === null) return;
    for (const inner of Object.keys(value)) visit(value as Record<string, unknown>, inner);
  };
  for (const key of Object.keys(copy)) {
    if (key !== "metadata") visit(copy, key);
    else for (const field of ["labels", "creationTimestamp"]) visit(copy[key] as Record<string, unknown>, field);
  }
  const [holder, key] = dice.pick(places);
  const junk = [-1.5, "\u0000", false, [[]], 10n, Symbol("s"), () => 0];
  // An object in an object's place would be one that says less, and not a broken one.
  const isObject = typeof holder[key] === "object" && !Array.isArray(holder[key]);
  holder[key] = dice.pick<unknown>(isObject ? junk : [...junk, { "\u0000": {} }]);
  return copy;
}
