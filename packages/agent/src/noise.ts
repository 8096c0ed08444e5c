/**
 * Who asks for more first packets than its share: the meters say it. Seen by people in `fabricctl status`, as a metric
 * and as an Event on the pod.
 */
import type { EventRecorder } from "@beyondfabric/kube";
import type { PodPort } from "./attachment/ports.ts";
import type { Logger } from "./log.ts";
import type { ReactorCounters } from "./reactor/counters.ts";
import type { BridgeSession } from "./switch/bridge-session.ts";

export interface NoiseWatchOptions {
  readonly session: BridgeSession;
  readonly counters: ReactorCounters;
  readonly ports: () => Iterable<PodPort>;
  readonly events: EventRecorder;
  readonly logger: Logger;
  /** What one pod may cause. */
  readonly missesPerSecond: number;
}

export interface NoisyPod {
  readonly pod: string;
  readonly ofport: number;
  readonly missesPerSecond: number;
  readonly droppedPerSecond: number;
  readonly droppedTotal: number;
  /** When it was over its share last (ms since the epoch). */
  readonly lastSeen: number;
}

/** A pod is listed for so long (ms) after it was last over its share: people look later than floods end. */
const memoryMilliseconds = 60_000;

interface Reading {
  readonly at: number;
  readonly dropped: bigint;
  readonly misses: number;
}

export class NoiseWatch {
  readonly #options: NoiseWatchOptions;
  readonly #last = new Map<number, Reading>();
  readonly #dropped = new Map<number, bigint>();
  readonly #spoofed = new Map<number, bigint>();
  readonly #noisy = new Map<number, NoisyPod>();
  #missRate = { at: 0, misses: 0, perSecond: 0 };
  #looking = false;

  constructor(options: NoiseWatchOptions) {
    this.#options = options;
  }

  /** Pods that were over their share in the last minute, the worst first. */
  get noisy(): readonly NoisyPod[] {
    return [...this.#noisy.values()].sort((a, b) => b.droppedPerSecond - a.droppedPerSecond).slice(0, 20);
  }

  get missesPerSecond(): number {
    return this.#missRate.perSecond;
  }

  get meteredTotal(): number {
    let total = 0n;
    for (const dropped of this.#dropped.values()) total += dropped;
    return Number(total);
  }

  droppedBy(port: number): number {
    return Number(this.#dropped.get(port) ?? 0n);
  }

  spoofedBy(port: number): number {
    return Number(this.#spoofed.get(port) ?? 0n);
  }

  /** Reads the meters once. To be called every few seconds. */
  async look(): Promise<void> {
    if (this.#looking || !this.#options.session.ready) return;
    this.#looking = true;
    try {
      const readings = await this.#options.session.readMeters();
      for (const [port, count] of await this.#options.session.spoofed()) this.#spoofed.set(port, count);
      const now = performance.now();
      const { counters } = this.#options;
      const elapsed = (now - this.#missRate.at) / 1000;
      const perSecond = this.#missRate.at === 0 ? 0 : (counters.misses - this.#missRate.misses) / elapsed;
      this.#missRate = { at: now, misses: counters.misses, perSecond };
      this.#judge(readings, now);
    } catch (error) {
      this.#options.logger.debug({ err: error }, "meters not read");
    } finally {
      this.#looking = false;
    }
  }

  #judge(readings: readonly { port: number; dropped: bigint }[], now: number): void {
    const pods = new Map([...this.#options.ports()].map((port) => [port.ofport, port]));
    for (const { port, dropped } of readings) {
      const misses = this.#options.counters.missesByPort.get(port) ?? 0;
      const last = this.#last.get(port);
      this.#last.set(port, { at: now, dropped, misses });
      this.#dropped.set(port, dropped);
      const pod = pods.get(port);
      if (last === undefined || pod === undefined || dropped <= last.dropped) continue;
      const seconds = (now - last.at) / 1000;
      const figures: NoisyPod = {
        pod: `${pod.namespace}/${pod.name}`,
        ofport: port,
        missesPerSecond: Math.round((misses - last.misses) / seconds),
        droppedPerSecond: Math.round(Number(dropped - last.dropped) / seconds),
        droppedTotal: Number(dropped),
        lastSeen: Date.now(),
      };
      this.#noisy.set(port, figures);
      this.#options.logger.warn(figures, "a pod asks for more first packets than its share");
      this.#options.events.record(
        { apiVersion: "v1", kind: "Pod", namespace: pod.namespace, name: pod.name, uid: pod.uid },
        "Warning",
        "TooManyNewFlows",
        `the pod opens more than ${this.#options.missesPerSecond} new flows a second to peers without an entry; ${figures.droppedPerSecond} packets a second are dropped. See what it sends, or raise limits.missesPerSecondPerPort`,
      );
    }
    for (const port of this.#last.keys()) {
      if (readings.some((reading) => reading.port === port)) continue;
      this.#last.delete(port);
      this.#dropped.delete(port);
      this.#spoofed.delete(port);
      this.#options.counters.forgetPort(port);
    }
    for (const [port, { lastSeen }] of this.#noisy) {
      if (Date.now() - lastSeen > memoryMilliseconds || !pods.has(port)) this.#noisy.delete(port);
    }
  }
}
