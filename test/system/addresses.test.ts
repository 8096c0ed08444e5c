/** Addresses as people use them: fixed, drawn from a pool, sticky, in subnets of their own; and what is said when they cannot be had. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Lab, until, type PodInfo } from "./lab.ts";
import { Runtime } from "./runtime.ts";

interface PodWish {
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Its controller. */
  readonly owner?: { readonly kind: string; readonly name: string; readonly uid: string };
}

interface Claim {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly address: string;
    readonly retention: string;
    readonly holder?: { readonly pod: string; readonly node: string; readonly podUid: string };
    readonly owner?: { readonly kind: string; readonly name: string; readonly slot: string };
  };
  readonly status: {
    readonly phase: string;
    readonly reclaimAt?: string;
    readonly history: readonly { readonly pod: string; readonly node: string; readonly reason: string }[];
  };
}

function pod({ name, namespace = "default", node, annotations = {}, labels = {}, owner }: PodWish): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      annotations,
      labels,
      ...(owner === undefined ? {} : { ownerReferences: [{ apiVersion: "apps/v1", ...owner, controller: true }] }),
    },
    spec: {
      ...(node === undefined ? {} : { nodeName: node }),
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "main", image: "host", command: ["sh", "-c", "exec sleep infinity"] }],
    },
  };
}

function workload(
  kind: "StatefulSet" | "Deployment" | "ReplicaSet",
  name: string,
  replicas: number,
  spec: object = {},
): object {
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name, namespace: "default" },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "main", image: "host" }] } },
      ...(kind === "StatefulSet" ? { serviceName: name } : {}),
      ...spec,
    },
  };
}

