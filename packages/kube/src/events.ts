/** Events on objects, for `kubectl describe`: repeated ones are counted, floods are cut, and nothing here ever throws. */
import { isAlreadyExists, isNotFound } from "./errors.ts";
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
  /**
   * Same event at most once in this time (ms); the rest is counted, and the newest of it is sent when the time is over.
   * Default 10,000.
   */
  readonly interval?: number;
}

interface Series {
  readonly name: string;
  readonly first: string;
  count: number;
  sent: number;
  created: boolean;
  busy: boolean;
  /** Sends what has happened meanwhile; set while something has. */
  later: NodeJS.Timeout | undefined;
  /** What was said last. */
  newest: { readonly target: EventTarget; readonly type: string; readonly reason: string; readonly message: string };
}

const maxSeries = 1000;
/** Requests at a time: a flood of events about many objects is not to become one of requests. */
const maxUnderWay = 16;
/** An object's name may be 253 characters long, and the Event's name, which adds to it, too. */
const maxNamePart = 220;

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #series = new Map<string, Series>();
  #underWay = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Posts an event, or counts it when the same one was posted a moment ago. Returns at once. */
  record(target: EventTarget, type: "Normal" | "Warning", reason: string, message: string): void {
    const key = `${target.kind}/${target.namespace ?? ""}/${target.name}/${target.uid ?? ""}/${reason}`;
    const now = Date.now();
    const newest = { target, type, reason, message: message.slice(0, 1024) };
    let series = this.#series.get(key);
    if (series === undefined) {
      const oldest = this.#series.keys().next();
      if (this.#series.size >= maxSeries && oldest.done !== true) this.#series.delete(oldest.value);
      const about = target.name.slice(0, maxNamePart).replace(/[-.]+$/, "");
      const name = `${about}.${now.toString(16)}${Math.floor(Math.random() * 0x10000).toString(16)}`;
      const first = new Date(now).toISOString();
      series = { name, first, count: 0, sent: 0, created: false, busy: false, later: undefined, newest };
      this.#series.set(key, series);
    }
    series.count++;
    series.newest = newest;
    this.#sendInTime(series);
  }

  #sendInTime(series: Series): void {
    const wait = series.sent + (this.#options.interval ?? 10_000) - Date.now();
    if (wait > 0) {
      // Nobody may say it again: what is said now must not be lost for having come too soon.
      series.later ??= setTimeout(() => {
        series.later = undefined;
        this.#sendInTime(series);
      }, wait).unref();
      return;
    }
    if (series.busy || this.#underWay >= maxUnderWay) return;
    series.sent = Date.now();
    series.busy = true;
    this.#underWay++;
    void this.#send(series);
  }

  async #send(series: Series): Promise<void> {
    const { client, component, node } = this.#options;
    const { target, type, reason, message } = series.newest;
    const { count } = series;
    const namespace = target.namespace ?? "default";
    const time = (iso: string): string => iso.replace(/\.\d+Z$/, "Z");
    const last = time(new Date().toISOString());
    const create = async (): Promise<void> => {
      try {
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
          count,
        } as object);
      } catch (error) {
        // The answer to an earlier attempt was lost.
        if (!isAlreadyExists(error)) throw error;
      }
      series.created = true;
    };
    try {
      if (!series.created) return await create();
      const patch = { count, lastTimestamp: last, message };
      await client
        .patch(eventResource, series.name, patch, { namespace, kind: "merge" })
        .catch(async (error: unknown) => {
          // The API server forgets Events after an hour or so.
          if (!isNotFound(error)) throw error;
          await create();
        });
    } catch (error) {
      this.#options.onError(error);
    } finally {
      series.busy = false;
      this.#underWay--;
      if (series.count > count) this.#sendInTime(series);
    }
  }
}
