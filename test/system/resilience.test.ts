import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { assertWithin, echoServer, entryKind, Lab, podObject, run, sleep, until, type PodInfo } from "./lab.ts";
import { Runtime } from "./runtime.ts";
import { Conversation, PingStream } from "./traffic.ts";

const figure = (text: string): void => console.log(`       ${text}`);

/** Every entry of a node's bridge, by what identifies it, with its age (s). */
async function ages(lab: Lab, node: string): Promise<Map<string, number>> {
  const outcome = await run("ovs-ofctl", ["-O", "OpenFlow15", "dump-flows", bridgeOf(lab, node)]);
  assert.equal(outcome.code, 0, outcome.stderr);
  const found = new Map<string, number>();
  for (const line of outcome.stdout.split("\n")) {
    const match = /cookie=(\w+), duration=([\d.]+)s, (table=\d+).*?(priority=.*) actions=/.exec(line);
    if (match !== null) found.set(`${match[1]} ${match[3]} ${match[4]}`, Number(match[2]));
  }
  return found;
}

function bridgeOf(lab: Lab, node: string): string {
  return `unix:${lab.path(node, "ovs/br-int.mgmt")}`;
}

/** Entries of a node's bridge that name an address. */
async function about(lab: Lab, node: string, ...addresses: string[]): Promise<string[]> {
  const entries = [...(await ages(lab, node)).keys()];
  return entries.filter((entry) => {
    const words = entry.split(/[ ,=]/);
    return addresses.some((address) => words.includes(address));
  });
}

/** The verdict entries between two pods, in both directions. */
async function between(lab: Lab, node: string, a: PodInfo, b: PodInfo): Promise<string[]> {
  const entries = await about(lab, node, a.ipv4);
  return entries.filter((entry) => entry.includes(b.ipv4) && entryKind(entry) === "verdict");
}

async function healthOf(lab: Lab, node: string): Promise<string> {
  const address = await lab.mustKubectl(
    "get",
    "node",
    node,
    "-o",
    `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`,
  );
  return `http://${address.trim()}:9474/readyz`;
}

/** Milliseconds until an agent says that it is ready. */
async function untilReady(url: string, timeout = 30_000): Promise<number> {
  const begun = performance.now();
  await until(
    `${url} answers 200`,
    async () => (await fetch(url, { signal: AbortSignal.timeout(2000) })).status === 200,
    timeout,
    10,
  );
  return Math.round(performance.now() - begun);
}

async function pingOnce(lab: Lab, from: string, to: string): Promise<void> {
  const { code, stdout } = await lab.exec(from, "ping", "-n", "-c", "1", "-W", "3", to);
  assert.equal(code, 0, `the first packet from ${from} to ${to} was lost:\n${stdout}`);
  assert.doesNotMatch(stdout, /DUP/);
}

