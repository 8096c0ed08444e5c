import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  buildArp,
  buildEcho,
  buildEthernet,
  buildGratuitousArp,
  buildIp,
  buildIpv4,
  buildIpv6,
  buildNeighborAdvertisement,
  buildNeighborSolicitation,
  buildTcp,
  buildUdp,
  buildUnsolicitedAdvertisement,
  etherType,
  internetChecksum,
  ipProtocol,
  parsePacket,
  tcpFlag,
  transportChecksum,
} from "../src/index.ts";
import type { Packet } from "../src/index.ts";

const macs = { src: "0a:58:00:00:00:01", dst: "0a:58:00:00:00:02" };
const four = { src: "10.0.0.1", dst: "10.0.0.2" };
const six = { src: "fd00::1", dst: "fd00::2" };

function frame(payload: Uint8Array, type: number = etherType.ipv4, vlans: readonly number[] = []): Buffer {
  return buildEthernet({ ...macs, etherType: type, vlans }, payload);
}

/** Asserts the properties named; the rest of the packet is of no concern. */
function parses(bytes: Uint8Array, expected: Partial<Packet>): void {
  const packet = parsePacket(bytes);
  const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, packet[key as keyof Packet]]));
  assert.deepStrictEqual(actual, expected);
}

describe("ethernet", () => {
  const udp = buildIp({ ...four, protocol: ipProtocol.udp }, buildUdp({ ...four, srcPort: 1, dstPort: 2 }));

  test("addresses and type", () => {
    parses(frame(udp), {
      ethSrc: macs.src,
      ethDst: macs.dst,
      etherType: 0x800,
      vlan: -1,
      l3Offset: 14,
      malformed: false,
    });
  });

  test("one and two VLAN tags", () => {
    parses(frame(udp, etherType.ipv4, [0x6005]), {
      vlan: 0x6005,
      innerVlan: -1,
      etherType: 0x800,
      dstPort: 2,
      l3Offset: 18,
    });
    parses(frame(udp, etherType.ipv4, [5, 6]), { vlan: 5, innerVlan: 6, etherType: 0x800, dstPort: 2, l3Offset: 22 });
  });

  test("a third tag is what the packet holds", () => {
    parses(frame(udp, etherType.ipv4, [5, 6, 7]), { vlan: 5, innerVlan: 6, etherType: 0x8100, dstPort: -1 });
  });

  test("frames that end in their own header", () => {
    for (let size = 0; size < 14; size++)
      parses(frame(udp).subarray(0, size), { malformed: true, etherType: -1, ethSrc: "" });
    parses(frame(udp, etherType.ipv4, [5]).subarray(0, 16), { malformed: true, etherType: -1 });
  });
});

describe("arp", () => {
  test("a request and an announcement", () => {
    const arp = buildArp({ operation: "request", senderMac: macs.src, senderIp: four.src, targetIp: four.dst });
    parses(frame(arp, etherType.arp), {
      arpOp: 1,
      arpSha: macs.src,
      arpSpa: four.src,
      arpTha: "00:00:00:00:00:00",
      arpTpa: four.dst,
      ipVersion: -1,
    });
    parses(buildGratuitousArp(macs.src, four.src), { ethDst: "ff:ff:ff:ff:ff:ff", arpSpa: four.src, arpTpa: four.src });
  });

  test("of another kind or cut short", () => {
    const arp = buildArp({ operation: "reply", senderMac: macs.src, senderIp: four.src, targetIp: four.dst });
    for (const at of [0, 2, 4, 5]) {
      const other = Buffer.from(arp);
      other[at] = 0x77;
      parses(frame(other, etherType.arp), { malformed: true, arpOp: -1, arpSpa: "" });
    }
    parses(frame(arp.subarray(0, 27), etherType.arp), { malformed: true, arpOp: -1 });
  });
});

