/**
 * Policies that nobody sane writes: ten thousand rules, a thousand blocks, contradictions, nothing at all, fields that do
 * not exist, more than fits. While they come the agents answer, and first packets of other pods go on; none of them opens
 * what it does not say, and what cannot be honoured is closed and told.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Probe } from "../conformance/peer.ts";
import { assertWithin, Lab, until, type PodInfo } from "./lab.ts";
import { Peers } from "./peers.ts";
import { Counted, startOnNode } from "./traffic.ts";

const peers = new Peers();
const run = (pod: string): string => `exec ${peers.line(pod)}`;
const figure = (text: string): void => console.log(`       ${text}`);
const nodes = ["node-1", "node-2"];
const policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";

/** Asks an agent how it is every 50 ms, and says at its end how often, and how long the slowest answer took (ms). */
const healthWatch = `
  const deadline = Date.now() + 120_000;
  let asked = 0, slowest = 0, stopping = false;
  process.stdin.resume().once("end", () => { stopping = true; });
  console.log("ready");
  while (!stopping && Date.now() < deadline) {
    const begun = performance.now();
    const answer = await fetch("http://127.0.0.1:9474/healthz");
    if ((await answer.text()) !== "ok\\n") throw new Error("not healthy");
    slowest = Math.max(slowest, performance.now() - begun);
    asked++;
    await new Promise((done) => setTimeout(done, 50));
  }
  console.log(JSON.stringify({ asked, slowest }));
`;

const victims = ["rules", "ports", "blocks", "apart", "unknown", "large"];
const bystanders = nodes.flatMap((node) => [1, 2, 3, 4].map((number) => ({ name: `by-${node}-${number}`, node })));

const selects = (victim: string): object => ({ podSelector: { matchLabels: { victim } } });
const from = (role: string): object => ({ podSelector: { matchLabels: { role } } });
const many = <T>(count: number, make: (number: number) => T): T[] =>
  Array.from({ length: count }, (_, number) => make(number));

