/** A decision as the switch understands it: the way in registers, and the entry that spares later packets the trip. */
import { canonicalFlow, flowModFrame, type Flow, type Match } from "@beyondfabric/openflow";
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
import { destinationIn, ipType, sourceIn } from "../match.ts";
import { defineFlow, tables } from "../pipeline.ts";
import { flowKey } from "../reconcile.ts";
import {
  editionOf,
  lookAtMark,
  hasStanding,
  narrowBit,
  sourceClass,
  unset,
  verdictCode,
  wayActions,
  type SourceClass,
  type WayRegisters,
} from "../registers.ts";
import { standing } from "../tracking.ts";
import { guardedEntries, type GuardedEntry, type VerdictMarks } from "./guarded.ts";
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

/** The table where the verdicts about packets are found that came in this way. */
export function verdictTable(from: SourceClass): "egress" | "ingress" {
  return from === "tunnel" || from === "uplink" ? "ingress" : "egress";
}

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
  const way = wayOf(decision);
  const place = {
    table: verdictTable(question.from),
    priority: isExact(decision.cube) ? exactPriority : widePriority,
    match: matchOf(question, decision.cube),
    way: wayActions(way),
    goto: way.reg4 === narrowBit ? ("fit" as const) : ("forward" as const),
  };
  return guardedEntries(place, decision.guard, id, marks);
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

/** How packets come in: what an entry must match besides their addresses. */
type CameBy = Pick<Question, "from" | "tunnelSource" | "segment">;

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

function matchOf({ from, tunnelSource, segment }: CameBy, { source, destination }: Cube): Match {
  return [
    { field: "reg0", value: BigInt(sourceClass[from]), mask: 0xfn },
    ...(tunnelSource === undefined ? [] : [{ field: "tun_src" as const, value: ipToBigInt(tunnelSource) }]),
    ...(segment === undefined ? [] : [{ field: "reg1" as const, value: BigInt(segment) }]),
    ipType(source.address),
    ...sourceIn(source),
    ...destinationIn(destination),
  ];
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
  const classNumber = fieldValue(flow.match, "reg0");
  const from = (Object.keys(sourceClass) as SourceClass[]).find((name) => BigInt(sourceClass[name]) === classNumber);
  const ipv4 = fieldValue(flow.match, "eth_type") === 0x0800n;
  const family = ipv4 ? 4 : 6;
  const source = prefixOf(flow.match, ipv4 ? "ip_src" : "ipv6_src", family);
  const destination = prefixOf(flow.match, ipv4 ? "ip_dst" : "ipv6_dst", family);
  const registers = loadedRegisters(flow);
  const code = registers.get("reg5");
  if (from === undefined || source === undefined || destination === undefined || code === undefined) return undefined;
  if (flow.table !== tables[verdictTable(from)].id) return undefined;
  const tunnel = fieldValue(flow.match, "tun_src");
  const segment = fieldValue(flow.match, "reg1");
  if ((tunnel === undefined) === (from === "tunnel") || (segment === undefined) === (from === "uplink"))
    return undefined;
  const way = wayFromRegisters(Number(code), registers);
  if (way === undefined) return undefined;
  const common = {
    cube: { source, destination },
    reason: "facts-incomplete",
    explanation: "taken over from the switch",
    dependsOn: [`address:${source.address}`, `address:${destination.address}`, "subnets", "blocks", "complete"],
  } as const;
  return {
    id: cookie.id,
    edition: editionIn(flow),
    question: {
      from,
      source: source.address,
      destination: destination.address,
      ...(tunnel === undefined ? {} : { tunnelSource: ipFromBigInt(tunnel, 4) }),
      ...(segment === undefined ? {} : { segment: Number(segment) }),
    },
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

function fieldValue(match: Match, name: string): bigint | undefined {
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
