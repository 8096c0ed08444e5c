/** The entries that docs/pipeline.md shows, in a real switch: it holds them unchanged and sends packets where they say. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { canonicalFlow, formatFlow, packetInView, resumeFrame, type Flow } from "@beyondfabric/openflow";
import {
  buildEthernet,
  buildGratuitousArp,
  buildIp,
  buildUdp,
  etherType,
  ipProtocol,
  ipToBigInt,
  parseCidr,
} from "@beyondfabric/packet";
import { exampleFlows } from "../../../../tools/example-flows.ts";
import { Connection, startSwitch, until, type TestSwitch } from "../../../openflow/test/interop/switch.ts";
import {
  announcementIn,
  announcementMeter,
  forgeryMeter,
  isAnnouncement,
  forgeryOf,
  isForgery,
  isGuardedFlow,
  isTooLarge,
  missPort,
  neighbourMeter,
  tooLargeMeter,
  unset,
  verdictCode,
  wayPatches,
  type WayRegisters,
} from "../../src/index.ts";

const mac = "0a:58:0a:f4:01:05";
const router = "0e:fa:b0:00:00:01";
const port = { host: 1, tunnel: 2, uplink: 10, pod: 100, member: 101, isolated: 102, idle: 103 };
const memberMac = "0a:58:0a:1e:00:32";

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(1);
  const add = (name: string, ...columns: string[]): Promise<string> =>
    ovs.vsctl("add-port", "br0", name, "--", "set", "interface", name, ...columns);
  await add("tunnel", "type=vxlan", `ofport_request=${port.tunnel}`, "options:remote_ip=flow", "options:key=flow");
  await add("pod", "type=dummy", `ofport_request=${port.pod}`);
  await add("uplink", "type=dummy", `ofport_request=${port.uplink}`);
  await add("member", "type=dummy", `ofport_request=${port.member}`);
  await add("isolated", "type=dummy", `ofport_request=${port.isolated}`);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  connection.send({ type: "set_packet_in_format", format: "nxt2" });
  connection.send({ type: "set_async", packetInPrimary: 0x3f, packetInSecondary: 0x3f });
  for (const meter of [...Object.values(port), tooLargeMeter, neighbourMeter, forgeryMeter, announcementMeter]) {
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

test("entries of verdicts with a guard are told from others as the switch reports them", async () => {
  const parts = await connection.multipart({ kind: "flow_desc", match: [] });
  const told = (flows: readonly Flow[]): string[] =>
    flows
      .filter((flow) => isGuardedFlow(flow))
      .map((flow) => formatFlow(canonicalFlow(flow)))
      .sort();
  const guarded = told(exampleFlows());
  assert.ok(guarded.some((line) => line.includes("table=60,")));
  assert.deepStrictEqual(told(parts.flatMap((part) => part.entries.map(({ flow }) => flow))), guarded);
});

async function trace(packet: string): Promise<{ text: string; actions: string }> {
  const text = await ovs.appctl("ofproto/trace", "br0", packet);
  return { text, actions: /Datapath actions: (.*)/.exec(text)?.[1] ?? "none" };
}

/** Nothing leaves: the packet is dropped, and as a forgery counted for its port and shown to the agent. */
async function assertCaught(packet: string): Promise<void> {
  const { text, actions } = await trace(packet);
  assert.match(text, /^12\. in_port=\d+, priority 10/m, text);
  assert.match(actions, /^meter\(\d+\),userspace\(pid=\d+,controller\([^()]*\)\)$/, text);
}

/** Nothing leaves, and nobody is accused. */
async function assertDropped(packet: string): Promise<void> {
  const { text, actions } = await trace(packet);
  assert.equal(actions, "drop", text);
  assert.doesNotMatch(text, /pause/, text);
}

