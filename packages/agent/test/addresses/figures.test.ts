import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIpPool } from "@beyondfabric/kube/kinds";
import { poolFigures, subnetFigures } from "../../src/addresses/figures.ts";
import { block, claim, kept, subnet } from "./objects.ts";

describe("the figures of a subnet", () => {
  const office = subnet("office", ["10.50.0.0/24", "fd00:50::/120"]);

  it("count what owners say of their blocks, and the claims outside of them", () => {
    const blocks = [
      block("office", "10.50.0.0/26", "node-1", 7),
      block("office", "10.50.0.64/26", "node-2"),
      block("other", "10.60.0.0/26", "node-2", 30),
    ];
    const claims = [
      claim("office", "10.50.0.9"),
      claim("office", "10.50.0.200"),
      kept("office", "10.50.0.201", "Retained"),
      kept("office", "10.50.0.202", "Released"),
      claim("office", "fd00:50::9"),
      claim("other", "10.60.0.99"),
    ];
    assert.deepEqual(subnetFigures(office, blocks, claims), {
      capacity: { ipv4: "253", ipv6: "254" },
      used: { ipv4: "9", ipv6: "1" },
      free: { ipv4: "244", ipv6: "253" },
    });
  });

  it("have no family that the subnet has not, and are never below nothing", () => {
    const tiny = subnet("tiny", ["10.70.0.0/30"]);
    assert.deepEqual(subnetFigures(tiny, [block("tiny", "10.70.0.0/30", "node-1", 5)], []), {
      capacity: { ipv4: "1" },
      used: { ipv4: "5" },
      free: { ipv4: "0" },
    });
  });

  it("count IPv6 beyond what a number holds", () => {
    const wide = subnet("wide", ["fd00:80::/48"]);
    assert.equal(subnetFigures(wide, [], []).capacity.ipv6, String(2n ** 80n - 2n));
  });
});

describe("the figures of a pool", () => {
  it("count claims inside it, whoever made them", () => {
    const parsed = parseIpPool({
      metadata: { name: "web", uid: "p" },
      spec: { subnet: "office", addresses: ["10.50.0.10-10.50.0.19", "10.50.0.30", "fd00:50::10/124"] },
    });
    assert.ok(parsed.ok);
    const claims = [
      claim("office", "10.50.0.10", { pool: "web" }),
      claim("office", "10.50.0.30"),
      claim("office", "10.50.0.31"),
      kept("office", "10.50.0.11", "Released"),
      kept("office", "fd00:50::11", "Retained"),
    ];
    assert.deepEqual(poolFigures(parsed.value, claims), {
      capacity: { ipv4: "11", ipv6: "16" },
      used: { ipv4: "2", ipv6: "1" },
    });
  });
});
