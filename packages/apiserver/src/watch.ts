/**
 * Watches: a stream of events per client, encoded once per change however many clients there are.
 */
import type { ServerResponse } from "node:http";
import type { KubeObject } from "./object.ts";
import { apiVersionOf, resourceKey, type Resource } from "./resources.ts";
import type { Selector } from "./selectors.ts";
import { ApiError, type Status } from "./status.ts";
import type { Change, Store, Stored } from "./store.ts";
import { makeTable, metadataOnly, type IncludeObject } from "./table/table.ts";
import type { Representation } from "./negotiate.ts";

/** What a client asked to watch. */
export interface WatchRequest {
  resource: Resource;
  version: string;
  namespace: string;
  selector: Selector | undefined;
  /** "" and "0": begin with what exists; else only what changed since. */
  resourceVersion: string;
  bookmarks: boolean;
  /** Begin with what exists and mark its end by a bookmark (`sendInitialEvents`). */
  initialEvents: boolean;
  /** Seconds after which the server ends the watch. */
  timeoutSeconds: number;
  representation: Representation;
  include: IncludeObject;
}

/** Bytes that may wait for a client that does not read, beyond the initial list. More ends the watch. */
const MAX_BACKLOG = 32 * 1024 * 1024;

type EventType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";

/**
 * Serves one watch until it times out, the client leaves or cannot keep up, or the returned function is called.
 * @throws ApiError before anything is sent
 */
export function serveWatch(
  store: Store,
  request: WatchRequest,
  response: ServerResponse,
  bookmarkSeconds: number,
  onEnd: () => void,
): () => void {
  const { resource, namespace, selector } = request;
  const key = resourceKey(resource.group, resource.plural);
  const fromNow = request.initialEvents || request.resourceVersion === "" || request.resourceVersion === "0";
  const from = fromNow ? store.revision : parseResourceVersion(request.resourceVersion);
  let missed: Change[] = [];
  let tooOld: ApiError | undefined;
  if (!fromNow) {
    try {
      missed = store.since(key, from);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      tooOld = error;
    }
  }
  const encoder = new EventEncoder(request);
  response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
  if (tooOld !== undefined) {
    // The head is 200 by protocol: a watch reports what goes wrong as an event.
    response.end(encoder.error(tooOld.toStatus()));
    onEnd();
    return () => {};
  }
  response.flushHeaders();
  let allowance = MAX_BACKLOG;
  const send = (bytes: Buffer): void => {
    response.write(bytes);
    if (response.writableLength > allowance) end(true);
  };
  const prefix = `${namespace}/`;
  const deliver = (change: Change): void => {
    if (change.revision <= from || (namespace !== "" && !change.current.key.startsWith(prefix))) return;
    const event = visible(change, selector);
    if (event !== undefined) send(encoder.change(event, change));
  };
  let unsubscribe = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  let bookmarkTimer: NodeJS.Timeout | undefined;
  let ended = false;
  const end = (abrupt = false): void => {
    if (ended) return;
    ended = true;
    unsubscribe();
    clearTimeout(timer);
    clearInterval(bookmarkTimer);
    if (abrupt) response.destroy();
    else {
      if (request.bookmarks) response.write(encoder.bookmark(store.revision, false));
      response.end();
    }
    onEnd();
  };
  response.once("close", () => end(true));
  response.on("error", () => end(true));
  if (fromNow) {
    const initial: Buffer[] = [];
    for (const stored of store.list(key, namespace)) {
      if (selector === undefined || selector(stored.object)) initial.push(encoder.initial(stored));
    }
    if (request.initialEvents && request.bookmarks) initial.push(encoder.bookmark(store.revision, true));
    const bytes = Buffer.concat(initial);
    allowance += bytes.length;
    if (bytes.length > 0) send(bytes);
  }
  for (const change of missed) deliver(change);
  unsubscribe = store.subscribe(key, deliver);
  timer = setTimeout(() => end(), request.timeoutSeconds * 1000);
  if (request.bookmarks) {
    bookmarkTimer = setInterval(() => send(encoder.bookmark(store.revision, false)), bookmarkSeconds * 1000);
  }
  return end;
}

/** @throws ApiError BadRequest */
export function parseResourceVersion(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw ApiError.badRequest(`invalid resource version ${JSON.stringify(text)}: must be a whole number`);
  }
  return Number(text);
}

/** What a change looks like through a selector: coming into sight is ADDED, leaving it is DELETED. */
function visible(change: Change, selector: Selector | undefined): EventType | undefined {
  if (selector === undefined) return change.type;
  const before = change.previous !== undefined && selector(change.previous.object);
  const after = change.type !== "DELETED" && selector(change.current.object);
  if (after) return before ? "MODIFIED" : "ADDED";
  return before ? "DELETED" : undefined;
}

/** An object that leaves a selector is shown as it last was inside, with the revision of the change. */
function seen(type: EventType, change: Change): KubeObject {
  const { current, previous } = change;
  if (type !== "DELETED" || change.type === "DELETED" || previous === undefined) return current.object;
  const { object } = previous;
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(change.revision) } };
}

/** Turns changes into lines. */
class EventEncoder {
  readonly #request: WatchRequest;
  readonly #plain: boolean;
  #columnsSent = false;

  constructor(request: WatchRequest) {
    this.#request = request;
    this.#plain = request.representation.as === "object" && request.version === request.resource.version;
  }

  change(type: EventType, change: Change): Buffer {
    if (!this.#plain) return this.#line(type, JSON.stringify(this.#shape(seen(type, change))));
    // A change seen as what it is has the same bytes for everybody.
    if (type !== change.type) return this.#line(type, JSON.stringify(seen(type, change)));
    change.encoded ??= this.#line(type, change.current.json);
    return change.encoded;
  }

  initial(stored: Stored): Buffer {
    return this.#line("ADDED", this.#plain ? stored.json : JSON.stringify(this.#shape(stored.object)));
  }

  bookmark(revision: number, initialEnd: boolean): Buffer {
    const { resource, version, representation } = this.#request;
    const metadata: Record<string, unknown> = { resourceVersion: String(revision), creationTimestamp: null };
    if (initialEnd) metadata["annotations"] = { "k8s.io/initial-events-end": "true" };
    let object: Record<string, unknown> = {
      kind: resource.kind,
      apiVersion: apiVersionOf(resource.group, version),
      metadata,
    };
    if (representation.as === "table") {
      object = {
        kind: "Table",
        apiVersion: `meta.k8s.io/${representation.version}`,
        metadata,
        columnDefinitions: [],
        rows: [],
      };
    } else if (representation.as === "metadata") {
      object = { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${representation.version}`, metadata };
    }
    return this.#line("BOOKMARK", JSON.stringify(object));
  }

  error(status: Status): Buffer {
    return this.#line("ERROR", JSON.stringify(status));
  }

  #line(type: EventType, json: string): Buffer {
    return Buffer.from(`{"type":"${type}","object":${json}}\n`);
  }

  #shape(object: KubeObject): unknown {
    const { resource, version, representation, include } = this.#request;
    const served = { ...object, apiVersion: apiVersionOf(resource.group, version) };
    if (representation.as === "metadata") return metadataOnly(served, representation.version);
    if (representation.as === "object") return served;
    const withColumns = !this.#columnsSent;
    this.#columnsSent = true;
    const metadata = { resourceVersion: object.metadata.resourceVersion };
    return makeTable(resource, version, [served], metadata, {
      version: representation.version,
      include,
      withColumns,
      now: Date.now(),
    });
  }
}
