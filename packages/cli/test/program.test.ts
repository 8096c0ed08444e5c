import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { answering, fabricctl, golden, withAgent } from "./agent.ts";
import { account, addresses, check, history } from "./address-replies.ts";
import { endpoints, flooded, flows, healthy, starting, version } from "./replies.ts";

/** What is printed when the agent gives this reply. */
async function printed(reply: unknown, ...args: string[]): Promise<string> {
  const { code, out, err } = await withAgent(answering(reply), (socket) => fabricctl([...args, "--socket", socket]));
  assert.deepEqual([code, err], [0, ""]);
  return out;
}

describe("fabricctl status", () => {
  it("shows a healthy node", async () => {
    assert.equal(
      await printed(healthy, "status"),
      golden(`
        node-1   ready   up 3h12m   fabric-node 0.1.0
          switch     connected, OVS 3.1.0, br-int (netdev, fail mode secure)
          API        connected, synced
          entries    41 base, 24 pod, 310 verdict of 20000
          misses     12345 total, 1.5/s, 3 held, 1 expired, 17 without entry, 8 over the limit
          tunnel     10.10.0.11, 2 peers
          gateways   10.244.0.1 fd00:244::1
          pods       6, none noisy
          memory     83.2 MiB

        SUBNET    BLOCK            USED   CAPACITY
        default   10.244.0.0/26       6         64
        default   fd00:244::/122      6         64
      `),
    );
  });

  it("says who floods, that the budget is used up and that the bridge would forward by itself", async () => {
    assert.equal(
      await printed(flooded, "status", "-o", "wide"),
      golden(`
        node-1   ready   up 3h12m   fabric-node 0.1.0
          switch     connected, OVS 3.1.0, br-int (netdev, <fail mode standalone>)
          API        connected, synced
          entries    41 base, 24 pod, <20000 verdict of 20000>
          misses     12345 total, 498/s, 3 held, 1 expired, 17 without entry, 8 over the limit
          tunnel     10.10.0.11, 2 peers
          gateways   10.244.0.1 fd00:244::1
          pods       6, <2 noisy: default/flood is the worst>
          memory     83.2 MiB
          OpenFlow   1.5
          runtime    node v26.0.0
          started    2026-03-04T11:54:02.000Z

        SUBNET    BLOCK            USED   CAPACITY
        default   10.244.0.0/26       6         64
        default   fd00:244::/122      6         64

        NOISY POD       PORT   MISSES/S   DROPPED/S   DROPPED   LAST SEEN
        <default/flood      7        497       49503   1234567   0s ago>
        <default/scan      11         60         0.4        12   1m35s ago>

        SPOOFING POD    DROPPED   WHAT WAS FALSE   CLAIMED LAST        LAST SEEN
        <default/rogue        61   ip 41, arp 20    source 10.244.0.9   2s ago>
      `),
    );
  });

  it("says why a node is not ready before anything else", async () => {
    assert.equal(
      await printed(starting, "status"),
      golden(`
        node-1   <NOT READY>   up 0s   fabric-node 0.1.0
          <!> the switch is not connected: unix:/run/db.sock
          <!> the API server was not reached yet
          switch     <NOT CONNECTED>, OVS unknown, br-int (system, <fail mode not set>)
          API        <NOT CONNECTED>, <NOT SYNCED>
          entries    0 base, 0 pod, 0 verdict of 20000
          misses     0 total, 0/s, 0 held, 0 expired, 0 without entry, 0 over the limit
          tunnel     no address yet, 1 peer
          gateways   none
          pods       0, none noisy
          memory     83.2 MiB

        no address blocks yet: the first pod of a subnet claims one
      `),
    );
  });
});

describe("fabricctl flows", () => {
  it("groups by table and tells what verdicts mean", async () => {
    assert.equal(
      await printed(flows, "flows"),
      golden(`
        table classify: 2 entries, 9 packets
          KIND      PACKETS   BYTES   ENTRY
          base            9   980 B   priority=10,in_port=LOCAL actions=resubmit(,1)
          <foreign         0     0 B   priority=1 actions=NORMAL>

        table egress: 1 entry, 1024 packets
          KIND      PACKETS     BYTES   ENTRY
          verdict      1024   1.5 MiB   10.244.0.2/32 -> 10.244.1.2/32: allow: same network
      `),
    );
  });

  it("shows meaning and entry side by side when there is room", async () => {
    const [, , base] = (await printed(flows, "flows", "-o", "wide")).split("\n");
    assert.equal(
      base,
      "  base            9   980 B   -         cookie=0xbf01010100000001, priority=10,in_port=LOCAL actions=resubmit(,1)",
    );
    assert.match(await printed(flows, "flows", "-owide"), /allow: same network +table=4,priority=100,ip,/);
  });

  it("asks for one pod, and tells where to look when nothing concerns it", async () => {
    const asked: string[] = [];
    const ran = await withAgent(
      (request, response) => {
        asked.push(request.url ?? "");
        response.end('{"flows":[]}');
      },
      (socket) => fabricctl(["--socket", socket, "flows", "--pod", "a b/../&c=d".replaceAll(/[ /.]+/g, "/")]),
    );
    assert.deepEqual(ran, { code: 2, out: "", err: ran.err }, "two slashes are no pod");
    const known = await withAgent(
      (request, response) => {
        asked.push(request.url ?? "");
        response.end('{"flows":[]}');
      },
      (socket) => fabricctl(["--socket", socket, "flows", "--pod", "default/a&b"]),
    );
    assert.deepEqual(asked, ["/v1/flows?pod=default%2Fa%26b"]);
    assert.equal(known.out, "no entries concern default/a&b; fabricctl endpoints lists the pods of this node\n");
  });
});

