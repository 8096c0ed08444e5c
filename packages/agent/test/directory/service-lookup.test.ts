import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { KubeApiError, type KubeClient, type Resource, type Selection } from "@beyondfabric/kube";
import { isIp } from "@beyondfabric/packet";
import { lookUpService, type ServiceEndpoint } from "../../src/directory/service-lookup.ts";

/** What an API server has; of slices by version, absent where it does not serve that. */
interface Stored {
  readonly service?: unknown;
  readonly endpoints?: unknown;
  readonly v1?: readonly unknown[];
  readonly v1beta1?: readonly unknown[];
  /** Instead of an answer about slices. */
  readonly failure?: Error;
}

interface Lookup {
  readonly found: readonly ServiceEndpoint[] | undefined;
  /** What was asked, in order. */
  readonly asked: readonly string[];
}

/** Looks `shop/web` up. */
async function lookUp({ failure, ...stored }: Stored): Promise<Lookup> {
  const asked: string[] = [];
  const answer = (path: string, value: unknown): unknown => {
    asked.push(path);
    if (value === undefined) throw new KubeApiError(`GET ${path}`, 404, "NotFound", "not found");
    return value;
  };
  const get = async ({ plural }: Resource, name: string, namespace: string): Promise<unknown> =>
    answer(`${plural} ${namespace}/${name}`, plural === "services" ? stored.service : stored.endpoints);
  const listAll = async (
    { group, version, plural }: Resource,
    select: (raw: unknown) => unknown,
    { namespace, labelSelector }: Selection,
  ): Promise<unknown> => {
    if (failure !== undefined) throw failure;
    const path = `${group}/${version} ${plural} ${namespace} ${labelSelector}`;
    const items = answer(path, stored[version as "v1" | "v1beta1"]) as readonly unknown[];
    return { records: items.map(select).filter((record) => record !== undefined), resourceVersion: "1" };
  };
  const found = await lookUpService({ get, listAll } as unknown as KubeClient, "shop", "web");
  return { found, asked };
}

const metadata = { namespace: "shop", name: "web" };
const twoPorts = [
  { name: "web", port: 80 },
  { name: "dns", port: 53, protocol: "UDP" },
];
const service = { metadata, spec: { clusterIPs: ["10.96.0.1", "fd00:96::1"], ports: twoPorts } };
const headless = { metadata, spec: { clusterIP: "None", ports: [{ port: 80 }] } };
const web = { protocol: "TCP", port: 80, targetPort: 8080 };
const dns = { protocol: "UDP", port: 53, targetPort: 5353 };
const onWeb = [{ name: "web", port: 8080, protocol: "TCP" }];

let slices = 0;

/** @param endpoints address, and what is said of it: `10.244.1.5 -ready +serving` */
function slice(endpoints: readonly string[], ports: readonly unknown[] | null, labels: object = {}, more: object = {}) {
  return {
    metadata: { ...metadata, name: `web-${++slices}`, labels: { "kubernetes.io/service-name": "web", ...labels } },
    addressType: endpoints[0]?.includes(":") === true ? "IPv6" : "IPv4",
    ports,
    endpoints: endpoints.map((text) => {
      const [address, ...flags] = text.split(" ");
      const conditions = Object.fromEntries(flags.map((flag) => [flag.slice(1), flag.startsWith("+")]));
      return { addresses: [address], conditions, ...more };
    }),
  };
}

const endpoints = {
  metadata,
  subsets: [
    {
      addresses: [{ ip: "10.244.1.5" }, { ip: "fd00::5" }],
      notReadyAddresses: [{ ip: "10.244.1.6" }],
      ports: [...onWeb, { name: "other", port: 1 }],
    },
    { addresses: [{ ip: "10.244.1.5" }], ports: [{ name: "dns", port: 5353, protocol: "UDP" }] },
  ],
};
const ofEndpoints = [
  { address: "10.244.1.5", ports: [web, dns] },
  { address: "fd00::5", ports: [web] },
];
const askedSlices = (version: string): string =>
  `discovery.k8s.io/${version} endpointslices shop kubernetes.io/service-name=web`;

