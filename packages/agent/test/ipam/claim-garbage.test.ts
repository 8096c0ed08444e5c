import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { claimRetained, newClaim, releaseClaim } from "../../src/ipam/address-claim.ts";
import { ClaimGarbage, collect } from "../../src/ipam/claim-garbage.ts";
import type { AddressHolder, AddressOwner, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { addressStore, SimulatedApi } from "./simulation/simulated-api.ts";

const node = { name: "node-1", uid: "me" };
const owner: AddressOwner = {
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  namespace: "shop",
  name: "db",
  uid: "set",
  slot: "db-0",
};
const holder: AddressHolder = {
  namespace: "shop",
  pod: "db-0",
  podUid: "pod",
  node: node.name,
  nodeUid: node.uid,
  mac: "02:00:00:00:00:01",
};
const options = {
  graceMilliseconds: 10,
  stepMilliseconds: 10,
  reclaimMilliseconds: 1000,
  historyMilliseconds: 100_000,
};

void describe("an address that is kept for an owner which still wants it", () => {
  /** What becomes of it in some rounds, each later than all delays. */
  async function rounds(isLeaving: boolean): Promise<string[]> {
    const api = new SimulatedApi();
    const store = addressStore(api, async (_name, request) => request());
    const terms = { subnet: "default", retention: "Sticky" as const, owner };
    const created = (await store.create(newClaim("10.0.0.9", terms, holder, 0)))!;
    const bound = (await store.update(claimRetained(created, terms, holder, 0)))!;
    await store.update(releaseClaim(bound, "PodDeleted", 1)!);
    const garbage = new ClaimGarbage(node, options);
    const state = { exists: true, uid: "set", replicas: 1 };
    const leaving = (): boolean => isLeaving;
    const phases: string[] = [];
    for (let now = 2000; now < 14_000; now += 2000) {
      const view = {
        claims: api.list("addresses"),
        nodes: [node],
        hasPod: () => false,
        isAttached: () => false,
        ownerState: () => state,
        isLeaving: leaving,
      };
      for (const finding of garbage.due(view, now, now)) {
        await collect(finding, options, {
          node,
          store,
          reads: { podUid: async () => undefined, nodeUid: async () => "me", ownerState: async () => state },
          isAttached: () => false,
          isLeaving: leaving,
          now: () => now,
        });
      }
      const [record] = api.list("addresses") as [IpAddressRecord];
      phases.push(record.reclaimAt === undefined ? record.phase : `${record.phase} until ${record.reclaimAt}`);
    }
    return phases;
  }

  void it("stays kept", async () => {
    assert.deepEqual(new Set(await rounds(false)), new Set(["Retained"]));
  });

  void it("is released past the delay when its subnet was deleted: nobody is given an address of that any more", async () => {
    const phases = await rounds(true);
    assert.equal(phases[0], "Retained", "it is seen twice");
    assert.match(phases[1]!, /^Retained until /);
    assert.equal(phases.at(-1), "Released");
  });
});
