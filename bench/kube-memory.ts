/**
 * What 20,000 pods of 6 kB cost who follows them: memory after the list, and after every pod has changed once.
 *
 *     node --expose-gc bench/kube-memory.ts [PODS] [PAGE]
 *
 * The server is a process of its own, so that its memory is not counted. Prints one line per figure.
 */
import { fork } from "node:child_process";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { KubeClient, LabelPool, ListWatch, podResource, type LabelSet, type Pod } from "@beyondfabric/kube";

const pods = Number(process.argv[2] ?? 20_000);
const pageSize = Number(process.argv[3] ?? 500);
const firstVersion = 1000;
/** Makes each pod as long as pods of real clusters are (bytes). */
const ballastBytes = 5000;

if (process.send === undefined) await follow();
else await serve();

/** A pod as an API server sends it. `round` is how often it has changed. */
function podText(index: number, round: number): string {
  const labels = { app: `app-${index % 200}`, "pod-template-hash": `hash-${index % 400}`, tier: `t${index % 5}` };
  const managed = [{ manager: "kubelet", fieldsV1: { "f:status": "x".repeat(ballastBytes) } }];
  const metadata = {
    name: `pod-${index}`,
    namespace: `ns-${index % 100}`,
    uid: `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`,
    resourceVersion: String(firstVersion + round * pods + index),
    labels,
    managedFields: managed,
  };
  const address = `10.${244 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
  const status = {
    phase: "Running",
    podIP: address,
    podIPs: [{ ip: address }],
    conditions: Array.from({ length: 4 }, (_, condition) => ({ type: `Condition${condition}`, status: "True" })),
  };
  const spec = {
    nodeName: `node-${index % 50}`,
    containers: [{ name: "main", image: "registry/image:1", ports: [{ name: "http", containerPort: 8080 }] }],
  };
  return JSON.stringify({ metadata, spec, status });
}

/** Lists in pages; a watch changes every pod once, as fast as it is read. */
async function serve(): Promise<void> {
  const server = createServer((request, response) => {
    const query = new URL(request.url ?? "/", "http://localhost").searchParams;
    if (query.get("watch") === "true") {
      void changes(response, query.get("resourceVersion") === String(firstVersion));
      return;
    }
    const from = Number(query.get("continue") ?? 0);
    const end = Math.min(pods, from + Number(query.get("limit") ?? pods));
    const items: string[] = [];
    for (let index = from; index < end; index++) items.push(podText(index, 0));
    const more = end < pods ? `,"continue":"${end}"` : "";
    response.end(`{"metadata":{"resourceVersion":"${firstVersion}"${more}},"items":[${items.join(",")}]}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.send?.((server.address() as AddressInfo).port);
  process.once("disconnect", () => process.exit(0));
}

async function changes(response: ServerResponse, wanted: boolean): Promise<void> {
  response.writeHead(200);
  response.flushHeaders();
  // The list is measured before the changes come.
  await new Promise((resolve) => process.once("message", resolve));
  if (!wanted) return;
  for (let index = 0; index < pods; index++) {
    const line = `{"type":"MODIFIED","object":${podText(index, 1)}}\n`;
    if (!response.write(line)) await new Promise((resolve) => response.once("drain", resolve));
  }
}

interface Record {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly labels: LabelSet;
}

async function follow(): Promise<void> {
  const server = fork(import.meta.filename, [String(pods)]);
  const port = await new Promise<number>((resolve) => server.once("message", (message) => resolve(message as number)));
  const labels = new LabelPool();
  let changed = 0;
  let done: (() => void) | undefined;
  const client = new KubeClient({
    server: `http://127.0.0.1:${port}`,
    insecure: false,
    credentials: () => Promise.resolve({}),
  });
  const watch = new ListWatch<Record>({
    client,
    resource: podResource,
    pageSize,
    select(raw) {
      const { metadata, spec, status } = raw as Pod;
      return {
        name: metadata?.name ?? "",
        namespace: metadata?.namespace ?? "",
        uid: metadata?.uid ?? "",
        node: spec?.nodeName ?? "",
        addresses: (status?.podIPs ?? []).map(({ ip = "" }) => ip),
        labels: labels.intern(metadata?.labels),
      };
    },
    handlers: {
      changed(_, old) {
        if (old !== undefined && ++changed === pods) done?.();
      },
      failed: (error) => console.error(error),
    },
  });
  report("before", performance.now(), process.cpuUsage());
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let began = performance.now();
  let cpu = process.cpuUsage();
  delay.enable();
  watch.start();
  await watch.store.synced;
  report(`${pods} listed`, began, cpu, delay.max);
  delay.reset();
  const all = new Promise<void>((resolve) => {
    done = resolve;
  });
  began = performance.now();
  cpu = process.cpuUsage();
  while (!watch.connected) await new Promise((resolve) => setTimeout(resolve, 5));
  server.send("change");
  await all;
  report(`${pods} changed`, began, cpu, delay.max);
  console.log(`different label sets: ${labels.size}`);
  await watch.stop();
  await client.close();
  server.disconnect();
}

function report(what: string, began: number, cpu: NodeJS.CpuUsage, longestDelay?: number): void {
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const peak = process.resourceUsage().maxRSS / 1024;
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const megabytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;
  const figures = [
    `${seconds.toFixed(1)} s`,
    `CPU ${((user + system) / 1e6).toFixed(1)} s`,
    `RSS ${megabytes(rss)} (peak ${Math.round(peak)} MB)`,
    `heap ${megabytes(heapUsed)}`,
    ...(longestDelay === undefined ? [] : [`longest turn ${Math.round(longestDelay / 1e6)} ms`]),
  ];
  console.log(`${what}: ${figures.join(", ")}`);
}
