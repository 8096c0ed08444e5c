/**
 * Which pods make more noise than their share: misses that their meters drop, packets that entries refuse. Seen by people
 * in `fabricctl status`, as a metric and as an Event on the pod.
 */
import type { EventRecorder } from "@beyondfabric/kube";
import type { PodPort } from "./attachment/ports.ts";
import type { Forgeries } from "./forgeries.ts";
import type { Logger } from "./log.ts";
import type { Reactor } from "./reactor/reactor.ts";
import type { BridgeSession } from "./switch/bridge-session.ts";

export interface NoiseWatchOptions {
  readonly session: BridgeSession;
  readonly reactor: Reactor;
  readonly forgeries: Forgeries;
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

/** Refused packets a second that nobody minds, where no limit is configured. */
const defaultShare = 500;

interface Reading {
  readonly at: number;
  readonly dropped: bigint;
  readonly misses: number;
  readonly refused: number;
}

export class NoiseWatch {
  readonly #options: NoiseWatchOptions;
  readonly #last = new Map<number, Reading>();
  readonly #dropped = new Map<number, bigint>();
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

  /** Reads the meters once. To be called every few seconds. */
  async look(): Promise<void> {
    if (this.#looking || !this.#options.session.ready) return;
    this.#looking = true;
    try {
      const readings = await this.#options.session.readMeters();
      // Selecting entries by a part of their cookie, the switch looks at all of them while packets wait: not for nothing.
      const { reactor } = this.#options;
      if (reactor.verdicts.mayRefuse) reactor.recordRefusals(await this.#options.session.readRefusals());
      this.#options.forgeries.look(await this.#options.session.spoofed());
      const now = performance.now();
      const { counters } = reactor;
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

  /** Packets of a pod that entries refused so far. */
  refusedBy(port: PodPort): number {
    const { refusedBySource } = this.#options.reactor.counters;
    return port.addresses.reduce((sum, address) => sum + (refusedBySource.get(address) ?? 0), 0);
  }

  #judge(readings: readonly { port: number; dropped: bigint }[], now: number): void {
    const meters = new Map(readings.map(({ port, dropped }) => [port, dropped]));
    const { missesPerSecond, reactor, logger, events } = this.#options;
    const pods = new Map(Array.from(this.#options.ports(), (port) => [port.ofport, port]));
    for (const [port, dropped] of meters) this.#dropped.set(port, dropped);
    for (const [port, pod] of pods) {
      const reading: Reading = {
        at: now,
        dropped: meters.get(port) ?? 0n,
        misses: reactor.counters.missesByPort.get(port) ?? 0,
        refused: this.refusedBy(pod),
      };
      const last = this.#last.get(port);
      this.#last.set(port, reading);
      if (last === undefined) continue;
      const seconds = (now - last.at) / 1000;
      const metered = Math.max(0, Number(reading.dropped - last.dropped));
      const refused = Math.max(0, reading.refused - last.refused);
      if (metered === 0 && refused / seconds <= (missesPerSecond || defaultShare)) continue;
      const figures: NoisyPod = {
        pod: `${pod.namespace}/${pod.name}`,
        ofport: port,
        missesPerSecond: Math.round((reading.misses - last.misses) / seconds),
        droppedPerSecond: Math.round((metered + refused) / seconds),
        droppedTotal: Number(reading.dropped) + reading.refused,
        lastSeen: Date.now(),
      };
      this.#noisy.set(port, figures);
      logger.warn(figures, "a pod makes more noise than its share");
      events.record(
        { apiVersion: "v1", kind: "Pod", namespace: pod.namespace, name: pod.name, uid: pod.uid },
        "Warning",
        "TooManyNewFlows",
        metered > 0
          ? `the pod opens more than ${missesPerSecond} new flows a second to peers without an entry; ${figures.droppedPerSecond} packets a second are dropped. See what it sends, or raise limits.missesPerSecondPerPort`
          : `${figures.droppedPerSecond} packets a second of the pod go to addresses that nobody holds and are dropped. See what it sends: \`fabricctl flows --pod ${figures.pod}\``,
      );
    }
    for (const port of this.#last.keys()) {
      if (pods.has(port)) continue;
      this.#last.delete(port);
      this.#dropped.delete(port);
      this.#options.reactor.counters.forgetPort(port);
    }
    for (const [port, { lastSeen }] of this.#noisy) {
      if (Date.now() - lastSeen > memoryMilliseconds || !pods.has(port)) this.#noisy.delete(port);
    }
  }
}
