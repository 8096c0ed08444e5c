import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clusterFoundation, clusterGrowth, nodeCount, recordedPod, type Manifest } from "../../cluster/recorded.ts";

function grown(from: number, pods: number): Manifest[] {
  return [...clusterGrowth(from, { pods, podsPerNode: 30 })];
}

function addresses(manifest: Manifest): string[] {
  return (manifest.status as { podIPs: { ip: string }[] }).podIPs.map(({ ip }) => ip);
}

void describe("the recorded cluster", () => {
  void it("gives every pod addresses of its own, inside a block of its own node", () => {
    const manifests = grown(0, 10_000);
    const pods = manifests.filter(({ kind }) => kind === "Pod");
    assert.equal(pods.length, 10_000);
    assert.equal(new Set(pods.flatMap(addresses)).size, 20_000);
    assert.equal(new Set(pods.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)).size, 10_000);
    const blocks = new Map<string, string>();
    for (const { kind, spec } of manifests) {
      const { cidr, node } = (spec ?? {}) as { cidr: string; node: string };
      if (kind === "AddressBlock" && cidr.endsWith("/26")) blocks.set(cidr, node);
    }
    assert.equal(blocks.size, nodeCount({ pods: 10_000, podsPerNode: 30 }));
    for (const pod of pods) {
      const [a, b, c, d] = addresses(pod)[0]!.split(".").map(Number);
      const block = `${a}.${b}.${c}.${d! - (d! % 64)}/26`;
      assert.equal(blocks.get(block), (pod.spec as { nodeName: string }).nodeName);
    }
  });

  void it("grows without touching what is there", () => {
    const names = (manifests: Manifest[]) => manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const whole = names(grown(0, 1000));
    const steps = [...names(grown(0, 100)), ...names(grown(100, 1000))];
    assert.deepEqual(steps.sort(), whole.sort());
    assert.deepEqual(grown(0, 50), grown(0, 50));
  });

  void it("has pods as large as real ones are", () => {
    const bytes = JSON.stringify(recordedPod(77, 30)).length;
    assert.ok(bytes > 3000 && bytes < 12_000, `${bytes} bytes`);
  });

  void it("names every namespace that a pod lives in", () => {
    const known = new Set(clusterFoundation().map(({ metadata }) => metadata.name));
    for (const { kind, metadata } of grown(0, 1000)) {
      if (kind === "Pod") assert.ok(known.has(metadata.namespace!), `${metadata.name} in ${metadata.namespace}`);
    }
  });
});
