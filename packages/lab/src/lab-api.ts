import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import type { IncomingMessage } from "node:http";
import type { Manifest } from "./config.ts";
import { LabError, messageOf } from "./errors.ts";
import { sleep } from "./process/run.ts";
import { eventResource, namespaceResource, type Resource } from "./resources.ts";

interface StoredObject {
  readonly metadata: { readonly uid: string; readonly resourceVersion?: string };
}

/** What a watcher is told. After every (re)list `synced` gets the whole list, so that missed deletions show. */
export interface WatchHandlers<T> {
  readonly changed: (object: T) => void;
  readonly deleted: (object: T) => void;
  readonly synced?: (objects: readonly T[]) => void;
}

/** A running list+watch. */
export interface Watch {
  stop(): Promise<void>;
}

/** The object an Event is about. */
export interface EventSubject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** The API server refused: HTTP status, reason and message as it gave them. */
export class ApiRefusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const REQUEST_TIMEOUT_MS = 10_000;
/** A server sends a bookmark at least once a minute; a watch that is silent for longer is dead. */
const WATCH_SILENCE_MS = 90_000;
const MAX_LINE = 16 * 1024 * 1024;
const PATCH_TYPES = {
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
} as const;

/** The lab's own access to its API server, as administrator: what a kubelet and a scheduler need, no more. */
export class LabApi {
  readonly #server: URL;
  readonly #agent: Agent;
  readonly #events: EventPoster;

