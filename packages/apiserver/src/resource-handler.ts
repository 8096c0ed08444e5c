/**
 * Requests for resources: verbs, representations and subresources over the operations.
 */
import type { ServerResponse } from "node:http";
import { clone, isObject, numberOf, objectOf, objectsOf, textOf, type JsonObject } from "./json.ts";
import { decodeBody, decodeText, mediaType, type Representation } from "./negotiate.ts";
import { timestamp, type KubeObject } from "./object.ts";
import type { DeleteOptions, Operations, Outcome, WriteOptions } from "./operations.ts";
import { builtInListKinds, schemaListKinds, type ListKinds } from "./patch/list-keys.ts";
import { applyJsonPatch } from "./patch/json-patch.ts";
import { applyMergePatch } from "./patch/merge-patch.ts";
import { applyStrategicMerge } from "./patch/strategic-merge.ts";
import { booleanParameter, integerParameter, type ResourceRequest } from "./request.ts";
import { apiVersionOf, resourceKey, type Resource } from "./resources.ts";
import { COMMON_FIELDS, compileSelectors } from "./selectors.ts";
import { ApiError, success } from "./status.ts";
import { makeTable, metadataOnly, type IncludeObject } from "./table/table.ts";
import { parseResourceVersion, serveWatch } from "./watch.ts";
import type { Stored } from "./store.ts";
import type { User } from "./authentication.ts";
import { review } from "./reviews.ts";

/** One request, its body read. */
export interface Exchange {
  method: string;
  query: URLSearchParams;
  target: ResourceRequest;
  body: Buffer;
  contentType: string | undefined;
  userAgent: string;
  representation: Representation;
  user: User;
  response: ServerResponse;
}

/** An answer that is ready to be sent. `json` wins over `value`. */
export interface Answer {
  status: number;
  value?: unknown;
  json?: string;
  warnings?: string[];
}

/** Longest and shortest time a watch lasts when the client sets no limit, in seconds. */
const WATCH_SECONDS = { least: 1800, most: 3600 };
/** Most objects of one page, whatever is asked. */
const MAX_PAGE = 100_000;

const PATCH_TYPES = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

/** Settings of the handler. */
export interface HandlerSettings {
  bookmarkSeconds: number;
  /** Users by token, for TokenReview. */
  userOfToken: (token: string) => User | undefined;
  /** Called with the function that ends a watch; returns what to call when it has ended. */
  watchStarted: (end: () => void) => () => void;
  /** Applies a server-side apply patch; see `patch/apply.ts`. */
}

/** Serves requests for resources. */
export class ResourceHandler {
  readonly #operations: Operations;
  readonly #settings: HandlerSettings;

  constructor(operations: Operations, settings: HandlerSettings) {
    this.#operations = operations;
    this.#settings = settings;
  }

  /**
   * The answer, or undefined when a watch took over the response.
   * @throws ApiError
   */
  handle(exchange: Exchange): Answer | undefined {
    const { target, method } = exchange;
    const resource = this.#operations.catalogue.find(target.group, target.version, target.plural);
    if (resource === undefined) throw ApiError.noSuchPath();
    if (!resource.stored) return this.#review(resource, exchange);
    if (resource.namespaced) {
      if (target.namespace === "" && target.name !== "") throw ApiError.noSuchPath();
      if (target.namespace === "" && method === "POST") {
        throw ApiError.badRequest("an empty namespace may not be set during creation");
      }
    } else if (target.namespace !== "") throw ApiError.noSuchPath();
    if (target.subresource !== "") return this.#subresource(resource, exchange);
    if (target.name === "") return this.#collection(resource, exchange);
    return this.#single(resource, exchange);
  }

