/**
 * Ports on their way out of the switch. Taking a port out of the database is quick; until the switch has closed it some
 * 20 ms pass, and ports that leave together are closed one after another. Nobody needs to wait for that: the answer to a
 * DEL follows the database, which a restarted agent reads, and what the port held (its number, its name, its addresses) is
 * used again only when the switch says that it has followed too.
 */
import type { Cache, OvsdbClient } from "@beyondfabric/ovsdb";
import { Transaction } from "@beyondfabric/ovsdb";
import type { Logger } from "../log.ts";
import type { SwitchTables } from "../switch/database.ts";
import { deletePodPorts, type PodPort } from "./ports.ts";

export interface DeparturesOptions {
  readonly database: OvsdbClient;
  readonly cache: Cache<SwitchTables>;
  readonly bridge: string;
  readonly logger: Logger;
  /** The switch has closed the port: its number is free. */
  readonly onGone: (port: PodPort) => void;
}

/** The switch is asked so long (ms) after a port has left the database: ports that go together are asked about once. */
const gatherMilliseconds = 100;
/** Pause (ms) before a switch that is away, or too busy, is asked again. */
const retryMilliseconds = 1000;

interface Removal {
  readonly hostInterface: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Departures {
  readonly #options: DeparturesOptions;
  #removals: Removal[] = [];
  #removing = false;
  readonly #leaving = new Set<PodPort>();
  readonly #listeners = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #asking = false;

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  /** Ports that the switch may still have. */
  get size(): number {
    return this.#leaving.size;
  }

  /**
   * Takes a port out of the database, together with all others that are asked for meanwhile; nothing happens when it is
   * not there. Resolves when that is committed.
   */
  remove(hostInterface: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#removals.push({ hostInterface, resolve, reject });
      if (!this.#removing) void this.#removeAll();
    });
  }

  /** From now until the switch has closed the port, nothing that it held may be used again. */
  follow(port: PodPort): void {
    this.#leaving.add(port);
    this.#askLater(gatherMilliseconds);
  }

  /**
   * Resolves when no port that `concerns` picks is on its way out any more.
   * @returns false when that took longer than it may
   */
  async gone(concerns: (port: PodPort) => boolean, milliseconds: number): Promise<boolean> {
    const present = (): boolean => {
      for (const port of this.#leaving) if (concerns(port)) return true;
      return false;
    };
    if (!present()) return true;
    return new Promise((resolve) => {
      const finish = (result: boolean): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        resolve(result);
      };
      const look = (): void => {
        if (!present()) finish(true);
      };
      const timer = setTimeout(() => finish(false), milliseconds);
      this.#listeners.add(look);
    });
  }

  async #removeAll(): Promise<void> {
    this.#removing = true;
    // What the same turn asks for belongs to the first transaction.
    await Promise.resolve();
    const { cache, bridge, database } = this.#options;
    while (this.#removals.length > 0) {
      const batch = this.#removals;
      this.#removals = [];
      try {
        const names = new Set(batch.map(({ hostInterface }) => hostInterface));
        const transaction = deletePodPorts(cache, bridge, names);
        if (transaction !== undefined) await database.transact(transaction);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#removing = false;
  }

  #askLater(milliseconds: number): void {
    if (this.#asking || this.#timer !== undefined) return;
    // An agent that ends does not wait: the next one knows of these ports no more.
    this.#timer = setTimeout(() => void this.#ask(), milliseconds).unref();
  }

  /** Asks the switch to say when it has followed the database; all ports that had left it by then are gone. */
  async #ask(): Promise<void> {
    this.#timer = undefined;
    this.#asking = true;
    const asked = [...this.#leaving];
    let pause = gatherMilliseconds;
    try {
      await this.#options.database.transactAndWait(new Transaction());
      for (const port of asked) {
        this.#leaving.delete(port);
        this.#options.onGone(port);
      }
      for (const look of this.#listeners) look();
    } catch (error) {
      this.#options.logger.debug({ err: error, ports: asked.length }, "the switch has not closed ports yet");
      pause = retryMilliseconds;
    }
    this.#asking = false;
    if (this.#leaving.size > 0) this.#askLater(pause);
  }
}
