/** BeyondFabric: the real agent, its own API server, pods attached by CNI, the whole decision made for every flow. */
import { BenchApiServer } from "../cluster/api-server.ts";
import { policyManifest } from "../cluster/policies.ts";
import { clusterFoundation, clusterGrowth, namespaceName, type Manifest } from "../cluster/recorded.ts";
import { inNamespace, run, until, type Site } from "../environment/site.ts";
import { Switch } from "../environment/switch.ts";
import { layCable, underlayAddress, underlayPrefix } from "../environment/wire.ts";
import { formatAddress } from "../traffic/frame.ts";
import { measureTraffic } from "../traffic/measure.ts";
import { returningFlows, type Variation } from "../traffic/plan.ts";
import { AgentNode, containerIdOf, type AgentLimits, type ApiPod, type AttachedPod } from "./agent-node.ts";
import { type Across, PODS_PER_NODE, type Contender, type Setting } from "./contender.ts";

const MANAGEMENT = ["172.31.254.1", "172.31.254.2"] as const;
const BUSINESS = ["10.10.0.11", "10.10.0.12"] as const;
/** Rate at which entries are made for the crowded scenarios. */
const FILL_RATE = 4000;
/** A pair that comes back gets an entry there and one for the way back. */
const entriesPerPair = 2;

/** A switch's namespace with the addresses of a node: management on the loopback, `eth1` with nobody at its other end. */
async function loneSwitch(site: Site, purpose: string): Promise<Switch> {
  const own = await Switch.start(site, purpose, "without bridge");
  const batch = [
    `addr add ${MANAGEMENT[0]}/32 dev lo`,
    "link add eth1 type veth peer name wire",
    "link set wire up",
    "link set eth1 up",
    `addr add ${BUSINESS[0]}/24 dev eth1`,
  ];
  run(["ip", "-n", own.namespace, "-batch", "-"], batch.join("\n"));
  return own;
}

/** The limits of a node in a setting: one sender stands for a whole node's pods, so its own meter is lifted. */
function limitsOf(setting: Setting): AgentLimits {
  const meter = setting.meters === "default" ? {} : { missesPerSecondPerPort: 0 };
  if (setting.liveFlows !== undefined) return { ...meter, entries: setting.liveFlows * entriesPerPair * 2 };
  return setting.entries === undefined
    ? meter
    : { ...meter, entries: Math.ceil(setting.entries * 1.5), idleSeconds: 3600 };
}

