import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AddressEvents } from "../../src/addresses/events.ts";
import { claim, kept } from "./objects.ts";

describe("what agents take back is said on the address", () => {
  const said: string[] = [];
  const events = new AddressEvents({
    record: ({ kind, name }, type, reason, message) => void said.push(`${kind} ${name} ${type} ${reason}: ${message}`),
  });
  const owner = { apiVersion: "apps/v1", kind: "StatefulSet", namespace: "shop", name: "db", uid: "set", slot: "db-0" };

  for (const [what, record, expected] of [
    ["of a pod that is gone, for anybody", claim("office", "10.50.0.5"), "which had 10.50.0.5; anybody may have it"],
    [
      "of a pod that is gone, for its owner",
      claim("office", "10.50.0.5", { owner }),
      "it is kept for StatefulSet shop/db",
    ],
    [
      "of a pool",
      claim("office", "10.50.0.5", { owner, retention: "Pool" }),
      "pod shop/web of node node-1 is gone, which had 10.50.0.5; anybody may have it",
    ],
    [
      "of an owner that wants it no more",
      { ...kept("office", "10.50.0.5", "Retained"), owner },
      "10.50.0.5 is no longer kept for StatefulSet shop/db; anybody may have it",
    ],
  ] as const) {
    it(what, () => {
      said.length = 0;
      events.collected(record);
      const [text, ...more] = said;
      assert.deepEqual(more, []);
      assert.match(text!, /^IPAddress 10-50-0-5 Normal AddressReleased: /);
      assert.ok(text?.endsWith(expected), `${text}`);
    });
  }
});
