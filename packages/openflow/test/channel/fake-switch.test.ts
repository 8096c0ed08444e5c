import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, Socket, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, mock, test } from "node:test";
import * as fc from "fast-check";
import { decodeMessage, encodeMessage, OpenFlowDecodeError, resumeFrame, type Message } from "@beyondfabric/openflow";
import { Channel, ChannelError, FrameSplitter, SwitchError, type ChannelOptions } from "@beyondfabric/openflow/channel";
import { until } from "./open-vswitch.ts";

/** A peer that says what a real switch never would. It completes the opening dialogue unless a test takes it over. */
interface FakeSwitch {
  readonly socket: Socket;
  readonly received: { message: Message; xid: number }[];
  say(message: Message, xid?: number): void;
}

let directory: string;
let server: Server;
let channel: Channel;
let switches: FakeSwitch[];
let errors: Error[];
/** Takes a message instead of the polite answer; returns whether it did. */
let intercept: (peer: FakeSwitch, message: Message, xid: number) => boolean;

const FEATURES: Message = {
  type: "features_reply",
  datapathId: 7n,
  buffers: 0,
  tables: 254,
  auxiliaryId: 0,
  capabilities: 0,
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "bf-fake-switch-"));
  switches = [];
  errors = [];
  intercept = () => false;
  server = createServer((socket) => {
    const peer: FakeSwitch = {
      socket,
      received: [],
      say: (message, xid = 0) => void socket.write(encodeMessage(message, xid)),
    };
    switches.push(peer);
    socket.on("error", () => {});
    const splitter = new FrameSplitter((frame) => {
      const message = decodeMessage(frame);
      const xid = frame.readUInt32BE(4);
      peer.received.push({ message, xid });
      if (intercept(peer, message, xid)) return;
      if (message.type === "hello") peer.say({ type: "hello", versions: [6] }, xid);
      if (message.type === "features_request") peer.say(FEATURES, xid);
      if (message.type === "barrier_request") peer.say({ type: "barrier_reply" }, xid);
    });
    socket.on("data", (chunk: Buffer) => splitter.push(chunk));
  });
  server.listen(join(directory, "switch.mgmt"));
  await once(server, "listening");
});

