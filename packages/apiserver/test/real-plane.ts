/**
 * A real kube-apiserver 1.20 with etcd. Needs the programs that `tools/kubernetes-assets.sh` builds, in `$KUBEBUILDER_ASSETS` or the cache folder.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createPki } from "../src/index.ts";
import { ApiClient, eventually, type RunningPlane } from "./harness.ts";

const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
const assets = process.env["KUBEBUILDER_ASSETS"] ?? join(cache, "beyondfabric", "kubernetes-1.20.2-2");

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts etcd and kube-apiserver on free ports of this machine. */
export async function startReal(): Promise<RunningPlane> {
  const program = join(assets, "kube-apiserver");
  assert.ok(existsSync(program), `${program} is missing; run tools/kubernetes-assets.sh`);
  const directory = mkdtempSync(join(tmpdir(), "real-apiserver-"));
  const file = (name: string, content: string): string => {
    const path = join(directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const pki = createPki();
  const server = pki.server(["127.0.0.1", "10.96.0.1"]);
  const accounts = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { type: "sec1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const [port, etcdPort, peerPort] = [await freePort(), await freePort(), await freePort()];
  const children: ChildProcess[] = [];
  const run = (command: string, args: string[], log: string): void => {
    const output = openSync(join(directory, log), "w");
    children.push(spawn(command, args, { stdio: ["ignore", output, output] }));
  };
  const etcd = `http://127.0.0.1:${etcdPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  run(
    "etcd",
    [
      `--data-dir=${join(directory, "etcd")}`,
      `--listen-client-urls=${etcd}`,
      `--advertise-client-urls=${etcd}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ],
    "etcd.log",
  );
  run(
    program,
    [
      `--etcd-servers=${etcd}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${port}`,
      `--tls-cert-file=${file("tls.crt", server.certificate)}`,
      `--tls-private-key-file=${file("tls.key", server.key)}`,
      `--client-ca-file=${file("ca.crt", pki.authority.certificate)}`,
      `--token-auth-file=${file("tokens.csv", 'a-token-of-bob,bob,bob,"system:masters"\n')}`,
      `--service-account-key-file=${file("sa.pub", accounts.publicKey)}`,
      `--service-account-signing-key-file=${file("sa.key", accounts.privateKey)}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--authorization-mode=RBAC",
      "--disable-admission-plugins=ServiceAccount",
      `--cert-dir=${directory}`,
    ],
    "apiserver.log",
  );
  const client = new ApiClient(
    directory,
    pki.authority.certificate,
    pki.client({ user: "admin", groups: ["system:masters"] }),
  );
  client.port = port;
  await client.writeKubeconfig();
  const stop = async (): Promise<void> => {
    client.close();
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null) return;
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
      }),
    );
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (let count = 0; ; count++) {
      const ready = await client.api("GET", "/api/v1/namespaces/default").catch(() => undefined);
      if (ready?.status === 200) break;
      assert.ok(count < 300, `not ready: ${readFileSync(join(directory, "apiserver.log"), "utf8").slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await eventually(async () => (await client.api("GET", "/readyz")).text === "ok", "readiness");
  } catch (error) {
    await stop();
    throw error;
  }
  return { client, stop };
}
