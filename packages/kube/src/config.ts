/**
 * Where the API server is and who we are: from a kubeconfig file, or from the service account inside a pod. Credentials
 * that rotate (token files, certificate files, exec plug-ins) are asked for with every request, and cached for as long as
 * they hold.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { load } from "js-yaml";
import {
  certificateFiles,
  checkedToken,
  fixedCredentials,
  joinedCredentials,
  pairProblem,
  tokenFile,
  type Credentials,
  type CredentialSource,
} from "./credentials.ts";
import { KubeError } from "./errors.ts";
import { execApiVersions, execCredentials } from "./exec-plugin.ts";

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
  const host = environment["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "";
  if (host === "" || port === "") {
    throw new KubeError(
      "KUBE_CONFIG",
      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; name a file in `kubeconfig`",
    );
  }
  const authority = `${directory}/ca.crt`;
  const remedy = "let the pod mount its service account (automountServiceAccountToken)";
  const ca = readText(authority, "the service account's authority", remedy);
  if (!isPem(ca)) throw new KubeError("KUBE_CONFIG", `${authority}: holds no PEM certificate; ${remedy}`);
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (!URL.canParse(server)) {
    throw new KubeError(
      "KUBE_CONFIG",
      `KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT give ${server}, which is no URL; correct them`,
    );
  }
  return { server, ca, insecure: false, ...asConfig(tokenFile(`${directory}/token`, remedy)) };
}

/**
 * Reads a kubeconfig file. Paths in it are relative to the file.
 * @param contextName default: the file's `current-context`
 * @throws KubeError `KUBE_CONFIG`, naming file, field and remedy
 */
export function loadKubeconfig(path: string, contextName?: string): ClusterConfig {
  const file = resolve(path);
  const text = readText(file, "the kubeconfig", "correct the path, or the file's permissions");
  let raw: unknown;
  try {
    raw = load(text, { filename: file });
  } catch (cause) {
    // The parser's message would quote from what may be a secret.
    const { reason, mark } = cause as { reason?: string; mark?: { line?: number } };
    const where = mark?.line === undefined ? "" : ` in line ${mark.line + 1}`;
    throw new KubeError("KUBE_CONFIG", `${file}: is no YAML: ${reason ?? "it cannot be parsed"}${where}; correct it`);
  }
  const top = new Section(file, "", raw);
  const chosen = contextName ?? top.text("current-context") ?? "";
  if (chosen === "") {
    throw top.fail("current-context", "is not set", "set it (kubectl config use-context), or name a context");
  }
  const context = top.entry("contexts", chosen, "context");
  const cluster = top.entry("clusters", context.required("cluster", "name one of the clusters"), "cluster");
  const userName = context.text("user") ?? "";
  const user = userName === "" ? new Section(file, "users", {}) : top.entry("users", userName, "user");
  const place = clusterPlace(cluster);
  return { ...place, ...asConfig(userCredentials(user, place)) };
}

type Place = Omit<ClusterConfig, "credentials" | "rejected">;

function clusterPlace(cluster: Section): Place {
  const server = cluster.required("server", "write for example https://10.0.0.1:6443");
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.search !== "" ||
    url.hash !== "" ||
    url.username !== ""
  ) {
    throw cluster.fail("server", "is no http or https URL of a server", "write for example https://10.0.0.1:6443");
  }
  if (cluster.has("proxy-url")) throw cluster.fail("proxy-url", "is not supported", "reach the API server directly");
  const ca = cluster.pem("certificate-authority");
  const serverName = cluster.text("tls-server-name");
  const insecure = cluster.flag("insecure-skip-tls-verify");
  if (insecure && ca !== undefined) {
    throw cluster.fail("insecure-skip-tls-verify", "contradicts certificate-authority", "remove one of them");
  }
  return {
    server: server.replace(/\/+$/, ""),
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { serverName }),
    insecure,
  };
}

