import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { canonicalFlow } from "../../src/index.ts";
import type { Action, Field, Flow, Instruction, Match, MultipartRequestBody } from "../../src/index.ts";
import { ipv4, prerequisites, sampleActions, sampleMask, sampleValue, singleFields, tracked } from "../samples.ts";
import { Connection, startSwitch } from "./switch.ts";
import type { TestSwitch } from "./switch.ts";

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(2);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  const options = Array.from({ length: 64 }, (_, index) => ({
    optionClass: 0x102,
    optionType: index,
    optionLength: 4,
    index,
  }));
  assert.equal(
    await connection.attempt({ type: "tlv_table_mod", command: "add", maps: options.slice(0, 32) }),
    undefined,
  );
  assert.equal(
    await connection.attempt({
      type: "meter_mod",
      command: "add",
      flags: ["pktps", "burst", "stats"],
      meter: 1,
      bands: [{ kind: "drop", rate: 500, burst: 50 }],
    }),
    undefined,
  );
  assert.equal(
    await connection.attempt({
      type: "group_mod",
      command: "add",
      kind: "select",
      group: 1,
      buckets: [
        { id: 0, weight: 50, actions: [{ type: "output", port: 1 }] },
        { id: 1, weight: 100, watchPort: 2, actions: [{ type: "output", port: 2 }] },
      ],
    }),
    undefined,
  );
});

after(async () => {
  connection?.close();
  await ovs?.stop();
});

async function reset(): Promise<void> {
  const everything: Flow = { table: 0xff, priority: 0, cookie: 0n, match: [], instructions: [] };
  assert.equal(await connection.attempt({ type: "flow_mod", command: "delete", flow: everything }), undefined);
}

async function installed(): Promise<readonly Flow[]> {
  const parts = await connection.multipart({ kind: "flow_desc", match: [] });
  return parts.flatMap((part) => part.entries.map((entry) => entry.flow));
}

async function install(flow: Flow): Promise<void> {
  assert.equal(await connection.attempt({ type: "flow_mod", command: "add", flow }), undefined);
}

/** Installs a flow and reads it back. */
async function roundTrip(flow: Flow): Promise<void> {
  await reset();
  await install(flow);
  const found = await installed();
  assert.equal(found.length, 1);
  assert.deepStrictEqual(canonicalFlow(found[0]!), canonicalFlow(flow));
}

function flowOf(match: Match, actions: readonly Action[], instructions: readonly Instruction[] = []): Flow {
  return {
    table: 3,
    priority: 1000,
    cookie: 0xbf01_0203_0405_0607n,
    match,
    instructions: [...(actions.length === 0 ? [] : [{ type: "apply_actions" as const, actions }]), ...instructions],
  };
}

/** Fields that a switch takes but reports under another name, or that only it may write. */
const reportedOtherwise = new Set(["in_port_nxm", "vlan_tci", "nw_tos", "recirc_id", "dp_hash", "packet_type"]);

function isMapped(field: Field): boolean {
  return field.variable !== true || Number(field.name.slice("tun_metadata".length)) < 32;
}

