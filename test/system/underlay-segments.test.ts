/**
 * Pods on the untagged part of a wire, which the nodes share, and pods of subnets that are joined directly: who reaches whom
 * in both families, and which frames that makes.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { echoServer, Lab, type PodInfo } from "./lab.ts";
import { captured } from "./traffic.ts";
import { addressesOf, lines, machines, pings as pingsOf, talks as talksOf, type Place } from "./wire.ts";
import { subnet, vlanSubnet, wireConfig, wireNetwork } from "./wire.ts";

const config = wireConfig({
  hosts: 1,
  vlans: [30, 40],
  manifests: [
    wireNetwork,
    subnet("plain", {
      network: "wire",
      vlan: 0,
      cidrs: ["10.10.0.0/24", "fd00:10::/64"],
      gateways: ["10.10.0.254", "fd00:10::fe"],
      ranges: ["10.10.0.50-10.10.0.99", "fd00:10::50-fd00:10::99"],
      interSubnet: "Direct",
    }),
    vlanSubnet(30, { interSubnet: "Direct" }),
    vlanSubnet(40),
  ],
});

/** Outside hosts on the untagged wire, on VLAN 30 and on VLAN 40. */
const outside = { plain: machines.untagged, vlan30: machines.vlan30, vlan40: machines.vlan40 };
const nodes = [
  { ipv4: "10.10.0.11", ipv6: "fd00:10::11" },
  { ipv4: "10.10.0.12", ipv6: "fd00:10::12" },
];

