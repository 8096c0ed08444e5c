/** Events on objects, for `kubectl describe`: repeated ones are counted, floods are cut, and nothing here ever throws. */
import type { KubeClient } from "./request.ts";
import { eventResource } from "./resources.ts";

export interface EventTarget {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Absent for cluster-scoped objects. */
  readonly namespace?: string;
  readonly uid?: string;
}

export interface EventRecorderOptions {
  readonly client: KubeClient;
  readonly component: string;
  readonly node: string;
  readonly onError: (error: unknown) => void;
  /** Same event at most once in this time (ms); the rest is counted. Default 10,000. */
  readonly interval?: number;
}

interface Series {
  readonly name: string;
  readonly first: string;
  count: number;
  sent: number;
  created: boolean;
  busy: boolean;
}

const maxSeries = 1000;

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #series = new Map<string, Series>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Posts an event, or counts it when the same one was posted a moment ago. Returns at once. */
  record(target: EventTarget, type: "Normal" | "Warning", reason: string, message: string): void {
    const key = `${target.kind}/${target.namespace ?? ""}/${target.name}/${reason}`;
    const now = Date.now();
    let series = this.#series.get(key);
    if (series === undefined) {
      const oldest = this.#series.keys().next();
      if (this.#series.size >= maxSeries && oldest.done !== true) this.#series.delete(oldest.value);
      const name = `${target.name}.${now.toString(16)}${Math.floor(Math.random() * 0x10000).toString(16)}`;
      series = { name, first: new Date(now).toISOString(), count: 0, sent: 0, created: false, busy: false };
      this.#series.set(key, series);
    }
    series.count++;
    if (series.busy || now - series.sent < (this.#options.interval ?? 10_000)) return;
    series.sent = now;
    series.busy = true;
    void this.#send(series, target, type, reason, message.slice(0, 1024));
  }

  async #send(series: Series, target: EventTarget, type: string, reason: string, message: string): Promise<void> {
    const { client, component, node } = this.#options;
    const namespace = target.namespace ?? "default";
    const time = (iso: string): string => iso.replace(/\.\d+Z$/, "Z");
    const last = time(new Date().toISOString());
    try {
      if (series.created) {
        const patch = { count: series.count, lastTimestamp: last, message };
        await client.patch(eventResource, series.name, patch, { namespace, kind: "merge" });
      } else {
        await client.create(eventResource, {
          apiVersion: "v1",
          kind: "Event",
          metadata: { name: series.name, namespace },
          involvedObject: { ...target },
          type,
          reason,
          message,
          source: { component, host: node },
          reportingComponent: component,
          reportingInstance: node,
          firstTimestamp: time(series.first),
          lastTimestamp: last,
          count: series.count,
        } as object);
        series.created = true;
      }
    } catch (error) {
      this.#options.onError(error);
    } finally {
      series.busy = false;
    }
  }
}