describe("a switch gives back what it was given", () => {
  for (const field of singleFields.filter((f) => !reportedOtherwise.has(f.name) && isMapped(f))) {
    test(`match on ${field.name}`, async () => {
      const others = prerequisites(field).filter((other) => other.field !== field.name);
      const value = sampleValue(field);
      // An option of a tunnel is reported without mask only when its whole mapped length was matched.
      const exact = field.variable === true ? [] : [{ field: field.name, value }];
      await roundTrip(flowOf(exact.length === 0 ? [] : [...others, ...exact], [{ type: "output", port: 2 }]));
      if (field.maskable) {
        const mask = sampleMask(field);
        await roundTrip(flowOf([...others, { field: field.name, value: value & mask, mask }], []));
      }
    });
  }

  for (const field of singleFields.filter((f) => f.writable && !reportedOtherwise.has(f.name) && isMapped(f))) {
    test(`set ${field.name}`, async () => {
      const needed = prerequisites(field).filter((other) => other.field !== field.name);
      // What conntrack holds is written in the action that commits.
      const wrap = (action: Action): Action =>
        field.name === "ct_mark" || field.name === "ct_label"
          ? { type: "ct", commit: true, actions: [action] }
          : action;
      const base = field.name.startsWith("ct_") ? [ipv4] : needed;
      const present = { field: "vlan_vid" as const, value: 0x1000n, mask: 0x1000n };
      const match = field.name === "vlan_vid" ? [present] : base;
      const value = sampleValue(field);
      await roundTrip(flowOf(match, [wrap({ type: "set_field", field: field.name, value })]));
      if (!field.maskable || field.variable === true) return;
      const mask = sampleMask(field);
      await roundTrip(flowOf(match, [wrap({ type: "set_field", field: field.name, value: value & mask, mask })]));
    });
  }

  test("set in_port in its short form, the only one that may be set", async () => {
    await roundTrip(flowOf([], [{ type: "set_field", field: "in_port_nxm", value: 0n }]));
  });

  const tcp: Match = [ipv4, { field: "ip_proto", value: 6n }];
  const matchFor = (action: Action): Match => {
    if (action.type === "pop_vlan") return [{ field: "vlan_vid", value: 0x1000n, mask: 0x1000n }];
    return action.type === "resubmit" && action.ct === true ? [...tcp, tracked] : tcp;
  };
  for (const [name, action] of sampleActions) {
    test(`action: ${name}`, async () => {
      await roundTrip(flowOf(matchFor(action), [action]));
    });
  }

  test("conjunction, which stands alone", async () => {
    await roundTrip(flowOf(tcp, [{ type: "conjunction", id: 77, clause: 2, clauses: 3 }]));
    await roundTrip(flowOf([{ field: "conj_id", value: 77n }], [{ type: "output", port: 1 }]));
  });

  test("nat to IPv6", async () => {
    const nat: Action = {
      type: "nat",
      direction: "dst",
      ipv6: { min: 0xfd00n << 112n, max: (0xfd00n << 112n) | 0xffn },
      ports: { min: 80, max: 90 },
    };
    await roundTrip(flowOf([{ field: "eth_type", value: 0x86ddn }], [{ type: "ct", commit: true, actions: [nat] }]));
  });

  test("a removed field of Geneve metadata", async () => {
    await roundTrip(flowOf([], [{ type: "delete_field", field: "tun_metadata3" }]));
  });

  test("instructions, timeouts and flags", async () => {
    const flow = flowOf(
      tcp,
      [{ type: "output", port: 1 }],
      [
        { type: "clear_actions" },
        { type: "write_actions", actions: [{ type: "output", port: 2 }] },
        { type: "write_metadata", value: 0x12n, mask: 0xffn },
        { type: "goto_table", table: 9 },
      ],
    );
    await roundTrip({
      ...flow,
      idleTimeout: 60,
      hardTimeout: 3600,
      flags: ["send_flow_rem", "no_pkt_counts"],
    });
  });

  test("groups, meters, options and ports", async () => {
    const groups = await connection.multipart({ kind: "group_desc" });
    assert.deepStrictEqual(groups[0]!.groups, [
      {
        group: 1,
        kind: "select",
        buckets: [
          { id: 0, actions: [{ type: "output", port: 1 }], weight: 50 },
          { id: 1, actions: [{ type: "output", port: 2 }], weight: 100, watchPort: 2 },
        ],
      },
    ]);
    const meters = await connection.multipart({ kind: "meter_desc" });
    assert.deepStrictEqual(meters[0]!.meters, [
      { flags: ["pktps", "burst", "stats"], meter: 1, bands: [{ kind: "drop", rate: 500, burst: 50 }] },
    ]);
    const statistics = await connection.multipart({ kind: "meter_stats", meter: 1 });
    assert.equal(statistics[0]!.meters[0]!.packets, 0n);
    const table = await connection.request({ type: "tlv_table_request" });
    assert.ok(table.type === "tlv_table_reply" && table.maps.length === 32);
    const ports = await connection.multipart({ kind: "port_desc" });
    assert.deepStrictEqual(
      ports[0]!.ports.map((port) => [port.port, port.name]).sort(([a], [b]) => Number(a) - Number(b)),
      [
        [1, "p1"],
        [2, "p2"],
        [0xffff_fffe, "br0"],
      ],
    );
    const one = await connection.multipart({ kind: "port_stats", port: 2 });
    assert.deepStrictEqual(
      one[0]!.ports.map((port) => port.port),
      [2],
    );
  });

  test("statistics select by table, cookie and match", async () => {
    await reset();
    await install({ ...flowOf(tcp, [{ type: "output", port: 1 }]), cookie: 0x10n });
    await install({ ...flowOf([ipv4], [{ type: "output", port: 1 }]), cookie: 0x11n });
    const select = async (body: Omit<Extract<MultipartRequestBody, { kind: "aggregate" }>, "kind">): Promise<unknown> =>
      (await connection.multipart({ kind: "aggregate", ...body }))[0]!.statistics.flows;
    assert.equal(await select({ match: [] }), 2);
    assert.equal(await select({ match: [], cookie: 0x10n, cookieMask: 0xffn }), 1);
    assert.equal(await select({ match: [], table: 4 }), 0);
    assert.equal(await select({ match: tcp }), 1);
    assert.equal(await select({ match: [], outPort: 1 }), 2);
    assert.equal(await select({ match: [], outPort: 2 }), 0);
  });

  test("a refusal has a name and the refused bytes", async () => {
    const refused = await connection.attempt({
      type: "flow_mod",
      command: "add",
      flow: flowOf([{ field: "tcp_dst", value: 80n }], []),
    });
    assert.equal(refused, "OFPBMC_BAD_PREREQ");
    assert.equal(
      await connection.attempt({ type: "flow_mod", command: "add", flow: flowOf([], [{ type: "meter", meter: 99 }]) }),
      "OFPMMFC_INVALID_METER",
    );
  });

  test("a bundle changes everything or nothing", async () => {
    await reset();
    const bundle = 9;
    const flags = ["atomic", "ordered"] as const;
    const add = (flow: Flow): Parameters<Connection["send"]>[0] => ({
      type: "bundle_add",
      bundle,
      flags,
      message: { type: "flow_mod", command: "add", flow },
    });
    const control = (kind: "open_request" | "commit_request"): Parameters<Connection["send"]>[0] => ({
      type: "bundle_control",
      bundle,
      control: kind,
      flags,
    });
    assert.deepStrictEqual(await connection.request(control("open_request")), {
      type: "bundle_control",
      bundle,
      control: "open_reply",
      flags: [],
    });
    connection.send(add(flowOf(tcp, [])));
    connection.send(add(flowOf([ipv4], [])));
    assert.equal((await installed()).length, 0);
    const committed = await connection.request(control("commit_request"));
    assert.ok(committed.type === "bundle_control" && committed.control === "commit_reply");
    assert.equal((await installed()).length, 2);
  });
});
