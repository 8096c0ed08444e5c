/**
 * A request for a resource with its body read, and the options that its query and body carry.
 */
import type { ServerResponse } from "node:http";
import type { User } from "./authentication.ts";
import { clone, isObject, numberOf, objectOf, type JsonObject } from "./json.ts";
import { decodeBody, type Representation } from "./negotiate.ts";
import type { DeleteOptions, WriteOptions } from "./operations.ts";
import { integerParameter, type ResourceRequest } from "./request.ts";
import type { Resource } from "./resources.ts";
import { prune } from "./schema/structural.ts";
import { COMMON_FIELDS, compileSelectors, type Selector } from "./selectors.ts";
import { ApiError, fieldError } from "./status.ts";
import type { IncludeObject } from "./table/table.ts";

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
  /** Warnings for the client, filled while the request is served. */
  warnings: string[];
}

/** An answer that is ready to be sent. `json` wins over `value`. */
export interface Answer {
  status: number;
  value?: unknown;
  json?: string;
}

/** The test of both selectors of a request, undefined when nothing is asked. @throws ApiError BadRequest */
export function selectorOf(resource: Resource, query: URLSearchParams): Selector | undefined {
  return compileSelectors(query.get("labelSelector") ?? "", query.get("fieldSelector") ?? "", [
    ...COMMON_FIELDS,
    ...resource.fields,
  ]);
}

/** `includeObject` of a table. @throws ApiError BadRequest */
export function includeOf(query: URLSearchParams): IncludeObject {
  const asked = query.get("includeObject") ?? "";
  if (asked === "" || asked === "Metadata") return "Metadata";
  if (asked === "None" || asked === "Object") return asked;
  throw ApiError.badRequest(`includeObject: ${JSON.stringify(asked)} is none of None, Metadata, Object`);
}

function dryRunOf(values: readonly unknown[]): boolean {
  for (const value of values) {
    if (value === "All" || value === "") continue;
    throw ApiError.invalid("Options", "meta.k8s.io", "", [fieldError.notSupported("dryRun", value, ["All"])]);
  }
  return values.includes("All");
}

/** The options of a write. @throws ApiError BadRequest */
export function writeOptions(exchange: Exchange): WriteOptions {
  const { query, userAgent } = exchange;
  return {
    dryRun: dryRunOf(query.getAll("dryRun")),
    fieldManager: query.get("fieldManager") ?? userAgent.split("/")[0] ?? "unknown",
  };
}

/** The options of a deletion, from body and query. @throws ApiError BadRequest */
export function deleteOptions(exchange: Exchange): DeleteOptions {
  const body = exchange.body.length === 0 ? {} : decodeBody(exchange.body, exchange.contentType);
  if (!isObject(body)) throw ApiError.badRequest("DeleteOptions must be an object");
  return readDeleteOptions(body, exchange);
}

/** DeleteOptions that were decoded already; the query supplements them. @throws ApiError BadRequest */
export function readDeleteOptions(body: JsonObject, { query }: Exchange): DeleteOptions {
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

/** What is in a custom resource but not in its schema: refused, warned of or ignored, as `fieldValidation` asks. */
export function checkFields(resource: Resource, exchange: Exchange, body: unknown): void {
  const mode = exchange.query.get("fieldValidation") ?? "";
  if (!["", "Strict", "Warn", "Ignore"].includes(mode)) {
    throw ApiError.badRequest(`fieldValidation: ${JSON.stringify(mode)} is none of Ignore, Strict, Warn`);
  }
  const custom = resource.custom?.get(exchange.target.version);
  if (custom === undefined || mode === "Ignore") return;
  const unknown = prune(clone(body), custom.schema, "", true).map((path) => `unknown field ${JSON.stringify(path)}`);
  if (unknown.length === 0) return;
  if (mode === "Strict") {
    const { version } = exchange.target;
    throw ApiError.badRequest(
      `${resource.kind} in version ${JSON.stringify(version)} cannot be handled as a ${resource.kind}: strict decoding error: ${unknown.join(", ")}`,
    );
  }
  exchange.warnings.push(...unknown.slice(0, 20));
}