export const beyondFabric: Contender = {
  name: "BeyondFabric",
  async start(site, setting) {
    const own = await loneSwitch(site, "bf");
    const api = await BenchApiServer.start(site, own.namespace, MANAGEMENT[0]);
    await api.load([...clusterFoundation(), sourcesSubnet(setting.sources)]);
    if (setting.clusterPods !== undefined) {
      await api.load(clusterGrowth(0, { pods: setting.clusterPods, podsPerNode: PODS_PER_NODE }));
    }
    const agent = await AgentNode.start(site, own, api, {
      name: "bench-1",
      tunnelAddress: BUSINESS[0],
      limits: limitsOf(setting),
    });
    const namespaces = site.addNamespaces(
      setting.pods.map(({ name }) => name),
      "IPv4 and IPv6",
    );
    const inApi = await publish(api, setting, "bench-1");
    const pods = setting.pods.map(({ name }, at) => agent.attach(name, namespaces[at]!, inApi[at]));
    // Without them it would not be known what isolates the pods, and their packets would wait for it.
    if (setting.services === undefined) await api.load(pods.map((pod) => podObject(pod, agent.name)));
    allowSources(own, pods[0]!, setting.sources);
    for (const pod of pods) pinRouter(pod);
    if (setting.idlePorts > 0) await own.addIdlePorts(setting.idlePorts);
    let filled = 0;
    return {
      contender: beyondFabric.name,
      switch: own,
      pods,
      api,
      macTowards: (from) => (from as AttachedPod).routerMac,
      controllerCpu: () => agent.cpu(),
      controllerMemory: () => agent.memory(),
      async forget() {
        // The agent remembers a pair longer than its entry: all pods but the sender are deleted and come with new addresses.
        if (setting.entries === undefined) {
          for (const [at, pod] of pods.entries()) {
            if (at === 0) continue;
            agent.detach(pod);
            pods[at] = agent.attach(pod.name, pod.namespace, pod.inApi);
            pinRouter(pods[at]);
          }
          await agent.deleteVerdicts();
        }
        own.forgetDatapathFlows();
      },
      async addEntries(count) {
        const before = own.entries();
        const [from, , to] = pods;
        const half = 2 ** (setting.sources.bits - 1);
        const plan = returningFlows(Math.ceil(count / entriesPerPair), FILL_RATE, {
          ...setting.sources,
          first: half + filled,
        });
        filled += plan.flows;
        await measureTraffic(site, { from: from!, to: to!, destinationMac: from!.routerMac }, plan);
        await until(`${count} entries`, 60_000, () => own.entries() - before >= count * 0.95, 500);
      },
      async stop() {
        await agent.stop();
        await api.stop();
      },
    };
  },
  async startAcross(site) {
    const [left, right] = await joinedSwitches(site, "bf1", "bf2");
    const api = await BenchApiServer.start(site, left.namespace, MANAGEMENT[0]);
    await api.load(clusterFoundation());
    const agents: AgentNode[] = [];
    const pods: AttachedPod[] = [];
    for (const [at, own] of [left, right].entries()) {
      const node = { name: `bench-${at + 1}`, tunnelAddress: BUSINESS[at]! };
      const agent = await AgentNode.start(site, own, api, node);
      agents.push(agent);
      pods.push(agent.attach(`far${at}`, site.addNamespace(`far${at}`, "IPv4 and IPv6")));
    }
    for (const [at, pod] of pods.entries()) await api.load([podObject(pod, `bench-${at + 1}`)]);
    return pairOf(pods, agents, api);
  },
  async startUnderlay(site) {
    const switches = await joinedSwitches(site, "bf3", "bf4");
    const [left, right] = switches;
    layCable("eth2", left.namespace, right.namespace);
    const api = await BenchApiServer.start(site, left.namespace, MANAGEMENT[0]);
    await api.load([...clusterFoundation(), ...wireManifests()]);
    const agents: AgentNode[] = [];
    const pods: AttachedPod[] = [];
    for (const [at, own] of switches.entries()) {
      const name = `bench-${at + 1}`;
      const agent = await AgentNode.start(site, own, api, { name, tunnelAddress: BUSINESS[at]! });
      agents.push(agent);
      await api.load([wiredPod(`bench-wired${at}`, name, underlayAddress(at))]);
      const get = ["kubectl", "--kubeconfig", api.kubeconfig, "get", "pod", "-n", "bench-0", `bench-wired${at}`];
      const uid = run(inNamespace(own.namespace, [...get, "-o", "jsonpath={.metadata.uid}"]));
      const namespace = site.addNamespace(`wired${at}`, "IPv4 and IPv6");
      pods.push(await attachOnWire(agent, `wired${at}`, namespace, uid));
      if (pods[at]!.address !== underlayAddress(at)) throw new Error(`pod wired${at} has ${pods[at]!.address}`);
    }
    return pairOf(pods, agents, api);
  },
  async startCni(site) {
    const own = await loneSwitch(site, "bfcni");
    const api = await BenchApiServer.start(site, own.namespace, MANAGEMENT[0]);
    await api.load(clusterFoundation());
    const agent = await AgentNode.start(site, own, api, { name: "bench-1", tunnelAddress: BUSINESS[0] });
    return {
      name: beyondFabric.name,
      namespace: own.namespace,
      executable: agent.executable,
      binDirectory: agent.directory,
      configuration: agent.networkConfiguration,
      argumentsOf: (containerId) => agent.argumentsOf(containerId),
      announce: async () => {},
      withdraw: async () => {},
    };
  },
  async startScaled(site, localPods) {
    const own = await loneSwitch(site, "bfscale");
    const api = await BenchApiServer.start(site, own.namespace, MANAGEMENT[0]);
    await api.load(clusterFoundation());
    const agent = await AgentNode.start(site, own, api, { name: "bench-1", tunnelAddress: BUSINESS[0] });
    const names = Array.from({ length: localPods }, (_, at) => `local${at}`);
    const namespaces = site.addNamespaces(names, "IPv4 and IPv6");
    for (const [at, name] of names.entries()) agent.attach(name, namespaces[at]!);
    let present = 0;
    return {
      contender: beyondFabric.name,
      async grow(pods) {
        await api.load(clusterGrowth(present, { pods, podsPerNode: PODS_PER_NODE }));
        present = pods;
        const deadline = performance.now() + 60_000;
        while (agent.clusterPods() < pods) {
          if (performance.now() > deadline) throw new Error(`the agent does not know ${pods} pods after a minute`);
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      },
      entries: () => own.entries(),
      memory: () => agent.memory(),
      async stop() {
        await agent.stop();
        await api.stop();
      },
    };
  },
};

/** Two switches whose nodes share a management network and one for tunnels. */
async function joinedSwitches(site: Site, ...purposes: [string, string]): Promise<[Switch, Switch]> {
  const left = await Switch.start(site, purposes[0], "without bridge");
  const right = await Switch.start(site, purposes[1], "without bridge");
  const cable = (name: string) =>
    `name ${name} netns ${left.namespace} type veth peer name ${name} netns ${right.namespace}`;
  for (const name of ["eth0", "eth1"]) run(["ip", "link", "add", ...cable(name).split(" ")]);
  for (const [at, own] of [left, right].entries()) {
    const batch = [
      `addr add ${MANAGEMENT[at]}/24 dev eth0`,
      `addr add ${BUSINESS[at]}/24 dev eth1`,
      "link set eth0 up",
      "link set eth1 up",
    ];
    run(["ip", "-n", own.namespace, "-batch", "-"], batch.join("\n"));
  }
  return [left, right];
}

/** The wire of the underlay scenario as the cluster knows it. */
function wireManifests(): Manifest[] {
  const apiVersion = "beyondfabric.io/v1alpha1";
  return [
    {
      apiVersion,
      kind: "Network",
      metadata: { name: "wire" },
      spec: { type: "Underlay", interfaces: [{ name: "eth2" }] },
    },
    {
      apiVersion,
      kind: "Subnet",
      metadata: { name: "wired" },
      spec: { network: "wire", cidrs: [`10.30.0.0/${underlayPrefix}`] },
    },
  ];
}

/** A pod that names its place on the wire. */
function wiredPod(name: string, node: string, address: string): Manifest {
  const annotations = { "beyondfabric.io/subnet": "wired", "beyondfabric.io/ip": address };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "bench-0", annotations },
    spec: { nodeName: node, containers: [{ name: "main", image: "registry.example/pause:1" }] },
  };
}

