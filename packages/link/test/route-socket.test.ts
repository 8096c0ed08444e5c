/** Against the real kernel, read back with iproute2. */
import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, it, type TestContext } from "node:test";
import { LinkError, RouteSocket, type LinkErrorCode } from "../src/index.ts";
import { ipJson, namespaces, pathOf, run, until } from "./namespaces.ts";

function open(context: TestContext, name: string): RouteSocket {
  const socket = RouteSocket.open(pathOf(name));
  context.after(() => socket.close());
  return socket;
}

/** A namespace for the host's end, one for the pod's, and a pair between them. */
async function pair(context: TestContext) {
  const [hostName, podName] = namespaces(context, 2) as [string, string];
  const host = open(context, hostName);
  const pod = open(context, podName);
  const veth = {
    host: "h0",
    peer: "eth0",
    peerNetns: pathOf(podName),
    peerMac: "0a:58:0a:f4:01:05",
    mtu: 1450,
    hostUp: true,
  };
  const indexes = await host.createVeth(veth);
  return { hostName, podName, host, pod, ...indexes };
}

async function refusal(work: Promise<unknown>, code: LinkErrorCode): Promise<LinkError> {
  const error = await work.then(
    () => assert.fail("it was accepted"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LinkError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

describe("interfaces", () => {
  it("a veth pair comes up straight in the pod's namespace, as asked", async (context) => {
    const { hostName, podName, host, pod, hostIndex, peerIndex } = await pair(context);
    const [seen] = ipJson(podName, "link", "show", "eth0");
    assert.deepEqual([seen!["ifindex"], seen!["mtu"], seen!["address"]], [peerIndex, 1450, "0a:58:0a:f4:01:05"]);
    assert.deepEqual((await host.listLinks()).map((link) => link.name).sort(), ["h0", "lo"]);
    const [h0, eth0] = [await host.getLink("h0"), await pod.getLink(peerIndex)];
    assert.deepEqual([h0.index, h0.peerIndex, h0.kind, h0.up, eth0.up], [hostIndex, peerIndex, "veth", true, false]);
    await pod.setLink(peerIndex, { up: true });
    assert.ok((await host.getLink("h0")).carrier);
    await until("the host's end has a link-local address", () =>
      run("ip", "-n", hostName, "-6", "addr", "show", "h0").includes("fe80"),
    );
  });

  it("without link-local addresses on the host's end if so asked", async (context) => {
    const [hostName, podName] = namespaces(context, 2) as [string, string];
    const host = open(context, hostName);
    const pod = open(context, podName);
    const { hostIndex, peerIndex } = await host.createVeth({
      host: "h0",
      peer: "eth0",
      peerNetns: pathOf(podName),
      hostUp: true,
      hostLinkLocal: false,
    });
    await pod.setLink(peerIndex, { up: true });
    assert.ok((await host.getLink(hostIndex)).carrier);
    // The host's end came up first: when the pod's has its address, the host's would have had one.
    await until("the pod's end has its own", async () => (await pod.listAddresses(peerIndex)).length === 1);
    assert.deepEqual(await host.listAddresses(hostIndex), []);
  });

  it("a name that is taken, at either end, leaves nothing behind", async (context) => {
    const { podName, host, pod } = await pair(context);
    await refusal(host.createVeth({ host: "h0", peer: "x0", peerNetns: pathOf(podName) }), "LINK_EXISTS");
    await refusal(host.createVeth({ host: "h1", peer: "eth0", peerNetns: pathOf(podName) }), "LINK_EXISTS");
    assert.deepEqual((await host.listLinks()).map((link) => link.name).sort(), ["h0", "lo"]);
    assert.deepEqual((await pod.listLinks()).map((link) => link.name).sort(), ["eth0", "lo"]);
  });

  it("refuses names that the kernel cannot take, before asking it", async (context) => {
    const [name] = namespaces(context, 1) as [string];
    const socket = open(context, name);
    await refusal(socket.createVeth({ host: "a-name-of-sixteen", peer: "x" }), "LINK_NAME_TOO_LONG");
    for (const bad of ["", ".", "..", "a/b", "a:b", "a b"])
      await refusal(socket.createVeth({ host: "h", peer: bad }), "LINK_BAD_NAME");
    await refusal(socket.createVeth({ host: "h", peer: "x", hostMac: "nonsense" }), "LINK_BAD_ADDRESS");
    const gone = await refusal(
      socket.createVeth({ host: "h", peer: "x", peerNetns: "/run/netns/none" }),
      "LINK_NO_NAMESPACE",
    );
    assert.match(gone.message, /\/run\/netns\/none.*ENOENT/);
    assert.equal((await socket.listLinks()).length, 1);
  });

  it("finds, renames, changes, deletes; says when there is none", async (context) => {
    const { host, pod, hostIndex } = await pair(context);
    const missing = await refusal(host.getLink("none"), "LINK_NOT_FOUND");
    assert.deepEqual([missing.errnoName, missing.object], ["ENODEV", "none"]);
    assert.equal(await host.findLink("none"), undefined);
    await host.setLink(hostIndex, { up: false, name: "h9", mtu: 1300, mac: "02:00:00:00:00:09" });
    const changed = await host.getLink("h9");
    assert.deepEqual(
      [changed.index, changed.mtu, changed.mac, changed.up],
      [hostIndex, 1300, "02:00:00:00:00:09", false],
    );
    assert.equal(await host.deleteLink("h9"), true);
    assert.equal(await host.deleteLink("h9"), false);
    assert.equal(await pod.findLink("eth0"), undefined, "the other end went too");
  });

  it("bridges and their ports; moving an interface to another namespace", async (context) => {
    const { podName, host, hostIndex, pod } = await pair(context);
    const bridge = await host.createBridge("br0", { mac: "02:00:00:00:00:01", mtu: 1400 });
    await host.setLink(hostIndex, { master: bridge });
    assert.equal((await host.getLink("h0")).master, bridge);
    await host.setLink(hostIndex, { master: 0 });
    assert.equal((await host.getLink("h0")).master, undefined);
    await refusal(host.createBridge("br0"), "LINK_EXISTS");
    await host.setLink(hostIndex, { netns: pathOf(podName) });
    assert.equal(await host.findLink("h0"), undefined);
    assert.equal((await pod.getLink("h0")).kind, "veth");
  });

  it("deleting does not hold up the event loop, nor other requests", async (context) => {
    const { host } = await pair(context);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const order: string[] = [];
    await Promise.all([
      host.deleteLink("h0").then(() => order.push("deleted")),
      host.getLink("lo").then(() => order.push("found")),
    ]);
    delay.disable();
    assert.equal(order.length, 2);
    assert.ok(delay.max / 1e6 < 200, `the loop stood for ${delay.max / 1e6} ms`);
  });
});

describe("many deletions at once", () => {
  it("go together, and each gets its own answer", async (context) => {
    const [name, otherName] = namespaces(context, 2) as [string, string];
    const socket = open(context, name);
    const other = open(context, otherName);
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        socket.createVeth({ host: `h${index}`, peer: `p${index}`, peerNetns: pathOf(otherName) }),
      ),
    );
    assert.equal((await other.listLinks()).length, 41);
    const index = (await socket.getLink("h7")).index;
    const started = performance.now();
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 39 }, (_, number) => socket.deleteLink(number === 7 ? index : `h${number}`)),
      socket.deleteLink("none"),
      socket.deleteLink("a/b"),
    ]);
    console.log(`  link: 39 pairs are deleted in ${Math.round(performance.now() - started)} ms`);
    assert.ok(outcomes.slice(0, 39).every((outcome) => outcome.status === "fulfilled" && outcome.value));
    assert.deepEqual(outcomes[39], { status: "fulfilled", value: false });
    const refused = outcomes[40]!;
    assert.equal(refused.status === "rejected" && (refused.reason as LinkError).code, "LINK_BAD_NAME");
    assert.deepEqual(
      (await socket.listLinks()).map((link) => link.name),
      ["lo", "h39"],
    );
    assert.deepEqual(
      (await other.listLinks()).map((link) => link.name),
      ["lo", "p39"],
    );
    // The loopback interface cannot be deleted; who is deleted with it must not suffer.
    const mixed = await Promise.allSettled([socket.deleteLink("lo"), socket.deleteLink("h39")]);
    assert.equal(mixed[0].status === "rejected" && (mixed[0].reason as LinkError).code, "LINK_UNSUPPORTED");
    assert.deepEqual(mixed[1], { status: "fulfilled", value: true });
    assert.match(run("ip", "-n", name, "link", "show", "lo"), /group default/);
  });
});

