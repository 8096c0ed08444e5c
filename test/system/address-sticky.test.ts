/**
 * A StatefulSet through what happens to nodes: drained, silent and given up by force, removed, and scaled. Nothing here acts on
 * StatefulSets: the test makes the pods that the controller would make.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { AddressCheckReply, AddressHistoryReply, AddressReply } from "@beyondfabric/agent/api";
import { Lab, podObject, until, type PodInfo } from "./lab.ts";

describe("a StatefulSet's addresses outlive its pods' nodes", () => {
  let lab: Lab;
  let uid = "";
  /** What each pod was first given. */
  const given = new Map<string, readonly string[]>();

  before(async () => {
    const config = JSON.stringify({ agent: { addresses: { reclaimSeconds: 3, historySeconds: 3600 } } });
    lab = await Lab.up("sticky", { nodes: 3, config });
    await lab.apply({
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: { name: "db", namespace: "default" },
      spec: {
        replicas: 3,
        serviceName: "db",
        selector: { matchLabels: { app: "db" } },
        template: { metadata: { labels: { app: "db" } }, spec: { containers: [{ name: "main", image: "host" }] } },
      },
    });
    uid = await lab.mustKubectl("get", "statefulset", "db", "-o", "jsonpath={.metadata.uid}");
    await lab.pods({ name: "witness", node: "node-1" });
    for (const name of ["db-0", "db-1", "db-2"]) {
      const { ipv4, ipv6 } = await made(name, "node-2");
      given.set(name, [ipv4, ipv6]);
    }
  });
  after(() => lab?.down());

  /** The pod that the controller makes for a slot. */
  async function made(name: string, node: string): Promise<PodInfo> {
    const controller = { kind: "StatefulSet", name: "db", uid } as const;
    await lab.apply(podObject({ name, node, labels: { app: "db" }, controller }));
    return await lab.podReady(name, "default", 120_000);
  }

  async function hasKept(name: string, node: string): Promise<void> {
    const pod = await made(name, node);
    assert.deepEqual([pod.ipv4, pod.ipv6], given.get(name), `${name} on ${node}`);
    for (const address of given.get(name)!) {
      const { code, stdout } = await lab.exec("witness", "ping", "-n", "-c", "2", "-W", "3", address);
      assert.equal(code, 0, `${address} of ${name} is not reached on ${node}:\n${stdout}`);
    }
  }

  const goneFromApi = (name: string): Promise<unknown> =>
    until(`pod ${name} is gone`, async () => (await lab.kubectl("get", "pod", name)).code !== 0, 60_000);

  async function ip<T>(...args: string[]): Promise<T> {
    const { code, stdout, stderr } = await lab.fabricctl("node-1", "ip", ...args, "-o", "json");
    assert.ok(code === 0 || code === 3, stderr);
    return JSON.parse(stdout) as T;
  }

  const isSound = (): Promise<unknown> =>
    until(
      "fabricctl ip check finds nothing",
      async () => (await ip<AddressCheckReply>("check")).findings.length === 0,
      60_000,
      1000,
    );

  it("a drain moves a pod, and its addresses with it", async () => {
    await lab.mustKubectl(
      "drain",
      "node-2",
      "--force",
      "--ignore-daemonsets",
      "--pod-selector=app=db",
      "--timeout=60s",
    );
    for (const name of given.keys()) await goneFromApi(name);
    await hasKept("db-0", "node-1");
    await hasKept("db-1", "node-3");
    await hasKept("db-2", "node-3");
    await isSound();
  });

  it("a node that is silent keeps its pods' addresses until somebody gives the pods up by force", async () => {
    for (const component of ["kubelet", "agent"]) await lab.component("node-3", component, "stop");
    const [address] = given.get("db-1")!;
    await lab.mustKubectl("delete", "pod", "db-1", "--grace-period=0", "--force");
    const { account } = await ip<AddressReply>("get", address!);
    assert.equal(account.user?.node, "node-3", "nobody takes it from a node that may still run the pod");
    // The switch of node-3 forwards for the pod that runs on there: only the successor's claim ends that.
    await hasKept("db-1", "node-1");
    const { tenures } = await ip<AddressHistoryReply>("history", address!);
    assert.deepEqual(
      tenures.slice(0, 2).map(({ node, until: end }) => [node, end === undefined]),
      [
        ["node-1", true],
        ["node-3", false],
      ],
    );
  });

  it("a node that is removed gives back what its pods had, and its successor has it", async () => {
    await lab.lab("remove-node", "node-3");
    await lab.kubectl("delete", "pod", "db-2", "--grace-period=0", "--force");
    await goneFromApi("db-2");
    await hasKept("db-2", "node-1");
    await isSound();
  });

  it("a slot that is scaled away gives its addresses back, and another one keeps them", async () => {
    await lab.mustKubectl("patch", "statefulset", "db", "--type=merge", "-p", '{"spec":{"replicas":2}}');
    await lab.deletePods("db-2");
    await until(
      "the addresses of db-2 are anybody's",
      async () => {
        const states = await Promise.all(
          given.get("db-2")!.map(async (address) => (await ip<AddressReply>("get", address)).account.state),
        );
        return states.every((state) => state === "released");
      },
      90_000,
      500,
    );
    await lab.deletePods("db-0");
    await lab.mustKubectl("uncordon", "node-2");
    await hasKept("db-0", "node-2");
    await isSound();
  });
});