afterEach(async () => {
  mock.restoreAll();
  await channel.close();
  for (const { socket } of switches) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

function make(options: Partial<ChannelOptions> = {}): Channel {
  channel = new Channel({
    address: `unix:${join(directory, "switch.mgmt")}`,
    minBackoffMs: 5,
    maxBackoffMs: 20,
    onError: (error) => errors.push(error),
    ...options,
  });
  channel.start();
  return channel;
}

async function open(options: Partial<ChannelOptions> = {}): Promise<FakeSwitch> {
  make(options);
  await until("the channel", () => channel.connected);
  return switches.at(-1)!;
}

function packetIn(number: number): Buffer {
  return encodeMessage(
    {
      type: "packet_in2",
      packet: Buffer.from([number]),
      metadata: [{ field: "in_port", value: 1n }],
      userdata: Buffer.alloc(0),
    } as unknown as Message,
    number,
  );
}

async function refusal(): Promise<ChannelError> {
  await until("a refusal", () => channel.lastError instanceof ChannelError);
  return channel.lastError as ChannelError;
}

void test("a switch of another version is refused by both names, and is told why", async () => {
  intercept = (peer, message, xid) => {
    if (message.type === "hello") peer.say({ type: "hello", versions: [1, 4] }, xid);
    return true;
  };
  make();
  const error = await refusal();
  assert.equal(error.code, "OPENFLOW_VERSION");
  assert.match(error.message, /speaks OpenFlow 1\.0, 1\.3, this side OpenFlow 1\.5 only/);
  await until("the switch to be told", () => switches[0]!.received.some(({ message }) => message.type === "error"));
  const told = switches[0]!.received.find(({ message }) => message.type === "error")!.message;
  assert.ok(told.type === "error" && told.errorType === 0 && told.errorCode === 0);
  await until("more attempts", () => switches.length >= 3);
});

void test("an old hello without a bitmap means every version up to its own", async () => {
  let version = 4;
  intercept = (peer, message, xid) => {
    if (message.type !== "hello") return false;
    const hello = Buffer.from([version, 0, 0, 8, 0, 0, 0, 0]);
    hello.writeUInt32BE(xid, 4);
    peer.socket.write(hello);
    return true;
  };
  make();
  assert.match((await refusal()).message, /speaks OpenFlow 1\.0, 1\.1, 1\.2, 1\.3, this side/);
  version = 6;
  await until("agreement", () => channel.connected);
});

void test("a switch that refuses our hello is quoted", async () => {
  intercept = (peer, _message, xid) => {
    peer.say({ type: "error", errorType: 0, errorCode: 0, data: Buffer.from("no 1.5 here\n") }, xid);
    return true;
  };
  make();
  const error = await refusal();
  assert.equal(error.code, "OPENFLOW_VERSION");
  assert.match(error.message, /OFPHFC_INCOMPATIBLE \(no 1\.5 here\.\)/);
});

void test("one that says something else first, or nothing, is given up", async () => {
  let manner: "rude" | "silent" | "polite" = "rude";
  intercept = (peer) => {
    if (manner === "rude") peer.say({ type: "barrier_reply" });
    return manner !== "polite";
  };
  make({ timeoutMs: 100 });
  assert.match((await refusal()).message, /began with barrier_reply instead of hello/);
  manner = "silent";
  await until("the silent one to be given up", () =>
    /opening dialogue \(hello\)/.test(channel.lastError?.message ?? ""),
  );
  manner = "polite";
  await until("the polite one", () => channel.connected);
});

void test("what several packet-ins of one chunk are answered leaves in one write, in order", async () => {
  const seen: number[] = [];
  const peer = await open({
    onPacketIn: (frame) => {
      seen.push(frame.readUInt32BE(4));
      channel.send({ type: "barrier_request" });
      channel.sendFrames([frame, frame]);
    },
  });
  intercept = () => true;
  peer.received.length = 0;
  const write = mock.method(Socket.prototype, "write");
  peer.socket.write(Buffer.concat([1, 2, 3, 4, 5].map((number) => packetIn(number))));
  await until("the answers", () => peer.received.length === 15);
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  const writes = write.mock.calls.filter((call) => call.this !== peer.socket);
  assert.equal(writes.length, 1);
  assert.deepEqual(
    peer.received.map(({ message }) => message.type),
    Array.from({ length: 5 }, () => ["barrier_request", "packet_in2", "packet_in2"]).flat(),
  );
  write.mock.resetCalls();
  const own = [channel.send({ type: "barrier_request" }), channel.send({ type: "barrier_request" })];
  await Promise.resolve();
  channel.send({ type: "barrier_request" });
  await until("the three", () => peer.received.length === 18);
  assert.equal(write.mock.calls.filter((call) => call.this !== peer.socket).length, 1, "one turn, one write");
  assert.ok(own.every((xid) => xid >= 0x8000_0000));
});

void test("a packet-in that cannot be answered is reported; a listener's own mistake surfaces, later frames are served", async () => {
  const bug = new TypeError("a mistake of the listener");
  const seen: number[] = [];
  const peer = await open({
    maxQueueBytes: 1000,
    onPacketIn: (frame) => {
      const number = frame.readUInt32BE(4);
      seen.push(number);
      if (number === 1) channel.send(Buffer.alloc(1001));
      if (number === 2) resumeFrame(frame, []);
      if (number === 3) throw bug;
    },
  });
  const surfaced: unknown[] = [];
  mock.method(globalThis, "queueMicrotask", (task: () => void) => {
    try {
      task();
    } catch (error) {
      surfaced.push(error);
    }
  });
  peer.socket.write(Buffer.concat([1, 2, 3, 4].map((number) => packetIn(number))));
  await until("the last", () => seen.length === 4);
  mock.restoreAll();
  assert.deepEqual(
    errors.map((error) => (error as ChannelError).code),
    ["OPENFLOW_CHANNEL_OVERFLOW", "OPENFLOW_BAD_VALUE"],
  );
  assert.deepEqual(surfaced, [bug]);
  await channel.barrier();
});

void test("packet-ins that come before the setup is confirmed are handed over after it", async () => {
  intercept = (peer, message) => {
    if (message.type === "barrier_request") peer.socket.write(packetIn(9));
    return false;
  };
  const order: string[] = [];
  await open({
    onConnected: () => order.push("connected"),
    onPacketIn: (frame) => order.push(`packet ${frame.readUInt32BE(4)}`),
  });
  assert.deepEqual(order, ["connected", "packet 9"]);
});

void test("an echo is answered with its own bytes", async () => {
  const peer = await open();
  peer.say({ type: "echo_request", data: Buffer.from("are you there") }, 77);
  await until("the reply", () => peer.received.some(({ message }) => message.type === "echo_reply"));
  const reply = peer.received.at(-1)!;
  assert.equal(reply.xid, 77);
  assert.ok(reply.message.type === "echo_reply" && String(Buffer.from(reply.message.data)) === "are you there");
});

void test("a message that contradicts itself costs itself only; a stream out of step costs the connection", async () => {
  let disconnected: (reason: Error) => void = () => {};
  const peer = await open({ onDisconnected: (reason) => disconnected(reason) });
  const emptyPortStatus = Buffer.from([6, 12, 0, 8, 0, 0, 0, 0]);
  peer.socket.write(emptyPortStatus);
  await until("the report", () => errors.length === 1);
  assert.ok(errors[0] instanceof OpenFlowDecodeError);
  assert.ok(channel.connected);
  intercept = (_peer, message, xid) => {
    if (message.type !== "multipart_request") return false;
    const reply = Buffer.alloc(20);
    reply.set([6, 19, 0, 20]);
    reply.writeUInt32BE(xid, 4);
    reply.writeUInt16BE(1, 8);
    peer.socket.write(reply);
    return true;
  };
  await assert.rejects(
    channel.request({ type: "multipart_request", body: { kind: "flow_desc", match: [] } }),
    OpenFlowDecodeError,
  );
  await channel.barrier();
  const lost = new Promise<Error>((resolve) => {
    disconnected = resolve;
  });
  intercept = () => true;
  const pending = assert.rejects(
    channel.barrier(),
    (error) =>
      error instanceof ChannelError && error.code === "OPENFLOW_DISCONNECTED" && /may or may not/.test(error.message),
  );
  peer.socket.write(Buffer.from([6, 12, 0, 3, 0, 0, 0, 0]));
  await pending;
  assert.equal(((await lost) as ChannelError).code, "OPENFLOW_PROTOCOL");
  intercept = () => false;
  await until("the next connection", () => channel.connected);
  await channel.barrier();
});

void test("an answer that never ends, or never comes, is bounded", async () => {
  const peer = await open();
  const part = encodeMessage({ type: "multipart_reply", more: true, body: { kind: "flow_desc", entries: [] } }, 0);
  intercept = (_peer, message, xid) => {
    if (message.type !== "multipart_request") return false;
    for (let i = 0; i < 100; i++) {
      const copy = Buffer.from(part);
      copy.writeUInt32BE(xid, 4);
      peer.socket.write(copy);
    }
    return true;
  };
  const ask: Message = { type: "multipart_request", body: { kind: "flow_desc", match: [] } };
  await assert.rejects(
    channel.request(ask, { maxReplyBytes: 1000 }),
    (error) => error instanceof ChannelError && error.code === "OPENFLOW_REPLY_TOO_LARGE",
  );
  await assert.rejects(
    channel.request(ask, { timeoutMs: 50 }),
    (error) => error instanceof ChannelError && error.code === "OPENFLOW_TIMEOUT",
  );
  intercept = () => true;
  const many = Array.from({ length: 4096 }, () => channel.barrier());
  const outcome = Promise.allSettled(many);
  await assert.rejects(
    channel.barrier(),
    (error) =>
      error instanceof ChannelError &&
      error.code === "OPENFLOW_CHANNEL_OVERFLOW" &&
      /4096 requests/.test(error.message),
  );
  await channel.close();
  assert.ok((await outcome).every(({ status }) => status === "rejected"));
});

void test("errors for strangers are reported, not thrown", async () => {
  const peer = await open();
  peer.say({ type: "error", errorType: 5, errorCode: 1, data: Buffer.alloc(0) }, 12345);
  peer.say({ type: "error", errorType: 0xffff, errorCode: 2, experimenter: 1, data: Buffer.from([6, 4]) }, 1);
  await until("both", () => errors.length === 2);
  assert.match(errors[0]!.message, /refused a message \(xid 12345\): OFPFMFC_TABLE_FULL/);
  assert.ok(errors[1] instanceof SwitchError);
  assert.ok(channel.connected);
});

void test("whatever bytes a switch sends, the channel lives and comes back", async () => {
  await open();
  const payload = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    // Well-framed nonsense reaches the decoder of every kind of message.
    fc.tuple(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 120 })).map(([code, body]) => {
      const frame = Buffer.concat([Buffer.from([6, code, 0, 0, 0x80, 0, 0, 1]), body]);
      frame.writeUInt16BE(frame.length, 2);
      return frame;
    }),
  );
  await fc.assert(
    fc.asyncProperty(payload, async (bytes) => {
      await until("the channel", () => channel.connected);
      const peer = switches.at(-1)!;
      peer.socket.write(bytes);
      await new Promise((resolve) => setImmediate(resolve));
    }),
    { numRuns: 200 },
  );
  // Bytes of an unfinished frame may be left over; a fresh connection starts clean.
  switches.at(-1)!.socket.destroy();
  await until("the end of that connection", () => switches.at(-1)!.socket.destroyed);
  await until("a working channel", async () => {
    try {
      await channel.barrier();
      return true;
    } catch {
      return false;
    }
  });
});
