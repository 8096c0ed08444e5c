/**
 * What controllers do in a real cluster and cannot wait for one here: namespaces that are deleted take their content
 * along and every namespace gets a service account; owned objects follow their owners; old events go.
 */
import { CLEANUP_FINALIZER } from "./custom-resources.ts";
import { clone, objectOf } from "./json.ts";
import type { KubeObject } from "./object.ts";
import type { DeleteOptions, Operations } from "./operations.ts";
import { resourceKey, type Resource } from "./resources.ts";
import type { Change } from "./store.ts";

const DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io";
const EVENT_LIFETIME_MS = 60 * 60 * 1000;
const EVENT_SWEEP_MS = 60 * 1000;

const BACKGROUND: DeleteOptions = {
  dryRun: false,
  gracePeriodSeconds: undefined,
  uid: undefined,
  resourceVersion: undefined,
  propagation: "Background",
};

/** Follows all changes and acts in a later turn of the event loop, so that no change is made inside another. */
export class Lifecycle {
  readonly #operations: Operations;
  readonly #pending = new Set<string>();
  /** Owner's uid to the objects that name it, as `resource\tkey`. */
  readonly #dependents = new Map<string, Set<string>>();
  readonly #orphanedOwners = new Set<string>();
  readonly #definitions = new Set<string>();
  #scheduled: NodeJS.Immediate | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #unsubscribe = (): void => {};

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Looks at everything that is stored (a restart may have interrupted work), then follows changes. */
  start(): void {
    const { store } = this.#operations;
    for (const resource of store.resources()) {
      for (const { key, object } of store.list(resource)) this.#index(resource, key, object);
    }
    for (const { object } of store.list("namespaces")) this.#pending.add(object.metadata.name ?? "");
    for (const { key } of store.list(DEFINITIONS)) this.#definitions.add(key);
    this.#unsubscribe = store.subscribeAll((change) => this.#follow(change));
    this.#sweeper = setInterval(() => this.#sweepEvents(), EVENT_SWEEP_MS);
    this.#sweeper.unref();
    this.#schedule();
  }

  stop(): void {
    this.#unsubscribe();
    clearInterval(this.#sweeper);
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
  }

  #follow(change: Change): void {
    const { resource, current, previous, type } = change;
    if (previous !== undefined) this.#unindex(resource, previous.key, previous.object);
    if (type !== "DELETED") this.#index(resource, current.key, current.object);
    if (resource === "namespaces") this.#pending.add(current.object.metadata.name ?? "");
    else if (type === "DELETED" && current.object.metadata.namespace !== undefined) {
      const namespace = current.object.metadata.namespace;
      const holder = this.#operations.store.get("namespaces", namespace);
      if (holder?.object.metadata.deletionTimestamp !== undefined || resource === "serviceaccounts") {
        this.#pending.add(namespace);
      }
    }
    if (resource === DEFINITIONS) this.#definitions.add(current.key);
    else if (type === "DELETED" && this.#operations.store.get(DEFINITIONS, resource) !== undefined) {
      this.#definitions.add(resource);
    }
    const { uid = "" } = current.object.metadata;
    if (type === "DELETED") {
      if (this.#dependents.has(uid)) this.#orphanedOwners.add(uid);
      for (const reference of current.object.metadata.ownerReferences ?? []) this.#orphanedOwners.add(reference.uid);
    } else if (this.#waitsForDependents(current.object)) this.#orphanedOwners.add(uid);
    if (this.#pending.size + this.#orphanedOwners.size + this.#definitions.size > 0) this.#schedule();
  }

  #waitsForDependents(object: KubeObject): boolean {
    const { deletionTimestamp, finalizers } = object.metadata;
    if (deletionTimestamp === undefined || finalizers === undefined) return false;
    return finalizers.includes("foregroundDeletion") || finalizers.includes("orphan");
  }

  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      const namespaces = [...this.#pending];
      this.#pending.clear();
      for (const name of namespaces) this.#settleNamespace(name);
      const definitions = [...this.#definitions];
      this.#definitions.clear();
      for (const name of definitions) this.#settleDefinition(name);
      const owners = [...this.#orphanedOwners];
      this.#orphanedOwners.clear();
      for (const uid of owners) this.#collect(uid);
    });
  }

  #settleNamespace(name: string): void {
    const { store, catalogue } = this.#operations;
    const stored = store.get("namespaces", name);
    const namespaces = catalogue.get("namespaces");
    if (stored === undefined || namespaces === undefined) return;
    if (stored.object.metadata.deletionTimestamp === undefined) {
      const accounts = catalogue.get("serviceaccounts");
      if (accounts !== undefined && store.get("serviceaccounts", `${name}/default`) === undefined) {
        const body = { metadata: { name: "default" } };
        this.#operations.create(accounts, "v1", name, body, { dryRun: false, fieldManager: "lifecycle" });
      }
      return;
    }
    let left = 0;
    for (const resource of catalogue.all()) {
      if (!resource.namespaced || !resource.stored) continue;
      const key = resourceKey(resource.group, resource.plural);
      for (const { object } of store.list(key, name))
        this.#operations.delete(resource, name, object.metadata.name ?? "", BACKGROUND);
      left += store.list(key, name).length;
    }
    if (left > 0 || objectOf(stored.object["spec"])["finalizers"] === undefined) return;
    const next = clone(stored.object);
    const finalizers = objectOf(next["spec"])["finalizers"];
    next["spec"] = {
      finalizers: (Array.isArray(finalizers) ? (finalizers as unknown[]) : []).filter((item) => item !== "kubernetes"),
    };
    this.#operations.write(namespaces, next);
  }

  /** A definition that is deleted takes the objects of its kind along. */
  #settleDefinition(name: string): void {
    const { store, catalogue } = this.#operations;
    const stored = store.get(DEFINITIONS, name);
    const definitions = catalogue.get(DEFINITIONS);
    const resource = catalogue.get(name);
    if (stored?.object.metadata.deletionTimestamp === undefined || definitions === undefined) return;
    if (resource !== undefined) {
      for (const { object } of store.list(name)) {
        this.#operations.delete(resource, object.metadata.namespace ?? "", object.metadata.name ?? "", BACKGROUND);
      }
    }
    if (store.count(name) > 0) return;
    const next = clone(stored.object);
    next.metadata.finalizers = (next.metadata.finalizers ?? []).filter((finalizer) => finalizer !== CLEANUP_FINALIZER);
    this.#operations.write(definitions, next);
  }

