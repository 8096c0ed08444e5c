import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compareIps } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { allocation, block, bookOf, claim, cluster, earlier, now, sound } from "./cluster-facts.ts";
import { subnet } from "./subnets.ts";

function take<T>(items: Iterable<T | undefined>, count: number): T[] {
  const taken: T[] = [];
  for (const item of items) if (item !== undefined && taken.push(item) >= count) break;
  return taken;
}

describe("who has an address", () => {
  it("is told for every state that one can be in", () => {
    const book = cluster();
    const states = {
      "10.0.0.3": "pod",
      "10.0.0.20": "bound",
      "10.0.0.100": "retained",
      "10.0.0.101": "released",
      "10.0.0.2": "node",
      "10.0.0.1": "gateway",
      "10.0.0.0": "excluded",
      "10.0.0.255": "excluded",
      "10.0.0.252": "excluded",
      "10.0.0.200": "reserved",
      "10.0.0.150": "free",
      "fd00::": "excluded",
      "fd00::1": "gateway",
      "fd00::5": "bound",
      "fd00::6": "free",
      "192.0.2.1": "outside",
      "2001:db8::1": "outside",
    };
    for (const [address, state] of Object.entries(states)) assert.equal(book.account(address).state, state, address);
  });

  it("names the pod, the owner, the block and the times", () => {
    const book = cluster();
    assert.deepEqual(book.account("10.0.0.9"), {
      address: "10.0.0.9",
      state: "pod",
      subnet: "default",
      block: { cidr: "10.0.0.8/29", node: "node-2" },
      user: { namespace: "shop", pod: "web-2", uid: "uid-web-2", node: "node-2" },
      since: earlier,
    });
    const bound = book.account("10.0.0.20");
    assert.deepEqual(bound.block, { cidr: "10.0.0.16/28", node: "node-2" }, "a claim lies in a block of another node");
    assert.deepEqual([bound.user?.node, bound.user?.mac, bound.owner?.name], ["node-1", "02:00:00:00:00:01", "db"]);
    assert.deepEqual(
      [book.account("10.0.0.100").reclaimAt, book.account("10.0.0.100").user],
      [now + 60_000, undefined],
    );
    assert.equal(book.account("10.0.0.2").node, "node-1");
  });

  it("is nobody's business inside a lent part that nobody took up", () => {
    const book = cluster({ blocks: [block("10.0.0.0/28", "node-1", {}, ["10.0.0.8/29"])] });
    assert.equal(book.account("10.0.0.9").block, undefined);
    assert.equal(book.account("10.0.0.7").block?.node, "node-1");
  });

  it("says why a claim is not granted", () => {
    const refused = claim("10.0.0.150", {
      holder: "db-1",
      phase: "Pending",
      refusal: { nodeUid: "uid-node-2", message: "in use" },
    });
    const account = cluster({ claims: [refused] }).account("10.0.0.150");
    assert.deepEqual([account.state, account.refusal], ["pending", "in use"]);
  });
});

describe("lists of addresses", () => {
  it("show what is taken, in order, and can be narrowed", () => {
    const book = cluster();
    const addresses = (...args: Parameters<typeof book.taken>): string[] =>
      take(book.taken(...args), 1000).map(({ address }) => address);
    const all = ["10.0.0.2", "10.0.0.3", "10.0.0.9", "10.0.0.17", "10.0.0.18", "10.0.0.20", "10.0.0.100", "fd00::5"];
    assert.deepEqual(addresses(), all);
    assert.deepEqual(addresses({ subnet: "default" }), all);
    assert.deepEqual(addresses({ subnet: "other" }), []);
    assert.deepEqual(addresses({ owner: { kind: "statefulset", name: "db" } }), ["10.0.0.20", "10.0.0.100", "fd00::5"]);
    assert.deepEqual(addresses({ owner: { kind: "Deployment", name: "db" } }), []);
    assert.deepEqual(addresses({ namespace: "elsewhere" }), []);
    assert.deepEqual(
      addresses({ namespace: "shop" }),
      all.filter((each) => each !== "10.0.0.2" && each !== "10.0.0.17"),
    );
  });

  it("give what is free only as far as it is asked for", () => {
    const book = cluster();
    const free = take(book.free(), 400);
    assert.equal(free.length, 400, "fd00::/64 has as many as anybody wants");
    assert.deepEqual(
      free.slice(0, 3).map(({ address }) => address),
      ["10.0.0.4", "10.0.0.5", "10.0.0.6"],
    );
    assert.ok(free.some(({ address, state }) => address === "10.0.0.101" && state === "released"));
    assert.ok(!free.some(({ address }) => address === "10.0.0.200" || address === "fd00::5"));
    assert.deepEqual(take(book.free("other"), 1), []);
  });

  it("never show an address as both, and leave none out", () => {
    const small = subnet({ cidrs: ["10.1.0.0/26"], excluded: ["10.1.0.60"], reserved: ["10.1.0.50-10.1.0.52"] });
    const host = fc.integer({ min: 1, max: 62 }).map((last) => `10.1.0.${last}`);
    fc.assert(
      fc.property(
        fc.uniqueArray(host, { maxLength: 20 }),
        fc.uniqueArray(host, { maxLength: 20 }),
        fc.uniqueArray(host, { maxLength: 3 }),
        (claimed, ordinary, own) => {
          const book = bookOf({
            ...sound,
            subnets: [small],
            claims: claimed.map((address, index) => claim(address, index % 2 === 0 ? {} : { holder: `db-${index}` })),
            blocks: [
              block("10.1.0.0/26", "node-1", {
                allocations: ordinary.map((address) => allocation(address, "web")),
              }),
            ],
            nodes: [{ name: "node-1", uid: "uid-node-1", gatewayAddresses: own }],
          });
          const taken = take(book.taken(), 1000).map(({ address }) => address);
          const free = take(book.free(), 100).map(({ address }) => address);
          assert.deepEqual(taken, [...new Set([...claimed, ...ordinary, ...own])].sort(compareIps));
          assert.deepEqual(
            free.filter((address) => taken.includes(address)),
            [],
          );
          const fixed = ["10.1.0.1", "10.1.0.50", "10.1.0.51", "10.1.0.52", "10.1.0.60"];
          assert.equal(new Set([...taken, ...free, ...fixed]).size, 62);
        },
      ),
    );
  });
});