  /** Takes a kubeconfig that this lab wrote itself. */
  constructor(kubeconfig: string) {
    const config = JSON.parse(readFileSync(kubeconfig, "utf8")) as LabKubeconfig;
    const [cluster] = config.clusters;
    const [user] = config.users;
    const decode = (text: string) => Buffer.from(text, "base64");
    this.#server = new URL(cluster.cluster.server);
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 64,
      ca: decode(cluster.cluster["certificate-authority-data"]),
      cert: decode(user.user["client-certificate-data"]),
      key: decode(user.user["client-key-data"]),
    });
    this.#events = new EventPoster(this);
  }

  /** Does the server say that it is ready? */
  async ready(): Promise<boolean> {
    return await this.#request("GET", "/readyz").then(
      () => true,
      () => false,
    );
  }

  async get<T>(resource: Resource, namespace: string | undefined, name: string): Promise<T | undefined> {
    return await absent(this.#json<T>("GET", objectPath(resource, namespace, name)));
  }

  async list<T>(resource: Resource): Promise<readonly T[]> {
    return (await this.#json<{ items: T[] }>("GET", objectPath(resource))).items;
  }

  async create<T>(resource: Resource, namespace: string | undefined, object: unknown): Promise<T> {
    return await this.#json<T>("POST", objectPath(resource, namespace), object);
  }

  async patch(resource: Resource, namespace: string | undefined, name: string, patch: unknown): Promise<void> {
    await this.#json("PATCH", objectPath(resource, namespace, name), patch, PATCH_TYPES.merge);
  }

  /** Writes a status; false when the object, or the one of that UID, is gone. */
  async patchStatus(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    type: keyof typeof PATCH_TYPES,
    patch: unknown,
  ): Promise<boolean> {
    try {
      await this.#json("PATCH", `${objectPath(resource, namespace, name)}/status`, patch, PATCH_TYPES[type]);
      return true;
    } catch (error) {
      if (!(error instanceof ApiRefusal && (error.status === 404 || error.status === 409))) throw error;
      // A conflict may be about the UID, which is final, or about another writer, which is not.
      const uid = (patch as { metadata?: { uid?: string } }).metadata?.uid;
      const present = await this.get<StoredObject>(resource, namespace, name);
      if (present === undefined || (uid !== undefined && present.metadata.uid !== uid)) return false;
      throw error;
    }
  }

  /** Binds a pod to a node; false when it is bound or gone already. */
  async bind(namespace: string, pod: string, uid: string, node: string): Promise<boolean> {
    const body = {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name: pod, namespace, uid },
      target: { apiVersion: "v1", kind: "Node", name: node },
    };
    try {
      await this.#json("POST", `/api/v1/namespaces/${namespace}/pods/${pod}/binding`, body);
      return true;
    } catch (error) {
      if (error instanceof ApiRefusal && (error.status === 404 || error.status === 409)) return false;
      throw error;
    }
  }

  /** Deletes an object, that of `uid` only if given; fine when it is gone. */
  async remove(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    options: { readonly uid?: string; readonly gracePeriodSeconds?: number } = {},
  ): Promise<void> {
    const body = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
      ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
    };
    try {
      await this.#json("DELETE", objectPath(resource, namespace, name), body);
    } catch (error) {
      if (!(error instanceof ApiRefusal && (error.status === 404 || error.status === 409))) throw error;
    }
  }

  /** Deletes all objects of a kind in a namespace. */
  async removeAll(resource: Resource, namespace: string): Promise<void> {
    await this.#json("DELETE", objectPath(resource, namespace), { apiVersion: "v1", kind: "DeleteOptions" });
  }

  /** Kinds of a namespace that can be listed and deleted together, as discovery tells. */
  async namespacedResources(): Promise<readonly Resource[]> {
    const { groups } = await this.#json<{ groups: { preferredVersion: { groupVersion: string } }[] }>("GET", "/apis");
    const versions = ["v1", ...groups.map((group) => group.preferredVersion.groupVersion)];
    const found: Resource[] = [];
    for (const groupVersion of versions) {
      const [group, version] = groupAndVersion(groupVersion);
      const { resources } = await this.#json<ResourceList>("GET", groupPath(group, version));
      for (const { name, kind, namespaced, verbs } of resources) {
        if (namespaced && verbs.includes("deletecollection") && verbs.includes("list"))
          found.push({ group, version, plural: name, kind, namespaced });
      }
    }
    return found;
  }

  /** Number of objects of a kind in a namespace. */
  async count(resource: Resource, namespace: string): Promise<number> {
    return (await this.#json<{ items: unknown[] }>("GET", objectPath(resource, namespace))).items.length;
  }

  /** Lets a namespace that is being deleted go (subresource `finalize`). */
  async finalizeNamespace(name: string): Promise<void> {
    const namespace = await this.get<Record<string, unknown>>(namespaceResource, undefined, name);
    if (namespace === undefined) return;
    await absent(this.#json("PUT", `/api/v1/namespaces/${name}/finalize`, { ...namespace, spec: { finalizers: [] } }));
  }

  /** Creates an object of any kind that discovery knows, or lays it over the one that exists. */
  async apply(manifest: Manifest): Promise<void> {
    const resource = await this.#discover(manifest);
    const namespace = resource.namespaced ? (manifest.metadata.namespace ?? "default") : undefined;
    try {
      await this.create(resource, namespace, manifest);
    } catch (error) {
      if (!(error instanceof ApiRefusal && error.status === 409)) {
        throw new LabError(
          "LAB_BAD_MANIFEST",
          `${manifest.kind} ${manifest.metadata.name} is refused: ${messageOf(error)}`,
          { cause: error },
        );
      }
      await this.patch(resource, namespace, manifest.metadata.name, manifest);
    }
  }

  /** Posts an Event in the background; never throws. */
  event(subject: EventSubject, reason: string, message: string, warning: boolean, source: string): void {
    this.#events.post(subject, reason, message, warning, source);
  }

  /** Lists and watches until stopped, through restarts of the server. */
  watch<T extends StoredObject>(
    resource: Resource,
    selectors: { readonly fieldSelector?: string },
    handlers: WatchHandlers<T>,
  ): Watch {
    const abort = new AbortController();
    const running = this.#watchLoop(resource, selectors.fieldSelector, handlers, abort.signal);
    return {
      stop: async () => {
        abort.abort();
        await running;
      },
    };
  }

  close(): void {
    this.#agent.destroy();
  }

  async #discover(manifest: Manifest): Promise<Resource> {
    const [group, version] = groupAndVersion(manifest.apiVersion);
    const deadline = performance.now() + REQUEST_TIMEOUT_MS;
    for (;;) {
      // A new CustomResourceDefinition is served a moment after it was accepted.
      const found = await absent(
        this.#json<{ resources: { name: string; kind: string; namespaced: boolean }[] }>(
          "GET",
          groupPath(group, version),
        ),
      );
      const resource = found?.resources.find((item) => item.kind === manifest.kind && !item.name.includes("/"));
      if (resource !== undefined)
        return { group, version, plural: resource.name, kind: resource.kind, namespaced: resource.namespaced };
      if (performance.now() > deadline)
        throw new LabError(
          "LAB_BAD_MANIFEST",
          `${manifest.apiVersion} ${manifest.kind} is not known to the API server; apply its CustomResourceDefinition first`,
        );
      await sleep(50);
    }
  }

  async #watchLoop<T extends StoredObject>(
    resource: Resource,
    fieldSelector: string | undefined,
    handlers: WatchHandlers<T>,
    signal: AbortSignal,
  ): Promise<void> {
    const query = fieldSelector === undefined ? "" : `&fieldSelector=${encodeURIComponent(fieldSelector)}`;
    const path = objectPath(resource);
    let resourceVersion = "";
    let pauseMs = 0;
    while (!signal.aborted) {
      try {
        if (resourceVersion === "") {
          const list = await this.#json<{ metadata: { resourceVersion: string }; items: T[] }>(
            "GET",
            `${path}?limit=0${query}`,
          );
          if (signal.aborted) return;
          for (const item of list.items) handlers.changed(item);
          handlers.synced?.(list.items);
          ({ resourceVersion } = list.metadata);
        }
        await this.#watchOnce(
          `${path}?watch=true&allowWatchBookmarks=true&resourceVersion=${resourceVersion}${query}`,
          signal,
          (type, body) => {
            pauseMs = 0;
            if (type === "ERROR") throw new ApiRefusal(410, "Expired", "the watch is too old");
            const object = body as T;
            resourceVersion = object.metadata.resourceVersion ?? resourceVersion;
            if (type === "ADDED" || type === "MODIFIED") handlers.changed(object);
            if (type === "DELETED") handlers.deleted(object);
          },
        );
      } catch (error) {
        if (error instanceof ApiRefusal) resourceVersion = "";
        pauseMs = Math.min(Math.max(pauseMs * 2, 50), 1_000);
      }
      if (!signal.aborted) await sleep(pauseMs, signal);
    }
  }

  async #watchOnce(path: string, signal: AbortSignal, onEvent: (type: string, object: unknown) => void): Promise<void> {
    const response = await this.#open("GET", path, undefined, undefined, signal);
    let pending = "";
    response.setEncoding("utf8");
    response.setTimeout(WATCH_SILENCE_MS, () => response.destroy(new Error("the watch is silent")));
    for await (const chunk of response as AsyncIterable<string>) {
      pending += chunk;
      if (pending.length > MAX_LINE) throw new Error("a watch event is larger than 16 MiB");
      const lines = pending.split("\n");
      pending = lines.pop()!;
      for (const line of lines) {
        if (line === "" || signal.aborted) continue;
        const event = JSON.parse(line) as { type: string; object: unknown };
        onEvent(event.type, event.object);
      }
    }
  }

  async #json<T>(method: string, path: string, body?: unknown, contentType = "application/json"): Promise<T> {
    return JSON.parse(await this.#request(method, path, body, contentType)) as T;
  }

  async #request(method: string, path: string, body?: unknown, contentType?: string): Promise<string> {
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const response = await this.#open(method, path, body, contentType, signal);
    return await readAll(response);
  }

  async #open(
    method: string,
    path: string,
    body: unknown,
    contentType: string | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = {
      accept: "application/json",
      ...(payload === undefined
        ? {}
        : { "content-type": contentType ?? "application/json", "content-length": payload.length }),
    };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const call = request(new URL(path, this.#server), { method, headers, agent: this.#agent, signal }, resolve);
      call.on("error", reject);
      call.end(payload);
    });
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw refusal(status, await readAll(response));
  }
}

