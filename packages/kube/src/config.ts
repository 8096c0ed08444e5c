/**
 * Where the API server is and who we are: from a kubeconfig file, or from the service account inside a pod. Credentials
 * that rotate (token files, exec plug-ins) are asked for anew with every request, and cached for as long as they say.
 */
import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { promisify } from "node:util";
import { load } from "js-yaml";
import { KubeError } from "./errors.ts";

export interface Credentials {
  readonly token?: string;
  /** PEM */
  readonly certificate?: string;
  /** PEM */
  readonly key?: string;
}

export interface ClusterConfig {
  /** Base URL without a trailing slash. */
  readonly server: string;
  /** PEM; absent: the system's authorities. */
  readonly ca?: string;
  readonly serverName?: string;
  readonly insecure: boolean;
  /** What to present now. May read files or run a plug-in. */
  readonly credentials: () => Promise<Credentials>;
  /** The server did not take these: whatever caches them must ask anew. */
  readonly rejected?: (credentials: Credentials) => void;
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/** @throws KubeError `KUBE_CONFIG` when this is no pod with a service account */
export function inClusterConfig(
  environment: NodeJS.ProcessEnv = process.env,
  directory = serviceAccount,
): ClusterConfig {
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"];
  if (host === undefined || port === undefined) {
    throw new KubeError(
      "KUBE_CONFIG",
      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; name a file in `kubeconfig`",
    );
  }
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    ca: readText(`${directory}/ca.crt`, "the service account's authority"),
    insecure: false,
    credentials: tokenFile(`${directory}/token`),
  };
}

