/** The wire with VLANs: who sits where, what is tagged, and the router between them. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Lab } from "../src/index.ts";

const name = `w${process.pid.toString(36)}`;

// The reference plug-ins stand in for ours: this is about the wire.
const config = {
  hosts: 1,
  vlans: [
    { id: 30, cidrs: ["10.30.0.0/24", "fd00:30::/64"] },
    { id: 40, cidrs: ["10.40.0.0/24", "fd00:40::/64"] },
  ],
  cni: {
    binDirectory: "/usr/lib/cni",
    conflist: { cniVersion: "1.0.0", name: "lab-loopback", plugins: [{ type: "loopback" }] },
  },
};

describe("a wire with VLANs", () => {
  const scratch = mkdtempSync(join(tmpdir(), "lab-wire-"));
  let lab: Lab;

  before(async () => {
    lab = await Lab.up({ name, nodes: 1, config });
  });
  after(async () => {
    rmSync(scratch, { recursive: true, force: true });
    await lab?.down();
  });

  const ping = async (host: string, to: string): Promise<boolean> =>
    (await lab.host(host, ["ping", "-n", "-c", "1", "-W", "2", to])).code === 0;

  it("connects a VLAN, another and the untagged network through the router, in both families", async () => {
    for (const host of ["host-2", "host-3"]) {
      for (const to of [lab.hostAddress("host-1").ipv4, lab.hostAddress("host-1").ipv6]) {
        assert.ok(await ping(host, to), `${host} to ${to}`);
      }
    }
    assert.ok(await ping("host-2", "10.40.0.203"));
    assert.ok(await ping("host-3", "fd00:30::202"));
  });

  it("obeys the router's packet filter", async () => {
    const rule = [
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
    assert.equal((await lab.host("router", rule)).code, 0);
    assert.ok(!(await ping("host-2", "10.40.0.203")), "the rule drops");
    assert.ok(await ping("host-2", "10.10.0.201"), "and nothing else");
    assert.equal((await lab.host("router", ["nft", "flush", "chain", "inet", "firewall", "forward"])).code, 0);
    assert.ok(await ping("host-2", "10.40.0.203"));
  });

  it("brings VLANs tagged to a node's third NIC, and untagged frames untagged", async () => {
    // Questions about addresses that nobody has are broadcast until the capture has seen both kinds.
    const ask = ["sh", "-c", "while ping -n -c 1 -W 1 $0 >/dev/null; test $? = 1; do [ -e $1 ] || exit 0; done"];
    const flag = join(scratch, "asking");
    writeFileSync(flag, "");
    const asking = [lab.host("host-2", [...ask, "10.30.0.77", flag]), lab.host("host-1", [...ask, "10.10.0.77", flag])];
    const seen = async (filter: string): Promise<string> =>
      (await lab.node("node-1", ["timeout", "20", "tcpdump", "-nnel", "-c", "1", "-i", "eth2", filter])).stdout;
    const [tagged, untagged] = await Promise.all([seen("vlan 30 and arp"), seen("arp and host 10.10.0.77")]);
    rmSync(flag);
    await Promise.all(asking);
    assert.match(tagged, /vlan 30, .*who-has 10\.30\.0\.77/);
    assert.match(untagged, /ethertype ARP .*who-has 10\.10\.0\.77/);
  });

  it("tells in its status who is on which VLAN", async () => {
    const { hosts } = await lab.status();
    assert.deepEqual(
      hosts.map(({ name: host, vlan, addresses }) => [host, vlan, addresses[0]]),
      [
        ["host-1", undefined, "10.10.0.201/24"],
        ["host-2", 30, "10.30.0.202/24"],
        ["host-3", 40, "10.40.0.203/24"],
        ["router", undefined, "10.10.0.254/24"],
      ],
    );
  });
});
