/** Requests to an API server: one resource descriptor per kind, JSON in and out, refusals as typed errors. */
import { Agent, request, type Dispatcher } from "undici";
import type { ClusterConfig, Credentials } from "./config.ts";
import { KubeApiError, KubeError } from "./errors.ts";

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export interface Selection {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** ms; default 15,000 */
  readonly timeout?: number;
}

export type PatchKind = "merge" | "json" | "strategic";

/** What the API needs of an object that is written. */
export interface Manifest {
  readonly metadata?: { readonly name?: string; readonly generateName?: string; readonly namespace?: string };
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

const patchTypes: Readonly<Record<PatchKind, string>> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

const defaultTimeout = 15_000;
/** The longest answer to a request that is no watch (bytes). */
const maxBodyBytes = 256 * 1024 * 1024;

export class KubeClient {
  readonly #config: ClusterConfig;
  #agent: { agent: Agent; key: string } | undefined;

  constructor(config: ClusterConfig) {
    this.#config = config;
  }

  get server(): string {
    return this.#config.server;
  }

  get<T>(resource: Resource, name: string, namespace?: string, options?: RequestOptions): Promise<T> {
    return this.#json("GET", objectPath(resource, name, namespace), undefined, undefined, options) as Promise<T>;
  }

  create<T>(resource: Resource, object: Manifest, options?: RequestOptions): Promise<T> {
    const path = collectionPath(resource, object.metadata?.namespace);
    return this.#json("POST", path, object, undefined, options) as Promise<T>;
  }

  replace<T>(resource: Resource, object: Manifest, subresource?: "status", options?: RequestOptions): Promise<T> {
    const path = objectPath(resource, nameOf(object), object.metadata?.namespace, subresource);
    return this.#json("PUT", path, object, undefined, options) as Promise<T>;
  }

  patch<T>(
    resource: Resource,
    name: string,
    patch: unknown,
    where: { namespace?: string; kind?: PatchKind; subresource?: "status" } & RequestOptions = {},
  ): Promise<T> {
    const path = objectPath(resource, name, where.namespace, where.subresource);
    return this.#json("PATCH", path, patch, patchTypes[where.kind ?? "merge"], where) as Promise<T>;
  }

  async delete(
    resource: Resource,
    name: string,
    where: { namespace?: string; preconditions?: Preconditions } & RequestOptions = {},
  ): Promise<void> {
    const body = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(where.preconditions === undefined ? {} : { preconditions: where.preconditions }),
    };
    await this.#json("DELETE", objectPath(resource, name, where.namespace), body, undefined, where);
  }

  /** One page of a list. */
  list(
    resource: Resource,
    selection: Selection & { limit?: number; continue?: string; resourceVersion?: string },
    options?: RequestOptions,
  ): Promise<{ metadata?: { resourceVersion?: string; continue?: string }; items?: unknown[] }> {
    const query = new URLSearchParams(selectionQuery(selection));
    if (selection.limit !== undefined) query.set("limit", String(selection.limit));
    if (selection.continue !== undefined) query.set("continue", selection.continue);
    if (selection.resourceVersion !== undefined) query.set("resourceVersion", selection.resourceVersion);
    const path = `${collectionPath(resource, selection.namespace)}?${query.toString()}`;
    return this.#json("GET", path, undefined, undefined, options) as ReturnType<KubeClient["list"]>;
  }

