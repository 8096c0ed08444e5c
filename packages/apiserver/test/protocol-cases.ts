/**
 * Lists, watches, versions and preconditions over HTTP: the same assertions for every control plane. What a plane
 * cannot do stands in the table of features; such cases are not registered for it.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { hasFeature, type ControlPlane } from "../src/index.ts";
import { configMap, eventually, pod, type ApiClient, type RunningPlane } from "./harness.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const PODS = "/api/v1/namespaces/default/pods";

/**
 * Registers the cases for a control plane. `own` adds those that need a server whose history and bookmarks can be set,
 * or that are about what the embedded one refuses.
 */
export function protocolCases(plane: ControlPlane, start: () => Promise<RunningPlane>, own: boolean): void {
  describe(`the protocol, ${plane}`, () => {
    let running: RunningPlane;
    let cluster: ApiClient;
    before(async () => {
      running = await start();
      cluster = running.client;
    });
    after(() => running.stop());

    async function makeNamespace(name: string): Promise<string> {
      const { status } = await cluster.api("POST", "/api/v1/namespaces", { body: { metadata: { name } } });
      assert.equal(status, 201);
      return `/api/v1/namespaces/${name}/configmaps`;
    }

    test("an object gets uid, version and time when it is created", async () => {
      const { status, body } = await cluster.api("POST", MAPS, { body: configMap("fresh", { a: "1" }) });
      assert.equal(status, 201);
      assert.match(body.metadata.uid, /^[0-9a-f-]{36}$/);
      assert.match(body.metadata.resourceVersion, /^\d+$/);
      assert.match(body.metadata.creationTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      assert.equal(body.metadata.namespace, "default");
    });

    test("creating twice is AlreadyExists", async () => {
      await cluster.api("POST", MAPS, { body: configMap("twice") });
      const { status, body } = await cluster.api("POST", MAPS, { body: configMap("twice") });
      assert.equal(status, 409);
      assert.equal(body.reason, "AlreadyExists");
      assert.deepEqual(body.details, { name: "twice", kind: "configmaps" });
    });

    test("generateName adds a suffix of five characters", async () => {
      const names = new Set<string>();
      for (let count = 0; count < 5; count++) {
        const { body } = await cluster.api("POST", MAPS, { body: { metadata: { generateName: "made-" } } });
        assert.match(body.metadata.name, /^made-[a-z0-9]{5}$/);
        names.add(body.metadata.name);
      }
      assert.equal(names.size, 5);
    });

    test("a replacement with an old version is a conflict, one without a version is not", async () => {
      const created = await cluster.api("POST", MAPS, { body: configMap("cas") });
      const path = `${MAPS}/cas`;
      const first = await cluster.api("PUT", path, { body: { ...created.body, data: { a: "1" } } });
      assert.equal(first.status, 200);
      const second = await cluster.api("PUT", path, { body: { ...created.body, data: { a: "2" } } });
      assert.equal(second.status, 409);
      assert.equal(second.body.reason, "Conflict");
      const third = await cluster.api("PUT", path, { body: configMap("cas", { a: "3" }) });
      assert.equal(third.status, 200);
      assert.equal(third.body.metadata.uid, created.body.metadata.uid);
    });

    test("of two writers with the same version exactly one wins", async () => {
      const { body } = await cluster.api("POST", MAPS, { body: configMap("race") });
      const replies = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          cluster.api("PUT", `${MAPS}/race`, { body: { ...body, data: { writer: String(index) } } }),
        ),
      );
      assert.equal(replies.filter((reply) => reply.status === 200).length, 1);
      assert.equal(replies.filter((reply) => reply.status === 409).length, 9);
    });

    test("a write that changes nothing gets no new version", async () => {
      const { body } = await cluster.api("POST", MAPS, { body: configMap("same", { a: "1" }) });
      const again = await cluster.api("PUT", `${MAPS}/same`, { body });
      assert.equal(again.body.metadata.resourceVersion, body.metadata.resourceVersion);
    });

    test("a deletion with another uid or version is refused", async () => {
      const { body } = await cluster.api("POST", MAPS, { body: configMap("guarded") });
      const other = await cluster.api("DELETE", `${MAPS}/guarded`, { body: { preconditions: { uid: "another" } } });
      assert.equal(other.status, 409);
      const stale = await cluster.api("DELETE", `${MAPS}/guarded`, {
        body: { preconditions: { resourceVersion: "1" } },
      });
      assert.equal(stale.status, 409);
      const right = await cluster.api("DELETE", `${MAPS}/guarded`, {
        body: { preconditions: { uid: body.metadata.uid } },
      });
      assert.equal(right.status, 200);
      assert.equal(right.body.status, "Success");
      assert.equal((await cluster.api("GET", `${MAPS}/guarded`)).status, 404);
    });

    test("a watch from a list's version sees what follows, in order", async () => {
      const maps = await makeNamespace("ordered");
      const list = await cluster.api("GET", maps);
      await cluster.api("POST", maps, { body: configMap("a") });
      const watch = await cluster.watch(`${maps}?resourceVersion=${list.body.metadata.resourceVersion}`);
      await cluster.api("PATCH", `${maps}/a`, { body: { data: { x: "1" } }, type: "application/merge-patch+json" });
      await cluster.api("DELETE", `${maps}/a`);
      await watch.until((events) => events.length >= 3, "three events");
      assert.deepEqual(
        watch.events.map((event) => [event.type, event.object.metadata.name]),
        [
          ["ADDED", "a"],
          ["MODIFIED", "a"],
          ["DELETED", "a"],
        ],
      );
      const versions = watch.events.map((event) => Number(event.object.metadata.resourceVersion));
      assert.ok(versions[0]! < versions[1]! && versions[1]! < versions[2]!, versions.join());
      watch.close();
    });

    for (const version of ["", "0"]) {
      test(`a watch from ${JSON.stringify(version)} begins with what exists`, async () => {
        const maps = await makeNamespace(`initial-${version === "" ? "empty" : "zero"}`);
        await cluster.api("POST", maps, { body: configMap("one") });
        await cluster.api("POST", maps, { body: configMap("two") });
        const watch = await cluster.watch(`${maps}?resourceVersion=${version}`);
        await watch.until((events) => events.length === 2, "two events");
        assert.deepEqual(
          watch.events.map((event) => event.type),
          ["ADDED", "ADDED"],
        );
        watch.close();
      });
    }

    if (own) {
      test("bookmarks carry the latest version, and only those who ask get them", async () => {
        const maps = await makeNamespace("bookmarks");
        const watch = await cluster.watch(`${maps}?allowWatchBookmarks=true`);
        const plain = await cluster.watch(maps);
        const { body } = await cluster.api("POST", MAPS, { body: configMap("elsewhere") });
        const latest = Number(body.metadata.resourceVersion);
        await watch.until(
          (events) =>
            events.some(
              (event) => event.type === "BOOKMARK" && Number(event.object.metadata.resourceVersion) >= latest,
            ),
          "a bookmark",
        );
        assert.equal(watch.events[0]?.object.kind, "ConfigMap");
        assert.deepEqual(plain.events, []);
        watch.close();
        plain.close();
      });
    }

    if (hasFeature(plane, "streaming lists")) {
      test("sendInitialEvents ends the initial list with a marked bookmark", async () => {
        const maps = await makeNamespace("streamed");
        await cluster.api("POST", maps, { body: configMap("one") });
        const watch = await cluster.watch(
          `${maps}?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`,
        );
        await watch.until((events) => events.length >= 2, "the list and its end");
        assert.equal(watch.events[0]?.type, "ADDED");
        assert.equal(watch.events[1]?.object.metadata.annotations["k8s.io/initial-events-end"], "true");
        watch.close();
      });
    }

    test("timeoutSeconds ends a watch", async () => {
      const watch = await cluster.watch(`${MAPS}?timeoutSeconds=1&resourceVersion=`);
      await eventually(() => watch.ended, "the end of the watch");
    });

    if (own) {
      test("a version older than the history is 410 Gone: as an event of a watch, as an answer to a list", async () => {
        const maps = await makeNamespace("forgotten");
        const { body } = await cluster.api("POST", maps, { body: configMap("old") });
        const old = body.metadata.resourceVersion;
        for (let count = 0; count < 210; count++) {
          await cluster.api("PATCH", `${maps}/old`, {
            body: { data: { count: String(count) } },
            type: "application/merge-patch+json",
          });
        }
        const watch = await cluster.watch(`${maps}?resourceVersion=${old}`);
        await watch.until((events) => events.length === 1, "the error");
        assert.equal(watch.events[0]?.type, "ERROR");
        assert.equal(watch.events[0]?.object.code, 410);
        assert.equal(watch.events[0]?.object.reason, "Expired");
        await eventually(() => watch.ended, "the end of the watch");
        const list = await cluster.api("GET", `${maps}?resourceVersion=${old}&resourceVersionMatch=Exact`);
        assert.equal(list.status, 410);
      });
    }

    test("a version from the future is refused with a time to come back", async () => {
      const list = await cluster.api("GET", MAPS);
      const future = Number(list.body.metadata.resourceVersion) + 1000;
      const reply = await cluster.api("GET", `${MAPS}?resourceVersion=${future}`);
      assert.equal(reply.status, 504);
      assert.equal(reply.body.details.causes[0].reason, "ResourceVersionTooLarge");
      assert.equal(reply.headers["retry-after"], "1");
    });

    test("pages show one moment, whatever happens between them", async () => {
      const maps = await makeNamespace("paged");
      for (const name of ["a", "b", "c", "d", "e"])
        await cluster.api("POST", maps, { body: configMap(name, { n: "1" }) });
      const first = await cluster.api("GET", `${maps}?limit=2`);
      assert.equal(first.body.metadata.remainingItemCount, 3);
      await cluster.api("DELETE", `${maps}/c`);
      await cluster.api("POST", maps, { body: configMap("cc") });
      await cluster.api("PATCH", `${maps}/d`, { body: { data: { n: "2" } }, type: "application/merge-patch+json" });
      const names: string[] = first.body.items.map((item: { metadata: { name: string } }) => item.metadata.name);
      const values: string[] = [];
      for (let next = first.body.metadata.continue; next !== undefined;) {
        const page = await cluster.api("GET", `${maps}?limit=2&continue=${encodeURIComponent(next)}`);
        assert.equal(page.status, 200);
        assert.equal(page.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
        for (const item of page.body.items) {
          names.push(item.metadata.name);
          values.push(item.data.n);
        }
        next = page.body.metadata.continue;
      }
      assert.deepEqual(names, ["a", "b", "c", "d", "e"]);
      assert.deepEqual(values, ["1", "1", "1"]);
      const broken = await cluster.api("GET", `${maps}?limit=2&continue=nonsense`);
      assert.equal(broken.status, 400);
    });

    test("label selectors choose", async () => {
      const maps = await makeNamespace("labelled");
      await cluster.api("POST", maps, { body: configMap("a", {}, { labels: { app: "x", tier: "1" } }) });
      await cluster.api("POST", maps, { body: configMap("b", {}, { labels: { app: "y" } }) });
      await cluster.api("POST", maps, { body: configMap("c") });
      const cases: [string, string][] = [
        ["app=x", "a"],
        ["app!=x", "b,c"],
        ["app in (x,y)", "a,b"],
        ["app notin (x)", "b,c"],
        ["tier", "a"],
        ["!app", "c"],
        ["app,!tier", "b"],
        ["tier>0", "a"],
        ["tier<1", ""],
      ];
      for (const [selector, expected] of cases) {
        const { body } = await cluster.api("GET", `${maps}?labelSelector=${encodeURIComponent(selector)}`);
        const names = body.items.map((item: { metadata: { name: string } }) => item.metadata.name).join();
        assert.equal(names, expected, selector);
      }
      for (const selector of ["a=b=c", "in (", "a in", ",", "a=b,", "/=x", "a in (b"]) {
        const { status } = await cluster.api("GET", `${maps}?labelSelector=${encodeURIComponent(selector)}`);
        assert.equal(status, 400, selector);
      }
    });

    test("a watch with a selector sees objects come into sight and leave it", async () => {
      const maps = await makeNamespace("sight");
      const watch = await cluster.watch(`${maps}?labelSelector=${encodeURIComponent("on=yes")}`);
      await cluster.api("POST", maps, { body: configMap("a") });
      const label = (on: string | null): unknown => ({ metadata: { labels: { on } } });
      const type = "application/merge-patch+json";
      await cluster.api("PATCH", `${maps}/a`, { body: label("yes"), type });
      await cluster.api("PATCH", `${maps}/a`, { body: { data: { x: "1" } }, type });
      await cluster.api("PATCH", `${maps}/a`, { body: label("no"), type });
      await watch.until((events) => events.length === 3, "three events");
      assert.deepEqual(
        watch.events.map((event) => event.type),
        ["ADDED", "MODIFIED", "DELETED"],
      );
      assert.equal(watch.events[2]?.object.metadata.labels.on, "yes");
      watch.close();
    });

    test("pods are selected by node, and watched by it", async () => {
      const watch = await cluster.watch("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-7");
      await cluster.api("POST", PODS, { body: pod("bound") });
      const binding = { target: { kind: "Node", name: "node-7" }, metadata: { name: "bound" } };
      const reply = await cluster.api("POST", `${PODS}/bound/binding`, { body: binding });
      assert.equal(reply.status, 201);
      await watch.until((events) => events.length === 1, "the pod");
      assert.equal(watch.events[0]?.type, "ADDED");
      assert.equal(watch.events[0]?.object.status.conditions[0].type, "PodScheduled");
      const again = await cluster.api("POST", `${PODS}/bound/binding`, { body: binding });
      assert.equal(again.status, 409);
      const unsupported = await cluster.api("GET", `${PODS}?fieldSelector=spec.color%3Dred`);
      assert.equal(unsupported.status, 400);
      watch.close();
    });

    test("a pod goes gracefully: terminating first, gone when the kubelet says so", async () => {
      await cluster.api("POST", PODS, {
        body: pod("graceful", { nodeName: "node-1", terminationGracePeriodSeconds: 20 }),
      });
      const first = await cluster.api("DELETE", `${PODS}/graceful`);
      assert.equal(first.status, 200);
      assert.equal(first.body.metadata.deletionGracePeriodSeconds, 20);
      assert.ok(Date.parse(first.body.metadata.deletionTimestamp) > Date.now());
      const longer = await cluster.api("DELETE", `${PODS}/graceful`, { body: { gracePeriodSeconds: 60 } });
      assert.equal(longer.body.metadata.deletionGracePeriodSeconds, 20);
      const status = await cluster.api("PATCH", `${PODS}/graceful/status`, {
        body: { status: { phase: "Succeeded" } },
        type: "application/strategic-merge-patch+json",
      });
      assert.equal(status.body.status.phase, "Succeeded");
      await cluster.api("DELETE", `${PODS}/graceful`, { body: { gracePeriodSeconds: 0 } });
      assert.equal((await cluster.api("GET", `${PODS}/graceful`)).status, 404);
    });

    test("finalizers hold an object, and only old ones may go", async () => {
      await cluster.api("POST", MAPS, { body: configMap("held", {}, { finalizers: ["example.io/one"] }) });
      const deletion = await cluster.api("DELETE", `${MAPS}/held`);
      assert.ok(deletion.body.metadata.deletionTimestamp);
      const type = "application/merge-patch+json";
      const more = { metadata: { finalizers: ["example.io/one", "example.io/two"] } };
      assert.equal((await cluster.api("PATCH", `${MAPS}/held`, { body: more, type })).status, 422);
      await cluster.api("PATCH", `${MAPS}/held`, { body: { metadata: { finalizers: null } }, type });
      assert.equal((await cluster.api("GET", `${MAPS}/held`)).status, 404);
    });

    test("an eviction deletes the pod", async () => {
      await cluster.api("POST", PODS, { body: pod("evicted") });
      const reply = await cluster.api("POST", `${PODS}/evicted/eviction`, {
        body: {
          apiVersion: hasFeature(plane, "eviction v1") ? "policy/v1" : "policy/v1beta1",
          kind: "Eviction",
          metadata: { name: "evicted" },
        },
      });
      assert.equal(reply.status, 201);
      assert.equal((await cluster.api("GET", `${PODS}/evicted`)).status, 404);
    });

    test("a pod's status is changed through /status only, its spec is not", async () => {
      await cluster.api("POST", PODS, { body: { ...pod("split"), status: { phase: "Running" } } });
      const created = await cluster.api("GET", `${PODS}/split`);
      assert.equal(created.body.status.phase, "Pending");
      const type = "application/merge-patch+json";
      const main = await cluster.api("PATCH", `${PODS}/split`, { body: { status: { phase: "Running" } }, type });
      assert.equal(main.body.status.phase, "Pending");
      const status = await cluster.api("PATCH", `${PODS}/split/status`, {
        body: { status: { phase: "Running" }, spec: { nodeName: "x" } },
        type,
      });
      assert.equal(status.body.status.phase, "Running");
      assert.equal(status.body.spec.nodeName, undefined);
      const spec = await cluster.api("PATCH", `${PODS}/split`, { body: { spec: { hostNetwork: true } }, type });
      assert.equal(spec.status, 422);
    });

    if (hasFeature(plane, "namespace deletion")) {
      test("a namespace that is deleted takes its content along and refuses more", async () => {
        const maps = await makeNamespace("doomed");
        await cluster.api("POST", maps, { body: configMap("held", {}, { finalizers: ["example.io/x"] }) });
        await cluster.api("POST", maps, { body: configMap("free") });
        await cluster.api("DELETE", "/api/v1/namespaces/doomed");
        const terminating = await cluster.api("GET", "/api/v1/namespaces/doomed");
        assert.equal(terminating.body.status.phase, "Terminating");
        const refused = await cluster.api("POST", maps, { body: configMap("late") });
        assert.equal(refused.status, 403);
        assert.equal(refused.body.details.causes[0].reason, "NamespaceTerminating");
        await eventually(
          async () => (await cluster.api("GET", `${maps}/free`)).status === 404,
          "the free object to go",
        );
        await cluster.api("PATCH", `${maps}/held`, {
          body: { metadata: { finalizers: null } },
          type: "application/merge-patch+json",
        });
        await eventually(
          async () => (await cluster.api("GET", "/api/v1/namespaces/doomed")).status === 404,
          "the namespace to go",
        );
        assert.equal((await cluster.api("DELETE", "/api/v1/namespaces/kube-system")).status, 403);
        assert.equal((await cluster.api("POST", maps, { body: configMap("nowhere") })).status, 404);
      });
    }

    if (hasFeature(plane, "garbage collection")) {
      test("owned objects follow their owner", async () => {
        const owner = await cluster.api("POST", MAPS, { body: configMap("owner") });
        const reference = { apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: owner.body.metadata.uid };
        await cluster.api("POST", MAPS, { body: configMap("owned-1", {}, { ownerReferences: [reference] }) });
        await cluster.api("POST", MAPS, { body: configMap("owned-2", {}, { ownerReferences: [reference] }) });
        // One of several owned objects going must not take the others along.
        await cluster.api("DELETE", `${MAPS}/owned-1`);
        assert.equal((await cluster.api("GET", `${MAPS}/owned-2`)).status, 200);
        await cluster.api("DELETE", `${MAPS}/owner`, { body: { propagationPolicy: "Foreground" } });
        await eventually(async () => (await cluster.api("GET", `${MAPS}/owner`)).status === 404, "the owner to go");
        assert.equal((await cluster.api("GET", `${MAPS}/owned-2`)).status, 404);
      });
    }

    if (hasFeature(plane, "garbage collection")) {
      test("orphans stay", async () => {
        const owner = await cluster.api("POST", MAPS, { body: configMap("leaver") });
        const reference = { apiVersion: "v1", kind: "ConfigMap", name: "leaver", uid: owner.body.metadata.uid };
        await cluster.api("POST", MAPS, { body: configMap("orphan", {}, { ownerReferences: [reference] }) });
        await cluster.api("DELETE", `${MAPS}/leaver?propagationPolicy=Orphan`);
        await eventually(async () => (await cluster.api("GET", `${MAPS}/leaver`)).status === 404, "the owner to go");
        const orphan = await cluster.api("GET", `${MAPS}/orphan`);
        assert.equal(orphan.status, 200);
        assert.equal(orphan.body.metadata.ownerReferences, undefined);
      });
    }

    test("a collection is deleted by selector", async () => {
      const maps = await makeNamespace("bulk");
      await cluster.api("POST", maps, { body: configMap("a", {}, { labels: { go: "yes" } }) });
      await cluster.api("POST", maps, { body: configMap("b") });
      await cluster.api("DELETE", `${maps}?labelSelector=go%3Dyes`);
      const { body } = await cluster.api("GET", maps);
      assert.deepEqual(
        body.items.map((item: { metadata: { name: string } }) => item.metadata.name),
        ["b"],
      );
    });

    test("dry runs store nothing", async () => {
      const created = await cluster.api("POST", `${MAPS}?dryRun=All`, { body: configMap("dry") });
      assert.equal(created.status, 201);
      assert.equal((await cluster.api("GET", `${MAPS}/dry`)).status, 404);
      assert.equal((await cluster.api("POST", `${MAPS}?dryRun=Some`, { body: configMap("dry") })).status, 422);
    });

    test("objects and lists come as tables and as metadata", async () => {
      const maps = await makeNamespace("shapes");
      await cluster.api("POST", maps, { body: configMap("a", { k: "v" }) });
      const table = await cluster.api("GET", maps, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
      assert.equal(table.body.kind, "Table");
      assert.deepEqual(
        table.body.columnDefinitions.map((column: { name: string }) => column.name),
        ["Name", "Data", "Age"],
      );
      assert.deepEqual(table.body.rows[0].cells.slice(0, 2), ["a", 1]);
      assert.equal(table.body.rows[0].object.kind, "PartialObjectMetadata");
      const metadata = await cluster.api("GET", maps, {
        accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
      });
      assert.equal(metadata.body.items[0].data, undefined);
      const watch = await cluster.watch(maps, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
      await watch.until((events) => events.length === 1, "the row");
      assert.equal(watch.events[0]?.object.rows[0].cells[0], "a");
      watch.close();
    });

    test("who is nobody gets 401, tokens work, health needs neither", async () => {
      // The real server has a user for anonymous requests, who may do nothing.
      assert.equal((await cluster.api("GET", MAPS, { anonymous: true })).status, own ? 401 : 403);
      const wrong = { authorization: "Bearer wrong" };
      assert.equal((await cluster.api("GET", MAPS, { anonymous: true, headers: wrong })).body.reason, "Unauthorized");
      const right = { authorization: "Bearer a-token-of-bob" };
      assert.equal((await cluster.api("GET", MAPS, { anonymous: true, headers: right })).status, 200);
      for (const path of ["/healthz", "/livez", "/readyz"]) {
        assert.equal((await cluster.api("GET", path, { anonymous: true })).text, "ok");
      }
      const review = await cluster.api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
        body: { spec: { token: "a-token-of-bob" } },
      });
      assert.equal(review.body.status.user.username, "bob");
    });

    if (own) {
      test("media types that are not served are refused by number", async () => {
        assert.equal((await cluster.api("GET", MAPS, { accept: "application/vnd.kubernetes.protobuf" })).status, 406);
        const both = "application/vnd.kubernetes.protobuf,application/json";
        assert.equal((await cluster.api("GET", MAPS, { accept: both })).status, 200);
        assert.equal((await cluster.api("POST", MAPS, { raw: "x", type: "text/plain" })).status, 415);
        assert.equal((await cluster.api("PATCH", `${MAPS}/same`, { raw: "{}", type: "application/json" })).status, 415);
        const yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\n";
        assert.equal((await cluster.api("POST", MAPS, { raw: yaml, type: "application/yaml" })).status, 201);
      });
    }

    test("a body larger than 3 MiB is refused", async () => {
      const reply = await cluster
        .api("POST", MAPS, { body: configMap("huge", { a: "x".repeat(4 * 1024 * 1024) }) })
        // The server may close the connection while the client still writes.
        .catch((error: NodeJS.ErrnoException) => ({
          status: ["EPIPE", "ECONNRESET"].includes(error.code ?? "") ? 413 : 0,
        }));
      assert.equal(reply.status, 413);
      assert.equal((await cluster.api("GET", `${MAPS}/huge`)).status, 404);
    });
  });
}
