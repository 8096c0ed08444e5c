/** One VLAN under examination, on a wire made of frames: what is asked, and what each answer is taken for. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  buildArp,
  buildEcho,
  buildEthernet,
  buildIpv4,
  buildIpv6,
  etherType,
  icmpv6Type,
  ipProtocol,
  parsePacket,
  type Packet,
} from "@beyondfabric/packet";
import type { WireObservation } from "../../src/underlay/diagnosis.ts";
import { strangerMac, WireExamination, type ExaminedWire } from "../../src/underlay/examination.ts";

const nicMac = "02:fa:04:00:00:01";
const router = "02:fa:01:00:00:01";
const other = "02:fa:03:00:00:01";
const core = { pod: "bank/core", subnet: "vlan30", mac: "0a:58:0a:1e:00:32", addresses: ["10.30.0.50"] };
const wire: ExaminedWire = {
  vlan: 30,
  subnets: [{ name: "vlan30", gateways: ["10.30.0.1"] }],
  pods: [{ ...core, neighbours: [{ address: "10.30.0.1", mac: other }] }],
};

/** Runs an examination in no time; `answers` is asked about every frame that goes out. */
async function examined(
  answers: (asked: Packet) => readonly Buffer[],
): Promise<{ seen: WireObservation; asked: Packet[] }> {
  let now = 0;
  const asked: Packet[] = [];
  const examination: WireExamination = new WireExamination({
    wire,
    nicMac,
    transaction: 0x12345678,
    now: () => now,
    sleep: (milliseconds) => {
      now += milliseconds;
      return Promise.resolve();
    },
    transmit: (frames) => {
      for (const frame of frames) {
        const packet = parsePacket(frame);
        asked.push(packet);
        now += 1;
        for (const answer of answers(packet)) examination.hear(parsePacket(answer), answer);
      }
    },
  });
  return { seen: await examination.run(), asked };
}

const isGatewayQuestion = ({ arpTpa }: Packet): boolean => arpTpa === "10.30.0.1";
const arpReply = ({ ethSrc }: Packet): Buffer =>
  buildEthernet(
    { src: router, dst: ethSrc, etherType: etherType.arp },
    buildArp({ operation: "reply", senderMac: router, senderIp: "10.30.0.1", targetMac: ethSrc, targetIp: "0.0.0.0" }),
  );
const echoReply = (to: string, id: number): Buffer => {
  const ends = { src: "10.30.0.1", dst: "10.30.0.50" };
  const packet = buildIpv4(
    { ...ends, protocol: ipProtocol.icmp },
    buildEcho({ ...ends, reply: true, id, sequence: 1 }),
  );
  return buildEthernet({ src: router, dst: to, etherType: etherType.ipv4 }, packet);
};

describe("the examination of a VLAN", () => {
  it("asks a silent gateway three times under both MACs, and then gives up", async () => {
    const { seen, asked } = await examined(() => []);
    const questions = asked.filter(isGatewayQuestion);
    assert.deepEqual(
      questions.map(({ ethSrc, arpSpa }) => `${ethSrc} ${arpSpa}`),
      [1, 2, 3].flatMap(() => [`${nicMac} 0.0.0.0`, `${strangerMac(nicMac)} 0.0.0.0`]),
    );
    assert.deepEqual(seen.gateways, [{ subnet: "vlan30", address: "10.30.0.1", answersStrangers: false }]);
    assert.equal(asked.filter(({ ipProto }) => ipProto === ipProtocol.icmp).length, 0, "no echo without a MAC");
    assert.deepEqual(seen.stale, [], "nobody knows better than the pod");
  });

  it("knows the gateway by its answer, and what the pod's table and the gateway's say instead", async () => {
    const { seen } = await examined((packet) => {
      if (isGatewayQuestion(packet)) return [arpReply(packet)];
      if (packet.ipProto !== ipProtocol.icmp) return [];
      assert.deepEqual([packet.ethSrc, packet.ethDst], [core.mac, router]);
      return [echoReply(other, packet.icmpId), echoReply(core.mac, packet.icmpId), echoReply(nicMac, 1)];
    });
    const gateway = { subnet: "vlan30", address: "10.30.0.1", mac: router, roundTrip: 1, answersStrangers: true };
    assert.deepEqual(seen.gateways, [gateway]);
    assert.deepEqual(seen.stale, [
      { holder: "gateway 10.30.0.1", address: "10.30.0.50", mac: other, owner: core.mac },
      { holder: "Pod bank/core", address: "10.30.0.1", mac: other, owner: router },
    ]);
  });

  it("tells strangers that are not answered from those that are", async () => {
    const { seen } = await examined((packet) =>
      isGatewayQuestion(packet) && packet.ethSrc === nicMac ? [arpReply(packet)] : [],
    );
    assert.deepEqual([seen.gateways[0]?.mac, seen.gateways[0]?.answersStrangers], [router, false]);
  });

  it("hears each router once that announces itself when it is asked", async () => {
    const { seen } = await examined((packet) => {
      if (packet.icmpType !== icmpv6Type.routerSolicitation) return [];
      assert.deepEqual([packet.ipDst, packet.ipTtl], ["ff02::2", 255]);
      const message = Buffer.alloc(16);
      message[0] = icmpv6Type.routerAdvertisement;
      const ends = { src: "fe80::9", dst: "ff02::1" };
      const advertisement = buildIpv6({ ...ends, protocol: ipProtocol.icmpv6, ttl: 255 }, message);
      return [buildEthernet({ src: other, dst: "33:33:00:00:00:01", etherType: etherType.ipv6 }, advertisement)];
    });
    assert.deepEqual(seen.routers, [{ address: "fe80::9", mac: other }]);
  });

  it("counts a duplicate once however often it speaks", async () => {
    const examination = new WireExamination({
      wire,
      nicMac,
      transaction: 1,
      now: () => 0,
      sleep: () => Promise.resolve(),
      transmit: () => {},
    });
    const run = examination.run();
    for (let time = 0; time < 3; time++) examination.conflict("bank/core", "10.30.0.50", other);
    assert.deepEqual((await run).duplicates, [{ pod: "bank/core", address: "10.30.0.50", mac: other }]);
  });
});
