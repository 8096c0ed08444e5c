import {
  Backoff,
  EventRecorder,
  type EventTarget,
  isConflict,
  isNotFound,
  KubeClient,
  ListWatch,
  loadKubeconfig,
  namespaceResource,
  type PatchKind,
  podResource,
  type Resource,
} from "@beyondfabric/kube";
import type { Manifest } from "./config.ts";
import { LabError } from "./errors.ts";
import type { ObjectMeta } from "./kubelet/pod-model.ts";
import { run, runChecked, sleep } from "./process/run.ts";

interface StoredObject {
  readonly metadata: ObjectMeta;
}

/** What a watcher is told. After every (re)list `synced` gets all objects, so that deletions from before the watch show. */
export interface WatchHandlers<T> {
  readonly changed: (object: T) => void;
  readonly deleted: (object: T) => void;
  readonly synced?: (objects: readonly T[]) => void;
}

/** A running list+watch. */
export interface Watch {
  stop(): Promise<void>;
}

/** The lab's machine has one user of the API server at a time: waiting longer than this for it to come back only costs time (ms). */
const MAX_WATCH_PAUSE_MS = 1_000;
/** A new definition is served a moment after it was accepted. */
const DEFINITION_TIMEOUT_MS = 10_000;

/** The lab's own access to its API server, as administrator: what a kubelet and a scheduler need, no more. */
export class LabApi {
  readonly #kubeconfig: string;
  readonly #client: KubeClient;
  readonly #recorders = new Map<string, EventRecorder>();

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
    this.#client = new KubeClient(loadKubeconfig(kubeconfig));
  }

  /** Does the server say that it is ready? */
  async ready(): Promise<boolean> {
    try {
      await this.#client.get(namespaceResource, "default", undefined, { timeout: 2_000, retry: false });
    } catch {
      return false; // cheaper to ask than kubectl
    }
    return (await run(["kubectl", `--kubeconfig=${this.#kubeconfig}`, "get", "--raw", "/readyz"])).code === 0;
  }

  async get<T>(resource: Resource, namespace: string | undefined, name: string): Promise<T | undefined> {
    return await orAbsent(this.#client.get<T>(resource, name, namespace));
  }

  async list<T>(resource: Resource): Promise<readonly T[]> {
    return (await this.#client.listAll(resource, (raw) => raw as T)).records;
  }

  async create(resource: Resource, object: Manifest | Readonly<Record<string, unknown>>): Promise<void> {
    await this.#client.create(resource, object);
  }

  /** Writes a status; false when the object, or the one of that UID, is gone. */
  async patchStatus(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    kind: PatchKind,
    patch: { readonly metadata?: { readonly uid: string }; readonly status: unknown },
  ): Promise<boolean> {
    try {
      await this.#client.patch(resource, name, patch, { ...inNamespace(namespace), kind, subresource: "status" });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      // A conflict may be about the UID, which is final, or about another writer, which is not.
      if (!isConflict(error)) throw error;
      const present = await this.get<StoredObject>(resource, namespace, name);
      if (present === undefined || (patch.metadata !== undefined && present.metadata.uid !== patch.metadata.uid))
        return false;
      throw error;
    }
  }

  /** Binds a pod to a node; false when it is bound or gone already. */
  async bind(namespace: string, pod: string, uid: string, node: string): Promise<boolean> {
    const subresource: Resource = { ...podResource, plural: `${podResource.plural}/${pod}/binding`, kind: "Binding" };
    const target = { apiVersion: "v1", kind: "Node", name: node };
    try {
      await this.#client.create(subresource, bindingOf({ name: pod, namespace, uid }, target));
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return false;
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
    const { uid, gracePeriodSeconds } = options;
    try {
      await this.#client.delete(resource, name, {
        ...inNamespace(namespace),
        ...(uid === undefined ? {} : { preconditions: { uid } }),
        ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  /** Applies objects of any kind, definitions before what they define. */
  async apply(manifests: readonly Manifest[]): Promise<void> {
    const definitions = manifests.filter((manifest) => manifest.kind === "CustomResourceDefinition");
    const others = manifests.filter((manifest) => manifest.kind !== "CustomResourceDefinition");
    if (definitions.length > 0) {
      // Kubernetes before 1.25 drops the CEL rules of a schema; kubectl would refuse to send them.
      await this.#kubectl(["apply", "--validate=false", "-f", "-"], documents(definitions));
      await this.#kubectl([
        "wait",
        "--for=condition=Established",
        "--timeout=10s",
        ...definitions.map((definition) => `crd/${definition.metadata.name}`),
      ]);
    }
    if (others.length === 0) return;
    const deadline = performance.now() + DEFINITION_TIMEOUT_MS;
    for (;;) {
      const result = await run(this.#kubectlCommand(["apply", "-f", "-"]), { input: documents(others) });
      if (result.code === 0) return;
      const unknown = /no matches for kind|could not find the requested resource/.test(result.stderr);
      const hopeless = definitions.length === 0 || performance.now() > deadline;
      if (!unknown || hopeless)
        throw new LabError("LAB_BAD_MANIFEST", `the API server refuses the manifests: ${result.stderr.trim()}`);
      await sleep(100);
    }
  }

  /** Names of the kinds (`plural.group`) whose objects live in namespaces and can be listed and deleted. */
  async namespacedKinds(): Promise<readonly string[]> {
    const text = await this.#kubectl([
      "api-resources",
      "--namespaced",
      "--verbs=list,delete",
      "-o",
      "name",
      "--cached=false",
    ]);
    return text.split("\n").filter((line) => line !== "");
  }

  /** Deletes all objects of some kinds in a namespace and returns when they are gone. */
  async empty(namespace: string, kinds: readonly string[]): Promise<void> {
    await this.#kubectl(["delete", kinds.join(","), "--all", "-n", namespace, "--ignore-not-found", "--timeout=40s"]);
  }

  /** Lets a namespace that is being deleted go (subresource `finalize`). */
  async finalizeNamespace(name: string): Promise<void> {
    const namespace = await this.get<Record<string, unknown>>(namespaceResource, undefined, name);
    if (namespace === undefined) return;
    const body = JSON.stringify({ ...namespace, apiVersion: "v1", kind: "Namespace", spec: { finalizers: [] } });
    await this.#kubectl(["replace", "--raw", `/api/v1/namespaces/${name}/finalize`, "-f", "-"], body);
  }

  /** Posts an Event in the background; never throws. `source` is the component, `node` the machine it runs on. */
  event(target: EventTarget, reason: string, message: string, warning: boolean, source: string, node = ""): void {
    const key = `${source}/${node}`;
    let recorder = this.#recorders.get(key);
    if (recorder === undefined) {
      recorder = new EventRecorder({
        client: this.#client,
        component: source,
        node,
        interval: 2_000,
        onError: () => undefined,
      });
      this.#recorders.set(key, recorder);
    }
    recorder.record(target, warning ? "Warning" : "Normal", reason, message);
  }

  /** Lists and watches until stopped, through restarts of the server. */
  watch<T extends StoredObject>(
    resource: Resource,
    selection: { readonly fieldSelector?: string },
    handlers: WatchHandlers<T>,
  ): Watch {
    const listWatch = new ListWatch<T>({
      client: this.#client,
      resource,
      selection,
      select: (raw) => raw as T,
      backoff: new Backoff({ maximum: MAX_WATCH_PAUSE_MS }),
      handlers: {
        changed: (object, old) => {
          if (old !== undefined && old.metadata.uid !== object.metadata.uid) handlers.deleted(old);
          handlers.changed(object);
        },
        deleted: handlers.deleted,
        synced: () => handlers.synced?.([...listWatch.records()]),
      },
    });
    listWatch.start();
    return listWatch;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  #kubectlCommand(args: readonly string[]): string[] {
    return ["kubectl", `--kubeconfig=${this.#kubeconfig}`, ...args];
  }

  async #kubectl(args: readonly string[], input?: string): Promise<string> {
    return await runChecked(this.#kubectlCommand(args), input === undefined ? {} : { input });
  }
}

/** Several objects as one text that kubectl reads. */
export function documents(objects: readonly unknown[]): string {
  return objects.map((object) => JSON.stringify(object)).join("\n");
}

function bindingOf(
  metadata: { readonly name: string; readonly namespace: string; readonly uid: string },
  target: unknown,
) {
  return { apiVersion: "v1", kind: "Binding", metadata, target };
}

function inNamespace(namespace: string | undefined): { readonly namespace?: string } {
  return namespace === undefined ? {} : { namespace };
}

async function orAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
