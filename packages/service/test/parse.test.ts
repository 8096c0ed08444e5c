import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { formatViolation } from "@beyondfabric/kube/kinds";
import {
  parseEndpoints,
  parseEndpointSlice,
  parseService,
  ServiceCatalog,
  type ParsedService,
  type ServiceRecord,
  type SliceRecord,
} from "../src/index.ts";
import { Dice } from "../../policy/test/dice.ts";
import { breakSomewhere, randomEndpoints, randomService, randomSlice } from "./world.ts";

const metadata = { namespace: "shop", name: "web", uid: "u1", creationTimestamp: "2026-01-01T00:00:00Z" };

function parse(spec: unknown, status?: unknown, more: object = {}): ParsedService {
  return parseService({ metadata: { ...metadata, ...more }, spec, status });
}

function serviceOf({ service, violations }: ParsedService): ServiceRecord {
  assert.deepEqual(violations, []);
  assert.ok(service !== undefined);
  return service;
}

function sliceOf(fields: object): SliceRecord {
  const labels = { "kubernetes.io/service-name": "web" };
  const parsed = parseEndpointSlice({ metadata: { ...metadata, labels }, addressType: "IPv4", ...fields });
  assert.deepEqual(parsed.violations, []);
  assert.ok(parsed.slice !== undefined);
  return parsed.slice;
}

describe("a sound Service", () => {
  it("has its defaults filled in", () => {
    assert.deepEqual(serviceOf(parse({ clusterIP: "10.96.0.1", ports: [{ port: 80 }] })), {
      namespace: "shop",
      name: "web",
      uid: "u1",
      created: Date.UTC(2026, 0, 1),
      treatment: "proxied",
      addresses: { cluster: ["10.96.0.1"], loadBalancer: [], external: [] },
      ports: [{ name: "", protocol: "TCP", port: 80 }],
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
      publishNotReadyAddresses: false,
    });
  });

  it("keeps everything that a load balancer's Service says, in canonical spelling", () => {
    const spec = {
      type: "LoadBalancer",
      clusterIP: "10.96.0.1",
      clusterIPs: ["10.96.0.1", "FD00:96:0::1"],
      externalIPs: ["192.0.2.1", "192.0.2.1"],
      ports: [{ name: "dns", protocol: "UDP", port: 53, nodePort: 30053, targetPort: "dns", appProtocol: "x" }],
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      internalTrafficPolicy: "Local",
      externalTrafficPolicy: "Local",
      healthCheckNodePort: 31000,
      publishNotReadyAddresses: true,
      loadBalancerSourceRanges: [" 10.1.2.3/8 ", "fd00::/8"],
    };
    const ingress = [
      { ip: "192.0.2.9" },
      { ip: "192.0.2.10", ipMode: "VIP" },
      { ip: "192.0.2.11", ipMode: "Proxy" },
      { hostname: "lb.example" },
    ];
    const service = serviceOf(parse(spec, { loadBalancer: { ingress } }));
    assert.deepEqual(service.addresses, {
      cluster: ["10.96.0.1", "fd00:96::1"],
      loadBalancer: ["192.0.2.9", "192.0.2.10"],
      external: ["192.0.2.1"],
    });
    assert.deepEqual(service.ports, [{ name: "dns", protocol: "UDP", port: 53, nodePort: 30053 }]);
    assert.equal(service.affinitySeconds, 60);
    assert.equal(service.healthCheckNodePort, 31000);
    assert.deepEqual(service.sourceRanges, [
      { family: 4, address: "10.0.0.0", length: 8 },
      { family: 6, address: "fd00::", length: 8 },
    ]);
    assert.deepEqual([service.internalTrafficPolicy, service.externalTrafficPolicy], ["Local", "Local"]);
    assert.equal(service.publishNotReadyAddresses, true);
  });

  it("keeps clients for three hours unless it says otherwise", () => {
    for (const sessionAffinityConfig of [
      undefined,
      null,
      {},
      { clientIP: null },
      { clientIP: { timeoutSeconds: null } },
    ]) {
      const spec = { clusterIP: "10.96.0.1", sessionAffinity: "ClientIP", sessionAffinityConfig };
      assert.equal(serviceOf(parse(spec)).affinitySeconds, 10_800);
    }
    for (const sessionAffinity of [undefined, null, "", "None"]) {
      const spec = {
        clusterIP: "10.96.0.1",
        sessionAffinity,
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } },
      };
      assert.equal(serviceOf(parse(spec)).affinitySeconds, undefined);
    }
  });

  it("is headless, a name, or somebody else's: then nothing reaches it here", () => {
    const proxied = { clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] };
    for (const [spec, labels, treatment] of [
      [{ ...proxied, clusterIPs: ["None"], externalIPs: ["192.0.2.1"] }, {}, "headless"],
      [{ clusterIP: "None", ports: [{ port: 80 }] }, {}, "headless"],
      [proxied, { "service.kubernetes.io/headless": "" }, "headless"],
      [{ type: "ExternalName", externalName: "a.example", externalIPs: ["192.0.2.1"] }, {}, "external-name"],
      [proxied, { "service.kubernetes.io/service-proxy-name": "mesh" }, "foreign"],
      [proxied, { "service.kubernetes.io/service-proxy-name": "" }, "foreign"],
      [proxied, { app: "web" }, "proxied"],
      [proxied, null, "proxied"],
    ] as const) {
      const service = serviceOf(parse(spec, undefined, { labels }));
      assert.equal(service.treatment, treatment);
      const catalog = new ServiceCatalog();
      catalog.setService(service);
      for (const address of ["10.96.0.1", "192.0.2.1"]) {
        const isOurs = treatment === "proxied" && address === "10.96.0.1";
        assert.equal(catalog.isServiceAddress(address), isOurs);
        assert.equal(catalog.frontendAt(address, "TCP", 80) !== undefined, isOurs);
      }
    }
  });

  it("has neither a former type's load balancer nor a health check that nobody asks for", () => {
    const status = { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] } };
    const spec = {
      type: "NodePort",
      clusterIPs: ["10.96.0.1"],
      externalTrafficPolicy: "Local",
      healthCheckNodePort: 31000,
    };
    const service = serviceOf(parse(spec, status));
    assert.deepEqual(service.addresses.loadBalancer, []);
    assert.equal(service.healthCheckNodePort, undefined);
    const cluster = { ...spec, type: "LoadBalancer", externalTrafficPolicy: "Cluster" };
    assert.equal(serviceOf(parse(cluster, status)).healthCheckNodePort, undefined);
  });
});

