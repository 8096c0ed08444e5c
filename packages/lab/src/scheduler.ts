import type { Node, Pod } from "./kubelet/pod-model.ts";

/** Waits for a node: not bound, not on its way out, not ended, and meant for the scheduler that the lab plays. */
export function awaitsNode(pod: Pod): boolean {
  const { schedulerName } = pod.spec;
  return (
    (pod.spec.nodeName ?? "") === "" &&
    pod.metadata.deletionTimestamp === undefined &&
    pod.status?.phase !== "Failed" &&
    (schedulerName === undefined || schedulerName === "" || schedulerName === "default-scheduler")
  );
}

/** Is the node ready and willing to take pods? */
export function isSchedulable(node: Node): boolean {
  const ready = node.status?.conditions?.find((condition) => condition.type === "Ready")?.status === "True";
  return ready && node.spec?.unschedulable !== true && node.metadata.deletionTimestamp === undefined;
}

/**
 * Chooses a node for a pod: of the schedulable ones that match its nodeSelector the one with the fewest pods, the first by name among equals.
 * Text says why there is none.
 */
export function chooseNode(
  pod: Pod,
  nodes: readonly Node[],
  podCounts: ReadonlyMap<string, number>,
): { readonly node: string } | { readonly reason: string } {
  const selector = Object.entries(pod.spec.nodeSelector ?? {});
  const ready = nodes.filter(isSchedulable);
  const matching = ready.filter((node) => selector.every(([key, value]) => node.metadata.labels?.[key] === value));
  const [first] = matching
    .map((node) => node.metadata.name)
    .sort((a, b) => (podCounts.get(a) ?? 0) - (podCounts.get(b) ?? 0) || a.localeCompare(b, "en", { numeric: true }));
  if (first !== undefined) return { node: first };
  const unready = nodes.length - ready.length;
  return {
    reason: `0/${nodes.length} nodes are available: ${unready} not ready or unschedulable, ${ready.length - matching.length} did not match the pod's node selector.`,
  };
}
