import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  admitsSource,
  chooseEndpoint,
  eligibleEndpoints,
  healthCheck,
  ServiceCatalog,
  type Frontend,
  type Target,
  type Viewpoint,
} from "../src/index.ts";
import { service, slice } from "./objects.ts";

const froms = ["pod", "node", "outside"] as const;

/** A Service that is reached in every way there is. */
function world(spec: object, endpoints: readonly string[]): { catalog: ServiceCatalog; frontends: Frontend[] } {
  const catalog = new ServiceCatalog();
  const everyWay = { type: "LoadBalancer", externalIPs: ["192.0.2.1"], ports: [{ port: 80, nodePort: 30080 }] };
  const web = service({ name: "web", spec: { ...everyWay, ...spec }, ingress: [{ ip: "192.0.2.9" }] });
  catalog.setService(web);
  if (endpoints.length > 0) catalog.setSlice(slice("s1", endpoints));
  return { catalog, frontends: catalog.frontendsOf(web) };
}

function answer(catalog: ServiceCatalog, frontend: Frontend, viewpoint: Viewpoint): string {
  const found = eligibleEndpoints(catalog, frontend, viewpoint);
  if (found.kind === "none") return found.answer;
  return `${found.basis} ${found.endpoints.map(({ endpoint }) => endpoint.address.slice(-1)).join("")}`;
}

/** What node n1 answers, by kind of front end and by who asks, where kinds or askers differ. */
function table(spec: object, endpoints: readonly string[]): Record<string, string> {
  const { catalog, frontends } = world(spec, endpoints);
  assert.deepEqual(frontends.map(({ kind }) => kind).sort(), ["cluster", "external", "loadBalancer", "nodePort"]);
  const answers: Record<string, string> = {};
  for (const frontend of frontends) {
    for (const from of froms) {
      answers[`${frontend.kind} ${from}`] = answer(catalog, frontend, { node: "n1", from });
    }
  }
  return answers;
}

/** The table that says one thing for cluster addresses, one for strangers elsewhere, and one for the cluster's own. */
function expected(cluster: string, outside: string, inside: string): Record<string, string> {
  const answers: Record<string, string> = {};
  for (const from of froms) {
    answers[`cluster ${from}`] = cluster;
    for (const kind of ["external", "loadBalancer", "nodePort"]) {
      answers[`${kind} ${from}`] = from === "outside" ? outside : inside;
    }
  }
  return answers;
}

const ready = ["10.1.0.1@n1", "10.1.0.2@n2", "10.1.0.3"];
const local = { internalTrafficPolicy: "Local", externalTrafficPolicy: "Local" };

describe("endpoints that may be chosen", () => {
  const cases: [what: string, spec: object, endpoints: readonly string[], answers: [string, string, string]][] = [
    ["all that are ready", {}, ready, ["ready 123", "ready 123", "ready 123"]],
    ["not those that are not", {}, [...ready, "10.1.0.4@n1 -ready"], ["ready 123", "ready 123", "ready 123"]],
    ["those of the node, by each policy by itself", local, ready, ["ready 1", "ready 1", "ready 123"]],
    [
      "by the policy of cluster addresses",
      { internalTrafficPolicy: "Local" },
      ready,
      ["ready 1", "ready 123", "ready 123"],
    ],
    ["by the policy of the others", { externalTrafficPolicy: "Local" }, ready, ["ready 123", "ready 1", "ready 123"]],
    ["none of the node, some elsewhere: dropped", local, ["10.1.0.2@n2"], ["drop", "drop", "ready 2"]],
    ["none anywhere: rejected, whatever the policy", local, [], ["reject", "reject", "reject"]],
    [
      "none that is of use: rejected",
      {},
      ["10.1.0.1@n1 -ready", "10.1.0.2@n1 -ready +terminating"],
      ["reject", "reject", "reject"],
    ],
    ["serving alone is not enough", {}, ["10.1.0.1@n1 -ready +serving"], ["reject", "reject", "reject"]],
    [
      "those that end and still serve, when none is ready (KEP-1669)",
      {},
      ["10.1.0.1@n1 -ready +serving +terminating", "10.1.0.2@n2 -ready -serving +terminating", "10.1.0.3@n2 -ready"],
      ["terminating 1", "terminating 1", "terminating 1"],
    ],
    [
      "those of the node that end, while others have ready ones",
      local,
      ["10.1.0.1@n1 -ready +serving +terminating", "10.1.0.2@n2"],
      ["terminating 1", "terminating 1", "ready 2"],
    ],
    [
      "dropped where only others end",
      local,
      ["10.1.0.2@n2 -ready +serving +terminating"],
      ["drop", "drop", "terminating 2"],
    ],
    [
      "all, when readiness is to be disregarded",
      { publishNotReadyAddresses: true },
      ["10.1.0.1@n1 -ready", "10.1.0.2@n2 -ready +terminating"],
      ["ready 12", "ready 12", "ready 12"],
    ],
    [
      "all of the node, when readiness is to be disregarded",
      { ...local, publishNotReadyAddresses: true },
      ["10.1.0.1@n1 -ready", "10.1.0.2@n2"],
      ["ready 1", "ready 1", "ready 12"],
    ],
  ];
  for (const [what, spec, endpoints, answers] of cases) {
    it(`are ${what}`, () => assert.deepEqual(table(spec, endpoints), expected(...answers)));
  }

  it("are of the front end's family", () => {
    const { catalog, frontends } = world({ clusterIPs: ["10.96.0.1", "fd00:96::1"] }, ready);
    catalog.setSlice(slice("s6", ["fd00:1::6@n1"]));
    for (const frontend of frontends) {
      const found = answer(catalog, frontend, { node: "n1", from: "pod" });
      assert.equal(found, frontend.family === 4 ? "ready 123" : "ready 6");
    }
  });

  it("are the same list for the same question, for other nodes too", () => {
    const { catalog, frontends } = world(local, ready);
    const ask = (node: string): readonly Target[] => {
      const found = eligibleEndpoints(catalog, frontends[0]!, { node, from: "outside" });
      assert.ok(found.kind === "endpoints");
      return found.endpoints;
    };
    const first = ask("n1");
    assert.equal(ask("n1"), first);
    assert.deepEqual(
      ask("n2").map(({ endpoint }) => endpoint.node),
      ["n2"],
    );
    assert.deepEqual(ask("n1"), first);
  });
});

