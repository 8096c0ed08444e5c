/** The Kubernetes API as this project uses it. Our own kinds are in `@beyondfabric/kube/kinds`. */
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { inClusterConfig, loadKubeconfig, type ClusterConfig } from "./config.ts";
export type { Credentials } from "./credentials.ts";
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
export { LabelPool, LabelSet } from "./labels.ts";
export { ListWatch, type ListWatchHandlers, type ListWatchOptions } from "./list-watch.ts";
export {
  KubeClient,
  type DeleteOptions,
  type KubeClientOptions,
  type Manifest,
  type PageRequest,
  type PatchKind,
  type PatchOptions,
  type Preconditions,
  type RequestOptions,
} from "./request.ts";
export type { Resource, Selection } from "./resource.ts";
export {
  endpointSliceResources,
  endpointsResource,
  eventResource,
  leaseResource,
  namespaceResource,
  networkPolicyResource,
  nodeResource,
  podResource,
  serviceResource,
} from "./resources.ts";
export {
  compileSelector,
  parseSelector,
  Selector,
  type Labels,
  type ParsedSelector,
  type Requirement,
  type SelectorOperator,
} from "./selectors.ts";
export { Semaphore } from "./semaphore.ts";
export type { RecordListener, Records } from "./store.ts";
export type {
  KubeList,
  KubeObject,
  LabelSelector,
  LabelSelectorRequirement,
  ObjectMeta,
  OwnerReference,
  Status,
  StatusCause,
  StatusDetails,
} from "./types/meta.ts";
export type {
  Condition,
  Container,
  ContainerPort,
  Event,
  Namespace,
  Node,
  NodeAddress,
  ObjectReference,
  Pod,
} from "./types/core.ts";
export type { Lease } from "./types/coordination.ts";
export { systemClock, type Clock } from "./clock.ts";
