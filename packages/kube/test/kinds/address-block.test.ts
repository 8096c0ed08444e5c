import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  addressBlockManifest,
  addressBlockName,
  parseAddressBlock,
  validateAddressBlocks,
} from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
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
});

void describe("blocks together", () => {
  void it("may not overlap or leave their subnet", () => {
    const blocks = [
      block("10-0-0-64-27", "10.0.0.64/27", 3),
      block("10-0-0-64-26", "10.0.0.64/26", 2),
      block("10-0-0-0-26", "10.0.0.0/26", 4),
      block("10-0-1-0-26", "10.0.1.0/26", 1),
      block("10-9-0-0-26", "10.9.0.0/26", 1, "unknown"),
    ];
    assert.deepEqual(texts(validateAddressBlocks(blocks, [subnet("default", { cidrs: ["10.0.0.0/24"] })])), [
      "AddressBlock/10-0-1-0-26 spec.cidr is 10.0.1.0/26, which is not inside Subnet default; delete the block once no pod uses it",
      "AddressBlock/10-0-0-64-27 spec.cidr is 10.0.0.64/27, which overlaps 10.0.0.64/26 of node node-1; delete the block once no pod uses it",
    ]);
  });
});
