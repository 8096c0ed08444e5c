import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  ipAddressManifest,
  ipAddressName,
  ipAddressPatch,
  OWNER_LABEL,
  ownerDigest,
  parseIpAddress,
  SUBNET_LABEL,
} from "@beyondfabric/kube/kinds";
import type { AddressClaim, AddressOwner, IpAddressRecord } from "@beyondfabric/kube/kinds";
import { cidrOf, ipFamily, ipFromBigInt } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { texts } from "./objects.ts";

const owner: AddressOwner = {
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  namespace: "shop",
  name: "db",
  uid: "set-uid",
  slot: "db-0",
};

const claim: AddressClaim = {
  address: "10.0.0.5",
  subnet: "office",
  pool: undefined,
  retention: "Sticky",
  owner,
  holder: {
    namespace: "shop",
    pod: "db-0",
    podUid: "pod-uid",
    node: "node-1",
    nodeUid: "node-uid",
    mac: "0a:58:0a:00:00:05",
  },
  phase: "Bound",
  since: Date.UTC(2026, 0, 31, 12, 0, 0, 250),
  grant: { block: cidrOf("10.0.0.0", 26), nodeUid: "node-uid" },
  refusal: undefined,
  reclaimAt: undefined,
  history: [],
};

const time = fc.integer({ min: 0, max: 253_402_300_799_999 });
const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/);
const uid = fc.string({ minLength: 1, maxLength: 36 });
const mac = fc.stringMatching(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
const holder = fc.record({ namespace: name, pod: name, podUid: uid, node: name, nodeUid: uid, mac });
const entry = fc.record({
  namespace: name,
  pod: name,
  podUid: uid,
  node: name,
  mac,
  from: time,
  until: time,
  reason: fc.string({ minLength: 1, maxLength: 256 }),
});
const someOwner = fc.record({
  apiVersion: fc.constantFrom("v1", "apps/v1", "kubevirt.io/v1"),
  kind: fc.constantFrom("Pod", "StatefulSet", "VirtualMachine"),
  namespace: name,
  name,
  uid: fc.string({ maxLength: 36 }),
  slot: fc.oneof(fc.constant(""), name),
});
const address = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }).map((value) => ipFromBigInt(value, 4)),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => ipFromBigInt(value, 6)),
);

/** Claims as the agents may make them. */
const claims: fc.Arbitrary<AddressClaim> = fc
  .record({
    address,
    subnet: name,
    pool: fc.option(name, { nil: undefined }),
    retention: fc.constantFrom("Fixed", "Sticky", "Pool"),
    owner: someOwner,
    holder,
    phase: fc.constantFrom("Pending", "Bound", "Retained", "Released"),
    since: time,
    length: fc.integer({ min: 0, max: 32 }),
    vote: fc.constantFrom("granted", "refused", "none"),
    nodeUid: uid,
    message: fc.string({ minLength: 1, maxLength: 1024 }),
    reclaimAt: fc.option(time, { nil: undefined }),
    isOwned: fc.boolean(),
    history: fc.array(entry, { maxLength: 32 }),
  } as const)
  // Records of fast-check may have no prototype, which is no property of a claim.
  .map((drawn) => structuredClone(drawn))
  .map(({ length, vote, nodeUid, message, isOwned, ...rest }): AddressClaim => {
    const { phase } = rest;
    const bits = ipFamily(rest.address) === 4 ? length : length + 96;
    const isGranted = vote === "granted" && phase !== "Released";
    return {
      ...rest,
      owner: isOwned || phase === "Retained" ? rest.owner : undefined,
      holder: phase === "Pending" || phase === "Bound" ? rest.holder : undefined,
      grant: isGranted ? { block: cidrOf(rest.address, bits), nodeUid } : undefined,
      refusal: vote === "refused" ? { nodeUid, message } : undefined,
      reclaimAt: phase === "Retained" ? rest.reclaimAt : undefined,
    };
  });

function sound(raw: unknown): IpAddressRecord {
  const parsed = parseIpAddress(raw);
  return parsed.ok ? parsed.value : assert.fail(JSON.stringify(parsed.violations));
}

/** As JSON brings it, without a trace of fields that are undefined. */
function sent(value: unknown): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