describe("ip", () => {
  for (const [name, ends] of [
    ["IPv4", four],
    ["IPv6", six],
  ] as const) {
    const type = name === "IPv4" ? etherType.ipv4 : etherType.ipv6;
    test(`${name} with TCP`, () => {
      const tcp = buildTcp({ ...ends, srcPort: 40_000, dstPort: 443, flags: tcpFlag.syn | tcpFlag.ack });
      parses(frame(buildIp({ ...ends, protocol: ipProtocol.tcp, ttl: 7, tos: 0x28 }, tcp), type), {
        ipVersion: name === "IPv4" ? 4 : 6,
        ipSrc: ends.src,
        ipDst: ends.dst,
        ipProto: 6,
        ipTtl: 7,
        ipTos: 0x28,
        srcPort: 40_000,
        dstPort: 443,
        tcpFlags: 18,
        fragment: "no",
        malformed: false,
      });
    });

    test(`${name} with UDP and SCTP ports`, () => {
      const udp = buildUdp({ ...ends, srcPort: 1, dstPort: 65_535 }, Buffer.from("x"));
      for (const protocol of [ipProtocol.udp, ipProtocol.sctp]) {
        parses(frame(buildIp({ ...ends, protocol }, udp), type), {
          srcPort: 1,
          dstPort: 65_535,
          tcpFlags: -1,
          icmpType: -1,
        });
      }
    });

    test(`${name} with an echo`, () => {
      const protocol = name === "IPv4" ? ipProtocol.icmp : ipProtocol.icmpv6;
      const echo = buildEcho({ ...ends, id: 77, sequence: 1 }, Buffer.from("abc"));
      parses(frame(buildIp({ ...ends, protocol }, echo), type), {
        icmpType: name === "IPv4" ? 8 : 128,
        icmpCode: 0,
        icmpId: 77,
        srcPort: -1,
      });
    });

    test(`${name} with a transport cut short says so and guesses no port`, () => {
      const tcp = buildTcp({ ...ends, srcPort: 1, dstPort: 2, flags: 2 });
      for (const size of [0, 3, 19]) {
        const packet = buildIp({ ...ends, protocol: ipProtocol.tcp }, tcp.subarray(0, size));
        parses(frame(packet, type), { ipSrc: ends.src, malformed: true, srcPort: -1, dstPort: -1, tcpFlags: -1 });
      }
    });

    test(`${name}: bytes behind the packet's own length are padding`, () => {
      const packet = buildIp({ ...ends, protocol: ipProtocol.udp }, new Uint8Array(4));
      parses(frame(Buffer.concat([packet, Buffer.alloc(40, 1)]), type), { malformed: true, srcPort: -1 });
    });
  }

  test("IPv4 options are skipped", () => {
    const plain = buildIpv4({ ...four, protocol: ipProtocol.udp }, buildUdp({ ...four, srcPort: 5, dstPort: 6 }));
    const packet = Buffer.concat([plain.subarray(0, 20), Buffer.alloc(8, 1), plain.subarray(20)]);
    packet[0] = 0x47;
    packet.writeUInt16BE(packet.length, 2);
    parses(frame(packet), { srcPort: 5, dstPort: 6, l4Offset: 14 + 28, malformed: false });
  });

  test("fragments: the first has ports, later ones have none", () => {
    const udp = buildUdp({ ...four, srcPort: 5, dstPort: 6 }, Buffer.alloc(16));
    const options = { ...four, protocol: ipProtocol.udp };
    parses(frame(buildIpv4({ ...options, moreFragments: true }, udp)), { fragment: "first", dstPort: 6 });
    parses(frame(buildIpv4({ ...options, fragmentOffset: 1480 }, udp)), {
      fragment: "later",
      dstPort: -1,
      l4Offset: -1,
    });

    const header = (offsetAndMore: number): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes[0] = ipProtocol.udp;
      bytes.writeUInt16BE(offsetAndMore, 2);
      return bytes;
    };
    const fragmented = (flags: number): Buffer =>
      frame(buildIpv6({ ...six, protocol: 44 }, Buffer.concat([header(flags), udp])), etherType.ipv6);
    parses(fragmented(1), { fragment: "first", ipProto: 17, dstPort: 6 });
    parses(fragmented(1480), { fragment: "later", ipProto: 17, dstPort: -1 });
    parses(fragmented(0), { fragment: "no", ipProto: 17, dstPort: 6 });
  });

  test("IPv6 extension headers are walked, up to a bound", () => {
    const udp = buildUdp({ ...six, srcPort: 5, dstPort: 6 });
    const chain = (count: number): Buffer => {
      const headers = Array.from({ length: count }, (_, i) =>
        Buffer.from([i === count - 1 ? 17 : 60, 0, 1, 4, 0, 0, 0, 0]),
      );
      return frame(buildIpv6({ ...six, protocol: 60 }, Buffer.concat([...headers, udp])), etherType.ipv6);
    };
    parses(chain(1), { ipProto: 17, dstPort: 6, malformed: false });
    parses(chain(8), { ipProto: 17, dstPort: 6, malformed: false });
    parses(chain(9), { dstPort: -1, malformed: true });
    const authentication = Buffer.concat([Buffer.from([17, 4, 0, 0]), Buffer.alloc(20)]);
    parses(frame(buildIpv6({ ...six, protocol: 51 }, Buffer.concat([authentication, udp])), etherType.ipv6), {
      dstPort: 6,
    });
    const beyond = Buffer.from([17, 200, 0, 0, 0, 0, 0, 0]);
    parses(frame(buildIpv6({ ...six, protocol: 0 }, beyond), etherType.ipv6), { malformed: true, dstPort: -1 });
  });

  test("headers that contradict themselves", () => {
    const packet = buildIpv4({ ...four, protocol: ipProtocol.udp }, buildUdp({ ...four, srcPort: 5, dstPort: 6 }));
    for (const [at, value] of [
      [0, 0x65],
      [0, 0x44],
      [0, 0x4f],
      [3, 10],
    ] as const) {
      const broken = Buffer.from(packet);
      broken[at] = value;
      parses(frame(broken), { malformed: true, dstPort: -1 });
    }
  });
});

