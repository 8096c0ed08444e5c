/**
 * Five hundred pods that come and go at once on three nodes whose agents are killed all the while: no address is ever with two
 * pods, none is lost, and a StatefulSet's pods have the same ones all along. Counted by `fabricctl ip check`, and
 * independently of it from what pods, blocks, claims and the nodes' own databases say.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { AddressCheckReply, AddressesReply } from "@beyondfabric/agent/api";
import { Lab, podObject, until } from "./lab.ts";

const nodes = ["node-1", "node-2", "node-3"];
const total = 500;
/** How long an agent works after the one before it has come back, before it is killed in its turn (ms). */
const killMilliseconds = 1500;
const reclaimSeconds = 3;

const figure = (text: string): void => console.log(`       ${text}`);

/** How the pod of a number asks for its address. */
type Manner = "ordinary" | "sticky" | "pool";

const mannerOf = (index: number): Manner => (index % 5 === 0 ? "sticky" : index % 5 === 1 ? "pool" : "ordinary");
const nameOf = (index: number): string => (mannerOf(index) === "sticky" ? `db-${index}` : `web-${index}`);
const even = Array.from({ length: total / 2 }, (_, index) => index * 2);
const odd = even.map((index) => index + 1);

interface RawPod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

interface RawClaim {
  readonly spec: { readonly address: string; readonly holder?: { readonly podUid: string } };
  readonly status: { readonly phase: string };
}

interface RawBlock {
  readonly spec: { readonly cidr: string; readonly node: string };
  readonly status?: { readonly allocations?: readonly { readonly address: string; readonly uid: string }[] };
}

const isReady = ({ metadata, status }: RawPod): boolean =>
  metadata.deletionTimestamp === undefined &&
  (status.podIPs?.length ?? 0) > 0 &&
  status.conditions?.some(({ type, status: state }) => type === "Ready" && state === "True") === true;

const addressesOf = ({ status }: RawPod): string[] => (status.podIPs ?? []).map(({ ip }) => ip).sort();

/** What each pod has, one line each, in an order. */
const lines = (addressesByUid: ReadonlyMap<string, string>): string[] =>
  [...addressesByUid].map(([uid, addresses]) => `${uid} ${addresses}`).sort();

