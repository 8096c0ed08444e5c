import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { addressBlockKind, customResourceDefinition, ipAddressKind, ipPoolKind } from "@beyondfabric/kube/kinds";
import { networkKind, subnetKind } from "@beyondfabric/kube/kinds";
import { load } from "js-yaml";

type Node = { [key: string]: unknown };

/** Every schema node below a definition's root, with its path. */
function* nodes(node: Node, path = ""): Generator<[string, Node]> {
  yield [path, node];
  for (const [name, child] of Object.entries((node["properties"] ?? {}) as Node))
    yield* nodes(child as Node, `${path}.${name}`);
  if (node["items"] !== undefined) yield* nodes(node["items"] as Node, `${path}[]`);
  if (typeof node["additionalProperties"] === "object") yield* nodes(node["additionalProperties"] as Node, `${path}{}`);
}

const kinds = [networkKind, subnetKind, ipPoolKind, ipAddressKind, addressBlockKind];

function schemaOf(kind: (typeof kinds)[number], kubernetes?: string): Node {
  const definition = customResourceDefinition(kind, kubernetes === undefined ? {} : { kubernetes });
  return definition.spec.versions[0]!.schema.openAPIV3Schema;
}

void describe("a CustomResourceDefinition", () => {
  for (const kind of kinds) {
    void it(`of ${kind.kind} is structural: every part has a type, and nothing forbids unknown fields`, () => {
      for (const [path, node] of nodes(schemaOf(kind))) {
        assert.match(String(node["type"]), /^(object|array|string|integer|boolean)$/, path);
        for (const key of ["$schema", "anyOf", "oneOf", "allOf", "not", "const", "propertyNames"])
          assert.ok(!(key in node), `${path} has ${key}`);
        assert.notEqual(node["additionalProperties"], false, path);
        // Kubernetes 1.20 reads it as null and refuses the definition.
        assert.notEqual(node["default"], "", path);
        // A rule over something unbounded exceeds the API server's cost budget.
        if (node["type"] === "array") assert.ok(Number(node["maxItems"]) > 0, `${path} has no maxItems`);
      }
    });

    void it(`of ${kind.kind} shows columns that exist in the schema`, () => {
      const paths = new Set([...nodes(schemaOf(kind))].map(([path]) => path));
      for (const column of kind.columns) {
        assert.ok(column.jsonPath.startsWith(".metadata.") || paths.has(column.jsonPath), column.jsonPath);
      }
    });
  }

  void it("leaves out the rules that an older Kubernetes cannot evaluate", () => {
    const countRules = (kubernetes?: string): number =>
      kinds
        .flatMap((kind) => [...nodes(schemaOf(kind, kubernetes))])
        .reduce((sum, [, node]) => sum + ((node["x-kubernetes-validations"] as unknown[] | undefined)?.length ?? 0), 0);
    assert.equal(countRules("1.20"), 0);
    assert.ok(countRules("v1.29.3") > 10);
    assert.ok(countRules("1.31") > countRules("1.30"));
    assert.equal(countRules(), countRules("1.31"));
  });
});

void describe("tools/generate-crds.ts", () => {
  const tool = join(import.meta.dirname, "../../../../tools/generate-crds.ts");
  const committed = join(import.meta.dirname, "../../../../deploy/crds");

  void it("writes what deploy/crds holds", () => {
    const out = mkdtempSync(join(tmpdir(), "fabric-crds-"));
    try {
      execFileSync(process.execPath, [tool, "--out", out]);
      const names = readdirSync(out);
      assert.deepEqual(names.sort(), [
        "addressblocks.beyondfabric.io.yaml",
        "ipaddresses.beyondfabric.io.yaml",
        "ippools.beyondfabric.io.yaml",
        "networks.beyondfabric.io.yaml",
        "subnets.beyondfabric.io.yaml",
      ]);
      for (const name of names) {
        const text = readFileSync(join(out, name), "utf8");
        assert.equal(readFileSync(join(committed, name), "utf8"), text, "run node tools/generate-crds.ts");
        assert.equal((load(text) as { metadata: { name: string } }).metadata.name, name.replace(/\.yaml$/, ""));
      }
      const check = (): ReturnType<typeof spawnSync> =>
        spawnSync(process.execPath, [tool, "--out", out, "--check"], { encoding: "utf8" });
      assert.equal(check().status, 0);
      writeFileSync(join(out, names[0]!), "changed");
      writeFileSync(join(out, "stray.yaml"), "");
      const { status, stderr } = check();
      assert.equal(status, 1);
      assert.match(String(stderr), /addressblocks.*differs[^]*stray\.yaml belongs to no kind/);
    } finally {
      rmSync(out, { recursive: true });
    }
  });
});
