/** The client against the real thing. Slow, so `make verify` runs it and `make test` does not. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import {
  eventResource,
  EventRecorder,
  inClusterConfig,
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  KubeApiError,
  KubeClient,
  ListWatch,
  loadKubeconfig,
  namespaceResource,
  nodeResource,
  type Event,
  type KubeObject,
  type ListWatchOptions,
  type Resource,
} from "../../src/index.ts";
import { Observer, quickBackoff, until, type Thing } from "../observer.ts";
import { agentToken, ControlPlane } from "./control-plane.ts";
import { Gate } from "./gate.ts";

const configMaps: Resource = { group: "", version: "v1", plural: "configmaps", kind: "ConfigMap", namespaced: true };

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

function configMap(namespace: string, name: string, value: number): ConfigMap {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data: { value: String(value) } };
}

function select(raw: unknown): Thing {
  const { metadata, data } = raw as ConfigMap;
  return { name: metadata?.name ?? "", uid: metadata?.uid ?? "", value: Number(data?.["value"]) };
}

describe("against a real API server", () => {
  let real: ControlPlane;
  let client: KubeClient;
  let namespaces = 0;
  const endings: (() => Promise<unknown>)[] = [];

  before(async () => {
    real = await ControlPlane.start();
    client = new KubeClient(real.administrator());
  });

  after(async () => {
    await client?.close();
    await real?.stop();
  });

  afterEach(async () => {
    for (const ending of endings.splice(0)) await ending();
  });

  async function newNamespace(): Promise<string> {
    const name = `test-${++namespaces}`;
    await client.create(namespaceResource, { metadata: { name } });
    return name;
  }

  function observe(namespace: string, options: Partial<ListWatchOptions<Thing>> = {}) {
    const observer = new Observer();
    const watch = new ListWatch<Thing>({
      client,
      resource: configMaps,
      selection: { namespace },
      select,
      backoff: quickBackoff(),
      ...options,
      handlers: observer,
    });
    watch.start();
    endings.push(() => watch.stop());
    return { watch, observer };
  }

  it("creates, reads, replaces, patches in every way, and deletes", async () => {
    const namespace = await newNamespace();
    const created = await client.create<ConfigMap>(configMaps, configMap(namespace, "a", 1));
    assert.ok(created.metadata?.uid);
    await assert.rejects(client.create(configMaps, configMap(namespace, "a", 1)), isAlreadyExists);
    await assert.rejects(client.get(configMaps, "b", namespace), isNotFound);
    const replaced = await client.replace<ConfigMap>(configMaps, { ...created, data: { value: "2" } } as ConfigMap);
    assert.equal(replaced.data?.["value"], "2");
    await assert.rejects(client.replace(configMaps, created), isConflict);
    const patched = async (patch: unknown, more: object): Promise<unknown> =>
      (await client.patch<ConfigMap>(configMaps, "a", patch, { namespace, ...more })).data;
    assert.deepEqual(await patched({ data: { merge: "x" } }, {}), { value: "2", merge: "x" });
    assert.deepEqual(await patched([{ op: "remove", path: "/data/merge" }], { kind: "json" }), { value: "2" });
    assert.deepEqual(await patched({ data: { s: "y" } }, { kind: "strategic" }), { value: "2", s: "y" });
    const applied = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { applied: "z" } };
    assert.deepEqual(await patched(applied, { kind: "apply", fieldManager: "test", force: true }), {
      value: "2",
      s: "y",
      applied: "z",
    });
    const old = { uid: created.metadata.uid, resourceVersion: created.metadata.resourceVersion! };
    await assert.rejects(client.delete(configMaps, "a", { namespace, preconditions: old }), isConflict);
    await client.delete(configMaps, "a", { namespace, preconditions: { uid: old.uid } });
    await assert.rejects(client.delete(configMaps, "a", { namespace }), isNotFound);
  });

  it("writes a status apart from the rest, and reads why an object is refused", async () => {
    const node = await client.create<KubeObject>(nodeResource, { metadata: { name: "n1" } });
    const conditions = [{ type: "NetworkUnavailable", status: "False", reason: "Test", message: "up" }];
    await client.updateStatus(nodeResource, { ...node, status: { conditions } } as KubeObject);
    const back = await client.get<{ status: { conditions: { type: string }[] } }>(nodeResource, "n1");
    assert.equal(back.status.conditions[0]?.type, "NetworkUnavailable");
    const refused = await client
      .create(nodeResource, { metadata: { name: "Not_A_Name" } })
      .catch((error: unknown) => error);
    assert.ok(refused instanceof KubeApiError);
    assert.deepEqual([refused.status, refused.reason], [422, "Invalid"]);
    assert.equal(refused.details?.causes?.[0]?.field, "metadata.name");
  });

  it("takes tokens of files, kubeconfigs and nobody's", async () => {
    const directory = mkdtempSync(join(tmpdir(), "bf-kube-account-"));
    endings.push(() => Promise.resolve(rmSync(directory, { recursive: true })));
    writeFileSync(join(directory, "ca.crt"), real.authority.certificate);
    writeFileSync(join(directory, "token"), "yesterdays-token");
    const account = { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(real.port) };
    const inside = new KubeClient(inClusterConfig(account, directory));
    endings.push(() => inside.close());
    const refused = await inside.get(namespaceResource, "default").catch((error: unknown) => error);
    assert.ok(refused instanceof KubeApiError && refused.status === 401);
    writeFileSync(join(directory, "token"), `${agentToken}\n`);
    await inside.get(namespaceResource, "default");
    const kubeconfig = join(directory, "config");
    const alice = real.authority.client("alice", "nobodies");
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        "current-context": "x",
        contexts: [{ name: "x", context: { cluster: "x", user: "alice" } }],
        clusters: [
          { name: "x", cluster: { server: `https://127.0.0.1:${real.port}`, "certificate-authority": "ca.crt" } },
        ],
        users: [{ name: "alice", user: { "client-certificate": alice.certificatePath, "client-key": alice.keyPath } }],
      }),
    );
    const outside = new KubeClient(loadKubeconfig(kubeconfig));
    endings.push(() => outside.close());
    const forbidden = await outside.get(nodeResource, "n1").catch((error: unknown) => error);
    assert.ok(forbidden instanceof KubeApiError && forbidden.status === 403);
    assert.match(forbidden.message, /User "alice" cannot get resource "nodes"/);
  });

  it("lists in pages and watches what happens", async () => {
    const namespace = await newNamespace();
    for (let each = 0; each < 25; each++) await client.create(configMaps, configMap(namespace, `n${each}`, each));
    const { watch, observer } = observe(namespace, { pageSize: 10 });
    await until("it is connected", () => watch.connected);
    // The real server may put one of its own there.
    const own = (): string[] => observer.seen.filter((each) => !each.includes("kube-root-ca"));
    assert.equal(own().length, 25);
    await client.patch(configMaps, "n3", { data: { value: "33" } }, { namespace });
    await client.delete(configMaps, "n4", { namespace });
    await client.create(configMaps, configMap(namespace, "n4", 44));
    await until("all three are seen", () => own().length === 28);
    assert.deepEqual(own().slice(25), ["~n3=3>33", "-n4=4", "+n4=44"]);
    assert.deepEqual(observer.errors, []);
  });

  it("gets bookmarks about what others do", async () => {
    const namespace = await newNamespace();
    const { resourceVersion } = await client.listAll(configMaps, () => undefined, { namespace: "default" });
    const selection = { namespace: "default", resourceVersion: resourceVersion!, timeoutSeconds: 5 };
    const body = await client.watch(configMaps, selection, new AbortController().signal);
    const elsewhere = await client.create<ConfigMap>(configMaps, configMap(namespace, "elsewhere", 1));
    let text = "";
    for await (const chunk of body) text += String(chunk);
    const events = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; object: KubeObject });
    const last = events.at(-1);
    assert.equal(last?.type, "BOOKMARK");
    assert.equal(last.object.metadata?.resourceVersion, elsewhere.metadata?.resourceVersion);
  });

  it("misses nothing while the way to the server is shut", async () => {
    const gate = new Gate(real.port);
    await gate.open();
    const far = new KubeClient(real.administrator(gate.port));
    const namespace = await newNamespace();
    for (const name of ["kept", "gone", "replaced"]) await client.create(configMaps, configMap(namespace, name, 1));
    const { watch, observer } = observe(namespace, { client: far });
    endings.push(
      () => far.close(),
      () => gate.shut(),
    );
    await until("it is connected", () => watch.connected);
    const before = observer.seen.length;
    await gate.shut();
    await until("it notices", () => watch.store.staleSince !== undefined);
    await client.delete(configMaps, "gone", { namespace });
    await client.delete(configMaps, "replaced", { namespace });
    await client.create(configMaps, configMap(namespace, "replaced", 2));
    await client.create(configMaps, configMap(namespace, "new", 1));
    await gate.open();
    await until("it caught up", () => observer.seen.length === before + 4);
    assert.deepEqual(observer.seen.slice(before), ["-gone=1", "-replaced=1", "+replaced=2", "+new=1"]);
    assert.equal(observer.syncs, 1, "by resuming, not by listing anew");
    assert.equal(watch.store.staleSince, undefined);
  });

  it("is refused with 410 what has been compacted", async () => {
    const namespace = await newNamespace();
    for (let each = 0; each < 6; each++) await client.create(configMaps, configMap(namespace, `n${each}`, each));
    const first = await client.list(configMaps, { namespace, limit: 2 });
    const { metadata } = await client.create<ConfigMap>(configMaps, configMap(namespace, "last", 0));
    await real.compact(metadata!.resourceVersion!);
    await assert.rejects(client.list(configMaps, { namespace, limit: 2, continue: first.metadata!.continue! }), isGone);
  });

  it("survives the server's end: what changed before it is back is found by listing anew", async () => {
    const namespace = await newNamespace();
    for (const name of ["kept", "changed", "gone"]) await client.create(configMaps, configMap(namespace, name, 1));
    const gate = new Gate(real.port);
    await gate.open();
    const far = new KubeClient(real.administrator(gate.port));
    const { watch, observer } = observe(namespace, { client: far, pageSize: 2 });
    endings.push(
      () => far.close(),
      () => gate.shut(),
    );
    await until("it is connected", () => watch.connected);
    const before = observer.seen.length;
    await gate.shut();
    await client.delete(configMaps, "gone", { namespace });
    await client.patch(configMaps, "changed", { data: { value: "2" } }, { namespace });
    const { metadata } = await client.create<ConfigMap>(configMaps, configMap(namespace, "new", 1));
    await real.killApiServer();
    // A server that has just started remembers nothing from before, and its store has forgotten too.
    await real.compact(metadata!.resourceVersion!);
    await real.startApiServer();
    await gate.open();
    await until("it caught up", () => observer.seen.length === before + 3);
    assert.deepEqual(observer.seen.slice(before), ["-gone=1", "~changed=1>2", "+new=1"]);
    assert.equal(observer.syncs, 2, "by listing anew");
    await client.patch(configMaps, "kept", { data: { value: "9" } }, { namespace });
    await until("it goes on", () => observer.seen.at(-1) === "~kept=1>9");
  });

  it("posts events on namespaced and on cluster-scoped objects", async () => {
    const errors: unknown[] = [];
    const recorder = new EventRecorder({
      client,
      component: "fabric-node",
      node: "n1",
      onError: (error) => errors.push(error),
    });
    const namespace = await newNamespace();
    recorder.record({ apiVersion: "v1", kind: "Pod", name: "web", namespace, uid: "u1" }, "Warning", "Refused", "no");
    recorder.record({ apiVersion: "v1", kind: "Node", name: "n1", uid: "n1" }, "Normal", "Ready", "yes");
    const events = async (where: string): Promise<Event[]> =>
      (await client.listAll(eventResource, (raw) => raw as Event, { namespace: where })).records;
    const deadline = Date.now() + 10_000;
    let found: Event[] = [];
    while (found.length < 2 && Date.now() < deadline) {
      found = [...(await events(namespace)), ...(await events("default"))].filter(
        ({ source }) => source?.component === "fabric-node",
      );
    }
    assert.deepEqual(
      found.map(({ involvedObject, reason, type, count }) => [involvedObject?.kind, reason, type, count]),
      [
        ["Pod", "Refused", "Warning", 1],
        ["Node", "Ready", "Normal", 1],
      ],
    );
    assert.deepEqual(errors, []);
  });
});