describe("a Service that cannot be honoured", () => {
  const spec = { type: "LoadBalancer", clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] };

  it("says which Service, field, rule and remedy, and leaves out that part alone", () => {
    const cases: [spec: unknown, complaint: RegExp, status?: unknown][] = [
      [7, /^Service\/shop\/web: spec is 7, so the Service is not reached; write an object$/],
      [
        { ...spec, type: "Mesh" },
        /spec\.type is "Mesh", so the Service is not reached; write one of ClusterIP, NodePort/,
      ],
      [
        { ...spec, clusterIPs: ["10.96.0.1", "10.96.0.2"] },
        /clusterIPs\[1\] is a second IPv4 address, so it is left out/,
      ],
      [{ ...spec, clusterIPs: ["10.96.0.1", "x"] }, /clusterIPs\[1\] is "x", which is no address, so it is left out/],
      [{ ...spec, externalIPs: ["127.0.0.1"] }, /spec\.externalIPs\[0\] is 127\.0\.0\.1, which is loopback/],
      [
        { ...spec, externalIPs: ["fd00::1"] },
        /spec\.externalIPs\[0\] is fd00::1, but the Service has no cluster address/,
      ],
      [
        { ...spec, externalIPs: "192.0.2.1" },
        /spec\.externalIPs is "192\.0\.2\.1", so the Service has none; write a list/,
      ],
      [
        { ...spec, ports: [{ port: 0 }] },
        /spec\.ports\[0\]\.port is 0, so the port is left out; write a number from 1 to/,
      ],
      [{ ...spec, ports: [{ port: "80" }] }, /spec\.ports\[0\]\.port is "80"/],
      [{ ...spec, ports: [{ port: 80, protocol: "tcp" }] }, /ports\[0\]\.protocol is "tcp", so the port is left out/],
      [{ ...spec, ports: [{ port: 80, name: 7 }] }, /ports\[0\]\.name is 7, so the port is left out/],
      [
        { ...spec, ports: [{ port: 80 }, { port: 80, name: "b" }] },
        /spec\.ports\[1\] is a second TCP 80, so the port is/,
      ],
      [
        { ...spec, ports: [{ port: 80 }, { port: 81 }] },
        /spec\.ports\[1\] is a second TCP named , so the port is left out/,
      ],
      [
        { ...spec, ports: [{ port: 80, nodePort: 70000 }] },
        /ports\[0\]\.nodePort is 70000, so the port is not reached/,
      ],
      [
        {
          ...spec,
          ports: [
            { port: 80, nodePort: 30080 },
            { name: "b", port: 81, nodePort: 30080 },
          ],
        },
        /ports\[1\]\.nodePort is another port's too, so it is left out/,
      ],
      [
        { ...spec, type: "ClusterIP", ports: [{ port: 80, nodePort: 30080 }] },
        /ports\[0\]\.nodePort stands in a Service that has none, so it is left out/,
      ],
      [{ ...spec, sessionAffinity: "Cookie" }, /spec\.sessionAffinity is "Cookie", so clients do not stay/],
      [
        { ...spec, sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 86401 } } },
        /clientIP\.timeoutSeconds is 86401, so clients stay 10800 seconds; write a number from 1 to 86400/,
      ],
      [{ ...spec, internalTrafficPolicy: "Near" }, /spec\.internalTrafficPolicy is "Near", so it is taken for Cluster/],
      [{ ...spec, publishNotReadyAddresses: "yes" }, /publishNotReadyAddresses is "yes", so it counts as false/],
      [
        { ...spec, loadBalancerSourceRanges: ["10.0.0.0/33"] },
        /SourceRanges\[0\] is "10\.0\.0\.0\/33", which is no CIDR/,
      ],
      [
        { ...spec, externalTrafficPolicy: "Local", healthCheckNodePort: -1 },
        /spec\.healthCheckNodePort is -1, so nobody/,
      ],
      [spec, /status\.loadBalancer\.ingress\[0\]\.ip is "x"/, { loadBalancer: { ingress: [{ ip: "x" }] } }],
      [
        spec,
        /ingress\[0\]\.ipMode is 7, so it is left out/,
        { loadBalancer: { ingress: [{ ip: "192.0.2.1", ipMode: 7 }] } },
      ],
    ];
    for (const [each, expected, status] of cases) {
      const found = parse(each, status).violations.map(formatViolation);
      assert.equal(found.length, 1, `${JSON.stringify(each)}: ${found.join("\n")}`);
      assert.match(found[0]!, expected);
    }
  });

  it("lets nobody to its load balancer by ranges that cannot be read", () => {
    for (const loadBalancerSourceRanges of [7, "10.0.0.0/8", {}, ["x"], [7], [["10.0.0.0/8"]]]) {
      assert.deepEqual(parse({ ...spec, loadBalancerSourceRanges }).service?.sourceRanges, []);
    }
    for (const loadBalancerSourceRanges of [undefined, null, []]) {
      assert.equal(parse({ ...spec, loadBalancerSourceRanges }).service?.sourceRanges, undefined);
    }
  });

  it("is left to others when its labels cannot be read, and is younger than all when its age cannot", () => {
    const { service, violations } = parse(spec, undefined, { labels: 7 });
    assert.equal(service?.treatment, "foreign");
    assert.equal(violations.length, 1);
    for (const creationTimestamp of [undefined, null, 7, "yesterday"]) {
      assert.equal(parse(spec, undefined, { creationTimestamp }).service?.created, Number.MAX_SAFE_INTEGER);
    }
  });

  it("has no ports at all when addresses times ports are more than anybody needs", () => {
    const externalIPs = Array.from({ length: 1000 }, (_, number) => `192.0.${number >> 8}.${number & 255}`);
    const ports = Array.from({ length: 1000 }, (_, number) => ({ name: `p${number}`, port: number + 1 }));
    const { service, violations } = parse({ ...spec, externalIPs, ports });
    assert.deepEqual(service?.ports, []);
    assert.match(
      violations.map(formatViolation).join(),
      /spec\.ports are too many for its addresses.*split the Service/,
    );
    assert.equal(parse({ ...spec, externalIPs: externalIPs.slice(0, 15), ports }).service?.ports.length, 1000);
  });

  it("has no name: there is nothing to know, and it says so", () => {
    for (const bad of [
      { name: "a" },
      { name: "a/b", namespace: "c" },
      { name: "a", namespace: "B" },
      { name: 7, namespace: [] },
    ]) {
      for (const raw of [undefined, null, 7, [], {}, { metadata: bad }]) {
        assert.deepEqual(Object.keys(parseService(raw)), ["violations"]);
        for (const parser of [parseService, parseEndpointSlice, parseEndpoints]) {
          assert.equal(parser(raw).violations.length, 1);
        }
      }
    }
  });
});

