import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { buildArp, buildEthernet, buildGratuitousArp, buildUnsolicitedAdvertisement } from "@beyondfabric/packet";
import { forgeryOf, forgeryReasons } from "../src/index.ts";
import { buildIp, buildUdp, etherType } from "@beyondfabric/packet";

const mac = "0a:58:0a:f4:01:05";
const other = "0a:66:66:66:66:66";
const router = "0e:fa:b0:00:00:01";

const ethernet = (type: number, payload: Uint8Array, src = mac, vlans: readonly number[] = []): Buffer =>
  buildEthernet({ src, dst: router, etherType: type, vlans }, payload);
const udp = (src: string, dst: string, srcPort: number, dstPort: number): Buffer =>
  buildIp({ src, dst, protocol: 17 }, buildUdp({ src, dst, srcPort, dstPort }));

const cases: readonly (readonly [frame: Buffer, reason: string, claim: string])[] = [
  [ethernet(etherType.ipv4, udp("10.244.1.6", "10.244.2.7", 1, 2)), "ip", "source 10.244.1.6"],
  [ethernet(etherType.ipv6, udp("fd00::6", "fd00::7", 1, 2)), "ip", "source fd00::6"],
  [ethernet(etherType.ipv4, udp("10.244.1.5", "10.244.2.7", 1, 2), other), "mac", `MAC ${other}`],
  [ethernet(etherType.ipv4, udp("10.244.1.5", "10.244.2.7", 1, 2), mac, [0xe028]), "vlan", "VLAN 40"],
  [ethernet(etherType.ipv4, udp("10.244.1.5", "10.244.2.7", 67, 68)), "dhcp", "a DHCP answer from 10.244.1.5"],
  [ethernet(etherType.ipv6, udp("fd00::5", "fd00::7", 547, 546)), "dhcp", "a DHCP answer from fd00::5"],
  // A relay that speaks to a server, or a client, is none.
  [ethernet(etherType.ipv4, udp("10.244.1.6", "10.244.2.7", 67, 67)), "ip", "source 10.244.1.6"],
  [ethernet(etherType.ipv4, udp("10.244.1.6", "10.244.2.7", 547, 546)), "ip", "source 10.244.1.6"],
  [buildGratuitousArp(mac, "10.244.0.1"), "arp", `10.244.0.1 at ${mac}`],
  [
    ethernet(
      etherType.arp,
      buildArp({ operation: "reply", senderMac: other, senderIp: "10.244.1.5", targetIp: "10.244.2.7" }),
    ),
    "arp",
    `10.244.1.5 at ${other}`,
  ],
  [buildUnsolicitedAdvertisement(mac, "fd00::1"), "nd", `fd00::1 at ${mac}`],
  [ethernet(0x88b5, Buffer.alloc(46)), "protocol", "Ethernet type 0x88b5"],
  [Buffer.alloc(3), "mac", "MAC "],
];

for (const [frame, reason, claim] of cases) {
  test(`${reason}: ${claim}`, () => assert.deepEqual(forgeryOf(frame, { mac }), { reason, claim }));
}

test("whatever a pod sends, the agent says something short about it", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0x0800, 0x0806, 0x86dd, 0x8100), (bytes, type) => {
      const { reason, claim } = forgeryOf(buildEthernet({ src: mac, dst: router, etherType: type }, bytes), { mac });
      assert.ok(forgeryReasons.includes(reason));
      assert.ok(claim.length < 150 && /^[\x20-\x7e]*$/.test(claim), claim);
    }),
  );
});