describe("untagged pods, and subnets that are joined directly", () => {
  let lab: Lab;
  const pods = new Map<string, PodInfo>();
  const pod = (name: string): PodInfo => pods.get(name) ?? assert.fail(`no pod ${name}`);

  before(async () => {
    lab = await Lab.up("segm", { nodes: 2, config });
    const on = (subnet: string): object => ({ annotations: { "beyondfabric.io/subnet": subnet }, run: echoServer });
    const made = await lab.pods(
      { name: "plain-1", node: "node-1", ...on("plain") },
      { name: "plain-2", node: "node-2", ...on("plain") },
      { name: "tagged-1", node: "node-1", ...on("vlan30") },
      { name: "tagged-2", node: "node-2", ...on("vlan30") },
      { name: "apart-1", node: "node-1", ...on("vlan40") },
      { name: "web", node: "node-2", run: echoServer },
    );
    for (const each of made) pods.set(each.name, each);
  });
  after(() => lab?.down());

  const pings = (places: readonly Place[], patience?: number): string => pingsOf(places.flatMap(addressesOf), patience);
  const talks = (places: readonly Place[]): string => talksOf(places.flatMap(addressesOf));
  /** What of this a pod does not reach. */
  const missed = async (from: string, script: string): Promise<string[]> =>
    lines((await lab.exec(from, "sh", "-c", script)).stdout);

  /** What a node puts onto the wire while something happens, one line a frame, with MACs and tags. */
  const sentBy = (node: string, during: () => Promise<unknown>): Promise<string[]> =>
    captured((...command) => lab.node(node, ...command), `/tmp/${lab.name}-sent`, "-Q out -i eth2", during);

  it("makes untagged pods hosts on the wire that the nodes are on, with its gateway", async () => {
    assert.match(pod("plain-1").ipv4, /^10\.10\.0\.[5-9]\d$/);
    const { stdout } = await lab.exec("plain-1", "ip", "-o", "-4", "address", "show", "eth0");
    assert.ok(stdout.includes(`${pod("plain-1").ipv4}/24`), stdout);
    assert.match((await lab.exec("plain-1", "ip", "route")).stdout, /default via 10\.10\.0\.254 dev eth0/);
    assert.match((await lab.exec("plain-1", "ip", "-6", "route")).stdout, /default via fd00:10::fe dev eth0/);
  });

  it("carries untagged pods to each other, to the nodes, to machines on the wire and beyond, to overlay pods", async () => {
    for (const [from, other] of [
      ["plain-1", "plain-2"],
      ["plain-2", "plain-1"],
    ] as const) {
      const machines = [...nodes, outside.plain, outside.vlan30, outside.vlan40];
      const others = [pod(other), pod("apart-1"), pod("web")];
      assert.deepEqual(await missed(from, `${pings([...others, ...machines])}; ${talks(others)}`), [], from);
    }
    const targets = [pod("plain-1"), pod("plain-2")];
    assert.deepEqual(await missed("web", `${pings(targets)}; ${talks(targets)}`), []);
  });

  it("lets machines outside and the node itself call untagged pods", async () => {
    const targets = [pod("plain-1"), pod("plain-2")];
    for (const { name } of [outside.plain, outside.vlan40]) {
      const reached = await lab.host(name, "sh", "-c", `${pings(targets)}; ${talks(targets)}`);
      assert.deepEqual(lines(reached.stdout), [], name);
    }
    const own = await lab.node("node-1", "sh", "-c", `${pings([pod("plain-1")])}; ${talks([pod("plain-1")])}`);
    assert.deepEqual(lines(own.stdout), []);
  });

  it("puts no tag on what untagged pods say, and their own MAC", async () => {
    const { stdout } = await lab.exec("plain-1", "cat", "/sys/class/net/eth0/address");
    const frames = await sentBy("node-1", async () => {
      await lab.exec("plain-1", "ip", "neigh", "flush", "all");
      await lab.exec("plain-1", "sh", "-c", pings([pod("plain-2"), outside.plain, outside.vlan40]));
    });
    const own = frames.filter((frame) => frame.includes(` ${stdout.trim()} > `));
    assert.ok(
      own.some((frame) => frame.includes(`${pod("plain-1").ipv4} > ${pod("plain-2").ipv4}: ICMP echo request`)),
    );
    assert.ok(own.some((frame) => frame.includes("ICMP6, neighbor solicitation")));
    for (const frame of own) assert.doesNotMatch(frame, /802\.1Q|vlan/, frame);
    for (const frame of frames)
      assert.doesNotMatch(frame, /10\.244\.|\.4789:/, `overlay traffic on the wire: ${frame}`);
  });

  it("keeps multicast and broadcast of pods off the wire, and those of the wire off pods", async () => {
    const says = (to: string, more = ""): string => `echo x | socat -u - ${to}:5353${more}`;
    const groups = [says("UDP4-DATAGRAM:224.0.0.251"), says("UDP6-DATAGRAM:[ff02::fb%eth0]")];
    const all = says("UDP4-DATAGRAM:255.255.255.255", ",broadcast,so-bindtodevice=eth0");
    const spoken = await sentBy("node-1", async () => {
      const script = [...groups, all, says(`UDP4-DATAGRAM:${outside.plain.ipv4}`)].join(" && ");
      assert.equal((await lab.exec("plain-1", "sh", "-c", script)).code, 0);
    });
    const datagrams = spoken.filter((frame) => frame.includes(".5353: "));
    assert.equal(datagrams.length, 1, datagrams.join("\n"));
    assert.ok(datagrams[0]?.includes(`${outside.plain.ipv4}.5353`), datagrams.join("\n"));

    const { ipv4 } = pod("plain-1");
    const listen = "tcpdump -nn -Q in -i eth0 -c 1 'udp port 5353 and dst host " + ipv4 + "' & one=$!";
    const record =
      "timeout 20 tcpdump -lnn -Q in -i eth0 'udp port 5353' 2>/dev/null & all=$!; wait $one; sleep 1; kill $all";
    const heard = lab.exec("plain-1", "sh", "-c", `timeout 20 ${listen}; ${record}`);
    const script = [...groups, all, says(`UDP4-DATAGRAM:${ipv4}`)].join(" && ");
    // Until the pod has heard the one that is for it: nothing tells from outside when it listens.
    const speaking = `for i in $(seq 8); do ${script} && sleep 0.5 || exit 1; done`;
    assert.equal((await lab.host(outside.plain.name, "sh", "-c", speaking)).code, 0);
    const lines5353 = lines((await heard).stdout).filter((line) => line.includes(".5353: "));
    assert.ok(
      lines5353.some((line) => line.includes(`${ipv4}.5353: `)),
      lines5353.join("\n"),
    );
    for (const line of lines5353) assert.ok(line.includes(`> ${ipv4}.5353: `), line);
  });

  it("finds nothing wrong on a wire with and without tags", async () => {
    const { code, stdout } = await lab.fabricctl("node-1", "doctor", "underlay");
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^wire +untagged +plain +10\.10\.0\.254 +[0-9a-f:]{17} +[0-9.]+ ms$/m);
  });

  it("joins subnets that both say Direct without the router, which may drop everything, and no others", async () => {
    const rule = ["nft", "add", "rule", "inet", "firewall", "forward", "drop"];
    assert.equal((await lab.host("router", ...rule)).code, 0);
    try {
      for (const [from, to] of [
        ["plain-1", ["tagged-1", "tagged-2"]],
        ["plain-2", ["tagged-1", "tagged-2"]],
        ["tagged-1", ["plain-1", "plain-2"]],
        ["tagged-2", ["plain-1", "plain-2"]],
      ] as const) {
        const targets = to.map(pod);
        assert.deepEqual(await missed(from, `${pings(targets)}; ${talks(targets)}`), [], from);
      }
      // One side alone does not choose the short way: the firewall between them would see half of each connection.
      for (const from of ["plain-1", "tagged-1", "tagged-2"]) {
        const { ipv4, ipv6 } = pod("apart-1");
        assert.deepEqual(await missed(from, pings([pod("apart-1")], 1)), [ipv4, ipv6], from);
      }
    } finally {
      assert.equal((await lab.host("router", "nft", "flush", "chain", "inet", "firewall", "forward")).code, 0);
    }
    assert.deepEqual(await missed("tagged-2", pings([pod("apart-1")])), []);
  });

  it("sends what goes straight on the VLAN of its destination, MAC to MAC, in both directions and families", async () => {
    const macOf = async (name: string): Promise<string> =>
      (await lab.exec(name, "cat", "/sys/class/net/eth0/address")).stdout.trim();
    const [plain, tagged] = [await macOf("plain-2"), await macOf("tagged-2")];
    const frames = await sentBy("node-1", async () => {
      await lab.exec("tagged-1", "sh", "-c", pings([pod("plain-2")]));
      await lab.exec("plain-1", "sh", "-c", pings([pod("tagged-2")]));
    });
    for (const [from, to, mac, tag] of [
      ["tagged-1", "plain-2", plain, undefined],
      ["plain-1", "tagged-2", tagged, "vlan 30,"],
    ] as const) {
      for (const family of ["ipv4", "ipv6"] as const) {
        const between = frames.filter((frame) => frame.includes(`${pod(from)[family]} > ${pod(to)[family]}: ICMP`));
        assert.ok(between.length > 0, `${from} to ${to} in ${family}`);
        for (const frame of between) {
          assert.ok(frame.includes(`${await macOf(from)} > ${mac},`), frame);
          assert.equal(frame.includes("vlan 30,"), tag !== undefined, frame);
        }
      }
    }
  });
});
