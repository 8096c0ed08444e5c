/**
 * Namespace, Node and the small kinds: defaults and rules.
 */
import { childObject, isObject, listOf, numberOf, objectOf, objectsOf, textOf } from "../json.ts";
import { fieldError, type StatusCause } from "../status.ts";
import { defaultPodSpec } from "./pod.ts";
import type { Strategy } from "./strategy.ts";

/** Namespaces: the label with their own name, the finalizer, the phase. */
export const namespaceStrategy: Strategy = {
  prepareCreate(namespace) {
    const name = namespace.metadata.name ?? "";
    namespace.metadata.labels = { ...namespace.metadata.labels, "kubernetes.io/metadata.name": name };
    namespace["spec"] = { finalizers: ["kubernetes"] };
    namespace["status"] = { phase: "Active" };
  },
  prepareUpdate(namespace, old) {
    const name = namespace.metadata.name ?? "";
    namespace.metadata.labels = { ...namespace.metadata.labels, "kubernetes.io/metadata.name": name };
    namespace["spec"] = old["spec"];
    namespace["status"] = old["status"];
  },
};

/** Nodes: a kubelet registers itself with a status, so creation keeps it. */
export const nodeStrategy: Strategy = {
  prepareCreate(node) {
    childObject(node, "spec");
    completeNodeStatus(node);
  },
  prepareUpdate(node, old) {
    childObject(node, "spec");
    node["status"] = old["status"];
  },
  validateStatus(node) {
    completeNodeStatus(node);
    return [];
  },
  validateUpdate(node, old) {
    const causes: StatusCause[] = [];
    const before = objectOf(old["spec"]);
    const after = objectOf(node["spec"]);
    for (const field of ["podCIDR", "providerID"]) {
      const had = textOf(before[field]);
      if (had !== "" && had !== textOf(after[field])) {
        causes.push(fieldError.forbidden(`spec.${field}`, "node updates may not change it once set"));
      }
    }
    return causes;
  },
  validate(node) {
    return objectsOf(objectOf(node["spec"])["taints"]).flatMap((taint, index) => {
      const effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
      return effects.includes(textOf(taint["effect"]))
        ? []
        : [fieldError.notSupported(`spec.taints[${index}].effect`, taint["effect"], effects)];
    });
  },
};

const NODE_INFO = [
  "architecture",
  "bootID",
  "containerRuntimeVersion",
  "kernelVersion",
  "kubeProxyVersion",
  "kubeletVersion",
  "machineID",
  "operatingSystem",
  "osImage",
  "systemUUID",
];

/** Fields that clients may rely on being there. */
function completeNodeStatus(node: { [field: string]: unknown }): void {
  const status = childObject(node, "status");
  childObject(childObject(status, "daemonEndpoints"), "kubeletEndpoint")["Port"] ??= 0;
  const info = childObject(status, "nodeInfo");
  for (const field of NODE_INFO) info[field] ??= "";
  for (const condition of objectsOf(status["conditions"])) {
    condition["lastHeartbeatTime"] ??= null;
    condition["lastTransitionTime"] ??= null;
  }
}

/** Secrets: `stringData` is folded into `data`. */
export const secretStrategy: Strategy = {
  prepareCreate: foldStringData,
  prepareUpdate: foldStringData,
  validate(secret) {
    return Object.entries(objectOf(secret["data"])).flatMap(([key, value]) =>
      typeof value === "string" && /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(value)
        ? []
        : [fieldError.invalid(`data[${key}]`, "<redacted>", "must be a base64 string")],
    );
  },
};

function foldStringData(secret: { [field: string]: unknown }): void {
  secret["type"] ??= "Opaque";
  const plain = secret["stringData"];
  if (!isObject(plain)) return;
  const data = childObject(secret, "data");
  for (const [key, value] of Object.entries(plain)) data[key] = Buffer.from(textOf(value)).toString("base64");
  delete secret["stringData"];
}

/** ConfigMaps: values are strings. */
export const configMapStrategy: Strategy = {
  validate(configMap) {
    const causes: StatusCause[] = [];
    for (const field of ["data", "binaryData"]) {
      const value = configMap[field];
      if (value === undefined || value === null) continue;
      if (!isObject(value)) causes.push(fieldError.type(field, value, "must be a map of strings"));
      else {
        for (const [key, member] of Object.entries(value)) {
          if (typeof member !== "string") causes.push(fieldError.type(`${field}[${key}]`, member, "must be a string"));
        }
      }
    }
    return causes;
  },
};

