import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Cache, parseSchema, type InterfaceRow } from "@beyondfabric/ovsdb";
import { formatCidr, isIp, parseCidr } from "@beyondfabric/packet";
import {
  deletePodPorts,
  hostInterfaceName,
  insertPodPort,
  localPortOf,
  PortNumbers,
  portOf,
  type PodPort,
} from "../../src/attachment/ports.ts";
import type { SwitchTables } from "../../src/switch/database.ts";

const port: PodPort = {
  container: "c0ffee",
  ifname: "eth0",
  netns: "/run/netns/a",
  namespace: "shop",
  name: "web",
  uid: "u1",
  mac: "0a:58:0a:f4:01:05",
  addresses: ["10.244.1.5", "fd00:244::5"],
  subnet: "default",
  hostInterface: hostInterfaceName("c0ffee", "eth0"),
  ofport: 100,
  mtu: 1450,
  created: 1_767_323_045_000,
  held: [],
  routed: [],
  claimed: false,
};

/** The schema that Open vSwitch on this machine has. */
const schema = parseSchema(JSON.parse(readFileSync("/usr/share/openvswitch/vswitch.ovsschema", "utf8")));

/** What the transaction asks the database to remember about the interface (RFC 7047, section 5.1). */
function insertedIds(of: PodPort): Record<string, string> {
  const operations = insertPodPort(new Cache<SwitchTables>(), "br-int", of).encode(schema);
  const insert = operations.find(({ op, table }) => op === "insert" && table === "Interface");
  assert.ok(insert !== undefined);
  const [kind, pairs] = (insert["row"] as Record<string, unknown>)["external_ids"] as [string, [string, string][]];
  assert.equal(kind, "map");
  return Object.fromEntries(pairs);
}

function rowOf(ids: Readonly<Record<string, string>>): InterfaceRow {
  return {
    _uuid: "00000000-0000-4000-8000-000000000000",
    name: port.hostInterface,
    type: "",
    options: {},
    other_config: {},
    external_ids: ids,
    ofport_request: port.ofport,
    status: {},
    ingress_policing_rate: 0,
    ingress_policing_burst: 0,
    statistics: {},
  };
}

const key = (name: string): string => `beyondfabric.io/${name}`;

describe("a pod's port in the database", () => {
  it("is read back as it was written", () => {
    assert.deepEqual(portOf(rowOf(insertedIds(port))), port);
  });

  it("has what it holds beside its own addresses, and nothing that cannot be read", () => {
    const ids = { ...insertedIds(port), [key("held-addresses")]: "10.244.0.250,any,,fd00:244::F0,10.0.0.0/8" };
    const read = portOf(rowOf(ids));
    assert.ok(read !== undefined);
    assert.deepEqual(read.held, ["10.244.0.250", "fd00:244::f0"]);
    const allowed = [parseCidr("10.244.0.250/32")];
    const local = localPortOf(read, false, undefined, allowed);
    assert.deepEqual(local.addresses, [...port.addresses, ...read.held]);
    assert.deepEqual(local.allowedAddresses, allowed);
    assert.equal("allowedAddresses" in localPortOf(port, false), false);
  });

  it("forwards for the prefixes that somebody wrote down, and for none that cannot be read", () => {
    const ids = { ...insertedIds(port), [key("routed-prefixes")]: "192.0.2.0/24, fd00:1::/64,,any,10.0.0.1/8" };
    const read = portOf(rowOf(ids));
    assert.ok(read !== undefined);
    assert.deepEqual(read.routed.map(formatCidr), ["192.0.2.0/24", "fd00:1::/64"]);
    assert.deepEqual(localPortOf(read, false).routedPrefixes, read.routed);
    assert.equal("routedPrefixes" in localPortOf(port, false), false);
  });

  it("is none without container, interface, pod, MAC or addresses", () => {
    for (const name of ["container", "ifname", "pod", "mac", "addresses"]) {
      const { [key(name)]: _gone, ...others } = insertedIds(port);
      assert.equal(portOf(rowOf(others)), undefined, name);
    }
    assert.equal(portOf(rowOf({})), undefined);
  });

  it("that is malformed never throws, and what is kept of it has the right form", () => {
    const names = Object.keys(insertedIds(port));
    const anyName = fc.constantFrom(...names, key("held-addresses"), key("routed-prefixes"));
    const anyText = fc.oneof(fc.string(), fc.constantFrom("NaN", "-1", "1e999", "/", ",", "10.244.1.5,", "::/0"));
    fc.assert(
      fc.property(fc.dictionary(anyName, anyText, { maxKeys: 4 }), (mangled) => {
        const read = portOf(rowOf({ ...insertedIds(port), ...mangled }));
        if (read === undefined) return;
        assert.ok(read.addresses.length > 0 && read.addresses.every(isIp));
        assert.ok(Number.isSafeInteger(read.mtu) && read.mtu >= 0);
        assert.ok(Number.isSafeInteger(read.created) && read.created >= 0);
      }),
      { numRuns: 500 },
    );
  });

  it("is not removed twice", () => {
    assert.equal(deletePodPorts(new Cache<SwitchTables>(), "br-int", new Set([port.hostInterface])), undefined);
  });
});

describe("the host's end", () => {
  it("has one name for each attachment, short enough for the kernel", () => {
    assert.equal(hostInterfaceName("c0ffee", "eth0"), port.hostInterface);
    assert.ok(port.hostInterface.length <= 15);
    assert.notEqual(hostInterfaceName("c0ffee", "eth1"), port.hostInterface);
  });
});

describe("port numbers", () => {
  it("come back as late as possible, and never while in use", () => {
    const numbers = new PortNumbers();
    numbers.reserve(102);
    assert.equal(numbers.draw(), 103);
    numbers.release(103);
    const drawn = new Set<number>();
    for (let i = 0; i < 1000; i++) drawn.add(numbers.draw());
    assert.equal(drawn.size, 1000);
    assert.ok(!drawn.has(102) && !drawn.has(103));
  });

  it("begin anew below those that OpenFlow reserves", () => {
    const numbers = new PortNumbers();
    numbers.reserve(0xfe00);
    numbers.reserve(100);
    assert.equal(numbers.draw(), 101);
  });
});
