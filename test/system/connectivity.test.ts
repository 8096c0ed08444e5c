import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { echoServer, Lab, until, type Outcome, type PodInfo } from "./lab.ts";

const nodes = ["node-1", "node-2", "node-3"];

/**
 * The echo server of a node. Over UDP it answers from the address that it was asked at, as a server of several addresses
 * must: a node's own way to its pods is by `fabric0`, whose address a socket without one would take.
 */
const nodeEchoServer = [
  "for address in $(ip -o address show scope global | sed -E 's/.* inet6? ([^/]+).*/\\1/'); do",
  '  case $address in *:*) listen="UDP6-RECVFROM:7000,bind=[$address]" ;; *) listen=UDP4-RECVFROM:7000,bind=$address ;; esac',
  "  socat $listen,fork,reuseaddr EXEC:cat &",
  "done",
  "socat TCP6-LISTEN:7000,fork,reuseaddr,ipv6only=0 EXEC:cat &",
  "wait",
].join("\n");

/** An address in the one form of the URL standard, which is RFC 5952's for IPv6. */
function canonical(address: string): string {
  return new URL(`http://${address}`).hostname;
}

describe("every pod, node and outside host reaches what it should", () => {
  let lab: Lab;
  let pods: PodInfo[];
  /** The nodes themselves: pods in their network, with the addresses of both of their NICs. */
  let machines: (PodInfo & { readonly management: string })[];

  before(async () => {
    lab = await Lab.up("conn");
    pods = await lab.pods(
      ...nodes.flatMap((node) => ["a", "b"].map((letter) => ({ name: `${letter}-${node}`, node, run: echoServer }))),
    );
    const made = await lab.pods(
      ...nodes.map((node) => ({ name: `at-${node}`, node, hostNetwork: true, run: nodeEchoServer })),
    );
    machines = made.map((pod, index) => ({
      ...pod,
      management: pod.ipv4,
      ipv4: `10.10.0.${11 + index}`,
      ipv6: `fd00:10::${11 + index}`,
    }));
  });
  after(() => lab?.down());

  /** What does not answer, by every protocol and family: each is asked once and has seconds to answer. */
  async function unreached(
    sources: readonly PodInfo[],
    addressesFor: (from: PodInfo) => readonly string[],
  ): Promise<string[]> {
    const failures = await Promise.all(
      sources.map(async (from) => {
        const asked = addressesFor(from);
        assert.ok(asked.length > 0 && asked.every((address) => address !== ""));
        const script = asked.flatMap((to) => [
          `ping -n -c 1 -W 5 ${to} >/dev/null || echo ICMP ${to}`,
          ...["tcp", "udp"].map(
            (kind) =>
              `( exec 3<>/dev/${kind}/${to}/7000 && echo hello >&3 && test "$(timeout 5 head -n 1 <&3)" = hello ) 2>/dev/null || echo ${kind} ${to}`,
          ),
        ]);
        const { code, stdout, stderr } = await lab.exec(from.name, "bash", "-c", `${script.join("\n")}\nexit 0`);
        assert.equal(code, 0, `${from.name}: ${stderr}`);
        return stdout
          .split("\n")
          .filter(Boolean)
          .map((what) => `${from.name} -> ${what}`);
      }),
    );
    return failures.flat();
  }

  const addresses = (pod: PodInfo): string[] => [pod.ipv4, pod.ipv6];

  it("gives every pod an address of each family, all different", () => {
    const all = pods.flatMap(addresses);
    assert.ok(all.every((address) => address !== ""));
    assert.equal(new Set(all).size, 12);
  });

  it("carries ICMP, TCP and UDP between every pair of pods, in both families", async () => {
    assert.deepEqual(await unreached(pods, (from) => pods.filter((to) => to !== from).flatMap(addresses)), []);
  });

  it("carries all of it between every node and every pod, both ways", async () => {
    const ofNodes = machines.flatMap((machine) => [...addresses(machine), machine.management]);
    assert.equal(new Set(ofNodes).size, 9);
    assert.deepEqual(await unreached(machines, () => pods.flatMap(addresses)), []);
    assert.deepEqual(await unreached(pods, () => ofNodes), []);
  });

  it("takes pods to an outside host with their own node's address, in both families", async () => {
    const answer = (listen: string): string =>
      `timeout 120 socat ${listen},reuseaddr,fork SYSTEM:'echo $SOCAT_PEERADDR'`;
    await lab.host(
      "host-1",
      "sh",
      "-c",
      `(${answer("TCP4-LISTEN:7100")} & ${answer("TCP6-LISTEN:7101,ipv6only=1")} &) >/dev/null 2>&1 </dev/null`,
    );
    for (const { node, ipv4, ipv6 } of machines) {
      const from = pods.find((pod) => pod.node === node)!;
      for (const [target, own] of [
        ["TCP:10.10.0.201:7100", ipv4],
        ["TCP:[fd00:10::201]:7101", `[${ipv6}]`],
      ] as const) {
        const seen = await until(`${from.name} has an answer from ${target}`, async () => {
          const { code, stdout } = await lab.exec(from.name, "timeout", "3", "socat", "-u", target, "-");
          return code === 0 && stdout.trim();
        });
        assert.equal(canonical(seen), canonical(own), `${from.name} to ${target}`);
      }
    }
  });

  it("lets no outside host reach an overlay address, by whichever node and whatever address it claims", async () => {
    const file = `/tmp/${lab.name}-outside`;
    await lab.pods({
      name: "told",
      node: "node-1",
      run: `exec socat -u UDP6-RECVFROM:7003,fork,ipv6only=0 OPEN:${file},creat,append`,
    });
    const told = await lab.podReady("told");
    const claimed = pods.find(({ node }) => node === "node-2")!;
    const told4 = `${told.ipv4}:7003`;
    const told6 = `[${told.ipv6}]:7003`;
    await lab.host("host-1", "ip", "address", "add", `${claimed.ipv4}/32`, "dev", "lo");
    await lab.host("host-1", "ip", "address", "add", `${claimed.ipv6}/128`, "dev", "lo", "nodad");
    for (const { node, ipv4, ipv6 } of machines) {
      const before = await refusedByNode(node);
      // The host knows a way into the overlay: a node that forwards.
      const { stdout, stderr } = await lab.host(
        "host-1",
        "sh",
        "-c",
        [
          `ip route replace 10.244.0.0/16 via ${ipv4} && ip route replace fd00:244::/64 via ${ipv6} || echo no way`,
          `ping -n -c 1 -W 1 ${told.ipv4} >/dev/null && echo ping ${told.ipv4}`,
          `ping -n -c 1 -W 1 ${told.ipv6} >/dev/null && echo ping ${told.ipv6}`,
          `timeout 1 socat -u /dev/null TCP:${pods[0]!.ipv4}:7000 2>/dev/null && echo connected`,
          `timeout 1 socat -u /dev/null TCP:[${pods[0]!.ipv6}]:7000 2>/dev/null && echo connected`,
          `echo intruder by ${node} | socat -u - UDP:${told4}`,
          `echo intruder by ${node} | socat -u - UDP:${told6}`,
          `echo intruder in disguise by ${node} | socat -u - UDP:${told4},bind=${claimed.ipv4}`,
          `echo intruder in disguise by ${node} | socat -u - UDP:${told6},bind=[${claimed.ipv6}]`,
          "true",
        ].join("; "),
      );
      assert.equal(stdout + stderr, "", `by ${node}`);
      // Not lost on the way: the node itself refused them, in both families, by both rules.
      await until(`${node} has refused what came`, async () => {
        const now = await refusedByNode(node);
        return now.toPods >= before.toPods + 6 && now.asPods >= before.asPods + 2;
      });
    }
    for (const target of [told4, told6]) {
      await lab.exec(claimed.name, "sh", "-c", `echo honest ${target} | socat -u - UDP:${target}`);
    }
    const heard = await until("honest packets reach the same pod", async () => {
      const { stdout } = await lab.node("node-1", "cat", file);
      return [told4, told6].every((target) => stdout.includes(`honest ${target}`)) && stdout;
    });
    await lab.node("node-1", "rm", "-f", file);
    assert.doesNotMatch(heard, /intruder/);
  });

  /** Packets that a node's packet filter refused: towards pods, and with a pod's address. */
  async function refusedByNode(node: string): Promise<{ toPods: number; asPods: number }> {
    const { code, stdout, stderr } = await lab.node(node, "nft", "list", "table", "inet", "beyondfabric");
    assert.equal(code, 0, stderr);
    const counted = (comment: string): number => {
      const lines = stdout.split("\n").filter((line) => line.includes(comment));
      assert.ok(lines.length > 0, `no rule "${comment}" in\n${stdout}`);
      return lines.reduce((sum, line) => sum + Number(/counter packets (\d+)/.exec(line)?.[1]), 0);
    };
    return {
      toPods: counted("only answers are forwarded to pods"),
      asPods: counted("pods speak through the bridge only"),
    };
  }

  it("has the right MTU: a full-size packet passes, one byte more does not", async () => {
    const from = pods.find(({ node }) => node === "node-1")!;
    const link = (await lab.exec(from.name, "ip", "-o", "link", "show", "eth0")).stdout;
    const mtu = Number(/mtu (\d+)/.exec(link)?.[1]);
    assert.equal(mtu, 1450, link);
    for (const to of pods.filter((pod) => pod !== from)) {
      for (const [address, headers] of [
        [to.ipv4, 20 + 8],
        [to.ipv6, 40 + 8],
      ] as const) {
        const ping = (size: number): Promise<Outcome> =>
          lab.exec(from.name, "ping", "-n", "-M", "do", "-c", "1", "-W", "3", "-s", String(size - headers), address);
        const full = await ping(mtu);
        assert.equal(full.code, 0, `a packet of exactly the MTU to ${to.name}:\n${full.stdout}${full.stderr}`);
        const over = await ping(mtu + 1);
        assert.notEqual(over.code, 0, `a packet one byte larger to ${to.name}`);
        assert.match(over.stdout + over.stderr, /message too long|Frag needed|Packet too big/i);
      }
    }
  });

  it("transfers a megabyte over TCP in full-size segments in both families, untouched offloads", async () => {
    const from = pods.find(({ node }) => node === "node-1")!;
    for (const node of nodes) {
      const to = pods.find((pod) => pod.node === node && pod !== from)!;
      for (const [target, headers] of [
        [to.ipv4, 20 + 20],
        [`[${to.ipv6}]`, 40 + 20],
      ] as const) {
        const { stdout } = await lab.exec(
          from.name,
          "sh",
          "-c",
          `timeout 20 socat -u TCP:${target}:7002 SYSTEM:'wc -c; ss -tin dport = 7002 >&2' 2>&1`,
        );
        const [bytes] = stdout.split("\n");
        assert.equal(bytes?.trim(), "1048576", target);
        // Twelve bytes of every segment are the time stamp (RFC 7323).
        const received = Number(/rcvmss:(\d+)/.exec(stdout)?.[1]);
        assert.equal(received, 1450 - headers - 12, `${target}: ${stdout}`);
      }
    }
  });

  it("drops tunnel packets from whoever does not own their source, machine or node, and counts them", async () => {
    const own = pods.find(({ node }) => node === "node-1")!;
    const near = pods.find(({ node }) => node === "node-2")!;
    const third = pods.find(({ node }) => node === "node-3")!;
    const file = `/tmp/${lab.name}-forged`;
    await lab.pods({
      name: "listener",
      node: "node-1",
      run: `socat -u UDP6-RECVFROM:7000,fork,ipv6only=0 OPEN:${file},creat,append & wait`,
    });
    const target = await lab.podReady("listener");
    type Run = (...command: string[]) => Promise<Outcome>;
    const from = async (run: Run, vni: string, source: string, text: string): Promise<void> => {
      const program = new URL("./forge.ts", import.meta.url).pathname;
      const to = source.includes(":") ? target.ipv6 : target.ipv4;
      const sent = await run(process.execPath, program, "10.10.0.11", vni, source, to, "5", text);
      assert.equal(sent.code, 0, sent.stderr);
    };
    const machine: Run = (...command) => lab.host("host-1", ...command);
    const node: Run = (...command) => lab.node("node-2", ...command);
    const denied = async (reason: string): Promise<number> => {
      const { stdout } = await lab.node("node-1", "curl", "-s", "http://127.0.0.1:9474/metrics");
      const line = new RegExp(`^fabric_verdicts_total\\{verdict="deny",reason="${reason}"\\} (\\d+)`, "m").exec(stdout);
      return Number(line?.[1] ?? 0);
    };
    const arrived = async (): Promise<string> => (await lab.node("node-1", "cat", file)).stdout;
    const counts = async (what: string, reason: string, send: () => Promise<void>): Promise<void> => {
      const before = await denied(reason);
      await send();
      await until(`${what} is counted as ${reason}`, async () => (await denied(reason)) > before);
    };
    for (const { ipv4, ipv6 } of [near, own, third]) {
      for (const source of [ipv4, ipv6]) {
        await counts(`a machine as ${source}`, "tunnel-source-forged", () => from(machine, "1", source, "forged"));
        if (ipv4 === near.ipv4) continue;
        await counts(`node-2 as ${source}`, "tunnel-source-forged", () => from(node, "1", source, "forged"));
      }
    }
    await counts("a stranger", "tunnel-source-outside", () => from(machine, "1", "192.0.2.7", "forged"));
    await counts("a stranger of node-2", "tunnel-source-outside", () => from(node, "1", "192.0.2.7", "forged"));
    await from(node, "99", near.ipv4, "forged in another network");
    // What node-2 says in the name of a pod of its own arrives: the others would have, had they been let in.
    for (const source of [near.ipv4, near.ipv6]) {
      await until(`${source} arrives from its own node`, async () => {
        await from(node, "1", source, `honest ${source}`);
        return (await arrived()).includes(`honest ${source}`);
      });
    }
    const honest = await lab.exec(
      near.name,
      "sh",
      "-c",
      `echo spoken | timeout 5 socat -t 0.5 - UDP:${target.ipv4}:7000`,
    );
    assert.equal(honest.code, 0);
    await until("an honest packet reaches the same pod", async () => (await arrived()).includes("spoken"));
    assert.doesNotMatch(await arrived(), /forged/, "a forged packet reached a pod");
    await lab.node("node-1", "rm", "-f", file);
  });
});
