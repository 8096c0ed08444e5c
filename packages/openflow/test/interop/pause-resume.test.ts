import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { buildEthernet, buildIp, buildUdp, etherType, ipProtocol, ipToBigInt, parsePacket } from "@beyondfabric/packet";
import { decodeMessage, packetInView, resumeFrame } from "../../src/index.ts";
import type { Action, Flow, FlowEntry, PacketInView } from "../../src/index.ts";
import { Connection, startSwitch, until } from "./switch.ts";
import type { TestSwitch } from "./switch.ts";

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(3);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  connection.send({ type: "set_packet_in_format", format: "nxt2" });
  connection.send({ type: "set_async", packetInPrimary: 0x3f, packetInSecondary: 0x3f });
  connection.send({ type: "set_config", flags: 0, missSendLength: 0xffff });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
});

after(async () => {
  connection?.close();
  await ovs?.stop();
});

function entry(table: number, priority: number, match: Flow["match"], actions: readonly Action[]): Flow {
  return { table, priority, cookie: BigInt(table), match, instructions: [{ type: "apply_actions", actions }] };
}

async function install(...flows: readonly Flow[]): Promise<void> {
  const everything: Flow = { table: 0xff, priority: 0, cookie: 0n, match: [], instructions: [] };
  connection.send({ type: "flow_mod", command: "delete", flow: everything });
  for (const flow of flows) connection.send({ type: "flow_mod", command: "add", flow });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
  connection.frames.length = 0;
}

function load(register: 4 | 5 | 6 | 7 | 9, value: bigint): Action {
  return { type: "load", dst: { field: `reg${register}`, offset: 0, bits: 32 }, value };
}

function udpFrame(src: string, dst: string, payload = "hello"): Buffer {
  const udp = buildUdp({ src, dst, srcPort: 4000, dstPort: 53 }, Buffer.from(payload));
  const type = src.includes(":") ? etherType.ipv6 : etherType.ipv4;
  const ip = buildIp({ src, dst, protocol: ipProtocol.udp }, udp);
  return buildEthernet({ src: "0a:00:00:00:00:01", dst: "0a:00:00:00:00:02", etherType: type }, ip);
}

async function inject(port: string, frame: Buffer): Promise<void> {
  await ovs.appctl("netdev-dummy/receive", port, frame.toString("hex"));
}

async function nextPacketIn(): Promise<{ frame: Buffer; view: PacketInView }> {
  await until(() => connection.frames.length > 0, "a packet-in");
  const frame = connection.frames.shift()!;
  return { frame, view: packetInView(frame) };
}

async function packetsOut(port: number): Promise<bigint> {
  const [reply] = await connection.multipart({ kind: "port_stats", port });
  return reply!.ports[0]!.txPackets;
}

async function entries(): Promise<readonly FlowEntry[]> {
  return (await connection.multipart({ kind: "flow_desc", match: [] })).flatMap((part) => part.entries);
}

/** Table 0 presets the verdict and pauses, table 1 obeys it. */
const pausing = entry(
  0,
  10,
  [{ field: "in_port", value: 1n }],
  [
    load(4, 0xeen),
    load(5, 0xeen),
    { type: "controller", pause: true, userdata: Uint8Array.of(7, 0, 1) },
    { type: "resubmit", table: 1 },
  ],
);

for (const [name, src, dst] of [
  ["IPv4", "10.0.0.1", "10.0.0.2"],
  ["IPv6", "fd00::1", "fd00::2"],
] as const) {
  test(`a paused packet goes the way that is written into its continuation (${name})`, async () => {
    await install(
      pausing,
      entry(1, 10, [{ field: "reg5", value: 2n }], [{ type: "output", port: 2 }]),
      entry(1, 10, [{ field: "reg5", value: 3n }], [{ type: "output", port: 3 }]),
    );
    const sent = udpFrame(src, dst);
    const [before2, before3] = [await packetsOut(2), await packetsOut(3)];
    await inject("p1", sent);
    const { frame, view } = await nextPacketIn();
    assert.deepStrictEqual(Buffer.from(view.packet), sent);
    assert.equal(view.fullLength, sent.length);
    assert.equal(view.tableId, 0);
    assert.equal(view.cookie, 0n);
    assert.equal(view.reason, "action");
    assert.equal(view.inPort(), 1);
    assert.equal(view.tunnelSource(), undefined);
    assert.equal(view.readRegister(4), 0xee);
    assert.equal(view.readRegister(5), 0xee);
    assert.equal(view.readRegister(6), 0);
    assert.equal(view.readXreg(2), 0xee_0000_00een);
    assert.deepStrictEqual([...view.userdata], [7, 0, 1]);
    assert.ok(view.hasContinuation);
    assert.equal(parsePacket(view.packet).dstPort, 53);

    connection.sendFrame(resumeFrame(frame, [{ xreg: 2, value: 3n }]));
    await until(async () => (await packetsOut(3)) === before3 + 1n, "the packet at port 3");
    assert.equal(await packetsOut(2), before2);
    assert.deepStrictEqual(connection.errors, []);
  });
}

