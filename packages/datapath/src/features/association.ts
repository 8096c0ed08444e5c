/**
 * The entries of an association of SCTP whose ports conntrack does not tell: one in each direction, exact in addresses and
 * ports, under the verdict of its direction. What the packets of neither pair with goes to the agent.
 */
import { canonicalFlow, type Action, type Flow, type Match } from "@beyondfabric/openflow";
import { ipProtocol, type Ip } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { Question } from "../decision.ts";
import type { PairDirection } from "../judgement.ts";
import { destinationIn, ipType, sourceIn } from "../match.ts";
import { defineFlow, tables, type TableName } from "../pipeline.ts";
import { hasStanding } from "../registers.ts";
import { fieldValue, matchedBy } from "./verdict-match.ts";

/** One direction of an association. */
export interface AssociationEnd {
  /** Whether it is the direction of the INIT that opened the association, or that of its answers. */
  readonly direction: PairDirection;
  readonly source: Ip;
  readonly destination: Ip;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** Above everything else about a pair. Who opened the association is read back from it after a restart. */
const priorities: Readonly<Record<PairDirection, number>> = { there: 220, back: 221 };

/** What the entries of one verdict have in common. */
export interface AssociationPlace {
  readonly table: Extract<TableName, "egress" | "ingress">;
  /** How its packets come in. */
  readonly match: Match;
  readonly way: readonly Action[];
  readonly goto: Extract<TableName, "fit" | "forward">;
}

/** @param id number of the verdict */
export function associationFlow(place: AssociationPlace, end: AssociationEnd, id: number): Flow {
  const { table, match, way, goto } = place;
  return defineFlow({
    table,
    priority: priorities[end.direction],
    cookie: encodeCookie("verdict", id),
    match: [
      ...match,
      ipType(end.source),
      ...sourceIn(end.source),
      ...destinationIn(end.destination),
      hasStanding("doubtful"),
      { field: "ip_proto", value: BigInt(ipProtocol.sctp) },
      { field: "sctp_src", value: BigInt(end.sourcePort) },
      { field: "sctp_dst", value: BigInt(end.destinationPort) },
    ],
    actions: way,
    goto,
  });
}

/** Reads one direction of an association back out of an entry of the switch; undefined when it is no such entry. */
export function associationFromFlow(installed: Flow): { question: Question; end: AssociationEnd } | undefined {
  const direction = (["there", "back"] as const).find((each) => priorities[each] === installed.priority);
  if (direction === undefined) return undefined;
  if (installed.table !== tables.egress.id && installed.table !== tables.ingress.id) return undefined;
  const flow = canonicalFlow(installed);
  const [sourcePort, destinationPort] = [fieldValue(flow.match, "sctp_src"), fieldValue(flow.match, "sctp_dst")];
  const about = matchedBy(flow);
  if (about === undefined || sourcePort === undefined || destinationPort === undefined) return undefined;
  const [source, destination] = [about.cube.source.address, about.cube.destination.address];
  const ports = { sourcePort: Number(sourcePort), destinationPort: Number(destinationPort) };
  return { question: { ...about.cameBy, source, destination }, end: { direction, source, destination, ...ports } };
}
