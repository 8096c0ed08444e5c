/**
 * A thousand policies are created, changed and deleted within a minute while traffic runs that they are about. Nothing that
 * is allowed all the while loses a packet, nothing that is not gets one through: both ends count.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { assertWithin, Lab, sleep, type PodInfo } from "./lab.ts";
import { kinds, type ReceiverReport, type SenderReport } from "./sequence.ts";
import { Counted, startInPod } from "./traffic.ts";

const program = join(import.meta.dirname, "sequence.ts");
const total = 1000;
/** A policy is changed after so many others were created, and deleted after twice as many. */
const apart = 50;
const ports = [7101, 7102];
const figure = (text: string): void => console.log(`       ${text}`);

const roles: Readonly<Record<string, { role: string; node: string }>> = {
  server: { role: "server", node: "node-2" },
  plain: { role: "plain", node: "node-2" },
  far: { role: "allowed", node: "node-1" },
  near: { role: "allowed", node: "node-2" },
  "far-refused": { role: "refused", node: "node-1" },
  "near-refused": { role: "refused", node: "node-2" },
  bound: { role: "bound", node: "node-1" },
};
const role = (name: string): object => ({ podSelector: { matchLabels: { role: name } } });
const portList = ports.flatMap((port) => ["TCP", "UDP"].map((protocol) => ({ port, protocol })));

/** What holds all the time. `bound` may be heard by the server, but may not say anything to it. */
const basis: Readonly<Record<string, object>> = {
  "server-hears": { ...role("server"), ingress: [{ from: [role("allowed"), role("bound")], ports: portList }] },
  "allowed-say": {
    ...role("allowed"),
    policyTypes: ["Egress"],
    egress: [{ to: [role("server"), role("plain")] }],
  },
  "bound-say": { ...role("bound"), policyTypes: ["Egress"], egress: [{ to: [role("server")], ports: [{ port: 9 }] }] },
};

/** Who sends to whom, and whether that is allowed at every moment. */
const flows: readonly { from: string; to: string; port: number; passes: boolean }[] = [
  { from: "far", to: "server", port: 7101, passes: true },
  { from: "near", to: "server", port: 7102, passes: true },
  { from: "far", to: "plain", port: 7101, passes: true },
  { from: "near", to: "plain", port: 7102, passes: true },
  { from: "far-refused", to: "server", port: 7101, passes: false },
  { from: "near-refused", to: "server", port: 7102, passes: false },
  { from: "bound", to: "server", port: 7101, passes: false },
];

/**
 * The policy of a number: none opens what is closed, none closes what is open, and all but the last sort change what is
 * known of the pairs that talk. Those about `plain` make it isolated and free again while it is talked to.
 */
function spec(number: number, version: "first" | "changed"): object {
  const port = { port: (version === "first" ? 20_000 : 30_000) + number };
  const strangers = { ipBlock: { cidr: "198.18.0.0/15", except: version === "first" ? [] : ["198.19.0.0/16"] } };
  if (number % 200 === 4) {
    const anyone = version === "first" ? {} : { ports: portList };
    return { ...role("plain"), ingress: [{ from: [role("allowed")], ...anyone }] };
  }
  switch (number % 5) {
    case 0:
      return { ...role("server"), ingress: [{ from: [role("allowed")], ports: [port] }] };
    case 1:
      return { ...role("server"), ingress: [{ from: [role("refused"), strangers], ports: [port] }] };
    case 2:
      return { ...role("allowed"), policyTypes: ["Egress"], egress: [{ to: [strangers], ports: [port] }] };
    case 3:
      return { ...role("bound"), policyTypes: ["Egress"], egress: [{ to: [role("server")], ports: [port] }] };
    default:
      return { ...role("nobody"), ingress: version === "first" ? [] : [{}] };
  }
}

const policy = (name: string, body: object): object => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "default" },
  spec: body,
});

