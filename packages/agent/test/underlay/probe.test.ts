import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  buildArp,
  buildEthernet,
  buildIpv6,
  buildNeighborAdvertisement,
  etherType,
  ipProtocol,
  parsePacket,
} from "@beyondfabric/packet";
import * as fc from "fast-check";
import { announcementFrames, conflictIn, probeFrames } from "../../src/underlay/probe.ts";

const own = { mac: "0a:58:0a:1e:00:32", addresses: ["10.30.0.50", "fd00:30::a1:b2c3"] };
const other = "02:fa:03:00:00:01";
const broadcast = "ff:ff:ff:ff:ff:ff";

function arp(senderMac: string, senderIp: string, targetIp: string, operation: "request" | "reply"): Buffer {
  return buildEthernet(
    { src: senderMac, dst: broadcast, etherType: etherType.arp, vlans: [30] },
    buildArp({ operation, senderMac, senderIp, targetIp }),
  );
}

function advertisement(mac: string, target: string, withOption: boolean): Buffer {
  const ends = { src: target, dst: "ff02::1" };
  const message = buildNeighborAdvertisement({ ...ends, target, targetMac: mac });
  const packet = buildIpv6(
    { ...ends, protocol: ipProtocol.icmpv6, ttl: 255 },
    message.subarray(0, withOption ? 32 : 24),
  );
  return buildEthernet({ src: mac, dst: "33:33:00:00:00:01", etherType: etherType.ipv6 }, packet);
}

const conflict = (frame: Buffer) => conflictIn(parsePacket(frame), own);

describe("probing", () => {
  it("asks in nobody's name, as the protocols want it", () => {
    const [ipv4, ipv6] = probeFrames(own).map(parsePacket);
    assert.deepEqual(
      [ipv4!.ethDst, ipv4!.arpOp, ipv4!.arpSha, ipv4!.arpSpa, ipv4!.arpTha, ipv4!.arpTpa],
      [broadcast, 1, own.mac, "0.0.0.0", "00:00:00:00:00:00", "10.30.0.50"],
    );
    assert.deepEqual(
      [ipv6!.ethDst, ipv6!.ipSrc, ipv6!.ipDst, ipv6!.ipTtl, ipv6!.icmpType, ipv6!.ndTarget, ipv6!.ndSll],
      ["33:33:ff:a1:b2:c3", "::", "ff02::1:ffa1:b2c3", 255, 135, "fd00:30::a1:b2c3", ""],
    );
  });

  it("names the MAC that answers, in whichever way it does", () => {
    const expected = { address: "10.30.0.50", mac: other };
    assert.deepEqual(conflict(arp(other, "10.30.0.50", "10.30.0.50", "reply")), expected);
    assert.deepEqual(conflict(arp(other, "10.30.0.50", "10.30.0.202", "request")), expected);
    assert.deepEqual(conflict(advertisement(other, own.addresses[1]!, true)), {
      address: own.addresses[1],
      mac: other,
    });
    assert.deepEqual(conflict(advertisement(other, own.addresses[1]!, false)), {
      address: own.addresses[1],
      mac: other,
    });
  });

  it("sees somebody who probes for the same address at the same time", () => {
    const rival = { ...own, mac: other };
    assert.deepEqual(
      probeFrames(rival).map((frame) => conflict(frame)?.mac),
      [other, other],
    );
  });

  it("is not frightened by what carries its own MAC, or speaks of others", () => {
    for (const frame of [...probeFrames(own), ...announcementFrames(own)]) assert.equal(conflict(frame), undefined);
    assert.equal(conflict(arp(own.mac, "10.30.0.50", "10.30.0.50", "reply")), undefined);
    assert.equal(conflict(arp(other, "10.30.0.202", "10.30.0.50", "request")), undefined);
    assert.equal(conflict(advertisement(other, "fd00:30::202", true)), undefined);
  });

  it("never throws, whatever the bytes are", () => {
    const frames = [arp(other, "10.30.0.50", "10.30.0.50", "reply"), advertisement(other, own.addresses[1]!, true)];
    fc.assert(
      fc.property(
        fc.constantFrom(...frames),
        fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 5 }),
        fc.nat(90),
        (frame, changes, length) => {
          const bytes = Buffer.from(frame);
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          const found = conflict(bytes.subarray(0, length));
          assert.ok(found === undefined || (own.addresses.includes(found.address) && found.mac !== own.mac));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("announcing", () => {
  it("tells everybody, with the override of what they knew", () => {
    const [ipv4, ipv6] = announcementFrames(own);
    const arpRead = parsePacket(ipv4!);
    assert.deepEqual([arpRead.ethDst, arpRead.arpSpa, arpRead.arpTpa], [broadcast, "10.30.0.50", "10.30.0.50"]);
    const ndRead = parsePacket(ipv6!);
    assert.deepEqual([ndRead.ethDst, ndRead.icmpType, ndRead.ndTll], ["33:33:00:00:00:01", 136, own.mac]);
    assert.equal(ipv6![14 + 40 + 4]! & 0x20, 0x20);
  });
});