test("the whole decoded message encodes to the same bytes, as a resume too", async () => {
  await install(pausing, entry(1, 0, [], []));
  await inject("p1", udpFrame("10.0.0.1", "10.0.0.9"));
  const { frame } = await nextPacketIn();
  const message = decodeMessage(frame);
  assert.ok(message.type === "packet_in2");
  const { encodeMessage } = await import("../../src/index.ts");
  assert.deepStrictEqual(encodeMessage(message, frame.readUInt32BE(4)), Buffer.from(frame));
  const resumed = decodeMessage(resumeFrame(frame, []));
  assert.deepStrictEqual(resumed, { ...message, type: "resume" });
});

test("a register that was not preset cannot be patched, and says so", async () => {
  await install(
    entry(
      0,
      10,
      [],
      [
        { type: "controller", pause: true },
        { type: "resubmit", table: 1 },
      ],
    ),
  );
  await inject("p1", udpFrame("10.0.0.1", "10.0.0.2"));
  const { frame } = await nextPacketIn();
  assert.throws(() => resumeFrame(frame, [{ xreg: 2, value: 1n }]), {
    code: "OPENFLOW_BAD_VALUE",
    message: /xreg2 .* load a non-zero value into reg4 or reg5 before pausing/,
  });
});

test("a packet-in without pause has no continuation", async () => {
  await install(entry(0, 10, [], [{ type: "controller" }]));
  await inject("p1", udpFrame("10.0.0.1", "10.0.0.2"));
  const { frame, view } = await nextPacketIn();
  assert.equal(view.hasContinuation, false);
  assert.throws(() => resumeFrame(frame, []), { code: "OPENFLOW_BAD_VALUE", message: /did not pause/ });
});

test("after conntrack the resumed packet is committed with the label that was patched", async () => {
  await install(
    entry(0, 10, [{ field: "eth_type", value: 0x800n }], [{ type: "ct", table: 2, zone: 5 }]),
    entry(
      2,
      10,
      [
        { field: "ct_state", value: 0x21n, mask: 0x21n },
        { field: "eth_type", value: 0x800n },
      ],
      [load(4, 0xeen), load(5, 0xeen), { type: "controller", pause: true }, { type: "resubmit", table: 3 }],
    ),
    entry(
      3,
      10,
      [
        { field: "reg5", value: 1n },
        { field: "eth_type", value: 0x800n },
      ],
      [
        {
          type: "ct",
          commit: true,
          zone: 5,
          actions: [
            {
              type: "move",
              src: { field: "reg4", offset: 0, bits: 32 },
              dst: { field: "ct_label", offset: 0, bits: 32 },
            },
          ],
        },
        { type: "output", port: 2 },
      ],
    ),
    entry(
      2,
      20,
      [
        { field: "ct_state", value: 0x22n, mask: 0x23n },
        { field: "ct_label", value: 0x1234n, mask: 0xffff_ffffn },
        { field: "eth_type", value: 0x800n },
      ],
      [{ type: "output", port: 3 }],
    ),
  );
  const before3 = await packetsOut(3);
  const sent = udpFrame("10.1.0.1", "10.1.0.2");
  await inject("p1", sent);
  const { frame } = await nextPacketIn();
  connection.sendFrame(resumeFrame(frame, [{ xreg: 2, value: (0x1234n << 32n) | 1n }]));
  await connection.barrier();
  // The reply is established; conntrack keeps an unanswered flow of UDP new.
  const reply = buildUdp({ src: "10.1.0.2", dst: "10.1.0.1", srcPort: 53, dstPort: 4000 });
  const packet = buildIp({ src: "10.1.0.2", dst: "10.1.0.1", protocol: ipProtocol.udp }, reply);
  const ends = { src: "0a:00:00:00:00:02", dst: "0a:00:00:00:00:01" };
  await inject("p2", buildEthernet({ ...ends, etherType: etherType.ipv4 }, packet));
  await until(async () => (await packetsOut(3)) === before3 + 1n, "the established packet at port 3");
  assert.equal(connection.frames.length, 0);

  // Revoked: the tuple flushed, the same packet is new again.
  const mapped = (ip: string): bigint => (0xffffn << 32n) | ipToBigInt(ip);
  connection.send({
    type: "ct_flush",
    ipProto: 17,
    original: { src: mapped("10.1.0.1"), dst: mapped("10.1.0.2"), srcPort: 4000, dstPort: 53 },
    zone: 5,
  });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
  await inject("p1", sent);
  await nextPacketIn();

  connection.send({ type: "ct_flush_zone", zone: 5 });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
});

