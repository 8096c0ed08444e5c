import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  CniServer,
  CniServerError,
  decodeResponse,
  encodeRequest,
  type CallResponse,
  type CniEnvironment,
  type CniServerOptions,
} from "../src/index.ts";
import { RecordingAttachments, temporaryFolder } from "./agent-double.ts";

async function stand(context: TestContext, options: Partial<CniServerOptions> = {}) {
  const folder = temporaryFolder(context);
  const socketPath = join(folder, "deep/er/cni.sock");
  const attachments = new RecordingAttachments();
  const server = new CniServer({ socketPath, attachments, ...options });
  await server.listen();
  context.after(() => server.close());
  return { socketPath, attachments, server };
}

/** Sends raw bytes and collects what comes back until the end. */
function send(path: string, data: string | Buffer, opened: (socket: Socket) => void = () => {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(data));
    opened(socket);
    let answer = "";
    socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });
}

function environment(command: string, container: string, change: CniEnvironment = {}): CniEnvironment {
  return { CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0", ...change };
}

async function call(path: string, command: string, container = "c1", config: object = {}): Promise<CallResponse> {
  const stdin = JSON.stringify({ cniVersion: "1.1.0", name: "net", type: "fabric-cni", ...config });
  return decodeResponse(await send(path, encodeRequest(environment(command, container), stdin)));
}

function codeOf(response: CallResponse): number {
  return response.stdout === "" ? 0 : ((JSON.parse(response.stdout) as { code?: number }).code ?? 0);
}

describe("the socket", () => {
  it("is private, in folders that are made, and gone after close", async (context) => {
    const { socketPath, server } = await stand(context);
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(join(socketPath, "..")), ["cni.sock"]);
    await server.close();
    assert.ok(!existsSync(socketPath));
    await server.close();
  });

  it("replaces what a dead process left, refuses a live one and a file", async (context) => {
    const folder = temporaryFolder(context);
    const socketPath = join(folder, "cni.sock");
    const script = `require("node:net").createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, "SIGKILL"))`;
    await new Promise((resolve) => spawn(process.execPath, ["-e", script]).on("close", resolve));
    assert.ok(existsSync(socketPath), "a socket is left");
    const server = new CniServer({ socketPath, attachments: new RecordingAttachments() });
    await server.listen();
    context.after(() => server.close());
    assert.equal(codeOf(await call(socketPath, "ADD")), 0);
    const second = new CniServer({ socketPath, attachments: new RecordingAttachments() });
    await assert.rejects(
      second.listen(),
      (error) => error instanceof CniServerError && error.code === "CNI_SOCKET_IN_USE",
    );
    assert.equal(codeOf(await call(socketPath, "ADD")), 0, "the first is untouched");
    writeFileSync(join(folder, "file"), "");
    const third = new CniServer({ socketPath: join(folder, "file"), attachments: new RecordingAttachments() });
    await assert.rejects(third.listen(), (error) => error instanceof CniServerError && error.code === "CNI_SOCKET");
    assert.deepEqual(readdirSync(folder).sort(), ["cni.sock", "file"]);
    chmodSync(folder, 0o700);
  });
});

describe("requests", () => {
  it("nonsense is answered or cut off, and the server goes on", async (context) => {
    const { socketPath } = await stand(context);
    const lines = ["\n", "{}\n", "[]\n", '{"version":2,"env":{},"stdin":""}\n', '{"version":1,"env":{},"stdin":7}\n'];
    for (const line of lines) assert.equal(codeOf(decodeResponse(await send(socketPath, line))), 6, line);
    assert.match(await send(socketPath, '{"version":2,"env":{},"stdin":""}\n'), /install-cni/);
    assert.equal(codeOf(decodeResponse(await send(socketPath, Buffer.alloc((2 << 20) + 1, "x")))), 5);
    await send(socketPath, "half a line", (socket) => setTimeout(() => socket.destroy(), 50));
    assert.equal(codeOf(await call(socketPath, "ADD")), 0);
  });

  it("a caller that sends nothing is cut off", async (context) => {
    const { socketPath } = await stand(context);
    assert.equal(await send(socketPath, "{"), "");
  });

  it("observes command, code and time", async (context) => {
    const seen: [string, number][] = [];
    const { socketPath } = await stand(context, {
      observe: (command, code, ms) => void (ms >= 0 && seen.push([command, code])),
    });
    await call(socketPath, "ADD");
    await call(socketPath, "ADD", "../x");
    assert.deepEqual(seen, [
      ["ADD", 0],
      ["ADD", 4],
    ]);
  });
});

