import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import {
  flowModFrame,
  OpenFlowEncodeError,
  packetInView,
  resumeFrame,
  type Flow,
  type Message,
} from "@beyondfabric/openflow";
import { Channel, ChannelError, SwitchError, type ChannelOptions, type Features } from "@beyondfabric/openflow/channel";
import { OpenVswitch, until } from "./open-vswitch.ts";

const SETUP: readonly Message[] = [
  { type: "set_packet_in_format", format: "nxt2" },
  { type: "set_async", packetInPrimary: 0x3f, packetInSecondary: 0x3f, flowRemovedPrimary: 0xf, portStatusPrimary: 7 },
  { type: "set_config", flags: 0, missSendLength: 0xffff },
];

let ovs: OpenVswitch;
let channel: Channel;
let errors: Error[];
let messages: Message[];

before(async () => {
  ovs = await OpenVswitch.start();
});

after(async () => {
  await ovs.destroy();
});

beforeEach(async () => {
  await ovs.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=dummy", "fail_mode=secure");
  for (const port of ["p1", "p2"]) {
    await ovs.vsctl("add-port", "br0", port, "--", "set", "Interface", port, `ofport_request=${port.slice(1)}`);
  }
  errors = [];
  messages = [];
});

afterEach(async () => {
  await channel.close();
  await ovs.vsctl("--if-exists", "del-br", "br0");
});

/** Opens a channel to br0 and waits for it. */
async function open(options: Partial<ChannelOptions> = {}): Promise<Features> {
  return new Promise((resolve) => {
    channel = new Channel({
      address: ovs.management("br0"),
      minBackoffMs: 10,
      maxBackoffMs: 100,
      setup: SETUP,
      onError: (error) => errors.push(error),
      onMessage: (message) => messages.push(message),
      ...options,
      onConnected: (features) => {
        options.onConnected?.(features);
        resolve(features);
      },
    });
    channel.start();
  });
}

function flow(priority: number, table = 0): Flow {
  return { table, priority, cookie: BigInt(priority), match: [], instructions: [] };
}

async function dump(): Promise<string[]> {
  return (await ovs.ofctl("dump-flows", "br0", "--no-stats")).split("\n").filter((line) => line.includes("cookie"));
}

function receive(port: string, source = 1): Promise<string> {
  const packet =
    `in_port(1),eth(src=50:54:00:00:00:0${source},dst=50:54:00:00:00:0a),eth_type(0x0800),` +
    `ipv4(src=10.0.0.${source},dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1000,dst=2000)`;
  return ovs.appctl("netdev-dummy/receive", port, packet);
}

void test("opens, says what the switch is, and applies what is sent before a barrier", async () => {
  const features = await open();
  const id = await ovs.vsctl("get", "Bridge", "br0", "datapath_id");
  assert.equal(features.datapathId.toString(16).padStart(16, "0"), JSON.parse(id));
  assert.ok(channel.connected);
  assert.equal(channel.pressure, 0);
  for (let i = 1; i <= 100; i++) channel.send({ type: "flow_mod", command: "add", flow: flow(i) });
  channel.sendFrames([flowModFrame("add", flow(200), 7), flowModFrame("add", flow(201), 8)]);
  await channel.barrier();
  assert.equal((await dump()).length, 102);
  assert.deepEqual(errors, []);
});

