import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { describe, it } from "node:test";
import type { Container } from "../../src/kubelet/pod-model.ts";
import { probeOnce, probePort, probeSchedule, type ProbeTarget, ProbeVerdict } from "../../src/kubelet/probe.ts";

const container: Container = { name: "c", ports: [{ name: "web", containerPort: 8080 }] };

const target: ProbeTarget = {
  podAddress: "127.0.0.1",
  connect: async (host, port) =>
    await new Promise<Socket>((resolve, reject) => {
      const socket = connect({ host, port }, () => resolve(socket));
      socket.once("error", reject);
    }),
  execute: (command) => Promise.resolve(command[0] === "true" ? 0 : 1),
};

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

describe("a probe", () => {
  it("has the API's defaults", () => {
    assert.deepEqual(probeSchedule({}), {
      initialDelayMs: 0,
      periodMs: 10_000,
      timeoutMs: 1000,
      successThreshold: 1,
      failureThreshold: 3,
    });
  });

  it("changes its opinion only after enough results in a row", () => {
    const verdict = new ProbeVerdict(probeSchedule({ failureThreshold: 2, successThreshold: 2 }), true);
    assert.deepEqual(
      [false, true, false].map((result) => verdict.take(result)),
      [false, false, false],
    );
    assert.ok(verdict.take(false));
    assert.ok(!verdict.healthy);
    assert.ok(!verdict.take(true));
    assert.ok(verdict.take(true));
    assert.ok(verdict.healthy);
  });

  it("that never succeeded reports when its patience ends", () => {
    const verdict = new ProbeVerdict(probeSchedule({ failureThreshold: 2 }), false);
    assert.deepEqual([verdict.take(false), verdict.take(false), verdict.take(false)], [false, true, false]);
  });

  it("finds ports by number and by name", () => {
    assert.equal(probePort(80, container), 80);
    assert.equal(probePort("web", container), 8080);
    assert.equal(probePort("81", container), 81);
    assert.equal(probePort("absent", container), undefined);
  });

  it("by TCP succeeds when somebody listens", async () => {
    const server = createServer((socket) => socket.end());
    const port = await listening(server);
    assert.equal(await probeOnce({ tcpSocket: { port } }, container, target), undefined);
    server.close();
    assert.match((await probeOnce({ tcpSocket: { port } }, container, target)) ?? "", /ECONNREFUSED/);
  });

  it("by HTTP succeeds from 200 to 399, sends its headers, and fails when nothing is answered in time", async () => {
    const server = createHttpServer((request, response) => {
      if (request.url === "/silent") return;
      response.writeHead(request.headers["x-probe"] === "1" && request.url === "/ready" ? 204 : 503).end();
    });
    const port = await listening(server);
    const httpHeaders = [{ name: "X-Probe", value: "1" }];
    assert.equal(await probeOnce({ httpGet: { port, path: "ready", httpHeaders } }, container, target), undefined);
    assert.equal(
      await probeOnce({ httpGet: { port, path: "/other", httpHeaders } }, container, target),
      "HTTP status 503",
    );
    assert.match((await probeOnce({ httpGet: { port, path: "/silent" } }, container, target)) ?? "", /no answer/);
    server.closeAllConnections();
    server.close();
  });

  it("by command is its exit code; other kinds are refused with the remedy", async () => {
    assert.equal(await probeOnce({ exec: { command: ["true"] } }, container, target), undefined);
    assert.equal(await probeOnce({ exec: { command: ["false"] } }, container, target), "command ended with 1");
    assert.match((await probeOnce({}, container, target)) ?? "", /use exec, tcpSocket or httpGet/);
  });
});
