import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { historyOfAddress, historyOfPod } from "../../src/ipam/audit-history.ts";
import { block, claim, cluster, earlier, now, sound } from "./cluster-facts.ts";

const mac = "02:00:00:00:00:02";
const before = (pod: string, node: string, from: number, until: number) => ({
  namespace: "shop",
  pod,
  podUid: `uid-${pod}`,
  node,
  mac,
  from,
  until,
  reason: "PodDeleted",
});

describe("the history of addresses", () => {
  const history = [before("db-0", "node-2", earlier - 5000, earlier - 1000)];
  const facts = {
    ...sound,
    claims: [claim("10.0.0.19", { holder: "db-0", history }), claim("10.0.0.77", { phase: "Released", history })],
  };

  it("joins what the claim and the blocks tell about one address, the newest first", () => {
    const told = historyOfAddress(facts, "10.0.0.19");
    assert.deepEqual(
      told.map(({ pod, node, from, until, reason, source }) => [pod, node, from, until, reason, source]),
      [
        ["db-0", "node-1", earlier, undefined, undefined, "IPAddress"],
        ["old", "node-2", earlier - 9000, earlier, undefined, "AddressBlock"],
        ["db-0", "node-2", earlier - 5000, earlier - 1000, "PodDeleted", "IPAddress"],
      ],
    );
    assert.equal(told[0]!.mac, "02:00:00:00:00:01");
  });

  it("of a pod's name names every address, ordinary ones too", () => {
    const told = historyOfPod(facts, "shop", "db-0").map(({ address, until }) => [address, until]);
    assert.deepEqual(told, [
      ["10.0.0.19", undefined],
      ["10.0.0.19", earlier - 1000],
      ["10.0.0.77", earlier - 1000],
    ]);
    assert.deepEqual(
      historyOfPod(facts, "shop", "web-1").map(({ address, source }) => [address, source]),
      [["10.0.0.3", "AddressBlock"]],
    );
    assert.deepEqual(historyOfPod(facts, "elsewhere", "web-1"), []);
  });

  it("does not tell of a claim that was never granted", () => {
    const pending = claim("10.0.0.150", { holder: "db-9", phase: "Pending", since: now });
    assert.deepEqual(historyOfAddress({ ...sound, claims: [pending] }, "10.0.0.150"), []);
  });

  it("is empty where a block's owner has published nothing", () => {
    const { facts: unpublished } = cluster({ claims: [], blocks: [block("10.0.0.0/28", "node-1")] });
    assert.deepEqual(historyOfAddress(unpublished, "10.0.0.3"), []);
  });
});
