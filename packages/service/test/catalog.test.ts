import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatViolation } from "@beyondfabric/kube/kinds";
import { ServiceCatalog, type Frontend, type PortEndpoints } from "../src/index.ts";
import { endpointsObject, service, slice, type ServiceWords } from "./objects.ts";

function holder(catalog: ServiceCatalog, address = "10.96.0.1", port = 80): string | undefined {
  return nameOf(catalog.frontendAt(address, "TCP", port));
}

function nameOf(frontend: Frontend | undefined): string | undefined {
  return frontend === undefined ? undefined : `${frontend.service.name} ${frontend.kind}`;
}

function complaints(catalog: ServiceCatalog, name: string): string[] {
  return catalog.conflictsOf({ namespace: "shop", name }).map(formatViolation);
}

const web = { namespace: "shop", name: "web" };

function endpoints(catalog: ServiceCatalog, portName = ""): PortEndpoints {
  return catalog.endpointsOf(web, portName, "TCP", 4);
}

function texts({ all }: PortEndpoints): string[] {
  return all.map(({ endpoint, port }) => `${endpoint.address}|${port}`);
}

describe("front ends", () => {
  const balancer: ServiceWords = {
    name: "web",
    spec: {
      type: "LoadBalancer",
      clusterIPs: ["10.96.0.1", "fd00:96::1"],
      externalIPs: ["192.0.2.1"],
      ports: [
        { name: "web", port: 80, nodePort: 30080 },
        { name: "dns", port: 53, protocol: "UDP" },
      ],
    },
    ingress: [{ ip: "192.0.2.9" }],
  };

  it("are found by address, protocol and port, and by a port of the nodes", () => {
    const catalog = new ServiceCatalog();
    assert.deepEqual([...catalog.setService(service(balancer))], ["service:shop/web"]);
    for (const [address, kind] of [
      ["10.96.0.1", "cluster"],
      ["fd00:96::1", "cluster"],
      ["192.0.2.1", "external"],
      ["192.0.2.9", "loadBalancer"],
    ] as const) {
      const found = catalog.frontendAt(address, "UDP", 53);
      assert.deepEqual([found?.kind, found?.port.name, found?.address], [kind, "dns", address]);
      assert.equal(catalog.frontendAt(address, "TCP", 53), undefined);
      assert.equal(catalog.frontendAt(address, "UDP", 54), undefined);
      assert.equal(catalog.frontendAt(address, "SCTP", 53), undefined);
      assert.ok(catalog.isServiceAddress(address) && catalog.isServiceAddress(address, kind));
    }
    assert.ok(!catalog.isServiceAddress("10.96.0.2") && !catalog.isServiceAddress("192.0.2.1", "cluster"));
    for (const family of [4, 6] as const) {
      const found = catalog.nodePortAt("TCP", 30080, family);
      assert.deepEqual([found?.kind, found?.family, found?.port.port], ["nodePort", family, 80]);
      assert.equal(catalog.nodePortAt("UDP", 30080, family), undefined);
      assert.equal(catalog.nodePortAt("TCP", 80, family), undefined);
    }
  });

  it("go with their Service, and with what the Service says no more", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service(balancer));
    catalog.setService(service({ name: "web", spec: { clusterIPs: ["10.96.0.1"], ports: [{ port: 81 }] } }));
    assert.deepEqual([holder(catalog), holder(catalog, "10.96.0.1", 81)], [undefined, "web cluster"]);
    assert.ok(!catalog.isServiceAddress("192.0.2.9"));
    assert.equal(catalog.nodePortAt("TCP", 30080, 4), undefined);
    assert.deepEqual([...catalog.removeService("shop", "web")], ["service:shop/web"]);
    assert.ok(!catalog.isServiceAddress("10.96.0.1"));
    assert.equal(catalog.get("shop", "web"), undefined);
    assert.equal(catalog.removeService("shop", "web").size, 0);
  });

  it("do not change when an object comes again that says the same", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service(balancer));
    const before = catalog.frontendAt("10.96.0.1", "TCP", 80);
    assert.equal(catalog.setService(service(balancer)).size, 0);
    assert.equal(catalog.frontendAt("10.96.0.1", "TCP", 80), before);
  });
});

