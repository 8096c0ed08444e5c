/**
 * What a watch over every pod of a large cluster costs in memory: a server with recorded pods of several KB each, and a
 * process of its own that lists and watches them through ListWatch and keeps what the agent keeps of a pod.
 *
 *     node bench/kube-memory.ts [--pods N] [--bytes N] [--rounds N] [--page N]
 *
 * --pods    pods in the cluster (default 20,000)
 * --bytes   size of one as the API sends it (default 6,000)
 * --rounds  how often each pod changes while it is watched (default 2)
 * --page    objects in a page of the list (default 500, the client's own)
 *
 * NODE_OPTIONS and NODE_COMPILE_CACHE reach the measured process: that is how to try settings of the runtime.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { KubeClient, ListWatch, podResource } from "@beyondfabric/kube";
import { isIp, parseIp, type Ip } from "@beyondfabric/packet";
import { recordedPod } from "./cluster/recorded.ts";

const PODS_PER_NODE = 60;

interface Load {
  readonly pods: number;
  readonly bytes: number;
  readonly rounds: number;
  readonly page: number;
}

/** Memory of a process at one moment (bytes). */
interface Figures {
  readonly moment: string;
  readonly seconds: number;
  readonly rss: number;
  /** The highest so far, as the kernel saw it. */
  readonly peak: number;
  readonly heap: number;
  readonly external: number;
}

/** resourceVersion of pod `at` after `round` changes: each is later than all before. */
function versionAt(at: number, round: number, { pods }: Load): string {
  return String(1000 + round * pods + at);
}

/** Pod `at` in its version `round`, padded to `bytes` as `managedFields` pad real ones. */
function podText(at: number, round: number, load: Load): string {
  const { bytes } = load;
  const { metadata, ...rest } = recordedPod(at, PODS_PER_NODE);
  const text = (padding: string): string =>
    JSON.stringify({
      ...rest,
      metadata: {
        ...metadata,
        uid: `00000000-0000-4000-8000-${at.toString(16).padStart(12, "0")}`,
        resourceVersion: versionAt(at, round, load),
        creationTimestamp: "2026-01-01T00:00:00Z",
        managedFields: [{ manager: "kubelet", operation: "Update", fieldsType: "FieldsV1", fieldsV1: { f: padding } }],
      },
    });
  const bare = text("");
  return bare.length >= bytes ? bare : text("f".repeat(bytes - bare.length));
}

/** A list in pages, and a watch that changes every pod so many times and then says nothing. */
async function serve(load: Load): Promise<Server> {
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? "/", "http://local");
    response.on("error", () => {});
    if (searchParams.get("watch") === "true") void changes(response, load);
    else
      page(response, load, Number(searchParams.get("continue") ?? 0), Number(searchParams.get("limit") ?? load.pods));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function page(response: ServerResponse, load: Load, from: number, limit: number): void {
  const end = Math.min(from + limit, load.pods);
  const items = Array.from({ length: end - from }, (_, index) => podText(from + index, 0, load));
  const metadata = {
    resourceVersion: versionAt(load.pods - 1, 0, load),
    ...(end < load.pods ? { continue: String(end), remainingItemCount: load.pods - end } : {}),
  };
  response.writeHead(200, { "content-type": "application/json" });
  response.end(
    `{"kind":"PodList","apiVersion":"v1","metadata":${JSON.stringify(metadata)},"items":[${items.join(",")}]}`,
  );
}

/** Ends when the reader has taken everything, or has gone. */
async function changes(response: ServerResponse, load: Load): Promise<void> {
  response.writeHead(200, { "content-type": "application/json" });
  await pipeline(Readable.from(changedPods(load)), response, { end: false }).catch(() => {});
}

function* changedPods(load: Load): Generator<string, void, void> {
  for (let round = 1; round <= load.rounds; round++) {
    for (let at = 0; at < load.pods; at++) yield `{"type":"MODIFIED","object":${podText(at, round, load)}}\n`;
  }
}

interface PodRecord {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly Ip[];
  readonly created: number;
}

