/**
 * The columns of pods; the status column sums up phase, reasons and the states of the containers.
 */
import { numberOf, objectOf, objectsOf, textOf, type JsonObject } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { age } from "./duration.ts";

const text = { type: "string", format: "", priority: 0 };

/** Columns of `kubectl get pods`. */
export const podColumns = [
  { ...text, name: "Name", format: "name", description: "Name" },
  { ...text, name: "Ready", description: "Containers that are ready, and all" },
  { ...text, name: "Status", description: "Phase, or why it is not running" },
  { ...text, name: "Restarts", description: "Restarts of all containers, and when the last was" },
  { ...text, name: "Age", description: "Time since creation" },
  { ...text, name: "IP", description: "Address of the pod", priority: 1 },
  { ...text, name: "Node", description: "Node it runs on", priority: 1 },
  { ...text, name: "Nominated Node", description: "Node it may preempt others on", priority: 1 },
  { ...text, name: "Readiness Gates", description: "Gates that are true, and all", priority: 1 },
];

interface Summary {
  reason: string;
  ready: number;
  restarts: number;
  lastRestart: number;
}

function stateReason(state: JsonObject, prefix: string): string | undefined {
  const waiting = objectOf(state["waiting"]);
  const terminated = objectOf(state["terminated"]);
  if (textOf(waiting["reason"]) !== "") return `${prefix}${textOf(waiting["reason"])}`;
  if (state["terminated"] === undefined) return undefined;
  if (textOf(terminated["reason"]) !== "") return `${prefix}${textOf(terminated["reason"])}`;
  const signal = numberOf(terminated["signal"]);
  return signal === 0 ? `${prefix}ExitCode:${numberOf(terminated["exitCode"])}` : `${prefix}Signal:${signal}`;
}

function countRestarts(summary: Summary, container: JsonObject): void {
  summary.restarts += numberOf(container["restartCount"]);
  const finished = Date.parse(textOf(objectOf(objectOf(container["lastState"])["terminated"])["finishedAt"]));
  if (finished > summary.lastRestart) summary.lastRestart = finished;
}

/** The first init container that has not done its work decides the status. */
function initReason(pod: KubeObject, summary: Summary): boolean {
  const status = objectOf(pod["status"]);
  const total = objectsOf(objectOf(pod["spec"])["initContainers"]).length;
  for (const [index, container] of objectsOf(status["initContainerStatuses"]).entries()) {
    countRestarts(summary, container);
    const state = objectOf(container["state"]);
    const terminated = objectOf(state["terminated"]);
    if (state["terminated"] !== undefined && numberOf(terminated["exitCode"]) === 0) continue;
    const reason = stateReason(state, "Init:");
    summary.reason = reason === undefined || reason === "Init:PodInitializing" ? `Init:${index}/${total}` : reason;
    return true;
  }
  return false;
}

function summarise(pod: KubeObject): Summary {
  const status = objectOf(pod["status"]);
  const summary: Summary = { reason: "", ready: 0, restarts: 0, lastRestart: 0 };
  summary.reason = textOf(status["reason"], textOf(status["phase"], "Unknown"));
  if (!initReason(pod, summary)) {
    summary.restarts = 0;
    let running = false;
    for (const container of objectsOf(status["containerStatuses"]).reverse()) {
      countRestarts(summary, container);
      const state = objectOf(container["state"]);
      const reason = stateReason(state, "");
      if (reason !== undefined) summary.reason = reason;
      else if (container["ready"] === true && state["running"] !== undefined) {
        running = true;
        summary.ready++;
      }
    }
    if (summary.reason === "Completed" && running) {
      const ready = objectsOf(status["conditions"]).some(
        (condition) => condition["type"] === "Ready" && condition["status"] === "True",
      );
      summary.reason = ready ? "Running" : "NotReady";
    }
  }
  if (pod.metadata.deletionTimestamp !== undefined) {
    if (textOf(status["reason"]) === "NodeLost") summary.reason = "Unknown";
    else if (status["phase"] !== "Succeeded" && status["phase"] !== "Failed") summary.reason = "Terminating";
  }
  return summary;
}

/** The cells of a pod. */
export function podCells(pod: KubeObject, now: number): unknown[] {
  const spec = objectOf(pod["spec"]);
  const status = objectOf(pod["status"]);
  const { reason, ready, restarts, lastRestart } = summarise(pod);
  const total = objectsOf(spec["containers"]).length;
  const gates = objectsOf(spec["readinessGates"]).map((gate) => textOf(gate["conditionType"]));
  const passed = gates.filter((gate) =>
    objectsOf(status["conditions"]).some((condition) => condition["type"] === gate && condition["status"] === "True"),
  );
  const ip = textOf(objectOf(objectsOf(status["podIPs"])[0])["ip"], textOf(status["podIP"]));
  return [
    pod.metadata.name,
    `${ready}/${total}`,
    reason,
    restarts > 0 && lastRestart > 0
      ? `${restarts} (${age(new Date(lastRestart).toISOString(), now)} ago)`
      : String(restarts),
    age(pod.metadata.creationTimestamp, now),
    ip === "" ? "<none>" : ip,
    textOf(spec["nodeName"]) === "" ? "<none>" : textOf(spec["nodeName"]),
    textOf(status["nominatedNodeName"]) === "" ? "<none>" : textOf(status["nominatedNodeName"]),
    gates.length === 0 ? "<none>" : `${passed.length}/${gates.length}`,
  ];
}
