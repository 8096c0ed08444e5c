/**
 * Requests for resources: verbs, representations and subresources over the operations.
 */
import type { User } from "./authentication.ts";
import { decodeContinue, encodeContinue } from "./continue-token.ts";
import {
  checkFields,
  deleteOptions,
  includeOf,
  selectorOf,
  writeOptions,
  type Answer,
  type Exchange,
} from "./exchange.ts";
import { isObject, objectOf, textOf, type JsonObject } from "./json.ts";
import { decodeBody, decodeText, mediaType, type Representation } from "./negotiate.ts";
import { asKubeObject, type KubeObject } from "./object.ts";
import { listKindsOf, type Operations } from "./operations.ts";
import { applyConfiguration } from "./patch/apply.ts";
import { applyJsonPatch } from "./patch/json-patch.ts";
import { applyMergePatch } from "./patch/merge-patch.ts";
import { applyStrategicMerge } from "./patch/strategic-merge.ts";
import { booleanParameter, integerParameter } from "./request.ts";
import { apiVersionOf, resourceKey, type Resource } from "./resources.ts";
import { review } from "./reviews.ts";
import { ApiError, detailsOf, success } from "./status.ts";
import { storeKey, type Stored } from "./store.ts";
import { bind, evict, finalize } from "./subresources.ts";
import { makeTable, metadataOnly } from "./table/table.ts";
import { parseResourceVersion, serveWatch } from "./watch.ts";

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
        checkFields(resource, exchange, body);
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
          const details = { ...detailsOf(resource, name), uid: outcome.object.metadata.uid ?? "" };
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
      () => {
        checkFields(resource, exchange, body);
        return body;
      },
      writeOptions(exchange),
    );
    return this.#object(resource, exchange, outcome.object, 200);
  }

  #patch(resource: Resource, exchange: Exchange, subresource: "" | "status"): Answer {
    const { target, contentType } = exchange;
    const type = mediaType(contentType);
    if (type === PATCH_TYPES.apply) return this.#apply(resource, exchange, subresource);
    const kinds = listKindsOf(resource, target.version);
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
      const accepted = [PATCH_TYPES.json, PATCH_TYPES.merge, PATCH_TYPES.apply];
      if (resource.custom === undefined) accepted.push(PATCH_TYPES.strategic);
      throw ApiError.unsupportedMediaType(accepted);
    }
    const { namespace, name, version } = target;
    const checked = (current: KubeObject): unknown => {
      const result = change(current);
      checkFields(resource, exchange, result);
      return result;
    };
    const outcome = this.#operations.update(resource, version, namespace, name, subresource, checked, options);
    return this.#object(resource, exchange, outcome.object, 200);
  }

  /** A server-side apply: creates the object when there is none. */
  #apply(resource: Resource, exchange: Exchange, subresource: "" | "status"): Answer {
    const { query, target } = exchange;
    const { namespace, name, version } = target;
    const manager = query.get("fieldManager") ?? "";
    if (manager === "" || manager.length > 128) {
      throw ApiError.invalid("PatchOptions", "meta.k8s.io", "", [
        {
          reason: "FieldValueRequired",
          message: "Required value: is required for apply patch, at most 128 characters",
          field: "fieldManager",
        },
      ]);
    }
    const applied = asKubeObject(decodeText(exchange.body, true));
    checkFields(resource, exchange, applied);
    const request = {
      manager,
      force: booleanParameter(query, "force"),
      subresource,
      kinds: listKindsOf(resource, version),
    };
    const options = { ...writeOptions(exchange), applied: true };
    const key = resourceKey(resource.group, resource.plural);
    applied.metadata.name ??= name;
    if (this.#operations.store.get(key, storeKey(namespace, name)) === undefined && subresource === "") {
      if (applied.metadata.name !== name) {
        throw ApiError.badRequest(`the name of the object (${applied.metadata.name}) does not match the URL (${name})`);
      }
      if (applied.metadata.uid !== undefined || applied.metadata.resourceVersion !== undefined) {
        throw ApiError.conflict(
          resource,
          name,
          "uid and resourceVersion may not be set when the object does not exist",
        );
      }
      const object = this.#operations.create(
        resource,
        version,
        namespace,
        applyConfiguration(undefined, applied, request),
        options,
      );
      return this.#object(resource, exchange, object, 201);
    }
    const change = (current: KubeObject): KubeObject => applyConfiguration(current, applied, request);
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
      return this.#object(resource, exchange, finalize(this.#operations, resource, exchange), 200);
    }
    if (method !== "POST") throw ApiError.methodNotAllowed(method, `${target.plural}/${subresource}`);
    const action = subresource === "binding" ? bind : evict;
    return action(this.#operations, resource, exchange);
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