const refusedUserFields: readonly (readonly [field: string, problem: string])[] = [
  ["username", "asks for basic authentication, which Kubernetes no longer has"],
  ["password", "asks for basic authentication, which Kubernetes no longer has"],
  ["auth-provider", "is what Kubernetes replaced by exec plug-ins"],
  ["as", "asks for impersonation, which is not supported"],
  ["as-uid", "asks for impersonation, which is not supported"],
  ["as-groups", "asks for impersonation, which is not supported"],
];

function userCredentials(user: Section, place: Place): CredentialSource {
  for (const [field, problem] of refusedUserFields) {
    if (user.has(field)) throw user.fail(field, problem, "use a token, a client certificate or exec");
  }
  if (user.has("exec")) return execOf(user.section("exec"), place);
  const sources: CredentialSource[] = [];
  const certificate = user.pem("client-certificate");
  const key = user.pem("client-key");
  if ((certificate === undefined) !== (key === undefined)) {
    const [has, lacks] =
      key === undefined ? ["client-certificate", "client-key"] : ["client-key", "client-certificate"];
    throw user.fail(has, `stands without ${lacks}`, "give both");
  }
  if (certificate !== undefined && key !== undefined) {
    const problem = pairProblem(certificate, key);
    if (problem !== undefined) {
      throw user.fail(
        "client-certificate",
        `and client-key cannot be used: ${problem}`,
        "give a pair that belongs together",
      );
    }
    const [certificatePath, keyPath] = [user.path("client-certificate"), user.path("client-key")];
    sources.push(
      certificatePath === undefined || keyPath === undefined
        ? fixedCredentials({ certificate, key })
        : certificateFiles(certificatePath, keyPath, { certificate, key }),
    );
  }
  const path = user.path("tokenFile");
  const token = user.text("token");
  if (path !== undefined) {
    sources.push(tokenFile(path, "whoever logs in must write it, or correct users[].user.tokenFile"));
  } else if (token !== undefined) {
    try {
      sources.push(fixedCredentials({ token: checkedToken(token) }));
    } catch (error) {
      throw user.fail("token", `cannot be used: ${(error as Error).message}`, "log in again");
    }
  }
  return sources.length === 1 ? sources[0]! : joinedCredentials(sources);
}

function execOf(exec: Section, place: Place): CredentialSource {
  const command = exec.required("command", "name the plug-in's program");
  const apiVersion = exec.required("apiVersion", `write ${execApiVersions[0]}`);
  if (!execApiVersions.includes(apiVersion)) {
    throw exec.fail(
      "apiVersion",
      `${JSON.stringify(apiVersion)} is not supported`,
      `write ${execApiVersions.join(" or ")}`,
    );
  }
  if (exec.text("interactiveMode") === "Always") {
    throw exec.fail("interactiveMode", "is Always, and here is nobody to ask", "use a plug-in that works unattended");
  }
  const args = exec.list("args", (value) => (typeof value === "string" ? value : undefined), "a text");
  const environment = exec.list(
    "env",
    (value) => {
      const { name, value: content } = (value ?? {}) as { name?: unknown; value?: unknown };
      return typeof name === "string" && typeof content === "string" ? ([name, content] as const) : undefined;
    },
    "{name, value}",
  );
  const installHint = exec.text("installHint");
  const { server, ca, serverName, insecure } = place;
  const cluster = {
    server,
    "insecure-skip-tls-verify": insecure,
    ...(serverName === undefined ? {} : { "tls-server-name": serverName }),
    ...(ca === undefined ? {} : { "certificate-authority-data": Buffer.from(ca).toString("base64") }),
  };
  return execCredentials({
    apiVersion,
    program: command.includes("/") ? exec.resolve(command) : command,
    args,
    environment: Object.fromEntries(environment),
    ...(installHint === undefined ? {} : { installHint }),
    ...(exec.flag("provideClusterInfo") ? { cluster } : {}),
  });
}

function asConfig(source: CredentialSource): Pick<ClusterConfig, "credentials" | "rejected"> {
  return {
    credentials: () => source.read(),
    ...(source.rejected === undefined ? {} : { rejected: (credentials) => source.rejected?.(credentials) }),
  };
}

