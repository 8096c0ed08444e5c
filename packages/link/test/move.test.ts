import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { LinkError, moveAddresses, RouteSocket } from "../src/index.ts";
import { namespaces, pathOf } from "./namespaces.ts";

describe("taking a NIC into a bridge", () => {
  it("moves addresses and routes there and back, and a TCP connection through it lives on", async (context) => {
    const [nodeName, farName] = namespaces(context, 2) as [string, string];
    const node = RouteSocket.open(pathOf(nodeName));
    const far = RouteSocket.open(pathOf(farName));
    context.after(() => Promise.all([node.close(), far.close()]));
    const { hostIndex: nic, peerIndex } = await node.createVeth({
      host: "eth1",
      peer: "far0",
      peerNetns: pathOf(farName),
      hostUp: true,
    });
    await Promise.all([
      far.setLink(peerIndex, { up: true }),
      far.addAddress({ dev: peerIndex, cidr: "10.10.0.1/24" }),
      far.addAddress({ dev: peerIndex, cidr: "fd00:10::1/64", nodad: true }),
      node.addAddress({ dev: nic, cidr: "10.10.0.11/24" }),
      node.addAddress({ dev: nic, cidr: "10.10.0.12/24" }),
      node.addAddress({ dev: nic, cidr: "fd00:10::11/64", nodad: true }),
      node.addRoute({ dst: "default4", gateway: "10.10.0.1", dev: nic, metric: 50 }),
      node.addRoute({ dst: "192.0.2.0/24", gateway: "10.10.0.1", dev: nic, mtu: 1400 }),
      node.addRoute({ dst: "default6", gateway: "fd00:10::1", dev: nic }),
    ]);

    const echo = spawn(
      "ip",
      [
        "netns",
        "exec",
        farName,
        process.execPath,
        "-e",
        'require("node:net").createServer((s) => s.pipe(s)).listen(7000, () => console.log("up"))',
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    context.after(() => void echo.kill());
    await once(echo.stdout, "data");
    // Relays its standard input and output through one connection from the address that will move.
    const script = `const s = require("node:net").connect({ host: "10.10.0.1", port: 7000, localAddress: "10.10.0.11" }); process.stdin.pipe(s).pipe(process.stdout)`;
    const client = spawn("ip", ["netns", "exec", nodeName, process.execPath, "-e", script], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    context.after(() => void client.kill());
    const exchange = async () => {
      client.stdin.write("0123456789");
      const [bytes] = (await once(client.stdout, "data", { signal: AbortSignal.timeout(20_000) })) as [Buffer];
      assert.equal(bytes.toString(), "0123456789");
    };
    await exchange();

    const facts = async (dev: number) => ({
      addresses: (await node.listAddresses(dev))
        .filter(({ scope }) => scope === "global")
        .map(({ cidr }) => cidr)
        .sort(),
      routes: (await node.listRoutes({ dev }))
        .filter(({ protocol }) => protocol !== 2)
        .map(({ dst, gateway, metric, mtu }) => `${dst} ${gateway} ${metric} ${mtu}`)
        .sort(),
    });
    const original = await facts(nic);
    assert.equal(original.addresses.length, 3);
    assert.equal(original.routes.length, 3);

    const bridge = await node.createBridge("br-eth1", { mac: (await node.getLink(nic)).mac! });
    await assert.rejects(
      moveAddresses(node, nic, bridge),
      (error) => error instanceof LinkError && /bring it up first/.test(error.message),
    );
    await node.setLink(bridge, { up: true });
    await node.setLink(nic, { master: bridge });
    const moved = await moveAddresses(node, nic, bridge);
    assert.equal(moved.addresses.length + moved.routes.length, 6);
    assert.deepEqual(await facts(bridge), original);
    assert.deepEqual(await facts(nic), { addresses: [], routes: [] });
    await exchange();
    assert.deepEqual((await moveAddresses(node, nic, bridge)).addresses, [], "done already");

    await node.setLink(nic, { master: 0 });
    await moveAddresses(node, bridge, nic);
    await node.deleteLink(bridge);
    assert.deepEqual(await facts(nic), original);
    await exchange();
  });
});
