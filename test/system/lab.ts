/**
 * A lab for system tests, driven only through what a person has: `bin/fabric-lab` and `kubectl`. The control plane is
 * chosen with FABRIC_CONTROL_PLANE (`embedded`, or `kubernetes` in `make verify`).
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { StatusReply } from "@beyondfabric/agent/api";
import { hasFeature } from "@beyondfabric/apiserver";

const root = resolve(import.meta.dirname, "../..");
const controlPlane = process.env["FABRIC_CONTROL_PLANE"] ?? "embedded";
const checkoutMark = createHash("sha256").update(root).digest("hex").slice(0, 3);

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PodSpec {
  readonly name: string;
  readonly node?: string;
  readonly namespace?: string;
  /** A shell line that runs for the life of the pod; absent: the pod sleeps. */
  readonly run?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Its controller, of `apps/v1` unless it says otherwise: nothing in a lab makes pods for one, so that a test has to. */
  readonly controller?: {
    readonly apiVersion?: string;
    readonly kind: string;
    readonly name: string;
    readonly uid: string;
  };
  readonly hostNetwork?: boolean;
}

export interface PodInfo {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface UpOptions {
  readonly nodes?: number;
  readonly config?: string;
}

/** An echo server for TCP and UDP on port 7000, both families, and a sink and source of bytes on 7001 and 7002. */
export const echoServer = [
  "socat TCP6-LISTEN:7000,fork,reuseaddr,ipv6only=0 EXEC:cat &",
  "socat UDP6-RECVFROM:7000,fork,reuseaddr,ipv6only=0 EXEC:cat &",
  "socat -u TCP6-LISTEN:7001,fork,reuseaddr,ipv6only=0 EXEC:'sha256sum' &",
  "socat -U TCP6-LISTEN:7002,fork,reuseaddr,ipv6only=0 EXEC:'head -c 1048576 /dev/zero' &",
  "wait",
].join(" ");

export class Lab {
  readonly name: string;
  readonly #scratch = mkdtempSync(join(tmpdir(), "fabric-system-"));
  #kubeconfig = "";

  private constructor(name: string) {
    this.name = name;
  }