describe("addresses, routes, neighbours", () => {
  it("a pod's whole set, in one turn, as iproute2 sees it", async (context) => {
    const { podName, pod, peerIndex: dev } = await pair(context);
    await Promise.all([
      pod.setLink(dev, { up: true }),
      pod.addAddress({ dev, cidr: "10.244.1.5/24" }),
      pod.addAddress({ dev, cidr: "fd00:244::5/128", nodad: true }),
      pod.addRoute({ dst: "default4", gateway: "10.244.1.1", dev, mtu: 1400, src: "10.244.1.5" }),
      pod.addRoute({ dst: "fd00:244::1/128", dev }),
      pod.addRoute({ dst: "default6", gateway: "fd00:244::1", dev, metric: 77 }),
      pod.addRoute({ dst: "192.0.2.0/24", gateway: "198.51.100.1", dev, onlink: true, table: 1000 }),
      pod.addRoute({ dst: "203.0.113.0/24", type: "blackhole" }),
      pod.addNeighbour(dev, "10.244.1.1", "02:00:00:00:00:01"),
      pod.addProxyNeighbour(dev, "10.244.1.77"),
    ]);
    const shown = run("ip", "-n", podName, "addr", "show", "eth0");
    assert.match(shown, /inet 10\.244\.1\.5\/24 brd 10\.244\.1\.255 scope global/);
    assert.match(shown, /inet6 fd00:244::5\/128 scope global (nodad )?\n|inet6 fd00:244::5\/128 scope global nodad/);
    const routes4 = run("ip", "-n", podName, "route");
    assert.match(routes4, /default via 10\.244\.1\.1 dev eth0 proto static src 10\.244\.1\.5 mtu 1400/);
    assert.match(routes4, /blackhole 203\.0\.113\.0\/24/);
    assert.match(run("ip", "-n", podName, "-6", "route"), /default via fd00:244::1 dev eth0 proto static metric 77/);
    assert.match(
      run("ip", "-n", podName, "route", "show", "table", "1000"),
      /192\.0\.2\.0\/24 via 198\.51\.100\.1 dev eth0.*onlink/,
    );
    assert.match(run("ip", "-n", podName, "neigh"), /10\.244\.1\.1 dev eth0 lladdr 02:00:00:00:00:01 PERMANENT/);
    assert.match(run("ip", "-n", podName, "neigh", "show", "proxy"), /10\.244\.1\.77 dev eth0/);

    const global = (await pod.listAddresses(dev)).filter((address) => address.scope === "global");
    assert.deepEqual(
      global.map((address) => [address.cidr, address.permanent, address.tentative, address.broadcast]),
      [
        ["10.244.1.5/24", true, false, "10.244.1.255"],
        ["fd00:244::5/128", true, false, undefined],
      ],
    );
    const routes = await pod.listRoutes({ dev });
    const route = routes.find(({ dst }) => dst === "0.0.0.0/0")!;
    assert.deepEqual(
      [route.gateway, route.mtu, route.src, route.scope, route.protocol],
      ["10.244.1.1", 1400, "10.244.1.5", "global", 4],
    );
    assert.equal(routes.find(({ dst }) => dst === "::/0")!.metric, 77);
    assert.equal((await pod.listRoutes()).find(({ dst }) => dst === "203.0.113.0/24")!.type, "blackhole");
    const [other] = await pod.listRoutes({ table: 1000 });
    assert.deepEqual([other!.dst, other!.onlink, other!.table], ["192.0.2.0/24", true, 1000]);
    const neighbour = (await pod.listNeighbours({ dev })).find(({ ip }) => ip === "10.244.1.1")!;
    assert.deepEqual([neighbour.mac, neighbour.permanent], ["02:00:00:00:00:01", true]);
    assert.deepEqual(
      (await pod.listNeighbours({ dev, proxy: true })).map(({ ip }) => ip),
      ["10.244.1.77"],
    );
  });

  it("adding twice is LINK_EXISTS unless replaced; deleting twice is false", async (context) => {
    const { pod, peerIndex: dev } = await pair(context);
    await pod.setLink(dev, { up: true });
    for (const cidr of ["10.0.0.5/24", "fd00::5/64"]) {
      await pod.addAddress({ dev, cidr });
      await refusal(pod.addAddress({ dev, cidr }), "LINK_EXISTS");
      await pod.addAddress({ dev, cidr, replace: true });
    }
    const route = { dst: "192.0.2.0/24", gateway: "10.0.0.1", dev };
    await pod.addRoute(route);
    await refusal(pod.addRoute(route), "LINK_EXISTS");
    await pod.addRoute({ ...route, gateway: "10.0.0.2", replace: true });
    assert.deepEqual(
      (await pod.listRoutes({ dev })).filter(({ dst }) => dst === route.dst).map(({ gateway }) => gateway),
      ["10.0.0.2"],
    );
    assert.deepEqual(
      [await pod.deleteRoute({ dst: route.dst, dev }), await pod.deleteRoute({ dst: route.dst, dev })],
      [true, false],
    );
    await pod.addNeighbour(dev, "10.0.0.9", "02:00:00:00:00:09");
    await pod.addNeighbour(dev, "10.0.0.9", "02:00:00:00:00:0a");
    assert.deepEqual(
      [await pod.deleteNeighbour(dev, "10.0.0.9"), await pod.deleteNeighbour(dev, "10.0.0.9")],
      [true, false],
    );
    for (const cidr of ["10.0.0.5/24", "fd00::5/64"]) {
      assert.deepEqual([await pod.deleteAddress(dev, cidr), await pod.deleteAddress(dev, cidr)], [true, false]);
    }
  });

  it("the kernel's own words are in the error", async (context) => {
    const { pod, peerIndex: dev } = await pair(context);
    await pod.setLink(dev, { up: true });
    const unreachable = await refusal(pod.addRoute({ dst: "1.2.3.0/24", gateway: "9.9.9.9", dev }), "LINK_NETLINK");
    assert.equal(unreachable.errnoName, "ENETUNREACH");
    assert.match(unreachable.message, /Nexthop has invalid gateway/);
    await refusal(pod.addAddress({ dev: 9999, cidr: "1.1.1.1/32" }), "LINK_NOT_FOUND");
    await refusal(pod.addAddress({ dev, cidr: "1.1.1.1/33" }), "LINK_BAD_ADDRESS");
    await refusal(pod.addRoute({ dst: "10.0.0.0/8", gateway: "::1", dev }), "LINK_BAD_ADDRESS");
    assert.deepEqual(await pod.listAddresses(9999), []);
  });

  it("a thousand addresses are listed whole", async (context) => {
    const { pod, peerIndex: dev } = await pair(context);
    await Promise.all(
      Array.from({ length: 1000 }, (_, index) => pod.addAddress({ dev, cidr: `10.1.${index >> 8}.${index & 255}/32` })),
    );
    const listed = (await pod.listAddresses(dev)).map((address) => address.cidr);
    assert.equal(new Set(listed).size, 1000);
  });
});

