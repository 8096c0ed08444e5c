import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { addressBlockManifest } from "@beyondfabric/kube/kinds";
import type { AddressBlock } from "@beyondfabric/kube/kinds";
import { cidrOf } from "@beyondfabric/packet";
import { BlockGarbage, placeInLine, placesPerCall, releaseOrphan } from "../../src/ipam/garbage.ts";
import type { OrphanReads } from "../../src/ipam/garbage.ts";
import { Blocks } from "./subnets.ts";

const nodes = Array.from({ length: 5 }, (_, n) => ({ name: `node-${n}`, uid: `uid-${n}` }));
const gone = { name: "node-gone", uid: "uid-gone" };
const self = nodes[0]!;
const nobodyAttached = (): boolean => false;
const reads = (nodeUid: string | undefined, pods: { addresses: string[] }[] = []): OrphanReads => ({
  nodeUid: async () => nodeUid,
  podsOn: async () => pods,
});
const options = { graceMilliseconds: 60_000, stepMilliseconds: 30_000 };

async function orphan(store: Blocks, index = 0): Promise<AddressBlock> {
  const block = await store.create(addressBlockManifest("default", cidrOf(`10.0.${index}.0`, 26), gone));
  return block ?? assert.fail();
}

void describe("who looks after a block", () => {
  void it("is an order on which all nodes agree, and the work is spread", () => {
    const first = new Map<string, number>();
    for (let n = 0; n < 500; n++) {
      const places = nodes.map((node) => placeInLine(`block-${n}`, node, nodes));
      assert.deepEqual(new Set(places), new Set([0, 1, 2, 3, 4]));
      const name = nodes[places.indexOf(0)]!.name;
      first.set(name, (first.get(name) ?? 0) + 1);
    }
    assert.equal(first.size, 5);
    for (const count of first.values()) assert.ok(count > 50, `${count} of 500 for one of five nodes`);
  });

  void it("changes only for the blocks of the node that leaves", () => {
    const rest = nodes.slice(1);
    for (let n = 0; n < 200; n++) {
      const before = nodes.find((node) => placeInLine(`block-${n}`, node, nodes) === 0)!;
      const after = rest.find((node) => placeInLine(`block-${n}`, node, rest) === 0)!;
      if (before !== nodes[0]) assert.equal(after, before);
    }
  });
});

