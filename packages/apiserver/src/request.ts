/**
 * What a URL asks for (RequestInfo in the API server's terms).
 */
import { ApiError } from "./status.ts";

/** A request for a resource. */
export interface ResourceRequest {
  group: string;
  version: string;
  /** Empty for all namespaces and for cluster-scoped resources. */
  namespace: string;
  plural: string;
  /** Empty for the collection. */
  name: string;
  /** Empty for the object itself. */
  subresource: string;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw ApiError.badRequest(`the path segment ${JSON.stringify(segment)} is badly escaped`, cause);
  }
}

/**
 * Parses `/api/v1/…` and `/apis/GROUP/VERSION/…`; undefined when the path names no resource.
 * @throws ApiError BadRequest for bad escapes
 */
export function parseResourcePath(pathname: string): ResourceRequest | undefined {
  const segments = pathname
    .split("/")
    .filter((segment) => segment !== "")
    .map(decode);
  let group = "";
  let rest: string[];
  let version: string | undefined;
  if (segments[0] === "api") [version, rest] = [segments[1], segments.slice(2)];
  else if (segments[0] === "apis") [group, version, rest] = [segments[1] ?? "", segments[2], segments.slice(3)];
  else return undefined;
  if (version === undefined || rest.length === 0) return undefined;
  let namespace = "";
  // `namespaces/NAME/RESOURCE` is a namespaced request, but `namespaces/NAME/status` is about the namespace.
  if (rest[0] === "namespaces" && rest.length > 2 && rest[2] !== "status" && rest[2] !== "finalize") {
    namespace = rest[1] ?? "";
    rest = rest.slice(2);
  }
  const [plural = "", name = "", ...subresource] = rest;
  return { group, version, namespace, plural, name, subresource: subresource.join("/") };
}

/** A query parameter that holds a whole number. @throws ApiError BadRequest */
export function integerParameter(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^-?\d{1,15}$/.test(text)) throw ApiError.badRequest(`${name}: ${JSON.stringify(text)} is no whole number`);
  return Number(text);
}

/** A query parameter that is a switch; an empty value counts as true, as in Kubernetes. */
export function booleanParameter(query: URLSearchParams, name: string): boolean {
  const text = query.get(name);
  return text !== null && text !== "false" && text !== "0";
}