interface LabKubeconfig {
  readonly clusters: readonly [
    { readonly cluster: { readonly server: string; readonly "certificate-authority-data": string } },
  ];
  readonly users: readonly [
    { readonly user: { readonly "client-certificate-data": string; readonly "client-key-data": string } },
  ];
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function refusal(status: number, text: string): ApiRefusal {
  try {
    const body = JSON.parse(text) as { reason?: string; message?: string };
    return new ApiRefusal(status, body.reason ?? "", body.message ?? text.slice(0, 500));
  } catch {
    return new ApiRefusal(status, "", text.slice(0, 500));
  }
}

async function absent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiRefusal && error.status === 404) return undefined;
    throw error;
  }
}

interface ResourceList {
  readonly resources: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
    readonly verbs: readonly string[];
  }[];
}

function groupAndVersion(apiVersion: string): [string, string] {
  const [first, second] = apiVersion.split("/");
  return second === undefined ? ["", first!] : [first!, second];
}

function groupPath(group: string, version: string): string {
  return group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
}

function objectPath(resource: Resource, namespace?: string, name?: string): string {
  const scope = namespace === undefined ? "" : `/namespaces/${namespace}`;
  const object = name === undefined ? "" : `/${encodeURIComponent(name)}`;
  return `${groupPath(resource.group, resource.version)}${scope}/${resource.plural}${object}`;
}

const EVENT_REPEAT_MS = 2_000;
const MAX_REMEMBERED_EVENTS = 4_096;

/** Posts Events; the same one again only raises its count, and that not more often than every two seconds. */
class EventPoster {
  readonly #api: LabApi;
  readonly #known = new Map<string, { name: string; count: number; postedAt: number }>();

  constructor(api: LabApi) {
    this.#api = api;
  }

  post(subject: EventSubject, reason: string, message: string, warning: boolean, source: string): void {
    const key = JSON.stringify([subject.uid, reason, message]);
    const now = Date.now();
    const time = `${new Date(now).toISOString().slice(0, 19)}Z`;
    const known = this.#known.get(key);
    if (known !== undefined) {
      known.count += 1;
      if (now - known.postedAt < EVENT_REPEAT_MS) return;
      known.postedAt = now;
      this.#api
        .patch(eventResource, subject.namespace, known.name, { count: known.count, lastTimestamp: time })
        .catch(ignore);
      return;
    }
    if (this.#known.size >= MAX_REMEMBERED_EVENTS) this.#known.clear();
    const name = `${subject.name}.${now.toString(16)}${Math.random().toString(16).slice(2, 8)}`;
    this.#known.set(key, { name, count: 1, postedAt: now });
    this.#api
      .create(eventResource, subject.namespace, {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name, namespace: subject.namespace },
        involvedObject: subject,
        reason,
        message: message.slice(0, 1000),
        type: warning ? "Warning" : "Normal",
        source: { component: source.split(" ")[0], host: source.split(" ")[1] ?? "" },
        count: 1,
        firstTimestamp: time,
        lastTimestamp: time,
      })
      .catch(ignore);
  }
}

// An Event is a remark: what it is about goes on without it.
function ignore(): void {
  return undefined;
}