describe("what a pod may not say is dropped before any verdict, and counted", () => {
  const pod = `in_port=${port.pod},dl_src=${mac},dl_dst=${router}`;
  const ll = "fe80::858:aff:fef4:105";
  const neighbour = (type: number): string => `icmp6,nw_ttl=255,icmpv6_type=${type},icmpv6_code=0`;
  const cases: Record<string, string> = {
    "another MAC": `in_port=${port.pod},dl_src=0a:00:00:00:00:99,ip,nw_src=10.244.1.5,nw_dst=10.244.2.7`,
    "another IPv4 address": `${pod},ip,nw_src=10.244.1.6,nw_dst=10.244.2.7`,
    "another IPv4 address in a later fragment": `${pod},ip,nw_frag=later,nw_src=10.244.1.6,nw_dst=10.244.2.7`,
    "another IPv6 address": `${pod},ipv6,ipv6_src=fd00:244::1:6,ipv6_dst=fd00:244::2:7`,
    "another link-local address": `${pod},ipv6,ipv6_src=fe80::99,ipv6_dst=fd00:244::2:7`,
    "ARP in another's name": `${pod},arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.6,arp_tpa=10.244.0.1`,
    "ARP with another MAC": `${pod},arp,arp_op=1,arp_sha=0a:00:00:00:00:99,arp_spa=10.244.1.5,arp_tpa=10.244.0.1`,
    "gratuitous ARP for the gateway": `${pod},arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.0.1,arp_tpa=10.244.0.1`,
    "a solicitation in another's name": `${pod},${neighbour(135)},ipv6_src=fd00:244::1:6,ipv6_dst=ff02::1:ff00:1,nd_target=fd00:244::1`,
    "an advertisement of another": `${pod},${neighbour(136)},ipv6_src=fd00:244::1:5,ipv6_dst=ff02::1,nd_target=fd00:244::1`,
    "an advertisement of another to one pod": `${pod},${neighbour(136)},ipv6_src=fd00:244::1:5,ipv6_dst=fd00:244::2:7,nd_target=fd00:244::1`,
    "a router advertisement": `${pod},${neighbour(134)},ipv6_src=${ll},ipv6_dst=ff02::1`,
    "a router advertisement to one pod": `${pod},${neighbour(134)},ipv6_src=fd00:244::1:5,ipv6_dst=fd00:244::2:7`,
    "a redirect": `${pod},${neighbour(137)},ipv6_src=fd00:244::1:5,ipv6_dst=fd00:244::2:7`,
    "a DHCP answer": `${pod},udp,nw_src=10.244.1.5,nw_dst=10.244.2.7,udp_src=67,udp_dst=68`,
    "a DHCP answer to all": `${pod},udp,nw_src=10.244.1.5,nw_dst=255.255.255.255,udp_src=67,udp_dst=68`,
    "a DHCPv6 answer": `${pod},udp6,ipv6_src=fd00:244::1:5,ipv6_dst=fd00:244::2:7,udp_src=547,udp_dst=546`,
    "a VLAN": `${pod},dl_vlan=40,ip,nw_src=10.244.1.5,nw_dst=10.244.2.7`,
    "ARP in a VLAN": `${pod},dl_vlan=40,arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.5,arp_tpa=10.244.0.1`,
    "something that is neither IP nor ARP": `${pod},dl_type=0x88b5`,
  };
  for (const [name, packet] of Object.entries(cases)) test(name, () => assertCaught(packet));
});

describe("what leads nowhere is dropped before any verdict", () => {
  const pod = `in_port=${port.pod},dl_src=${mac},dl_dst=${router}`;
  const solicitation = "icmp6,nw_ttl=255,icmpv6_type=135,icmpv6_code=0";
  const cases: Record<string, string> = {
    "ARP about somebody who is no gateway": `${pod},arp,arp_op=1,arp_sha=${mac},arp_spa=10.244.1.5,arp_tpa=10.244.1.9`,
    "a solicitation of another than the gateway": `${pod},${solicitation},ipv6_src=fd00:244::1:5,ipv6_dst=ff02::1:ff00:9,nd_target=fd00:244::9`,
    "duplicate address detection": `${pod},${solicitation},ipv6_src=::,ipv6_dst=ff02::1:ff00:5,nd_target=fd00:244::1:5`,
    "IPv4 multicast": `${pod},ip,nw_src=10.244.1.5,nw_dst=224.0.0.251`,
    broadcast: `${pod},ip,nw_src=10.244.1.5,nw_dst=255.255.255.255`,
    "IPv6 multicast": `${pod},ipv6,ipv6_src=fd00:244::1:5,ipv6_dst=ff02::fb`,
    "a network identifier that is not ours": `in_port=${port.tunnel},tun_id=99,tun_src=10.10.0.12,ip,nw_src=10.244.2.7,nw_dst=10.244.1.5`,
    "a pair that has been to the agent already": `${pod},reg9=1,ip,nw_src=10.244.1.5,nw_dst=10.244.3.3`,
    "a pair that is refused": `${pod},ip,nw_src=10.244.1.5,nw_dst=10.244.200.1`,
    "a port that is no pod's": `in_port=${port.idle},ip,nw_src=10.244.1.5,nw_dst=10.244.2.7`,
  };
  for (const [name, packet] of Object.entries(cases)) test(name, () => assertDropped(packet));
});

