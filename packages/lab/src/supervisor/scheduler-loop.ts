import { messageOf } from "../errors.ts";
import type { Node, Pod } from "../kubelet/pod-model.ts";
import { timestamp } from "../kubelet/pod-status.ts";
import type { LabApi, Watch } from "../lab-api.ts";
import { nodeResource, podResource } from "@beyondfabric/kube";
import { awaitsNode, chooseNode } from "../scheduler.ts";

/** Runs {@link chooseNode} against a cluster: watches pods and nodes, and binds what waits. */
export class SchedulerLoop {
  readonly #api: LabApi;
  readonly #log: (message: string) => void;
  readonly #pods = new Map<string, Pod>();
  readonly #nodes = new Map<string, Node>();
  /** Where a pod was bound to, until its object says so itself. */
  readonly #assumed = new Map<string, string>();
  readonly #refused = new Map<string, string>();
  readonly #watches: Watch[] = [];
  #scheduled = false;

  constructor(api: LabApi, log: (message: string) => void) {
    this.#api = api;
    this.#log = log;
  }

  start(): void {
    const follow = <T extends Pod | Node>(into: Map<string, T>) => ({
      changed: (object: T) => {
        into.set(object.metadata.uid, object);
        this.#wake();
      },
      deleted: (object: T) => {
        into.delete(object.metadata.uid);
        this.#forget(object.metadata.uid);
        this.#wake();
      },
      synced: (objects: readonly T[]) => {
        const present = new Set(objects.map((object) => object.metadata.uid));
        for (const uid of into.keys()) {
          if (present.has(uid)) continue;
          into.delete(uid);
          this.#forget(uid);
        }
        this.#wake();
      },
    });
    this.#watches.push(
      this.#api.watch<Pod>(podResource, {}, follow(this.#pods)),
      this.#api.watch<Node>(nodeResource, {}, follow(this.#nodes)),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#watches.splice(0).map(async (watch) => await watch.stop()));
  }

  #forget(uid: string): void {
    this.#assumed.delete(uid);
    this.#refused.delete(uid);
  }

  // A burst of pods is looked at once.
  #wake(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#schedule();
    });
  }

  #schedule(): void {
    const nodes = [...this.#nodes.values()];
    const counts = new Map<string, number>();
    const count = (node: string) => counts.set(node, (counts.get(node) ?? 0) + 1);
    for (const pod of this.#pods.values()) {
      const node = pod.spec.nodeName ?? this.#assumed.get(pod.metadata.uid);
      if (node !== undefined && node !== "") count(node);
    }
    for (const pod of this.#pods.values()) {
      const { uid } = pod.metadata;
      if (!awaitsNode(pod) || this.#assumed.has(uid)) continue;
      const choice = chooseNode(pod, nodes, counts);
      if ("reason" in choice) {
        this.#refuse(pod, choice.reason);
        continue;
      }
      count(choice.node);
      this.#assumed.set(uid, choice.node);
      this.#bind(pod, choice.node).catch((error: unknown) => {
        this.#log(`scheduler: ${pod.metadata.name}: ${messageOf(error)}`);
        this.#assumed.delete(uid);
        setTimeout(() => this.#wake(), 500);
      });
    }
  }

  async #bind(pod: Pod, node: string): Promise<void> {
    const { name, uid } = pod.metadata;
    const namespace = pod.metadata.namespace ?? "default";
    if (!(await this.#api.bind(namespace, name, uid, node))) return;
    this.#refused.delete(uid);
    this.#api.event(
      subjectOf(pod),
      "Scheduled",
      `Successfully assigned ${namespace}/${name} to ${node}`,
      false,
      "default-scheduler",
    );
  }

  #refuse(pod: Pod, reason: string): void {
    if (this.#refused.get(pod.metadata.uid) === reason) return;
    this.#refused.set(pod.metadata.uid, reason);
    this.#api.event(subjectOf(pod), "FailedScheduling", reason, true, "default-scheduler");
    const condition = {
      type: "PodScheduled",
      status: "False",
      reason: "Unschedulable",
      message: reason,
      lastTransitionTime: timestamp(Date.now()),
    };
    this.#api
      .patchStatus(podResource, pod.metadata.namespace, pod.metadata.name, "strategic", {
        metadata: { uid: pod.metadata.uid },
        status: { conditions: [condition] },
      })
      .catch((error: unknown) => this.#log(`scheduler: ${pod.metadata.name}: ${messageOf(error)}`));
  }
}

function subjectOf(pod: Pod) {
  return {
    apiVersion: "v1",
    kind: "Pod",
    name: pod.metadata.name,
    namespace: pod.metadata.namespace ?? "default",
    uid: pod.metadata.uid,
  };
}
