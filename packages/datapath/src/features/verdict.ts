/** A decision as the switch understands it: the way in registers, and the entry that spares later packets the trip. */
import { canonicalFlow, flowModFrame, type Flow } from "@beyondfabric/openflow";
import {
  ipFamily,
  ipFromBigInt,
  ipToBigInt,
  macFromBigInt,
  macToBigInt,
  type Cidr,
  type Ip,
} from "@beyondfabric/packet";
import { decodeCookie, encodeCookie, isVerdictKind } from "../cookie.ts";
import type { Cube, Decision, Question, Way } from "../decision.ts";
import { defineFlow, tables } from "../pipeline.ts";
import { flowKey } from "../reconcile.ts";
import {
  editionOf,
  lookAtMark,
  hasStanding,
  narrowBit,
  unset,
  verdictCode,
  wayActions,
  type WayRegisters,
} from "../registers.ts";
import { standing } from "../tracking.ts";
import { associationFlow, type AssociationEnd } from "./association.ts";
import { guardedEntries, type GuardedEntry, type GuardedPlace, type VerdictMarks } from "./guarded.ts";
import { cameByMatch, matchedBy, matchOf, verdictTable, type CameBy } from "./verdict-match.ts";
import { exactVerdictFrame, type ExactVerdict, type VerdictCommand } from "./verdict-frame.ts";

export type Settled = Exclude<Decision, { verdict: "hold" }>;

/** The registers that carry a decision. */
export function wayOf(decision: Settled): WayRegisters {
  const nothing = { reg2: 0, reg3: 0, reg4: unset };
  if (decision.verdict === "deny") return { ...nothing, code: verdictCode.deny };
  const { way } = decision;
  switch (way.kind) {
    case "host":
      return { ...nothing, code: verdictCode.host };
    case "local":
      return { ...nothing, code: verdictCode.local, reg4: way.narrow === true ? narrowBit : unset };
    case "tunnel":
      return {
        code: verdictCode.tunnel,
        reg2: way.vni,
        reg3: Number(ipToBigInt(way.destination)),
        reg4: way.narrow === true ? narrowBit : unset,
      };
    case "uplink": {
      if (way.mac === undefined) return { ...nothing, code: verdictCode.uplink, reg3: way.segment };
      const mac = macToBigInt(way.mac);
      return {
        code: verdictCode.uplinkTo,
        reg2: Number(mac & 0xffff_ffffn),
        reg3: way.segment,
        reg4: Number(mac >> 32n),
      };
    }
  }
}

/** Entries about one exact pair stand above those about prefixes. */
const exactPriority = 200;
const widePriority = 100;

/**
 * The entries of a verdict: one, or a few when it has a guard.
 * @param question how its packets come in: the class, the tunnel's far end, the wire
 * @param id number of the verdict in the agent's table; it goes into the cookie
 * @param marks what tells them from those of another verdict about the same packets
 */
export function verdictFlows(decision: Settled, question: CameBy, id: number, marks: VerdictMarks): Flow[] {
  return verdictEntries(decision, question, id, marks).map(({ flow }) => flow);
}

/** As {@link verdictFlows}, with what the counters of each tell. */
export function verdictEntries(decision: Settled, question: CameBy, id: number, marks: VerdictMarks): GuardedEntry[] {
  if (decision.verdict === "deny" || decision.guard === undefined) {
    return [{ flow: verdictFlow(decision, question, id, marks.edition) }];
  }
  const place = {
    ...wayPlace(decision, question),
    priority: isExact(decision.cube) ? exactPriority : widePriority,
    match: matchOf(question, decision.cube),
  };
  const { associations = [], edition } = marks;
  return [
    ...guardedEntries(place, decision.guard, id, marks),
    ...Array.from(associations, (end) => ({ flow: associationEntry(decision, question, id, edition, end) })),
  ];
}

