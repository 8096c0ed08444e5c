/** What OVSDB remembers of addresses: the round trip through a real database, and whatever somebody may write there. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { OvsdbClient } from "@beyondfabric/ovsdb";
import { parseCidr } from "@beyondfabric/packet";
import { OvsdbServer, until } from "../../../ovsdb/test/ovsdb-server.ts";
import {
  DurableMemory,
  formatMemory,
  parseMemory,
  type Memory,
  type PodClaim,
} from "../../src/addresses/durable-memory.ts";
import { monitoredTables, owner, ownerKey, type SwitchTables } from "../../src/switch/database.ts";

const pod = (uid: string): PodClaim => ({
  namespace: "shop",
  name: `db-${uid}`,
  uid,
  subnet: "default",
  mac: "0a:58:0a:f4:01:05",
  addresses: ["10.244.1.5", "fd00:244::1:5"],
});
const memory: Memory = {
  blocks: [
    { subnet: "default", cidr: parseCidr("10.244.1.0/26"), lent: [parseCidr("10.244.1.32/27")] },
    { subnet: "default", cidr: parseCidr("fd00:244::1:0/122"), lent: [] },
  ],
  reserved: ["10.244.1.9", "fd00:244::1:9"],
  pods: [pod("a"), pod("b")],
};

describe("the memory of addresses", () => {
  it("is whole after each write, whoever else writes to the same map, and read by an agent that starts anew", async (context) => {
    const server = await OvsdbServer.create();
    context.after(() => server.destroy());
    await server.start();
    await server.vsctl("--no-wait", "init");
    await server.vsctl("--no-wait", "add-br", "br-int", "--", "set", "bridge", "br-int", "external_ids:theirs=1");
    await server.vsctl("--no-wait", "set", "bridge", "br-int", `external_ids:"${ownerKey}"=${owner}`);
    const begin = async (): Promise<DurableMemory> => {
      const database = new OvsdbClient({ address: server.address });
      context.after(() => database.stop());
      const cache = database.monitor<SwitchTables>(monitoredTables);
      await database.start({ timeoutMs: 20_000 });
      await until("the database's content", () => cache.synchronised);
      return new DurableMemory({ database, cache, bridge: "br-int" });
    };
    const first = await begin();
    assert.deepEqual(first.restore(), { blocks: [], reserved: [], pods: [] });
    // All at once: what one write misses goes with the next, and each promise holds when it is kept.
    await Promise.all([
      first.rememberOwn({ blocks: memory.blocks, reserved: memory.reserved }),
      ...["a", "b", "c"].map((uid) => first.rememberPod(pod(uid))),
    ]);
    await first.forgetPod("c");
    const second = await begin();
    assert.deepEqual(second.restore(), memory);
    assert.deepEqual(second.podClaim("a"), pod("a"));
    assert.deepEqual(second.podClaimNamed("shop", "db-b"), pod("b"));
    assert.equal(second.podClaimNamed("shop", "db-c"), undefined);
    assert.equal(await server.vsctl("--no-wait", "get", "bridge", "br-int", "external_ids:theirs"), '"1"');
  });

  it("is promised nothing on a bridge that is not there or not ours, and the bridge stays as it is", async (context) => {
    const server = await OvsdbServer.create();
    context.after(() => server.destroy());
    await server.start();
    await server.vsctl("--no-wait", "init");
    const database = new OvsdbClient({ address: server.address });
    context.after(() => database.stop());
    const cache = database.monitor<SwitchTables>(monitoredTables);
    await database.start({ timeoutMs: 20_000 });
    const remembering = new DurableMemory({ database, cache, bridge: "br-int" });
    const refused = { code: "AGENT_MEMORY" };
    await assert.rejects(remembering.rememberPod(pod("a")), refused);
    await server.vsctl("--no-wait", "add-br", "br-int");
    await until("the bridge", () => cache.find("Bridge", (row) => row.name === "br-int") !== undefined);
    await assert.rejects(remembering.rememberOwn(memory), refused);
    assert.equal(await server.vsctl("--no-wait", "get", "bridge", "br-int", "external_ids"), "{}");
    await server.vsctl("--no-wait", "set", "bridge", "br-int", `external_ids:"${ownerKey}"=${owner}`);
    await until("it is ours", () => cache.find("Bridge", (row) => row.external_ids[ownerKey] === owner) !== undefined);
    await remembering.rememberOwn(memory);
    const restarted = new DurableMemory({ database, cache, bridge: "br-int" });
    await until("it is remembered", () => restarted.restore().blocks.length === 2);
    assert.deepEqual(restarted.restore().pods, [pod("a")]);
  });

  it("is read back as it was written", () => {
    assert.deepEqual(parseMemory(formatMemory(memory)), memory);
  });

  const written = JSON.parse(formatMemory(memory)) as Record<string, unknown>;

  for (const [what, change] of [
    ["another format", { format: 2 }],
    ["blocks that are no list", { blocks: {} }],
    ["a block that is no CIDR", { blocks: [{ subnet: "default", cidr: "10.244.1.1/26", lent: [] }] }],
    ["a block that does not say what is lent", { blocks: [{ subnet: "default", cidr: "10.244.1.0/26" }] }],
    ["a promise for what is no address", { reserved: ["10.244.1"] }],
    ["a pod without a MAC", { pods: [{ ...pod("a"), mac: "" }] }],
    ["a pod without a UID", { pods: [{ ...pod("a"), uid: undefined }] }],
  ] as const) {
    it(`with ${what} is none`, () => {
      assert.equal(parseMemory(JSON.stringify({ ...written, ...change })), undefined);
    });
  }

  it("of any text is a whole one or none", () => {
    const changed = fc
      .tuple(fc.constantFrom(...Object.keys(written)), fc.jsonValue({ maxDepth: 3 }))
      .map(([key, value]) => JSON.stringify({ ...written, [key]: value }));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), changed), (text) => {
        const parsed = parseMemory(text);
        if (parsed !== undefined) assert.deepEqual(parseMemory(formatMemory(parsed)), parsed);
      }),
      { numRuns: 1000 },
    );
  });
});
