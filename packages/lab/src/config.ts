import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { load, loadAll } from "js-yaml";
import { LabError, messageOf } from "./errors.ts";
import { AddressError, parseCidr } from "@beyondfabric/packet";
import { MAX_HOST_NUMBER, MAX_NODE_NUMBER } from "./names.ts";
import { fitsHosts, type Vlan, WIRE_IPV4, WIRE_IPV6 } from "./topology/address-plan.ts";

export type ControlPlaneKind = "embedded" | "kubernetes";

/** A Kubernetes object of a manifest; the API server checks the rest of it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

/** Another network plug-in in the place of BeyondFabric: nodes then run neither an agent nor anything of ours in their switch. */
export interface OtherPlugin {
  readonly binDirectory: string;
  /** CNI configuration list; `${node}`, `${number}` and `${directory}` in it become the node's name, number and folder. */
  readonly conflist: Readonly<Record<string, unknown>>;
}

/** What a lab is made from; the keys of the file given with --config. */
export interface LabConfig {
  readonly nodes: number;
  readonly hosts: number;
  /** VLANs of the wire; with any there is a router between them, and each node has a third NIC that carries them. */
  readonly vlans: readonly Vlan[];
  readonly controlPlane: ControlPlaneKind;
  /** Laid over the generated configuration of every agent. */
  readonly agent: Readonly<Record<string, unknown>>;
  /** Applied at `up` in place of the default Network and Subnet. */
  readonly manifests: readonly Manifest[] | undefined;
  readonly cni: OtherPlugin | undefined;
}

const DEFAULTS: LabConfig = {
  nodes: 3,
  hosts: 2,
  vlans: [],
  controlPlane: "embedded",
  agent: {},
  manifests: undefined,
  cni: undefined,
};

/** What `up` says on its command line; it wins over the file. */
export interface LabOverrides {
  readonly nodes?: number;
  readonly controlPlane?: string;
}

/** Reads a configuration file; without one the defaults hold. `LAB_BAD_CONFIG` names file, key, rule and remedy. */
export function readLabConfig(file: string | undefined, overrides: LabOverrides = {}): LabConfig {
  const source = file ?? "command line";
  let document: unknown;
  if (file !== undefined) {
    try {
      // Through JSON: the supervisor gets it so, and YAML can name a value inside of itself, which has no end.
      document = JSON.parse(JSON.stringify(load(readFileSync(file, "utf8")) ?? null));
    } catch (error) {
      throw new LabError("LAB_BAD_CONFIG", `${file}: ${messageOf(error)}`, { cause: error });
    }
  }
  return parseLabConfig(document ?? {}, source, file === undefined ? process.cwd() : dirname(resolve(file)), overrides);
}

/** Checks a configuration; manifests given as paths are relative to `base`. */
export function parseLabConfig(
  document: unknown,
  source: string,
  base: string,
  overrides: LabOverrides = {},
): LabConfig {
  const problems: string[] = [];
  const refuse = (key: string, rule: string) => problems.push(`${source}: ${key}: ${rule}`);
  const record = asRecord(document);
  if (record === undefined)
    throw new LabError("LAB_BAD_CONFIG", `${source}: must be a mapping of keys such as "nodes: 3"`);
  const known = Object.keys(DEFAULTS);
  for (const key of Object.keys(record))
    if (!known.includes(key)) refuse(key, `is not a key of a lab; known are ${known.join(", ")}`);
  const count = (key: "nodes" | "hosts", minimum: number, maximum: number): number => {
    const value = (key === "nodes" ? overrides.nodes : undefined) ?? record[key] ?? DEFAULTS[key];
    if (typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    refuse(key, `must be a whole number from ${minimum} to ${maximum}, not ${JSON.stringify(value)}`);
    return DEFAULTS[key];
  };
  const controlPlane = overrides.controlPlane ?? record["controlPlane"] ?? DEFAULTS.controlPlane;
  if (controlPlane !== "embedded" && controlPlane !== "kubernetes")
    refuse("controlPlane", `must be "embedded" or "kubernetes", not ${JSON.stringify(controlPlane)}`);
  const agent = asRecord(record["agent"] ?? {});
  if (agent === undefined) refuse("agent", "must be a mapping of keys of the agent's own configuration");
  const hosts = count("hosts", 0, MAX_HOST_NUMBER);
  const config: LabConfig = {
    nodes: count("nodes", 1, MAX_NODE_NUMBER),
    hosts,
    vlans: vlansOf(record["vlans"], hosts, refuse),
    controlPlane: controlPlane === "kubernetes" ? "kubernetes" : "embedded",
    agent: agent ?? {},
    manifests: manifestsOf(record["manifests"], base, refuse),
    cni: otherPlugin(record["cni"], refuse),
  };
  if (problems.length > 0) throw new LabError("LAB_BAD_CONFIG", problems.join("\n"));
  return config;
}

function otherPlugin(value: unknown, refuse: (key: string, rule: string) => void): OtherPlugin | undefined {
  if (value === undefined || value === null) return undefined;
  const record = asRecord(value);
  const conflist = asRecord(record?.["conflist"]);
  const binDirectory = record?.["binDirectory"];
  if (conflist === undefined || typeof binDirectory !== "string" || !binDirectory.startsWith("/")) {
    refuse("cni", "must have an absolute binDirectory and a conflist");
    return undefined;
  }
  return { binDirectory, conflist };
}

function vlansOf(value: unknown, untagged: number, refuse: (key: string, rule: string) => void): Vlan[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > MAX_VLANS) {
    refuse("vlans", `must be a list of at most ${MAX_VLANS} VLANs, each with id, cidrs and hosts`);
    return [];
  }
  const vlans: Vlan[] = [];
  let hosts = untagged;
  for (const [position, item] of (value as unknown[]).entries()) {
    const record = asRecord(item) ?? {};
    const key = `vlans[${position}]`;
    const { id, cidrs, hosts: count = 1, ...unknown } = record;
    for (const name of Object.keys(unknown))
      refuse(`${key}.${name}`, "is not a key of a VLAN; known are id, cidrs, hosts");
    const idIsSound = typeof id === "number" && Number.isInteger(id) && id >= 1 && id <= 4094;
    if (!idIsSound) refuse(`${key}.id`, "must be a whole number from 1 to 4094");
    else if (vlans.some((vlan) => vlan.id === id)) refuse(`${key}.id`, `is ${id}, which another VLAN has already`);
    const pair = vlanCidrs(cidrs);
    if (pair === undefined) {
      refuse(
        `${key}.cidrs`,
        "must be an IPv4 and an IPv6 CIDR of at most 24 and 64 bits, such as [10.30.0.0/24, fd00:30::/64]",
      );
    } else if (pair.includes(WIRE_IPV4) || pair.includes(WIRE_IPV6)) {
      refuse(`${key}.cidrs`, `must not be ${WIRE_IPV4} or ${WIRE_IPV6}: those are untagged`);
    }
    const countIsSound = typeof count === "number" && Number.isInteger(count) && count >= 0;
    if (!countIsSound) refuse(`${key}.hosts`, "must be a whole number");
    else if ((hosts += count) > MAX_HOST_NUMBER) refuse(`${key}.hosts`, `makes more than ${MAX_HOST_NUMBER} hosts`);
    if (idIsSound && pair !== undefined && countIsSound) vlans.push({ id, cidrs: pair, hosts: count });
  }
  return vlans;
}