describe("endpoints of a service", () => {
  it("are those of its slices that are ready, with the port that answers each port of the service", async () => {
    const v1 = [
      slice(["10.244.1.9", "10.244.1.5 +ready", "10.244.1.6 -ready"], [...onWeb, { name: "other", port: 1 }]),
      slice(["10.244.1.5 +ready"], [{ name: "dns", port: 5353, protocol: "UDP" }]),
      slice(["fd00::5"], onWeb),
    ];
    assert.deepEqual(await lookUp({ service, v1, endpoints }), {
      found: [
        { address: "10.244.1.5", ports: [web, dns] },
        { address: "10.244.1.9", ports: [web] },
        { address: "fd00::5", ports: [web] },
      ],
      asked: ["services shop/web", askedSlices("v1")],
    });
  });

  it("are those of the beta's slices where the server has no better ones", async () => {
    const topology = { "kubernetes.io/hostname": "node-1" };
    const v1beta1 = [slice(["10.244.1.5"], onWeb, {}, { topology })];
    assert.deepEqual(await lookUp({ service, v1beta1, endpoints }), {
      found: [{ address: "10.244.1.5", ports: [web] }],
      asked: ["services shop/web", askedSlices("v1"), askedSlices("v1beta1")],
    });
  });

  it("are those of the Endpoints where there are no slices: of the service, or at all", async () => {
    for (const served of [{ v1: [] }, { v1beta1: [] }, {}]) {
      const { found, asked } = await lookUp({ service, endpoints, ...served });
      assert.deepEqual(found, ofEndpoints);
      assert.equal(asked.at(-1), "endpoints shop/web");
    }
    assert.deepEqual((await lookUp({ service })).found, []);
  });

  it("are none of the Endpoints once there is a slice, though it is empty", async () => {
    const { found, asked } = await lookUp({ service, endpoints, v1: [slice([], onWeb)] });
    assert.deepEqual([found, asked.length], [[], 2]);
  });

  it("are about to end where none is ready on the port", async () => {
    const ending = ["10.244.1.5 -ready +serving +terminating", "10.244.1.6 -ready -serving +terminating"];
    const v1 = [
      slice(ending, onWeb),
      slice(["10.244.1.7", ending[0]!], [{ name: "dns", port: 5353, protocol: "UDP" }]),
    ];
    assert.deepEqual((await lookUp({ service, v1 })).found, [
      { address: "10.244.1.5", ports: [web] },
      { address: "10.244.1.7", ports: [dns] },
    ]);
  });

  it("are all, when the service says that readiness does not matter", async () => {
    const spec = { ...headless.spec, publishNotReadyAddresses: true };
    const v1 = [slice(["10.244.1.5 -ready"], [{ port: 8080 }])];
    const { found } = await lookUp({ service: { metadata, spec }, v1 });
    assert.deepEqual(found, [{ address: "10.244.1.5", ports: [web] }]);
  });

  it("are those on all nodes, whatever is local to whom", async () => {
    const spec = { ...service.spec, internalTrafficPolicy: "Local" };
    const v1 = [slice(["10.244.1.5"], onWeb, {}, { nodeName: "node-1" })];
    assert.equal((await lookUp({ service: { metadata, spec }, v1 })).found?.length, 1);
  });

  it("are of the families in which the service has addresses", async () => {
    const spec = { ...service.spec, clusterIPs: ["fd00:96::1"] };
    const { found } = await lookUp({ service: { metadata, spec }, endpoints });
    assert.deepEqual(found, [{ address: "fd00::5", ports: [web] }]);
  });

  it("are those of headless services too, and of services of another proxy, as their labels say", async () => {
    for (const label of ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"]) {
      const labels = { [label]: "" };
      const raw = { ...headless, metadata: { ...metadata, labels } };
      const expected = [{ address: "10.244.1.5", ports: [web] }];
      const v1 = [slice(["10.244.1.5"], [{ port: 8080 }], labels)];
      assert.deepEqual((await lookUp({ service: raw, v1 })).found, expected);
      const subsets = [{ addresses: [{ ip: "10.244.1.5" }], ports: [{ port: 8080 }] }];
      const object = { metadata: { ...metadata, labels }, subsets };
      assert.deepEqual((await lookUp({ service: raw, endpoints: object })).found, expected);
    }
  });

  it("answer no port in particular when a headless service has none", async () => {
    const raw = { metadata, spec: { clusterIP: "None" } };
    const expected = [{ address: "10.244.1.5", ports: [] }];
    for (const ports of [null, [{ port: 8080 }]]) {
      const v1 = [slice(["10.244.1.5", "10.244.1.6 -ready"], ports)];
      assert.deepEqual((await lookUp({ service: raw, v1 })).found, expected);
    }
    const subsets = [{ addresses: [{ ip: "10.244.1.5" }] }];
    assert.deepEqual((await lookUp({ service: raw, endpoints: { metadata, subsets } })).found, expected);
  });

  it("are none of a name of another domain", async () => {
    const raw = { metadata, spec: { type: "ExternalName", externalName: "example.org" } };
    assert.deepEqual((await lookUp({ service: raw, v1: [slice(["10.244.1.5"], onWeb)] })).found, []);
  });

  it("are not asked for without a service", async () => {
    assert.deepEqual(await lookUp({ endpoints }), { found: undefined, asked: ["services shop/web"] });
  });

  it("are unknown, rather than those of the Endpoints, when the server refuses or fails", async () => {
    const failure = new KubeApiError("GET endpointslices", 403, "Forbidden", "not allowed");
    await assert.rejects(lookUp({ service, endpoints, failure }), failure);
  });

  it("are addresses and ports, or nothing, whatever the objects are", async () => {
    const junk = fc.anything({ withBigInt: true, withNullPrototype: true });
    const objects = fc.record({ ports: fc.array(junk), spec: junk, subsets: junk, endpoints: junk, ip: junk });
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(objects, fc.boolean(), async ({ ports, spec, subsets, endpoints: listed, ip }, isSliced) => {
        const sound = slice(["10.244.1.5"], [{ port: 8080 }, ...ports]);
        const broken = { ...slice(["10.244.1.6"], ports), endpoints: listed };
        const addresses = [{ ip }, { ip: "10.244.1.5" }];
        for (const raw of [headless, { metadata, spec }, spec ?? null]) {
          for (const object of [
            { metadata, subsets },
            { metadata, subsets: [{ addresses, ports }] },
            subsets ?? null,
          ]) {
            const stored = { service: raw, endpoints: object, ...(isSliced ? { v1: [broken, listed, sound] } : {}) };
            for (const { address, ports: its } of (await lookUp(stored)).found ?? []) {
              answered++;
              assert.ok(isIp(address));
              for (const { port, targetPort } of its) assert.ok(port > 0 && targetPort > 0 && targetPort < 65_536);
            }
          }
        }
      }),
    );
    assert.ok(answered > 100, `only ${answered} endpoints were found`);
  });
});
