import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { buildEthernet, buildIp, buildUdp, etherType, ipProtocol } from "@beyondfabric/packet";
import type { PodPort } from "../src/attachment/ports.ts";
import { Forgeries } from "../src/forgeries.ts";

const port: PodPort = {
  container: "c",
  ifname: "eth0",
  netns: "/proc/1/ns/net",
  namespace: "shop",
  name: "rogue",
  uid: "u",
  mac: "0a:58:0a:f4:01:05",
  addresses: ["10.244.1.5"],
  subnet: "default",
  hostInterface: "bf0",
  ofport: 100,
  mtu: 1450,
  created: 0,
  held: [],
  routed: [],
  claimed: false,
};

function from(source: string): Buffer {
  const addresses = { src: source, dst: "10.244.2.7" };
  const udp = buildUdp({ ...addresses, srcPort: 1, dstPort: 2 });
  const ip = buildIp({ ...addresses, protocol: ipProtocol.udp }, udp);
  return buildEthernet({ src: port.mac, dst: "0e:fa:b0:00:00:01", etherType: etherType.ipv4 }, ip);
}

describe("what pods forge", () => {
  let now = 0;
  let ports: PodPort[] = [];
  let events: string[] = [];
  let forgeries: Forgeries;
  /** A look, two seconds after the last one, at what the switch has counted. */
  const look = (counted: number): void => {
    now += 2000;
    forgeries.look(new Map([[port.ofport, BigInt(counted)]]));
  };

  beforeEach(() => {
    now = 0;
    ports = [port];
    events = [];
    forgeries = new Forgeries({
      ports: () => ports,
      events: { record: (target, _type, reason, message) => events.push(`${target.name} ${reason} ${message}`) },
      logger: { warn: () => {} },
      now: () => now,
    });
  });

  it("is counted by what was false, and what the agent was not shown apart from it", () => {
    look(0);
    for (let frame = 0; frame < 3; frame++) forgeries.seen(from("10.244.1.6"), port.ofport);
    look(1000);
    assert.deepEqual(forgeries.reasonsOf(port.ofport), { ip: 3 }, "the rest may be on its way");
    look(1000);
    assert.deepEqual(forgeries.reasonsOf(port.ofport), { ip: 3, unread: 997 });
    assert.equal(forgeries.packetsOf(port.ofport), 1000);
    // What arrives late was counted already.
    forgeries.seen(from("10.244.1.6"), port.ofport);
    look(1001);
    assert.equal(forgeries.packetsOf(port.ofport), 1001);
  });

  it("never counts backwards, also when the switch begins anew", () => {
    look(0);
    forgeries.seen(from("10.244.1.6"), port.ofport);
    look(50);
    look(50);
    const before = forgeries.packetsOf(port.ofport);
    assert.equal(before, 50);
    for (const counted of [0, 0, 10, 10]) look(counted);
    assert.equal(forgeries.packetsOf(port.ofport), 60);
  });

  it("leaves a former agent's counts alone", () => {
    look(700);
    look(700);
    assert.deepEqual(forgeries.reasonsOf(port.ofport), {});
    look(703);
    look(703);
    assert.deepEqual(forgeries.reasonsOf(port.ofport), { unread: 3 });
  });

  it("is told of when it goes on, not for a stray frame or one burst, and not again and again", () => {
    let counted = 0;
    look(counted);
    const burst = (frames: number): void => {
      for (let frame = 0; frame < frames; frame++) forgeries.seen(from("10.244.1.6"), port.ofport);
      look((counted += frames));
    };
    burst(1);
    for (let idle = 0; idle < 100; idle++) look(counted);
    burst(40);
    for (let idle = 0; idle < 100; idle++) look(counted);
    assert.deepEqual(events, []);
    for (let times = 0; times < 5; times++) burst(2);
    assert.equal(events.length, 1);
    assert.match(
      events[0]!,
      /^rogue SpoofedPackets .*ip \d+.* claimed source 10\.244\.1\.6\..*spec\.allowedAddresses of Subnet default/,
    );
    for (let times = 0; times < 100; times++) burst(2);
    assert.equal(events.length, 1);
    for (let times = 0; times < 100; times++) burst(2);
    assert.equal(events.length, 2, "after five minutes once more");
  });

  it("is shown for a minute, and forgotten with its pod", () => {
    look(0);
    forgeries.seen(from("10.244.1.6"), port.ofport);
    look(1);
    now += 500;
    assert.deepEqual(forgeries.recent, [
      { pod: "shop/rogue", packets: 1, reasons: { ip: 1 }, claim: "source 10.244.1.6", age: 500 },
    ]);
    now += 61_000;
    assert.deepEqual(forgeries.recent, []);
    ports = [];
    look(1);
    ports = [port];
    assert.equal(forgeries.packetsOf(port.ofport), 0);
    forgeries.seen(from("10.244.1.6"), 999);
    assert.equal(forgeries.packetsOf(999), 0);
  });
});
