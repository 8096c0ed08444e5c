/** Objects of ours with what is needed beside their meaning: to remember them, and to write their status only when it changes. */
import type { Parsed, Violation } from "@beyondfabric/kube/kinds";

/** What an object's status says of a condition. */
export interface ConditionRecord {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

/** An object as the watch shows it, sound or not. */
export interface Stored<T> {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** What it means; undefined for an object that breaks rules by itself. */
  readonly value: T | undefined;
  readonly violations: readonly Violation[];
  /** What is remembered of it: the object without managed fields, status and the like. */
  readonly raw: unknown;
  readonly status: Readonly<Record<string, unknown>>;
  readonly finalizers: readonly string[];
  /** Somebody has deleted it; it stays until its finalizers are gone. */
  readonly deleting: boolean;
}

export function storedObject<T>(kind: string, raw: unknown, parsed: Parsed<T>): Stored<T> {
  const { metadata, spec, status } = fieldsOf(raw);
  const { name, uid, creationTimestamp, deletionTimestamp, generation, finalizers } = fieldsOf(metadata);
  return {
    kind,
    name: typeof name === "string" ? name : "",
    uid: typeof uid === "string" ? uid : "",
    generation: typeof generation === "number" ? generation : 0,
    value: parsed.ok ? parsed.value : undefined,
    violations: parsed.ok ? [] : parsed.violations,
    raw: { metadata: { name, uid, creationTimestamp, deletionTimestamp, generation }, spec },
    status: fieldsOf(status),
    finalizers: Array.isArray(finalizers) ? finalizers.filter((each) => typeof each === "string") : [],
    deleting: typeof deletionTimestamp === "string",
  };
}

/** The conditions of a status; what is none of them is left out. */
export function conditionsOf(status: Readonly<Record<string, unknown>>): ConditionRecord[] {
  const { conditions } = status;
  if (!Array.isArray(conditions)) return [];
  return conditions.map(fieldsOf).flatMap((each) => {
    const { type, status: state, reason, message, lastTransitionTime, observedGeneration } = each;
    if (typeof type !== "string" || typeof state !== "string") return [];
    return [
      {
        type,
        status: state,
        reason: typeof reason === "string" ? reason : "",
        message: typeof message === "string" ? message : "",
        lastTransitionTime: typeof lastTransitionTime === "string" ? lastTransitionTime : "",
        ...(typeof observedGeneration === "number" ? { observedGeneration } : {}),
      },
    ];
  });
}

/**
 * The conditions with one of them as it is now. The time of the transition is kept while the status is the same, after the
 * API conventions.
 */
export function withCondition(
  conditions: readonly ConditionRecord[],
  now: Omit<ConditionRecord, "lastTransitionTime">,
  time: number,
): ConditionRecord[] {
  const before = conditions.find((each) => each.type === now.type);
  const lastTransitionTime =
    before?.status === now.status && before.lastTransitionTime !== ""
      ? before.lastTransitionTime
      : new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
  const next = { ...now, lastTransitionTime };
  const others = conditions.filter((each) => each.type !== now.type);
  return [...others, next].sort((a, b) => (a.type < b.type ? -1 : 1));
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