interface RawKubeconfig {
  readonly "current-context"?: unknown;
  readonly contexts?: unknown;
  readonly clusters?: unknown;
  readonly users?: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads a kubeconfig file.
 * @throws KubeError `KUBE_CONFIG`, naming file, field and remedy
 */
export function loadKubeconfig(path: string, contextName?: string): ClusterConfig {
  const file = resolve(path);
  const fail = (field: string, problem: string, remedy: string): KubeError =>
    new KubeError("KUBE_CONFIG", `${file}: ${field} ${problem}; ${remedy}`);
  let raw: RawKubeconfig;
  try {
    raw = (load(readText(file, "kubeconfig")) ?? {}) satisfies RawKubeconfig;
  } catch (cause) {
    if (cause instanceof KubeError) throw cause;
    throw new KubeError("KUBE_CONFIG", `${file}: is no YAML: ${(cause as Error).message}`, { cause });
  }
  const named = (list: unknown, kind: string, name: unknown, content: string): Fields => {
    const entry = (Array.isArray(list) ? (list as Fields[]) : []).find((each) => each?.["name"] === name);
    const value = entry?.[content];
    if (typeof value !== "object" || value === null) {
      throw fail(kind, `has no entry named ${JSON.stringify(name)}`, "add it, or name another");
    }
    return value as Fields;
  };
  const context = named(raw.contexts, "contexts", contextName ?? raw["current-context"], "context");
  const cluster = named(raw.clusters, "clusters", context["cluster"], "cluster");
  const user = context["user"] === undefined ? {} : named(raw.users, "users", context["user"], "user");
  const server = cluster["server"];
  if (typeof server !== "string" || !/^https?:\/\//.test(server)) {
    throw fail("clusters[].cluster.server", "must be an http or https URL", "write for example https://10.0.0.1:6443");
  }
  if (cluster["proxy-url"] !== undefined) {
    throw fail("clusters[].cluster.proxy-url", "is not supported", "reach the API server directly");
  }
  if (user["username"] !== undefined || user["auth-provider"] !== undefined) {
    throw fail("users[].user", "names basic authentication or an auth-provider", "use a token, a certificate or exec");
  }
  const base = dirname(file);
  const pem = (fields: Fields, name: string): string | undefined => {
    const data = fields[`${name}-data`];
    if (typeof data === "string") return Buffer.from(data, "base64").toString("utf8");
    const from = fields[name];
    return typeof from === "string" ? readText(resolve(base, from), name) : undefined;
  };
  const ca = pem(cluster, "certificate-authority");
  const serverName = cluster["tls-server-name"];
  return {
    server: server.replace(/\/+$/, ""),
    ...(ca === undefined ? {} : { ca }),
    ...(typeof serverName === "string" ? { serverName } : {}),
    insecure: cluster["insecure-skip-tls-verify"] === true,
    credentials: userCredentials(user, base, pem, fail),
  };
}

function userCredentials(
  user: Fields,
  base: string,
  pem: (fields: Fields, name: string) => string | undefined,
  fail: (field: string, problem: string, remedy: string) => KubeError,
): () => Promise<Credentials> {
  if (user["exec"] !== undefined) return execPlugin(user["exec"] as Fields, base, fail);
  const path = user["tokenFile"];
  if (typeof path === "string") return tokenFile(resolve(base, path));
  const certificate = pem(user, "client-certificate");
  const key = pem(user, "client-key");
  if ((certificate === undefined) !== (key === undefined)) {
    throw fail("users[].user", "has a client certificate without its key, or the other way round", "give both");
  }
  const token = user["token"];
  const fixed: Credentials = {
    ...(typeof token === "string" ? { token } : {}),
    ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
  };
  return () => Promise.resolve(fixed);
}

/** A token in a file that somebody else keeps fresh: read again when the file has changed. */
function tokenFile(path: string): () => Promise<Credentials> {
  let cached: { token: string; modified: number } | undefined;
  return async () => {
    try {
      const { mtimeMs } = await stat(path);
      if (cached?.modified !== mtimeMs) {
        cached = { token: (await readFile(path, "utf8")).trim(), modified: mtimeMs };
      }
      return { token: cached.token };
    } catch (cause) {
      throw new KubeError("KUBE_CREDENTIALS", `token file ${path} cannot be read; is the account mounted?`, { cause });
    }
  };
}

const run = promisify(execFile);
/** A credential that ends within this time (ms) is renewed now. */
const expiryMargin = 10_000;

/** client.authentication.k8s.io ExecCredential, v1 and v1beta1. */
function execPlugin(
  exec: Fields,
  base: string,
  fail: (field: string, problem: string, remedy: string) => KubeError,
): () => Promise<Credentials> {
  const { command, apiVersion } = exec;
  if (typeof command !== "string") throw fail("users[].user.exec.command", "is missing", "name the plug-in's program");
  if (apiVersion !== "client.authentication.k8s.io/v1" && apiVersion !== "client.authentication.k8s.io/v1beta1") {
    throw fail("users[].user.exec.apiVersion", "is not known", "write client.authentication.k8s.io/v1");
  }
  const args = (Array.isArray(exec["args"]) ? exec["args"] : []) as string[];
  const environment = Object.fromEntries(
    ((Array.isArray(exec["env"]) ? exec["env"] : []) as { name: string; value: string }[]).map(({ name, value }) => [
      name,
      value,
    ]),
  );
  const program = command.includes("/") ? resolve(base, command) : command;
  let cached: { credentials: Credentials; expires: number } | undefined;
  return async () => {
    if (cached !== undefined && Date.now() < cached.expires - expiryMargin) return cached.credentials;
    const info = { apiVersion, kind: "ExecCredential", spec: { interactive: false } };
    const env = { ...process.env, ...environment, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
    try {
      const { stdout } = await run(program, args, { env, timeout: 30_000, maxBuffer: 1 << 20 });
      const { status = {} } = JSON.parse(stdout) as {
        status?: {
          token?: string;
          clientCertificateData?: string;
          clientKeyData?: string;
          expirationTimestamp?: string;
        };
      };
      const { token, clientCertificateData: certificate, clientKeyData: key, expirationTimestamp } = status;
      const credentials: Credentials = {
        ...(token === undefined ? {} : { token }),
        ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
      };
      const expires = expirationTimestamp === undefined ? Number.POSITIVE_INFINITY : Date.parse(expirationTimestamp);
      cached = { credentials, expires };
      return credentials;
    } catch (cause) {
      const why = (cause as { stderr?: string }).stderr?.trim() || (cause as Error).message;
      throw new KubeError("KUBE_CREDENTIALS", `credential plug-in ${program} failed: ${why}`, { cause });
    }
  };
}

function readText(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new KubeError("KUBE_CONFIG", `${path}: ${what} cannot be read (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
}
