import { randomBytes } from "node:crypto";
import { access, mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { LabError } from "../errors.ts";
import { SupervisedProcess } from "../process/supervised-process.ts";
import type { Certificates } from "./certificates.ts";

/** Where the programs of a real control plane are: `KUBEBUILDER_ASSETS`, else the cache that `make setup-kubernetes` fills. */
export function kubernetesAssets(environment: NodeJS.ProcessEnv = process.env): string {
  return (
    environment["KUBEBUILDER_ASSETS"] ??
    join(environment["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "beyondfabric", "kubernetes-1.20.2-2")
  );
}

async function findProgram(candidates: readonly string[], remedy: string): Promise<string> {
  for (const candidate of candidates) {
    try {
      await access(candidate);
      return candidate;
    } catch {
      // the next place
    }
  }
  throw new LabError("LAB_MISSING_PROGRAM", `${candidates[0]} is missing; ${remedy}`);
}

/** Everything a lab's real control plane needs to know. Addresses: `loopback` is for etcd, which no node may reach. */
export interface KubernetesOptions {
  readonly directory: string;
  readonly address: string;
  readonly port: number;
  readonly loopback: string;
  readonly certificates: Certificates;
  readonly mark: Readonly<Record<string, string>>;
  /** User name the agents' token stands for. */
  readonly agentUser: string;
}

/** A real etcd and kube-apiserver (1.20 flags, RBAC), not started yet, and the token of the agents. */
export async function kubernetesProcesses(
  options: KubernetesOptions,
): Promise<{ etcd: SupervisedProcess; apiserver: SupervisedProcess; agentToken: string }> {
  const assets = kubernetesAssets();
  const apiserverProgram = await findProgram([join(assets, "kube-apiserver")], "build it with: make setup-kubernetes");
  const etcdProgram = await findProgram(
    [join(assets, "etcd"), "/usr/bin/etcd"],
    "install the package etcd-server: make setup-kubernetes",
  );
  const { directory, certificates, loopback } = options;
  await mkdir(directory, { recursive: true });
  const agentToken = randomBytes(24).toString("hex");
  const tokenFile = join(directory, "tokens.csv");
  await writeFile(
    tokenFile,
    `${agentToken},${options.agentUser},${options.agentUser},"system:serviceaccounts,system:authenticated"\n`,
    { mode: 0o600 },
  );
  const etcdClient = `http://${loopback}:2379`;
  const etcdPeer = `http://${loopback}:2380`;
  const etcd = new SupervisedProcess({
    name: "etcd",
    env: options.mark,
    logFile: join(directory, "etcd.log"),
    pidFile: join(directory, "etcd.pid"),
    command: [
      etcdProgram,
      "--name=lab",
      `--data-dir=${join(directory, "etcd")}`,
      `--listen-client-urls=${etcdClient}`,
      `--advertise-client-urls=${etcdClient}`,
      `--listen-peer-urls=${etcdPeer}`,
      `--initial-advertise-peer-urls=${etcdPeer}`,
      `--initial-cluster=lab=${etcdPeer}`,
      "--logger=zap",
      "--log-level=warn",
    ],
  });
  const apiserver = new SupervisedProcess({
    name: "apiserver",
    env: options.mark,
    logFile: join(directory, "apiserver.log"),
    pidFile: join(directory, "apiserver.pid"),
    command: [
      apiserverProgram,
      `--etcd-servers=${etcdClient}`,
      `--bind-address=${options.address}`,
      `--advertise-address=${options.address}`,
      `--secure-port=${options.port}`,
      "--insecure-port=0",
      `--tls-cert-file=${certificates.serverCertificate}`,
      `--tls-private-key-file=${certificates.serverKey}`,
      `--client-ca-file=${certificates.authority}`,
      `--token-auth-file=${tokenFile}`,
      "--authorization-mode=RBAC",
      "--anonymous-auth=true",
      `--service-account-key-file=${certificates.serviceAccountKey}`,
      `--service-account-signing-key-file=${certificates.serviceAccountKey}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      // No controllers run here that would create service accounts or take the not-ready taint off a new node.
      "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
      "--allow-privileged=true",
      "--profiling=false",
      "--event-ttl=1h",
    ],
  });
  return { etcd, apiserver, agentToken };
}
