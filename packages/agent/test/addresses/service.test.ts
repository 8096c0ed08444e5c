import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { cidrContains, formatCidr, parseCidr, type Ip } from "@beyondfabric/packet";
import type { DurableMemory, Memory } from "../../src/addresses/durable-memory.ts";
import { AddressEvents } from "../../src/addresses/events.ts";
import { AddressService } from "../../src/addresses/service.ts";
import { macOf } from "../../src/attachment/mac.ts";
import { NODE_OWNER } from "../../src/ipam/allocator.ts";
import { createLogger } from "../../src/log.ts";
import { addressStore, blockStore, SimulatedApi, type Call } from "../ipam/simulation/simulated-api.ts";
import { pool, subnet } from "./objects.ts";

const call: Call = (_name, request) => Promise.resolve(request());
const nothing: Memory = { blocks: [], reserved: [], pods: [] };

describe("the addresses of a node", () => {
  let api: SimulatedApi;
  let service: AddressService;
  let written: Memory;

  beforeEach(() => {
    api = new SimulatedApi();
    written = nothing;
    const memory: Pick<DurableMemory, "rememberOwn" | "podClaim" | "podClaimNamed" | "pods"> = {
      rememberOwn: async (own) => void (written = { ...own, pods: [] }),
      podClaim: () => undefined,
      podClaimNamed: () => undefined,
      pods: () => [][Symbol.iterator](),
    };
    service = new AddressService({
      nodeName: "node-1",
      blocks: blockStore(api, call),
      addresses: addressStore(api, call),
      reads: { blocksAround: async () => [], podUid: async () => undefined },
      // Nobody knows these pods: their addresses are ordinary ones of the default subnet.
      lookup: { find: async () => ({ state: "unreachable", cause: undefined }) },
      watched: {
        blocks: () => api.list("blocks"),
        claims: () => api.list("addresses"),
        claimAt: () => undefined,
        ownPods: () => [],
        ownPod: () => undefined,
        namespace: () => undefined,
        wishes: () => [],
        isInformed: () => true,
      },
      memory: memory as DurableMemory,
      events: new AddressEvents({ record: () => {} }),
      stickyOwners: [],
      protect: async () => {},
      ports: () => [],
      macOf,
      mtuOf: () => 1450,
      onPlan: () => {},
      onWritten: () => {},
      onChange: () => {},
      onBlocks: () => {},
      logger: createLogger("silent", "node-1"),
      now: () => 0,
    });
    service.setTopology([subnet("default", ["10.244.0.0/24"], { default: true })], []);
  });

  const start = async (name: string): Promise<Ip> =>
    (await service.allocate({ namespace: "shop", name, uid: name, container: name })).addresses[0]!;
  const blocks = (): string[] => service.ownBlocks.map(({ cidr }) => formatCidr(cidr));
  const owners = (): Map<string, string> =>
    new Map(api.list("blocks").map(({ cidr, nodeUid }) => [formatCidr(cidr), nodeUid]));

  it("are not those of a pool, unless a pod asks for it", async () => {
    service.restore(nothing, [], [], "");
    service.setIdentity({ name: "node-1", uid: "first" });
    const small = subnet("default", ["10.244.0.0/28"], { default: true });
    service.setTopology([small], [pool("web", "default", ["10.244.0.4-10.244.0.13"])]);
    await service.ensureBlocks();
    const given = [service.nodeAddresses()[0]!, await start("a"), await start("b")];
    assert.deepEqual(given.sort(), ["10.244.0.14", "10.244.0.2", "10.244.0.3"]);
    await assert.rejects(start("c"), { code: "IPAM_NO_FREE_ADDRESS" });
    service.setTopology([small], []);
    assert.equal(await start("c"), "10.244.0.4");
  });

  it("are others when their subnet is deleted and another one is the default, as soon as there are any", async () => {
    service.restore(nothing, [], [], "");
    service.setIdentity({ name: "node-1", uid: "first" });
    await service.ensureBlocks();
    const [before] = service.nodeAddresses();
    const former = blocks();
    const leaving = { ...subnet("default", ["10.244.0.0/24"], { default: true }), deletionTimestamp: 1 };
    service.setTopology([leaving], []);
    assert.deepEqual(service.nodeAddresses(), [before], "there is nothing else to have");
    const next = { ...subnet("next", ["10.99.0.0/24"], { default: true }), created: 1 };
    service.setTopology([leaving, next], []);
    assert.deepEqual(service.nodeAddresses(), [before], "this node has no block of it yet");
    await service.ensureBlocks();
    const [own] = service.nodeAddresses();
    assert.match(own!, /^10\.99\.0\./);
    assert.deepEqual(service.nodeAddresses(), [own]);
    assert.equal(service.holdsInside(parseCidr(former[0]!)), false, "the former block can go back");
    assert.match(await start("after"), /^10\.99\.0\./);

    // An agent that starts in between knows by the address of which subnet it is.
    service.allocator.release(NODE_OWNER);
    service.restore({ ...written, blocks: [] }, [], ["10.244.0.65"], "first");
    assert.match(service.nodeAddresses()[0]!, /^10\.99\.0\./);
  });

  it("come from blocks of the new Node only, when the Node object is made anew, the node's own too; pods keep theirs", async () => {
    service.restore(nothing, [], [], "");
    service.setIdentity({ name: "node-1", uid: "first" });
    await service.ensureBlocks();
    const own = service.nodeAddresses()[0]!;
    const before = await start("before");
    const former = blocks();

    service.setIdentity({ name: "node-1", uid: "second" });
    assert.deepEqual(blocks(), []);
    assert.deepEqual(service.nodeAddresses(), []);
    await service.ensureBlocks();
    assert.equal(
      blocks().some((block) => former.includes(block)),
      false,
    );
    for (const address of [await start("after"), service.nodeAddresses()[0]!]) {
      const block = blocks().find((each) => cidrContains(parseCidr(each), address))!;
      assert.equal(owners().get(block), "second");
      assert.notEqual(address, own);
    }
    assert.equal(service.allocator.holder(before), "before");
    assert.equal(service.holdsInside(parseCidr(former[0]!)), true, "the pod's block must not be freed");
    service.release("before");
    assert.equal(service.holdsInside(parseCidr(former[0]!)), false);
  });

  it("do not come from blocks that OVSDB remembers of a former Node", async () => {
    const cidr = parseCidr("10.244.0.64/26");
    const memory: Memory = { blocks: [{ subnet: "default", cidr, lent: [] }], reserved: [], pods: [] };
    service.setIdentity({ name: "node-1", uid: "second" });
    service.restore(memory, [], ["10.244.0.65"], "first");
    assert.deepEqual([blocks(), service.nodeAddresses()], [[], []]);
    await service.ensureBlocks();
    assert.notDeepEqual(blocks(), []);
    assert.deepEqual(
      written.blocks.map((each) => formatCidr(each.cidr)),
      blocks(),
    );
  });

  it("come from blocks that OVSDB remembers of the same Node", () => {
    const cidr = parseCidr("10.244.0.64/26");
    service.setIdentity({ name: "node-1", uid: "first" });
    service.restore(
      { blocks: [{ subnet: "default", cidr, lent: [] }], reserved: [], pods: [] },
      [],
      ["10.244.0.65"],
      "first",
    );
    assert.deepEqual([blocks(), service.nodeAddresses()], [["10.244.0.64/26"], ["10.244.0.65"]]);
  });
});