/** NetworkPolicies: `policyTypes` follows from which sections stand there; ports are TCP unless they say otherwise. */
export const networkPolicyStrategy: Strategy = {
  prepareCreate: completeNetworkPolicy,
  prepareUpdate: completeNetworkPolicy,
  validate(policy) {
    const causes: StatusCause[] = [];
    const spec = objectOf(policy["spec"]);
    if (!isObject(spec["podSelector"])) causes.push(fieldError.required("spec.podSelector"));
    listOf(spec["policyTypes"]).forEach((type, index) => {
      if (type !== "Ingress" && type !== "Egress") {
        causes.push(fieldError.notSupported(`spec.policyTypes[${index}]`, type, ["Egress", "Ingress"]));
      }
    });
    for (const [section, side] of [
      ["ingress", "from"],
      ["egress", "to"],
    ] as const) {
      objectsOf(spec[section]).forEach((rule, ruleIndex) => {
        const at = `spec.${section}[${ruleIndex}]`;
        objectsOf(rule["ports"]).forEach((port, index) => causes.push(...policyPort(port, `${at}.ports[${index}]`)));
        objectsOf(rule[side]).forEach((peer, index) => causes.push(...policyPeer(peer, `${at}.${side}[${index}]`)));
      });
    }
    return causes;
  },
};

function completeNetworkPolicy(policy: { [field: string]: unknown }): void {
  const spec = childObject(policy, "spec");
  if (listOf(spec["policyTypes"]).length === 0) {
    spec["policyTypes"] = listOf(spec["egress"]).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  }
  for (const section of ["ingress", "egress"]) {
    for (const rule of objectsOf(spec[section]))
      for (const port of objectsOf(rule["ports"])) port["protocol"] ??= "TCP";
  }
}

function policyPort(port: { [field: string]: unknown }, field: string): StatusCause[] {
  const causes: StatusCause[] = [];
  const { port: number, endPort, protocol } = port;
  if (!["TCP", "UDP", "SCTP"].includes(textOf(protocol))) {
    causes.push(fieldError.notSupported(`${field}.protocol`, protocol, ["SCTP", "TCP", "UDP"]));
  }
  const inRange = (value: unknown): boolean =>
    Number.isInteger(value) && numberOf(value) >= 1 && numberOf(value) <= 65_535;
  if (typeof number === "number" && !inRange(number)) {
    causes.push(fieldError.invalid(`${field}.port`, number, "must be between 1 and 65535, inclusive"));
  } else if (number !== undefined && typeof number !== "number" && typeof number !== "string") {
    causes.push(fieldError.type(`${field}.port`, number, "must be an integer or a string"));
  }
  if (endPort !== undefined) {
    if (typeof number !== "number") {
      causes.push(
        fieldError.invalid(`${field}.endPort`, endPort, "may not be specified when `port` is non-numeric or absent"),
      );
    } else if (!inRange(endPort)) {
      causes.push(fieldError.invalid(`${field}.endPort`, endPort, "must be between 1 and 65535, inclusive"));
    } else if (numberOf(endPort) < number) {
      causes.push(fieldError.invalid(`${field}.endPort`, endPort, "must be greater than or equal to `port`"));
    }
  }
  return causes;
}

function policyPeer(peer: { [field: string]: unknown }, field: string): StatusCause[] {
  const { ipBlock, podSelector, namespaceSelector } = peer;
  if (ipBlock === undefined && podSelector === undefined && namespaceSelector === undefined) {
    return [fieldError.required(field, "must specify a peer")];
  }
  if (ipBlock === undefined) return [];
  if (podSelector !== undefined || namespaceSelector !== undefined) {
    return [fieldError.forbidden(field, "may not specify both ipBlock and another peer")];
  }
  return textOf(objectOf(ipBlock)["cidr"]) === "" ? [fieldError.required(`${field}.ipBlock.cidr`)] : [];
}

