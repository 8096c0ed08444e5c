/**
 * The bridge of the NIC that carries tunnels, where the datapath needs the tunnel's own address on a bridge. It is a wire:
 * what comes from the NIC goes to the node, what the node sends goes to the NIC. It never learns and never floods.
 */
import { encodeCookie, reconcile } from "@beyondfabric/datapath";
import { flowModFrame, reservedPorts, type Flow } from "@beyondfabric/openflow";
import { Channel } from "@beyondfabric/openflow/channel";
import type { Logger } from "../log.ts";

export interface UplinkSessionOptions {
  readonly runDirectory: string;
  readonly bridge: string;
  readonly logger: Logger;
}

/** The OpenFlow port that the NIC is declared with. */
const nicPort = 1;

function wire(from: number, to: number): Flow {
  return {
    table: 0,
    priority: 100,
    cookie: encodeCookie("base", 2),
    match: [{ field: "in_port", value: BigInt(from) }],
    instructions: [{ type: "apply_actions", actions: [{ type: "output", port: to }] }],
  };
}

const flows: readonly Flow[] = [wire(nicPort, reservedPorts.LOCAL), wire(reservedPorts.LOCAL, nicPort)];

export class UplinkSession {
  readonly #options: UplinkSessionOptions;
  readonly #channel: Channel;

  constructor(options: UplinkSessionOptions) {
    this.#options = options;
    this.#channel = new Channel({
      address: `unix:${options.runDirectory}/${options.bridge}.mgmt`,
      logger: options.logger,
      onConnected: () => void this.reconcile(),
      onError: (error) => options.logger.warn({ err: error, bridge: options.bridge }, "the switch refused a message"),
    });
  }

  start(): void {
    this.#channel.start();
  }

  async stop(): Promise<void> {
    await this.#channel.close();
  }

  /** Makes the bridge hold exactly the two entries of a wire. */
  async reconcile(): Promise<void> {
    if (!this.#channel.connected) return;
    try {
      const reply = await this.#channel.request({ type: "multipart_request", body: { kind: "flow_desc", match: [] } });
      const installed =
        reply.type === "multipart_reply" && reply.body.kind === "flow_desc"
          ? reply.body.entries.map(({ flow }) => flow)
          : [];
      const { remove, write } = reconcile(flows, installed);
      for (const flow of write) this.#channel.send(flowModFrame("add", flow, 0));
      for (const flow of remove) this.#channel.send(flowModFrame("delete_strict", flow, 0));
      await this.#channel.barrier();
    } catch (error) {
      this.#options.logger.warn({ err: error, bridge: this.#options.bridge }, "uplink bridge not reconciled yet");
    }
  }
}
