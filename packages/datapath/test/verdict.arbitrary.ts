/** Any decision that can become an entry, with a question that it answers. */
import * as fc from "fast-check";
import { addressAt, cidrOf, ipFromBigInt, macFromBigInt, type Cidr, type Ip } from "@beyondfabric/packet";
import { segmentOf, type Question, type Settled } from "../src/index.ts";

export function anyAddress(family: 4 | 6): fc.Arbitrary<Ip> {
  const bits = family === 4 ? 32n : 128n;
  return fc.bigInt({ min: 0n, max: (1n << bits) - 1n }).map((value) => ipFromBigInt(value, family));
}

function anyPrefix(family: 4 | 6): fc.Arbitrary<Cidr> {
  const width = family === 4 ? 32 : 128;
  const length = fc.oneof(fc.constantFrom(0, width), fc.nat({ max: width }));
  return fc.tuple(anyAddress(family), length).map(([address, bits]) => cidrOf(address, bits));
}

const anySegment = fc
  .tuple(fc.integer({ min: 1, max: 99 }), fc.nat({ max: 4094 }))
  .map(([port, vlan]) => segmentOf(port, vlan));
const anyMac = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffffn }).map(macFromBigInt);

type AllowedWay = Extract<Settled, { verdict: "allow" }>["way"];

const anyWay: fc.Arbitrary<AllowedWay | "deny"> = fc.oneof(
  fc.constant("deny" as const),
  fc.constantFrom<AllowedWay>({ kind: "local" }, { kind: "local", narrow: true }, { kind: "host" }),
  fc.record(
    {
      kind: fc.constant("tunnel" as const),
      destination: anyAddress(4),
      vni: fc.nat({ max: 0xff_ffff }),
      narrow: fc.constant(true as const),
    },
    { requiredKeys: ["kind", "destination", "vni"] },
  ),
  fc.record(
    { kind: fc.constant("uplink" as const), segment: anySegment, mac: anyMac },
    { requiredKeys: ["kind", "segment"] },
  ),
);

export interface Answered {
  readonly question: Question;
  readonly decision: Settled;
}

export const anyAnswered: fc.Arbitrary<Answered> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) =>
    fc.record({
      from: fc.constantFrom("pod" as const, "host" as const, "tunnel" as const, "uplink" as const),
      source: anyPrefix(family),
      destination: anyPrefix(family),
      tunnelSource: anyAddress(4),
      segment: anySegment,
      way: anyWay,
    }),
  )
  .map(({ from, source, destination, tunnelSource, segment, way }) => {
    const common = {
      cube: { source, destination },
      reason: "to-outside",
      explanation: "drawn by lot",
      dependsOn: ["subnets"],
    } as const;
    return {
      question: {
        from,
        source: addressAt(source, 0n),
        destination: addressAt(destination, 0n),
        ...(from === "tunnel" ? { tunnelSource } : {}),
        ...(from === "uplink" ? { segment } : {}),
      },
      decision: way === "deny" ? { ...common, verdict: "deny" } : { ...common, verdict: "allow", way },
    };
  });
