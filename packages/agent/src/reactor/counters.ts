/** What the reactive core has done, as plain numbers; metrics and status read them when asked. */
import type { Connection, JudgedDirection, Judgement, Question, Reason, Settled } from "@beyondfabric/datapath";
import { DenialLog, type PolicyRefusal } from "./denial-log.ts";
import { RuleCounters } from "./rule-counters.ts";

/** Upper bounds (ms) of the buckets in which decision times are counted. */
export const decisionBuckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 100] as const;

/** Sources that are counted one by one: local pods, and some strangers. */
const maxSources = 4096;

/** Why packets of a pair or of a connection were refused. */
export type RefusalReason = Reason | PolicyRefusal;

export class ReactorCounters {
  /** Packet-ins that are no miss of ours. */
  foreign = 0;
  /** Packets that were too large for their way. */
  tooLarge = 0;
  /** Packet-ins whose packet could not be read. */
  unreadable = 0;
  /** Misses about a pair whose entry was already on its way. */
  repeated = 0;
  /** Verdicts that were given to the packet alone, without an entry. */
  withoutEntry = 0;
  held = 0;
  holdExpired = 0;
  holdOverflow = 0;
  /** Held packets whose continuation died with the connection to the switch. */
  holdLost = 0;
  refusedAbsent = 0;
  /** Entries that were withdrawn or changed because a fact changed. */
  revoked = 0;
  /** Entries that were withdrawn because nobody used them. */
  aged = 0;
  /** Entries that the switch no longer had although nobody here removed them. */
  vanished = 0;
  /** Entries that were withdrawn because there were too many. */
  evicted = 0;
  readonly verdicts = new Map<string, number>();
  /** Connections of isolated pods that the agent judged itself: those that passed, and those that did not. */
  judgedOpen = 0;
  judgedClosed = 0;
  readonly denials = new DenialLog();
  readonly rules = new RuleCounters();
  /** Packets that were refused, by the agent or by an entry, by reason. */
  readonly refusals = new Map<RefusalReason, number>();
  /** Packets that entries refused, by their source address. */
  readonly refusedBySource = new Map<string, number>();
  readonly missesByPort = new Map<number, number>();
  readonly decisionTimes: number[] = Array.from({ length: decisionBuckets.length + 1 }, () => 0);
  decisionTimeSum = 0;
  misses = 0;

  miss(port: number): void {
    this.misses++;
    this.missesByPort.set(port, (this.missesByPort.get(port) ?? 0) + 1);
  }

  /** A decision about the pair of a packet that no entry knew. */
  decidedPair(question: Question, { verdict, reason }: Settled): void {
    const key = `${verdict} ${reason}`;
    this.verdicts.set(key, (this.verdicts.get(key) ?? 0) + 1);
    if (verdict === "deny") this.#refusedPair(question, reason, 1);
  }

  judged(question: Question, connection: Connection, judgement: Judgement): void {
    if (judgement.passes) this.judgedOpen++;
    else {
      this.judgedClosed++;
      this.#refusedConnection(question, connection, judgement.closed, 1);
    }
  }

  /** Packets that an entry refused: of which ports it does not say. */
  refusedByEntry(question: Question, decision: Settled, packets: number): void {
    const { source } = question;
    if (this.refusedBySource.has(source) || this.refusedBySource.size < maxSources) {
      this.refusedBySource.set(source, (this.refusedBySource.get(source) ?? 0) + packets);
    }
    if (decision.verdict === "deny") {
      this.#refusedPair(question, decision.reason, packets);
    } else if (decision.guard !== undefined) {
      const closed = decision.guard.judged.find(({ verdict }) => verdict.openings.kind !== "everything");
      this.#refusedConnection(question, { protocol: 0 }, closed, packets);
    }
  }

  #refusedPair(question: Question, reason: Reason, packets: number): void {
    this.#refusal(reason, packets);
    if (reason === "tenant-differs") this.denials.add(question, { protocol: 0 }, reason, undefined, packets);
  }

  #refusedConnection(
    question: Question,
    connection: Pick<Connection, "protocol" | "destinationPort">,
    closed: JudgedDirection | undefined,
    packets: number,
  ): void {
    const reason = closed === undefined ? "policy" : (`policy-${closed.direction}` as const);
    this.#refusal(reason, packets);
    this.denials.add(question, connection, reason, closed, packets);
  }

  #refusal(reason: RefusalReason, packets: number): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + packets);
  }

  decided(milliseconds: number): void {
    this.decisionTimeSum += milliseconds;
    let bucket = 0;
    while (bucket < decisionBuckets.length && milliseconds > decisionBuckets[bucket]!) bucket++;
    this.decisionTimes[bucket]!++;
  }

  forgetPort(port: number): void {
    this.missesByPort.delete(port);
  }
}
