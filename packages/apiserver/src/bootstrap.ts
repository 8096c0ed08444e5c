/**
 * The objects that every cluster has from the beginning.
 */
import type { Operations } from "./operations.ts";
import type { Store } from "./store.ts";

const NAMESPACES = ["default", "kube-system", "kube-public", "kube-node-lease"];
const options = { dryRun: false, fieldManager: "beyondfabric-apiserver" };

/** Creates what is missing: the system namespaces, and the service `kubernetes`. */
export function clusterDefaults(operations: Operations, store: Store): void {
  const { catalogue } = operations;
  const namespaces = catalogue.get("namespaces");
  const services = catalogue.get("services");
  if (namespaces === undefined || services === undefined) return;
  for (const name of NAMESPACES) {
    if (store.get("namespaces", name) === undefined) {
      operations.create(namespaces, "v1", "", { metadata: { name } }, options);
    }
  }
  if (store.get("services", "default/kubernetes") === undefined) {
    const spec = { ports: [{ name: "https", port: 443, targetPort: 6443 }] };
    const metadata = { name: "kubernetes", labels: { component: "apiserver", provider: "kubernetes" } };
    operations.create(services, "v1", "default", { metadata, spec }, options);
  }
}