/** JSON Merge Patch, RFC 7386 section 2. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === "object" && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}

function claimOf(record: IpAddressRecord): AddressClaim {
  const { name, uid, resourceVersion, created, generation, ...rest } = record;
  assert.deepEqual([name, uid, resourceVersion, created, generation].length, 5);
  return rest;
}

void describe("IPAddress", () => {
  void it("has exactly one name", () => {
    assert.equal(ipAddressName("10.0.0.5"), "10-0-0-5");
    assert.equal(ipAddressName("fd00:244::5"), "fd00-0244-0000-0000-0000-0000-0000-0005");
  });

  // Nodes of different versions find an owner's addresses by it: it may never change.
  void it("is labelled with its subnet and the digest of its owner", () => {
    assert.deepEqual(ipAddressManifest(claim).metadata, {
      name: "10-0-0-5",
      labels: { [SUBNET_LABEL]: "office", [OWNER_LABEL]: "f53b164c908996cbab7334b5d075cb44" },
    });
    const nobodys = ipAddressManifest({ ...claim, owner: undefined, subnet: "s".repeat(64) });
    assert.deepEqual(Object.keys(nobodys.metadata.labels), [SUBNET_LABEL]);
    assert.match(nobodys.metadata.labels[SUBNET_LABEL]!, /^[0-9a-f]{32}$/);
  });

  void it("keeps the digest of an owner that is made anew, and of nobody else", () => {
    assert.equal(ownerDigest({ ...owner, uid: "another", apiVersion: "apps/v2" } as AddressOwner), ownerDigest(owner));
    const others = [{ kind: "Deployment" }, { namespace: "bank" }, { name: "db2" }, { slot: "db-1" }, { slot: "" }];
    const digests = others.map((change) => ownerDigest({ ...owner, ...change }));
    assert.equal(new Set([...digests, ownerDigest(owner)]).size, others.length + 1);
  });

  void it("survives the way to the API and back", () => {
    fc.assert(
      fc.property(claims, (made) => {
        assert.deepEqual(claimOf(sound(sent(ipAddressManifest(made)))), made);
      }),
    );
  });

  void it("becomes what a patch says, whatever it was, and keeps what others wrote into its metadata", () => {
    fc.assert(
      fc.property(claims, claims, (before, next) => {
        const after = { ...next, address: before.address, subnet: before.subnet, grant: undefined };
        const stored = merge(sent(ipAddressManifest(before)), {
          metadata: { uid: "u", resourceVersion: "7", labels: { team: "a" }, annotations: { note: "b" } },
        });
        const patched = merge(stored, sent(ipAddressPatch({ ...sound(stored), ...after })));
        const record = sound(patched);
        assert.deepEqual(claimOf(record), after);
        assert.deepEqual([record.uid, record.resourceVersion], ["u", "7"]);
        const { metadata } = patched as { metadata: { labels: Record<string, string>; annotations: unknown } };
        const { team, ...own } = metadata.labels;
        assert.equal(team, "a");
        assert.deepEqual(own, ipAddressManifest(after).metadata.labels);
        assert.deepEqual(metadata.annotations, { note: "b" });
      }),
    );
  });

  void it("may leave out the owner's UID and slot", () => {
    const raw = merge(sent(ipAddressManifest(claim)), { spec: { owner: { uid: null, slot: null } } });
    assert.deepEqual(sound(raw).owner, { ...owner, uid: "", slot: "" });
  });

  const manifest = sent(ipAddressManifest(claim));
  for (const [change, field] of [
    [{ metadata: { name: "10-0-0-6" } }, "metadata.name"],
    [{ metadata: { name: "10.0.0.5" } }, "metadata.name"],
    [{ spec: { address: "10.0.0.300" } }, "spec.address"],
    [{ spec: { address: "010.0.0.5" } }, "spec.address"],
    [{ metadata: { name: ipAddressName("fd00::5") }, spec: { address: "fd00:0::5" } }, "spec.address"],
    [{ metadata: { name: ipAddressName("fd00::5") }, spec: { address: "FD00::5" } }, "spec.address"],
    [{ spec: { retention: "Forever" } }, "spec.retention"],
    [{ spec: { subnet: null } }, "spec.subnet"],
    [{ spec: { owner: { kind: null } } }, "spec.owner.kind"],
    [{ spec: { holder: { mac: "0A:58:0a:00:00:05" } } }, "spec.holder.mac"],
    [{ spec: { holder: null } }, "spec.holder"],
    [{ status: null }, "status"],
    [{ status: { phase: "Lost" } }, "status.phase"],
    [{ status: { since: "yesterday" } }, "status.since"],
    [{ status: { since: "2026-13-01T00:00:00Z" } }, "status.since"],
    [{ status: { grant: { block: "10.0.1.0/26" } } }, "status.grant.block"],
    [{ status: { grant: { block: "10.0.0.0" } } }, "status.grant.block"],
    [{ status: { refusal: { nodeUid: "n", message: "no" } } }, "status.refusal"],
    [{ status: { reclaimAt: "2026-01-31T12:00:00Z" } }, "status.reclaimAt"],
    [{ status: { phase: "Retained" } }, "spec.holder"],
    [{ spec: { holder: null, owner: null }, status: { phase: "Retained" } }, "spec.owner"],
    [{ spec: { holder: null }, status: { phase: "Released" } }, "status.grant"],
    [{ status: { history: Array.from({ length: 33 }, () => ({})) } }, "status.history"],
  ] as const) {
    void it(`is refused at ${field}: ${JSON.stringify(change).slice(0, 100)}`, () => {
      const parsed = parseIpAddress(merge(manifest, change));
      assert.ok(!parsed.ok);
      assert.ok(
        parsed.violations.some((each) => each.field === field),
        JSON.stringify(parsed.violations),
      );
      for (const each of parsed.violations) assert.ok(each.rule.length > 0 && each.remedy.length > 0);
    });
  }

  void it("under another name says which it should have, and what to do", () => {
    const parsed = parseIpAddress(merge(manifest, { metadata: { name: "10-0-0-6" } }));
    assert.ok(!parsed.ok);
    assert.deepEqual(texts(parsed.violations), [
      "IPAddress/10-0-0-6 metadata.name must be 10-0-0-5, after spec.address; delete the object: one whose name differs claims nothing",
    ]);
  });

  void it("never throws, whatever the API sends", () => {
    const spoilt = fc
      .tuple(claims, fc.constantFrom("metadata", "spec", "status"), fc.dictionary(fc.string(), fc.jsonValue()))
      .map(([made, part, change]) => merge(sent(ipAddressManifest(made)), { [part]: change }));
    fc.assert(fc.property(fc.oneof(fc.jsonValue(), spoilt), (raw) => void parseIpAddress(raw)));
  });
});
