import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { addressBlockManifest, OverlapIndex } from "@beyondfabric/kube/kinds";
import { cidrContains, cidrOf, cidrsOverlap, formatCidr, parseCidr } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { halves, longestPart, possibleNeighbours } from "../../src/ipam/block-parts.ts";
import { candidateBlocks, claimBlock, subnetCapacity } from "../../src/ipam/blocks.ts";
import { IpamError } from "../../src/ipam/errors.ts";
import { Blocks, subnet } from "./subnets.ts";

const node = (n: number) => ({ name: `node-${n}`, uid: `uid-${n}` });

function candidates(spec: Record<string, unknown>, taken: readonly Cidr[] = [], n = 1): string[] {
  const s = subnet(spec);
  const index = new OverlapIndex<Cidr>();
  for (const cidr of taken) index.add(cidr, cidr);
  return [...candidateBlocks(s, s.families[0]!, index, node(n))].map(formatCidr);
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof IpamError && error.code === code && error.message.includes("default");
}

void describe("blocks around another one and inside it", () => {
  for (const [cidr, blockLength] of [
    ["10.0.0.0/24", 26],
    ["10.0.0.0/24", 29],
    ["10.0.0.0/24", 24],
    ["fd00::/118", 120],
  ] as const) {
    void it(`are named, each once, and no others: /${blockLength} of ${cidr}`, () => {
      const { family, length, address } = parseCidr(cidr);
      const longest = longestPart({ family, blockLength });
      let every: Cidr[] = [cidrOf(address, length)];
      while (every[0]!.length < blockLength) every = every.flatMap(halves);
      const all = [...every];
      for (let next = every; next[0]!.length < longest; all.push(...next)) next = next.flatMap(halves);
      for (const block of all) {
        const expected = all.filter((each) => each !== block && cidrsOverlap(each, block));
        const named = possibleNeighbours({ family, blockLength }, block);
        assert.deepEqual(named.map(formatCidr).sort(), expected.map(formatCidr).sort());
        assert.ok(named.length <= 132);
      }
    });
  }
});

void describe("candidate blocks", () => {
  void it("are all of the subnet, each once, from a start that depends on the node", () => {
    const spec = { cidrs: ["10.0.0.0/24"], blockLength: { ipv4: 28 } };
    const all = Array.from({ length: 16 }, (_, i) => `10.0.0.${i * 16}/28`);
    const starts = new Set<string>();
    for (let n = 0; n < 40; n++) {
      const tried = candidates(spec, [], n);
      assert.deepEqual(tried.toSorted(), all.toSorted());
      assert.deepEqual(candidates(spec, [], n), tried);
      starts.add(tried[0]!);
    }
    assert.ok(starts.size > 8, `40 nodes start at ${starts.size} of 16 places`);
  });

  void it("hold at least one assignable address", () => {
    const spec = {
      cidrs: ["10.0.0.0/28"],
      blockLength: { ipv4: 30 },
      gateways: ["10.0.0.5"],
      excluded: ["10.0.0.8/30", "10.0.0.4", "10.0.0.6-10.0.0.7"],
    };
    assert.deepEqual(candidates(spec).toSorted(), ["10.0.0.0/30", "10.0.0.12/30"]);
  });

  void it("skip exactly what is taken, whatever the length of the claim", () => {
    const claim = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 25, max: 30 }))
      .map(([low, length]) => cidrOf(`10.0.0.${low}`, length));
    const hole = fc
      .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 15 }))
      .map(([a, b]) => `10.0.0.${Math.min(a, b) * 16}-10.0.0.${Math.max(a, b) * 16 + 15}`);
    fc.assert(
      fc.property(
        fc.array(claim, { maxLength: 6 }),
        fc.array(hole, { maxLength: 2 }),
        fc.integer({ min: 0, max: 50 }),
        (taken, excluded, n) => {
          const spec = { cidrs: ["10.0.0.0/24"], blockLength: { ipv4: 28 }, excluded };
          const free = candidates(spec).filter((text) => !taken.some((cidr) => cidrsOverlap(cidr, parseCidr(text))));
          assert.deepEqual(candidates(spec, taken, n).toSorted(), free.toSorted());
        },
      ),
    );
  });

  void it("of an IPv6 subnet with 2^58 blocks come at once", () => {
    const s = subnet({ cidrs: ["fd00:244::/64"] });
    const [first] = candidateBlocks(s, s.families[0]!, new OverlapIndex(), node(1));
    assert.equal(first!.length, 122);
    assert.ok(cidrContains(s.families[0]!.cidr, first!.address));
    assert.equal(subnetCapacity(s, s.families[0]!), (1n << 64n) - 2n);
  });
});