test("a removed entry says goodbye with its statistics", async () => {
  connection.send({ type: "set_async", packetInPrimary: 0x3f, flowRemovedPrimary: 0x3f, flowRemovedSecondary: 0x3f });
  const flow: Flow = { ...entry(0, 10, [{ field: "in_port", value: 2n }], []), flags: ["send_flow_rem"], cookie: 99n };
  await install(flow);
  await inject("p2", udpFrame("10.0.0.1", "10.0.0.2"));
  await until(async () => (await entries())[0]!.statistics.packets === 1n, "the packet in the entry's statistics");
  connection.send({ type: "flow_mod", command: "delete", flow });
  await until(() => connection.frames.length > 0, "flow-removed");
  const removed = decodeMessage(connection.frames.shift()!);
  assert.ok(removed.type === "flow_removed");
  assert.equal(removed.cookie, 99n);
  assert.equal(removed.reason, "delete");
  assert.equal(removed.statistics.packets, 1n);
  assert.deepStrictEqual(removed.match, [{ field: "in_port", value: 2n }]);
});

test("ports that come and go are told", async () => {
  connection.send({ type: "set_async", portStatusPrimary: 7, portStatusSecondary: 7 });
  await connection.barrier();
  connection.frames.length = 0;
  const args = ["add-port", "br0", "extra", "--", "set", "interface", "extra", "type=dummy", "ofport_request=9"];
  await ovs.vsctl(...args);
  const told = (reason: string) => (): boolean =>
    connection.frames.some((frame) => {
      const message = decodeMessage(frame);
      return message.type === "port_status" && message.reason === reason && message.port.name === "extra";
    });
  await until(told("add"), "port status of the new port");
  await ovs.vsctl("del-port", "extra");
  await until(told("delete"), "port status of the removed port");
});

test("packet-out goes through the actions given", async () => {
  const before2 = await packetsOut(2);
  connection.send({
    type: "packet_out",
    match: [{ field: "in_port", value: 1n }],
    actions: [{ type: "output", port: 2 }],
    packet: new Uint8Array(udpFrame("10.0.0.1", "10.0.0.2")),
  });
  await until(async () => (await packetsOut(2)) === before2 + 1n, "the packet at port 2");
  assert.deepStrictEqual(connection.errors, []);
});

test("a packet out of a tunnel tells its far end and its key", async () => {
  connection.send({
    type: "set_async",
    packetInPrimary: 0x3f,
    packetInSecondary: 0x3f,
    portStatusPrimary: 0,
    portStatusSecondary: 0,
  });
  const hardware = "aa:55:aa:55:00:01";
  const wire = `add-br br-wire -- set bridge br-wire datapath_type=dummy other_config:hwaddr="${hardware}"`;
  const port = "-- add-port br-wire wire -- set interface wire type=dummy";
  const tunnel = "-- add-port br0 vxlan -- set interface vxlan type=vxlan ofport_request=8";
  const options = "options:remote_ip=flow options:key=flow";
  await ovs.vsctl(...[wire, port, tunnel, options].join(" ").split(" "));
  await ovs.appctl("netdev-dummy/ip4addr", "br-wire", "10.10.0.12/24");
  await ovs.appctl("ovs/route/add", "10.10.0.12/24", "br-wire");
  await install(
    entry(
      0,
      10,
      [{ field: "in_port", value: 8n }],
      [load(5, 0xeen), { type: "controller", pause: true }, { type: "resubmit", table: 1 }],
    ),
    entry(
      1,
      10,
      [
        { field: "reg5", value: 2n },
        { field: "tun_src", value: ipToBigInt("10.10.0.11") },
        { field: "tunnel_id", value: 0x123456n },
      ],
      [{ type: "output", port: 2 }],
    ),
  );
  const inner = udpFrame("10.244.1.5", "10.244.2.9");
  const vxlan = Buffer.concat([Buffer.from("0800000012345600", "hex"), inner]);
  const ends = { src: "10.10.0.11", dst: "10.10.0.12" };
  const udp = buildUdp({ ...ends, srcPort: 50_000, dstPort: 4789 }, vxlan);
  const outer = buildEthernet(
    { src: "0a:00:00:00:00:99", dst: hardware, etherType: etherType.ipv4 },
    buildIp({ ...ends, protocol: ipProtocol.udp }, udp),
  );
  const before2 = await packetsOut(2);
  await inject("wire", outer);
  const { frame, view } = await nextPacketIn();
  assert.deepStrictEqual(Buffer.from(view.packet), inner);
  assert.equal(view.inPort(), 8);
  assert.equal(view.tunnelSource(), "10.10.0.11");
  assert.equal(view.tunnelId(), 0x123456n);
  connection.sendFrame(resumeFrame(frame, [{ xreg: 2, value: 2n }]));
  await until(async () => (await packetsOut(2)) === before2 + 1n, "the packet at port 2");
  assert.deepStrictEqual(connection.errors, []);
});