  /** Opens a watch; the caller reads the body, line by line, and ends it with `signal`. */
  async watch(
    resource: Resource,
    selection: Selection & { resourceVersion: string; timeoutSeconds: number },
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData["body"]> {
    const query = new URLSearchParams({
      ...selectionQuery(selection),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: selection.resourceVersion,
      timeoutSeconds: String(selection.timeoutSeconds),
    });
    const path = `${collectionPath(resource, selection.namespace)}?${query.toString()}`;
    const response = await this.#send("GET", path, undefined, undefined, signal, 0);
    if (response.statusCode === 200) return response.body;
    throw await refusal(`watch ${path}`, response);
  }

  async close(): Promise<void> {
    await this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  async #json(
    method: Dispatcher.HttpMethod,
    path: string,
    body: unknown,
    contentType = "application/json",
    { signal, timeout = defaultTimeout }: RequestOptions = {},
  ): Promise<unknown> {
    const limit = AbortSignal.timeout(timeout);
    const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    try {
      const response = await this.#send(method, path, body, contentType, either, timeout);
      if (response.statusCode >= 300) throw await refusal(`${method} ${path}`, response);
      const length = Number(response.headers["content-length"] ?? 0);
      if (length > maxBodyBytes) {
        throw new KubeError("KUBE_PROTOCOL", `${method} ${path}: an answer of ${length} bytes is not read`);
      }
      return await response.body.json();
    } catch (error) {
      if (limit.aborted && !(error instanceof KubeApiError)) {
        throw new KubeError("KUBE_TIMEOUT", `${method} ${path}: no answer from ${this.server} within ${timeout} ms`, {
          cause: error,
        });
      }
      throw error;
    }
  }

  async #send(
    method: Dispatcher.HttpMethod,
    path: string,
    body: unknown,
    contentType: string | undefined,
    signal: AbortSignal,
    timeout: number,
  ): Promise<Dispatcher.ResponseData> {
    const credentials = await this.#config.credentials();
    const headers: Record<string, string> = { accept: "application/json" };
    if (credentials.token !== undefined) headers["authorization"] = `Bearer ${credentials.token}`;
    if (body !== undefined) headers["content-type"] = contentType ?? "application/json";
    try {
      return await request(this.#config.server + path, {
        method,
        headers,
        signal,
        dispatcher: this.#dispatcher(credentials),
        // A watch is silent between bookmarks: whoever reads it watches over it.
        bodyTimeout: timeout,
        headersTimeout: timeout === 0 ? defaultTimeout : timeout,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (cause) {
      if (signal.aborted) throw cause;
      throw new KubeError("KUBE_UNREACHABLE", `${method} ${path}: ${this.server}: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** One pool of connections, made anew when the client certificate rotates. */
  #dispatcher({ certificate = "", key = "" }: Credentials): Agent {
    const identity = certificate + key;
    if (this.#agent?.key === identity) return this.#agent.agent;
    const old = this.#agent?.agent;
    const { ca, insecure, serverName } = this.#config;
    const agent = new Agent({
      connections: 8,
      pipelining: 1,
      keepAliveTimeout: 30_000,
      connect: {
        rejectUnauthorized: !insecure,
        timeout: 5000,
        ...(ca === undefined ? {} : { ca }),
        ...(serverName === undefined ? {} : { servername: serverName }),
        ...(certificate === "" ? {} : { cert: certificate, key }),
      },
    });
    this.#agent = { agent, key: identity };
    // Requests under way end on the old connections.
    if (old !== undefined) void old.close().catch(() => {});
    return agent;
  }
}

async function refusal(what: string, response: Dispatcher.ResponseData): Promise<KubeApiError> {
  const text = (await response.body.text()).slice(0, 16_384);
  let status: { reason?: string; message?: string } = {};
  try {
    status = JSON.parse(text) as typeof status;
  } catch {
    // Something in between answered, not the API server: its words are all there is.
  }
  const after = Number(response.headers["retry-after"]);
  return new KubeApiError(
    what,
    response.statusCode,
    status.reason ?? "Unknown",
    status.message ?? text.slice(0, 200),
    Number.isFinite(after) && after > 0 ? after * 1000 : undefined,
  );
}

function selectionQuery(selection: Selection): Record<string, string> {
  return {
    ...(selection.labelSelector === undefined ? {} : { labelSelector: selection.labelSelector }),
    ...(selection.fieldSelector === undefined ? {} : { fieldSelector: selection.fieldSelector }),
  };
}

function collectionPath(resource: Resource, namespace?: string): string {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${scope}/${resource.plural}`;
}

function objectPath(resource: Resource, name: string, namespace?: string, subresource?: string): string {
  const path = `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function nameOf(object: Manifest): string {
  const name = object.metadata?.name;
  if (name === undefined) throw new KubeError("KUBE_PROTOCOL", "an object without metadata.name cannot be replaced");
  return name;
}