/** What the agent keeps of a pod: packages/agent/src/directory/records.ts. */
function podRecord(raw: unknown): PodRecord {
  const { metadata, spec, status } = raw as {
    metadata: { namespace: string; name: string; uid: string; creationTimestamp: string };
    spec: { nodeName: string };
    status: { podIPs: { ip: string }[] };
  };
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    node: spec.nodeName,
    addresses: status.podIPs.filter(({ ip }) => isIp(ip)).map(({ ip }) => parseIp(ip)),
    created: Date.parse(metadata.creationTimestamp),
  };
}

/** The process that is measured: tells its parent its memory at each moment, then ends. */
async function watchAll(server: string, { pods, rounds, page }: Load): Promise<void> {
  const begun = performance.now();
  const report = (moment: string): void => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const peak = Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
    const seconds = (performance.now() - begun) / 1000;
    process.send!({ moment, seconds, rss, peak, heap: heapUsed, external } satisfies Figures);
  };
  report("started");
  const client = new KubeClient({ server, insecure: false, credentials: () => Promise.resolve({}) });
  const synced = Promise.withResolvers<void>();
  const changed = Promise.withResolvers<void>();
  let left = pods * rounds;
  const watch = new ListWatch<PodRecord>({
    client,
    resource: podResource,
    pageSize: page,
    select: podRecord,
    handlers: {
      changed: (_, old) => {
        if (old !== undefined && --left === 0) changed.resolve();
      },
      synced: synced.resolve,
      failed: (error) => {
        const failure = new Error("list and watch failed", { cause: error });
        synced.reject(failure);
        changed.reject(failure);
      },
    },
  });
  changed.promise.catch(() => {});
  watch.start();
  await synced.promise;
  report("listed");
  if (rounds > 0) {
    await changed.promise;
    report("every pod changed");
  }
  globalThis.gc?.();
  report("garbage collected");
  if (watch.size !== pods) throw new Error(`${watch.size} pods are known instead of ${pods}`);
  await watch.stop();
  await client.close();
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(1).padStart(8);
}

async function measure(load: Load): Promise<void> {
  const server = await serve(load);
  const { port } = server.address() as AddressInfo;
  const options = Object.entries(load).map(([name, value]) => `--${name}=${value}`);
  const child: ChildProcess = fork(import.meta.filename, [...options, `--server=http://127.0.0.1:${port}`], {
    execArgv: ["--expose-gc"],
  });
  try {
    console.log(`${load.pods} pods of ${podText(0, 0, load).length} bytes, each changed ${load.rounds} times; MiB`);
    console.log(`${"moment".padEnd(18)} ${"s".padStart(6)}      RSS     peak     heap external`);
    child.on("message", ({ moment, seconds, rss, peak, heap, external }: Figures) => {
      const memory = [rss, peak, heap, external].map(mebibytes).join(" ");
      console.log(`${moment.padEnd(18)} ${seconds.toFixed(1).padStart(6)} ${memory}`);
    });
    const [code] = (await once(child, "exit")) as [number | null];
    if (code !== 0) throw new Error(`the measured process ended with ${code ?? "a signal"}`);
  } finally {
    child.kill();
    server.closeAllConnections();
    server.close();
  }
}

const { values } = parseArgs({
  options: {
    pods: { type: "string", default: "20000" },
    bytes: { type: "string", default: "6000" },
    rounds: { type: "string", default: "2" },
    page: { type: "string", default: "500" },
    server: { type: "string" },
  },
});
const load: Load = {
  pods: Number(values.pods),
  bytes: Number(values.bytes),
  rounds: Number(values.rounds),
  page: Number(values.page),
};
const whole = Object.values(load).every((value) => Number.isSafeInteger(value) && value >= 0);
if (!whole || load.page < 1 || load.pods < 1 || load.pods > 60_000) {
  console.error("kube-memory: --pods is 1 to 60000, --page at least 1, --bytes and --rounds are whole numbers");
  process.exitCode = 2;
} else if (values.server === undefined) {
  await measure(load);
} else {
  await watchAll(values.server, load);
  process.disconnect?.();
}