describe("pods that come and go under agents that die", () => {
  let lab: Lab;
  let setUid = "";
  /** The addresses that each pod of the StatefulSet was first seen with. */
  const slots = new Map<string, string>();
  let sightings = 0;

  before(async () => {
    const addresses = { reclaimSeconds, historySeconds: 5 };
    lab = await Lab.up("churn", { nodes: nodes.length, config: JSON.stringify({ agent: { addresses } }) });
    await lab.apply(
      {
        apiVersion: "beyondfabric.io/v1alpha1",
        kind: "IPPool",
        metadata: { name: "web" },
        spec: { subnet: "default", addresses: ["10.244.240.0-10.244.240.255", "fd00:244::f000-fd00:244::f0ff"] },
      },
      {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata: { name: "db", namespace: "default" },
        spec: {
          replicas: total,
          serviceName: "db",
          selector: { matchLabels: { app: "db" } },
          template: { metadata: { labels: { app: "db" } }, spec: { containers: [{ name: "main", image: "host" }] } },
        },
      },
    );
    setUid = await lab.mustKubectl("get", "statefulset", "db", "-o", "jsonpath={.metadata.uid}");
  });
  after(() => lab?.down());

  function pod(index: number): object {
    const manner = mannerOf(index);
    return podObject({
      name: nameOf(index),
      node: nodes[index % nodes.length]!,
      labels: { half: index % 2 === 0 ? "even" : "odd" },
      ...(manner === "pool" ? { annotations: { "beyondfabric.io/ip-pool": "web" } } : {}),
      ...(manner === "sticky" ? { controller: { kind: "StatefulSet", name: "db", uid: setUid } } : {}),
    });
  }

  const create = (indices: readonly number[]): Promise<string> => lab.create(...indices.map(pod));
  /**
   * One request for all of them: with a selector kubectl deletes one after the other, five a second. A busy API server gives
   * up after half a minute what it has not deleted until then; who asked asks again.
   */
  async function remove(half: string): Promise<void> {
    const pods = `/api/v1/namespaces/default/pods?labelSelector=half%3D${half}&gracePeriodSeconds=0`;
    const ask = async (): Promise<boolean> => (await lab.mustKubectl("delete", "--raw", pods)) !== "";
    await until(`the ${half} pods are deleted`, ask, 600_000);
  }

  async function list<T>(kind: string): Promise<T[]> {
    return (JSON.parse(await lab.mustKubectl("get", kind, "-o", "json")) as { items: T[] }).items;
  }

  /** The pods as the API has them; whenever they are looked at no address may be with two of them, and none may change. */
  async function look(): Promise<RawPod[]> {
    const pods = await list<RawPod>("pods");
    const holders = new Map<string, string>();
    for (const each of pods) {
      const { name } = each.metadata;
      for (const address of addressesOf(each)) {
        const other = holders.get(address);
        assert.equal(other, undefined, `${address} is with ${other} and with ${name}`);
        holders.set(address, name);
      }
      if (!name.startsWith("db-") || addressesOf(each).length === 0) continue;
      const addresses = addressesOf(each).join(",");
      assert.equal(addresses, slots.get(name) ?? addresses, `${name} has other addresses than before`);
      slots.set(name, addresses);
    }
    sightings++;
    return pods;
  }

  const settled = (what: string, isDone: (pods: readonly RawPod[]) => boolean): Promise<void> =>
    until(what, async () => isDone(await look()) || undefined, 600_000, 1000).then(() => undefined);
  const areReady = (pods: readonly RawPod[], indices: readonly number[]): boolean => {
    const ready = new Set(pods.filter(isReady).map(({ metadata }) => metadata.name));
    return indices.every((index) => ready.has(nameOf(index)));
  };

  async function untilReady(node: string): Promise<void> {
    const path = `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`;
    const url = `http://${(await lab.mustKubectl("get", "node", node, "-o", path)).trim()}:9474/readyz`;
    await until(
      `the agent of ${node} is ready`,
      async () => (await fetch(url, { signal: AbortSignal.timeout(2000) })).status === 200,
      120_000,
    );
  }

  /** Does something while one agent after the other is killed with SIGKILL, each when the one before it is back. */
  async function underFire(act: () => Promise<void>): Promise<number> {
    const over = new AbortController();
    let kills = 0;
    const fire = async (): Promise<void> => {
      while (!over.signal.aborted) {
        const node = nodes[kills % nodes.length]!;
        await lab.component(node, "agent", "kill");
        kills++;
        await untilReady(node);
        await new Promise((resolve) => setTimeout(resolve, killMilliseconds));
      }
    };
    const firing = fire();
    try {
      await act();
    } finally {
      over.abort();
      await firing;
    }
    return kills;
  }

  /** What `fabricctl ip check` says, once everything that was on its way has arrived. */
  async function checked(): Promise<AddressCheckReply> {
    let last: AddressCheckReply | undefined;
    const ask = async (): Promise<AddressCheckReply | undefined> => {
      const { code, stdout, stderr } = await lab.fabricctl("node-1", "ip", "check", "-o", "json");
      assert.ok(code === 0 || code === 3, stderr);
      last = JSON.parse(stdout) as AddressCheckReply;
      return code === 0 ? last : undefined;
    };
    return await until("nothing is wrong with the addresses", ask, 60_000, 1000).catch((error: unknown) => {
      throw new Error(`fabricctl ip check finds: ${JSON.stringify(last?.findings, undefined, 1)}`, { cause: error });
    });
  }

  /** UID and addresses of each pod that a node's own database knows. */
  async function interfaces(node: string): Promise<Map<string, string>> {
    const command = ["--format=json", "--columns=external_ids", "list", "Interface"];
    const { code, stdout, stderr } = await lab.node(node, "ovs-vsctl", ...command);
    assert.equal(code, 0, stderr);
    const { data } = JSON.parse(stdout) as { data: [["map", [string, string][]]][] };
    const found = new Map<string, string>();
    for (const [[, pairs]] of data) {
      const ids = new Map(pairs);
      const uid = ids.get("beyondfabric.io/uid");
      if (uid === undefined) continue;
      found.set(uid, ids.get("beyondfabric.io/addresses")!.split(",").sort().join(","));
    }
    return found;
  }

  /** Pods, blocks, claims and databases, compared without the help of any program that is tested here. */
  async function agree(): Promise<void> {
    const pods = await look();
    const shown = new Map(pods.map((each) => [each.metadata.uid, addressesOf(each).join(",")]));
    const known = new Map<string, string>();
    for (const node of nodes) for (const [uid, addresses] of await interfaces(node)) known.set(uid, addresses);
    assert.deepEqual(lines(known), lines(shown), "what the nodes' switches hold is not what the API shows");

    const given = new Map<string, string[]>();
    for (const { spec } of await list<RawClaim>("ipaddresses.beyondfabric.io")) {
      if (spec.holder === undefined) continue;
      given.set(spec.holder.podUid, [...(given.get(spec.holder.podUid) ?? []), spec.address]);
    }
    for (const { status } of await list<RawBlock>("addressblocks")) {
      for (const { uid, address } of status?.allocations ?? []) given.set(uid, [...(given.get(uid) ?? []), address]);
    }
    const handedOut = new Map([...given].map(([uid, addresses]) => [uid, addresses.sort().join(",")]));
    assert.deepEqual(lines(handedOut), lines(shown), "what was handed out is not what the pods show");
  }

  it("five hundred at once, half of them gone again before the rest is there", async () => {
    const begun = performance.now();
    const kills = await underFire(async () => {
      await create([...even, ...odd]);
      await settled("half of the pods are ready", (pods) => pods.filter(isReady).length >= total / 2);
      await remove("even");
      await settled(
        "the odd ones are ready and the even ones gone",
        (pods) => pods.length === odd.length && areReady(pods, odd),
      );
    });
    const seconds = Math.round((performance.now() - begun) / 1000);
    figure(`${total} pods made and ${even.length} deleted in ${seconds} s, agents killed ${kills} times`);
    const { looked } = await checked();
    assert.equal(looked.pods, odd.length);
    await agree();
  });

  it("half of them deleted and the other half made anew at the same moment", async () => {
    const begun = performance.now();
    const kills = await underFire(async () => {
      await Promise.all([remove("odd"), create(even)]);
      await settled(
        "the even ones are ready and the odd ones gone",
        (pods) => pods.length === even.length && areReady(pods, even),
      );
    });
    const seconds = Math.round((performance.now() - begun) / 1000);
    figure(`${even.length} pods made and ${odd.length} deleted in ${seconds} s, agents killed ${kills} times`);
    await checked();
    await agree();
  });

  it("nothing is left of any of them", async () => {
    const kills = await underFire(async () => {
      await Promise.all([remove("even"), lab.abandon("statefulset/db")]);
      await settled("no pod is left", (pods) => pods.length === 0);
    });
    figure(`${even.length} pods deleted, agents killed ${kills} times; looked at all pods ${sightings} times`);
    await until(
      "no address is held or kept",
      async () => {
        const { code, stdout, stderr } = await lab.fabricctl("node-1", "ip", "list", "-o", "json");
        assert.equal(code, 0, stderr);
        const { addresses } = JSON.parse(stdout) as AddressesReply;
        const left = addresses.filter(({ state }) => state !== "node");
        if (left.length > 0) throw new Error(`${left.length} are left, such as ${JSON.stringify(left[0])}`);
        return true;
      },
      180_000,
      1000,
    );
    const { looked } = await checked();
    assert.equal(looked.pods, 0);
    await agree();
    const claims = await list<RawClaim>("ipaddresses.beyondfabric.io");
    assert.deepEqual(
      [...new Set(claims.map(({ status }) => status.phase))].filter((phase) => phase !== "Released"),
      [],
    );
  });
});
