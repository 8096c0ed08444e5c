import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { afterEach, beforeEach, test } from "node:test";
import { connect, Connection, parseAddress, StreamError } from "@beyondfabric/stream";

let directory: string;
let path: string;
let server: Server | undefined;
let peers: Socket[];
let connection: Connection;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "bf-stream-"));
  path = join(directory, "peer.sock");
  peers = [];
});

afterEach(async () => {
  await connection.close();
  await stop();
  await rm(directory, { recursive: true, force: true });
});

async function listen(onPeer: (socket: Socket) => void = () => {}): Promise<void> {
  server = createServer((socket) => {
    peers.push(socket);
    socket.on("error", () => {});
    onPeer(socket);
  });
  server.listen(path);
  await once(server, "listening");
}

async function stop(): Promise<void> {
  for (const peer of peers) peer.destroy();
  peers = [];
  const closing = server;
  server = undefined;
  if (closing !== undefined) await new Promise((resolve) => closing.close(resolve));
}

void test("connects when the peer appears, and again when it comes back", async () => {
  connection = new Connection({ address: `unix:${path}`, minBackoffMs: 5, maxBackoffMs: 20 });
  connection.start();
  const [reason, established] = await once(connection, "disconnected");
  assert.equal((reason as StreamError).code, "STREAM_UNREACHABLE");
  assert.match((reason as StreamError).message, /no such socket/);
  assert.equal(established, false);
  const first = once(connection, "connected");
  await listen((socket) => socket.write("hello"));
  const data = once(connection, "data");
  await first;
  assert.equal(String((await data)[0]), "hello");
  const lost = once(connection, "disconnected");
  await stop();
  assert.equal((await lost)[1], true);
  assert.ok(connection.lastError instanceof StreamError);
  const second = once(connection, "connected");
  await listen();
  await second;
  assert.equal(connection.lastError, undefined);
});

void test("a peer that does not read: writes are refused beyond the limit, and it resumes when it reads", async () => {
  await listen((socket) => socket.pause());
  connection = new Connection({ address: `unix:${path}`, maxQueueBytes: 4 * 1024 * 1024 });
  connection.start();
  await once(connection, "connected");
  const block = Buffer.alloc(256 * 1024, 7);
  let sent = 0;
  let refused: unknown;
  while (refused === undefined && sent < 1e9) {
    try {
      connection.write(block);
      sent += block.length;
    } catch (error) {
      refused = error;
    }
  }
  assert.ok(refused instanceof StreamError);
  assert.equal(refused.code, "STREAM_OVERFLOW");
  assert.match(refused.message, /limit of 4194304/);
  assert.ok(connection.queuedBytes <= 4 * 1024 * 1024);
  let received = 0;
  const writable = once(connection, "writable");
  const all = new Promise<void>((resolve) => {
    peers[0]!.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received === sent) resolve();
    });
  });
  peers[0]!.resume();
  await writable;
  await all;
  connection.write("more");
});

void test("a silent peer is probed and then replaced", async () => {
  await listen();
  connection = new Connection({ address: `unix:${path}`, probeIntervalMs: 30, minBackoffMs: 5 });
  connection.start();
  await once(connection, "connected");
  await once(connection, "probe");
  const [reason] = await once(connection, "disconnected");
  assert.equal((reason as StreamError).code, "STREAM_SILENT");
  await once(connection, "connected");
});

void test("a stall of this process is not taken for the peer's silence", async () => {
  // In a process of its own, and slow enough that its answer never comes in the turn of the loop that asked.
  const program = `require("node:net")
    .createServer((socket) => socket.on("data", (data) => setTimeout(() => socket.write(data), 100)))
    .listen(${JSON.stringify(path)}, () => console.log("listening"))`;
  const peer = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(peer.stdout, "data");
    connection = new Connection({ address: `unix:${path}`, probeIntervalMs: 600 });
    let probes = 0;
    let lost = 0;
    connection.on("probe", () => {
      probes++;
      connection.write("?");
    });
    connection.on("disconnected", () => lost++);
    connection.start();
    await once(connection, "connected");
    // Stalls at the end of the loop's turn: the probe's deadline passes before its answer can be read in the next one.
    const clock = new Int32Array(new SharedArrayBuffer(4));
    for (let stalls = 0; stalls < 4; stalls++) {
      await new Promise((resolve) => setImmediate(resolve));
      Atomics.wait(clock, 0, 0, 1000);
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(probes > 0);
    assert.equal(lost, 0);
  } finally {
    peer.kill("SIGKILL");
  }
});

void test("a reset by the owner carries its reason and connects again", async () => {
  await listen();
  connection = new Connection({ address: `unix:${path}`, minBackoffMs: 5 });
  connection.start();
  await once(connection, "connected");
  const lost = once(connection, "disconnected");
  const why = new Error("bytes that make no sense");
  connection.reset(why);
  assert.equal((await lost)[0], why);
  assert.throws(() => connection.write("x"), /not connected/);
  await once(connection, "connected");
});

void test("after close nothing happens any more, and it can be started again", async () => {
  await listen();
  connection = new Connection({ address: `unix:${path}`, minBackoffMs: 5 });
  connection.start();
  await once(connection, "connected");
  await connection.close();
  assert.equal(connection.state, "void");
  assert.throws(
    () => connection.write("x"),
    (error) => error instanceof StreamError && error.code === "STREAM_CLOSED",
  );
  connection.start();
  await once(connection, "connected");
});

void test("closing inside the disconnected event stays closed", async () => {
  await listen();
  connection = new Connection({ address: `unix:${path}`, minBackoffMs: 5 });
  connection.start();
  await once(connection, "connected");
  const closed = new Promise<void>((resolve) => {
    connection.once("disconnected", () => resolve(connection.close()));
  });
  await stop();
  await closed;
  await listen();
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(connection.state, "void");
  assert.equal(peers.length, 0);
});

void test("TCP on both families", async () => {
  for (const host of ["127.0.0.1", "[::1]"]) {
    const tcp = createServer((socket) => socket.end("hi"));
    tcp.listen(0, host.replaceAll(/[[\]]/g, ""));
    await once(tcp, "listening");
    const { port } = tcp.address() as AddressInfo;
    connection = new Connection({ address: `tcp:${host}:${port}`, minBackoffMs: 1000 });
    connection.start();
    const [data] = await once(connection, "data");
    assert.equal(String(data), "hi");
    await connection.close();
    await new Promise((resolve) => tcp.close(resolve));
    connection = new Connection({ address: `tcp:${host}:${port}`, minBackoffMs: 1000 });
    const refused = once(connection, "disconnected");
    connection.start();
    assert.match(((await refused)[0] as Error).message, /nobody listens there/);
    await connection.close();
  }
});

void test("one attempt: the system's error becomes a sentence", async () => {
  connection = new Connection({ address: `unix:${path}` });
  await assert.rejects(
    connect(parseAddress(`unix:${path}`)),
    (error) => error instanceof StreamError && error.code === "STREAM_UNREACHABLE" && error.cause instanceof Error,
  );
  await listen();
  const socket = await connect(parseAddress(`unix:${path}`));
  socket.destroy();
});
