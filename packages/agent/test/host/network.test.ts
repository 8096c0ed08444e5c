/** NICs that bridges take and give back, in real namespaces; a bridge of the kernel stands in for that of the switch. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { RouteSocket } from "@beyondfabric/link";
import { ipJson, namespaces, pathOf, run, until } from "../../../link/test/namespaces.ts";
import { HostNetwork } from "../../src/host/network.ts";

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

interface Place {
  readonly node: string;
  readonly peer: string;
  readonly host: HostNetwork;
}

/** A node with a NIC `nic0` that is connected to a machine, and a bridge `br-nic0` that is there but empty. */
function place(context: TestContext): Place {
  const [node, peer] = namespaces(context, 2) as [string, string];
  const ip = (...words: string[]): string => run("ip", "-n", node, ...words);
  ip("link", "add", "nic0", "type", "veth", "peer", "name", "eth0", "netns", peer);
  ip("link", "add", "br-nic0", "type", "bridge");
  for (const link of ["lo", "nic0"]) ip("link", "set", link, "up");
  run("ip", "-n", peer, "link", "set", "eth0", "up");
  const socket = RouteSocket.open(pathOf(node));
  context.after(() => socket.close());
  return { node, peer, host: new HostNetwork(socket, silent as never, pathOf(node)) };
}

const addresses = (namespace: string, dev: string): string[] =>
  ipJson(namespace, "address", "show", "dev", dev).flatMap((link) =>
    (link["addr_info"] as { local?: string; prefixlen?: number; scope?: string }[])
      .filter(({ scope }) => scope === "global")
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  );
const defaultWay = (namespace: string): unknown => ipJson(namespace, "-4", "route", "show", "default")[0]?.["dev"];

describe("a NIC of the node", () => {
  it("is seen with its link, its MTU and what it carries for the node", async (context) => {
    const { node, peer, host } = place(context);
    assert.equal((await host.nicFacts("nic9", "br-nic9")).present, false);
    await until("the link is up", async () => (await host.nicFacts("nic0", "br-none")).linkUp);
    run("ip", "-n", node, "address", "add", "10.9.0.1/24", "dev", "nic0");
    const seen = await host.nicFacts("nic0", "br-none");
    assert.deepEqual([seen.present, seen.mtu, seen.addresses], [true, 1500, ["10.9.0.1/24"]]);
    // What a bridge that took the NIC carries counts, not what the NIC has.
    assert.deepEqual((await host.nicFacts("nic0", "br-nic0")).addresses, []);
    run("ip", "-n", peer, "link", "set", "eth0", "down");
    await until("the link is lost", async () => !(await host.nicFacts("nic0", "br-none")).linkUp);
    // One that nobody has set up yet is no broken one.
    run("ip", "-n", node, "link", "set", "nic0", "down");
    assert.equal((await host.nicFacts("nic0", "br-none")).linkUp, true);
  });

  it("gives its addresses and ways to its bridge, and gets them back before the bridge goes", async (context) => {
    const { node, host } = place(context);
    run("ip", "-n", node, "address", "add", "10.9.0.1/24", "dev", "nic0");
    run("ip", "-n", node, "address", "add", "fd00:9::1/64", "dev", "nic0", "nodad");
    run("ip", "-n", node, "route", "add", "default", "via", "10.9.0.254");
    const moved = await host.ensureUplink("nic0", "br-nic0", undefined);
    assert.deepEqual(moved?.addresses.toSorted(), ["10.9.0.1/24", "fd00:9::1/64"]);
    assert.deepEqual([addresses(node, "nic0"), defaultWay(node)], [[], "br-nic0"]);
    assert.deepEqual((await host.ownAddresses()).toSorted(), ["10.9.0.1", "fd00:9::1"]);

    const returned = await host.releaseUplink("nic0", "br-nic0", undefined);
    assert.deepEqual(returned.toSorted(), ["10.9.0.1/24", "fd00:9::1/64"]);
    assert.deepEqual([addresses(node, "br-nic0"), defaultWay(node)], [[], "nic0"]);
    assert.deepEqual(addresses(node, "nic0").toSorted(), ["10.9.0.1/24", "fd00:9::1/64"]);
    await host.releaseUplink("nic0", "br-nic0", undefined);
    await host.releaseUplink("nic0", "br-gone", undefined);

    // The bridge's interface died with its datapath: what is remembered of it goes to the NIC.
    run("ip", "-n", node, "address", "flush", "dev", "nic0");
    const routes = [{ dst: "0.0.0.0/0", gateway: "10.9.0.254" }];
    await host.releaseUplink("nic0", "br-gone", { addresses: ["10.9.0.1/24"], routes });
    assert.deepEqual([addresses(node, "nic0"), defaultWay(node)], [["10.9.0.1/24"], "nic0"]);
  });

  it("that is nowhere is named", async (context) => {
    const { host } = place(context);
    await assert.rejects(host.ensureUplink("nic9", "br-nic0", undefined), {
      code: "AGENT_TUNNEL_INTERFACE",
      message: /interface nic9 does not exist/,
    });
  });
});