describe("a pod on a wire", () => {
  const member = `in_port=${port.member},dl_src=${memberMac}`;
  const all = "dl_dst=ff:ff:ff:ff:ff:ff";
  const neighbour = "02:fa:03:00:00:01";
  const solicitation = "icmp6,nw_ttl=255,icmpv6_type=135,icmpv6_code=0";
  const advertisement = "icmp6,nw_ttl=255,icmpv6_type=136,icmpv6_code=0";
  const arp = (op: number, sha: string, spa: string, tpa: string): string =>
    `arp,arp_op=${op},arp_sha=${sha},arp_spa=${spa},arp_tpa=${tpa}`;
  const wire = `in_port=${port.uplink},dl_vlan=30`;
  const ontoWire = /^push_vlan\(vid=30,pcp=0\),\d+$/;
  const outOf = async (name: string): Promise<string> =>
    /(\d+)/.exec(
      (await ovs.appctl("dpif/show"))
        .split("\n")
        .find((line) => line.includes(` ${name} `))!
        .split("/")[1]!,
    )![0];

  const leaves: Record<string, string> = {
    "a question for a neighbour": `${member},${all},${arp(1, memberMac, "10.30.0.50", "10.30.0.202")}`,
    "a probe for its own address": `${member},${all},${arp(1, memberMac, "0.0.0.0", "10.30.0.50")}`,
    "gratuitous ARP": `${member},${all},${arp(1, memberMac, "10.30.0.50", "10.30.0.50")}`,
    "an answer": `${member},dl_dst=${neighbour},${arp(2, memberMac, "10.30.0.50", "10.30.0.202")}`,
    "a solicitation": `${member},dl_dst=33:33:ff:00:02:02,${solicitation},ipv6_src=fd00:30::50,ipv6_dst=ff02::1:ff00:202,nd_target=fd00:30::202,nd_sll=${memberMac}`,
    "duplicate address detection": `${member},dl_dst=33:33:ff:00:00:50,${solicitation},ipv6_src=::,ipv6_dst=ff02::1:ff00:50,nd_target=fd00:30::50`,
    "an advertisement": `${member},dl_dst=33:33:00:00:00:01,${advertisement},ipv6_src=fd00:30::50,ipv6_dst=ff02::1,nd_target=fd00:30::50,nd_tll=${memberMac}`,
    "a packet to a machine of the wire": `${member},dl_dst=${neighbour},ip,nw_src=10.30.0.50,nw_dst=10.30.0.202`,
  };
  for (const [name, packet] of Object.entries(leaves)) {
    test(`${name} goes onto the wire, with its tag`, async () => {
      const { text, actions } = await trace(packet);
      assert.match(actions.replace(/^meter\(\d+\),/, ""), ontoWire, text);
    });
  }

  const arrives: Record<string, string> = {
    "a question for the pod": `${wire},dl_src=${neighbour},${all},${arp(1, neighbour, "10.30.0.202", "10.30.0.50")}`,
    "an answer to the pod": `${wire},dl_src=${neighbour},dl_dst=${memberMac},${arp(2, neighbour, "10.30.0.202", "10.30.0.50")}`,
    "what the gateway says to all": `${wire},dl_src=${neighbour},${all},${arp(1, neighbour, "10.30.0.1", "10.30.0.1")}`,
    "a solicitation of the pod": `${wire},dl_src=${neighbour},dl_dst=33:33:ff:00:00:50,${solicitation},ipv6_src=fd00:30::202,ipv6_dst=ff02::1:ff00:50,nd_target=fd00:30::50,nd_sll=${neighbour}`,
    "an advertisement to the pod": `${wire},dl_src=${neighbour},dl_dst=${memberMac},${advertisement},ipv6_src=fd00:30::202,ipv6_dst=fd00:30::50,nd_target=fd00:30::202,nd_tll=${neighbour}`,
    "a packet of a machine of the wire": `${wire},dl_src=${neighbour},dl_dst=${memberMac},ip,nw_src=10.30.0.202,nw_dst=10.30.0.50`,
  };
  for (const [name, packet] of Object.entries(arrives)) {
    test(`${name} arrives there, without tag, its sender's MAC untouched`, async () => {
      const { text, actions } = await trace(packet);
      assert.equal(actions, `pop_vlan,${await outOf("member")}`, text);
    });
  }

  const forged: Record<string, string> = {
    "a question in another's name": `${member},${all},${arp(1, memberMac, "10.30.0.51", "10.30.0.202")}`,
    "an answer in another's name": `${member},dl_dst=${neighbour},${arp(2, memberMac, "10.30.0.51", "10.30.0.202")}`,
    "an answer with another MAC": `${member},dl_dst=${neighbour},${arp(2, neighbour, "10.30.0.50", "10.30.0.202")}`,
    "a probe for another's address": `${member},${all},${arp(1, memberMac, "0.0.0.0", "10.30.0.51")}`,
    "an advertisement of another": `${member},dl_dst=33:33:00:00:00:01,${advertisement},ipv6_src=fd00:30::50,ipv6_dst=ff02::1,nd_target=fd00:30::51,nd_tll=${memberMac}`,
    "an advertisement with another MAC": `${member},dl_dst=33:33:00:00:00:01,${advertisement},ipv6_src=fd00:30::50,ipv6_dst=ff02::1,nd_target=fd00:30::50,nd_tll=${neighbour}`,
    "a solicitation with another MAC": `${member},dl_dst=33:33:ff:00:02:02,${solicitation},ipv6_src=fd00:30::50,ipv6_dst=ff02::1:ff00:202,nd_target=fd00:30::202,nd_sll=${neighbour}`,
    "a router advertisement": `${member},dl_dst=33:33:00:00:00:01,icmp6,nw_ttl=255,icmpv6_type=134,icmpv6_code=0,ipv6_src=fe80::858:aff:fe1e:32,ipv6_dst=ff02::1`,
    "an advertisement of another to one pod": `${member},dl_dst=${neighbour},${advertisement},ipv6_src=fd00:30::50,ipv6_dst=fd00:30::202,nd_target=fd00:30::51,nd_tll=${memberMac}`,
    "a probe for another's IPv6 address": `${member},dl_dst=33:33:ff:00:00:51,${solicitation},ipv6_src=::,ipv6_dst=ff02::1:ff00:51,nd_target=fd00:30::51`,
    "a VLAN of its own": `${member},dl_vlan=40,dl_dst=${neighbour},ip,nw_src=10.30.0.50,nw_dst=10.30.0.202`,
    "a DHCP answer": `${member},${all},udp,nw_src=10.30.0.50,nw_dst=255.255.255.255,udp_src=67,udp_dst=68`,
  };
  for (const [name, packet] of Object.entries(forged)) test(`${name} is caught`, () => assertCaught(packet));

  const dropped: Record<string, string> = {
    "multicast of a pod": `${member},dl_dst=01:00:5e:00:00:fb,ip,nw_src=10.30.0.50,nw_dst=224.0.0.251`,
    "a VLAN that is no subnet's": `in_port=${port.uplink},dl_vlan=31,dl_src=${neighbour},dl_dst=${memberMac},ip,nw_src=10.30.0.202,nw_dst=10.30.0.50`,
    "a frame of the wire without tag": `in_port=${port.uplink},dl_src=${neighbour},dl_dst=${memberMac},ip,nw_src=10.30.0.202,nw_dst=10.30.0.50`,
    "a question for somebody else": `${wire},dl_src=${neighbour},${all},${arp(1, neighbour, "10.30.0.202", "10.30.0.51")}`,
  };
  for (const [name, packet] of Object.entries(dropped)) test(`${name} is dropped`, () => assertDropped(packet));

  describe("about an address that pods pass on", () => {
    const virtual = "10.30.0.250";
    const virtual6 = "fd00:30::fa";
    const shown = String.raw`meter\(\d+\),userspace\(pid=\d+,controller\([^()]*\)\)`;
    const passed: Record<string, string> = {
      "announces it in ARP": `${member},${all},${arp(1, memberMac, virtual, virtual)}`,
      "answers for it": `${member},dl_dst=${neighbour},${arp(2, memberMac, virtual, "10.30.0.202")}`,
      "asks from it": `${member},${all},${arp(1, memberMac, virtual, "10.30.0.202")}`,
      "advertises it": `${member},dl_dst=33:33:00:00:00:01,${advertisement},ipv6_src=${virtual6},ipv6_dst=ff02::1,nd_target=${virtual6},nd_tll=${memberMac}`,
    };
    for (const [name, packet] of Object.entries(passed)) {
      test(`a pod that ${name} is heard by the agent and by the wire`, async () => {
        const { text, actions } = await trace(packet);
        assert.match(actions, new RegExp(`^${shown},(meter\\(\\d+\\),)?push_vlan\\(vid=30,pcp=0\\),\\d+$`), text);
      });
    }
    const kept: Record<string, string> = {
      "sends from it": `${member},dl_dst=${neighbour},ip,nw_src=${virtual},nw_dst=10.30.0.202`,
      "sends from it in IPv6": `${member},dl_dst=${neighbour},ipv6,ipv6_src=${virtual6},ipv6_dst=fd00:30::202`,
      "solicits from it": `${member},dl_dst=33:33:ff:00:02:02,${solicitation},ipv6_src=${virtual6},ipv6_dst=ff02::1:ff00:202,nd_target=fd00:30::202,nd_sll=${memberMac}`,
    };
    for (const [name, packet] of Object.entries(kept)) {
      test(`a pod that ${name} is heard by the agent alone until it holds it`, async () => {
        const { text, actions } = await trace(packet);
        assert.match(actions, new RegExp(`^${shown}$`), text);
        assert.doesNotMatch(text, /^12\. /m, text);
      });
    }
    test("a probe for it goes onto the wire", async () => {
      for (const packet of [
        `${member},${all},${arp(1, memberMac, "0.0.0.0", virtual)}`,
        `${member},dl_dst=33:33:ff:00:00:fa,${solicitation},ipv6_src=::,ipv6_dst=ff02::1:ff00:fa,nd_target=${virtual6}`,
      ]) {
        const { text, actions } = await trace(packet);
        assert.match(actions.replace(/^meter\(\d+\),/, ""), ontoWire, text);
      }
    });
    test("a machine that announces it is heard by the agent and by all pods of the wire", async () => {
      const announced = `${wire},dl_src=${neighbour},${all},${arp(1, neighbour, virtual, virtual)}`;
      const { text, actions } = await trace(announced);
      const withoutTag = actions.replace("pop_vlan,", "");
      assert.match(withoutTag, new RegExp(`^${shown},${await outOf("member")}$`), text);
    });
    test("another MAC, and an address beside it, are forged", async () => {
      await assertCaught(`${member},${all},${arp(1, neighbour, virtual, virtual)}`);
      await assertCaught(`${member},${all},${arp(1, memberMac, "10.30.0.247", "10.30.0.247")}`);
      await assertCaught(`in_port=${port.member},dl_src=${neighbour},${all},ip,nw_src=${virtual},nw_dst=10.30.0.202`);
    });
    test("the agent reads who claims it", async () => {
      connection.frames.length = 0;
      const frame = buildGratuitousArp(memberMac, virtual);
      await ovs.appctl("netdev-dummy/receive", "member", frame.toString("hex"));
      await until(() => connection.frames.length > 0, "a packet-in");
      const view = packetInView(connection.frames.shift()!);
      assert.ok(isAnnouncement(view.userdata));
      assert.equal(view.inPort(), port.member);
      const heard = announcementIn(view.packet, [parseCidr("10.30.0.248/29")]);
      assert.deepEqual(heard, { address: virtual, mac: memberMac, isStatement: true });
    });
  });

  test("an unknown pair pauses, and brings its segment along", async () => {
    const { text } = await trace(
      `${wire},dl_src=${neighbour},dl_dst=${memberMac},ip,nw_src=10.30.0.203,nw_dst=10.30.0.50`,
    );
    assert.match(text, /pause/);
    assert.match(text, /reg1=0xa001e/);
  });

  test("the node's address on the wire is answered for by the switch", async () => {
    const { text } = await trace(`${member},${all},${arp(1, memberMac, "10.30.0.50", "10.30.0.11")}`);
    assert.match(text, new RegExp(`Final flow: .*dl_src=${router},dl_dst=${memberMac}`));
    assert.match(text, /IN_PORT/);
  });

  test("the router of the overlays is answered for too, at addresses that no wire has", async () => {
    const { text } = await trace(`${member},${all},${arp(1, memberMac, "10.30.0.50", "169.254.1.1")}`);
    assert.match(text, new RegExp(`Final flow: .*dl_src=${router},dl_dst=${memberMac}`));
    const six = await trace(
      `${member},dl_dst=33:33:ff:00:00:01,${solicitation},ipv6_src=fd00:30::50,ipv6_dst=ff02::1:ff00:1,nd_target=fe80::cfa:b0ff:fe00:1,nd_sll=${memberMac}`,
    );
    assert.match(six.text, new RegExp(`Final flow: .*dl_src=${router},dl_dst=${memberMac}`));
    assert.match(six.text, /IN_PORT/);
  });

  test("straight to a machine of another VLAN: its tag, its MAC", async () => {
    const { text, actions } = await trace(`${member},dl_dst=${neighbour},ip,nw_src=10.30.0.50,nw_dst=10.40.0.60`);
    assert.match(actions, /set\(eth\(dst=0a:58:0a:28:00:3c\)\),push_vlan\(vid=40,pcp=0\)/, text);
  });

  const receive = async (size: number): Promise<void> => {
    const addresses = { src: "10.30.0.50", dst: "10.244.1.5" };
    const udp = buildUdp({ ...addresses, srcPort: 4000, dstPort: 53 }, Buffer.alloc(size - 28));
    const ip = buildIp({ ...addresses, protocol: ipProtocol.udp, dontFragment: true }, udp);
    const frame = buildEthernet({ src: memberMac, dst: neighbour, etherType: etherType.ipv4 }, ip);
    await ovs.appctl("netdev-dummy/receive", "member", frame.toString("hex"));
  };
  const sentToPod = async (): Promise<bigint> =>
    (await connection.multipart({ kind: "port_stats", port: port.pod }))[0]!.ports[0]!.txPackets;

  test("what is as large as an overlay pod takes passes; a byte more goes to the agent, whole", async () => {
    const before = await sentToPod();
    connection.frames.length = 0;
    await receive(1450);
    await until(async () => (await sentToPod()) === before + 1n, "the packet at the pod");
    assert.equal(connection.frames.length, 0);
    await receive(1451);
    await until(() => connection.frames.length > 0, "a packet-in");
    const view = packetInView(connection.frames.shift()!);
    assert.ok(isTooLarge(view.userdata));
    assert.deepEqual([view.packet.length, view.inPort(), view.hasContinuation], [1465, port.member, false]);
    assert.equal(await sentToPod(), before + 1n);
  });
});

