/** Isolation in a real switch: what passes by which connection, what stops when policies change, and what nobody asks. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { buildEcho, buildIp, buildUdp, ipProtocol, tcpFlag } from "@beyondfabric/packet";
import { until } from "../../../openflow/test/interop/switch.ts";
import { Dialogue, IsolatedNode, pods, type TestPod } from "./isolated-node.ts";

const { client, server, other } = pods;
const app = (name: string): { matchLabels: { app: string } } => ({ matchLabels: { app: name } });
const allow = (...ports: object[]): object => ({ podSelector: app("server"), ingress: [{ ports }] });
const closed = { podSelector: app("server") };

describe("isolation in a real switch", () => {
  let node: IsolatedNode;
  let port = 20_000;
  /** The server end of connections that were there before: what the pod's kernel would say. */
  let servers: ReadonlySet<number> = new Set();

  before(async () => {
    node = await IsolatedNode.start({
      listening: (question, { connection }) => {
        const [sourcePort, destinationPort] =
          connection.source === question.source
            ? [connection.sourcePort, connection.destinationPort]
            : [connection.destinationPort, connection.sourcePort];
        if (servers.has(sourcePort ?? 0)) return "source";
        return servers.has(destinationPort ?? 0) ? "destination" : undefined;
      },
    });
  });
  after(() => node?.stop());
  beforeEach(async () => {
    for (const { namespace, name } of node.view.policies.inNamespace("shop")) node.view.removePolicy(namespace, name);
    servers = new Set();
    await node.ovs.appctl("dpctl/flush-conntrack");
    await node.settled();
    port++;
  });

  const dialogue = (dstPort: number, from: typeof client | typeof other = client): Dialogue =>
    new Dialogue(node, from, server, port, dstPort);

  it("costs a pair that nobody isolates no conntrack", async () => {
    assert.ok(await dialogue(80).open());
    assert.equal((await node.ovs.appctl("dpctl/dump-conntrack")).trim(), "");
    assert.doesNotMatch(await node.ovs.appctl("dpctl/dump-flows"), /ct\(/);
  });

  it("lets a connection pass where a rule does, answers included, and by label alone once it stands", async () => {
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    const talk = dialogue(80);
    assert.ok(await talk.open());
    await node.settled();
    const before = node.reactor.counters.misses;
    assert.ok(await talk.says("client"));
    assert.ok(await talk.says("server"));
    assert.equal(node.reactor.counters.misses, before);
    assert.equal(await dialogue(81).open(), false);
  });

  it("asks no more about a connection when rules are added, and again when one goes", async () => {
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    const talk = dialogue(80);
    assert.ok(await talk.open());
    await node.settled();
    const before = node.reactor.counters.misses;
    node.policy("more", allow({ port: 443 }, { port: 8443 }));
    await node.settled();
    assert.ok(await talk.says("client"));
    assert.ok(await talk.says("server"));
    assert.equal(node.reactor.counters.misses, before, "it was judged by what is open still");
    assert.ok(await dialogue(443).open());
    node.view.removePolicy("shop", "web");
    await node.settled();
    assert.equal(await talk.says("client"), false, "its port is closed");
    assert.equal(await dialogue(80).open(), false);
    assert.ok(await dialogue(8443).open());
  });

  it("has no flow of the datapath changed in place: the switch could change another one", async () => {
    const actions = async (): Promise<Map<string, string>> => {
      const dump = await node.ovs.appctl("dpctl/dump-flows", "-m");
      return new Map(
        Array.from(dump.matchAll(/^ufid:(\S+),.* actions:(.*?), dp-extra/gm), ([, ufid, its]) => [ufid!, its!]),
      );
    };
    let srcPort = 30_000;
    const speak = async (): Promise<void> => {
      for (const dstPort of [80, 443, 80, 443]) {
        const syn = { from: client, to: server, srcPort: srcPort++, dstPort, flags: tcpFlag.syn };
        await node.through(server, () => node.tcp(syn));
        await node.udp(client, server, srcPort, dstPort);
        await node.udp(other, server, srcPort, dstPort);
      }
      await node.settled();
    };
    const open = { podSelector: app("server"), ingress: [{}] };
    const steps: [string, () => void][] = [
      ["two ports are open", () => node.policy("web", allow({ port: 80 }, { port: 443 }))],
      ["all ports are", () => node.policy("web", open)],
      ["none is", () => node.policy("web", closed)],
      ["one is", () => node.policy("web", allow({ port: 443 }))],
      ["another one is", () => node.policy("web", allow({ port: 80 }))],
      ["all are again", () => node.policy("web", open)],
      ["nothing isolates the pod", () => node.view.removePolicy("shop", "web")],
      ["it is isolated again", () => node.policy("web", closed)],
      ["and free", () => node.view.removePolicy("shop", "web")],
    ];
    await speak();
    for (const [what, change] of steps) {
      await speak();
      const before = await actions();
      assert.ok(before.size > 0);
      change();
      await node.settled();
      const after = await actions();
      for (const [ufid, its] of after) assert.equal(before.get(ufid) ?? its, its, `${what}: ${ufid}`);
    }
  });

  it("costs a port scan one miss", async () => {
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    await dialogue(1).open();
    await node.settled();
    const before = node.reactor.counters.misses;
    for (let dstPort = 100; dstPort < 140; dstPort++) {
      const syn = { from: client, to: server, srcPort: port, dstPort, flags: tcpFlag.syn };
      assert.deepEqual(await node.through(server, () => node.tcp(syn)), []);
    }
    assert.equal(node.reactor.counters.misses, before);
    assert.ok(await dialogue(80).open(), "and the open port is still open");
  });

  it("lets what an ingress-isolated pod asks be answered, and nothing be asked of it", async () => {
    node.policy("closed", closed);
    await node.settled();
    const outgoing = new Dialogue(node, server, client, port, 443);
    assert.ok(await outgoing.open());
    assert.ok(await outgoing.says("client"));
    assert.ok(await outgoing.says("server"));
    assert.equal(await dialogue(443).open(), false);
  });

  it("judges both ends of a pair that is on one node", async () => {
    node.policy("in", allow({ port: 80 }, { port: 81 }));
    node.policy("out", {
      podSelector: app("client"),
      policyTypes: ["Egress"],
      egress: [{ ports: [{ port: 81 }, { port: 82 }] }],
    });
    await node.settled();
    const open: number[] = [];
    for (const dstPort of [80, 81, 82]) {
      if (await new Dialogue(node, client, server, port + dstPort, dstPort).open()) open.push(dstPort);
    }
    assert.deepEqual(open, [81]);
    assert.ok(await dialogue(80, other).open());
  });

  it("stops an established connection that is not allowed any more, both ways, and keeps one that still is", async () => {
    node.policy("web", allow({ port: 80 }, { port: 81 }));
    await node.settled();
    const [kept, cut] = [dialogue(80), new Dialogue(node, client, server, port + 1000, 81)];
    assert.deepEqual([await kept.open(), await cut.open()], [true, true]);
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    assert.equal(await cut.says("client"), false);
    assert.equal(await cut.says("server"), false);
    for (const end of ["client", "server", "client"] as const) assert.ok(await kept.says(end), end);
    node.policy("web", closed);
    await node.settled();
    assert.equal(await kept.says("server"), false);
    assert.equal(await kept.says("client"), false);
  });

  it("follows labels of the peer on connections that stand", async () => {
    node.policy("friends", { podSelector: app("server"), ingress: [{ from: [{ podSelector: app("client") }] }] });
    await node.settled();
    const talk = dialogue(80);
    assert.ok(await talk.open());
    node.label(client, { app: "stranger" });
    await node.settled();
    assert.equal(await talk.says("client"), false);
    node.label(client, { app: "client" });
    await node.settled();
    assert.ok(await talk.says("client"));
  });

  it("judges a connection older than the isolation in the direction of its client, whoever speaks first", async () => {
    servers = new Set([80]);
    for (const first of ["server", "client"] as const) {
      const talk = dialogue(80);
      assert.ok(await talk.open());
      node.policy("closed", closed);
      await node.settled();
      // Conntrack meets the connection in the middle and takes the first speaker for the one who opened it.
      assert.equal(await talk.says(first), false, `${first} speaks first`);
      assert.equal(await talk.says("client"), false);
      assert.equal(await talk.says("server"), false);
      node.view.removePolicy("shop", "closed");
      await node.settled();
      assert.ok(await talk.says("client"), "when nothing isolates the pod any more it goes on");
      port++;
    }
    const own = new Dialogue(node, server, client, port, 80);
    assert.ok(await own.open());
    node.policy("closed", closed);
    await node.settled();
    for (const end of ["server", "client", "server"] as const) assert.ok(await own.says(end), `its own: ${end}`);
  });

  it("remembers who opened a connection that it met in the middle, for the next change of policy", async () => {
    servers = new Set([80]);
    const talk = dialogue(80);
    assert.ok(await talk.open());
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    assert.ok(await talk.says("server"));
    assert.ok(await talk.says("client"));
    node.policy("web", closed);
    await node.settled();
    assert.equal(await talk.says("client"), false);
    assert.equal(await talk.says("server"), false);
  });

  it("refuses what it cannot tell the direction of when one direction is closed", async () => {
    const talk = dialogue(80);
    assert.ok(await talk.open());
    node.policy("closed", closed);
    await node.settled();
    assert.equal(await talk.says("server"), false);
    assert.equal(await talk.says("client"), false);
  });

  it("judges fragments by their connection: a large answer passes where a small one does, and no other port opens", async () => {
    const fragments = async (from: TestPod, to: TestPod, srcPort: number, dstPort: number): Promise<number> => {
      const addresses = { src: from.address, dst: to.address };
      const datagram = buildUdp({ ...addresses, srcPort, dstPort }, Buffer.alloc(4000, "x"));
      const identification = ++identifications;
      const arrived = await node.through(to, async () => {
        for (let fragmentOffset = 0; fragmentOffset < datagram.length; fragmentOffset += 1400) {
          const moreFragments = fragmentOffset + 1400 < datagram.length;
          const options = { ...addresses, protocol: ipProtocol.udp, identification, moreFragments, fragmentOffset };
          await node.send(from, buildIp(options, datagram.subarray(fragmentOffset, fragmentOffset + 1400)));
        }
      });
      return arrived.length;
    };
    let identifications = 0;
    node.policy("dns", allow({ port: 53, protocol: "UDP" }));
    await node.settled();
    assert.equal((await node.through(server, () => node.udp(client, server, port, 53))).length, 1);
    for (let count = 0; count < 3; count++) assert.equal(await fragments(server, client, 53, port), 3);
    assert.equal(await fragments(client, server, port, 53), 3, "of a connection that stands");
    assert.equal(await fragments(client, server, port, 54), 0);
    assert.equal(await fragments(client, server, port + 1, 54), 0);
    node.policy("dns", { podSelector: app("server"), ingress: [{ ports: [{ protocol: "UDP" }] }] });
    await node.settled();
    assert.equal(await fragments(client, server, port + 2, 55), 3, "where no port matters");
  });

  it("takes a rule without ports for every protocol, and one with ports for none that has no ports", async () => {
    const addresses = { src: client.address, dst: server.address };
    const ping = async (): Promise<number> => {
      const echo = buildEcho({ ...addresses, id: port++, sequence: 1 });
      const packet = buildIp({ ...addresses, protocol: ipProtocol.icmp }, echo);
      return (await node.through(server, () => node.send(client, packet))).length;
    };
    node.policy("web", allow({ port: 80 }));
    await node.settled();
    assert.equal(await ping(), 0);
    node.policy("web", { podSelector: app("server"), ingress: [{}] });
    await node.settled();
    assert.equal(await ping(), 1);
  });

  it("lets datagrams be answered, and none come unasked", async () => {
    node.policy("dns", allow({ port: 53, protocol: "UDP" }));
    await node.settled();
    const arrives = async (send: () => Promise<void>, at: typeof client | typeof server): Promise<number> =>
      (await node.through(at, send)).length;
    assert.equal(await arrives(() => node.udp(client, server, port, 53), server), 1);
    assert.equal(await arrives(() => node.udp(server, client, 53, port), client), 1);
    assert.equal(await arrives(() => node.udp(client, server, port, 54), server), 0);
  });

  it("keeps tenants apart before any policy, and follows a change of tenant at once", async () => {
    const shop = {
      name: "shop",
      labels: node.view.identityOf({ name: "shop/client", uid: "client" })!.namespace.labels,
    } as const;
    const bank = { name: "bank", labels: shop.labels };
    type Namespace = Parameters<typeof node.view.setNamespace>[0];
    node.view.setNamespace({ ...(bank as Namespace), tenant: "bank" });
    node.label(other, { app: "other" }, "bank");
    await node.settled();
    try {
      assert.equal(await dialogue(80, other).open(), false);
      assert.ok(await dialogue(80).open());
      node.view.setNamespace({ ...(shop as Namespace), tenant: "bank" });
      await node.settled();
      const talk = dialogue(81, other);
      assert.ok(await talk.open());
      node.view.setNamespace({ ...(shop as Namespace), tenant: "shop" });
      await node.settled();
      assert.equal(await talk.says("server"), false);
      assert.equal(await talk.says("client"), false);
    } finally {
      node.view.setNamespace(shop as Namespace);
      node.view.removeNamespace("bank");
      node.label(other, { app: "other" });
    }
  });

  it("tells who was refused, where, and by the policies of whom", async () => {
    node.policy("closed", { podSelector: app("client") });
    await node.settled();
    assert.equal(await new Dialogue(node, other, client, port, 8443).open(), false);
    const { denials } = node.reactor.counters;
    const denial = denials.list().at(-1);
    assert.ok(denial !== undefined);
    const { source, destination, destinationPort, direction, pod, policies } = denial;
    assert.deepEqual(
      { source, destination, destinationPort, direction, pod, policies },
      {
        source: other.address,
        destination: client.address,
        destinationPort: 8443,
        direction: "ingress",
        pod: "shop/client",
        policies: ["shop/closed"],
      },
    );
    await node.settled();
    for (let dstPort = 1; dstPort < 6; dstPort++) await new Dialogue(node, other, client, port, dstPort).open();
    // The switch counts for its entries a moment after its datapath did.
    await until(async () => {
      node.reactor.recordRefusals(await node.session.readRefusals());
      const { count, protocol, pod } = denials.list().at(-1)!;
      return count === 5 && protocol === 0 && pod === "shop/client";
    }, "all five are counted");
    // The policy changes, and with it the pair's entries: the switch writes them anew and counts from nought.
    node.policy("closed", { podSelector: app("client"), ingress: [{ ports: [{ port: 80 }] }] });
    await node.settled();
    await new Dialogue(node, other, client, port, 9).open();
    await until(async () => {
      node.reactor.recordRefusals(await node.session.readRefusals());
      return denials.list().at(-1)!.count === 6;
    }, "the one after the change is counted too");
  });
});
