/**
 * Pods that are hosts on physical VLANs beside overlay pods: who reaches whom, by which way, and what may be seen on the
 * wire; moves, duplicates, a NIC that loses its link, and objects that ask for what cannot be.
 */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { assertWithin, echoServer, Lab, run, until, type PodInfo } from "./lab.ts";
import { captured, PingStream } from "./traffic.ts";
import { addressesOf, lines, machines, pings, talks, vlanSubnet, wireConfig, wireNetwork } from "./wire.ts";

const root = resolve(import.meta.dirname, "../..");

const overlayOnly = wireConfig({ hosts: 1, vlans: [30, 40] });
const config = wireConfig({
  hosts: 1,
  vlans: [30, 40],
  manifests: [
    wireNetwork,
    // Pods of the tests ask for these by name: nobody else may happen to have them.
    vlanSubnet(30, { reserved: ["10.30.0.60", "10.30.0.70", "fd00:30::60"] }),
    vlanSubnet(40),
  ],
});

/** Outside hosts: untagged beyond the gateways, on VLAN 30, on VLAN 40. */
const outside = { beyond: machines.untagged, vlan30: machines.vlan30, vlan40: machines.vlan40 };

const inSubnet = (subnet: string, more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  "beyondfabric.io/subnet": subnet,
  ...more,
});