describe("two Services that ask for the same", () => {
  it("come to the same holder in any order: the older one; the other is told, and follows it", () => {
    const older = service({ name: "b", day: 1 });
    const newer = service({ name: "a", day: 2 });
    for (const order of [
      [older, newer],
      [newer, older],
    ]) {
      const catalog = new ServiceCatalog();
      for (const each of order) catalog.setService(each);
      assert.equal(holder(catalog), "b cluster");
      assert.deepEqual(complaints(catalog, "b"), []);
      assert.deepEqual(complaints(catalog, "a"), [
        "Service/shop/a: spec.clusterIPs asks for 10.96.0.1 port 80 of TCP, which Service/shop/b has, so this Service is " +
          "not reached by it; choose another one, or remove it from Service/shop/b",
      ]);
      assert.deepEqual(catalog.frontendsOf(newer), []);
      assert.deepEqual([...catalog.removeService("shop", "b")].sort(), ["service:shop/a", "service:shop/b"]);
      assert.equal(holder(catalog), "a cluster");
      assert.deepEqual(complaints(catalog, "a"), []);
    }
  });

  it("concern each other only in what they share", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "a", day: 1 }));
    const other = service({
      name: "b",
      day: 2,
      spec: {
        ports: [
          { name: "x", port: 80 },
          { name: "y", port: 81 },
        ],
      },
    });
    assert.deepEqual([...catalog.setService(other)].sort(), ["service:shop/a", "service:shop/b"].slice(1));
    assert.deepEqual([holder(catalog), holder(catalog, "10.96.0.1", 81)], ["a cluster", "b cluster"]);
    const moved = service({ name: "a", day: 1, spec: { ports: [{ port: 82 }] } });
    assert.deepEqual([...catalog.setService(moved)].sort(), ["service:shop/a", "service:shop/b"]);
    assert.equal(holder(catalog), "b cluster");
  });

  it("born at the same time are told apart by UID, and those without a date are the youngest", () => {
    const catalog = new ServiceCatalog();
    for (const name of ["c", "a", "b"]) catalog.setService(service({ name, day: 1 }));
    assert.equal(holder(catalog), "a cluster");
    catalog.setService({ ...service({ name: "a" }), created: Number.MAX_SAFE_INTEGER });
    assert.equal(holder(catalog), "b cluster");
  });

  it("cannot take the address of each other by naming it, however old they are", () => {
    const catalog = new ServiceCatalog();
    const named = { clusterIPs: ["10.96.0.2"], externalIPs: ["10.96.0.1", "192.0.2.9"] };
    catalog.setService(service({ name: "old", day: 1, spec: named }));
    catalog.setService(service({ name: "dns", day: 2 }));
    const balanced = { type: "LoadBalancer", clusterIPs: ["10.96.0.3"] };
    catalog.setService(service({ name: "web", day: 3, spec: balanced, ingress: [{ ip: "192.0.2.9" }] }));
    assert.deepEqual([holder(catalog), holder(catalog, "192.0.2.9")], ["dns cluster", "web loadBalancer"]);
    assert.equal(complaints(catalog, "old").length, 2);
    catalog.removeService("shop", "dns");
    assert.equal(holder(catalog), "old external");
  });

  it("share a port of the nodes as they share an address: once told for both families", () => {
    const catalog = new ServiceCatalog();
    const spec = (number: number): object => ({
      type: "NodePort",
      clusterIPs: [`10.96.0.${number}`, `fd00:96::${number}`],
      ports: [{ port: 80, nodePort: 30080 }],
    });
    catalog.setService(service({ name: "a", day: 2, spec: spec(1) }));
    catalog.setService(service({ name: "b", day: 1, spec: spec(2) }));
    for (const family of [4, 6] as const) {
      assert.equal(nameOf(catalog.nodePortAt("TCP", 30080, family)), "b nodePort");
    }
    assert.equal(complaints(catalog, "a").length, 1);
    assert.match(
      complaints(catalog, "a")[0]!,
      /spec\.ports asks for node port 30080 of TCP, which Service\/shop\/b has/,
    );
  });
});

