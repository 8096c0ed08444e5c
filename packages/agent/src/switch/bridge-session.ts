/**
 * The conversation with `br-int`: on every connection the entries and meters of the switch are compared with what they
 * should be and repaired, verdict entries are adopted, and only then do packet-ins count as answered. Between
 * connections it writes the entries of pods as they come and go, and reads statistics in slices.
 */
import {
  announcementFlows,
  baseFlows,
  bucketSelector,
  decodeCookie,
  flowKey,
  isVerdictKind,
  kindSelector,
  neighbourMeter,
  podFlows,
  reconcile,
  segmentPort,
  tables,
  announcementMeter,
  forgeryMeter,
  tooLargeMeter,
  type BaseFacts,
  type LocalPort,
  type Wire,
} from "@beyondfabric/datapath";
import {
  flowModFrame,
  reservedPorts,
  type Flow,
  type FlowEntry,
  type Message,
  type MultipartReplyBody,
  type MultipartRequestBody,
} from "@beyondfabric/openflow";
import { Channel } from "@beyondfabric/openflow/channel";
import { AgentError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Reading } from "../reactor/rule-tally.ts";

export interface MeterLimits {
  /** Misses that one pod may cause, per second; 0: no meter. */
  readonly perPort: number;
  /** Misses that arrive through the tunnel, from a wire or from the node, per second; 0: no meter. */
  readonly tunnel: number;
}

/** Packets per second that are answered because they are too large, and questions of pods that go onto wires. */
const wireMeters = [
  [tooLargeMeter, 100],
  [neighbourMeter, 1000],
] as const;

/**
 * Frames per second that the agent looks at: of pods under false names, all of which are counted, and about addresses that
 * pods pass on.
 */
const shownMeters = [
  [forgeryMeter, 50],
  [announcementMeter, 100],
] as const;

export interface BridgeSessionOptions {
  readonly runDirectory: string;
  readonly bridge: string;
  readonly limits: MeterLimits;
  readonly reactor: Reactor;
  readonly logger: Logger;
  /** Reconciled and answering; again after every reconnect. */
  readonly onReady: () => void;
  readonly onLost: (reason: string) => void;
}

export interface MeterReading {
  readonly port: number;
  /** Packets that met the meter, and those that it dropped. */
  readonly packets: bigint;
  readonly dropped: bigint;
}

const sliceSize = 200;

export class BridgeSession {
  readonly #options: BridgeSessionOptions;
  readonly #channel: Channel;
  readonly #pods = new Map<number, LocalPort>();
  #base: BaseFacts | undefined;
  #ready = false;
  #reconciling: Promise<void> | undefined;
  #again = false;