describe("neighbour discovery", () => {
  const target = "fd00::9";
  test("a solicitation with and without its sender", () => {
    const dad = buildNeighborSolicitation({ src: "::", dst: "ff02::1:ff00:9", target });
    const options = { src: "::", dst: "ff02::1:ff00:9", protocol: ipProtocol.icmpv6, ttl: 255 };
    parses(frame(buildIpv6(options, dad), etherType.ipv6), {
      icmpType: 135,
      ipSrc: "::",
      ndTarget: target,
      ndSll: "",
      ipTtl: 255,
    });
    const asked = buildNeighborSolicitation({ ...six, target, sourceMac: macs.src });
    parses(frame(buildIpv6({ ...six, protocol: 58 }, asked), etherType.ipv6), {
      ndTarget: target,
      ndSll: macs.src,
      ndTll: "",
    });
  });

  test("an advertisement", () => {
    parses(buildUnsolicitedAdvertisement(macs.src, target), {
      icmpType: 136,
      ndTarget: target,
      ndTll: macs.src,
      ipTtl: 255,
    });
    const message = buildNeighborAdvertisement({ ...six, target, targetMac: macs.dst, router: true, solicited: true });
    assert.equal(message[4], 0xc0);
  });

  test("options of no length and options that leave the packet end the reading", () => {
    const message = buildNeighborSolicitation({ ...six, target, sourceMac: macs.src });
    for (const size of [0, 200]) {
      const broken = Buffer.from(message);
      broken[25] = size;
      parses(frame(buildIpv6({ ...six, protocol: 58 }, broken), etherType.ipv6), {
        malformed: true,
        ndSll: "",
        ndTarget: target,
      });
    }
    parses(frame(buildIpv6({ ...six, protocol: 58 }, message.subarray(0, 20)), etherType.ipv6), {
      malformed: true,
      ndTarget: "",
    });
  });
});

