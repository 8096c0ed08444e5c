/** Credential plug-ins of a kubeconfig: `client.authentication.k8s.io` ExecCredential, v1 and v1beta1. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { systemClock, type Clock } from "./clock.ts";
import { checkedToken, pairProblem, type Credentials, type CredentialSource } from "./credentials.ts";
import { KubeError } from "./errors.ts";

export const execApiVersions: readonly string[] = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

export interface ExecPlugin {
  readonly apiVersion: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** What its author says to those who do not have it. */
  readonly installHint?: string;
  /** `spec.cluster`, for a plug-in that wants it. */
  readonly cluster?: Readonly<Record<string, unknown>>;
}

interface Issued {
  readonly credentials: Credentials;
  /** ms since 1970 */
  readonly expires: number;
}

const run = promisify(execFile);
/** A credential that ends within this time (ms) is renewed now. */
const expiryMargin = 10_000;
/** ms */
const runTimeout = 30_000;
const maxOutputBytes = 1024 * 1024;

/** Runs the plug-in when there is no credential, or when it ends soon or was refused; never twice at a time. */
export function execCredentials(plugin: ExecPlugin, clock: Clock = systemClock): CredentialSource {
  let issued: Issued | undefined;
  let running: Promise<Issued> | undefined;
  return {
    async read() {
      const now = clock.now();
      if (issued !== undefined && now < issued.expires - expiryMargin) return issued.credentials;
      running ??= issue(plugin).finally(() => {
        running = undefined;
      });
      try {
        issued = await running;
      } catch (error) {
        if (issued === undefined || now >= issued.expires) throw error;
      }
      return issued.credentials;
    },
    rejected({ token, certificate }) {
      if (issued?.credentials.token === token && issued?.credentials.certificate === certificate) issued = undefined;
    },
  };
}

async function issue(plugin: ExecPlugin): Promise<Issued> {
  const { apiVersion, program, args, environment, installHint, cluster } = plugin;
  const fail = (problem: string, cause?: unknown): KubeError =>
    new KubeError("KUBE_CREDENTIALS", `credential plug-in ${program} ${problem}`, { cause });
  const info = {
    apiVersion,
    kind: "ExecCredential",
    spec: { interactive: false, ...(cluster === undefined ? {} : { cluster }) },
  };
  const env = { ...process.env, ...environment, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
  let stdout: string;
  try {
    const running = run(program, args, { env, timeout: runTimeout, maxBuffer: maxOutputBytes, killSignal: "SIGKILL" });
    running.child.stdin?.end();
    ({ stdout } = await running);
  } catch (cause) {
    const { code, killed, stderr } = cause as { code?: string | number; killed?: boolean; stderr?: string };
    if (code === "ENOENT") {
      throw fail(`is not there; ${installHint?.trim() ?? "install it, or correct the exec section of the kubeconfig"}`);
    }
    const why = stderr?.trim().slice(-1000) ?? "";
    const how = killed === true && code === null ? `did not end within ${runTimeout} ms` : `failed (${code})`;
    throw fail(why === "" ? how : `${how}: ${why}`);
  }
  let output: unknown;
  try {
    output = JSON.parse(stdout);
  } catch {
    // The parser's message would quote from what may be a secret.
    throw fail("printed something that is no JSON; it must print an ExecCredential");
  }
  return read(output, apiVersion, fail);
}

function read(output: unknown, apiVersion: string, fail: (problem: string) => KubeError): Issued {
  const { kind, apiVersion: version, status } = (output ?? {}) as Readonly<Record<string, unknown>>;
  if (kind !== "ExecCredential" || version !== apiVersion) {
    throw fail(
      `printed ${JSON.stringify(version)} ${JSON.stringify(kind)} instead of an ExecCredential of ${apiVersion}`,
    );
  }
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = (status ?? {}) as Record<
    string,
    unknown
  >;
  const certificate = textOf(clientCertificateData);
  const key = textOf(clientKeyData);
  if ((certificate === undefined) !== (key === undefined)) {
    throw fail("gave one of clientCertificateData and clientKeyData without the other");
  }
  if (textOf(token) === undefined && certificate === undefined) throw fail("gave neither a token nor a certificate");
  if (certificate !== undefined && key !== undefined) {
    const problem = pairProblem(certificate, key);
    if (problem !== undefined) throw fail(`gave a certificate that cannot be used: ${problem}`);
  }
  const expires = textOf(expirationTimestamp);
  const ends = expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires);
  if (Number.isNaN(ends)) throw fail(`gave an expirationTimestamp that is no time: ${JSON.stringify(expires)}`);
  return {
    credentials: {
      ...(typeof token === "string" && token !== "" ? { token: tokenOf(token, fail) } : {}),
      ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    },
    expires: ends,
  };
}

function tokenOf(token: string, fail: (problem: string) => KubeError): string {
  try {
    return checkedToken(token);
  } catch (error) {
    throw fail(`gave a token, but ${(error as Error).message}`);
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
