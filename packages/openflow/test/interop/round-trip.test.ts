import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { canonicalFlow, formatFlow, parseFlow } from "../../src/index.ts";
import type { Flow, MultipartRequestBody } from "../../src/index.ts";
import { flowOf, mappedOptions, sampleFlows, tcp } from "../sample-flows.ts";
import { sampleTexts } from "../sample-texts.ts";
import { ipv4 } from "../samples.ts";
import { Connection, startSwitch } from "./switch.ts";
import type { TestSwitch } from "./switch.ts";

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(2);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  const options = Array.from({ length: mappedOptions }, (_, index) => ({
    optionClass: 0x102,
    optionType: index,
    optionLength: 4,
    index,
  }));
  assert.equal(await connection.attempt({ type: "tlv_table_mod", command: "add", maps: options }), undefined);
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

/** The text of an output to a register does not tell how much of the packet goes. */
function asPrinted(flow: Flow): Flow {
  return {
    ...flow,
    instructions: flow.instructions.map((instruction) =>
      instruction.type === "apply_actions"
        ? {
            type: instruction.type,
            actions: instruction.actions.map((a) => (a.type === "output_reg" ? { type: a.type, src: a.src } : a)),
          }
        : instruction,
    ),
  };
}

describe("a switch gives back what it was given", () => {
  for (const { name, flow } of sampleFlows) {
    test(name, async () => {
      await roundTrip(flow);
    });
  }

  test("and its own tool prints every entry as this codec does, which reads it again", async () => {
    await reset();
    const byPriority = new Map(sampleFlows.map(({ flow }, index) => [index + 1, { ...flow, priority: index + 1 }]));
    for (const flow of byPriority.values()) await install(flow);
    const dump = await ovs.ofctl("--no-stats", "--no-names", "dump-flows", `${ovs.directory}/br0.mgmt`);
    const lines = dump.split("\n").filter((line) => line.includes("actions="));
    assert.equal(lines.length, sampleFlows.length);
    for (const line of lines) {
      const flow = canonicalFlow(byPriority.get(Number(/priority=(\d+)/.exec(line)![1]))!);
      const text = formatFlow(flow);
      // The one mask that the tool does not print.
      assert.equal(text.replace(/(tun_gbp_flags=0x81)\/0xbf/, "$1"), line.trim());
      assert.deepStrictEqual(canonicalFlow(parseFlow(text)), asPrinted(flow));
    }
  });

  test("and takes every text that this codec prints", async () => {
    await reset();
    const file = `${ovs.directory}/flows.txt`;
    const texts = sampleFlows.map(({ flow }, index) => formatFlow({ ...flow, priority: index + 1 }));
    writeFileSync(file, texts.join("\n"));
    await ovs.ofctl("add-flows", `${ovs.directory}/br0.mgmt`, file);
    const found = await installed();
    assert.equal(found.length, sampleFlows.length);
    for (const flow of found) {
      const wanted = { ...sampleFlows[flow.priority - 1]!.flow, priority: flow.priority };
      assert.deepStrictEqual(canonicalFlow(flow), asPrinted(canonicalFlow(wanted)));
    }
  });

  test("and this codec reads every spelling as the tool does", async () => {
    await reset();
    const file = `${ovs.directory}/texts.txt`;
    writeFileSync(file, sampleTexts.map((text, table) => `table=${table} ${text}`).join("\n"));
    await ovs.ofctl("add-flows", `${ovs.directory}/br0.mgmt`, file);
    const found = await installed();
    assert.equal(found.length, sampleTexts.length);
    for (const flow of found) {
      const text = sampleTexts[flow.table]!;
      assert.deepStrictEqual(canonicalFlow({ ...parseFlow(text), table: flow.table }), canonicalFlow(flow), text);
    }
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
