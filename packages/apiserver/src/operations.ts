/**
 * Create, read, update and delete over the store, with the semantics that all kinds share: names, versions and
 * preconditions, generations, finalizers, graceful deletion, terminating namespaces. No HTTP here. Every operation is
 * synchronous, hence atomic.
 */
import { randomInt, randomUUID } from "node:crypto";
import { clone, deepEqual, isObject, objectOf, type JsonObject } from "./json.ts";
import { asKubeObject, metadataProblems, timestamp, type KubeObject } from "./object.ts";
import { apiVersionOf, resourceKey, type Catalogue, type Resource } from "./resources.ts";
import { ApiError, type StatusCause } from "./status.ts";
import { trackUpdate } from "./patch/apply.ts";
import { builtInListKinds, schemaListKinds, type ListKinds } from "./patch/list-keys.ts";
import { storeKey, type Store } from "./store.ts";
import type { Strategy } from "./kinds/strategy.ts";

/** Options that writing requests have in common. */
export interface WriteOptions {
  dryRun: boolean;
  fieldManager: string;
  /** The object comes out of a server-side apply: its `managedFields` are right already. */
  applied?: boolean;
}

/** meta.k8s.io/v1 DeleteOptions, as far as it is acted upon. */
export interface DeleteOptions {
  dryRun: boolean;
  /** Seconds; undefined lets the kind decide. */
  gracePeriodSeconds: number | undefined;
  uid: string | undefined;
  resourceVersion: string | undefined;
  propagation: "Background" | "Foreground" | "Orphan" | undefined;
}

/** An object as an operation left it. */
export interface Outcome {
  object: KubeObject;
  /** For a deletion: whether the object is gone (else it waits for its grace period or finalizers). */
  removed: boolean;
}

/** Behaviours of kinds that are not fixed: custom resources come and go. */
export type StrategyLookup = (resource: Resource, version: string) => Strategy | undefined;

const SUFFIX = "bcdfghjklmnpqrstvwxz2456789";
const MAX_GENERATED_BASE = 58;
/** Namespaces that the cluster cannot do without. */
const PROTECTED_NAMESPACES = new Set(["default", "kube-system", "kube-public"]);

/** The operations of one server. */
export class Operations {
  readonly store: Store;
  readonly catalogue: Catalogue;
  readonly #strategyOf: StrategyLookup;
  readonly #now: () => number;

  constructor(store: Store, catalogue: Catalogue, strategyOf: StrategyLookup, now: () => number = Date.now) {
    this.store = store;
    this.catalogue = catalogue;
    this.#strategyOf = strategyOf;
    this.#now = now;
  }

  /** @throws ApiError NotFound */
  get(resource: Resource, namespace: string, name: string): KubeObject {
    const stored = this.store.get(resourceKey(resource.group, resource.plural), storeKey(namespace, name));
    if (stored === undefined) throw ApiError.notFound(resource, name);
    return stored.object;
  }