/** The entry of one direction of an association of SCTP, under the verdict of that direction. */
export function associationEntry(
  decision: Settled,
  question: CameBy,
  id: number,
  edition: number,
  end: AssociationEnd,
): Flow {
  const { way, ...place } = wayPlace(decision, question);
  const actions = [lookAtMark("pass", edition), ...way];
  return associationFlow({ ...place, way: actions, match: cameByMatch(question) }, end, id);
}

function wayPlace(decision: Settled, { from }: CameBy): Pick<GuardedPlace, "table" | "way" | "goto"> {
  const way = wayOf(decision);
  return { table: verdictTable(from), way: wayActions(way), goto: way.reg4 === narrowBit ? "fit" : "forward" };
}

/**
 * The one entry of a verdict without a guard.
 * @param question how its packets come in: the class, the tunnel's far end, the wire
 * @param id number of the verdict in the agent's table; it goes into the cookie
 */
export function verdictFlow(decision: Settled, question: CameBy, id: number, edition: number): Flow {
  const priority = isExact(decision.cube) ? exactPriority : widePriority;
  return entry(priority, question, decision.cube, wayOf(decision), encodeCookie(kindOf(decision), id), edition);
}

function exactVerdictFlow(verdict: ExactVerdict): Flow {
  const { source, destination, way, kind, id, edition } = verdict;
  const cube = { source: hostPrefix(source), destination: hostPrefix(destination) };
  return entry(exactPriority, verdict, cube, way, encodeCookie(kind, id), edition);
}

function entry(priority: number, cameBy: CameBy, cube: Cube, way: WayRegisters, cookie: bigint, edition: number): Flow {
  // A refusal holds whatever conntrack knows; what passes without a guard passes untracked only.
  const tracking = way.code === verdictCode.deny ? [] : [hasStanding("untracked")];
  return defineFlow({
    table: verdictTable(cameBy.from),
    priority,
    cookie,
    match: [...matchOf(cameBy, cube), ...tracking],
    actions: [way.code === verdictCode.deny ? lookAtMark("refuse") : lookAtMark("pass", edition), ...wayActions(way)],
    goto: way.reg4 === narrowBit ? "fit" : "forward",
  });
}

/** Whether a cube is about one pair of addresses. */
export function isExact({ source, destination }: Cube): boolean {
  const width = source.family === 4 ? 32 : 128;
  return source.length === width && destination.length === width;
}

function hostPrefix(address: Ip): Cidr {
  const family = ipFamily(address);
  return { family, address, length: family === 4 ? 32 : 128 };
}

function kindOf(decision: Settled): "verdict" | "refusal" {
  return decision.verdict === "deny" ? "refusal" : "verdict";
}

/** A flow-mod about a verdict, and the key of the entry that it is about. */
export interface VerdictMod {
  readonly frame: Buffer;
  /** As `flowKey` of the entry; costs more than the frame, and is asked for only where entries wait in a queue. */
  readonly key: string;
}

/** A flow-mod about any entry. */
export function flowModOf(command: VerdictCommand, flow: Flow): VerdictMod {
  return { frame: flowModFrame(command, flow, 0), key: flowKey(flow) };
}

/** The flow-mod about the one entry of a verdict without a guard. */
export function flowModFor(
  command: VerdictCommand,
  question: Question,
  decision: Settled,
  id: number,
  edition: number,
): VerdictMod {
  const flow = (): Flow => verdictFlow(decision, question, id, edition);
  return {
    frame: isExact(decision.cube)
      ? exactFrame(command, question, decision, id, edition)
      : flowModFrame(command, flow(), 0),
    get key() {
      return flowKey(flow());
    },
  };
}

function exactFrame(
  command: VerdictCommand,
  question: Question,
  decision: Settled,
  id: number,
  edition: number,
): Buffer {
  const { source, destination } = decision.cube;
  return exactVerdictFrame(
    command,
    {
      ...question,
      source: source.address,
      destination: destination.address,
      way: wayOf(decision),
      kind: kindOf(decision),
      id,
      edition,
    },
    exactVerdictFlow,
  );
}

