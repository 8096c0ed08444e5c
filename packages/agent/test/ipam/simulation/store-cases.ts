/** What the code under test takes for granted about the API: the same cases on the simulated server and on real ones. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { addressBlockManifest, ownerDigest } from "@beyondfabric/kube/kinds";
import type { AddressClaim, AddressHolder, AddressOwner } from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import type { BlockStore } from "../../../src/ipam/blocks.ts";
import * as claims from "../../../src/ipam/address-claim.ts";
import type { AddressStore } from "../../../src/ipam/claims.ts";

export interface Stores {
  readonly addresses: AddressStore;
  readonly blocks: BlockStore;
  readonly stop: () => Promise<void>;
}

const owner: AddressOwner = {
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  namespace: "default",
  name: "db",
  uid: "u",
  slot: "db-0",
};
const holder: AddressHolder = {
  namespace: "default",
  pod: "db-0",
  podUid: "pod-1",
  node: "node-1",
  nodeUid: "node-uid-1",
  mac: "02:00:00:00:00:01",
};
const node = { name: "node-1", uid: "node-uid-1" };

function firstClaim(address: string, subnet = "default"): AddressClaim {
  return claims.newClaim(address, { subnet, retention: "Sticky", owner }, holder, 1_700_000_000_000);
}

/** Registers the cases for a server. */
export function storeCases(name: string, start: () => Promise<Stores>): void {
  void describe(`addresses and blocks, ${name}`, () => {
    let stores: Stores;
    let addresses: AddressStore;
    let blocks: BlockStore;
    before(async () => {
      stores = await start();
      ({ addresses, blocks } = stores);
    });
    after(() => stores?.stop());

    void it("an address is created once, and read as it was written", async () => {
      const claim = firstClaim("10.1.0.5");
      const created = await addresses.create(claim);
      assert.ok(created !== undefined);
      assert.notEqual(created.uid, "");
      assert.deepEqual({ ...created, ...claim }, created);
      assert.equal(await addresses.create(claim), undefined);
      assert.deepEqual(await addresses.get("10.1.0.5"), created);
      assert.equal(await addresses.get("10.1.0.6"), undefined);
    });

    void it("of two swaps from one version one is lost, and the object is as the other wrote it", async () => {
      const created = (await addresses.create(firstClaim("10.1.0.10")))!;
      const bound = claims.confirm(created, { block: parseCidr("10.1.0.0/28"), nodeUid: node.uid }, 1_700_000_001_000);
      const refused = claims.refuseClaim(created, node.uid, "no");
      const results = await Promise.all([addresses.update(bound), addresses.update(refused)]);
      const won = results.filter((each) => each !== undefined);
      assert.equal(won.length, 1);
      assert.notEqual(won[0]!.resourceVersion, created.resourceVersion);
      assert.deepEqual(await addresses.get("10.1.0.10"), won[0]);
    });

    void it("what is taken away is gone, and what nobody changed stays", async () => {
      const created = (await addresses.create(firstClaim("10.1.0.11")))!;
      const bound = (await addresses.update(claims.confirm(created, undefined, 1_700_000_001_000)))!;
      const retained = (await addresses.update(claims.releaseClaim(bound, "PodDeleted", 1_700_000_002_000)!))!;
      assert.equal(retained.holder, undefined);
      assert.equal(retained.history.length, 1);
      const free = (await addresses.update(claims.reclaim(retained, 1_700_000_003_000)))!;
      assert.equal(free.owner, undefined);
      assert.equal(free.uid, created.uid);
      assert.deepEqual(await addresses.get("10.1.0.11"), free);
    });

    void it("a swap that changes nothing gives no new version", async () => {
      const created = (await addresses.create(firstClaim("10.1.0.12")))!;
      assert.deepEqual(await addresses.update(created), created);
    });

    void it("a swap or deletion that judged another version, or another object of the name, does nothing", async () => {
      const created = (await addresses.create(firstClaim("10.1.0.13")))!;
      const bound = (await addresses.update(claims.confirm(created, undefined, 1_700_000_001_000)))!;
      assert.equal(await addresses.delete(created), false);
      assert.equal(await addresses.delete(bound), true);
      assert.equal(await addresses.delete(bound), false);
      assert.equal(await addresses.update(bound), undefined);
      const anew = (await addresses.create(firstClaim("10.1.0.13")))!;
      assert.equal(await addresses.update(bound), undefined);
      assert.equal(await addresses.delete(bound), false);
      assert.deepEqual(await addresses.get("10.1.0.13"), anew);
    });

    void it("an owner's addresses are those that name it now, a subnet's those inside the prefix", async () => {
      const mine = { ...owner, name: "listed", slot: "listed-0" };
      const names = async (): Promise<string[]> =>
        (await addresses.listOwner(ownerDigest(mine))).map(({ address }) => address).sort();
      const first = (await addresses.create({ ...firstClaim("10.2.0.1", "other"), owner: mine }))!;
      await addresses.create({ ...firstClaim("10.2.0.9", "other"), owner: mine });
      await addresses.create({ ...firstClaim("10.2.0.2", "other"), owner: { ...mine, slot: "listed-1" } });
      assert.deepEqual(await names(), ["10.2.0.1", "10.2.0.9"]);
      await addresses.update(claims.reclaim(first, 1_700_000_001_000));
      assert.deepEqual(await names(), ["10.2.0.9"]);
      const inside = await addresses.listInside(parseCidr("10.2.0.0/29"), "other");
      assert.deepEqual(inside.map(({ address }) => address).sort(), ["10.2.0.1", "10.2.0.2"]);
      assert.deepEqual(await addresses.listInside(parseCidr("10.2.0.0/29"), "default"), []);
    });

    void it("a block is created once, lends by swap and is deleted as it was judged", async () => {
      const cidr = parseCidr("10.3.0.0/28");
      const manifest = addressBlockManifest("default", cidr, node);
      const created = (await blocks.create(manifest))!;
      assert.equal(await blocks.create(manifest), undefined);
      const lent = (await blocks.lend(created, [parseCidr("10.3.0.8/29")]))!;
      assert.deepEqual(lent.lent, [parseCidr("10.3.0.8/29")]);
      assert.equal(await blocks.lend(created, []), undefined);
      assert.equal(await blocks.delete(created), false);
      assert.deepEqual(await blocks.get(created.name), lent);
      assert.equal(await blocks.delete(lent), true);
      assert.equal(await blocks.lend(lent, []), undefined);
      assert.equal(await blocks.get(created.name), undefined);
    });

    void it("of many blocks those that exist are read, whatever they are of", async () => {
      const names: string[] = [];
      for (const cidr of ["10.4.0.0/28", "10.4.0.8/29", "10.4.0.16/28", "fd04::/124"]) {
        names.push((await blocks.create(addressBlockManifest("default", parseCidr(cidr), node)))!.name);
      }
      const absent = Array.from({ length: 40 }, (_, index) => `10-5-0-${index}-32`);
      const found = await blocks.existing([...absent, ...names.slice(1)]);
      assert.deepEqual(found.map(({ name }) => name).sort(), names.slice(1).sort());
      assert.deepEqual(await blocks.existing([]), []);
    });
  });
}
