import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { conflistFor, overlay, parseLabConfig, readLabConfig } from "../src/config.ts";
import { LabError } from "../src/errors.ts";

const directory = mkdtempSync(join(tmpdir(), "lab-config-"));
after(() => rmSync(directory, { recursive: true }));

const parse = (document: unknown) => parseLabConfig(document, "lab.yaml", directory);
const problemsOf = (document: unknown): string => {
  try {
    parse(document);
  } catch (error) {
    assert.ok(error instanceof LabError && error.code === "LAB_BAD_CONFIG");
    return error.message;
  }
  return assert.fail("accepted");
};

describe("a lab's configuration", () => {
  it("has defaults for everything", () => {
    assert.deepEqual(parse({}), {
      nodes: 3,
      hosts: 2,
      vlans: [],
      controlPlane: "embedded",
      agent: {},
      manifests: undefined,
      cni: undefined,
    });
  });

  it("is overruled by the command line", () => {
    const file = join(directory, "two.yaml");
    writeFileSync(file, "nodes: 2\ncontrolPlane: kubernetes\n");
    assert.equal(readLabConfig(file).nodes, 2);
    const config = readLabConfig(file, { nodes: 5, controlPlane: "embedded" });
    assert.deepEqual([config.nodes, config.controlPlane], [5, "embedded"]);
  });

  it("reports all problems at once, each with its key", () => {
    const problems = problemsOf({
      nodes: 0,
      hosts: "two",
      vlans: 30,
      controlPlane: "k3s",
      agent: [],
      manifests: {},
      cni: {},
      node: 3,
    });
    for (const key of ["nodes", "hosts", "vlans", "controlPlane", "agent", "manifests", "cni", "node"])
      assert.match(problems, new RegExp(`^lab\\.yaml: ${key}: `, "m"));
  });

  it("has VLANs, in whichever order their CIDRs are written", () => {
    const vlans = [{ id: 30, cidrs: ["fd00:30::/64", "10.30.0.0/24"] }];
    assert.deepEqual(parse({ vlans }).vlans, [{ id: 30, cidrs: ["10.30.0.0/24", "fd00:30::/64"], hosts: 1 }]);
  });

  it("refuses VLANs that cannot be, each with its key", () => {
    const cidrs = ["10.30.0.0/24", "fd00:30::/64"];
    const problems = problemsOf({
      hosts: 50,
      vlans: [
        { id: 4095, cidrs, hosts: 0 },
        { id: 30, cidrs: ["10.30.0.0/25", "fd00:30::/64"], hosts: 0 },
        { id: 31, cidrs: ["10.30.0.1/24", "fd00:30::/64"], hosts: 0 },
        { id: 32, cidrs: ["10.30.0.0/24", "10.31.0.0/24"], hosts: 0 },
        { id: 33, cidrs: ["10.10.0.0/24", "fd00:30::/64"], hosts: 0 },
        { id: 34, cidrs, hosts: 1 },
        { id: 34, cidrs, hosts: -1 },
        { id: 35, cidrs, hosts: 0, mtu: 9000 },
        "VLAN",
      ],
    });
    for (const key of [
      "0].id",
      "1].cidrs",
      "2].cidrs",
      "3].cidrs",
      "4].cidrs",
      "5].hosts",
      "6].hosts",
      "7].mtu",
      "8].id",
    ])
      assert.ok(problems.includes(`vlans[${key}: `), `${key} in\n${problems}`);
  });

  it("refuses what is no mapping, no YAML or no file", () => {
    assert.throws(() => parse([]), { code: "LAB_BAD_CONFIG" });
    const file = join(directory, "broken.yaml");
    writeFileSync(file, "nodes: [\n");
    assert.throws(() => readLabConfig(file), { code: "LAB_BAD_CONFIG", message: /broken\.yaml/ });
    writeFileSync(file, "agent: &a\n  limits: *a\n");
    assert.throws(() => readLabConfig(file), { code: "LAB_BAD_CONFIG", message: /broken\.yaml.*circular/ });
    assert.throws(() => readLabConfig(join(directory, "absent.yaml")), {
      code: "LAB_BAD_CONFIG",
      message: /absent\.yaml/,
    });
  });

  it("takes manifests as objects and as files relative to itself", () => {
    writeFileSync(
      join(directory, "objects.yaml"),
      "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
    );
    const config = parse({
      manifests: ["objects.yaml", { apiVersion: "v1", kind: "Namespace", metadata: { name: "c" } }],
    });
    assert.deepEqual(
      config.manifests?.map((manifest) => manifest.metadata.name),
      ["a", "b", "c"],
    );
    assert.match(problemsOf({ manifests: [{ kind: "Namespace" }] }), /manifests\[0\].*apiVersion/);
    assert.match(problemsOf({ manifests: ["absent.yaml"] }), /manifests\[0\].*absent\.yaml/);
  });

  it("fills the placeholders of another plug-in's configuration", () => {
    const plugin = {
      binDirectory: "/x",
      conflist: { name: "n", dir: "${directory}/data", net: "10.${number}.0.0/16", who: "${node}", other: "${HOME}" },
    };
    assert.deepEqual(JSON.parse(conflistFor(plugin, "node-2", 2, "/run/l")), {
      name: "n",
      dir: "/run/l/data",
      net: "10.2.0.0/16",
      who: "node-2",
      other: "${HOME}",
    });
  });

  it("lays one configuration over another, key by key", () => {
    assert.deepEqual(overlay({ a: { x: 1, y: 2 }, b: [1], c: 1 }, { a: { y: 3 }, b: [2], d: 4 }), {
      a: { x: 1, y: 3 },
      b: [2],
      c: 1,
      d: 4,
    });
  });
});
