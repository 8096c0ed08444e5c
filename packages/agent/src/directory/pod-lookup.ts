/** What the API says of a pod whose interface is asked for: from the watch, or, when that does not show it yet, by one read. */
import { setTimeout as delay } from "node:timers/promises";
import {
  isNotFound,
  KubeApiError,
  KubeError,
  LabelSet,
  namespaceResource,
  nodeResource,
  podResource,
} from "@beyondfabric/kube";
import type { KubeClient, KubeObject } from "@beyondfabric/kube";
import { namespaceRecord, ownPodRecord, type NamespaceRecord, type OwnPodRecord } from "./records.ts";

/** The runtime's word for a pod. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  /** Empty when the runtime does not tell it. */
  readonly uid: string;
}

export type PodAnswer =
  | { readonly state: "known"; readonly pod: OwnPodRecord; readonly namespace: NamespaceRecord }
  /** The API has no such pod on this node: it is gone, or was never there. */
  | { readonly state: "absent" }
  /** The Node object of this node is a later one than the agent knows of: what was the former one's may be others' by now. */
  | { readonly state: "displaced" }
  /** The API server is there, but has too much to do: a pod that it may know must not be taken for one that it does not. */
  | { readonly state: "busy"; readonly cause: unknown }
  | { readonly state: "unreachable"; readonly cause: unknown };

export interface PodLookupOptions {
  readonly client: KubeClient;
  readonly node: string;
  /** UID of the Node object that this node's blocks belong to, as far as is known. */
  readonly nodeUid: () => string | undefined;
  readonly watched: {
    ownPod(namespace: string, name: string): OwnPodRecord | undefined;
    namespaceNamed(name: string): NamespaceRecord | undefined;
    /** The watches are synced and connected. */
    isInformed(): boolean;
  };
  /** How long a pod's start waits for an API server that is slow or refuses (ms); 10,000 if absent. */
  readonly patienceMilliseconds?: number;
}

/** How long the API server may take for one answer (ms). */
const patience = { timeout: 5000, retry: false };
/** Between two questions to an API server that refuses to answer for now (ms). */
const pause = 500;

export class PodLookup {
  readonly #options: PodLookupOptions;

  constructor(options: PodLookupOptions) {
    this.#options = options;
  }

  /**
   * Asks again while the API server is only slow: a restarted agent meets it when it is busiest. One that nothing listens for
   * is away, and so is one that has been silent for long while the watches are down too.
   */
  async find(reference: PodReference): Promise<PodAnswer> {
    const { watched, patienceMilliseconds = 10_000 } = this.#options;
    const deadline = performance.now() + patienceMilliseconds;
    for (;;) {
      const answer = await this.#findOnce(reference);
      if (answer.state !== "busy") return answer;
      if (performance.now() + pause >= deadline)
        return watched.isInformed() ? answer : { ...answer, state: "unreachable" };
      await delay(pause);
    }
  }

  async #findOnce(reference: PodReference): Promise<PodAnswer> {
    try {
      const seen = this.#seen(reference);
      const pod = seen ?? (await this.#read(reference));
      if (pod === undefined) return { state: "absent" };
      // Whoever has not heard of the pod may not have heard of the end of its own Node object either.
      if (seen === undefined && (await this.#isDisplaced())) return { state: "displaced" };
      return { state: "known", pod, namespace: await this.#namespace(reference.namespace) };
    } catch (cause) {
      return { state: isBusy(cause) ? "busy" : "unreachable", cause };
    }
  }

  #seen(reference: PodReference): OwnPodRecord | undefined {
    const seen = this.#options.watched.ownPod(reference.namespace, reference.name);
    return seen !== undefined && isMeant(seen, reference) ? seen : undefined;
  }

  async #isDisplaced(): Promise<boolean> {
    const { client, node, nodeUid } = this.#options;
    const known = nodeUid();
    if (known === undefined) return false;
    const current = await orAbsent(client.get<KubeObject>(nodeResource, node, undefined, patience));
    return current?.metadata?.uid !== known;
  }

  async #read(reference: PodReference): Promise<OwnPodRecord | undefined> {
    const { client, node } = this.#options;
    const { namespace, name } = reference;
    const pod = await orAbsent(client.get(podResource, name, namespace, patience));
    const record = pod === undefined ? undefined : ownPodRecord(pod, node);
    return record !== undefined && isMeant(record, reference) ? record : undefined;
  }

  async #namespace(name: string): Promise<NamespaceRecord> {
    const { client, watched } = this.#options;
    const seen = watched.namespaceNamed(name);
    if (seen !== undefined) return seen;
    const raw = await orAbsent(client.get(namespaceResource, name, undefined, patience));
    return namespaceRecord(raw) ?? { name, annotations: {}, labels: LabelSet.empty };
  }
}

/** Whether whoever listens may answer later: it took too long, or said that it cannot now. */
function isBusy(error: unknown): boolean {
  if (error instanceof KubeApiError) return error.status === 429 || error.status >= 500;
  return error instanceof KubeError && error.code === "KUBE_TIMEOUT";
}

/** A static pod has another UID for the runtime than its mirror in the API, which tells it in an annotation. */
function isMeant(pod: OwnPodRecord, { uid }: PodReference): boolean {
  return uid === "" || pod.uid === uid || pod.staticUid === uid;
}

async function orAbsent<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