describe("a sound EndpointSlice", () => {
  const everything = { ready: true, serving: true, terminating: false };

  it("means by silence what the API means by it", () => {
    for (const [conditions, expected] of [
      [undefined, everything],
      [null, everything],
      [{}, everything],
      [{ ready: null, serving: null, terminating: null }, everything],
      [{ ready: false }, { ready: false, serving: false, terminating: false }],
      [
        { ready: false, serving: true, terminating: true },
        { ready: false, serving: true, terminating: true },
      ],
      [{ serving: false }, { ready: true, serving: false, terminating: false }],
    ] as const) {
      const slice = sliceOf({ endpoints: [{ addresses: ["10.1.0.1"], conditions }] });
      assert.deepEqual(slice.endpoints, [{ address: "10.1.0.1", ...expected, zones: [] }]);
    }
  });

  it("is read in both of its versions", () => {
    const targetRef = { kind: "Pod", namespace: "shop", name: "web-0", uid: "p0" };
    const ports = [
      { name: "web", protocol: "TCP", port: 8080 },
      { name: null, port: 53, protocol: "UDP" },
    ];
    const first = { addresses: ["10.1.0.1"], conditions: { ready: true }, targetRef };
    const v1 = { ...first, nodeName: "n1", zone: "z1", hints: { forZones: [{ name: "z1" }, { name: "z2" }] } };
    const v1beta1 = { ...first, topology: { "kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z1" } };
    const record = { address: "10.1.0.1", ...everything, node: "n1" };
    const pod = { namespace: "shop", name: "web-0", uid: "p0" };
    assert.deepEqual(sliceOf({ ports, endpoints: [v1] }), {
      namespace: "shop",
      name: "web",
      service: "web",
      ports: [
        { name: "web", protocol: "TCP", port: 8080 },
        { name: "", protocol: "UDP", port: 53 },
      ],
      endpoints: [{ ...record, zones: ["z1", "z2"], pod }],
    });
    assert.deepEqual(sliceOf({ ports, endpoints: [v1beta1] }).endpoints, [{ ...record, zones: [], pod }]);
    const other = { ...v1beta1, nodeName: "n2", targetRef: { kind: "Node", name: "n2" } };
    assert.deepEqual(sliceOf({ endpoints: [other] }).endpoints, [{ ...record, node: "n2", zones: [] }]);
  });

  it("is ordered, holds each address once, and its first address alone", () => {
    const endpoints = [
      { addresses: ["10.1.0.3", "10.1.0.9"] },
      { addresses: ["10.1.0.1"], conditions: { ready: false } },
      { addresses: ["10.1.0.1"] },
    ];
    const found = sliceOf({ endpoints }).endpoints.map(({ address, ready }) => [address, ready]);
    assert.deepEqual(found, [
      ["10.1.0.1", true],
      ["10.1.0.3", true],
    ]);
  });

  it("of names, of no Service, of a headless one or of another proxy is no business of ours unless all are asked for", () => {
    const named = { "kubernetes.io/service-name": "web" };
    for (const [labels, addressType] of [
      [named, "FQDN"],
      [{}, "IPv4"],
      [undefined, "IPv4"],
      [{ "kubernetes.io/service-name": "" }, "IPv4"],
      [{ ...named, "service.kubernetes.io/headless": "" }, "IPv4"],
      [{ ...named, "service.kubernetes.io/service-proxy-name": "mesh" }, "IPv4"],
    ] as const) {
      const raw = { metadata: { ...metadata, labels }, addressType, endpoints: [{ addresses: ["10.1.0.1"] }] };
      assert.deepEqual(parseEndpointSlice(raw), { violations: [] });
      const isOfAnother = Object.keys(labels ?? {}).some((label) => label.startsWith("service.kubernetes.io/"));
      const { slice } = parseEndpointSlice(raw, "all");
      assert.deepEqual(
        slice?.endpoints.map(({ address }) => address),
        isOfAnother ? ["10.1.0.1"] : undefined,
      );
    }
  });
});

