/**
 * `make demo`: three nodes with a real Open vSwitch each, real pods, and entries that were not there before the first
 * packet. Says what it does and what it sees; ends with a clear result and leaves nothing behind (KEEP=1 keeps the lab).
 */
import { styleText } from "node:util";
import { echoServer, entryKind, Lab, until, type PodInfo } from "./system/lab.ts";

const nodes = ["node-1", "node-2", "node-3"];
const idleSeconds = 5;
let failures = 0;

function title(text: string): void {
  console.log(`\n${styleText("bold", text)}`);
}

function say(text: string): void {
  console.log(`  ${text}`);
}

function check(ok: boolean, text: string): void {
  if (!ok) failures++;
  console.log(`  ${ok ? styleText("green", "ok") : styleText("red", "NOT OK")}  ${text}`);
}

const isVerdict = (line: string): boolean => entryKind(line) === "verdict";
const counted = (lines: readonly string[]): string => `${lines.length} entries`;

async function main(): Promise<void> {
  title("1. Three nodes, each a network namespace with its own Open vSwitch and fabric-node");
  const started = Date.now();
  const lab = await Lab.up("demo", { nodes: 3, config: `agent:\n  limits:\n    idleSeconds: ${idleSeconds}\n` });
  try {
    say(`up in ${Math.round((Date.now() - started) / 100) / 10} s; kubectl get nodes:`);
    show(await lab.mustKubectl("get", "nodes", "-o", "wide"));
    const constant = await Promise.all(nodes.map((node) => lab.flows(node)));
    say(`entries in each switch before there is any pod: ${constant.map((lines) => lines.length).join(", ")}`);
    check(new Set(constant.map((lines) => lines.length)).size === 1, "every node holds the same small number");

    title("2. Two pods on every node, made with kubectl");
    const pods = await lab.pods(
      ...nodes.flatMap((node) => ["a", "b"].map((letter) => ({ name: `${letter}-${node}`, node, run: echoServer }))),
    );
    show(await lab.mustKubectl("get", "pods", "-o", "wide"));
    const before = await Promise.all(nodes.map((node) => lab.flows(node)));
    check(
      before.flat().filter(isVerdict).length === 0,
      `no switch has an entry about a pair of pods yet (${before.map(counted).join(", ")})`,
    );

    title("3. The first packet: a-node-1 pings a-node-2, once, over VXLAN");
    const [from, to] = [byName(pods, "a-node-1"), byName(pods, "a-node-2")];
    const first = await lab.exec(from.name, "ping", "-n", "-c", "1", "-W", "3", to.ipv4);
    show(first.stdout);
    check(first.code === 0, "the first packet arrived, and so did its answer");
    const after = await Promise.all(nodes.map(async (node) => (await lab.flows(node)).filter(isVerdict)));
    say("entries that appeared:");
    for (const [index, lines] of after.entries()) for (const line of lines) say(`${nodes[index]}: ${readable(line)}`);
    check(after[0]!.length > 0 && after[1]!.length > 0, "on the two nodes that needed them");
    check(after[2]!.length === 0, "and none on node-3, which has no part in it");
    const again = await lab.exec(from.name, "ping", "-n", "-c", "5", "-i", "0.2", "-W", "3", to.ipv4);
    const times = [...again.stdout.matchAll(/time=([\d.]+)/g)].map((match) => Number(match[1]));
    const firstTime = Number(/time=([\d.]+)/.exec(first.stdout)?.[1]);
    say(`round trip of the first packet ${firstTime} ms, of the next five ${times.join(", ")} ms`);

    title("4. Every pair, IPv4 and IPv6");
    const failed = await everyPair(lab, pods);
    check(
      failed.length === 0,
      `60 pairs of addresses reach each other${failed.length > 0 ? `, but not ${failed.join("; ")}` : ""}`,
    );
    const bytes = await lab.exec(from.name, "sh", "-c", `timeout 20 socat -u TCP:${to.ipv4}:7002 - | wc -c`);
    check(bytes.stdout.trim() === "1048576", "a megabyte over TCP between nodes");
    const outside = await lab.exec(from.name, "ping", "-n", "-c", "1", "-W", "3", "10.10.0.201");
    check(outside.code === 0, "a host outside the cluster answers, through the pod's own node");

    title("5. What an operator sees");
    show((await lab.fabricctl("node-1", "status")).stdout);
    show((await lab.fabricctl("node-1", "flows", "--pod", "default/a-node-1")).stdout);

    title(`6. Nobody talks for ${idleSeconds} s: the entries go`);
    const left = await until(
      "the entries have aged away",
      async () => {
        const lines = (await lab.flows("node-1")).filter(isVerdict);
        return lines.length === 0 ? lines : undefined;
      },
      60_000,
      500,
    ).catch(() => undefined);
    const end = await lab.flows("node-1");
    check(left !== undefined, `node-1 is back at ${counted(end)}, as before the first packet`);
  } finally {
    if (process.env["KEEP"] === undefined) {
      const down = await lab.down();
      check(down.code === 0, "the lab is down and left nothing behind");
    } else {
      say("kept: bin/fabric-lab status --name demo; bin/fabric-lab down --name demo");
    }
  }
}

async function everyPair(lab: Lab, pods: readonly PodInfo[]): Promise<string[]> {
  const failed = await Promise.all(
    pods.map(async (from) => {
      const targets = pods.filter((to) => to !== from).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
      const script = targets.map((to) => `ping -n -c 1 -W 3 ${to} >/dev/null || echo ${to}`).join("; ");
      const { stdout } = await lab.exec(from.name, "sh", "-c", script);
      return stdout
        .split("\n")
        .filter(Boolean)
        .map((to) => `${from.name} -> ${to}`);
    }),
  );
  return failed.flat();
}

function byName(pods: readonly PodInfo[], name: string): PodInfo {
  const found = pods.find((pod) => pod.name === name);
  if (found === undefined) throw new Error(`no pod ${name}`);
  return found;
}

/** An entry without what people do not read. */
function readable(line: string): string {
  return line
    .trim()
    .replace(/cookie=0x[0-9a-f]+, /, "")
    .replace(/(duration|idle_age|n_bytes)=[^,]+, /g, "");
}

function show(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(`    ${line}`);
}

try {
  await main();
} catch (error) {
  failures++;
  console.error(error);
}
console.log(
  failures === 0
    ? styleText("green", "\ndemo: everything above happened on real switches, and all of it as promised")
    : styleText("red", `\ndemo: ${failures} of the promises above were not kept`),
);
process.exitCode = failures === 0 ? 0 : 1;
