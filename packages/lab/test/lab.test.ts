import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Lab, until } from "../src/index.ts";
import { CHECKOUT, labNames } from "../src/names.ts";
import { markedProcesses, leftoversOf } from "../src/topology/namespaces.ts";
import { MARK_VARIABLE } from "../src/supervisor/lab-spec.ts";

const name = `t${process.pid.toString(36)}`;

// The reference plug-ins stand in for ours: this is about the lab itself.
const config = {
  hosts: 1,
  cni: {
    binDirectory: "/usr/lib/cni",
    conflist: {
      cniVersion: "1.0.0",
      name: "lab-bridge",
      plugins: [
        {
          type: "bridge",
          bridge: "cni0",
          isGateway: true,
          ipam: {
            type: "host-local",
            dataDir: "${directory}/host-local",
            ranges: [[{ subnet: "10.244.${number}.0/24" }]],
            routes: [{ dst: "0.0.0.0/0" }],
          },
        },
      ],
    },
  },
};

const listen = (port: number) => ["socat", `TCP-LISTEN:${port},fork,reuseaddr`, "SYSTEM:cat"];

async function nothingIsLeft(): Promise<void> {
  assert.deepEqual(await leftoversOf(name), { namespaces: [], links: [] });
  assert.deepEqual(await markedProcesses(`${MARK_VARIABLE}=${name}`), []);
  assert.ok(!existsSync(labNames(name).directory));
}