describe("pods on physical networks beside overlay pods", () => {
  let lab: Lab;
  const pods = new Map<string, PodInfo>();
  const pod = (name: string): PodInfo => pods.get(name) ?? assert.fail(`no pod ${name}`);

  before(async () => {
    lab = await Lab.up("under", { nodes: 2, config });
    const vlan30 = { annotations: inSubnet("vlan30"), run: echoServer };
    const vlan40 = { annotations: inSubnet("vlan40"), run: echoServer };
    const made = await lab.pods(
      { name: "core", node: "node-1", ...vlan30 },
      { name: "till", node: "node-1", ...vlan30 },
      { name: "far", node: "node-2", ...vlan30 },
      { name: "disk", node: "node-1", ...vlan40 },
      { name: "tape", node: "node-2", ...vlan40 },
      { name: "web", node: "node-1", run: echoServer },
      { name: "db", node: "node-2", run: echoServer },
    );
    for (const each of made) pods.set(each.name, each);
  });
  after(() => lab?.down());

  it("gives pods addresses of their VLAN, each an IPAddress object, with the VLAN's prefix and gateway", async () => {
    assert.match(pod("core").ipv4, /^10\.30\.0\.[5-9]\d$/);
    assert.match(pod("core").ipv6, /^fd00:30::[5-9]\d?$|^fd00:30::[5-9][0-9a-f]$/);
    assert.match(pod("tape").ipv4, /^10\.40\.0\.[5-9]\d$/);
    const { stdout } = await lab.exec("core", "ip", "-o", "-4", "address", "show", "eth0");
    assert.ok(stdout.includes(`${pod("core").ipv4}/24`), stdout);
    assert.match((await lab.exec("core", "ip", "route")).stdout, /default via 10\.30\.0\.1 dev eth0/);
    const name = pod("core").ipv4.replaceAll(".", "-");
    const claim = JSON.parse(await lab.mustKubectl("get", "ipaddresses.beyondfabric.io", name, "-o", "json")) as {
      status: { phase: string };
    };
    assert.equal(claim.status.phase, "Bound");
  });

  it("says on the Node which networks are there", async () => {
    const node = JSON.parse(await lab.mustKubectl("get", "node", "node-1", "-o", "json")) as {
      metadata: { labels: Record<string, string> };
      status: { conditions: { type: string; status: string; message: string }[] };
    };
    assert.equal(node.metadata.labels["network.beyondfabric.io/wire"], "ready");
    const condition = node.status.conditions.find(({ type }) => type === "network.beyondfabric.io/wire");
    assert.equal(condition?.status, "True");
  });

  it("carries ICMP from every pod to every pod, to every outside host and to both nodes, in both families", async () => {
    const everybody = [...pods.values()];
    const failures = await Promise.all(
      everybody.map(async (from) => {
        const others = everybody.filter((to) => to !== from).flatMap(addressesOf);
        const targets = [...others, ...Object.values(outside).flatMap(addressesOf), "10.10.0.11", "10.10.0.12"];
        return lines((await lab.exec(from.name, "sh", "-c", pings(targets))).stdout).map(
          (to) => `${from.name} -> ${to}`,
        );
      }),
    );
    assert.deepEqual(failures.flat(), []);
  });

  it("carries TCP and UDP between every pair of pods, in both families", async () => {
    const everybody = [...pods.values()];
    const failures = await Promise.all(
      everybody.map(async (from) => {
        const others = everybody.filter((to) => to !== from).flatMap(addressesOf);
        return lines((await lab.exec(from.name, "sh", "-c", talks(others))).stdout).map(
          (to) => `${from.name} -> ${to}`,
        );
      }),
    );
    assert.deepEqual(failures.flat(), []);
  });

  it("lets outside hosts call pods directly, in both families, and leaves overlay pods alone", async () => {
    const onWires = ["core", "till", "far", "disk", "tape"].map(pod).flatMap(addressesOf);
    for (const { name } of Object.values(outside)) {
      const reached = await lab.host(name, "sh", "-c", `${pings(onWires)}; ${talks(onWires)}`);
      assert.deepEqual(lines(reached.stdout), [], name);
    }
    await lab.host("host-2", "ip", "route", "replace", "10.244.0.0/16", "via", "10.30.0.11");
    const into = await lab.host("host-2", "ping", "-n", "-c", "1", "-W", "1", pod("web").ipv4);
    assert.notEqual(into.code, 0, "an outside host reached an overlay pod");
  });

  it("lets a node reach its pods, from where probes come, although it has no address in their VLAN", async () => {
    const own = ["core", "till", "disk"].map(pod).flatMap(addressesOf);
    assert.deepEqual(lines((await lab.node("node-1", "sh", "-c", `${pings(own)}; ${talks(own)}`)).stdout), []);
    const { stdout } = await lab.node("node-1", "ip", "route", "get", pod("core").ipv4);
    assert.match(stdout, /dev fabric0/);
  });

  /** What a node puts onto the wire while something happens, one line a frame, with MACs and tags. */
  const sentBy = (node: string, during: () => Promise<unknown>): Promise<string[]> =>
    captured((...command) => lab.node(node, ...command), `/tmp/${lab.name}-sent`, "-Q out -i eth2", during);

  it("puts nothing onto the wire but what its pods say on their own VLANs", async () => {
    const macs = new Map<string, string>();
    for (const name of ["core", "till", "disk"]) {
      const { stdout } = await lab.exec(name, "ip", "-o", "link", "show", "eth0");
      macs.set(/link\/ether ([0-9a-f:]+)/.exec(stdout)![1]!, name === "disk" ? "vlan 40" : "vlan 30");
    }
    const frames = await sentBy("node-1", async () => {
      await lab.exec("core", "ip", "neigh", "flush", "all");
      const targets = [...pods.values()].filter(({ name }) => name !== "core").flatMap(addressesOf);
      await lab.exec("core", "sh", "-c", pings([...targets, ...Object.values(outside).flatMap(addressesOf)]));
      await lab.exec("web", "sh", "-c", pings([pod("far"), pod("tape"), pod("db")].flatMap(addressesOf)));
      await lab.exec("disk", "sh", "-c", pings(addressesOf(outside.vlan40)));
    });
    assert.ok(frames.some((frame) => frame.includes(`${pod("core").ipv4} > ${pod("far").ipv4}: ICMP echo request`)));
    for (const frame of frames) {
      const sender = /^\S+ ([0-9a-f:]{17}) > /.exec(frame)?.[1] ?? "";
      assert.ok(macs.has(sender), `a frame of somebody who is no pod of the node: ${frame}`);
      assert.ok(frame.includes(`${macs.get(sender)},`), `not on its VLAN: ${frame}`);
      assert.doesNotMatch(frame, /10\.244\.|fd00:244:|\.4789:/, `overlay traffic on the wire: ${frame}`);
    }
    const between = frames.filter((frame) => frame.includes(`${pod("core").ipv4} > ${pod("till").ipv4}`));
    assert.deepEqual(between, [], "what pods of one node say to each other on one VLAN stays there");
  });

  it("sends traffic between VLANs by the physical router, whose packet filter decides", async () => {
    const drop = [
      "nft",
      "add",
      "rule",
      "inet",
      "firewall",
      "forward",
      "iifname",
      "vlan30",
      "oifname",
      "vlan40",
      "drop",
    ];
    assert.equal((await lab.host("router", ...drop)).code, 0);
    const refused = await lab.exec("core", "ping", "-n", "-c", "1", "-W", "1", pod("disk").ipv4);
    assert.notEqual(refused.code, 0, "the router's filter was passed by, on one node");
    assert.equal((await lab.host("router", "nft", "flush", "chain", "inet", "firewall", "forward")).code, 0);
    assert.equal((await lab.exec("core", "ping", "-n", "-c", "1", "-W", "3", pod("disk").ipv4)).code, 0);
  });

  it("reaches overlay pods without the router: it may be down", async () => {
    const targets = [pod("web"), pod("db")].flatMap(addressesOf);
    assert.equal((await lab.host("router", "ip", "link", "set", "vlan30", "down")).code, 0);
    try {
      await lab.exec("core", "ip", "neigh", "flush", "all");
      assert.deepEqual(lines((await lab.exec("core", "sh", "-c", pings(targets))).stdout), []);
      const back = await lab.exec("db", "sh", "-c", pings(addressesOf(pod("core"))));
      assert.deepEqual(lines(back.stdout), []);
      const own = await lab.node("node-1", "sh", "-c", pings(addressesOf(pod("core"))));
      assert.deepEqual(lines(own.stdout), [], "the node and its pod need no router");
    } finally {
      await lab.host("router", "sh", "-c", "ip link set vlan30 up; ip -6 address add fd00:30::1/64 dev vlan30 nodad");
    }
  });

  it("tells the sender when a packet is too large for an overlay pod, and what fits passes", async () => {
    for (const target of [pod("web"), pod("db")]) {
      const df = (size: number): Promise<{ code: number; stdout: string }> =>
        lab.exec("core", "ping", "-n", "-M", "do", "-c", "1", "-W", "2", "-s", String(size), target.ipv4);
      assert.equal((await df(1422)).code, 0, "a packet of 1450 bytes");
      await lab.exec("core", "ip", "route", "flush", "cache");
      const refused = await df(1472);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stdout, /Frag needed and DF set \(mtu = 1450\)/);
      // The pod's kernel has learned the path's MTU: full-size datagrams arrive from now on, in fragments.
      const bytes = "head -c 4000 /dev/zero | tr '\\0' x";
      const echo = await lab.exec(
        "core",
        "sh",
        "-c",
        `${bytes} | timeout 5 socat -b 8000 -t 1 - UDP:${target.ipv4}:7000 | wc -c`,
      );
      assert.equal(echo.stdout.trim(), "4000", `UDP to ${target.name}`);
      const six = await lab.exec(
        "core",
        "sh",
        "-c",
        `${bytes} | timeout 5 socat -b 8000 -t 1 - UDP:[${target.ipv6}]:7000 | wc -c`,
      );
      const again = await lab.exec(
        "core",
        "sh",
        "-c",
        `${bytes} | timeout 5 socat -b 8000 -t 1 - UDP:[${target.ipv6}]:7000 | wc -c`,
      );
      assert.ok(
        [six, again].some(({ stdout }) => stdout.trim() === "4000"),
        `UDP to ${target.name} in IPv6`,
      );
    }
  });

  it("spends full frames on the wire", async () => {
    const full = await lab.exec("core", "ping", "-n", "-M", "do", "-c", "1", "-W", "3", "-s", "1472", pod("far").ipv4);
    assert.equal(full.code, 0, full.stdout);
  });

  it("drops what a pod says in another's name, on its VLAN too", async () => {
    await lab.exec("till", "ip", "address", "add", "10.30.0.120/24", "dev", "eth0");
    const forged = await lab.exec("till", "ping", "-n", "-c", "1", "-W", "1", "-I", "10.30.0.120", outside.vlan30.ipv4);
    assert.notEqual(forged.code, 0);
    const seen = await lab.host("host-2", "ip", "neigh", "show", "10.30.0.120");
    assert.doesNotMatch(seen.stdout, /lladdr/, "a forged ARP reached the wire");
    await lab.exec("till", "ip", "address", "del", "10.30.0.120/24", "dev", "eth0");
  });

  it("brings a fixed address to another node: outside hosts reach it again within a second", async () => {
    const annotations = inSubnet("vlan30", { "beyondfabric.io/ip": "10.30.0.60,fd00:30::60" });
    const [before] = await lab.pods({ name: "wander", node: "node-1", annotations, run: echoServer });
    assert.deepEqual([before?.ipv4, before?.ipv6], ["10.30.0.60", "fd00:30::60"]);
    assert.equal((await lab.host("host-2", "ping", "-n", "-c", "1", "-W", "3", "10.30.0.60")).code, 0);
    await lab.deletePods("wander");
    await lab.pods({ name: "wander", node: "node-2", annotations, run: echoServer });
    const begun = Date.now();
    const reached = await lab.host(
      "host-2",
      "sh",
      "-c",
      "for i in $(seq 50); do ping -n -c 1 -W 1 10.30.0.60 && exit 0; done; exit 1",
    );
    assert.equal(reached.code, 0);
    assertWithin(1000, "the outside host reaches the pod again", Date.now() - begun);
    assert.equal((await lab.host("host-2", "ping", "-n", "-c", "1", "-W", "3", "fd00:30::60")).code, 0);
  });

  it("finds an address that a machine uses already, and says whose it is", async () => {
    await lab.host("host-2", "ip", "address", "add", "10.30.0.70/24", "dev", "eth0");
    const { stdout } = await lab.host("host-2", "cat", "/sys/class/net/eth0/address");
    const mac = stdout.trim();
    const annotations = inSubnet("vlan30", { "beyondfabric.io/ip": "10.30.0.70" });
    await lab.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "late", annotations },
      spec: {
        nodeName: "node-2",
        terminationGracePeriodSeconds: 0,
        containers: [{ name: "main", image: "host", command: ["sleep", "infinity"] }],
      },
    });
    await until("an Event names the MAC that answered", async () => {
      const events = await lab.mustKubectl("get", "events", "-o", "json");
      const { items } = JSON.parse(events) as {
        items: { reason: string; message: string; involvedObject: { name: string } }[];
      };
      return items.some(
        ({ reason, message, involvedObject }) =>
          reason === "AddressConflict" && involvedObject.name === "late" && message.includes(mac),
      );
    });
    await lab.host("host-2", "ip", "address", "del", "10.30.0.70/24", "dev", "eth0");
    const late = await lab.podReady("late", "default", 60_000);
    assert.equal(late.ipv4, "10.30.0.70");

    // From now on whoever takes the address is reported as well.
    await lab.host("host-2", "ip", "address", "add", "10.30.0.70/24", "dev", "eth0");
    const asks = `ip neigh flush all; ping -n -c 1 -W 1 -I 10.30.0.70 ${pod("core").ipv4}`;
    await lab.host("host-2", "sh", "-c", asks);
    await until("the duplicate is reported", async () => {
      const { stdout: text } = await lab.kubectl("get", "events", "-o", "json");
      const { items } = JSON.parse(text) as { items: { reason: string; message: string }[] };
      return items.some(({ reason, message }) => reason === "AddressDuplicate" && message.includes(mac));
    });
    await lab.host("host-2", "ip", "address", "del", "10.30.0.70/24", "dev", "eth0");
  });

  it("survives the agent and the switch: what has entries goes on, the rest comes back", async () => {
    const stream = await PingStream.start(lab, "core", outside.vlan30.ipv4);
    await lab.component("node-1", "agent", "kill");
    await until("the agent is back", async () => (await lab.status("node-1")).ready, 60_000);
    const figures = await stream.stop();
    assert.equal(figures.lost, 0, JSON.stringify(figures));
    await lab.component("node-1", "vswitchd", "kill");
    await until(
      "pods on wires and overlay pods are reached again",
      async () => {
        const targets = [outside.vlan30.ipv4, outside.beyond.ipv6, pod("far").ipv4, pod("db").ipv4, pod("tape").ipv6];
        return lines((await lab.exec("core", "sh", "-c", pings(targets))).stdout).length === 0;
      },
      60_000,
    );
  });

  it("says so when the NIC has no link, refuses pods, and takes them when it is back", async () => {
    const plug = (state: "up" | "down"): Promise<{ code: number }> =>
      run("ip", ["-n", `${lab.name}-wire`, "link", "set", "t2", state]);
    const label = async (): Promise<string> => {
      const path = "jsonpath={.metadata.labels.network\\.beyondfabric\\.io/wire}";
      return (await lab.mustKubectl("get", "node", "node-2", "-o", path)).trim();
    };
    assert.equal((await plug("down")).code, 0);
    await until("the Node says that the link is down", async () => (await label()) === "down");
    await lab.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "early", annotations: inSubnet("vlan30") },
      spec: {
        nodeName: "node-2",
        terminationGracePeriodSeconds: 0,
        containers: [{ name: "main", image: "host", command: ["sleep", "infinity"] }],
      },
    });
    await until("the pod is told why it waits", async () => {
      const { stdout } = await lab.kubectl("get", "events", "-o", "json");
      return stdout.includes("interface eth2 of node node-2 has no link");
    });
    const overlay = await lab.pods({ name: "meanwhile", node: "node-2" });
    assert.equal(overlay.length, 1, "overlay pods start all the same");
    assert.equal((await plug("up")).code, 0);
    await until("the Node says that the network is ready", async () => (await label()) === "ready");
    const early = await lab.podReady("early", "default", 60_000);
    assert.equal(
      (await lab.exec("early", "ping", "-n", "-c", "1", "-W", "3", outside.vlan30.ipv4)).code,
      0,
      early.ipv4,
    );
    assert.equal((await lab.exec("far", "ping", "-n", "-c", "1", "-W", "3", outside.vlan30.ipv4)).code, 0);
  });

  it("refuses networks and subnets that cannot be, with the remedy", async () => {
    const object = (kind: string, name: string, spec: object): object => ({
      apiVersion: "beyondfabric.io/v1alpha1",
      kind,
      metadata: { name },
      spec,
    });
    await lab.apply(
      object("Network", "second", { type: "Underlay", interfaces: [{ name: "eth2" }] }),
      object("Network", "own", { type: "Underlay", interfaces: [{ name: "eth1" }] }),
      object("Subnet", "overlapping", { network: "wire", vlan: 50, cidrs: ["10.30.0.128/25"] }),
    );
    await until("the overlap is told", async () => {
      const text = await lab.mustKubectl("get", "subnet", "overlapping", "-o", "json");
      return text.includes("which overlaps 10.30.0.0/24 of Subnet vlan30");
    });
    await until("the NIC of the node itself is refused", async () => {
      const text = await lab.mustKubectl("get", "node", "node-1", "-o", "json");
      return text.includes("of the node itself") && text.includes("allowNodeInterface: true");
    });
    const remedy = "make its VLANs Subnets of that Network";
    await until("the younger of two Networks on one NIC is told, on itself and on the Node", async () => {
      const events = JSON.parse(await lab.mustKubectl("get", "events", "-A", "-o", "json")) as {
        items: { reason: string; message: string; involvedObject: { kind: string; name: string } }[];
      };
      const node = JSON.parse(await lab.mustKubectl("get", "node", "node-1", "-o", "json")) as {
        metadata: { labels: Record<string, string> };
        status: { conditions: { type: string; status: string; message: string }[] };
      };
      const condition = node.status.conditions.find(({ type }) => type === "network.beyondfabric.io/second");
      return (
        events.items.some(
          ({ reason, message, involvedObject }) =>
            reason === "InterfaceTaken" &&
            `${involvedObject.kind}/${involvedObject.name}` === "Network/second" &&
            message.includes("which on node node-1 carries Network wire already") &&
            message.includes(remedy),
        ) &&
        node.metadata.labels["network.beyondfabric.io/second"] === "refused" &&
        node.metadata.labels["network.beyondfabric.io/wire"] === "ready" &&
        condition?.status === "False" &&
        condition.message.includes(remedy)
      );
    });
    const doctor = await lab.fabricctl("node-1", "doctor", "underlay");
    assert.equal(doctor.code, 3);
    assert.match(doctor.stdout, /^InterfaceTaken {3}Network\/second$/m);
    await lab.mustKubectl("delete", "network", "second", "own");
    await until("the Node forgets the Network that was refused", async () => {
      const text = await lab.mustKubectl("get", "node", "node-1", "-o", "json");
      return !text.includes("network.beyondfabric.io/second");
    });
    await lab.mustKubectl("delete", "subnet", "overlapping", "--wait=false");
  });
});