  #collection(resource: Resource, exchange: Exchange): Answer | undefined {
    const { method, query, target } = exchange;
    switch (method) {
      case "GET":
      case "HEAD":
        if (booleanParameter(query, "watch")) return this.#watch(resource, exchange);
        return this.#list(resource, exchange);
      case "POST": {
        const body = decodeBody(exchange.body, exchange.contentType);
        const object = this.#operations.create(
          resource,
          target.version,
          target.namespace,
          body,
          writeOptions(exchange),
        );
        return this.#object(resource, exchange, object, 201);
      }
      case "DELETE":
        return this.#deleteCollection(resource, exchange);
      default:
        throw ApiError.methodNotAllowed(method, `the collection ${target.plural}`);
    }
  }

  #single(resource: Resource, exchange: Exchange): Answer | undefined {
    const { method, query, target } = exchange;
    const { namespace, name, version } = target;
    switch (method) {
      case "GET":
      case "HEAD":
        if (booleanParameter(query, "watch")) {
          query.set("fieldSelector", `metadata.name=${name}`);
          return this.#watch(resource, exchange);
        }
        return this.#object(resource, exchange, this.#operations.get(resource, namespace, name), 200);
      case "PUT":
        return this.#put(resource, exchange, "");
      case "PATCH":
        return this.#patch(resource, exchange, "");
      case "DELETE": {
        const options = deleteOptions(exchange);
        const outcome = this.#operations.delete(resource, namespace, name, options);
        if (outcome.removed && resource.plural !== "pods" && resource.plural !== "namespaces") {
          const details = {
            name,
            group: resource.group,
            kind: resource.plural,
            uid: outcome.object.metadata.uid ?? "",
          };
          return { status: 200, value: success(details) };
        }
        return this.#object(resource, exchange, this.#operations.convert(resource, outcome.object, version), 200);
      }
      default:
        throw ApiError.methodNotAllowed(method, `${target.plural} ${JSON.stringify(name)}`);
    }
  }

  #put(resource: Resource, exchange: Exchange, subresource: "" | "status"): Answer {
    const { namespace, name, version } = exchange.target;
    const body = decodeBody(exchange.body, exchange.contentType);
    const metadata = isObject(body) ? objectOf(body["metadata"]) : {};
    if (resource.custom !== undefined && textOf(metadata["resourceVersion"]) === "") {
      throw ApiError.invalid(resource.kind, resource.group, name, [
        {
          reason: "FieldValueInvalid",
          message: "Invalid value: 0x0: must be specified for an update",
          field: "metadata.resourceVersion",
        },
      ]);
    }
    const outcome = this.#operations.update(
      resource,
      version,
      namespace,
      name,
      subresource,
      () => body,
      writeOptions(exchange),
    );
    return this.#object(resource, exchange, outcome.object, 200);
  }

  #patch(resource: Resource, exchange: Exchange, subresource: "" | "status"): Answer {
    const { target, contentType } = exchange;
    const type = mediaType(contentType);
    const custom = resource.custom?.get(target.version);
    const kinds: ListKinds = custom === undefined ? builtInListKinds(resource.kind) : schemaListKinds(custom.schema);
    const options = writeOptions(exchange);
    let change: (current: KubeObject) => unknown;
    if (type === PATCH_TYPES.json) {
      const patch = decodeText(exchange.body, false);
      change = (current) => applyJsonPatch(current, patch);
    } else if (type === PATCH_TYPES.merge) {
      const patch = decodeText(exchange.body, false);
      change = (current) => applyMergePatch(current, patch);
    } else if (type === PATCH_TYPES.strategic && resource.custom === undefined) {
      const patch = decodeText(exchange.body, false);
      change = (current) => applyStrategicMerge(current, patch, kinds);
    } else {
      const accepted = [PATCH_TYPES.json, PATCH_TYPES.merge];
      if (resource.custom === undefined) accepted.push(PATCH_TYPES.strategic);
      throw ApiError.unsupportedMediaType(accepted);
    }
    const { namespace, name, version } = target;
    const outcome = this.#operations.update(resource, version, namespace, name, subresource, change, options);
    return this.#object(resource, exchange, outcome.object, 200);
  }

  #list(resource: Resource, exchange: Exchange): Answer {
    const { query, target, representation } = exchange;
    const { store } = this.#operations;
    const key = resourceKey(resource.group, resource.plural);
    const selector = selectorOf(resource, query);
    const asked = query.get("resourceVersion") ?? "";
    const match = query.get("resourceVersionMatch") ?? "";
    const limit = Math.min(integerParameter(query, "limit") ?? 0, MAX_PAGE);
    if (limit < 0) throw ApiError.badRequest("limit: must not be negative");
    const token = query.get("continue") ?? "";
    if (match !== "" && match !== "Exact" && match !== "NotOlderThan") {
      throw ApiError.badRequest(`resourceVersionMatch: ${JSON.stringify(match)} is neither Exact nor NotOlderThan`);
    }
    if (match !== "" && asked === "") {
      throw ApiError.badRequest("resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    let revision = store.revision;
    let after = "";
    if (token !== "") {
      if (asked !== "" && asked !== "0") {
        throw ApiError.badRequest("specifying resource version is not allowed when using continue");
      }
      ({ revision, after } = decodeContinue(token));
    } else if (asked !== "" && asked !== "0") {
      const wanted = parseResourceVersion(asked);
      if (wanted > store.revision) throw ApiError.tooLargeResourceVersion(wanted, store.revision);
      if (match === "Exact") revision = wanted;
    }
    let items = store.listAt(key, target.namespace, revision);
    if (after !== "") items = items.filter((item) => item.key > after);
    if (selector !== undefined) items = items.filter((item) => selector(item.object));
    const metadata: JsonObject = { resourceVersion: String(revision) };
    if (limit > 0 && items.length > limit) {
      const rest = items.length - limit;
      items = items.slice(0, limit);
      metadata["continue"] = encodeContinue(revision, items.at(-1)?.key ?? "");
      if (selector === undefined) metadata["remainingItemCount"] = rest;
    }
    return { status: 200, ...this.#listBody(resource, target.version, items, metadata, representation, query) };
  }

  #listBody(
    resource: Resource,
    version: string,
    items: readonly Stored[],
    metadata: JsonObject,
    representation: Representation,
    query: URLSearchParams,
  ): { value: unknown } | { json: string } {
    const objects = (): KubeObject[] => items.map((item) => this.#operations.convert(resource, item.object, version));
    if (representation.as === "table") {
      return {
        value: makeTable(resource, version, objects(), metadata, {
          version: representation.version,
          include: includeOf(query),
          withColumns: true,
          now: Date.now(),
        }),
      };
    }
    if (representation.as === "metadata") {
      return {
        value: {
          kind: "PartialObjectMetadataList",
          apiVersion: `meta.k8s.io/${representation.version}`,
          metadata,
          items: objects().map((object) => metadataOnly(object, representation.version)),
        },
      };
    }
    const texts = items.map((item) =>
      version === resource.version
        ? item.json
        : JSON.stringify(this.#operations.convert(resource, item.object, version)),
    );
    const head = JSON.stringify({
      kind: `${resource.kind}List`,
      apiVersion: apiVersionOf(resource.group, version),
      metadata,
    });
    return { json: `${head.slice(0, -1)},"items":[${texts.join(",")}]}` };
  }

  #watch(resource: Resource, exchange: Exchange): undefined {
    const { query, target, representation, response } = exchange;
    const asked = integerParameter(query, "timeoutSeconds") ?? 0;
    const { least, most } = WATCH_SECONDS;
    const initialEvents = booleanParameter(query, "sendInitialEvents");
    if (initialEvents && query.get("resourceVersionMatch") !== "NotOlderThan") {
      throw ApiError.badRequest("sendInitialEvents requires resourceVersionMatch=NotOlderThan");
    }
    let ended = (): void => {};
    const end = serveWatch(
      this.#operations.store,
      {
        resource,
        version: target.version,
        namespace: target.namespace,
        selector: selectorOf(resource, query),
        resourceVersion: query.get("resourceVersion") ?? "",
        bookmarks: booleanParameter(query, "allowWatchBookmarks"),
        initialEvents,
        timeoutSeconds: asked > 0 ? Math.min(asked, 86_400) : least + Math.random() * (most - least),
        representation,
        include: includeOf(query),
      },
      response,
      this.#settings.bookmarkSeconds,
      () => ended(),
    );
    ended = this.#settings.watchStarted(end);
    return undefined;
  }

  #deleteCollection(resource: Resource, exchange: Exchange): Answer {
    const { target, query } = exchange;
    if (resource.namespaced && target.namespace === "") {
      throw ApiError.methodNotAllowed("DELETE", `${target.plural} of all namespaces`);
    }
    const selector = selectorOf(resource, query);
    const options = deleteOptions(exchange);
    const key = resourceKey(resource.group, resource.plural);
    const items = this.#operations.store
      .list(key, target.namespace)
      .filter((item) => selector === undefined || selector(item.object));
    for (const item of items) {
      const { namespace = "", name = "" } = item.object.metadata;
      // An earlier deletion of this loop may have taken it along.
      if (this.#operations.store.get(key, item.key) === undefined) continue;
      this.#operations.delete(resource, namespace, name, options);
    }
    const metadata = { resourceVersion: String(this.#operations.store.revision) };
    return {
      status: 200,
      ...this.#listBody(resource, target.version, items, metadata, exchange.representation, query),
    };
  }

  #subresource(resource: Resource, exchange: Exchange): Answer | undefined {
    const { target, method } = exchange;
    const { subresource, namespace, name, version } = target;
    const hasStatus =
      resource.custom === undefined ? resource.hasStatus : resource.custom.get(version)?.status === true;
    if (subresource === "status" && hasStatus) {
      if (method === "GET") {
        return this.#object(resource, exchange, this.#operations.get(resource, namespace, name), 200);
      }
      if (method === "PUT") return this.#put(resource, exchange, "status");
      if (method === "PATCH") return this.#patch(resource, exchange, "status");
      throw ApiError.methodNotAllowed(method, `${target.plural}/status`);
    }
    if (!resource.subresources.includes(subresource)) throw ApiError.noSuchPath();
    if (subresource === "finalize") {
      if (method !== "PUT") throw ApiError.methodNotAllowed(method, `${target.plural}/finalize`);
      return this.#finalize(resource, exchange);
    }
    if (method !== "POST") throw ApiError.methodNotAllowed(method, `${target.plural}/${subresource}`);
    return subresource === "binding" ? this.#bind(resource, exchange) : this.#evict(resource, exchange);
  }

  /** `POST pods/NAME/binding`: a scheduler's decision, taken once. */
  #bind(resource: Resource, exchange: Exchange): Answer {
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
    const pod = clone(this.#operations.get(resource, namespace, name));
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
    const status = objectOf(pod["status"]);
    const conditions = objectsOf(status["conditions"]).filter((condition) => condition["type"] !== "PodScheduled");
    conditions.push({
      type: "PodScheduled",
      status: "True",
      lastProbeTime: null,
      lastTransitionTime: timestamp(Date.now()),
    });
    pod["status"] = { ...status, conditions };
    if (!writeOptions(exchange).dryRun) this.#operations.write(resource, pod);
    return { status: 201, value: success(undefined, 201) };
  }

  /** `POST pods/NAME/eviction`. There are no disruption budgets to obey: nothing here counts healthy pods. */
  #evict(resource: Resource, exchange: Exchange): Answer {
    const { namespace, name } = exchange.target;
    const body = objectOf(decodeBody(exchange.body, exchange.contentType));
    const options = readDeleteOptions(objectOf(body["deleteOptions"]), exchange);
    this.#operations.delete(resource, namespace, name, options);
    return { status: 201, value: success(undefined, 201) };
  }

  /** `PUT namespaces/NAME/finalize`: sets the namespace's own finalizers. */
  #finalize(resource: Resource, exchange: Exchange): Answer {
    const { namespace, name } = exchange.target;
    const body = objectOf(decodeBody(exchange.body, exchange.contentType));
    const next = clone(this.#operations.get(resource, namespace, name));
    const finalizers = objectOf(body["spec"])["finalizers"];
    next["spec"] = { finalizers: Array.isArray(finalizers) ? finalizers : [] };
    const outcome: Outcome = this.#operations.write(resource, next);
    return this.#object(resource, exchange, outcome.object, 200);
  }

  #review(resource: Resource, exchange: Exchange): Answer {
    if (exchange.method !== "POST" || exchange.target.name !== "") {
      throw ApiError.methodNotAllowed(exchange.method, exchange.target.plural);
    }
    const body = objectOf(decodeBody(exchange.body, exchange.contentType));
    const version = apiVersionOf(resource.group, exchange.target.version);
    return {
      status: 201,
      value: {
        ...body,
        kind: resource.kind,
        apiVersion: version,
        ...review(resource, body, exchange.user, this.#settings.userOfToken),
      },
    };
  }

  #object(resource: Resource, exchange: Exchange, stored: KubeObject, status: number): Answer {
    const { representation, target, query } = exchange;
    const object = this.#operations.convert(resource, stored, target.version);
    if (representation.as === "metadata") return { status, value: metadataOnly(object, representation.version) };
    if (representation.as === "object") return { status, value: object };
    const metadata = { resourceVersion: object.metadata.resourceVersion };
    return {
      status,
      value: makeTable(resource, target.version, [object], metadata, {
        version: representation.version,
        include: includeOf(query),
        withColumns: true,
        now: Date.now(),
      }),
    };
  }
}

