/** The Kubernetes API as this project uses it. Our own kinds are in `@beyondfabric/kube/kinds`. */
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { inClusterConfig, loadKubeconfig, type ClusterConfig, type Credentials } from "./config.ts";
export {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  KubeApiError,
  KubeError,
  type KubeErrorCode,
} from "./errors.ts";
export { EventRecorder, type EventRecorderOptions, type EventTarget } from "./events.ts";
export { ListWatch, type ListWatchHandlers, type ListWatchOptions } from "./list-watch.ts";
export {
  KubeClient,
  type Manifest,
  type PatchKind,
  type Preconditions,
  type RequestOptions,
  type Resource,
  type Selection,
} from "./request.ts";
export { eventResource, namespaceResource, nodeResource, podResource } from "./resources.ts";