describe("addresses", () => {
  let lab: Lab;

  before(async () => {
    const addresses = { reclaimSeconds: 3, historySeconds: 3600 };
    lab = await Lab.up("addr", { nodes: 3, config: JSON.stringify({ agent: { addresses } }) });
  });
  after(() => lab?.down());

  const objectName = (address: string): string => address.replaceAll(".", "-");
  const claimOf = async (address: string): Promise<Claim | undefined> => {
    const got = await lab.kubectl("get", "bfip", objectName(address), "-o", "json");
    return got.code === 0 ? (JSON.parse(got.stdout) as Claim) : undefined;
  };
  const uidOf = (kind: string, name: string): Promise<string> =>
    lab.mustKubectl("get", kind, name, "-o", "jsonpath={.metadata.uid}");
  const phase = (address: string, wanted: string, timeout = 30_000): Promise<Claim> =>
    until(
      `the claim of ${address} is ${wanted}`,
      async () => {
        const claim = await claimOf(address);
        return claim?.status.phase === wanted ? claim : undefined;
      },
      timeout,
    );
  /** Events about an object, `reason: message`. */
  const events = async (kind: string, name: string): Promise<string[]> => {
    const selector = `involvedObject.kind=${kind},involvedObject.name=${name}`;
    const got = await lab.mustKubectl("get", "events", "-A", "--field-selector", selector, "-o", "json");
    const list = JSON.parse(got) as { items: { reason: string; message: string }[] };
    return list.items.map(({ reason, message }) => `${reason}: ${message}`);
  };
  const event = (kind: string, name: string, text: RegExp, timeout = 30_000): Promise<string> =>
    until(
      `an Event on ${kind} ${name} says ${text}`,
      async () => (await events(kind, name)).find((each) => text.test(each)),
      timeout,
      250,
    );
  const made = async (...wishes: PodWish[]): Promise<PodInfo[]> => {
    await lab.apply(...wishes.map(pod));
    return await Promise.all(wishes.map(({ name, namespace }) => lab.podReady(name, namespace)));
  };
  const gone = (...names: string[]): Promise<void> => lab.deletePods(...names);
  const reaches = async (from: string, to: string): Promise<void> => {
    const { code, stdout } = await lab.exec(from, "ping", "-n", "-c", "2", "-W", "3", to);
    assert.equal(code, 0, `${from} does not reach ${to}:\n${stdout}`);
  };

  it("a fixed address is claimed, reached from everywhere, and kept in the history when its pod goes", async () => {
    const [near, far, fixed] = await made(
      { name: "near", node: "node-1" },
      { name: "far", node: "node-2" },
      {
        name: "fixed",
        node: "node-1",
        annotations: {
          "beyondfabric.io/ip": "10.244.200.5,fd00:244::200:5",
          "beyondfabric.io/mac": "0a:00:00:00:02:05",
        },
      },
    );
    assert.deepEqual([fixed!.ipv4, fixed!.ipv6], ["10.244.200.5", "fd00:244::200:5"]);
    const link = await lab.exec("fixed", "cat", "/sys/class/net/eth0/address");
    assert.equal(link.stdout.trim(), "0a:00:00:00:02:05");
    for (const each of [near!, far!]) {
      await reaches(each.name, "10.244.200.5");
      await reaches(each.name, "fd00:244::200:5");
      await reaches("fixed", each.ipv4);
    }
    const claim = await phase("10.244.200.5", "Bound");
    assert.equal(claim.spec.holder?.pod, "fixed");
    assert.equal(claim.spec.retention, "Fixed");
    assert.match(await event("Pod", "fixed", /^AddressClaimed: .*10\.244\.200\.5/), /Subnet default/);
    await event("IPAddress", objectName("10.244.200.5"), /^AddressClaimed/);

    await gone("fixed");
    // Its owner was the pod itself: nobody comes back for it.
    const released = await phase("10.244.200.5", "Released", 60_000);
    assert.deepEqual(
      released.status.history.map((entry) => [entry.pod, entry.node]),
      [["fixed", "node-1"]],
    );
    await event("IPAddress", objectName("10.244.200.5"), /^AddressReleased: .*no longer kept for Pod default\/fixed/);
  });

  it("an address in use is refused with its holder's name, and given when the holder is gone", async () => {
    const wish = { annotations: { "beyondfabric.io/ip": "10.244.200.9" } };
    await made({ name: "first", node: "node-1", ...wish });
    await lab.apply(pod({ name: "second", node: "node-2", ...wish }));
    const said = await event("Pod", "second", /^AddressConflict/);
    assert.match(said, /10\.244\.200\.9 is held by pod default\/first on node node-1/);
    const told = await event("Pod", "second", /^FailedCreatePodSandBox/);
    assert.match(told, /default\/first/);
    await gone("first");
    const second = await lab.podReady("second", "default", 90_000);
    assert.equal(second.ipv4, "10.244.200.9");
    await reaches("near", "10.244.200.9");
    const { status } = (await claimOf("10.244.200.9"))!;
    assert.equal(status.history.at(-1)?.pod, "first");
    await gone("second");
  });

  it("an ordinary address of another node's block is not given twice; the block's owner says who has it", async () => {
    const [ordinary] = await made({ name: "ordinary", node: "node-3" });
    await lab.apply(pod({ name: "wants", node: "node-1", annotations: { "beyondfabric.io/ip": ordinary!.ipv4 } }));
    const said = await event("Pod", "wants", /^AddressConflict/);
    assert.match(said, new RegExp(ordinary!.ipv4.replaceAll(".", "\\.")));
    await gone("wants", "ordinary");
  });

  it("wrong wishes are refused with rule and remedy", async () => {
    const cases: [name: string, annotation: string, value: string, says: RegExp][] = [
      ["outside", "ip", "192.0.2.7", /192\.0\.2\.7.*in no usable Subnet/],
      ["gateway", "ip", "10.244.0.1", /the gateway of 10\.244\.0\.0\/16/],
      ["malformed", "ip", "10.244.200", /AddressRefused/],
      ["absent", "ip-pool", "nowhere", /no usable IPPool/],
    ];
    await lab.apply(
      ...cases.map(([name, annotation, value]) =>
        pod({ name, node: "node-1", annotations: { [`beyondfabric.io/${annotation}`]: value } }),
      ),
    );
    for (const [name, , , says] of cases) {
      assert.match(await event("Pod", name, /^AddressRefused/), says);
    }
    await gone(...cases.map(([name]) => name));
  });

  it("a StatefulSet's pods keep their addresses through deletion, another node, force, and a killed agent", async () => {
    await lab.apply(workload("StatefulSet", "db", 2));
    const owner = { kind: "StatefulSet", name: "db", uid: await uidOf("statefulset", "db") };
    const [zero, one] = await made({ name: "db-0", node: "node-1", owner }, { name: "db-1", node: "node-2", owner });
    assert.notEqual(zero!.ipv4, one!.ipv4);
    const claim = await phase(zero!.ipv4, "Bound");
    assert.deepEqual(
      [claim.spec.retention, claim.spec.owner?.kind, claim.spec.owner?.slot],
      ["Sticky", "StatefulSet", "db-0"],
    );

    // To another node: the address leaves the block of node-1, and entries follow at once.
    await reaches("near", zero!.ipv4);
    await reaches("far", zero!.ipv4);
    await gone("db-0");
    await phase(zero!.ipv4, "Retained");
    const [moved] = await made({ name: "db-0", node: "node-3", owner });
    assert.deepEqual([moved!.ipv4, moved!.ipv6, moved!.node], [zero!.ipv4, zero!.ipv6, "node-3"]);
    await reaches("near", zero!.ipv4);
    await reaches("far", zero!.ipv6);
    await reaches("db-0", one!.ipv4);
    await event("Pod", "db-0", /^AddressMoved: .*before: default\/db-0 on node node-1/);

    // The agent dies while the pod is away.
    await lab.component("node-3", "agent", "kill");
    await gone("db-0");
    const [again] = await made({ name: "db-0", node: "node-1", owner });
    assert.equal(again!.ipv4, zero!.ipv4);
    await reaches("far", zero!.ipv4);

    // Scaled down: the slot is gone, and after the delay the address is anybody's.
    await gone("db-1");
    await phase(one!.ipv4, "Retained");
    await lab.mustKubectl("patch", "statefulset", "db", "--type=merge", "-p", '{"spec":{"replicas":1}}');
    await phase(one!.ipv4, "Released", 60_000);
    // Deleted: the rest follows, although the pod is deleted before its set.
    await gone("db-0");
    await lab.abandon("statefulset/db");
    await phase(zero!.ipv4, "Released", 60_000);
  });

  it("a Deployment draws from its pool; a pool that is too small for an update says so; its figures are true", async () => {
    await lab.apply({
      apiVersion: "beyondfabric.io/v1alpha1",
      kind: "IPPool",
      metadata: { name: "web" },
      spec: { subnet: "default", addresses: ["10.244.210.10-10.244.210.12"] },
    });
    await lab.apply(workload("Deployment", "web", 3, { strategy: { rollingUpdate: { maxSurge: 1 } } }));
    await lab.apply(workload("ReplicaSet", "web-5d4", 3));
    const owner = { kind: "ReplicaSet", name: "web-5d4", uid: await uidOf("replicaset", "web-5d4") };
    const labels = { app: "web", "pod-template-hash": "5d4" };
    const annotations = { "beyondfabric.io/ip-pool": "web" };
    const pods = await made(
      ...["a", "b", "c"].map((each, index) => ({
        name: `web-5d4-${each}`,
        node: `node-${index + 1}`,
        owner,
        labels,
        annotations,
      })),
    );
    assert.deepEqual(pods.map(({ ipv4 }) => ipv4).sort(), ["10.244.210.10", "10.244.210.11", "10.244.210.12"]);
    assert.match(await event("Deployment", "web", /^PoolTooSmall/), /4 addresses, and there are 3/);
    await event("IPPool", "web", /^PoolTooSmall/);
    await until("the pool counts its addresses", async () => {
      const used = await lab.mustKubectl(
        "get",
        "bfpool",
        "web",
        "-o",
        "jsonpath={.status.used.ipv4}/{.status.capacity.ipv4}",
      );
      return used === "3/3";
    });
    await lab.apply(pod({ name: "web-5d4-d", node: "node-1", owner, labels, annotations }));
    assert.match(await event("Pod", "web-5d4-d", /^AddressConflict/), /IPPool web has no free address/);
    await gone("web-5d4-b");
    const last = await lab.podReady("web-5d4-d", "default", 90_000);
    assert.ok(pods.some(({ ipv4 }) => ipv4 === last.ipv4));
    await gone("web-5d4-a", "web-5d4-c", "web-5d4-d");
    await lab.abandon("deployment/web", "replicaset/web-5d4");
  });

  it("a namespace has a subnet of its own; full, it says so; deleted, it waits for its pods and tells their names", async () => {
    await lab.apply(
      {
        apiVersion: "beyondfabric.io/v1alpha1",
        kind: "Subnet",
        metadata: { name: "office" },
        spec: {
          network: "overlay",
          cidrs: ["10.50.0.0/29"],
          namespaceSelector: { matchLabels: { team: "office" } },
        },
      },
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "office", labels: { team: "office" } } },
    );
    await lab.mustKubectl("wait", "--for=condition=Accepted", "subnet.beyondfabric.io/office", "--timeout=30s");
    const place = { namespace: "office", node: "node-1" };
    // Of eight addresses one is the network's, one the gateway's and one for broadcasts.
    const pods = await made(...[1, 2, 3, 4, 5].map((number) => ({ name: `desk-${number}`, ...place })));
    for (const each of pods) assert.match(each.ipv4, /^10\.50\.0\.[2-6]$/);
    assert.equal(new Set(pods.map(({ ipv4 }) => ipv4)).size, 5);
    await reaches("office/desk-1", (await lab.podReady("far")).ipv4);
    await reaches("far", pods[0]!.ipv4);
    await until("the subnet is shown as full", async () => {
      const used = await lab.mustKubectl(
        "get",
        "subnet.beyondfabric.io",
        "office",
        "-o",
        "jsonpath={.status.used.ipv4} {.status.free.ipv4}",
      );
      return used === "5 0";
    });
    await until("every node's metrics say so", async () => {
      const { stdout } = await lab.node("node-2", "curl", "-s", "http://127.0.0.1:9474/metrics");
      const line = /^fabric_cluster_subnet_addresses\{subnet="office",family="IPv4",state="used"\} 5$/m;
      return line.test(stdout);
    });
    await lab.apply(pod({ name: "desk-6", ...place }));
    await until("the sixth pod is told that there is no address", async () => {
      const told = await events("Pod", "desk-6");
      return told.find((each) => /office/.test(each) && /IPAM_/.test(each));
    });
    await lab.mustKubectl("delete", "pod", "-n", "office", "desk-5", "--grace-period=0", "--force");
    const sixth = await lab.podReady("desk-6", "office", 90_000);
    assert.match(sixth.ipv4, /^10\.50\.0\.[2-6]$/);

    await lab.mustKubectl("delete", "subnet.beyondfabric.io", "office", "--wait=false");
    const message = await until("the subnet names who holds it", async () => {
      const path = `jsonpath={.status.conditions[?(@.type=="InUse")].message}`;
      const text = await lab.mustKubectl("get", "subnet.beyondfabric.io", "office", "-o", path);
      return text.includes("office/desk-1") ? text : undefined;
    });
    assert.match(message, /5 pods/);
    await lab.apply(pod({ name: "late", ...place }));
    assert.match(await event("Pod", "late", /^AddressRefused/), /being deleted/);
    await lab.mustKubectl("delete", "pod", "-n", "office", "--all", "--grace-period=0", "--force");
    await until(
      "the subnet is gone",
      async () => (await lab.kubectl("get", "subnet.beyondfabric.io", "office")).code !== 0,
      90_000,
      500,
    );
  });

  it("blocks say who has their addresses, and who had", async () => {
    const [guest] = await made({ name: "guest", node: "node-2" });
    const status = async (): Promise<{ allocations: string[]; history: string[] }> => {
      const list = JSON.parse(await lab.mustKubectl("get", "bfblock", "-o", "json")) as {
        items: {
          status?: { allocations?: { address: string; pod: string }[]; history?: { address: string; pod: string }[] };
        }[];
      };
      const lines = (entries: { address: string; pod: string }[] | undefined): string[] =>
        (entries ?? []).map(({ address, pod: name }) => `${name} ${address}`);
      return {
        allocations: list.items.flatMap((item) => lines(item.status?.allocations)),
        history: list.items.flatMap((item) => lines(item.status?.history)),
      };
    };
    const line = `default/guest ${guest!.ipv4}`;
    await until("the block names the pod", async () => (await status()).allocations.includes(line));
    await gone("guest");
    await until("the block remembers the pod", async () => {
      const { allocations, history } = await status();
      return history.includes(line) && !allocations.includes(line);
    });
  });

  it("without the API server a pod has what OVSDB remembers, else an ordinary address, and is told when that differs", async () => {
    const annotations = { "beyondfabric.io/ip": "10.244.200.20" };
    await made({ name: "keeper", node: "node-1", annotations });
    const uid = await uidOf("pod", "keeper");
    const runtime = new Runtime(lab, "node-1");
    const added = async (name: string, podUid: string): Promise<readonly string[]> => {
      const env = {
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name};K8S_POD_UID=${podUid}`,
      };
      return await runtime.add({ container: `c-${name}`, netns: await runtime.namespace(), env });
    };
    const removed = async (name: string): Promise<void> => {
      assert.equal((await runtime.call("DEL", { container: `c-${name}` })).code, 0);
    };
    try {
      await lab.component("-", "apiserver", "stop");
      // The agent has died too: all that it knows is in OVSDB.
      await lab.component("node-1", "agent", "kill");
      await until("the agent is back", async () => (await lab.status("node-1")).ready, 60_000);
      assert.deepEqual(await added("keeper", uid), ["10.244.200.20"]);
      const [ordinary] = await added("stranger", "5f3f6c1e-0000-4000-8000-000000000001");
      assert.match(ordinary!, /^10\.244\./);
    } finally {
      await lab.component("-", "apiserver", "start");
    }
    await until("the API server is back", async () => (await lab.kubectl("get", "nodes")).code === 0);
    await removed("keeper");
    // The mirror of a static pod names the UID by which the runtime knows it.
    const hash = { "kubernetes.io/config.hash": "5f3f6c1e-0000-4000-8000-000000000001" };
    const wish = { ...hash, "beyondfabric.io/ip": "10.244.200.21" };
    await lab.apply(pod({ name: "stranger", node: "node-1", annotations: wish }));
    assert.match(await event("Pod", "stranger", /^AddressDiffers/, 60_000), /annotation beyondfabric\.io\/ip/);
    await removed("stranger");
    await runtime.removeNamespaces();
    await gone("keeper", "stranger");
  });

  it("the default Subnet can be replaced: deleted, it waits for its pods, and for the nodes until there is another", async () => {
    const [last] = await made({ name: "last", node: "node-3" });
    // Its pod does not come back, and it still wants the address.
    await lab.apply(workload("StatefulSet", "idle", 1));
    const owner = { kind: "StatefulSet", name: "idle", uid: await uidOf("statefulset", "idle") };
    await made({ name: "idle-0", node: "node-2", owner });
    await gone("idle-0");
    await lab.mustKubectl("delete", "subnet.beyondfabric.io", "default", "--wait=false");
    const inUse = async (text: RegExp): Promise<string> =>
      await until(`the subnet says ${text}`, async () => {
        const path = `jsonpath={.status.conditions[?(@.type=="InUse")].message}`;
        const message = await lab.mustKubectl("get", "subnet.beyondfabric.io", "default", "-o", path);
        return text.test(message) ? message : undefined;
      });
    assert.match(await inUse(/default\/last/), /own addresses of 3 nodes node-1, node-2, node-3: create another/);
    await lab.apply({
      apiVersion: "beyondfabric.io/v1alpha1",
      kind: "Subnet",
      metadata: { name: "next" },
      spec: { network: "overlay", cidrs: ["10.99.0.0/16", "fd00:99::/64"], default: true },
    });
    await lab.mustKubectl("wait", "--for=condition=Accepted", "subnet.beyondfabric.io/next", "--timeout=30s");
    const [heir] = await made({ name: "heir", node: "node-1" });
    assert.match(heir!.ipv4, /^10\.99\./);
    for (const node of ["node-1", "node-2", "node-3"]) {
      await until(`${node} has addresses of the next subnet`, async () => {
        const { gatewayAddresses } = await lab.status(node);
        return gatewayAddresses.length === 2 && gatewayAddresses.every((each) => /^(10\.99\.|fd00:99:)/.test(each));
      });
      // From the node to pods of the former and of the next subnet, on this node and on others.
      for (const address of [last!.ipv4, last!.ipv6, heir!.ipv4, heir!.ipv6]) {
        const { code, stdout } = await lab.node(node, "ping", "-n", "-c", "2", "-W", "3", address);
        assert.equal(code, 0, `${node} does not reach ${address}:\n${stdout}`);
      }
    }
    await reaches("heir", last!.ipv4);
    assert.doesNotMatch(await inUse(/default\/last/), /own addresses/);
    await lab.mustKubectl("delete", "pod", "--all", "--grace-period=0", "--force");
    await until(
      "the former default subnet is gone",
      async () => (await lab.kubectl("get", "subnet.beyondfabric.io", "default")).code !== 0,
      120_000,
      500,
    );
    const [after] = await made({ name: "after", node: "node-2" });
    assert.match(after!.ipv4, /^10\.99\./);
  });
});
