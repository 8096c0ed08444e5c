/** Pods on a physical network, with a real switch between them and a wire that is written and read frame by frame. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, describe, it } from "node:test";
import { LabelSet } from "@beyondfabric/kube";
import { parseNetwork, parseSubnet, type Subnet, type UnderlayNetwork } from "@beyondfabric/kube/kinds";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import {
  buildArp,
  buildEthernet,
  buildGratuitousArp,
  etherType,
  parseCidr,
  parsePacket,
  type Ip,
  type Mac,
  type Packet,
} from "@beyondfabric/packet";
import { startSwitch, until, type TestSwitch } from "../../../openflow/test/interop/switch.ts";
import { declareSwitch, monitoredTables, type SwitchTables } from "../../src/switch/database.ts";
import { PhysicalNetworks, type Resident } from "../../src/underlay/physical-networks.ts";
import type { NicFacts } from "../../src/underlay/placement.ts";

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };
const other = "02:fa:03:00:00:01";

function network(spec: object): UnderlayNetwork {
  const parsed = parseNetwork({ metadata: { name: "wire" }, spec: { type: "Underlay", ...spec } });
  assert.ok(parsed.ok && parsed.value.type === "Underlay", JSON.stringify(parsed));
  return parsed.value;
}

function subnet(name: string, vlan: number, cidrs: string[], more: object = {}): Subnet {
  const parsed = parseSubnet({ metadata: { name }, spec: { network: "wire", vlan, cidrs, ...more } });
  return parsed.ok ? parsed.value : assert.fail(JSON.stringify(parsed.violations));
}

function resident(key: string, addresses: Ip[], mac: Mac = "0a:58:0a:1e:00:32"): Resident {
  return { key, pod: { namespace: "bank", name: key, uid: `uid-${key}` }, subnet: "vlan30", mac, addresses };
}

describe("the physical networks of a node", () => {
  let ovs: TestSwitch;
  let client: OvsdbClient;
  let cache: Cache<SwitchTables>;
  let networks: PhysicalNetworks;
  let nic: NicFacts & { mac: Mac | undefined };
  const conflicts: string[] = [];
  const wired = [network({ interfaces: [{ name: "nic" }] })];
  const subnets = [
    subnet("vlan30", 30, ["10.30.0.0/24", "fd00:30::/64"]),
    subnet("also30", 30, ["10.31.0.0/24"], { excluded: ["10.31.0.250"], allowedAddresses: ["10.31.0.250"] }),
    subnet("vlan40", 40, ["10.40.0.0/24"]),
  ];

  before(async () => {
    ovs = await startSwitch(0);
    client = new OvsdbClient({ address: `unix:${ovs.directory}/db.sock` });
    cache = client.monitor<SwitchTables>(monitoredTables);
    await client.start({ timeoutMs: 20_000 });
  });
  after(async () => {
    await networks?.stop();
    await client?.stop();
    await ovs?.stop();
  });

  let life = 0;
  const tx = (): string => `${ovs.directory}/tx-${life}.pcap`;

  /** An agent that starts anew, on a bridge that is there, with whatever entries it has. */
  const begin = async (): Promise<void> => {
    await networks?.stop();
    conflicts.length = 0;
    life++;
    nic = { present: true, linkUp: true, mtu: 1500, addresses: [], mac: undefined };
    networks = new PhysicalNetworks({
      nodeName: "node-1",
      runDirectory: ovs.directory,
      tunnelNic: undefined,
      cache,
      host: { nicFacts: () => Promise.resolve(nic) },
      logger: silent as never,
      onChange: () => {},
      onConflict: ({ pod }, address, mac) => conflicts.push(`${pod.name} ${address} ${mac}`),
    });
    networks.setTopology(wired, subnets, true);
    await networks.look(LabelSet.empty, ["10.30.0.11"]);
  };

  const connect = async (): Promise<void> => {
    const declaration = {
      bridge: "br-int",
      datapathType: "dummy" as never,
      hostMac: other,
      mtu: 1450,
      tunnel: undefined,
    };
    const wanted = { ...declaration, uplinks: networks.declarations() };
    await client.transactWithRetry<SwitchTables>((current) => declareSwitch(current, wanted));
    await ovs.vsctl("set", "interface", "nic", "type=dummy", `options:tx_pcap=${tx()}`);
    await networks.connect();
    await until(() => networks.isReady("wire"), "the bridge's conversation");
  };

  beforeEach(async () => {
    await begin();
    await connect();
  });

  const receive = async (frame: Buffer): Promise<void> => {
    await ovs.appctl("netdev-dummy/receive", "nic", frame.toString("hex"));
  };
  /** What went out of the NIC in this life. */
  const sent = (): Packet[] => {
    const bytes = readFileSync(tx());
    const packets: Packet[] = [];
    for (let at = 24; at + 16 <= bytes.length;) {
      const length = bytes.readUInt32LE(at + 8);
      packets.push(parsePacket(bytes.subarray(at + 16, at + 16 + length)));
      at += 16 + length;
    }
    return packets;
  };
  const arpOf = (mac: Mac, sender: Ip, target: Ip, vlan: number): Buffer =>
    buildEthernet(
      { src: mac, dst: "ff:ff:ff:ff:ff:ff", etherType: etherType.arp, vlans: [vlan] },
      buildArp({ operation: "reply", senderMac: mac, senderIp: sender, targetIp: target }),
    );

  it("meets each VLAN once, however many subnets share it, with gateways and the node's own addresses", () => {
    const [thirty, forty] = networks.wires();
    assert.equal(networks.wires().length, 2);
    assert.deepEqual(thirty, {
      segment: (10 << 16) | 30,
      gateways: ["10.30.0.1", "fd00:30::1", "10.31.0.1"],
      nodeAddresses: ["10.30.0.11"],
      shared: [parseCidr("10.31.0.250/32")],
    });
    assert.equal(forty?.segment, (10 << 16) | 40);
    assert.equal(networks.segmentOf("also30"), networks.segmentOf("vlan30"));
    assert.equal(networks.segmentOf("nowhere"), undefined);
  });

  it("lets a pod in after three questions that nobody answers, then announces it three times, on its VLAN", async () => {
    await networks.admit(resident("core", ["10.30.0.50", "fd00:30::50"]));
    const probes = sent();
    assert.deepEqual(
      probes.filter(({ arpTpa }) => arpTpa === "10.30.0.50").map(({ vlan, arpSpa }) => [vlan & 0xfff, arpSpa]),
      Array.from({ length: 3 }, () => [30, "0.0.0.0"]),
    );
    assert.equal(probes.filter(({ ndTarget, ipSrc }) => ndTarget === "fd00:30::50" && ipSrc === "::").length, 3);
    networks.announce("core");
    await until(() => sent().filter(({ arpSpa }) => arpSpa === "10.30.0.50").length === 3, "three announcements");
    assert.ok(sent().every(({ vlan }) => (vlan & 0xfff) === 30));
    assert.equal(sent().filter(({ icmpType }) => icmpType === 136).length, 3);
  });

  it("refuses a pod whose address somebody answers for, and lets nothing in for it", async () => {
    const refused = assert.rejects(networks.admit(resident("late", ["10.30.0.70"])), (error) => {
      const { code, message, address } = error as { code: string; message: string; address: string };
      return code === "AGENT_ADDRESS_CONFLICT" && message.includes(other) && address === "10.30.0.70";
    });
    await until(() => sent().some(({ arpTpa }) => arpTpa === "10.30.0.70"), "a probe");
    await receive(arpOf(other, "10.30.0.70", "0.0.0.0", 30));
    await refused;
    assert.deepEqual(networks.residentAddresses(), []);
    assert.doesNotMatch(await ovs.ofctl("dump-flows", `${ovs.directory}/br-nic.mgmt`), /10\.30\.0\.70/);
  });

  it("is not misled by its own MAC, by another VLAN, or by somebody with another address", async () => {
    const core = resident("core", ["10.30.0.50"]);
    const admitted = networks.admit(core);
    await until(() => sent().some(({ arpTpa }) => arpTpa === "10.30.0.50"), "a probe");
    await receive(arpOf(core.mac, "10.30.0.50", "10.30.0.50", 30));
    await receive(arpOf(other, "10.30.0.50", "10.30.0.50", 40));
    await receive(arpOf(other, "10.30.0.51", "10.30.0.50", 30));
    await admitted;
  });

  it("reports whoever takes the address of a pod that runs", async () => {
    await networks.admit(resident("core", ["10.30.0.50"]));
    await receive(arpOf(other, "10.30.0.50", "10.30.0.1", 30));
    await until(() => conflicts.length > 0, "the report");
    assert.deepEqual(conflicts, [`core 10.30.0.50 ${other}`]);
  });

  it("forgets a pod that has gone, with its entries", async () => {
    await networks.admit(resident("core", ["10.30.0.50"]));
    assert.match(await ovs.ofctl("dump-flows", `${ovs.directory}/br-nic.mgmt`), /arp_tpa=10\.30\.0\.50/);
    await networks.retire("core");
    assert.doesNotMatch(await ovs.ofctl("dump-flows", `${ovs.directory}/br-nic.mgmt`), /10\.30\.0\.50/);
  });

  it("announces pods that live here since before, once, after the agent started anew", async () => {
    await networks.admit(resident("core", ["10.30.0.50"]));
    await begin();
    networks.restore(resident("core", ["10.30.0.50"]));
    await connect();
    await until(() => sent().filter(({ arpSpa }) => arpSpa === "10.30.0.50").length === 3, "three announcements");
    // Its own announcement, come back, is no duplicate.
    await receive(buildGratuitousArp("0a:58:0a:1e:00:32", "10.30.0.50"));
    assert.deepEqual(conflicts, []);
  });

  for (const [what, change, told] of [
    ["no link", { linkUp: false }, /has no link/],
    ["a NIC that has gone", { present: false }, /does not exist; plug it in/],
  ] as const) {
    it(`refuses pods with ${what}, keeps the bridge, and says why`, async () => {
      nic = { ...nic, ...change };
      await networks.look(LabelSet.empty, []);
      await assert.rejects(networks.admit(resident("core", ["10.30.0.50"])), {
        code: "AGENT_NETWORK_ABSENT",
        message: told,
      });
      assert.equal(networks.declarations().length, 1);
      nic = { ...nic, linkUp: true, present: true };
      await networks.look(LabelSet.empty, []);
      await networks.admit(resident("core", ["10.30.0.50"]));
    });
  }

  it("leaves the NIC alone that carries the node's own address, and gives it up when that is not allowed any more", async () => {
    nic = { ...nic, addresses: ["10.10.0.11/24"] };
    await networks.look(LabelSet.empty, []);
    assert.deepEqual(networks.declarations(), []);
    assert.match(JSON.stringify([...networks.states()]), /refused.*allowNodeInterface/);
    await assert.rejects(networks.admit(resident("core", ["10.30.0.50"])), { code: "AGENT_NETWORK_ABSENT" });
    networks.setTopology([network({ interfaces: [{ name: "nic" }], allowNodeInterface: true })], subnets, true);
    await networks.look(LabelSet.empty, []);
    assert.equal(networks.declarations().length, 1);
    assert.deepEqual(networks.captured(), [{ nic: "nic", bridge: "br-nic", carriesNode: true }]);
  });

  it("says of a network whose NIC another has that it is refused, and to its pods why", async () => {
    const second = parseNetwork({
      metadata: { name: "young", creationTimestamp: "2026-01-02T03:04:05Z" },
      spec: { type: "Underlay", interfaces: [{ name: "nic" }] },
    });
    assert.ok(second.ok && second.value.type === "Underlay");
    const parsed = parseSubnet({
      metadata: { name: "vlan50" },
      spec: { network: "young", vlan: 50, cidrs: ["10.50.0.0/24"] },
    });
    assert.ok(parsed.ok);
    networks.setTopology([...wired, second.value], [...subnets, parsed.value], true);
    await networks.look(LabelSet.empty, []);
    const told = /is nic, which on node node-1 carries Network wire already; name another NIC/;
    const states = networks.states();
    assert.deepEqual(
      [...states].map(([name, { state }]) => `${name} ${state}`),
      ["wire ready", "young refused"],
    );
    assert.match(JSON.stringify(states.get("young")), told);
    await assert.rejects(networks.admit({ ...resident("core", ["10.50.0.50"]), subnet: "vlan50" }), {
      code: "AGENT_NETWORK_ABSENT",
      message: told,
    });
    networks.setTopology(wired, subnets, true);
    await networks.look(LabelSet.empty, []);
    assert.deepEqual([...networks.states().keys()], ["wire"]);
  });

  it("keeps the bridge of a network that somebody deleted while pods live on it", async () => {
    await networks.admit(resident("core", ["10.30.0.50"]));
    networks.setTopology([], subnets, true);
    await networks.look(LabelSet.empty, []);
    assert.equal(networks.declarations().length, 1);
    await networks.retire("core");
    await networks.look(LabelSet.empty, []);
    assert.deepEqual(networks.declarations(), []);
  });

  it("chooses no NIC before the node's labels are known, and takes nothing away before the API has spoken", async () => {
    const young = new PhysicalNetworks({
      nodeName: "node-1",
      runDirectory: ovs.directory,
      tunnelNic: undefined,
      cache,
      host: { nicFacts: () => Promise.resolve(nic) },
      logger: silent as never,
      onChange: () => {},
      onConflict: () => {},
    });
    young.setTopology(wired, subnets, false);
    await young.look(undefined, []);
    assert.deepEqual([young.declarations(), young.isInformed], [[], false]);
    await young.look(LabelSet.empty, []);
    assert.deepEqual([young.declarations().length, young.isInformed], [1, false]);
    young.setTopology(wired, subnets, true);
    await young.look(LabelSet.empty, []);
    assert.equal(young.isInformed, true);
  });
});
