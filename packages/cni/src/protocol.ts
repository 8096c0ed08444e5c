/**
 * From environment variables and standard input to a checked operation (SPEC.md section 2). Pure. What comes in is
 * untrusted: every refusal is a CniError with the specification's code that names the variable or field.
 */
import type { PodReference, PreviousResult, ValidAttachment } from "./attachments.ts";
import { CNI_CODE, CniError } from "./errors.ts";
import { parsePreviousResult } from "./result.ts";
import { ENVIRONMENT_NAMES, type CniEnvironment, type EnvironmentName } from "./rpc.ts";
import { FEATURES, isSupported, SUPPORTED_VERSIONS, type CniVersion } from "./version.ts";

type Json = Readonly<Record<string, unknown>>;

const COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type Command = (typeof COMMANDS)[number];

/** What ADD, DEL and CHECK have in common. */
export interface AttachmentParameters {
  readonly version: CniVersion;
  readonly networkName: string;
  readonly containerId: string;
  readonly netns?: string;
  readonly ifname: string;
  readonly pod?: PodReference;
  readonly args: ReadonlyMap<string, string>;
  readonly runtimeConfig: Json;
  /** `dns` of the configuration. */
  readonly dns: Json;
  readonly config: Json;
}

/** A checked operation. */
export type Operation =
  | { readonly command: "VERSION"; readonly asked: unknown }
  | { readonly command: "ADD"; readonly parameters: AttachmentParameters; readonly previous?: PreviousResult }
  | { readonly command: "DEL"; readonly parameters: AttachmentParameters }
  | { readonly command: "CHECK"; readonly parameters: AttachmentParameters; readonly previous: PreviousResult }
  | {
      readonly command: "GC";
      readonly version: CniVersion;
      readonly networkName: string;
      readonly valid: readonly ValidAttachment[];
    }
  | { readonly command: "STATUS"; readonly version: CniVersion; readonly networkName: string };

const IDENTIFIER = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const MAX_IDENTIFIER = 255;
const MAX_PATH = 4096;
const MAX_ARGUMENTS = 64;
const MAX_ARGUMENT = 1024;
const MAX_ATTACHMENTS = 65_536;
/** Keys of CNI_ARGS that Kubernetes runtimes send; others need IgnoreUnknown. */
const KNOWN_ARGUMENTS = [
  "IgnoreUnknown",
  "K8S_POD_NAMESPACE",
  "K8S_POD_NAME",
  "K8S_POD_UID",
  "K8S_POD_INFRA_CONTAINER_ID",
];

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 200) ?? "nothing";
}

function badVariable(name: EnvironmentName, rule: string, value: string | undefined): CniError {
  return new CniError(CNI_CODE.invalidEnvironment, `invalid ${name}`, `${name} ${rule}; it is ${shown(value)}`);
}

function badField(field: string, rule: string, value: unknown): CniError {
  return new CniError(
    CNI_CODE.invalidConfiguration,
    "invalid network configuration",
    `${field} ${rule}; it is ${shown(value)}. The file is in /etc/cni/net.d; "fabric-node install-cni" writes a right one`,
  );
}

