/**
 * Subresources that are actions: binding and eviction of pods, finalization of namespaces.
 */
import { readDeleteOptions, writeOptions, type Answer, type Exchange } from "./exchange.ts";
import { clone, objectOf, objectsOf, textOf, textsOf } from "./json.ts";
import { decodeBody } from "./negotiate.ts";
import { metadataProblems, timestamp, type KubeObject } from "./object.ts";
import type { Operations } from "./operations.ts";
import type { Resource } from "./resources.ts";
import { ApiError, success } from "./status.ts";

/** `POST pods/NAME/binding`: a scheduler's decision, taken once. */
export function bind(operations: Operations, resource: Resource, exchange: Exchange): Answer {
  const { namespace, name } = exchange.target;
  const body = objectOf(decodeBody(exchange.body, exchange.contentType));
  const target = objectOf(body["target"]);
  const nodeName = textOf(target["name"]);
  const kind = textOf(target["kind"], "Node");
  if (nodeName === "" || (kind !== "Node" && kind !== "")) {
    throw ApiError.invalid("Binding", "", name, [
      { reason: "FieldValueRequired", message: "Required value: must name a Node", field: "target.name" },
    ]);
  }
  const pod = clone(operations.get(resource, namespace, name));
  const uid = textOf(objectOf(body["metadata"])["uid"]);
  if (uid !== "" && uid !== pod.metadata.uid) {
    throw ApiError.conflict(resource, name, `Precondition failed: UID in precondition: ${uid}`);
  }
  if (pod.metadata.deletionTimestamp !== undefined) {
    throw ApiError.conflict(resource, name, `pod ${name} is being deleted, cannot be assigned to a host`);
  }
  const spec = objectOf(pod["spec"]);
  const present = textOf(spec["nodeName"]);
  if (present !== "") {
    throw ApiError.conflict(resource, name, `pod ${name} is already assigned to node ${JSON.stringify(present)}`);
  }
  spec["nodeName"] = nodeName;
  Object.assign((pod.metadata.annotations ??= {}), stringMap(objectOf(body["metadata"])["annotations"]));
  if (Object.keys(pod.metadata.annotations).length === 0) delete pod.metadata.annotations;
  const problems = metadataProblems(pod.metadata, resource.nameRule);
  if (problems.length > 0) throw ApiError.invalid("Binding", "", name, problems);
  const status = objectOf(pod["status"]);
  const conditions = objectsOf(status["conditions"]).filter((condition) => condition["type"] !== "PodScheduled");
  conditions.push({
    type: "PodScheduled",
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: timestamp(Date.now()),
  });
  pod["status"] = { ...status, conditions };
  if (!writeOptions(exchange).dryRun) operations.write(resource, pod);
  return { status: 201, value: success(undefined, 201) };
}

/** `POST pods/NAME/eviction`. There are no disruption budgets to obey: nothing here counts healthy pods. */
export function evict(operations: Operations, resource: Resource, exchange: Exchange): Answer {
  const { namespace, name } = exchange.target;
  const body = objectOf(decodeBody(exchange.body, exchange.contentType));
  const options = readDeleteOptions(objectOf(body["deleteOptions"]), exchange);
  operations.delete(resource, namespace, name, options);
  return { status: 201, value: success(undefined, 201) };
}

/** `PUT namespaces/NAME/finalize`: sets the namespace's own finalizers. */
export function finalize(operations: Operations, resource: Resource, exchange: Exchange): KubeObject {
  const { namespace, name } = exchange.target;
  const body = objectOf(decodeBody(exchange.body, exchange.contentType));
  const next = clone(operations.get(resource, namespace, name));
  next["spec"] = { finalizers: textsOf(objectOf(body["spec"])["finalizers"]) };
  return operations.write(resource, next).object;
}

function stringMap(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(objectOf(value)).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}
