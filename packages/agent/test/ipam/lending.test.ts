import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidrContainsCidr, cidrSize, cidrsOverlap, formatCidr, parseCidr } from "@beyondfabric/packet";
import type { Cidr } from "@beyondfabric/packet";
import type { AddressBlock } from "@beyondfabric/kube/kinds";
import * as fc from "fast-check";
import { blockAround, longestPart, possibleBlocks, remainder, unclaimedParts } from "../../src/ipam/block-parts.ts";
import { brokenBlocks, claimBlock } from "../../src/ipam/blocks.ts";
import { formatWishes, IdleBlocks, Lender, parseWishes, partToLend } from "../../src/ipam/lending.ts";
import { subnet } from "./subnets.ts";

function block(cidr: string, node: string, lent: readonly string[] = [], used = 0): AddressBlock {
  const identity = { name: cidr, uid: `of ${cidr}`, resourceVersion: "1", created: 0, generation: 1 };
  const parts = lent.map(parseCidr);
  return { ...identity, subnet: "default", cidr: parseCidr(cidr), node, nodeUid: node, lent: parts, used };
}

const part = fc
  .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 26, max: 30 }))
  .map(([low, length]) => parseCidr(`10.0.0.${low - (low % 2 ** (32 - length))}/${length}`));

void describe("what is left of a block", () => {
  void it("is all that is not lent, in order and without overlap", () => {
    const whole = parseCidr("10.0.0.0/26");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), (lent) => {
        const left = remainder(whole, lent);
        for (let low = 0; low < 64; low++) {
          const one = parseCidr(`10.0.0.${low}/32`);
          const isLent = lent.some((each) => cidrContainsCidr(each, one));
          assert.equal(left.filter((each) => cidrContainsCidr(each, one)).length, isLent ? 0 : 1);
        }
        const names = left.map(({ address }) => Number(address.split(".")[3]));
        assert.deepEqual(
          names,
          names.toSorted((a, b) => a - b),
        );
      }),
    );
  });

  void it("never goes out entirely, nor in parts that nobody looks for", () => {
    const whole = { cidr: parseCidr("10.0.0.0/26"), lent: [] as Cidr[] };
    const family = { family: 4, blockLength: 26 } as const;
    fc.assert(
      fc.property(fc.array(part, { maxLength: 3 }), (busy) => {
        const isIdle = (each: Cidr): boolean => !busy.some((other) => cidrsOverlap(each, other));
        for (let lent: Cidr[] = []; ;) {
          const given = partToLend({ ...whole, lent }, longestPart(family), isIdle);
          if (given === undefined) break;
          assert.ok(isIdle(given) && !lent.some((each) => cidrsOverlap(each, given)));
          const names = possibleBlocks(family, given.address).map(formatCidr);
          assert.ok(names.includes(formatCidr(given)), formatCidr(given));
          lent = [...lent, given];
          assert.ok(remainder(whole.cidr, lent).reduce((sum, each) => sum + cidrSize(each), 0n) > 0n);
        }
      }),
    );
  });

  void it("goes out by the upper half first, and of a huge block not in crumbs", () => {
    const idle = partToLend({ cidr: parseCidr("10.0.0.0/26"), lent: [] }, 30, () => true);
    assert.equal(formatCidr(idle!), "10.0.0.32/27");
    assert.equal(longestPart({ family: 6, blockLength: 96 }), 102);
    assert.equal(longestPart({ family: 4, blockLength: 30 }), 30);
    assert.equal(
      partToLend({ cidr: parseCidr("10.0.0.0/30"), lent: [] }, 30, () => true),
      undefined,
    );
  });
});

void describe("who decides about an address", () => {
  const nested = [
    block("10.0.0.0/26", "a", ["10.0.0.32/27"]),
    block("10.0.0.32/27", "b", ["10.0.0.48/28", "10.0.0.40/29"]),
    block("10.0.0.40/29", "c"),
    block("10.0.0.8/29", "stranger"),
  ];
  for (const [address, node] of [
    ["10.0.0.1", "a"],
    ["10.0.0.9", "a"],
    ["10.0.0.33", "b"],
    ["10.0.0.41", "c"],
    ["10.0.0.50", undefined],
    ["10.0.0.70", undefined],
  ] as const) {
    void it(`${address}: ${node ?? "nobody"}`, () => {
      assert.equal(blockAround(nested, address)?.node, node);
      assert.equal(blockAround(nested.toReversed(), address)?.node, node);
    });
  }
});