/** The version that a configuration asks for, if it is one that is served: for the `cniVersion` of errors. */
export function versionOf(stdin: string): CniVersion | undefined {
  try {
    const value = (JSON.parse(stdin) as { cniVersion?: unknown } | null)?.cniVersion;
    return isSupported(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the configuration as an object. Throws CniError 6. */
export function parseConfiguration(stdin: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (error) {
    throw new CniError(
      CNI_CODE.decodingFailure,
      "network configuration is not JSON",
      `standard input has ${stdin.length} characters: ${String(error)}`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CniError(CNI_CODE.decodingFailure, "network configuration is not an object", `it is ${shown(value)}`);
  }
  return value as Json;
}

function objectField(config: Json, field: string): Json {
  const value = config[field];
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw badField(field, "must be an object", value);
  return value as Json;
}

function checkedVersion(config: Json): CniVersion {
  // A configuration without a version is of a time before 0.2.0 (SPEC.md: 0.1.0 is meant).
  const version = config["cniVersion"] ?? "0.1.0";
  if (typeof version !== "string" || !/^\d{1,9}\.\d{1,9}\.\d{1,9}$/.test(version)) {
    throw new CniError(CNI_CODE.decodingFailure, "cniVersion is not a version", `it is ${shown(version)}`);
  }
  if (!isSupported(version)) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      "incompatible CNI version",
      `cniVersion of the network configuration is ${shown(version)}; this plug-in serves ${SUPPORTED_VERSIONS.join(", ")}`,
    );
  }
  return version;
}

function checkedName(config: Json): string {
  const name = config["name"];
  if (typeof name !== "string" || name.length > MAX_IDENTIFIER || !IDENTIFIER.test(name)) {
    throw badField("name", "must begin with a letter or digit and hold only those, '_', '.' and '-'", name);
  }
  return name;
}

function requireVariables(env: CniEnvironment, names: readonly EnvironmentName[]): void {
  const missing = names.filter((name) => (env[name] ?? "") === "");
  if (missing.length > 0) {
    throw new CniError(
      CNI_CODE.invalidEnvironment,
      `missing ${missing.join(", ")}`,
      `${env["CNI_COMMAND"]} needs the environment variables ${names.join(", ")}`,
    );
  }
}

/** Checks an interface name by SPEC.md and the kernel's rules. Throws CniError 4. */
function checkInterfaceName(name: string): void {
  const wrong =
    // oxlint-disable-next-line no-control-regex -- zero ends a name early in the kernel
    name === "." || name === ".." || /[/:\s\0]/.test(name);
  if (wrong) throw badVariable("CNI_IFNAME", "must not be '.' or '..' nor hold '/', ':' or white space", name);
  const bytes = encodeURIComponent(name.toWellFormed()).replace(/%[0-9A-F]{2}/g, "_").length;
  if (bytes > 15) throw badVariable("CNI_IFNAME", `must have at most 15 bytes, not ${bytes}`, name);
}

/** Reads CNI_ARGS, `KEY=VALUE;KEY=VALUE`. Throws CniError 4 unless `lenient`. */
export function parseArguments(text: string | undefined, lenient: boolean): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  if (text === undefined || text === "") return pairs;
  const parts = text.split(";", MAX_ARGUMENTS + 1);
  if (parts.length > MAX_ARGUMENTS && !lenient) {
    throw badVariable("CNI_ARGS", `must hold at most ${MAX_ARGUMENTS} pairs`, text);
  }
  for (const part of parts.slice(0, MAX_ARGUMENTS)) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    if (equals <= 0 || part.length > MAX_ARGUMENT) {
      if (lenient) continue;
      throw badVariable("CNI_ARGS", "must be KEY=VALUE pairs with ';' between them", text);
    }
    pairs.set(part.slice(0, equals), part.slice(equals + 1));
  }
  const ignore = /^(1|t|true)$/i.test(pairs.get("IgnoreUnknown") ?? "");
  const unknown = [...pairs.keys()].filter((key) => !KNOWN_ARGUMENTS.includes(key));
  if (unknown.length > 0 && !ignore && !lenient) {
    throw badVariable(
      "CNI_ARGS",
      `has keys that are not known here: ${unknown.join(", ")} (IgnoreUnknown=1 lets them pass)`,
      text,
    );
  }
  return pairs;
}

function podOf(args: ReadonlyMap<string, string>): PodReference | undefined {
  const namespace = args.get("K8S_POD_NAMESPACE") ?? "";
  const name = args.get("K8S_POD_NAME") ?? "";
  const uid = args.get("K8S_POD_UID") ?? "";
  if (namespace === "" || name === "") return undefined;
  return { namespace, name, ...(uid === "" ? {} : { uid }) };
}

function attachmentParameters(
  command: "ADD" | "DEL" | "CHECK",
  env: CniEnvironment,
  config: Json,
  version: CniVersion,
): AttachmentParameters {
  const names: EnvironmentName[] = ["CNI_CONTAINERID", "CNI_IFNAME"];
  // DEL has to succeed as far as possible, also for a container whose namespace is gone.
  if (command !== "DEL") names.splice(1, 0, "CNI_NETNS");
  requireVariables(env, names);
  const containerId = env["CNI_CONTAINERID"]!;
  if (!IDENTIFIER.test(containerId) || containerId.length > MAX_IDENTIFIER) {
    throw badVariable(
      "CNI_CONTAINERID",
      `must begin with a letter or digit, hold only those, '_', '.' and '-', and have at most ${MAX_IDENTIFIER} characters`,
      containerId,
    );
  }
  const ifname = env["CNI_IFNAME"]!;
  checkInterfaceName(ifname);
  const netns = env["CNI_NETNS"] ?? "";
  if (command !== "DEL" && (!netns.startsWith("/") || netns.length > MAX_PATH || netns.includes("\0"))) {
    throw badVariable("CNI_NETNS", "must be the absolute path of a network namespace", netns);
  }
  const args = parseArguments(env["CNI_ARGS"], command === "DEL");
  const pod = podOf(args);
  const usableNetns = netns.startsWith("/") && netns.length <= MAX_PATH && !netns.includes("\0");
  const runtimeConfig = command === "DEL" ? {} : objectField(config, "runtimeConfig");
  return {
    version,
    networkName: checkedName(config),
    containerId,
    ...(usableNetns ? { netns } : {}),
    ifname,
    ...(pod === undefined ? {} : { pod }),
    args,
    runtimeConfig,
    dns: command === "ADD" ? objectField(config, "dns") : {},
    config,
  };
}

