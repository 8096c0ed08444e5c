import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, beforeEach, test } from "node:test";
import {
  OvsdbClient,
  OvsdbError,
  OvsdbTransactionError,
  Transaction,
  type Cache,
  type CacheUpdate,
  type OpenVswitchTables,
} from "@beyondfabric/ovsdb";
import { OvsdbServer, until } from "./ovsdb-server.ts";

const TABLES = {
  Open_vSwitch: { columns: ["bridges", "external_ids", "other_config", "next_cfg", "cur_cfg"] },
  Bridge: { columns: ["name", "ports", "fail_mode", "datapath_type", "protocols", "external_ids", "flow_tables"] },
  Port: { columns: ["name", "interfaces", "tag"] },
  Interface: { columns: ["name", "type", "options", "external_ids", "ofport", "ofport_request", "mtu_request"] },
} as const;

let server: OvsdbServer;
let client: OvsdbClient;

beforeEach(async () => {
  server = await OvsdbServer.create();
  client = newClient();
});

afterEach(async () => {
  await client.stop();
  await server.destroy();
});

function newClient(): OvsdbClient {
  return new OvsdbClient({ address: server.address, minBackoffMs: 10, maxBackoffMs: 100 });
}

async function begin(): Promise<Cache<OpenVswitchTables>> {
  await server.start();
  await server.vsctl("--no-wait", "init");
  const cache = client.monitor(TABLES);
  await client.start({ timeoutMs: 20_000 });
  return cache;
}

function bridge(cache: Cache<OpenVswitchTables>, name: string): OpenVswitchTables["Bridge"] | undefined {
  return cache.find("Bridge", (row) => row.name === name);
}

/** A transaction that adds a bridge the way ovs-vsctl does: interface, port, bridge, and the reference to it. */
function addBridge(name: string): Transaction {
  const transaction = new Transaction();
  const port = transaction.insert("Interface", { name, type: "internal" });
  const ports = transaction.insert("Port", { name, interfaces: [port] });
  const row = transaction.insert("Bridge", {
    name,
    ports: [ports],
    fail_mode: "secure",
    external_ids: { owner: "me" },
  });
  return transaction.mutate("Open_vSwitch", [], [["bridges", "insert", [row]]]);
}

void test("the cache holds the content, follows ovs-vsctl and tells what changed", async () => {
  const cache = await begin();
  assert.ok(cache.synchronised);
  assert.equal(cache.table("Open_vSwitch").size, 1);
  const updates: CacheUpdate[] = [];
  cache.on("update", (update) => updates.push(update));
  await server.vsctl(
    "--no-wait",
    "add-br",
    "br0",
    "--",
    "set",
    "Bridge",
    "br0",
    "external_ids:a=1",
    "fail_mode=secure",
  );
  await until("the bridge", () => bridge(cache, "br0") !== undefined);
  const row = bridge(cache, "br0")!;
  assert.deepEqual(row.external_ids, { a: "1" });
  assert.equal(row.fail_mode, "secure");
  assert.equal(row.ports.length, 1);
  assert.equal(cache.row("Port", row.ports[0]!)?.name, "br0");
  assert.equal(updates.length, 1, "one transaction, one batch");
  assert.deepEqual(updates[0]!.changes.map(({ table }) => table).sort(), [
    "Bridge",
    "Interface",
    "Open_vSwitch",
    "Port",
  ]);

  await server.vsctl("--no-wait", "set", "Bridge", "br0", "external_ids:b=2", "external_ids:a=3");
  await until("the change", () => bridge(cache, "br0")?.external_ids["b"] === "2");
  assert.deepEqual(bridge(cache, "br0")!.external_ids, { a: "3", b: "2" });
  const change = updates.at(-1)!.changes[0]!;
  assert.deepEqual(change.old?.["external_ids"], { a: "1" });
  assert.deepEqual(row.external_ids, { a: "1" }, "a row is never changed in place");

  await server.vsctl(
    "--no-wait",
    "remove",
    "Bridge",
    "br0",
    "external_ids",
    "a",
    "--",
    "clear",
    "Bridge",
    "br0",
    "fail_mode",
  );
  await until("the removal", () => bridge(cache, "br0")?.external_ids["a"] === undefined);
  assert.deepEqual(bridge(cache, "br0")!.external_ids, { b: "2" });
  assert.equal("fail_mode" in bridge(cache, "br0")!, false);

  await server.vsctl("--no-wait", "add-port", "br0", "p1", "tag=7", "--", "add-port", "br0", "p2");
  await until("the ports", () => bridge(cache, "br0")?.ports.length === 3);
  assert.equal(cache.find("Port", ({ name }) => name === "p1")?.tag, 7);
  await server.vsctl("--no-wait", "del-port", "br0", "p1");
  await until("the port to go", () => bridge(cache, "br0")?.ports.length === 2);
  await server.vsctl("--no-wait", "del-br", "br0");
  await until("the bridge to go", () => cache.table("Bridge").size === 0);
  assert.equal(cache.table("Interface").size, 0);
});

