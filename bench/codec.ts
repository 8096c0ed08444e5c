/**
 * Times the codec's hot paths, per operation: `node bench/codec.ts [SECONDS_PER_CASE]`. Each figure is the median of
 * eleven rounds after a warm-up, in microseconds.
 */
import {
  buildEthernet,
  buildIp,
  buildUdp,
  etherType,
  ipFromBytes,
  ipProtocol,
  parsePacket,
} from "@beyondfabric/packet";
import { cidrOf, ipFromBigInt, ipToBytes, PrefixMap } from "@beyondfabric/packet";
import { decodeMessage, encodeMessage, flowModFrame, packetInView, resumeView } from "@beyondfabric/openflow";
import type { Flow } from "@beyondfabric/openflow";

const ROUNDS = 11;
const seconds = Number(process.argv[2] ?? 0.5);

function measure(name: string, operation: (i: number) => unknown): void {
  let sink: unknown;
  let count = 1000;
  const time = (n: number): number => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < n; i++) sink = operation(i);
    return Number(process.hrtime.bigint() - start) / 1000;
  };
  // Warm-up finds out how many operations fill a round.
  for (let spent = 0; spent < (seconds * 1e6) / ROUNDS; count *= 2) spent = time(count);
  const samples = Array.from({ length: ROUNDS }, () => time(count / 2) / (count / 2)).sort((a, b) => a - b);
  console.log(
    `${name.padEnd(48)} ${samples[ROUNDS >> 1]!.toFixed(3)} µs (${samples[0]!.toFixed(3)} to ${samples[ROUNDS - 1]!.toFixed(3)})`,
  );
  if (sink === measure) throw new Error("unreachable: keeps the results alive");
}

const addresses = { src: "10.244.1.5", dst: "10.244.2.9" };
const udp = buildUdp({ ...addresses, srcPort: 4000, dstPort: 53 }, Buffer.alloc(16));
const packet = buildEthernet(
  { src: "0a:58:00:00:00:01", dst: "0a:58:00:00:00:02", etherType: etherType.ipv4 },
  buildIp({ ...addresses, protocol: ipProtocol.udp }, udp),
);

const packetIn = encodeMessage(
  {
    type: "packet_in2",
    packet: new Uint8Array(packet),
    table: 50,
    cookie: 0xbf01_0100_0000_0001n,
    reason: "action",
    metadata: [
      { field: "in_port", value: 3n },
      { field: "xreg0", value: 1n << 32n, mask: 0xffff_ffff_ffff_ffffn },
      { field: "xreg1", value: 0xee_0000_00een, mask: 0xffff_ffff_ffff_ffffn },
      { field: "xreg2", value: 0xee_0000_00een, mask: 0xffff_ffff_ffff_ffffn },
    ],
    continuation: new Uint8Array(96),
    userdata: Uint8Array.of(1, 0, 0, 0, 3),
  },
  7,
);

const flow: Flow = {
  table: 50,
  priority: 100,
  cookie: 0xbf01_0300_0000_0001n,
  match: [
    { field: "in_port", value: 3n },
    { field: "eth_type", value: 0x800n },
    { field: "ip_src", value: 0x0af4_0105n },
    { field: "ip_dst", value: 0x0af4_0200n, mask: 0xffff_ffc0n },
  ],
  instructions: [
    {
      type: "apply_actions",
      actions: [
        { type: "load", dst: { field: "reg2", offset: 0, bits: 32 }, value: 1n },
        { type: "load", dst: { field: "reg3", offset: 0, bits: 32 }, value: 0x0a0a_000cn },
        { type: "load", dst: { field: "reg5", offset: 0, bits: 32 }, value: 2n },
      ],
    },
    { type: "goto_table", table: 70 },
  ],
};
const flowMod = flowModFrame("add", flow, 1);

const patches = [
  { xreg: 1, value: 0x1_0a0a_000cn },
  { xreg: 2, value: 0xee_0000_0002n },
];

const prefixes = new PrefixMap<number>();
for (let i = 0n; i < 5000n; i++) prefixes.set(cidrOf(ipFromBigInt(0x0af4_0000n + i * 64n, 4), 26), Number(i));
const destination = ipToBytes("10.244.2.9");

measure("packetInView", () => packetInView(packetIn));
measure("packetInView, registers read, resumed", () => {
  const view = packetInView(packetIn);
  view.readRegister(0);
  view.inPort();
  return resumeView(view, patches);
});
measure("flowModFrame (4 fields, 3 loads, goto)", (i) => flowModFrame("add", flow, i));
measure("decodeMessage of that flow-mod", () => decodeMessage(flowMod));
measure("decodeMessage of that packet-in", () => decodeMessage(packetIn));
measure("parsePacket (UDP in IPv4)", () => parsePacket(packet));
measure("ipFromBytes, IPv4", () => ipFromBytes(packet, 26, 4));
measure("ipFromBytes, IPv6", () => ipFromBytes(packetIn, 16, 6));
measure("PrefixMap.lookupBytes, 5000 prefixes of IPv4", () => prefixes.lookupBytes(destination, 0, 4));
measure("PrefixMap.lookup, 5000 prefixes of IPv4", () => prefixes.lookup("10.244.2.9"));
