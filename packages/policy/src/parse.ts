/**
 * NetworkPolicies from the API. What an API server stored obeys its validation, but another server may be newer, older or
 * wrong: whatever cannot be honoured closes instead of opening. A part that cannot be read matches nothing; a policy
 * whose own scope cannot be read isolates every pod that it could have meant, and allows nothing.
 */
import type { Violation } from "@beyondfabric/kube/kinds";
import { Selector } from "@beyondfabric/kube/selectors";
import { AddressError, cidrContainsCidr, cidrOf, parseIp, type Cidr } from "@beyondfabric/packet";
import { FieldReader, fieldText, type ObjectFields } from "./field-reader.ts";
import type { Direction, NetworkPolicy, Peer, PolicyPort, PolicyRule, Protocol } from "./model.ts";
import { maxPort } from "./openings.ts";

export interface ParsedPolicy {
  /** Absent when the object has no name or namespace: no API server stores that. */
  readonly policy?: NetworkPolicy;
  /** What could not be honoured; empty for a sound policy. */
  readonly violations: readonly Violation[];
}

/** Rules, peers, exceptions and ports of one policy. What etcd stores (1.5 MiB) has room for fewer. */
const maxElements = 100_000;

/** Reads an object of the API, or of a file. Never throws. */
export function parseNetworkPolicy(raw: unknown): ParsedPolicy {
  const metadata = isObject(raw) && isObject(raw["metadata"]) ? raw["metadata"] : {};
  const name = boundedText(metadata["name"]);
  const namespace = boundedText(metadata["namespace"]);
  const object = `NetworkPolicy/${namespace ?? "(no namespace)"}/${name ?? "(unnamed)"}`;
  const fields = new FieldReader(object, maxElements);
  if (name === undefined || namespace === undefined) {
    fields.offend("metadata", "has no name or namespace", "read policies from an API server");
    return { violations: fields.violations };
  }
  const uid = boundedText(metadata["uid"]) ?? "";
  const policy = { namespace, name, uid, ...readPolicy(fields, namespace, name, raw) };
  return { policy, violations: fields.violations };
}

const closedPolicy = "the policy allows nothing";

type Body = Omit<NetworkPolicy, "namespace" | "name" | "uid">;

function readPolicy(fields: FieldReader, namespace: string, name: string, raw: unknown): Body {
  const object = fields.object("", raw, ["apiVersion", "kind", "metadata", "spec", "status"], closedPolicy);
  const knownFields = ["podSelector", "policyTypes", "ingress", "egress"];
  const spec = object.value["spec"] ?? {};
  const { value, sound } = fields.object("spec", spec, knownFields, closedPolicy);
  const podSelector = value["podSelector"] ?? {};
  const selector = fields.selector("spec.podSelector", podSelector, "every pod of the namespace is isolated");
  const directions = readDirections(fields, value, sound);
  // Rules of a policy whose scope is unknown could open what another policy closes.
  const closed = !object.sound || !sound || selector === undefined || directions === undefined;
  const rulesOf = (direction: Direction): readonly PolicyRule[] =>
    closed ? [] : readRules(fields, `${namespace}/${name}`, direction, value[direction]);
  const types = directions ?? ["ingress", "egress"];
  const body: Body = {
    podSelector: selector ?? Selector.everything,
    ...(types.includes("ingress") ? { ingress: rulesOf("ingress") } : {}),
    ...(types.includes("egress") ? { egress: rulesOf("egress") } : {}),
  };
  // Half of a policy that is too large would be another policy.
  return fields.isExhausted ? emptied(body) : body;
}

function emptied({ podSelector, ingress, egress }: Body): Body {
  return {
    podSelector,
    ...(ingress === undefined ? {} : { ingress: [] }),
    ...(egress === undefined ? {} : { egress: [] }),
  };
}

/**
 * Which directions the policy isolates. Without `policyTypes` it is ingress, and egress when there are egress rules
 * (NetworkPolicySpec.policyTypes). Undefined when that cannot be read.
 * @param sound false: what is not understood may say more about directions than their absence does
 */
function readDirections(fields: FieldReader, spec: ObjectFields["value"], sound: boolean): Direction[] | undefined {
  const types = spec["policyTypes"] ?? [];
  const consequence = "both directions are closed";
  if (!fields.isArray("spec.policyTypes", types, consequence)) return undefined;
  if (types.length === 0) {
    if (!sound) return undefined;
    const egress = spec["egress"] ?? [];
    return Array.isArray(egress) && egress.length === 0 ? ["ingress"] : ["ingress", "egress"];
  }
  const directions: Direction[] = [];
  for (const [index, type] of types.entries()) {
    if (type === "Ingress") directions.push("ingress");
    else if (type === "Egress") directions.push("egress");
    else {
      const rule = `is ${fieldText(type)}, so ${consequence}`;
      fields.offend(`spec.policyTypes[${index}]`, rule, "write Ingress or Egress");
      return undefined;
    }
  }
  return directions;
}

function readRules(fields: FieldReader, policy: string, direction: Direction, raw: unknown): PolicyRule[] {
  const path = `spec.${direction}`;
  const list = raw ?? [];
  if (!fields.isArray(path, list, `nothing is allowed as ${direction}`)) return [];
  const peersField = direction === "ingress" ? "from" : "to";
  return list.map((item, index): PolicyRule => {
    const reference = { policy, direction, index };
    const at = `${path}[${index}]`;
    const { value, sound } = fields.object(at, item, ["ports", peersField], "the rule allows nothing");
    if (!sound) return { reference, peers: [], ports: [] };
    const peers = readPeers(fields, `${at}.${peersField}`, value[peersField]);
    return { reference, peers, ports: readPorts(fields, `${at}.ports`, value["ports"]) };
  });
}

