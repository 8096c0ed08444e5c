export { type ComponentAction, Lab, type LabOptions, type PodRequest, podManifest, until } from "./lab.ts";
export { LabError, type LabErrorCode } from "./errors.ts";
export type { ControlPlaneKind } from "./config.ts";
export type { Pod, PodCondition, PodStatus } from "./kubelet/pod-model.ts";
export type { PodRecord } from "./kubelet/sandbox.ts";
export type { NodePaths } from "./names.ts";
export { type CommandResult, type RunOptions, sleep } from "./process/run.ts";
export type { ComponentStatus, LabStatus } from "./status-text.ts";
export type { NicAddresses } from "./topology/address-plan.ts";
