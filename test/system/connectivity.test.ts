import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { echoServer, Lab, until, type PodInfo } from "./lab.ts";

const nodes = ["node-1", "node-2", "node-3"];

describe("every pod, node and outside host reaches what it should", () => {
  let lab: Lab;
  let pods: PodInfo[];

  before(async () => {
    lab = await Lab.up("conn");
    pods = await lab.pods(
      ...nodes.flatMap((node) => ["a", "b"].map((letter) => ({ name: `${letter}-${node}`, node, run: echoServer }))),
    );
  });
  after(() => lab?.down());

  const addresses = (pod: PodInfo): string[] => [pod.ipv4, pod.ipv6];

  it("gives every pod an address of each family, all different", () => {
    const all = pods.flatMap(addresses);
    assert.ok(all.every((address) => address !== ""));
    assert.equal(new Set(all).size, 12);
  });

  it("carries ICMP between every pair of pods, in both families", async () => {
    const failures = await Promise.all(
      pods.map(async (from) => {
        const targets = pods.filter((to) => to !== from).flatMap(addresses);
        const script = targets.map((to) => `ping -n -c 1 -W 3 ${to} >/dev/null || echo ${to}`).join("; ");
        const outcome = await lab.exec(from.name, "sh", "-c", script);
        return outcome.stdout
          .split("\n")
          .filter(Boolean)
          .map((to) => `${from.name} -> ${to}`);
      }),
    );
    assert.deepEqual(failures.flat(), []);
  });

  it("carries TCP and UDP between every pair of pods, in both families", async () => {
    const failures = await Promise.all(
      pods.map(async (from) => {
        const script = pods
          .filter((to) => to !== from)
          .flatMap(addresses)
          .flatMap((to) => {
            const bracketed = to.includes(":") ? `[${to}]` : to;
            return ["TCP", "UDP"].map(
              (kind) =>
                `test "$(echo hello | timeout 5 socat -t 0.5 -T 3 - ${kind}:${bracketed}:7000)" = hello || echo ${kind} ${to}`,
            );
          })
          .join("; ");
        const outcome = await lab.exec(from.name, "sh", "-c", script);
        return outcome.stdout
          .split("\n")
          .filter(Boolean)
          .map((to) => `${from.name} -> ${to}`);
      }),
    );
    assert.deepEqual(failures.flat(), []);
  });

  it("lets every node reach every pod, and every pod every node", async () => {
    const nodeAddresses = await Promise.all(
      nodes.map(async (node) => {
        const { stdout } = await lab.kubectl("get", "node", node, "-o", "jsonpath={.status.addresses[0].address}");
        return stdout.trim();
      }),
    );
    assert.ok(nodeAddresses.every((address) => /^\d+\./.test(address)));
    const failures: string[] = [];
    for (const node of nodes) {
      const script = pods
        .flatMap(addresses)
        .map((to) => `ping -n -c 1 -W 3 ${to} >/dev/null || echo ${to}`)
        .join("; ");
      const { stdout } = await lab.node(node, "sh", "-c", script);
      failures.push(
        ...stdout
          .split("\n")
          .filter(Boolean)
          .map((to) => `${node} -> ${to}`),
      );
    }
    for (const pod of pods) {
      const script = nodeAddresses.map((to) => `ping -n -c 1 -W 3 ${to} >/dev/null || echo ${to}`).join("; ");
      const { stdout } = await lab.exec(pod.name, "sh", "-c", script);
      failures.push(
        ...stdout
          .split("\n")
          .filter(Boolean)
          .map((to) => `${pod.name} -> node ${to}`),
      );
    }
    assert.deepEqual(failures, []);
  });

  it("lets a node talk TCP to its own pods and to pods elsewhere", async () => {
    for (const pod of pods.slice(0, 4)) {
      const { stdout } = await lab.node(
        "node-1",
        "sh",
        "-c",
        `echo hello | timeout 5 socat -t 2 - TCP:${pod.ipv4}:7000`,
      );
      assert.equal(stdout, "hello\n", `node-1 to ${pod.name}`);
    }
  });

  it("takes a pod to an outside host with its own node's address, and nobody back in", async () => {
    const pod = pods.find(({ node }) => node === "node-2")!;
    const server = lab.host(
      "host-1",
      "timeout",
      "20",
      "socat",
      "TCP-LISTEN:7100,reuseaddr",
      "SYSTEM:echo $SOCAT_PEERADDR",
    );
    const client = await lab.exec(
      pod.name,
      "sh",
      "-c",
      "for i in 1 2 3 4 5 6 7 8 9 10; do timeout 3 socat -u TCP:10.10.0.201:7100 - && exit 0; sleep 0.3; done; exit 1",
    );
    await server;
    assert.equal(client.code, 0, client.stderr);
    assert.equal(client.stdout.trim(), "10.10.0.12");
    const ping6 = await lab.exec(pod.name, "ping", "-n", "-c", "1", "-W", "3", "fd00:10::201");
    assert.equal(ping6.code, 0, ping6.stdout);

    // The outside host knows a way into the overlay, through a node that forwards: it must not be let in.
    await lab.host("host-1", "ip", "route", "replace", "10.244.0.0/16", "via", "10.10.0.12");
    const into = await lab.host("host-1", "ping", "-n", "-c", "2", "-W", "1", pod.ipv4);
    assert.notEqual(into.code, 0, "an outside host reached an overlay address");
  });

  it("has the right MTU: full-size passes, one byte more does not", async () => {
    const [from, to] = [pods.find(({ node }) => node === "node-1")!, pods.find(({ node }) => node === "node-3")!];
    const mtu = Number((await lab.exec(from.name, "cat", "/sys/class/net/eth0/mtu")).stdout || "0");
    const link = (await lab.exec(from.name, "ip", "-o", "link", "show", "eth0")).stdout;
    const shown = Number(/mtu (\d+)/.exec(link)?.[1]);
    assert.equal(shown, 1450, `${link} (sysfs says ${mtu})`);
    const ping = (size: number): Promise<{ code: number }> =>
      lab.exec(from.name, "ping", "-n", "-M", "do", "-c", "2", "-W", "2", "-s", String(size), to.ipv4);
    assert.equal((await ping(shown - 28)).code, 0, "a packet of exactly the MTU");
    assert.notEqual((await ping(shown - 27)).code, 0, "a packet one byte larger");
  });

  it("transfers a megabyte over TCP between nodes in both families, untouched offloads", async () => {
    const [from, to] = [pods.find(({ node }) => node === "node-1")!, pods.find(({ node }) => node === "node-2")!];
    for (const target of [to.ipv4, `[${to.ipv6}]`]) {
      const { stdout } = await lab.exec(from.name, "sh", "-c", `timeout 20 socat -u TCP:${target}:7002 - | wc -c`);
      assert.equal(stdout.trim(), "1048576", target);
    }
  });

  it("drops tunnel packets from a machine that owns no address, and counts them", async () => {
    const victim = pods.find(({ node }) => node === "node-1")!;
    const claimed = pods.find(({ node }) => node === "node-2")!;
    await lab.pods({
      name: "listener",
      node: "node-1",
      run: "socat -u UDP4-RECVFROM:7000,fork OPEN:/tmp/fabric-system-forged,creat,append & wait",
    });
    const target = await lab.podReady("listener");
    for (const source of [claimed.ipv4, victim.ipv4, "192.0.2.7"]) {
      const sent = await lab.host(
        "host-1",
        process.execPath,
        new URL("./forge.ts", import.meta.url).pathname,
        "10.10.0.11",
        "1",
        source,
        target.ipv4,
        "5",
      );
      assert.equal(sent.code, 0, sent.stderr);
    }
    const metrics = await until("the refusals are counted", async () => {
      const { stdout } = await lab.node("node-1", "curl", "-s", "http://127.0.0.1:9474/metrics");
      return /reason="tunnel-source-forged"\} [2-9]/.test(stdout) &&
        /reason="tunnel-source-outside"\} [1-9]/.test(stdout)
        ? stdout
        : undefined;
    });
    assert.ok(metrics.length > 0);
    const arrived = await lab.node("node-1", "cat", "/tmp/fabric-system-forged");
    assert.doesNotMatch(arrived.stdout, /forged/, "a forged packet reached a pod");
    const honest = await lab.exec(
      claimed.name,
      "sh",
      "-c",
      `echo honest | timeout 5 socat -t 0.5 - UDP:${target.ipv4}:7000`,
    );
    assert.equal(honest.code, 0);
    await until("an honest packet reaches the same pod", async () => {
      const { stdout } = await lab.node("node-1", "cat", "/tmp/fabric-system-forged");
      return stdout.includes("honest");
    });
    await lab.node("node-1", "rm", "-f", "/tmp/fabric-system-forged");
  });
});
