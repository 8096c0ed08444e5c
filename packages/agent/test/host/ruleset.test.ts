import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { parseCidr } from "@beyondfabric/packet";
import { releasedRuleset, ruleset, tableName, type RulesetFacts } from "../../src/host/ruleset.ts";

const namespace = `bf-nft-${randomBytes(4).toString("hex")}`;

function nft(args: readonly string[], input = ""): { status: number | null; stdout: string; stderr: string } {
  return spawnSync("ip", ["netns", "exec", namespace, "nft", ...args], { input, encoding: "utf8" });
}

function accepted(facts: RulesetFacts): string {
  const { status, stderr } = nft(["-f", "-"], ruleset(facts));
  assert.equal(status, 0, stderr);
  return nft(["list", "table", "inet", tableName]).stdout;
}

const full: RulesetFacts = {
  hostInterface: "fabric0",
  captured: ["eth1", "eth2"],
  subnets: [
    { cidr: parseCidr("10.244.0.0/16"), natOutgoing: true },
    { cidr: parseCidr("10.245.0.0/16"), natOutgoing: false },
    { cidr: parseCidr("fd00:244::/64"), natOutgoing: true },
  ],
  nodeAddresses: ["10.244.1.1", "fd00:244::1"],
};

describe("the node's packet filter", () => {
  before(() => execFileSync("ip", ["netns", "add", namespace]));
  after(() => execFileSync("ip", ["netns", "del", namespace]));

  it("is accepted by nft twice, and the second time changes nothing", () => {
    const first = accepted(full);
    for (const said of [
      "10.244.0.0/16",
      "10.245.0.0/16",
      "fd00:244::/64",
      'iifname "eth1"',
      'iifname "eth2"',
      "snat ip6 to fd00:244::1",
    ]) {
      assert.ok(first.includes(said), `${said} is not in\n${first}`);
    }
    const translated = /set translated4 \{[^}]*elements = \{([^}]*)\}/.exec(first)?.[1];
    assert.equal(translated?.trim(), "10.244.0.0/16");
    assert.equal(accepted(full), first);
  });

  it("replaces what stood there, and touches no other table", () => {
    assert.equal(nft(["add", "table", "inet", "somebody"]).status, 0);
    accepted(full);
    const less = accepted({ hostInterface: "fabric0", subnets: [], nodeAddresses: [] });
    for (const gone of ["10.244.", "fd00:", "eth1", "snat"])
      assert.ok(!less.includes(gone), `${gone} is still in\n${less}`);
    assert.ok(nft(["list", "tables"]).stdout.includes("table inet somebody"));
  });

  it("leaves the frames of NICs to the kernel again when they are given back, and keeps the rest", () => {
    const without = accepted({ ...full, captured: [] });
    accepted(full);
    const { status, stderr } = nft(["-f", "-"], releasedRuleset("fabric0"));
    assert.equal(status, 0, stderr);
    assert.equal(nft(["list", "table", "inet", tableName]).stdout, without);
  });
});
