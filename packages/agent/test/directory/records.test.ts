import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  gatewayAddressesAnnotation,
  nodeRecord,
  podRecord,
  tunnelAddressAnnotation,
} from "../../src/directory/records.ts";

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
