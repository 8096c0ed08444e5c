/**
 * What an address costs: agents without a switch against one real API server, ordinary addresses out of blocks, fixed ones and
 * those of a pool; beside the CNI project's `host-local`, which knows one node and no other.
 */
import { existsSync } from "node:fs";
import { callPlugin, containerIds, type CniNode } from "../cni/attach.ts";
import { AddressCluster, type Manner } from "../cluster/address-cluster.ts";
import type { Site } from "../environment/site.ts";
import { figuresOf, type Goal, type Metric } from "../figures.ts";
import { alternate, type Bench, type Contestant, type Scenario } from "../harness.ts";
import { percentile } from "../statistics.ts";

const HOST_LOCAL = "/usr/lib/cni/host-local";
/** Containers that a kubelet starts at a time, as for the agents. */
const PARALLEL = 8;

interface AddressResult {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** To the API server, for each address; 0 where there is none. */
  readonly requests: number;
}

function resultOf(milliseconds: readonly number[], total: number, requests = 0): AddressResult {
  const ascending = [...milliseconds].sort((a, b) => a - b);
  return {
    perSecond: (milliseconds.length / total) * 1000,
    p50: percentile(ascending, 0.5),
    p99: percentile(ascending, 0.99),
    requests: requests / milliseconds.length,
  };
}

function describe({ perSecond, p50, p99, requests }: AddressResult): string {
  return `${perSecond.toFixed(0)}/s, ${p50.toFixed(2)}/${p99.toFixed(2)} ms (p50/p99), ${requests.toFixed(1)} requests each`;
}

function hostLocal(site: Site): Contestant<AddressResult> {
  if (!existsSync(HOST_LOCAL))
    throw new Error(`${HOST_LOCAL} is missing; install Debian's containernetworking-plugins`);
  const name = "host-local on one node";
  const node: CniNode = {
    name,
    namespace: site.addNamespace("hostlocal"),
    executable: HOST_LOCAL,
    binDirectory: "/usr/lib/cni",
    configuration: {
      cniVersion: "1.0.0",
      name: "bench",
      ipam: { type: "host-local", ranges: [[{ subnet: "10.64.0.0/10" }]], dataDir: site.addDirectory("host-local") },
    },
    argumentsOf: () => "",
    announce: async () => {},
    withdraw: async () => {},
  };
  return {
    name,
    async measure() {
      const attachments = containerIds(256).map((containerId) => ({
        containerId,
        netns: "/proc/self/ns/net",
        arguments: "",
      }));
      const { milliseconds, total } = await callPlugin(site, node, "ADD", attachments, PARALLEL);
      return resultOf(milliseconds, total);
    },
  };
}

function agents(cluster: AddressCluster, manner: Manner, pods: number): Contestant<AddressResult> {
  return {
    name: `${cluster.agents} agents`,
    async measure() {
      const report = await cluster.allocate(manner, Math.ceil(pods / cluster.agents));
      return resultOf(report.milliseconds, report.total, report.requests);
    },
  };
}

const rate: Goal = { bound: "at least", value: 1000 };
const quick: Goal = { bound: "at most", value: 5 };

function metrics(what: string, form: Metric<AddressResult>["form"], goals: boolean): Metric<AddressResult>[] {
  return [
    {
      title: `${what} per second`,
      unit: "/s",
      form,
      ...(goals ? { goal: rate } : {}),
      of: (result) => result.perSecond,
    },
    { title: `${what}, p50 inside ADD`, unit: "ms", form, of: (result) => result.p50 },
    {
      title: `${what}, p99 inside ADD`,
      unit: "ms",
      form,
      ...(goals ? { goal: quick } : {}),
      of: (result) => result.p99,
    },
    { title: `${what}, requests to the API server for each`, unit: "", form, of: (result) => result.requests },
  ];
}

const WORDS: Readonly<Record<Manner, string>> = {
  ordinary: "ordinary addresses",
  fixed: "fixed addresses",
  pool: "addresses of a pool",
};

async function measure(bench: Bench, size: number, publish: Parameters<Scenario["run"]>[1]): Promise<void> {
  const cluster = await AddressCluster.start(bench.site, size);
  try {
    for (const manner of ["ordinary", "fixed", "pool"] as const) {
      const pods = bench.quick ? size * 16 : manner === "ordinary" ? 1200 : 600;
      const what = `${WORDS[manner]}, ${size} agents`;
      const ours = agents(cluster, manner, pods);
      if (manner === "ordinary") {
        const runs = await alternate(bench, what, [ours, hostLocal(bench.site)], describe);
        publish(figuresOf("addresses", metrics(what, "subject", true), runs[0]!));
        const [perSecond] = metrics(what, "subject/reference", false);
        publish(figuresOf("addresses", [{ ...perSecond!, title: `${what}: the cluster's rate` }], runs[0]!, runs[1]));
      } else {
        const runs = await alternate(bench, what, [ours], describe);
        publish(figuresOf("addresses", metrics(what, "subject", false), runs[0]!));
      }
    }
  } finally {
    await cluster.stop();
  }
}

export const addressesScenario: Scenario = {
  name: "addresses",
  describes: "addresses per second with 3 and with 50 agents on one real API server, against host-local on one node",
  async run(bench, publish) {
    for (const size of bench.quick ? [3] : [3, 50]) await measure(bench, size, publish);
  },
};
