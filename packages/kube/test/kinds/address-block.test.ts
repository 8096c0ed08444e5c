import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  addressBlockManifest,
  addressBlockName,
  parseAddressBlock,
  validateAddressBlocks,
} from "@beyondfabric/kube/kinds";
import { addressBlockStatus, parseAddressBlockStatus } from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { block, object, subnet, texts } from "./objects.ts";

void describe("AddressBlock", () => {
  void it("has exactly one name", () => {
    assert.equal(addressBlockName(parseCidr("10.244.1.0/26")), "10-244-1-0-26");
    assert.equal(addressBlockName(parseCidr("fd00:244::/122")), "fd00-0244-0000-0000-0000-0000-0000-0000-122");
  });

  void it("survives the way to the API and back", () => {
    const cidr = parseCidr("fd00:244::40/122");
    const manifest = addressBlockManifest("default", cidr, { name: "node-1", uid: "u" });
    const parsed = parseAddressBlock({ ...manifest, status: { used: 3 } });
    assert.ok(parsed.ok);
    const { name, subnet, node, nodeUid, used } = parsed.value;
    assert.deepEqual(
      { name, subnet, node, nodeUid, used, cidr: parsed.value.cidr },
      {
        name: "fd00-0244-0000-0000-0000-0000-0000-0040-122",
        subnet: "default",
        node: "node-1",
        nodeUid: "u",
        used: 3,
        cidr,
      },
    );
  });

  void it("counts nothing when its status says nothing that is a number of addresses", () => {
    const manifest = addressBlockManifest("s", parseCidr("10.0.0.0/26"), { name: "n", uid: "u" });
    for (const status of [
      undefined,
      null,
      3,
      "x",
      [],
      {},
      { used: -1 },
      { used: 0.5 },
      { used: "3" },
      { used: null },
    ]) {
      const parsed = parseAddressBlock({ ...manifest, status });
      assert.ok(parsed.ok && parsed.value.used === undefined, JSON.stringify(status));
    }
  });

  void it("under another name is refused, because it would claim nothing", () => {
    const spec = { subnet: "s", cidr: "10.0.0.0/26", node: "n", nodeUid: "u" };
    for (const [name, text, field] of [
      ["10-0-0-0-27", spec.cidr, "metadata.name"],
      ["10-0-0-1-26", "10.0.0.1/26", "spec.cidr"],
      ["10-0-0-0-26", "10.0.0.0", "spec.cidr"],
    ] as const) {
      const parsed = parseAddressBlock(object("AddressBlock", name, { ...spec, cidr: text }));
      assert.ok(!parsed.ok);
      assert.deepEqual(
        parsed.violations.map((each) => each.field),
        [field],
      );
    }
  });

  void it("lends parts of itself, apart from each other", () => {
    const lent = [parseCidr("10.0.0.32/27"), parseCidr("10.0.0.0/28")];
    const manifest = addressBlockManifest("s", parseCidr("10.0.0.0/26"), { name: "n", uid: "u" }, lent);
    const parsed = parseAddressBlock(manifest);
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.value.lent, lent);
    for (const wrong of [
      ["10.0.0.64/27"],
      ["10.0.0.0/26"],
      ["10.0.0.0/25"],
      ["10.0.0.32/27", "10.0.0.48/28"],
      ["x/1"],
    ]) {
      const refused = parseAddressBlock({ ...manifest, spec: { ...manifest.spec, lent: wrong } });
      assert.ok(!refused.ok);
      assert.deepEqual(
        refused.violations.map((each) => each.field),
        [`spec.lent[${wrong.length - 1}]`],
      );
    }
  });

  void it("publishes who has and had its addresses", () => {
    const time = fc.integer({ min: 0, max: 253_402_300_799_999 });
    const allocation = { address: fc.constantFrom("10.0.0.5", "fd00::5"), pod: fc.string(), uid: fc.string() };
    const statuses = fc.record({
      used: fc.nat(),
      free: fc.nat(),
      allocations: fc.array(fc.record({ ...allocation, since: time })),
      history: fc.array(fc.record({ ...allocation, from: time, until: time }), { maxLength: 200 }),
    });
    fc.assert(
      fc.property(statuses, (status) => {
        const read = parseAddressBlockStatus(JSON.parse(JSON.stringify({ status: addressBlockStatus(status) })));
        assert.deepEqual(read, structuredClone({ ...status, history: status.history.slice(-128) }));
      }),
    );
    fc.assert(fc.property(fc.jsonValue(), (raw) => void parseAddressBlockStatus({ status: raw })));
    assert.equal(parseAddressBlockStatus({}), undefined);
  });
});

void describe("blocks together", () => {
  void it("may not overlap or leave their subnet", () => {
    const blocks = [
      block("10-0-0-64-27", "10.0.0.64/27", 3),
      block("10-0-0-64-26", "10.0.0.64/26", 2),
      block("10-0-0-0-26", "10.0.0.0/26", 4),
      block("10-0-1-0-26", "10.0.1.0/26", 1),
      block("10-9-0-0-26", "10.9.0.0/26", 1, { subnet: "unknown" }),
    ];
    assert.deepEqual(texts(validateAddressBlocks(blocks, [subnet("default", { cidrs: ["10.0.0.0/24"] })])), [
      "AddressBlock/10-0-1-0-26 spec.cidr is 10.0.1.0/26, which is not inside Subnet default; delete the block once no pod uses it",
      "AddressBlock/10-0-0-64-27 spec.cidr is 10.0.0.64/27, which overlaps 10.0.0.64/26 of node node-1; delete the block once no pod uses it",
    ]);
  });

  void it("may lie inside a part that an older one has given away, or keep out of a younger one that counts it as lent", () => {
    const wide = { lent: ["10.0.0.64/27", "10.0.0.128/26"] };
    const blocks = [
      block("10-0-0-0-24", "10.0.0.0/24", 3, wide),
      block("10-0-0-128-26", "10.0.0.128/26", 2, { node: "node-2" }),
      block("10-0-0-64-27", "10.0.0.64/27", 4, { node: "node-3" }),
      block("10-0-0-72-29", "10.0.0.72/29", 5, { node: "node-4" }),
      block("10-0-0-0-26", "10.0.0.0/26", 6, { node: "node-5" }),
    ];
    assert.deepEqual(texts(validateAddressBlocks(blocks, [])), [
      "AddressBlock/10-0-0-72-29 spec.cidr is 10.0.0.72/29, which overlaps 10.0.0.64/27 of node node-3; delete the block once no pod uses it",
      "AddressBlock/10-0-0-0-26 spec.cidr is 10.0.0.0/26, which overlaps 10.0.0.0/24 of node node-1; delete the block once no pod uses it",
    ]);
    const stranger = block("10-0-0-192-26", "10.0.0.192/26", 1, { node: "node-6" });
    assert.deepEqual(
      validateAddressBlocks([...blocks.slice(0, 2), stranger], []).map((each) => each.object),
      ["AddressBlock/10-0-0-0-24"],
    );
  });
});
