/**
 * The reactive core: takes packet-ins, asks `decide()`, answers in the same turn of the event loop, and lets the entries
 * that spare later packets the trip follow in coalesced writes. The life of a packet that no entry knows:
 *
 * 1. it paused in the switch; its registers and the rest of its journey came in the packet-in (a continuation);
 * 2. the verdict is patched into the continuation's registers and the switch resumes it: the first packet is neither
 *    lost nor overtaken;
 * 3. unless new pairs come faster than entries are worth their price, entries for the pair, there and back, go ahead of
 *    it in the same write.
 *
 * A packet whose peer is not known yet is held, for a bounded time and in bounded number per port, and never guessed.
 */
import {
  commitPatch,
  cookieBuckets,
  decide,
  flowKey,
  flowModOf,
  groupOf,
  isGuardedFlow,
  isAnnouncement,
  isForgery,
  isTooLarge,
  judgePacket,
  missPort,
  sameVerdict,
  VerdictTable,
  verdictFromFlow,
  wayOf,
  wayPatches,
  type FactKey,
  type Facts,
  type Judgement,
  type ListeningEnd,
  type Question,
  type Settled,
  type TrackedPacket,
  type Verdict,
} from "@beyondfabric/datapath";
import { packetInView, resumeView, type Flow, type PacketInView, type RegisterPatch } from "@beyondfabric/openflow";
import type { Ip } from "@beyondfabric/packet";
import { HeldPackets, type HeldPacket } from "./held-packets.ts";
import { Admission } from "./admission.ts";
import type { FrameSink, ReactorLimits, ReactorOptions, TunnelGate } from "./options.ts";
import { RuleTally, type Reading } from "./rule-tally.ts";
import { VerdictWrites } from "./verdict-writes.ts";
import { WriteQueue, type WriteClass } from "./write-queue.ts";
import { ReactorCounters } from "./counters.ts";
import { Associations } from "./associations.ts";
import { answerTo, questionOf, sctpPacketOf, trackedPacketOf } from "./question.ts";

/** A negative answer is remembered for so long (ms), so that a scan of unknown addresses does not fill the holds. */
const absentMilliseconds = 1000;
const absentCapacity = 4096;
/** An entry that was queued so long ago (ms) must be in the switch. */
const settledMilliseconds = 5000;

export class Reactor {
  readonly counters = new ReactorCounters();
  readonly verdicts: VerdictTable;
  readonly #facts: Facts;
  readonly #gate: TunnelGate;
  readonly #limits: ReactorLimits;
  readonly #sink: FrameSink;
  readonly #now: () => number;
  readonly #held: HeldPackets;
  readonly #admission: Admission;
  readonly #writes: WriteQueue;
  readonly #onUndecodable: (error: unknown) => void;
  readonly #onTooLarge: (packet: Buffer, port: number) => void;
  readonly #onForgery: (frame: Buffer, port: number) => void;
  readonly #onAnnouncement: (frame: Buffer, port: number) => void;
  readonly #entries: VerdictWrites;
  readonly #listening: (question: Question, packet: TrackedPacket) => ListeningEnd;
  /** Entries of a former life that only say that a connection passes; they go when everything is known again. */
  readonly #inherited = new Map<string, Flow>();
  readonly #tally: RuleTally;
  readonly #associations: Associations;
  /** What packets waited for in vain, and until when nobody waits for it again (ms). */
  readonly #absent = new Map<string, number>();
  #lastAgedBucket = 0;

