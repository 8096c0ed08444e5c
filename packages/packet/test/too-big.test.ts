import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  buildEcho,
  buildEthernet,
  buildIp,
  buildTooBig,
  buildUdp,
  etherType,
  internetChecksum,
  ipProtocol,
  parsePacket,
  transportChecksum,
} from "../src/index.ts";

const sender = "0a:58:0a:1e:00:32";
const router = { mac: "0e:fa:b0:00:00:01", addresses: ["fd00:244::1", "10.244.0.1"], mtu: 1450 };
const ends4 = { src: "10.30.0.50", dst: "10.244.1.5" };
const ends6 = { src: "fd00:30::50", dst: "fd00:244::1:5" };

function frame(ends: { src: string; dst: string }, protocol: number, payload: Uint8Array, more = {}): Buffer {
  const isIpv6 = ends.src.includes(":");
  return buildEthernet(
    { src: sender, dst: "02:fa:05:00:00:01", etherType: isIpv6 ? etherType.ipv6 : etherType.ipv4 },
    buildIp({ ...ends, protocol, ...more }, payload),
  );
}

const udp = (ends: { src: string; dst: string }): Buffer =>
  frame(ends, ipProtocol.udp, buildUdp({ ...ends, srcPort: 1, dstPort: 53 }, Buffer.alloc(1472)));

describe("the answer to a packet that is too large", () => {
  it("is fragmentation needed, with the MTU and the packet's beginning, to its sender", () => {
    const sent = udp(ends4);
    const answer = buildTooBig(sent, router)!;
    const read = parsePacket(answer);
    assert.deepEqual([read.ethDst, read.ipSrc, read.ipDst], [sender, "10.244.0.1", "10.30.0.50"]);
    assert.deepEqual([read.icmpType, read.icmpCode, read.malformed], [3, 4, false]);
    const icmp = answer.subarray(34);
    assert.equal(icmp.readUInt16BE(6), 1450);
    assert.equal(internetChecksum(icmp), 0);
    assert.equal(answer.length - 14, 576);
    assert.deepEqual(icmp.subarray(8), sent.subarray(14, 14 + 548));
  });

  it("is packet too big in IPv6", () => {
    const sent = udp(ends6);
    const answer = buildTooBig(sent, router)!;
    const read = parsePacket(answer);
    assert.deepEqual([read.ethDst, read.ipSrc, read.ipDst], [sender, "fd00:244::1", "fd00:30::50"]);
    assert.deepEqual([read.icmpType, read.icmpCode, read.malformed], [2, 0, false]);
    const icmp = answer.subarray(54);
    assert.equal(icmp.readUInt32BE(4), 1450);
    assert.equal(transportChecksum({ src: read.ipSrc, dst: read.ipDst }, ipProtocol.icmpv6, icmp), 0);
    assert.equal(answer.length - 14, 1280);
  });

  it("is given to a ping, and to nothing else in ICMP", () => {
    for (const ends of [ends4, ends6]) {
      const protocol = ends === ends4 ? ipProtocol.icmp : ipProtocol.icmpv6;
      const echo = buildEcho({ ...ends, id: 1, sequence: 1 }, Buffer.alloc(1464));
      assert.ok(buildTooBig(frame(ends, protocol, echo), router) !== undefined);
      const error = Buffer.from(echo);
      error[0] = ends === ends4 ? 3 : 2;
      assert.equal(buildTooBig(frame(ends, protocol, error), router), undefined);
    }
  });

  it("is not given where nobody may answer", () => {
    const payload = Buffer.alloc(1480);
    const refused = [
      frame(ends4, ipProtocol.udp, payload, { fragmentOffset: 1480 }),
      frame({ ...ends4, dst: "224.0.0.251" }, ipProtocol.udp, payload),
      frame({ ...ends4, dst: "255.255.255.255" }, ipProtocol.udp, payload),
      frame({ ...ends4, src: "0.0.0.0" }, ipProtocol.udp, payload),
      frame({ ...ends6, dst: "ff02::fb" }, ipProtocol.udp, payload),
      frame({ ...ends6, src: "::" }, ipProtocol.udp, payload),
      buildEthernet({ src: sender, dst: sender, etherType: etherType.arp }, Buffer.alloc(1500)),
    ];
    for (const each of refused)
      assert.equal(buildTooBig(each, router), undefined, each.subarray(0, 60).toString("hex"));
    assert.equal(buildTooBig(udp(ends6), { ...router, addresses: ["10.244.0.1"] }), undefined);
  });

  it("never throws, whatever the bytes are, and answers with what can be read", () => {
    const beginnings = [udp(ends4), udp(ends6)].map((bytes) => bytes.subarray(0, 60));
    fc.assert(
      fc.property(
        fc.constantFrom(...beginnings),
        fc.array(fc.tuple(fc.nat(59), fc.nat(255)), { maxLength: 6 }),
        fc.nat(60),
        (beginning, changes, length) => {
          const bytes = Buffer.from(beginning);
          for (const [at, value] of changes) bytes[at] = value;
          const answer = buildTooBig(bytes.subarray(0, length), router);
          if (answer !== undefined) assert.ok(!parsePacket(answer).malformed);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