void test("transactions insert with references, and their effect is in the cache when they resolve", async () => {
  const cache = await begin();
  const transaction = addBridge("br-int").comment("a bridge");
  const result = await client.transact(transaction);
  const row = bridge(cache, "br-int");
  assert.ok(row !== undefined);
  assert.equal(result.uuid({ namedUuid: "row3" }), row._uuid);
  assert.equal(result.count(3), 1);
  assert.equal(await server.vsctl("list-br"), "br-int");

  await client.transact(
    new Transaction()
      .update("Bridge", { name: "br-int" }, { protocols: ["OpenFlow15", "OpenFlow10"], fail_mode: undefined })
      .mutate("Bridge", row._uuid, [
        ["external_ids", "insert", { pod: "ü €", ["__proto__"]: "x" }],
        ["external_ids", "delete", ["owner", "absent"]],
      ])
      .update("Interface", [["name", "==", "br-int"]], { ofport_request: 9, options: { a: "b" } }),
  );
  const after = bridge(cache, "br-int")!;
  assert.deepEqual(after.protocols, ["OpenFlow10", "OpenFlow15"]);
  assert.equal(after.fail_mode, undefined);
  assert.equal(after.external_ids["pod"], "ü €");
  assert.equal(await server.vsctl("get", "Bridge", "br-int", "external_ids:pod"), '"ü €"');
  assert.equal(cache.find("Interface", () => true)?.ofport_request, 9);

  await client.transact(new Transaction().setPairs("Bridge", row._uuid, "external_ids", { pod: "new", more: "1" }));
  const { __proto__: kept, ...pairs } = Object.fromEntries(Object.entries(bridge(cache, "br-int")!.external_ids));
  assert.deepEqual(pairs, { pod: "new", more: "1" });
  assert.equal(kept, "x");

  const flowTable = new Transaction();
  const reference = flowTable.insert("Flow_Table", { name: "peer", prefixes: ["ipv6_dst", "ip_dst"] });
  flowTable.update("Bridge", row._uuid, { flow_tables: { 60: reference } });
  const made = await client.transact(flowTable);
  assert.deepEqual(bridge(cache, "br-int")!.flow_tables, { 60: made.uuid(reference) });

  const select = await client.transact(
    new Transaction().select("Bridge", { name: "br-int" }, ["name", "_uuid", "flow_tables"]),
  );
  assert.deepEqual(select.rows(0), [{ _uuid: row._uuid, name: "br-int", flow_tables: { 60: made.uuid(reference) } }]);
  const gone = await client.transact(
    new Transaction().mutate("Open_vSwitch", [], [["bridges", "delete", [row._uuid]]]).delete("Bridge", row._uuid),
  );
  assert.equal(gone.count(1), 1);
  assert.equal(cache.table("Bridge").size, 0);
});

void test("a refused transaction names operation, table, column, error and remedy, and applies nothing", async () => {
  const cache = await begin();
  await client.transact(addBridge("br0"));
  const refused = async (transaction: Transaction): Promise<OvsdbTransactionError> => {
    const error: unknown = await client.transact(transaction).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof OvsdbTransactionError, String(error));
    return error;
  };
  const duplicate = await refused(addBridge("br0"));
  assert.equal(duplicate.code, "OVSDB_CONSTRAINT");
  assert.equal(duplicate.operation, "commit");
  assert.match(
    duplicate.message,
    /commit: constraint violation: Transaction causes multiple rows in "(Bridge|Port|Interface)"/,
  );
  assert.match(duplicate.message, /unique value exists already/);

  const dangling = await refused(
    new Transaction().update("Bridge", { name: "br0" }, { ports: ["00000000-1111-2222-3333-444444444444"] }),
  );
  assert.equal(dangling.code, "OVSDB_CONSTRAINT");
  assert.match(dangling.message, /referential integrity violation/);

  const range = await refused(
    new Transaction().comment("one").mutate("Interface", { name: "br0" }, [["ingress_policing_rate", "-=", 5]]),
  );
  assert.deepEqual(
    [range.index, range.operation, range.table, range.columns, range.error],
    [1, "mutate", "Interface", ["ingress_policing_rate"], "constraint violation"],
  );

  const conflict = await refused(
    new Transaction()
      .update("Bridge", { name: "br0" }, { external_ids: { lost: "1" } })
      .wait("Bridge", { name: "br0" }, ["name"], [{ name: "other" }]),
  );
  assert.equal(conflict.code, "OVSDB_CONFLICT");
  assert.match(conflict.message, /operation 2, wait of table Bridge \(name\): timed out/);
  assert.deepEqual(bridge(cache, "br0")!.external_ids, { owner: "me" });
});

