/**
 * Owners of a kind that the configuration lists, such as virtual machines: pods follow one another under new names, and the
 * address stays. Nothing here acts on machines: the test makes the pods that their controller would make.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { AddressReply } from "@beyondfabric/agent/api";
import { Lab, podObject, until, type PodInfo } from "./lab.ts";

const apiVersion = "example.org/v1";
const kind = "VirtualMachine";
const resource = "virtualmachines";

const definition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${resource}.example.org` },
  spec: {
    group: "example.org",
    scope: "Namespaced",
    names: { plural: resource, singular: "virtualmachine", kind },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", properties: { spec: { type: "object", properties: {} } } } },
      },
    ],
  },
};

describe("the address of a virtual machine", () => {
  let lab: Lab;
  let machine: PodInfo;

  before(async () => {
    const addresses = { reclaimSeconds: 5, historySeconds: 3600, stickyOwners: [{ apiVersion, kind, resource }] };
    lab = await Lab.up("owner", { nodes: 3, config: JSON.stringify({ agent: { addresses } }) });
    await lab.apply(definition);
    await lab.mustKubectl("wait", "--for=condition=Established", `crd/${resource}.example.org`, "--timeout=30s");
    await lab.pods({ name: "witness", node: "node-1" });
  });
  after(() => lab?.down());

  /** A machine of that name; its UID. */
  async function machineNamed(name: string): Promise<string> {
    await lab.apply({ apiVersion, kind, metadata: { name, namespace: "default" }, spec: {} });
    return await lab.mustKubectl("get", resource, name, "-o", "jsonpath={.metadata.uid}");
  }

  /** A pod in which a machine runs. */
  async function launcher(name: string, node: string, owner: string, uid: string): Promise<PodInfo> {
    await lab.apply(podObject({ name, node, controller: { apiVersion, kind, name: owner, uid } }));
    return await lab.podReady(name, "default", 120_000);
  }

  const stateOf = async (address: string): Promise<AddressReply["account"]> => {
    const { code, stdout, stderr } = await lab.fabricctl("node-1", "ip", "get", address, "-o", "json");
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as AddressReply).account;
  };
  const state = (address: string, wanted: string): Promise<unknown> =>
    until(`${address} is ${wanted}`, async () => (await stateOf(address)).state === wanted, 90_000, 500);

  it("stays when its pod follows another one under a new name, on another node", async () => {
    const uid = await machineNamed("office");
    machine = await launcher("launcher-office-x2f", "node-1", "office", uid);
    const other = await launcher("launcher-mail-77b", "node-1", "mail", await machineNamed("mail"));
    assert.notEqual(other.ipv4, machine.ipv4);
    let last = machine.name;
    for (const [name, node] of [
      ["launcher-office-9kd", "node-2"],
      ["launcher-office-q0z", "node-3"],
    ] as const) {
      await lab.deletePods(last);
      await state(machine.ipv4, "retained");
      const { ipv4, ipv6 } = await launcher(name, node, "office", uid);
      assert.deepEqual([ipv4, ipv6], [machine.ipv4, machine.ipv6], `${name} on ${node}`);
      const { code, stdout } = await lab.exec("witness", "ping", "-n", "-c", "2", "-W", "3", ipv4);
      assert.equal(code, 0, `${ipv4} is not reached on ${node}:\n${stdout}`);
      last = name;
    }
    const { stdout } = await lab.fabricctl("node-1", "ip", "list", "--owner", `${kind}/office`);
    assert.ok(stdout.includes(machine.ipv4) && !stdout.includes(other.ipv4), stdout);
  });

  it("waits while a second pod of the machine starts beside the first, and is not in use twice", async () => {
    const uid = await machineNamed("office");
    await lab.apply(
      podObject({ name: "launcher-office-new", node: "node-2", controller: { apiVersion, kind, name: "office", uid } }),
    );
    const events = async (): Promise<string> =>
      await lab.mustKubectl(
        "get",
        "events",
        "--field-selector",
        "involvedObject.name=launcher-office-new",
        "-o",
        "jsonpath={.items[*].message}",
      );
    await until(
      "the second pod is told who has the address",
      async () => /held by pod default\/launcher-office-q0z/.test(await events()),
      60_000,
    );
    await lab.deletePods("launcher-office-q0z");
    const { ipv4 } = await lab.podReady("launcher-office-new", "default", 120_000);
    assert.equal(ipv4, machine.ipv4);
  });

  it("is anybody's when the machine is deleted and the delay has passed", async () => {
    await lab.deletePods("launcher-office-new");
    await state(machine.ipv4, "retained");
    await lab.abandon(`${resource}/office`);
    for (const address of [machine.ipv4, machine.ipv6]) await state(address, "released");
  });
});