/** The wire's port names and the router's NICs are made of the VLAN; this many is plenty for a lab. */
const MAX_VLANS = 16;

function vlanCidrs(value: unknown): [string, string] | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const texts = value as unknown[];
  if (!texts.every((text) => typeof text === "string")) return undefined;
  try {
    const [ipv4, ipv6] = [
      texts.find((text) => parseCidr(text).family === 4),
      texts.find((text) => parseCidr(text).family === 6),
    ];
    if (ipv4 === undefined || ipv6 === undefined || !fitsHosts(ipv4) || !fitsHosts(ipv6)) return undefined;
    return [ipv4, ipv6];
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

function manifestsOf(
  value: unknown,
  base: string,
  refuse: (key: string, rule: string) => void,
): Manifest[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) {
    refuse("manifests", "must be a list of objects and file names");
    return undefined;
  }
  const manifests: Manifest[] = [];
  for (const [position, item] of (value as unknown[]).entries()) {
    try {
      if (typeof item === "string") manifests.push(...readManifests(resolve(base, item)));
      else manifests.push(asManifest(item, `manifests[${position}]`));
    } catch (error) {
      refuse(`manifests[${position}]`, messageOf(error));
    }
  }
  return manifests;
}

/** All objects of a YAML file. `LAB_BAD_MANIFEST` names the file and the document. */
export function readManifests(file: string): Manifest[] {
  let documents: unknown[];
  try {
    documents = loadAll(readFileSync(file, "utf8"));
  } catch (error) {
    throw new LabError("LAB_BAD_MANIFEST", `${file}: ${messageOf(error)}`, { cause: error });
  }
  return documents
    .filter((document) => document !== null && document !== undefined)
    .map((document, index) => asManifest(document, `${file} document ${index + 1}`));
}

function asManifest(value: unknown, source: string): Manifest {
  const record = asRecord(value);
  const metadata = asRecord(record?.["metadata"]);
  if (
    typeof record?.["apiVersion"] !== "string" ||
    typeof record["kind"] !== "string" ||
    typeof metadata?.["name"] !== "string"
  ) {
    throw new LabError("LAB_BAD_MANIFEST", `${source}: an object needs apiVersion, kind and metadata.name`);
  }
  return record as unknown as Manifest;
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Fills the placeholders of a {@link OtherPlugin} configuration for one node. */
export function conflistFor(plugin: OtherPlugin, node: string, number: number, directory: string): string {
  const values: Readonly<Record<string, string>> = { node, number: String(number), directory };
  return JSON.stringify(plugin.conflist, null, 2).replaceAll(
    /\$\{(node|number|directory)\}/g,
    (_all, key: string) => values[key]!,
  );
}

/** Lays `over` over `under`: mappings are merged, everything else is replaced. */
export function overlay(
  under: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const result: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = asRecord(result[key]);
    const above = asRecord(value);
    result[key] = below !== undefined && above !== undefined ? overlay(below, above) : value;
  }
  return result;
}
