/** CustomResourceDefinitions over HTTP: the same assertions for every control plane. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { hasFeature, type ControlPlane } from "../src/index.ts";
import { eventually, type ApiClient, type Loose, type Reply, type RunningPlane } from "./harness.ts";

const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/** `spec.versions[0].schema.openAPIV3Schema` was `spec.validation.openAPIV3Schema` before there were versions. */
const firstPlace = (_whole: string, schema: string | undefined): string =>
  schema === undefined ? "spec." : "spec.validation.";

const ROUTES = "/apis/lab.example.io/v1/routes";

function definition(): Loose {
  const schema = {
    type: "object",
    required: ["spec"],
    properties: {
      spec: {
        type: "object",
        required: ["target"],
        properties: {
          target: { type: "string", pattern: "^[a-z]+$", maxLength: 10 },
          kind: { type: "string", enum: ["A", "B"], default: "A" },
          weight: { type: "integer", minimum: 1, maximum: 100 },
          port: { "x-kubernetes-int-or-string": true },
          address: { type: "string", format: "ipv4" },
          names: { type: "array", maxItems: 2, items: { type: "string" }, "x-kubernetes-list-type": "set" },
          limits: { type: "object", additionalProperties: { type: "integer" } },
          free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
          maybe: { type: "string", nullable: true },
          nested: { type: "object", default: {}, properties: { depth: { type: "integer", default: 3 } } },
        },
      },
      status: { type: "object", properties: { used: { type: "integer" } } },
    },
  };
  const columns = [
    { name: "Target", type: "string", jsonPath: ".spec.target" },
    { name: "Used", type: "integer", jsonPath: ".status.used", priority: 1 },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  ];
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "routes.lab.example.io" },
    spec: {
      group: "lab.example.io",
      scope: "Cluster",
      names: { plural: "routes", kind: "Route", shortNames: ["rt"] },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: schema },
          subresources: { status: {} },
          additionalPrinterColumns: columns,
        },
        { name: "v1beta1", served: true, storage: false, schema: { openAPIV3Schema: schema } },
      ],
    },
  };
}

const CLAIMS = "/apis/lab.example.io/v1/claims";
const MERGE = "application/merge-patch+json";

/** A kind whose status is no subresource: it changes together with spec. */
function undividedDefinition(): Loose {
  const body = definition();
  body.metadata.name = "claims.lab.example.io";
  body.spec.names = { plural: "claims", kind: "Claim" };
  const [version] = body.spec.versions;
  delete version.subresources;
  version.schema.openAPIV3Schema.required = ["spec", "status"];
  body.spec.versions = [version];
  return body;
}

