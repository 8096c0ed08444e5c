/**
 * Associations of SCTP between pods that policies isolate, where conntrack tells no ports of them (the userspace datapath).
 * An INIT opens one, if the guard of its pair lets it; then one entry in each direction lets its packets pass, and the
 * agent remembers who opened it for as long as it is used. What the guard lets pass no more loses its entries at once;
 * packets that come without one are judged again, in the direction of the INIT, so that nothing that may go on is lost.
 */
import {
  associationEntry,
  associationFromFlow,
  flowModOf,
  judgeAssociation,
  type AssociationEnd,
  type Decision,
  type Judgement,
  type Question,
  type Settled,
  type Verdict,
} from "@beyondfabric/datapath";
import type { Flow } from "@beyondfabric/openflow";
import { ipProtocol, type Ip } from "@beyondfabric/packet";
import type { RuleReference } from "@beyondfabric/policy";
import { Admission } from "./admission.ts";
import type { ReactorCounters } from "./counters.ts";
import type { ReactorLimits } from "./options.ts";
import { answerTo, type SctpPacket } from "./question.ts";
import type { Reading } from "./rule-tally.ts";

/**
 * Each is two entries, and its opener chooses the ports: more of one pair would let one pod fill the switch. Those that
 * need more streams to one peer have them inside of an association.
 */
const maxOfPair = 64;
/** All together may be this part of the budget of entries: the rest of the node needs it. */
const share = 1 / 4;
/** An entry that was written so long ago (ms) must be in the switch; a packet that comes here all the same misses it. */
const settledMilliseconds = 5000;

/** What the reactive core does for associations. */
export interface AssociationGround {
  readonly limits: ReactorLimits;
  readonly now: () => number;
  readonly counters: ReactorCounters;
  /** What holds about a pair today. */
  decisionAbout(question: Question): Decision;
  /** The verdict about a pair that has entries. */
  verdictAbout(question: Question): Verdict | undefined;
  /** Gives a verdict entries that has none. */
  install(question: Question, decision: Settled): void;
  holds(verdict: Verdict): boolean;
  write(command: "add" | "delete_strict", key: string, frame: Buffer): void;
}

interface End extends AssociationEnd {
  readonly association: Association;
  /** Under which its entry stands; it may have left the table since. */
  verdict: Verdict | undefined;
  /** When the entry was written (ms). */
  written: number;
  packets: bigint;
  bytes: bigint;
}

class Association {
  readonly there: End;
  readonly back: End;
  /** How its opener's packets come in. */
  opened: Question;
  /** The rules by which it passes. */
  rules: readonly RuleReference[] = [];
  /** When a packet of it was last seen (ms). */
  lastUsed = 0;
  isAnswered = false;
  /** Whether its entries are those of a former life, about which nothing was decided yet. */
  isInherited = false;

  constructor(opened: Question, sourcePort: number, destinationPort: number) {
    const { source, destination } = opened;
    const fresh = { association: this, verdict: undefined, written: 0, packets: 0n, bytes: 0n };
    this.opened = opened;
    this.there = { ...fresh, direction: "there", source, destination, sourcePort, destinationPort };
    this.back = {
      ...fresh,
      direction: "back",
      source: destination,
      destination: source,
      sourcePort: destinationPort,
      destinationPort: sourcePort,
    };
  }
}

/** What becomes of a packet that met no entry; it may have to wait until the holder of an address is known. */
export type AssociationAnswer = "passes" | "refused" | { readonly waitingFor: Ip };

export class Associations {
  readonly #ground: AssociationGround;
  readonly #ends = new Map<string, End>();
  /** The least recently used first, of all and of each pair. */
  readonly #byUse = new Set<Association>();
  readonly #byPair = new Map<string, Set<Association>>();
  readonly #unanswered = new Set<Association>();
  #admission: Admission | undefined;

  constructor(ground: AssociationGround) {
    this.#ground = ground;
  }

  get size(): number {
    return this.#byUse.size;
  }

  /** @param there the decision about the packet's direction */
  answer(question: Question, there: Settled, packet: SctpPacket): AssociationAnswer {
    const end = this.#ends.get(endKey({ ...question, ...packet }));
    if (end === undefined) return this.#unknown(question, there, packet);
    const { association, direction } = end;
    const asked = direction === "there" ? there : this.#ground.decisionAbout(association.opened);
    if (asked.verdict === "hold") return { waitingFor: asked.waitingFor };
    const judgement = judgeAssociation(asked, association.there.destinationPort);
    if (!judgement.passes) {
      this.#detach(association);
      // The answering end may open its own between the same ports, where that of the other may not go on.
      if (direction === "back" && packet.opens && judgeAssociation(there, packet.destinationPort).passes) {
        this.#forget(association);
        return this.#unknown(question, there, packet);
      }
      return this.#judged(question, packet, judgement);
    }
    this.#ground.counters.repeated++;
    if (direction === "there") association.opened = question;
    else this.#answered(association);
    association.rules = judgement.rules;
    this.#attach(association, asked, direction === "back" ? question : undefined);
    this.#touch(association);
    return "passes";
  }

