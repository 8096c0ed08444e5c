/** A decision as the switch understands it: the way in registers, and the entry that spares later packets the trip. */
import { canonicalFlow, flowModFrame, type Flow, type Match } from "@beyondfabric/openflow";
import { ipFamily, ipFromBigInt, ipToBigInt, type Cidr, type Ip } from "@beyondfabric/packet";
import { decodeCookie, encodeCookie, isVerdictKind } from "../cookie.ts";
import type { Cube, Decision, Question } from "../decide.ts";
import { destinationIn, ipType, sourceIn } from "../match.ts";
import { defineFlow, tables } from "../pipeline.ts";
import { flowKey } from "../reconcile.ts";
import { sourceClass, verdictCode, wayActions, type SourceClass, type Way } from "../registers.ts";
import { exactVerdictFrame, type ExactVerdict, type VerdictCommand } from "./verdict-frame.ts";

export type Settled = Exclude<Decision, { verdict: "hold" }>;

export function wayOf(decision: Settled): Way {
  if (decision.verdict === "deny") return { code: verdictCode.deny, tunnelDestination: 0, vni: 0 };
  if (decision.way.kind === "tunnel") {
    return {
      code: verdictCode.tunnel,
      tunnelDestination: Number(ipToBigInt(decision.way.destination)),
      vni: decision.way.vni,
    };
  }
  return { code: verdictCode[decision.way.kind], tunnelDestination: 0, vni: 0 };
}

/** Entries about one exact pair stand above those about prefixes. */
const exactPriority = 200;
const widePriority = 100;

/**
 * @param id number of the verdict in the agent's table; it goes into the cookie
 * @param tunnelSource outer source address that the verdict is about; tunnel packets only
 */
export function verdictFlow(decision: Settled, from: SourceClass, tunnelSource: Ip | undefined, id: number): Flow {
  const priority = isExact(decision.cube) ? exactPriority : widePriority;
  return entry(priority, from, tunnelSource, decision.cube, wayOf(decision), encodeCookie(kindOf(decision), id));
}

function exactVerdictFlow({ from, source, destination, tunnelSource, way, kind, id }: ExactVerdict): Flow {
  const cube = { source: hostPrefix(source), destination: hostPrefix(destination) };
  return entry(exactPriority, from, tunnelSource, cube, way, encodeCookie(kind, id));
}

function entry(
  priority: number,
  from: SourceClass,
  tunnelSource: Ip | undefined,
  { source, destination }: Cube,
  way: Way,
  cookie: bigint,
): Flow {
  return defineFlow({
    table: from === "tunnel" ? "ingress" : "egress",
    priority,
    cookie,
    match: [
      { field: "reg0", value: BigInt(sourceClass[from]), mask: 0xfn },
      ...(tunnelSource === undefined ? [] : [{ field: "tun_src" as const, value: ipToBigInt(tunnelSource) }]),
      ipType(source.address),
      ...sourceIn(source),
      ...destinationIn(destination),
    ],
    actions: wayActions(way),
    goto: "forward",
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

export function flowModFor(command: VerdictCommand, question: Question, decision: Settled, id: number): VerdictMod {
  const flow = (): Flow => verdictFlow(decision, question.from, question.tunnelSource, id);
  return {
    frame: isExact(decision.cube) ? exactFrame(command, question, decision, id) : flowModFrame(command, flow(), 0),
    get key() {
      return flowKey(flow());
    },
  };
}

function exactFrame(command: VerdictCommand, question: Question, decision: Settled, id: number): Buffer {
  const { source, destination } = decision.cube;
  return exactVerdictFrame(
    command,
    {
      from: question.from,
      source: source.address,
      destination: destination.address,
      tunnelSource: question.tunnelSource,
      way: wayOf(decision),
      kind: kindOf(decision),
      id,
    },
    exactVerdictFlow,
  );
}

/**
 * Reads a verdict back out of an entry of the switch. Undefined when the entry is not one that {@link verdictFlow} of
 * this format writes.
 */
export function verdictFromFlow(installed: Flow): { id: number; question: Question; decision: Settled } | undefined {
  const flow = canonicalFlow(installed);
  const cookie = decodeCookie(flow.cookie);
  if (cookie === undefined || !isVerdictKind(cookie.kind)) return undefined;
  if (flow.table !== tables.egress.id && flow.table !== tables.ingress.id) return undefined;
  const classNumber = fieldValue(flow.match, "reg0");
  const from = (Object.keys(sourceClass) as SourceClass[]).find((name) => BigInt(sourceClass[name]) === classNumber);
  const ipv4 = fieldValue(flow.match, "eth_type") === 0x0800n;
  const family = ipv4 ? 4 : 6;
  const source = prefixOf(flow.match, ipv4 ? "ip_src" : "ipv6_src", family);
  const destination = prefixOf(flow.match, ipv4 ? "ip_dst" : "ipv6_dst", family);
  const registers = loadedRegisters(flow);
  const code = registers.get("reg5");
  if (from === undefined || source === undefined || destination === undefined || code === undefined) return undefined;
  const tunnel = fieldValue(flow.match, "tun_src");
  if ((tunnel === undefined) === (from === "tunnel")) return undefined;
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
    question: {
      from,
      source: source.address,
      destination: destination.address,
      ...(tunnel === undefined ? {} : { tunnelSource: ipFromBigInt(tunnel, 4) }),
    },
    decision: way === "deny" ? { ...common, verdict: "deny" } : { ...common, verdict: "allow", way },
  };
}

function wayFromRegisters(
  code: number,
  registers: ReadonlyMap<string, bigint>,
): Extract<Settled, { verdict: "allow" }>["way"] | "deny" | undefined {
  switch (code) {
    case verdictCode.local:
      return { kind: "local" };
    case verdictCode.host:
      return { kind: "host" };
    case verdictCode.deny:
      return "deny";
    case verdictCode.tunnel: {
      const destination = registers.get("reg3");
      const vni = registers.get("reg2");
      if (destination === undefined || vni === undefined) return undefined;
      return { kind: "tunnel", destination: ipFromBigInt(destination, 4), vni: Number(vni) };
    }
    default:
      return undefined;
  }
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
