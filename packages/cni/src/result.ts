/** Results and errors as each version of SPEC.md wants them printed (section 5). Pure. */
import type { Attachment, PreviousResult, ResultInterface, ResultIp, ResultRoute } from "./attachments.ts";
import { CNI_CODE, CniError } from "./errors.ts";
import { FEATURES, LATEST_VERSION, SUPPORTED_VERSIONS, type CniVersion } from "./version.ts";

const MAX_LIST = 1024;

type Json = Record<string, unknown>;

function invalid(where: string, rule: string, value: unknown): CniError {
  return new CniError(
    CNI_CODE.invalidConfiguration,
    "invalid prevResult",
    `${where} ${rule}; it is ${JSON.stringify(value)?.slice(0, 200)}. The runtime must pass on the result of ADD unchanged.`,
  );
}

function objectsOf(value: unknown, where: string): Json[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > MAX_LIST)
    throw invalid(where, `must be a list of at most ${MAX_LIST}`, value);
  return value.map((entry: unknown, index) => {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
      throw invalid(`${where}[${index}]`, "must be an object", entry);
    }
    return entry as Json;
  });
}

function pick(entry: Json, where: string, texts: readonly string[], numbers: readonly string[]): Json {
  const picked: Json = {};
  for (const key of texts) {
    const value = entry[key];
    if (value === undefined || value === null || value === "") continue;
    if (typeof value !== "string") throw invalid(`${where}.${key}`, "must be text", value);
    picked[key] = value;
  }
  for (const key of numbers) {
    const value = entry[key];
    if (value === undefined || value === null) continue;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
      throw invalid(`${where}.${key}`, "must be a whole number that is not negative", value);
    }
    picked[key] = value;
  }
  return picked;
}

function required(entry: Json, key: string, where: string): void {
  if (entry[key] === undefined) throw invalid(`${where}.${key}`, "must be there", entry[key]);
}

/** Reads `prevResult` of any supported version. Throws CniError 7 that names the field. */
export function parsePreviousResult(value: unknown): PreviousResult {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("prevResult", "must be an object", value);
  }
  const source = value as Json;
  const interfaces = objectsOf(source["interfaces"], "prevResult.interfaces").map((entry, index) => {
    const where = `prevResult.interfaces[${index}]`;
    const picked = pick(entry, where, ["name", "mac", "sandbox", "socketPath", "pciID"], ["mtu"]);
    required(picked, "name", where);
    return picked as unknown as ResultInterface;
  });
  const ips = objectsOf(source["ips"], "prevResult.ips").map((entry, index) => {
    const where = `prevResult.ips[${index}]`;
    const picked = pick(entry, where, ["address", "gateway"], ["interface"]);
    required(picked, "address", where);
    const target = picked["interface"];
    if (typeof target === "number" && target >= interfaces.length) {
      throw invalid(`${where}.interface`, `must be an index into the ${interfaces.length} interfaces`, target);
    }
    return picked as unknown as ResultIp;
  });
  const routes = objectsOf(source["routes"], "prevResult.routes").map((entry, index) => {
    const where = `prevResult.routes[${index}]`;
    const picked = pick(entry, where, ["dst", "gw"], ["mtu", "advmss", "priority", "table", "scope"]);
    required(picked, "dst", where);
    return picked as unknown as ResultRoute;
  });
  const dns = source["dns"];
  if (dns !== undefined && dns !== null && (typeof dns !== "object" || Array.isArray(dns))) {
    throw invalid("prevResult.dns", "must be an object", dns);
  }
  return { interfaces, ips, routes, dns: (dns ?? {}) as Json };
}

/** Our attachment behind what earlier plug-ins of the chain made (SPEC.md section 5: prevResult goes into the result). */
export function mergeResult(
  previous: PreviousResult | undefined,
  attachment: Attachment,
  configuredDns: Json,
): PreviousResult {
  const before = previous?.interfaces ?? [];
  const { hostInterface, podInterface } = attachment;
  return {
    interfaces: [
      ...before,
      { name: hostInterface.name, mac: hostInterface.mac },
      { name: podInterface.name, mac: podInterface.mac, mtu: podInterface.mtu, sandbox: podInterface.sandbox },
    ],
    ips: [...(previous?.ips ?? []), ...attachment.ips.map((ip) => ({ ...ip, interface: before.length + 1 }))],
    routes: [...(previous?.routes ?? []), ...attachment.routes],
    dns: { ...previous?.dns, ...configuredDns, ...attachment.dns },
  };
}

function only(entry: object, keys: readonly string[]): Json {
  const kept: Json = {};
  for (const key of keys) {
    const value = (entry as Json)[key];
    if (value !== undefined) kept[key] = value;
  }
  return kept;
}

/** The output of a successful ADD in a version's shape. */
export function formatResult(version: CniVersion, result: PreviousResult): string {
  const features = FEATURES[version];
  return JSON.stringify({
    cniVersion: version,
    interfaces: result.interfaces.map((entry) => only(entry, features.interfaceKeys)),
    ips: result.ips.map((entry) => ({
      ...(features.familyInIps ? { version: entry.address.includes(":") ? "6" : "4" } : {}),
      ...only(entry, ["address", "gateway", "interface"]),
    })),
    routes: result.routes.map((entry) => only(entry, features.routeKeys)),
    dns: result.dns,
  });
}

/** The output of any operation that failed. */
export function formatError(version: CniVersion | undefined, error: CniError): string {
  return JSON.stringify({
    cniVersion: version ?? LATEST_VERSION,
    code: error.code,
    msg: error.message,
    ...(error.details === "" ? {} : { details: error.details }),
  });
}

/** The output of VERSION; `asked` is `cniVersion` of the input. */
export function formatVersion(asked: unknown): string {
  return JSON.stringify({
    cniVersion: typeof asked === "string" && /^\d{1,4}\.\d{1,4}\.\d{1,4}$/.test(asked) ? asked : LATEST_VERSION,
    supportedVersions: SUPPORTED_VERSIONS,
  });
}