describe("an EndpointSlice that cannot be honoured", () => {
  const labels = { "kubernetes.io/service-name": "web" };

  it("loses what cannot be read, and says so", () => {
    const sound = { addresses: ["10.1.0.1"] };
    const cases: [fields: object, left: number, complaint: RegExp][] = [
      [
        { endpoints: [sound, 7] },
        1,
        /^EndpointSlice\/shop\/web: endpoints\[1\] is 7, so the endpoint is left out; write an/,
      ],
      [{ endpoints: [sound, {}] }, 1, /endpoints\[1\]\.addresses\[0\] is missing, which is no address/],
      [
        { endpoints: [{ addresses: ["fd00::1"] }] },
        0,
        /addresses\[0\] is fd00::1 in a slice of IPv4, so the endpoint is left/,
      ],
      [{ endpoints: [{ ...sound, conditions: 7 }] }, 0, /endpoints\[0\]\.conditions is 7, so the endpoint is left out/],
      [
        { endpoints: [{ ...sound, conditions: { ready: "no" } }] },
        0,
        /conditions\.ready is "no", so the endpoint is left out/,
      ],
      [{ endpoints: [{ ...sound, conditions: { terminating: 1 } }] }, 0, /conditions\.terminating is 1/],
      [
        { endpoints: [{ ...sound, nodeName: "N 1" }] },
        1,
        /endpoints\[0\]\.nodeName is "N 1", so the endpoint is on no node/,
      ],
      [{ endpoints: [{ ...sound, targetRef: { kind: "Pod" } }] }, 1, /endpoints\[0\]\.targetRef names no pod/],
      [
        { endpoints: [{ ...sound, hints: { forZones: [{}] } }] },
        1,
        /hints\.forZones\[0\]\.name is missing, so the zone/,
      ],
      [{ endpoints: [sound], ports: [{ port: null }] }, 1, /ports\[0\]\.port is 0, so the port is left out/],
      [
        { endpoints: [sound], ports: [{ port: 1 }, { port: 2 }] },
        1,
        /ports\[1\] is a second TCP , so the port is left out/,
      ],
    ];
    for (const address of ["127.0.0.1", "169.254.0.1", "224.0.0.1", "239.1.1.1", "0.0.0.0", "255.255.255.255"]) {
      const rule = new RegExp(
        `addresses\\[0\\] is ${address}, which is (?:loopback|link-local|multicast|unspec|broadcast)`,
      );
      cases.push([{ endpoints: [sound, { addresses: [address] }] }, 1, rule]);
    }
    for (const [fields, left, expected] of cases) {
      const parsed = parseEndpointSlice({ metadata: { ...metadata, labels }, addressType: "IPv4", ...fields });
      const found = parsed.violations.map(formatViolation);
      assert.equal(found.length, 1, `${JSON.stringify(fields)}: ${found.join("\n")}`);
      assert.match(found[0] ?? "", expected);
      assert.equal(parsed.slice?.endpoints.length, left, `${expected}`);
    }
    for (const address of ["::", "::1", "fe80::1", "febf::1", "ff02::1", "::ffff:10.1.0.1", "::ffff:127.0.0.1"]) {
      const fields = { addressType: "IPv6", endpoints: [{ addresses: [address] }, { addresses: ["fec0::1"] }] };
      const parsed = parseEndpointSlice({ metadata: { ...metadata, labels }, ...fields });
      assert.deepEqual([parsed.violations.length, parsed.slice?.endpoints.length], [1, 1], address);
    }
  });

  it("is left out when it does not say whose it is, or of what family", () => {
    for (const [metadataLabels, addressType] of [
      [{ "kubernetes.io/service-name": 7 }, "IPv4"],
      [{ "kubernetes.io/service-name": "a/b" }, "IPv4"],
      [7, "IPv4"],
      [labels, "IP"],
      [labels, 4],
    ] as const) {
      const parsed = parseEndpointSlice({ metadata: { ...metadata, labels: metadataLabels }, addressType });
      assert.deepEqual([parsed.slice, parsed.violations.length], [undefined, 1]);
    }
  });

  it("has no ports when endpoints times ports are more than memory is for", () => {
    const endpoints = Array.from({ length: 1000 }, (_, number) => ({
      addresses: [`10.1.${number >> 8}.${number & 255}`],
    }));
    const ports = Array.from({ length: 101 }, (_, number) => ({ name: `p${number}`, port: number + 1 }));
    const parsed = parseEndpointSlice({ metadata: { ...metadata, labels }, addressType: "IPv4", endpoints, ports });
    assert.deepEqual([parsed.slice?.ports, parsed.slice?.endpoints.length], [[], 1000]);
    assert.match(parsed.violations.map(formatViolation).join(), /ports are too many for that many endpoints/);
    assert.equal(sliceOf({ endpoints, ports: ports.slice(1) }).ports.length, 100);
  });

  it("has no endpoints when its lists are longer than any API server stores", () => {
    const endpoints = Array.from({ length: 100_001 }, () => ({ addresses: ["10.1.0.1"] }));
    const parsed = parseEndpointSlice({ metadata: { ...metadata, labels }, addressType: "IPv4", endpoints });
    assert.deepEqual([parsed.slice?.endpoints, parsed.violations.length], [[], 1]);
    assert.match(parsed.violations.map(formatViolation).join(), /endpoints makes the object too large/);
  });
});

