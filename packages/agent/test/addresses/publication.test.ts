import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { statusChange } from "../../src/addresses/publication.ts";
import { rolloutOf } from "../../src/addresses/pool-room.ts";
import { holdersOf, inUseCondition } from "../../src/addresses/subnet-holders.ts";
import { conditionsOf, withCondition } from "../../src/directory/stored.ts";
import { block, claim, kept } from "./objects.ts";

const accepted = { type: "Accepted", status: "True", reason: "Sound", message: "breaks no rule" };

describe("a status", () => {
  it("is written once, whatever the order of its keys", () => {
    const stored = { generation: 3, status: {} };
    const change = statusChange(stored, { used: { ipv4: "1", ipv6: "2" } }, [accepted]);
    assert.ok(change !== undefined);
    const same = { ...change, used: { ipv6: "2", ipv4: "1" } };
    assert.equal(
      statusChange({ generation: 3, status: same }, { used: { ipv4: "1", ipv6: "2" } }, [accepted]),
      undefined,
    );
    assert.notEqual(
      statusChange({ generation: 3, status: same }, { used: { ipv4: "2", ipv6: "2" } }, [accepted]),
      undefined,
    );
    assert.notEqual(
      statusChange({ generation: 4, status: same }, { used: { ipv4: "1", ipv6: "2" } }, [accepted]),
      undefined,
    );
  });

  it("keeps the conditions of others, and the time of a transition that was none", () => {
    const theirs = {
      type: "Theirs",
      status: "True",
      reason: "R",
      message: "m",
      lastTransitionTime: "2026-01-01T00:00:00Z",
    };
    const first = withCondition([theirs], accepted, Date.UTC(2026, 1, 1));
    const again = withCondition(first, { ...accepted, message: "more" }, Date.UTC(2026, 2, 1));
    assert.deepEqual(again[1], theirs);
    assert.equal(again[0]?.message, "more");
    assert.equal(again[0]?.lastTransitionTime, "2026-02-01T00:00:00Z");
    const turned = withCondition(again, { ...accepted, status: "False" }, Date.UTC(2026, 3, 1));
    assert.equal(turned[0]?.lastTransitionTime, "2026-04-01T00:00:00Z");
  });

  it("of garbage has no conditions", () => {
    for (const conditions of [undefined, null, 7, "x", {}, [null, 7, {}, { type: 1, status: "True" }]]) {
      assert.deepEqual(conditionsOf({ conditions }), []);
    }
  });
});

describe("a subnet that was deleted", () => {
  const blocks = [block("office", "10.50.0.0/26", "node-2"), block("other", "10.60.0.0/26", "node-9")];

  it("names the pods that hold it, each once, and the rest by number", async () => {
    const claims = [
      claim("office", "10.50.0.200"),
      claim("other", "10.60.0.200"),
      kept("office", "10.50.0.9", "Retained"),
    ];
    const read = async (): Promise<{ address: string; pod: string; uid: string; since: number }[]> =>
      Array.from({ length: 14 }, (_, index) => ({
        address: `10.50.0.${index + 2}`,
        pod: `office/desk-${String(index).padStart(2, "0")}`,
        uid: "",
        since: 0,
      }));
    const holders = await holdersOf("office", blocks, claims, [], read);
    assert.equal(holders.pods.length, 15);
    assert.deepEqual(holders.nodes, ["node-2"]);
    const { status, message } = inUseCondition(holders);
    assert.equal(status, "True");
    assert.match(message, /15 pods: office\/desk-00, .* and 5 more/);
  });

  it("says that it waits for blocks when no pod is left, and for nobody when nothing is", async () => {
    const residents = [{ name: "node-9", addresses: ["10.60.0.2"] }];
    const holders = await holdersOf("office", blocks, [], residents, async () => []);
    assert.match(inUseCondition(holders).message, /blocks of node node-2 are given back/);
    assert.equal(inUseCondition({ pods: [], nodes: [], residents: [] }).status, "False");
  });

  it("says that nodes have their own addresses of it, and what makes them take others", async () => {
    const residents = [
      { name: "node-2", addresses: ["fd00::2", "10.50.0.2"] },
      { name: "node-9", addresses: ["10.60.0.2"] },
    ];
    const alone = inUseCondition(await holdersOf("office", blocks, [], residents, async () => []));
    assert.equal(
      alone.message,
      "it was deleted and waits for the own addresses of node node-2: create another Subnet with default: true, and they take theirs from it",
    );
    const both = inUseCondition({ pods: ["shop/web"], nodes: ["node-2"], residents: ["node-2"] });
    assert.match(both.message, /waits for pod shop\/web: .*; and for the own addresses of node node-2: /);
  });
});

describe("a roll-out", () => {
  for (const [what, kind, raw, expected] of [
    ["of a Deployment without a word", "Deployment", {}, [1, "25%"]],
    ["that recreates", "Deployment", { spec: { replicas: 4, strategy: { type: "Recreate" } } }, [4, 0]],
    ["with a number", "Deployment", { spec: { replicas: 0, strategy: { rollingUpdate: { maxSurge: 2 } } } }, [0, 2]],
    ["of a DaemonSet", "DaemonSet", { status: { desiredNumberScheduled: 7 } }, [7, 0]],
    [
      "of a DaemonSet with spare pods",
      "DaemonSet",
      { spec: { updateStrategy: { rollingUpdate: { maxSurge: "10%" } } }, status: { desiredNumberScheduled: 7 } },
      [7, "10%"],
    ],
    ["of garbage", "Deployment", { spec: { replicas: "many", strategy: 7 } }, [1, "25%"]],
  ] as const) {
    it(`${what} has its numbers`, () => {
      const { replicas, maxSurge } = rolloutOf(kind, raw);
      assert.deepEqual([replicas, maxSurge], expected);
    });
  }
});
