/**
 * A running API server for tests, with a client for raw requests, watches and the real `kubectl`.
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPki, EmbeddedApiServer, type EmbeddedApiServerOptions, type KeyPair, type Pki } from "../src/index.ts";

/** JSON of unknown shape, read with plain property access in assertions. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Loose = any;

/** An answer. */
export interface Reply {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
  body: Loose;
}

/** What a raw request carries beside its path. */
export interface RequestOptions {
  body?: unknown;
  /** Sent as it is; wins over `body`. */
  raw?: string | Buffer;
  type?: string;
  accept?: string;
  headers?: Record<string, string>;
  anonymous?: boolean;
}

/** One event of a watch. */
export interface WatchEvent {
  type: string;
  object: Loose;
}

/** The result of a command. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** A watch that collects its events. */
export class TestWatch {
  readonly events: WatchEvent[] = [];
  ended = false;
  #rest = "";
  readonly #stop: () => void;

  constructor(response: IncomingMessage) {
    this.#stop = () => response.destroy();
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      const lines = (this.#rest + chunk).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line) as WatchEvent);
    });
    response.on("close", () => (this.ended = true));
    response.on("error", () => (this.ended = true));
  }

  /** Resolves when the condition holds for the events so far. */
  async until(condition: (events: readonly WatchEvent[]) => boolean, what: string): Promise<void> {
    await eventually(() => condition(this.events), `${what}; events: ${JSON.stringify(this.events).slice(0, 2000)}`);
  }

  close(): void {
    this.#stop();
  }
}

/** Polls until the condition holds; fails after half a minute. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline;) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`timed out waiting for ${what}`);
}

/** Raw requests to an API server, as an administrator. */
export class ApiClient {
  port = 0;
  /** Where this client may write. */
  readonly directory: string;
  readonly #authority: string;
  readonly #pair: KeyPair;
  #agent = new Agent({ keepAlive: true });

  constructor(directory: string, authority: string, pair: KeyPair) {
    this.directory = directory;
    this.#authority = authority;
    this.#pair = pair;
  }

  /** Closes idle connections. */
  close(): void {
    this.#agent.destroy();
    this.#agent = new Agent({ keepAlive: true });
  }

  /** Path of a kubeconfig with these credentials. */
  get kubeconfig(): string {
    return join(this.directory, "kubeconfig");
  }

  /** Writes the kubeconfig once the port is known. */
  async writeKubeconfig(): Promise<void> {
    await writeFile(this.kubeconfig, JSON.stringify(this.#kubeconfig()));
  }

  #kubeconfig(): unknown {
    const encode = (text: string): string => Buffer.from(text).toString("base64");
    return {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name: "test",
          cluster: {
            server: `https://127.0.0.1:${this.port}`,
            "certificate-authority-data": encode(this.#authority),
          },
        },
      ],
      users: [
        {
          name: "admin",
          user: {
            "client-certificate-data": encode(this.#pair.certificate),
            "client-key-data": encode(this.#pair.key),
          },
        },
      ],
      contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
      "current-context": "test",
    };
  }

  /** Runs a `kubectl` against the server. */
  kubectl(args: readonly string[], input = "", executable = "kubectl"): Promise<CommandResult> {
    return new Promise((resolve) => {
      const environment = { ...process.env, HOME: this.directory, KUBECONFIG: this.kubeconfig };
      const child = execFile(
        executable,
        [...args],
        { env: environment, timeout: 60_000, maxBuffer: 16 * 1024 * 1024 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
          resolve({ code, stdout, stderr });
        },
      );
      child.stdin?.end(input);
    });
  }

  /** A `kubectl` that goes on until it is stopped; `output` is what it has printed so far. */
  kubectlFollowing(...args: string[]): { readonly output: () => string; readonly stop: () => Promise<unknown> } {
    const environment = { ...process.env, HOME: this.directory, KUBECONFIG: this.kubeconfig };
    const child = spawn("kubectl", args, { env: environment, stdio: ["ignore", "pipe", "inherit"], timeout: 60_000 });
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
    const ended = new Promise((resolve) => {
      child.once("close", resolve);
    });
    return {
      output: () => printed,
      stop: () => {
        child.kill("SIGTERM");
        return ended;
      },
    };
  }

  /** Runs `kubectl` and returns its output; fails when it fails. */
  async kubectlOk(args: readonly string[], input = ""): Promise<string> {
    const { code, stdout, stderr } = await this.kubectl(args, input);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  #open(method: string, path: string, options: RequestOptions): Promise<IncomingMessage> {
    const payload = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: "127.0.0.1",
          port: this.port,
          path,
          method,
          ca: this.#authority,
          ...(options.anonymous === true
            ? { agent: false }
            : { agent: this.#agent, cert: this.#pair.certificate, key: this.#pair.key }),
          headers: {
            // Without a length Node sends the body of a DELETE unframed.
            ...(payload === undefined
              ? {}
              : { "content-type": options.type ?? "application/json", "content-length": Buffer.byteLength(payload) }),
            ...(options.accept === undefined ? {} : { accept: options.accept }),
            ...options.headers,
          },
        },
        resolve,
      );
      outgoing.on("error", reject);
      outgoing.end(payload);
    });
  }

