import type { Manifest } from "../config.ts";

/** What a lab has when its configuration does not say otherwise: one VXLAN overlay, one dual-stack subnet for everybody. */
export const DEFAULT_MANIFESTS: readonly Manifest[] = [
  {
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "Network",
    metadata: { name: "overlay" },
    spec: { type: "Overlay", encapsulation: "VXLAN" },
  },
  {
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "Subnet",
    metadata: { name: "default" },
    spec: { network: "overlay", cidrs: ["10.244.0.0/16", "fd00:244::/64"], default: true },
  },
];
