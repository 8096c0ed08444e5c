/**
 * The endpoints behind a service, read when a person asks: nothing on a packet's path needs them yet. Which ones count is
 * decided by `@beyondfabric/service`, so that an explanation names those that a proxy would choose among.
 */
import {
  endpointSliceResources,
  endpointsResource,
  isNotFound,
  serviceResource,
  type KubeClient,
} from "@beyondfabric/kube";
import { ipFamily, type Ip, type IpFamily } from "@beyondfabric/packet";
import type { Protocol } from "@beyondfabric/policy";
import {
  eligibleEndpoints,
  parseEndpoints,
  parseEndpointSlice,
  parseService,
  ServiceCatalog,
  type EndpointSource,
  type ServicePort as PortOfService,
  type ServiceRecord,
  type SliceRecord,
  type Target,
} from "@beyondfabric/service";

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
  /** Empty for a headless service without ports, which stands for whatever its endpoints answer. */
  readonly ports: readonly ServicePort[];
}

/** How long the API server may take (ms). */
const patience = { timeout: 3000, retry: false };

/** What a service without ports is asked for, so that its endpoints are chosen by the same rules. */
const anyPort: PortOfService = { name: "", protocol: "TCP", port: 0 };

/**
 * The endpoints that a service may choose on any node: those that are ready, or, for a port of which none is, those that are
 * about to end and still answer. In the order of their addresses' texts; what is malformed is left out.
 * @returns undefined when there is no such service
 * @throws KubeError when the API server does not answer
 */
export async function lookUpService(
  client: KubeClient,
  namespace: string,
  name: string,
): Promise<readonly ServiceEndpoint[] | undefined> {
  const raw = await unlessNotFound(client.get<unknown>(serviceResource, name, namespace, patience));
  if (raw === undefined) return undefined;
  const { service } = parseService(raw);
  // Clients of a name of another domain never meet endpoints, whatever somebody wrote beside it.
  if (service === undefined || service.treatment === "external-name") return [];
  const catalog = new ServiceCatalog();
  const isPortless = service.ports.length === 0 && service.treatment !== "proxied";
  const asked = isPortless ? { ...service, ports: [anyPort] } : service;
  const onAskedPorts = <Source extends EndpointSource>(source: Source): Source =>
    isPortless ? { ...source, ports: [anyPort] } : source;
  catalog.setService(asked);
  const slices = await readSlices(client, service);
  for (const slice of slices) catalog.setSlice(onAskedPorts(slice));
  if (slices.length === 0) {
    const object = await unlessNotFound(client.get<unknown>(endpointsResource, name, namespace, patience));
    const { endpoints } = parseEndpoints(object, "all");
    if (endpoints !== undefined) {
      catalog.setEndpoints({ ...endpoints, sources: endpoints.sources.map(onAskedPorts) });
    }
  }
  return endpointsBehind(catalog, asked);
}

/** None where the API server has none of this service, or does not serve the kind. */
async function readSlices(client: KubeClient, { namespace, name }: ServiceRecord): Promise<readonly SliceRecord[]> {
  const selection = { namespace, labelSelector: `kubernetes.io/service-name=${name}` };
  const select = (raw: unknown): SliceRecord | undefined => parseEndpointSlice(raw, "all").slice;
  for (const resource of endpointSliceResources) {
    const list = await unlessNotFound(client.listAll(resource, select, selection, patience));
    if (list !== undefined) return list.records;
  }
  return [];
}

function endpointsBehind(catalog: ServiceCatalog, service: ServiceRecord): ServiceEndpoint[] {
  const found = new Map<Ip, ServicePort[]>();
  for (const family of familiesOf(service)) {
    for (const port of service.ports) {
      for (const { endpoint, port: targetPort } of targetsOf(catalog, service, port, family)) {
        const ports = found.get(endpoint.address) ?? [];
        found.set(endpoint.address, ports);
        if (port !== anyPort) ports.push({ protocol: port.protocol, port: port.port, targetPort });
      }
    }
  }
  return [...found].map(([address, ports]) => ({ address, ports })).sort((a, b) => (a.address < b.address ? -1 : 1));
}

/** Where it has no cluster address, clients get the endpoints' own from DNS, of either family. */
function familiesOf({ addresses }: ServiceRecord): readonly IpFamily[] {
  return addresses.cluster.length === 0 ? [4, 6] : addresses.cluster.map(ipFamily);
}

function targetsOf(
  catalog: ServiceCatalog,
  service: ServiceRecord,
  port: PortOfService,
  family: IpFamily,
): readonly Target[] {
  // Whoever asks may stand on another node than the sender, so what is local to this one would mislead.
  const everywhere: ServiceRecord = { ...service, internalTrafficPolicy: "Cluster" };
  const frontend = { service: everywhere, port, kind: "cluster", family } as const;
  const eligibility = eligibleEndpoints(catalog, frontend, { node: "", from: "pod" });
  return eligibility.kind === "endpoints" ? eligibility.endpoints : [];
}

async function unlessNotFound<Answer>(answer: Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