  constructor(options: BridgeSessionOptions) {
    this.#options = options;
    this.#channel = new Channel({
      address: `unix:${options.runDirectory}/${options.bridge}.mgmt`,
      logger: options.logger,
      setup: setupMessages,
      onPacketIn: (frame) => options.reactor.onPacketIn(frame),
      onConnected: () => this.#reconcileSoon(),
      onDisconnected: (reason) => {
        this.#ready = false;
        options.reactor.disconnected();
        options.onLost(reason.message);
      },
      onError: (error) => options.logger.warn({ err: error }, "the switch refused a message"),
    });
  }

  get ready(): boolean {
    return this.#ready;
  }

  start(): void {
    this.#channel.start();
  }

  async stop(): Promise<void> {
    await this.#channel.close();
  }

  /** Puts a frame out of a port, as if it came from nowhere. */
  emit(frame: Uint8Array, port: number): void {
    if (!this.#channel.connected) return;
    this.#channel.send({
      type: "packet_out",
      match: [{ field: "in_port", value: BigInt(reservedPorts.CONTROLLER) }],
      actions: [{ type: "output", port }],
      packet: frame,
    });
  }

  /** What the reactor writes to. Frames of one turn leave in one write. */
  send(frame: Buffer): void {
    if (this.#channel.connected) this.#channel.send(frame);
  }

  /** Resolves when the switch has taken everything that was sent (OpenFlow 1.5, section 7.3.7). */
  async taken(): Promise<void> {
    if (this.#channel.connected) await this.#channel.barrier();
  }

  /** Sets what the constant entries are made of, and repairs the switch if anything differs. */
  setBase(base: BaseFacts): void {
    const before = JSON.stringify(this.#base);
    if (before === JSON.stringify(base)) return;
    this.#base = base;
    this.#reconcileSoon();
  }

  get metered(): boolean {
    return this.#options.limits.perPort > 0;
  }

  /** Pods that exist before the first connection: their entries come with reconciliation. */
  restorePods(ports: Iterable<LocalPort>): void {
    for (const port of ports) this.#pods.set(port.ofport, port);
  }

  /**
   * Writes the entries of a pod and waits until the switch has taken them. While there is no connection they come with
   * the next reconciliation, and this returns at once.
   */
  async addPod(port: LocalPort): Promise<void> {
    this.#pods.set(port.ofport, port);
    if (!this.#channel.connected || this.#base === undefined) return;
    if (this.metered) this.#channel.send(meterMod("add", port.ofport, this.#options.limits.perPort));
    for (const flow of this.#podFlows(port)) this.#write("add", flow, "now");
    for (const flow of this.#announcementsFor(port)) this.#channel.send(flowModFrame("add", flow, 0));
    await this.#channel.barrier();
  }

  /**
   * Writes the entries of a pod that changed over the old ones, and removes what is no longer there. A pod that nothing
   * isolates any more stays tracked until the verdicts for that, which are on their way, are written ahead of it.
   */
  async replacePod(port: LocalPort): Promise<void> {
    const before = this.#pods.get(port.ofport);
    this.#pods.set(port.ofport, port);
    if (!this.#channel.connected || this.#base === undefined) return;
    const { remove, write } = reconcile(this.#podFlows(port), before === undefined ? [] : this.#podFlows(before));
    const when = before?.tracked === true && !port.tracked ? "behind" : "now";
    for (const flow of write) this.#write("add", flow, when);
    for (const flow of remove) this.#write("delete_strict", flow, when);
    await this.#channel.barrier();
  }

  /**
   * Removes the entries of a pod; its verdict entries go with the facts that they depend on. Nobody waits for the switch:
   * whatever is written later about the same addresses or port comes behind it, and an entry that stands a moment longer
   * leads to a port without an interface.
   */
  removePod(ofport: number): void {
    const port = this.#pods.get(ofport);
    if (port === undefined) return;
    this.#pods.delete(ofport);
    if (!this.#channel.connected) return;
    for (const flow of this.#podFlows(port)) this.#write("delete_strict", flow, "now");
    for (const flow of this.#announcementsFor(port)) this.#channel.send(flowModFrame("add", flow, 0));
    if (this.metered) this.#channel.send(meterMod("delete", ofport, 0));
  }

  /** By the queue of the verdicts, in which something older about the same entry may wait. */
  #write(command: "add" | "delete_strict", flow: Flow, when: "now" | "behind"): void {
    this.#options.reactor.write(flowKey(flow), flowModFrame(command, flow, 0), when);
  }

  /** Every entry of the bridge with its counters. */
  async dump(): Promise<FlowEntry[]> {
    const body = await this.#ask({ kind: "flow_desc", match: [] });
    return body.kind === "flow_desc" ? [...body.entries] : [];
  }

  /** Counters of the verdict entries of one statistics bucket. */
  async readBucket(bucket: number): Promise<Reading[]> {
    const { cookie, mask } = bucketSelector(bucket);
    const body = await this.#ask({ kind: "flow_desc", match: [], cookie, cookieMask: mask });
    const entries = body.kind === "flow_desc" ? body.entries : [];
    return entries.map(readingOf).filter((reading) => reading !== undefined);
  }

  async readMeters(): Promise<MeterReading[]> {
    const body = await this.#ask({ kind: "meter_stats" });
    return (body.kind === "meter_stats" ? body.meters : []).map((meter) => ({
      port: meter.meter,
      packets: meter.packets,
      dropped: meter.bands[0]?.packets ?? 0n,
    }));
  }

  /** Packets that each port sent under a name that is not its own, by port number. */
  async spoofed(): Promise<Map<number, bigint>> {
    const counts = new Map<number, bigint>();
    for (const { flow, statistics } of await this.#entriesOf("pod", tables.spoofed.id)) {
      const port = decodeCookie(flow.cookie)?.id;
      if (port !== undefined) counts.set(port, statistics.packets ?? 0n);
    }
    return counts;
  }

  /** Counters of every entry that refuses something. */
  async readRefusals(): Promise<Reading[]> {
    return (await this.#entriesOf("refusal")).map(readingOf).filter((reading) => reading !== undefined);
  }

  /** @param table only the entries of this one; all tables by default */
  async #entriesOf(kind: "base" | "pod" | "refusal", table?: number): Promise<readonly FlowEntry[]> {
    const { cookie, mask } = kindSelector(kind);
    const where = table === undefined ? {} : { table };
    const body = await this.#ask({ kind: "flow_desc", match: [], cookie, cookieMask: mask, ...where });
    return body.kind === "flow_desc" ? body.entries : [];
  }

  async #ask(body: MultipartRequestBody): Promise<MultipartReplyBody> {
    const reply = await this.#channel.request({ type: "multipart_request", body });
    if (reply.type === "multipart_reply") return reply.body;
    throw new AgentError("AGENT_SWITCH_ABSENT", `the switch answered ${reply.type} to a request for ${body.kind}`);
  }

  /** Compares the switch with what it should hold and repairs the difference; at most one comparison runs at a time. */
  reconcileNow(): Promise<void> {
    this.#reconcileSoon();
    return this.#reconciling ?? Promise.resolve();
  }

  #reconcileSoon(): void {
    if (!this.#channel.connected || this.#base === undefined) return;
    if (this.#reconciling !== undefined) {
      this.#again = true;
      return;
    }
    this.#reconciling = this.#reconcile()
      .catch((error: unknown) => {
        this.#options.logger.error({ err: error }, "reconciliation with the switch failed; it is tried again");
        this.#again = true;
      })
      .finally(() => {
        this.#reconciling = undefined;
        if (!this.#again) return;
        this.#again = false;
        setTimeout(() => this.#reconcileSoon(), 200);
      });
  }

  async #reconcile(): Promise<void> {
    await this.#reconcileMeters();
    const { reactor, logger } = this.#options;
    // After a connect everything is looked at; later only what is constant: verdict entries are watched bucket by bucket.
    const entries = this.#ready
      ? [...(await this.#entriesOf("base")), ...(await this.#entriesOf("pod"))]
      : await this.dump();
    const installed = entries.map(({ flow }) => flow);
    const verdicts: Flow[] = [];
    const others: Flow[] = [];
    for (const flow of installed) {
      if (isVerdictKind(decodeCookie(flow.cookie)?.kind)) verdicts.push(flow);
      else others.push(flow);
    }
    // Between the dump and this line pods may have come and gone: what is desired is what is desired now.
    const { remove, write } = reconcile(this.#desired(), others);
    const refused = new Set(reactor.adopt(verdicts));
    const removals = [...remove, ...refused];
    if (removals.length + write.length > 0) {
      logger.info(
        { removed: removals.length, written: write.length, kept: installed.length - removals.length },
        "repaired the switch",
      );
    }
    for (const [index, flow] of [...write, ...removals].entries()) {
      this.#channel.send(flowModFrame(index < write.length ? "add" : "delete_strict", flow, 0));
      if (index % sliceSize === sliceSize - 1) await new Promise((resolve) => setImmediate(resolve));
    }
    if (!this.#ready) {
      const adopted = verdicts.filter((flow) => !refused.has(flow)).map(({ cookie }) => decodeCookie(cookie)!.id);
      const missing = reactor.rewriteMissing(new Set(adopted));
      if (missing > 0) logger.info({ missing }, "the switch had lost verdict entries; they are written again");
    }
    await this.#channel.barrier();
    if (!this.#ready) {
      this.#ready = true;
      this.#options.onReady();
    }
  }

  async #reconcileMeters(): Promise<void> {
    const wanted = new Map<number, number>();
    const { limits } = this.#options;
    if (limits.perPort > 0) for (const ofport of this.#pods.keys()) wanted.set(ofport, limits.perPort);
    if (limits.tunnel > 0 && this.#base !== undefined) {
      wanted.set(this.#base.ports.tunnel, limits.tunnel);
      wanted.set(this.#base.ports.host, limits.tunnel);
      for (const { segment } of this.#base.wires ?? []) wanted.set(segmentPort(segment), limits.tunnel);
    }
    if (this.metered) for (const [meter, rate] of shownMeters) wanted.set(meter, rate);
    if (this.metered && (this.#base?.wires ?? []).length > 0)
      for (const [meter, rate] of wireMeters) wanted.set(meter, rate);
    const present = new Set<number>();
    const body = await this.#ask({ kind: "meter_desc" });
    for (const { meter, bands } of body.kind === "meter_desc" ? body.meters : []) {
      const rate = wanted.get(meter);
      present.add(meter);
      if (rate === undefined) this.#channel.send(meterMod("delete", meter, 0));
      else if (bands[0]?.rate !== rate) this.#channel.send(meterMod("modify", meter, rate));
    }
    for (const [meter, rate] of wanted) if (!present.has(meter)) this.#channel.send(meterMod("add", meter, rate));
  }

  /** How many constant entries the switch should hold, and how many for its pods. */
  desiredCounts(): { base: number; pods: number } {
    const base = this.#base === undefined ? 0 : baseFlows(this.#base).length + this.#announcements().length;
    return { base, pods: this.#desired().length - base };
  }

  #desired(): Flow[] {
    if (this.#base === undefined) return [];
    return [
      ...baseFlows(this.#base),
      ...this.#announcements(),
      ...[...this.#pods.values()].flatMap((port) => this.#podFlows(port)),
    ];
  }

  #announcementsFor({ segment }: LocalPort): Flow[] {
    return segment === undefined ? [] : this.#announcements((wire) => wire.segment === segment);
  }

  /** What gateways say to all, for the pods that live on their segment. */
  #announcements(isMeant: (wire: Wire) => boolean = () => true): Flow[] {
    return (this.#base?.wires ?? []).filter(isMeant).flatMap((wire) => {
      const members = [...this.#pods.values()].filter((port) => port.segment === wire.segment);
      return announcementFlows(
        wire,
        members.map(({ ofport }) => ofport).sort((a, b) => a - b),
        this.metered,
      );
    });
  }

  #podFlows(port: LocalPort): Flow[] {
    return podFlows(port, this.metered);
  }
}

function readingOf({ flow, statistics }: FlowEntry): Reading | undefined {
  const id = decodeCookie(flow.cookie)?.id;
  if (id === undefined) return undefined;
  return { id, packets: statistics.packets ?? 0n, bytes: statistics.bytes ?? 0n, flow };
}

function meterMod(command: "add" | "modify" | "delete", meter: number, rate: number): Message {
  return {
    type: "meter_mod",
    command,
    flags: command === "delete" ? [] : ["pktps", "burst", "stats"],
    meter,
    bands: command === "delete" ? [] : [{ kind: "drop", rate, burst: rate }],
  };
}

/**
 * What the switch must send us and how: packet-ins in the form that carries continuations, whole packets, every
 * asynchronous message (OpenFlow 1.5 section 7.3.10; NXT_SET_PACKET_IN_FORMAT of the Nicira extensions).
 */
const setupMessages: readonly Message[] = [
  { type: "set_packet_in_format", format: "nxt2" },
  {
    type: "set_async",
    packetInSecondary: 0x3f,
    packetInPrimary: 0x3f,
    flowRemovedSecondary: 0xf,
    flowRemovedPrimary: 0xf,
  },
  { type: "set_config", flags: 0, missSendLength: 0xffff },
];
