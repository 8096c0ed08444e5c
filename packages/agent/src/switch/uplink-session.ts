/**
 * The conversation with the bridge of a NIC. It holds exactly the entries that `uplinkFlows` makes: what concerns the pods
 * of this node and the node itself passes, nothing is learned and nothing flooded. Frames are sent and heard here too:
 * through the switch, and not through a socket on the NIC, because then it does not matter whose driver the NIC has.
 */
import {
  conflictMeter,
  isAnswer,
  isConflict,
  nicPort,
  reconcile,
  uplinkFlows,
  type UplinkFacts,
} from "@beyondfabric/datapath";
import { flowModFrame, packetInView, reservedPorts, type Flow, type Message } from "@beyondfabric/openflow";
import { Channel } from "@beyondfabric/openflow/channel";
import { parsePacket, type Packet } from "@beyondfabric/packet";
import type { Logger } from "../log.ts";

export interface UplinkSessionOptions {
  readonly runDirectory: string;
  readonly bridge: string;
  readonly logger: Logger;
  /** Somebody on the wire speaks in the name of a member, or wants its address. */
  readonly onStatement: (packet: Packet) => void;
  /** Somebody on the wire answers an examination; the frame is whole. */
  readonly onAnswer: (packet: Packet, frame: Buffer) => void;
  /** Connected and reconciled; again after every reconnect. */
  readonly onReady: () => void;
}

/** Statements per second that are looked at; more of them say nothing new. */
const statementsPerSecond = 100;

export class UplinkSession {
  readonly #options: UplinkSessionOptions;
  readonly #channel: Channel;
  #facts: UplinkFacts | undefined;
  /** What was written last; undefined: the switch has to be asked. */
  #written: readonly Flow[] | undefined;
  #queue: Promise<void> = Promise.resolve();

  constructor(options: UplinkSessionOptions) {
    this.#options = options;
    this.#channel = new Channel({
      address: `unix:${options.runDirectory}/${options.bridge}.mgmt`,
      logger: options.logger,
      setup: [
        { type: "set_packet_in_format", format: "nxt2" },
        { type: "set_async", packetInSecondary: 0x3f, packetInPrimary: 0x3f },
        { type: "set_config", flags: 0, missSendLength: 0xffff },
      ],
      onPacketIn: (frame) => this.#hear(frame),
      onConnected: () => {
        this.#written = undefined;
        void this.reconcile().then(() => options.onReady());
      },
      onError: (error) => options.logger.warn({ err: error, bridge: options.bridge }, "the switch refused a message"),
    });
  }

  get connected(): boolean {
    return this.#channel.connected;
  }

  start(): void {
    this.#channel.start();
  }

  async stop(): Promise<void> {
    await this.#channel.close();
  }

  /** Sets what the bridge lets through, and waits until the switch has taken it. While there is no connection it comes later. */
  async set(facts: UplinkFacts): Promise<void> {
    this.#facts = facts;
    await this.#inTurn(() => this.#write());
  }

  /** Compares the bridge with what it should hold and repairs the difference. */
  async reconcile(): Promise<void> {
    await this.#inTurn(async () => {
      this.#written = undefined;
      await this.#write();
    });
  }

  /** Puts frames onto the wire, with the tag of a VLAN (0: none). Lost when there is no connection. */
  transmit(frames: readonly Uint8Array[], vlan: number): void {
    if (!this.#channel.connected) return;
    for (const packet of frames) {
      this.#channel.send({
        type: "packet_out",
        match: [{ field: "in_port", value: BigInt(reservedPorts.CONTROLLER) }],
        actions: [
          ...(vlan === 0
            ? []
            : ([
                { type: "push_vlan", ethertype: 0x8100 },
                { type: "set_field", field: "vlan_vid", value: BigInt(0x1000 | vlan) },
              ] as const)),
          { type: "output", port: nicPort },
        ],
        packet,
      });
    }
  }

  /** One after the other: what is written depends on what was written before. */
  #inTurn(run: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(run).catch((error: unknown) => {
      this.#written = undefined;
      this.#options.logger.warn({ err: error, bridge: this.#options.bridge }, "uplink bridge not reconciled yet");
    });
    this.#queue = turn;
    return turn;
  }

  async #write(): Promise<void> {
    if (!this.#channel.connected || this.#facts === undefined) return;
    const desired = uplinkFlows(this.#facts);
    if (this.#written === undefined) {
      await this.#ensureMeter();
      this.#written = await this.#installed();
    }
    const { remove, write } = reconcile(desired, this.#written);
    for (const flow of write) this.#channel.send(flowModFrame("add", flow, 0));
    for (const flow of remove) this.#channel.send(flowModFrame("delete_strict", flow, 0));
    this.#written = desired;
    await this.#channel.barrier();
  }

  async #installed(): Promise<Flow[]> {
    const reply = await this.#channel.request({ type: "multipart_request", body: { kind: "flow_desc", match: [] } });
    if (reply.type !== "multipart_reply" || reply.body.kind !== "flow_desc") return [];
    return reply.body.entries.map(({ flow }) => flow);
  }

  async #ensureMeter(): Promise<void> {
    if (this.#facts?.metered !== true) return;
    const reply = await this.#channel.request({ type: "multipart_request", body: { kind: "meter_desc" } });
    const present = reply.type === "multipart_reply" && reply.body.kind === "meter_desc" ? reply.body.meters : [];
    if (present.some(({ meter }) => meter === conflictMeter)) return;
    this.#channel.send({
      type: "meter_mod",
      command: "add",
      flags: ["pktps", "burst"],
      meter: conflictMeter,
      bands: [{ kind: "drop", rate: statementsPerSecond, burst: statementsPerSecond }],
    } satisfies Message);
  }

  #hear(frame: Buffer): void {
    try {
      const view = packetInView(frame);
      if (isConflict(view.userdata)) this.#options.onStatement(parsePacket(view.packet));
      if (isAnswer(view.userdata)) this.#options.onAnswer(parsePacket(view.packet), view.packet);
    } catch (error) {
      this.#options.logger.debug({ err: error, bridge: this.#options.bridge }, "a packet-in could not be read");
    }
  }
}