void test("what does not fit the schema is refused before it is sent", async () => {
  const cache = await begin();
  const cases: [Transaction, RegExp][] = [
    [
      new Transaction().update("Brigde", [], {}),
      /operation 1, update of table Brigde: .*no table "Brigde"; it has .*Bridge/,
    ],
    [new Transaction().update("Bridge", [], { nmae: "x" }), /no column "nmae"; it has .*name/],
    [new Transaction().update("Bridge", [], { fail_mode: "open" }), /must be one of secure, standalone/],
    [new Transaction().update("Bridge", [], { ports: "x" }), /column ports: x must be an array/],
    [new Transaction().update("Bridge", [], { ports: ["x"] }), /must be the UUID of a row of Port/],
    [new Transaction().update("Bridge", [], { external_ids: { a: 1 } }), /external_ids: 1 must be a string/],
    [new Transaction().update("Port", [], { tag: 4096 }), /tag: 4096 must be at most 4095/],
    [new Transaction().update("Port", [], { tag: 1.5 }), /must be an integer/],
    [new Transaction().update("Port", [], { interfaces: [] }), /needs at least 1 elements/],
    [new Transaction().update("Bridge", [["name", "==", 5]], {}), /name: 5 must be a string/],
    [new Transaction().update("Bridge", "br0", {}), /_uuid: br0 must be the UUID/],
    [
      new Transaction().insert("Bridge", { name: "\ud800" }) &&
        new Transaction().update("Bridge", [], { name: "\ud800" }),
      /well-formed/,
    ],
  ];
  for (const [transaction, message] of cases) {
    await assert.rejects(
      client.transact(transaction),
      (error) => error instanceof OvsdbError && error.code === "OVSDB_SCHEMA" && message.test(error.message),
      String(message),
    );
  }
  assert.throws(() => client.monitor({ Bridge: { columns: ["nmae"] } }), /no column "nmae"/);
  assert.ok(client.connected);
  assert.equal(cache.table("Bridge").size, 0);
});

void test("a monitor that the server cannot serve fails the start", async () => {
  await server.start();
  client.monitor<Record<string, object>>({ Bridge: { columns: ["name", "colour"] } });
  await assert.rejects(
    client.start(),
    (error) => error instanceof OvsdbError && /no column "colour"/.test(error.message),
  );
  assert.equal(client.connected, false);
});

void test("conditions choose the rows", async () => {
  await begin();
  const cache = client.monitor({
    Interface: { columns: ["name"], where: [["external_ids", "includes", { pod: "a" }]] },
  });
  await cache.whenSynchronised();
  await client.transact(addBridge("br0"));
  assert.equal(cache.table("Interface").size, 0);
  await server.vsctl("--no-wait", "set", "Interface", "br0", "external_ids:pod=a");
  await until("the row that fits", () => cache.table("Interface").size === 1);
  await server.vsctl("--no-wait", "set", "Interface", "br0", "external_ids:pod=b");
  await until("the row that no longer fits", () => cache.table("Interface").size === 0);
});

