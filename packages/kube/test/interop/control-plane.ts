/** A real etcd and kube-apiserver for tests, on loopback, gone with the test. */
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { KubeClient, namespaceResource, type ClusterConfig } from "../../src/index.ts";
import { Authority } from "../certificates.ts";

export const agentToken = "an-agents-token";

export class ControlPlane {
  readonly authority = new Authority();
  readonly #directory = mkdtempSync(join(tmpdir(), "bf-kube-real-"));
  readonly #etcd: ChildProcess;
  readonly #etcdUrl: string;
  readonly #port: number;
  readonly #flags: readonly string[];
  #apiserver: ChildProcess | undefined;

  static async start(): Promise<ControlPlane> {
    const [etcdPort, peerPort, apiPort] = await freePorts(3);
    const controlPlane = new ControlPlane(etcdPort!, peerPort!, apiPort!);
    try {
      await controlPlane.startApiServer();
      return controlPlane;
    } catch (error) {
      await controlPlane.stop();
      throw error;
    }
  }

  private constructor(etcdPort: number, peerPort: number, apiPort: number) {
    const etcdUrl = `http://127.0.0.1:${etcdPort}`;
    const peerUrl = `http://127.0.0.1:${peerPort}`;
    this.#etcdUrl = etcdUrl;
    this.#port = apiPort;
    this.#etcd = this.#spawn("etcd", [
      program("etcd"),
      "--name=test",
      `--data-dir=${join(this.#directory, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=test=${peerUrl}`,
      "--unsafe-no-fsync",
      "--logger=zap",
      "--log-level=error",
    ]);
    const server = this.authority.server("IP:127.0.0.1");
    const accountKey = join(this.#directory, "service-account.key");
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(accountKey, privateKey.export({ type: "pkcs1", format: "pem" }));
    const tokens = join(this.#directory, "tokens.csv");
    writeFileSync(tokens, `${agentToken},agent,agent,"system:masters"\n`);
    this.#flags = [
      `--etcd-servers=${etcdUrl}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${apiPort}`,
      "--insecure-port=0",
      `--tls-cert-file=${server.certificatePath}`,
      `--tls-private-key-file=${server.keyPath}`,
      `--client-ca-file=${this.authority.certificatePath}`,
      `--token-auth-file=${tokens}`,
      "--authorization-mode=RBAC",
      `--service-account-key-file=${accountKey}`,
      `--service-account-signing-key-file=${accountKey}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
      "--profiling=false",
    ];
  }

  get port(): number {
    return this.#port;
  }

  /** How an administrator with a client certificate connects, directly or at another port. */
  administrator(port = this.#port): ClusterConfig {
    const { certificate, key } = this.authority.client("admin", "system:masters");
    return {
      server: `https://127.0.0.1:${port}`,
      ca: this.authority.certificate,
      insecure: false,
      credentials: () => Promise.resolve({ certificate, key }),
    };
  }

  /** Resolves when requests are answered. */
  async startApiServer(): Promise<void> {
    this.#apiserver = this.#spawn("apiserver", [program("kube-apiserver"), ...this.#flags]);
    const client = new KubeClient(this.administrator());
    const deadline = Date.now() + 90_000;
    for (;;) {
      try {
        await client.get(namespaceResource, "default", undefined, { timeout: 2000 });
        await client.close();
        return;
      } catch (error) {
        if (Date.now() > deadline || this.#apiserver.exitCode !== null) {
          const log = readFileSync(join(this.#directory, "apiserver.log"), "utf8").slice(-3000);
          throw new Error(`kube-apiserver does not answer; its log ends with:\n${log}`, { cause: error });
        }
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  }

  async killApiServer(): Promise<void> {
    await end(this.#apiserver);
  }

  /** Makes etcd forget every version before this one. */
  async compact(revision: string): Promise<void> {
    const response = await fetch(`${this.#etcdUrl}/v3/kv/compaction`, {
      method: "POST",
      body: JSON.stringify({ revision, physical: true }),
    });
    if (!response.ok) throw new Error(`compaction: ${response.status} ${await response.text()}`);
  }

  async stop(): Promise<void> {
    await end(this.#apiserver);
    await end(this.#etcd);
    this.authority.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(name: string, [command = "", ...args]: readonly string[]): ChildProcess {
    const log = openSync(join(this.#directory, `${name}.log`), "a");
    const child = spawn(command, args, { stdio: ["ignore", log, log] });
    const kill = (): boolean => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
    return child;
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

function program(name: string): string {
  const assets =
    process.env["KUBEBUILDER_ASSETS"] ??
    join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "beyondfabric", "kubernetes-1.20.2-2");
  const found = [join(assets, name), join("/usr/bin", name)].find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`${name} is neither in ${assets} nor in /usr/bin; tools/setup.sh kubernetes`);
  return found;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) =>
          server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)),
        ),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
