/**
 * The real kube-apiserver 1.20 under the cases of the embedded one, and both side by side: what differs, and does not
 * stand in the table of features, is a bug of the embedded one.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { customResourceCases } from "./custom-resource-cases.ts";
import { embedded, type Loose, type RunningPlane } from "./harness.ts";
import { kubectlCases } from "./kubectl-cases.ts";
import { ownDefinitionCases } from "./own-definition-cases.ts";
import { protocolCases } from "./protocol-cases.ts";
import { startReal } from "./real-plane.ts";

protocolCases("kubernetes-1.20", startReal, false);
customResourceCases("kubernetes-1.20", startReal);
kubectlCases("kubernetes-1.20", startReal);
ownDefinitionCases("kubernetes-1.20", startReal);

const CORE = "/api/v1/namespaces/default";
const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io";

const container = {
  name: "c",
  image: "registry/image",
  ports: [{ containerPort: 80, name: "http" }],
  env: [{ name: "A", value: "b" }],
  readinessProbe: { httpGet: { port: 80 } },
  livenessProbe: { exec: { command: ["true"] }, periodSeconds: 5 },
};

/** Service accounts are given to pods by an admission plug-in that needs kube-controller-manager. */
const ACCOUNT = ["spec.serviceAccount", "spec.serviceAccountName"];

/** Path of the collection, object, and the fields that newer servers have. */
const objects: [string, Loose, string[]][] = [
  [`${CORE}/configmaps`, { metadata: { name: "a", labels: { a: "b" } }, data: { a: "b" } }, []],
  [`${CORE}/secrets`, { metadata: { name: "a" }, stringData: { a: "b" } }, []],
  [`${CORE}/pods`, { metadata: { name: "plain" }, spec: { containers: [container] } }, ACCOUNT],
  [
    `${CORE}/pods`,
    {
      metadata: { name: "full", labels: { app: "x" }, annotations: { "example.io/a": "b" } },
      spec: {
        nodeName: "node-1",
        restartPolicy: "Never",
        terminationGracePeriodSeconds: 5,
        tolerations: [{ operator: "Exists" }],
        initContainers: [{ name: "i", image: "image:1" }],
        containers: [{ name: "c", image: "image@sha256:0123", resources: { requests: { cpu: "1" } } }],
      },
    },
    ACCOUNT,
  ],
  [`${CORE}/pods`, { metadata: { name: "host" }, spec: { hostNetwork: true, containers: [container] } }, ACCOUNT],
  [
    `${CORE}/services`,
    {
      metadata: { name: "web" },
      spec: { selector: { app: "x" }, clusterIP: "10.96.0.77", ports: [{ port: 80, targetPort: "http" }] },
    },
    ["spec.internalTrafficPolicy", "spec.ipFamilies", "spec.ipFamilyPolicy", "spec.clusterIPs"],
  ],
  [
    `${CORE}/services`,
    { metadata: { name: "headless" }, spec: { clusterIP: "None", selector: { app: "x" } } },
    ["spec.internalTrafficPolicy", "spec.ipFamilies", "spec.ipFamilyPolicy", "spec.clusterIPs"],
  ],
  [
    `${CORE}/services`,
    {
      metadata: { name: "ports" },
      spec: { type: "NodePort", clusterIP: "10.96.0.78", ports: [{ port: 80, nodePort: 30_500 }] },
    },
    ["spec.internalTrafficPolicy", "spec.ipFamilies", "spec.ipFamilyPolicy", "spec.clusterIPs"],
  ],
  [
    `${CORE}/services`,
    { metadata: { name: "external" }, spec: { type: "ExternalName", externalName: "example.com" } },
    [],
  ],
  [
    `${CORE}/endpoints`,
    { metadata: { name: "web" }, subsets: [{ addresses: [{ ip: "10.0.0.1" }], ports: [{ port: 80 }] }] },
    [],
  ],
  [
    "/api/v1/nodes",
    { metadata: { name: "node-1" }, status: { addresses: [{ type: "InternalIP", address: "10.0.0.1" }] } },
    ["spec.taints"],
  ],
  ["/api/v1/namespaces", { metadata: { name: "other" } }, ["metadata.labels"]],
  [
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    {
      metadata: { name: "p" },
      spec: { podSelector: {}, egress: [{ ports: [{ port: 53 }], to: [{ podSelector: {} }] }] },
    },
    [],
  ],
  [
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    { metadata: { name: "l" }, spec: { holderIdentity: "me" } },
    [],
  ],
  [
    "/apis/apps/v1/namespaces/default/deployments",
    {
      metadata: { name: "d" },
      spec: {
        selector: { matchLabels: { a: "b" } },
        template: { metadata: { labels: { a: "b" } }, spec: { containers: [container] } },
      },
    },
    [],
  ],
  ["/apis/scheduling.k8s.io/v1/priorityclasses", { metadata: { name: "high" }, value: 5 }, []],
  [
    `${CORE}/events`,
    {
      metadata: { name: "e" },
      involvedObject: { kind: "Pod", name: "plain", namespace: "default" },
      reason: "R",
      message: "m",
    },
    [],
  ],
];

