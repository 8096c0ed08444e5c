/** CNI ADD and DEL, one after another and 32 at a time, against the CNI project's `bridge` with `host-local`. */
import { callPlugin, containerAttachments, containerIds, type CniNode } from "../cni/attach.ts";
import { referenceCni } from "../contenders/reference-cni.ts";
import { figuresOf, type Metric } from "../figures.ts";
import { alternate, type Bench, type Scenario } from "../harness.ts";
import { percentile } from "../statistics.ts";

/** Milliseconds of one run's calls. */
interface CniResult {
  readonly add: readonly number[];
  readonly del: readonly number[];
}

async function measureCni(bench: Bench, node: CniNode, containers: number, parallel: number): Promise<CniResult> {
  const ids = containerIds(containers);
  const namespaces = bench.site.addNamespaces(ids);
  await node.announce(ids);
  const attachments = containerAttachments(node, ids, namespaces);
  const add = await callPlugin(bench.site, node, "ADD", attachments, parallel);
  const del = await callPlugin(bench.site, node, "DEL", attachments, parallel);
  await node.withdraw(ids);
  bench.site.removeNamespaces(namespaces);
  const ascending = (values: readonly number[]) => [...values].sort((a, b) => a - b);
  return { add: ascending(add.milliseconds), del: ascending(del.milliseconds) };
}

function metrics(how: string): Metric<CniResult>[] {
  const goal = { bound: "at most", value: 1 } as const;
  return (["add", "del"] as const).flatMap((command) =>
    ([50, 99] as const).map((share) => ({
      title: `CNI ${command.toUpperCase()} p${share}, ${how}`,
      unit: "ms",
      form: "subject/reference" as const,
      goal,
      of: (result: CniResult) => percentile(result[command], share / 100),
    })),
  );
}

function describe({ add, del }: CniResult): string {
  const both = (values: readonly number[]) =>
    `${percentile(values, 0.5).toFixed(1)}/${percentile(values, 0.99).toFixed(1)} ms`;
  return `ADD ${both(add)}, DEL ${both(del)} (p50/p99)`;
}

export const cniScenario: Scenario = {
  name: "cni",
  describes: "CNI ADD and DEL, serial and 32 in parallel, against bridge+host-local",
  async run(bench, publish) {
    const { subject } = bench;
    if (subject.startCni === undefined) throw new Error(`${subject.name} is no CNI plug-in`);
    const nodes = [await subject.startCni(bench.site), await referenceCni.startCni(bench.site)];
    for (const parallel of [1, 32]) {
      const how = parallel === 1 ? "one after another" : `${parallel} in parallel`;
      const containers = bench.quick ? 8 : 64;
      const runs = await alternate(
        bench,
        `CNI ${how}`,
        nodes.map((node) => ({ name: node.name, measure: () => measureCni(bench, node, containers, parallel) })),
        describe,
      );
      publish(figuresOf("cni", metrics(how), runs[0]!, runs[1]));
    }
  },
};
