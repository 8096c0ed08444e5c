import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Action } from "@beyondfabric/openflow";
import { DatapathError, defineFlow, tableName, tables, type TableName } from "../src/index.ts";
import type { FlowDefinition } from "../src/pipeline.ts";

const sound: FlowDefinition = {
  table: "deliver",
  priority: 100,
  cookie: 0n,
  match: [
    { field: "eth_type", value: 0x0800n },
    { field: "ip_dst", value: 0x0af40105n },
  ],
  actions: [
    { type: "set_field", field: "eth_dst", value: 0x0a58_0000_0001n },
    { type: "output", port: 7 },
  ],
};

function refused(change: Partial<FlowDefinition>, what: RegExp): void {
  assert.throws(
    () => defineFlow({ ...sound, ...change }),
    (error) => error instanceof DatapathError && error.code === "DATAPATH_UNDECLARED" && what.test(error.message),
  );
}

describe("an entry", () => {
  it("becomes what its definition says", () => {
    assert.deepEqual(defineFlow(sound), {
      table: 80,
      priority: 100,
      cookie: 0n,
      match: sound.match,
      instructions: [{ type: "apply_actions", actions: sound.actions }],
    });
    const onward = defineFlow({ ...sound, table: "egress", actions: [], goto: "forward" });
    assert.deepEqual(onward.instructions, [{ type: "goto_table", table: 70 }]);
    assert.deepEqual(defineFlow({ ...sound, actions: [] }).instructions, []);
  });

  it("matches nothing that its table does not declare", () => {
    refused({ match: [{ field: "tcp_dst", value: 80n }] }, /table deliver, priority 100, matches tcp_dst/);
    refused({ match: [{ field: "unknown", header: 1, bytes: Uint8Array.of(1) }] }, /matches unknown/);
  });

  it("writes no field that its table does not declare, whichever action writes", () => {
    const dst = { field: "reg5", offset: 0, bits: 32 } as const;
    refused({ actions: [{ type: "set_field", field: "ip_dst", value: 1n }] }, /sets ip_dst/);
    refused({ actions: [{ type: "load", dst, value: 1n }] }, /sets reg5/);
    refused({ actions: [{ type: "move", src: { field: "eth_src", offset: 0, bits: 32 }, dst }] }, /sets reg5/);
  });

  it("puts packets out of tables only that do so", () => {
    const egress = { table: "egress", goto: "forward" } as const;
    refused({ ...egress, actions: [{ type: "output", port: 7 }] }, /table egress.*puts packets out/);
    const register = { field: "reg4", offset: 0, bits: 32 } as const;
    refused({ ...egress, actions: [{ type: "output_reg", src: register, maxLen: 0 }] }, /puts packets out/);
  });

  it("goes on to declared tables only, by goto, resubmit and conntrack", () => {
    refused({ goto: "egress" }, /goes to egress/);
    refused({ actions: [{ type: "resubmit", table: 50 }] }, /sends to table 50/);
    refused({ actions: [{ type: "resubmit", table: 254 }] }, /sends to table 254/);
    refused({ actions: [{ type: "resubmit", port: 3 }] }, /sends to table/);
    assert.ok(defineFlow({ ...sound, table: "egress", actions: [{ type: "resubmit", table: 70 }] }));
    const dst = { field: "reg5", offset: 0, bits: 32 } as const;
    refused({ actions: [{ type: "ct", zone: 1, table: 50 }] }, /sends to table 50/);
    refused({ actions: [{ type: "ct", commit: true, actions: [{ type: "load", dst, value: 1n }] }] }, /sets reg5/);
    assert.ok(defineFlow({ ...sound, table: "track", actions: [{ type: "ct", zone: 1, table: 42 }] }));
  });

  it("uses no action that nobody has thought about", () => {
    const actions: Action[] = [{ type: "clone", actions: [{ type: "output", port: 7 }] }];
    refused({ actions }, /uses action clone/);
  });
});

describe("the tables", () => {
  const names = Object.keys(tables) as TableName[];

  it("are found by their numbers, and no other number is a table", () => {
    for (const name of names) assert.equal(tableName(tables[name].id), name);
    for (const id of [-1, 1, 255]) assert.equal(tableName(id), undefined);
    assert.equal(new Set(names.map((name) => tables[name].id)).size, names.length);
  });

  it("send packets forward only, as goto_table demands (OpenFlow 1.5, section 5.5)", () => {
    for (const name of names) {
      for (const next of tables[name].next) assert.ok(tables[next].id > tables[name].id, `${name} to ${next}`);
    }
  });
});
