/** What the container runtime is told when something went wrong: the specification's codes, and what to do. */
import { CNI_CODE, CniError } from "@beyondfabric/cni";

export const retryRemedy = "the runtime tries again by itself; if it stays, see the log of fabric-node";

/** What mends itself when others have done their part. */
const waits: ReadonlySet<string> = new Set(["AGENT_API_NEEDED", "AGENT_GRANT_PENDING", "AGENT_NETWORK_ABSENT"]);

/** What the database client says when Open vSwitch is away, or went away in the middle. */
const absences: ReadonlySet<string> = new Set([
  "OVSDB_DISCONNECTED",
  "OVSDB_FATE_UNKNOWN",
  "OVSDB_TIMEOUT",
  "OVSDB_SWITCH_TIMEOUT",
]);

/** The error that a container runtime is to see, with the code that the specification has for it. */
export function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  const { message, code } = error as { message?: string; code?: string };
  if (code === "LINK_NO_NAMESPACE")
    return new CniError(CNI_CODE.noNamespace, message ?? "", retryRemedy, { cause: error });
  if (code === "LINK_EXISTS")
    return new CniError(CNI_CODE.interfaceExists, message ?? "", retryRemedy, { cause: error });
  if (code === "AGENT_ADDRESS_CONFLICT")
    return new CniError(CNI_CODE.noAddress, `${code}: ${message}`, retryRemedy, { cause: error });
  if (code?.startsWith("IPAM_") === true || code === "AGENT_NO_SUBNET") {
    const remedy = "`kubectl get ipaddresses.beyondfabric.io,addressblocks` shows who has what";
    return new CniError(CNI_CODE.noAddress, `${code}: ${message}`, remedy, { cause: error });
  }
  if (code !== undefined && (code.startsWith("KUBE_") || waits.has(code))) {
    return new CniError(CNI_CODE.tryAgainLater, `${code}: ${message}`, retryRemedy, { cause: error });
  }
  if (code !== undefined && absences.has(code))
    return new CniError(CNI_CODE.tryAgainLater, `Open vSwitch does not answer: ${code}: ${message}`, retryRemedy, {
      cause: error,
    });
  const text = message ?? String(error);
  return new CniError(CNI_CODE.internal, code === undefined ? text : `${code}: ${text}`, retryRemedy, { cause: error });
}
