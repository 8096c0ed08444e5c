import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidrContains, cidrOf, parseCidr } from "@beyondfabric/packet";
import type { Cidr, Ip, IpFamily } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { Allocator, NODE_OWNER } from "../../src/ipam/allocator.ts";
import type { AllocationFact } from "../../src/ipam/allocation.ts";
import { IpamError } from "../../src/ipam/errors.ts";
import { subnet } from "./subnets.ts";

const dual = subnet({ cidrs: ["10.244.0.0/16", "fd00:244::/64"] });

interface Clock {
  now: number;
}

function allocator(clock: Clock = { now: 0 }, ...cidrs: string[]): Allocator {
  const made = new Allocator({ quarantineMilliseconds: 1000, prefetchBelow: 8, now: () => clock.now });
  for (const cidr of cidrs) made.addBlock(dual, parseCidr(cidr));
  return made;
}

function code(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof IpamError) return error.code;
    throw error;
  }
  return "none";
}

void describe("allocating", () => {
  void it("gives the node its gateway first, then pods, both families at once", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/26", "fd00:244::40/122");
    assert.deepEqual(a.allocate(NODE_OWNER, dual).addresses, ["10.244.1.1", "fd00:244::41"]);
    assert.deepEqual(a.allocate("pod", dual).addresses, ["10.244.1.2", "fd00:244::42"]);
    assert.deepEqual(a.allocate("v6 only", dual, [6]).addresses, ["fd00:244::43"]);
    assert.equal(a.holder("10.244.1.2"), "pod");
    assert.deepEqual(a.allocation("pod"), {
      owner: "pod",
      subnet: "default",
      addresses: ["10.244.1.2", "fd00:244::42"],
    });
  });

  void it("again for the same owner changes nothing", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/26", "fd00:244::40/122");
    const first = a.allocate("pod", dual);
    assert.deepEqual(a.allocate("pod", dual), first);
    assert.equal(
      code(() => a.allocate("pod", subnet({ cidrs: ["10.9.0.0/16"] }, "other"))),
      "IPAM_OWNER_CONFLICT",
    );
  });

  void it("uses the edges of a block, but not of the subnet, nor its gateway", () => {
    const inner = allocator({ now: 0 }, "10.244.1.0/30");
    const got = [1, 2, 3, 4].map((n) => inner.allocate(`p${n}`, dual, [4]).addresses[0]);
    assert.deepEqual(got, ["10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.0"]);
    const first = allocator({ now: 0 }, "10.244.0.0/30");
    const low = [1, 2].map((n) => first.allocate(`p${n}`, dual, [4]).addresses[0]);
    assert.deepEqual(new Set(low), new Set(["10.244.0.2", "10.244.0.3"]));
    assert.equal(
      code(() => first.allocate("p3", dual, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
  });

  void it("of two families is both or neither", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/30", "fd00:244::40/126");
    for (const n of [1, 2, 3]) a.allocate(`v6-${n}`, dual, [6]);
    a.allocate("both", dual);
    const before = a.usage();
    assert.equal(
      code(() => a.allocate("none", dual)),
      "IPAM_NO_FREE_ADDRESS",
    );
    assert.deepEqual(a.usage(), before);
    assert.deepEqual(a.allocate("v4", dual, [4]).addresses, ["10.244.1.2"]);
  });

  void it("without a block says that there is none", () => {
    assert.equal(
      code(() => allocator().allocate("pod", dual)),
      "IPAM_NO_BLOCK",
    );
    assert.equal(
      code(() => allocator().allocate("pod", subnet({ cidrs: ["10.0.0.0/16"] }), [6])),
      "IPAM_FAMILY_MISSING",
    );
  });

  void it("reuses what rested longest, last of all, and never before its time", () => {
    const clock = { now: 0 };
    const a = allocator(clock, "10.244.1.0/29");
    for (let n = 1; n <= 8; n++) a.allocate(`p${n}`, dual, [4]);
    for (const n of [5, 2, 7]) {
      clock.now += 100;
      a.release(`p${n}`);
    }
    assert.equal(
      code(() => a.allocate("x", dual, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
    assert.equal(a.usage()[0]!.quarantined, 3);
    clock.now = 1100;
    assert.deepEqual(a.allocate("x", dual, [4]).addresses, ["10.244.1.5"]);
    assert.equal(
      code(() => a.allocate("y", dual, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
    clock.now = 5000;
    assert.deepEqual(a.allocate("y", dual, [4]).addresses, ["10.244.1.2"]);
    a.addBlock(dual, parseCidr("10.244.2.0/29"));
    assert.deepEqual(a.allocate("z", dual, [4]).addresses, ["10.244.2.1"]);
  });
});

void describe("restoring", () => {
  void it("keeps everything, whether blocks come before or after", () => {
    const facts = [
      { owner: NODE_OWNER, subnet: "default", addresses: ["10.244.1.1", "fd00:244::41"], created: 1 },
      { owner: "pod", subnet: "default", addresses: ["10.244.1.9"], created: 2 },
    ];
    const after = allocator({ now: 0 }, "10.244.1.0/26", "fd00:244::40/122");
    assert.deepEqual(after.restore(facts), []);
    const before = allocator();
    before.restore(facts);
    assert.equal(before.strays().length, 3);
    before.addBlock(dual, parseCidr("10.244.1.0/26"));
    before.addBlock(dual, parseCidr("fd00:244::40/122"));
    for (const a of [before, after]) {
      assert.deepEqual(a.strays(), []);
      assert.deepEqual(
        a.usage().map(({ family, used, free, capacity }) => [family, used, free, capacity]),
        [
          [4, 2, 62n, 64n],
          [6, 1, 63n, 64n],
        ],
      );
      const rest = Array.from({ length: 62 }, (_, n) => a.allocate(`new-${n}`, dual, [4]).addresses[0]);
      assert.ok(!rest.includes("10.244.1.1") && !rest.includes("10.244.1.9"));
    }
  });

  void it("goes on behind the newest allocation, so that what was just released is reused last", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/29");
    a.restore([
      { owner: "new", subnet: "default", addresses: ["10.244.1.3"], created: 9 },
      { owner: "old", subnet: "default", addresses: ["10.244.1.6"], created: 5 },
    ]);
    assert.deepEqual(a.allocate("x", dual, [4]).addresses, ["10.244.1.4"]);
  });

  void it("reports an address that two claim; the older keeps it, and the other's release does not free it", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/26", "fd00:244::40/122");
    const conflicts = a.restore([
      { owner: "young", subnet: "default", addresses: ["10.244.1.5", "fd00:244::45"], created: 20 },
      { owner: "old", subnet: "default", addresses: ["10.244.1.5"], created: 10 },
    ]);
    assert.deepEqual(conflicts, [{ address: "10.244.1.5", holder: "old", refused: "young" }]);
    assert.deepEqual(a.release("young"), ["fd00:244::45"]);
    assert.equal(a.holder("10.244.1.5"), "old");
  });

  void it("lets an address rest that was released before its block was known", () => {
    const clock = { now: 0 };
    const a = allocator(clock);
    a.restore([{ owner: "pod", subnet: "default", addresses: ["10.244.1.1"], created: 1 }]);
    a.release("pod");
    a.addBlock(dual, parseCidr("10.244.1.0/30"));
    assert.deepEqual(a.allocate("y", dual, [4]).addresses, ["10.244.1.2"]);
  });
});

void describe("blocks of the allocator", () => {
  void it("lose no address by being asked whether they are idle", () => {
    const clock = { now: 0 };
    const a = allocator(clock, "10.244.1.0/29", "10.244.2.0/29");
    for (let n = 0; n < 16; n++) a.allocate(`p${n}`, dual, [4]);
    for (let n = 0; n < 16; n++) a.release(`p${n}`);
    clock.now = 1000;
    assert.equal(a.idleBlocks().length, 2);
    const again = Array.from({ length: 16 }, (_, n) => a.allocate(`q${n}`, dual, [4]).addresses[0]);
    assert.equal(new Set(again).size, 16);
  });

  void it("do not let an address rest that was taken up again before they were known", () => {
    const clock = { now: 0 };
    const a = allocator(clock);
    const fact = { owner: "pod", subnet: "default", addresses: ["10.244.1.1"], created: 1 };
    a.restore([fact]);
    a.release("pod");
    a.restore([fact]);
    a.addBlock(dual, parseCidr("10.244.1.0/30"));
    clock.now = 5000;
    const rest = [1, 2, 3].map((n) => a.allocate(`p${n}`, dual, [4]).addresses[0]);
    assert.ok(!rest.includes("10.244.1.1"));
    assert.equal(
      code(() => a.allocate("p4", dual, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
  });

  void it("are asked for when few addresses are left", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/28", "fd00:244::40/122");
    for (let n = 0; n < 8; n++) a.allocate(`p${n}`, dual);
    assert.deepEqual(a.wanted(), []);
    a.allocate("p8", dual);
    assert.deepEqual(a.wanted(), [{ subnet: "default", family: 4 }]);
    a.addBlock(dual, parseCidr("10.244.2.0/28"));
    assert.deepEqual(a.wanted(), []);
  });

  void it("are not hoarded where they are tiny: another is asked for when the last address is gone", () => {
    const tiny = subnet({ cidrs: ["10.244.0.0/28"], blockLength: { ipv4: 30 } });
    const a = new Allocator({ quarantineMilliseconds: 1000, prefetchBelow: 8, now: () => 0 });
    a.addBlock(tiny, parseCidr("10.244.0.4/30"));
    for (let n = 0; n < 3; n++) a.allocate(`p${n}`, tiny);
    assert.deepEqual(a.wanted(), []);
    a.allocate("p3", tiny);
    assert.deepEqual(a.wanted(), [{ subnet: "default", family: 4 }]);
  });

  void it("go back only when nobody holds or has just held an address of them", () => {
    const clock = { now: 0 };
    const a = allocator(clock, "10.244.1.0/28", "10.244.2.0/28");
    a.allocate("p", dual, [4]);
    assert.deepEqual(a.idleBlocks(), [parseCidr("10.244.2.0/28")]);
    assert.equal(
      code(() => a.removeBlock(parseCidr("10.244.1.0/28"))),
      "IPAM_BLOCK_IN_USE",
    );
    a.release("p");
    assert.equal(
      code(() => a.removeBlock(parseCidr("10.244.1.0/28"))),
      "IPAM_BLOCK_IN_USE",
    );
    clock.now = 1000;
    assert.equal(a.idleBlocks().length, 2);
    a.removeBlock(parseCidr("10.244.1.0/28"));
    assert.deepEqual(a.allocate("p", dual, [4]).addresses, ["10.244.2.1"]);
  });

  void it("that were taken away hand out nothing more, and come back with all that is held and rests", () => {
    const clock = { now: 0 };
    const a = allocator(clock, "10.244.1.0/30");
    for (const owner of ["p", "q"]) a.allocate(owner, dual, [4]);
    a.release("q");
    assert.deepEqual(a.withdrawBlock(parseCidr("10.244.1.0/30")), [{ owner: "p", address: "10.244.1.1" }]);
    assert.deepEqual(a.strays(), [{ owner: "p", address: "10.244.1.1" }]);
    assert.equal(
      code(() => a.allocate("x", dual, [4])),
      "IPAM_NO_BLOCK",
    );
    a.addBlock(dual, parseCidr("10.244.1.0/30"));
    const rest = ["x", "y"].map((owner) => a.allocate(owner, dual, [4]).addresses[0]);
    assert.deepEqual(new Set(rest), new Set(["10.244.1.3", "10.244.1.0"]));
    assert.equal(
      code(() => a.allocate("z", dual, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
    clock.now = 1000;
    assert.deepEqual(a.allocate("z", dual, [4]).addresses, ["10.244.1.2"]);
  });

  void it("follow their subnet when more of it is excluded", () => {
    const a = allocator({ now: 0 }, "10.244.1.0/29");
    a.allocate("p", dual, [4]);
    const narrower = subnet({ cidrs: ["10.244.0.0/16", "fd00:244::/64"], excluded: ["10.244.1.1-10.244.1.6"] });
    a.updateSubnet(narrower);
    assert.equal(a.holder("10.244.1.1"), "p");
    const rest = ["x", "y"].map((owner) => a.allocate(owner, narrower, [4]).addresses[0]);
    assert.deepEqual(new Set(rest), new Set(["10.244.1.0", "10.244.1.7"]));
    assert.equal(
      code(() => a.allocate("z", narrower, [4])),
      "IPAM_NO_FREE_ADDRESS",
    );
    a.updateSubnet(dual);
    assert.deepEqual(a.allocate("z", dual, [4]).addresses, ["10.244.1.2"]);
  });

  void it("of 2^32 addresses cost no more than small ones", () => {
    const huge = subnet({ cidrs: ["fd00::/64"], blockLength: { ipv6: 96 } });
    const a = new Allocator({ quarantineMilliseconds: 0, prefetchBelow: 8, now: () => 0 });
    a.addBlock(huge, parseCidr("fd00::1:0:0/96"));
    assert.deepEqual(a.allocate("p", huge).addresses, ["fd00::1:0:1"]);
    assert.equal(a.usage()[0]!.capacity, 1n << 32n);
  });
});

/** Random sequences, with restarts, against what must hold whatever happens. */
void describe("whatever happens", () => {
  const tiny = subnet({
    cidrs: ["10.0.0.0/25", "fd00::/121"],
    blockLength: { ipv4: 29, ipv6: 125 },
    excluded: ["10.0.0.18-10.0.0.20", "fd00::3"],
    reserved: ["10.0.0.10", "fd00::9"],
  });
  const forbidden = new Set([
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.127",
    "10.0.0.18",
    "10.0.0.19",
    "10.0.0.20",
    "10.0.0.10",
    "fd00::",
    "fd00::1",
    "fd00::3",
    "fd00::9",
  ]);
  const blocksOf = (family: IpFamily): Cidr[] =>
    Array.from({ length: 4 }, (_, n) =>
      family === 4 ? cidrOf(`10.0.0.${n * 8}`, 29) : cidrOf(`fd00::${(n * 8).toString(16)}`, 125),
    );
  const everyBlock = [...blocksOf(4), ...blocksOf(6)];
  const assignableIn = (cidr: Cidr): number => {
    const all = Array.from({ length: 8 }, (_, n) => n).map((n) => addressOf(cidr, n));
    return all.filter((address) => !forbidden.has(address)).length;
  };

  const families = fc.constantFrom<IpFamily[] | undefined>(undefined, [4], [6]);
  const owner = fc.integer({ min: 0, max: 40 }).map((n) => `pod-${n}`);
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("allocate" as const), owner, families }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("release" as const), owner }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("claim" as const), low: fc.integer({ min: 0, max: 40 }) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), by: fc.integer({ min: 1, max: 1500 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("add" as const), block: fc.constantFrom(...everyBlock) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("remove" as const), block: fc.constantFrom(...everyBlock) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), blocksFirst: fc.boolean() }) },
  );

  void it("no address is handed out twice, none is lost, none rests too short", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const clock = { now: 1_000_000 };
        const make = (): Allocator =>
          new Allocator({ quarantineMilliseconds: 1000, prefetchBelow: 2, now: () => clock.now });
        let a = make();
        const owned = new Map<string, Cidr>();
        const held = new Map<string, AllocationFact>();
        const released = new Map<Ip, number>();
        const claimed = new Set<Ip>();
        const add = (target: Allocator, block: Cidr): void => target.addBlock(tiny, block);

        const check = (made: AllocationFact): void => {
          for (const address of made.addresses) {
            assert.ok(!forbidden.has(address), `${address} is forbidden`);
            assert.ok(!claimed.has(address), `${address} is claimed`);
            assert.ok(
              [...owned.values()].some((block) => cidrContains(block, address)),
              `${address} is in no own block`,
            );
            for (const other of held.values())
              assert.ok(!other.addresses.includes(address), `${address} is held by ${other.owner}`);
            const since = released.get(address);
            assert.ok(
              since === undefined || clock.now - since >= 1000,
              `${address} rested ${clock.now - (since ?? 0)} ms`,
            );
          }
          held.set(made.owner, made);
        };
        const attempt = (who: string, allocate: () => { addresses: readonly Ip[] }): void => {
          try {
            const { addresses } = allocate();
            const before = held.get(who);
            if (before !== undefined) assert.deepEqual(addresses, before.addresses);
            else check({ owner: who, subnet: "default", addresses, created: clock.now });
          } catch (error) {
            if (!(error instanceof IpamError)) throw error;
          }
        };

        for (const each of steps) {
          clock.now++;
          if (each.do === "allocate") attempt(each.owner, () => a.allocate(each.owner, tiny, each.families));
          else if (each.do === "claim") {
            // A claim takes an address aside if nobody has it, and gives it back the next time.
            const address: Ip = `10.0.0.${each.low}`;
            if (claimed.delete(address)) {
              a.unreserve(address);
              released.set(address, clock.now);
            } else {
              const holder = [...held.values()].find(({ addresses }) => addresses.includes(address));
              assert.equal(a.reserve(address), holder?.owner);
              if (holder === undefined) claimed.add(address);
            }
          } else if (each.do === "wait") clock.now += each.by;
          else if (each.do === "release") {
            const fact = held.get(each.owner);
            assert.deepEqual(a.release(each.owner), fact?.addresses ?? []);
            for (const address of fact?.addresses ?? []) released.set(address, clock.now);
            held.delete(each.owner);
          } else if (each.do === "add") {
            owned.set(each.block.address, each.block);
            add(a, each.block);
          } else if (each.do === "remove") {
            try {
              a.removeBlock(each.block);
              owned.delete(each.block.address);
            } catch (error) {
              if (!(error instanceof IpamError)) throw error;
            }
          } else {
            a = make();
            // How long an address rests is not remembered across a restart.
            released.clear();
            for (const address of claimed) a.reserve(address);
            if (each.blocksFirst) for (const block of owned.values()) add(a, block);
            assert.deepEqual(a.restore([...held.values()]), []);
            if (!each.blocksFirst) for (const block of owned.values()) add(a, block);
          }
          for (const usage of a.usage()) {
            const blocks = [...owned.values()].filter((block) => block.family === usage.family);
            const capacity = blocks.reduce((sum, block) => sum + assignableIn(block), 0);
            const used = [...held.values()]
              .flatMap((fact) => fact.addresses)
              .filter((address) => address.includes(":") === (usage.family === 6));
            assert.equal(usage.capacity, BigInt(capacity));
            assert.equal(usage.used, used.length);
            assert.equal(usage.free, BigInt(capacity - used.length - usage.quarantined - usage.reserved));
          }
        }

        // Nothing is lost: once all is released and has rested, every assignable address can be had, once.
        for (const who of held.keys()) a.release(who);
        for (const address of claimed) a.unreserve(address);
        clock.now += 1000;
        for (const family of [4, 6] as const) {
          const blocks = [...owned.values()].filter((block) => block.family === family);
          const capacity = blocks.reduce((sum, block) => sum + assignableIn(block), 0);
          const got = new Set<Ip>();
          for (let n = 0; n < capacity; n++) got.add(a.allocate(`last-${family}-${n}`, tiny, [family]).addresses[0]!);
          assert.equal(got.size, capacity);
          assert.match(
            code(() => a.allocate("one too many", tiny, [family])),
            /^IPAM_NO_(FREE_ADDRESS|BLOCK)$/,
          );
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function addressOf(cidr: Cidr, index: number): Ip {
  const low = Number.parseInt(cidr.address.split(/[.:]/).at(-1) || "0", cidr.family === 4 ? 10 : 16) + index;
  return cidr.family === 4 ? `10.0.0.${low}` : low === 0 ? "fd00::" : `fd00::${low.toString(16)}`;
}
