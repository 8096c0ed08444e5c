import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { ownerState } from "../../src/directory/owner-states.ts";
import {
  claimFact,
  auditPodRecord,
  gatewayAddressesAnnotation,
  namespaceRecord,
  nodeRecord,
  ownPodRecord,
  podRecord,
  tunnelAddressAnnotation,
} from "../../src/directory/records.ts";
import { claim, kept } from "../addresses/objects.ts";

const pod = {
  metadata: { name: "web", namespace: "shop", uid: "u1", creationTimestamp: "2026-01-02T03:04:05Z" },
  spec: { nodeName: "node-1" },
  status: { phase: "Running", podIP: "10.244.1.5", podIPs: [{ ip: "10.244.1.5" }, { ip: "FD00:244::0:5" }] },
};
const node = {
  metadata: {
    name: "node-1",
    uid: "n1",
    annotations: { [tunnelAddressAnnotation]: "10.10.0.11", [gatewayAddressesAnnotation]: "10.244.1.1,FD00:244::1" },
  },
};

/** Objects of the right shape with anything at all somewhere in them. */
function anyMangled(sound: unknown): fc.Arbitrary<unknown> {
  const junk = fc.oneof(
    fc.constantFrom(null, undefined, 0, true, "", [], {}, [null], [{}], [{ ip: 7 }], "10.244.1.5/24"),
    fc.jsonValue(),
  );
  if (sound === null || typeof sound !== "object") return fc.oneof({ weight: 4, arbitrary: fc.constant(sound) }, junk);
  const inside: fc.Arbitrary<unknown> = Array.isArray(sound)
    ? fc.tuple(...sound.map(anyMangled))
    : fc.record(Object.fromEntries(Object.entries(sound).map(([key, value]) => [key, anyMangled(value)])));
  return fc.oneof({ weight: 8, arbitrary: inside }, junk);
}

describe("a pod as an audit sees it", () => {
  it("is there before it has addresses or a node, and knows both of its UIDs", () => {
    const seen = {
      namespace: "shop",
      name: "web",
      uid: "u1",
      node: "node-1",
      addresses: ["10.244.1.5", "fd00:244::5"],
    };
    assert.deepEqual(auditPodRecord(pod), seen);
    assert.deepEqual(auditPodRecord({ metadata: pod.metadata }), { ...seen, node: "", addresses: [] });
    const mirror = { ...pod.metadata, annotations: { "kubernetes.io/config.hash": "runtime-uid" } };
    assert.equal(auditPodRecord({ ...pod, metadata: mirror })?.staticUid, "runtime-uid");
  });

  it("is none that has ended or shares its node's network, and none that is mangled", () => {
    assert.equal(auditPodRecord({ ...pod, status: { ...pod.status, phase: "Failed" } }), undefined);
    assert.equal(auditPodRecord({ ...pod, spec: { ...pod.spec, hostNetwork: true } }), undefined);
    fc.assert(fc.property(anyMangled(pod), (mangled) => void auditPodRecord(mangled)));
  });
});

