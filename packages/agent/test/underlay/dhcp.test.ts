import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { buildEthernet, buildIpv4, buildUdp, etherType, ipProtocol, parsePacket } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { discoverFrame, offerIn, type DhcpOffer } from "../../src/underlay/dhcp.ts";

const mac = "02:fa:01:00:00:02";
const server = "02:fa:03:00:00:01";
const transaction = 0xfedcba98;

/** The message of a discovery: behind Ethernet, IP and UDP. */
const discover = discoverFrame(mac, transaction).subarray(42);

function reply(options: readonly number[], change: (message: Buffer) => void = () => {}): Buffer {
  const message = Buffer.from(discover.subarray(0, 240 + options.length));
  message[0] = 2;
  message.set([10, 30, 0, 77], 16);
  message.set(options, 240);
  change(message);
  const between = { src: "10.30.0.9", dst: "255.255.255.255" };
  const udp = buildUdp({ ...between, srcPort: 67, dstPort: 68 }, message);
  const packet = buildIpv4({ ...between, protocol: ipProtocol.udp }, udp);
  return buildEthernet({ src: server, dst: "ff:ff:ff:ff:ff:ff", etherType: etherType.ipv4, vlans: [30] }, packet);
}

const offered = (frame: Buffer): DhcpOffer | undefined => offerIn(parsePacket(frame), frame, transaction);

describe("DHCP discovery", () => {
  it("asks as a client that has no address, and wants its answers as broadcasts", () => {
    const frame = discoverFrame(mac, transaction);
    const packet = parsePacket(frame);
    assert.deepEqual(
      [packet.ethSrc, packet.ethDst, packet.ipSrc, packet.ipDst, packet.srcPort, packet.dstPort, packet.malformed],
      [mac, "ff:ff:ff:ff:ff:ff", "0.0.0.0", "255.255.255.255", 68, 67, false],
    );
    assert.equal(discover.readUInt32BE(4), transaction);
    assert.equal(discover.readUInt16BE(10), 0x8000);
    assert.equal(discover.subarray(28, 34).toString("hex"), mac.replaceAll(":", ""));
    assert.deepEqual([...discover.subarray(236, 244)], [0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
  });

  it("reads an offer: who makes it, what of, and whose frame it is", () => {
    const offer = { server: "10.30.0.1", mac: server, address: "10.30.0.77" };
    assert.deepEqual(offered(reply([0, 53, 1, 2, 54, 4, 10, 30, 0, 1, 255])), offer);
    assert.deepEqual(offered(reply([53, 1, 2, 255])), { ...offer, server: "10.30.0.9" }, "without a server identifier");
  });

  it("takes nothing else for an offer", () => {
    assert.equal(offered(reply([53, 1, 5, 255])), undefined, "an acknowledgement");
    assert.equal(offered(reply([255, 53, 1, 2])), undefined, "behind the end");
    assert.equal(offered(reply([53, 9, 2])), undefined, "cut short");
    assert.equal(offered(reply([53, 1, 2, 255], (message) => message.writeUInt32BE(1, 4))), undefined, "another's");
    assert.equal(offered(discoverFrame(mac, transaction)), undefined, "its own question");
  });

  it("reads whatever bytes without failing", () => {
    const sound = reply([53, 1, 2, 54, 4, 10, 30, 0, 1, 255]);
    fc.assert(
      fc.property(fc.nat(sound.length), fc.uint8Array({ maxLength: 40 }), (at, noise) => {
        const frame = Buffer.concat([sound.subarray(0, at), noise]);
        offerIn(parsePacket(frame), frame, transaction);
      }),
    );
  });
});
