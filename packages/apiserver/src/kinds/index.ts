/**
 * Which behaviour belongs to which built-in resource.
 */
import {
  configMapStrategy,
  endpointSliceStrategy,
  endpointsStrategy,
  eventStrategy,
  namespaceStrategy,
  networkPolicyStrategy,
  nodeStrategy,
  priorityClassStrategy,
  secretStrategy,
  statusOnlyStrategy,
  workloadStrategy,
} from "./cluster.ts";
import { podStrategy } from "./pod.ts";
import { serviceStrategy, type ServiceList, type ServiceRange } from "./service.ts";
import type { Strategy } from "./strategy.ts";

/** The behaviours by resource key; resources that are not listed have none of their own. */
export function builtInStrategies(ranges: readonly ServiceRange[], services: ServiceList): Map<string, Strategy> {
  return new Map<string, Strategy>([
    ["namespaces", namespaceStrategy],
    ["nodes", nodeStrategy],
    ["pods", podStrategy],
    ["services", serviceStrategy(ranges, services)],
    ["secrets", secretStrategy],
    ["configmaps", configMapStrategy],
    ["events", eventStrategy],
    ["endpoints", endpointsStrategy],
    ["networkpolicies.networking.k8s.io", networkPolicyStrategy],
    ["endpointslices.discovery.k8s.io", endpointSliceStrategy],
    ["priorityclasses.scheduling.k8s.io", priorityClassStrategy],
    ["deployments.apps", workloadStrategy],
    ["replicasets.apps", workloadStrategy],
    ["statefulsets.apps", workloadStrategy],
    ["daemonsets.apps", workloadStrategy],
    ["jobs.batch", workloadStrategy],
    ["cronjobs.batch", workloadStrategy],
    ["ingresses.networking.k8s.io", statusOnlyStrategy],
    ["poddisruptionbudgets.policy", statusOnlyStrategy],
    ["resourcequotas", statusOnlyStrategy],
  ]);
}