function readPeers(fields: FieldReader, path: string, raw: unknown): PolicyRule["peers"] {
  const list = raw ?? [];
  if (!fields.isArray(path, list, "the rule matches nobody")) return [];
  if (list.length === 0) return "everybody";
  return list.map((item, index) => readPeer(fields, `${path}[${index}]`, item) ?? { kind: "unreadable" });
}

function readPeer(fields: FieldReader, path: string, raw: unknown): Peer | undefined {
  const consequence = "the peer matches nobody";
  const { value, sound } = fields.object(path, raw, ["podSelector", "namespaceSelector", "ipBlock"], consequence);
  if (!sound) return undefined;
  const block = value["ipBlock"] ?? undefined;
  const pods = value["podSelector"] ?? undefined;
  const namespaces = value["namespaceSelector"] ?? undefined;
  if (block !== undefined) {
    if (pods === undefined && namespaces === undefined) return readBlock(fields, `${path}.ipBlock`, block);
    fields.offend(path, `has an ipBlock and a selector, so ${consequence}`, "write them as two peers");
    return undefined;
  }
  if (pods === undefined && namespaces === undefined) {
    fields.offend(path, `is empty, so ${consequence}`, "name a podSelector, a namespaceSelector or an ipBlock");
    return undefined;
  }
  const podSelector = fields.selector(`${path}.podSelector`, pods ?? {}, consequence);
  if (namespaces === undefined) return podSelector === undefined ? undefined : { kind: "pods", podSelector };
  const namespaceSelector = fields.selector(`${path}.namespaceSelector`, namespaces, consequence);
  if (podSelector === undefined || namespaceSelector === undefined) return undefined;
  return { kind: "pods", podSelector, namespaceSelector };
}

function readBlock(fields: FieldReader, path: string, raw: unknown): Peer | undefined {
  const consequence = "the peer matches nobody";
  const { value, sound } = fields.object(path, raw, ["cidr", "except"], consequence);
  if (!sound) return undefined;
  const cidr = readCidr(fields, `${path}.cidr`, value["cidr"], consequence);
  const list = value["except"] ?? [];
  if (!fields.isArray(`${path}.except`, list, consequence) || cidr === undefined) return undefined;
  const except: Cidr[] = [];
  for (const [index, item] of list.entries()) {
    const at = `${path}.except[${index}]`;
    const hole = readCidr(fields, at, item, consequence);
    if (hole === undefined) return undefined;
    if (!cidrContainsCidr(cidr, hole)) {
      const rule = `is ${fieldText(item)}, which is not inside ${fieldText(value["cidr"])}, so ${consequence}`;
      fields.offend(at, rule, "write a smaller CIDR that lies inside, or drop it");
      return undefined;
    }
    except.push(hole);
  }
  return { kind: "block", cidr, except };
}

/** The API takes a CIDR whose host bits are set, and means the network. */
function readCidr(fields: FieldReader, path: string, raw: unknown, consequence: string): Cidr | undefined {
  const parts = typeof raw === "string" ? /^([^/]{2,45})\/(0|[1-9][0-9]{0,2})$/.exec(raw) : null;
  try {
    if (parts !== null) return cidrOf(parseIp(parts[1]!), Number(parts[2]));
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
  }
  const rule = `is ${fieldText(raw)}, which is no CIDR, so ${consequence}`;
  fields.offend(path, rule, "write for example 10.0.0.0/8 or fd00::/8");
  return undefined;
}

function readPorts(fields: FieldReader, path: string, raw: unknown): PolicyRule["ports"] {
  const list = raw ?? [];
  if (!fields.isArray(path, list, "the rule matches no port")) return [];
  if (list.length === 0) return "everything";
  return list.map((item, index) => readPort(fields, `${path}[${index}]`, item) ?? { kind: "unreadable" });
}

const portNamePattern = /^(?=.{1,15}$)(?!.*--)(?=.*[a-z])[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

function readPort(fields: FieldReader, path: string, raw: unknown): PolicyPort | undefined {
  const { value, sound } = fields.object(path, raw, ["protocol", "port", "endPort"], "it matches no port");
  if (!sound) return undefined;
  const protocol: unknown = value["protocol"] ?? "TCP";
  const port = value["port"] ?? undefined;
  const endPort = value["endPort"] ?? undefined;
  const offend = (field: string, rule: string, remedy: string): undefined =>
    fields.offend(`${path}.${field}`, `${rule}, so it matches no port`, remedy);
  if (!isProtocol(protocol)) return offend("protocol", `is ${fieldText(protocol)}`, "write TCP, UDP or SCTP");
  if (endPort !== undefined && typeof port !== "number") {
    return offend("endPort", "stands without a numeric port", "name the first port of the range as a number in port");
  }
  if (port === undefined) return { kind: "range", protocol, first: 0, last: maxPort };
  if (typeof port === "string") {
    if (portNamePattern.test(port)) return { kind: "named", protocol, name: port };
    return offend("port", `is ${fieldText(port)}, which is no port name`, "write a number, or a container port's name");
  }
  if (!isPortNumber(port)) return offend("port", `is ${fieldText(port)}`, "write a number from 1 to 65535, or a name");
  if (endPort === undefined) return { kind: "range", protocol, first: port, last: port };
  if (!isPortNumber(endPort) || endPort < port) {
    return offend("endPort", `is ${fieldText(endPort)}`, `write a number from ${port} to 65535`);
  }
  return { kind: "range", protocol, first: port, last: endPort };
}

function isProtocol(value: unknown): value is Protocol {
  return value === "TCP" || value === "UDP" || value === "SCTP";
}

function isPortNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= maxPort;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function boundedText(value: unknown): string | undefined {
  return typeof value === "string" && value.length > 0 && value.length <= 253 ? value : undefined;
}
