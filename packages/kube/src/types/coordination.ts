/** `coordination.k8s.io/v1`, the fields that we read. */
import type { KubeObject } from "./meta.ts";

/** A node's lease in `kube-node-lease` says when its kubelet was last heard of. */
export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    /** RFC 3339 with microseconds */
    readonly acquireTime?: string;
    readonly renewTime?: string;
  };
}
