/** What a consumer of a list and watch sees, in order, and how tests wait for it. */
import {
  Backoff,
  KubeClient,
  type KubeClientOptions,
  ListWatch,
  type ListWatchHandlers,
  type ListWatchOptions,
  type Resource,
} from "../src/index.ts";
import type { TestObject } from "./scripted-server.ts";

export const things: Resource = { group: "test.io", version: "v1", plural: "things", kind: "Thing", namespaced: true };

export interface Thing {
  readonly name: string;
  readonly uid: string;
  readonly value: number;
}

export function selectThing(raw: unknown): Thing {
  const { metadata, value } = raw as TestObject;
  return { name: metadata.name, uid: metadata.uid, value };
}

export class Observer implements ListWatchHandlers<Thing> {
  readonly seen: string[] = [];
  readonly errors: unknown[] = [];
  syncs = 0;

  changed(record: Thing, old: Thing | undefined): void {
    const before = old === undefined ? "" : `${old.value}>`;
    this.seen.push(`${old === undefined ? "+" : "~"}${record.name}=${before}${record.value}`);
  }

  deleted(record: Thing): void {
    this.seen.push(`-${record.name}=${record.value}`);
  }

  synced(): void {
    this.syncs++;
  }

  failed(error: unknown): void {
    this.errors.push(error);
  }
}

/** Short waits, so that tests are quick; what they wait for is polled. */
export function quickBackoff(): Backoff {
  return new Backoff({ minimum: 5, maximum: 50 });
}

export function clientOf(url: string, options?: KubeClientOptions): KubeClient {
  return new KubeClient({ server: url, insecure: false, credentials: () => Promise.resolve({}) }, options);
}

export interface Watching {
  readonly watch: ListWatch<Thing>;
  readonly observer: Observer;
  readonly client: KubeClient;
  stop(): Promise<void>;
}

/** Starts to list and watch {@link things} at a server. */
export function observe(
  url: string,
  options: Partial<Omit<ListWatchOptions<Thing>, "client" | "handlers" | "resource">> = {},
): Watching {
  const client = clientOf(url);
  const observer = new Observer();
  const watch = new ListWatch<Thing>({
    client,
    resource: things,
    select: selectThing,
    backoff: quickBackoff(),
    ...options,
    handlers: observer,
  });
  watch.start();
  return {
    watch,
    observer,
    client,
    async stop() {
      await watch.stop();
      await client.close();
    },
  };
}

/** Polls until `check` holds; fails loudly, with `what`, after ten seconds. */
export async function until(what: string, check: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!check()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