  /** One request as the administrator. */
  async api(method: string, path: string, options: RequestOptions = {}): Promise<Reply> {
    const response = await this.#open(method, path, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    let body: Loose;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { status: response.statusCode ?? 0, headers: response.headers, text, body };
  }

  /** Opens a watch on a path (without `watch=1`). */
  async watch(path: string, options: RequestOptions = {}): Promise<TestWatch> {
    const response = await this.#open("GET", `${path}${path.includes("?") ? "&" : "?"}watch=1`, options);
    if (response.statusCode !== 200) throw new Error(`the watch was answered with ${response.statusCode}`);
    return new TestWatch(response);
  }
}

/** A server in this process with everything around it. */
export class TestCluster extends ApiClient {
  readonly pki: Pki;
  readonly #options: Partial<EmbeddedApiServerOptions>;
  readonly errors: Error[] = [];
  #server: EmbeddedApiServer | undefined;

  private constructor(directory: string, options: Partial<EmbeddedApiServerOptions>) {
    const pki = createPki();
    super(directory, pki.authority.certificate, pki.client({ user: "admin", groups: ["system:masters"] }));
    this.pki = pki;
    this.#options = options;
  }

  static async start(options: Partial<EmbeddedApiServerOptions> = {}): Promise<TestCluster> {
    const cluster = new TestCluster(await mkdtemp(join(tmpdir(), "apiserver-test-")), options);
    await cluster.restart();
    return cluster;
  }

  /** Stops the server, if it runs, and starts it again on the same port. */
  async restart(): Promise<void> {
    await this.#server?.stop();
    const server = this.pki.server(["127.0.0.1", "localhost"]);
    this.#server = new EmbeddedApiServer({
      listen: [{ host: "127.0.0.1", port: this.port }],
      tls: { ...server, clientAuthority: this.pki.authority.certificate },
      tokens: [{ token: "a-token-of-bob", user: "bob", groups: ["people"] }],
      onError: (error) => this.errors.push(error),
      ...this.#options,
    });
    await this.#server.start();
    this.port = this.#server.addresses[0]?.port ?? 0;
    this.close();
    await this.writeKubeconfig();
  }

  async stop(): Promise<void> {
    this.close();
    await this.#server?.stop();
    this.#server = undefined;
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A control plane that runs. */
export interface RunningPlane {
  client: ApiClient;
  /** Ends it; fails when something went wrong inside. */
  stop: () => Promise<void>;
}

/** The embedded server as a control plane. */
export async function embedded(options: Partial<EmbeddedApiServerOptions> = {}): Promise<RunningPlane> {
  const client = await TestCluster.start(options);
  const stop = async (): Promise<void> => {
    await client.stop();
    if (client.errors.length > 0) throw new AggregateError(client.errors, "the server failed inside");
  };
  return { client, stop };
}

/** A pod with one container. */
export function pod(name: string, more: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}): Loose {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...metadata },
    spec: { containers: [{ name: "c", image: "image:1" }], ...more },
  };
}

/** A ConfigMap. */
export function configMap(
  name: string,
  data: Record<string, string> = {},
  metadata: Record<string, unknown> = {},
): Loose {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, ...metadata }, data };
}
