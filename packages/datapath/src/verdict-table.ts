/**
 * The verdicts that this node's switch holds as entries: found by the pair or the cube that they are about, by the facts
 * that they depend on, and by how long no packet has used them. Pure bookkeeping; every call takes `now` (ms).
 */
import { formatCidr, type Ip } from "@beyondfabric/packet";
import { includesOpenings } from "@beyondfabric/policy";
import { BoundedMap } from "./bounded-map.ts";
import { cookieBuckets } from "./cookie.ts";
import type { Guard, Question } from "./decision.ts";
import type { FactKey } from "./facts.ts";
import { nextRuleGroups, noRuleGroups, tooManyRuleGroups, type RuleGroups } from "./rule-groups.ts";
import { editions, type WayRegisters } from "./registers.ts";
import { wayOf, type Settled } from "./features/verdict.ts";
import type { AssociationEnd } from "./features/association.ts";

export interface Verdict {
  readonly id: number;
  /** A packet for which the verdict was asked; asking again with it gives the verdict that holds today. */
  readonly question: Question;
  decision: Settled;
  /**
   * What connections of the verdict are labelled with (unsigned 32 bits). Never drawn twice in an agent's life: another one
   * has all connections judged again that the verdict let in before.
   */
  label: number;
  /** By which rules connections of the label pass, and which of them pass still; none where they are too many to be numbered. */
  groups: RuleGroups;
  /** Another than that of the verdict about the same packets before it, so that the switch can tell their entries apart. */
  edition: number;
  /** When it came into the table (ms). */
  readonly added: number;
  /** When a packet was last seen to use it (ms). */
  lastUsed: number;
  packets: bigint;
  bytes: bigint;
  /** Packets that its guard refused. */
  refused: bigint;
  /** What of associations of SCTP takes its way, where conntrack tells no ports of them. */
  associations: Set<AssociationEnd> | undefined;
}

/** Verdicts that went longer ago have left no flow in the datapath. */
const goneCapacity = 10_000;

export class VerdictTable {
  readonly #byId = new Map<number, Verdict>();
  readonly #byCube = new Map<string, Verdict>();
  readonly #byFact = new Map<FactKey, Set<Verdict>>();
  readonly #byBucket = Array.from({ length: cookieBuckets }, () => new Set<Verdict>());
  readonly #refusals = new Set<Verdict>();
  readonly #guarded = new Set<Verdict>();
  #nextId: number;
  #lastLabel = 0;
  /** Editions of verdicts that went, by their cubes; the oldest are forgotten. */
  readonly #gone = new BoundedMap<string, number>(goneCapacity);

  /** @param firstId the first number to draw, from 1 to 2^32 - 1 */
  constructor(firstId = 1) {
    this.#nextId = firstId;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: number): Verdict | undefined {
    return this.#byId.get(id);
  }

  values(): IterableIterator<Verdict> {
    return this.#byId.values();
  }

  /** The verdict about exactly this pair, if there is one. */
  findPair(question: Question): Verdict | undefined {
    return this.#byCube.get(pairKey(question));
  }

  /** The verdict about the same cube as a decision just taken. */
  findCube(question: Question, decision: Settled): Verdict | undefined {
    return this.#byCube.get(cubeKey(question, decision));
  }

