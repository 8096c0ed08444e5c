/** A pod's interface in real namespaces, read back with iproute2 and spoilt with it. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { RouteSocket } from "@beyondfabric/link";
import { parseCidr, type Cidr } from "@beyondfabric/packet";
import { ipJson, namespaces, pathOf, run, until } from "../../../link/test/namespaces.ts";
import {
  checkPodInterface,
  makePodPair,
  namespaceIsMissing,
  removeHostInterface,
  setUpPodEnd,
  type Kernel,
  type PodInterface,
} from "../../src/attachment/wiring.ts";

interface Place {
  readonly kernel: Kernel;
  readonly node: string;
  readonly pod: string;
  readonly wanted: PodInterface;
}

function place(context: TestContext, change: Partial<PodInterface> = {}): Place {
  const [node, pod] = namespaces(context, 2) as [string, string];
  const socket = RouteSocket.open(pathOf(node));
  context.after(() => socket.close());
  const wanted = {
    hostInterface: "bf0123456789ab",
    netns: pathOf(pod),
    ifname: "eth0",
    mac: "0a:58:0a:f4:01:05",
    mtu: 1450,
    addresses: ["10.244.1.5", "fd00:244::105"],
    gateways: ["10.244.0.1", "fd00:244::1"],
    ...change,
  };
  const alone = wanted.addresses.map((address) => (address.includes(":") ? 128 : 32));
  return { kernel: { node: socket }, node, pod, wanted: { prefixLengths: alone, ...wanted } };
}

async function wire({ kernel, wanted }: Place, checksumInSoftware = true, overlays: Cidr[] = []): Promise<void> {
  await setUpPodEnd(await makePodPair(kernel, wanted), { ...wanted, overlays, checksumInSoftware });
}

const addressesOf = (namespace: string, dev: string): string[] =>
  ipJson(namespace, "address", "show", "dev", dev).flatMap((link) =>
    (link["addr_info"] as { local?: string; prefixlen?: number; scope?: string }[])
      .filter(({ scope }) => scope === "global")
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  );

const ways = (namespace: string, family: "-4" | "-6"): string[] =>
  ipJson(namespace, family, "route", "show", "dev", "eth0")
    .filter(({ protocol }) => protocol !== "kernel")
    .map(({ dst, gateway }) => `${dst as string} by ${(gateway as string | undefined) ?? "link"}`)
    .sort();

describe("a pod's interface", () => {
  it("is up with MAC, MTU, its addresses and one way out of each family, and passes its own check", async (context) => {
    const there = place(context);
    await wire(there);
    const [link] = ipJson(there.pod, "link", "show", "eth0");
    assert.deepEqual([link!["address"], link!["mtu"]], ["0a:58:0a:f4:01:05", 1450]);
    assert.ok((link!["flags"] as string[]).includes("UP"));
    assert.deepEqual(addressesOf(there.pod, "eth0"), ["10.244.1.5/32", "fd00:244::105/128"]);
    assert.deepEqual(ways(there.pod, "-4"), ["10.244.0.1 by link", "default by 10.244.0.1"]);
    assert.deepEqual(ways(there.pod, "-6"), ["default by fd00:244::1", "fd00:244::1 by link"]);
    assert.deepEqual(await checkPodInterface(there.kernel, there.wanted), []);
    // Ready at once: nothing tentative, no wait for duplicates.
    assert.equal(run("ip", "-n", there.pod, "-6", "address", "show", "tentative").trim(), "");
    const [loopback] = ipJson(there.pod, "link", "show", "lo");
    assert.ok((loopback!["flags"] as string[]).includes("UP"));
  });

  it("is a cable for the node: its end has no address, so that the node says nothing there", async (context) => {
    const there = place(context);
    await wire(there);
    await until("the pod's end has a link-local address", () =>
      run("ip", "-n", there.pod, "-6", "address", "show", "dev", "eth0", "scope", "link").includes("fe80"),
    );
    assert.equal(
      run("ip", "-n", there.node, "address", "show", "dev", there.wanted.hostInterface).match(/inet/g),
      null,
    );
  });

  it("sends with its checksums where the datapath wants that, and only there", async (context) => {
    for (const inSoftware of [true, false]) {
      const there = place(context);
      await wire(there, inSoftware);
      const offloads = run("ip", "netns", "exec", there.pod, "ethtool", "-k", "eth0");
      assert.match(offloads, inSoftware ? /^tx-checksumming: off/m : /^tx-checksumming: on/m);
    }
  });

  it("of one family has nothing of the other", async (context) => {
    const four = place(context, { addresses: ["10.244.1.5"], gateways: ["10.244.0.1"] });
    await wire(four);
    assert.equal(run("ip", "-n", four.pod, "-6", "address", "show", "dev", "eth0").trim(), "");
    assert.deepEqual(await checkPodInterface(four.kernel, four.wanted), []);
    const six = place(context, { addresses: ["fd00:244::105"], gateways: ["fd00:244::1"] });
    await wire(six);
    assert.deepEqual([...ways(six.pod, "-4"), ...addressesOf(six.pod, "eth0")], ["fd00:244::105/128"]);
    assert.deepEqual(await checkPodInterface(six.kernel, six.wanted), []);
  });

  it("on a physical network has neighbours, its gateway among them, and finds overlays by the switch's router", async (context) => {
    const there = place(context, {
      addresses: ["10.30.0.50", "fd00:30::50"],
      prefixLengths: [24, 64],
      gateways: ["10.30.0.1", "fd00:30::1"],
    });
    await wire(there, true, [parseCidr("10.244.0.0/16"), parseCidr("fd00:244::/64")]);
    assert.deepEqual(addressesOf(there.pod, "eth0"), ["10.30.0.50/24", "fd00:30::50/64"]);
    assert.deepEqual(ways(there.pod, "-4"), ["10.244.0.0/16 by 169.254.1.1", "default by 10.30.0.1"]);
    assert.deepEqual(ways(there.pod, "-6"), ["default by fd00:30::1", "fd00:244::/64 by fe80::cfa:b0ff:fe00:1"]);
    assert.deepEqual(await checkPodInterface(there.kernel, there.wanted), []);
  });

  for (const [what, command, told] of [
    [
      "address is gone, and with it what the kernel routes by it",
      "address del 10.244.1.5/32 dev eth0",
      ["address 10.244.1.5/32 is missing on eth0", "the default route through 10.244.0.1 is missing"],
    ],
    [
      "IPv6 address is gone",
      "address del fd00:244::105/128 dev eth0",
      ["address fd00:244::105/128 is missing on eth0"],
    ],
    ["default route is gone", "route del default", ["the default route through 10.244.0.1 is missing"]],
    [
      "way out of IPv6 is another",
      "-6 route replace default dev eth0",
      ["the default route through fd00:244::1 is missing"],
    ],
    [
      "MAC is another",
      "link set eth0 address 0a:58:0a:f4:01:06",
      ["interface eth0 has MAC 0a:58:0a:f4:01:06, not 0a:58:0a:f4:01:05"],
    ],
    ["MTU is another", "link set eth0 mtu 1400", ["interface eth0 has MTU 1400, not 1450"]],
    ["name is another", "link set eth0 down; link set eth0 name eth7", ["interface eth0 is missing in the pod"]],
    [
      "interface is gone",
      "link del eth0",
      ["the node's end bf0123456789ab is missing", "interface eth0 is missing in the pod"],
    ],
  ] as const) {
    it(`whose ${what} is told so by its check`, async (context) => {
      const there = place(context);
      await wire(there);
      for (const each of command.split("; ")) run("ip", "-n", there.pod, ...each.split(" "));
      assert.deepEqual(await checkPodInterface(there.kernel, there.wanted), [...told]);
    });
  }

  it("that is down is told so", async (context) => {
    const there = place(context);
    await wire(there);
    run("ip", "-n", there.pod, "link", "set", "eth0", "down");
    const told = await checkPodInterface(there.kernel, there.wanted);
    assert.ok(told.includes("interface eth0 is down"), told.join("; "));
  });

  it("whose namespace is not there cannot be made, and is told so by its check", async (context) => {
    const there = place(context);
    const lost = { ...there.wanted, netns: "/run/netns/there-is-none" };
    await assert.rejects(makePodPair(there.kernel, lost), (error) => namespaceIsMissing(error));
    assert.equal(ipJson(there.node, "link", "show").length, 1, "something was made on the node");
    assert.deepEqual(await checkPodInterface(there.kernel, lost), [
      "the node's end bf0123456789ab is missing",
      "network namespace /run/netns/there-is-none is missing",
    ]);
  });

  it("goes from both ends at once, and again without complaint", async (context) => {
    const there = place(context);
    await wire(there);
    for (let times = 0; times < 2; times++) await removeHostInterface(there.kernel, there.wanted.hostInterface);
    for (const namespace of [there.node, there.pod]) {
      assert.deepEqual(
        ipJson(namespace, "link", "show").map((link) => link["ifname"]),
        ["lo"],
      );
    }
  });
});
