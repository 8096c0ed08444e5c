import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isGone, KubeError, KubeApiError } from "../src/index.ts";
import { observe, selectThing, until, type Thing, type Watching } from "./observer.ts";
import { ScriptedServer } from "./scripted-server.ts";

describe("ListWatch", () => {
  let server: ScriptedServer;
  let running: Watching[] = [];

  beforeEach(async () => {
    server = new ScriptedServer();
    await server.start();
  });

  afterEach(async () => {
    await Promise.all(running.map((each) => each.stop()));
    running = [];
    await server.stop();
  });

  function start(options: Parameters<typeof observe>[1] = {}): Watching {
    const watching = observe(server.url, options);
    running.push(watching);
    return watching;
  }

  async function connected({ watch }: Watching): Promise<void> {
    await until("the watch is open", () => watch.connected && server.watches === 1);
  }

  function values({ watch }: Watching): Record<string, number> {
    return Object.fromEntries([...watch.records()].map(({ name, value }) => [name, value]));
  }

  it("lists in pages, then watches from the version of the list", async () => {
    for (let each = 0; each < 25; each++) server.put(`n${each}`, each);
    const listed = server.version;
    const watching = start({ pageSize: 10 });
    await connected(watching);
    assert.equal(watching.watch.size, 25);
    assert.deepEqual(server.journal, ["list", "list more", "list more", `watch ${listed}`]);
    assert.equal(server.received[0]?.query.get("limit"), "10");
    assert.equal(server.received[3]?.query.get("allowWatchBookmarks"), "true");
    const seconds = Number(server.received[3]?.query.get("timeoutSeconds"));
    assert.ok(seconds >= 240 && seconds <= 480, String(seconds));
    assert.equal(watching.observer.syncs, 1);
  });

  it("asks for what is selected only", async () => {
    const watching = start({
      selection: { namespace: "blue", labelSelector: "app=a,b in (c, d)", fieldSelector: "spec.nodeName=n1" },
    });
    await connected(watching);
    for (const { path, query } of server.received) {
      assert.equal(path, "/apis/test.io/v1/namespaces/blue/things");
      assert.equal(query.get("labelSelector"), "app=a,b in (c, d)");
      assert.equal(query.get("fieldSelector"), "spec.nodeName=n1");
    }
    assert.equal(server.received.length, 2);
  });

  it("tells of additions, changes and deletions", async () => {
    server.put("a", 1);
    const watching = start();
    await connected(watching);
    server.put("a", 2);
    server.put("b", 1);
    server.remove("a");
    await until("b is alone", () => watching.observer.seen.length === 4);
    assert.deepEqual(watching.observer.seen, ["+a=1", "~a=1>2", "+b=1", "-a=2"]);
  });

  it("drops what select leaves out, also when it was in before", async () => {
    server.put("odd", 1);
    server.put("even", 2);
    const watching = start({ select: (raw) => (selectThing(raw).value % 2 === 1 ? selectThing(raw) : undefined) });
    await connected(watching);
    server.put("odd", 2);
    server.put("even", 3);
    await until("both changed", () => watching.observer.seen.length === 3);
    assert.deepEqual(watching.observer.seen, ["+odd=1", "-odd=1", "+even=3"]);
  });

  it("puts lines together again that arrive in pieces, in the middle of characters too", async () => {
    server.pieces = 3;
    const watching = start({
      select: (raw) => {
        const thing = selectThing(raw);
        return { ...thing, name: `${thing.name}…${(raw as { note?: string }).note ?? ""}` };
      },
    });
    await connected(watching);
    server.put("günther", 1);
    server.put("李雷", 2);
    await until("both arrived", () => watching.watch.size === 2);
    assert.deepEqual(watching.observer.seen, ["+günther…=1", "+李雷…=2"]);
  });

  it("resumes from the last version after a clean end", async () => {
    server.put("a", 1);
    const watching = start();
    await connected(watching);
    server.put("a", 2);
    await until("it is seen", () => values(watching)["a"] === 2);
    const reached = server.version;
    server.silently(() => server.put("b", 1));
    server.endWatches();
    await until("b is seen", () => watching.watch.size === 2);
    assert.deepEqual(server.journal.slice(2), [`watch ${reached}`]);
    assert.deepEqual(watching.observer.errors, []);
  });

  it("resumes from the last version after a reset in the middle of a line", async () => {
    const watching = start();
    await connected(watching);
    server.put("a", 1);
    await until("a is seen", () => watching.watch.size === 1);
    const reached = server.version;
    server.silently(() => server.put("a", 2));
    server.resetWatches('{"type":"MODIFIED","object":{"metadata":{"name":"a"');
    await until("the change is seen", () => values(watching)["a"] === 2);
    assert.deepEqual(watching.observer.seen, ["+a=1", "~a=1>2"]);
    assert.equal(server.journal.at(-1), `watch ${reached}`);
    assert.equal((watching.observer.errors[0] as KubeError).code, "KUBE_UNREACHABLE");
  });

  it("goes on from a bookmark, so that a quiet watch does not grow old", async () => {
    const watching = start();
    await connected(watching);
    server.bookmark();
    server.put("last", 1);
    server.bookmark();
    await until("the event between them is seen", () => watching.watch.size === 1);
    server.send("\n");
    const reached = server.version;
    server.compact();
    server.endWatches();
    await until("a watch from the bookmark is open", () => server.journal.at(-1) === `watch ${reached}`);
    server.put("more", 1);
    await until("it goes on", () => watching.watch.size === 2);
    assert.equal(server.journal.filter((word) => word === "list").length, 1);
  });

  for (const how of ["an HTTP status", "an ERROR event"] as const) {
    it(`lists anew after 410 as ${how}, and tells the difference, deletions first`, async () => {
      for (const name of ["kept", "changed", "gone", "replaced"]) server.put(name, 1);
      const watching = start();
      await connected(watching);
      const before = watching.observer.seen.length;
      server.silently(() => {
        server.put("changed", 2);
        server.remove("gone");
        server.put("new", 1);
        server.remove("replaced");
        server.put("replaced", 5);
      });
      server.compact();
      if (how === "an HTTP status") server.endWatches();
      else
        server.send(`${JSON.stringify({ type: "ERROR", object: { code: 410, reason: "Expired", message: "old" } })}\n`);
      await until("everything is seen", () => watching.observer.syncs === 2);
      assert.deepEqual(watching.observer.seen.slice(before), [
        "-gone=1",
        "-replaced=1",
        "~changed=1>2",
        "+new=1",
        "+replaced=5",
      ]);
      assert.equal(server.journal.filter((word) => word === "list").length, 2);
    });
  }

  it("lists in one piece when the pages outlived their version", async () => {
    for (let each = 0; each < 10; each++) server.put(`n${each}`, each);
    server.intercept = ({ query }) => {
      if (query.has("continue")) server.compact();
      return false;
    };
    const watching = start({ pageSize: 4 });
    await connected(watching);
    assert.equal(watching.watch.size, 10);
    assert.deepEqual(server.journal.slice(0, 3), ["list", "list more", "list"]);
    assert.equal(server.received[2]?.query.get("limit"), null);
    assert.ok(isGone(watching.observer.errors[0]));
    assert.equal(watching.observer.seen.length, 10, "no record of the broken list is told twice");
  });

  it("takes repeated events once, and does not bring back what was deleted", async () => {
    const watching = start();
    await connected(watching);
    server.repeat = 2;
    const { metadata } = server.put("a", 1);
    server.put("a", 2);
    server.remove("a");
    server.repeat = 1;
    server.send(`${JSON.stringify({ type: "ADDED", object: { metadata, value: 1 } })}\n`);
    server.put("end", 1);
    await until("the end is seen", () => watching.watch.size === 1);
    assert.deepEqual(watching.observer.seen, ["+a=1", "~a=1>2", "-a=2", "+end=1"]);
  });

  it("does not take the deletion of an older object of the same name for its own", async () => {
    const watching = start();
    await connected(watching);
    const old = server.put("a", 1);
    server.remove("a");
    server.put("a", 2);
    server.send(`${JSON.stringify({ type: "DELETED", object: old })}\n`);
    server.put("end", 1);
    await until("the end is seen", () => watching.observer.seen.includes("+end=1"));
    assert.equal(values(watching)["a"], 2);
  });

  it("takes a silent watch for dead", async () => {
    const watching = start({ silence: 200 });
    await connected(watching);
    await until("it is opened again", () => server.journal.filter((word) => word.startsWith("watch")).length >= 3);
    const error = watching.observer.errors[0] as KubeError;
    assert.equal(error.code, "KUBE_TIMEOUT");
    assert.match(error.message, /the watch of things was silent for 200 ms/);
    server.put("a", 1);
    await until("it works", () => watching.watch.size === 1);
    assert.equal(server.journal.filter((word) => word === "list").length, 1);
  });

  it("does not take a watch for dead that says something now and then", async () => {
    const watching = start({ silence: 2500 });
    await connected(watching);
    for (let each = 0; each < 6; each++) {
      server.bookmark();
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    assert.deepEqual(watching.observer.errors, []);
    assert.equal(server.journal.length, 2);
  });

  it("refuses a line without end, and lists anew", async () => {
    const watching = start({ lineLimit: 1000 });
    await connected(watching);
    server.send(`{"type":"ADDED","object":"${"x".repeat(2000)}`);
    await until("it listed anew", () => watching.observer.syncs === 2);
    assert.match((watching.observer.errors[0] as Error).message, /a line exceeds 1000 bytes/);
    await connected(watching);
  });

  for (const [what, line] of [
    ["no JSON", "<html>\n"],
    ["null", "null\n"],
    ["no object", '{"type":"ADDED"}\n'],
    ["an unknown type", '{"type":"TWISTED","object":{"metadata":{"name":"a","uid":"u","resourceVersion":"5"}}}\n'],
  ] as const) {
    it(`lists anew after an event that is ${what}`, async () => {
      const watching = start();
      await connected(watching);
      server.send(line);
      await until("it listed anew", () => watching.observer.syncs === 2);
      assert.equal((watching.observer.errors[0] as KubeError).code, "KUBE_PROTOCOL");
      await connected(watching);
      server.put("a", 1);
      await until("it works", () => watching.watch.size === 1);
    });
  }

  it("leaves out what has no identity, and keeps what select cannot read as it was", async () => {
    const watching = start({
      select: (raw) => {
        const thing = selectThing(raw);
        if (thing.value < 0) throw new Error("a negative thing");
        return thing;
      },
    });
    await connected(watching);
    server.send('{"type":"ADDED","object":{"metadata":{"name":"nobody"}}}\n');
    server.put("a", 1);
    server.put("a", -1);
    server.put("b", 1);
    await until("b is seen", () => watching.observer.seen.includes("+b=1"));
    assert.deepEqual(values(watching), { a: 1, b: 1 });
    const messages = watching.observer.errors.map((error) => (error as Error).message);
    assert.equal(messages.length, 2);
    assert.match(messages[0]!, /lacks name, uid or resourceVersion/);
    assert.match(messages[1]!, /Thing default\/a cannot be read: a negative thing/);
    assert.equal(server.journal.length, 2, "neither broke the watch");
  });

  it("goes on when a listener throws, and tells the others", async () => {
    const watching = start();
    const others: string[] = [];
    watching.watch.store.subscribe({
      changed() {
        throw new Error("a clumsy listener");
      },
    });
    const unsubscribe = watching.watch.store.subscribe({ changed: ({ name }) => others.push(name) });
    await connected(watching);
    server.put("a", 1);
    await until("it was told", () => others.length === 1);
    assert.match((watching.observer.errors[0] as Error).message, /clumsy/);
    unsubscribe();
    server.put("b", 1);
    await until("b is there", () => watching.watch.size === 2);
    assert.deepEqual(others, ["a"]);
  });

  it("waits as long as the server asks", async () => {
    let refused = 0;
    server.intercept = (_, response) => {
      if (refused > 0) return false;
      refused = Date.now();
      server.refuse(response, 429, "TooManyRequests", { "retry-after": "1" });
      return true;
    };
    const watching = start();
    await connected(watching);
    assert.ok(Date.now() - refused >= 1000, "it came back sooner than asked");
    const [error] = watching.observer.errors;
    assert.ok(error instanceof KubeApiError);
    assert.equal(error.retryAfterMilliseconds, 1000);
  });

  it("lists anew when the version lies in the server's future", async () => {
    server.put("a", 1);
    const watching = start();
    await connected(watching);
    let refusals = 0;
    server.intercept = ({ query }, response) => {
      if (query.get("watch") !== "true" || refusals++ > 0) return false;
      response.writeHead(504, { "content-type": "application/json" });
      const details = { causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }] };
      response.end(JSON.stringify({ kind: "Status", reason: "Timeout", code: 504, message: "Too large", details }));
      return true;
    };
    server.endWatches();
    await until("it listed anew", () => watching.observer.syncs === 2);
    assert.deepEqual(watching.observer.seen, ["+a=1"]);
  });

  it("says since when it is out of date, and catches up when the server is back", async () => {
    server.put("a", 1);
    const watching = start();
    const { store } = watching.watch;
    assert.equal(store.staleSince, undefined);
    assert.equal(store.isSynced, false);
    await store.synced;
    assert.equal(store.get("a", "default")?.value, 1);
    await connected(watching);
    assert.equal(store.staleSince, undefined);
    const before = Date.now();
    await server.stop();
    await until("it notices", () => store.staleSince !== undefined);
    const since = store.staleSince!;
    assert.ok(since >= before && since <= Date.now());
    await until("it tried again", () => watching.observer.errors.length >= 3);
    assert.equal(store.staleSince, since, "the first moment stays");
    assert.equal(store.get("a", "default")?.value, 1, "what is known stays");
    server.put("a", 2);
    await server.start();
    await until("it caught up", () => store.get("a", "default")?.value === 2);
    assert.equal(store.staleSince, undefined);
  });

  it("starts without a server, and syncs once there is one", async () => {
    server.put("a", 1);
    await server.stop();
    const watching = start();
    await until("it tried", () => watching.observer.errors.length >= 2);
    assert.equal(watching.watch.synced, false);
    await server.start();
    await watching.watch.store.synced;
    assert.equal(watching.watch.size, 1);
  });

  it("stops promptly wherever it is, and closes its watch", async () => {
    const open = observe(server.url);
    await connected(open);
    await open.stop();
    await until("the server sees it", () => server.watches === 0);
    server.intercept = () => true;
    const listing = observe(server.url);
    await until("the list is under way", () => server.received.length === 3);
    await listing.stop();
    assert.deepEqual(listing.observer.errors, []);
    const waiting = observe("http://127.0.0.1:1");
    await until("it waits", () => waiting.observer.errors.length >= 1);
    await waiting.stop();
  });

  it("does not tell of states that are the same to its consumer", async () => {
    server.put("a", 10);
    const same = (a: Thing, b: Thing): boolean => Math.floor(a.value / 10) === Math.floor(b.value / 10);
    const watching = start({ same });
    await connected(watching);
    server.put("a", 11);
    server.put("a", 12);
    server.put("a", 20);
    await until("the difference is seen", () => watching.observer.seen.length === 2);
    assert.deepEqual(watching.observer.seen, ["+a=10", "~a=10>20"]);
  });

  it("agrees with the server after any mixture of mishaps", async () => {
    const watching = start({ pageSize: 3, silence: 300 });
    let seed = 12_345;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    const expected = new Map<string, number>();
    const mirror = new Map<string, number>();
    watching.watch.store.subscribe({
      changed: (record, old) => {
        assert.equal(mirror.get(record.name), old?.value);
        mirror.set(record.name, record.value);
      },
      deleted: (record) => {
        assert.equal(mirror.get(record.name), record.value);
        mirror.delete(record.name);
      },
    });
    for (let round = 0; round < 400; round++) {
      const name = `n${random(12)}`;
      const change = (): void => {
        if (expected.has(name) && random(3) === 0) {
          server.remove(name);
          expected.delete(name);
        } else {
          server.put(name, round);
          expected.set(name, round);
        }
      };
      if (random(3) === 0) server.silently(change);
      else change();
      server.pieces = random(4) === 0 ? 1 + random(40) : 0;
      server.repeat = 1 + random(2);
      const mishap = random(10);
      if (mishap === 0) server.endWatches();
      else if (mishap === 1) server.resetWatches('{"type":"ADD');
      else if (mishap === 2) server.compact();
      else if (mishap === 3) server.bookmark();
      if (random(4) === 0) await new Promise((resolve) => setTimeout(resolve, 3));
    }
    // Whatever was missed silently is found by listing anew.
    server.compact();
    server.resetWatches();
    await until("all is told", () => {
      const now = values(watching);
      return Object.keys(now).length === expected.size && [...expected].every(([name, value]) => now[name] === value);
    });
    assert.deepEqual(mirror, expected);
    assert.ok(
      watching.observer.errors.every((error) => error instanceof KubeError),
      String(watching.observer.errors),
    );
  });
});