describe("hostile policies neither stall the agents nor open a hole", () => {
  let lab: Lab;
  let infos: Map<string, PodInfo>;
  let proxy: Awaited<ReturnType<Lab["proxy"]>> | undefined;

  before(async () => {
    lab = await Lab.up("hostil", { nodes: nodes.length });
    const made = await lab.pods(
      ...["friend", "stranger"].map((role) => ({ name: role, node: "node-1", labels: { role }, run: run(role) })),
      ...victims.map((victim) => ({ name: victim, node: "node-2", labels: { victim }, run: run(victim) })),
      ...bystanders,
    );
    infos = new Map(made.map((pod) => [pod.name, pod]));
    proxy = await lab.proxy();
  });
  after(async () => {
    proxy?.stop();
    await lab?.down();
    peers.remove();
  });

  async function create(name: string, spec: object): Promise<{ readonly spec: object }> {
    const metadata = { name, namespace: "default" };
    const body = JSON.stringify({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${proxy!.url}${policies}`, { method: "POST", headers, body });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`policy ${name}: ${answer.status} ${said.slice(0, 300)}`);
    return JSON.parse(said) as { spec: object };
  }

  /** Which of the pod's ports 80 and 81 the source reaches, in both families. */
  async function reaches(source: string, victim: string): Promise<string[]> {
    const { ipv4, ipv6 } = infos.get(victim)!;
    const probes = [ipv4, ipv6].flatMap((address) =>
      [80, 81].map((port): Probe => ({ address, port, protocol: "TCP" })),
    );
    const reached = await peers.probe(source, probes, 1500);
    return probes
      .filter((_, index) => reached[index])
      .map(({ address, port }) => `${address.includes(":") ? "IPv6" : "IPv4"} ${port}`);
  }

  const open = ["IPv4 80", "IPv4 81", "IPv6 80", "IPv6 81"];
  const onlyWeb = ["IPv4 80", "IPv6 80"];

  /** Waits until a policy holds for the friend, and is then sure of the stranger. */
  async function holds(victim: string, forFriend: readonly string[], forStranger: readonly string[]): Promise<void> {
    let last: string[][] = [];
    await until(
      `the policy about ${victim} holds`,
      async () => {
        last = [await reaches("friend", victim), await reaches("stranger", victim)];
        if (JSON.stringify(last) !== JSON.stringify([forFriend, forStranger])) throw new Error(JSON.stringify(last));
        return true;
      },
      30_000,
    );
    assert.deepEqual(await reaches("stranger", victim), forStranger);
  }

  async function isTold(name: string, about: RegExp): Promise<void> {
    await until(`an Event on ${name} says ${String(about)}`, async () => {
      const fields = `involvedObject.kind=NetworkPolicy,involvedObject.name=${name},reason=NotHonoured`;
      const stdout = await lab.mustKubectl("get", "events", "--field-selector", fields, "-o", "json");
      const { items } = JSON.parse(stdout) as { items: { message: string; type: string }[] };
      return items.some(({ message, type }) => type === "Warning" && about.test(message));
    });
  }

  /** What is created while others' first packets and the agents' health are watched. */
  async function createThem(): Promise<void> {
    await create("rules", {
      ...selects("rules"),
      ingress: many(10_000, (number) => ({
        from: [from(number === 9999 ? "friend" : `nobody-${number}`)],
        ports: [{ port: 80 }],
      })),
    });
    await create("ports", {
      ...selects("ports"),
      ingress: [{ from: [from("friend")], ports: many(10_000, (number) => ({ port: 80 + number * 2 })) }],
    });
    const { ipv4, ipv6 } = infos.get("stranger")!;
    const around = [
      { ipBlock: { cidr: "0.0.0.0/0", except: [`${ipv4}/32`] } },
      { ipBlock: { cidr: "::/0", except: [`${ipv6}/128`] } },
      ...many(1000, (number) => ({ ipBlock: { cidr: `198.18.${number >> 8}.${number & 255}/32` } })),
    ];
    await create("blocks", { ...selects("blocks"), ingress: [{ from: around, ports: [{ port: 80 }] }] });
    // Nothing can be both, so this selects nobody.
    await create("apart-nobody", {
      podSelector: {
        matchLabels: { victim: "rules" },
        matchExpressions: [{ key: "victim", operator: "NotIn", values: ["rules"] }],
      },
      ingress: [{}],
    });
    await create("apart-closed", { ...selects("apart"), ingress: [] });
    await create("apart-web", { ...selects("apart"), ingress: [{ from: [from("friend")], ports: [{ port: 80 }] }] });
    await create("large", { ...selects("large"), ingress: [{ from: many(100_001, () => ({ podSelector: {} })) }] });
    for (let number = 0; number < 3; number++) {
      const ingress = many(10_000, (rule) => ({ from: [from(`nobody-${number}-${rule}`)], ports: [{ port: 81 }] }));
      await create(`more-${number}`, { ...selects("rules"), ingress });
    }
  }

  it("let the agents answer, and the first packets of others pass", async () => {
    const watches = nodes.map((node) => {
      const child = startOnNode(lab, node, [process.execPath, "--input-type=module", "--eval", healthWatch]);
      return new Counted<{ asked: number; slowest: number }>(`the watch of ${node}'s health`, child);
    });
    await Promise.all(watches.map((watch) => watch.ready()));
    // Every bystander pings every other one, in both families, one at a time: each pair's first packet is decided on.
    const pings = bystanders.map(async ({ name }) => {
      const others = bystanders.filter((other) => other.name !== name).map((other) => infos.get(other.name)!);
      const addresses = others.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
      const script = `for a in ${addresses.join(" ")}; do ping -n -c 1 -W 5 $a | grep time= ; sleep 0.6; done`;
      const { stdout } = await lab.exec(name, "sh", "-c", script);
      const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
      return { asked: addresses.length, times };
    });
    const began = performance.now();
    await createThem();
    figure(`the policies were created in ${Math.round(performance.now() - began)} ms`);
    const found = await Promise.all(pings);
    const asked = found.reduce((sum, each) => sum + each.asked, 0);
    const times = found.flatMap((each) => each.times);
    assert.equal(times.length, asked, "packets of others were lost");
    assertWithin(1000, `the slowest of ${asked} pings between others`, Math.max(...times));
    for (const [index, watch] of watches.entries()) {
      const { asked: count, slowest } = await watch.end();
      assert.ok(count > 20, `${nodes[index]} was asked ${count} times`);
      assertWithin(1000, `the slowest of ${count} answers of ${nodes[index]} about its health`, slowest);
    }
  });

  it("ten thousand rules: the last one counts as the first does, and thirty thousand others open nothing", () =>
    holds("rules", onlyWeb, []));
  it("ten thousand ports: those that are written, and not the ones between", () => holds("ports", onlyWeb, []));
  it("a thousand blocks: an exception is one", () => holds("blocks", onlyWeb, []));
  it("contradictions: what any policy allows passes, and who cannot exist is not selected", () =>
    holds("apart", onlyWeb, []));

  it("more than can be looked at: closed as a whole, and told", async () => {
    await holds("large", [], []);
    await isTold("large", /makes the policy too large, so it allows nothing.*split the policy/);
  });

  it("a field that does not exist: its rule is closed and told, unless the API server has dropped the field", async () => {
    assert.deepEqual(await reaches("stranger", "unknown"), open);
    const stored = await create("unknown", {
      ...selects("unknown"),
      ingress: [{ from: [from("friend")], ports: [{ port: 80 }], onlyOnSundays: true }],
    });
    if (JSON.stringify(stored).includes("onlyOnSundays")) {
      await holds("unknown", [], []);
      await isTold("unknown", /onlyOnSundays is not known here, so the rule allows nothing/);
    } else {
      await holds("unknown", onlyWeb, []);
    }
  });

  it("a policy of nothing: the whole namespace is closed, and open again without it", async () => {
    const [one, other] = bystanders.map(({ name }) => infos.get(name)!) as [PodInfo, PodInfo];
    const ping = async (): Promise<boolean> =>
      (await lab.exec(one.name, "ping", "-n", "-c", "1", "-W", "1", other.ipv4)).code === 0;
    assert.ok(await ping());
    await create("nothing", { podSelector: {} });
    await until("everything is closed", async () => !(await ping()), 30_000);
    assert.deepEqual(await reaches("friend", "rules"), onlyWeb);
    await lab.mustKubectl("delete", "networkpolicy", "nothing");
    await until("it is open again", ping, 30_000);
  });
});
