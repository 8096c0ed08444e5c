import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { Subnet } from "@beyondfabric/kube/kinds";
import { formatCidr } from "@beyondfabric/packet";
import { BlockKeeper } from "../../src/addresses/block-keeper.ts";
import { newClaim } from "../../src/ipam/address-claim.ts";
import { Allocator } from "../../src/ipam/allocator.ts";
import type { BlockWish } from "../../src/ipam/lending.ts";
import type { AddressMemory } from "../../src/ipam/own-blocks.ts";
import { createLogger } from "../../src/log.ts";
import { addressStore, blockStore, SimulatedApi, type Call } from "../ipam/simulation/simulated-api.ts";
import { subnet } from "./objects.ts";

const minute = 60_000;

describe("the keeper of a node's blocks", () => {
  let api: SimulatedApi;
  let allocator: Allocator;
  let now: number;
  let needed: Set<string>;
  let open: Subnet[];
  let wishes: (BlockWish & { nodeUid: string })[];
  let memory: AddressMemory | undefined;
  let protectedSubnets: string[];
  const call: Call = async (_name, request) => {
    // Others get their turn while a request is under way.
    await new Promise((resolve) => setImmediate(resolve));
    return request();
  };

  const keeperOf = (node: string): BlockKeeper =>
    new BlockKeeper({
      node: { name: node, uid: `uid-${node}` },
      allocator,
      blocks: blockStore(api, call),
      addresses: addressStore(api, call),
      subnet: (name) => open.find((each) => each.name === name),
      open: () => open.filter(({ deletionTimestamp }) => deletionTimestamp === undefined),
      needed: () => needed,
      protect: async ({ name }) => void protectedSubnets.push(name),
      remember: async (next) => void (memory = next),
      known: { blocks: () => api.list("blocks"), claims: () => api.list("addresses"), wishes: () => wishes },
      isAttached: () => false,
      logger: createLogger("silent", node),
      now: () => now,
      onChange: () => {},
    });

  beforeEach(() => {
    api = new SimulatedApi();
    now = 0;
    allocator = new Allocator({ quarantineMilliseconds: 10_000, prefetchBelow: 8, now: () => now });
    open = [subnet("office", ["10.50.0.0/29"]), subnet("default", ["10.244.0.0/24"])];
    needed = new Set(["default"]);
    wishes = [];
    memory = undefined;
    protectedSubnets = [];
  });

  it("claims one block for pods that start together, and remembers it before it is used", async () => {
    const keeper = keeperOf("node-1");
    const office = open[0]!;
    await Promise.all(Array.from({ length: 20 }, () => keeper.require(office)));
    assert.deepEqual(
      api.list("blocks").map(({ cidr }) => formatCidr(cidr)),
      ["10.50.0.0/29"],
    );
    assert.deepEqual(
      memory?.blocks.map(({ cidr }) => formatCidr(cidr)),
      ["10.50.0.0/29"],
    );
    assert.deepEqual(protectedSubnets, ["office"]);
    assert.match(allocator.allocate("pod", office).addresses[0]!, /^10\.50\.0\./);
  });

  it("claims for what is needed, and a subnet that is full keeps no other from its block", async () => {
    const { cidr } = open[0]!.families[0]!;
    const node = { node: "node-2", nodeUid: "uid-node-2" };
    api.create("blocks", "10-50-0-0-29", { subnet: "office", cidr, lent: [], used: 5, ...node });
    needed.add("office");
    const keeper = keeperOf("node-1");
    await assert.rejects(keeper.ensure(), { code: "IPAM_SUBNET_EXHAUSTED" });
    assert.match(keeper.failureOf("office") ?? "", /office/);
    assert.deepEqual(keeper.wishes, [{ subnet: "office", family: 4 }]);
    assert.deepEqual(
      keeper.own.list().map((each) => each.subnet),
      ["default"],
    );
    // Nobody needs it any more: the wish is withdrawn.
    needed.delete("office");
    await keeper.ensure();
    assert.deepEqual(keeper.wishes, []);
  });

  it("gives a block back that nobody needs, after a while; at once when its subnet is deleted; never the last that is needed", async () => {
    const keeper = keeperOf("node-1");
    await keeper.require(open[0]!);
    await keeper.require(open[1]!);
    for (const time of [0, minute, 2 * minute]) {
      now = time;
      await keeper.tend();
    }
    assert.deepEqual(
      api.list("blocks").map((each) => each.subnet),
      ["default"],
    );
    open = [{ ...open[1]!, deletionTimestamp: 1 }];
    await keeper.tend();
    assert.deepEqual(api.list("blocks"), []);
    assert.deepEqual(memory?.blocks, []);
  });

  it("lends an idle part to a node that finds no block", async () => {
    const keeper = keeperOf("node-1");
    await keeper.require(open[0]!);
    needed.add("office");
    wishes = [{ subnet: "office", family: 4, nodeUid: "uid-node-2" }];
    await keeper.tend();
    assert.deepEqual(api.list("blocks")[0]?.lent.map(formatCidr), ["10.50.0.4/30"]);
  });

  it("grants a claim inside its block once it is remembered", async () => {
    const keeper = keeperOf("node-1");
    await keeper.require(open[0]!);
    const owner = { apiVersion: "v1", kind: "Pod", namespace: "shop", name: "web", uid: "w", slot: "" };
    const pod = { namespace: "shop", pod: "web", podUid: "w" };
    const holder = { ...pod, node: "node-2", nodeUid: "uid-node-2", mac: "0a:58:00:00:00:01" };
    const terms = { subnet: "office", retention: "Fixed", owner } as const;
    await addressStore(api, call).create(newClaim("10.50.0.5", terms, holder, 0));
    await keeper.settle();
    assert.equal(api.list("addresses")[0]?.grant?.nodeUid, "uid-node-1");
    assert.deepEqual(memory?.reserved, ["10.50.0.5"]);
  });
});