/** Events: about an object of their own namespace. */
export const eventStrategy: Strategy = {
  prepareCreate: completeEvent,
  prepareUpdate: completeEvent,
  validate(event) {
    const namespace = textOf(objectOf(event["involvedObject"])["namespace"]);
    const own = event.metadata.namespace ?? "";
    return namespace === own || (namespace === "" && own === "default")
      ? []
      : [fieldError.invalid("involvedObject.namespace", namespace, "does not match event.namespace")];
  },
};

function completeEvent(event: { [field: string]: unknown }): void {
  for (const field of ["eventTime", "firstTimestamp", "lastTimestamp"]) event[field] ??= null;
  for (const field of ["reportingComponent", "reportingInstance"]) event[field] ??= "";
  childObject(event, "source");
}

/** Workloads: their pod template gets a pod's defaults. There are no controllers that act upon them. */
export const workloadStrategy: Strategy = {
  prepareCreate(workload) {
    completeWorkload(workload);
    workload["status"] = {};
  },
  prepareUpdate(workload, old) {
    completeWorkload(workload);
    workload["status"] = old["status"];
  },
  validate(workload) {
    if (workload.kind === "CronJob" || workload.kind === "Job") return [];
    return isObject(objectOf(workload["spec"])["selector"]) ? [] : [fieldError.required("spec.selector")];
  },
};

function completeWorkload(workload: { [field: string]: unknown }): void {
  const spec = childObject(workload, "spec");
  if (workload["kind"] !== "DaemonSet" && workload["kind"] !== "Job" && workload["kind"] !== "CronJob") {
    spec["replicas"] ??= 1;
  }
  if (workload["kind"] !== "ReplicaSet" && workload["kind"] !== "Job" && workload["kind"] !== "CronJob") {
    spec["revisionHistoryLimit"] ??= 10;
  }
  if (workload["kind"] === "Deployment") {
    spec["progressDeadlineSeconds"] ??= 600;
    const strategy = childObject(spec, "strategy");
    strategy["type"] ??= "RollingUpdate";
    if (strategy["type"] === "RollingUpdate") {
      const rolling = childObject(strategy, "rollingUpdate");
      rolling["maxSurge"] ??= "25%";
      rolling["maxUnavailable"] ??= "25%";
    }
  }
  if (workload["kind"] === "StatefulSet") spec["podManagementPolicy"] ??= "OrderedReady";
  const template = objectOf(spec["template"]);
  if (isObject(template["metadata"])) template["metadata"]["creationTimestamp"] ??= null;
  if (isObject(template["spec"])) defaultPodSpec(template["spec"]);
}

/** Kinds whose status only `/status` may change and which need nothing else. */
export const statusOnlyStrategy: Strategy = {
  prepareCreate(object) {
    object["status"] = {};
  },
  prepareUpdate(object, old) {
    object["status"] = old["status"];
  },
};

/** PriorityClasses have a value. */
export const priorityClassStrategy: Strategy = {
  prepareCreate(object) {
    object["preemptionPolicy"] ??= "PreemptLowerPriority";
  },
  validate(object) {
    return Number.isInteger(object["value"]) ? [] : [fieldError.required("value")];
  },
};

/** Endpoints: ports are TCP unless they say otherwise. */
export const endpointsStrategy: Strategy = {
  prepareCreate: completeEndpoints,
  prepareUpdate: completeEndpoints,
};

function completeEndpoints(endpoints: { [field: string]: unknown }): void {
  for (const subset of objectsOf(endpoints["subsets"])) {
    for (const port of objectsOf(subset["ports"])) port["protocol"] ??= "TCP";
  }
}

/** EndpointSlices: the address type is one of three; ports are TCP unless they say otherwise. */
export const endpointSliceStrategy: Strategy = {
  prepareCreate(slice) {
    for (const port of objectsOf(slice["ports"])) port["protocol"] ??= "TCP";
  },
  prepareUpdate(slice) {
    for (const port of objectsOf(slice["ports"])) port["protocol"] ??= "TCP";
  },
  validate(slice) {
    const types = ["IPv4", "IPv6", "FQDN"];
    return types.includes(textOf(slice["addressType"]))
      ? []
      : [fieldError.notSupported("addressType", slice["addressType"], types)];
  },
  validateUpdate(slice, old) {
    return slice["addressType"] === old["addressType"]
      ? []
      : [fieldError.invalid("addressType", slice["addressType"], "field is immutable")];
  },
};