  /**
   * Creates an object from an untrusted body.
   * @throws ApiError BadRequest, Invalid, AlreadyExists, Forbidden (namespace is terminating), NotFound (no namespace)
   */
  create(resource: Resource, version: string, namespace: string, body: unknown, options: WriteOptions): KubeObject {
    const object = this.#decode(resource, version, namespace, clone(body));
    const { metadata } = object;
    if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== "" && metadata.resourceVersion !== "0") {
      throw ApiError.badRequest("resourceVersion should not be set on objects to be created");
    }
    this.#checkNamespace(resource, namespace, metadata.name ?? metadata.generateName ?? "");
    const generated = (metadata.name ?? "") === "" && (metadata.generateName ?? "") !== "";
    const key = resourceKey(resource.group, resource.plural);
    if (generated) metadata.name = this.#generateName(key, namespace, metadata.generateName ?? "");
    metadata.uid = randomUUID();
    metadata.creationTimestamp = timestamp(this.#now());
    delete metadata.deletionTimestamp;
    delete metadata.deletionGracePeriodSeconds;
    delete metadata["selfLink"];
    delete metadata.resourceVersion;
    if (options.applied !== true) delete metadata.managedFields;
    if (resource.generation) metadata.generation = 1;
    else delete metadata.generation;
    const strategy = this.#strategyOf(resource, version);
    strategy?.prepareCreate?.(object);
    this.#refuse(resource, object, [
      ...metadataProblems(metadata, resource.nameRule),
      ...(strategy?.validate?.(object) ?? []),
    ]);
    const name = metadata.name ?? "";
    const stored = storeKey(namespace, name);
    if (this.store.get(key, stored) !== undefined) throw ApiError.alreadyExists(resource, name);
    if (options.dryRun) return object;
    return this.store.put(key, stored, this.#toStorage(resource, object)).object;
  }

  /**
   * Replaces an object by what `change` makes of its present state (in the requested version; it must not be altered in
   * place). `subresource` is "" or "status". Nothing is written when nothing changes.
   * @throws ApiError
   */
  update(
    resource: Resource,
    version: string,
    namespace: string,
    name: string,
    subresource: "" | "status",
    change: (current: KubeObject) => unknown,
    options: WriteOptions,
  ): Outcome {
    const key = resourceKey(resource.group, resource.plural);
    const objectKey = storeKey(namespace, name);
    const old = this.get(resource, namespace, name);
    const object = this.#decode(resource, version, namespace, clone(change(this.convert(resource, old, version))));
    const { metadata } = object;
    if (metadata.name !== name) {
      throw ApiError.badRequest(
        `the name of the object (${metadata.name ?? ""}) does not match the name on the URL (${name})`,
      );
    }
    if (metadata.uid !== undefined && metadata.uid !== "" && metadata.uid !== old.metadata.uid) {
      throw ApiError.conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${old.metadata.uid ?? ""}`,
      );
    }
    const asked = metadata.resourceVersion ?? "";
    if (asked !== "" && asked !== "0" && asked !== old.metadata.resourceVersion) {
      if (!/^\d+$/.test(asked)) {
        throw ApiError.badRequest(`metadata.resourceVersion: ${JSON.stringify(asked)} is no resource version`);
      }
      throw ApiError.staleVersion(resource, name);
    }
    const strategy = this.#strategyOf(resource, version);
    // What only the server writes.
    for (const field of ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]) {
      if (old.metadata[field] === undefined) delete metadata[field];
      else metadata[field] = old.metadata[field];
    }
    delete metadata["selfLink"];
    if (options.applied !== true && !clearsManagers(metadata.managedFields)) {
      if (old.metadata.managedFields === undefined) delete metadata.managedFields;
      else metadata.managedFields = old.metadata.managedFields;
    }
    metadata.namespace ??= old.metadata.namespace ?? "";
    if (metadata.namespace === "") delete metadata.namespace;
    const before = this.convert(resource, old, version);
    const next = subresource === "status" ? statusChange(resource, before, object) : object;
    const causes: StatusCause[] = [];
    if (subresource === "") {
      strategy?.prepareUpdate?.(next, before);
      causes.push(...(strategy?.validate?.(next, before) ?? []), ...(strategy?.validateUpdate?.(next, before) ?? []));
    } else causes.push(...(strategy?.validateStatus?.(next, before) ?? []));
    causes.push(...metadataProblems(next.metadata, resource.nameRule), ...newFinalizers(old, next));
    this.#refuse(resource, next, causes);
    next.metadata.resourceVersion = old.metadata.resourceVersion ?? "";
    const bare = this.#toStorage(resource, next);
    if (resource.generation && desiredChanged(resource, old, bare)) {
      bare.metadata.generation = (old.metadata.generation ?? 0) + 1;
    }
    if (options.applied !== true && bare.metadata.managedFields !== undefined && !deepEqual(bare, old)) {
      const kinds = listKindsOf(resource, version);
      const managed = trackUpdate(old, bare, options.fieldManager, subresource, kinds);
      if (managed === undefined || clearsManagers(metadata.managedFields)) delete bare.metadata.managedFields;
      else bare.metadata.managedFields = managed;
    }
    if (deepEqual(bare, old)) return { object: old, removed: false };
    if (options.dryRun) return { object: bare, removed: false };
    if (this.#mayGo(resource, bare)) {
      return { object: this.#remove(resource, objectKey, bare), removed: true };
    }
    return { object: this.store.put(key, objectKey, bare).object, removed: false };
  }

  /**
   * Writes an object that the server itself changed: no preconditions and no validation, but finalizers are obeyed.
   */
  write(resource: Resource, object: KubeObject): Outcome {
    const key = storeKey(object.metadata.namespace ?? "", object.metadata.name ?? "");
    if (this.#mayGo(resource, object)) return { object: this.#remove(resource, key, object), removed: true };
    return { object: this.store.put(resourceKey(resource.group, resource.plural), key, object).object, removed: false };
  }

  /**
   * Deletes an object, or begins to.
   * @throws ApiError NotFound, Conflict (preconditions), Forbidden (a namespace the cluster needs)
   */
  delete(resource: Resource, namespace: string, name: string, options: DeleteOptions): Outcome {
    const old = this.get(resource, namespace, name);
    if (options.uid !== undefined && options.uid !== old.metadata.uid) {
      throw ApiError.conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${old.metadata.uid ?? ""}`,
      );
    }
    if (options.resourceVersion !== undefined && options.resourceVersion !== old.metadata.resourceVersion) {
      throw ApiError.staleVersion(resource, name);
    }
    const isNamespace = resource.group === "" && resource.plural === "namespaces";
    if (isNamespace && PROTECTED_NAMESPACES.has(name)) {
      throw ApiError.forbidden(resource, name, "this namespace may not be deleted");
    }
    const strategy = this.#strategyOf(resource, resource.version);
    const grace = strategy?.gracePeriod?.(old, options.gracePeriodSeconds) ?? 0;
    const pending = old.metadata.deletionTimestamp !== undefined;
    if (
      pending &&
      (old.metadata.deletionGracePeriodSeconds ?? 0) <= grace &&
      !(grace === 0 && this.#mayGo(resource, old))
    ) {
      return { object: old, removed: false };
    }
    const next = clone(old);
    const { metadata } = next;
    metadata.deletionTimestamp = timestamp(this.#now() + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
    if (resource.generation) metadata.generation = (metadata.generation ?? 0) + 1;
    if (!pending && (options.propagation === "Foreground" || options.propagation === "Orphan")) {
      const finalizer = options.propagation === "Foreground" ? "foregroundDeletion" : "orphan";
      metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), finalizer])];
    }
    if (isNamespace) next["status"] = { ...objectOf(next["status"]), phase: "Terminating" };
    if (options.dryRun) return { object: next, removed: this.#mayGo(resource, next) };
    return this.write(resource, next);
  }

  /** The object in another version of its resource; conversion between versions changes nothing but the version. */
  convert(resource: Resource, object: KubeObject, version: string): KubeObject {
    const apiVersion = apiVersionOf(resource.group, version);
    return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
  }

  #toStorage(resource: Resource, object: KubeObject): KubeObject {
    return { ...object, apiVersion: apiVersionOf(resource.group, resource.version) };
  }

  #decode(resource: Resource, version: string, namespace: string, body: unknown): KubeObject {
    // A typed client may leave these out: the URL already says them.
    const filled: unknown = isObject(body)
      ? {
          ...body,
          apiVersion: body["apiVersion"] ?? apiVersionOf(resource.group, version),
          kind: body["kind"] ?? resource.kind,
        }
      : body;
    const object = asKubeObject(filled);
    const expected = apiVersionOf(resource.group, version);
    if (object.apiVersion !== expected || object.kind !== resource.kind) {
      throw ApiError.badRequest(
        `the object provided is ${object.apiVersion}, Kind=${object.kind}, but the URL is for ${expected}, Kind=${resource.kind}`,
      );
    }
    const { metadata } = object;
    if (resource.namespaced) {
      if (metadata.namespace !== undefined && metadata.namespace !== "" && metadata.namespace !== namespace) {
        throw ApiError.badRequest(
          `the namespace of the provided object does not match the namespace sent on the request (${metadata.namespace}, ${namespace})`,
        );
      }
      metadata.namespace = namespace;
    } else delete metadata.namespace;
    return object;
  }

  #checkNamespace(resource: Resource, namespace: string, name: string): void {
    if (!resource.namespaced) return;
    const holder = this.store.get("namespaces", namespace);
    if (holder === undefined) throw ApiError.notFound({ group: "", plural: "namespaces" }, namespace);
    if (holder.object.metadata.deletionTimestamp !== undefined) {
      throw ApiError.forbidden(
        resource,
        name,
        `unable to create new content in namespace ${namespace} because it is being terminated`,
        [
          {
            reason: "NamespaceTerminating",
            message: `namespace ${namespace} is being terminated`,
            field: "metadata.namespace",
          },
        ],
      );
    }
  }

  #generateName(key: string, namespace: string, base: string): string {
    for (;;) {
      let name = base.slice(0, MAX_GENERATED_BASE);
      for (let count = 0; count < 5; count++) name += SUFFIX[randomInt(SUFFIX.length)]!;
      if (this.store.get(key, storeKey(namespace, name)) === undefined) return name;
    }
  }

  #refuse(resource: Resource, object: KubeObject, causes: StatusCause[]): void {
    if (causes.length > 0) throw ApiError.invalid(resource.kind, resource.group, object.metadata.name ?? "", causes);
  }

  /** Whether nothing holds a deleted object back any more. */
  #mayGo(resource: Resource, object: KubeObject): boolean {
    const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
    if (deletionTimestamp === undefined || (deletionGracePeriodSeconds ?? 0) > 0) return false;
    if (finalizers !== undefined && finalizers.length > 0) return false;
    if (resource.group !== "" || resource.plural !== "namespaces") return true;
    const held = objectOf(object["spec"])["finalizers"];
    return !Array.isArray(held) || held.length === 0;
  }

  #remove(resource: Resource, key: string, object: KubeObject): KubeObject {
    return this.store.remove(resourceKey(resource.group, resource.plural), key, object).object;
  }
}