  constructor(options: ReactorOptions) {
    this.#facts = options.facts;
    this.verdicts = new VerdictTable(options.firstId);
    this.#gate = options.gate ?? { ready: () => true };
    this.#limits = options.limits;
    this.#sink = options.sink;
    this.#now = options.now;
    this.#onUndecodable = options.onUndecodable ?? (() => {});
    this.#onTooLarge = options.onTooLarge ?? (() => {});
    this.#onForgery = options.onForgery ?? (() => {});
    this.#onAnnouncement = options.onAnnouncement ?? (() => {});
    this.#entries = new VerdictWrites(options.life ?? 0);
    this.#listening = options.listening ?? (() => undefined);
    this.#held = new HeldPackets(options.limits.heldPerPort, options.limits.holdMilliseconds);
    this.#admission = new Admission(options.limits.entriesPerSecond);
    this.#tally = new RuleTally(this.counters.rules, (verdict) => this.#entries.countingEntriesOf(verdict));
    this.#associations = new Associations({
      limits: options.limits,
      now: options.now,
      counters: this.counters,
      decisionAbout: (question) => this.#decisionAbout(question),
      verdictAbout: (question) => this.#verdictAbout(question),
      install: (question, decision) => this.#install(question, decision, this.#now()),
      holds: (verdict) => this.verdicts.get(verdict.id) === verdict,
      write: (command, key, frame) => this.write(key, frame, command === "add" ? "now" : "behind"),
    });
    const { sink, limits } = options;
    this.#writes = new WriteQueue(
      (frame) => sink.send(frame),
      limits.coalesceMilliseconds,
      sink.taken === undefined ? undefined : () => sink.taken!(),
    );
  }

  get heldCount(): number {
    return this.#held.size;
  }

  get pendingWrites(): number {
    return this.#writes.size;
  }

  /** A packet-in of the bridge, as it came from the wire. Never throws: what cannot be read is counted and dropped. */
  onPacketIn(frame: Buffer): void {
    const started = this.#now();
    try {
      const view = packetInView(frame);
      if (isTooLarge(view.userdata)) {
        this.counters.tooLarge++;
        this.#onTooLarge(view.packet, view.inPort());
        return;
      }
      if (isForgery(view.userdata)) {
        this.#onForgery(view.packet, view.inPort());
        return;
      }
      if (isAnnouncement(view.userdata)) {
        this.#onAnnouncement(view.packet, view.inPort());
        return;
      }
      const port = missPort(view.userdata);
      if (port === undefined || !view.hasContinuation) {
        this.counters.foreign++;
        return;
      }
      this.counters.miss(port);
      const question = questionOf(view);
      if (question === undefined) {
        this.counters.unreadable++;
        return;
      }
      this.#answer({ frame, question, port, since: started }, view);
    } catch (error) {
      this.counters.unreadable++;
      this.#onUndecodable(error);
    }
    this.counters.decided(this.#now() - started);
  }

  #answer(packet: HeldPacket, view = packetInView(packet.frame)): void {
    const { question } = packet;
    const known = this.verdicts.findPair(question);
    if (known !== undefined) {
      // The switch has not caught up with the entry yet: the packet goes on, and nothing is decided again.
      this.counters.repeated++;
      this.#goOn(packet, view, known.decision);
      return;
    }
    const decision = decide(question, this.#facts);
    if (decision.verdict === "hold") {
      this.#hold(packet, decision.waitingFor);
      return;
    }
    if (decision.verdict === "allow" && decision.way.kind === "tunnel" && !this.#gate.ready(decision.way.destination)) {
      this.#hold(packet, tunnelKey(decision.way.destination));
      return;
    }
    this.counters.decidedPair(question, decision);
    // Entries go ahead of the packet, in the same write: the answer to it then finds the way back open.
    this.#consider(question, decision);
    this.#goOn(packet, view, decision);
  }

  /** Lets a packet go on as was decided about its pair, and, where a guard says so, about its connection. */
  #goOn(packet: HeldPacket, view: PacketInView, decision: Settled): void {
    if (decision.verdict === "deny" || decision.guard === undefined) {
      this.#resume(view, decision);
      return;
    }
    const sctp = sctpPacketOf(view);
    if (sctp === undefined) {
      this.#judge(packet.question, view, decision);
      return;
    }
    const answer = this.#associations.answer(packet.question, decision, sctp);
    if (typeof answer === "object") this.#hold(packet, answer.waitingFor);
    else this.#resume(view, answer === "passes" ? decision : { ...decision, verdict: "deny" });
  }

  #judge(question: Question, view: PacketInView, there: Extract<Settled, { verdict: "allow" }>): void {
    const packet = trackedPacketOf(view, question.source);
    if (packet === undefined) {
      this.counters.unreadable++;
      return;
    }
    const answer = answerTo(question, there);
    const back = answer === undefined ? undefined : this.#decisionAbout(answer);
    const judgement = judgePacket(packet, there, back, () => this.#listening(question, packet));
    this.counters.judged(question, packet.connection, judgement);
    if (!judgement.passes) {
      this.#resume(view, { ...there, verdict: "deny" });
      return;
    }
    this.#resume(view, there, this.#remembering(judgement, question, answer));
  }

  #decisionAbout(question: Question): ReturnType<typeof decide> {
    return this.verdicts.findPair(question)?.decision ?? decide(question, this.#facts);
  }

  /**
   * The patch that labels the packet's connection with the verdict that lets it pass. Without an entry about that verdict
   * the label would be worth nothing: then nothing is remembered, and the next packet asks again.
   */
  #remembering(
    { remember, rules }: Extract<Judgement, { passes: true }>,
    there: Question,
    back: Question | undefined,
  ): RegisterPatch[] {
    if (remember === undefined) return [];
    const opened = remember.direction === "there" ? there : back;
    const verdict = opened === undefined ? undefined : this.#verdictAbout(opened);
    if (verdict === undefined) return [];
    this.counters.rules.session(rules);
    const label = this.#entries.label(verdict);
    return [commitPatch(label, remember.originator, groupOf(verdict.groups, rules))];
  }

  #verdictAbout(question: Question): Verdict | undefined {
    const pair = this.verdicts.findPair(question);
    if (pair !== undefined) return pair;
    const decision = decide(question, this.#facts);
    return decision.verdict === "hold" ? undefined : this.verdicts.findCube(question, decision);
  }

  #resume(view: PacketInView, decision: Settled, patches: readonly RegisterPatch[] = []): void {
    this.#sink.send(resumeView(view, [...wayPatches(wayOf(decision)), ...patches]));
  }

  /** Gives a verdict an entry, unless there are more new pairs than the switch can take entries for. */
  #consider(question: Question, decision: Settled): void {
    const now = this.#now();
    if (this.verdicts.findCube(question, decision) !== undefined) return;
    if (!this.#admission.admits(`${question.from} ${question.source} ${question.destination}`, now)) {
      this.counters.withoutEntry++;
      return;
    }
    this.#install(question, decision, now);
    this.#considerAnswer(question, decision, now);
    for (const old of this.verdicts.beyond(this.#limits.entries - this.#associations.size)) {
      this.counters.evicted++;
      this.#withdraw(old);
    }
  }

  /** Whoever is spoken to answers: the way back gets its entry along with the way there, if it is open too. */
  #considerAnswer(question: Question, decision: Settled, now: number): void {
    const answer = answerTo(question, decision);
    if (answer === undefined || this.verdicts.findPair(answer) !== undefined) return;
    const back = decide(answer, this.#facts);
    if (back.verdict !== "allow" || this.verdicts.findCube(answer, back) !== undefined) return;
    if (back.way.kind === "tunnel" && !this.#gate.ready(back.way.destination)) return;
    this.#install(answer, back, now);
  }

  #install(question: Question, decision: Settled, now: number): void {
    const verdict = this.verdicts.add(question, decision, now);
    for (const mod of this.#entries.all("add", verdict)) {
      if (this.#writes.size === 0) this.#sink.send(mod.frame);
      else this.#writes.sendNow(mod.key, mod.frame);
    }
  }

  /**
   * A flow-mod about an entry that is no verdict's.
   * @param when `now`, or behind those about verdicts that are revoked now
   */
  write(key: string, frame: Buffer, when: "now" | "behind"): void {
    if (when === "now") this.#writes.sendNow(key, frame);
    else this.#writes.push(key, frame, "revocation");
  }

  #delete(flows: readonly Flow[], kind: WriteClass): void {
    for (const flow of flows) {
      const { key, frame } = flowModOf("delete_strict", flow);
      this.#writes.push(key, frame, kind);
    }
  }

  #withdraw(verdict: Verdict): void {
    this.verdicts.remove(verdict);
    this.#entries.forget(verdict);
    for (const { key, frame } of this.#entries.all("delete_strict", verdict))
      this.#writes.push(key, frame, "revocation");
    this.#associations.withdrawn(verdict);
  }

  #hold(packet: HeldPacket, waitingFor: string): void {
    const now = this.#now();
    const absentUntil = this.#absent.get(waitingFor);
    if (absentUntil !== undefined && now < absentUntil) {
      this.counters.refusedAbsent++;
      return;
    }
    // The frame is a view of the receive buffer: what is kept must not keep the whole chunk alive.
    if (this.#held.add(waitingFor, { ...packet, frame: Buffer.from(packet.frame) })) this.counters.held++;
    else this.counters.holdOverflow++;
  }

  /** Facts changed: packets that waited for them go on, and exactly the verdicts that depended on them are taken again. */
  factsChanged(keys: ReadonlySet<FactKey>): void {
    for (const key of keys) if (key.startsWith("address:")) this.#absent.delete(key.slice("address:".length));
    const lost = this.#lost(keys);
    this.#associations.lost(lost);
    const concerned =
      keys.has("subnets") || keys.has("tenants") ? new Set(this.verdicts.values()) : this.verdicts.dependingOn(keys);
    for (const verdict of concerned) {
      if (lost.has(verdict.question.source) || lost.has(verdict.question.destination)) {
        this.counters.revoked++;
        this.#withdraw(verdict);
      } else {
        this.#revalidate(verdict);
      }
    }
    const coarse = [...keys].some((key) => !key.startsWith("address:"));
    const waiting = coarse
      ? this.#held.takeAll()
      : this.#held.take([...keys].map((key) => key.slice("address:".length)));
    for (const packet of waiting) this.#answer(packet);
  }

  /**
   * Addresses that have just lost their holder. The entries about them go, whatever would be decided now: an entry is
   * written for packets that come, and refusals of an address that is gone are none.
   */
  #lost(keys: ReadonlySet<FactKey>): Set<Ip> {
    const addresses = [...keys].filter((key) => key.startsWith("address:")).map((key) => key.slice("address:".length));
    const isLost = (address: Ip): boolean =>
      this.#facts.endpointAt(address) === undefined && this.#facts.subnetOf(address) !== undefined;
    return new Set(addresses.filter(isLost));
  }

  /**
   * Takes a verdict again. A changed way is written over the old one, so that no packet of the pair is lost; anything else
   * that changed takes the entry away, and the next packet brings what is decided then.
   */
  #revalidate(verdict: Verdict): void {
    const decision = decide(verdict.question, this.#facts);
    if (decision.verdict !== "hold" && sameVerdict(verdict.decision, decision)) {
      this.verdicts.update(verdict, decision);
      return;
    }
    // While the cluster is still being listed, not knowing is no reason to take away what a former life decided:
    // everything is taken again when the facts are complete.
    if (decision.verdict === "hold" && !this.#facts.complete) return;
    this.counters.revoked++;
    if (decision.verdict === "allow" && verdict.decision.verdict === "allow") {
      const was = verdict.decision.guard;
      if (this.verdicts.findCube(verdict.question, decision) === verdict) {
        const { add, remove } = this.#entries.changesOf(verdict, () => {
          this.verdicts.update(verdict, decision);
          this.#associations.rejudge(verdict);
        });
        // What is new comes before what is old goes: a range that went first would leave its packets to the refusal below.
        // Entries for tracked packets and for others do not disturb each other: there the old kind goes last of all, so that
        // packets find an entry whether the switch tracks their pod already, or still.
        const changesKind = (decision.guard === undefined) !== (was === undefined);
        for (const { key, frame } of add) this.#writes.push(key, frame, "revocation");
        this.#delete(remove, changesKind ? "grant" : "revocation");
        return;
      }
    }
    this.#withdraw(verdict);
  }

  /** The switch can now send into the tunnel to this address. */
  tunnelReady(destination: Ip): void {
    const key = tunnelKey(destination);
    this.#absent.delete(key);
    for (const packet of this.#held.take([key])) this.#answer(packet);
  }

  /** Addresses of the tunnels that entries send into. */
  tunnelsInUse(): Set<Ip> {
    const used = new Set<Ip>();
    for (const { decision } of this.verdicts.values()) {
      if (decision.verdict === "allow" && decision.way.kind === "tunnel") used.add(decision.way.destination);
    }
    return used;
  }

  /** Lets go what was held too long. To be called a few times a second. */
  tick(): void {
    const now = this.#now();
    for (const [address, until] of this.#absent) if (until <= now) this.#absent.delete(address);
    for (const { waitingFor, packets } of this.#held.expire(now)) {
      this.counters.holdExpired += packets;
      if (this.#absent.size < absentCapacity) this.#absent.set(waitingFor, now + absentMilliseconds);
    }
    this.#associations.tick();
  }

  /** The bucket whose statistics should be read next. */
  nextBucket(): number {
    this.#lastAgedBucket = (this.#lastAgedBucket + 1) % cookieBuckets;
    return this.#lastAgedBucket;
  }

  bucketIsEmpty(bucket: number): boolean {
    return this.#passing(bucket).length === 0;
  }

  /** Takes the statistics of one bucket and removes what nobody used. */
  recordBucket(bucket: number, statistics: readonly Reading[]): void {
    for (const reading of statistics) {
      const verdict = this.verdicts.get(reading.id);
      if (verdict !== undefined) this.#tally.count(verdict, reading);
      this.#associations.record(reading);
    }
    const passing = this.#passing(bucket);
    this.#associations.age(passing);
    this.#record(statistics, passing);
  }

  /** Takes the statistics of all refusals, and counts whose packets they refused. */
  recordRefusals(statistics: readonly Reading[]): void {
    for (const { id, packets } of statistics) {
      const verdict = this.verdicts.get(id);
      if (verdict === undefined) continue;
      const before = verdict.decision.verdict === "allow" ? verdict.refused : verdict.packets;
      const { question, decision } = verdict;
      // An entry that was written anew counts from nought.
      const more = Number(packets < before ? packets : packets - before);
      if (more > 0) this.counters.refusedByEntry(question, decision, more);
      if (decision.verdict === "allow") this.verdicts.recordRefused(id, packets, this.#now());
    }
    this.#record(
      statistics.filter(({ id }) => this.verdicts.get(id)?.decision.verdict !== "allow"),
      [...this.verdicts.refusals],
    );
  }

  #passing(bucket: number): Verdict[] {
    return [...this.verdicts.inBucket(bucket)].filter(({ decision }) => decision.verdict === "allow");
  }

  #record(statistics: Iterable<Reading>, concerned: readonly Verdict[]): void {
    const now = this.#now();
    const present = new Map<number, { packets: bigint; bytes: bigint }>();
    for (const { id, packets, bytes } of statistics) {
      const sum = present.get(id) ?? { packets: 0n, bytes: 0n };
      present.set(id, { packets: sum.packets + packets, bytes: sum.bytes + bytes });
    }
    for (const [id, { packets, bytes }] of present) this.verdicts.record(id, packets, bytes, now);
    for (const verdict of concerned) {
      if (now - verdict.lastUsed >= this.#limits.idleMilliseconds) {
        this.counters.aged++;
        this.#withdraw(verdict);
      } else if (!present.has(verdict.id) && now - verdict.added >= settledMilliseconds) {
        // Somebody took the entry out of the switch. The next packet of the pair brings it back.
        this.counters.vanished++;
        this.#withdraw(verdict);
      }
    }
  }

  /**
   * Takes over the verdict entries that stand in the switch after a restart of the agent. Returns those that cannot be
   * read, or that contradict today's decision, for removal; a decision that is not possible yet leaves the entry.
   */
  adopt(flows: readonly Flow[]): Flow[] {
    const now = this.#now();
    const foreign: Flow[] = [];
    this.#associations.adopt(flows);
    if (this.#facts.complete) this.#associations.settle();
    const current = this.#guardedKeys();
    for (const flow of flows) {
      if (isGuardedFlow(flow)) {
        if (!current.has(flowKey(flow)) && !this.#inherit(flow)) foreign.push(flow);
        continue;
      }
      const read = verdictFromFlow(flow);
      const known = read === undefined ? undefined : this.verdicts.get(read.id);
      // A packet that came before this drew the same number for another pair: of the two the newer stays.
      const drawnAgain = known !== undefined && known !== this.verdicts.findCube(read!.question, read!.decision);
      if (read === undefined || drawnAgain) {
        foreign.push(flow);
        continue;
      }
      const decision = decide(read.question, this.#facts);
      if (decision.verdict === "hold") {
        this.verdicts.add(read.question, read.decision, now, read);
      } else if (sameVerdict(decision, read.decision)) {
        this.verdicts.add(read.question, decision, now, read);
      } else {
        foreign.push(flow);
      }
    }
    return foreign;
  }

  /**
   * Writes again what the switch should hold and does not, because it started anew: pairs in use would otherwise send
   * every packet here until their entries are found missing.
   * @param present ids of the verdict entries that stand in the switch
   */
  rewriteMissing(present: ReadonlySet<number>): number {
    const now = this.#now();
    let missing = 0;
    for (const before of Array.from(this.verdicts.values())) {
      const { id, question, decision } = before;
      if (present.has(id)) continue;
      missing++;
      const verdict = this.verdicts.add(question, decision, now, before);
      this.#associations.moved(before, verdict);
      const kind = decision.verdict === "deny" ? "revocation" : "grant";
      for (const { key, frame } of this.#entries.all("add", verdict)) this.#writes.push(key, frame, kind);
    }
    return missing;
  }

  /** Of the entries that verdicts of this life have for tracked packets: one of a former life may stand in their place. */
  #guardedKeys(): Set<string> {
    const keys = new Set<string>();
    for (const verdict of this.verdicts.values()) {
      if (verdict.decision.verdict === "deny" || verdict.decision.guard === undefined) continue;
      for (const flow of this.#entries.entriesOf(verdict)) keys.add(flowKey(flow));
    }
    return keys;
  }

  /** While the facts are not complete, what a former life let pass goes on; it is not known why it did. */
  #inherit(flow: Flow): boolean {
    if (this.#facts.complete) return false;
    this.#inherited.set(flowKey(flow), flow);
    return true;
  }

  /** Takes every verdict again, for instance once the facts are complete after a restart. */
  revalidateAll(): void {
    if (this.#facts.complete) {
      this.#associations.settle();
      const current = this.#guardedKeys();
      this.#delete(
        [...this.#inherited.values()].filter((flow) => !current.has(flowKey(flow))),
        "revocation",
      );
      this.#inherited.clear();
    }
    for (const verdict of Array.from(this.verdicts.values())) this.#revalidate(verdict);
  }

  /** The connection is gone: continuations of the old one are worthless, queued writes are repeated by reconciliation. */
  disconnected(): void {
    this.counters.holdLost += this.#held.clear();
    this.#writes.clear();
  }
}

function tunnelKey(destination: Ip): string {
  return `tunnel ${destination}`;
}
