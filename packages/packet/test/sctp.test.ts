import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  buildEthernet,
  buildIp,
  buildSctp,
  etherType,
  ipProtocol,
  opensAssociation,
  parsePacket,
} from "../src/index.ts";
import { sctpChunk } from "../src/index.ts";

const ends = {
  4: { src: "10.244.1.5", dst: "10.244.2.7" },
  6: { src: "fd00:244::1:5", dst: "fd00:244::2:7" },
} as const;
const { init, initAck, data } = sctpChunk;

function opens(family: 4 | 6, sctp: Uint8Array, more = {}): boolean {
  const ip = buildIp({ ...ends[family], protocol: ipProtocol.sctp, ...more }, sctp);
  const type = family === 4 ? etherType.ipv4 : etherType.ipv6;
  const frame = buildEthernet({ src: "0a:58:00:00:00:05", dst: "0e:fa:b0:00:00:01", etherType: type }, ip);
  return opensAssociation(frame, parsePacket(frame));
}

describe("the packet that opens an association", () => {
  const ports = { srcPort: 40_000, dstPort: 9 };
  const packet = buildSctp({ ...ports, chunk: init });

  for (const family of [4, 6] as const) {
    it(`is an INIT, alone and without a tag, over IPv${family}`, () => {
      assert.ok(opens(family, packet));
      assert.ok(!opens(family, buildSctp({ ...ports, chunk: initAck })));
      assert.ok(!opens(family, buildSctp({ ...ports, chunk: data, tag: 0 })));
      assert.ok(!opens(family, buildSctp({ ...ports, chunk: init, tag: 1 })));
      assert.ok(!opens(family, Buffer.concat([packet, packet.subarray(12)])), "another chunk behind it");
      assert.ok(!opens(family, packet.subarray(0, 28)), "cut short");
      assert.ok(!opens(family, buildSctp({ srcPort: 0, dstPort: 9, chunk: init })), "from no port");
      assert.ok(!opens(family, buildSctp({ srcPort: 40_000, dstPort: 0, chunk: init })), "to no port");
      assert.ok(!opens(family, packet, { protocol: ipProtocol.udp }));
    });

    it(`may have parameters, filled up to four bytes, over IPv${family}`, () => {
      const longer = Buffer.concat([packet, Buffer.of(0x80, 0x08, 0, 5, 0xc0, 0, 0, 0)]);
      longer.writeUInt16BE(25, 14);
      assert.ok(opens(family, longer));
      longer.writeUInt16BE(20, 14);
      assert.ok(!opens(family, longer), "bytes that belong to no chunk");
    });
  }

  it("is none that is a fragment", () => {
    assert.ok(!opens(4, packet, { identification: 7, moreFragments: true, fragmentOffset: 0 }));
    assert.ok(!opens(4, packet, { identification: 7, moreFragments: false, fragmentOffset: 8 }));
  });

  it("is read without an error from any bytes", () => {
    const prefix = buildEthernet(
      { src: "0a:58:00:00:00:05", dst: "0e:fa:b0:00:00:01", etherType: etherType.ipv4 },
      buildIp({ ...ends[4], protocol: ipProtocol.sctp }, packet),
    );
    fc.assert(
      fc.property(fc.nat(prefix.length), fc.uint8Array({ maxLength: 80 }), (kept, rest) => {
        const frame = Buffer.concat([prefix.subarray(0, kept), rest]);
        opensAssociation(frame, parsePacket(frame));
      }),
      { numRuns: 2000 },
    );
  });
});