function targets(count: number): Target[] {
  const addresses = Array.from(
    { length: count },
    (_, number) => `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`,
  );
  return addresses.map((address) => ({
    endpoint: { address, ready: true, serving: true, terminating: false, zones: [] },
    port: 80,
    source: "s1",
  }));
}

describe("the endpoint that is chosen", () => {
  it("is one of them for every integer, and the same each time", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.maxSafeInteger(), (count, seed) => {
        const endpoints = targets(count);
        const chosen = chooseEndpoint(endpoints, seed);
        assert.ok(chosen !== undefined && endpoints.includes(chosen));
        assert.equal(chooseEndpoint([...endpoints], seed), chosen);
      }),
    );
    assert.equal(chooseEndpoint([], 7), undefined);
  });

  it("is each of them as often as the others, whether seeds count up, stride, or differ in high bits alone", () => {
    const strides = [1, 2, 256, 65_536, 2 ** 20, 2 ** 32, 3 * 2 ** 32, -1];
    for (const count of [2, 3, 7, 100, 1000]) {
      const endpoints = targets(count);
      for (const stride of strides) {
        const draws = count * 200;
        const hits = new Map<Target, number>();
        for (let draw = 0; draw < draws; draw++) {
          const chosen = chooseEndpoint(endpoints, draw * stride)!;
          hits.set(chosen, (hits.get(chosen) ?? 0) + 1);
        }
        // Chi-square against even shares: its mean is count - 1, its deviation sqrt(2 (count - 1)). No seed is random.
        let chiSquare = 0;
        for (const each of endpoints) chiSquare += ((hits.get(each) ?? 0) - 200) ** 2 / 200;
        const bound = count - 1 + 6 * Math.sqrt(2 * (count - 1));
        assert.ok(chiSquare < bound, `${count} endpoints, stride ${stride}: ${chiSquare} is not below ${bound}`);
      }
    }
  });
});

describe("the ranges of a load balancer's clients", () => {
  const admitted = (spec: object, source: string): string[] =>
    world(spec, [])
      .frontends.filter((frontend) => admitsSource(frontend, source))
      .map(({ kind }) => kind)
      .sort();

  it("bound who uses its addresses, and no other way in", () => {
    const all = ["cluster", "external", "loadBalancer", "nodePort"];
    const spec = { loadBalancerSourceRanges: ["198.51.100.0/24", "203.0.113.7/32"] };
    for (const source of ["198.51.100.1", "203.0.113.7"]) assert.deepEqual(admitted(spec, source), all);
    const others = all.filter((kind) => kind !== "loadBalancer");
    for (const source of ["198.51.101.1", "203.0.113.8", "2001:db8::1"])
      assert.deepEqual(admitted(spec, source), others);
    assert.deepEqual(admitted({}, "192.0.2.99"), all);
  });
});

describe("the health of a node for a load balancer", () => {
  const spec = { type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: 31000 };

  function health(endpoints: readonly string[], healthy = true, more: object = {}) {
    const { catalog } = world({ ...spec, ...more }, endpoints);
    return healthCheck(catalog, catalog.get("shop", "web")!, { node: "n1", healthy });
  }

  it("is good while the node has ready endpoints, and says how many", () => {
    assert.deepEqual(health(["10.1.0.1@n1", "10.1.0.2@n1", "10.1.0.3@n2", "10.1.0.4@n1 -ready"]), {
      status: 200,
      headers: {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": "2",
      },
      body: { service: { namespace: "shop", name: "web" }, localEndpoints: 2, serviceProxyHealthy: true },
    });
  });

  it("is bad without any, with those alone that end, and on a node that is not in order", () => {
    for (const endpoints of [[], ["10.1.0.3@n2"], ["10.1.0.1@n1 -ready +serving +terminating"]]) {
      const found = health(endpoints);
      assert.deepEqual([found?.status, found?.body.localEndpoints], [503, 0]);
    }
    const found = health(ready, false);
    assert.deepEqual([found?.status, found?.body.localEndpoints, found?.body.serviceProxyHealthy], [503, 1, false]);
  });

  it("counts an endpoint once, of several ports or of two families", () => {
    const { catalog } = world({ ...spec, clusterIPs: ["10.96.0.1", "fd00:96::1"], ports: twoPorts }, []);
    catalog.setSlice(slice("s4", ["10.1.0.1@n1", "10.1.0.2@n1"], { ports: twoPorts }));
    catalog.setSlice(slice("s6", ["fd00:1::1@n1", "fd00:1::2@n1"], { ports: twoPorts }));
    const found = healthCheck(catalog, catalog.get("shop", "web")!, { node: "n1", healthy: true });
    assert.equal(found?.body.localEndpoints, 2);
  });

  it("is not asked for where it does not matter", () => {
    assert.equal(health(ready, true, { externalTrafficPolicy: "Cluster" }), undefined);
    assert.equal(health(ready, true, { type: "NodePort" }), undefined);
    assert.equal(health(ready, true, { healthCheckNodePort: 0 }), undefined);
  });
});

const twoPorts = [
  { name: "a", port: 80 },
  { name: "b", port: 81 },
];
