import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MAX_ALLOCATIONS } from "@beyondfabric/kube/kinds";
import type { AddressFacts } from "../../src/ipam/audit.ts";
import { confirmed, findingsOf, type CheckOptions, type Finding } from "../../src/ipam/audit-findings.ts";
import { allocation, block, claim, cluster, earlier, now, pod, sound } from "./cluster-facts.ts";

function check(facts: Partial<AddressFacts> = {}, options: Partial<CheckOptions> = {}): Finding[] {
  return [...findingsOf(cluster(facts), { now, grace: 60_000, ...options })].filter((each) => each !== undefined);
}

/** The only finding of a cluster. */
function only(facts: Partial<AddressFacts>, options?: Partial<CheckOptions>): Finding {
  const found = check(facts, options);
  assert.deepEqual(found.length, 1, JSON.stringify(found, undefined, 1));
  assert.ok(found[0]!.message !== "" && found[0]!.remedy !== "");
  return found[0]!;
}

const isPodOf =
  (...names: string[]) =>
  ({ name }: { readonly name: string }): boolean =>
    names.includes(name);

describe("a sound cluster", () => {
  it("has nothing that is found", () => assert.deepEqual(check(), []));

  it("may be in the middle of things", () => {
    const facts: Partial<AddressFacts> = {
      // A pod that has a claim and no status yet; one whose claim waits for a grant that an ordinary pod is in the way of.
      claims: [
        ...sound.claims,
        claim("10.0.0.60", { holder: "starting" }),
        claim("10.0.0.18", { holder: "starting", phase: "Pending" }),
      ],
      // A block whose owner has not published anything yet, with a pod that got an address of it a moment ago.
      blocks: [...sound.blocks, block("10.0.0.32/28", "node-1")],
      pods: [...sound.pods, pod("quick", "node-1", "10.0.0.33")],
    };
    assert.deepEqual(check(facts), []);
  });

  it("may have pods of other networks", () => {
    assert.deepEqual(check({ pods: [...sound.pods, pod("foreign", "node-1", "172.16.0.1")] }), []);
  });

  it("knows a static pod by both of its UIDs, and a pod without UID by its name", () => {
    const mirror = { ...pod("static", "node-1", "10.0.0.4"), uid: "uid-mirror", staticUid: "uid-static" };
    const named = pod("nameless", "node-1", "10.0.0.5");
    const allocations = [
      allocation("10.0.0.3", "web-1"),
      allocation("10.0.0.4", "static"),
      { ...allocation("10.0.0.5", "nameless"), uid: "" },
    ];
    const blocks = [block("10.0.0.0/28", "node-1", { allocations }, ["10.0.0.8/29"]), ...sound.blocks.slice(1)];
    assert.deepEqual(check({ pods: [...sound.pods, mirror, named], blocks }), []);
  });
});