void describe("a block whose node is gone", () => {
  void it("waits for no other of hundreds while nodes are few, and for its turn when they are thousands", async () => {
    const store = new Blocks();
    const blocks = await Promise.all(Array.from({ length: 200 }, (_, index) => orphan(store, index)));
    const collectors = nodes.map((node) => new BlockGarbage(node, options));
    const dueAt = (now: number): number => collectors.flatMap((each) => each.due(blocks, nodes, now)).length;
    dueAt(0);
    assert.equal(dueAt(60_000), 200);
    assert.deepEqual([5, 5000, 1_000_000].map(placesPerCall), [10_000, 10, 1]);
  });

  void it("is due on one node after the grace, and on the next one a step later", async () => {
    const block = await orphan(new Blocks());
    const collectors = nodes.map((node) => new BlockGarbage(node, options));
    const dueAt = (now: number): number[] =>
      nodes.flatMap((node, n) =>
        collectors[n]!.due([block], nodes, now).length > 0 ? [placeInLine(block.name, node, nodes)] : [],
      );
    assert.deepEqual(dueAt(1000), []);
    assert.deepEqual(dueAt(60_999), []);
    assert.deepEqual(dueAt(61_000), [0]);
    assert.deepEqual(new Set(dueAt(91_000)), new Set([0, 1]));
    assert.equal(dueAt(181_000).length, 5);
  });

  void it("is not due if the node is back in between, nor in a view that lacks this very node", async () => {
    const block = await orphan(new Blocks());
    const garbage = new BlockGarbage(nodes[0]!, { graceMilliseconds: 10, stepMilliseconds: 0 });
    garbage.due([block], nodes, 0);
    assert.deepEqual(garbage.due([block], [], 100), []);
    assert.deepEqual(garbage.due([block], nodes.slice(1), 100), []);
    assert.equal(garbage.due([block], nodes, 100).length, 1);
    assert.deepEqual(garbage.due([block], [...nodes, gone], 200), []);
    assert.deepEqual(garbage.due([block], nodes, 300), []);
    assert.equal(garbage.due([block], nodes, 310).length, 1);
  });

  void it("is released by exactly one of those who try at once", async () => {
    const store = new Blocks();
    const block = await orphan(store);
    const results = await Promise.all(
      nodes.map((node) => releaseOrphan(block, node, nobodyAttached, reads(undefined), store)),
    );
    assert.equal(results.filter(Boolean).length, 1);
    assert.equal(store.stored.size, 0);
  });

  void it("stays when the API server knows the node after all, or cannot be asked", async () => {
    const store = new Blocks();
    const block = await orphan(store);
    assert.equal(await releaseOrphan(block, self, nobodyAttached, reads(gone.uid), store), false);
    const away = { ...reads(undefined), nodeUid: () => Promise.reject(new Error("away")) };
    await assert.rejects(releaseOrphan(block, self, nobodyAttached, away, store));
    assert.equal(store.stored.size, 1);
    assert.equal(await releaseOrphan(block, self, nobodyAttached, reads(undefined), store), true);
  });

  void it("stays while the API has a pod on it that has an address inside, or none yet", async () => {
    const store = new Blocks();
    const block = await orphan(store);
    for (const pod of [{ addresses: ["fd00::1", "10.0.0.9"] }, { addresses: [] }]) {
      assert.equal(await releaseOrphan(block, self, nobodyAttached, reads(undefined, [pod]), store), false);
    }
    assert.equal(
      await releaseOrphan(block, self, nobodyAttached, reads(undefined, [{ addresses: ["10.0.1.9"] }]), store),
      true,
    );
  });

  void it("is for the node alone that was made anew under its name, and stays while a pod there has an address", async () => {
    const store = new Blocks();
    const block = await orphan(store);
    const anew = { name: gone.name, uid: "uid-anew" };
    const cluster = [...nodes, anew];
    for (const node of cluster) {
      const garbage = new BlockGarbage(node, { graceMilliseconds: 10, stepMilliseconds: 10 });
      garbage.due([block], cluster, 0);
      assert.equal(garbage.due([block], cluster, 10).length, node === anew ? 1 : 0);
      assert.deepEqual(garbage.due([block], cluster, 1000).length, node === anew ? 1 : 0);
    }
    assert.equal(await releaseOrphan(block, self, nobodyAttached, reads(anew.uid), store), false);
    assert.equal(await releaseOrphan(block, anew, () => true, reads(anew.uid), store), false);
    assert.equal(await releaseOrphan(block, anew, nobodyAttached, reads(anew.uid), store), true);
  });

  void it("that was claimed anew under the same name is left alone", async () => {
    const store = new Blocks();
    const block = await orphan(store);
    await store.delete(block);
    await store.create(addressBlockManifest("default", block.cidr, nodes[0]!));
    assert.equal(await releaseOrphan(block, self, nobodyAttached, reads(undefined), store), false);
    assert.equal(store.stored.size, 1);
  });

  void it("is one of a thousand without holding up the event loop", async () => {
    const store = new Blocks();
    const blocks = await Promise.all(Array.from({ length: 200 }, (_, n) => orphan(store, n)));
    const cluster = Array.from({ length: 5000 }, (_, n) => ({ name: `n${n}`, uid: `u${n}` }));
    const garbage = new BlockGarbage(cluster[0]!, { graceMilliseconds: 0, stepMilliseconds: 0 });
    garbage.due(blocks, cluster, 0);
    let found = 0;
    for (let round = 0; round < 25 && found < 200; round++) found = garbage.due(blocks, cluster, 1).length;
    assert.equal(found, 200);
  });
});