void describe("claiming a block", () => {
  const s = subnet({ cidrs: ["10.244.0.0/22", "fd00:244::/64"] });

  void it("gives each of many nodes that start together a block of its own, with hardly a collision", async () => {
    const store = new Blocks();
    const many = subnet({ cidrs: ["10.0.0.0/8"] });
    const blocks = await Promise.all(
      Array.from({ length: 500 }, (_, n) => claimBlock({ subnet: many, family: 4, node: node(n), blocks: [] }, store)),
    );
    assert.equal(new Set(blocks.map((block) => block.name)).size, 500);
    assert.ok(blocks.every((block, n) => block.nodeUid === `uid-${n}`));
    assert.ok(store.creations < 520, `${store.creations} attempts for 500 claims`);
  });

  void it("shares out a subnet to the last block although every node's view is empty, then names what to do", async () => {
    const store = new Blocks();
    const claims = Array.from({ length: 16 }, (_, n) =>
      claimBlock({ subnet: s, family: 4, node: node(n), blocks: [] }, store),
    );
    assert.equal(new Set((await Promise.all(claims)).map((block) => block.name)).size, 16);
    await assert.rejects(claimBlock({ subnet: s, family: 4, node: node(99), blocks: [] }, store), (error) => {
      assert.ok(hasCode("IPAM_SUBNET_EXHAUSTED")(error));
      assert.match(String(error), /all 16 blocks \(\/26\) of 10\.244\.0\.0\/22, 1021 addresses.*add a Subnet/);
      return true;
    });
  });

  void it("asks the API only for what looks free", async () => {
    const store = new Blocks();
    const first = await claimBlock({ subnet: s, family: 4, node: node(1), blocks: [] }, store);
    const second = await claimBlock({ subnet: s, family: 4, node: node(1), blocks: [first] }, store);
    assert.notEqual(first.name, second.name);
    assert.equal(store.creations, 2);
  });

  void it("makes a claim anew whose answer got lost: what was on its way for the former one does not concern it", async () => {
    const store = new Blocks();
    const [cidr] = candidateBlocks(s, s.families[1]!, new OverlapIndex(), node(1));
    const lost = await store.create(addressBlockManifest("default", cidr!, node(1)));
    const found = await claimBlock({ subnet: s, family: 6, node: node(1), blocks: [] }, store);
    assert.deepEqual(found.cidr, cidr);
    assert.notEqual(found.uid, lost!.uid);
    assert.equal(await store.delete(lost!), false);
    assert.equal(store.stored.size, 1);
  });

  void it("does not take over what a former node of the same name owned", async () => {
    const store = new Blocks();
    const [cidr] = candidateBlocks(s, s.families[0]!, new OverlapIndex(), node(1));
    await store.create(addressBlockManifest("default", cidr!, { name: "node-1", uid: "former" }));
    const claimed = await claimBlock({ subnet: s, family: 4, node: node(1), blocks: [] }, store);
    assert.notEqual(formatCidr(claimed.cidr), formatCidr(cidr!));
  });

  void it("gives up after a bounded number of lost races", async () => {
    const lost: Pick<Blocks, "create" | "get" | "delete"> = {
      create: async () => undefined,
      get: async () => undefined,
      delete: async () => false,
    };
    const wide = subnet({ cidrs: ["10.0.0.0/8"] });
    await assert.rejects(
      claimBlock({ subnet: wide, family: 4, node: node(1), blocks: [], maxAttempts: 5 }, lost),
      hasCode("IPAM_CLAIM_CONTENDED"),
    );
    await assert.rejects(
      claimBlock({ subnet: wide, family: 6, node: node(1), blocks: [] }, lost),
      hasCode("IPAM_FAMILY_MISSING"),
    );
  });
});
