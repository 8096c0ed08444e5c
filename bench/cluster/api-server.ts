/**
 * An API server for bench nodes, inside a namespace of theirs, filled with a recorded cluster: the project's own, or a real
 * etcd and kube-apiserver.
 */
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPki } from "@beyondfabric/apiserver";
import { load as parseYaml } from "js-yaml";
import { kubernetesAssets } from "../../packages/lab/src/control-plane/kubernetes.ts";
import { output, printed, run, until, type Running, type Site } from "../environment/site.ts";
import type { ChangerOrder } from "./changer.ts";
import type { LoadOrder } from "./loader.ts";
import { Changer } from "./remote-changer.ts";
import type { Manifest } from "./recorded.ts";

const ROOT = join(import.meta.dirname, "../..");
const PORT = 6443;
const TOKEN = "bench-administrator";

/** An API server in one namespace. */
export class BenchApiServer {
  /** Path of a kubeconfig with every permission. */
  readonly kubeconfig: string;
  readonly #site: Site;
  readonly #namespace: string;
  readonly #directory: string;
  readonly #authority: string;
  readonly #processes: readonly Running[];

  readonly #host: string;

  private constructor(
    site: Site,
    namespace: string,
    directory: string,
    authority: string,
    host: string,
    processes: readonly Running[],
  ) {
    this.#host = host;
    this.#site = site;
    this.#namespace = namespace;
    this.#directory = directory;
    this.#authority = authority;
    this.#processes = processes;
    this.kubeconfig = join(directory, "kubeconfig");
    writeFileSync(this.kubeconfig, kubeconfig(authority, host));
  }

  /** Starts the server on an address of the namespace, with the project's kinds defined. */
  static async start(site: Site, namespace: string, host: string): Promise<BenchApiServer> {
    const directory = site.addDirectory("api");
    const pki = createPki();
    const identity = pki.server([host]);
    const certificateFile = join(directory, "server.crt");
    const keyFile = join(directory, "server.key");
    writeFileSync(certificateFile, identity.certificate);
    writeFileSync(keyFile, identity.key);
    const configuration = {
      listen: [{ host, port: PORT }],
      certificateFile,
      keyFile,
      tokens: [{ token: TOKEN, user: "bench", groups: ["system:masters"] }],
    };
    const file = join(directory, "apiserver.json");
    writeFileSync(file, JSON.stringify(configuration));
    const program = join(ROOT, "packages/apiserver/src/main.ts");
    const server = site.start(namespace, [process.execPath, program, "--config", file]);
    await printed(server, "listening on", "API server");
    const started = new BenchApiServer(site, namespace, directory, pki.authority.certificate, host, [server]);
    await started.load(definitions());
    return started;
  }

