import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer, type Server } from "node:net";
import { describe, it } from "node:test";
import { listeningPorts, LinkError } from "../src/index.ts";
import { namespaces, pathOf, run, until } from "./namespaces.ts";

async function listen(host: string): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, host);
  await new Promise((resolve) => server.once("listening", resolve));
  return { server, port: (server.address() as { port: number }).port };
}

describe("who listens", () => {
  it("in this namespace, over IPv4 and IPv6, and not who is connected", async () => {
    const [four, six] = [await listen("127.0.0.1"), await listen("::1")];
    try {
      const ports = listeningPorts("/proc/self/ns/net");
      assert.deepEqual([ports.has(four.port), ports.has(six.port)], [true, true]);
    } finally {
      four.server.close();
      six.server.close();
    }
    assert.equal(listeningPorts("/proc/self/ns/net").has(four.port), false);
  });

  it("in another namespace, however many there are", async (context) => {
    const [name] = namespaces(context, 1);
    assert.deepEqual(listeningPorts(pathOf(name!)), new Set());
    run("ip", "-n", name!, "link", "set", "lo", "up");
    const script = `
      const { createServer } = require("node:net");
      for (let port = 2000; port < 2300; port++) createServer().listen(port);
      process.stdin.resume().on("end", () => process.exit());`;
    const child = execFile("ip", ["netns", "exec", name!, process.execPath, "-e", script]);
    const gone = new Promise((resolve) => child.once("exit", resolve));
    try {
      await until("300 sockets listen", () => listeningPorts(pathOf(name!)).size === 300);
    } finally {
      child.stdin!.end();
      await gone;
    }
    assert.deepEqual(listeningPorts(pathOf(name!)), new Set());
  });

  it("nowhere: there is no such namespace", () => {
    assert.throws(
      () => listeningPorts("/nowhere"),
      (error) => error instanceof LinkError && error.code === "LINK_NO_NAMESPACE",
    );
  });
});