describe("what dies comes back, and what does not need it goes on", () => {
  let lab: Lab;
  let pods: Map<string, PodInfo>;
  const idleSeconds = 2;
  const pod = (name: string): PodInfo => pods.get(name)!;

  before(async () => {
    lab = await Lab.up("resil", { nodes: 2, config: `agent:\n  limits:\n    idleSeconds: ${idleSeconds}\n` });
    const made = await lab.pods(
      ...["a", "b", "lone-1", "lone-2"].map((name) => ({ name, node: "node-1", run: echoServer })),
      ...["c", "lone-3"].map((name) => ({ name, node: "node-2", run: echoServer })),
    );
    pods = new Map(made.map((each) => [each.name, each]));
  });
  after(() => lab?.down());

  it("kill -9 of an agent: no packet is lost, no entry is rewritten, it answers again at once", async () => {
    const url = await healthOf(lab, "node-1");
    const near = await PingStream.start(lab, "a", pod("b").ipv4);
    const far = await PingStream.start(lab, "a", pod("c").ipv4);
    const talk = new Conversation(lab, "a", pod("c").ipv4);
    await talk.say();
    talk.talk();
    await sleep(1500);
    const before = await ages(lab, "node-1");
    const dumped = performance.now();

    await lab.component("node-1", "agent", "kill");
    const times = [await untilReady(url)];
    const status = await lab.status("node-1");
    assert.equal(status.ready, true);
    assert.equal(status.switch.connected, true);

    await sleep(1500);
    const elapsed = (performance.now() - dumped) / 1000;
    const now = await ages(lab, "node-1");
    const [nearFigures, farFigures] = [await near.stop(), await far.stop()];
    const talkFigures = await talk.beSilent();
    await talk.close();
    figure(
      `lost ${nearFigures.lost} of ${nearFigures.sent} on the node, ${farFigures.lost} of ${farFigures.sent} across nodes; ` +
        `${talkFigures.said} lines over TCP, the slowest ${talkFigures.slowest} ms`,
    );
    assert.deepEqual([nearFigures.lost, nearFigures.doubled], [0, 0]);
    assert.deepEqual([farFigures.lost, farFigures.doubled], [0, 0]);
    const rewritten: string[] = [];
    for (const [entry, age] of before) {
      const inUse = entryKind(entry) !== "verdict" || entry.includes(pod("b").ipv4) || entry.includes(pod("c").ipv4);
      if (!inUse) continue;
      const later = now.get(entry);
      if (later === undefined || later < age + elapsed - 1) rewritten.push(`${entry}: ${age} s, then ${later} s`);
    }
    assert.deepEqual(rewritten, []);
    assert.deepEqual(
      [...now.keys()].filter((entry) => !before.has(entry) && entryKind(entry) !== "verdict"),
      [],
      "entries appeared that were not there before",
    );

    for (let again = 0; again < 2; again++) {
      // Long enough that its supervisor does not take it for one that cannot run, and pauses longer.
      await sleep(12_000);
      await lab.component("node-1", "agent", "kill");
      times.push(await untilReady(url));
    }
    assertWithin(2000, "agent ready after kill -9, its supervisor's pause included", ...times);
  });

  it("pods that were created while the agent was away come up after", async () => {
    await lab.component("node-1", "agent", "stop");
    await lab.apply(podObject({ name: "meanwhile", node: "node-1", run: echoServer }));
    const message = await until("the runtime says why the pod waits", async () => {
      const { stdout } = await lab.kubectl("get", "events", "-o", "json");
      const { items } = JSON.parse(stdout) as { items: { message: string; involvedObject: { name: string } }[] };
      return items.find(({ message, involvedObject }) => involvedObject.name === "meanwhile" && /agent/.test(message));
    });
    assert.match(message.message, /fabric-node does not answer/);
    await lab.component("node-1", "agent", "start");
    const made = await lab.podReady("meanwhile");
    await pingOnce(lab, "c", made.ipv4);
    await lab.deletePods("meanwhile");
  });

  it("a connection that is silent for long lives on, its entries gone", async () => {
    const talk = new Conversation(lab, "a", pod("c").ipv4);
    await talk.say();
    const begun = Date.now();
    for (const node of ["node-1", "node-2"]) {
      await until(
        `the entries of ${node} have aged away`,
        async () => (await between(lab, node, pod("a"), pod("c"))).length === 0,
        60_000,
        250,
      );
    }
    figure(`entries aged away after ${Date.now() - begun} ms with idleSeconds ${idleSeconds}`);
    await sleep(Math.max(0, idleSeconds * 10_000 - (Date.now() - begun)));
    await talk.say();
    const figures = await talk.beSilent();
    figure(`the first line after the silence took ${figures.slowest} ms at most`);
    await talk.close();
  });

  it("a connection that is silent for long lives on while both agents are dead", async () => {
    const talk = new Conversation(lab, "a", pod("c").ipv4);
    await talk.say();
    talk.talk();
    await Promise.all(["node-1", "node-2"].map((node) => lab.component(node, "agent", "stop")));
    await talk.beSilent();
    try {
      await sleep(idleSeconds * 10_000);
      for (const node of ["node-1", "node-2"]) {
        const entries = await between(lab, node, pod("a"), pod("c"));
        assert.equal(entries.length, 2, `${node} holds ${entries.length} entries of the pair`);
      }
      await talk.say();
      await talk.beSilent();
    } finally {
      await Promise.all(["node-1", "node-2"].map((node) => lab.component(node, "agent", "start")));
      await talk.close();
    }
    await untilReady(await healthOf(lab, "node-1"));
    await untilReady(await healthOf(lab, "node-2"));
  });

  /** What the agent keeps on the node besides verdict entries; ages and volatile numbers left out. */
  async function keptOn(node: string): Promise<unknown> {
    const entries = [...(await ages(lab, node)).keys()].filter((entry) => entryKind(entry) !== "verdict");
    const meters = await run("ovs-ofctl", ["-O", "OpenFlow15", "dump-meters", bridgeOf(lab, node)]);
    const links: unknown[] = [];
    for (const link of ["fabric0", "br-eth1"]) {
      const shown = await lab.node(node, "ip", "-json", "address", "show", "dev", link);
      const [facts] = JSON.parse(shown.stdout) as {
        mtu: number;
        address: string;
        addr_info: { scope: string; local: string; prefixlen: number }[];
      }[];
      const routes: string[] = [];
      for (const family of ["-4", "-6"]) {
        const { stdout } = await lab.node(node, "ip", family, "route", "show", "dev", link);
        routes.push(...stdout.split("\n").filter((line) => line !== "" && !line.startsWith("fe80")));
      }
      links.push({
        link,
        mtu: facts!.mtu,
        mac: facts!.address,
        addresses: facts!.addr_info
          .filter(({ scope }) => scope === "global")
          .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
          .sort(),
        routes: routes.map((line) => line.replaceAll(/\s+/g, " ").trim()).sort(),
      });
    }
    const uplink = await run("ovs-ofctl", [
      "-O",
      "OpenFlow15",
      "--no-stats",
      "dump-flows",
      `unix:${lab.path(node, "ovs/br-eth1.mgmt")}`,
    ]);
    return {
      entries: entries.sort(),
      meters: meters.stdout
        .split(/\n(?=meter=)/)
        .slice(1)
        .map((text) => text.trim())
        .sort(),
      links,
      uplink: uplink.stdout
        .split("\n")
        .filter((line) => line.includes("actions="))
        .sort(),
    };
  }

  /** Waits until the node has taken away what pods of earlier tests had: `kubectl delete --force` does not. */
  async function settled(node: string): Promise<void> {
    const expected = [...pods.values()].filter((each) => each.node === node).length;
    await until(`${node} has ${expected} pods`, async () => (await lab.status(node)).pods === expected);
  }

  /** Kills daemons of node-1 under traffic and says how long each kind of traffic was silent (ms). */
  async function killUnderTraffic(components: readonly string[]): Promise<{ near: number; far: number; lost: number }> {
    await settled("node-1");
    const before = await keptOn("node-1");
    const near = await PingStream.start(lab, "a", pod("b").ipv4);
    const far = await PingStream.start(lab, "a", pod("c").ipv4);
    const talk = new Conversation(lab, "a", pod("c").ipv4);
    await talk.say();
    talk.talk();
    await Promise.all(components.map((component) => lab.component("node-1", component, "kill")));
    await sleep(500);
    for (const [from, to] of [
      ["a", "b"],
      ["a", "c"],
      ["c", "a"],
    ] as const) {
      await until(
        `${from} reaches ${to} again`,
        async () => (await lab.exec(from, "ping", "-n", "-c", "1", "-W", "1", pod(to).ipv4)).code === 0,
        30_000,
      );
    }
    await untilReady(await healthOf(lab, "node-1"));
    await sleep(1500);
    const [nearFigures, farFigures] = [await near.stop(), await far.stop()];
    await talk.beSilent();
    await talk.close();
    await until(
      "everything on the node is as before",
      async () => {
        const now = await keptOn("node-1");
        assert.deepEqual(now, before);
        return true;
      },
      30_000,
      500,
    );
    return {
      near: nearFigures.longestSilence,
      far: farFigures.longestSilence,
      lost: nearFigures.lost + farFigures.lost,
    };
  }

  it("kill -9 of ovs-vswitchd: the agent restores everything, and traffic resumes", async () => {
    const silence = await killUnderTraffic(["vswitchd"]);
    assert.ok(silence.near > 0 && silence.far > 0, "the switch was not killed");
    assertWithin(3000, "traffic on the node resumed after kill -9 of ovs-vswitchd", silence.near);
    assertWithin(3000, "traffic across nodes resumed after kill -9 of ovs-vswitchd", silence.far);
  });

  it("kill -9 of ovsdb-server: traffic does not notice, and pods can be created after", async () => {
    const silence = await killUnderTraffic(["ovsdb"]);
    figure(`${silence.lost} lost`);
    assert.equal(silence.lost, 0);
    await until("the agent is ready", async () => (await lab.status("node-1")).ready);
    const [made] = await lab.pods({ name: "after-db", node: "node-1", run: echoServer });
    await pingOnce(lab, "c", made!.ipv4);
    await lab.deletePods("after-db");
  });

  it("kill -9 of both at once", async () => {
    const silence = await killUnderTraffic(["ovsdb", "vswitchd"]);
    assertWithin(3000, "traffic on the node resumed after kill -9 of both", silence.near);
    assertWithin(3000, "traffic across nodes resumed after kill -9 of both", silence.far);
    const [made] = await lab.pods({ name: "after-both", node: "node-1", run: echoServer });
    await pingOnce(lab, "c", made!.ipv4);
    await lab.deletePods("after-both");
  });

  it("API server away: traffic, first packets, pods to come and go, and a restart of the agent", async () => {
    await settled("node-1");
    const runtime = new Runtime(lab, "node-1");
    const seconds = process.env["FABRIC_LONG"] === "1" ? 60 : 20;
    const url = await healthOf(lab, "node-1");
    const first = await runtime.belongings();
    /** Runs under traffic on the node and across nodes; no packet may be lost. */
    const lossless = async (what: string, run: () => Promise<void>): Promise<void> => {
      const streams = [
        await PingStream.start(lab, "a", pod("b").ipv4),
        await PingStream.start(lab, "a", pod("c").ipv4),
      ];
      await run();
      await sleep(1500);
      const figures = await Promise.all(streams.map((stream) => stream.stop()));
      figure(`${what}: lost ${figures.map(({ lost, sent }) => `${lost} of ${sent}`).join(", ")}`);
      assert.deepEqual(
        figures.map(({ lost }) => lost),
        [0, 0],
        what,
      );
    };
    let begun = 0;
    // A restarted agent learns of pods elsewhere from the API alone; what is in use goes on by its entries until then.
    const talk = new Conversation(lab, "a", pod("c").ipv4);
    await talk.say();
    talk.talk();
    try {
      await lossless("the API server goes", async () => {
        await lab.component("-", "apiserver", "stop");
        begun = Date.now();
        await sleep(2000);
        await pingOnce(lab, "lone-1", pod("lone-2").ipv4);
        await pingOnce(lab, "lone-1", pod("lone-3").ipv4);
        await pingOnce(lab, "lone-3", pod("lone-2").ipv6);
      });

      // Not under traffic across nodes: ovs-vswitchd reconfigures its bridges whenever a link of the node comes or goes,
      // and its userspace datapath may then lose a packet of a tunnel, whoever made the link.
      const near = await PingStream.start(lab, "a", pod("b").ipv4);
      const container = { container: "without-api", netns: await runtime.namespace() };
      const addresses = await runtime.add(container);
      assert.equal(addresses.length, 2);
      await pingOnce(lab, "a", addresses[0]!);
      await pingOnce(lab, "b", addresses[1]!);
      const out = await runtime.inside(container.netns, "ping", "-n", "-c", "1", "-W", "3", pod("b").ipv4);
      assert.equal(out.code, 0, out.stdout);
      assert.equal((await near.stop()).lost, 0);

      // An agent that starts now knows from OVSDB what it needs.
      await lossless("the agent restarts without it", async () => {
        await lab.component("node-1", "agent", "kill");
        figure(`agent ready ${await untilReady(url)} ms after kill -9, without the API server`);
      });
      const status = await lab.status("node-1");
      assert.deepEqual([status.ready, status.api.synced], [true, false]);
      const second = { container: "without-api-2", netns: await runtime.namespace() };
      const [address] = await runtime.add(second);
      assert.ok(!addresses.includes(address!), "an address in use was handed out again");
      await pingOnce(lab, "lone-2", address!);
      for (const each of [container, second]) {
        const check = await runtime.call("CHECK", { ...each, config: { prevResult: { cniVersion: "1.1.0" } } });
        assert.equal(check.code, 0, check.stdout);
        const gone = await runtime.call("DEL", each);
        assert.equal(gone.code, 0, gone.stdout);
      }
      assert.deepEqual(await runtime.belongings(), first, "something was left behind");
      await sleep(Math.max(0, seconds * 1000 - (Date.now() - begun)));
      await lossless("the API server comes back", async () => {
        await lab.component("-", "apiserver", "start");
        figure(`it was away for ${Math.round((Date.now() - begun) / 1000)} s`);
        await until("the agent has caught up with the API", async () => {
          const { api, ready } = await lab.status("node-1");
          return ready && api.synced && api.connected;
        });
      });
      const { said, slowest } = await talk.beSilent();
      figure(`${said} lines over one TCP connection all the while, the slowest ${slowest} ms`);
    } finally {
      await runtime.removeNamespaces();
      await talk.close();
      // Later tests need it, whatever this one finds.
      await lab.component("-", "apiserver", "start");
    }
    const [made] = await lab.pods({ name: "after-api", node: "node-1", run: echoServer });
    await pingOnce(lab, "lone-3", made!.ipv4);
    await lab.deletePods("after-api");
  });

  it("a deleted pod's entries are gone on every node within a second, packets still going to it", async () => {
    const [gone] = await lab.pods({ name: "gone", node: "node-2", run: echoServer });
    const streams = [
      await PingStream.start(lab, "a", gone!.ipv4),
      await PingStream.start(lab, "b", gone!.ipv6),
      await PingStream.start(lab, "c", gone!.ipv4),
    ];
    for (const node of ["node-1", "node-2"]) {
      assert.ok((await about(lab, node, gone!.ipv4)).length > 0, node);
      assert.ok((await about(lab, node, gone!.ipv6)).length > 0, node);
    }
    await lab.deletePods("gone");
    const deleted = performance.now();
    // Packets go on towards it: refusals may stand for it now, ways may not.
    await until(
      "no entry leads to it",
      async () => {
        for (const node of ["node-1", "node-2"]) {
          const flows = await lab.flows(node);
          const ways = flows.filter(
            (line) => (line.includes(gone!.ipv4) || line.includes(gone!.ipv6)) && /table=(10|50|60|80)/.test(line),
          );
          if (ways.some((line) => !line.includes("set_field:0x4->reg5"))) return false;
        }
        return true;
      },
      30_000,
      20,
    );
    assertWithin(1000, "entries gone after kubectl delete returned", performance.now() - deleted);
    for (const stream of streams) await stream.stop();
  });
});

