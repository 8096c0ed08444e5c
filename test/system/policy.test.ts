/** NetworkPolicies on real pods: the public model of three namespaces and three pods each, by its truth tables. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  conformanceCases,
  namespaces,
  pods,
  podNames,
  portName,
  services,
  TruthTable,
  withAddresses,
  type ConformanceStep,
} from "../conformance/network-policy.ts";
import type { Probe } from "../conformance/peer.ts";
import { Lab, until, type PodInfo } from "./lab.ts";
import { Peers } from "./peers.ts";

const peers = new Peers();
/** What a pod without SCTP in its kernel can be asked. */
const asked = services.filter((service) => !service.endsWith("SCTP"));
const real = process.env["FABRIC_CONTROL_PLANE"] === "kubernetes";
/**
 * Most cases differ in what the evaluator makes of them, and it is asked all of them in `packages/policy`. Beside a real
 * API server every case is tried on pods; for every day these are enough: one of each way in which packets are judged.
 */
const everyDay: ReadonlySet<string> = new Set([
  "without policies everybody reaches everybody",
  "default deny of ingress in a namespace",
  "default deny of both directions in a namespace",
  "ingress on one port from one namespace",
  "ingress on one port of UDP",
  "egress on a named port, which the destination owns",
  "a policy that is changed counts from then on",
]);
/** What Kubernetes 1.20 does not know; the embedded control plane does. */
const missing: ReadonlySet<string> = new Set(real ? ["end-port", "namespace-name-label"] : []);

/** Pod `a` of a namespace takes TCP on port 80, and nothing else. */
const webSpec = { podSelector: { matchLabels: { pod: "a" } }, ingress: [{ ports: [{ port: 80 }] }] };

