/**
 * Ten minutes of silence, by the clock: `make verify` runs this beside the other tests, because it does little but wait.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { echoServer, entryKind, Lab, sleep, until, type PodInfo } from "./lab.ts";
import { Conversation } from "./traffic.ts";

const silenceMinutes = 10;

describe(
  `a TCP connection between nodes that is silent for ${silenceMinutes} minutes lives on`,
  { concurrency: true },
  () => {
    let lab: Lab;
    let pods: Map<string, PodInfo>;

    before(async () => {
      // The agents' own idle time: the entries of a pair go long before the silence ends.
      lab = await Lab.up("silent", { nodes: 4 });
      const made = await lab.pods(
        ...["1", "2", "3", "4"].map((number) => ({ name: `pod-${number}`, node: `node-${number}`, run: echoServer })),
      );
      pods = new Map(made.map((pod) => [pod.name, pod]));
    });
    after(() => lab?.down());

    /** The verdict entries of a node; each node has one pair of pods that talks. */
    const verdicts = async (node: string): Promise<string[]> =>
      (await lab.flows(node)).filter((line) => entryKind(line) === "verdict");

    const readyAgain = (node: string): Promise<boolean> =>
      until(`the agent of ${node} is ready`, async () => (await lab.status(node)).ready, 60_000, 500).then(() => true);

    /** Opens connections of both families, runs what happens meanwhile, and talks again after the silence. */
    async function silent(client: string, server: string, meanwhile: () => Promise<void>): Promise<void> {
      const { ipv4, ipv6 } = pods.get(server)!;
      const talks = [ipv4, ipv6].map((address) => new Conversation(lab, client, address));
      try {
        for (const talk of talks) await talk.say();
        const begun = performance.now();
        await meanwhile();
        await sleep(silenceMinutes * 60_000 - (performance.now() - begun));
        for (const talk of talks) {
          await talk.say();
          await talk.say();
          const { slowest } = await talk.beSilent();
          console.log(`       ${client} to ${server}: ${slowest} ms for the slowest of three lines`);
        }
      } finally {
        for (const talk of talks) await talk.close();
      }
    }

    it("with both agents dead the whole time: the entries stay", async () => {
      const nodes = ["node-1", "node-2"];
      let entries: string[][] = [];
      await silent("pod-1", "pod-2", async () => {
        entries = await Promise.all(nodes.map(verdicts));
        for (const [index, found] of entries.entries())
          assert.ok(found.length >= 4, `${nodes[index]}: ${found.length}`);
        await Promise.all(nodes.map((node) => lab.component(node, "agent", "stop")));
      });
      assert.deepEqual(await Promise.all(nodes.map(verdicts)), entries);
      await Promise.all(nodes.map((node) => lab.component(node, "agent", "start")));
      await Promise.all(nodes.map(readyAgain));
    });

    it("with agents that take its entries away and are killed half-way: the next packet asks them", async () => {
      const nodes = ["node-3", "node-4"];
      const misses = async (): Promise<number[]> =>
        Promise.all(nodes.map(async (node) => (await lab.status(node)).misses.total));
      let asked: number[] = [];
      await silent("pod-3", "pod-4", async () => {
        const begun = performance.now();
        for (const node of nodes) {
          const aged = async (): Promise<boolean> => (await verdicts(node)).length === 0;
          await until(`the entries of ${node} have aged away`, aged, 240_000, 1000);
        }
        await sleep(silenceMinutes * 30_000 - (performance.now() - begun));
        await Promise.all(nodes.map((node) => lab.component(node, "agent", "kill")));
        await Promise.all(nodes.map(readyAgain));
        asked = await misses();
      });
      for (const [index, count] of (await misses()).entries()) {
        assert.ok(count > asked[index]!, `${nodes[index]} was not asked about the connection`);
      }
    });
  },
);