describe("a switch that starts anew, and a node that is removed", () => {
  let lab: Lab;
  let witness: PodInfo;
  let lost: PodInfo;

  before(async () => {
    // Four blocks of four addresses: whatever a node gives back is needed at once.
    lab = await Lab.up("gone", {
      nodes: 3,
      config: JSON.stringify({
        manifests: [
          {
            apiVersion: "beyondfabric.io/v1alpha1",
            kind: "Network",
            metadata: { name: "overlay" },
            spec: { type: "Overlay" },
          },
          {
            apiVersion: "beyondfabric.io/v1alpha1",
            kind: "Subnet",
            metadata: { name: "tiny" },
            spec: { network: "overlay", cidrs: ["10.244.0.0/28"], default: true, blockLength: { ipv4: 30 } },
          },
        ],
      }),
    });
    [witness, lost] = (await lab.pods(
      { name: "witness", node: "node-2", run: echoServer },
      { name: "lost", node: "node-3", run: echoServer },
    )) as [PodInfo, PodInfo];
  });
  after(() => lab?.down());

  const blocksOf = async (node: string): Promise<string[]> => {
    const { items } = JSON.parse(await lab.mustKubectl("get", "addressblocks", "-o", "json")) as {
      items: { spec: { node: string; cidr: string } }[];
    };
    return items.filter(({ spec }) => spec.node === node).map(({ spec }) => spec.cidr);
  };

  it("pairs in use have their entries again as soon as the switch is back, and cost no more misses", async () => {
    const stream = await PingStream.start(lab, "witness", lost.ipv4);
    await sleep(500);
    const before = await between(lab, "node-2", witness, lost);
    assert.equal(before.length, 2);
    await lab.component("node-2", "vswitchd", "kill");
    await sleep(500);
    await untilReady(await healthOf(lab, "node-2"));
    await sleep(2000);
    assert.deepEqual((await between(lab, "node-2", witness, lost)).sort(), before.sort());
    const misses = (await lab.status("node-2")).misses.total;
    await sleep(2000);
    const more = (await lab.status("node-2")).misses.total - misses;
    await stream.stop();
    figure(`${more} misses in 2 s with 100 packets a second`);
    assert.ok(more < 20, `${more} misses: packets still go through the agent`);
  });

  it("frees its blocks and addresses for others, and no entry about it stays", async () => {
    const gateway = (await lab.status("node-3")).gatewayAddresses[0]!;
    await pingOnce(lab, "witness", lost.ipv4);
    await pingOnce(lab, "witness", gateway);
    assert.ok((await about(lab, "node-2", lost.ipv4)).length > 0);
    const freed = await blocksOf("node-3");
    assert.ok(freed.length > 0);

    // Pods on node-1 until its blocks are full and no block is free.
    let filled = 0;
    for (;;) {
      const name = `fill-${filled++}`;
      assert.ok(filled < 14, "sixteen addresses do not run out");
      await lab.apply(waiting(name));
      const ready = await lab.podReady(name, "default", 8_000).catch(() => undefined);
      if (ready === undefined) break;
    }
    // More that wait: a node gives back six addresses at most, so that both its own and its pod's are handed out again.
    const waits = [`fill-${filled - 1}`, ...Array.from({ length: 5 }, (_, index) => `heir-${index}`)];
    await lab.apply(...waits.slice(1).map(waiting));

    const begun = Date.now();
    const removed = await lab.lab("remove-node", "node-3");
    assert.equal(removed.code, 0, removed.stderr);
    await until(
      "the entries towards it are gone",
      async () => (await about(lab, "node-2", lost.ipv4, gateway, "10.10.0.13")).length === 0,
      10_000,
      50,
    );
    await until("its blocks are free", async () => (await blocksOf("node-3")).length === 0, 90_000, 250);
    figure(`blocks of the removed node freed ${Math.round((Date.now() - begun) / 1000)} s after it was taken away`);

    const heirs = await until(
      `pods of node-1 hold ${lost.ipv4} and ${gateway}`,
      async () => {
        const { items } = JSON.parse(await lab.mustKubectl("get", "pods", ...waits, "-o", "json")) as {
          items: { metadata: { name: string }; status: { podIP?: string } }[];
        };
        const found = [lost.ipv4, gateway].map((address) => items.find(({ status }) => status.podIP === address));
        if (found.some((item) => item === undefined)) return undefined;
        return await Promise.all(found.map((item) => lab.podReady(item!.metadata.name)));
      },
      60_000,
      250,
    );
    figure(
      `${lost.ipv4} was a pod of node-3 and ${gateway} node-3 itself: now ${heirs.map(({ name }) => name).join(", ")}`,
    );
    for (const heir of heirs) assert.equal(heir.node, "node-1");
    for (const heir of heirs) {
      await pingOnce(lab, "witness", heir.ipv4);
      await pingOnce(lab, heir.name, witness.ipv4);
      const { stdout } = await lab.exec(
        "witness",
        "sh",
        "-c",
        `echo hi | timeout 5 socat -t 2 - TCP:${heir.ipv4}:7000`,
      );
      assert.equal(stdout, "hi\n");
    }
    // What explains the entries names today's pods.
    const told = JSON.parse((await lab.fabricctl("node-2", "flows", "-o", "json")).stdout) as {
      flows: { kind: string; explanation?: string; source?: string; destination?: string }[];
    };
    for (const { kind, explanation } of told.flows) {
      if (kind === "verdict") assert.doesNotMatch(explanation ?? "", /default\/lost|node-3/);
    }
    assert.ok(
      told.flows.some(({ explanation }) => heirs.some(({ name }) => explanation?.includes(`default/${name} `))),
    );
  });

  function waiting(name: string): object {
    return podObject({ name, node: "node-1", run: echoServer });
  }
});
