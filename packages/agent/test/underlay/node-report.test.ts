import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PatchOptions, Resource } from "@beyondfabric/kube";
import { NodeReport } from "../../src/underlay/node-report.ts";
import type { NetworkState } from "../../src/underlay/placement.ts";

function recorder(): { report: NodeReport; take: () => unknown[] } {
  const written: unknown[] = [];
  const patch = <T>(_resource: Resource, name: string, body: unknown, options: PatchOptions = {}): Promise<T> => {
    written.push({ name, body, ...options });
    return Promise.resolve(undefined as T);
  };
  return { report: new NodeReport({ patch }, "node-1"), take: () => written.splice(0) };
}

const now = new Date("2026-01-02T03:04:05.678Z");
const down = { state: "down", message: "no link" } as const;

describe("what the Node says of its networks", () => {
  it("is a label and a condition for each, written when they change", async () => {
    const { report, take } = recorder();
    const states = new Map<string, NetworkState>([
      ["wire", { state: "ready" }],
      ["storage", down],
    ]);
    await report.write(states, [], now);
    const [labels, status] = take() as [unknown, { body: { status: { conditions: object[] } } }];
    assert.deepEqual(labels, {
      name: "node-1",
      body: {
        metadata: {
          labels: { "network.beyondfabric.io/wire": "ready", "network.beyondfabric.io/storage": "down" },
        },
      },
    });
    assert.deepEqual(status.body.status.conditions[1], {
      type: "network.beyondfabric.io/storage",
      status: "False",
      reason: "LinkDown",
      message: "no link",
      lastHeartbeatTime: "2026-01-02T03:04:05Z",
      lastTransitionTime: "2026-01-02T03:04:05Z",
    });
    await report.write(states, ["wire", "storage"], now);
    assert.deepEqual(take(), []);
    await report.write(new Map([...states, ["wire", down]]), ["wire", "storage"], now);
    assert.equal(take().length, 2);
  });

  it("goes with the network, also when an earlier agent wrote it", async () => {
    const { report, take } = recorder();
    await report.write(new Map(), ["old"], now);
    const [labels, status] = take() as { body: unknown }[];
    assert.deepEqual(labels!.body, { metadata: { labels: { "network.beyondfabric.io/old": null } } });
    assert.deepEqual(status!.body, {
      status: { conditions: [{ $patch: "delete", type: "network.beyondfabric.io/old" }] },
    });
    await report.write(new Map(), [], now);
    assert.deepEqual(take(), []);
  });

  it("has no label where the name is too long for one, but a condition", async () => {
    const { report, take } = recorder();
    const name = "n".repeat(64);
    await report.write(new Map([[name, down]]), [], now);
    const [labels, status] = take() as [{ body: unknown }, { body: { status: { conditions: { type: string }[] } } }];
    assert.deepEqual(labels.body, { metadata: { labels: {} } });
    assert.equal(status.body.status.conditions[0]!.type, `network.beyondfabric.io/${name}`);
  });
});