describe("a pod of the API", () => {
  it("is kept with its addresses in one form", () => {
    assert.deepEqual(podRecord(pod), {
      namespace: "shop",
      name: "web",
      uid: "u1",
      node: "node-1",
      addresses: ["10.244.1.5", "fd00:244::5"],
      created: Date.UTC(2026, 0, 2, 3, 4, 5),
    });
    const single = { ...pod, status: { podIP: "10.244.1.5" } };
    assert.deepEqual(podRecord(single)?.addresses, ["10.244.1.5"]);
  });

  it("is left out when it holds no address of its own", () => {
    assert.equal(podRecord({ ...pod, status: {} }), undefined);
    assert.equal(podRecord({ ...pod, spec: {} }), undefined);
    assert.equal(podRecord({ ...pod, spec: { ...pod.spec, hostNetwork: true } }), undefined);
    for (const phase of ["Succeeded", "Failed"]) {
      assert.equal(podRecord({ ...pod, status: { ...pod.status, phase } }), undefined, phase);
    }
  });

  it("that is malformed never throws, and what is kept of it has the right types", () => {
    fc.assert(
      fc.property(anyMangled(pod), (raw) => {
        const record = podRecord(raw);
        if (record === undefined) return;
        for (const text of [record.namespace, record.name, record.uid, record.node])
          assert.equal(typeof text, "string");
        assert.ok(record.addresses.length > 0);
        for (const address of record.addresses) assert.ok(["10.244.1.5", "fd00:244::5"].includes(address));
        assert.ok(Number.isFinite(record.created));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a node of the API", () => {
  it("is kept with where its tunnels end and its addresses", () => {
    assert.deepEqual(nodeRecord(node), {
      name: "node-1",
      uid: "n1",
      gatewayAddresses: ["10.244.1.1", "fd00:244::1"],
      tunnelAddress: "10.10.0.11",
    });
    assert.deepEqual(nodeRecord({ metadata: { name: "node-1", uid: "n1" } }), {
      name: "node-1",
      uid: "n1",
      gatewayAddresses: [],
    });
  });

  it("that is malformed never throws, and what is kept of it has the right types", () => {
    fc.assert(
      fc.property(anyMangled(node), (raw) => {
        const record = nodeRecord(raw);
        if (record === undefined) return;
        for (const text of [record.name, record.uid]) assert.equal(typeof text, "string");
        assert.ok(record.tunnelAddress === undefined || record.tunnelAddress === "10.10.0.11");
        for (const address of record.gatewayAddresses) assert.ok(["10.244.1.1", "fd00:244::1"].includes(address));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a pod of this node", () => {
  const own = {
    metadata: {
      ...pod.metadata,
      annotations: {
        "beyondfabric.io/ip": "10.244.1.5",
        "ovn.kubernetes.io/ip_pool": "web",
        "example.org/large": "x".repeat(1000),
      },
      labels: { app: "web" },
      ownerReferences: [
        { apiVersion: "v1", kind: "Other", name: "o", uid: "1" },
        { apiVersion: "apps/v1", kind: "StatefulSet", name: "db", uid: "2", controller: true },
      ],
    },
    spec: { nodeName: "node-1" },
    status: { phase: "Pending" },
  };

  it("is known before it has an address, with what decides about it and no more", () => {
    const record = ownPodRecord(own, "node-1");
    assert.deepEqual(record?.annotations, { "beyondfabric.io/ip": "10.244.1.5", "ovn.kubernetes.io/ip_pool": "web" });
    assert.deepEqual(record?.controller, { apiVersion: "apps/v1", kind: "StatefulSet", name: "db", uid: "2" });
    assert.equal(record?.labels.get("app"), "web");
    assert.deepEqual([record?.leaving, record?.ended], [false, false]);
  });

  it("is none that runs elsewhere, is bound nowhere, or shares its node's network", () => {
    assert.equal(ownPodRecord(own, "node-2"), undefined);
    assert.equal(ownPodRecord({ ...own, spec: {} }, "node-1"), undefined);
    assert.equal(ownPodRecord({ ...own, spec: { nodeName: "node-1", hostNetwork: true } }, "node-1"), undefined);
  });

  it("says that it is on its way out, and that it has ended", () => {
    const leaving = { ...own, metadata: { ...own.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
    assert.equal(ownPodRecord(leaving, "node-1")?.leaving, true);
    assert.equal(ownPodRecord({ ...own, status: { phase: "Failed" } }, "node-1")?.ended, true);
  });

  it("and a namespace that are malformed never throw, and what is kept has the right types", () => {
    fc.assert(
      fc.property(anyMangled(own), (raw) => {
        const record = ownPodRecord(raw, "node-1");
        const namespace = namespaceRecord(raw);
        for (const each of [record, namespace]) {
          if (each === undefined) continue;
          assert.ok(Object.values(each.annotations).every((value) => typeof value === "string"));
          assert.ok([...each.labels].every(([, value]) => typeof value === "string"));
        }
        if (record?.controller !== undefined) {
          assert.ok(Object.values(record.controller).every((value) => typeof value === "string"));
        }
        ownerState(raw);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a claim as a fact", () => {
  it("names its holder and whether the address is its to use", () => {
    const bound = claim("default", "10.244.1.5");
    const { mac } = bound.holder!;
    const holder = { kind: "pod", name: "shop/web", node: "node-1", uid: "w", mac };
    assert.deepEqual(claimFact(bound), { address: "10.244.1.5", bound: true, holder });
    assert.equal(claimFact({ ...bound, phase: "Pending" })?.bound, false);
    const owner = { apiVersion: "apps/v1", kind: "StatefulSet", namespace: "shop", name: "db", uid: "", slot: "db-0" };
    assert.deepEqual(claimFact({ ...kept("default", "10.244.1.5", "Retained"), owner }), {
      address: "10.244.1.5",
      bound: false,
      keptFor: "StatefulSet shop/db",
    });
  });

  it("is none once anybody may have the address", () => {
    assert.equal(claimFact(kept("default", "10.244.1.5", "Released")), undefined);
  });
});

describe("an owner", () => {
  it("has the numbers of its specification, and none that it lacks", () => {
    const set = { metadata: { uid: "s" }, spec: { replicas: 3, ordinals: { start: 5 } } };
    assert.deepEqual(ownerState(set), { exists: true, uid: "s", replicas: 3, start: 5 });
    assert.deepEqual(ownerState({ metadata: { uid: "d" }, spec: {} }), { exists: true, uid: "d" });
  });
});
