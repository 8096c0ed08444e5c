/** The versions of the CNI specification, and what differs between them. */

/** Versions that are served, oldest first. */
export const SUPPORTED_VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof SUPPORTED_VERSIONS)[number];

/** The version that is used when the caller's is unknown. */
export const LATEST_VERSION: CniVersion = "1.1.0";

/** What a version of the specification has. */
export interface VersionFeatures {
  /** The CHECK operation. */
  readonly check: boolean;
  /** The GC and STATUS operations. */
  readonly gcAndStatus: boolean;
  /** `ips[]` say "4" or "6" in `version`. */
  readonly familyInIps: boolean;
  /** Keys of an interface in a result. */
  readonly interfaceKeys: readonly string[];
  /** Keys of a route in a result. */
  readonly routeKeys: readonly string[];
}

const oldInterface = ["name", "mac", "sandbox"];
const newInterface = ["name", "mac", "mtu", "sandbox", "socketPath", "pciID"];
const oldRoute = ["dst", "gw"];
const newRoute = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];

export const FEATURES: Readonly<Record<CniVersion, VersionFeatures>> = {
  "0.3.1": { check: false, gcAndStatus: false, familyInIps: true, interfaceKeys: oldInterface, routeKeys: oldRoute },
  "0.4.0": { check: true, gcAndStatus: false, familyInIps: true, interfaceKeys: oldInterface, routeKeys: oldRoute },
  "1.0.0": { check: true, gcAndStatus: false, familyInIps: false, interfaceKeys: oldInterface, routeKeys: oldRoute },
  "1.1.0": { check: true, gcAndStatus: true, familyInIps: false, interfaceKeys: newInterface, routeKeys: newRoute },
};

export function isSupported(version: unknown): version is CniVersion {
  return (SUPPORTED_VERSIONS as readonly unknown[]).includes(version);
}
