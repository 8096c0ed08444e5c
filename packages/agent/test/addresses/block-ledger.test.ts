import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { MAX_ENDED_ALLOCATIONS, type AddressBlockStatus, type BlockAllocation } from "@beyondfabric/kube/kinds";
import { BlockLedger } from "../../src/addresses/block-ledger.ts";

const web: BlockAllocation = { address: "10.244.1.5", pod: "shop/web", uid: "w", since: 100 };
const cart: BlockAllocation = { address: "10.244.1.6", pod: "shop/cart", uid: "c", since: 200 };

describe("a block's ledger", () => {
  it("says what is different, and nothing when nothing is", () => {
    const ledger = new BlockLedger(undefined);
    const contents = { used: 2, free: 60, allocations: [web] };
    const status = ledger.due(contents, 1000);
    assert.ok(status !== undefined);
    assert.deepEqual(status, { ...contents, history: [] });
    assert.deepEqual(ledger.due(contents, 2000), status, "what was not written is still due");
    ledger.wrote(status);
    assert.equal(ledger.due(contents, 3000), undefined);
    assert.notEqual(ledger.due({ ...contents, free: 59 }, 3000), undefined);
  });

  it("keeps whoever leaves, also when the address has another pod at once", () => {
    const ledger = new BlockLedger(undefined);
    ledger.wrote(ledger.due({ used: 2, free: 60, allocations: [web, cart] }, 1000)!);
    const heir = { ...web, pod: "shop/heir", uid: "h", since: 1500 };
    const status = ledger.due({ used: 1, free: 61, allocations: [heir] }, 2000)!;
    assert.deepEqual(status.history, [
      { address: "10.244.1.5", pod: "shop/web", uid: "w", from: 100, until: 2000 },
      { address: "10.244.1.6", pod: "shop/cart", uid: "c", from: 200, until: 2000 },
    ]);
  });

  it("goes on where a former life of the agent stopped", () => {
    const history = [{ address: "10.244.1.9", pod: "shop/old", uid: "o", from: 1, until: 2 }];
    const ledger = new BlockLedger({ used: 2, free: 60, allocations: [web, cart], history });
    const status = ledger.due({ used: 1, free: 61, allocations: [cart] }, 5000)!;
    assert.deepEqual(
      status.history.map(({ pod, until }) => [pod, until]),
      [
        ["shop/old", 2],
        ["shop/web", 5000],
      ],
    );
  });

  it("loses nobody, whatever comes and goes, as far as it is bounded", () => {
    const step = fc.record({ pods: fc.subarray([1, 2, 3, 4, 5, 6]), isWritten: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ledger = new BlockLedger(undefined);
        const published = new Set<number>();
        let last: AddressBlockStatus | undefined;
        let ended = 0;
        for (const [now, { pods, isWritten }] of steps.entries()) {
          const allocations = pods.map((pod) => ({ ...web, address: `10.244.1.${pod}`, pod: `shop/${pod}` }));
          const status = ledger.due({ used: pods.length, free: 0, allocations }, now + 1000);
          if (status === undefined || !isWritten) continue;
          ledger.wrote(status);
          ended += [...published].filter((pod) => !pods.includes(pod)).length;
          published.clear();
          for (const pod of pods) published.add(pod);
          last = status;
        }
        assert.equal(last?.history.length ?? 0, Math.min(ended, MAX_ENDED_ALLOCATIONS));
      }),
    );
  });
});