function refuseDelegation(config: Json): void {
  const ipam = objectField(config, "ipam");
  const type = ipam["type"];
  if (type !== undefined && type !== "") {
    throw new CniError(
      CNI_CODE.unsupportedField,
      `unsupported field "ipam": ${shown(config["ipam"])}`,
      'addresses come from Subnet objects of the cluster: take "ipam" out of the network configuration',
    );
  }
}

function validAttachments(config: Json): ValidAttachment[] {
  const field = "cni.dev/valid-attachments";
  const list = Object.hasOwn(config, field) ? config[field] : config["cni.dev/attachments"];
  if (list === undefined) {
    // Taking a missing list for an empty one would detach every pod of the node.
    throw badField(field, "must be there: the list of attachments that stay", list);
  }
  if (list === null) return [];
  if (!Array.isArray(list) || list.length > MAX_ATTACHMENTS) {
    throw badField(field, `must be a list of at most ${MAX_ATTACHMENTS}`, list);
  }
  return list.map((entry: unknown, index) => {
    const { containerID, ifname } = (typeof entry === "object" && entry !== null ? entry : {}) as Json;
    if (typeof containerID !== "string" || containerID === "" || typeof ifname !== "string" || ifname === "") {
      throw badField(`${field}[${index}]`, "must have containerID and ifname", entry);
    }
    return { containerId: containerID, ifname };
  });
}

/** Reads and checks an operation. Throws CniError. */
export function parseOperation(env: CniEnvironment, stdin: string): Operation {
  for (const name of ENVIRONMENT_NAMES) {
    if ((env[name] ?? "").includes("\0")) throw badVariable(name, "must not hold a zero byte", env[name]);
  }
  const command = env["CNI_COMMAND"] ?? "";
  if (!(COMMANDS as readonly string[]).includes(command)) {
    throw badVariable("CNI_COMMAND", `must be one of ${COMMANDS.join(", ")}`, command);
  }
  if (command === "VERSION") {
    return { command, asked: stdin.trim() === "" ? undefined : parseConfiguration(stdin)["cniVersion"] };
  }
  const config = parseConfiguration(stdin);
  const version = checkedVersion(config);
  const features = FEATURES[version];
  if (
    (command === "CHECK" && !features.check) ||
    ((command === "GC" || command === "STATUS") && !features.gcAndStatus)
  ) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `CNI version ${version} has no ${command}`,
      `the network configuration asks for cniVersion ${version}; ${command} needs ${command === "CHECK" ? "0.4.0" : "1.1.0"} or later`,
    );
  }
  switch (command as Exclude<Command, "VERSION">) {
    case "ADD": {
      refuseDelegation(config);
      const parameters = attachmentParameters("ADD", env, config, version);
      const given = config["prevResult"];
      return given === undefined || given === null
        ? { command: "ADD", parameters }
        : { command: "ADD", parameters, previous: parsePreviousResult(given) };
    }
    case "CHECK": {
      const parameters = attachmentParameters("CHECK", env, config, version);
      if (config["prevResult"] === undefined || config["prevResult"] === null) {
        throw badField("prevResult", "must be there for CHECK", config["prevResult"]);
      }
      return { command: "CHECK", parameters, previous: parsePreviousResult(config["prevResult"]) };
    }
    case "DEL":
      return { command: "DEL", parameters: attachmentParameters("DEL", env, config, version) };
    case "GC":
      return { command: "GC", version, networkName: checkedName(config), valid: validAttachments(config) };
    case "STATUS":
      return { command: "STATUS", version, networkName: checkedName(config) };
  }
}
