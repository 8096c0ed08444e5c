/** `br-<nic>` in a real switch: what concerns a pod of the node comes in, everything else stays out, and nobody learns. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { buildArp, buildEthernet, etherType, parseCidr } from "@beyondfabric/packet";
import { isPacketIn2, packetInView } from "@beyondfabric/openflow";
import { Connection, startSwitch, until, type TestSwitch } from "../../../openflow/test/interop/switch.ts";
import { conflictMeter, integrationPort, isAnswer, isConflict, nicPort, uplinkFlows } from "../../src/index.ts";

const pod = "0a:58:0a:1e:00:32";
const other = "02:fa:03:00:00:01";

let ovs: TestSwitch;
let connection: Connection;

before(async () => {
  ovs = await startSwitch(0);
  const add = (name: string, port: number): Promise<string> =>
    ovs.vsctl("add-port", "br0", name, "--", "set", "interface", name, "type=dummy", `ofport_request=${port}`);
  await add("nic", nicPort);
  await add("integration", integrationPort);
  connection = await Connection.open(`${ovs.directory}/br0.mgmt`);
  connection.send({ type: "set_packet_in_format", format: "nxt2" });
  connection.send({ type: "set_async", packetInPrimary: 0x3f, packetInSecondary: 0x3f });
  const bands = [{ kind: "drop", rate: 100, burst: 100 }] as const;
  connection.send({ type: "meter_mod", command: "add", flags: ["pktps", "burst"], meter: conflictMeter, bands });
  const flows = uplinkFlows({
    carriesNode: true,
    carriesPods: true,
    members: [
      { mac: pod, addresses: ["10.30.0.50", "fd00:30::50"], vlan: 30 },
      { mac: "0a:58:0a:0a:00:32", addresses: ["10.10.0.50"], vlan: 0 },
    ],
    gateways: [
      { vlan: 30, address: "10.30.0.1" },
      { vlan: 0, address: "10.10.0.254" },
    ],
    shared: [
      { vlan: 30, prefix: parseCidr("10.30.0.248/29") },
      { vlan: 30, prefix: parseCidr("fd00:30::f8/125") },
      { vlan: 0, prefix: parseCidr("10.10.0.248/32") },
    ],
    examinations: [],
    metered: true,
  });
  for (const flow of flows) connection.send({ type: "flow_mod", command: "add", flow });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
});

after(async () => {
  connection?.close();
  await ovs?.stop();
});

/** Where the bridge sends a packet: names of ports, `agent`, or nothing. */
async function goes(packet: string): Promise<string[]> {
  const text = await ovs.appctl("ofproto/trace", "br0", packet);
  const names: Record<string, string> = { "output:1": "nic", "output:2": "integration", LOCAL: "node" };
  const outputs = [...text.matchAll(/^ +(output:\w+|LOCAL)$/gm)].map((match) => names[match[1]!] ?? match[1]!);
  return [...outputs, ...(/^ +CONTROLLER/m.test(text) || text.includes("userspace(pid") ? ["agent"] : [])].sort();
}

