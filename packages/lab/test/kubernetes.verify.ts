/** The lab on a real etcd and kube-apiserver: only what differs from the embedded control plane. Run by `make verify`. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Lab, until } from "../src/index.ts";

const name = `v${process.pid.toString(36)}`;

const config = {
  hosts: 0,
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
          },
        },
      ],
    },
  },
};

describe("a lab on a real API server", () => {
  let lab: Lab;

  before(async () => {
    lab = await Lab.up({ name, nodes: 1, controlPlane: "kubernetes", config });
  });
  after(async () => {
    await lab?.down();
  });

  it("is Kubernetes 1.20 with our definitions", async () => {
    assert.match(await lab.kubectl(["version", "-o", "json"]), /"gitVersion": "v1\.20\.2"/);
    assert.match(await lab.kubectl(["get", "crds"]), /networks\.beyondfabric\.io/);
  });

  it("schedules, runs and deletes pods", async () => {
    await lab.createPods([{ name: "a", command: ["sleep", "1000"] }, { name: "b" }]);
    const addresses = await lab.waitReady(["a", "b"]);
    assert.equal(new Set(addresses.flat()).size, 2);
    assert.equal((await lab.pod("a")).status?.podIP, addresses[0]?.[0]);
    await lab.deletePod("a");
    await lab.deletePod("b", { force: true });
  });

  it("lets a namespace go with everything in it", async () => {
    await lab.kubectl(["create", "namespace", "short"]);
    await lab.createPod({ name: "inside", namespace: "short" });
    await lab.waitReady("short/inside");
    await lab.kubectl(["delete", "namespace", "short", "--timeout=30s"]);
    assert.doesNotMatch(await lab.kubectl(["get", "namespaces"]), /short/);
  });

  it("lives through a killed API server", async () => {
    await lab.createPod({ name: "before" });
    await lab.waitReady("before");
    await lab.component("-", "apiserver", "kill");
    await until("the API server's return", 60_000, async () => (await lab.tryKubectl(["get", "nodes"])).code === 0);
    await lab.createPod({ name: "after" });
    await lab.waitReady(["before", "after"]);
  });
});