describe("order", () => {
  it("ADD and DEL of a container never interleave, others run beside, GC runs alone", async (context) => {
    const { socketPath, attachments } = await stand(context);
    // The first operation of each container ends when the other's has begun.
    const begun = { a: Promise.withResolvers<void>(), b: Promise.withResolvers<void>() };
    attachments.during = async (_command, request) => {
      const container = request?.containerId;
      if (container === "a" || container === "b") {
        begun[container].resolve();
        await Promise.race([begun[container === "a" ? "b" : "a"].promise, delay(10_000)]);
      }
      await delay(10);
    };
    const work = [];
    for (const container of ["a", "b"]) {
      for (const command of ["ADD", "DEL", "ADD", "DEL"]) work.push(call(socketPath, command, container));
    }
    work.push(call(socketPath, "GC", "x", { "cni.dev/valid-attachments": [] }));
    const responses = await Promise.all(work);
    assert.ok(responses.every((response) => response.exitCode === 0));
    for (const container of ["a", "b"]) {
      const mine = attachments.calls.filter((entry) => entry.split(" ")[1] === container);
      assert.equal(mine.length, 8);
      for (let index = 0; index < 8; index += 2) {
        assert.ok(mine[index]!.endsWith("eth0") && mine[index + 1]!.endsWith("end"), mine.join("; "));
      }
    }
    assert.ok(/a eth0;\w+ b eth0|b eth0;\w+ a eth0/.test(attachments.calls.join(";")), "two containers side by side");
    assert.equal(attachments.calls.indexOf("GC end") - attachments.calls.indexOf("GC net"), 1);
  });

  it("an operation over its time is answered with 11, and still keeps the next one of its container waiting", async (context) => {
    const { socketPath, attachments } = await stand(context, { operationMilliseconds: 200 });
    let finish = (): void => {};
    let aborted = false;
    attachments.during = (command, _request, signal) => {
      signal?.addEventListener("abort", () => (aborted = true));
      return command === "ADD" ? new Promise((resolve) => (finish = resolve)) : Promise.resolve();
    };
    assert.equal(codeOf(await call(socketPath, "ADD")), 11);
    assert.ok(aborted);
    const deletion = call(socketPath, "DEL");
    await delay(100);
    assert.deepEqual(attachments.calls, ["ADD c1 eth0"]);
    finish();
    assert.equal(codeOf(await deletion), 0);
    assert.deepEqual(attachments.calls, ["ADD c1 eth0", "ADD c1 end", "DEL c1 eth0", "DEL c1 end"]);
  });

  it("a caller that goes away aborts its operation; one that went while it waited never begins", async (context) => {
    const { socketPath, attachments } = await stand(context);
    let finish = (): void => {};
    const aborted = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    attachments.during = (_command, _request, signal) => {
      signal?.addEventListener("abort", () => aborted.resolve());
      begun.resolve();
      return new Promise((resolve) => (finish = resolve));
    };
    const stdin = JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "fabric-cni" });
    let first: Socket | undefined;
    let second: Socket | undefined;
    const firstCall = send(socketPath, encodeRequest(environment("ADD", "c1"), stdin), (socket) => (first = socket));
    await begun.promise;
    const secondCall = send(socketPath, encodeRequest(environment("ADD", "c1"), stdin), (socket) => (second = socket));
    await delay(50);
    second!.destroy();
    first!.destroy();
    await aborted.promise;
    await Promise.all([firstCall, secondCall]);
    await delay(50);
    finish();
    attachments.during = () => Promise.resolve();
    assert.equal(codeOf(await call(socketPath, "DEL")), 0);
    assert.deepEqual(attachments.calls, ["ADD c1 eth0", "ADD c1 end", "DEL c1 eth0", "DEL c1 end"]);
  });

  it("close answers what runs and waits for its end", async (context) => {
    const { socketPath, attachments, server } = await stand(context);
    const begun = Promise.withResolvers<void>();
    attachments.during = (_command, _request, signal) =>
      new Promise((_resolve, reject) => {
        begun.resolve();
        signal?.addEventListener("abort", () => setTimeout(() => reject(new Error("undone")), 50));
      });
    const running = call(socketPath, "ADD");
    await begun.promise;
    await server.close();
    assert.equal(codeOf(await running), 11);
  });

  it("too many connections are told to try again", async (context) => {
    const { socketPath, attachments } = await stand(context, { connections: 2 });
    const gate = Promise.withResolvers<void>();
    attachments.during = () => gate.promise;
    const stdin = JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "fabric-cni" });
    const held = ["a", "b"].map((container) => send(socketPath, encodeRequest(environment("ADD", container), stdin)));
    while (attachments.requests.length < 2) await delay(5);
    assert.equal(codeOf(await call(socketPath, "ADD", "c")), 11);
    gate.resolve();
    for (const answer of await Promise.all(held)) assert.equal(decodeResponse(answer).exitCode, 0);
  });
});

describe("a server of something else", () => {
  it("is left alone", async (context) => {
    const socketPath = join(temporaryFolder(context), "cni.sock");
    const other = createServer(() => {});
    await new Promise<void>((resolve) => void other.listen(socketPath, resolve));
    context.after(() => void other.close());
    const server = new CniServer({ socketPath, attachments: new RecordingAttachments() });
    await assert.rejects(server.listen(), /another process answers/);
  });
});
