/**
 * Services from the API. What an API server stored obeys its validation, but another server may be newer, older or wrong:
 * a part that cannot be honoured is left out and told, and never makes the Service reachable by more than it says.
 */
import { AddressError, cidrOf, ipFamily, isIp, parseIp, type Cidr, type Ip, type IpFamily } from "@beyondfabric/packet";
import { fieldText, type FieldReader, type RawObject } from "./field-reader.ts";
import { identifyObject, type ParsedObject } from "./identity.ts";
import type { Protocol, ServicePort, ServiceRecord } from "./model.ts";
import { specialAddress } from "./special-address.ts";

export interface ParsedService extends ParsedObject {
  /** Absent when the object has no name or namespace: no API server stores that. */
  readonly service?: ServiceRecord;
}

/** Front ends of one Service: addresses and ports are long lists that a user may write, and each meets each. */
const maxFrontends = 16_384;

/** ClientIPConfig.timeoutSeconds: three hours unless it says otherwise, a day at most. */
const affinity = { usual: 10_800, range: [1, 86_400] } as const;

/** A DNS label (RFC 1123), as names of ports are. */
const labelPattern = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const portRange = [1, 65_535] as const;
const protocols: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const policies = ["Cluster", "Local"] as const;

/** Reads a Service (core/v1) of the API, or of a file. Never throws. */
export function parseService(raw: unknown): ParsedService {
  const { fields, object, identity } = identifyObject("Service", raw);
  const { violations } = fields;
  if (identity === undefined) return { violations };
  const { namespace, name, uid, created, business } = identity;
  const consequence = "the Service is not reached";
  const spec = fields.object("spec", object["spec"], consequence) ?? {};
  const types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] as const;
  const type = fields.word("spec.type", spec["type"], types, "ClusterIP", consequence);
  const isNameless = type === undefined || type === "ExternalName";
  const cluster = isNameless ? [] : readClusterAddresses(fields, spec);
  const treatment = treatmentOf(business, type, cluster);
  const hasAddresses = cluster !== "none" && treatment !== "headless";
  const addresses: ServiceRecord["addresses"] = hasAddresses
    ? {
        cluster,
        loadBalancer: type === "LoadBalancer" ? readBalancerAddresses(fields, object["status"], cluster) : [],
        external: isNameless ? [] : readExternalAddresses(fields, spec["externalIPs"], cluster),
      }
    : { cluster: [], loadBalancer: [], external: [] };
  const takesNodePorts = type === "NodePort" || type === "LoadBalancer";
  const ports = isNameless ? [] : readPorts(fields, spec["ports"], takesNodePorts);
  const { external, loadBalancer } = addresses;
  const width = addresses.cluster.length + external.length + loadBalancer.length;
  const nodePorts = ports.filter(({ nodePort }) => nodePort !== undefined).length;
  const isTooWide = width * ports.length + addresses.cluster.length * nodePorts > maxFrontends;
  if (isTooWide) fields.offend("spec.ports", `are too many for its addresses, so ${consequence}`, "split the Service");
  const affinitySeconds = readAffinity(fields, spec);
  const externalPolicy = readPolicy(fields, spec, "externalTrafficPolicy");
  const isHealthChecked = type === "LoadBalancer" && externalPolicy === "Local";
  const healthCheckNodePort = isHealthChecked ? readHealthCheckPort(fields, spec) : undefined;
  const sourceRanges = readSourceRanges(fields, spec["loadBalancerSourceRanges"]);
  const service: ServiceRecord = {
    namespace,
    name,
    uid,
    created,
    treatment,
    addresses,
    ports: isTooWide ? [] : ports,
    ...(affinitySeconds === undefined ? {} : { affinitySeconds }),
    internalTrafficPolicy: readPolicy(fields, spec, "internalTrafficPolicy"),
    externalTrafficPolicy: externalPolicy,
    ...(healthCheckNodePort === undefined ? {} : { healthCheckNodePort }),
    publishNotReadyAddresses: readFlag(fields, "spec.publishNotReadyAddresses", spec["publishNotReadyAddresses"]),
    ...(sourceRanges === undefined ? {} : { sourceRanges }),
  };
  return { service, violations };
}

function treatmentOf(
  business: "ours" | "headless" | "foreign",
  type: string | undefined,
  cluster: readonly Ip[] | "none",
): ServiceRecord["treatment"] {
  if (business === "foreign") return "foreign";
  if (type === "ExternalName") return "external-name";
  return business === "headless" || cluster === "none" ? "headless" : "proxied";
}