  /** Starts a real etcd, which syncs to disk, and a real kube-apiserver, with the project's kinds defined. */
  static async startReal(site: Site, namespace: string, host: string): Promise<BenchApiServer> {
    const directory = site.addDirectory("kubernetes");
    const pki = createPki();
    const identity = pki.server([host]);
    const file = (name: string, content: string): string => {
      const path = join(directory, name);
      writeFileSync(path, content);
      return path;
    };
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const accountKey = file("accounts.key", privateKey.export({ type: "pkcs1", format: "pem" }));
    const etcdUrl = "http://127.0.0.1:2379";
    const peerUrl = "http://127.0.0.1:2380";
    const etcd = site.start(namespace, [
      program("etcd"),
      "--name=bench",
      `--data-dir=${join(directory, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=bench=${peerUrl}`,
      "--log-level=error",
    ]);
    const server = site.start(namespace, [
      program("kube-apiserver"),
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${host}`,
      `--advertise-address=${host}`,
      `--secure-port=${PORT}`,
      "--insecure-port=0",
      `--tls-cert-file=${file("server.crt", identity.certificate)}`,
      `--tls-private-key-file=${file("server.key", identity.key)}`,
      `--token-auth-file=${file("tokens.csv", `${TOKEN},bench,bench,"system:masters"\n`)}`,
      "--authorization-mode=RBAC",
      `--service-account-key-file=${accountKey}`,
      `--service-account-signing-key-file=${accountKey}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
      // Nobody is to be slowed down for asking much: that is what is measured.
      "--enable-priority-and-fairness=false",
      "--max-requests-inflight=0",
      "--max-mutating-requests-inflight=0",
      "--profiling=false",
    ]);
    for (const child of [etcd, server]) child.stderr.resume();
    const started = new BenchApiServer(site, namespace, directory, pki.authority.certificate, host, [server, etcd]);
    await until("kube-apiserver", 90_000, () => started.#kubectl("get", "--raw=/readyz") === "ok", 250);
    await started.load(definitions());
    started.#kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s");
    return started;
  }

  /** Requests that the server has answered, watches and Events left out. Only a real one counts them. */
  requests(): number {
    const text = this.#kubectl("get", "--raw=/metrics") ?? "";
    let sum = 0;
    for (const [, labels, count] of text.matchAll(/^apiserver_request_total\{(.*)\} (\S+)$/gm)) {
      if (!/verb="WATCH"|resource="events"/.test(labels!)) sum += Number(count);
    }
    return sum;
  }

  /** What a `kubectl` in the server's namespace prints; undefined when it fails. */
  #kubectl(...args: string[]): string | undefined {
    try {
      return run(["ip", "netns", "exec", this.#namespace, "kubectl", "--kubeconfig", this.kubeconfig, ...args]);
    } catch {
      return undefined;
    }
  }

  /** Writes objects, statuses included; returns how many. The order is kept only between calls. */
  async load(manifests: Iterable<Manifest>): Promise<number> {
    const file = join(this.#directory, "manifests.json");
    const lines: string[] = [];
    for (const manifest of manifests) lines.push(JSON.stringify(manifest));
    writeFileSync(file, lines.join("\n"));
    const order: LoadOrder = {
      host: this.#host,
      port: PORT,
      token: TOKEN,
      authority: this.#authority,
      manifests: file,
    };
    const orderFile = join(this.#directory, "load.json");
    writeFileSync(orderFile, JSON.stringify(order));
    const program = join(import.meta.dirname, "loader.ts");
    const loader = this.#site.start(this.#namespace, [process.execPath, program, orderFile]);
    return Number(await output(loader, "loading the API server"));
  }

  /** UIDs of the pods of a namespace, by name. */
  podUids(namespace: string): Map<string, string> {
    const text = this.#kubectl("get", "pods", "-n", namespace, "-o", "json");
    if (text === undefined) throw new Error(`the API server does not list the pods of ${namespace}`);
    const { items } = JSON.parse(text) as { items: { metadata: { name: string; uid: string } }[] };
    return new Map(items.map(({ metadata }) => [metadata.name, metadata.uid]));
  }

  /** Starts a program that changes objects one at a time, on a connection that is open already. */
  async startChanger(): Promise<Changer> {
    const order: ChangerOrder = { host: this.#host, port: PORT, token: TOKEN, authority: this.#authority };
    const program = join(import.meta.dirname, "changer.ts");
    const child = this.#site.start(this.#namespace, [process.execPath, program, JSON.stringify(order)]);
    return await Changer.over(this.#site, child);
  }

  async stop(): Promise<void> {
    for (const each of this.#processes) await this.#site.stop(each);
  }
}

/** A program of a real control plane. */
function program(name: string): string {
  const found = [join(kubernetesAssets(), name), join("/usr/bin", name)].find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${name} is missing; make setup-kubernetes`);
  return found;
}

/** The project's kinds, as they are installed in a cluster. */
function definitions(): Manifest[] {
  const directory = join(ROOT, "deploy/crds");
  return readdirSync(directory)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => parseYaml(readFileSync(join(directory, name), "utf8")) as Manifest);
}

/** A kubeconfig in JSON, which is YAML. */
function kubeconfig(authority: string, host: string): string {
  const data = Buffer.from(authority).toString("base64");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "bench",
    clusters: [{ name: "bench", cluster: { server: `https://${host}:${PORT}`, "certificate-authority-data": data } }],
    users: [{ name: "bench", user: { token: TOKEN } }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
  });
}
