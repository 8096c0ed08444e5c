/**
 * What each control plane of the lab can do, as data that tests read. The embedded server promises what stands here and
 * no more. The real one is Kubernetes 1.20 without controllers.
 */

/** The control planes of the lab. */
export type ControlPlane = "embedded" | "kubernetes-1.20";

/** One row of the table. */
export interface Feature {
  feature: string;
  embedded: boolean;
  "kubernetes-1.20": boolean;
  note: string;
}

/** The table. */
export const features: readonly Feature[] = [
  row("bookmarks", true, true, "watch with allowWatchBookmarks"),
  row("streaming lists", true, false, "watch with sendInitialEvents"),
  row("paged lists", true, true, "limit and continue, consistent within the history"),
  row("exact resource version lists", true, true, "resourceVersionMatch=Exact, within the history"),
  row("Table output", true, true, "columns of kubectl get, additionalPrinterColumns included"),
  row("PartialObjectMetadata", true, true, "lists and watches of metadata only"),
  row("JSON patch", true, true, ""),
  row("merge patch", true, true, ""),
  row("strategic merge patch", true, true, "built-in kinds; refused with 415 for custom resources"),
  row(
    "server-side apply",
    true,
    true,
    "embedded: ownership is tracked from the first apply on; fields set before it belong to nobody and never conflict",
  ),
  row("dry run", true, true, "dryRun=All"),
  row("field validation", true, false, "embedded: of custom resources; built-in kinds accept unknown fields"),
  row("protobuf requests", true, true, "embedded: the kinds that kubectl creates; answers are always JSON"),
  row("protobuf responses", false, true, "embedded: JSON, or 406 when nothing but protobuf is accepted"),
  row("CRD structural schemas", true, true, "types, required, enum, pattern, bounds, formats, allOf/anyOf/oneOf/not"),
  row("CRD defaulting", true, true, ""),
  row("CRD pruning", true, true, ""),
  row("CRD status subresource", true, true, ""),
  row("CRD scale subresource", false, true, ""),
  row("CRD conversion webhooks", false, true, "embedded: strategy None only"),
  row("CRD selectable fields", true, false, "field selectors over spec.versions[].selectableFields"),
  row(
    "CEL validation rules",
    true,
    false,
    "embedded: operators, has, list macros, strings, ip and cidr; rules that use more are ignored; no cost estimation, no messageExpression",
  ),
  row("ValidatingAdmissionPolicy", false, false, ""),
  row("admission webhooks", false, true, ""),
  row("endPort", true, false, "NetworkPolicy ports[].endPort; Kubernetes 1.20 drops the field"),
  row("EndpointSlice v1", true, false, "Kubernetes 1.20 serves discovery.k8s.io/v1beta1"),
  row("EndpointSlice v1beta1", false, true, ""),
  row("internalTrafficPolicy", true, false, "Service spec.internalTrafficPolicy"),
  row(
    "dual-stack services",
    true,
    false,
    "embedded: ipFamilyPolicy and one range per family; 1.20: behind a gate, other defaults",
  ),
  row("eviction v1", true, false, "Kubernetes 1.20 knows policy/v1beta1"),
  row("graceful pod deletion", true, true, "deletionTimestamp and the grace period; the kubelet removes the pod"),
  row("finalizers", true, true, ""),
  row(
    "namespace deletion",
    true,
    false,
    "embedded: the content goes too; the real one needs kube-controller-manager for it",
  ),
  row(
    "garbage collection",
    true,
    false,
    "owner references, foreground, background, orphan; the real one needs kube-controller-manager",
  ),
  row("default service accounts", true, false, "the real one needs kube-controller-manager"),
  row("service account tokens", false, true, "no TokenRequest, no token volumes in pods"),
  row("SelfSubjectReview", true, false, "kubectl auth whoami"),
  row("RBAC", false, true, "embedded: rules are stored, every authenticated user may do everything"),
  row("workload controllers", false, false, "Deployments and the like are stored; nothing acts upon them"),
  row("pod logs, exec, attach, portforward", false, false, "the lab's kubelets serve none; use fabric-lab exec"),
  row("scale subresource", false, true, "kubectl scale"),
  row("kubectl explain of built-in kinds", false, true, "embedded: custom resources only"),
];

function row(feature: string, embedded: boolean, kubernetes: boolean, note: string): Feature {
  return { feature, embedded, "kubernetes-1.20": kubernetes, note };
}

/** Whether a control plane has a feature. @throws RangeError for a feature that is not in the table */
export function hasFeature(controlPlane: ControlPlane, feature: string): boolean {
  const found = features.find((item) => item.feature === feature);
  if (found === undefined) throw new RangeError(`${JSON.stringify(feature)} is not in the table of features`);
  return found[controlPlane];
}
