/**
 * Pod: the defaults and rules of core/v1 as far as a network, a scheduler and a kubelet depend on them.
 */
import {
  childObject,
  clone,
  deepEqual,
  isObject,
  listOf,
  objectOf,
  objectsOf,
  textOf,
  type JsonObject,
} from "../json.ts";
import { nameProblem } from "../object.ts";
import { fieldError, type StatusCause } from "../status.ts";
import type { Strategy } from "./strategy.ts";

function setDefault(object: JsonObject, field: string, value: unknown): void {
  if (object[field] === undefined || object[field] === null) object[field] = value;
}

function defaultProbe(probe: unknown): void {
  if (!isObject(probe)) return;
  setDefault(probe, "timeoutSeconds", 1);
  setDefault(probe, "periodSeconds", 10);
  setDefault(probe, "successThreshold", 1);
  setDefault(probe, "failureThreshold", 3);
  const httpGet = probe["httpGet"];
  if (isObject(httpGet)) {
    setDefault(httpGet, "path", "/");
    setDefault(httpGet, "scheme", "HTTP");
  }
}

function defaultContainer(container: JsonObject, hostNetwork: boolean): void {
  setDefault(container, "resources", {});
  setDefault(container, "terminationMessagePath", "/dev/termination-log");
  setDefault(container, "terminationMessagePolicy", "File");
  const image = textOf(container["image"]);
  const tag = /:([^:/@]+)$/.exec(image)?.[1];
  const latest = !image.includes("@") && (tag === undefined || tag === "latest");
  setDefault(container, "imagePullPolicy", latest ? "Always" : "IfNotPresent");
  for (const port of objectsOf(container["ports"])) {
    setDefault(port, "protocol", "TCP");
    if (hostNetwork) setDefault(port, "hostPort", port["containerPort"]);
  }
  for (const probe of ["livenessProbe", "readinessProbe", "startupProbe"]) defaultProbe(container[probe]);
}

/** Fills in the defaults of a pod template's or a pod's spec. */
export function defaultPodSpec(spec: JsonObject): void {
  setDefault(spec, "restartPolicy", "Always");
  setDefault(spec, "dnsPolicy", "ClusterFirst");
  setDefault(spec, "terminationGracePeriodSeconds", 30);
  setDefault(spec, "schedulerName", "default-scheduler");
  setDefault(spec, "securityContext", {});
  for (const list of ["initContainers", "containers"]) {
    for (const container of objectsOf(spec[list])) defaultContainer(container, spec["hostNetwork"] === true);
  }
}

const RESTART_POLICIES = ["Always", "OnFailure", "Never"];
const PROTOCOLS = ["TCP", "UDP", "SCTP"];
const DNS_POLICIES = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

function validPort(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65_535;
}

function validateContainer(container: JsonObject, field: string, names: Set<string>): StatusCause[] {
  const causes: StatusCause[] = [];
  const name = container["name"];
  if (typeof name !== "string" || name === "") causes.push(fieldError.required(`${field}.name`));
  else {
    const problem = nameProblem(name, "label");
    if (problem !== undefined) causes.push(fieldError.invalid(`${field}.name`, name, problem));
    if (names.has(name)) causes.push(fieldError.duplicate(`${field}.name`, name));
    names.add(name);
  }
  if (textOf(container["image"]) === "") causes.push(fieldError.required(`${field}.image`));
  for (const list of ["command", "args"]) {
    const value = container[list];
    if (value !== undefined && (!Array.isArray(value) || value.some((item) => typeof item !== "string"))) {
      causes.push(fieldError.type(`${field}.${list}`, value, "must be a list of strings"));
    }
  }
  objectsOf(container["ports"]).forEach((port, index) => {
    const at = `${field}.ports[${index}]`;
    if (!validPort(port["containerPort"])) {
      causes.push(
        fieldError.invalid(`${at}.containerPort`, port["containerPort"], "must be between 1 and 65535, inclusive"),
      );
    }
    if (!PROTOCOLS.includes(textOf(port["protocol"]))) {
      causes.push(fieldError.notSupported(`${at}.protocol`, port["protocol"], PROTOCOLS));
    }
    const portName = port["name"];
    if (
      portName !== undefined &&
      !(typeof portName === "string" && /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*$/.test(portName))
    ) {
      causes.push(
        fieldError.invalid(
          `${at}.name`,
          portName,
          "must be 1 to 15 lower case alphanumeric characters or '-', with at least one letter",
        ),
      );
    }
  });
  return causes;
}

function validateSpec(spec: JsonObject): StatusCause[] {
  const causes: StatusCause[] = [];
  const names = new Set<string>();
  const { containers, restartPolicy, dnsPolicy, nodeName } = spec;
  if (!Array.isArray(containers) || containers.length === 0) causes.push(fieldError.required("spec.containers"));
  for (const list of ["initContainers", "containers"]) {
    listOf(spec[list]).forEach((container, index) => {
      const field = `spec.${list}[${index}]`;
      if (isObject(container)) causes.push(...validateContainer(container, field, names));
      else causes.push(fieldError.type(field, container, "must be an object"));
    });
  }
  if (!RESTART_POLICIES.includes(textOf(restartPolicy))) {
    causes.push(fieldError.notSupported("spec.restartPolicy", restartPolicy, RESTART_POLICIES));
  }
  if (!DNS_POLICIES.includes(textOf(dnsPolicy))) {
    causes.push(fieldError.notSupported("spec.dnsPolicy", dnsPolicy, DNS_POLICIES));
  }
  if (nodeName !== undefined && nodeName !== "") {
    const problem = typeof nodeName === "string" ? nameProblem(nodeName, "subdomain") : "must be a string";
    if (problem !== undefined) causes.push(fieldError.invalid("spec.nodeName", nodeName, problem));
  }
  const grace = spec["terminationGracePeriodSeconds"];
  if (typeof grace !== "number" || !Number.isInteger(grace)) {
    causes.push(fieldError.type("spec.terminationGracePeriodSeconds", grace, "must be an integer"));
  }
  return causes;
}

