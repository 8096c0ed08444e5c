/** What is stored outlives the process, and what is half written is dropped. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { JournalError } from "../src/index.ts";
import { Journal } from "../src/journal.ts";
import type { KubeObject } from "../src/object.ts";
import { Store } from "../src/store.ts";
import { configMap, TestCluster } from "./harness.ts";
import { createPki } from "../src/index.ts";

function object(name: string, data = ""): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { data } };
}

const LIMITS = { changes: 100, characters: 1e6 };

describe("the journal", () => {
  let directory = "";
  let path = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "apiserver-journal-"));
    path = join(directory, "deep", "state");
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test("brings back objects, the revision and the history", () => {
    const store = new Store(LIMITS);
    const journal = Journal.open(path, store);
    store.put("configmaps", "default/a", object("a", "1"));
    store.put("configmaps", "default/a", object("a", "2"));
    store.put("configmaps", "default/b", object("b"));
    store.remove("configmaps", "default/b", object("b"));
    journal.close();
    const again = new Store(LIMITS);
    Journal.open(path, again).close();
    assert.equal(again.revision, store.revision);
    assert.deepEqual(again.get("configmaps", "default/a")?.object["data"], { data: "2" });
    assert.equal(again.get("configmaps", "default/b"), undefined);
    assert.deepEqual(
      again.since("configmaps", 1).map((change) => change.type),
      ["ADDED", "MODIFIED", "ADDED", "DELETED"],
    );
  });

  test("drops a last line that is half written, and goes on after it", () => {
    const store = new Store(LIMITS);
    const journal = Journal.open(path, store);
    store.put("configmaps", "default/a", object("a"));
    journal.close();
    appendFileSync(path, 'put\tconfigmaps\tdefault/b\t3\t{"half');
    const again = new Store(LIMITS);
    const second = Journal.open(path, again);
    assert.equal(again.count("configmaps"), 1);
    again.put("configmaps", "default/c", object("c"));
    second.close();
    const third = new Store(LIMITS);
    Journal.open(path, third).close();
    assert.deepEqual(
      third.list("configmaps").map((stored) => stored.key),
      ["default/a", "default/c"],
    );
  });

  test("refuses a file that is damaged elsewhere, or is something else", () => {
    const store = new Store(LIMITS);
    const journal = Journal.open(path, store);
    store.put("configmaps", "default/a", object("a"));
    store.put("configmaps", "default/b", object("b"));
    journal.close();
    const lines = readFileSync(path, "utf8").split("\n");
    lines[1] = "garbage";
    writeFileSync(path, lines.join("\n"));
    assert.throws(() => Journal.open(path, new Store(LIMITS)), JournalError);
    writeFileSync(path, "something else\n");
    assert.throws(() => Journal.open(path, new Store(LIMITS)), { code: "APISERVER_JOURNAL_CORRUPT" });
  });

  test("a compaction keeps the state and forgets the history", () => {
    const store = new Store(LIMITS);
    const journal = Journal.open(path, store);
    for (let count = 0; count < 50; count++) store.put("configmaps", "default/a", object("a", String(count)));
    const long = readFileSync(path).length;
    journal.compact();
    store.put("configmaps", "default/b", object("b"));
    journal.close();
    assert.ok(readFileSync(path).length < long / 10);
    const again = new Store(LIMITS);
    Journal.open(path, again).close();
    assert.equal(again.revision, store.revision);
    assert.deepEqual(again.get("configmaps", "default/a")?.object["data"], { data: "49" });
    assert.throws(() => again.since("configmaps", 1), { httpStatus: 410 });
  });
});

describe("a server that starts again", () => {
  let directory = "";
  let cluster: TestCluster;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "apiserver-storage-"));
    cluster = await TestCluster.start({ storagePath: join(directory, "state") });
  });
  after(async () => {
    await cluster.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test("keeps objects, custom resources and versions; a watch goes on where it was", async () => {
    const maps = "/api/v1/namespaces/default/configmaps";
    const created = await cluster.api("POST", maps, { body: configMap("kept", { a: "1" }) });
    await cluster.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
      body: {
        metadata: { name: "things.example.io" },
        spec: {
          group: "example.io",
          scope: "Cluster",
          names: { plural: "things", kind: "Thing" },
          versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } }],
        },
      },
    });
    const thing = { apiVersion: "example.io/v1", kind: "Thing", metadata: { name: "one" } };
    assert.equal((await cluster.api("POST", "/apis/example.io/v1/things", { body: thing })).status, 201);
    await cluster.api("PATCH", `${maps}/kept`, { body: { data: { a: "2" } }, type: "application/merge-patch+json" });
    await cluster.restart();
    const kept = await cluster.api("GET", `${maps}/kept`);
    assert.equal(kept.body.metadata.uid, created.body.metadata.uid);
    assert.deepEqual(kept.body.data, { a: "2" });
    assert.equal((await cluster.api("GET", "/apis/example.io/v1/things/one")).status, 200);
    const watch = await cluster.watch(`${maps}?resourceVersion=${created.body.metadata.resourceVersion}`);
    await watch.until((events) => events.length === 1, "the change from before the restart");
    assert.deepEqual(watch.events[0]?.object.data, { a: "2" });
    watch.close();
    const next = await cluster.api("POST", maps, { body: configMap("later") });
    assert.ok(Number(next.body.metadata.resourceVersion) > Number(kept.body.metadata.resourceVersion));
  });
});

describe("the process", () => {
  let directory = "";
  const children: ChildProcess[] = [];
  before(() => (directory = mkdtempSync(join(tmpdir(), "apiserver-process-"))));
  after(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  });

  async function start(port: number): Promise<{ child: ChildProcess; port: number }> {
    const pki = createPki();
    const server = pki.server(["127.0.0.1"]);
    writeFileSync(join(directory, "tls.crt"), server.certificate);
    writeFileSync(join(directory, "tls.key"), server.key);
    writeFileSync(
      join(directory, "config.json"),
      JSON.stringify({
        listen: [{ host: "127.0.0.1", port }],
        certificateFile: join(directory, "tls.crt"),
        keyFile: join(directory, "tls.key"),
        tokens: [{ token: "test-token", user: "admin" }],
        storagePath: join(directory, "state"),
      }),
    );
    const main = join(import.meta.dirname, "../src/main.ts");
    const child = spawn(process.execPath, [main, "--config", join(directory, "config.json")]);
    children.push(child);
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    for (let count = 0; count < 1000 && !/listening on \S+:\d+\n/.test(output); count++) {
      if (child.exitCode !== null) throw new Error(`the server ended: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { child, port: Number(/listening on \S+:(\d+)\n/.exec(output)?.[1]) };
  }

  test("loses nothing that it answered when it is killed", async () => {
    const { request } = await import("node:https");
    const call = (port: number, method: string, path: string, body?: unknown): Promise<number> =>
      new Promise((resolve, reject) => {
        const headers = { authorization: "Bearer test-token", "content-type": "application/json" };
        // The certificate is made anew for every start; only this machine is spoken to.
        const options = {
          host: "127.0.0.1",
          port,
          method,
          path,
          headers,
          rejectUnauthorized: false,
          agent: false as const,
        };
        const outgoing = request(options, (response) => {
          response.resume().on("end", () => resolve(response.statusCode ?? 0));
        });
        outgoing.on("error", reject);
        outgoing.end(body === undefined ? undefined : JSON.stringify(body));
      });
    const first = await start(0);
    const maps = "/api/v1/namespaces/default/configmaps";
    for (let count = 0; count < 20; count++) {
      assert.equal(await call(first.port, "POST", maps, configMap(`map-${count}`)), 201);
    }
    const ended = new Promise((resolve) => first.child.once("exit", resolve));
    first.child.kill("SIGKILL");
    await ended;
    const second = await start(first.port);
    for (let count = 0; count < 20; count++) {
      assert.equal(await call(second.port, "GET", `${maps}/map-${count}`), 200);
    }
    const stopped = new Promise((resolve) => second.child.once("exit", resolve));
    second.child.kill("SIGTERM");
    assert.equal(await stopped, 0);
  });
});