describe("fabricctl endpoints and version", () => {
  it("lists the node's pods", async () => {
    assert.equal(
      await printed(endpoints, "endpoints"),
      golden(`
        POD               ADDRESSES                PORT   INTERFACE      MISSES   SPOOFED   AGE
        default/web-0     10.244.0.2,fd00:244::2      5   veth5e2c1f9a       42         0   1m30s
        kube-system/dns   10.244.0.3                 16   veth0d9b            7      1200   5d
      `),
    );
    assert.match(
      await printed(endpoints, "endpoints", "-o", "wide"),
      /AGE +SUBNET +MAC +SPOOFED AS +CONTAINER +UID\n.*\n.* ip 1050, arp 150 /,
    );
    assert.equal(await printed({ endpoints: [] }, "endpoints"), "no pods on this node\n");
  });

  it("tells the versions of both ends", async () => {
    assert.equal(
      await printed(version, "version"),
      golden(`
        fabricctl     0.1.0
        fabric-node   0.1.0 on node-1
        OVS           3.1.0, OpenFlow 1.5
        runtime       node v26.0.0
      `),
    );
  });
});

describe("-o json", () => {
  it("gives what the agent gave, with fields that this version does not know", async () => {
    const newer = { ...healthy, invented: { later: [1, null] } };
    assert.deepEqual(JSON.parse(await printed(newer, "status", "-o", "json")), JSON.parse(JSON.stringify(newer)));
    assert.deepEqual(JSON.parse(await printed(flows, "-o", "json", "flows")), flows);
    assert.deepEqual(JSON.parse(await printed(endpoints, "endpoints", "-ojson")), endpoints);
    assert.deepEqual(JSON.parse(await printed(version, "version", "-o", "json")), {
      fabricctl: "0.1.0",
      agent: version,
    });
  });
});

describe("what goes to the terminal", () => {
  it("holds nothing that a terminal would obey, whoever named the pod", async () => {
    const evil = "\u001B]0;owned\u0007\u009B31m\r\n\u202E";
    const out = [
      await printed(
        {
          ...flooded,
          node: evil,
          notReady: [evil],
          addresses: [{ subnet: evil, block: evil, used: 1, capacity: 2 }],
          noisy: [{ ...flooded.noisy[0], pod: evil }],
        },
        "status",
      ),
      await printed({ flows: [{ ...flows.flows[2], table: evil, explanation: evil, text: evil }] }, "flows", "-owide"),
      await printed(
        { endpoints: [{ ...endpoints.endpoints[0], pod: evil, addresses: [evil], mac: evil }] },
        "endpoints",
        "-owide",
      ),
      await printed({ ...version, runtime: evil }, "version"),
      await printed({ account: { ...account.account, pool: evil, refusal: evil } }, "ip", "get", "10.0.0.20"),
      await printed({ addresses: [{ ...addresses.addresses[1], subnet: evil }], more: false }, "ip", "list"),
      await printed({ tenures: [{ ...history.tenures[1], pod: evil, reason: evil }] }, "ip", "history", "db-0"),
      (
        await withAgent(
          answering({ ...check, findings: [{ ...check.findings[0], message: evil, caution: evil }] }),
          (socket) => fabricctl(["ip", "check", "--repair", "--socket", socket]),
        )
      ).out,
      (
        await withAgent(answering({ code: evil, message: evil }, 500), (socket) =>
          fabricctl(["status", "--socket", socket]),
        )
      ).err,
    ].join("");
    // oxlint-disable-next-line no-control-regex -- it is what must not be there
    assert.doesNotMatch(out, /[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u202E]/);
    assert.match(out, /\\u001b\]0;owned\\u0007/);
  });
});
