import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { eligibleEndpoints, ServiceCatalog, type SliceRecord } from "../src/index.ts";
import { service, slice } from "./objects.ts";

/** Counts how often anything is read of the objects that it has wrapped: what a change looks at, whatever the machine. */
class ReadCounter {
  reads = 0;

  of<Wrapped extends object>(object: Wrapped): Wrapped {
    return new Proxy(object, {
      get: (target, key, receiver): unknown => {
        this.reads++;
        return Reflect.get(target, key, receiver);
      },
    });
  }

  /** Reads while something is done. */
  during(act: () => void): number {
    const before = this.reads;
    act();
    return this.reads - before;
  }
}

const servicesCount = 10_000;
const slicesCount = 50;
const perSlice = 100;
const endpointsCount = slicesCount * perSlice;

function numbered(number: number): string {
  return `10.1.${number >> 8}.${number & 255}`;
}

/** A slice whose addresses lie between those of all the others. */
function bigSlice(place: number, flags = ""): SliceRecord {
  const endpoints = Array.from(
    { length: perSlice },
    (_, index) => `${numbered(place + index * slicesCount)}@n${index}${flags}`,
  );
  return slice(`s${place}`, endpoints);
}

const large = { namespace: "shop", name: "web" };
const largePort = ["", "TCP", 4] as const;