/** Whether an entry is one of a verdict with a guard: it says too little to read the verdict back from it. */
export function isGuardedFlow(flow: Flow): boolean {
  if (flow.table === tables.known.id || flow.table === tables.label.id) return true;
  // A switch reports registers in pairs.
  const { match } = canonicalFlow(flow);
  return match.some((field) => field.field === "reg8" && field.value !== BigInt(standing.untracked));
}

/**
 * Reads a verdict without a guard back out of an entry of the switch. Undefined when the entry is not one that
 * {@link verdictFlows} of this format writes for such a verdict.
 */
export function verdictFromFlow(
  installed: Flow,
): { id: number; question: Question; decision: Settled; edition: number } | undefined {
  const flow = canonicalFlow(installed);
  const cookie = decodeCookie(flow.cookie);
  if (cookie === undefined || !isVerdictKind(cookie.kind)) return undefined;
  if (flow.table !== tables.egress.id && flow.table !== tables.ingress.id) return undefined;
  if (isGuardedFlow(flow)) return undefined;
  const about = matchedBy(flow);
  const registers = loadedRegisters(flow);
  const code = registers.get("reg5");
  if (about === undefined || code === undefined) return undefined;
  const { cameBy, cube } = about;
  const { source, destination } = cube;
  const way = wayFromRegisters(Number(code), registers);
  if (way === undefined) return undefined;
  const common = {
    cube,
    reason: "facts-incomplete",
    explanation: "taken over from the switch",
    dependsOn: [`address:${source.address}`, `address:${destination.address}`, "subnets", "blocks", "complete"],
  } as const;
  return {
    id: cookie.id,
    edition: editionIn(flow),
    question: { ...cameBy, source: source.address, destination: destination.address },
    decision: way === "deny" ? { ...common, verdict: "deny" } : { ...common, verdict: "allow", way },
  };
}

function wayFromRegisters(code: number, registers: ReadonlyMap<string, bigint>): Way | "deny" | undefined {
  const [reg2, reg3, reg4] = [registers.get("reg2"), registers.get("reg3"), registers.get("reg4")];
  const narrow = reg4 === BigInt(narrowBit) ? ({ narrow: true } as const) : {};
  switch (code) {
    case verdictCode.local:
      return { kind: "local", ...narrow };
    case verdictCode.host:
      return { kind: "host" };
    case verdictCode.deny:
      return "deny";
    case verdictCode.tunnel:
      if (reg3 === undefined || reg2 === undefined) return undefined;
      return { kind: "tunnel", destination: ipFromBigInt(reg3, 4), vni: Number(reg2), ...narrow };
    case verdictCode.uplink:
      return reg3 === undefined ? undefined : { kind: "uplink", segment: Number(reg3) };
    case verdictCode.uplinkTo:
      if (reg2 === undefined || reg3 === undefined || reg4 === undefined || reg4 >> 16n !== 0n) return undefined;
      return { kind: "uplink", segment: Number(reg3), mac: macFromBigInt((reg4 << 32n) | reg2) };
    default:
      return undefined;
  }
}

function editionIn(flow: Flow): number {
  const actions = flow.instructions.flatMap((each) => (each.type === "apply_actions" ? each.actions : []));
  return actions.map(editionOf).find((edition) => edition !== undefined) ?? 0;
}

function loadedRegisters(flow: Flow): Map<string, bigint> {
  const registers = new Map<string, bigint>();
  for (const instruction of flow.instructions) {
    if (instruction.type !== "apply_actions") continue;
    for (const action of instruction.actions) {
      if (action.type === "load") registers.set(action.dst.field, action.value);
      else if (action.type === "set_field") registers.set(action.field, action.value);
    }
  }
  return registers;
}