/** How the lists of a resource are merged. */
export function listKindsOf(resource: Resource, version: string): ListKinds {
  const custom = resource.custom?.get(version);
  return custom === undefined ? builtInListKinds(resource.kind) : schemaListKinds(custom.schema);
}

/** An empty list, or a list of one empty entry, takes all ownership away. */
function clearsManagers(managedFields: unknown[] | undefined): boolean {
  return managedFields !== undefined && (managedFields.length === 0 || deepEqual(managedFields, [{}]));
}

/** What a write to `/status` may change: the status, and for built-in kinds labels, annotations and finalizers. */
function statusChange(resource: Resource, old: KubeObject, object: KubeObject): KubeObject {
  const next = clone(old);
  if (object["status"] === undefined) delete next["status"];
  else next["status"] = object["status"];
  if (resource.custom === undefined) {
    for (const field of ["labels", "annotations", "finalizers"] as const) {
      if (object.metadata[field] === undefined) delete next.metadata[field];
      else (next.metadata as JsonObject)[field] = object.metadata[field];
    }
  }
  if (object.metadata.managedFields === undefined) delete next.metadata.managedFields;
  else next.metadata.managedFields = object.metadata.managedFields;
  return next;
}

function newFinalizers(old: KubeObject, next: KubeObject): StatusCause[] {
  if (old.metadata.deletionTimestamp === undefined) return [];
  const had = new Set(old.metadata.finalizers);
  const added = (next.metadata.finalizers ?? []).filter((finalizer) => !had.has(finalizer));
  if (added.length === 0) return [];
  return [
    {
      reason: "FieldValueForbidden",
      message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
      field: "metadata.finalizers",
    },
  ];
}

/** Whether anything but metadata (and status, when it is apart) differs. */
function desiredChanged(resource: Resource, old: KubeObject, next: KubeObject): boolean {
  const fields = new Set([...Object.keys(old), ...Object.keys(next)]);
  for (const ignored of ["metadata", "apiVersion", "kind"]) fields.delete(ignored);
  if (resource.hasStatus) fields.delete("status");
  return [...fields].some((field) => !deepEqual(old[field], next[field]));
}
