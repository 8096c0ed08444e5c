/** The agent's own stores on a control plane that runs. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeClient, loadKubeconfig } from "@beyondfabric/kube";
import { hasFeature, type ControlPlane } from "../../../../apiserver/src/index.ts";
import type { RunningPlane } from "../../../../apiserver/test/harness.ts";
import { AddressStore } from "../../../src/directory/address-store.ts";
import { blockStore } from "../../../src/directory/block-store.ts";
import type { Stores } from "./store-cases.ts";

const root = join(import.meta.dirname, "../../../../..");

export async function storesOn(plane: ControlPlane, start: () => Promise<RunningPlane>): Promise<Stores> {
  const { client, stop } = await start();
  const kube = new KubeClient(loadKubeconfig(client.kubeconfig));
  const end = async (): Promise<void> => {
    await kube.close();
    await stop();
  };
  const generated = mkdtempSync(join(tmpdir(), "fabric-crds-"));
  try {
    const version = hasFeature(plane, "CEL validation rules") ? [] : ["--kubernetes", "1.20"];
    execFileSync(process.execPath, [join(root, "tools/generate-crds.ts"), ...version, "--out", generated]);
    await client.kubectlOk(["apply", "-f", generated]);
    await client.kubectlOk(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
  } catch (error) {
    await end();
    throw error;
  } finally {
    rmSync(generated, { recursive: true });
  }
  return { addresses: new AddressStore(kube), blocks: blockStore(kube), stop: end };
}
