/**
 * Service: defaults, and the allocation of cluster addresses and node ports.
 */
import { childObject, isObject, listOf, objectOf, objectsOf, textOf, textsOf, type JsonObject } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { fieldError, type StatusCause } from "../status.ts";
import { isIP } from "node:net";
import { addressToNumber, numberToAddress } from "../address.ts";
import type { Strategy } from "./strategy.ts";

const NODE_PORTS = { first: 30_000, last: 32_767 };
const TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/** Addresses of services, one family. */
export interface ServiceRange {
  family: "IPv4" | "IPv6";
  /** Network address as a number. */
  base: bigint;
  /** Number of addresses, at most 65,536 are used. */
  size: number;
}

/** Reads a CIDR such as `10.96.0.0/16` or `fd00:96::/112`. @throws Error when it is none */
export function parseServiceRange(cidr: string): ServiceRange {
  const [address = "", lengthText = ""] = cidr.split("/");
  const version = isIP(address);
  const length = Number(lengthText);
  const bits = version === 4 ? 32 : 128;
  if (version === 0 || !/^\d+$/.test(lengthText) || length > bits || length < 8) {
    throw new Error(`service CIDR ${JSON.stringify(cidr)}: must be ADDRESS/LENGTH with a length of 8 to ${bits}`);
  }
  const mask = (1n << BigInt(bits - length)) - 1n;
  const size = Math.min(2 ** (bits - length), 65_536);
  return { family: version === 4 ? "IPv4" : "IPv6", base: addressToNumber(address) & ~mask, size };
}

/** What other services hold; asked anew for every allocation, since services come and go. */
export type ServiceList = () => Iterable<KubeObject>;

/** The behaviour of services over the given ranges (the first one is the primary family). */
export function serviceStrategy(ranges: readonly ServiceRange[], services: ServiceList): Strategy {
  const allocateAddress = (range: ServiceRange, used: Set<string>): string => {
    for (let offset = 1; offset < range.size - 1; offset++) {
      const address = numberToAddress(range.base + BigInt(offset), range.family);
      if (!used.has(address)) return address;
    }
    throw new Error(`no ${range.family} address is left for services`);
  };
  const complete = (service: KubeObject): void => {
    const spec = childObject(service, "spec");
    spec["type"] ??= "ClusterIP";
    spec["sessionAffinity"] ??= "None";
    const { type } = spec;
    if (type === "ExternalName") return;
    for (const port of objectsOf(spec["ports"])) {
      port["protocol"] ??= "TCP";
      port["targetPort"] ??= port["port"];
    }
    spec["internalTrafficPolicy"] ??= "Cluster";
    if (type === "NodePort" || type === "LoadBalancer") spec["externalTrafficPolicy"] ??= "Cluster";
    completeAddresses(spec);
    if (type === "NodePort" || type === "LoadBalancer") completeNodePorts(spec, service);
  };
  const completeAddresses = (spec: JsonObject): void => {
    const policy = textOf(
      spec["ipFamilyPolicy"],
      textsOf(spec["ipFamilies"]).length > 1 ? "RequireDualStack" : "SingleStack",
    );
    spec["ipFamilyPolicy"] = policy;
    const given = textsOf(spec["clusterIPs"]).length > 0 ? textsOf(spec["clusterIPs"]) : [textOf(spec["clusterIP"])];
    let families = textsOf(spec["ipFamilies"]);
    if (families.length === 0) {
      const fromAddress = given.filter((address) => isIP(address) !== 0).map((address) => `IPv${isIP(address)}`);
      families = fromAddress.length > 0 ? fromAddress : [ranges[0]?.family ?? "IPv4"];
    }
    if (policy !== "SingleStack") {
      for (const range of ranges) if (!families.includes(range.family)) families.push(range.family);
    }
    spec["ipFamilies"] = families;
    if (given[0] === "None") {
      spec["clusterIP"] = "None";
      spec["clusterIPs"] = ["None"];
      return;
    }
    const used = new Set<string>();
    for (const other of services())
      for (const address of textsOf(objectOf(other["spec"])["clusterIPs"])) used.add(address);
    const addresses = families.map((family, index) => {
      const asked = given[index];
      if (asked !== undefined && asked !== "") return asked;
      const range = ranges.find((candidate) => candidate.family === family);
      return range === undefined ? "" : allocateAddress(range, used);
    });
    spec["clusterIP"] = addresses[0] ?? "";
    spec["clusterIPs"] = addresses.filter((address) => address !== "");
  };
  const completeNodePorts = (spec: JsonObject, service: KubeObject): void => {
    const used = new Set<unknown>();
    for (const other of services()) {
      if (other.metadata.uid === service.metadata.uid && other.metadata.uid !== undefined) continue;
      for (const port of objectsOf(objectOf(other["spec"])["ports"])) used.add(port["nodePort"]);
    }
    for (const port of objectsOf(spec["ports"])) if (port["nodePort"] !== undefined) used.add(port["nodePort"]);
    let next = NODE_PORTS.first;
    for (const port of objectsOf(spec["ports"])) {
      if (port["nodePort"] !== undefined && port["nodePort"] !== 0) continue;
      while (used.has(next) && next <= NODE_PORTS.last) next++;
      used.add(next);
      port["nodePort"] = next;
    }
  };
  return {
    prepareCreate(service) {
      complete(service);
      service["status"] = { loadBalancer: {} };
    },
    prepareUpdate(service, old) {
      const spec = childObject(service, "spec");
      const before = objectOf(old["spec"]);
      if (spec["type"] !== "ExternalName") {
        for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]) {
          if ((spec[field] === undefined || spec[field] === "") && before[field] !== undefined)
            spec[field] = before[field];
        }
        for (const port of objectsOf(spec["ports"])) {
          const same = objectsOf(before["ports"]).find(
            (item) => item["port"] === port["port"] && item["name"] === port["name"],
          );
          if (same?.["nodePort"] !== undefined && spec["type"] !== "ClusterIP") port["nodePort"] ??= same["nodePort"];
        }
      }
      complete(service);
      service["status"] = old["status"];
    },
    validate(service) {
      return validateService(objectOf(service["spec"]));
    },
    validateUpdate(service, old) {
      const after = objectOf(service["spec"]);
      const before = objectOf(old["spec"]);
      if (after["type"] === "ExternalName" || before["type"] === "ExternalName") return [];
      return after["clusterIP"] === before["clusterIP"]
        ? []
        : [fieldError.invalid("spec.clusterIPs[0]", after["clusterIP"], "may not change once set")];
    },
  };
}

