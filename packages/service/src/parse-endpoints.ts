/**
 * EndpointSlices (discovery.k8s.io v1 and v1beta1) and Endpoints (core/v1) from the API. An endpoint of which anything
 * decisive cannot be read is left out: it gets no packets.
 */
import { ipFamily } from "@beyondfabric/packet";
import { compareEndpoints } from "./endpoint-order.ts";
import { fieldText, type FieldReader, type RawObject } from "./field-reader.ts";
import { boundedText, identifyObject, objectName, type ParsedObject } from "./identity.ts";
import type { EndpointPort, EndpointRecord, EndpointsRecord, PodReference, SliceRecord } from "./model.ts";
import { readAddress, readPortShape } from "./parse.ts";
import { Pool } from "./pool.ts";

export interface ParsedSlice extends ParsedObject {
  /** Absent when the slice is no business of ours: of a name, of no Service, or of one outside of the scope. */
  readonly slice?: SliceRecord;
}

export interface ParsedEndpoints extends ParsedObject {
  /** Absent as a slice is. */
  readonly endpoints?: EndpointsRecord;
}

/**
 * Of which Services endpoints are read: of those that are proxied, or of all, which are also headless ones and those that are
 * left to another proxy.
 */
export type EndpointScope = "proxied" | "all";

const serviceNameLabel = "kubernetes.io/service-name";
const hostnameTopology = "kubernetes.io/hostname";

/** Endpoints times ports of one list: 1,000 endpoints, the most of the API, may have 100 ports. */
const maxTargets = 100_000;

const texts = new Pool<string>(65_536);
const zoneLists = new Pool<readonly string[]>(4096);
const nowhere: readonly string[] = [];

/** Reads an EndpointSlice of the API, or of a file. Never throws. */
export function parseEndpointSlice(raw: unknown, scope: EndpointScope = "proxied"): ParsedSlice {
  const { fields, object, identity } = identifyObject("EndpointSlice", raw);
  const { violations } = fields;
  if (identity === undefined || (scope === "proxied" && identity.business !== "ours")) return { violations };
  const label = identity.labels[serviceNameLabel];
  if (label === undefined || label === "") return { violations };
  const service = objectName(label);
  const consequence = "the slice is left out";
  if (service === undefined) {
    const field = `metadata.labels[${serviceNameLabel}]`;
    fields.offend(field, `is ${fieldText(label)}, so ${consequence}`, "write the name of a Service");
    return { violations };
  }
  const type = fields.word("addressType", object["addressType"], ["IPv4", "IPv6", "FQDN"], "FQDN", consequence);
  if (type === undefined || type === "FQDN") return { violations };
  const endpoints = readSliceEndpoints(fields, object["endpoints"], identity.namespace, type === "IPv4" ? 4 : 6);
  const ports = readPorts(fields, "ports", object["ports"], endpoints.length);
  const { namespace, name } = identity;
  return { slice: { namespace, name, service: texts.of(service, () => service), ports, endpoints }, violations };
}

/** Reads an Endpoints object of the API, or of a file. Never throws. */
export function parseEndpoints(raw: unknown, scope: EndpointScope = "proxied"): ParsedEndpoints {
  const { fields, object, identity } = identifyObject("Endpoints", raw);
  const { violations } = fields;
  if (identity === undefined || (scope === "proxied" && identity.business !== "ours")) return { violations };
  const { namespace, name } = identity;
  const subsets = fields.list("subsets", object["subsets"], "the object has no endpoints");
  const sources = subsets.flatMap((item, index) => {
    const path = `subsets[${index}]`;
    const subset = fields.object(path, item, "the subset is left out");
    if (subset === undefined) return [];
    const read = (field: string, ready: boolean): EndpointRecord[] =>
      readSubsetAddresses(fields, `${path}.${field}`, subset[field], namespace, ready);
    const endpoints = ordered([...read("addresses", true), ...read("notReadyAddresses", false)]);
    return [
      { name: String(index), ports: readPorts(fields, `${path}.ports`, subset["ports"], endpoints.length), endpoints },
    ];
  });
  return { endpoints: { namespace, name, sources }, violations };
}

function readPorts(fields: FieldReader, path: string, raw: unknown, endpoints: number): EndpointPort[] {
  const consequence = "the port is left out";
  const found = new Map<string, EndpointPort>();
  const list = fields.list(path, raw, "the endpoints have no ports");
  if (list.length * endpoints > maxTargets) {
    fields.offend(path, "are too many for that many endpoints, which therefore have none", "split the object");
    return [];
  }
  for (const [index, item] of list.entries()) {
    const at = `${path}[${index}]`;
    const entry = fields.object(at, item, consequence);
    const shape = entry === undefined ? undefined : readPortShape(fields, at, entry);
    if (shape === undefined) continue;
    const key = `${shape.protocol} ${shape.name}`;
    if (found.has(key)) fields.offend(at, `is a second ${key}, so ${consequence}`, "have one of each");
    else found.set(key, { ...shape, name: texts.of(shape.name, () => shape.name) });
  }
  return [...found.values()];
}

const endpointConsequence = "the endpoint is left out";

