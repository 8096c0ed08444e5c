/** The project's own API server for a bench node, inside the node's namespace, filled with a recorded cluster. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPki } from "@beyondfabric/apiserver";
import { load as parseYaml } from "js-yaml";
import { output, printed, type Running, type Site } from "../environment/site.ts";
import type { LoadOrder } from "./loader.ts";
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
  readonly #process: Running;

  readonly #host: string;

  private constructor(
    site: Site,
    namespace: string,
    directory: string,
    authority: string,
    host: string,
    server: Running,
  ) {
    this.#host = host;
    this.#site = site;
    this.#namespace = namespace;
    this.#directory = directory;
    this.#authority = authority;
    this.#process = server;
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
    const started = new BenchApiServer(site, namespace, directory, pki.authority.certificate, host, server);
    await started.load(definitions());
    return started;
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

  stop(): Promise<void> {
    return this.#site.stop(this.#process);
  }
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