  /**
   * Brings a lab up that carries this name and a mark of this checkout: tests of two checkouts run side by side, and one
   * that crashed is cleared away by the next run of the same.
   * @param title at most 6 characters
   * @throws with the output of `up` when it fails
   */
  static async up(title: string, { nodes = 3, config }: UpOptions = {}): Promise<Lab> {
    const name = `${title}${checkoutMark}`;
    const lab = new Lab(name);
    const args = ["up", "--name", name, "--nodes", String(nodes), "--control-plane", controlPlane];
    if (config !== undefined) {
      const path = join(lab.#scratch, "lab.yaml");
      writeFileSync(path, config);
      args.push("--config", path);
    }
    await lab.#command(["down", "--name", name], 60_000);
    const up = await lab.#command(args, 180_000);
    if (up.code !== 0) throw new Error(`fabric-lab up failed:\n${up.stdout}${up.stderr}`);
    lab.#kubeconfig = (await lab.#command(["kubeconfig", "--name", name])).stdout.trim();
    return lab;
  }

  async down(): Promise<Outcome> {
    const outcome = await this.#command(["down", "--name", this.name], 60_000);
    rmSync(this.#scratch, { recursive: true, force: true });
    return outcome;
  }

  /** Any `fabric-lab` command about this lab. */
  lab(...args: string[]): Promise<Outcome> {
    const [verb = "", ...rest] = args;
    return this.#command([verb, "--name", this.name, ...rest]);
  }

  exec(pod: string, ...command: string[]): Promise<Outcome> {
    return this.lab("exec", pod.includes("/") ? pod : `default/${pod}`, "--", ...command);
  }

  node(node: string, ...command: string[]): Promise<Outcome> {
    return this.lab("node", node, "--", ...command);
  }

  host(host: string, ...command: string[]): Promise<Outcome> {
    return this.lab("host", host, "--", ...command);
  }

  async component(node: string, component: string, action: "stop" | "start" | "kill" | "pid"): Promise<string> {
    const outcome = await this.lab("component", node, component, action);
    if (outcome.code !== 0) throw new Error(`component ${node} ${component} ${action}: ${outcome.stderr}`);
    return outcome.stdout.trim();
  }

  kubectl(...args: string[]): Promise<Outcome> {
    // An API server that is busy with hundreds of pods takes its time.
    return run("kubectl", ["--kubeconfig", this.#kubeconfig, ...args], 300_000);
  }

  /**
   * `kubectl proxy`: requests through it are not slowed down, as kubectl's own are (five a second).
   * @returns where it listens, and what ends it
   */
  async proxy(): Promise<{ readonly url: string; stop(): void }> {
    const child = spawn("kubectl", ["--kubeconfig", this.#kubeconfig, "proxy", "--port=0"]);
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (said += text));
    }
    try {
      const url = await until("kubectl proxy listens", async () => {
        if (child.exitCode !== null) throw new Error(`kubectl proxy ended: ${said}`);
        const at = /Starting to serve on (\S+)/.exec(said)?.[1];
        return at === undefined ? undefined : `http://${at}`;
      });
      return { url, stop: () => child.kill("SIGTERM") };
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  async mustKubectl(...args: string[]): Promise<string> {
    const outcome = await this.kubectl(...args);
    if (outcome.code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${outcome.stderr}${outcome.stdout}`);
    return outcome.stdout;
  }

  /**
   * Deletes workloads and leaves their pods alone. Orphaning is the work of a garbage collector; where there is none nothing
   * happens to the pods anyway, and the object would wait for it for ever.
   */
  async abandon(...objects: string[]): Promise<void> {
    const collects = hasFeature(controlPlane === "embedded" ? "embedded" : "kubernetes-1.20", "garbage collection");
    await this.mustKubectl("delete", ...objects, `--cascade=${collects ? "orphan" : "background"}`);
  }

  apply(...objects: object[]): Promise<string> {
    return this.#send("apply", objects);
  }

  /** As {@link apply}, for objects that are not there yet: one request each instead of two. */
  create(...objects: object[]): Promise<string> {
    return this.#send("create", objects);
  }

  async #send(verb: string, objects: readonly object[]): Promise<string> {
    const path = join(this.#scratch, `${verb}-${Math.random().toString(36).slice(2)}.json`);
    writeFileSync(path, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
    return await this.mustKubectl(verb, "-f", path);
  }

  /** Creates pods and waits until all of them are ready. */
  async pods(...specs: PodSpec[]): Promise<PodInfo[]> {
    await this.apply(...specs.map(podObject));
    const wanted = specs.map(({ name, namespace = "default" }) => `${namespace}/${name}`);
    return await until(
      `pods ${wanted.join(", ")} are ready`,
      async () => {
        const ready = await this.#readyPods();
        const found = wanted.map((key) => ready.get(key)).filter((pod) => pod !== undefined);
        return found.length === wanted.length ? found : undefined;
      },
      60_000 + specs.length * 500,
      250,
    );
  }

  async #readyPods(): Promise<Map<string, PodInfo>> {
    const list = JSON.parse(await this.mustKubectl("get", "pods", "-A", "-o", "json")) as { items: RawPod[] };
    const ready = new Map<string, PodInfo>();
    for (const pod of list.items) {
      const info = podInfo(pod);
      if (info !== undefined) ready.set(`${info.namespace}/${info.name}`, info);
    }
    return ready;
  }

  async podReady(name: string, namespace = "default", timeout = 60_000): Promise<PodInfo> {
    return await until(
      `pod ${namespace}/${name} is ready`,
      async () => {
        const got = await this.kubectl("get", "pod", "-n", namespace, name, "-o", "json");
        return got.code === 0 ? podInfo(JSON.parse(got.stdout) as RawPod) : undefined;
      },
      timeout,
    );
  }

  async deletePods(...names: string[]): Promise<void> {
    await this.mustKubectl("delete", "pod", "--wait=true", "--grace-period=0", "--force", ...names);
  }

  /** `fabricctl` on a node. */
  fabricctl(node: string, ...args: string[]): Promise<Outcome> {
    return this.node(node, join(root, "bin/fabricctl"), "--socket", this.path(node, "api.sock"), ...args);
  }

  async status(node: string): Promise<StatusReply> {
    const outcome = await this.fabricctl(node, "status", "-o", "json");
    if (outcome.code !== 0) throw new Error(`fabricctl status on ${node}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout) as StatusReply;
  }

  /** Entries of a node's bridge as the switch has them, one line each. */
  async flows(node: string): Promise<string[]> {
    const path = `unix:${this.path(node, "ovs/br-int.mgmt")}`;
    const outcome = await run("ovs-ofctl", ["-O", "OpenFlow15", "--no-stats", "dump-flows", path]);
    if (outcome.code !== 0) throw new Error(`ovs-ofctl on ${node}: ${outcome.stderr}`);
    return outcome.stdout.split("\n").filter((line) => line.includes("actions="));
  }

  /** A file of a node's own directory. */
  path(node: string, file: string): string {
    return `/run/fabric-lab/${this.name}/${node}/${file}`;
  }

  #command(args: readonly string[], timeout = 60_000): Promise<Outcome> {
    return run(join(root, "bin/fabric-lab"), args, timeout);
  }
}

interface RawPod {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Undefined while the pod is not ready. */
function podInfo({ metadata, spec, status }: RawPod): PodInfo | undefined {
  const ready = status.conditions?.some(({ type, status: state }) => type === "Ready" && state === "True");
  const ips = status.podIPs?.map(({ ip }) => ip) ?? [];
  if (ready !== true || ips.length === 0) return undefined;
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    node: spec.nodeName ?? "",
    ipv4: ips.find((ip) => !ip.includes(":")) ?? "",
    ipv6: ips.find((ip) => ip.includes(":")) ?? "",
  };
}

/** The pod as an object, for tests that do not wait until it is ready. */
export function podObject(spec: PodSpec): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: spec.name,
      namespace: spec.namespace ?? "default",
      labels: spec.labels ?? {},
      ...(spec.annotations === undefined ? {} : { annotations: spec.annotations }),
      ...(spec.controller === undefined
        ? {}
        : { ownerReferences: [{ apiVersion: "apps/v1", ...spec.controller, controller: true }] }),
    },
    spec: {
      ...(spec.node === undefined ? {} : { nodeName: spec.node }),
      ...(spec.hostNetwork === true ? { hostNetwork: true } : {}),
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "main", image: "host", command: ["sh", "-c", spec.run ?? "exec sleep infinity"] }],
    },
  };
}

/** What a program is given besides its arguments. */
export interface Given {
  /** Standard input; absent: it is empty. */
  readonly input?: string;
  /** The whole environment; absent: that of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end; a program that takes too long is killed and has code 124. */
export function run(
  command: string,
  args: readonly string[],
  timeout = 60_000,
  { input = "", env }: Given = {},
): Promise<Outcome> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, env === undefined ? {} : { env });
    // A program that ends before it has read everything is judged by what it says, not by the broken pipe.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const timer = setTimeout(() => {
      stderr += `\n(killed: it took longer than ${timeout} ms)\n`;
      child.kill("SIGKILL");
    }, timeout);
    child.on("error", (error) => {
      clearTimeout(timer);
      fail(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      done({ code: code ?? 124, stdout, stderr });
    });
  });
}

