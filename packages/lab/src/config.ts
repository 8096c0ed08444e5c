import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { load, loadAll } from "js-yaml";
import { LabError, messageOf } from "./errors.ts";
import { MAX_NODE_NUMBER } from "./names.ts";

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
  const config: LabConfig = {
    nodes: count("nodes", 1, MAX_NODE_NUMBER),
    hosts: count("hosts", 0, 50),
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