describe("leaks", () => {
  it("an address whose pod is gone is released by hand, after a warning that it may run on", () => {
    const found = check({ pods: sound.pods.filter(({ name }) => name !== "db-0") });
    assert.deepEqual(
      found.map(({ kind, rule, object }) => [kind, rule, object]),
      [
        ["leak", "HolderGone", "IPAddress/10-0-0-20"],
        ["leak", "HolderGone", "IPAddress/fd00-0000-0000-0000-0000-0000-0000-0005"],
      ],
    );
    assert.deepEqual(found[0]!.repair, [
      { action: "release", kind: "IPAddress", name: "10-0-0-20", uid: "uid-10.0.0.20", resourceVersion: "9" },
    ]);
    assert.match(found[0]!.caution!, /node node-1 is not merely cut off/);
  });

  it("of a node that is gone there is nothing to warn of", () => {
    const claims = [...sound.claims, claim("10.0.0.60", { holder: "lost", node: "node-9" })];
    const finding = only({ claims });
    assert.deepEqual([finding.rule, finding.caution], ["HolderGone", undefined]);
  });

  it("a retained address past its time, the agents' own grace allowed for", () => {
    const late = (by: number): AddressFacts["claims"] => [claim("10.0.0.100", { reclaimAt: now - by })];
    const pods = sound.pods.filter(isPodOf("web-1", "web-2", "web-3", "starting"));
    assert.deepEqual(check({ claims: late(60_000), pods }), []);
    const finding = only({ claims: late(60_001), pods });
    assert.equal(finding.rule, "RetainedTooLong");
    assert.equal(finding.repair?.[0]?.action, "reclaim");
  });

  it("a retained address whose owner is gone and that nobody has set a time for", () => {
    const facts = { claims: [claim("10.0.0.100")], pods: sound.pods.filter(({ name }) => name !== "db-0") };
    assert.deepEqual(check(facts), [], "not known");
    assert.deepEqual(check(facts, { keeps: () => true }), []);
    assert.equal(only(facts, { keeps: () => false }).rule, "OwnerGone");
    assert.deepEqual(check(facts, { keeps: () => false, now: earlier + 1000 }), [], "its pod went a moment ago");
  });

  it("an ordinary address without its pod is the kubelet's to remove", () => {
    const finding = only({ pods: sound.pods.filter(({ name }) => name !== "web-3") });
    assert.deepEqual([finding.rule, finding.address, finding.repair], ["AllocationWithoutPod", "10.0.0.18", undefined]);
    assert.match(finding.remedy, /on node node-2/);
  });

  it("a pod that was made anew under its name is another pod", () => {
    const anew = { ...pod("web-3", "node-2"), uid: "uid-anew" };
    const pods = [...sound.pods.filter(({ name }) => name !== "web-3"), anew];
    assert.equal(only({ pods }).rule, "AllocationWithoutPod");
  });

  it("a block of a node that is gone is freed, unless pods still have its addresses", () => {
    const gone = block("10.0.0.32/28", "node-9", { allocations: [allocation("10.0.0.33", "lost")] });
    const free = only({ blocks: [...sound.blocks, gone] });
    assert.deepEqual([free.rule, free.object], ["BlockWithoutNode", "AddressBlock/10-0-0-32-28"]);
    assert.deepEqual(free.repair?.[0]?.action, "delete");
    const pods = [...sound.pods, pod("lost", "node-9", "10.0.0.33")];
    const used = only({ blocks: [...sound.blocks, gone], pods });
    assert.deepEqual([used.rule, used.repair], ["BlockWithoutNode", undefined]);
    assert.match(used.remedy, /shop\/lost/);
  });
});