describe(`${total} policies come, change and go in a minute while traffic runs`, () => {
  let lab: Lab;
  let infos: Map<string, PodInfo>;
  let proxy: Awaited<ReturnType<Lab["proxy"]>> | undefined;
  const running = new Set<Counted<unknown>>();

  before(async () => {
    lab = await Lab.up("pchurn", { nodes: 2 });
    await lab.apply(...Object.entries(basis).map(([name, body]) => policy(name, body)));
    const specs = Object.entries(roles).map(([name, { role: label, node }]) => ({
      name,
      node,
      labels: { role: label },
    }));
    infos = new Map((await lab.pods(...specs)).map((pod) => [pod.name, pod]));
    proxy = await lab.proxy();
  });
  after(async () => {
    for (const each of running) each.kill();
    proxy?.stop();
    await lab?.down();
  });

  const start = <Report>(pod: string, ...args: string[]): Counted<Report> => {
    const child = startInPod(lab, pod, [process.execPath, program, ...args]);
    const counted = new Counted<Report>(`${args.join(" ")} in ${pod}`, child);
    running.add(counted);
    return counted;
  };

  async function ask(method: string, name: string, body?: object): Promise<void> {
    const collection = `${proxy!.url}/apis/networking.k8s.io/v1/namespaces/default/networkpolicies`;
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const answer = await fetch(name === "" ? collection : `${collection}/${name}`, {
      method,
      headers: { "content-type": type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${name}: ${answer.status} ${said.slice(0, 300)}`);
  }

  it("loses no packet that may pass, and lets none pass that may not", async () => {
    const receivers = new Map<string, Counted<ReceiverReport>>();
    for (const pod of ["server", "plain"]) receivers.set(pod, start(pod, "receive", ...ports.map(String)));
    await Promise.all([...receivers.values()].map((each) => each.ready()));
    const senders = flows.flatMap((flow) =>
      (["ipv4", "ipv6"] as const).map((family) => {
        const id = `${flow.from}>${flow.to}/${family}`;
        const address = infos.get(flow.to)![family];
        return { ...flow, id, counted: start<SenderReport>(flow.from, "send", id, address, String(flow.port)) };
      }),
    );
    await Promise.all(senders.map(({ counted }) => counted.ready()));

    const began = performance.now();
    const step = 60_000 / (total + 2 * apart);
    for (let number = 0; number < total + 2 * apart; number++) {
      const [changed, deleted] = [number - apart, number - 2 * apart];
      await Promise.all([
        ...(number < total ? [ask("POST", "", policy(`churn-${number}`, spec(number, "first")))] : []),
        ...(changed >= 0 && changed < total
          ? [ask("PATCH", `churn-${changed}`, { spec: spec(changed, "changed") })]
          : []),
        ...(deleted >= 0 ? [ask("DELETE", `churn-${deleted}`)] : []),
      ]);
      await sleep(Math.max(0, began + (number + 1) * step - performance.now()));
    }
    const took = performance.now() - began;
    assertWithin(60_000, `${3 * total} changes of policies`, took);

    const sent = await Promise.all(
      senders.map(async ({ counted, ...flow }) => ({ ...flow, ...(await counted.end()) })),
    );
    // What left last arrives.
    await sleep(2000);
    const heard = new Map<string, ReceiverReport>();
    for (const [pod, receiver] of receivers) heard.set(pod, await receiver.end());
    for (const [pod, { overflow }] of heard) assert.equal(overflow, 0, `${pod} had no room for what it received`);

    const wrong: string[] = [];
    const sums = { allowed: 0, refused: 0 };
    for (const { id, to, passes, sent: counts, broken, refused } of sent) {
      for (const kind of kinds) {
        const { different, again } = heard.get(to)!.heard[`${id} ${kind}`] ?? { different: 0, again: 0 };
        sums[passes ? "allowed" : "refused"] += counts[kind];
        if (different !== (passes ? counts[kind] : 0)) wrong.push(`${id}: ${different} of ${counts[kind]} ${kind}`);
        if (again > 0) wrong.push(`${id}: ${again} ${kind} came twice`);
      }
      if (passes && broken !== "") wrong.push(`${id}: the connection broke: ${broken}`);
      if (passes && refused > 0) wrong.push(`${id}: ${refused} new connections did not come about`);
      if (passes || counts.datagrams > 0) continue;
      wrong.push(`${id}: nothing was tried`);
    }
    figure(`${sums.allowed} packets and lines that may pass, ${sums.refused} that may not`);
    assert.deepEqual(wrong, []);
    assert.ok(sums.allowed > 1000 && sums.refused > 1000, "the traffic must have run");
  });

  it("is as before when they are gone", async () => {
    const { items } = JSON.parse(await lab.mustKubectl("get", "networkpolicies", "-o", "json")) as { items: object[] };
    assert.equal(items.length, Object.keys(basis).length);
    for (const node of ["node-1", "node-2"]) assert.ok((await lab.status(node)).ready);
  });
});