void describe("what is left to claim when no whole block is free", () => {
  const s = subnet({ cidrs: ["10.0.0.0/24"], blockLength: { ipv4: 26 } });
  const node = { name: "me", uid: "me" };

  void it("is what was given away, and what lies around the parts of others", () => {
    const blocks = [
      block("10.0.0.0/26", "a", ["10.0.0.32/27", "10.0.0.16/28"]),
      block("10.0.0.16/28", "b"),
      block("10.0.0.96/27", "c"),
      block("10.0.0.128/26", "d"),
      block("10.0.0.192/26", "e"),
    ];
    const found = brokenBlocks(s, s.families[0]!, blocks, node);
    assert.deepEqual(found.map(({ cidr, lent }) => `${formatCidr(cidr)} - ${lent.map(formatCidr).join()}`).sort(), [
      "10.0.0.32/27 - ",
      "10.0.0.64/26 - 10.0.0.96/27",
    ]);
    assert.deepEqual(unclaimedParts(blocks, { subnet: "default", family: 4 }).map(formatCidr), ["10.0.0.32/27"]);
  });

  void it("is claimed with what others own of it counted as lent", async () => {
    const all = ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26"].map((cidr) => block(cidr, "a"));
    const created: unknown[] = [];
    const store = {
      create: async (manifest: unknown) => (created.push(manifest), block("10.0.0.64/26", "me", ["10.0.0.96/27"])),
      get: async () => undefined,
      delete: async () => false,
    };
    await claimBlock({ subnet: s, family: 4, node, blocks: [...all, block("10.0.0.96/27", "c")] }, store);
    assert.partialDeepStrictEqual(created, [{ spec: { cidr: "10.0.0.64/26", lent: ["10.0.0.96/27"] } }]);
  });
});

void describe("a wish for a block", () => {
  void it("is read as it was written, and nonsense is no wish", () => {
    const wishes = [
      { subnet: "a.b-c", family: 6 },
      { subnet: "a", family: 4 },
    ] as const;
    assert.deepEqual(parseWishes(formatWishes(wishes)), wishes);
    assert.equal(formatWishes([]), undefined);
    assert.deepEqual(parseWishes(undefined), []);
    assert.deepEqual(parseWishes("a/5,/4,A/4,a/4x,a/4"), [{ subnet: "a", family: 4 }]);
    fc.assert(fc.property(fc.string({ maxLength: 9000 }), (text) => parseWishes(text).length <= 16));
  });

  void it("is answered by whoever has most room, and by the next in line a step later", () => {
    const blocks = [block("10.0.0.0/26", "full", [], 60), block("10.0.0.64/26", "roomy", [], 2)];
    const wishes = [{ nodeUid: "poor", subnet: "default", family: 4 }] as const;
    const due = (lender: Lender, now: number, view = blocks): number => lender.due(wishes, view, now).length;
    const [roomy, full, poor] = ["roomy", "full", "poor"].map(
      (uid) => new Lender({ name: uid, uid }, { stepMilliseconds: 100 }),
    );
    assert.equal(due(roomy!, 0), 1);
    assert.deepEqual(
      [0, 99, 100].map((now) => due(full!, now)),
      [0, 0, 1],
    );
    assert.equal(due(poor!, 1000), 0);
    const given = [block("10.0.0.64/26", "roomy", ["10.0.0.96/27"], 2), blocks[0]!];
    assert.equal(due(roomy!, 200, given), 0, "a part waits to be taken already");
  });
});

void describe("an idle block", () => {
  void it("goes back when it has been idle without a break, if it can be spared", () => {
    const idle = new IdleBlocks({ idleMilliseconds: 100 });
    const one = { subnet: "default", cidr: parseCidr("10.0.0.0/26") };
    assert.deepEqual(
      idle.due([one], () => true, 0),
      [],
    );
    idle.due([], () => true, 50);
    assert.deepEqual(
      idle.due([one], () => true, 100),
      [],
    );
    assert.deepEqual(
      idle.due([one], () => false, 200),
      [],
    );
    assert.deepEqual(
      idle.due([one], () => true, 200),
      [one],
    );
  });
});