describe("a lab of one node", () => {
  let lab: Lab;

  before(async () => {
    lab = await Lab.up({ name, nodes: 1, config });
  });
  after(async () => {
    await lab?.down();
    await nothingIsLeft();
  });

  it("is up for kubectl, and stays as it is when brought up again", async () => {
    assert.match(await lab.kubectl(["get", "nodes", "-o", "wide"]), /node-1\s+Ready.*172\.31\.\d+\.11/);
    const pid = (await lab.status()).nodes[0]?.components[0]?.pid;
    await Lab.up({ name, nodes: 1, config });
    assert.equal((await lab.status()).nodes[0]?.components[0]?.pid, pid);
  });

  it("runs a pod: address, files, environment, exec with the command's exit code", async () => {
    await lab.createPod({
      name: "web",
      command: ["sh", "-c", "cat /etc/hosts; hostname; echo $IP; exec sleep 1000"],
      spec: {
        containers: [
          {
            name: "main",
            image: "host",
            command: ["sh", "-c", "cat /etc/hosts; hostname; echo ip=$IP; exec sleep 1000"],
            env: [{ name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
          },
        ],
      },
    });
    const [[address]] = (await lab.waitReady("web")) as [[string]];
    assert.match(address, /^10\.244\.1\.\d+$/);
    assert.equal((await lab.pod("web")).status?.podIP, address);
    const link = await lab.exec("web", ["ip", "-br", "address", "show", "eth0"]);
    assert.match(link.stdout, new RegExp(address.replaceAll(".", "\\.")));
    assert.equal((await lab.exec("web", ["sh", "-c", "exit 7"])).code, 7);
    const log = join(
      lab.nodePaths("node-1").podsDirectory,
      `default_web_${(await lab.record("web")).uid.slice(0, 8)}`,
      "main.log",
    );
    await until("the container's output", 10_000, () => existsSync(log) && readFileSync(log, "utf8").includes("ip="));
    assert.match(readFileSync(log, "utf8"), new RegExp(`${address}\tweb\nweb\nip=${address}`));
    await lab.check("web");
  });

  it("reaches pods and outside hosts from the node", async () => {
    const [address] = await lab.addresses("web");
    assert.equal((await lab.node("node-1", ["ping", "-c1", "-W5", address!])).code, 0);
    assert.equal((await lab.node("node-1", ["ping", "-c1", "-W5", lab.hostAddress("host-1").ipv4])).code, 0);
    assert.equal((await lab.node("node-1", ["ping", "-c1", "-W5", lab.hostAddress("host-1").ipv6])).code, 0);
    assert.equal((await lab.host("host-1", ["ping", "-c1", "-W5", lab.businessAddress("node-1").ipv6])).code, 0);
    assert.match((await lab.node("node-1", ["ovs-vsctl", "show"])).stdout, /^[0-9a-f-]{36}\n/);
  });

  it("judges readiness by a probe from the node", async () => {
    const probe = { periodSeconds: 1, tcpSocket: { port: 7000 } };
    const container = (command: string[]) => ({
      containers: [{ name: "main", image: "host", command, readinessProbe: probe }],
    });
    await lab.createPods([
      { name: "listens", spec: container(listen(7000)) },
      { name: "silent", spec: container(["sleep", "1000"]) },
    ]);
    await lab.waitReady("listens");
    await until("an event about the silent pod", 20_000, async () =>
      (await lab.kubectl(["get", "events"])).includes("Readiness probe failed"),
    );
    assert.match(await lab.kubectl(["get", "pod", "silent"]), /0\/1\s+Running/);
    await lab.deletePods(["listens", "silent"]);
  });

  it("restarts what a liveness probe condemns, and ends what is to end", async () => {
    await lab.createPods([
      {
        name: "sick",
        spec: {
          containers: [
            {
              name: "main",
              image: "host",
              command: ["sleep", "1000"],
              livenessProbe: { periodSeconds: 1, failureThreshold: 1, exec: { command: ["false"] } },
            },
          ],
        },
      },
      { name: "job", command: ["sh", "-c", "exit 0"], restartPolicy: "Never" },
      { name: "failed", command: ["sh", "-c", "exit 3"], restartPolicy: "Never" },
    ]);
    await until(
      "a restart",
      20_000,
      async () => ((await lab.pod("sick")).status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1,
    );
    await until("the job's end", 20_000, async () => (await lab.pod("job")).status?.phase === "Succeeded");
    await until("the failure", 20_000, async () => (await lab.pod("failed")).status?.phase === "Failed");
    assert.equal((await lab.pod("failed")).status?.containerStatuses?.[0]?.state.terminated?.exitCode, 3);
    await lab.deletePods(["sick", "job", "failed"]);
  });

  it("runs init containers first, and host-network pods in the node's namespace", async () => {
    const file = join(lab.directory, "init-was-here");
    await lab.createPod({
      name: "init",
      spec: {
        initContainers: [{ name: "first", image: "host", command: ["touch", file] }],
        containers: [{ name: "main", image: "host", command: ["test", "-e", file] }],
        restartPolicy: "Never",
      },
    });
    await until("the main container's end", 20_000, async () => (await lab.pod("init")).status?.phase === "Succeeded");
    await lab.createPod({ name: "hostnet", spec: { hostNetwork: true } });
    await lab.waitReady("hostnet");
    assert.equal((await lab.pod("hostnet")).status?.podIP, lab.managementAddress("node-1").ipv4);
    await lab.deletePods(["init", "hostnet"]);
  });

  it("lives through the loss of its API server, kubelet and switch", async () => {
    const { status } = await lab.pod("web");
    await lab.component("-", "apiserver", "kill");
    await lab.component("node-1", "kubelet", "stop");
    await lab.component("node-1", "vswitchd", "kill");
    await until("the API server's return", 20_000, async () => (await lab.tryKubectl(["get", "nodes"])).code === 0);
    await lab.createPod({ name: "later" });
    await lab.component("node-1", "kubelet", "start");
    await lab.waitReady(["web", "later"]);
    assert.equal((await lab.pod("web")).status?.podIP, status?.podIP);
    await until(
      "the switch's return",
      20_000,
      async () => (await lab.component("node-1", "vswitchd", "pid")) !== undefined,
    );
  });

  it("refuses to be brought up with another configuration, and keeps running", async () => {
    await assert.rejects(Lab.up({ name, nodes: 2, config }), { code: "LAB_BUSY", message: /take it down first/ });
    assert.equal((await lab.status()).nodes.length, 1);
  });

  it("keeps the successor of a pod that was deleted by force", async () => {
    await lab.createPod({ name: "twin" });
    await lab.waitReady("twin");
    const { uid } = await lab.record("twin");
    await lab.deletePod("twin", { force: true });
    await lab.createPod({ name: "twin" });
    await until("the successor", 20_000, async () => (await lab.record("twin").catch(() => ({ uid }))).uid !== uid);
    await lab.waitReady("twin");
    assert.notEqual((await lab.record("twin")).uid, uid);
    assert.equal((await lab.exec("twin", ["true"])).code, 0);
    await lab.deletePods(["twin"]);
  });

  it("retries a refused sandbox and tells why in an event", async () => {
    const netDirectory = join(lab.nodePaths("node-1").cniConfDirectory, "10-lab.conflist");
    const text = readFileSync(netDirectory, "utf8");
    writeFileSync(netDirectory, text.replace('"host-local"', '"absent-ipam"'));
    await lab.createPod({ name: "refused" });
    await until("an event with the plug-in's reason", 20_000, async () =>
      /FailedCreatePodSandBox.*absent-ipam/.test(await lab.kubectl(["get", "events"])),
    );
    writeFileSync(netDirectory, text);
    await lab.waitReady("refused");
    await lab.deletePods(["refused"]);
  });

  it("clears away deleted pods: namespace, address, record", async () => {
    const namespace = await lab.networkNamespace({ pod: "web" });
    await lab.deletePods(["web", "later"]);
    assert.ok(!existsSync(`/run/netns/${namespace}`));
    const leases = spawnSync("find", [join(lab.nodePaths("node-1").directory, "host-local"), "-name", "10.244.*"], {
      encoding: "utf8",
    });
    assert.equal(leases.stdout, "");
    await assert.rejects(lab.exec("web", ["true"]), { code: "LAB_NOT_FOUND" });
  });

  it("adds a node and removes it with its pods", async () => {
    await lab.addNode("node-2");
    await lab.createPod({ name: "there", node: "node-2" });
    await lab.waitReady("there");
    await lab.removeNode("node-2");
    assert.doesNotMatch(await lab.kubectl(["get", "nodes,pods"]), /node-2|there/);
    assert.deepEqual(
      (await leftoversOf(name)).namespaces.filter(
        (namespace) => namespace.includes("node-2") || namespace.includes("pod-"),
      ),
      [],
    );
  });

  it("answers on the command line", () => {
    const cli = (...args: string[]) => spawnSync(join(CHECKOUT, "bin", "fabric-lab"), args, { encoding: "utf8" });
    assert.equal(cli("kubeconfig", "--name", name).stdout.trim(), lab.kubeconfig);
    assert.equal(cli("node", "--name", name, "node-1", "--", "sh", "-c", "exit 5").status, 5);
    assert.equal(cli("host", "--name", name, "host-1", "--", "echo", "-n", "--", "x").stdout, "-- x");
    assert.equal((JSON.parse(cli("status", "--json", "--name", name).stdout) as { name: string }).name, name);
    const absent = cli("exec", "--name", name, "default/absent", "--", "true");
    assert.equal(absent.status, 1);
    assert.match(absent.stderr, /default\/absent does not run/);
  });
});

describe("a lab that fails or crashes", () => {
  after(async () => {
    spawnSync(join(CHECKOUT, "bin", "fabric-lab"), ["down", "--name", name]);
    await nothingIsLeft();
  });

  it("says which step failed and leaves nothing", async () => {
    const manifests = [{ apiVersion: "example.com/v1", kind: "Unheard", metadata: { name: "x" } }];
    await assert.rejects(Lab.up({ name, nodes: 1, config: { ...config, manifests } }), {
      message: /definitions and default network.*Unheard/s,
    });
    await nothingIsLeft();
  });

  it("is cleared away although its supervisor is dead, and can be brought up over its remains", async () => {
    const lab = await Lab.up({ name, nodes: 1, config });
    const supervisor = Number(readFileSync(join(lab.directory, "supervisor.pid"), "utf8").split("\n")[0]);
    process.kill(supervisor, "SIGKILL");
    await until(
      "the supervisor's end",
      5_000,
      () => !existsSync(`/proc/${supervisor}/fd`) || readFileSync(`/proc/${supervisor}/cmdline`, "utf8") === "",
    );
    await Lab.up({ name, nodes: 1, config });
    assert.match(await lab.kubectl(["get", "nodes"]), /node-1\s+Ready/);
    await lab.down();
    await nothingIsLeft();
  });
});