describe("endpoints", () => {
  it("come from all slices, in the order of their addresses, whatever came first", () => {
    const catalog = new ServiceCatalog();
    catalog.setSlice(slice("s2", ["10.1.0.4", "10.1.0.1"]));
    catalog.setService(service({ name: "web" }));
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.1|8080", "10.1.0.4|8080"]);
    assert.deepEqual([...catalog.setSlice(slice("s1", ["10.1.0.3", "10.1.0.2"]))], ["service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.1|8080", "10.1.0.2|8080", "10.1.0.3|8080", "10.1.0.4|8080"]);
    assert.deepEqual([...catalog.removeSlice("shop", "s2")], ["service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.2|8080", "10.1.0.3|8080"]);
    assert.equal(catalog.removeSlice("shop", "s2").size, 0);
  });

  it("are joined to a Service's ports by name and protocol", () => {
    const catalog = new ServiceCatalog();
    const ports = [
      { name: "a", port: 1001 },
      { name: "a", port: 1002, protocol: "UDP" },
      { name: "b", port: 1003 },
    ];
    catalog.setService(
      service({ name: "web", spec: { ports: ["a", "b"].map((name, port) => ({ name, port: port + 1 })) } }),
    );
    catalog.setSlice(slice("s1", ["10.1.0.1"], { ports }));
    catalog.setSlice(slice("s2", ["10.1.0.2"], { ports: [{ name: "a", port: 2001 }] }));
    assert.deepEqual(texts(endpoints(catalog, "a")), ["10.1.0.1|1001", "10.1.0.2|2001"]);
    assert.deepEqual(texts(endpoints(catalog, "b")), ["10.1.0.1|1003"]);
    assert.deepEqual(texts(endpoints(catalog, "")), []);
    assert.deepEqual(texts(catalog.endpointsOf(web, "a", "UDP", 4)), ["10.1.0.1|1002"]);
    assert.deepEqual(texts(catalog.endpointsOf(web, "a", "TCP", 6)), []);
  });

  it("are the same object until they change, and what was handed out never changes", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    catalog.setSlice(slice("s1", ["10.1.0.1", "10.1.0.2"]));
    const before = endpoints(catalog);
    assert.equal(catalog.setSlice(slice("s1", ["10.1.0.2", "10.1.0.1"])).size, 0);
    assert.equal(endpoints(catalog), before);
    catalog.setSlice(slice("other", ["10.1.0.1"], { service: "shop" }));
    catalog.setSlice(slice("s6", ["fd00:1::1"]));
    assert.equal(endpoints(catalog), before);
    const copy = structuredClone(before);
    const [kept] = before.all;
    catalog.setSlice(slice("s1", ["10.1.0.1", "10.1.0.2 -ready", "10.1.0.3"]));
    assert.deepEqual(before, copy);
    assert.equal(endpoints(catalog).all[0], kept);
    assert.deepEqual(endpoints(catalog).ready.length, 2);
  });

  it("that stand in two slices count once: as the one that is of more use says", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    catalog.setSlice(slice("s1", ["10.1.0.1@n1 -ready +serving +terminating"]));
    catalog.setSlice(slice("s2", ["10.1.0.1@n2"]));
    assert.deepEqual(
      endpoints(catalog).all.map(({ source, endpoint }) => [source, endpoint.node]),
      [["s2", "n2"]],
    );
    assert.deepEqual([endpoints(catalog).ready.length, endpoints(catalog).terminating.length], [1, 0]);
    catalog.removeSlice("shop", "s2");
    assert.deepEqual([endpoints(catalog).ready.length, endpoints(catalog).terminating.length], [0, 1]);
    catalog.setSlice(slice("s2", ["10.1.0.1@n2 -ready -serving"]));
    assert.deepEqual(
      endpoints(catalog).all.map(({ source }) => source),
      ["s1"],
    );
    catalog.setSlice(slice("s1", []));
    assert.deepEqual(
      endpoints(catalog).all.map(({ source }) => source),
      ["s2"],
    );
  });

  it("follow a slice whose label names another Service", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    catalog.setSlice(slice("s1", ["10.1.0.1"]));
    assert.equal(texts(endpoints(catalog)).length, 1);
    const affected = catalog.setSlice(slice("s1", ["10.1.0.1"], { service: "shop" }));
    assert.deepEqual([...affected].sort(), ["service:shop/shop", "service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), []);
    assert.deepEqual([...catalog.removeSlice("shop", "s1")], ["service:shop/shop"]);
  });

  it("come from an Endpoints object while there is no slice", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    assert.deepEqual([...catalog.setEndpoints(endpointsObject(["10.1.0.8"]))], ["service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.8|8080"]);
    assert.equal(catalog.setEndpoints(endpointsObject(["10.1.0.8"])).size, 0);
    catalog.setSlice(slice("s1", ["10.1.0.1"]));
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.1|8080"]);
    assert.equal(catalog.setEndpoints(endpointsObject(["10.1.0.9"])).size, 0);
    assert.deepEqual([...catalog.removeSlice("shop", "s1")], ["service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.9|8080"]);
    assert.deepEqual([...catalog.removeEndpoints("shop", "web")], ["service:shop/web"]);
    assert.deepEqual(texts(endpoints(catalog)), []);
    assert.equal(catalog.removeEndpoints("shop", "web").size, 0);
  });

  it("are told apart by their source and their port, also where records are shared", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    const object = endpointsObject(["10.1.0.1"]);
    catalog.setEndpoints(object);
    assert.deepEqual(
      endpoints(catalog).all.map(({ source }) => source),
      ["0"],
    );
    const [{ endpoints: records } = { endpoints: [] }] = object.sources;
    catalog.setSlice({ ...slice("s1", []), endpoints: records });
    assert.deepEqual(
      endpoints(catalog).all.map(({ source }) => source),
      ["s1"],
    );
    catalog.setSlice(slice("s1", ["10.1.0.1"], { ports: [{ port: 8081 }] }));
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.1|8081"]);
    catalog.removeEndpoints("shop", "web");
    catalog.removeSlice("shop", "s1");
    assert.deepEqual(texts(endpoints(catalog)), []);
  });

  it("outlast their Service, which may come back", () => {
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    catalog.setSlice(slice("s1", ["10.1.0.1"]));
    catalog.removeService("shop", "web");
    catalog.setSlice(slice("s1", ["10.1.0.2"]));
    catalog.setService(service({ name: "web" }));
    assert.deepEqual(texts(endpoints(catalog)), ["10.1.0.2|8080"]);
    assert.deepEqual(
      [...catalog.services()].map(({ name }) => name),
      ["web"],
    );
  });
});
