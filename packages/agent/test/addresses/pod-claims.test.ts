/** Claims of starting and ending pods: what is waited for, remembered, said and given up. The API is the simulation's, OVSDB is real. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { LabelSet, type EventRecorder } from "@beyondfabric/kube";
import { ipAddressName, type IpAddressRecord } from "@beyondfabric/kube/kinds";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { formatCidr, parseCidr, type Ip } from "@beyondfabric/packet";
import { OvsdbServer, until } from "../../../ovsdb/test/ovsdb-server.ts";
import { DurableMemory } from "../../src/addresses/durable-memory.ts";
import { AddressEvents } from "../../src/addresses/events.ts";
import { PodClaims, type ClaimedPlan } from "../../src/addresses/pod-claims.ts";
import { macOf } from "../../src/attachment/mac.ts";
import type { OwnPodRecord } from "../../src/directory/records.ts";
import { grantClaim } from "../../src/ipam/address-claim.ts";
import { candidatesOf } from "../../src/ipam/candidates.ts";
import { createLogger } from "../../src/log.ts";
import { monitoredTables, owner, ownerKey, type SwitchTables } from "../../src/switch/database.ts";
import { addressStore, SimulatedApi } from "../ipam/simulation/simulated-api.ts";
import { block, subnet } from "./objects.ts";

const node = { name: "node-1", uid: "uid-node-1" };
const office = subnet("office", ["10.50.0.0/16"]);

function podNamed(name: string, change: Partial<OwnPodRecord> = {}): OwnPodRecord {
  const record = { namespace: "shop", name, uid: `uid-${name}`, annotations: {}, labels: LabelSet.empty };
  return { ...record, leaving: false, ended: false, ...change };
}

function plan(pod: OwnPodRecord, ...addresses: Ip[]): ClaimedPlan {
  const ranges = addresses.map((address) => ({ family: 4 as const, first: address, last: address }));
  const owner = { apiVersion: "v1", kind: "Pod", namespace: "shop", name: pod.name, uid: pod.uid, slot: "" };
  const source = "annotation beyondfabric.io/ip";
  const of = { subnet: office, mac: undefined, source, owner, pool: undefined };
  return {
    kind: "named",
    ...of,
    retention: addresses.length > 1 ? "Pool" : "Fixed",
    candidates: candidatesOf(ranges, { seed: 0n }),
  };
}

describe("claims of a node's pods", () => {
  let server: OvsdbServer;
  let database: OvsdbClient;
  let cache: Cache<SwitchTables>;
  let memory: DurableMemory;
  let restarted: () => DurableMemory;
  let api: SimulatedApi;
  let claims: PodClaims;
  let isInformed: boolean;
  /** Of the API: which pods exist, by name. */
  let pods: Map<string, string>;
  /** What the watch shows of this node's pods. */
  let shown: Map<string, OwnPodRecord>;
  let attached: Map<string, readonly Ip[]>;
  let said: string[];
  let blocks: { cidr: ReturnType<typeof parseCidr>; node: string; nodeUid: string }[];

  before(async () => {
    server = await OvsdbServer.create();
    await server.start();
    await server.vsctl("--no-wait", "init");
    database = new OvsdbClient({ address: server.address });
    cache = database.monitor<SwitchTables>(monitoredTables);
    await database.start({ timeoutMs: 20_000 });
  });
  after(async () => {
    await database.stop();
    await server.destroy();
  });

  let bridges = 0;
  beforeEach(async () => {
    const bridge = `br${++bridges}`;
    await server.vsctl(
      "--no-wait",
      "add-br",
      bridge,
      "--",
      "set",
      "bridge",
      bridge,
      `external_ids:"${ownerKey}"=${owner}`,
    );
    const isKnown = (row: SwitchTables["Bridge"]): boolean =>
      row.name === bridge && row.external_ids[ownerKey] === owner;
    await until("the bridge is known", () => cache.find("Bridge", isKnown) !== undefined);
    restarted = () => {
      const read = new DurableMemory({ database, cache, bridge });
      read.restore();
      return read;
    };
    memory = restarted();
    api = new SimulatedApi();
    isInformed = true;
    pods = new Map();
    shown = new Map();
    attached = new Map();
    said = [];
    blocks = [];
    const recorder: Pick<EventRecorder, "record"> = {
      record: ({ kind }, _type, reason, message) => void said.push(`${kind} ${reason}: ${message}`),
    };
    claims = new PodClaims({
      memory,
      events: new AddressEvents(recorder),
      logger: createLogger("silent", node.name),
      macOf,
      isInformed: () => isInformed,
      ownPod: (_namespace, name) => shown.get(name),
      seen: (address) => api.get("addresses", ipAddressName(address)),
      heldHere: () => api.list("addresses").filter(({ holder }) => holder?.node === node.name),
      isAttached: (uid, address) => {
        const addresses = attached.get(uid);
        return addresses !== undefined && (address === undefined || addresses.includes(address));
      },
      onWritten: () => {},
    });
    claims.setEnvironment(node, {
      store: addressStore(api, async (_name, request) => request()),
      reads: {
        blocksAround: async () =>
          blocks.map(({ cidr, node: name, nodeUid }) => ({
            ...block("office", formatCidr(cidr), name),
            nodeUid,
          })),
        podUid: async (_namespace, name) => pods.get(name),
      },
      own: {
        draw: () => assert.fail("no address of a block is wanted"),
        reserve: () => assert.fail("no own block is there"),
        settled: () => {},
      },
      now: () => Date.now(),
    });
  });
  const stored = (address: Ip): IpAddressRecord | undefined => api.get("addresses", ipAddressName(address));
  /** A pod with an interface. */
  const running = async (name: string, ...addresses: Ip[]): Promise<OwnPodRecord> => {
    const pod = podNamed(name);
    pods.set(name, pod.uid);
    shown.set(name, pod);
    const claimed = await claims.obtain(pod, plan(pod, ...addresses), undefined);
    attached.set(pod.uid, claimed.addresses);
    return pod;
  };

  it("are in OVSDB when the pod may use them, and serve it while nobody else can be asked", async () => {
    const pod = await running("web", "10.50.0.5");
    assert.equal(stored("10.50.0.5")?.phase, "Bound");
    assert.equal(stored("10.50.0.5")?.holder?.mac, "0a:58:0a:32:00:05");
    assert.ok(said.some((each) => each.startsWith("Pod AddressClaimed: shop/web on node node-1 has 10.50.0.5")));
    await until("OVSDB has it", () => restarted().podClaim(pod.uid) !== undefined);
    assert.deepEqual(restarted().podClaim(pod.uid)?.addresses, ["10.50.0.5"]);

    assert.deepEqual(claims.remembered(pod, plan(pod, "10.50.0.5"))?.addresses, ["10.50.0.5"]);
    assert.equal(claims.remembered(pod, plan(pod, "10.50.0.6")), undefined, "the plan is another by now");
    // Somebody took it away: as long as that can be heard it counts.
    api.delete("addresses", ipAddressName("10.50.0.5"));
    assert.equal(claims.remembered(pod, plan(pod, "10.50.0.5")), undefined);
    isInformed = false;
    assert.deepEqual(claims.remembered(pod, plan(pod, "10.50.0.5"))?.addresses, ["10.50.0.5"]);
  });

  it("of others are named to the pod that wants them, one by name, a list as a whole", async () => {
    await running("first", "10.50.0.5");
    const second = podNamed("second");
    await assert.rejects(claims.obtain(second, plan(second, "10.50.0.5"), undefined), { code: "IPAM_ADDRESS_TAKEN" });
    assert.ok(said.some((each) => /^Pod AddressConflict: .*held by pod shop\/first on node node-1/.test(each)));
    assert.ok(said.some((each) => each.startsWith("IPAddress AddressConflict: ")));
    await running("third", "10.50.0.6");
    const list = plan(second, "10.50.0.5", "10.50.0.6");
    await assert.rejects(claims.obtain(second, list, undefined), { code: "IPAM_POOL_EXHAUSTED" });
  });

  it("wait for the owner of the block around the address, and go on when it is heard", async () => {
    blocks = [{ cidr: parseCidr("10.50.0.0/26"), node: "node-2", nodeUid: "uid-node-2" }];
    const pod = podNamed("web");
    let isDone = false;
    const obtained = claims.obtain(pod, plan(pod, "10.50.0.5"), undefined).finally(() => (isDone = true));
    await until("the pod is told for whom it waits", () =>
      said.some((each) => /AddressPending: .*node node-2/.test(each)),
    );
    assert.equal(stored("10.50.0.5")?.phase, "Pending");
    assert.equal(isDone, false);
    assert.equal(claims.isPresent(pod.uid), true, "nobody may take it for abandoned");
    api.update("addresses", grantClaim(stored("10.50.0.5")!, blocks[0]!.cidr, "uid-node-2"));
    claims.heard();
    assert.deepEqual((await obtained).addresses, ["10.50.0.5"]);
    assert.equal(stored("10.50.0.5")?.phase, "Bound");
    assert.equal(claims.isPresent(pod.uid), false);
  });

  it("are given up when the pod is on its way out and its interface is gone, not before", async () => {
    const pod = await running("web", "10.50.0.5");
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Bound");
    // The runtime makes the pod's network anew: the pod is still there.
    attached.delete(pod.uid);
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Bound");
    attached.set(pod.uid, ["10.50.0.5"]);
    shown.set("web", { ...pod, leaving: true });
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Bound");
    attached.delete(pod.uid);
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Retained");
    assert.equal(stored("10.50.0.5")?.history.at(-1)?.reason, "PodDeleted");
    assert.equal(memory.podClaim(pod.uid), undefined);
    assert.ok(said.some((each) => /^IPAddress AddressReleased: .*kept for Pod shop\/web/.test(each)));
  });

  it("of a pod that the watch does not show are given up only when the API server has it no more", async () => {
    const pod = await running("web", "10.50.0.5");
    attached.delete(pod.uid);
    shown.delete("web");
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Bound", "the watch may be late");
    pods.set("web", "uid-successor");
    isInformed = false;
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Bound", "nothing is decided while a watch is down");
    isInformed = true;
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Retained");
  });

  it("that only the API knows of, because the agent died in between, are given up too", async () => {
    const pod = await running("web", "10.50.0.5", "10.50.0.6");
    await memory.forgetPod(pod.uid);
    attached.delete(pod.uid);
    shown.delete("web");
    pods.delete("web");
    await claims.review();
    assert.equal(stored("10.50.0.5")?.phase, "Released");
  });

  it("need the API server at first", async () => {
    const fresh = new PodClaims({
      ...({} as ConstructorParameters<typeof PodClaims>[0]),
      memory,
      isInformed: () => false,
    });
    const pod = podNamed("web");
    await assert.rejects(fresh.obtain(pod, plan(pod, "10.50.0.5"), undefined), { code: "AGENT_API_NEEDED" });
  });
});