function validateService(spec: JsonObject): StatusCause[] {
  const causes: StatusCause[] = [];
  if (!TYPES.includes(textOf(spec["type"]))) causes.push(fieldError.notSupported("spec.type", spec["type"], TYPES));
  if (spec["type"] === "ExternalName") {
    if (textOf(spec["externalName"]) === "") causes.push(fieldError.required("spec.externalName"));
    return causes;
  }
  const ports = listOf(spec["ports"]);
  if (ports.length === 0 && spec["clusterIP"] !== "None") causes.push(fieldError.required("spec.ports"));
  const seen = new Set<string>();
  ports.forEach((port, index) => {
    const field = `spec.ports[${index}]`;
    if (!isObject(port)) return void causes.push(fieldError.type(field, port, "must be an object"));
    const number = port["port"];
    if (typeof number !== "number" || !Number.isInteger(number) || number < 1 || number > 65_535) {
      causes.push(fieldError.invalid(`${field}.port`, number, "must be between 1 and 65535, inclusive"));
    }
    if (!["TCP", "UDP", "SCTP"].includes(textOf(port["protocol"]))) {
      causes.push(fieldError.notSupported(`${field}.protocol`, port["protocol"], ["SCTP", "TCP", "UDP"]));
    }
    const { targetPort } = port;
    const named =
      typeof targetPort === "string" && /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/.test(targetPort);
    if (!named && !(Number.isInteger(targetPort) && Number(targetPort) >= 1 && Number(targetPort) <= 65_535)) {
      causes.push(fieldError.invalid(`${field}.targetPort`, targetPort, "must be a port number or the name of a port"));
    }
    if (ports.length > 1 && textOf(port["name"]) === "") causes.push(fieldError.required(`${field}.name`));
    const key = `${textOf(port["protocol"])}/${String(number)}`;
    if (seen.has(key)) causes.push(fieldError.duplicate(field, key));
    seen.add(key);
    const nodePort = port["nodePort"];
    if (nodePort !== undefined && nodePort !== 0) {
      const valid = typeof nodePort === "number" && nodePort >= NODE_PORTS.first && nodePort <= NODE_PORTS.last;
      if (!valid) {
        causes.push(
          fieldError.invalid(
            `${field}.nodePort`,
            nodePort,
            `provided port is not in the valid range. The range of valid ports is ${NODE_PORTS.first}-${NODE_PORTS.last}`,
          ),
        );
      }
    }
  });
  textsOf(spec["clusterIPs"]).forEach((address, index) => {
    if (address !== "None" && isIP(address) === 0) {
      causes.push(fieldError.invalid(`spec.clusterIPs[${index}]`, address, "must be a valid IP address"));
    }
  });
  return causes;
}
