import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import {
  OvsdbClient,
  OvsdbError,
  Transaction,
  type Cache,
  type CacheUpdate,
  type OpenVswitchTables,
} from "@beyondfabric/ovsdb";
import { OvsdbServer, until } from "./ovsdb-server.ts";
import { Proxy } from "./proxy.ts";

const TABLES = {
  Open_vSwitch: { columns: ["bridges", "external_ids"] },
  Bridge: { columns: ["name", "ports", "external_ids", "fail_mode"] },
  Port: { columns: ["name", "interfaces"] },
  Interface: { columns: ["name"] },
} as const;

let server: OvsdbServer;
let client: OvsdbClient | undefined;
let proxy: Proxy | undefined;

afterEach(async () => {
  await client?.stop();
  await proxy?.close();
  await server.destroy();
  client = undefined;
  proxy = undefined;
});

async function begin(options: { clustered?: boolean; proxied?: boolean; unknown?: string[] } = {}): Promise<{
  one: OvsdbClient;
  cache: Cache<OpenVswitchTables>;
}> {
  server = await OvsdbServer.create(options);
  await server.start();
  await server.vsctl("--no-wait", "init");
  let address = server.address;
  if (options.proxied === true) {
    proxy = new Proxy(join(server.directory, "proxy.sock"), server.socket);
    for (const method of options.unknown ?? []) proxy.unknown.add(method);
    await proxy.listen();
    address = proxy.address;
  }
  const one = new OvsdbClient({ address, minBackoffMs: 10, maxBackoffMs: 50 });
  client = one;
  const cache = one.monitor(TABLES);
  await one.start({ timeoutMs: 20_000 });
  return { one, cache };
}

function names(cache: Cache<OpenVswitchTables>): string[] {
  return [...cache.table("Bridge").values()].map(({ name }) => name).sort();
}

function ids(cache: Cache<OpenVswitchTables>): Readonly<Record<string, string>> {
  return cache.find("Open_vSwitch", () => true)?.external_ids ?? {};
}

/** What the database really holds, read by another program. */
async function stored(): Promise<Record<string, string>> {
  const json = JSON.parse(
    await server.vsctl("--format=json", "--columns=external_ids", "list", "Open_vSwitch", "."),
  ) as {
    data: [["map", [string, string][]]][];
  };
  return Object.fromEntries(json.data[0]![0][1]);
}

