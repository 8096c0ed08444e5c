/**
 * The endpoints behind a service, read when a person asks: nothing on a packet's path needs them yet. `Endpoints` (core/v1)
 * rather than EndpointSlices, because every API server has them.
 */
import { endpointsResource, isNotFound, serviceResource, type KubeClient } from "@beyondfabric/kube";
import { isIp, parseIp, type Ip } from "@beyondfabric/packet";
import { protocols, type Protocol } from "@beyondfabric/policy";

/** Which port of an endpoint answers a port of the service. */
export interface ServicePort {
  readonly protocol: Protocol;
  /** Where the service is asked. */
  readonly port: number;
  /** Where the endpoint answers. */
  readonly targetPort: number;
}

/** One address behind a service. */
export interface ServiceEndpoint {
  readonly address: Ip;
  readonly ports: readonly ServicePort[];
}

/** How long the API server may take (ms). */
const patience = { timeout: 3000, retry: false };

/** Undefined when there is no such service. @throws KubeError when the API server does not answer */
export async function lookUpService(
  client: KubeClient,
  namespace: string,
  name: string,
): Promise<readonly ServiceEndpoint[] | undefined> {
  try {
    const service = await client.get<unknown>(serviceResource, name, namespace, patience);
    const endpoints = await client
      .get<unknown>(endpointsResource, name, namespace, patience)
      .catch((error: unknown) => {
        if (isNotFound(error)) return {};
        throw error;
      });
    return serviceEndpoints(service, endpoints);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** The endpoints that are ready, by address; what is malformed is left out. Ports are joined by their names. */
export function serviceEndpoints(service: unknown, endpoints: unknown): ServiceEndpoint[] {
  const ports = items(field(field(service, "spec"), "ports")).flatMap((each) => {
    const port = portNumber(field(each, "port"));
    return port === undefined ? [] : [{ key: portKey(each), port }];
  });
  const found = new Map<Ip, ServicePort[]>();
  for (const subset of items(field(endpoints, "subsets"))) {
    const targets = items(field(subset, "ports")).flatMap((each): ServicePort[] => {
      const targetPort = portNumber(field(each, "port"));
      const asked = ports.find(({ key }) => key === portKey(each));
      if (targetPort === undefined || asked === undefined) return [];
      const protocol = protocols.find((name) => name === (field(each, "protocol") ?? "TCP"));
      return protocol === undefined ? [] : [{ protocol, port: asked.port, targetPort }];
    });
    for (const each of items(field(subset, "addresses"))) {
      const text = field(each, "ip");
      if (typeof text !== "string" || !isIp(text)) continue;
      const address = parseIp(text);
      found.set(address, [...(found.get(address) ?? []), ...targets]);
    }
  }
  return [...found].map(([address, its]) => ({ address, ports: its }));
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function portNumber(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value < 65_536 ? value : undefined;
}

/** A port of a service and those of its endpoints have one name, which may be absent, and one protocol. */
function portKey(port: unknown): string {
  return JSON.stringify([field(port, "name") ?? "", field(port, "protocol") ?? "TCP"]);
}
