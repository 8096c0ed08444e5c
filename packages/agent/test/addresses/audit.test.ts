import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { KubeClient, loadKubeconfig, nodeResource, podResource, type Pod } from "@beyondfabric/kube";
import {
  addressBlockKind,
  addressBlockManifest,
  addressBlockStatus,
  ipAddressKind,
  ipAddressManifest,
  parseSubnet,
  type AddressClaim,
  type IpAddressRecord,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import { load as parseYaml } from "js-yaml";
import { embedded, type RunningPlane } from "../../../apiserver/test/harness.ts";
import { AddressAudit } from "../../src/addresses/audit.ts";
import { AddressFactReader } from "../../src/directory/address-facts.ts";
import { AddressStore } from "../../src/directory/address-store.ts";
import { blockStore, orphanReads } from "../../src/directory/block-store.ts";
import { claimReads } from "../../src/directory/claim-reads.ts";
import { OwnerStates } from "../../src/directory/owner-states.ts";
import { createLogger } from "../../src/log.ts";

const definitions = resolve(import.meta.dirname, "../../../../deploy/crds");
const subnetManifest = {
  apiVersion: "beyondfabric.io/v1alpha1",
  kind: "Subnet",
  metadata: { name: "office" },
  spec: { network: "overlay", cidrs: ["10.0.0.0/24"], blockLength: { ipv4: 28 } },
};

describe("the audit, on an API server", () => {
  let plane: RunningPlane;
  let client: KubeClient;
  let store: AddressStore;
  let audit: AddressAudit;
  let subnet: Subnet;
  const nodes = [
    { name: "node-1", uid: "", gatewayAddresses: ["10.0.0.2"] },
    { name: "node-2", uid: "", gatewayAddresses: [] },
  ];
  /** Resolved as pods are read, which ends a look. */
  let look = Promise.withResolvers<void>();
  const freed: [string, string | undefined][] = [];
  const attached = new Set<string>();
  let isListed = true;

  before(async () => {
    plane = await embedded();
    client = new KubeClient(loadKubeconfig(plane.client.kubeconfig));
    for (const file of readdirSync(definitions)) {
      const body = parseYaml(readFileSync(resolve(definitions, file), "utf8"));
      const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
      assert.equal((await plane.client.api("POST", path, { body })).status, 201);
    }
    const parsed = parseSubnet(subnetManifest);
    subnet = parsed.ok ? parsed.value : assert.fail();
    for (const node of nodes) {
      const manifest = { apiVersion: "v1", kind: "Node", metadata: { name: node.name } };
      node.uid = (await client.create<{ metadata: { uid: string } }>(nodeResource, manifest)).metadata.uid;
    }
    store = new AddressStore(client);
    const reads = claimReads(client);
    const owners = new OwnerStates(client, []);
    class WatchedReader extends AddressFactReader {
      override async pods(): ReturnType<AddressFactReader["pods"]> {
        const pods = await super.pods();
        look.resolve();
        return pods;
      }
    }
    audit = new AddressAudit({
      reader: new WatchedReader({ client, blocksAround: (...about) => reads.blocksAround(...about) }),
      watched: { nodes: () => nodes, subnets: () => [subnet], isListed: () => isListed },
      ownerState: (owner) => owners.read(owner),
      repairing: () => ({
        node: nodes[0]!,
        addresses: store,
        blocks: blockStore(client),
        reads: { ...orphanReads(client), podUid: (...pod) => reads.podUid(...pod) },
        isAttached: (uid) => attached.has(uid),
      }),
      onReleased: (was, left) => freed.push([was.address, left?.phase]),
      logger: createLogger("silent", "node-1"),
      secondLookMilliseconds: 200,
    });
  });
  after(async () => {
    await client?.close();
    await plane?.stop();
  });
  beforeEach(async () => {
    freed.length = 0;
    look = Promise.withResolvers<void>();
    for (const kind of [ipAddressKind, addressBlockKind]) {
      const names = await client.listAll(kind, (raw) => (raw as { metadata: { name: string } }).metadata.name);
      for (const name of names.records) await client.delete(kind, name);
    }
    const pods = await client.listAll(podResource, (raw) => (raw as Pod).metadata?.name);
    for (const name of pods.records)
      await client.delete(podResource, name, { namespace: "default", gracePeriodSeconds: 0 });
  });

  /** A pod that shows addresses; its UID. */
  async function pod(name: string, node: string, ...addresses: string[]): Promise<string> {
    const manifest = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default" },
      spec: { nodeName: node, containers: [{ name: "main", image: "none" }] },
    };
    const made = await client.create<Pod>(podResource, manifest);
    const podIPs = addresses.map((ip) => ({ ip }));
    const status = { phase: "Running", podIP: addresses[0], podIPs };
    if (addresses.length > 0) {
      await client.patch(podResource, name, { status }, { namespace: "default", subresource: "status" });
    }
    return made.metadata!.uid!;
  }

  function claimOf(address: string, holder: string, podUid: string, more: Partial<AddressClaim> = {}): AddressClaim {
    const { name: node, uid: nodeUid } = nodes[0]!;
    const owner = {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      namespace: "default",
      name: "db",
      uid: "",
      slot: holder,
    };
    return {
      address,
      subnet: "office",
      pool: undefined,
      retention: "Sticky",
      owner,
      holder: { namespace: "default", pod: holder, podUid, node, nodeUid, mac: "02:00:00:00:00:01" },
      phase: "Bound",
      since: Date.now() - 60_000,
      grant: undefined,
      refusal: undefined,
      reclaimAt: undefined,
      history: [],
      ...more,
    };
  }

  async function claim(...about: Parameters<typeof claimOf>): Promise<IpAddressRecord> {
    return (await store.create(claimOf(...about))) ?? assert.fail(`${about[0]} is claimed already`);
  }

  async function block(
    cidr: string,
    node: { name: string; uid: string },
    allocations: [string, string, string][] = [],
  ): Promise<void> {
    const manifest = addressBlockManifest("office", parseCidr(cidr), node);
    await client.create(addressBlockKind, manifest);
    const published = allocations.map(([address, name, uid]) => ({ address, pod: `default/${name}`, uid, since: 0 }));
    const status = addressBlockStatus({
      used: published.length,
      free: 1,
      allocations: published,
      history: [{ address: "10.0.0.5", pod: "default/old", uid: "uid-old", from: 0, until: 1000 }],
    });
    await client.patch(addressBlockKind, manifest.metadata.name, { status }, { subresource: "status" });
  }

  it("finds nothing wrong with a sound cluster, and tells who has what", async () => {
    const web = await pod("web", "node-1", "10.0.0.3");
    const db = await pod("db-0", "node-1", "10.0.0.20");
    await block("10.0.0.0/28", nodes[0]!, [["10.0.0.3", "web", web]]);
    await claim("10.0.0.20", "db-0", db);
    const { findings, looked } = await audit.check();
    assert.deepEqual(findings, []);
    assert.deepEqual(looked, { claims: 1, blocks: 1, pods: 2, nodes: 2, subnets: 1 });

    const all = await audit.list({ free: false, limit: 10 });
    assert.deepEqual(
      all.addresses.map(({ address, state, user }) => [address, state, user?.pod]),
      [
        ["10.0.0.2", "node", undefined],
        ["10.0.0.3", "pod", "web"],
        ["10.0.0.20", "bound", "db-0"],
      ],
    );
    assert.equal(all.more, false);
    const some = await audit.list({ free: false, limit: 2, subnet: "office" });
    assert.deepEqual([some.addresses.length, some.more], [2, true]);
    const free = await audit.list({ free: true, limit: 2, subnet: "office" });
    assert.deepEqual([free.addresses.map(({ address }) => address), free.more], [["10.0.0.4", "10.0.0.5"], true]);
    assert.deepEqual(
      (await audit.list({ free: false, limit: 9, subnet: "other" })).addresses.map(({ state }) => state),
      [],
    );

    const { account } = await audit.account("10.0.0.3");
    assert.deepEqual([account.user?.uid, account.block], [web, { cidr: "10.0.0.0/28", node: "node-1" }]);
    assert.equal((await audit.account("10.0.0.20")).account.owner?.name, "db");
    assert.equal((await audit.account("192.0.2.1")).account.state, "outside");
    const told = (await audit.history({ address: "10.0.0.5" })).tenures;
    assert.deepEqual(
      told.map(({ pod: name, until, source }) => [name, until, source]),
      [["old", 1000, "AddressBlock"]],
    );
    const ofPod = (await audit.history({ pod: { namespace: "default", name: "db-0" } })).tenures;
    assert.deepEqual(
      ofPod.map(({ address, uid }) => [address, uid]),
      [["10.0.0.20", db]],
    );
  });

  it("releases what a pod that is gone holds, once, and as the version that was judged", async () => {
    await claim("10.0.0.20", "db-0", "uid-gone");
    const [finding] = (await audit.check()).findings;
    assert.equal(finding?.rule, "HolderGone");
    const steps = finding.repair!;

    await client.patch(ipAddressKind, "10-0-0-20", { metadata: { labels: { touched: "yes" } } });
    assert.deepEqual((await audit.repair(steps)).results, [{ step: steps[0], state: "changed" }]);
    const again = (await audit.check()).findings[0]!.repair!;
    attached.add("uid-gone");
    const [refused] = (await audit.repair(again)).results;
    assert.equal(refused?.state, "refused");
    assert.match(refused.message!, /still has its interface on this node/);
    attached.clear();

    assert.deepEqual(
      (await audit.repair(again)).results.map(({ state }) => state),
      ["done"],
    );
    const left = await store.get("10.0.0.20");
    assert.deepEqual([left?.phase, left?.history.at(-1)?.reason], ["Retained", "ReleasedByOperator"]);
    assert.deepEqual(freed, [["10.0.0.20", "Retained"]]);
    assert.deepEqual(
      (await audit.repair(again)).results.map(({ state }) => state),
      ["changed"],
    );
  });

  it("does not release what has its pod when the person answers", async () => {
    const judged = await claim("10.0.0.20", "db-0", await pod("db-0", "node-1"));
    const { name, uid, resourceVersion } = judged;
    const step = { action: "release", kind: "IPAddress", name, uid, resourceVersion } as const;
    const [result] = (await audit.repair([step])).results;
    assert.deepEqual([result?.state, result?.message], ["refused", "pod default/db-0 is there"]);
    assert.equal((await store.get("10.0.0.20"))?.phase, "Bound");
  });

  it("takes a retained address back only past its time", async () => {
    const retained = { holder: undefined, phase: "Retained" } as const;
    const due = await claim("10.0.0.20", "db-0", "", { ...retained, reclaimAt: Date.now() - 120_000 });
    const later = await claim("10.0.0.21", "db-1", "", { ...retained, reclaimAt: Date.now() + 120_000 });
    const { findings } = await audit.check();
    assert.deepEqual(
      findings.map(({ rule, address }) => [rule, address]),
      [["RetainedTooLong", "10.0.0.20"]],
    );
    const steps = [due, later].map(({ name, uid, resourceVersion }) => ({
      action: "reclaim" as const,
      kind: "IPAddress" as const,
      name,
      uid,
      resourceVersion,
    }));
    assert.deepEqual(
      (await audit.repair(steps)).results.map(({ state }) => state),
      ["done", "refused"],
    );
    assert.deepEqual(
      [(await store.get("10.0.0.20"))?.phase, (await store.get("10.0.0.21"))?.phase],
      ["Released", "Retained"],
    );
  });

  it("asks for the owners of what is retained without a time", async () => {
    await claim("10.0.0.20", "db-0", "", { holder: undefined, phase: "Retained", since: Date.now() - 120_000 });
    assert.deepEqual(
      (await audit.check()).findings.map(({ rule }) => rule),
      ["OwnerGone"],
    );
  });

  it("frees a block whose node is gone, unless pods of that node may have its addresses", async () => {
    const gone = { name: "node-9", uid: "uid-node-9" };
    await block("10.0.0.16/28", gone);
    const [finding] = (await audit.check()).findings;
    assert.equal(finding?.rule, "BlockWithoutNode");
    await pod("silent", "node-9");
    const [refused] = (await audit.repair(finding.repair!)).results;
    assert.equal(refused?.state, "refused", "it may get its address at any moment");
    await client.delete(podResource, "silent", { namespace: "default", gracePeriodSeconds: 0 });
    assert.deepEqual(
      (await audit.repair(finding.repair!)).results.map(({ state }) => state),
      ["done"],
    );
    assert.deepEqual((await audit.check()).findings, []);
  });

  it("does not believe what it sees only once", async () => {
    await claim("10.0.0.20", "db-0", "uid-gone");
    const checking = audit.check();
    assert.equal(checking, audit.check(), "whoever asks meanwhile gets the same answer");
    await look.promise;
    await client.delete(ipAddressKind, "10-0-0-20");
    assert.deepEqual((await checking).findings, []);
  });

  it("tells of an object that cannot be read", async () => {
    const { apiVersion, kind, metadata, spec, status } = ipAddressManifest(
      claimOf("10.0.0.77", "db-0", await pod("db-0", "node-1")),
    );
    // No API server can tell that the address does not lie in the block that granted it.
    const grant = { block: "10.9.0.0/28", nodeUid: "uid-node-9" };
    const object = { apiVersion, kind, metadata, spec, status: { ...status, grant } };
    await client.create(ipAddressKind, object);
    const { findings } = await audit.check();
    assert.deepEqual(
      findings.map(({ rule, object: name }) => [rule, name]),
      [["Unreadable", "IPAddress/10-0-0-77"]],
    );
  });

  it("says nothing before everything was listed", async () => {
    isListed = false;
    try {
      await assert.rejects(audit.check(), { code: "AGENT_API_NEEDED" });
      await assert.rejects(audit.list({ free: false, limit: 1 }), { code: "AGENT_API_NEEDED" });
    } finally {
      isListed = true;
    }
  });
});