/** Registers the cases for a control plane. */
export function customResourceCases(plane: ControlPlane, start: () => Promise<RunningPlane>): void {
  describe(`custom resources, ${plane}`, () => {
    let running: RunningPlane;
    let cluster: ApiClient;
    before(async () => {
      running = await start();
      cluster = running.client;
      const { status, body } = await cluster.api("POST", DEFINITIONS, { body: definition() });
      assert.equal(status, 201, JSON.stringify(body));
      await served(ROUTES);
    });
    after(() => running.stop());

    /** A definition is served a moment after it was accepted. */
    async function served(path: string): Promise<void> {
      await eventually(async () => (await cluster.api("GET", path)).status === 200, `${path} to be served`);
    }

    function create(name: string, spec: Loose, query = ""): Promise<Reply> {
      const body = { apiVersion: "lab.example.io/v1", kind: "Route", metadata: { name }, spec };
      return cluster.api("POST", `${ROUTES}${query}`, { body });
    }

    test("defaults are filled in, unknown fields are pruned and warned of", async () => {
      const { status, body, headers } = await create("plain", { target: "abc", typo: 1, free: { any: 1 } });
      assert.equal(status, 201);
      assert.deepEqual(body.spec, { target: "abc", kind: "A", free: { any: 1 }, nested: { depth: 3 } });
      assert.equal(body.metadata.generation, 1);
      if (hasFeature(plane, "field validation"))
        assert.match(String(headers["warning"]), /unknown field \\"spec\.typo\\"/);
    });

    if (hasFeature(plane, "field validation")) {
      test("strict field validation refuses unknown fields", async () => {
        const { status, body } = await create("strict", { target: "abc", typo: 1 }, "?fieldValidation=Strict");
        assert.equal(status, 400);
        assert.match(body.message, /strict decoding error: unknown field "spec\.typo"/);
      });
    }

    const wrong: [string, Loose, string][] = [
      ["a missing field", {}, "spec.target"],
      ["a wrong type", { target: 5 }, "spec.target"],
      ["a pattern", { target: "ABC" }, "spec.target"],
      ["a length", { target: "abcdefghijklm" }, "spec.target"],
      ["an enum", { target: "a", kind: "C" }, "spec.kind"],
      ["a minimum", { target: "a", weight: 0 }, "spec.weight"],
      ["a maximum", { target: "a", weight: 101 }, "spec.weight"],
      ["an integer", { target: "a", weight: 1.5 }, "spec.weight"],
      ["int-or-string", { target: "a", port: true }, "spec.port"],
      ["a format", { target: "a", address: "::1" }, "spec.address"],
      ["too many items", { target: "a", names: ["a", "b", "c"] }, "spec.names"],
      ["a set", { target: "a", names: ["a", "a"] }, "spec.names[1]"],
      ["values of a map", { target: "a", limits: { x: "1" } }, "spec.limits.x"],
      ["null", { target: null }, "spec.target"],
    ];
    for (const [what, spec, field] of wrong) {
      test(`${what} that breaks the schema is Invalid and names the field`, async () => {
        const { status, body } = await create("wrong", spec);
        assert.equal(status, 422, JSON.stringify(body));
        assert.equal(body.reason, "Invalid");
        assert.deepEqual(
          body.details.causes.map((cause: Loose) => cause.field),
          [field],
        );
      });
    }

    test("what the schema allows passes", async () => {
      const spec = { target: "a", port: "http", address: "10.0.0.1", names: ["a"], limits: { x: 1 }, maybe: null };
      const { status, body } = await create("right", spec);
      assert.equal(status, 201, JSON.stringify(body));
      assert.equal(body.spec.maybe, null);
    });

    test("status and spec are written apart, and only spec counts generations", async () => {
      await create("apart", { target: "a" });
      const type = "application/merge-patch+json";
      const change = { spec: { target: "b" }, status: { used: 5 } };
      const main = await cluster.api("PATCH", `${ROUTES}/apart`, { body: change, type });
      assert.equal(main.body.spec.target, "b");
      assert.equal(main.body.status, undefined);
      assert.equal(main.body.metadata.generation, 2);
      const status = await cluster.api("PATCH", `${ROUTES}/apart/status`, {
        body: { spec: { target: "c" }, status: { used: 7 } },
        type,
      });
      assert.equal(status.body.spec.target, "b");
      assert.equal(status.body.status.used, 7);
      assert.equal(status.body.metadata.generation, 2);
      const bad = await cluster.api("PATCH", `${ROUTES}/apart/status`, { body: { status: { used: "x" } }, type });
      assert.equal(bad.status, 422);
      const without = await cluster.api("PUT", `${ROUTES}/apart`, {
        body: { apiVersion: "lab.example.io/v1", kind: "Route", metadata: { name: "apart" }, spec: { target: "z" } },
      });
      assert.equal(without.status, 422);
      assert.equal(without.body.details.causes[0].field, "metadata.resourceVersion");
      const strategic = await cluster.api("PATCH", `${ROUTES}/apart`, {
        body: {},
        type: "application/strategic-merge-patch+json",
      });
      assert.equal(strategic.status, 415);
    });

    describe("without a status subresource", () => {
      before(async () => {
        const { status, body } = await cluster.api("POST", DEFINITIONS, { body: undividedDefinition() });
        assert.equal(status, 201, JSON.stringify(body));
        await served(CLAIMS);
      });

      const claim = (name: string, more: Loose = {}): Loose => ({
        apiVersion: "lab.example.io/v1",
        kind: "Claim",
        metadata: { name },
        spec: { target: "a" },
        status: { used: 1 },
        ...more,
      });

      test("status is stored with the object, validated and pruned like spec", async () => {
        const { status, body } = await cluster.api("POST", CLAIMS, {
          body: claim("whole", { status: { used: 1, typo: 2 } }),
        });
        assert.equal(status, 201, JSON.stringify(body));
        assert.deepEqual(body.status, { used: 1 });
        for (const [wrong, field] of [
          [claim("wrong", { status: { used: "x" } }), "status.used"],
          [claim("wrong", { status: undefined }), "status"],
        ]) {
          const refused = await cluster.api("POST", CLAIMS, { body: wrong });
          assert.equal(refused.status, 422, refused.text);
          assert.deepEqual(
            refused.body.details.causes.map((cause: Loose) => cause.field),
            [field],
          );
        }
      });

      test("one write changes spec and status, and counts one generation", async () => {
        const created = (await cluster.api("POST", CLAIMS, { body: claim("swap") })).body;
        assert.equal(created.metadata.generation, 1);
        const replaced = await cluster.api("PUT", `${CLAIMS}/swap`, {
          body: { ...created, spec: { target: "b" }, status: { used: 2 } },
        });
        assert.equal(replaced.status, 200, replaced.text);
        assert.equal(replaced.body.spec.target, "b");
        assert.deepEqual(replaced.body.status, { used: 2 });
        assert.equal(replaced.body.metadata.generation, 2);
        const only = await cluster.api("PATCH", `${CLAIMS}/swap`, { body: { status: { used: 3 } }, type: MERGE });
        assert.deepEqual(only.body.status, { used: 3 });
        assert.equal(only.body.metadata.generation, 3);
        const labelled = await cluster.api("PATCH", `${CLAIMS}/swap`, {
          body: { metadata: { labels: { a: "b" } } },
          type: MERGE,
        });
        assert.equal(labelled.body.metadata.generation, 3);
      });

      test("a merge patch that carries the version that was read is a compare-and-swap", async () => {
        const { metadata } = (await cluster.api("POST", CLAIMS, { body: claim("cas") })).body;
        const { uid, resourceVersion } = metadata;
        const patch = (used: number, changes: Loose = {}): Promise<Reply> =>
          cluster.api("PATCH", `${CLAIMS}/cas`, {
            body: { metadata: { uid, resourceVersion, ...changes }, spec: { kind: null }, status: { used } },
            type: MERGE,
          });
        const first = await patch(2);
        assert.equal(first.status, 200, first.text);
        assert.deepEqual([first.body.status.used, first.body.spec.kind], [2, "A"]);
        const late = await patch(3);
        assert.equal(late.status, 409, late.text);
        assert.equal(late.body.reason, "Conflict");
        assert.equal((await cluster.api("GET", `${CLAIMS}/cas`)).body.status.used, 2);
        await cluster.api("DELETE", `${CLAIMS}/cas`);
        assert.equal((await patch(4)).status, 404);
        await cluster.api("POST", CLAIMS, { body: claim("cas") });
        assert.equal((await patch(5)).status, 409);
        assert.equal((await cluster.api("GET", `${CLAIMS}/cas`)).body.status.used, 1);
      });

      test("there is no path to the status alone", async () => {
        await cluster.api("POST", CLAIMS, { body: claim("path") });
        for (const method of ["GET", "PUT", "PATCH"]) {
          const body = method === "GET" ? {} : { body: claim("path"), type: MERGE };
          const { status } = await cluster.api(method, `${CLAIMS}/path/status`, body);
          assert.equal(status, 404, method);
        }
        const { resources } = (await cluster.api("GET", "/apis/lab.example.io/v1")).body;
        const names = resources.map((resource: Loose) => resource.name);
        assert.ok(names.includes("claims") && !names.includes("claims/status"), names.join());
      });

      test("labels select in lists, and a watch brings both parts of a change", async () => {
        const labelled = claim("labelled", { metadata: { name: "labelled", labels: { owner: "x" } } });
        const { metadata } = (await cluster.api("POST", CLAIMS, { body: labelled })).body;
        const listed = await cluster.api("GET", `${CLAIMS}?labelSelector=owner%3Dx`);
        assert.deepEqual(
          listed.body.items.map((item: Loose) => [item.metadata.name, item.status.used]),
          [["labelled", 1]],
        );
        const watch = await cluster.watch(
          `${CLAIMS}?resourceVersion=${metadata.resourceVersion}&labelSelector=owner%3Dx`,
        );
        try {
          const body = { spec: { target: "b" }, status: { used: 9 } };
          await cluster.api("PATCH", `${CLAIMS}/labelled`, { body, type: MERGE });
          await watch.until((events) => events.length > 0, "an event");
          const [event] = watch.events;
          assert.deepEqual([event!.type, event!.object.spec.target, event!.object.status.used], ["MODIFIED", "b", 9]);
        } finally {
          watch.close();
        }
      });
    });

    test("printer columns appear in tables, and kubectl finds the short name", async () => {
      await create("printed", { target: "xyz" });
      const output = await cluster.kubectlOk(["get", "rt", "printed"]);
      assert.match(output, /^NAME +TARGET +AGE\nprinted +xyz +\d+s\n/);
      await cluster.api("PATCH", `${ROUTES}/printed/status`, {
        body: { status: { used: 5 } },
        type: "application/merge-patch+json",
      });
      const wide = await cluster.kubectlOk(["get", "rt", "printed", "-o", "wide"]);
      assert.match(wide, /^NAME +TARGET +USED +AGE\nprinted +xyz +5 +\d+s\n/);
      // A real API server publishes the schema of a new kind in its documents some time after it serves the kind.
      await eventually(async () => {
        const { code, stdout } = await cluster.kubectl(["explain", "routes.spec"]);
        return code === 0 && /target\s+<string> -required-/.test(stdout);
      }, "explain to know the kind");
    });

    test("every served version shows the same object", async () => {
      await create("versions", { target: "a" });
      const other = await cluster.api("GET", "/apis/lab.example.io/v1beta1/routes/versions");
      assert.equal(other.body.apiVersion, "lab.example.io/v1beta1");
      assert.equal(other.body.spec.target, "a");
      const list = await cluster.api("GET", "/apis/lab.example.io/v1beta1/routes");
      assert.ok(list.body.items.every((item: Loose) => item.apiVersion === "lab.example.io/v1beta1"));
    });

    test("definitions that are no structural schema, or misnamed, are refused", async () => {
      const cases: [string, (body: Loose) => void][] = [
        ["metadata.name", (body) => (body.metadata.name = "other.lab.example.io")],
        ["spec.scope", (body) => (body.spec.scope = "Galaxy")],
        ["spec.versions", (body) => (body.spec.versions[1].storage = true)],
        ["spec.versions[0].schema.openAPIV3Schema", (body) => delete body.spec.versions[0].schema],
        [
          "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
          (body) => delete body.spec.versions[0].schema.openAPIV3Schema.properties.spec.type,
        ],
      ];
      for (const [field, spoil] of cases) {
        const body = structuredClone(definition());
        body.metadata.name = "paths.lab.example.io";
        body.spec.names = { plural: "paths", kind: "Path" };
        spoil(body);
        const reply = await cluster.api("POST", DEFINITIONS, { body });
        assert.equal(reply.status, 422, field);
        assert.ok(
          // What is the same in all versions, Kubernetes 1.20 names by the place where its first definitions had it.
          reply.body.details.causes.some((cause: Loose) =>
            [field, field.replace(/^spec\.versions\[0\]\.(schema\.(?=openAPI))?/, firstPlace)].includes(cause.field),
          ),
          JSON.stringify(reply.body),
        );
      }
    });

    test("a definition that is deleted takes its objects along, and can come back", async () => {
      const body = definition();
      body.metadata.name = "lanes.lab.example.io";
      body.spec.names = { plural: "lanes", kind: "Lane" };
      assert.equal((await cluster.api("POST", DEFINITIONS, { body })).status, 201);
      const lane = { apiVersion: "lab.example.io/v1", kind: "Lane", metadata: { name: "l" }, spec: { target: "a" } };
      const lanes = "/apis/lab.example.io/v1/lanes";
      await served(lanes);
      assert.equal((await cluster.api("POST", lanes, { body: lane })).status, 201);
      await cluster.api("DELETE", `${DEFINITIONS}/lanes.lab.example.io`);
      await eventually(async () => (await cluster.api("GET", lanes)).status === 404, "the resource to go");
      assert.equal((await cluster.api("POST", DEFINITIONS, { body })).status, 201);
      await served(lanes);
      assert.deepEqual((await cluster.api("GET", lanes)).body.items, []);
    });
  });
}