/** One of each family at most; `none` for a headless Service. Servers before 1.20 have only `clusterIP`. */
function readClusterAddresses(fields: FieldReader, spec: RawObject): Ip[] | "none" {
  const consequence = "the Service has no cluster address";
  const single = spec["clusterIP"] ?? "";
  const isSingle = (spec["clusterIPs"] ?? undefined) === undefined;
  const list = fields.list("spec.clusterIPs", isSingle && single !== "" ? [single] : spec["clusterIPs"], consequence);
  if (list[0] === "None") return "none";
  const found: Ip[] = [];
  for (const [index, item] of list.entries()) {
    const path = `spec.clusterIPs[${index}]`;
    const address = readAddress(fields, path, item);
    if (address === undefined) continue;
    const family = ipFamily(address);
    if (!found.some((other) => ipFamily(other) === family)) found.push(address);
    else fields.offend(path, `is a second IPv${family} address, so it is left out`, "have one of each family");
  }
  return found;
}

function readExternalAddresses(fields: FieldReader, raw: unknown, cluster: readonly Ip[]): Ip[] {
  const found = new Set<Ip>();
  for (const [index, item] of fields.list("spec.externalIPs", raw, "the Service has none").entries()) {
    const path = `spec.externalIPs[${index}]`;
    const address = readAddress(fields, path, item);
    if (address === undefined) continue;
    if (servesFamily(cluster, ipFamily(address))) found.add(address);
    else fields.offend(path, `is ${address}, but the Service has no cluster address of its family`, "drop it");
  }
  return [...found];
}

/**
 * The load balancer's addresses whose packets arrive at a node with that destination. With `ipMode: Proxy` (KEP-1860) they
 * never do, and a packet from inside must go out to the load balancer. One of a family that the Service has not is none of
 * ours either: its load balancer translates.
 */
function readBalancerAddresses(fields: FieldReader, status: unknown, cluster: readonly Ip[]): Ip[] {
  const consequence = "the Service has no addresses of a load balancer";
  const balancer = fields.object("status", status, consequence)?.["loadBalancer"];
  const ingress = fields.object("status.loadBalancer", balancer, consequence)?.["ingress"];
  const found = new Set<Ip>();
  for (const [index, item] of fields.list("status.loadBalancer.ingress", ingress, consequence).entries()) {
    const path = `status.loadBalancer.ingress[${index}]`;
    const entry = fields.object(path, item, "it is left out");
    if (entry === undefined) continue;
    const mode = fields.word(`${path}.ipMode`, entry["ipMode"], ["VIP", "Proxy"], "VIP", "it is left out");
    const text = entry["ip"] ?? "";
    if (mode !== "VIP" || text === "") continue;
    const address = readAddress(fields, `${path}.ip`, text);
    if (address !== undefined && servesFamily(cluster, ipFamily(address))) found.add(address);
  }
  return [...found];
}

function servesFamily(cluster: readonly Ip[], family: IpFamily): boolean {
  return cluster.some((address) => ipFamily(address) === family);
}

/** An ordinary address; undefined after a complaint. */
export function readAddress(fields: FieldReader, path: string, raw: unknown): Ip | undefined {
  if (typeof raw !== "string" || !isIp(raw)) {
    return fields.offend(
      path,
      `is ${fieldText(raw)}, which is no address, so it is left out`,
      "write for example 10.0.0.5",
    );
  }
  const address = parseIp(raw);
  const special = specialAddress(address);
  if (special === undefined) return address;
  return fields.offend(path, `is ${address}, which is ${special}, so it is left out`, "write an address of a machine");
}

function readPorts(fields: FieldReader, raw: unknown, takesNodePorts: boolean): ServicePort[] {
  const found: ServicePort[] = [];
  const taken = new Set<string>();
  const nodePorts = new Set<string>();
  const consequence = "the port is left out";
  for (const [index, item] of fields.list("spec.ports", raw, "the Service has no ports").entries()) {
    const path = `spec.ports[${index}]`;
    const entry = fields.object(path, item, consequence);
    if (entry === undefined) continue;
    const shape = readPortShape(fields, path, entry);
    if (shape === undefined) continue;
    const { name, protocol, port } = shape;
    const places = [`${protocol} ${port}`, `${protocol} named ${name}`];
    const double = places.find((place) => taken.has(place));
    if (double !== undefined) {
      fields.offend(path, `is a second ${double}, so ${consequence}`, "have one of each");
      continue;
    }
    for (const place of places) taken.add(place);
    const asked = readNodePort(fields, path, entry, takesNodePorts);
    const isDouble = asked !== undefined && nodePorts.has(`${protocol} ${asked}`);
    if (isDouble) fields.offend(`${path}.nodePort`, "is another port's too, so it is left out", "have one of each");
    const nodePort = isDouble ? undefined : asked;
    nodePorts.add(`${protocol} ${nodePort}`);
    found.push({ ...shape, ...(nodePort === undefined ? {} : { nodePort }) });
  }
  return found;
}

