/** What the agent declares, in a real database; read back and spoilt with ovs-vsctl. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { OvsdbServer } from "../../../ovsdb/test/ovsdb-server.ts";
import {
  declareSwitch,
  monitoredTables,
  removeUplinks,
  retiredUplinks,
  uplinkPortNumber,
  type SwitchDeclaration,
  type SwitchTables,
} from "../../src/switch/database.ts";

const declaration: SwitchDeclaration = {
  bridge: "br-int",
  datapathType: "netdev",
  hostMac: "0e:00:00:00:00:01",
  mtu: 1450,
  tunnel: { type: "vxlan", port: 4789 },
  uplinks: [{ bridge: "br-eth1", nic: "eth1", mac: "02:00:00:00:00:05", port: undefined }],
};

describe("the switch's database", () => {
  let server: OvsdbServer;
  let client: OvsdbClient;
  let cache: Cache<SwitchTables>;

  before(async () => {
    server = await OvsdbServer.create();
    await server.start();
    client = new OvsdbClient({ address: server.address, minBackoffMs: 10, maxBackoffMs: 100 });
    cache = client.monitor(monitoredTables);
    await client.start({ timeoutMs: 20_000 });
  });
  after(async () => {
    await client?.stop();
    await server?.destroy();
  });

  const vsctl = (...args: string[]): Promise<string> => server.vsctl("--no-wait", ...args);
  const get = (table: string, record: string, ...columns: string[]): Promise<string> =>
    vsctl("get", table, record, ...columns);
  /** Everything in the database; two texts are equal when nothing was written in between. */
  const everything = async (): Promise<string> => {
    const texts = [];
    for (const table of Object.keys(monitoredTables)) texts.push(await vsctl("list", table));
    return texts.join("\n");
  };
  const apply = (wanted: SwitchDeclaration): Promise<unknown> =>
    client.transactWithRetry<SwitchTables>((current) => declareSwitch(current, wanted));
  /** What the agent finds after somebody wrote with ovs-vsctl: the cache follows a moment later. */
  const seen = async (what: string): Promise<void> => {
    const mark = Math.random().toString(36).slice(2);
    await vsctl("set", "Open_vSwitch", ".", `external_ids:mark=${mark}`);
    const deadline = Date.now() + 20_000;
    while (cache.find("Open_vSwitch", () => true)?.external_ids["mark"] !== mark) {
      if (Date.now() > deadline) assert.fail(`the cache does not see ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };

  it("that was never initialised is refused with the remedy", () => {
    assert.throws(() => declareSwitch(cache, declaration), { code: "AGENT_SWITCH_ABSENT", message: /ovs-vsctl init/ });
  });

  describe("that is initialised", () => {
    beforeEach(async () => {
      await vsctl("init");
      for (const bridge of (await vsctl("list-br")).split("\n").filter(Boolean)) await vsctl("del-br", bridge);
      await seen("an empty switch");
    });

    it("holds what is declared after one transaction, and a second one is not needed", async () => {
      await apply(declaration);
      assert.equal(declareSwitch(cache, declaration), undefined);
      assert.equal(await vsctl("list-br"), "br-eth1\nbr-int");
      assert.equal(await vsctl("list-ports", "br-int"), "fabric-tunnel\nfabric0");
      assert.equal(await vsctl("list-ports", "br-eth1"), "eth1");
      for (const bridge of ["br-int", "br-eth1"]) {
        assert.equal(
          await get("Bridge", bridge, "fail_mode", "datapath_type", "protocols", "external_ids:beyondfabric.io/owner"),
          "secure\nnetdev\n[OpenFlow10, OpenFlow13, OpenFlow15]\nfabric-node",
        );
      }
      assert.equal(await get("Open_vSwitch", ".", "other_config"), '{min-revalidate-pps="0"}');
      assert.equal(
        await get("Bridge", "br-int", "other_config"),
        '{controller-queue-size="512", disable-in-band="true"}',
      );
      assert.equal(await get("Bridge", "br-eth1", "other_config"), '{hwaddr="02:00:00:00:00:05"}');
      assert.equal(
        await get("Interface", "fabric0", "type", "mac", "mtu_request", "ofport_request"),
        'internal\n"0e:00:00:00:00:01"\n1450\n1',
      );
      assert.equal(
        await get("Interface", "fabric-tunnel", "type", "options", "ofport_request"),
        'vxlan\n{dst_port="4789", key=flow, remote_ip=flow}\n2',
      );
      const prefixes = await vsctl("--columns=prefixes", "list", "Flow_Table");
      assert.equal(prefixes.match(/\[ip_dst, ip_src, ipv6_dst\]/g)?.length, 4, prefixes);
    });

    it("gets the tunnel and the MTU when the network is known, and keeps both when it is not any more", async () => {
      await apply({ ...declaration, tunnel: undefined, mtu: undefined, uplinks: [] });
      assert.equal(await vsctl("list-ports", "br-int"), "fabric0");
      assert.equal(await get("Interface", "fabric0", "mtu_request"), "[]");
      await apply(declaration);
      assert.equal(await vsctl("list-ports", "br-int"), "fabric-tunnel\nfabric0");
      assert.equal(await get("Interface", "fabric0", "mtu_request"), "1450");
      assert.equal(declareSwitch(cache, { ...declaration, tunnel: undefined, mtu: undefined }), undefined);
    });

    const wire = { bridge: "br-eth2", nic: "eth2", mac: "02:00:00:00:00:06", port: 10 };

    it("has a way to the bridge of a physical network's NIC, whose number stays, and takes both away", async () => {
      const wanted = { ...declaration, uplinks: [...declaration.uplinks, wire] };
      assert.equal(uplinkPortNumber(cache, "br-eth2", new Set()), 10);
      assert.equal(uplinkPortNumber(cache, "br-eth2", new Set([10, 11])), 12);
      await apply(wanted);
      assert.equal(declareSwitch(cache, wanted), undefined);
      assert.equal(
        await get("Interface", "int-br-eth2", "type", "options", "ofport_request"),
        "patch\n{peer=br-eth2-int}\n10",
      );
      assert.equal(
        await get("Interface", "br-eth2-int", "type", "options", "ofport_request"),
        "patch\n{peer=int-br-eth2}\n2",
      );
      assert.equal(uplinkPortNumber(cache, "br-eth2", new Set()), 10);
      assert.equal(uplinkPortNumber(cache, "br-eth3", new Set()), 11);
      assert.deepEqual(retiredUplinks(cache, wanted), []);
      await vsctl("add-br", "br-theirs");
      await seen("another program's bridge");
      assert.deepEqual(retiredUplinks(cache, declaration), [{ bridge: "br-eth2", nic: "eth2" }]);
      await client.transactWithRetry<SwitchTables>((current) => removeUplinks(current, "br-int", ["br-eth2"]));
      assert.equal(await vsctl("list-br"), "br-eth1\nbr-int\nbr-theirs");
      assert.equal(await vsctl("list-ports", "br-int"), "fabric-tunnel\nfabric0");
      assert.equal(removeUplinks(cache, "br-int", ["br-eth2"]), undefined);
    });

    for (const [what, ...command] of [
      ["fail_mode", "set-fail-mode", "br-int", "standalone"],
      ["no fail_mode", "del-fail-mode", "br-int"],
      ["the protocols", "set", "bridge", "br-int", "protocols=OpenFlow13"],
      ["the datapath", "set", "bridge", "br-eth1", "datapath_type=system"],
      ["the queue to the agent", "remove", "bridge", "br-int", "other_config", "controller-queue-size"],
      ["in-band entries", "set", "bridge", "br-int", "other_config:disable-in-band=false"],
      ["the bridge's MAC", "set", "bridge", "br-eth1", 'other_config:hwaddr="02:00:00:00:00:06"'],
      ["revalidation", "set", "Open_vSwitch", ".", "other_config:min-revalidate-pps=5"],
      ["the tries", "clear", "bridge", "br-int", "flow_tables"],
      ["the node's port", "del-port", "br-int", "fabric0"],
      ["the tunnel's port", "del-port", "br-int", "fabric-tunnel"],
      ["the NIC", "del-port", "br-eth1", "eth1"],
      ["the tunnel's options", "remove", "interface", "fabric-tunnel", "options", "remote_ip"],
      ["the tunnel's number", "set", "interface", "fabric-tunnel", "ofport_request=77"],
      ["the MTU", "set", "interface", "fabric0", "mtu_request=9000"],
      ["the node's MAC", "clear", "interface", "fabric0", "mac"],
      ["a whole bridge", "del-br", "br-eth1"],
    ] as const) {
      it(`is repaired when somebody changes ${what}, and in nothing else`, async () => {
        await apply(declaration);
        await vsctl("set", "bridge", "br-int", "external_ids:theirs=1", "other_config:theirs=2");
        await vsctl("add-port", "br-int", "pod-port");
        const ports = (): Promise<string> => vsctl("list-ports", "br-int");
        const portsBefore = await ports();
        await vsctl(...command);
        await seen(what);
        assert.notEqual(declareSwitch(cache, declaration), undefined, "nobody notices");
        await apply(declaration);
        assert.equal(declareSwitch(cache, declaration), undefined);
        assert.equal(await get("Bridge", "br-int", "fail_mode"), "secure");
        assert.equal(await get("Bridge", "br-int", "external_ids:theirs", "other_config:theirs"), '"1"\n"2"');
        assert.equal(await ports(), portsBefore);
      });
    }

    it("is refused, and left as it is, while another owner's bridge has the name and carries ports", async () => {
      await vsctl("add-br", "br-int", "--", "add-port", "br-int", "theirs0");
      await seen("the bridge");
      const before = await everything();
      await assert.rejects(apply(declaration), {
        code: "AGENT_BRIDGE_TAKEN",
        message: /bridge br-int exists, carries theirs0 .*ovs\.bridge.*del-br br-int/,
      });
      assert.equal(await everything(), before);
    });

    it("takes over a bridge of the name that carries nothing", async () => {
      await vsctl("add-br", "br-int");
      await seen("the bridge");
      await apply(declaration);
      assert.equal(
        await get("Bridge", "br-int", "fail_mode", "external_ids:beyondfabric.io/owner"),
        "secure\nfabric-node",
      );
      assert.equal(declareSwitch(cache, declaration), undefined);
    });

    for (const [name, remedy] of [
      ["eth1", /needed in br-eth1.*tunnel\.interface.*del-port br-theirs bond0/],
      ["fabric0", /needed in br-int.*del-port br-theirs bond0/],
      ["fabric-tunnel", /needed in br-int.*del-port br-theirs bond0/],
    ] as const) {
      for (const existing of [false, true]) {
        it(`is refused, and left as it is, while another bridge has ${name}${existing ? ", ours being there" : ""}`, async () => {
          if (existing) {
            await apply(declaration);
            await vsctl("del-port", name);
          }
          await vsctl("add-br", "br-theirs");
          await vsctl("add-bond", "br-theirs", "bond0", name, "eth9");
          await seen("the port");
          const before = await everything();
          await assert.rejects(apply(declaration), { code: "AGENT_INTERFACE_TAKEN", message: remedy });
          assert.equal(await everything(), before);
        });
      }
    }
  });
});