const PLAIN = `${CORE}/pods/plain`;
const STATUS = `${PLAIN}/status`;
const condition = (name: string, status: string): Loose => ({ type: name, status });

/** Patches, applied one after the other. */
const patches: { type: string; path: string; patch: Loose }[] = [
  {
    type: "strategic-merge",
    path: PLAIN,
    patch: { metadata: { labels: { a: "1", b: "2" }, finalizers: ["example.io/a"] } },
  },
  { type: "strategic-merge", path: PLAIN, patch: { metadata: { labels: { a: null }, finalizers: ["example.io/b"] } } },
  {
    type: "strategic-merge",
    path: PLAIN,
    patch: { metadata: { "$deleteFromPrimitiveList/finalizers": ["example.io/a"] } },
  },
  { type: "strategic-merge", path: PLAIN, patch: { metadata: { labels: { $patch: "replace", c: "3" } } } },
  { type: "strategic-merge", path: PLAIN, patch: { spec: { containers: [{ name: "c", image: "image:2" }] } } },
  {
    type: "strategic-merge",
    path: STATUS,
    patch: { status: { conditions: [condition("A", "True"), condition("B", "True")] } },
  },
  {
    type: "strategic-merge",
    path: STATUS,
    patch: { status: { conditions: [condition("B", "False"), condition("C", "True")] } },
  },
  {
    type: "strategic-merge",
    path: STATUS,
    patch: {
      status: {
        "$setElementOrder/conditions": [{ type: "C" }, { type: "B" }, { type: "D" }],
        conditions: [condition("D", "True"), { $patch: "delete", type: "A" }],
        podIPs: [{ ip: "10.0.0.1" }],
        podIP: "10.0.0.1",
      },
    },
  },
  {
    type: "strategic-merge",
    path: STATUS,
    patch: { status: { phase: "Running", conditions: [{ $patch: "replace" }, condition("E", "True")] } },
  },
  { type: "merge", path: PLAIN, patch: { metadata: { labels: { c: null, d: "4" }, annotations: { x: "y" } } } },
  { type: "merge", path: STATUS, patch: { status: { conditions: [condition("F", "True")] } } },
  { type: "json", path: PLAIN, patch: [{ op: "add", path: "/metadata/labels/example.io~1e", value: "5" }] },
  { type: "json", path: PLAIN, patch: [{ op: "remove", path: "/metadata/labels/missing" }] },
  {
    type: "json",
    path: PLAIN,
    patch: [
      { op: "test", path: "/metadata/labels/d", value: "4" },
      { op: "replace", path: "/metadata/labels/d", value: "6" },
    ],
  },
  { type: "json", path: PLAIN, patch: [{ op: "copy", from: "/metadata/labels/d", path: "/metadata/labels/f" }] },
  { type: "json", path: PLAIN, patch: [{ op: "replace", path: "/spec/nodeName", value: "elsewhere" }] },
  { type: "merge", path: PLAIN, patch: { metadata: { name: "renamed" } } },
  { type: "merge", path: PLAIN, patch: { metadata: { resourceVersion: "1" } } },
  { type: "strategic-merge", path: `${CORE}/services/web`, patch: { spec: { ports: [{ port: 81, name: "more" }] } } },
  {
    type: "strategic-merge",
    path: "/api/v1/nodes/node-1",
    patch: { spec: { unschedulable: true, podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] } },
  },
  {
    type: "strategic-merge",
    path: "/api/v1/nodes/node-1/status",
    patch: { status: { addresses: [{ type: "Hostname", address: "n" }], conditions: [condition("Ready", "True")] } },
  },
];

