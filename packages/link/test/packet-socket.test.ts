import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import { LinkError, PacketSocket, RouteSocket, sendFrame } from "../src/index.ts";
import { namespaces, pathOf } from "./namespaces.ts";

const ETHER_TYPE = 0x88b5;

async function wire(context: TestContext): Promise<[string, string]> {
  const [left, right] = namespaces(context, 2) as [string, string];
  const a = RouteSocket.open(pathOf(left));
  const b = RouteSocket.open(pathOf(right));
  const { peerIndex } = await a.createVeth({ host: "p0", peer: "p1", peerNetns: pathOf(right), hostUp: true });
  await b.setLink(peerIndex, { up: true });
  while (!(await a.getLink("p0")).carrier);
  await Promise.all([a.close(), b.close()]);
  return [pathOf(left), pathOf(right)];
}

function frame(number: number, length = 64): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.fill(0xff, 0, 6);
  bytes.writeUInt16BE(ETHER_TYPE, 12);
  bytes.writeUInt32BE(number, 14);
  return bytes;
}

describe("raw frames", () => {
  it("one frame, from a namespace to the other", async (context) => {
    const [left, right] = await wire(context);
    using receiver = PacketSocket.open({ netns: right, ifname: "p1", etherType: ETHER_TYPE, timestamps: true });
    const before = BigInt(Date.now()) * 1_000_000n;
    sendFrame(left, "p0", frame(7));
    const [got, ...others] = receiver.receive(5_000);
    assert.equal(others.length, 0);
    assert.deepEqual(Buffer.from(got!.bytes), frame(7));
    assert.ok(got!.timestamp! >= before - 1_000_000_000n && got!.timestamp! < before + 10_000_000_000n);
    assert.deepEqual(receiver.receive(), []);
    assert.deepEqual(receiver.receive(20), []);
  });

  it("batches keep order and content; long frames are cut and say so", async (context) => {
    const [left, right] = await wire(context);
    using sender = PacketSocket.open({ netns: left, ifname: "p0", etherType: 0, batch: 32 });
    using receiver = PacketSocket.open({ netns: right, ifname: "p1", etherType: ETHER_TYPE, frameBytes: 100 });
    const frames = Array.from({ length: 40 }, (_, index) => frame(index, index === 3 ? 1000 : 60 + index));
    assert.equal(sender.send(frames), 32);
    assert.equal(sender.send(frames.slice(32)), 8);
    let count = 0;
    while (count < 40) {
      const batch = receiver.receive(5_000);
      assert.ok(batch.length > 0, `${count} of 40 came`);
      for (const got of batch) {
        assert.equal(got.bytes.readUInt32BE(14), count);
        if (count !== 3) assert.equal(got.length, 60 + count);
        else assert.deepEqual([got.bytes.length, got.length], [100, 1000]);
        count++;
      }
    }
  });

  it("says what is wrong", async (context) => {
    const [left] = await wire(context);
    const coded = (code: string) => (error: unknown) => error instanceof LinkError && error.code === code;
    assert.throws(() => PacketSocket.open({ netns: left, ifname: "none" }), coded("LINK_NOT_FOUND"));
    assert.throws(() => sendFrame(left, "none", frame(0)), coded("LINK_NOT_FOUND"));
    assert.throws(() => sendFrame("/none", "p0", frame(0)), coded("LINK_NO_NAMESPACE"));
    assert.throws(() => sendFrame(left, "lo", frame(0)), /ENETDOWN/);
    const socket = PacketSocket.open({ netns: left, ifname: "p0" });
    assert.throws(() => socket.send([Buffer.alloc(2049)]), RangeError);
    socket.close();
    socket.close();
    assert.throws(() => socket.receive(), coded("LINK_CLOSED"));
    assert.throws(() => socket.send([frame(0)]), coded("LINK_CLOSED"));
  });

  it("sends from a worker thread, fast enough for the bench", async (context) => {
    const [left] = await wire(context);
    const code = `
      import { PacketSocket } from ${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)};
      import { parentPort } from "node:worker_threads";
      const socket = PacketSocket.open({ netns: ${JSON.stringify(left)}, ifname: "p0", etherType: 0, bypassQueue: true });
      const frames = Array.from({ length: 64 }, () => Buffer.alloc(64, 0xff));
      const started = performance.now();
      let sent = 0;
      while (sent < 100_000) sent += socket.send(frames);
      parentPort.postMessage(sent / (performance.now() - started));
      socket.close();`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
    const perMillisecond = await new Promise<number>((resolve, reject) => {
      worker.on("message", resolve).on("error", reject);
    });
    await worker.terminate();
    console.log(`  link: one worker sends ${Math.round(perMillisecond)} thousand frames/s`);
    assert.ok(perMillisecond > 10, "a tenth of what the bench needs, for a machine that is busy");
  });
});