test("what was forged is counted for its port, and the agent sees it and says what was false", async () => {
  const counted = async (): Promise<bigint> => {
    const parts = await connection.multipart({ kind: "flow_desc", match: [], table: 12 });
    const entries = parts.flatMap(({ entries: some }) => some);
    const entry = entries.find(({ flow }) =>
      flow.match.some((field) => field.field === "in_port" && field.value === BigInt(port.pod)),
    );
    return entry?.statistics.packets ?? 0n;
  };
  const before = await counted();
  connection.frames.length = 0;
  const addresses = { src: "10.244.1.6", dst: "10.244.2.7" };
  const udp = buildUdp({ ...addresses, srcPort: 4000, dstPort: 53 }, Buffer.from("x"));
  const ip = buildIp({ ...addresses, protocol: ipProtocol.udp }, udp);
  const frame = buildEthernet({ src: mac, dst: router, etherType: etherType.ipv4 }, ip);
  await ovs.appctl("netdev-dummy/receive", "pod", frame.toString("hex"));
  await until(() => connection.frames.length > 0, "a packet-in");
  const view = packetInView(connection.frames.shift()!);
  assert.ok(isForgery(view.userdata));
  assert.equal(view.inPort(), port.pod);
  assert.deepEqual(forgeryOf(view.packet, { mac }), { reason: "ip", claim: "source 10.244.1.6" });
  await until(async () => (await counted()) === before + 1n, "the counter");
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

  const way = (code: WayRegisters["code"]): WayRegisters => ({ code, reg2: 0, reg3: 0, reg4: unset });

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
      reg2: 7,
      reg3: Number(ipToBigInt("10.10.0.12")),
      reg4: unset,
    });
    assert.deepStrictEqual(patches, [
      { xreg: 1, value: 0x7_0a0a_000cn },
      { xreg: 2, value: (BigInt(unset) << 32n) | 2n },
    ]);
  });
});