void test("a multipart answer is joined, however many parts it has; or taken in parts, or refused when too large", async () => {
  await open();
  const count = 2000;
  for (let i = 1; i <= count; i++) channel.send({ type: "flow_mod", command: "add", flow: flow(i) });
  const ask: Message = { type: "multipart_request", body: { kind: "flow_desc", match: [] } };
  const reply = await channel.request(ask);
  assert.ok(reply.type === "multipart_reply" && reply.body.kind === "flow_desc");
  assert.deepEqual(
    reply.body.entries.map((entry) => entry.flow.priority).sort((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i + 1),
  );
  let parts = 0;
  let entries = 0;
  await channel.request(ask, {
    onPart: (part) => {
      parts++;
      if (part.body.kind === "flow_desc") entries += part.body.entries.length;
    },
  });
  assert.ok(parts > 1, "the answer has several parts");
  assert.equal(entries, count);
  await assert.rejects(
    channel.request(ask, { maxReplyBytes: 70_000 }),
    (error) => error instanceof ChannelError && error.code === "OPENFLOW_REPLY_TOO_LARGE",
  );
  await channel.barrier();
  assert.equal(messages.length, 0, "parts that come after the refusal are nobody's news");
});

void test("a refusal reaches whoever asked, with its name", async () => {
  await open();
  const bad: Message = {
    type: "flow_mod",
    command: "add",
    flow: { ...flow(1), match: [{ field: "tp_dst" as never, value: 80n }] },
  };
  const prerequisite: Message = {
    type: "flow_mod",
    command: "add",
    flow: { ...flow(1), instructions: [{ type: "goto_table", table: 0 }] },
  };
  assert.throws(() => channel.send(bad), Error);
  const xid = channel.send(prerequisite);
  await channel.barrier();
  assert.equal(errors.length, 1);
  const error = errors[0] as SwitchError;
  assert.ok(error instanceof SwitchError);
  assert.equal(error.xid, xid);
  assert.equal(error.error, "OFPBIC_BAD_TABLE_ID");
  assert.match(error.message, /refused flow_mod \(xid \d+\): OFPBIC_BAD_TABLE_ID/);
  await assert.rejects(
    channel.request({ type: "multipart_request", body: { kind: "unknown", code: 999, bytes: Buffer.alloc(0) } }),
    (refusal) => refusal instanceof SwitchError && refusal.error === "OFPBRC_BAD_STAT",
  );
});

void test("a bundle is applied as a whole, in order, or not at all", async () => {
  await open();
  const add = (priority: number, table = 0): Message => ({
    type: "flow_mod",
    command: "add",
    flow: flow(priority, table),
  });
  await channel.bundle([add(1), add(2), { type: "flow_mod", command: "delete", flow: flow(0) }, add(3)]);
  assert.equal((await dump()).length, 1);
  await assert.rejects(
    channel.bundle([
      add(4),
      { type: "flow_mod", command: "add", flow: { ...flow(5), instructions: [{ type: "goto_table", table: 0 }] } },
    ]),
    (error) =>
      error instanceof SwitchError &&
      error.error === "OFPBIC_BAD_TABLE_ID" &&
      /message 2 of 2 of the bundle/.test(error.message),
  );
  await assert.rejects(
    channel.bundle([
      add(6),
      {
        type: "flow_mod",
        command: "add",
        flow: { ...flow(7), instructions: [{ type: "apply_actions", actions: [{ type: "group", group: 9 }] }] },
      },
    ]),
    (error) => error instanceof SwitchError && /message 2 of 2/.test(error.message),
  );
  assert.equal((await dump()).length, 1, "nothing of a refused bundle is left");
  await channel.bundle(Array.from({ length: 3000 }, (_, i) => add(i + 1, 1)));
  await channel.bundle([]);
  await assert.rejects(
    channel.bundle([add(1), { ...add(2), flow: { ...flow(2), priority: -1 } } as Message]),
    OpenFlowEncodeError,
  );
  assert.equal((await dump()).length, 3001);
  assert.deepEqual(errors, []);
});

void test("a packet that pauses comes raw, and resumes with the register that was patched", async () => {
  const frames: Buffer[] = [];
  await open({
    onPacketIn: (frame) => {
      frames.push(Buffer.from(frame));
      channel.send(resumeFrame(frame, [{ xreg: 2, value: (0xabn << 32n) | 0xeen }]));
    },
  });
  await ovs.ofctl(
    "add-flow",
    "br0",
    "table=0,in_port=1 actions=load:0xee->NXM_NX_REG5[],controller(pause),resubmit(,1)",
  );
  await ovs.ofctl("add-flow", "br0", "table=1,reg4=0xab actions=output:2");
  for (let i = 1; i <= 5; i++) await receive("p1", i);
  await until("five packets", () => frames.length === 5);
  await channel.barrier();
  assert.equal(packetInView(frames[0]!).inPort(), 1);
  await until("five packets at p2", async () => /n_packets=5,/.test(await ovs.ofctl("dump-flows", "br0", "table=1")));
  assert.deepEqual(errors, []);
  assert.equal(messages.length, 0);
});

void test("news of ports and of removed entries is decoded", async () => {
  await open();
  await ovs.vsctl("add-port", "br0", "p3");
  await until("the new port", () => messages.some((each) => each.type === "port_status" && each.reason === "add"));
  channel.send({ type: "flow_mod", command: "add", flow: { ...flow(9), flags: ["send_flow_rem"] } });
  channel.send({ type: "flow_mod", command: "delete", flow: flow(0) });
  await until("the removal", () => messages.some((each) => each.type === "flow_removed" && each.priority === 9));
});

void test("a switch killed and started again: requests fail with a reason, setup runs again", async () => {
  let connections = 0;
  const reasons: Error[] = [];
  await open({ onConnected: () => connections++, onDisconnected: (reason) => reasons.push(reason) });
  ovs.pauseSwitch();
  const pending = [channel.barrier(), channel.request({ type: "get_config_request" }), channel.bundle([])].map(
    (promise) =>
      promise.then(
        () => "answered",
        (error: unknown) => (error as ChannelError).code,
      ),
  );
  await new Promise((resolve) => setImmediate(resolve));
  await ovs.killSwitch();
  assert.deepEqual(
    await Promise.all(pending),
    Array.from({ length: 3 }, () => "OPENFLOW_DISCONNECTED"),
  );
  assert.equal(reasons.length, 1);
  assert.equal(channel.connected, false);
  assert.throws(
    () => channel.send({ type: "barrier_request" }),
    (error) =>
      error instanceof ChannelError && error.code === "OPENFLOW_DISCONNECTED" && /was not sent/.test(error.message),
  );
  await assert.rejects(channel.barrier(), /was not sent/);
  await ovs.startSwitch();
  await until("the second connection", () => connections === 2);
  await channel.barrier();
  const config = await channel.request({ type: "get_config_request" });
  assert.ok(config.type === "get_config_reply" && config.missSendLength === 0xffff, "setup ran again");
});

void test("a switch that stops is noticed by the probe, and overflow is refused, not buffered", async () => {
  const reasons: Error[] = [];
  await open({ probeIntervalMs: 300, maxQueueBytes: 1024 * 1024, onDisconnected: (reason) => reasons.push(reason) });
  ovs.pauseSwitch();
  let refused: unknown;
  const frame = flowModFrame("add", flow(1), 1);
  for (let i = 0; i < 100_000 && refused === undefined; i++) {
    try {
      channel.send(frame);
      if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
    } catch (error) {
      refused = error;
    }
  }
  assert.ok(refused instanceof ChannelError && refused.code === "OPENFLOW_CHANNEL_OVERFLOW", String(refused));
  assert.ok(channel.pressure > 0.9 && channel.pressure <= 1);
  await until("the probe's verdict", () => reasons.length === 1);
  assert.match(reasons[0]!.message, /did not answer a probe/);
  ovs.resumeSwitch();
  await until("the switch again", () => channel.connected);
  assert.equal(channel.pressure, 0);
  await channel.barrier();
});

void test("a slow switch drains, and tells", async () => {
  let writable = 0;
  await open({ maxQueueBytes: 4 * 1024 * 1024, onWritable: () => writable++ });
  ovs.pauseSwitch();
  const frame = flowModFrame("add", flow(1), 1);
  const frames = Array.from({ length: 1000 }, () => frame);
  while (channel.pressure < 0.5) {
    channel.sendFrames(frames);
    await new Promise((resolve) => setImmediate(resolve));
  }
  ovs.resumeSwitch();
  await until("the queue to drain", () => writable > 0);
  await channel.barrier();
  assert.equal(channel.pressure, 0);
  assert.equal((await dump()).length, 1);
});

void test("a bridge that does not speak 1.5 is refused by name, a refused setup too", async () => {
  await ovs.vsctl("set", "Bridge", "br0", "protocols=OpenFlow10,OpenFlow13");
  channel = new Channel({ address: ovs.management("br0"), minBackoffMs: 10 });
  channel.start();
  await until("the refusal", () => channel.lastError instanceof ChannelError);
  const error = channel.lastError as ChannelError;
  assert.equal(error.code, "OPENFLOW_VERSION");
  assert.match(error.message, /speaks OpenFlow 1\.0, 1\.3, this side OpenFlow 1\.5 only; add OpenFlow15/);
  await channel.close();
  await ovs.vsctl("set", "Bridge", "br0", "protocols=OpenFlow15");
  channel = new Channel({
    address: ovs.management("br0"),
    minBackoffMs: 10,
    setup: [
      { type: "flow_mod", command: "add", flow: { ...flow(1), instructions: [{ type: "goto_table", table: 0 }] } },
    ],
  });
  channel.start();
  await until("the refusal", () => (channel.lastError as ChannelError | undefined)?.code === "OPENFLOW_SETUP");
  assert.match(channel.lastError?.message ?? "", /cannot be prepared: .*flow_mod.*OFPBIC_BAD_TABLE_ID/);
});
