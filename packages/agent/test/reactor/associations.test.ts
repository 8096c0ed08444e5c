/**
 * SCTP of isolated pods in a real switch whose conntrack tells no ports of it: what opens an association, what its packets
 * pass by, and what ends it.
 */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { buildIp, buildSctp, ipProtocol, sctpChunk } from "@beyondfabric/packet";
import { until } from "../../../openflow/test/interop/switch.ts";
import { IsolatedNode, pods, type TestPod } from "./isolated-node.ts";

const { client, server, other } = pods;
const { init, initAck, data } = sctpChunk;
const app = (name: string): { matchLabels: { app: string } } => ({ matchLabels: { app: name } });
const openFor = (...ports: number[]): object => ({
  podSelector: app("server"),
  ingress: [{ ports: ports.map((port) => ({ protocol: "SCTP", port })) }],
});
const closed = { podSelector: app("server") };
const idle = 61_000;

describe("SCTP of isolated pods in a real switch", () => {
  let node: IsolatedNode;
  let port = 20_000;

  before(async () => {
    node = await IsolatedNode.start();
  });
  after(() => node?.stop());
  beforeEach(async () => {
    for (const { namespace, name } of node.view.policies.inNamespace("shop")) node.view.removePolicy(namespace, name);
    // What was opened before is forgotten, and so is every verdict.
    await node.ovs.appctl("revalidator/wait");
    await node.read();
    node.skipped += idle;
    await node.read();
    node.reactor.tick();
    await node.settled();
    port += 100;
  });

  const isolate = async (name: string, spec: object): Promise<void> => {
    node.policy(name, spec);
    await node.settled();
  };

  /** Whether a packet of one chunk arrives. */
  const arrives = async (
    from: TestPod,
    to: TestPod,
    [srcPort, dstPort]: readonly [number, number],
    chunk: number,
    family: 4 | 6 = 4,
  ): Promise<boolean> => {
    const packets = await node.through(to, () => node.sctp(from, to, { srcPort, dstPort, chunk }, family));
    return packets.some((packet) => {
      const isSame = packet.srcPort === srcPort && packet.dstPort === dstPort;
      return packet.ipProto === ipProtocol.sctp && packet.ipVersion === family && isSame;
    });
  };

  /** An association as its ends see it. */
  const talk = (
    from: TestPod,
    to: TestPod,
    ports: readonly [number, number],
    family: 4 | 6 = 4,
  ): Record<"open" | "asks" | "answers", () => Promise<boolean>> => {
    const back = [ports[1], ports[0]] as const;
    return {
      open: async () =>
        (await arrives(from, to, ports, init, family)) && (await arrives(to, from, back, initAck, family)),
      asks: () => arrives(from, to, ports, data, family),
      answers: () => arrives(to, from, back, data, family),
    };
  };

  const misses = (): number => node.reactor.counters.misses;

  for (const family of [4, 6] as const) {
    it(`opens by INIT where a rule lets it, and passes by entries once it stands (IPv${family})`, async () => {
      await isolate("sctp", openFor(9));
      assert.equal(await arrives(client, server, [port, 10], init, family), false, "a port that no rule opens");
      assert.equal(await arrives(client, server, [port, 9], data, family), false, "before it is open");
      const association = talk(client, server, [port, 9], family);
      assert.ok(await association.open());
      await node.settled();
      // Packets that the datapath has not seen since may still find their way here.
      await association.asks();
      await association.answers();
      const before = misses();
      for (let count = 0; count < 3; count++) {
        assert.ok(await association.asks());
        assert.ok(await association.answers());
      }
      assert.equal(misses(), before, "nobody asks about an association that stands");
      assert.equal(await arrives(client, server, [port + 1, 9], data, family), false, "another port of the client");
      assert.equal(await arrives(client, server, [port, 10], init, family), false);
    });
  }

  it("does not take one association, or one packet of the isolated pod, for all of the pair", async () => {
    await isolate("sctp", openFor(9));
    assert.ok(await talk(client, server, [port, 9]).open());
    // The server may ask whom it likes; the client may not.
    assert.ok(await talk(server, client, [port, 7000]).open());
    await node.settled();
    for (const ports of [
      [port, 10],
      [7000, port + 1],
      [7001, port],
    ] as const) {
      assert.equal(await arrives(client, server, ports, data), false, ports.join());
      assert.equal(await arrives(client, server, ports, init), false, ports.join());
    }
    assert.equal((await node.ovs.appctl("dpctl/dump-conntrack")).includes("sctp"), false, "nothing is remembered");
  });

  it("lets nobody use the port that it is asked on to ask", async () => {
    await isolate("in", { podSelector: app("client") });
    await isolate("sctp", openFor(9));
    const ports = [9, port] as const;
    assert.equal(await arrives(server, client, ports, init), false, "INIT from the port that may be asked");
    assert.equal(await arrives(server, client, ports, data), false, "DATA first");
    assert.equal(await arrives(server, client, ports, init), false, "then INIT");
    assert.equal(await arrives(server, client, ports, initAck), false, "an answer to nothing");
    assert.ok(await talk(client, server, [port, 9]).open());
    await node.settled();
    for (const chunk of [init, initAck, data]) {
      assert.equal(await arrives(server, client, [9, port + 1], chunk), false, "another port of the client");
      assert.equal(await arrives(server, client, [10, port], chunk), false, "from another port");
    }
  });

  it("takes nothing for an INIT that is none", async () => {
    await isolate("sctp", openFor(9));
    const packet = buildSctp({ srcPort: port, dstPort: 9, chunk: init });
    const send = async (sctp: Buffer): Promise<number> => {
      const ip = buildIp({ src: client.address, dst: server.address, protocol: ipProtocol.sctp }, sctp);
      return (await node.through(server, () => node.send(client, ip))).length;
    };
    assert.equal(await send(buildSctp({ srcPort: port, dstPort: 9, chunk: init, tag: 7 })), 0, "with a tag");
    assert.equal(await send(Buffer.concat([packet, packet.subarray(12)])), 0, "not alone");
    assert.equal(await send(packet.subarray(0, 20)), 0, "cut short");
    assert.equal(await send(packet), 1);
  });

  it("drops later fragments, which show no ports", async () => {
    await isolate("sctp", openFor(9));
    assert.ok(await talk(client, server, [port, 9]).open());
    await node.settled();
    const before = misses();
    const sctp = Buffer.concat([buildSctp({ srcPort: port, dstPort: 9, chunk: data }), Buffer.alloc(3000)]);
    const options = { src: client.address, dst: server.address, protocol: ipProtocol.sctp, identification: 7 };
    const arrived = await node.through(server, async () => {
      for (let fragmentOffset = 0; fragmentOffset < sctp.length; fragmentOffset += 1400) {
        const moreFragments = fragmentOffset + 1400 < sctp.length;
        const piece = sctp.subarray(fragmentOffset, fragmentOffset + 1400);
        await node.send(client, buildIp({ ...options, moreFragments, fragmentOffset }, piece));
      }
    });
    assert.deepEqual(
      arrived.filter(({ fragment }) => fragment === "later"),
      [],
    );
    assert.ok(misses() <= before + 1, "nor does the agent see them");
  });

  it("keeps what is open still when policies change, and stops at once what is not", async () => {
    await isolate("sctp", openFor(9, 10));
    const [kept, cut] = [talk(client, server, [port, 9]), talk(client, server, [port, 10])];
    assert.deepEqual([await kept.open(), await cut.open()], [true, true]);
    await isolate("more", openFor(11));
    assert.ok(await kept.asks());
    await isolate("sctp", openFor(9));
    assert.deepEqual([await cut.asks(), await cut.answers()], [false, false]);
    assert.deepEqual([await kept.asks(), await kept.answers()], [true, true]);
    await isolate("sctp", openFor(9, 10));
    assert.ok(await cut.answers(), "it is known who opened it when its port is open again");
    await isolate("sctp", closed);
    assert.deepEqual([await kept.answers(), await kept.asks()], [false, false]);
    node.view.removePolicy("shop", "sctp");
    node.view.removePolicy("shop", "more");
    await node.settled();
    assert.ok(await kept.asks(), "when nothing isolates the pod any more it goes on");
  });

  it("follows labels of the peer", async () => {
    await isolate("friends", { podSelector: app("server"), ingress: [{ from: [{ podSelector: app("client") }] }] });
    const association = talk(client, server, [port, 9]);
    assert.ok(await association.open());
    node.label(client, { app: "stranger" });
    await node.settled();
    assert.deepEqual([await association.asks(), await association.answers()], [false, false]);
    node.label(client, { app: "client" });
    await node.settled();
    assert.ok(await association.asks());
  });

  it("follows a change of tenant", async () => {
    await isolate("sctp", openFor(9));
    const association = talk(other, server, [port, 9]);
    assert.ok(await association.open());
    const { namespace } = node.view.identityOf({ name: "shop/client", uid: "client" })!;
    type Namespace = Parameters<typeof node.view.setNamespace>[0];
    node.view.setNamespace({ ...(namespace as Namespace), name: "bank", tenant: "bank" });
    try {
      node.label(other, { app: "other" }, "bank");
      await node.settled();
      assert.deepEqual([await association.asks(), await association.answers()], [false, false]);
    } finally {
      node.label(other, { app: "other" });
      node.view.removeNamespace("bank");
      await node.settled();
    }
  });

  it("forgets what a pod opened that is gone", async () => {
    await isolate("sctp", openFor(9));
    const association = talk(other, server, [port, 9]);
    assert.ok(await association.open());
    const local = [...node.view.localPorts.values()].find(({ uid }) => uid === "other")!;
    node.view.removeLocalPort(local.ofport);
    await node.settled();
    assert.deepEqual(await standing(), []);
    node.view.setLocalPort(local);
    await node.settled();
    assert.equal(await association.asks(), false, "whoever gets its address has opened nothing");
    assert.ok(await association.open());
  });

  /** Entries of associations: table, priority and ports. */
  const standing = async (): Promise<string[]> =>
    (await node.ovs.ofctl("-O", "OpenFlow15", "dump-flows", "br0"))
      .split("\n")
      .filter((line) => /priority=22[01],/.test(line))
      .map((line) => line.replace(/.*(priority=\d+).*(tp_src=\d+,tp_dst=\d+).*/, "$1 $2"))
      .sort();

  it("stands as one exact entry in each direction, and lets them go when nobody used them", async () => {
    await isolate("sctp", openFor(9));
    const [idler, busy] = [talk(client, server, [port, 9]), talk(client, server, [port + 1, 9])];
    assert.deepEqual([await idler.open(), await busy.open()], [true, true]);
    const entries = (from: number): string[] => [
      `priority=220 tp_src=${from},tp_dst=9`,
      `priority=221 tp_src=9,tp_dst=${from}`,
    ];
    assert.deepEqual(await standing(), [...entries(port), ...entries(port + 1)].sort());
    await node.settled();
    await node.read();
    node.skipped += idle - 1000;
    await busy.asks();
    await busy.answers();
    // The switch counts for its entries a moment after its datapath did.
    await node.ovs.appctl("revalidator/wait");
    await node.read();
    node.skipped += 2000;
    await node.read();
    assert.deepEqual(await standing(), entries(port + 1));
    assert.ok(await busy.asks());
    node.skipped += idle;
    await node.read();
    await node.settled();
    assert.deepEqual(await standing(), []);
  });

  it("counts associations and their packets for the rule that opens them, and says who was refused", async () => {
    await isolate("sctp", openFor(9));
    const association = talk(client, server, [port, 9]);
    assert.ok(await association.open());
    await node.settled();
    const { rules, denials } = node.reactor.counters;
    const figures = (): { sessions: number; packets: number } => {
      const { sessions, packets } = rules.list(() => true).find(({ rule }) => rule.policy === "shop/sctp")!;
      return { sessions, packets };
    };
    const before = figures();
    for (let count = 0; count < 4; count++) assert.ok(await association.asks());
    await until(async () => {
      await node.read();
      return figures().packets >= before.packets + 4;
    }, "its packets are counted");
    assert.equal(figures().sessions, before.sessions);
    assert.ok(await talk(client, server, [port + 1, 9]).open());
    assert.equal(figures().sessions, before.sessions + 1);
    assert.equal(await arrives(client, server, [port, 4444], init), false);
    const { source, destinationPort, protocol, direction, pod } = denials.list().at(-1)!;
    assert.deepEqual(
      { source, destinationPort, protocol, direction, pod },
      {
        source: client.address,
        destinationPort: 4444,
        protocol: ipProtocol.sctp,
        direction: "ingress",
        pod: "shop/server",
      },
    );
  });

  it("bounds how many one pair has: what nobody answered makes room", async () => {
    await isolate("sctp", openFor(9));
    const first = talk(client, server, [port, 9]);
    assert.ok(await first.open());
    await node.settled();
    await first.answers();
    await node.ovs.appctl("revalidator/wait");
    await node.read();
    for (let count = 1; count < 80; count++) {
      await node.sctp(client, server, { srcPort: port + count, dstPort: 9, chunk: init });
    }
    assert.ok(await talk(client, server, [port + 80, 9]).open());
    assert.ok((await standing()).length <= 128);
    await node.settled();
    assert.deepEqual([await first.asks(), await first.answers()], [true, true]);
  });

  it("goes on over a restart of the agent, and ends with it what is not allowed any more", async () => {
    await isolate("sctp", openFor(9, 10));
    const [kept, cut] = [talk(client, server, [port, 9]), talk(client, server, [port, 10])];
    assert.deepEqual([await kept.open(), await cut.open()], [true, true]);
    await node.settled();
    const before = await standing();
    await node.restart(
      async () => {
        assert.deepEqual(await standing(), before);
        for (const association of [kept, cut]) {
          assert.deepEqual([await association.asks(), await association.answers()], [true, true], "by the entries");
        }
      },
      () => node.policy("sctp", openFor(9)),
    );
    assert.deepEqual(await standing(), [
      `priority=220 tp_src=${port},tp_dst=9`,
      `priority=221 tp_src=9,tp_dst=${port}`,
    ]);
    await kept.asks();
    await kept.answers();
    const missed = misses();
    assert.deepEqual([await kept.asks(), await kept.answers()], [true, true]);
    assert.equal(misses(), missed, "its entries are those of the new life");
    assert.deepEqual([await cut.asks(), await cut.answers()], [false, false]);
    // Who opened it is known still: the other end may not.
    await isolate("sctp", closed);
    assert.deepEqual([await kept.asks(), await kept.answers()], [false, false]);
  });

  it("is written again where the switch lost its entries", async () => {
    await isolate("sctp", openFor(9));
    const association = talk(client, server, [port, 9]);
    assert.ok(await association.open());
    const before = await standing();
    await node.loseEntries();
    assert.deepEqual(await standing(), before);
    assert.deepEqual([await association.answers(), await association.asks()], [true, true]);
    await isolate("sctp", closed);
    assert.deepEqual(await standing(), []);
    assert.deepEqual([await association.answers(), await association.asks()], [false, false]);
  });

  it("costs a pair that nobody isolates neither conntrack nor an entry", async () => {
    assert.ok(await arrives(client, server, [port, 9], data));
    assert.ok(await talk(client, server, [port, 9]).open());
    assert.deepEqual(await standing(), []);
    assert.doesNotMatch(await node.ovs.appctl("dpctl/dump-flows"), /ct\(/);
  });
});
