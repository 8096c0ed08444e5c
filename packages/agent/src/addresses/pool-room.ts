/** Says of a pool that it is too small for a workload when the first pod of a template comes, not when a roll-out hangs. */
import type { EventTarget, KubeClient } from "@beyondfabric/kube";
import { daemonSetResource, deploymentResource } from "../directory/owner-states.ts";
import type { OwnPodRecord } from "../directory/records.ts";
import { poolRoom } from "../ipam/candidates.ts";
import type { AddressingPlan, NamedPlan } from "../ipam/choice.ts";
import type { Logger } from "../log.ts";
import type { AddressEvents } from "./events.ts";

export interface PoolRoomOptions {
  readonly client: Pick<KubeClient, "get">;
  readonly events: AddressEvents;
  readonly logger: Logger;
}

/** Templates that have been looked at; the oldest are forgotten. */
const maxSeen = 1000;

export class PoolRoom {
  readonly #options: PoolRoomOptions;
  readonly #seen = new Set<string>();

  constructor(options: PoolRoomOptions) {
    this.#options = options;
  }

  /** A pod is about to get addresses. Returns at once; what there is to say becomes an Event. */
  look(pod: OwnPodRecord, plan: AddressingPlan): void {
    if (plan.kind !== "named" || pod.controller === undefined) return;
    const { kind } = plan.owner;
    if (kind !== "Deployment" && kind !== "DaemonSet") return;
    // Each template of a Deployment has a ReplicaSet of its own, which controls its pods.
    const hash = pod.labels.get("controller-revision-hash") ?? "";
    const key = `${pod.controller.uid}/${hash}/${sizeOf(plan)}`;
    if (this.#seen.has(key)) return;
    const [oldest] = this.#seen;
    if (this.#seen.size >= maxSeen && oldest !== undefined) this.#seen.delete(oldest);
    this.#seen.add(key);
    this.#judge(plan).catch((error: unknown) => {
      this.#seen.delete(key);
      this.#options.logger.debug({ err: error, owner: plan.owner }, "room of a pool not judged");
    });
  }

  async #judge(plan: NamedPlan): Promise<void> {
    const { client, events } = this.#options;
    const { namespace, name } = plan.owner;
    const kind = plan.owner.kind === "Deployment" ? "Deployment" : "DaemonSet";
    const resource = kind === "Deployment" ? deploymentResource : daemonSetResource;
    const raw = await client.get<unknown>(resource, name, namespace);
    const { replicas, maxSurge } = rolloutOf(kind, raw);
    const problem = poolRoom(replicas, maxSurge, sizeOf(plan));
    if (problem === undefined) return;
    const what = plan.pool === undefined ? plan.source : `IPPool ${plan.pool}`;
    const target: EventTarget = { apiVersion: "apps/v1", kind, namespace, name, ...uidOf(raw) };
    events.poolTooSmall(target, plan.pool, `${kind} ${namespace}/${name} and ${what}: ${problem}`);
  }
}

/** Addresses of the family that has fewer. */
function sizeOf({ candidates }: NamedPlan): bigint {
  return candidates.reduce((least, { count }) => (count < least ? count : least), candidates[0]?.count ?? 0n);
}

/** How many pods a workload runs, and how many more while it is updated, with the defaults of apps/v1. */
export function rolloutOf(
  kind: "Deployment" | "DaemonSet",
  raw: unknown,
): { replicas: number; maxSurge: number | string } {
  const { spec, status } = fieldsOf(raw);
  if (kind === "DaemonSet") {
    const { maxSurge } = fieldsOf(fieldsOf(fieldsOf(spec)["updateStrategy"])["rollingUpdate"]);
    return { replicas: wholeNumber(fieldsOf(status)["desiredNumberScheduled"], 0), maxSurge: surge(maxSurge, 0) };
  }
  const { replicas, strategy } = fieldsOf(spec);
  const { type, rollingUpdate } = fieldsOf(strategy);
  const maxSurge = type === "Recreate" ? 0 : surge(fieldsOf(rollingUpdate)["maxSurge"], "25%");
  return { replicas: wholeNumber(replicas, 1), maxSurge };
}

function surge(value: unknown, standard: number | string): number | string {
  return typeof value === "number" || typeof value === "string" ? value : standard;
}

function wholeNumber(value: unknown, standard: number): number {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : standard;
}

function uidOf(raw: unknown): { uid: string } | Record<string, never> {
  const { uid } = fieldsOf(fieldsOf(raw)["metadata"]);
  return typeof uid === "string" ? { uid } : {};
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
