/**
 * What policies promise about traffic that is already there, and about ways around them: connections that stand, fragments,
 * detours through a node's port, pods that have just come up, and what isolation costs those whom nobody isolates.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { PolicyCountersReply } from "@beyondfabric/agent/api";
import { routerMac } from "@beyondfabric/datapath";
import { buildEthernet, buildIp, buildSctp, etherType, ipProtocol, sctpChunk } from "@beyondfabric/packet";
import type { Probe } from "../conformance/peer.ts";
import { echoServer, Lab, until, type PodInfo } from "./lab.ts";
import { Peers } from "./peers.ts";
import { captured, Conversation, PingStream } from "./traffic.ts";

const peers = new Peers();
/** Answers on ports 80 and 81 and tries addresses; the echo server beside it is for connections that stay. */
const serve = (name: string): string => `${peers.line(name)} & ${echoServer}`;

const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

interface PolicySpec {
  readonly podSelector: object;
  readonly policyTypes?: readonly string[];
  readonly ingress?: readonly object[];
  readonly egress?: readonly object[];
}

describe("isolation of traffic that is there, and ways around it", () => {
  let lab: Lab;
  let pods: Map<string, PodInfo>;
  const pod = (name: string): PodInfo => pods.get(name)!;
  const addresses = (name: string): string[] => [pod(name).ipv4, pod(name).ipv6];

  before(async () => {
    lab = await Lab.up("isol", { nodes: 2 });
    const place = { server: "node-1", near: "node-1", far: "node-2", plain: "node-2" };
    const infos = await lab.pods(
      ...Object.entries(place).map(([name, node]) => ({ name, node, labels: { app: name }, run: serve(name) })),
    );
    pods = new Map(infos.map((info) => [info.name, info]));
  });
  after(async () => {
    await lab?.down();
    peers.remove();
  });

  async function policy(name: string, spec: PolicySpec): Promise<void> {
    const metadata = { name, namespace: "default" };
    await lab.apply({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec });
  }
  const remove = (...names: string[]): Promise<string> => lab.mustKubectl("delete", "networkpolicy", ...names);

  const tried = (from: string, probes: readonly Probe[], milliseconds = 1500): Promise<boolean[]> =>
    peers.probe(from, probes, milliseconds);

  const on = (name: string, port: number, protocol: Probe["protocol"] = "TCP", bytes?: number): Probe[] =>
    addresses(name).map((address) => ({ address, port, protocol, ...(bytes === undefined ? {} : { bytes }) }));

  /** Waits until probes are answered as expected. */
  async function settled(what: string, from: string, expected: readonly (readonly [Probe, boolean])[]): Promise<void> {
    await until(
      what,
      async () => {
        const reached = await tried(
          from,
          expected.map(([each]) => each),
        );
        const wrong = expected.filter(([, open], index) => reached[index] !== open);
        if (wrong.length > 0) throw new Error(wrong.map(([each]) => JSON.stringify(each)).join());
        return true;
      },
      30_000,
    ).catch(async (error: unknown) => {
      console.log(await entriesAbout(expected.map(([{ address }]) => address)));
      console.log((await lab.exec(from === "till" ? "bank/till" : from, "ip", "neighbour")).stdout);
      throw error;
    });
  }

  /** The entries of both nodes about some addresses, for whoever looks into a failure. */
  async function entriesAbout(about: readonly string[]): Promise<string> {
    const found: string[] = [];
    for (const node of ["node-1", "node-2"]) {
      const entries = (await lab.flows(node)).filter((line) => about.some((address) => line.includes(address)));
      found.push(`${node}:`, ...entries, JSON.stringify((await lab.status(node)).misses));
    }
    return found.join("\n");
  }
  const all = (probes: readonly Probe[], open: boolean): [Probe, boolean][] => probes.map((each) => [each, open]);

  const server = { podSelector: { matchLabels: { app: "server" } } };
  const from = (...names: string[]): object[] => names.map((app) => ({ podSelector: { matchLabels: { app } } }));

  it("an established connection stops when its policy does not allow it any more, and others lose nothing", async () => {
    await policy("server", { ...server, ingress: [{ from: from("near", "far") }] });
    await settled("others are kept out", "plain", all(on("server", 80), false));
    for (const [index, address] of addresses("server").entries()) {
      const kept = await PingStream.start(lab, "near", address);
      const cut = new Conversation(lab, "far", address);
      const keptTalk = new Conversation(lab, "near", address);
      try {
        await cut.say();
        await keptTalk.say();
        keptTalk.talk();
        await policy("server", { ...server, ingress: [{ from: from("near") }] });
        await until("the connection stands still", () =>
          cut.say(1500).then(
            () => false,
            () => true,
          ),
        );
        await sleep(1500);
        await keptTalk.beSilent();
        assert.equal((await kept.stop()).lost, 0, `family ${index}: an allowed pair lost packets`);
      } finally {
        await Promise.all([cut.close(), keptTalk.close()]);
      }
      await policy("server", { ...server, ingress: [{ from: from("near", "far") }] });
      await settled("far may again", "far", all(on("server", 80), true));
    }
    await remove("server");
  });

  it("a connection that began before its pod was isolated is judged by who opened it", async () => {
    const out = new Conversation(lab, "far", pod("server").ipv4);
    const into = new Conversation(lab, "server", pod("far").ipv4);
    try {
      await out.say();
      await into.say();
      // Whatever the server says first after this must not make it a client: nobody may come in, it may go out.
      await policy("server", { ...server, policyTypes: ["Ingress"] });
      await settled("nobody comes in", "far", all(on("server", 80), false));
      await assert.rejects(out.say(2000));
      await into.say();
    } finally {
      await Promise.all([out.close(), into.close()]);
      await remove("server");
    }
  });

  it("fragments are judged by the ports of their datagram, on the node and across nodes", async () => {
    await policy("server", { ...server, ingress: [{ ports: [{ port: 80, protocol: "UDP" }] }] });
    for (const name of ["near", "far"]) {
      await settled(`datagrams of 4000 bytes from ${name}`, name, [
        ...all(on("server", 80, "UDP", 4000), true),
        ...all(on("server", 81, "UDP", 4000), false),
        ...all(on("server", 80, "UDP"), true),
        ...all(on("server", 81, "UDP"), false),
      ]);
    }
    // An answer in fragments to a pod whose own egress is all that is allowed.
    await policy("server", {
      ...server,
      policyTypes: ["Ingress", "Egress"],
      egress: [{ ports: [{ port: 81, protocol: "UDP" }] }],
    });
    await settled("answers of 4000 bytes", "server", [
      ...all(on("far", 81, "UDP", 4000), true),
      ...all(on("near", 81, "UDP", 4000), true),
      ...all(on("far", 80, "UDP", 4000), false),
    ]);
    await remove("server");
  });

  it("the first datagram in fragments of a fresh pair arrives", async () => {
    await policy("server", { ...server, ingress: [{ ports: [{ port: 80, protocol: "UDP" }] }] });
    await settled("the policy is there", "plain", all(on("server", 81), false));
    for (let round = 0; round < 3; round++) {
      const name = `fresh-${round}`;
      await lab.pods({ name, node: "node-2", run: serve(name) });
      await until(`${name} takes orders`, async () => (await tried(name, [])).length === 0);
      assert.deepEqual(await tried(name, on("server", 80, "UDP", 4000)), [true, true], name);
      await lab.deletePods(name);
    }
    await remove("server");
  });

  it("no detour through a node's port makes a stranger the pod's own node, nor one tenant another", async () => {
    const target = pod("server");
    const rules = [
      "table inet detour {",
      "chain prerouting { type nat hook prerouting priority dstnat; policy accept;",
      `meta nfproto ipv4 tcp dport 30080 dnat ip to ${target.ipv4}:80`,
      `meta nfproto ipv6 tcp dport 30080 dnat ip6 to [${target.ipv6}]:80`,
      "}",
      "chain postrouting { type nat hook postrouting priority srcnat; policy accept;",
      'oifname "fabric0" counter masquerade',
      "}",
      "}",
    ].join("\n");
    for (const node of ["node-1", "node-2"]) {
      const added = await lab.node(node, "sh", "-c", `printf '%s\\n' '${rules}' | nft -f -`);
      assert.equal(added.code, 0, added.stderr);
    }
    try {
      await policy("server", { ...server, policyTypes: ["Ingress"] });
      await settled("the policy is there", "plain", all(on("server", 80), false));
      const nodes = ["10.10.0.11", "10.10.0.12"];
      for (const node of nodes) {
        const { stdout } = await lab.host("host-1", "timeout", "2", "socat", "-u", `TCP:${node}:30080`, "-");
        assert.equal(stdout, "", `an outside host came in by ${node}`);
      }
      const ports = nodes.map((address): Probe => ({ address, port: 30080, protocol: "TCP" }));
      for (const name of ["near", "far"]) assert.deepEqual(await tried(name, ports), [false, false], name);
      await remove("server");
      await settled("the policy is gone", "far", all(on("server", 80), true));

      await lab.apply({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: "bank", annotations: { "beyondfabric.io/tenant": "bank" } },
      });
      await lab.pods({ name: "till", namespace: "bank", node: "node-2", run: serve("till") });
      await until("till takes orders", async () => (await tried("till", [])).length === 0);
      await settled("tenants are apart", "till", all(on("server", 80), false));
      assert.deepEqual(await tried("till", ports), [false, false], "a tenant came in by a node's port");
    } finally {
      for (const node of ["node-1", "node-2"]) await lab.node(node, "nft", "delete", "table", "inet", "detour");
      await lab.kubectl("delete", "namespace", "bank", "--wait=false");
    }
    // The node itself, and what runs in its network, comes in whatever policies say.
    await policy("server", { ...server, policyTypes: ["Ingress"] });
    await settled("the policy is there", "near", all(on("server", 80), false));
    for (const address of addresses("server")) {
      const own = await lab.node("node-1", "ping", "-n", "-c", "1", "-W", "3", address);
      assert.equal(own.code, 0, own.stdout);
      const other = await lab.node("node-2", "ping", "-n", "-c", "1", "-W", "1", address);
      assert.notEqual(other.code, 0, "another node came in");
    }
    await remove("server");
  });

  it("a new pod is never open for a moment", async () => {
    const file = `/tmp/${lab.name}-arrived`;
    await policy("closed", { podSelector: { matchLabels: { app: "closed" } }, policyTypes: ["Ingress"] });
    await policy("seen", { podSelector: { matchLabels: { app: "near" } }, policyTypes: ["Ingress"] });
    await settled("policies are there", "far", all(on("near", 80), false));
    const fixed = "10.244.200.77";
    const knock = `while :; do echo knock | socat -u - UDP:${fixed}:7003; done`;
    await lab.pods({ name: "knocker", node: "node-2", run: knock }, { name: "knocker-1", node: "node-1", run: knock });
    for (let round = 0; round < 3; round++) {
      await lab.pods({
        name: "closed",
        node: "node-1",
        labels: { app: "closed" },
        annotations: { "beyondfabric.io/ip": fixed },
        run: `exec socat -u UDP4-RECVFROM:7003,fork OPEN:${file},creat,append`,
      });
      await sleep(1500);
      await lab.deletePods("closed");
    }
    const { stdout } = await lab.node("node-1", "sh", "-c", `cat ${file} 2>/dev/null || true`);
    assert.equal(stdout, "", "packets reached a pod that nobody may reach");
    await remove("closed", "seen");
    // The knockers are heard as soon as nothing forbids it: the test could have failed.
    await lab.pods({
      name: "closed",
      node: "node-1",
      annotations: { "beyondfabric.io/ip": fixed },
      run: `exec socat -u UDP4-RECVFROM:7003,fork OPEN:${file},creat,append`,
    });
    await until("knocks arrive", async () => (await lab.node("node-1", "cat", file)).stdout.includes("knock"));
    await lab.deletePods("closed", "knocker", "knocker-1");
    await lab.node("node-1", "rm", "-f", file);
  });

  it("counts what each rule lets pass, and what was refused and why", async () => {
    const ports = [{ ports: [{ port: 80 }] }, { ports: [{ port: 7000 }] }];
    await policy("server", { ...server, ingress: ports });
    await settled("the policy is there", "far", all(on("server", 81), false));
    const talk = new Conversation(lab, "far", pod("server").ipv4);
    try {
      for (let count = 0; count < 5; count++) await talk.say();
      for (let count = 0; count < 5; count++) assert.deepEqual(await tried("near", on("server", 80)), [true, true]);
      await until("the rules are counted", async () => {
        const { stdout } = await lab.fabricctl("node-1", "policy", "counters", "default/server", "-o", "json");
        const { rules } = JSON.parse(stdout) as PolicyCountersReply;
        const [web, echo] = [1, 2].map((number) =>
          rules.find(({ policy, rule }) => policy === "default/server" && rule === number),
        );
        if (web === undefined || echo === undefined) return false;
        assert.ok(echo.sessions < web.sessions, JSON.stringify(rules));
        return web.sessions >= 10 && web.packets >= 60 && echo.sessions >= 1 && echo.packets >= 10 && echo.bytes >= 600;
      });
      const { stdout } = await lab.node("node-1", "curl", "-s", "http://127.0.0.1:9474/metrics");
      assert.match(stdout, /fabric_refused_packets_total\{reason="policy-ingress"\} [1-9]/);
      assert.match(
        stdout,
        /fabric_policy_rule_bytes_total\{policy="default\/server",direction="ingress",rule="2"\} [1-9]/,
      );
    } finally {
      await talk.close();
      await remove("server");
    }
  });

  it("whom nobody isolates pays nothing; a scan of an isolated pod costs a miss, not one for each port", async () => {
    await policy("server", { ...server, ingress: [{ ports: [{ port: 80 }, { port: 7000 }] }] });
    await settled("the policy is there", "far", all(on("server", 81), false));
    const datapath = async (node: string, name: string, other: string): Promise<string[]> => {
      const dump = `ovs-appctl -t ${lab.path(node, "ovs")}/ovs-vswitchd.*.ctl dpctl/dump-flows`;
      const { code, stdout, stderr } = await lab.node(node, "sh", "-c", dump);
      assert.equal(code, 0, stderr);
      const flows = stdout.split("\n");
      return flows.filter((line) => line.includes(pod(name).ipv4) && line.includes(pod(other).ipv4));
    };
    const isTracked = (line: string): boolean => /\bct\(/.test(line);
    const free = await PingStream.start(lab, "plain", pod("far").ipv4);
    const isolated = new Conversation(lab, "near", pod("server").ipv4);
    try {
      await isolated.say();
      isolated.talk();
      await until("both pairs have flows in the datapath", async () => {
        const plain = await datapath("node-2", "plain", "far");
        assert.ok(!plain.some(isTracked), "a pair that nobody isolates is tracked");
        return plain.length > 0 && (await datapath("node-1", "near", "server")).some(isTracked);
      });
      await isolated.beSilent();
    } finally {
      await free.stop();
      await isolated.close();
    }
    const before = (await lab.status("node-1")).misses.total;
    const probes = Array.from({ length: 300 }, (_, index): Probe => {
      return { address: pod("server").ipv4, port: 1000 + index, protocol: "TCP" };
    });
    assert.deepEqual([...new Set(await tried("far", probes))], [false]);
    const misses = (await lab.status("node-1")).misses.total - before;
    assert.ok(misses < 40, `300 ports cost ${misses} misses`);
    await remove("server");
  });

  it("SCTP passes by the ports of its associations, between nodes and both ways, and by no other", async () => {
    await policy("server", { ...server, ingress: [{ ports: [{ port: 9, protocol: "SCTP" }] }] });
    await policy("far", { podSelector: { matchLabels: { app: "far" } }, policyTypes: ["Ingress"] });
    await settled("the policies are there", "plain", all([...on("server", 80), ...on("far", 80)], false));
    const { init, initAck, data } = sctpChunk;
    const macs = new Map<string, string>();
    for (const name of ["server", "near", "far"]) {
      macs.set(name, (await lab.exec(name, "cat", "/sys/class/net/eth0/address")).stdout.trim());
    }
    /** Whether a packet of one chunk comes out at the other pod. */
    type Arrives = (from: string, to: string, ports: readonly [number, number], chunk: number) => Promise<boolean>;
    const over =
      (family: "ipv4" | "ipv6"): Arrives =>
      async (sender, receiver, [srcPort, dstPort], chunk) => {
        const ends = { src: pod(sender)[family], dst: pod(receiver)[family] };
        const ip = buildIp({ ...ends, protocol: ipProtocol.sctp }, buildSctp({ srcPort, dstPort, chunk }));
        const type = family === "ipv4" ? etherType.ipv4 : etherType.ipv6;
        const frame = buildEthernet({ src: macs.get(sender)!, dst: routerMac, etherType: type }, ip);
        const lines = await captured(
          (...command) => lab.exec(receiver, ...command),
          `/tmp/${lab.name}-sctp`,
          "-i eth0 -Q in sctp",
          async () => {
            const program = join(import.meta.dirname, "raw-frames.ts");
            const sent = await lab.exec(sender, process.execPath, program, "eth0", frame.toString("hex"));
            assert.equal(sent.code, 0, sent.stderr);
            await sleep(1000);
          },
        );
        return lines.some((line) => line.includes(`${ends.src}.${srcPort} > ${ends.dst}.${dstPort}: sctp`));
      };
    const port = 40_000;
    for (const family of ["ipv4", "ipv6"] as const) {
      const arrives = over(family);
      const passes = (...packet: Parameters<Arrives>): Promise<unknown> =>
        until(`${family} ${packet.join(" ")} arrives`, () => arrives(...packet));
      for (const client of ["far", "near"]) {
        assert.equal(await arrives(client, "server", [port, 9], data), false, `${client}: DATA before INIT`);
        assert.equal(await arrives(client, "server", [port, 10], init), false, `${client}: a closed port`);
        await passes(client, "server", [port, 9], init);
        await passes("server", client, [9, port], initAck);
        await passes(client, "server", [port, 9], data);
        assert.equal(await arrives(client, "server", [port, 10], data), false, `${client}: another port`);
      }
      // The client is isolated too: what it asked is answered, and nothing else comes in.
      for (const chunk of [init, initAck, data]) {
        assert.equal(await arrives("server", "far", [9, port + 1], chunk), false, `chunk ${chunk} unasked`);
      }
    }
    await remove("server", "far");
  });
});