void test("conflicts are retried on what the cache shows then: no increment of many writers is lost", async () => {
  const cache = await begin();
  const others = [newClient(), newClient(), newClient()];
  const increment = (one: OvsdbClient): Promise<unknown> =>
    one.transactWithRetry(
      (rows) => {
        const row = rows.find("Open_vSwitch", () => true)!;
        const count = Number(row.external_ids["count"] ?? "0") + 1;
        return new Transaction()
          .verify("Open_vSwitch", row, ["external_ids"])
          .update("Open_vSwitch", row._uuid, { external_ids: { ...row.external_ids, count: String(count) } });
      },
      { attempts: 200 },
    );
  try {
    for (const other of others) {
      other.monitor(TABLES);
      await other.start();
    }
    await Promise.all([client, ...others].flatMap((one) => Array.from({ length: 10 }, () => increment(one))));
    await until("the last increment", () => cache.find("Open_vSwitch", () => true)?.external_ids["count"] === "40");
    assert.equal(await server.vsctl("get", "Open_vSwitch", ".", "external_ids:count"), '"40"');
  } finally {
    for (const other of others) await other.stop();
  }
  assert.equal(await client.transactWithRetry(() => undefined), undefined);
  let tries = 0;
  await assert.rejects(
    client.transactWithRetry(
      () => {
        tries++;
        return new Transaction().wait("Open_vSwitch", [], ["external_ids"], [{ external_ids: { never: "1" } }]);
      },
      { attempts: 3 },
    ),
    (error) => error instanceof OvsdbTransactionError && error.code === "OVSDB_CONFLICT",
  );
  assert.equal(tries, 3);
});

void test("waiting for the switch: applied when it runs, a clear error when it does not", async () => {
  const cache = await begin();
  await assert.rejects(
    client.transactAndWait(addBridge("br0"), { switchTimeoutMs: 100 }),
    (error) =>
      error instanceof OvsdbError &&
      error.code === "OVSDB_SWITCH_TIMEOUT" &&
      /is committed, .*next_cfg 1, cur_cfg 0\); ovs-vswitchd may be down/.test(error.message),
  );
  assert.ok(bridge(cache, "br0") !== undefined);
  await server.startSwitch();
  await client.transactAndWait(new Transaction().update("Interface", { name: "br0" }, { ofport_request: 77 }), {
    switchTimeoutMs: 20_000,
  });
  const row = cache.find("Open_vSwitch", () => true)!;
  assert.ok(row.cur_cfg >= 2);
  assert.equal(cache.find("Interface", ({ name }) => name === "br0")?.ofport, 65534);
  await server.stopSwitch();
  // Long after the change is committed, long before the wait would end by itself.
  cache.once("update", () => setTimeout(() => void client.stop(), 200));
  await assert.rejects(
    client.transactAndWait(new Transaction().update("Bridge", { name: "br0" }, { external_ids: {} }), {
      switchTimeoutMs: 600_000,
    }),
    (error) => error instanceof OvsdbError && ["OVSDB_DISCONNECTED", "OVSDB_FATE_UNKNOWN"].includes(error.code),
  );
});

void test("a server that is not there yet, and one that answers nothing", async () => {
  const cache = client.monitor(TABLES);
  await assert.rejects(
    client.start({ timeoutMs: 50 }),
    (error) => error instanceof OvsdbError && error.code === "OVSDB_TIMEOUT" && /no such socket/.test(error.message),
  );
  await assert.rejects(
    client.transact(new Transaction().comment("x")),
    (error) => error instanceof OvsdbError && error.code === "OVSDB_DISCONNECTED" && /was not sent/.test(error.message),
  );
  await assert.rejects(
    client.transactWithRetry(() => new Transaction()),
    /was not sent/,
  );
  assert.match(client.lastError?.message ?? "", /no such socket/);
  const connected = once(client, "connected");
  await server.start();
  await connected;
  assert.ok(cache.synchronised);
  assert.equal(client.lastError, undefined);

  server.pause();
  await assert.rejects(
    client.transact(new Transaction().comment("x"), { timeoutMs: 50 }),
    (error) =>
      error instanceof OvsdbError &&
      error.code === "OVSDB_FATE_UNKNOWN" &&
      /did not answer within 50 ms/.test(error.message),
  );
  server.resume();
  await client.transact(new Transaction().comment("the late answer to the other changes nothing"));
  const waiting = cache.whenSynchronised();
  await waiting;
  await client.stop();
  await assert.rejects(client.transact(new Transaction().comment("x")), /was not sent/);
});

void test("a database of another name is waited for, with the reason", async () => {
  await server.start();
  await client.stop();
  client = new OvsdbClient({ address: server.address, database: "Nowhere", minBackoffMs: 5 });
  await assert.rejects(client.start({ timeoutMs: 300 }), /get_schema.*unknown database/i);
});
