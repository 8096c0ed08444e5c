/**
 * Writes manifests to an API server that only this network namespace reaches. Its argument is the path of a
 * `LoadOrder` in JSON; the manifests are one JSON object a line. Prints the number of objects written.
 */
import { createReadStream, readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";
import type { Manifest } from "./recorded.ts";

/** What to write, where. */
export interface LoadOrder {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly authority: string;
  readonly manifests: string;
}

const CONCURRENCY = 16;
const PLURALS: Readonly<Record<string, string>> = {
  Namespace: "namespaces",
  Node: "nodes",
  Pod: "pods",
  Network: "networks",
  Subnet: "subnets",
  AddressBlock: "addressblocks",
  IPPool: "ippools",
  NetworkPolicy: "networkpolicies",
  CustomResourceDefinition: "customresourcedefinitions",
};

const order = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as LoadOrder;
const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY, ca: order.authority });

/** Sends one request; returns the answer, fails on every one but success. */
function send(method: "POST" | "PATCH", path: string, body: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${order.token}`,
      "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json",
      "content-length": Buffer.byteLength(text),
    };
    const outgoing = request({ agent, host: order.host, port: order.port, method, path, headers }, (answer) => {
      let said = "";
      answer.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      answer.on("end", () => {
        const status = answer.statusCode ?? 0;
        if (status < 300) resolve(said);
        else reject(new Error(`${method} ${path}: ${status} ${said.slice(0, 400)}`));
      });
    });
    outgoing.on("error", reject);
    outgoing.end(text);
  });
}

function collection({ apiVersion, kind, metadata }: Manifest): string {
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`${kind} ${metadata.name}: not a kind that a bench cluster has`);
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return metadata.namespace === undefined
    ? `${group}/${plural}`
    : `${group}/namespaces/${metadata.namespace}/${plural}`;
}

/** UIDs of the nodes that this program has written, for the blocks that they own. */
const nodeUids = new Map<string, Promise<string>>();

async function completed(manifest: Manifest): Promise<Manifest> {
  if (manifest.kind !== "AddressBlock") return manifest;
  const { node } = manifest.spec as { node: string };
  const nodeUid = await nodeUids.get(node);
  if (nodeUid === undefined)
    throw new Error(`AddressBlock ${manifest.metadata.name}: Node ${node} must be written before it`);
  return { ...manifest, spec: { ...manifest.spec, nodeUid } };
}

async function write(manifest: Manifest): Promise<void> {
  const path = collection(manifest);
  const answer = completed(manifest).then((complete) => send("POST", path, complete));
  if (manifest.kind === "Node") {
    const uid = answer.then((text) => (JSON.parse(text) as { metadata: { uid: string } }).metadata.uid);
    nodeUids.set(manifest.metadata.name, uid);
  }
  await answer;
  if (manifest.status !== undefined) {
    await send("PATCH", `${path}/${manifest.metadata.name}/status`, { status: manifest.status });
  }
}

let written = 0;
const pending = new Set<Promise<void>>();
for await (const line of createInterface({ input: createReadStream(order.manifests) })) {
  const task = write(JSON.parse(line) as Manifest).then(() => {
    written += 1;
    pending.delete(task);
  });
  pending.add(task);
  if (pending.size >= CONCURRENCY) await Promise.race(pending);
}
await Promise.all(pending);
agent.destroy();
console.log(String(written));
