import { existsSync } from "node:fs";
import { join } from "node:path";
import { readManifests } from "../config.ts";
import { LabError } from "../errors.ts";
import { LabApi } from "../lab-api.ts";
import { CHECKOUT, type LabNames } from "../names.ts";
import { sleep } from "../process/run.ts";
import type { SupervisedProcess } from "../process/supervised-process.ts";
import { labMark, type LabSpec } from "../supervisor/lab-spec.ts";
import { gatewayAddress } from "../topology/address-plan.ts";
import { createCertificates, writeKubeconfig } from "./certificates.ts";
import { embeddedProcess } from "./embedded.ts";
import { kubernetesProcesses } from "./kubernetes.ts";

/** Port of the API server on the management network. */
export const API_PORT = 6443;

/** Roles of the agents in a real cluster; absent while a checkout has none. */
const AGENT_ROLES = join(CHECKOUT, "deploy", "rbac.yaml");

/** A started control plane. */
export interface ControlPlane {
  readonly processes: readonly SupervisedProcess[];
  readonly api: LabApi;
  /** Kubeconfig for the agents: with their own roles where the server enforces roles and the checkout has them. */
  readonly agentKubeconfig: string;
}

/** Starts a control plane and returns when it is ready; the administrator's kubeconfig is then at `names.kubeconfig`. */
export async function startControlPlane(
  names: LabNames,
  spec: LabSpec,
  processes: SupervisedProcess[],
): Promise<ControlPlane> {
  const directory = join(names.directory, "control-plane");
  const address = gatewayAddress(spec.index);
  const certificates = await createCertificates(join(directory, "pki"), [address, "127.0.0.1", "10.96.0.1"]);
  const server = `https://${address}:${API_PORT}`;
  await writeKubeconfig(names.kubeconfig, server, certificates.authority, {
    certificate: certificates.adminCertificate,
    key: certificates.adminKey,
  });
  const mark = labMark(names.lab);
  let agentKubeconfig = names.kubeconfig;
  if (spec.config.controlPlane === "kubernetes") {
    const agentUser = agentRoleUser();
    const started = await kubernetesProcesses({
      directory,
      address,
      port: API_PORT,
      loopback: `127.31.${spec.index}.1`,
      certificates,
      mark,
      agentUser: agentUser ?? "fabric-node",
    });
    processes.push(started.etcd, started.apiserver);
    if (agentUser !== undefined) {
      agentKubeconfig = join(directory, "agent.kubeconfig");
      await writeKubeconfig(agentKubeconfig, server, certificates.authority, { token: started.agentToken });
    }
  } else {
    processes.push(await embeddedProcess({ directory, address, port: API_PORT, certificates, mark }));
  }
  for (const process of processes) await process.start();
  const api = new LabApi(names.kubeconfig);
  await untilReady(api, processes);
  if (agentKubeconfig !== names.kubeconfig) await api.apply(readManifests(AGENT_ROLES));
  return { processes, api, agentKubeconfig };
}

/** The user that the agents' roles are bound to: a service account's user name. */
function agentRoleUser(): string | undefined {
  if (!existsSync(AGENT_ROLES)) return undefined;
  for (const manifest of readManifests(AGENT_ROLES)) {
    if (manifest.kind !== "ClusterRoleBinding") continue;
    const subjects = (manifest["subjects"] ?? []) as { kind?: string; name?: string; namespace?: string }[];
    const account = subjects.find((subject) => subject.kind === "ServiceAccount");
    if (account !== undefined) return `system:serviceaccount:${account.namespace ?? "default"}:${account.name ?? ""}`;
  }
  return undefined;
}

const READY_TIMEOUT_MS = 60_000;

async function untilReady(api: LabApi, processes: readonly SupervisedProcess[]): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(await api.ready())) {
    const failed = processes.find((process) => process.exits >= 3);
    if (failed === undefined && performance.now() < deadline) {
      await sleep(50);
      continue;
    }
    const culprit = failed ?? processes.at(-1)!;
    throw new LabError(
      "LAB_COMPONENT_FAILED",
      `${culprit.name} did not become ready (ended ${culprit.exits} times); its log ends with:\n${culprit.logTail()}`,
    );
  }
}