  /**
   * Remembers a decision.
   * @param adopted what an adopted entry carries: its number, whoever had it before, and its edition; new ones otherwise
   */
  add(question: Question, decision: Settled, now: number, adopted?: Pick<Verdict, "id" | "edition">): Verdict {
    const key = cubeKey(question, decision);
    const gone = this.#byCube.get(key)?.edition ?? this.#gone.get(key);
    const verdict: Verdict = {
      id: adopted?.id ?? this.#drawId(),
      question,
      decision,
      added: now,
      lastUsed: now,
      packets: 0n,
      bytes: 0n,
      refused: 0n,
      associations: undefined,
      label: this.#drawLabel(),
      groups: groupsOf(decision),
      edition: adopted?.edition ?? (gone === undefined ? 0 : nextEdition(gone)),
    };
    for (const before of [this.#byCube.get(key), this.#byId.get(verdict.id)]) {
      if (before !== undefined) this.remove(before);
    }
    this.#byId.set(verdict.id, verdict);
    this.#byCube.set(key, verdict);
    this.#index(verdict);
    if (adopted !== undefined && adopted.id >= this.#nextId) this.#nextId = nextAfter(adopted.id);
    return verdict;
  }

  remove(verdict: Verdict): void {
    if (this.#byId.get(verdict.id) !== verdict) return;
    this.#byId.delete(verdict.id);
    this.#unindex(verdict);
    this.#gone.set(cubeKey(verdict.question, verdict.decision), verdict.edition);
  }

  /**
   * Replaces the decision of a verdict about the same cube (another way, or a refusal instead of a way). It keeps its
   * place in the order of last use: no packet has used it. Connections that may not pass any more are judged again.
   */
  update(verdict: Verdict, decision: Settled): void {
    this.#unindex(verdict);
    const before = { label: verdict.label, way: wayOf(verdict.decision) };
    const groups = groupsAfter(verdict.groups, guardOf(verdict.decision), guardOf(decision));
    if (groups === undefined) verdict.label = this.#drawLabel();
    verdict.groups = groups ?? groupsOf(decision);
    if (verdict.label !== before.label || !sameRegisters(before.way, wayOf(decision))) {
      verdict.edition = nextEdition(verdict.edition);
    }
    verdict.decision = decision;
    this.#byId.set(verdict.id, verdict);
    this.#byCube.set(cubeKey(verdict.question, decision), verdict);
    this.#index(verdict);
  }

  /** Every verdict that depended on one of these facts. */
  dependingOn(facts: Iterable<FactKey>): Set<Verdict> {
    const found = new Set<Verdict>();
    for (const fact of facts) {
      for (const verdict of this.#byFact.get(fact) ?? []) found.add(verdict);
    }
    return found;
  }

  /** Takes a reading of what the guard of a verdict refused; like any other use it keeps the verdict. */
  recordRefused(id: number, packets: bigint, now: number): void {
    const verdict = this.#byId.get(id);
    if (verdict === undefined || packets === verdict.refused) return;
    verdict.refused = packets;
    verdict.lastUsed = now;
    this.#byId.delete(id);
    this.#byId.set(id, verdict);
  }

  /** Takes a reading of the switch's counters; a reading that moved means that the entry was used since the last one. */
  record(id: number, packets: bigint, bytes: bigint, now: number): void {
    const verdict = this.#byId.get(id);
    if (verdict === undefined) return;
    if (packets !== verdict.packets) {
      verdict.lastUsed = now;
      // The map's order is the order of last use: the first are the ones to let go.
      this.#byId.delete(id);
      this.#byId.set(id, verdict);
    }
    verdict.packets = packets;
    verdict.bytes = bytes;
  }

  /** Verdicts of one statistics bucket, refusals included. */
  inBucket(bucket: number): ReadonlySet<Verdict> {
    return this.#byBucket[bucket]!;
  }

  /** Whether any entry may refuse packets: that of a refusal, or one of a guard. */
  get mayRefuse(): boolean {
    return this.#refusals.size > 0 || this.#guarded.size > 0;
  }

  /** Verdicts that refuse. */
  get refusals(): ReadonlySet<Verdict> {
    return this.#refusals;
  }

  /** The least recently used verdicts beyond the budget. */
  beyond(budget: number): Verdict[] {
    const found: Verdict[] = [];
    for (const verdict of this.#byId.values()) {
      if (this.#byId.size - found.length <= budget) break;
      found.push(verdict);
    }
    return found;
  }

  #drawId(): number {
    while (this.#byId.has(this.#nextId)) this.#nextId = nextAfter(this.#nextId);
    const id = this.#nextId;
    this.#nextId = nextAfter(id);
    return id;
  }

  #drawLabel(): number {
    this.#lastLabel = nextAfter(this.#lastLabel);
    return this.#lastLabel;
  }

  #unindex(verdict: Verdict): void {
    this.#byBucket[verdict.id % cookieBuckets]!.delete(verdict);
    this.#refusals.delete(verdict);
    this.#guarded.delete(verdict);
    const key = cubeKey(verdict.question, verdict.decision);
    if (this.#byCube.get(key) === verdict) this.#byCube.delete(key);
    for (const fact of verdict.decision.dependsOn) {
      const dependants = this.#byFact.get(fact);
      dependants?.delete(verdict);
      if (dependants?.size === 0) this.#byFact.delete(fact);
    }
  }

  #index(verdict: Verdict): void {
    this.#byBucket[verdict.id % cookieBuckets]!.add(verdict);
    if (verdict.decision.verdict === "deny") this.#refusals.add(verdict);
    else if (verdict.decision.guard !== undefined) this.#guarded.add(verdict);
    for (const fact of verdict.decision.dependsOn) {
      let dependants = this.#byFact.get(fact);
      if (dependants === undefined) this.#byFact.set(fact, (dependants = new Set()));
      dependants.add(verdict);
    }
  }
}

function nextEdition(edition: number): number {
  return (edition + 1) % editions;
}

function sameRegisters(a: WayRegisters, b: WayRegisters): boolean {
  return a.code === b.code && a.reg2 === b.reg2 && a.reg3 === b.reg3 && a.reg4 === b.reg4;
}

function guardOf(decision: Settled): Guard | undefined {
  return decision.verdict === "allow" ? decision.guard : undefined;
}

function groupsOf(decision: Settled): RuleGroups {
  const guard = guardOf(decision);
  return guard === undefined ? noRuleGroups : (nextRuleGroups(noRuleGroups, guard.openings) ?? tooManyRuleGroups);
}

/** Undefined where only another label can have those connections judged again that may not pass any more. */
function groupsAfter(groups: RuleGroups, was: Guard | undefined, is: Guard | undefined): RuleGroups | undefined {
  if (was === undefined || is === undefined) return was === is ? groups : undefined;
  if (groups !== tooManyRuleGroups) return nextRuleGroups(groups, is.openings);
  return includesOpenings(is.openings, was.openings) ? groups : undefined;
}

function nextAfter(id: number): number {
  return id === 0xffff_ffff ? 1 : id + 1;
}

function pairKey(question: Question): string {
  const width = isIpv6(question.source) ? 128 : 32;
  return `${cameBy(question)} ${question.source}/${width} ${question.destination}/${width}`;
}

function cubeKey(question: Question, { cube }: Settled): string {
  return `${cameBy(question)} ${formatCidr(cube.source)} ${formatCidr(cube.destination)}`;
}

function cameBy({ from, tunnelSource, segment }: Question): string {
  return `${from} ${tunnelSource ?? segment ?? ""}`;
}

function isIpv6(address: Ip): boolean {
  return address.includes(":");
}