describe("a large cluster", () => {
  it("looks at a changed slice and a few of the others' endpoints, and compares no two of the others", () => {
    const others = new ReadCounter();
    const catalog = new ServiceCatalog();
    catalog.setService(service({ name: "web" }));
    assert.equal(catalog.endpointsOf(large, ...largePort).all.length, 0);
    for (let place = 1; place < slicesCount; place++) {
      const plain = bigSlice(place);
      catalog.setSlice({ ...plain, endpoints: plain.endpoints.map((endpoint) => others.of(endpoint)) });
    }
    const changes: [what: string, act: () => unknown][] = [
      ["adding a slice", () => catalog.setSlice(bigSlice(0))],
      ["the same slice again", () => catalog.setSlice(bigSlice(0))],
      ["unreadying a slice", () => catalog.setSlice(bigSlice(0, " -ready"))],
      ["removing a slice", () => catalog.removeSlice("shop", "s0")],
    ];
    // A search for each of the endpoints of the change, in each of the lists, twice: once to find, once to place. Sorting
    // the others would be a dozen reads of each, and looking at all of them for one endpoint a hundred times the bound.
    const perEndpoint = 4 * Math.ceil(Math.log2(endpointsCount)) + 8;
    for (const [what, act] of changes) {
      const reads = others.during(() => {
        act();
        assert.ok(catalog.endpointsOf(large, ...largePort).all.length >= endpointsCount - perSlice);
      });
      assert.ok(reads <= perSlice * perEndpoint, `${what} read ${reads} fields of the others' endpoints`);
      const one = bigSlice(0);
      catalog.setSlice(one);
      const single = others.during(() => {
        catalog.setSlice({ ...one, endpoints: one.endpoints.with(7, { ...one.endpoints[7]!, ready: false }) });
        assert.equal(catalog.endpointsOf(large, ...largePort).ready.length, endpointsCount - 1);
      });
      assert.ok(single <= perEndpoint, `one endpoint of a slice read ${single} fields of the others`);
    }
    const spec = { ports: [{ name: "other", port: 81 }] };
    catalog.setService(service({ name: "web", spec }));
    const unused = others.during(() => catalog.setSlice(bigSlice(0, " -ready")));
    assert.equal(unused, 0, "a port that the Service has no more is merged no more");
    const found = catalog.endpointsOf(large, ...largePort).all.map(({ endpoint }) => endpoint.address);
    assert.deepEqual(found, found.toSorted());
    assert.equal(new Set(found).size, endpointsCount);
  });

  it("looks at no other Service for a change or a question, unless they share an address", () => {
    const others = new ReadCounter();
    const catalog = new ServiceCatalog();
    for (let number = 0; number < servicesCount; number++) {
      const spec = {
        type: "NodePort",
        clusterIPs: [`10.96.${number >> 8}.${number & 255}`],
        ports: [{ port: 80, ...(number < 2000 ? { nodePort: 30_000 + number } : {}) }],
      };
      catalog.setService(others.of(service({ name: `s${number}`, spec })));
    }
    const own = service({ name: "web", spec: { clusterIPs: ["10.97.0.1"], externalIPs: ["192.0.2.1"] } });
    const reads = others.during(() => {
      assert.deepEqual([...catalog.setService(own)], ["service:shop/web"]);
      assert.deepEqual([...catalog.setSlice(slice("s1", ["10.1.0.1"]))], ["service:shop/web"]);
      const frontend = catalog.frontendAt("10.97.0.1", "TCP", 80)!;
      assert.equal(eligibleEndpoints(catalog, frontend, { node: "n1", from: "pod" }).kind, "endpoints");
      assert.ok(catalog.isServiceAddress("10.96.1.1") && !catalog.isServiceAddress("10.98.0.1"));
      assert.deepEqual(catalog.conflictsOf(own), []);
      assert.equal(catalog.removeService("shop", "web").size, 1);
    });
    assert.equal(reads, 0);
    const shared = service({ name: "web", day: 2, spec: { clusterIPs: ["10.96.0.7"] } });
    const sharing = others.during(() => catalog.setService(shared));
    assert.ok(sharing > 0 && sharing < 50, `a Service that shares an address read ${sharing} fields of others`);
    assert.equal(catalog.frontendAt("10.96.0.7", "TCP", 80)?.service.name, "s7");
  });

  it("looks at no other place of an address and of the nodes, though they have thousands", () => {
    const others = new ReadCounter();
    const catalog = new ServiceCatalog();
    const spec = (number: number): object => ({
      type: "LoadBalancer",
      clusterIPs: [`10.96.${number >> 8}.${number & 255}`],
      ports: [{ port: 1 + number, nodePort: 30_000 + number }],
    });
    for (let number = 0; number < 2000; number++) {
      const words = { name: `s${number}`, spec: spec(number), ingress: [{ ip: "192.0.2.9" }] };
      const record = service(words);
      catalog.setService({ ...record, ports: record.ports.map((port) => others.of(port)) });
    }
    const added = others.during(() => {
      catalog.setService(service({ name: "web", spec: spec(2000), ingress: [{ ip: "192.0.2.9" }] }));
      assert.equal(catalog.frontendAt("192.0.2.9", "TCP", 2001)?.service.name, "web");
      assert.equal(catalog.nodePortAt("TCP", 32_000, 4)?.service.name, "web");
    });
    assert.equal(added, 0);
  });

  it("looks at a port when it is asked for, and at no other of its Service and slices", () => {
    const counter = new ReadCounter();
    const catalog = new ServiceCatalog();
    const names = Array.from({ length: 16_000 }, (_, index) => `p${index}`);
    const ports = names.map((name, index) => ({ name, port: 1 + index }));
    const web = service({ name: "web", spec: { ports } });
    catalog.setService({ ...web, ports: web.ports.map((port) => counter.of(port)) });
    const many = slice("s1", ["10.1.0.1"], { ports });
    catalog.setSlice({ ...many, ports: many.ports.map((port) => counter.of(port)) });
    const ask = (): void => {
      for (const name of names) assert.equal(catalog.endpointsOf(large, name, "TCP", 4).all.length, 1);
    };
    const first = counter.during(ask);
    assert.ok(first < 10 * names.length, `asking for each of ${names.length} ports read ${first} fields of them`);
    assert.equal(counter.during(ask), 0);
    const other = slice("s2", ["10.1.0.2"], { ports });
    const added = counter.during(() => catalog.setSlice(other));
    assert.equal(added, 0);
    assert.equal(catalog.endpointsOf(large, "p7", "TCP", 4).all.length, 2);
  });
});
