/** Requests to an API server: one resource descriptor per kind, JSON in and out, refusals as typed errors. */
import { systemClock, type Clock } from "./clock.ts";
import type { ClusterConfig } from "./config.ts";
import { KubeError, refusal } from "./errors.ts";
import {
  collectionPath,
  namespacePath,
  objectPath,
  selectionQuery,
  type Resource,
  type Selection,
} from "./resource.ts";
import { retryDelay } from "./retry.ts";
import { readBody, Transport, unreachable, type HttpMethod, type TransportResponse } from "./transport.ts";
import type { KubeList } from "./types/meta.ts";

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** For the request with all its attempts (ms); default 15,000 */
  readonly timeout?: number;
  /** Whether what is safe to repeat is repeated; default true. */
  readonly retry?: boolean;
}

/** `apply` is server-side apply: the patch is the whole of what its field manager wants. */
export type PatchKind = "merge" | "json" | "strategic" | "apply";

export interface PatchOptions extends RequestOptions {
  readonly namespace?: string;
  /** Default `merge`. */
  readonly kind?: PatchKind;
  readonly subresource?: "status";
  /** Whose fields these are; `apply` needs it. */
  readonly fieldManager?: string;
  /** With `apply`: take fields over from other managers. */
  readonly force?: boolean;
}

/** What the API needs of an object that is written. */
export interface Manifest {
  readonly metadata?: { readonly name?: string; readonly generateName?: string; readonly namespace?: string };
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export interface DeleteOptions extends RequestOptions {
  readonly namespace?: string;
  readonly preconditions?: Preconditions;
  /** What becomes of objects that this one owns; default as the kind has it. */
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
}

export interface PageRequest extends Selection {
  /** The most objects in the page. */
  readonly limit?: number;
  /** `metadata.continue` of the page before. */
  readonly continue?: string;
  readonly resourceVersion?: string;
}

export interface KubeClientOptions {
  readonly clock?: Clock;
  /** 0 inclusive to 1 exclusive */
  readonly random?: () => number;
}

const patchTypes: Readonly<Record<PatchKind, string>> = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
  // The API server reads YAML here, which JSON is a part of.
  apply: "application/apply-patch+yaml",
};

const defaultTimeout = 15_000;
/** The longest answer to a request that is no watch (bytes). */
const maxBodyBytes = 256 * 1024 * 1024;
/** The longest explanation of a refusal that is read (bytes). */
const maxRefusalBytes = 1024 * 1024;

interface JsonRequest {
  readonly method: HttpMethod;
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
}

/**
 * All methods throw {@link KubeError}: `KUBE_REFUSED` (a `KubeApiError`) when the server says no, `KUBE_UNREACHABLE`,
 * `KUBE_TIMEOUT`, `KUBE_CREDENTIALS` or `KUBE_PROTOCOL`; a `TypeError` when the caller names nothing that can be asked for; and
 * the reason of `signal` when that was aborted.
 */
export class KubeClient {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #random: () => number;

  constructor(config: ClusterConfig, { clock = systemClock, random = Math.random }: KubeClientOptions = {}) {
    this.#transport = new Transport(config);
    this.#clock = clock;
    this.#random = random;
  }

  get server(): string {
    return this.#transport.server;
  }