describe("an Endpoints object", () => {
  it("has a source for each of its subsets, of ready and unready endpoints", () => {
    const subset = {
      addresses: [{ ip: "10.1.0.2", nodeName: "n1", targetRef: { kind: "Pod", name: "web-0", namespace: "shop" } }],
      notReadyAddresses: [{ ip: "10.1.0.1" }],
      ports: [{ name: "web", port: 8080 }],
    };
    const parsed = parseEndpoints({
      metadata,
      subsets: [subset, { addresses: [{ ip: "::1" }], ports: [{ port: 1 }] }],
    });
    const [first, second] = parsed.endpoints!.sources;
    const down = { ready: false, serving: false, terminating: false, zones: [] };
    const up = { ready: true, serving: true, terminating: false, zones: [] };
    assert.deepEqual(first, {
      name: "0",
      ports: [{ name: "web", protocol: "TCP", port: 8080 }],
      endpoints: [
        { address: "10.1.0.1", ...down },
        { address: "10.1.0.2", ...up, node: "n1", pod: { namespace: "shop", name: "web-0", uid: "" } },
      ],
    });
    assert.deepEqual(second?.endpoints, []);
    assert.deepEqual(parsed.violations.map(formatViolation), [
      "Endpoints/shop/web: subsets[1].addresses[0].ip is ::1, which is loopback, so it is left out; write an address of a machine",
    ]);
  });

  it("of a headless Service is no business of ours unless all are asked for", () => {
    const raw = { metadata: { ...metadata, labels: { "service.kubernetes.io/headless": "" } }, subsets: [] };
    assert.deepEqual(parseEndpoints(raw), { violations: [] });
    assert.deepEqual(parseEndpoints(raw, "all").endpoints, { namespace: "shop", name: "web", sources: [] });
  });
});

