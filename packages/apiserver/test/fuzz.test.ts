/** Whatever comes in, a Status object goes out and the server lives. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as fc from "fast-check";
import { TestCluster } from "./harness.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const TYPES = [
  "application/json",
  "application/yaml",
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
  "application/vnd.kubernetes.protobuf",
];
const PATHS = [
  "/api/v1/pods",
  "/api/v1/namespaces/default/pods",
  "/api/v1/namespaces/default/pods/target",
  "/api/v1/namespaces/default/pods/target/status",
  "/api/v1/namespaces/default/pods/target/binding",
  "/api/v1/namespaces/default/pods/target/eviction",
  "/api/v1/namespaces/default/configmaps/target",
  "/api/v1/namespaces/default/services",
  "/api/v1/namespaces/default/services/target",
  "/api/v1/namespaces",
  "/api/v1/nodes/target/status",
  "/apis/apps/v1/namespaces/default/deployments",
  "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
  "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
  "/apis/fuzz.example.io/v1/things",
  "/apis/fuzz.example.io/v1/things/target",
  "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
];

const PARAMETERS =
  "labelSelector fieldSelector limit continue resourceVersion resourceVersionMatch dryRun fieldValidation " +
  "includeObject timeoutSeconds gracePeriodSeconds propagationPolicy";
const WORDS =
  "metadata name target spec status labels containers ports kind Pod apiVersion v1 finalizers ownerReferences versions " +
  "schema names conditions $patch replace op path /spec __proto__ constructor managedFields template taints " +
  "$setElementOrder/containers additionalPrinterColumns openAPIV3Schema properties type object items";
const word = fc.constantFrom(...WORDS.split(" "));

const { value: json } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom<unknown>(null, true, 0, -1, 1e21, "", "x", "target"),
    word,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(word, tie("value"), { maxKeys: 5 }),
  ),
}));

describe("fuzzing", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await TestCluster.start();
    const definition = {
      metadata: { name: "things.fuzz.example.io" },
      spec: {
        group: "fuzz.example.io",
        scope: "Cluster",
        names: { plural: "things", kind: "Thing" },
        versions: [
          {
            name: "v1",
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        ],
      },
    };
    const { status } = await cluster.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
      body: definition,
    });
    assert.equal(status, 201);
    await recreate();
  });
  after(() => cluster.stop());

  async function recreate(): Promise<void> {
    const metadata = { name: "target" };
    const spec = { containers: [{ name: "c", image: "i" }] };
    await cluster.api("POST", "/api/v1/namespaces/default/pods", { body: { metadata, spec } });
    await cluster.api("POST", "/api/v1/namespaces/default/configmaps", { body: { metadata } });
    await cluster.api("POST", "/api/v1/nodes", { body: { metadata } });
    await cluster.api("POST", "/api/v1/namespaces/default/services", {
      body: { metadata, spec: { ports: [{ port: 1 }] } },
    });
    await cluster.api("POST", "/apis/fuzz.example.io/v1/things", {
      body: { apiVersion: "fuzz.example.io/v1", kind: "Thing", metadata },
    });
  }

  async function check(method: string, path: string, options: Parameters<TestCluster["api"]>[2]): Promise<void> {
    const reply = await cluster.api(method, path, options);
    const what = `${method} ${path} ${JSON.stringify(options).slice(0, 500)}: ${reply.status} ${reply.text.slice(0, 500)}`;
    assert.notEqual(reply.status, 500, what);
    if (reply.status >= 400) assert.equal(reply.body?.kind, "Status", what);
    assert.deepEqual(cluster.errors, [], what);
  }

  test("bodies of any shape", async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("POST", "PUT", "PATCH", "DELETE"),
        fc.constantFrom(...PATHS),
        fc.constantFrom(...TYPES),
        json,
        async (method, path, type, body) => {
          if (count++ % 50 === 0) await recreate();
          await check(method, `${path}?fieldManager=fuzz`, { raw: JSON.stringify(body), type });
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("objects that are nearly right", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...PATHS),
        fc.constantFrom("POST", "PUT"),
        json,
        json,
        async (path, method, spec, labels) => {
          const body = { metadata: { name: "target", labels }, spec, status: spec };
          await check(method, path, { body });
        },
      ),
      { numRuns: 500 },
    );
  });

  test("bytes that are neither JSON nor YAML nor protobuf", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...METHODS),
        fc.constantFrom(...PATHS),
        fc.constantFrom(...TYPES),
        fc.uint8Array({ maxLength: 200 }),
        async (method, path, type, bytes) => {
          const raw = type.endsWith("protobuf") ? Buffer.concat([Buffer.from("k8s\0"), bytes]) : Buffer.from(bytes);
          await check(method, path, { raw, type });
        },
      ),
      { numRuns: 500 },
    );
  });

  test("paths and queries", async () => {
    const segment = fc.oneof(
      fc.constantFrom(
        "api",
        "apis",
        "v1",
        "apps",
        "namespaces",
        "default",
        "pods",
        "target",
        "status",
        "openapi",
        "v3",
        "..",
      ),
      fc.constantFrom("%", "%00", "%2F", "%ff", "a%20b", "__proto__", "constructor", "*"),
    );
    const parameter = fc.tuple(
      fc.constantFrom(...PARAMETERS.split(" ")),
      fc.oneof(fc.string({ maxLength: 30 }), fc.constantFrom("0", "1", "-1", "999999999999999", "a=b", "All", "Exact")),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...METHODS),
        fc.oneof(
          fc.array(segment, { maxLength: 8 }).map((segments) => `/${segments.join("/")}`),
          fc.constantFrom(...PATHS),
        ),
        fc.array(parameter, { maxLength: 4 }),
        async (method, path, parameters) => {
          const query = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
          await check(method, `${path}?${query}`, {});
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("depth and aliases are bounded", async () => {
    const path = "/api/v1/namespaces/default/configmaps";
    const deep = `${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`;
    assert.equal((await cluster.api("POST", path, { raw: deep })).status, 400);
    const lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"];
    for (let level = 1; level < 12; level++) {
      lines.push(`a${level}: &a${level} [${Array.from({ length: 10 }, () => `*a${level - 1}`).join()}]`);
    }
    const bomb = lines.join("\n");
    assert.equal((await cluster.api("POST", path, { raw: bomb, type: "application/yaml" })).status, 400);
    assert.equal((await cluster.api("GET", path)).status, 200);
  });
});
