/** What the agent remembers in OVSDB: the round trip through a real database, and whatever somebody may write there. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { OvsdbClient } from "@beyondfabric/ovsdb";
import { OvsdbServer, until } from "../../ovsdb/test/ovsdb-server.ts";
import {
  networksOf,
  parseLocalState,
  poolsOf,
  readLocalState,
  subnetsOf,
  writeLocalState,
  type LocalState,
} from "../src/local-state.ts";
import { monitoredTables, type SwitchTables } from "../src/switch/database.ts";

const apiVersion = "beyondfabric.io/v1alpha1";
const state: LocalState = {
  nodeUid: "uid-1",
  networks: [{ apiVersion, kind: "Network", metadata: { name: "overlay", uid: "u" }, spec: { type: "Overlay" } }],
  subnets: [
    {
      apiVersion,
      kind: "Subnet",
      metadata: { name: "default", uid: "v" },
      spec: { network: "overlay", cidrs: ["10.244.0.0/16", "fd00:244::/64"], default: true },
    },
  ],
  pools: [
    {
      apiVersion,
      kind: "IPPool",
      metadata: { name: "web", uid: "w" },
      spec: { subnet: "default", addresses: ["10.244.9.1-10.244.9.9"] },
    },
  ],
  nodeAddresses: ["10.244.3.1", "fd00:244::301"],
  tunnelAddress: "10.10.0.11",
  uplinks: {
    eth1: {
      addresses: ["10.10.0.11/24", "fd00:10::11/64"],
      routes: [{ dst: "0.0.0.0/0", gateway: "10.10.0.1" }, { dst: "192.0.2.0/24" }],
    },
  },
  nodeLabels: { rack: "a" },
};

describe("the local state", () => {
  it("is read back as it was written, by an agent that starts anew, and not written twice", async (context) => {
    const server = await OvsdbServer.create();
    context.after(() => server.destroy());
    await server.start();
    await server.vsctl("--no-wait", "init");
    await server.vsctl("--no-wait", "add-br", "br-int", "--", "set", "bridge", "br-int", "external_ids:theirs=1");
    const begin = async () => {
      const client = new OvsdbClient({ address: server.address });
      context.after(() => client.stop());
      const cache = client.monitor(monitoredTables);
      await client.start({ timeoutMs: 20_000 });
      return { client, cache };
    };
    const { client, cache } = await begin();
    assert.equal(readLocalState(cache, "br-int"), undefined);
    assert.equal(writeLocalState(cache, "br-none", state), undefined);
    for (const each of [state, { ...state, tunnelAddress: undefined, uplinks: {}, nodeLabels: {}, pools: [] }]) {
      await client.transactWithRetry<SwitchTables>((current) => writeLocalState(current, "br-int", each));
      assert.equal(writeLocalState(cache, "br-int", each), undefined);
      const { cache: fresh } = await begin();
      await until("the new connection's content", () => fresh.synchronised);
      assert.deepEqual(readLocalState(fresh, "br-int"), each);
    }
    assert.equal(await server.vsctl("--no-wait", "get", "bridge", "br-int", "external_ids:theirs"), '"1"');
    assert.deepEqual(
      networksOf(state).map(({ name }) => name),
      ["overlay"],
    );
    assert.deepEqual(
      subnetsOf(state).map(({ name }) => name),
      ["default"],
    );
    assert.deepEqual(
      poolsOf(state).map(({ name }) => name),
      ["web"],
    );
  });

  const written = { format: 1, ...state };

  for (const [what, change] of [
    ["another format", { format: 2 }],
    ["networks that are no list", { networks: 7 }],
    ["no subnets", { subnets: undefined }],
    ["pools that are no list", { pools: "web" }],
    ["a node address that is none", { nodeAddresses: ["10.244.3"] }],
    ["a tunnel address that is none", { tunnelAddress: "eth1" }],
    ["an uplink without addresses", { uplinks: { eth1: { routes: [] } } }],
    ["an uplink's address without its length", { uplinks: { eth1: { addresses: ["10.0.0.1"], routes: [] } } }],
    ["an uplink's address with too long a one", { uplinks: { eth1: { addresses: ["10.0.0.1/33"], routes: [] } } }],
    ["labels that are no texts", { nodeLabels: { rack: 7 } }],
    ["a route to nowhere", { uplinks: { eth1: { addresses: [], routes: [{ dst: "default" }] } } }],
  ] as const) {
    it(`with ${what} is none`, () => {
      assert.notEqual(parseLocalState(JSON.stringify(written)), undefined);
      assert.equal(parseLocalState(JSON.stringify({ ...written, ...change })), undefined);
    });
  }

  it("of any text is a whole one or none, and what it names can be asked for", () => {
    const anything = fc.jsonValue({ maxDepth: 3 });
    const changed = fc
      .tuple(fc.constantFrom(...Object.keys(written)), anything)
      .map(([key, value]) => JSON.stringify({ ...written, [key]: value }));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.oneof(fc.double(), fc.boolean(), fc.constant(null)).map(String),
          anything.map((value) => JSON.stringify(value)),
          changed,
        ),
        (text) => {
          const parsed = parseLocalState(text);
          if (parsed === undefined) return;
          networksOf(parsed);
          subnetsOf(parsed);
          poolsOf(parsed);
          assert.deepEqual(parseLocalState(JSON.stringify({ ...JSON.parse(text), invented: 1 })), parsed);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