/** Two pods that stand, each of an agent of its own. */
function pairOf([from, to]: readonly AttachedPod[], agents: readonly AgentNode[], api: BenchApiServer): Across {
  return {
    contender: beyondFabric.name,
    from: from!,
    to: to!,
    async stop() {
      for (const agent of agents) await agent.stop();
      await api.stop();
    },
  };
}

/** CNI ADD, repeated as a runtime does while the NIC's bridge is being made. */
async function attachOnWire(agent: AgentNode, name: string, namespace: string, uid: string): Promise<AttachedPod> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      return agent.attach(name, namespace, { namespace: "bench-0", uid });
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

/** The sender's addresses are the cluster's too, or their packets would be a stranger's. */
function sourcesSubnet(sources: Variation): Manifest {
  return {
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "Subnet",
    metadata: { name: "sources" },
    spec: { network: "overlay", cidrs: [prefixOf(sources)] },
  };
}

function prefixOf(sources: Variation): string {
  return `${formatAddress(sources.base)}/${32 - sources.bits}`;
}

/** Has a pod forward for a prefix, as an administrator would: it may send from all of it. */
function allowSources(own: Switch, pod: AttachedPod, sources: Variation): void {
  own.configure("set", "interface", pod.port, `external_ids:beyondfabric.io/routed-prefixes="${prefixOf(sources)}"`);
}

/** Keeps the pod's kernel from asking for its gateway in the middle of a measurement. */
function pinRouter(pod: AttachedPod): void {
  const routes = run(["ip", "-n", pod.namespace, "-4", "route", "show", "default"]);
  const gateway = /via (\S+)/.exec(routes)?.[1];
  if (gateway === undefined) throw new Error(`pod ${pod.name} has no default route: ${routes}`);
  const neighbour = ["neigh", "replace", gateway, "lladdr", pod.routerMac, "dev", pod.interface, "nud", "permanent"];
  run(["ip", "-n", pod.namespace, ...neighbour]);
}

/** Writes the policies, and the pods that they are about, of which no address is known yet. */
async function publish(api: BenchApiServer, setting: Setting, nodeName: string): Promise<(ApiPod | undefined)[]> {
  await api.load((setting.policies ?? []).map(policyManifest));
  if (setting.services === undefined) return setting.pods.map(() => undefined);
  const places = setting.pods.map(({ name }, at) => ({
    name: containerIdOf(name),
    ...(setting.services?.[at] ?? { namespace: namespaceName(0), app: "of-no-service" }),
  }));
  await api.load(
    places.map(({ name, namespace, app }) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace, labels: { app } },
      spec: { nodeName, containers: [{ name: "main", image: "registry.example/pause:1" }] },
    })),
  );
  const uids = new Map([...new Set(places.map(({ namespace }) => namespace))].map((each) => [each, api.podUids(each)]));
  return places.map(({ name, namespace }) => ({ namespace, uid: uids.get(namespace)!.get(name)! }));
}

/** The pod as its kubelet publishes it: a static one, which the runtime knew by a UID of its own before the API had it. */
function podObject(pod: AttachedPod, node: string) {
  const annotations = { "kubernetes.io/config.hash": `uid-${pod.containerId}` };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: pod.containerId, namespace: "bench-0", annotations },
    spec: { nodeName: node, containers: [{ name: "main", image: "registry.example/pause:1" }] },
    status: { phase: "Running", podIP: pod.address, podIPs: [{ ip: pod.address }] },
  };
}