describe("a closed connection", () => {
  it("answers what was asked, then refuses", async (context) => {
    const [name] = namespaces(context, 1) as [string];
    const socket = RouteSocket.open(pathOf(name));
    await Promise.all([socket.createVeth({ host: "a0", peer: "a1" }), socket.createVeth({ host: "b0", peer: "b1" })]);
    const first = socket.deleteLink("a0");
    await socket.getLink("lo");
    const asked = [first, socket.deleteLink("b0"), socket.deleteLink("none")];
    await socket.close();
    assert.deepEqual(await Promise.all(asked), [true, true, false]);
    await refusal(socket.listLinks(), "LINK_CLOSED");
    await socket.close();
  });
});

describe("offloads", () => {
  it("transmit checksum off, and segmentation with it, as ethtool sees it", async (context) => {
    const { podName, pod } = await pair(context);
    assert.equal((await pod.offloads("eth0")).transmitChecksum, true);
    await pod.disableTransmitChecksum("eth0");
    const after = await pod.offloads("eth0");
    assert.deepEqual([after.transmitChecksum, after.tcpSegmentation], [false, false]);
    assert.match(run("ip", "netns", "exec", podName, "ethtool", "-k", "eth0"), /tx-checksumming: off/);
    await refusal(pod.disableTransmitChecksum("none"), "LINK_NOT_FOUND");
    await refusal(pod.disableTransmitChecksum("a/b"), "LINK_BAD_NAME");
  });
});