/** A mapping of a kubeconfig that knows where it stands, so that every error can say so. */
class Section {
  readonly #file: string;
  readonly #where: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(file: string, where: string, value: unknown) {
    this.#file = file;
    this.#where = where;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      const what = where === "" ? "the file" : where;
      throw new KubeError("KUBE_CONFIG", `${file}: ${what} is no mapping; write \`field: value\` lines`);
    }
    this.#fields = value as Readonly<Record<string, unknown>>;
  }

  fail(field: string, problem: string, remedy: string): KubeError {
    const path = this.#where === "" ? field : `${this.#where}.${field}`;
    return new KubeError("KUBE_CONFIG", `${this.#file}: ${path} ${problem}; ${remedy}`);
  }

  /** Present and not empty. */
  has(field: string): boolean {
    const value = this.#fields[field];
    return value !== undefined && value !== null && value !== "";
  }

  text(field: string): string | undefined {
    if (!this.has(field)) return undefined;
    const value = this.#fields[field];
    if (typeof value !== "string") throw this.fail(field, "is no text", "put it in quotes");
    return value;
  }

  required(field: string, remedy: string): string {
    const value = this.text(field);
    if (value === undefined) throw this.fail(field, "is missing", remedy);
    return value;
  }

  flag(field: string): boolean {
    if (!this.has(field)) return false;
    const value = this.#fields[field];
    if (typeof value !== "boolean") throw this.fail(field, "is neither true nor false", "write one of them");
    return value;
  }

  list<T>(field: string, read: (value: unknown) => T | undefined, element: string): T[] {
    if (!this.has(field)) return [];
    const value = this.#fields[field];
    if (!Array.isArray(value)) throw this.fail(field, "is no list", `write a list of ${element}`);
    return value.map((each, index) => {
      const one = read(each);
      if (one === undefined) throw this.fail(`${field}[${index}]`, `is not ${element}`, "correct it");
      return one;
    });
  }

  section(field: string): Section {
    return new Section(this.#file, this.#where === "" ? field : `${this.#where}.${field}`, this.#fields[field]);
  }

  /** The content of the entry of that name in one of the lists that a kubeconfig consists of. */
  entry(list: string, name: string, content: string): Section {
    const entries = this.list(
      list,
      (value) => (typeof value === "object" && value !== null ? value : undefined),
      "entries",
    );
    const found = entries.find((each) => (each as { name?: unknown }).name === name);
    if (found === undefined)
      throw this.fail(list, `has no entry named ${JSON.stringify(name)}`, "add it, or name another");
    return new Section(this.#file, `${list}[${name}].${content}`, (found as Record<string, unknown>)[content]);
  }

  resolve(path: string): string {
    return resolve(dirname(this.#file), path);
  }

  /** A path that stands in `field` and counts: not overruled by `field`-data. */
  path(field: string): string | undefined {
    const value = this.text(field);
    return value === undefined || this.has(`${field}-data`) ? undefined : this.resolve(value);
  }

  /** PEM from `field`-data in base64, else from the file that `field` names. */
  pem(field: string): string | undefined {
    const data = this.text(`${field}-data`);
    if (data !== undefined) {
      const pem = Buffer.from(data, "base64").toString("utf8");
      if (!isPem(pem)) throw this.fail(`${field}-data`, "is no PEM in base64", "encode the PEM file (base64 -w0)");
      return pem;
    }
    const path = this.path(field);
    if (path === undefined) return undefined;
    const pem = readText(
      path,
      `${this.#where}.${field} of ${this.#file}`,
      "correct the path, or the file's permissions",
    );
    if (!isPem(pem)) throw this.fail(field, `names ${path}, which holds no PEM`, "name a PEM file");
    return pem;
  }
}

function isPem(text: string): boolean {
  return /-----BEGIN [A-Z0-9 ]+-----/.test(text);
}

const maxFileBytes = 4 * 1024 * 1024;

function readText(path: string, what: string, remedy: string): string {
  try {
    if (statSync(path).size > maxFileBytes) throw new Error(`longer than ${maxFileBytes} bytes`);
    return readFileSync(path, "utf8");
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
    throw new KubeError("KUBE_CONFIG", `${path}: ${what} cannot be read (${why}); ${remedy}`, { cause });
  }
}