/** The spec with the fields that an update may change taken from another spec. */
function withMutableFields(spec: JsonObject, from: JsonObject): JsonObject {
  const result = clone(spec);
  for (const list of ["initContainers", "containers"]) {
    const source = objectsOf(from[list]);
    objectsOf(result[list]).forEach((container, index) => {
      const image = source[index]?.["image"];
      if (image !== undefined) container["image"] = image;
    });
  }
  for (const field of ["activeDeadlineSeconds", "tolerations", "ephemeralContainers"]) {
    if (from[field] === undefined) delete result[field];
    else result[field] = from[field];
  }
  return result;
}

/** The behaviour of pods. */
export const podStrategy: Strategy = {
  prepareCreate(pod) {
    const spec = childObject(pod, "spec");
    defaultPodSpec(spec);
    setDefault(spec, "enableServiceLinks", true);
    setDefault(spec, "serviceAccountName", textOf(spec["serviceAccount"], "default"));
    setDefault(spec, "serviceAccount", spec["serviceAccountName"]);
    setDefault(spec, "priority", 0);
    setDefault(spec, "preemptionPolicy", "PreemptLowerPriority");
    const tolerations = [...objectsOf(spec["tolerations"])];
    for (const key of ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]) {
      const tolerated = tolerations.some(
        (item) =>
          (item["key"] === key || (item["operator"] === "Exists" && (item["key"] ?? "") === "")) &&
          ["", "NoExecute"].includes(textOf(item["effect"])),
      );
      if (!tolerated) tolerations.push({ key, operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 });
    }
    spec["tolerations"] = tolerations;
    pod["status"] = { phase: "Pending", qosClass: qosClass(spec) };
  },
  prepareUpdate(pod, old) {
    const spec = childObject(pod, "spec");
    defaultPodSpec(spec);
    pod["status"] = old["status"];
    // What creation filled in and a replacement may leave out.
    const before = objectOf(old["spec"]);
    for (const field of [
      "enableServiceLinks",
      "serviceAccountName",
      "serviceAccount",
      "priority",
      "preemptionPolicy",
    ]) {
      if (spec[field] === undefined && before[field] !== undefined) spec[field] = before[field];
    }
    if (spec["nodeName"] === undefined && before["nodeName"] !== undefined) spec["nodeName"] = before["nodeName"];
    if (spec["tolerations"] === undefined && before["tolerations"] !== undefined) {
      spec["tolerations"] = before["tolerations"];
    }
  },
  validate(pod) {
    return validateSpec(objectOf(pod["spec"]));
  },
  validateUpdate(pod, old) {
    const spec = objectOf(pod["spec"]);
    const before = objectOf(old["spec"]);
    if (deepEqual(withMutableFields(before, spec), spec)) return [];
    return [
      fieldError.forbidden(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)",
      ),
    ];
  },
  validateStatus(pod) {
    completeStatus(childObject(pod, "status"));
    return [];
  },
  gracePeriod(pod, asked) {
    const spec = objectOf(pod["spec"]);
    const phase = objectOf(pod["status"])["phase"];
    if (textOf(spec["nodeName"]) === "" || phase === "Succeeded" || phase === "Failed") return 0;
    const own = spec["terminationGracePeriodSeconds"];
    const seconds = asked ?? (typeof own === "number" ? own : 30);
    return seconds < 0 ? 1 : seconds;
  },
};

/** Fields that clients may rely on being there. */
function completeStatus(status: JsonObject): void {
  for (const condition of objectsOf(status["conditions"])) {
    setDefault(condition, "lastProbeTime", null);
    setDefault(condition, "lastTransitionTime", null);
  }
  for (const list of ["containerStatuses", "initContainerStatuses"]) {
    for (const container of objectsOf(status[list])) {
      setDefault(container, "image", "");
      setDefault(container, "imageID", "");
      setDefault(container, "lastState", {});
      setDefault(container, "ready", false);
      setDefault(container, "restartCount", 0);
      setDefault(container, "state", {});
    }
  }
}

function qosClass(spec: JsonObject): string {
  const containers = [...objectsOf(spec["containers"]), ...objectsOf(spec["initContainers"])];
  const some = containers.some((container) => {
    const resources = objectOf(container["resources"]);
    return Object.keys(objectOf(resources["requests"])).length + Object.keys(objectOf(resources["limits"])).length > 0;
  });
  if (!some) return "BestEffort";
  const guaranteed = containers.every((container) => {
    const limits = objectOf(objectOf(container["resources"])["limits"]);
    const requests = objectOf(objectOf(container["resources"])["requests"]);
    return ["cpu", "memory"].every(
      (name) => limits[name] !== undefined && (requests[name] === undefined || deepEqual(requests[name], limits[name])),
    );
  });
  return guaranteed ? "Guaranteed" : "Burstable";
}