  /** What is to be done about the objects that are owned by `uid`, which is gone or waits for them. */
  #collect(uid: string): void {
    const owner = this.#ownerWaiting(uid);
    if (owner === undefined && this.#exists(uid)) return;
    const orphan = owner?.object.metadata.finalizers?.includes("orphan") === true;
    let blocking = 0;
    for (const entry of this.#dependents.get(uid) ?? []) {
      const tab = entry.indexOf("\t");
      const resource = this.#operations.catalogue.get(entry.slice(0, tab));
      const stored = this.#operations.store.get(entry.slice(0, tab), entry.slice(tab + 1));
      if (resource === undefined || stored === undefined) continue;
      const { object } = stored;
      const others = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
      const keeps = others.some((reference) => this.#exists(reference.uid));
      if (orphan || keeps) {
        const next = clone(object);
        next.metadata.ownerReferences = others;
        if (others.length === 0) delete next.metadata.ownerReferences;
        this.#operations.write(resource, next);
        continue;
      }
      if (object.metadata.deletionTimestamp === undefined) {
        const { namespace = "", name = "" } = object.metadata;
        const propagation = owner === undefined ? "Background" : "Foreground";
        this.#operations.delete(resource, namespace, name, { ...BACKGROUND, propagation });
      }
      if (this.#operations.store.get(entry.slice(0, tab), stored.key) !== undefined) blocking++;
    }
    if (owner === undefined || blocking > 0) return;
    const next = clone(owner.object);
    next.metadata.finalizers = (next.metadata.finalizers ?? []).filter(
      (finalizer) => finalizer !== "foregroundDeletion" && finalizer !== "orphan",
    );
    if (next.metadata.finalizers.length === 0) delete next.metadata.finalizers;
    this.#operations.write(owner.resource, next);
  }

  #ownerWaiting(uid: string): { resource: Resource; object: KubeObject } | undefined {
    const place = this.#places.get(uid);
    if (place === undefined) return undefined;
    const tab = place.indexOf("\t");
    const resource = this.#operations.catalogue.get(place.slice(0, tab));
    const stored = this.#operations.store.get(place.slice(0, tab), place.slice(tab + 1));
    if (resource === undefined || stored === undefined || !this.#waitsForDependents(stored.object)) return undefined;
    return { resource, object: stored.object };
  }

  /** Every object's place by its uid. */
  readonly #places = new Map<string, string>();

  #exists(uid: string): boolean {
    return this.#places.has(uid);
  }

  #index(resource: string, key: string, object: KubeObject): void {
    const place = `${resource}\t${key}`;
    this.#places.set(object.metadata.uid ?? "", place);
    for (const reference of object.metadata.ownerReferences ?? []) {
      const entries = this.#dependents.get(reference.uid) ?? new Set<string>();
      entries.add(place);
      this.#dependents.set(reference.uid, entries);
    }
  }

  #unindex(resource: string, key: string, object: KubeObject): void {
    const place = `${resource}\t${key}`;
    this.#places.delete(object.metadata.uid ?? "");
    for (const reference of object.metadata.ownerReferences ?? []) {
      const entries = this.#dependents.get(reference.uid);
      entries?.delete(place);
      if (entries?.size === 0) this.#dependents.delete(reference.uid);
    }
  }

  #sweepEvents(): void {
    const { store, catalogue } = this.#operations;
    const events = catalogue.get("events");
    if (events === undefined) return;
    const limit = Date.now() - EVENT_LIFETIME_MS;
    for (const { object } of store.list("events")) {
      const last = object["lastTimestamp"] ?? object["eventTime"] ?? object.metadata.creationTimestamp;
      if (typeof last !== "string" || !(Date.parse(last) < limit)) continue;
      this.#operations.delete(events, object.metadata.namespace ?? "", object.metadata.name ?? "", BACKGROUND);
    }
  }
}