void test("kill -9 in the middle of transactions: each one's fate is told truly, and the cache converges", async () => {
  const { one, cache } = await begin();
  const fates = new Map<string, string>();
  let next = 0;
  const enough = new AbortController();
  const writer = async (): Promise<void> => {
    while (!enough.signal.aborted) {
      const key = `k${next++}`;
      try {
        await one.transact(new Transaction().mutate("Open_vSwitch", [], [["external_ids", "insert", { [key]: "1" }]]));
        fates.set(key, "committed");
        assert.equal(ids(cache)[key], "1", "the cache has what was committed");
      } catch (error) {
        assert.ok(error instanceof OvsdbError, String(error));
        fates.set(key, error.code);
        if (!one.connected) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  };
  const writers = Promise.all(Array.from({ length: 8 }, writer));
  for (let round = 0; round < 3; round++) {
    const before = [...fates.values()].filter((fate) => fate === "committed").length;
    await until("some commits", () => [...fates.values()].filter((fate) => fate === "committed").length > before + 30);
    const lost = once(one, "disconnected");
    await server.kill();
    await lost;
    assert.equal(cache.synchronised, false);
    const back = once(one, "connected");
    await server.start();
    await back;
  }
  enough.abort();
  await writers;
  await until("a synchronised cache", () => cache.synchronised);
  const held = await stored();
  assert.deepEqual(ids(cache), held);
  const count: Record<string, number> = {};
  for (const [key, fate] of fates) {
    count[fate] = (count[fate] ?? 0) + 1;
    if (fate === "committed") assert.ok(Object.hasOwn(held, key), `${key} was committed and is lost`);
    else if (fate === "OVSDB_DISCONNECTED") assert.ok(!Object.hasOwn(held, key), `${key} was said not to be sent`);
    else assert.equal(fate, "OVSDB_FATE_UNKNOWN");
  }
  assert.ok(count["OVSDB_FATE_UNKNOWN"]! >= 1, JSON.stringify(count));
  assert.ok(count["committed"]! >= 90, JSON.stringify(count));
});

void test("what changed while the server was away arrives as one batch, deletions included", async () => {
  const { one, cache } = await begin();
  await server.vsctl("--no-wait", "add-br", "stays", "--", "add-br", "goes");
  await until("both bridges", () => cache.table("Bridge").size === 2);
  const stays = cache.find("Bridge", ({ name }) => name === "stays")!;
  const updates: CacheUpdate[] = [];
  cache.on("update", (update) => updates.push(update));
  const lost = once(one, "disconnected");
  await server.kill();
  await lost;
  assert.deepEqual(names(cache), ["goes", "stays"], "the last known rows stay readable");
  const goes = cache.find("Bridge", ({ name }) => name === "goes")!;
  execFileSync("ovsdb-tool", [
    "transact",
    join(server.directory, "conf.db"),
    JSON.stringify([
      "Open_vSwitch",
      { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["bridges", "delete", ["uuid", goes._uuid]]] },
      { op: "update", table: "Bridge", where: [["name", "==", "stays"]], row: { fail_mode: "secure" } },
    ]),
  ]);
  const back = once(one, "connected");
  await server.start();
  await back;
  assert.deepEqual(names(cache), ["stays"]);
  assert.equal(updates.length, 1);
  assert.equal(updates[0]!.kind, "resync");
  const told = updates[0]!.changes
    .map((change) => `${change.table} ${change.new === undefined ? "gone" : "changed"}`)
    .sort();
  assert.deepEqual(told, ["Bridge changed", "Bridge gone", "Interface gone", "Open_vSwitch changed", "Port gone"]);
  assert.equal(cache.row("Bridge", stays._uuid)?.fail_mode, "secure");
  await server.vsctl("--no-wait", "add-br", "later");
  await until("news on the new connection", () => names(cache).includes("later"));
});

void test("a server that remembers its transactions sends only what was missed", async () => {
  const { one, cache } = await begin({ clustered: true, proxied: true });
  // The server forgets transactions that together are larger than the database; so let it hold something first.
  const bridges = Array.from({ length: 20 }, (_, i) => ["--", "add-br", `fill${i}`]).flat();
  await server.vsctl("--no-wait", ...bridges, "--", "add-br", "a", "--", "add-br", "b");
  await server.vsctl("--no-wait", "set", "Bridge", "a", "external_ids:seen=1");
  await until("the last change", () => cache.find("Bridge", ({ name }) => name === "a")?.external_ids["seen"] === "1");
  const updates: CacheUpdate[] = [];
  cache.on("update", (update) => updates.push(update));
  const lost = once(one, "disconnected");
  await proxy!.close();
  await lost;
  await server.vsctl("--no-wait", "add-br", "c", "--", "del-br", "a", "--", "set", "Bridge", "b", "external_ids:x=y");
  proxy!.results.length = 0;
  const back = once(one, "connected");
  await proxy!.listen();
  await back;
  const reply = proxy!.results.find(([method]) => method === "monitor_cond_since")![1] as [boolean, string, object];
  assert.equal(reply[0], true, "resumed from the last transaction seen");
  assert.deepEqual(
    names(cache).filter((name) => !name.startsWith("fill")),
    ["b", "c"],
  );
  assert.ok(JSON.stringify(reply[2]).length < 3000, "only the difference was sent");
  assert.deepEqual(cache.find("Bridge", ({ name }) => name === "b")?.external_ids, { x: "y" });
  assert.equal(updates.length, 1);
  assert.equal(updates[0]!.kind, "resync");
});

for (const [unknown, method] of [
  [["monitor_cond_since"], "monitor_cond"],
  [["monitor_cond_since", "monitor_cond"], "monitor"],
] as const) {
  void test(`an older server is watched with ${method}`, async () => {
    const { one, cache } = await begin({ proxied: true, unknown: [...unknown] });
    assert.ok(proxy!.results.some(([each]) => each === method));
    await server.vsctl("--no-wait", "add-br", "a", "--", "add-br", "b", "--", "set", "Bridge", "a", "external_ids:x=1");
    await until("the bridges", () => cache.table("Bridge").size === 2);
    await server.vsctl("--no-wait", "set", "Bridge", "a", "external_ids:y=2", "--", "del-br", "b");
    await until("the change", () => cache.table("Bridge").size === 1);
    assert.deepEqual(cache.find("Bridge", () => true)?.external_ids, { x: "1", y: "2" });
    await server.vsctl("--no-wait", "remove", "Bridge", "a", "external_ids", "x");
    await until("the removal", () => cache.find("Bridge", () => true)?.external_ids["x"] === undefined);
    const lost = once(one, "disconnected");
    await proxy!.close();
    await lost;
    await server.vsctl("--no-wait", "del-br", "a", "--", "add-br", "c");
    const back = once(one, "connected");
    await proxy!.listen();
    await back;
    assert.deepEqual(names(cache), ["c"]);
  });
}

void test("conditions on a server that knows none are refused with the remedy", async () => {
  const { one } = await begin({ proxied: true, unknown: ["monitor_cond_since", "monitor_cond"] });
  await one.stop();
  one.monitor({ Bridge: { columns: ["name"], where: [["name", "==", "x"]] } });
  await assert.rejects(
    one.start(),
    (error) =>
      error instanceof OvsdbError && error.code === "OVSDB_UNSUPPORTED" && /Bridge has conditions/.test(error.message),
  );
});

void test("nonsense in the middle of the dialogue costs the connection, not the cache or the process", async () => {
  const { one, cache } = await begin({ proxied: true });
  await server.vsctl("--no-wait", "add-br", "a");
  await until("the bridge", () => cache.table("Bridge").size === 1);
  const uuid = cache.find("Bridge", () => true)!._uuid;
  const missing = "11111111-2222-3333-4444-555555555555";
  const update = (updates: unknown): string =>
    JSON.stringify({ method: "update3", id: null, params: ["monitor-1", missing, updates] });
  const nonsense: (string | Buffer)[] = [
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    Buffer.from([0, 1, 2, 255]),
    "[]",
    "{}",
    '{"method":"update3","params":[],"id":null}',
    '{"method":"update3","params":["monitor-9","x",{}],"id":null}',
    '{"method":"update3","params":["monitor-1","no uuid",{}],"id":null}',
    update(null),
    update({ Nowhere: { [uuid]: { insert: {} } } }),
    update({ Bridge: { "not a uuid": { insert: {} } } }),
    update({ Bridge: { [missing]: { modify: { name: "x" } } } }),
    update({ Bridge: { [missing]: { delete: null } } }),
    update({ Bridge: { [missing]: { insert: { name: 5 } } } }),
    update({ Bridge: { [uuid]: { modify: 5 } } }),
    `{"method":"update3","params":${"[".repeat(100)}`,
  ];
  for (const text of nonsense) {
    const lost = once(one, "disconnected");
    const back = once(one, "connected");
    proxy!.inject(text);
    const [reason] = (await lost) as [OvsdbError];
    assert.equal(reason.code, "OVSDB_PROTOCOL", String(text));
    await back;
    assert.deepEqual(names(cache), ["a"], String(text));
  }
  await server.vsctl("--no-wait", "add-br", "b");
  await until("news after all that", () => names(cache).length === 2);
});

void test("a lie that fits is corrected at the next connection", async () => {
  const { one, cache } = await begin({ proxied: true });
  const invented = "11111111-2222-3333-4444-555555555555";
  proxy!.inject(
    JSON.stringify({
      method: "update3",
      id: null,
      params: ["monitor-1", invented, { Bridge: { [invented]: { insert: { name: "ghost" } } } }],
    }),
  );
  await until("the ghost", () => names(cache).includes("ghost"));
  const back = once(one, "connected");
  await proxy!.close();
  await proxy!.listen();
  await back;
  assert.deepEqual(names(cache), []);
});

void test("a server that stops answering is given up and found again", async () => {
  server = await OvsdbServer.create();
  await server.start();
  await server.vsctl("--no-wait", "init");
  const one = new OvsdbClient({ address: server.address, minBackoffMs: 10, probeIntervalMs: 100 });
  client = one;
  const cache = one.monitor(TABLES);
  await one.start();
  server.pause();
  const pending = assert.rejects(
    one.transact(new Transaction().mutate("Open_vSwitch", [], [["external_ids", "insert", { a: "1" }]])),
    (error) =>
      error instanceof OvsdbError &&
      error.code === "OVSDB_FATE_UNKNOWN" &&
      /did not answer a probe/.test(error.message),
  );
  const [reason] = (await once(one, "disconnected")) as [Error];
  assert.match(reason.message, /did not answer a probe/);
  await pending;
  server.resume();
  await cache.whenSynchronised();
  assert.deepEqual(ids(cache), await stored());
});