function readSliceEndpoints(fields: FieldReader, raw: unknown, namespace: string, family: 4 | 6): EndpointRecord[] {
  const found: EndpointRecord[] = [];
  for (const [index, item] of fields.list("endpoints", raw, "the slice has no endpoints").entries()) {
    const path = `endpoints[${index}]`;
    const entry = fields.object(path, item, endpointConsequence);
    if (entry === undefined) continue;
    // All of an endpoint's addresses lead to the same place, and consumers may use the first alone (Endpoint.addresses).
    const [first] = fields.list(`${path}.addresses`, entry["addresses"], endpointConsequence);
    const address = readAddress(fields, `${path}.addresses[0]`, first);
    const conditions = readConditions(fields, `${path}.conditions`, entry["conditions"]);
    if (address === undefined || conditions === undefined) continue;
    if (ipFamily(address) !== family) {
      const rule = `is ${address} in a slice of IPv${family}, so ${endpointConsequence}`;
      fields.offend(`${path}.addresses[0]`, rule, "have a slice for each family");
      continue;
    }
    const topology = fields.object(`${path}.topology`, entry["topology"], "it says nothing");
    const nodeName = entry["nodeName"] ?? topology?.[hostnameTopology];
    found.push({
      address,
      ...conditions,
      ...readNode(fields, `${path}.nodeName`, nodeName),
      zones: readZones(fields, `${path}.hints`, entry["hints"]),
      ...readPod(fields, `${path}.targetRef`, entry["targetRef"], namespace),
    });
  }
  return ordered(found);
}

function readSubsetAddresses(
  fields: FieldReader,
  path: string,
  raw: unknown,
  namespace: string,
  ready: boolean,
): EndpointRecord[] {
  const found: EndpointRecord[] = [];
  for (const [index, item] of fields.list(path, raw, "these endpoints are left out").entries()) {
    const at = `${path}[${index}]`;
    const entry = fields.object(at, item, endpointConsequence);
    const address = entry === undefined ? undefined : readAddress(fields, `${at}.ip`, entry["ip"]);
    if (entry === undefined || address === undefined) continue;
    found.push({
      address,
      ready,
      serving: ready,
      terminating: false,
      ...readNode(fields, `${at}.nodeName`, entry["nodeName"]),
      zones: nowhere,
      ...readPod(fields, `${at}.targetRef`, entry["targetRef"], namespace),
    });
  }
  return found;
}

/** In the order of a source, each address once: the endpoint that is the best to have. */
function ordered(endpoints: EndpointRecord[]): EndpointRecord[] {
  endpoints.sort(compareEndpoints);
  return endpoints.filter(({ address }, index) => index === 0 || endpoints[index - 1]!.address !== address);
}

/**
 * What is not said (EndpointConditions): unknown readiness counts as ready, an endpoint that is ready serves, and none is
 * about to end. Undefined when something is said that cannot be read.
 */
function readConditions(
  fields: FieldReader,
  path: string,
  raw: unknown,
): Pick<EndpointRecord, "ready" | "serving" | "terminating"> | undefined {
  const conditions = fields.object(path, raw, endpointConsequence);
  if (conditions === undefined) return undefined;
  const ready = readCondition(fields, path, conditions, "ready", true);
  const serving = readCondition(fields, path, conditions, "serving", ready ?? false);
  const terminating = readCondition(fields, path, conditions, "terminating", false);
  if (ready === undefined || serving === undefined || terminating === undefined) return undefined;
  return { ready, serving, terminating };
}

function readCondition(
  fields: FieldReader,
  path: string,
  conditions: RawObject,
  name: string,
  unsaid: boolean,
): boolean | undefined {
  const value = conditions[name] ?? unsaid;
  if (typeof value === "boolean") return value;
  const rule = `is ${fieldText(value)}, so ${endpointConsequence}`;
  return fields.offend(`${path}.${name}`, rule, "write true or false");
}

function readNode(fields: FieldReader, path: string, raw: unknown): Pick<EndpointRecord, "node"> {
  if (raw === undefined || raw === null || raw === "") return {};
  const node = objectName(raw);
  if (node !== undefined) return { node: texts.of(node, () => node) };
  fields.offend(path, `is ${fieldText(raw)}, so the endpoint is on no node`, "write the name of a node");
  return {};
}

function readZones(fields: FieldReader, path: string, raw: unknown): readonly string[] {
  const consequence = "the endpoint is meant for no zone";
  if (raw === undefined || raw === null) return nowhere;
  const hints = fields.object(path, raw, consequence)?.["forZones"];
  const zones: string[] = [];
  for (const [index, item] of fields.list(`${path}.forZones`, hints, consequence).entries()) {
    const at = `${path}.forZones[${index}]`;
    const text = fields.object(at, item, "the zone is left out")?.["name"];
    const zone = boundedText(text, 63);
    if (zone !== undefined) zones.push(zone);
    else fields.offend(`${at}.name`, `is ${fieldText(text)}, so the zone is left out`, "write the name of a zone");
  }
  return zones.length === 0 ? nowhere : zoneLists.of(JSON.stringify(zones), () => zones);
}

/** The pod behind the endpoint; nothing when it is something else. */
function readPod(fields: FieldReader, path: string, raw: unknown, own: string): { pod?: PodReference } {
  const consequence = "it is not known whose address it is";
  if (raw === undefined || raw === null) return {};
  const target = fields.object(path, raw, consequence);
  if (target === undefined || (target["kind"] ?? "Pod") !== "Pod") return {};
  const name = objectName(target["name"]);
  const namespace = objectName(target["namespace"] ?? own);
  if (name === undefined || namespace === undefined) {
    fields.offend(path, `names no pod, so ${consequence}`, "write name and namespace of a pod");
    return {};
  }
  // Most often the slice's own, which is kept anyway.
  return { pod: { namespace: namespace === own ? own : namespace, name, uid: boundedText(target["uid"], 128) ?? "" } };
}