describe("checksums", () => {
  test("a whole header sums to zero", () => {
    assert.equal(internetChecksum(buildIpv4({ ...four, protocol: 17 }, Buffer.from("hello")).subarray(0, 20)), 0);
    assert.equal(internetChecksum(buildEcho({ ...four, id: 1, sequence: 2 }, Buffer.from("odd"))), 0);
  });

  test("a whole transport message sums to zero over its pseudo header", () => {
    for (const ends of [four, six]) {
      const tcp = buildTcp({ ...ends, srcPort: 1, dstPort: 2, flags: 2, seq: 0xffff_ffff }, Buffer.from("abc"));
      assert.equal(transportChecksum(ends, ipProtocol.tcp, tcp), 0);
      assert.equal(
        transportChecksum(ends, ipProtocol.udp, buildUdp({ ...ends, srcPort: 1, dstPort: 2 }, Buffer.from("abc"))),
        0,
      );
    }
    assert.equal(transportChecksum(six, ipProtocol.icmpv6, buildEcho({ ...six, id: 1, sequence: 2 })), 0);
  });

  test("the example of RFC 1071 section 3", () => {
    assert.equal(internetChecksum(Buffer.from("0001f203f4f5f6f7", "hex")), ~0xddf2 & 0xffff);
  });

  test("a UDP sum of zero is sent as its other representation", () => {
    // The payload is chosen so that the sum comes out as zero.
    const probe = buildUdp({ ...four, srcPort: 1, dstPort: 2 }, Buffer.alloc(2));
    const udp = buildUdp({ ...four, srcPort: 1, dstPort: 2 }, probe.subarray(6, 8));
    assert.equal(udp.readUInt16BE(6), 0xffff);
  });

  test("addresses of two families are refused", () => {
    assert.throws(
      () => buildIp({ src: "10.0.0.1", dst: "fd00::1", protocol: 6 }, Buffer.alloc(0)),
      /different families/,
    );
  });
});

describe("anything at all", () => {
  const seeds = [
    frame(buildIp({ ...four, protocol: 6 }, buildTcp({ ...four, srcPort: 1, dstPort: 2, flags: 2 }))),
    frame(buildIp({ ...six, protocol: 6 }, buildTcp({ ...six, srcPort: 1, dstPort: 2, flags: 2 })), etherType.ipv6),
    buildUnsolicitedAdvertisement(macs.src, "fd00::9"),
    buildGratuitousArp(macs.src, four.src),
    frame(
      buildIpv6({ ...six, protocol: 60 }, Buffer.from([44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0])),
      etherType.ipv6,
    ),
  ];
  const keys = Object.keys(parsePacket(new Uint8Array()));

  test("parses without throwing, to an object of one shape, never looking behind the end", () => {
    const mutation = fc.tuple(fc.nat(), fc.nat({ max: 255 }));
    const input = fc.oneof(
      fc.uint8Array({ maxLength: 120 }),
      fc
        .tuple(fc.constantFrom(...seeds), fc.array(mutation, { maxLength: 6 }), fc.nat())
        .map(([seed, changes, cut]) => {
          const bytes = Uint8Array.from(seed);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          return bytes.subarray(0, cut % (bytes.length + 1));
        }),
    );
    fc.assert(
      fc.property(input, (bytes) => {
        const packet = parsePacket(bytes);
        assert.deepStrictEqual(Object.keys(packet), keys);
        // The same bytes with others behind them, outside of the view, must read the same.
        const longer = new Uint8Array(bytes.length + 64).fill(0xa5);
        longer.set(bytes);
        assert.deepStrictEqual(parsePacket(longer.subarray(0, bytes.length)), packet);
      }),
      { numRuns: 10_000 },
    );
  });
});
