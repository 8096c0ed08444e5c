/** Reading what entries were used for, so that those which nobody needs can go. */
import { cookieBuckets } from "@beyondfabric/datapath";
import type { Logger } from "../log.ts";
import type { BridgeSession } from "../switch/bridge-session.ts";
import type { Reactor } from "./reactor.ts";

export interface AgingOptions {
  readonly reactor: Reactor;
  readonly session: Pick<BridgeSession, "ready" | "readBucket">;
  /** An entry that nobody used for so long goes. */
  readonly idleMilliseconds: number;
  readonly logger: Logger;
  readonly stopping: () => boolean;
}

/** How long counters that were read are good enough for whoever asks (ms). */
const freshMilliseconds = 1000;

/** Reads what all entries have counted, for a person who asks now. */
export class StatisticsReader {
  readonly #reactor: Reactor;
  readonly #session: AgingOptions["session"];
  #reading: Promise<void> | undefined;
  #read = -Infinity;

  constructor(reactor: Reactor, session: AgingOptions["session"]) {
    this.#reactor = reactor;
    this.#session = session;
  }

  /** Those who ask at the same time share one reading; without a switch nothing is read. */
  async read(): Promise<void> {
    if (!this.#session.ready || performance.now() - this.#read < freshMilliseconds) return;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
      this.#read = performance.now();
    });
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    for (let bucket = 0; bucket < cookieBuckets; bucket++) {
      if (this.#reactor.bucketIsEmpty(bucket)) continue;
      this.#reactor.recordBucket(bucket, await this.#session.readBucket(bucket));
    }
  }
}

/** Reads statistics bucket by bucket, so that every entry is looked at twice in its idle time. */
export async function ageEntries({
  reactor,
  session,
  idleMilliseconds,
  logger,
  stopping,
}: AgingOptions): Promise<void> {
  const pause = Math.max(20, idleMilliseconds / 2 / cookieBuckets);
  while (!stopping()) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (!session.ready || reactor.verdicts.size === 0) continue;
    const bucket = reactor.nextBucket();
    if (reactor.bucketIsEmpty(bucket)) continue;
    try {
      reactor.recordBucket(bucket, await session.readBucket(bucket));
    } catch (error) {
      logger.debug({ err: error }, "statistics not read");
    }
  }
}