describe("from the NIC", () => {
  const nic = `in_port=${nicPort}`;
  const all = "dl_dst=ff:ff:ff:ff:ff:ff";
  const arp = (op: number, sha: string, spa: string, tpa: string): string =>
    `arp,arp_op=${op},arp_sha=${sha},arp_spa=${spa},arp_tpa=${tpa}`;
  const cases: Record<string, [packet: string, to: string[]]> = {
    "a packet to the pod": [
      `${nic},dl_vlan=30,dl_src=${other},dl_dst=${pod},ip,nw_src=10.30.0.202,nw_dst=10.30.0.50`,
      ["integration"],
    ],
    "a packet to the pod's MAC on another VLAN": [`${nic},dl_vlan=31,dl_src=${other},dl_dst=${pod},ip`, ["node"]],
    "a question for the pod": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.202", "10.30.0.50")}`,
      ["integration"],
    ],
    "a probe for the pod's address": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "0.0.0.0", "10.30.0.50")}`,
      ["integration"],
    ],
    "a question for somebody else": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.202", "10.30.0.51")}`,
      ["node"],
    ],
    "an untagged question for the untagged pod": [
      `${nic},dl_src=${other},${all},${arp(1, other, "10.10.0.201", "10.10.0.50")}`,
      ["integration"],
    ],
    "a solicitation of the pod": [
      `${nic},dl_vlan=30,dl_src=${other},dl_dst=33:33:ff:00:00:50,icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fd00:30::50`,
      ["integration"],
    ],
    "what the gateway says to all": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.1", "10.30.0.1")}`,
      ["integration"],
    ],
    "what the node's and the pods' gateway says": [
      `${nic},dl_src=${other},${all},${arp(1, other, "10.10.0.254", "10.10.0.254")}`,
      ["integration", "node"],
    ],
    "a question for the gateway": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.202", "10.30.0.1")}`,
      ["node"],
    ],
    "a question for an address that pods pass on": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.202", "10.30.0.250")}`,
      ["integration"],
    ],
    "a solicitation of one": [
      `${nic},dl_vlan=30,dl_src=${other},dl_dst=33:33:ff:00:00:fa,icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fd00:30::fa`,
      ["integration"],
    ],
    "who announces one": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(1, other, "10.30.0.250", "10.30.0.250")}`,
      ["integration"],
    ],
    "who advertises one": [
      `${nic},dl_vlan=30,dl_src=${other},dl_dst=33:33:00:00:00:01,icmp6,icmpv6_type=136,icmpv6_code=0,nd_target=fd00:30::fa`,
      ["integration"],
    ],
    "who announces one on another VLAN": [
      `${nic},dl_vlan=31,dl_src=${other},${all},${arp(1, other, "10.30.0.250", "10.30.0.250")}`,
      ["node"],
    ],
    "who announces one where the node lives": [
      `${nic},dl_src=${other},${all},${arp(1, other, "10.10.0.248", "10.10.0.248")}`,
      ["integration", "node"],
    ],
    multicast: [`${nic},dl_vlan=30,dl_src=${other},dl_dst=01:00:5e:00:00:fb,ip,nw_dst=224.0.0.251`, ["node"]],
    "somebody in the pod's name": [
      `${nic},dl_vlan=30,dl_src=${other},${all},${arp(2, other, "10.30.0.50", "10.30.0.50")}`,
      ["agent"],
    ],
    "somebody in the pod's name, in IPv6": [
      `${nic},dl_vlan=30,dl_src=${other},dl_dst=33:33:00:00:00:01,icmp6,icmpv6_type=136,icmpv6_code=0,nd_target=fd00:30::50`,
      ["agent"],
    ],
    "what is the node's": [`${nic},dl_src=${other},dl_dst=02:fa:02:00:00:01,ip,nw_dst=10.10.0.11`, ["node"]],
  };
  for (const [name, [packet, to]] of Object.entries(cases)) {
    test(`${name} goes to ${to.join(" and ")}`, async () => assert.deepEqual(await goes(packet), to));
  }
});

test("what pods and the node say goes out, and to nobody else", async () => {
  const broadcast = `dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1,arp_tpa=10.30.0.50`;
  assert.deepEqual(await goes(`in_port=${integrationPort},dl_vlan=30,dl_src=${pod},${broadcast}`), ["nic"]);
  assert.deepEqual(await goes(`in_port=LOCAL,${broadcast}`), ["nic"]);
});

test("a frame in the pod's name reaches the agent whole, with its VLAN", async () => {
  const arp = buildArp({ operation: "reply", senderMac: other, senderIp: "10.30.0.50", targetIp: "10.30.0.50" });
  const frame = buildEthernet({ src: other, dst: pod, etherType: etherType.arp, vlans: [30] }, arp);
  await ovs.appctl("netdev-dummy/receive", "nic", frame.toString("hex"));
  await until(() => connection.frames.some(isPacketIn2), "a packet-in");
  const view = packetInView(connection.frames.find(isPacketIn2)!);
  assert.ok(isConflict(view.userdata));
  assert.deepEqual(view.packet.subarray(0, frame.length), frame);
});

test("while a VLAN is examined its answers reach the agent too, and take nothing from others", async () => {
  const scout = "06:58:0a:1e:00:01";
  const examinations = [30, 0].map((vlan) => ({ vlan, macs: [scout], echoed: ["10.30.0.50", "fd00:30::50"] }));
  const facts = { carriesNode: true, carriesPods: false, members: [], gateways: [], metered: true };
  const extra = uplinkFlows({ ...facts, carriesPods: true, examinations }).filter(({ priority }) => priority === 400);
  for (const flow of extra) connection.send({ type: "flow_mod", command: "add", flow });
  await connection.barrier();
  assert.deepStrictEqual(connection.errors, []);
  try {
    const from = (vlan: number, dst: string): string =>
      `in_port=${nicPort},${vlan === 0 ? "vlan_tci=0" : `dl_vlan=${vlan}`},dl_src=${other},dl_dst=${dst}`;
    const reply = `arp,arp_op=2,arp_sha=${other},arp_spa=10.30.0.1,arp_tpa=0.0.0.0`;
    const offer = "udp,nw_src=10.30.0.9,nw_dst=255.255.255.255,udp_src=67,udp_dst=68";
    const router = "icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmpv6_type=134,icmpv6_code=0";
    const echo = "icmp,nw_src=10.30.0.1,nw_dst=10.30.0.50,icmp_type=0,icmp_code=0";
    assert.deepEqual(await goes(`${from(30, scout)},${reply}`), ["agent"]);
    assert.deepEqual(await goes(`${from(31, scout)},${reply}`), ["node"]);
    assert.deepEqual(await goes(`${from(0, scout)},${reply}`), ["agent", "node"]);
    assert.deepEqual(await goes(`${from(30, "ff:ff:ff:ff:ff:ff")},${offer}`), ["agent"]);
    assert.deepEqual(await goes(`${from(0, "ff:ff:ff:ff:ff:ff")},${offer}`), ["agent", "node"]);
    assert.deepEqual(await goes(`${from(30, "33:33:00:00:00:01")},${router}`), ["agent"]);
    assert.deepEqual(await goes(`${from(30, pod)},${echo}`), ["agent", "integration"]);
    assert.deepEqual(await goes(`${from(30, "02:00:00:00:00:99")},${echo}`), ["agent", "integration"]);

    const arp = buildArp({ operation: "reply", senderMac: other, senderIp: "10.30.0.1", targetIp: "0.0.0.0" });
    const frame = buildEthernet({ src: other, dst: scout, etherType: etherType.arp, vlans: [30] }, arp);
    await ovs.appctl("netdev-dummy/receive", "nic", frame.toString("hex"));
    const answers = (): Buffer[] =>
      connection.frames.filter((each) => isPacketIn2(each) && isAnswer(packetInView(each).userdata));
    await until(() => answers().length > 0, "the answer");
  } finally {
    for (const flow of extra) connection.send({ type: "flow_mod", command: "delete_strict", flow });
    await connection.barrier();
  }
});

test("a NIC without addresses of the node gives the node nothing, and one without pods the pods nothing", async () => {
  const facts = { members: [], gateways: [], examinations: [], metered: false };
  const dedicated = uplinkFlows({ ...facts, carriesNode: false, carriesPods: true });
  assert.deepEqual(
    dedicated.map(({ match }) => match),
    [[{ field: "in_port", value: BigInt(integrationPort) }]],
  );
  assert.equal(uplinkFlows({ ...facts, carriesNode: true, carriesPods: false }).length, 2);
});