  #unknown(question: Question, there: Settled, packet: SctpPacket): AssociationAnswer {
    const judgement = judgeAssociation(there, packet.destinationPort);
    if (!judgement.passes || !packet.opens) {
      return this.#judged(question, packet, judgement.passes ? { passes: false } : judgement);
    }
    const { limits, now, counters } = this.#ground;
    this.#admission ??= new Admission(limits.entriesPerSecond);
    const isAdmitted = this.#admission.admits(endKey({ ...question, ...packet }), now());
    if (!isAdmitted || this.#ground.verdictAbout(question) === undefined) {
      // Without entries the answer would be refused. An INIT that is lost is sent again, and what comes again is admitted.
      counters.withoutEntry++;
      return "refused";
    }
    const association = this.#remember(question, packet.sourcePort, packet.destinationPort);
    association.rules = judgement.rules;
    this.#attach(association, there);
    counters.rules.session(judgement.rules);
    return this.#judged(question, packet, judgement);
  }

  #judged(question: Question, { sourcePort, destinationPort }: SctpPacket, judgement: Judgement): AssociationAnswer {
    const { source, destination } = question;
    const connection = { source, destination, protocol: ipProtocol.sctp, sourcePort, destinationPort };
    this.#ground.counters.judged(question, connection, judgement);
    return judgement.passes ? "passes" : "refused";
  }

  #remember(opened: Question, sourcePort: number, destinationPort: number): Association {
    this.#makeRoom(pairKey(opened));
    const association = new Association(opened, sourcePort, destinationPort);
    for (const end of [association.there, association.back]) this.#ends.set(endKey(end), end);
    this.#unanswered.add(association);
    this.#touch(association);
    return association;
  }

  /** What nobody answered goes first: an opener that tries ports takes nothing from those that talk. */
  #makeRoom(pair: string): void {
    const ofPair = [...(this.#byPair.get(pair) ?? [])];
    if (ofPair.length >= maxOfPair) this.#evict(ofPair.find(({ isAnswered }) => !isAnswered) ?? ofPair[0]!);
    if (this.size < this.#capacity) return;
    const [unanswered] = this.#unanswered;
    const [oldest] = this.#byUse;
    this.#evict(unanswered ?? oldest!);
  }

  get #capacity(): number {
    return Math.max(1, Math.floor(this.#ground.limits.entries * share));
  }

  #evict(association: Association): void {
    this.#ground.counters.evicted++;
    this.#forget(association);
  }

  #forget(association: Association): void {
    this.#detach(association);
    for (const end of [association.there, association.back]) this.#ends.delete(endKey(end));
    this.#byUse.delete(association);
    this.#unanswered.delete(association);
    const pair = pairKey(association.opened);
    const ofPair = this.#byPair.get(pair);
    ofPair?.delete(association);
    if (ofPair?.size === 0) this.#byPair.delete(pair);
  }

  #touch(association: Association): void {
    association.lastUsed = this.#ground.now();
    const pair = pairKey(association.opened);
    let ofPair = this.#byPair.get(pair);
    if (ofPair === undefined) this.#byPair.set(pair, (ofPair = new Set()));
    for (const order of [this.#byUse, ofPair]) {
      order.delete(association);
      order.add(association);
    }
  }

  #answered(association: Association): void {
    association.isAnswered = true;
    this.#unanswered.delete(association);
  }

  /**
   * Writes what is missing of an association's entries. They stand under verdicts that have entries, that of the answer
   * only beside that of the opener: whatever ends the one ends both.
   * @param answer how its answers come in, if a packet told
   */
  #attach(association: Association, there: Decision, answer?: Question): void {
    const { opened } = association;
    const owner = this.#ground.verdictAbout(opened);
    if (owner === undefined || there.verdict !== "allow") return;
    this.#stand(association.there, owner);
    const back = answer ?? answerTo(opened, there);
    const verdict = back === undefined ? undefined : this.#ground.verdictAbout(back);
    if (verdict !== undefined) this.#stand(association.back, verdict);
  }

  #stand(end: End, verdict: Verdict): void {
    const now = this.#ground.now();
    const stood = this.#standing(end);
    if (stood === verdict && now - end.written < settledMilliseconds) return;
    if (stood !== undefined && stood !== verdict) this.#fall(end);
    end.verdict = verdict;
    end.written = now;
    (verdict.associations ??= new Set()).add(end);
    this.#write("add", end, verdict);
  }

  /** The verdict under which an entry stands now. */
  #standing({ verdict }: End): Verdict | undefined {
    return verdict !== undefined && this.#ground.holds(verdict) ? verdict : undefined;
  }

  #fall(end: End): void {
    const verdict = this.#standing(end);
    end.verdict?.associations?.delete(end);
    end.verdict = undefined;
    [end.packets, end.bytes] = [0n, 0n];
    if (verdict !== undefined) this.#write("delete_strict", end, verdict);
  }

  #detach({ there, back }: Association): void {
    for (const end of [there, back]) this.#fall(end);
  }

  #write(command: "add" | "delete_strict", end: End, { decision, question, id, edition }: Verdict): void {
    // Of a pair that nobody isolates now nothing is tracked.
    if (decision.verdict === "deny" || decision.guard === undefined) return;
    const { key, frame } = flowModOf(command, associationEntry(decision, question, id, edition, end));
    this.#ground.write(command, key, frame);
  }

  /** A verdict was taken again: what its guard lets pass no more loses its entries. */
  rejudge({ associations, decision }: Verdict): void {
    for (const { direction, association } of endsOf(associations)) {
      if (direction === "back") continue;
      const judgement = judgeAssociation(decision, association.there.destinationPort);
      if (judgement.passes) association.rules = judgement.rules;
      else this.#detach(association);
    }
  }

  /** A verdict left the table, and its entries the switch. */
  withdrawn({ associations }: Verdict): void {
    for (const end of endsOf(associations)) {
      if (end.direction === "there") this.#detach(end.association);
      else this.#fall(end);
    }
  }

  /** A verdict stands in another's place: what stood under the one stands under the other. */
  moved({ associations }: Verdict, verdict: Verdict): void {
    if (associations === undefined) return;
    verdict.associations = associations;
    for (const end of endsOf(associations)) end.verdict = verdict;
  }

  /** Pods are gone: whoever gets their addresses has opened nothing. */
  lost(addresses: ReadonlySet<Ip>): void {
    if (addresses.size === 0) return;
    for (const association of this.#byUse) {
      const { source, destination } = association.opened;
      if (addresses.has(source) || addresses.has(destination)) this.#forget(association);
    }
  }

  /** Takes a reading of an entry: who passes by it, and whose rules let that pass. */
  record({ id, flow, packets, bytes }: Reading): void {
    const read = associationFromFlow(flow);
    const end = read === undefined ? undefined : this.#ends.get(endKey(read.end));
    if (end === undefined || end.verdict?.id !== id || packets === end.packets) return;
    // An entry that was written anew counts from nought.
    const isAnew = packets < end.packets;
    const more = { packets: isAnew ? packets : packets - end.packets, bytes: isAnew ? bytes : bytes - end.bytes };
    [end.packets, end.bytes] = [packets, bytes];
    const { association } = end;
    this.#ground.counters.rules.traffic(association.rules, Number(more.packets), Number(more.bytes));
    if (end.direction === "back") this.#answered(association);
    this.#touch(association);
  }

  /** Lets go what stands under these verdicts, whose entries were just read, and was not used. */
  age(verdicts: Iterable<Verdict>): void {
    const now = this.#ground.now();
    for (const { associations } of verdicts) {
      for (const { association } of endsOf(associations)) {
        if (now - association.lastUsed < this.#ground.limits.idleMilliseconds) continue;
        this.#ground.counters.aged++;
        this.#forget(association);
      }
    }
  }

  /** Forgets those that have no entry, and of which no packet came. */
  tick(): void {
    const now = this.#ground.now();
    for (const association of this.#byUse) {
      if (now - association.lastUsed < this.#ground.limits.idleMilliseconds) break;
      if (association.isInherited || this.#standing(association.there) !== undefined) continue;
      this.#forget(association);
    }
  }

  /** Remembers those whose entries stand in the switch from a former life; {@link settle} judges them. */
  adopt(flows: Iterable<Flow>): void {
    for (const flow of flows) {
      const read = associationFromFlow(flow);
      if (read?.end.direction !== "there" || this.#ends.has(endKey(read.end))) continue;
      const ofPair = this.#byPair.get(pairKey(read.question))?.size ?? 0;
      if (this.size >= this.#capacity || ofPair >= maxOfPair) continue;
      const association = this.#remember(read.question, read.end.sourcePort, read.end.destinationPort);
      association.isInherited = true;
      this.#answered(association);
    }
  }

  /** Judges what a former life left, once everything is known: what may go on has its entries written over. */
  settle(): void {
    for (const association of this.#byUse) {
      if (!association.isInherited) continue;
      association.isInherited = false;
      const { opened, there } = association;
      const decision = this.#ground.decisionAbout(opened);
      if (decision.verdict !== "allow" || decision.guard === undefined) continue;
      const judgement = judgeAssociation(decision, there.destinationPort);
      if (!judgement.passes) continue;
      association.rules = judgement.rules;
      this.#verdictOn(opened, decision);
      const answer = answerTo(opened, decision);
      const back = answer === undefined ? undefined : this.#ground.decisionAbout(answer);
      if (back?.verdict === "allow") this.#verdictOn(answer!, back);
      this.#attach(association, decision);
    }
  }

  #verdictOn(question: Question, decision: Settled): void {
    if (this.#ground.verdictAbout(question) === undefined) this.#ground.install(question, decision);
  }
}

/** A copy: what is done about one of them may take others away. */
function endsOf(associations: Verdict["associations"]): readonly End[] {
  return associations === undefined ? [] : ([...associations] as End[]);
}

function endKey({ source, destination, sourcePort, destinationPort }: Omit<AssociationEnd, "direction">): string {
  return `${source} ${sourcePort} ${destination} ${destinationPort}`;
}

function pairKey({ source, destination }: Question): string {
  return `${source} ${destination}`;
}