describe("duplicates", () => {
  it("two pods: the one that the address was not handed out to has to go", () => {
    const twin = only({ pods: [...sound.pods, pod("twin", "node-2", "10.0.0.3")] });
    assert.deepEqual([twin.rule, twin.object, twin.address], ["TwoPods", "Pod/shop/twin", "10.0.0.3"]);
    assert.match(twin.remedy, /delete shop\/twin/);
    const claimed = only({ pods: [...sound.pods, pod("twin", "node-2", "10.0.0.20")] });
    assert.match(claimed.remedy, /delete shop\/twin/);
  });

  it("two pods of which nobody knows who is right", () => {
    const pods = [...sound.pods, pod("a", "node-1", "10.0.0.150"), pod("b", "node-2", "10.0.0.150")];
    const finding = only({ pods });
    assert.deepEqual([finding.rule, finding.repair], ["TwoPods", undefined]);
    assert.match(finding.remedy, /delete one of them/);
  });

  it("a claim of one pod that another one shows", () => {
    const claims = [claim("10.0.0.20", { holder: "starting" }), ...sound.claims.slice(1)];
    const finding = only({ claims });
    assert.deepEqual([finding.rule, finding.object], ["HeldByAnother", "Pod/shop/db-0"]);
    assert.match(finding.message, /claimed for pod shop\/starting/);
  });

  it("an address that is kept for an owner and that a pod shows", () => {
    const pods = [...sound.pods, pod("thief", "node-1", "10.0.0.100")];
    assert.match(only({ pods }).message, /kept for StatefulSet shop\/db/);
  });

  it("a claim and an allocation of two pods", () => {
    const blocks = [
      ...sound.blocks.slice(0, 2),
      block("10.0.0.16/28", "node-2", {
        allocations: [allocation("10.0.0.18", "web-3"), allocation("10.0.0.20", "starting")],
      }),
    ];
    const finding = only({ blocks });
    assert.deepEqual([finding.rule, finding.object], ["ClaimedAndOrdinary", "IPAddress/10-0-0-20"]);
  });

  it("one address out of two blocks, and the blocks that make it possible", () => {
    const blocks = [
      ...sound.blocks,
      block("10.0.0.16/29", "node-1", { allocations: [allocation("10.0.0.18", "web-1")] }),
    ];
    const rules = check({ blocks }).map(({ rule }) => rule);
    assert.deepEqual(rules, ["BlockMisplaced", "TwoAllocations"]);
  });

  it("a block outside of its subnet", () => {
    const finding = only({ blocks: [...sound.blocks, block("10.9.0.0/28", "node-1", {})] });
    assert.deepEqual([finding.rule, finding.object], ["BlockMisplaced", "AddressBlock/10-9-0-0-28"]);
  });

  it("a pod with an address of a node or a gateway", () => {
    const pods = [...sound.pods, pod("bold", "node-1", "10.0.0.17", "fd00::1")];
    const found = check({ pods });
    assert.deepEqual(
      found.map(({ rule, address }) => [rule, address]),
      [
        ["NotForPods", "10.0.0.17"],
        ["NotForPods", "fd00::1"],
      ],
    );
    assert.match(found[0]!.message, /node node-2's own/);
    assert.match(found[1]!.message, /gateway of Subnet default/);
  });
});

describe("strangers", () => {
  it("a pod with an address that nobody handed out, in a block and outside of all", () => {
    const inside = only({ pods: [...sound.pods, pod("stray", "node-1", "10.0.0.19")] });
    assert.deepEqual([inside.kind, inside.rule], ["stranger", "NotHandedOut"]);
    assert.match(inside.message, /not among what node node-2 handed out/);
    const outside = only({ pods: [...sound.pods, pod("stray", "node-1", "10.0.0.150")] });
    assert.match(outside.message, /lies in no block/);
  });

  it("nobody is accused where the owner could not publish everything", () => {
    const many = Array.from({ length: MAX_ALLOCATIONS }, (_, index) => ({
      ...allocation(`fd00::${(index + 256).toString(16)}`, "web-1"),
      uid: "uid-web-1",
    }));
    const wide = block("fd00::/116", "node-1", { allocations: many });
    assert.deepEqual(
      check({ blocks: [...sound.blocks, wide], pods: [...sound.pods, pod("x", "node-1", "fd00::f00")] }),
      [],
    );
  });

  it("a claim of a subnet that does not exist or does not contain it", () => {
    const claims = [...sound.claims, claim("10.9.0.9", { holder: "starting" })];
    assert.match(only({ claims }).message, /which does not contain it/);
    const lost = [...sound.claims, claim("10.0.0.99", { holder: "starting", subnet: "gone" })];
    assert.match(only({ claims: lost }).message, /which does not exist/);
  });

  it("an object that cannot be read", () => {
    const violation = { object: "IPAddress/x", field: "metadata.name", rule: "must be 10-0-0-5", remedy: "delete it" };
    const finding = only({}, { unreadable: [{ violations: [violation] }] });
    assert.deepEqual([finding.rule, finding.object, finding.remedy], ["Unreadable", "IPAddress/x", "delete it"]);
  });
});

describe("what is seen twice", () => {
  it("is what both looks found, as the later one tells it", () => {
    const gone = check({ pods: sound.pods.filter(({ name }) => name !== "web-3") });
    const both = check({ pods: sound.pods.filter(({ name }) => name !== "web-3" && name !== "web-1") });
    assert.deepEqual(confirmed(both, gone), gone);
    assert.deepEqual(confirmed(gone, both), gone);
    assert.deepEqual(confirmed([], both), []);
  });

  it("is another finding when the address has another pod by then", () => {
    const first = check({ claims: [...sound.claims, claim("10.0.0.60", { holder: "lost" })] });
    const later = check({ claims: [...sound.claims, claim("10.0.0.60", { holder: "lost-too" })] });
    assert.deepEqual(confirmed(first, later), []);
  });
});
