import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { UnderlayReply } from "@beyondfabric/agent/api";
import { answering, fabricctl, golden, withAgent, type Ran } from "./agent.ts";

const sound: UnderlayReply = {
  node: "node-1",
  networks: [
    {
      network: "business",
      nic: "bond0",
      bridge: "br-bond0",
      present: true,
      linkUp: true,
      mtu: 9000,
      nodeAddresses: [],
      allowNodeInterface: false,
      answering: true,
      pods: [{ pod: "bank/core", mtu: 9000 }],
      wires: [
        {
          vlan: 30,
          subnets: ["vlan30"],
          gateways: [
            {
              subnet: "vlan30",
              address: "10.30.0.1",
              mac: "02:fa:01:00:00:01",
              roundTrip: 0.42,
              answersStrangers: true,
            },
          ],
          duplicates: [],
          offers: [],
          routers: [],
          stale: [],
        },
        {
          vlan: 0,
          subnets: ["plain"],
          gateways: [{ subnet: "plain", address: "10.10.0.254", answersStrangers: false }],
          duplicates: [],
          offers: [],
          routers: [],
          stale: [],
        },
      ],
    },
  ],
  violations: [],
  findings: [],
};

const sick: UnderlayReply = {
  ...sound,
  findings: [
    {
      rule: "GatewaySilent",
      network: "business",
      vlan: 0,
      message: "gateway 10.10.0.254 of Subnet plain does not answer",
      advice: "Check the port.",
    },
    { rule: "LinkDown", network: "spare\u001b[1m", message: "interface eth9 has no link", advice: "Check the cable." },
  ],
};

function doctor(reply: unknown, ...args: string[]): Promise<Ran> {
  return withAgent(answering(reply), (socket) => fabricctl(["doctor", "underlay", ...args, "--socket", socket]));
}

describe("fabricctl doctor underlay", () => {
  it("shows NICs and gateways, and ends with 0 where nothing is wrong", async () => {
    assert.deepEqual(await doctor(sound), {
      code: 0,
      err: "",
      out: golden(`
        NETWORK    NIC     LINK    MTU   PODS
        business   bond0   up     9000      1

        NETWORK    VLAN       SUBNET   GATEWAY       MAC                    RTT
        business   30         vlan30   10.30.0.1     02:fa:01:00:00:01   0.4 ms
        business   untagged   plain    10.10.0.254   no answer                -

        nothing is wrong
      `),
    });
    const nothing = await doctor({ ...sound, networks: [] });
    assert.equal(nothing.out, "no physical network names an interface of node node-1\n");
  });

  it("ends with 3 where something is, with advice", async () => {
    const { code, out } = await doctor(sick);
    assert.equal(code, 3);
    assert.ok(
      out.endsWith(
        golden(`
          <GatewaySilent>   Network/business, VLAN untagged
            gateway 10.10.0.254 of Subnet plain does not answer
            advice: Check the port.
          <LinkDown>   Network/spare\\u001b[1m
            interface eth9 has no link
            advice: Check the cable.

          2 findings
        `),
      ),
      out,
    );
  });

  it("prints what the agent said as JSON, with the same exit code", async () => {
    const { code, out } = await doctor(sick, "-o", "json");
    assert.equal(code, 3);
    assert.deepEqual(JSON.parse(out), sick);
  });

  it("says so when the agent's answer is of another shape", async () => {
    const { code, err } = await doctor({ ...sound, findings: [{ ...sick.findings[0], rule: "Weather" }] });
    assert.equal(code, 1);
    assert.match(err, /FABRICCTL_REPLY/);
  });
});
