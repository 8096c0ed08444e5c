/**
 * Agents without a switch in one process, which allocate at a word. Its argument is the path of a JSON file with the orders of
 * the agents. Prints `ready`, then for each `AllocationOrder` (a line of JSON on standard input) an `AllocationReport`.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { AddressAgent, type AddressAgentOrder } from "./address-agent.ts";

/** Give every agent's pods whose names begin so an address. */
export interface AllocationOrder {
  readonly prefix: string;
  /** How many each agent has. */
  readonly podsPerAgent: number;
  /** How many an agent serves at the same time. */
  readonly parallel: number;
}

export interface AllocationReport {
  /** Of each allocation, milliseconds inside ADD. */
  readonly milliseconds: readonly number[];
  /** From the first start to the last end, of all agents (ms). */
  readonly total: number;
  /** What went wrong; empty when nothing did. */
  readonly failures: readonly string[];
}

async function allocate(agents: readonly AddressAgent[], order: AllocationOrder): Promise<AllocationReport> {
  const { prefix, podsPerAgent, parallel } = order;
  const all = await Promise.all(agents.map(async (agent) => ({ agent, pods: await agent.pods(prefix, podsPerAgent) })));
  const milliseconds: number[] = [];
  const failures: string[] = [];
  const begin = performance.now();
  await Promise.all(
    all.flatMap(({ agent, pods }) => {
      const waiting = pods.values();
      const serve = async (): Promise<void> => {
        for (const pod of waiting) {
          try {
            milliseconds.push(await agent.allocate(pod));
          } catch (error) {
            failures.push((error as Error).message);
          }
        }
      };
      return Array.from({ length: parallel }, serve);
    }),
  );
  return { milliseconds, total: performance.now() - begin, failures };
}

const orders = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as AddressAgentOrder[];
const agents = orders.map((order) => new AddressAgent(order));
await Promise.all(agents.map((agent) => agent.start()));
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await allocate(agents, JSON.parse(line) as AllocationOrder)));
}
await Promise.all(agents.map((agent) => agent.stop()));
process.exit(0);