/** Bodies that must be refused, with the fields that are to blame. */
const refused: [string, Loose][] = [
  [`${CORE}/pods`, { metadata: { name: "UPPER" }, spec: { containers: [container] } }],
  [`${CORE}/pods`, { metadata: { name: "x" }, spec: { containers: [] } }],
  [`${CORE}/pods`, { metadata: { name: "x" }, spec: { containers: [{ name: "c" }] } }],
  [`${CORE}/pods`, { metadata: { name: "x" }, spec: { restartPolicy: "Sometimes", containers: [container] } }],
  [`${CORE}/pods`, { metadata: { name: "x", labels: { a: "-" } }, spec: { containers: [container] } }],
  [`${CORE}/pods`, { metadata: { name: "x" }, spec: { containers: [container, container] } }],
  [`${CORE}/services`, { metadata: { name: "x" }, spec: {} }],
  [`${CORE}/services`, { metadata: { name: "1x" }, spec: { ports: [{ port: 1 }] } }],
  [`${CORE}/services`, { metadata: { name: "x" }, spec: { ports: [{ port: 70_000 }] } }],
  [`${CORE}/configmaps`, { metadata: {} }],
  ["/api/v1/namespaces", { metadata: { name: "a.b" } }],
  [
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    { metadata: { name: "x" }, spec: { podSelector: {}, policyTypes: ["Sideways"] } },
  ],
  [
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    { metadata: { name: "x" }, spec: { podSelector: {}, ingress: [{ from: [{}] }] } },
  ],
];

function without(body: Loose, fields: readonly string[]): Loose {
  const copy = structuredClone(body);
  const own = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink"];
  for (const path of [...own.map((field) => `metadata.${field}`), ...fields]) {
    const steps = path.split(".");
    let parent = copy;
    for (const step of steps.slice(0, -1)) parent = parent?.[step];
    if (parent !== undefined) delete parent[steps.at(-1) ?? ""];
  }
  return copy;
}

describe("side by side", () => {
  let planes: RunningPlane[] = [];
  before(async () => {
    planes = await Promise.all([embedded(), startReal()]);
  });
  after(async () => {
    await Promise.all(planes.map((plane) => plane.stop()));
  });

  for (const [path, body, newer] of objects) {
    test(`${path}: ${body.metadata.name} comes out the same`, async () => {
      const [mine, real] = await Promise.all(planes.map(({ client }) => client.api("POST", path, { body })));
      assert.equal(real?.status, 201, JSON.stringify(real?.body));
      assert.equal(mine?.status, 201, JSON.stringify(mine?.body));
      assert.deepEqual(without(mine?.body, newer), without(real?.body, newer));
    });
  }

  for (const path of new Set(objects.map(([collection]) => collection))) {
    test(`${path}: the table has the same columns and cells`, async () => {
      const tables = await Promise.all(planes.map(({ client }) => client.api("GET", path, { accept: TABLE })));
      const [mine, real] = tables.map(({ body }) => ({
        // A count is a number for 1.20 and a text for newer servers.
        columns: body.columnDefinitions.map((column: Loose) => [column.name, column.priority]),
        // Ages differ by the moment of asking.
        rows: Object.fromEntries(
          body.rows
            .map((row: Loose) => [
              row.object.metadata.name,
              row.cells.map((cell: Loose) => (/^\d+m?s$/.test(cell) ? "age" : String(cell))),
            ])
            .filter(([name]: [string]) =>
              objects.some(([place, object]) => place === path && object.metadata.name === name),
            ),
        ),
      }));
      assert.deepEqual(mine, real);
    });
  }

  for (const [index, { type, patch, path }] of patches.entries()) {
    test(`patch ${index}, ${type} ${JSON.stringify(patch).slice(0, 80)}, leads to the same`, async () => {
      const replies = await Promise.all(
        planes.map(({ client }) => client.api("PATCH", path, { body: patch, type: `application/${type}-patch+json` })),
      );
      const [mine, real] = replies.map((reply) => ({
        status: reply.status,
        body: reply.status < 300 ? without(reply.body, [...ACCOUNT, "spec.taints"]) : reply.body.reason,
      }));
      assert.deepEqual(mine, real, JSON.stringify(replies.map((reply) => reply.body)));
    });
  }

  for (const [path, body] of refused) {
    test(`${path}: ${JSON.stringify(body).slice(0, 80)} is refused with the same reason and fields`, async () => {
      const replies = await Promise.all(planes.map(({ client }) => client.api("POST", path, { body })));
      const [mine, real] = replies.map((reply) => ({
        status: reply.status,
        reason: reply.body.reason,
        causes: reply.body.details?.causes?.map((cause: Loose) => [cause.reason, cause.field]),
      }));
      assert.deepEqual(mine, real, JSON.stringify(replies.map((reply) => reply.body)));
    });
  }
});