  async get<T>(resource: Resource, name: string, namespace?: string, options?: RequestOptions): Promise<T> {
    return (await this.#json({ method: "GET", path: objectPath(resource, name, namespace) }, options)) as T;
  }

  async create<T>(resource: Resource, object: Manifest, options?: RequestOptions): Promise<T> {
    const path = namespacePath(resource, object.metadata?.namespace);
    return (await this.#json({ method: "POST", path, body: object }, options)) as T;
  }

  /** Writes the whole object; with `metadata.resourceVersion` only if it has not changed since. */
  async replace<T>(resource: Resource, object: Manifest, subresource?: "status", options?: RequestOptions): Promise<T> {
    const path = objectPath(resource, object.metadata?.name, object.metadata?.namespace, subresource);
    return (await this.#json({ method: "PUT", path, body: object }, options)) as T;
  }

  /** {@link replace} of the status alone. */
  updateStatus<T>(resource: Resource, object: Manifest, options?: RequestOptions): Promise<T> {
    return this.replace<T>(resource, object, "status", options);
  }

  async patch<T>(resource: Resource, name: string, patch: unknown, options: PatchOptions = {}): Promise<T> {
    const { namespace, kind = "merge", subresource, fieldManager, force } = options;
    if (kind === "apply" && fieldManager === undefined) {
      throw new TypeError(`${resource.kind} ${name}: server-side apply needs a fieldManager; give one`);
    }
    const query = new URLSearchParams({
      ...(fieldManager === undefined ? {} : { fieldManager }),
      ...(force === undefined ? {} : { force: String(force) }),
    });
    const path = withQuery(objectPath(resource, name, namespace, subresource), query);
    return (await this.#json({ method: "PATCH", path, body: patch, contentType: patchTypes[kind] }, options)) as T;
  }

  async delete(resource: Resource, name: string, options: DeleteOptions = {}): Promise<void> {
    const { namespace, preconditions, propagationPolicy, gracePeriodSeconds } = options;
    const body = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(preconditions === undefined ? {} : { preconditions }),
      ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    };
    await this.#json({ method: "DELETE", path: objectPath(resource, name, namespace), body }, options);
  }

  /** One page of a list. */
  async list<T = unknown>(resource: Resource, page: PageRequest = {}, options?: RequestOptions): Promise<KubeList<T>> {
    const query = new URLSearchParams({
      ...selectionQuery(page),
      ...(page.limit === undefined ? {} : { limit: String(page.limit) }),
      ...(page.continue === undefined ? {} : { continue: page.continue }),
      ...(page.resourceVersion === undefined ? {} : { resourceVersion: page.resourceVersion }),
    });
    const path = withQuery(collectionPath(resource, page.namespace), query);
    const list = await this.#json({ method: "GET", path }, options);
    const items = (list as KubeList | null)?.items;
    if (typeof list !== "object" || list === null || (items !== undefined && items !== null && !Array.isArray(items))) {
      throw new KubeError("KUBE_PROTOCOL", `GET ${path}: ${this.server} did not answer with a list`);
    }
    return list;
  }

  /** All objects of a list, read in pages, each made smaller by `select` before the next page is read. */
  async listAll<R>(
    resource: Resource,
    select: (raw: unknown) => R | undefined,
    selection: Selection & { readonly pageSize?: number } = {},
    options?: RequestOptions,
  ): Promise<{ records: R[]; resourceVersion: string | undefined }> {
    const records: R[] = [];
    const { pageSize, ...chosen } = selection;
    const resourceVersion = await this.eachPage(resource, chosen, pageSize, options, (items) => {
      for (const raw of items) {
        const record = select(raw);
        if (record !== undefined) records.push(record);
      }
    });
    return { records, resourceVersion };
  }

  /**
   * Reads a list page by page; `options` hold for each page.
   * @param pageSize default 500; 0 for everything in one answer
   * @returns the version that the list shows, from which a watch can go on
   */
  async eachPage(
    resource: Resource,
    selection: Selection,
    pageSize = 500,
    options: RequestOptions | undefined,
    take: (items: readonly unknown[]) => void,
  ): Promise<string | undefined> {
    let version: string | undefined;
    let token: string | undefined;
    do {
      const { metadata, items } = await this.list(
        resource,
        {
          ...selection,
          ...(pageSize === 0 ? {} : { limit: pageSize }),
          ...(token === undefined ? {} : { continue: token }),
        },
        options,
      );
      // Were a later page newer than the first, a watch from the first one's version would still miss nothing.
      version ??= metadata?.resourceVersion;
      if (metadata?.continue !== undefined && metadata.continue === token) {
        throw new KubeError("KUBE_PROTOCOL", `the list of ${resource.plural} goes on with the same page for ever`);
      }
      token = metadata?.continue === "" ? undefined : metadata?.continue;
      take(items ?? []);
    } while (token !== undefined);
    return version;
  }

  /** Opens a watch; the caller reads the body, line by line, and ends it with `signal`. */
  async watch(
    resource: Resource,
    selection: Selection & { readonly resourceVersion: string; readonly timeoutSeconds: number },
    signal: AbortSignal,
  ): Promise<TransportResponse["body"]> {
    const query = new URLSearchParams({
      ...selectionQuery(selection),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: selection.resourceVersion,
      timeoutSeconds: String(selection.timeoutSeconds),
    });
    const path = withQuery(collectionPath(resource, selection.namespace), query);
    const response = await this.#transport.send({ method: "GET", path, signal, stream: true });
    if (response.statusCode === 200) return response.body;
    throw await explained(`watch ${path}`, response);
  }

  /** Ends every connection, watches included. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #json(
    { method, path, body, contentType }: JsonRequest,
    { signal, timeout = defaultTimeout, retry = true }: RequestOptions = {},
  ): Promise<unknown> {
    const limit = AbortSignal.timeout(timeout);
    const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    const text = body === undefined ? undefined : JSON.stringify(body);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(
          {
            method,
            path,
            signal: either,
            ...(text === undefined ? {} : { body: text }),
            ...(contentType === undefined ? {} : { contentType }),
          },
          either,
        );
      } catch (error) {
        signal?.throwIfAborted();
        const delay = retry && !limit.aborted ? retryDelay(method, error, attempt, this.#random()) : undefined;
        if (delay !== undefined) await this.#clock.wait(delay, either);
        signal?.throwIfAborted();
        if (limit.aborted) {
          const message = `${method} ${path}: no answer from ${this.server} within ${timeout} ms`;
          throw new KubeError("KUBE_TIMEOUT", message, { cause: error });
        }
        if (delay === undefined) throw error;
      }
    }
  }

  async #attempt(what: Parameters<Transport["send"]>[0], signal: AbortSignal): Promise<unknown> {
    const title = `${what.method} ${what.path}`;
    const response = await this.#transport.send(what);
    if (response.statusCode < 200 || response.statusCode >= 300) throw await explained(title, response);
    let bytes: Buffer;
    try {
      bytes = await readBody(response.body, maxBodyBytes, title);
    } catch (cause) {
      if (signal.aborted || cause instanceof KubeError) throw cause;
      throw unreachable(`${title}: ${this.server}`, cause);
    }
    try {
      return JSON.parse(bytes.toString("utf8"));
    } catch (cause) {
      throw new KubeError("KUBE_PROTOCOL", `${title}: ${this.server} answered with something that is no JSON`, {
        cause,
      });
    }
  }
}

/** The refusal that a response is, once its explanation has been read. */
async function explained(what: string, response: TransportResponse): Promise<KubeError> {
  const header = response.headers["retry-after"];
  const text = await readBody(response.body, maxRefusalBytes, what).then(
    (bytes) => bytes.toString("utf8"),
    () => "",
  );
  let body: unknown = text;
  try {
    body = JSON.parse(text);
  } catch {
    // Something in between answered, not the API server: its words are all there is.
  }
  return refusal(what, response.statusCode, body, typeof header === "string" ? header : undefined);
}

function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}