function stringMap(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(objectOf(value)).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

function selectorOf(resource: Resource, query: URLSearchParams): ReturnType<typeof compileSelectors> {
  return compileSelectors(query.get("labelSelector") ?? "", query.get("fieldSelector") ?? "", [
    ...COMMON_FIELDS,
    ...resource.fields,
  ]);
}

function includeOf(query: URLSearchParams): IncludeObject {
  const asked = query.get("includeObject") ?? "";
  if (asked === "" || asked === "Metadata") return "Metadata";
  if (asked === "None" || asked === "Object") return asked;
  throw ApiError.badRequest(`includeObject: ${JSON.stringify(asked)} is none of None, Metadata, Object`);
}

function dryRunOf(values: readonly unknown[]): boolean {
  for (const value of values) {
    if (value !== "All" && value !== "") throw ApiError.badRequest(`dryRun: ${JSON.stringify(value)}: must be "All"`);
  }
  return values.includes("All");
}

function writeOptions(exchange: Exchange): WriteOptions {
  const { query, userAgent } = exchange;
  return {
    dryRun: dryRunOf(query.getAll("dryRun")),
    fieldManager: query.get("fieldManager") ?? userAgent.split("/")[0] ?? "unknown",
  };
}

function deleteOptions(exchange: Exchange): DeleteOptions {
  const body = exchange.body.length === 0 ? {} : decodeBody(exchange.body, exchange.contentType);
  if (!isObject(body)) throw ApiError.badRequest("DeleteOptions must be an object");
  return readDeleteOptions(body, exchange);
}

function readDeleteOptions(body: JsonObject, { query }: Exchange): DeleteOptions {
  const grace = body["gracePeriodSeconds"] ?? integerParameter(query, "gracePeriodSeconds");
  if (grace !== undefined && grace !== null && !Number.isInteger(grace)) {
    throw ApiError.badRequest("gracePeriodSeconds: must be an integer");
  }
  const preconditions = objectOf(body["preconditions"]);
  const propagation = body["propagationPolicy"] ?? query.get("propagationPolicy") ?? undefined;
  if (
    propagation !== undefined &&
    propagation !== "Background" &&
    propagation !== "Foreground" &&
    propagation !== "Orphan"
  ) {
    throw ApiError.badRequest(
      `propagationPolicy: ${JSON.stringify(propagation)} is none of Background, Foreground, Orphan`,
    );
  }
  const dryRun = body["dryRun"];
  return {
    dryRun: dryRunOf([...query.getAll("dryRun"), ...(Array.isArray(dryRun) ? (dryRun as unknown[]) : [])]),
    gracePeriodSeconds: typeof grace === "number" ? Math.min(numberOf(grace), 1e9) : undefined,
    uid: typeof preconditions["uid"] === "string" ? preconditions["uid"] : undefined,
    resourceVersion:
      typeof preconditions["resourceVersion"] === "string" ? preconditions["resourceVersion"] : undefined,
    propagation,
  };
}

function encodeContinue(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start: after })).toString("base64url");
}

function decodeContinue(token: string): { revision: number; after: string } {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    const { rv, start } = objectOf(value);
    if (typeof rv === "number" && Number.isSafeInteger(rv) && rv >= 0 && typeof start === "string") {
      return { revision: rv, after: start };
    }
  } catch {
    // Reported below: whatever is wrong with the token, the remedy is the same.
  }
  throw ApiError.badRequest("continue key is not valid; list again without it");
}