describe("NetworkPolicies between pods of three nodes, in both families", () => {
  let lab: Lab;
  let infos: Map<string, PodInfo>;
  let labelled: Readonly<Record<string, Readonly<Record<string, string>>>> = {};
  let applied = new Map<string, string>();

  before(async () => {
    lab = await Lab.up("policy");
    for (const name of namespaces) {
      const metadata = { name, labels: { ns: name } };
      await lab.apply({ apiVersion: "v1", kind: "Namespace", metadata });
    }
    await lab.apply(...pods.map(podObject));
    infos = new Map(
      await Promise.all(
        pods.map(async (pod): Promise<[string, PodInfo]> => {
          const [namespace, name] = pod.split("/") as [string, string];
          return [pod, await lab.podReady(name, namespace, 120_000)];
        }),
      ),
    );
  });
  after(async () => {
    await lab?.down();
    peers.remove();
  });

  function podObject(pod: string, index: number): object {
    const [namespace, name] = pod.split("/") as [string, string];
    const ports = services.map((service) => {
      const [port, protocol] = service.split("/") as [string, string];
      return { name: portName(service), protocol, containerPort: Number(port) };
    });
    const command = peers.command(pod);
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace, name, labels: { pod: name } },
      spec: {
        nodeName: `node-${(index % 3) + 1}`,
        terminationGracePeriodSeconds: 0,
        containers: [{ name: "main", image: "host", command, ports }],
      },
    };
  }

  /** Brings labels and policies of the cluster to those of a step. */
  async function establish({ labels = {}, policies }: ConformanceStep, family: 4 | 6): Promise<void> {
    for (const [object, pairs] of Object.entries({ ...labelled, ...labels })) {
      const [kind, name] = object.split(" ") as [string, string];
      const [namespace, pod] = name.split("/");
      const where = kind === "pod" ? ["pod", "-n", namespace!, pod!] : ["namespace", name];
      const changes = Object.keys(pairs).map((key) =>
        labels[object] === undefined ? `${key}-` : `${key}=${labels[object][key]}`,
      );
      await lab.mustKubectl("label", "--overwrite", ...where, ...changes);
    }
    labelled = labels;
    const cidrOf = (pod: string): string => {
      const info = infos.get(pod)!;
      return family === 4 ? `${info.ipv4}/32` : `${info.ipv6}/128`;
    };
    const wanted = new Map(
      withAddresses(policies, cidrOf, family === 4 ? "0.0.0.0/0" : "::/0").map((policy) => [
        `${policy.namespace}/${policy.name}`,
        policy,
      ]),
    );
    for (const key of applied.keys()) {
      if (wanted.has(key)) continue;
      const [namespace, name] = key.split("/") as [string, string];
      await lab.mustKubectl("delete", "networkpolicy", "-n", namespace, name);
    }
    const changed = [...wanted].filter(([key, { spec }]) => applied.get(key) !== JSON.stringify(spec));
    if (changed.length > 0) {
      await lab.apply(
        ...changed.map(([, { namespace, name, spec }]) => ({
          apiVersion: "networking.k8s.io/v1",
          kind: "NetworkPolicy",
          metadata: { namespace, name },
          spec,
        })),
      );
    }
    applied = new Map([...wanted].map(([key, { spec }]) => [key, JSON.stringify(spec)]));
  }

  /** Which pairs and services differ from the table, as sentences. */
  async function differences(table: TruthTable, family: 4 | 6): Promise<string[]> {
    const found = await Promise.all(
      pods.map(async (source) => {
        const targets = pods.flatMap((destination) => asked.map((service) => ({ destination, service })));
        const probes = targets.map(({ destination, service }): Probe => {
          const [port, protocol] = service.split("/") as [string, "TCP" | "UDP"];
          const { ipv4, ipv6 } = infos.get(destination)!;
          return { address: family === 4 ? ipv4 : ipv6, port: Number(port), protocol };
        });
        const reached = await peers.probe(source, probes);
        return targets.flatMap(({ destination, service }, index) => {
          const expected = table.allows(source, destination, service);
          if (reached[index] === expected) return [];
          return [`${source} ${expected ? "does not reach" : "reaches"} ${destination} on ${service}`];
        });
      }),
    );
    return found.flat();
  }

  it("has every name of the model", () => {
    assert.equal(infos.size, namespaces.length * podNames.length);
  });

  for (const [index, { name, needs, steps }] of conformanceCases().entries()) {
    if (needs !== undefined && missing.has(needs)) continue;
    if (!real && !everyDay.has(name)) continue;
    const family = index % 2 === 0 ? 4 : 6;
    it(`IPv${family}: ${name}`, async () => {
      for (const [number, step] of steps.entries()) {
        await establish(step, family);
        const table = new TruthTable(step.expect);
        let opened: string[] = [];
        await until(
          `step ${number + 1} is as its table says`,
          async () => {
            const found = await differences(table, family);
            if (found.length > 0) throw new Error(found.slice(0, 12).join("; "));
            // And it stays so: nothing that was closed opens again. What is open may close for a moment where the table is
            // also that of the step before, and the first of several policies has only now arrived.
            const later = await differences(table, family);
            opened = later.filter((each) => each.includes(" reaches "));
            return opened.length > 0 || later.length === 0;
          },
          30_000,
        );
        assert.deepEqual(opened, []);
      }
    });
  }

  it("explains a packet on any node, and remembers at the pod's own what it refused", async () => {
    const step = { policies: [{ namespace: "x", name: "web", spec: webSpec }], expect: [] };
    await establish(step, 4);
    const explained = await until("the policy is known", async () => {
      const outcome = await lab.fabricctl("node-3", "policy", "explain", "y/b", "x/a", "--port", "81/TCP");
      return outcome.stdout.startsWith("DENIED at the ingress of pod x/a") ? outcome.stdout : undefined;
    });
    assert.match(explained, /the implicit deny of ingress: x\/web isolates the pod/);
    await lab.apply(
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { namespace: "x", name: "front" },
        spec: { clusterIP: "None", ports: [{ port: 8000, targetPort: 81 }] },
      },
      {
        apiVersion: "v1",
        kind: "Endpoints",
        metadata: { namespace: "x", name: "front" },
        subsets: [
          { addresses: ["a", "b"].map((name) => ({ ip: infos.get(`x/${name}`)!.ipv4 })), ports: [{ port: 81 }] },
        ],
      },
    );
    const service = await lab.fabricctl("node-3", "policy", "explain", "y/b", "svc/x/front", "--port", "8000/TCP");
    assert.match(service.stdout, /^service x\/front: 1 of 2 endpoints may be reached/);
    assert.match(service.stdout, /DENIED at the ingress of pod x\/a, pod y\/b to pod x\/a on 81\/TCP/);
    await lab.mustKubectl("delete", "-n", "x", "service/front", "endpoints/front", "--ignore-not-found");
    const { stdout: list } = await lab.fabricctl("node-3", "policy", "list", "x/a");
    assert.match(list, /x\/a is isolated for ingress[^]*x\/web +pod=a +1 +-/);
    const { stdout: matrix } = await lab.fabricctl("node-3", "policy", "matrix", "x");
    assert.match(matrix, /^x\/b +80\/TCP +all +all$/m);
    const probes: Probe[] = [{ address: infos.get("x/a")!.ipv4, port: 81, protocol: "TCP" }];
    await peers.probe("y/b", probes, 500);
    await until("the refusal is told", async () => {
      const { stdout } = await lab.fabricctl(infos.get("x/a")!.node, "denials");
      const isTold = /y\/b \([\d.]+\) +x\/a \([\d.]+\) +(any|81\/TCP) +ingress of x\/a: x\/web/.test(stdout);
      if (!isTold) throw new Error(stdout);
      return true;
    });
  });

  it("keeps tenants apart, live, and lets those without one alone", async () => {
    await establish({ policies: [], expect: [] }, 4);
    try {
      await lab.mustKubectl("annotate", "namespace", "y", "beyondfabric.io/tenant=gold");
      const apart = new TruthTable(["deny y/* to *", "deny * to y/*", "allow y/* to y/*"]);
      await until("y is a tenant of its own", async () => (await differences(apart, 4)).length === 0, 60_000);
      await lab.mustKubectl("annotate", "namespace", "x", "beyondfabric.io/tenant=gold");
      const joined = new TruthTable(["deny z/* to *", "deny * to z/*", "allow z/* to z/*"]);
      await until("x has joined it", async () => (await differences(joined, 4)).length === 0, 60_000);
    } finally {
      await lab.mustKubectl("annotate", "namespace", "x", "y", "beyondfabric.io/tenant-");
    }
    await until("all are together again", async () => (await differences(new TruthTable([]), 4)).length === 0, 60_000);
  });
});