/** Name, protocol and number of a port of a Service or of its endpoints; undefined after a complaint. */
export function readPortShape(fields: FieldReader, path: string, entry: RawObject): ServicePort | undefined {
  const consequence = "the port is left out";
  const protocol = fields.word(`${path}.protocol`, entry["protocol"], protocols, "TCP", consequence);
  const name = entry["name"] ?? "";
  if (typeof name !== "string" || (name !== "" && !labelPattern.test(name))) {
    const remedy = "write lower-case letters, digits and '-', 63 at most";
    return fields.offend(`${path}.name`, `is ${fieldText(name)}, so ${consequence}`, remedy);
  }
  const number = fields.number(`${path}.port`, entry["port"] ?? 0, portRange, consequence);
  return protocol === undefined || number === undefined ? undefined : { name, protocol, port: number };
}

function readNodePort(fields: FieldReader, path: string, entry: RawObject, isTaken: boolean): number | undefined {
  const field = `${path}.nodePort`;
  const raw = entry["nodePort"] ?? 0;
  if (raw === 0) return undefined;
  if (isTaken) return fields.number(field, raw, portRange, "the port is not reached through nodes");
  return fields.offend(field, "stands in a Service that has none, so it is left out", "drop it, or change spec.type");
}

function readHealthCheckPort(fields: FieldReader, spec: RawObject): number | undefined {
  const raw = spec["healthCheckNodePort"] ?? 0;
  return raw === 0 ? undefined : fields.number("spec.healthCheckNodePort", raw, portRange, "nobody answers there");
}

/** Undefined without affinity. */
function readAffinity(fields: FieldReader, spec: RawObject): number | undefined {
  const consequence = `clients stay ${affinity.usual} seconds`;
  const words = ["None", "ClientIP"] as const;
  const kind = fields.word("spec.sessionAffinity", spec["sessionAffinity"], words, "None", "clients do not stay");
  if (kind !== "ClientIP") return undefined;
  const path = "spec.sessionAffinityConfig";
  const client = fields.object(path, spec["sessionAffinityConfig"], consequence)?.["clientIP"];
  const raw = fields.object(`${path}.clientIP`, client, consequence)?.["timeoutSeconds"];
  return fields.number(`${path}.clientIP.timeoutSeconds`, raw, affinity.range, consequence) ?? affinity.usual;
}

/** A policy that is not known is no `Local` one: kube-proxy takes it for the usual one too. */
function readPolicy(fields: FieldReader, spec: RawObject, field: string): "Cluster" | "Local" {
  return fields.word(`spec.${field}`, spec[field], policies, "Cluster", "it is taken for Cluster") ?? "Cluster";
}

function readFlag(fields: FieldReader, path: string, raw: unknown): boolean {
  const value = raw ?? false;
  if (typeof value !== "boolean")
    fields.offend(path, `is ${fieldText(raw)}, so it counts as false`, "write true or false");
  return value === true;
}

/** Undefined when nobody is kept out; a range that cannot be read lets nobody in. */
function readSourceRanges(fields: FieldReader, raw: unknown): Cidr[] | undefined {
  if (raw === undefined || raw === null || (Array.isArray(raw) && raw.length === 0)) return undefined;
  const path = "spec.loadBalancerSourceRanges";
  const found: Cidr[] = [];
  for (const [index, item] of fields.list(path, raw, "nobody may use its load balancer's addresses").entries()) {
    const range = readCidr(fields, `${path}[${index}]`, item);
    if (range !== undefined) found.push(range);
  }
  return found;
}

/** The API takes spaces around these, and host bits that are set. */
function readCidr(fields: FieldReader, path: string, raw: unknown): Cidr | undefined {
  const text = typeof raw === "string" && raw.length <= 100 ? raw.trim() : "";
  const parts = /^([^/]{2,45})\/(0|[1-9][0-9]{0,2})$/.exec(text);
  try {
    if (parts !== null) return cidrOf(parseIp(parts[1]!), Number(parts[2]));
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
  }
  const remedy = "write for example 10.0.0.0/8 or fd00::/8";
  return fields.offend(path, `is ${fieldText(raw)}, which is no CIDR, so it lets nobody in`, remedy);
}
