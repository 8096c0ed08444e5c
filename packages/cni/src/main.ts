/**
 * The executable `fabric-cni`: passes what it was called with to the agent of the node and prints the answer. Everything
 * that can be decided without the agent is: VERSION, input that cannot be read, an agent that is not there. Compiled to
 * QuickJS bytecode in a static executable (tools/build-cni.sh), because a runtime starts it several times per pod.
 */
import * as std from "std";
import * as uds from "uds.so";
import { CNI_CODE, CniError } from "./errors.ts";
import { formatError, formatVersion } from "./result.ts";
import {
  type CallResponse,
  type CniEnvironment,
  decodeResponse,
  DEFAULT_SOCKET,
  encodeRequest,
  ENVIRONMENT_NAMES,
  MAX_RESPONSE_BYTES,
  MAX_STDIN_BYTES,
  SILENCE_MILLISECONDS,
  TOTAL_MILLISECONDS,
} from "./rpc.ts";
import { isSupported, SUPPORTED_VERSIONS, type CniVersion } from "./version.ts";

/** What is needed of the network configuration here. */
interface Configuration {
  readonly cniVersion?: unknown;
  readonly socket?: unknown;
}

let version: CniVersion | undefined;

function environment(): CniEnvironment {
  const env: CniEnvironment = {};
  for (const name of ENVIRONMENT_NAMES) {
    const value = std.getenv(name);
    if (value !== undefined) env[name] = value;
  }
  return env;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function readStdin(): string {
  try {
    return uds.readInput(MAX_STDIN_BYTES, SILENCE_MILLISECONDS);
  } catch (error) {
    const reason = reasonOf(error);
    const rule = reason.startsWith("LIMIT") ? `it may have ${MAX_STDIN_BYTES} bytes` : "the runtime must close it";
    throw new CniError(
      CNI_CODE.ioFailure,
      "cannot read the network configuration",
      `standard input: ${reason}; ${rule}`,
    );
  }
}

function parse(stdin: string): Configuration {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (error) {
    throw new CniError(
      CNI_CODE.decodingFailure,
      "network configuration is not JSON",
      `standard input: ${reasonOf(error)}`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CniError(
      CNI_CODE.decodingFailure,
      "network configuration is not an object",
      "standard input holds another value",
    );
  }
  return value;
}

function socketOf(configuration: Configuration): string {
  const socket = configuration.socket ?? DEFAULT_SOCKET;
  if (typeof socket === "string" && socket.startsWith("/") && !socket.includes("\0")) return socket;
  throw new CniError(
    CNI_CODE.invalidConfiguration,
    "invalid network configuration",
    `socket must be an absolute path; it is ${JSON.stringify(socket)?.slice(0, 200)}`,
  );
}

function ask(command: string, socket: string, request: string): CallResponse {
  try {
    return decodeResponse(uds.exchange(socket, request, SILENCE_MILLISECONDS, TOTAL_MILLISECONDS, MAX_RESPONSE_BYTES));
  } catch (error) {
    // STATUS has codes of its own; without an agent established traffic goes on, and first packets do not.
    const code = command === "STATUS" ? CNI_CODE.limitedConnectivity : CNI_CODE.tryAgainLater;
    throw new CniError(
      code,
      "the agent fabric-node does not answer",
      `${socket}: ${reasonOf(error)}. Look at the fabric-node pod of this node and its log; if it runs, compare cni.socket of ` +
        `its configuration with "socket" in /etc/cni/net.d/10-beyondfabric.conflist`,
    );
  }
}

function call(): CallResponse {
  const env = environment();
  const command = env.CNI_COMMAND ?? "";
  if (command === "") {
    std.err.puts(`fabric-cni: CNI plug-in of BeyondFabric, for CNI ${SUPPORTED_VERSIONS.join(", ")}\n`);
    throw new CniError(
      CNI_CODE.invalidEnvironment,
      "missing CNI_COMMAND",
      "a container runtime starts this program with CNI_COMMAND and other variables in the environment",
    );
  }
  const stdin = readStdin();
  if (command === "VERSION") {
    return { exitCode: 0, stdout: formatVersion(stdin.trim() === "" ? undefined : parse(stdin).cniVersion) };
  }
  const configuration = parse(stdin);
  if (isSupported(configuration.cniVersion)) version = configuration.cniVersion;
  return ask(command, socketOf(configuration), encodeRequest(env, stdin));
}

let response: CallResponse;
try {
  response = call();
} catch (error) {
  const refusal =
    error instanceof CniError ? error : new CniError(CNI_CODE.internal, "internal error", reasonOf(error));
  response = { exitCode: 1, stdout: formatError(version, refusal) };
}
if (response.stdout !== "") std.out.puts(`${response.stdout}\n`);
std.out.flush();
std.exit(response.exitCode);