/** Asks again and again until there is an answer. Throws what was waited for when the time (ms) is over. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  timeout = 30_000,
  pause = 100,
): Promise<T> {
  const deadline = Date.now() + timeout;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      const why = last instanceof Error ? `: ${last.message}` : "";
      throw new Error(`waited ${timeout} ms in vain until ${what}${why}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * The kind of an entry of ours by its cookie, whatever its format (`packages/datapath/src/cookie.ts`); undefined for
 * others. Takes a line of `dump-flows`, or a text that begins with the cookie.
 */
export function entryKind(line: string): "base" | "pod" | "verdict" | "refusal" | undefined {
  const kind = /^(?:.*cookie=)?0xbf[0-9a-f]{2}(0[1-4])[0-9a-f]{10},?/.exec(line.trim())?.[1];
  return kind === undefined
    ? undefined
    : ({ "01": "base", "02": "pod", "03": "verdict", "04": "refusal" } as const)[kind];
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What a promised time is multiplied by before a test fails by it: two busy cores are shared by everybody. */
const margin = 5;

/**
 * One attempt at least must be within the promise (ms) with a wide margin: a test tells seconds from minutes, and the
 * bench tells milliseconds. What was measured is printed.
 */
export function assertWithin(promised: number, what: string, ...attempts: readonly number[]): void {
  const text = `${what}: ${attempts.map((each) => `${Math.round(each)} ms`).join(", ")}; promised ${promised} ms`;
  console.log(`       ${text}`);
  if (!attempts.some((each) => each <= promised * margin)) throw new Error(text);
}

/** Whether a program exists; tests name what is missing instead of failing somewhere inside. */
export function requireProgram(name: string): void {
  if (spawnSync("sh", ["-c", `command -v ${name}`]).status !== 0) throw new Error(`${name} is missing; run make setup`);
}
