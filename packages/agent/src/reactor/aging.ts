/** Reading what entries were used for, so that those which nobody needs can go. */
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

const bucketsPerRound = 64;

/** Reads statistics bucket by bucket, so that every entry is looked at twice in its idle time. */
export async function ageEntries({
  reactor,
  session,
  idleMilliseconds,
  logger,
  stopping,
}: AgingOptions): Promise<void> {
  const pause = Math.max(20, idleMilliseconds / 2 / bucketsPerRound);
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
