/** `fabricctl doctor underlay`: nothing is found on a healthy wire, and each thing that is wrong is found and named. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import type { UnderlayFinding, UnderlayReply } from "@beyondfabric/agent/api";
import { Lab, run, until, type PodInfo } from "./lab.ts";
import { vlanSubnet, wireConfig, wireNetwork } from "./wire.ts";

const config = wireConfig({
  hosts: 0,
  vlans: [30, 40],
  manifests: [wireNetwork, vlanSubnet(30), vlanSubnet(40)],
});

/** The outside host on VLAN 30. */
const host = "host-1";

describe("fabricctl doctor underlay", () => {
  let lab: Lab;
  let core: PodInfo;

  before(async () => {
    lab = await Lab.up("doctor", { nodes: 1, config });
    const annotations = { "beyondfabric.io/subnet": "vlan30" };
    const pods = await lab.pods(
      { name: "core", node: "node-1", annotations },
      { name: "till", node: "node-1", annotations },
    );
    core = pods[0]!;
    assert.equal((await lab.exec("core", "ping", "-n", "-c", "1", "-W", "3", "10.30.0.1")).code, 0);
  });
  after(() => lab?.down());

  const examine = async (): Promise<UnderlayReply & { code: number }> => {
    const { code, stdout, stderr } = await lab.fabricctl("node-1", "doctor", "underlay", "-o", "json");
    assert.ok(code === 0 || code === 3, `${code}: ${stderr}`);
    return { ...(JSON.parse(stdout) as UnderlayReply), code };
  };
  /** What is found, in short; the advice of each is a sentence. */
  const found = async (): Promise<string[]> => {
    const { findings, code } = await examine();
    assert.equal(code, findings.length === 0 ? 0 : 3);
    for (const { advice } of findings) assert.match(advice, /^[A-Z].*\.$/s);
    return findings.map(({ rule, vlan, message }: UnderlayFinding) => `${rule} ${vlan ?? "-"}: ${message}`);
  };
  const macOf = async (machine: string, dev: string): Promise<string> => {
    const { stdout } = await lab.host(machine, "cat", `/sys/class/net/${dev}/address`);
    return stdout.trim();
  };
  const wireFlows = async (...args: string[]): Promise<void> => {
    const [verb = "", ...rest] = args;
    const socket = `unix:/run/fabric-lab/${lab.name}/wire/ovs/wire.mgmt`;
    const { code, stderr } = await run("ovs-ofctl", [verb, socket, ...rest]);
    assert.equal(code, 0, stderr);
  };

  it("finds nothing on a healthy wire, and shows who the gateways are and how far away", async () => {
    const { findings, networks, code } = await examine();
    assert.deepEqual([findings, code], [[], 0]);
    const [network] = networks;
    assert.deepEqual([network?.nic, network?.linkUp, network?.mtu, network?.pods.length], ["eth2", true, 1500, 2]);
    assert.deepEqual(
      network?.wires.map(({ vlan, gateways }) => [vlan, gateways.map(({ address }) => address)]),
      [
        [30, ["10.30.0.1", "fd00:30::1"]],
        [40, ["10.40.0.1", "fd00:40::1"]],
      ],
    );
    const mac = await macOf("router", "vlan30");
    for (const gateway of network?.wires[0]?.gateways ?? []) {
      assert.deepEqual([gateway.mac, gateway.answersStrangers], [mac, true]);
      assert.ok(gateway.roundTrip !== undefined && gateway.roundTrip >= 0);
    }
    const text = await lab.fabricctl("node-1", "doctor", "underlay");
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, new RegExp(`wire +30 +vlan30 +10\\.30\\.0\\.1 +${mac} +[0-9.]+ ms`));
    assert.match(text.stdout, /nothing is wrong/);
    const flows = await run("ovs-ofctl", [
      "-O",
      "OpenFlow15",
      "dump-flows",
      `unix:${lab.path("node-1", "ovs/br-eth2.mgmt")}`,
    ]);
    assert.doesNotMatch(flows.stdout, /tp_src=67|arp_op=2/, "the entries of the examination are gone");
  });

  it("finds a machine that has the address of a pod, in both families", async () => {
    const add = `ip address add ${core.ipv4}/24 dev eth0; ip address add ${core.ipv6}/64 dev eth0 nodad`;
    assert.equal((await lab.host(host, "sh", "-c", add)).code, 0);
    const mac = await macOf(host, "eth0");
    assert.deepEqual(
      (await found()).sort(),
      [core.ipv4, core.ipv6].map(
        (address) => `AddressDuplicate 30: the machine with MAC ${mac} answers for ${address} of Pod default/core`,
      ),
    );
    const remove = `ip address del ${core.ipv4}/24 dev eth0; ip address del ${core.ipv6}/64 dev eth0`;
    assert.equal((await lab.host(host, "sh", "-c", remove)).code, 0);
  });

  it("finds a DHCP server", async () => {
    const ipv4 = "10.30.0.201";
    const script = resolve(import.meta.dirname, "dhcp-responder.ts");
    const log = `/tmp/fabric-system-dhcp-${lab.name}`;
    const start = `${process.execPath} ${script} ${ipv4} 10.30.0.77 >${log} 2>&1 </dev/null & echo $!`;
    const pid = (await lab.host(host, "sh", "-c", start)).stdout.trim();
    try {
      await until("the server listens", async () => (await lab.host(host, "cat", log)).stdout.includes("listening"));
      const mac = await macOf(host, "eth0");
      assert.deepEqual(await found(), [`DhcpServer 30: DHCP server ${ipv4} (MAC ${mac}) offers 10.30.0.77`]);
    } finally {
      await lab.host(host, "sh", "-c", `kill ${pid}; rm -f ${log}`);
    }
  });

  it("finds neighbour tables that name the wrong machine, on the gateway and in the pod", async () => {
    const wrong = "02:00:5e:00:53:01";
    const entry = `${core.ipv4} dev vlan30`;
    assert.equal(
      (await lab.host("router", "sh", "-c", `ip neigh replace ${entry} lladdr ${wrong} nud permanent`)).code,
      0,
    );
    const set = await lab.exec(
      "till",
      "ip",
      "neigh",
      "replace",
      "10.30.0.1",
      "dev",
      "eth0",
      "lladdr",
      wrong,
      "nud",
      "permanent",
    );
    assert.equal(set.code, 0, set.stderr);
    const router = await macOf("router", "vlan30");
    const seen = (await found()).sort();
    assert.equal(seen.length, 2, seen.join("\n"));
    assert.match(seen[1]!, new RegExp(`^NeighbourStale 30: gateway 10.30.0.1 takes ${wrong} for ${core.ipv4}, which `));
    assert.equal(seen[0], `NeighbourStale 30: Pod default/till takes ${wrong} for 10.30.0.1, which ${router} has`);
    await lab.host("router", "ip", "neigh", "del", ...entry.split(" "));
    await lab.exec("till", "ip", "neigh", "del", "10.30.0.1", "dev", "eth0");
  });

  it("finds a port that takes no MAC but the NIC's own", async () => {
    const { stdout } = await lab.node("node-1", "cat", "/sys/class/net/eth2/address");
    await wireFlows("add-flow", `priority=100,in_port=t1,dl_src=${stdout.trim()},actions=NORMAL`);
    await wireFlows("add-flow", "priority=90,in_port=t1,actions=drop");
    try {
      const seen = await found();
      assert.deepEqual(
        seen,
        [30, 40].map(
          (vlan) =>
            `UnknownMacDropped ${vlan}: 10.${vlan}.0.1 and fd00:${vlan}::1 answer the NIC's own MAC and not another one`,
        ),
      );
    } finally {
      await wireFlows("del-flows", "in_port=t1");
    }
  });

  it("finds a VLAN that the port does not carry", async () => {
    await wireFlows("add-flow", "priority=100,in_port=t1,dl_vlan=40,actions=drop");
    try {
      const silent = (await found()).filter((each) => each.startsWith("GatewaySilent 40"));
      assert.equal(silent.length, 2);
    } finally {
      await wireFlows("del-flows", "in_port=t1");
    }
  });

  it("finds an MTU that is smaller than the pods' or the Network's", async () => {
    assert.equal((await lab.node("node-1", "ip", "link", "set", "eth2", "mtu", "1400")).code, 0);
    const pods = (await found()).filter((each) => each.startsWith("MtuTooSmall"));
    assert.deepEqual(pods.sort(), [
      "MtuTooSmall -: Pod default/core has MTU 1500, and interface eth2 carries 1400",
      "MtuTooSmall -: Pod default/till has MTU 1500, and interface eth2 carries 1400",
    ]);
    assert.equal((await lab.node("node-1", "ip", "link", "set", "eth2", "mtu", "1500")).code, 0);
    await lab.apply({
      apiVersion: "beyondfabric.io/v1alpha1",
      kind: "Network",
      metadata: { name: "jumbo" },
      spec: { type: "Underlay", interfaces: [{ name: "eth3" }], mtu: 9000 },
    });
    const add = await lab.node("node-1", "ip", "link", "add", "eth3", "type", "veth", "peer", "name", "eth3-peer");
    assert.equal(add.code, 0, add.stderr);
    await until("the Network is looked at", async () =>
      (await found()).includes("MtuTooSmall -: interface eth3 has MTU 1500, and spec.mtu of the Network is 9000"),
    );
    await lab.mustKubectl("delete", "network", "jumbo");
    await lab.node("node-1", "ip", "link", "del", "eth3");
  });

  it("finds a NIC that is unplugged", async () => {
    assert.equal((await run("ip", ["-n", `${lab.name}-wire`, "link", "set", "t1", "down"])).code, 0);
    const { findings, networks } = await examine();
    assert.deepEqual(
      findings.map(({ rule, message }) => `${rule}: ${message}`),
      ["LinkDown: interface eth2 has no link"],
    );
    assert.deepEqual(networks[0]?.wires, [], "nothing was asked of a wire that is not there");
    assert.equal((await run("ip", ["-n", `${lab.name}-wire`, "link", "set", "t1", "up"])).code, 0);
    await until("nothing is wrong any more", async () => (await examine()).code === 0, 60_000);
  });
});
