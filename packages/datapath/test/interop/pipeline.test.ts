/** The entries that docs/pipeline.md shows, in a real switch: it holds them unchanged and sends packets where they say. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { canonicalFlow, formatFlow, packetInView, resumeFrame } from "@beyondfabric/openflow";
import { buildEthernet, buildIp, buildUdp, etherType, ipProtocol, ipToBigInt } from "@beyondfabric/packet";
import { exampleFlows } from "../../../../tools/example-flows.ts";
import { Connection, startSwitch, until, type TestSwitch } from "../../../openflow/test/interop/switch.ts";
import { missPort, unset, verdictCode, wayPatches, type Way } from "../../src/index.ts";

const mac = "0a:58:0a:f4:01:05";
const router = "0e:fa:b0:00:00:01";
const port = { host: 1, tunnel: 2, pod: 100 };

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(1);
  const add = (name: string, ...columns: string[]): Promise<string> =>
    ovs.vsctl("add-port", "br0", name, "--", "set", "interface", name, ...columns);
  await add("tunnel", "type=vxlan", `ofport_request=${port.tunnel}`, "options:remote_ip=flow", "options:key=flow");
  await add("pod", "type=dummy", `ofport_request=${port.pod}`);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  connection.send({ type: "set_packet_in_format", format: "nxt2" });
  connection.send({ type: "set_async", packetInPrimary: 0x3f, packetInSecondary: 0x3f });
  for (const meter of Object.values(port)) {
    const bands = [{ kind: "drop", rate: 1_000_000, burst: 1_000_000 }] as const;
    connection.send({ type: "meter_mod", command: "add", flags: ["pktps", "burst"], meter, bands });
  }
  for (const flow of exampleFlows()) connection.send({ type: "flow_mod", command: "add", flow });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
});

after(async () => {
  connection?.close();
  await ovs?.stop();
});

test("the switch holds exactly the entries that the document shows", async () => {
  const parts = await connection.multipart({ kind: "flow_desc", match: [] });
  const dumped = parts.flatMap((part) => part.entries.map(({ flow }) => formatFlow(canonicalFlow(flow)))).sort();
  assert.deepStrictEqual(
    dumped,
    exampleFlows()
      .map((flow) => formatFlow(canonicalFlow(flow)))
      .sort(),
  );
  const document = readFileSync(join(import.meta.dirname, "../../../../docs/pipeline.md"), "utf8").split("\n");
  for (const line of dumped) assert.ok(document.includes(line), line);
});

async function trace(packet: string): Promise<{ text: string; actions: string }> {
  const text = await ovs.appctl("ofproto/trace", "br0", packet);
  return { text, actions: /Datapath actions: (.*)/.exec(text)?.[1] ?? "none" };
}

describe("what a pod may not say is dropped before any verdict", () => {
  const pod = `in_port=${port.pod},dl_src=${mac},dl_dst=${router}`;
  const solicitation = "icmp6,nw_ttl=255,icmpv6_type=135,icmpv6_code=0";
  const cases: Record<string, string> = {
    "another MAC": `in_port=${port.pod},dl_src=0a:00:00:00:00:99,ip,nw_src=10.244.1.5,nw_dst=10.244.2.7`,
    "another IPv4 address": `${pod},ip,nw_src=10.244.1.6,nw_dst=10.244.2.7`,
    "another IPv6 address": `${pod},ipv6,ipv6_src=fd00:244::1:6,ipv6_dst=fd00:244::2:7`,
    "ARP in another's name": `${pod},arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.6,arp_tpa=10.244.0.1`,
    "ARP with another MAC": `${pod},arp,arp_op=1,arp_sha=0a:00:00:00:00:99,arp_spa=10.244.1.5,arp_tpa=10.244.0.1`,
    "ARP about somebody who is no gateway": `${pod},arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.5,arp_tpa=10.244.1.9`,
    "a solicitation in another's name": `${pod},${solicitation},ipv6_src=fd00:244::1:6,ipv6_dst=ff02::1:ff00:1,nd_target=fd00:244::1`,
    "a solicitation of another than the gateway": `${pod},${solicitation},ipv6_src=fd00:244::1:5,ipv6_dst=ff02::1:ff00:9,nd_target=fd00:244::9`,
    "IPv4 multicast": `${pod},ip,nw_src=10.244.1.5,nw_dst=224.0.0.251`,
    broadcast: `${pod},ip,nw_src=10.244.1.5,nw_dst=255.255.255.255`,
    "IPv6 multicast": `${pod},ipv6,ipv6_src=fd00:244::1:5,ipv6_dst=ff02::fb`,
    "something that is neither IP nor ARP": `${pod},dl_type=0x88b5`,
    "a network identifier that is not ours": `in_port=${port.tunnel},tun_id=99,tun_src=10.10.0.12,ip,nw_src=10.244.2.7,nw_dst=10.244.1.5`,
    "a pair that has been to the agent already": `${pod},reg9=1,ip,nw_src=10.244.1.5,nw_dst=10.244.3.3`,
    "a pair that is refused": `${pod},ip,nw_src=10.244.1.5,nw_dst=10.244.200.1`,
  };
  for (const [name, packet] of Object.entries(cases)) {
    test(name, async () => {
      const { text, actions } = await trace(packet);
      assert.equal(actions, "drop", text);
      assert.doesNotMatch(text, /pause/, text);
    });
  }
});

describe("gateways are answered for by the switch, out of the port that asked", () => {
  test("ARP", async () => {
    const asked = `arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.5,arp_tpa=10.244.0.1`;
    const { text } = await trace(`in_port=${port.pod},dl_src=${mac},dl_dst=ff:ff:ff:ff:ff:ff,${asked}`);
    assert.match(
      text,
      new RegExp(`Final flow: .*dl_src=${router},dl_dst=${mac},arp_spa=10.244.0.1,arp_tpa=10.244.1.5`),
    );
    assert.match(text, /Final flow: .*arp_op=2/);
    assert.match(text, /IN_PORT/);
  });
  for (const source of ["fd00:244::1:5", "fe80::858:aff:fef4:105"]) {
    test(`a solicitation from ${source}`, async () => {
      const { text, actions } = await trace(
        `in_port=${port.pod},dl_src=${mac},dl_dst=33:33:ff:00:00:01,icmp6,nw_ttl=255,ipv6_src=${source},ipv6_dst=ff02::1:ff00:1,icmpv6_type=135,icmpv6_code=0,nd_target=fd00:244::1`,
      );
      assert.notEqual(actions, "drop", text);
      assert.match(
        text,
        new RegExp(`Final flow: .*dl_src=${router},dl_dst=${mac}.*ipv6_src=fd00:244::1,ipv6_dst=${source}`),
      );
      assert.match(text, /IN_PORT/);
    });
  }
});

describe("an entry sends packets its verdict's way", () => {
  test("into the tunnel", async () => {
    const { text } = await trace(
      `in_port=${port.pod},dl_src=${mac},dl_dst=${router},ip,nw_src=10.244.1.5,nw_dst=10.244.2.7`,
    );
    assert.match(text, /^ +output:2$/m);
    assert.match(text, /reg3=0xa0a000c/);
  });
  test("to the pod, with its MAC, out of the tunnel of the node that owns the source only", async () => {
    const from = (node: string): string =>
      `in_port=${port.tunnel},tun_id=1,tun_src=${node},ip,nw_src=10.244.2.7,nw_dst=10.244.1.5`;
    const { text } = await trace(from("10.10.0.12"));
    assert.match(text, /^ +output:100$/m);
    assert.match(text, new RegExp(`Final flow: .*dl_dst=${mac}`));
    assert.doesNotMatch((await trace(from("10.10.0.13"))).text, /output:100/);
  });
  test("to the node", async () => {
    const { text } = await trace(
      `in_port=${port.pod},dl_src=${mac},dl_dst=${router},ipv6,ipv6_src=fd00:244::1:5,ipv6_dst=2001:db8::1`,
    );
    assert.match(text, /^ +output:1$/m);
  });
});

describe("a packet that paused goes the way that is written into it", () => {
  const sent = async (number: number): Promise<bigint> =>
    (await connection.multipart({ kind: "port_stats", port: number }))[0]!.ports[0]!.txPackets;
  const all = async (): Promise<{ host: bigint; pod: bigint }> => ({
    host: await sent(port.host),
    pod: await sent(port.pod),
  });
  let serial = 0;

  async function pauses(from: "p1" | "pod"): Promise<Buffer> {
    const [source, destination] = from === "pod" ? ["10.244.1.5", "9.9.9.9"] : ["10.244.1.1", "10.244.1.5"];
    const addresses = { src: source, dst: destination };
    const udp = buildUdp({ ...addresses, srcPort: 1000 + serial++, dstPort: 53 }, Buffer.from("x"));
    const ip = buildIp({ ...addresses, protocol: ipProtocol.udp }, udp);
    const ethernet = { src: from === "pod" ? mac : "0e:fb:00:00:00:01", dst: router, etherType: etherType.ipv4 };
    connection.frames.length = 0;
    await ovs.appctl("netdev-dummy/receive", from, buildEthernet(ethernet, ip).toString("hex"));
    await until(() => connection.frames.length > 0, "a packet-in");
    const frame = connection.frames.shift()!;
    const view = packetInView(frame);
    assert.equal(missPort(view.userdata), from === "pod" ? port.pod : port.host);
    assert.equal(view.readRegister(5), unset);
    return frame;
  }

  const way = (code: Way["code"]): Way => ({ code, tunnelDestination: 0, vni: 0 });

  test("an unset verdict and a refusal let nothing pass", async () => {
    const before = await all();
    for (const patches of [[], wayPatches(way(verdictCode.deny))]) {
      connection.sendFrame(resumeFrame(await pauses("pod"), patches));
      connection.sendFrame(resumeFrame(await pauses("p1"), patches));
    }
    // Later packets that do pass show that the earlier ones had their turn.
    connection.sendFrame(resumeFrame(await pauses("pod"), wayPatches(way(verdictCode.host))));
    connection.sendFrame(resumeFrame(await pauses("p1"), wayPatches(way(verdictCode.local))));
    await until(async () => (await sent(port.pod)) > before.pod, "the packet at the pod");
    assert.deepStrictEqual(await all(), { host: before.host + 1n, pod: before.pod + 1n });
    assert.deepStrictEqual(connection.errors, []);
  });

  test("into the tunnel the registers carry the far end", () => {
    const patches = wayPatches({
      code: verdictCode.tunnel,
      tunnelDestination: Number(ipToBigInt("10.10.0.12")),
      vni: 7,
    });
    assert.deepStrictEqual(patches, [
      { xreg: 1, value: 0x7_0a0a_000cn },
      { xreg: 2, value: (BigInt(unset) << 32n) | 2n },
    ]);
  });
});