describe("cost", () => {
  it("wiring one pod: veth, up, two addresses, four routes, checksum off", async (context) => {
    const [hostName, podName] = namespaces(context, 2) as [string, string];
    const host = open(context, hostName);
    const pod = open(context, podName);
    const times: number[] = [];
    for (let round = 0; round < 40; round++) {
      const started = performance.now();
      const { peerIndex: dev } = await host.createVeth({
        host: "h0",
        peer: "eth0",
        peerNetns: pathOf(podName),
        hostUp: true,
        hostLinkLocal: false,
      });
      await Promise.all([
        pod.setLink(dev, { up: true }),
        pod.addAddress({ dev, cidr: "10.244.1.5/32" }),
        pod.addAddress({ dev, cidr: "fd00:244::5/128", nodad: true }),
        pod.addRoute({ dst: "10.244.1.1/32", dev }),
        pod.addRoute({ dst: "default4", gateway: "10.244.1.1", dev, mtu: 1400 }),
        pod.addRoute({ dst: "fd00:244::1/128", dev }),
        pod.addRoute({ dst: "default6", gateway: "fd00:244::1", dev }),
        pod.disableTransmitChecksum("eth0"),
      ]);
      times.push(performance.now() - started);
      assert.equal(await host.deleteLink("h0"), true);
    }
    times.sort((a, b) => a - b);
    console.log(
      `  link: a pod is wired in ${times[20]!.toFixed(2)} ms (median of 40, least ${times[0]!.toFixed(2)} ms)`,
    );
    assert.ok(times[20]! < 100, "even a busy machine is far from this");
  });
});
