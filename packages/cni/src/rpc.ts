/**
 * The contract between the executable `fabric-cni` and the agent: over a unix stream socket one line of JSON there, one
 * line of JSON back, then the connection ends. While it works on a request the agent sends a space now and then, which
 * JSON ignores in front of a value: a caller can tell an agent that is busy from one that hangs. Pure, and free of
 * anything that only Node has, because the executable runs elsewhere.
 */

/** Version of this contract. */
export const RPC_VERSION = 1;

/** Where the agent listens when the network configuration does not say. */
export const DEFAULT_SOCKET = "/run/beyondfabric/cni.sock";

/** The network configuration may have this many bytes. */
export const MAX_STDIN_BYTES = 1 << 20;

/** A request as a line: JSON escapes make it longer than the configuration in it. */
export const MAX_REQUEST_BYTES = 2 << 20;

/** A response as a line. */
export const MAX_RESPONSE_BYTES = 1 << 20;

/** How long the executable waits for any byte from the agent. Below 5 s, so that its own answer is out within 5 s. */
export const SILENCE_MILLISECONDS = 4_500;

/** How often a working agent lets hear from it. */
export const HEARTBEAT_MILLISECONDS = 1_000;

/** How long the executable waits in all; below the two minutes that kubelet gives a runtime. */
export const TOTAL_MILLISECONDS = 110_000;

/** The environment variables that belong to the protocol; the only ones that are passed on. */
export const ENVIRONMENT_NAMES = [
  "CNI_COMMAND",
  "CNI_CONTAINERID",
  "CNI_NETNS",
  "CNI_IFNAME",
  "CNI_ARGS",
  "CNI_PATH",
  "CNI_NETNS_OVERRIDE",
] as const;

export type EnvironmentName = (typeof ENVIRONMENT_NAMES)[number];
export type CniEnvironment = Partial<Record<EnvironmentName, string>>;

/** What the executable was called with. */
export interface CallRequest {
  readonly version: typeof RPC_VERSION;
  readonly env: CniEnvironment;
  /** The network configuration, as read. */
  readonly stdin: string;
}

/** What the executable does with it: prints `stdout` and ends with `exitCode`. */
export interface CallResponse {
  readonly exitCode: number;
  readonly stdout: string;
}

/** A line that is no request, or no response, of this contract. */
export class RpcError extends Error {
  readonly code = "CNI_RPC";
  constructor(message: string) {
    super(message);
    this.name = "RpcError";
  }
}

function parseRecord(line: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new RpcError(`${what} is not JSON: ${String(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new RpcError(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** One line, with its end. */
export function encodeRequest(env: CniEnvironment, stdin: string): string {
  return `${JSON.stringify({ version: RPC_VERSION, env, stdin })}\n`;
}

/** Reads a request's line. Throws RpcError. */
export function decodeRequest(line: string): CallRequest {
  const { version, env, stdin } = parseRecord(line, "the request");
  if (version !== RPC_VERSION) {
    throw new RpcError(
      `the executable speaks version ${JSON.stringify(version)} of the contract, this agent ${RPC_VERSION}: run "fabric-node install-cni"`,
    );
  }
  if (typeof stdin !== "string") throw new RpcError("the request has no stdin");
  if (typeof env !== "object" || env === null || Array.isArray(env))
    throw new RpcError("the request has no environment");
  const known: CniEnvironment = {};
  for (const name of ENVIRONMENT_NAMES) {
    const value = (env as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (typeof value !== "string") throw new RpcError(`${name} of the request is not text`);
    known[name] = value;
  }
  return { version: RPC_VERSION, env: known, stdin };
}

/** One line, with its end. */
export function encodeResponse(response: CallResponse): string {
  return `${JSON.stringify(response)}\n`;
}

/** Reads a response's line. Throws RpcError. */
export function decodeResponse(line: string): CallResponse {
  const { exitCode, stdout } = parseRecord(line, "the response");
  if (typeof exitCode !== "number" || !Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255) {
    throw new RpcError("the response has no exit code");
  }
  if (typeof stdout !== "string") throw new RpcError("the response has no output");
  return { exitCode, stdout };
}
