import type {
  Container,
  ContainerState,
  ContainerStatus,
  Pod,
  PodCondition,
  PodPhase,
  PodStatus,
  RestartPolicy,
} from "./pod-model.ts";

/** What the kubelet knows about one container of a pod. Times are milliseconds since the epoch. */
export interface ContainerFacts {
  readonly name: string;
  readonly state: "waiting" | "running" | "terminated";
  /** Why it waits, e.g. `ContainerCreating` or `CrashLoopBackOff`. */
  readonly waitingReason?: string;
  readonly id?: string;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly exitCode?: number;
  readonly restartCount: number;
  readonly last?: {
    readonly id: string;
    readonly exitCode: number;
    readonly startedAt: number;
    readonly finishedAt: number;
  };
  /** The readiness probe's opinion; a container without one is ready while it runs. */
  readonly ready: boolean;
}

/** All that a pod's status is made from. */
export interface PodFacts {
  readonly hostAddress: string;
  readonly addresses: readonly string[];
  readonly startedAt: number;
  readonly initContainers: readonly ContainerFacts[];
  readonly containers: readonly ContainerFacts[];
}

/** Is a container to be started again after it ended with this code (PodSpec.restartPolicy)? */
export function restarts(policy: RestartPolicy, exitCode: number): boolean {
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

/** Did every init container end well? */
export function initialised(facts: PodFacts): boolean {
  return facts.initContainers.every((container) => container.state === "terminated" && container.exitCode === 0);
}

/** The phase of a pod, by the rules of the Pod lifecycle documentation. */
export function podPhase(policy: RestartPolicy, facts: PodFacts): PodPhase {
  const failedInit = facts.initContainers.some(
    (container) => container.state === "terminated" && container.exitCode !== 0,
  );
  if (failedInit && policy === "Never") return "Failed";
  if (!initialised(facts)) return "Pending";
  const { containers } = facts;
  if (
    containers.some(
      (container) => container.state === "waiting" && container.restartCount === 0 && container.last === undefined,
    )
  )
    return "Pending";
  const over = containers.every(
    (container) => container.state === "terminated" && !restarts(policy, container.exitCode ?? 0),
  );
  if (!over) return "Running";
  return containers.every((container) => container.exitCode === 0) ? "Succeeded" : "Failed";
}

/**
 * The status to publish. `previous` is what the API server holds: transition times are kept while a condition does not change, and conditions
 * that others have set stay.
 */
export function podStatus(pod: Pod, facts: PodFacts, previous: PodStatus | undefined, nowMs: number): PodStatus {
  const policy = pod.spec.restartPolicy ?? "Always";
  const phase = podPhase(policy, facts);
  const finished = phase === "Succeeded" || phase === "Failed";
  const unready = facts.containers.filter((container) => !container.ready).map((container) => container.name);
  const containersReady: Verdict = finished
    ? { status: "False", reason: phase === "Succeeded" ? "PodCompleted" : "PodFailed" }
    : unready.length > 0
      ? {
          status: "False",
          reason: "ContainersNotReady",
          message: `containers with unready status: [${unready.join(" ")}]`,
        }
      : { status: "True" };
  const unmetGates = (pod.spec.readinessGates ?? []).filter(
    (gate) => previous?.conditions?.find((condition) => condition.type === gate.conditionType)?.status !== "True",
  );
  const ready: Verdict =
    containersReady.status === "True" && unmetGates.length > 0
      ? {
          status: "False",
          reason: "ReadinessGatesNotReady",
          message: `readiness gates not met: ${unmetGates.map((gate) => gate.conditionType).join(", ")}`,
        }
      : containersReady;
  const initialisedVerdict: Verdict = initialised(facts)
    ? { status: "True" }
    : { status: "False", reason: "ContainersNotInitialized" };
  const own: readonly [string, Verdict][] = [
    ["Initialized", initialisedVerdict],
    ["Ready", ready],
    ["ContainersReady", containersReady],
    ["PodScheduled", { status: "True" }],
  ];
  const conditions = own.map(([type, verdict]) => condition(type, verdict, previous?.conditions, nowMs));
  const foreign = (previous?.conditions ?? []).filter((item) => own.every(([type]) => type !== item.type));
  const [podIP] = facts.addresses;
  return {
    phase,
    conditions: [...conditions, ...foreign],
    hostIP: facts.hostAddress,
    ...(podIP === undefined ? {} : { podIP, podIPs: facts.addresses.map((ip) => ({ ip })) }),
    startTime: previous?.startTime ?? timestamp(facts.startedAt),
    ...(facts.initContainers.length === 0
      ? {}
      : {
          initContainerStatuses: facts.initContainers.map((item) =>
            containerStatus(item, pod.spec.initContainers ?? [], true),
          ),
        }),
    containerStatuses: facts.containers.map((item) => containerStatus(item, pod.spec.containers, false)),
  };
}

interface Verdict {
  readonly status: "True" | "False";
  readonly reason?: string;
  readonly message?: string;
}

function condition(
  type: string,
  verdict: Verdict,
  previous: readonly PodCondition[] | undefined,
  nowMs: number,
): PodCondition {
  const before = previous?.find((item) => item.type === type);
  const lastTransitionTime =
    before?.status === verdict.status && before.lastTransitionTime !== undefined
      ? before.lastTransitionTime
      : timestamp(nowMs);
  return { type, ...verdict, lastProbeTime: null, lastTransitionTime };
}

function containerStatus(facts: ContainerFacts, containers: readonly Container[], init: boolean): ContainerStatus {
  const image = containers.find((container) => container.name === facts.name)?.image ?? "";
  const done = init && facts.state === "terminated" && facts.exitCode === 0;
  return {
    name: facts.name,
    image,
    imageID: "",
    ...(facts.id === undefined ? {} : { containerID: `lab://${facts.id}` }),
    ready: init ? done : facts.state === "running" && facts.ready,
    started: facts.state === "running",
    restartCount: facts.restartCount,
    state: currentState(facts),
    lastState:
      facts.last === undefined
        ? {}
        : { terminated: terminated(facts.last.id, facts.last.exitCode, facts.last.startedAt, facts.last.finishedAt) },
  };
}

function currentState(facts: ContainerFacts): ContainerState {
  if (facts.state === "running") return { running: { startedAt: timestamp(facts.startedAt ?? 0) } };
  if (facts.state === "waiting") return { waiting: { reason: facts.waitingReason ?? "ContainerCreating" } };
  return { terminated: terminated(facts.id ?? "", facts.exitCode ?? 0, facts.startedAt ?? 0, facts.finishedAt ?? 0) };
}

function terminated(
  id: string,
  exitCode: number,
  startedAt: number,
  finishedAt: number,
): NonNullable<ContainerState["terminated"]> {
  return {
    exitCode,
    reason: exitCode === 0 ? "Completed" : "Error",
    startedAt: timestamp(startedAt),
    finishedAt: timestamp(finishedAt),
    containerID: `lab://${id}`,
  };
}

/** RFC 3339 with whole seconds, as Kubernetes writes times. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d{3}Z$/, "Z");
}
