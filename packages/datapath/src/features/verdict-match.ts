/** Which packets an entry about a pair or a cube takes: written into its match, and read back from it. */
import type { Flow, Match } from "@beyondfabric/openflow";
import { ipFromBigInt, ipToBigInt, type Cidr } from "@beyondfabric/packet";
import type { Cube, Question } from "../decision.ts";
import { destinationIn, ipType, sourceIn } from "../match.ts";
import { tables } from "../pipeline.ts";
import { sourceClass, type SourceClass } from "../registers.ts";

/** How packets come in: what an entry must match besides their addresses. */
export type CameBy = Pick<Question, "from" | "tunnelSource" | "segment">;

/** The table where the verdicts about packets are found that came in this way. */
export function verdictTable(from: SourceClass): "egress" | "ingress" {
  return from === "tunnel" || from === "uplink" ? "ingress" : "egress";
}

export function matchOf(cameBy: CameBy, { source, destination }: Cube): Match {
  return [...cameByMatch(cameBy), ipType(source.address), ...sourceIn(source), ...destinationIn(destination)];
}

export function cameByMatch({ from, tunnelSource, segment }: CameBy): Match {
  return [
    { field: "reg0", value: BigInt(sourceClass[from]), mask: 0xfn },
    ...(tunnelSource === undefined ? [] : [{ field: "tun_src" as const, value: ipToBigInt(tunnelSource) }]),
    ...(segment === undefined ? [] : [{ field: "reg1" as const, value: BigInt(segment) }]),
  ];
}

/** What {@link matchOf} wrote into an entry; undefined when it is none of these. @param flow in the switch's normal form */
export function matchedBy({ table, match }: Flow): { cameBy: CameBy; cube: Cube } | undefined {
  const classNumber = fieldValue(match, "reg0");
  const from = (Object.keys(sourceClass) as SourceClass[]).find((name) => BigInt(sourceClass[name]) === classNumber);
  const ipv4 = fieldValue(match, "eth_type") === 0x0800n;
  const family = ipv4 ? 4 : 6;
  const source = prefixOf(match, ipv4 ? "ip_src" : "ipv6_src", family);
  const destination = prefixOf(match, ipv4 ? "ip_dst" : "ipv6_dst", family);
  if (from === undefined || source === undefined || destination === undefined) return undefined;
  if (table !== tables[verdictTable(from)].id) return undefined;
  const tunnel = fieldValue(match, "tun_src");
  const segment = fieldValue(match, "reg1");
  if ((tunnel === undefined) === (from === "tunnel") || (segment === undefined) === (from === "uplink"))
    return undefined;
  return {
    cameBy: {
      from,
      ...(tunnel === undefined ? {} : { tunnelSource: ipFromBigInt(tunnel, 4) }),
      ...(segment === undefined ? {} : { segment: Number(segment) }),
    },
    cube: { source, destination },
  };
}

export function fieldValue(match: Match, name: string): bigint | undefined {
  for (const field of match) if (field.field === name && field.field !== "unknown") return field.value;
  return undefined;
}

function prefixOf(match: Match, name: "ip_src" | "ip_dst" | "ipv6_src" | "ipv6_dst", family: 4 | 6): Cidr | undefined {
  const width = family === 4 ? 32 : 128;
  const field = match.find((candidate) => candidate.field === name);
  if (field === undefined) return { family, address: family === 4 ? "0.0.0.0" : "::", length: 0 };
  if (field.field === "unknown") return undefined;
  const address = ipFromBigInt(field.value, family);
  if (field.mask === undefined) return { family, address, length: width };
  const length = field.mask.toString(2).replace(/0+$/, "").length;
  const expected = length === 0 ? 0n : ((1n << BigInt(length)) - 1n) << BigInt(width - length);
  return field.mask === expected ? { family, address, length } : undefined;
}