describe("whatever an object is", () => {
  const parsers = { Service: parseService, EndpointSlice: parseEndpointSlice, Endpoints: parseEndpoints } as const;

  it("reading it never throws, what it says is bounded, and the catalog takes what comes out", () => {
    const names = [
      "spec",
      "status",
      "type",
      "ports",
      "port",
      "clusterIPs",
      "externalIPs",
      "endpoints",
      "addresses",
      "ip",
    ];
    const more = [
      "conditions",
      "hints",
      "forZones",
      "targetRef",
      "subsets",
      "loadBalancer",
      "ingress",
      "addressType",
      "name",
    ];
    const junk = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 6 },
        fc.constantFrom(null, 7, 80, "", "TCP", "10.0.0.1", "IPv4", "LoadBalancer", true),
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withNullPrototype: true,
          withSparseArray: true,
        }),
        fc.array(tie("value"), { maxLength: 60 }),
        fc.dictionary(fc.constantFrom(...names, ...more), tie("value")),
      ),
    })).value;
    const labels = { "kubernetes.io/service-name": "web" };
    fc.assert(
      fc.property(junk, junk, (value, other) => {
        const fields = typeof value === "object" && value !== null ? value : { spec: value };
        const raw = { addressType: "IPv4", endpoints: other, subsets: other, spec: other, ...fields };
        for (const candidate of [value, raw, { ...raw, metadata: { ...metadata, labels } }]) {
          for (const parser of Object.values(parsers)) {
            const { violations } = parser(candidate);
            assert.ok(violations.length <= 50);
            for (const each of violations) assert.ok(formatViolation(each).length < 600);
          }
          useAll(candidate);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("breaking it anywhere reaches nothing that was not reached, and readies nothing that was not ready", () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    let lost = 0;
    for (let number = seed; number < seed + 5000; number++) {
      const dice = new Dice(number);
      const make = dice.pick([randomService, randomSlice, randomEndpoints]);
      const sound = make(dice, "x/a");
      const broken = breakSomewhere(dice, sound);
      const [before, after] = [useAll(sound), useAll(broken)];
      for (const each of after) assert.ok(before.has(each), `seed ${number}: ${each} of ${JSON.stringify(sound)}`);
      if (after.size < before.size) lost++;
    }
    assert.ok(lost > 200, `breaking objects lost only ${lost} facts: the test breaks nothing that matters`);
  });
});

/** What an object opens when it is read as each kind: front ends, and endpoints that are ready. */
function useAll(raw: unknown): Set<string> {
  const facts = new Set<string>();
  const catalog = new ServiceCatalog();
  const { service } = parseService(raw);
  if (service !== undefined) {
    catalog.setService(service);
    for (const { kind, address, port } of catalog.frontendsOf(service)) {
      const number = kind === "nodePort" ? port.nodePort : port.port;
      facts.add(`${address ?? "nodes"} ${port.protocol} ${number} named ${port.name}`);
    }
    assert.deepEqual(catalog.conflictsOf(service), []);
  }
  const { slice } = parseEndpointSlice(raw);
  const { endpoints } = parseEndpoints(raw);
  if (slice !== undefined) catalog.setSlice(slice);
  if (endpoints !== undefined) catalog.setEndpoints(endpoints);
  for (const source of [...(slice === undefined ? [] : [slice]), ...(endpoints?.sources ?? [])]) {
    const name = { namespace: "x", name: slice?.service ?? "a" };
    for (const port of source.ports) {
      for (const family of [4, 6] as const) {
        const { ready } = catalog.endpointsOf(name, port.name, port.protocol, family);
        for (const each of ready)
          facts.add(`${name.name} ${port.protocol} ${port.name} ${each.endpoint.address}|${each.port}`);
      }
    }
  }
  return facts;
}