describe("a NIC that carries an address of the node itself", () => {
  let lab: Lab;
  const network = (allowNodeInterface: boolean): object => ({
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "Network",
    metadata: { name: "own" },
    spec: { type: "Underlay", interfaces: [{ name: "eth2" }], allowNodeInterface },
  });
  const carries = async (dev: string): Promise<boolean> =>
    (await lab.node("node-1", "ip", "-o", "-4", "address", "show", "dev", dev)).stdout.includes("192.0.2.5/24");

  before(async () => {
    lab = await Lab.up("ownnic", { nodes: 1, config: overlayOnly });
    // The business NIC is on the same wire, and must not answer for the other.
    const setUp =
      "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip address add 192.0.2.5/24 dev eth2; ip route add 198.51.100.0/24 via 192.0.2.6";
    assert.equal((await lab.node("node-1", "sh", "-c", setUp)).code, 0);
    assert.equal((await lab.host("host-1", "ip", "address", "add", "192.0.2.6/24", "dev", "eth0")).code, 0);
    await lab.node("node-1", "sh", "-c", "socat TCP-LISTEN:7300,reuseaddr,fork EXEC:cat >/dev/null 2>&1 </dev/null &");
  });
  after(() => lab?.down());

  it("is left alone, and the Node says why, until that is allowed", async () => {
    await lab.apply(network(false));
    await until("the Node says that the NIC is refused", async () => {
      const text = await lab.mustKubectl("get", "node", "node-1", "-o", "json");
      return text.includes("carries 192.0.2.5/24 of the node itself");
    });
    assert.ok(await carries("eth2"));
    assert.equal((await lab.node("node-1", "ip", "link", "show", "br-eth2")).code, 1, "nothing was touched");
  });

  it("gives its address and routes to its bridge and gets them back, and a connection lives through both", async () => {
    const lines = 150;
    const client = `(for i in $(seq ${lines}); do echo $i; sleep 0.1; done) | timeout 90 socat -t 10 - TCP:192.0.2.5:7300 | wc -l`;
    const talk = lab.host("host-1", "sh", "-c", client);
    await lab.apply(network(true));
    await until("the bridge carries the address", async () => (await carries("br-eth2")) && !(await carries("eth2")));
    const route = await lab.node("node-1", "ip", "route", "show", "198.51.100.0/24");
    assert.match(route.stdout, /dev br-eth2/);
    assert.equal((await lab.host("host-1", "ping", "-n", "-c", "2", "-W", "3", "192.0.2.5")).code, 0);

    await lab.component("node-1", "agent", "kill");
    await until("the agent is back", async () => (await lab.status("node-1")).ready, 60_000);
    assert.ok(await carries("br-eth2"), "an agent that starts anew takes nothing away");

    await lab.mustKubectl("delete", "network", "own");
    await until("the NIC has its address again", () => carries("eth2"));
    await until(
      "the bridge is gone",
      async () => (await lab.node("node-1", "ip", "link", "show", "br-eth2")).code === 1,
    );
    const back = await lab.node("node-1", "ip", "route", "show", "198.51.100.0/24");
    assert.match(back.stdout, /dev eth2/);
    assert.equal((await lab.host("host-1", "ping", "-n", "-c", "2", "-W", "3", "192.0.2.5")).code, 0);
    assert.equal((await talk).stdout.trim(), String(lines), "the connection lost something");
  });

  /** What a NIC or its bridge carries of the node, and whether others reach it there. */
  const stands = async (dev: string, other: string): Promise<boolean> => {
    const at = async (name: string): Promise<string> =>
      (await lab.node("node-1", "ip", "-o", "-4", "address", "show", "dev", name)).stdout;
    return (await at(dev)).includes(" inet ") && !(await at(other)).includes(" inet ");
  };
  const release = () =>
    lab.node(
      "node-1",
      join(root, "bin/fabric-node"),
      "release-nics",
      "--config",
      lab.path("node-1", "fabric-node.yaml"),
    );
  const isReached = async (): Promise<void> => {
    for (const address of ["192.0.2.5", "10.10.0.11", "fd00:10::11"]) {
      const ping = await lab.host("host-1", "ping", "-n", "-c", "2", "-W", "3", address);
      assert.equal(ping.code, 0, `${address}: ${ping.stdout}`);
    }
  };

  it("comes back by a command when the agent is taken off the node, as the NIC of the tunnels does", async () => {
    await lab.apply(network(true));
    await until("the bridge carries the address", () => stands("br-eth2", "eth2"));
    assert.ok(await stands("br-eth1", "eth1"));
    const early = await release();
    assert.equal(early.code, 1, early.stdout);
    assert.match(early.stderr, /fabric-node runs on this node .* stop it first/);
    assert.ok(await stands("br-eth2", "eth2"), "nothing was touched while the agent runs");

    await lab.component("node-1", "agent", "stop");
    const released = await release();
    assert.equal(released.code, 0, released.stderr);
    assert.match(released.stdout, /^eth1 is the node's again, br-eth1 is gone: 10\.10\.0\.11\/24, fd00:10::11\/64$/m);
    assert.match(released.stdout, /^eth2 is the node's again, br-eth2 is gone: 192\.0\.2\.5\/24$/m);
    for (const nic of ["eth1", "eth2"]) {
      assert.ok(await stands(nic, `br-${nic}`));
      await until(`the bridge of ${nic} is gone`, async () => {
        return (await lab.node("node-1", "ip", "link", "show", `br-${nic}`)).code === 1;
      });
    }
    const route = await lab.node("node-1", "ip", "route", "show", "198.51.100.0/24");
    assert.match(route.stdout, /via 192\.0\.2\.6 dev eth2/);
    await isReached();
    assert.equal((await release()).stdout.trim(), "no bridge of fabric-node's has a NIC");

    await lab.component("node-1", "agent", "start");
    await until("the agent is back", async () => (await lab.status("node-1")).ready, 60_000);
    await until("the bridges carry the addresses again", async () => {
      return (await stands("br-eth1", "eth1")) && (await stands("br-eth2", "eth2"));
    });
    await isReached();
  });

  it("comes back without ovs-vswitchd too, also when the bridge's interface went with a reboot", async () => {
    await lab.component("node-1", "agent", "stop");
    await lab.component("node-1", "vswitchd", "stop");
    assert.equal((await lab.node("node-1", "ip", "link", "del", "br-eth2")).code, 0);
    const released = await release();
    assert.equal(released.code, 0, released.stderr);
    assert.ok((await stands("eth1", "br-eth1")) && (await stands("eth2", "br-eth2")), released.stdout);
    const route = await lab.node("node-1", "ip", "route", "show", "198.51.100.0/24");
    assert.match(route.stdout, /via 192\.0\.2\.6 dev eth2/);
    await isReached();
  });
});
